/**
 * A network in memory, for the simulator and for tests: ordered, reliable until told otherwise,
 * on the turns of a Scheduler and on nothing else.
 *
 * @module
 */
import type { Scheduler } from "../../actors/runtime/ports.ts";
import { FrameReader } from "../../transport/wire/frame_reader.ts";
import { HELLO_FRAME_BYTES_MAX, WRITE_QUEUE_BYTES_MAX } from "../../transport/wire/limits.ts";
import type {
  CloseReason,
  Connection,
  ConnectionHandlers,
  HostPort,
  Listener,
  Network,
} from "../../transport/wire/network.ts";
import { WireError } from "../../transport/wire/messages.ts";

const EPHEMERAL_PORT_MIN = 49_152;

/** Every process of a simulated world shares one. */
export class MemoryNetwork implements Network {
  readonly #scheduler: Scheduler;
  readonly #listeners = new Map<string, (connection: Connection) => ConnectionHandlers>();
  #nextPort = EPHEMERAL_PORT_MIN;
  /** Addresses whose packets vanish without a word, as behind a pulled cable. */
  readonly #silenced = new Set<string>();

  constructor(scheduler: Scheduler) {
    this.#scheduler = scheduler;
  }

  listen(at: HostPort, accept: (connection: Connection) => ConnectionHandlers): Listener {
    const port = at.port === 0 ? this.#nextPort++ : at.port;
    const address = { hostname: at.hostname, port };
    const key = keyOf(address);
    if (this.#listeners.has(key)) throw new Error(`Cannot listen on ${key}: it is taken`);
    this.#listeners.set(key, accept);
    return { address, close: () => void this.#listeners.delete(key) };
  }

  dial(to: HostPort, handlers: ConnectionHandlers): Connection {
    const here = new MemoryConnection(this, keyOf(to), handlers);
    this.soon(() => {
      if (here.closed || this.#silenced.has(keyOf(to))) return;
      const accept = this.#listeners.get(keyOf(to));
      if (accept === undefined) {
        return here.lose({ code: "dial-failed", detail: "nobody listens" });
      }
      const there = new MemoryConnection(this, `memory:${this.#nextPort++}`, undefined);
      here.join(there);
      there.join(here);
      there.handlers = accept(there);
      here.handlers?.onOpen?.();
    });
    return here;
  }

  /** Nothing goes to or comes from connections dialled to this address, and nobody is told. */
  silence(address: HostPort): void {
    this.#silenced.add(keyOf(address));
  }

  /** Undoes {@linkcode MemoryNetwork.silence}. */
  restore(address: HostPort): void {
    this.#silenced.delete(keyOf(address));
  }

  isSilenced(remote: string): boolean {
    return this.#silenced.has(remote);
  }

  soon(run: () => void): void {
    this.#scheduler.soon(run);
  }
}

class MemoryConnection implements Connection {
  readonly remote: string;
  handlers: ConnectionHandlers | undefined;
  readonly #network: MemoryNetwork;
  readonly #reader: FrameReader;
  #other: MemoryConnection | undefined;
  #closed = false;
  #ending = false;
  #queue: Uint8Array[] = [];
  #bufferedBytes = 0;

  constructor(network: MemoryNetwork, remote: string, handlers: ConnectionHandlers | undefined) {
    this.#network = network;
    this.remote = remote;
    this.handlers = handlers;
    this.#reader = new FrameReader(HELLO_FRAME_BYTES_MAX, (body) => this.handlers?.onFrame(body));
  }

  get closed(): boolean {
    return this.#closed;
  }

  get bufferedBytes(): number {
    return this.#bufferedBytes;
  }

  join(other: MemoryConnection): void {
    this.#other = other;
  }

  send(frame: Uint8Array): boolean {
    if (this.#closed || this.#ending || this.#other === undefined) return false;
    if (this.#bufferedBytes + frame.length > WRITE_QUEUE_BYTES_MAX) return false;
    if (this.#queue.length === 0) this.#network.soon(() => this.#flush());
    this.#queue.push(frame);
    this.#bufferedBytes += frame.length;
    return true;
  }

  setFrameLimit(bytesMax: number): void {
    this.#reader.setLimit(bytesMax);
  }

  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.handlers = undefined;
    this.#reader.stop();
    this.#queue = [];
    this.#bufferedBytes = 0;
    const other = this.#other;
    if (other === undefined || this.#silent(other)) return;
    this.#network.soon(() => other.lose({ code: "peer-closed", detail: "end of stream" }));
  }

  end(): void {
    if (this.#queue.length === 0) return this.close();
    this.#ending = true;
    this.handlers = undefined;
    this.#reader.stop();
  }

  lose(reason: CloseReason): void {
    const handlers = this.handlers;
    this.close();
    handlers?.onClose(reason);
  }

  #flush(): void {
    const frames = this.#queue;
    this.#queue = [];
    this.#bufferedBytes = 0;
    const other = this.#other;
    if (other === undefined || this.#silent(other)) return;
    for (const frame of frames) other.#receive(frame);
    if (this.#ending) this.close();
    else this.handlers?.onDrained?.();
  }

  #receive(frame: Uint8Array): void {
    try {
      this.#reader.push(frame);
    } catch (error) {
      this.lose({ code: "protocol-error", detail: String(error) });
      if (!(error instanceof WireError)) throw error;
    }
  }

  #silent(other: MemoryConnection): boolean {
    return this.#network.isSilenced(this.remote) || this.#network.isSilenced(other.remote);
  }
}

function keyOf(address: HostPort): string {
  return `${address.hostname}:${address.port}`;
}
