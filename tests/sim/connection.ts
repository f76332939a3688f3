/**
 * One end of a simulated TCP connection, and the bytes that it has sent and that are under way.
 *
 * @module
 */
import { FrameReader } from "../../transport/wire/frame_reader.ts";
import { HELLO_FRAME_BYTES_MAX, WRITE_QUEUE_BYTES_MAX } from "../../transport/wire/limits.ts";
import { WireError } from "../../transport/wire/messages.ts";
import type { CloseReason, Connection, ConnectionHandlers } from "../../transport/wire/network.ts";
import type { ProcessLife } from "./event_loop.ts";
import type { SimNetwork, Way } from "./network.ts";

/** What is sent in one moment arrives together, unless it is cut. */
interface Chunk {
  readonly sentMs: number;
  dueMs: number;
  /** Frames, or what is left of them; none: the end of the stream. */
  readonly pieces: Uint8Array[];
}

/** What a connection is made of. */
export interface SimConnectionOptions {
  readonly network: SimNetwork;
  readonly way: Way;
  /** The process that it belongs to. */
  readonly life: ProcessLife;
  /** Undefined until an accepted connection has them. */
  readonly handlers: ConnectionHandlers | undefined;
}

/** One end. */
export class SimConnection implements Connection {
  readonly remote: string;
  readonly way: Way;
  /** Frames that its process has sent. */
  framesSent = 0;
  readonly #network: SimNetwork;
  readonly #life: ProcessLife;
  readonly #reader: FrameReader;
  #handlers: ConnectionHandlers | undefined;
  #other: SimConnection | undefined;
  /** The process has closed it, or its end was seen. */
  #closed = false;
  /** The process is gone; `dark`: and its host says nothing. */
  #abandoned = false;
  /** What is under way to the other end, oldest first. */
  #chunks: Chunk[] = [];
  #bytesUnderWay = 0;
  #isPlanned = false;
  #resends = 0;
  /** What has arrived and the process has not read. */
  #inbox: (() => void)[] = [];

