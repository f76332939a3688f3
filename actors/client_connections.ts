/**
 * The connections of clients (transport/wire/client_codec.ts): reads their requests, has the node do them,
 * and sends each answer as soon as it is there. Answers of one turn leave in one write.
 *
 * A client reaches the gateway's port and nothing behind it: no actor, and no message of Raft.
 *
 * @module
 */
import { isRepeatable } from "../storage/kv/command.ts";
import type { CommandResult } from "../storage/kv/command_result.ts";
import type { GatewayHandler } from "../transport/http/gateway.ts";
import type { GatewayPort } from "../transport/http/gateway_port.ts";
import { GatewayError, problemOf } from "../transport/http/problem.ts";
import {
  CLIENT_VERSIONS,
  type ClientAnswer,
  type ClientAsk,
  clientAskOf,
  ClientCodec,
  type ClientHello,
  PIECES_AHEAD,
} from "../transport/wire/client_codec.ts";
import { WireError, type WireValue } from "../transport/wire/messages.ts";
import type { Connection, ConnectionHandlers } from "../transport/wire/network.ts";
import { type SendBudget, SendQueue } from "../transport/wire/send_queue.ts";
import {
  CLIENT_CONNECTIONS_MAX,
  CLIENT_FRAME_BYTES_MAX,
  CLIENT_REQUEST_BYTES_MAX,
  CLIENT_REQUESTS_MAX,
  CLIENT_STALL_MS_MAX,
  CLIENT_TIMEOUT_MS,
  CLIENT_UNREAD_BYTES_MAX,
} from "./limits.ts";

/** What the connections need of the node. */
export interface ClientHost {
  readonly clusterId: string;
  readonly port:
    & Pick<GatewayPort, "nodeId" | "get" | "leader" | "expireAfter">
    & {
      /** As GatewayPort.write, of a command's bytes. */
      execute(
        payload: Uint8Array,
        options: { readonly mayRepeat: boolean; readonly timeoutMs: number },
      ): Promise<CommandResult>;
    };
  /** Answers the requests that are not of the wire's own. */
  readonly gateway: GatewayHandler;
  /** Called for errors that are a fault of this program. */
  readonly onDefect: (error: unknown) => void;
}

/** What the connections did, for metrics. */
export interface ClientCounters {
  /** Requests that came. */
  readonly requests: number;
  /** Connections that were turned away: there are too many, or the client is of another version. */
  readonly refused: number;
  /** Connections that were closed for what came over them. */
  readonly violations: number;
  /** Connections that were closed since the client did not read what waited for it. */
  readonly unread: number;
}

/** All connections of clients to one node. */
export class ClientConnections {
  readonly #host: ClientHost;
  readonly #open = new Set<ClientConnection>();
  readonly #counters = { requests: 0, refused: 0, violations: 0, unread: 0 };
  readonly #held = { bytes: 0 };
  readonly #unread: SendBudget = { bytes: 0, bytesMax: CLIENT_UNREAD_BYTES_MAX };
  #isStopping = false;

  /** Takes none before `accept`. */
  constructor(host: ClientHost) {
    this.#host = host;
  }

  /** How many there are. */
  get size(): number {
    return this.#open.size;
  }

  get counters(): ClientCounters {
    return { ...this.#counters };
  }

  /** Takes a connection whose hello has come; undefined if it was turned away. */
  accept(connection: Connection, hello: ClientHello): ConnectionHandlers | undefined {
    const version = Math.min(CLIENT_VERSIONS.max, hello.versionMax);
    const isKnown = version >= Math.max(CLIENT_VERSIONS.min, hello.versionMin);
    const refusal = !isKnown
      ? `This member speaks versions ${CLIENT_VERSIONS.min} to ${CLIENT_VERSIONS.max}`
      : this.#isStopping
      ? "This member is stopping"
      : this.#open.size >= CLIENT_CONNECTIONS_MAX
      ? `There are ${CLIENT_CONNECTIONS_MAX} connections of clients already`
      : "";
    const { clusterId, port: { nodeId: node } } = this.#host;
    const welcome = { type: "ClientWelcome", refusal, version, clusterId, node } as const;
    connection.send(new ClientCodec().welcome(welcome));
    if (refusal !== "") {
      this.#counters.refused++;
      connection.end();
      return undefined;
    }
    connection.setFrameLimit(CLIENT_FRAME_BYTES_MAX);
    const client = new ClientConnection(connection, this.#host, {
      counters: this.#counters,
      held: this.#held,
      unread: this.#unread,
      isStopping: () => this.#isStopping,
      onClosed: () => void this.#open.delete(client),
    });
    this.#open.add(client);
    return client.handlers;
  }

