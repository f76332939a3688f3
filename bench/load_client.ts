/**
 * One HTTP/1.1 connection of the load generator: kept alive, one request at a time. Of a response
 * it finds the status and the end, and no more.
 *
 * `fetch` costs several times what the server spends on the request, so the generator would measure
 * its own cost.
 *
 * @module
 */

import type { ReadOptions } from "../mod.ts";

/** Bytes asked of the socket in one read; a larger response takes several. */
const READ_BYTES = 64 * 1024;
/** Requests up to this are sent while the answer is awaited: a socket's buffer takes them whole. */
const PARALLEL_BYTES_MAX = 8 * 1024;
/** Headers longer than this are refused: no server under test sends them. */
const HEADER_BYTES_MAX = 16 * 1024;

const CR = 0x0d;
const LF = 0x0a;
const CONTENT_LENGTH = new TextEncoder().encode("\ncontent-length:");
const LAST_CHUNK = new TextEncoder().encode("0\r\n\r\n");

/** What a template's hole is filled with, and the template. */
export interface RequestTemplate {
  /** A whole request. */
  readonly bytes: Uint8Array;
  /** Where the key stands in it. */
  readonly keyAt: number;
  /** The keys as they stand in the request, all of one length. */
  readonly keys: readonly Uint8Array[];
  /** What the last `bytes` of the request are cut out of, each time at another place. */
  readonly values?: { readonly pool: Uint8Array; readonly bytes: number };
  /** The same as an operation of a Clerk, if it is one. */
  readonly operation?: {
    readonly type: "put" | "get";
    readonly value?: Uint8Array;
    readonly options?: ReadOptions;
  };
}

/** A connection that answers in order. */
export class LoadConnection {
  readonly #conn: Deno.TcpConn;
  readonly #buffer = new Uint8Array(READ_BYTES);
  readonly #requests = new Map<RequestTemplate, Uint8Array>();

  private constructor(conn: Deno.TcpConn) {
    this.#conn = conn;
  }

  /** Connects without delay of small writes. */
  static async open(address: { hostname: string; port: number }): Promise<LoadConnection> {
    const conn = await Deno.connect(address);
    conn.setNoDelay(true);
    return new LoadConnection(conn);
  }

  /**
   * Sends the template with its `key`-th key and resolves with the status once all of the response
   * was read.
   *
   * @throws {Error} If the connection is lost, or the response is no HTTP.
   */
  async request(template: RequestTemplate, key: number): Promise<number> {
    let bytes = this.#requests.get(template);
    if (bytes === undefined) {
      bytes = template.bytes.slice();
      this.#requests.set(template, bytes);
    }
    bytes.set(template.keys[key]!, template.keyAt);
    const { values } = template;
    if (values !== undefined) {
      const from = Math.floor(Math.random() * (values.pool.length - values.bytes));
      bytes.set(values.pool.subarray(from, from + values.bytes), bytes.length - values.bytes);
    }
    if (bytes.length > PARALLEL_BYTES_MAX) {
      for (let at = 0; at < bytes.length;) at += await this.#conn.write(bytes.subarray(at));
      return await this.#response(await this.#read(0));
    }
    // Both at once: one turn of the event loop less for each request.
    const [written, n] = await Promise.all([this.#conn.write(bytes), this.#read(0)]);
    if (written < bytes.length) {
      throw new Error("Cannot send request: the socket took a part of it");
    }
    const whole = this.#wholeResponse(n);
    return whole ?? await this.#response(n);
  }

  /** Closes the connection. */
  close(): void {
    this.#conn.close();
  }

  /** The status of a response that came in one read, as most do; undefined if there is more to read. */
  #wholeResponse(used: number): number | undefined {
    const headerEnd = endOfHeaders(this.#buffer, 0, used);
    if (headerEnd < 0) return undefined;
    const length = contentLength(this.#buffer, headerEnd);
    return length === used - headerEnd ? statusOf(this.#buffer) : undefined;
  }

  /** Reads the rest of a response of which `used` bytes are there. */
  async #response(used: number): Promise<number> {
    const buffer = this.#buffer;
    let headerEnd = endOfHeaders(buffer, 0, used);
    while (headerEnd < 0) {
      if (used > HEADER_BYTES_MAX) throw new Error("Cannot read response: its headers do not end");
      const n = await this.#read(used);
      headerEnd = endOfHeaders(buffer, Math.max(0, used - 3), used + n);
      used += n;
    }
    const status = statusOf(buffer);
    if (status === 204 || status === 304) return status;
    const length = contentLength(buffer, headerEnd);
    if (length === undefined) await this.#skipChunks(used);
    else await this.#skip(headerEnd + length - used);
    return status;
  }

  async #read(at: number): Promise<number> {
    const n = await this.#conn.read(at === 0 ? this.#buffer : this.#buffer.subarray(at));
    if (n === null) throw new Error("Cannot read response: the connection was closed");
    return n;
  }

  /** Reads and forgets the rest of a body. */
  async #skip(left: number): Promise<void> {
    while (left > 0) left -= await this.#read(0);
  }

  /** Reads to the last chunk; nothing follows it, since there is one request at a time. */
  async #skipChunks(used: number): Promise<void> {
    const { length } = LAST_CHUNK;
    while (!LAST_CHUNK.every((byte, at) => this.#buffer[used - length + at] === byte)) {
      this.#buffer.copyWithin(0, Math.max(0, used - length), used);
      const kept = Math.min(used, length);
      used = kept + await this.#read(kept);
    }
  }
}

/** Offset just after the empty line, or -1. */
function endOfHeaders(bytes: Uint8Array, from: number, through: number): number {
  for (let at = from; at + 3 < through; at++) {
    if (
      bytes[at] === CR && bytes[at + 1] === LF && bytes[at + 2] === CR && bytes[at + 3] === LF
    ) return at + 4;
  }
  return -1;
}

/** The three digits after `HTTP/1.1 `. */
function statusOf(bytes: Uint8Array): number {
  const digit = (at: number): number => bytes[at]! - 0x30;
  const status = 100 * digit(9) + 10 * digit(10) + digit(11);
  if (!(status >= 100 && status <= 599)) throw new Error("Cannot read response: it is no HTTP");
  return status;
}

/** The declared length of the body; undefined if it comes in chunks. */
function contentLength(bytes: Uint8Array, headerEnd: number): number | undefined {
  for (let at = 0; at < headerEnd; at++) {
    if (bytes[at] !== LF) continue;
    let matched = 1;
    // Bit 5 makes ASCII letters lower case and leaves ":" and "-" as they are.
    while (
      matched < CONTENT_LENGTH.length &&
      (bytes[at + matched]! | 0x20) === CONTENT_LENGTH[matched]
    ) matched++;
    if (matched < CONTENT_LENGTH.length) continue;
    let length = 0;
    for (let digits = at + matched; bytes[digits] !== CR; digits++) {
      if (bytes[digits] !== 0x20) length = 10 * length + bytes[digits]! - 0x30;
    }
    return length;
  }
  return undefined;
}