  constructor({ network, way, life, handlers }: SimConnectionOptions) {
    this.#network = network;
    this.way = way;
    this.#life = life;
    this.#handlers = handlers;
    this.remote = `node-${way.to}`;
    this.#reader = new FrameReader(HELLO_FRAME_BYTES_MAX, (body) => {
      if (network.onFate !== undefined) network.arrived(way, body);
      this.#handlers?.onFrame(body);
    });
  }

  /** Whether it is closed, or its process has ended. */
  get isOver(): boolean {
    return this.#closed || this.#abandoned;
  }

  get bufferedBytes(): number {
    return this.#bytesUnderWay;
  }

  send(frame: Uint8Array): boolean {
    if (this.isOver || this.#other === undefined) return false;
    const held = this.#bytesUnderWay;
    const { heldBytesMax } = this.#network.traits;
    const isFull = held + frame.length > WRITE_QUEUE_BYTES_MAX ||
      (held > 0 && held + frame.length > heldBytesMax);
    if (isFull) {
      this.#network.dropped(this, frame);
      return false;
    }
    this.framesSent++;
    this.#network.sending(this, frame);
    return true;
  }

  setFrameLimit(bytesMax: number): void {
    this.#reader.setLimit(bytesMax);
  }

  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#handlers = undefined;
    this.#reader.stop();
    this.#network.forget(this, this.#life);
    this.#finish();
  }

  end(): void {
    this.close();
  }

  /** The two ends of a connection know each other. */
  join(other: SimConnection): void {
    this.#other = other;
  }

  /** The listening process takes the connection, once it is awake. */
  accepted(accept: (connection: Connection) => ConnectionHandlers): void {
    this.#read(() => {
      this.#handlers = accept(this);
    });
  }

  /** The dial succeeded. */
  opened(): void {
    this.#read(() => this.#handlers?.onOpen?.());
  }

  /** The connection ended, or could not be made. */
  lose(reason: CloseReason): void {
    this.#read(() => {
      const handlers = this.#handlers;
      this.close();
      handlers?.onClose(reason);
    });
  }

  /** The process has ended. Its operating system tells the other end, unless that has ended too. */
  abandon({ dark }: { readonly dark: boolean }): void {
    this.#abandoned = true;
    if (dark) this.#drop();
    else this.#finish();
  }

  /** The other end, or somebody between, has reset it: what was under way is gone. */
  reset(): void {
    if (this.isOver) return;
    this.#network.counters.resets++;
    this.#drop();
    this.lose({ code: "connection-lost", detail: "connection reset" });
  }

  /** Puts a frame into the stream, behind what is there. */
  sendNow(frame: Uint8Array): boolean {
    if (this.isOver || this.#other === undefined) return false;
    this.#bytesUnderWay += frame.length;
    const { nowMs } = this.#network.loop;
    const last = this.#chunks.at(-1);
    if (last !== undefined && last.sentMs === nowMs && last.pieces.length > 0) {
      last.pieces.push(frame);
    } else this.#put([frame]);
    return true;
  }

  #drop(): void {
    this.#chunks = [];
    this.#bytesUnderWay = 0;
  }

  #finish(): void {
    if (this.#other !== undefined && !this.#other.isOver) this.#put([]);
  }

  #put(pieces: Uint8Array[]): void {
    const { loop } = this.#network;
    const { from, to } = this.way;
    // Due, but planned only once all before it has arrived: what is sent later arrives later.
    const dueMs = loop.nowMs + this.#network.drawDelayMs(from, to);
    this.#chunks.push({ sentMs: loop.nowMs, dueMs, pieces });
    this.#plan();
  }

  #plan(): void {
    const next = this.#chunks[0];
    if (this.#isPlanned || next === undefined) return;
    this.#isPlanned = true;
    this.#network.loop.at(next.dueMs, () => {
      this.#isPlanned = false;
      this.#arrive();
      this.#plan();
    });
  }

  #arrive(): void {
    const network = this.#network;
    const { from, to } = this.way;
    const chunk = this.#chunks[0];
    const other = this.#other!;
    if (chunk === undefined) return;
    if (network.isCut(from, to)) {
      network.counters.heldUp++;
      chunk.dueMs = network.loop.nowMs + network.resendMs(this.#resends++);
      return;
    }
    this.#resends = 0;
    this.#chunks.shift();
    const { pieces } = chunk;
    for (const piece of pieces) this.#bytesUnderWay -= piece.length;
    if (other.#abandoned) {
      // The host is up again, or never went down, and knows nothing of this connection.
      this.#drop();
      network.loop.after(network.drawDelayMs(to, from), () => this.reset());
      return;
    }
    if (pieces.length === 0) {
      return other.lose({ code: "peer-closed", detail: "end of stream" });
    }
    const cutMs = network.drawCutMs();
    if (cutMs !== undefined) {
      const rest = cutPieces(pieces, network.dice.next());
      if (rest.length > 0) {
        for (const piece of rest) this.#bytesUnderWay += piece.length;
        const dueMs = network.loop.nowMs + cutMs;
        this.#chunks.unshift({ sentMs: -1, dueMs, pieces: rest });
      }
    }
    other.#read(() => other.#push(pieces));
    if (this.#bytesUnderWay === 0) this.#read(() => this.#handlers?.onDrained?.());
  }

  /** Lets the process read what has arrived, in order, as soon as it is awake. */
  #read(read: () => void): void {
    this.#inbox.push(read);
    if (this.#inbox.length > 1) return;
    this.#life.run(() => {
      // Reading may close it, or bring more.
      for (let at = 0; at < this.#inbox.length; at++) this.#inbox[at]!();
      this.#inbox = [];
    });
  }

  #push(pieces: readonly Uint8Array[]): void {
    try {
      for (const piece of pieces) this.#reader.push(piece);
    } catch (error) {
      const handlers = this.#handlers;
      this.close();
      handlers?.onClose({ code: "protocol-error", detail: String(error) });
      if (!(error instanceof WireError)) throw error;
    }
  }
}

/** Cuts the pieces at this share of their bytes; what comes after the cut is taken out and answered. */
function cutPieces(pieces: Uint8Array[], share: number): Uint8Array[] {
  const bytes = pieces.reduce((sum, piece) => sum + piece.length, 0);
  let left = 1 + Math.floor(share * (bytes - 1));
  for (let at = 0; at < pieces.length; at++) {
    const piece = pieces[at]!;
    if (left < piece.length) {
      const rest = [piece.subarray(left), ...pieces.slice(at + 1)];
      pieces.length = at;
      pieces.push(piece.subarray(0, left));
      return rest;
    }
    left -= piece.length;
    if (left === 0) {
      const rest = pieces.slice(at + 1);
      pieces.length = at + 1;
      return rest;
    }
  }
  return [];
}