  /** New requests are refused, so that clients go elsewhere; those under way are answered. */
  drain(): void {
    this.#isStopping = true;
  }

  /** Closes all, after what is queued was written. Idempotent. */
  stop(): void {
    this.#isStopping = true;
    for (const client of [...this.#open]) client.end();
  }
}

/** A request whose body goes on. */
interface Transfer {
  readonly abort: AbortController;
  reader: ReadableStreamDefaultReader<Uint8Array> | undefined;
  /** Pieces that the client has room for. */
  credit: number;
  /** Wakes whoever waits for credit. */
  wake: () => void;
}

/** What a connection has of all of them. */
interface Shared {
  readonly counters: { requests: number; violations: number; unread: number };
  /** Bytes of the requests in flight. */
  readonly held: { bytes: number };
  /** Bytes of the answers that wait. */
  readonly unread: SendBudget;
  readonly isStopping: () => boolean;
  readonly onClosed: () => void;
}

/** One connection. */
class ClientConnection {
  readonly #connection: Connection;
  readonly #host: ClientHost;
  readonly #all: Shared;
  readonly #codec = new ClientCodec();
  readonly #queue: SendQueue;
  /** Takes back the end of a client that does not read. */
  #takeBackStall: (() => void) | undefined;
  readonly #transfers = new Map<number, Transfer>();
  #inFlight = 0;
  #isClosed = false;

  constructor(connection: Connection, host: ClientHost, all: Shared) {
    this.#connection = connection;
    this.#host = host;
    this.#all = all;
    this.#queue = new SendQueue(connection, all.unread);
  }

  readonly handlers: ConnectionHandlers = {
    onFrame: (body) => this.#receive(body),
    onDrained: () => this.#drained(),
    onClose: () => this.#closed(),
  };

  /** Closes it once what is queued was written. */
  end(): void {
    if (this.#isClosed) return;
    this.#connection.end();
    this.#closed();
  }

  #receive(body: Uint8Array): void {
    let ask: ClientAsk;
    try {
      ask = clientAskOf(body);
    } catch (error) {
      if (!(error instanceof WireError)) throw error;
      this.#all.counters.violations++;
      return this.#close();
    }
    if (ask.type === "Pull") return this.#pull(ask.id);
    if (ask.type === "Cancel") return this.#cancel(ask.id);
    this.#all.counters.requests++;
    if (this.#all.isStopping()) {
      return this.#fail(ask.id, new GatewayError("unavailable", "This member is stopping"));
    }
    if (this.#inFlight >= CLIENT_REQUESTS_MAX) {
      const detail = `${CLIENT_REQUESTS_MAX} requests of this connection are in flight already`;
      return this.#fail(ask.id, new GatewayError("overloaded", detail));
    }
    const { length } = body;
    if (this.#all.held.bytes + length > CLIENT_REQUEST_BYTES_MAX) {
      const detail = `Requests in flight have ${CLIENT_REQUEST_BYTES_MAX} bytes already`;
      return this.#fail(ask.id, new GatewayError("overloaded", detail));
    }
    this.#inFlight++;
    this.#all.held.bytes += length;
    const done = (): void => {
      this.#inFlight--;
      this.#all.held.bytes -= length;
    };
    this.#do(ask).then(done, (error) => {
      done();
      if (!(error instanceof GatewayError)) this.#host.onDefect(error);
      this.#fail(ask.id, error);
    });
  }

