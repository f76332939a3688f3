/**
 * A TCP proxy in front of one node's Raft address, which harms the links to the others: cut in one
 * direction or both, slow, dripping byte by byte, reset in the middle of a frame.
 *
 * A cut link carries nothing but loses nothing either, as TCP does: what was under way arrives when
 * the link is mended, late.
 *
 * @module
 */
import type { NodeId } from "../../machines/raft_types.ts";
import { recordFormat } from "../../storage/log/wal_record.ts";
import { createCodec } from "../../transport/wire/codec.ts";
import { FRAME_HEADER_BYTES, HELLO_FRAME_BYTES_MAX } from "../../transport/wire/limits.ts";
import type { HostPort } from "../../transport/wire/network.ts";

/** What is wrong with the links; shared by the proxies of a cluster. */
export class LinkFaults {
  readonly #cut = new Set<string>();
  /** Added to every chunk to or from a node, in milliseconds. */
  readonly slowMs: Map<NodeId, number> = new Map();
  /** Nodes whose links deliver one byte at a time. */
  readonly dripping: Set<NodeId> = new Set();
  /** Grows when links are to be reset; see {@linkcode reset}. */
  #resets = new Map<NodeId, number>();

  /** Cuts what `from` sends to `to`. */
  cut(from: NodeId, to: NodeId): void {
    this.#cut.add(`${from}>${to}`);
  }

  /** Cuts everything between two groups of nodes. */
  partition(one: readonly NodeId[], other: readonly NodeId[]): void {
    for (const a of one) {
      for (const b of other) {
        this.cut(a, b);
        this.cut(b, a);
      }
    }
  }

  /** Resets every connection of a node in the middle of what it sends next. */
  reset(node: NodeId): void {
    this.#resets.set(node, this.resetsOf(node) + 1);
  }

  /** How often a node's connections were reset. */
  resetsOf(node: NodeId): number {
    return this.#resets.get(node) ?? 0;
  }

  /** Whether nothing passes from one node to another. */
  isCut(from: NodeId, to: NodeId): boolean {
    return this.#cut.has(`${from}>${to}`);
  }

  /** Mends everything. */
  heal(): void {
    this.#cut.clear();
    this.slowMs.clear();
    this.dripping.clear();
  }
}

const POLL_MS = 5;
const READ_BYTES = 64 * 1024;

/** Stands at the advertised address of one node and forwards to where the node listens. */
export class NodeProxy {
  readonly #node: NodeId;
  readonly #target: HostPort;
  readonly #faults: LinkFaults;
  readonly #listener: Deno.TcpListener;
  readonly #connections = new Set<Deno.TcpConn>();
  readonly #tasks = new Set<Promise<void>>();
  #stopped = false;

  constructor(node: NodeId, at: HostPort, target: HostPort, faults: LinkFaults) {
    this.#node = node;
    this.#target = target;
    this.#faults = faults;
    this.#listener = Deno.listen(at);
    this.#track(this.#accept());
  }

  /** Closes everything and waits for that. */
  async stop(): Promise<void> {
    this.#stopped = true;
    this.#listener.close();
    for (const connection of [...this.#connections]) this.#close(connection);
    while (this.#tasks.size > 0) await Promise.all([...this.#tasks]);
  }

  async #accept(): Promise<void> {
    for (;;) {
      try {
        const dialer = await this.#listener.accept();
        this.#track(this.#serve(dialer));
      } catch {
        if (this.#stopped) return;
      }
    }
  }

  /** One connection: finds out which node dials, connects to its peer, and forwards both ways. */
  async #serve(dialer: Deno.TcpConn): Promise<void> {
    this.#connections.add(dialer);
    let node: Deno.TcpConn | undefined;
    try {
      const hello = await readFrame(dialer);
      const from = helloSender(hello);
      node = await Deno.connect(this.#target);
      node.setNoDelay(true);
      dialer.setNoDelay(true);
      this.#connections.add(node);
      await this.#forward(hello, node, from, this.#node);
      await Promise.race([
        this.#pump(dialer, node, from, this.#node),
        this.#pump(node, dialer, this.#node, from),
      ]);
    } catch {
      // The node is down, or one side went away: the other is closed below.
    } finally {
      this.#close(dialer);
      if (node !== undefined) this.#close(node);
    }
  }

  async #pump(from: Deno.TcpConn, to: Deno.TcpConn, a: NodeId, b: NodeId): Promise<void> {
    const buffer = new Uint8Array(READ_BYTES);
    const resets = (): number => this.#faults.resetsOf(a) + this.#faults.resetsOf(b);
    const resetsBefore = resets();
    for (;;) {
      const count = await from.read(buffer);
      if (count === null) return;
      const chunk = buffer.subarray(0, count);
      if (resets() !== resetsBefore) {
        await writeAll(to, chunk.subarray(0, count >>> 1));
        return;
      }
      await this.#forward(chunk, to, a, b);
    }
  }

  /** Passes a chunk on, as late and in as many pieces as the link's state wants. */
  async #forward(chunk: Uint8Array, to: Deno.TcpConn, a: NodeId, b: NodeId): Promise<void> {
    const faults = this.#faults;
    while (faults.isCut(a, b) && !this.#stopped) await sleep(POLL_MS);
    const slowMs = (faults.slowMs.get(a) ?? 0) + (faults.slowMs.get(b) ?? 0);
    if (slowMs > 0) await sleep(slowMs);
    if (!faults.dripping.has(a) && !faults.dripping.has(b)) return await writeAll(to, chunk);
    for (let at = 0; at < chunk.length; at++) await writeAll(to, chunk.subarray(at, at + 1));
  }

  #close(connection: Deno.TcpConn): void {
    if (!this.#connections.delete(connection)) return;
    try {
      connection.close();
    } catch {
      // It was closed already.
    }
  }

  #track(task: Promise<void>): void {
    this.#tasks.add(task);
    task.finally(() => this.#tasks.delete(task));
  }
}

async function readFrame(connection: Deno.TcpConn): Promise<Uint8Array> {
  const header = await readExactly(connection, FRAME_HEADER_BYTES);
  const length = new DataView(header.buffer).getUint32(0);
  if (length > HELLO_FRAME_BYTES_MAX) throw new RangeError("Cannot read hello: it is too long");
  const body = await readExactly(connection, length);
  const frame = new Uint8Array(FRAME_HEADER_BYTES + length);
  frame.set(header);
  frame.set(body, FRAME_HEADER_BYTES);
  return frame;
}

async function readExactly(connection: Deno.TcpConn, length: number): Promise<Uint8Array> {
  const bytes = new Uint8Array(length);
  for (let at = 0; at < length;) {
    const count = await connection.read(bytes.subarray(at));
    if (count === null) throw new Error("Cannot read hello: the connection ended");
    at += count;
  }
  return bytes;
}

function helloSender(frame: Uint8Array): NodeId {
  const message = createCodec(recordFormat).decode(frame.slice(FRAME_HEADER_BYTES));
  if (message.type !== "Hello") throw new Error("Cannot serve: the first frame is no hello");
  return message.from;
}

async function writeAll(connection: Deno.TcpConn, bytes: Uint8Array): Promise<void> {
  for (let at = 0; at < bytes.length;) at += await connection.write(bytes.subarray(at));
}

function sleep(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}