  async #do(
    ask: Exclude<ClientAsk, { readonly type: "Pull" } | { readonly type: "Cancel" }>,
  ): Promise<void> {
    const { port } = this.#host;
    switch (ask.type) {
      case "Execute": {
        const { id, payload } = ask;
        const options = { mayRepeat: isRepeatable(payload), timeoutMs: timeoutOf(ask) };
        const result = await port.execute(payload, options);
        const leader = port.leader() ?? 0;
        this.#send({ type: "Executed", id, leader, result: result as unknown as WireValue });
        return;
      }
      case "Get": {
        const { id, key, consistency, minRevision } = ask;
        const { entry, context } = await port.get(key, {
          ...{ consistency, timeoutMs: timeoutOf(ask) },
          ...(minRevision === 0 ? {} : { minRevision }),
        });
        const { leaderId: leader = 0, term, revision } = context;
        const found = entry && { ...entry, lease: entry.lease };
        const { unread } = this.#all;
        const heldBytes = this.#queue.bytes === 0 ? 0 : unread.bytes;
        // Whoever reads what comes is not refused for those who do not.
        if (heldBytes + (entry?.value.length ?? 0) > unread.bytesMax / 2) {
          throw new GatewayError("overloaded", "Too many answers wait to be read");
        }
        this.#send({ ...{ type: "Got", id, leader, term, revision }, entry: found });
        return;
      }
      case "Fetch":
        await this.#fetch(ask);
    }
  }

  async #fetch(
    { id, method, target, headers, body }: Extract<ClientAsk, { type: "Fetch" }>,
  ): Promise<void> {
    if (this.#transfers.has(id)) {
      throw new GatewayError("invalid-request", `Request ${id} is under way already`);
    }
    const transfer: Transfer = {
      abort: new AbortController(),
      ...{ reader: undefined, credit: PIECES_AHEAD, wake: () => {} },
    };
    this.#transfers.set(id, transfer);
    try {
      const response = await this.#host.gateway(
        requestOf({ method, target, headers, body }, transfer),
      );
      await this.#transfer(id, response, { transfer, isHead: method === "HEAD" });
    } finally {
      this.#transfers.delete(id);
    }
  }

  /** Sends an answer and its body, a piece at a time, as fast as the client reads. */
  async #transfer(
    id: number,
    response: Response,
    { transfer, isHead }: { readonly transfer: Transfer; readonly isHead: boolean },
  ): Promise<void> {
    const { status } = response;
    const headers = Object.fromEntries(response.headers);
    const reader = response.body?.getReader();
    if (reader === undefined) {
      return this.#send({ type: "Fetched", id, status, headers, isLast: true, body: NO_BYTES });
    }
    transfer.reader = reader;
    if (transfer.abort.signal.aborted) return await cancelQuietly(reader);
    // A read that has begun already: most bodies are found to be whole by it, and one frame carries them.
    let next: Promise<ReadableStreamReadResult<Uint8Array>> | undefined;
    for (let isFirst = true;; isFirst = false) {
      const waits = (): boolean => transfer.credit === 0 || this.#queue.bytes > 0;
      while (waits() && !transfer.abort.signal.aborted) {
        await new Promise<void>((resolve) => transfer.wake = resolve);
      }
      if (transfer.abort.signal.aborted) return await cancelQuietly(reader);
      let piece: ReadableStreamReadResult<Uint8Array>;
      let isLast = false;
      try {
        next ??= reader.read();
        if (isFirst && !isHead && await foundBy(next) === "nothing yet") {
          // An answer that waits for news begins before it has any, as over HTTP.
          this.#send({ type: "Fetched", id, status, headers, isLast: false, body: NO_BYTES });
          isFirst = false;
        }
        piece = await next;
        next = undefined;
        if (!piece.done && isFirst) {
          next = reader.read();
          isLast = await foundBy(next) === "end";
        }
      } catch (error) {
        return this.#send({ type: "Broken", id, why: (error as Error).message });
      }
      isLast ||= piece.done;
      const body = piece.value ?? NO_BYTES;
      if (isHead) {
        // How long the body would be is known if it is whole.
        if (isLast && body.length > 0) headers["content-length"] ??= String(body.length);
        this.#send({ type: "Fetched", id, status, headers, isLast: true, body: NO_BYTES });
        return isLast ? undefined : await cancelQuietly(reader);
      }
      transfer.credit--;
      if (isFirst) this.#send({ type: "Fetched", id, status, headers, isLast, body });
      else this.#send({ type: "Piece", id, isLast, body });
      if (isLast) return;
    }
  }

  #pull(id: number): void {
    const transfer = this.#transfers.get(id);
    if (transfer === undefined) return;
    transfer.credit++;
    transfer.wake();
  }

  /** The effect of a write is not taken back: nobody may know how far it has come. */
  #cancel(id: number): void {
    const transfer = this.#transfers.get(id);
    if (transfer !== undefined) abort(transfer);
  }

  #fail(id: number, error: unknown): void {
    const leader = this.#host.port.leader() ?? 0;
    this.#send({ type: "Failed", id, leader, problem: problemOf(error) });
  }

  #send(answer: ClientAnswer): void {
    if (this.#isClosed) return;
    let frame: Uint8Array;
    try {
      frame = this.#codec.answer(answer);
    } catch (error) {
      if (!(error instanceof WireError) || answer.type === "Failed") throw error;
      this.#host.onDefect(error);
      return this.#fail(answer.id, error);
    }
    if (!this.#queue.send(frame)) return this.#giveUp();
    if (this.#queue.bytes > 0) this.#takeBackStall ??= this.#stallSoon();
  }

  #stallSoon(): () => void {
    return this.#host.port.expireAfter(CLIENT_STALL_MS_MAX, () => this.#giveUp());
  }

  /** The client does not read. */
  #giveUp(): void {
    this.#all.counters.unread++;
    this.#close();
  }

  /** The client has read what was sent: the next may follow. */
  #drained(): void {
    if (this.#isClosed) return;
    this.#takeBackStall?.();
    this.#takeBackStall = undefined;
    this.#queue.drained();
    if (this.#queue.bytes > 0) this.#takeBackStall = this.#stallSoon();
    else for (const { wake } of this.#transfers.values()) wake();
  }

  #close(): void {
    this.#connection.close();
    this.#closed();
  }

  #closed(): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    this.#takeBackStall?.();
    this.#queue.close();
    this.#all.onClosed();
    for (const transfer of this.#transfers.values()) abort(transfer);
  }
}

function abort(transfer: Transfer): void {
  transfer.abort.abort();
  transfer.wake();
  if (transfer.reader !== undefined) void cancelQuietly(transfer.reader);
}

/** What a read finds without waiting. */
async function foundBy(
  read: Promise<ReadableStreamReadResult<Uint8Array>>,
): Promise<"more" | "end" | "failure" | "nothing yet"> {
  let found: "more" | "end" | "failure" | undefined;
  read.then(({ done }) => found = done ? "end" : "more", () => found = "failure");
  for (let turn = 0; turn < READ_TURNS && found === undefined; turn++) await Promise.resolve();
  return found ?? "nothing yet";
}

const NO_BYTES = new Uint8Array(0);

/** Microtasks after which a body that is there as a whole has been read, or its end. */
const READ_TURNS = 8;

async function cancelQuietly(reader: ReadableStreamDefaultReader<Uint8Array>): Promise<void> {
  await reader.cancel().catch(() => {});
}

/** The request as the gateway takes it: the target is all that a client may choose of its URL. */
function requestOf(
  { method, target, headers, body }: Pick<
    Extract<ClientAsk, { type: "Fetch" }>,
    "method" | "target" | "headers" | "body"
  >,
  { abort: { signal } }: Transfer,
): Request {
  if (!target.startsWith("/")) {
    throw new GatewayError("invalid-request", "The target of a request begins with a slash");
  }
  try {
    const own = new Headers(headers);
    own.set("host", HOST);
    const hasBody = body.length > 0 && method !== "GET" && method !== "HEAD";
    if (hasBody) own.set("content-length", String(body.length));
    const url = `http://${HOST}${target}`;
    const request = new Request(url, {
      ...{ method, headers: own, signal },
      ...(hasBody ? { body: body as Uint8Array<ArrayBuffer> } : {}),
    });
    // Such as `/a/../b`, which would be read as another path, and so as another key.
    if (request.url !== url) {
      throw new TypeError("Percent-encode what a URL would change in its path");
    }
    return request;
  } catch (error) {
    throw new GatewayError("invalid-request", (error as Error).message);
  }
}

const HOST = "wire";

function timeoutOf({ timeoutMs }: { readonly timeoutMs: number }): number {
  return Math.min(CLIENT_TIMEOUT_MS.max, Math.max(CLIENT_TIMEOUT_MS.min, timeoutMs));
}
