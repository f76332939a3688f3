/**
 * The TypeScript client of a cluster. It makes the hard parts disappear: any member may be asked, members
 * that are down or have no leader are passed over, a write whose answer was lost is repeated and still
 * applied once, and an error says what became of the request.
 *
 * Over HTTP it needs `fetch` and `Uint8Array.fromBase64`, so it runs in browsers of 2025 and in Node from 25 on.
 *
 * @module
 */
import {
  AbortedError,
  ClerkError,
  InvalidRequestError,
  LeaseNotFoundError,
  LockHeldError,
  PreconditionFailedError,
} from "./clerk_errors.ts";
import {
  entryOf,
  HttpKeyCalls,
  percentOf,
  queryText,
  rangeQuery,
  readQuery,
} from "./clerk_http.ts";
import {
  type ClerkLink,
  type ClerkPorts,
  type ClerkRequest,
  type CommandLink,
  HttpLink,
  limitsOf,
  TIMER_MS_MAX,
  type Transport,
} from "./clerk_link.ts";
import { ClerkRequests } from "./clerk_requests.ts";
import { CommandKeyCalls } from "./clerk_commands.ts";
import { WireLink } from "./clerk_wire.ts";
import { type HostPort, parseHostPort } from "../transport/wire/network.ts";
import { tcpNetwork } from "../transport/wire/tcp.ts";
import {
  type Bytes,
  bytesOf,
  type CallOptions,
  type Compare,
  type Entry,
  type KeyCalls,
  type KeyRange,
  type Operation,
  type OperationResult,
  type PutOptions,
  type RangeOptions,
  type ReadOptions,
  type Transaction,
  type TransactionResult,
  type WriteOptions,
  type Written,
} from "./clerk_types.ts";
import { Lock } from "./clerk_lock.ts";
import { KeySpace, type ValueCodec } from "./clerk_space.ts";
import { linesOf, piecesInTime } from "./lines.ts";

export { Lock } from "./clerk_lock.ts";
export {
  jsonValues,
  KeySpace,
  textValues,
  type TypedEntry,
  type TypedEvent,
  UPDATE_TRIES_MAX,
  type ValueCodec,
} from "./clerk_space.ts";
export {
  AbortedError,
  ClerkError,
  CompactedError,
  ConflictError,
  InvalidRequestError,
  LeaseNotFoundError,
  LockHeldError,
  OutcomeUnknownError,
  PreconditionFailedError,
  UnavailableError,
} from "./clerk_errors.ts";
export type {
  Attempt,
  AttemptOptions,
  CallLimits,
  ClerkLink,
  ClerkPorts,
  ClerkRequest,
  Transport,
} from "./clerk_link.ts";
export type { Clock, Random, TimerHandle, Timers } from "./runtime/ports.ts";
export type {
  Bytes,
  CallOptions,
  Compare,
  Entry,
  KeyRange,
  Operation,
  OperationResult,
  PutOptions,
  RangeOptions,
  ReadOptions,
  Transaction,
  TransactionResult,
  WriteOptions,
  Written,
} from "./clerk_types.ts";

/** How long a request may take if nobody says so, in milliseconds. */
export const CLERK_TIMEOUT_MS = 5_000;
/** How long a watch or a lock waits in one request, in milliseconds. */
const WATCH_WAIT_MS = 10_000;
/** Pause of a watch whose member had nothing to say and did not wait, in milliseconds. */
const WATCH_PAUSE_MS = 50;
/** What an answer may take besides before the member is given up, in milliseconds. */
const WATCH_MARGIN_MS = 2_000;
/** How long a lock outlives a holder that is gone if nobody says so, in milliseconds. */
export const LOCK_TTL_MS = 10_000;
/** A held lease is kept alive after this share of its time. */
const KEEP_ALIVE_SHARE = 1 / 3;

/** Where the cluster is. */
export interface ClerkOptions {
  /**
   * Where members are; one is enough, more survive its loss. Either HTTP addresses, such as
   * `http://127.0.0.1:8001`; or Raft addresses, such as `tcp://127.0.0.1:7001`: then it speaks the members' own
   * wire, which is faster, and takes Deno.
   */
  readonly endpoints: readonly string[];
  /** How long a request may take, in milliseconds; default CLERK_TIMEOUT_MS. */
  readonly timeoutMs?: number;
  /** Makes the requests over HTTP; default `fetch`. */
  readonly transport?: Transport;
}

/** A way to the members that is there already. */
export interface ClerkLinkOptions extends Pick<ClerkOptions, "timeoutMs"> {
  /** See {@linkcode ClerkLink}. */
  readonly link: ClerkLink;
  /** Time and chance; default those of this program. */
  readonly ports?: ClerkPorts;
}

/** What a watch takes. */
export interface WatchOptions extends KeyRange {
  /** Only this key. */
  readonly key?: Bytes;
  /** From this revision on; default what is new. */
  readonly from?: number;
  /** With what was stored before. */
  readonly withPrevious?: boolean;
  /** Ends the watch; the loop over it ends then, without an error. */
  readonly signal?: AbortSignal;
}

/** What taking a lock takes. */
export interface LockOptions {
  /** How long the lock outlives a holder that is gone, in milliseconds; default LOCK_TTL_MS. */
  readonly ttlMs?: number;
  /** How long to wait for it, in milliseconds; default as long as it takes. */
  readonly waitMs?: number;
  /** What others are told of who holds it, at most 1024 bytes. */
  readonly value?: Bytes;
  /** Gives up waiting. */
  readonly signal?: AbortSignal;
}

/** Who holds a lock. */
export interface LockHolder {
  /** See {@linkcode Lock.fencingToken}. */
  readonly fencingToken: number;
  /** The lease that the lock is lost with. */
  readonly lease: string;
  /** What the holder says of itself; empty if nothing. */
  readonly value: Uint8Array;
}

/** A change of a key. */
export interface WatchEvent {
  /** Whether the key was set or deleted. */
  readonly type: "put" | "delete";
  /** The key; see `keyBytes` for one that is no UTF-8. */
  readonly key: string;
  /** The key's bytes. */
  readonly keyBytes: Uint8Array;
  /** Revision of the store after the command that changed it. */
  readonly revision: number;
  /** What is stored now; undefined if it was deleted. */
  readonly entry: Entry | undefined;
  /** What was stored before, if that was asked for and there was something. */
  readonly previous: Entry | undefined;
}

/**
 * A client of a cluster.
 *
 * @example
 * ```ts
 * import { Clerk, startNode } from "statecraft";
 *
 * const dataDir = await Deno.makeTempDir();
 * const http = { hostname: "127.0.0.1", port: 0 };
 * await using node = await startNode({ id: 1, single: true, dataDir, http });
 * await using kv = new Clerk({ endpoints: [node.httpAddress] });
 *
 * await kv.put("greeting", "hello");
 * console.assert((await kv.get("greeting"))?.text() === "hello");
 * console.assert((await kv.increment("visits")).value === 1n);
 * for await (const entry of kv.range({ prefix: "g" })) console.assert(entry.key === "greeting");
 * ```
 */
export class Clerk implements AsyncDisposable {
  readonly #requests: ClerkRequests;
  readonly #timeoutMs: number;
  readonly #link: ClerkLink;
  readonly #keys: KeyCalls;
  readonly #leases = new Set<Lease>();
  /** It is disposed of: watches end. */
  #isClosing = false;

  /**
   * Asks nobody yet.
   *
   * @throws {RangeError} If there is no endpoint, or the endpoints are not all of one of both kinds.
   */
  constructor(options: ClerkOptions | ClerkLinkOptions) {
    const { timeoutMs = CLERK_TIMEOUT_MS } = options;
    const link = "link" in options ? options.link : linkTo(options);
    this.#timeoutMs = timeoutMs;
    this.#link = link;
    const { ports } = options as Partial<ClerkLinkOptions>;
    const requests = new ClerkRequests({
      ...{ link, timeoutMs },
      ...(ports === undefined ? {} : { ports }),
    });
    this.#requests = requests;
    const http = new HttpKeyCalls((request) => requests.send(request));
    this.#keys = isCommandLink(link)
      ? new CommandKeyCalls({ ...{ link, requests, http }, newId: idsOf(ports) })
      : http;
  }

  /**
   * Stores a value.
   *
   * @throws {PreconditionFailedError} If a condition is given and does not hold.
   * @throws {LeaseNotFoundError} If a lease is given and has ended.
   * @throws {ClerkError} Of another class of clerk_errors.ts.
   */
  put(
    key: Bytes,
    value: Bytes,
    options: PutOptions = {},
  ): Promise<Written & { readonly lease?: string }> {
    return this.#keys.put(key, value, options);
  }

  /**
   * What is stored at a key; undefined if nothing is.
   *
   * @throws {ClerkError} Of a class of clerk_errors.ts.
   */
  get(key: Bytes, options: ReadOptions = {}): Promise<Entry | undefined> {
    return this.#keys.get(key, options);
  }

  /** Deletes a key; answers whether it was there. Throws as {@linkcode put}. */
  delete(key: Bytes, options: WriteOptions = {}): Promise<boolean> {
    return this.#keys.delete(key, options);
  }

  /**
   * Deletes the keys of a range at once; answers how many there were. To delete every key, say
   * `{ prefix: "" }`.
   *
   * @throws {InvalidRequestError} If neither a prefix nor a bound is given: an option that turned out undefined
   * must not delete everything.
   * @throws {ClerkError} `too-large` if there are more than 100,000 of them: nothing is deleted then.
   */
  async deleteRange(range: KeyRange, options: CallOptions = {}): Promise<number> {
    const query = rangeQuery(range);
    if (query.size === 0) {
      const message = 'Name a prefix, or bounds; to delete every key, say { prefix: "" }';
      throw new InvalidRequestError(message, { code: "invalid-request", status: 400 });
    }
    const isWhole = ["prefix", "start", "end"].every((name) => (query.get(name) ?? "") === "");
    if (isWhole) query.set("all", "true");
    const path = `/v1/kv${queryText(query)}`;
    const response = await this.fetch({ method: "DELETE", path, ...limitsOf(options) });
    return (await response.json()).deleted;
  }

  /** Adds to the end of a value, which need not exist. Throws as {@linkcode put}. */
  async append(
    key: Bytes,
    value: Bytes,
    options: WriteOptions = {},
  ): Promise<Written & { readonly length: number }> {
    const { result, revision } = await this.#one({ append: { key, value } }, key, options);
    const { version, length } = result.append!;
    return { revision, version, length };
  }

  /**
   * Adds to a number; a missing key counts as 0.
   *
   * @throws {ConflictError} If the value is not the decimal text of a 64-bit integer, or the sum is none.
   */
  async increment(
    key: Bytes,
    by: number | bigint = 1,
    options: WriteOptions = {},
  ): Promise<Written & { readonly value: bigint }> {
    const { result, revision } = await this.#one({ increment: { key, by } }, key, options);
    const { version, value } = result.increment!;
    return { revision, version, value };
  }

  /**
   * Stores a value if another is stored now; `undefined` stands for a key that does not exist. Answers whether
   * it was stored.
   */
  async compareAndSet(
    key: Bytes,
    expected: Bytes | undefined,
    value: Bytes,
    options: CallOptions = {},
  ): Promise<boolean> {
    const compare: Compare = expected === undefined
      ? { key, target: "version", op: "==", version: 0 }
      : { key, target: "value", op: "==", value: expected };
    const put = { put: { key, value } };
    return (await this.transact({ compare: [compare], success: [put] }, options)).succeeded;
  }

  /**
   * Executes a transaction of at most 128 compares and 128 operations.
   *
   * @throws {ConflictError} If an operation cannot be done: nothing was changed.
   * @throws {InvalidRequestError} If it means nothing, or is too large.
   */
  transact(transaction: Transaction, options: CallOptions = {}): Promise<TransactionResult> {
    return this.#keys.transact(transaction, options);
  }

  /**
   * The entries of a range in bytewise order, as of one moment, read as they come. A listing may take as long
   * as it likes, but its next part must come within the call's time.
   *
   * @throws {ClerkError} Before the first entry as any read; `cut-short` if the answer ends too early.
   */
  async *range(options: RangeOptions = {}): AsyncGenerator<Entry, void> {
    const { limit, reverse } = options;
    const query = new Map([...readQuery(options), ...rangeQuery(options)]);
    query.set("encoding", "base64");
    if (limit !== undefined) query.set("limit", String(limit));
    if (reverse === true) query.set("reverse", "true");
    const { body } = await this.fetch({
      ...{ method: "GET", path: `/v1/kv${queryText(query)}`, isStreamed: true },
      headers: { accept: "application/x-ndjson" },
      ...limitsOf(options),
    });
    let isWhole = false;
    try {
      const patienceMs = Math.min(TIMER_MS_MAX, options.timeoutMs ?? this.#timeoutMs);
      for await (const line of linesOf(piecesInTime(body!, patienceMs))) {
        const item = JSON.parse(new TextDecoder().decode(line));
        isWhole = item.end === true;
        if (!isWhole) yield entryOf(item);
      }
    } catch (error) {
      if (options.signal?.aborted === true) {
        throw new AbortedError("it was aborted while it was read", { code: "aborted" });
      }
      throw cutShort((error as Error).message);
    }
    if (!isWhole) throw cutShort("it ended before its last line");
  }

  /** How many keys there are in a range. Throws as {@linkcode get}. */
  async count(options: KeyRange & ReadOptions = {}): Promise<number> {
    const query = new Map([...readQuery(options), ...rangeQuery(options)]);
    query.set("count_only", "true");
    const path = `/v1/kv${queryText(query)}`;
    return (await (await this.fetch({ method: "GET", path, ...limitsOf(options) })).json()).count;
  }

  /**
   * The changes of keys, every one once, in the order of revisions, for as long as the loop runs: it goes on
   * at another member when one is lost or stops, from where it was.
   *
   * @example Follow a configuration
   * ```ts ignore
   * for await (const { key, entry } of kv.watch({ prefix: "config/", signal })) apply(key, entry?.text());
   * ```
   *
   * @throws {CompactedError} If no member keeps the changes from there on any more: read the keys in a
   * transaction, which says at what revision, and watch anew from the one after.
   * @throws {ClerkError} Of another class of clerk_errors.ts, if no member answers in time.
   */
  async *watch(options: WatchOptions = {}): AsyncGenerator<WatchEvent, void> {
    const { key, from, withPrevious, signal } = options;
    const query = rangeQuery(options);
    if (key !== undefined) query.set("key", percentOf(key));
    else if (query.size === 0) query.set("prefix", "");
    query.set("encoding", "base64");
    if (withPrevious === true) query.set("prev", "true");
    let next = from;
    while (signal?.aborted !== true && !this.#isClosing) {
      // The first answer says where "what is new" begins, so that nothing is missed if the next is lost.
      const waitMs = next === undefined ? 0 : WATCH_WAIT_MS;
      query.set("wait", `${waitMs}ms`);
      if (next !== undefined) query.set("from", String(next));
      const askedMs = performance.now();
      try {
        // Each answer to a poll is whole, so that no part of a revision is told of twice.
        const response = await this.fetch({
          ...{ method: "GET", path: `/v1/watch${queryText(query)}` },
          ...{ attemptMs: waitMs + WATCH_MARGIN_MS, timeoutMs: this.#patienceMs(waitMs) },
          ...(signal === undefined ? {} : { signal }),
        });
        const { events, from: after } = await response.json();
        next = after as number;
        for (const event of events) yield eventOf(event);
        // A member that stops answers at once, again and again.
        if (events.length === 0 && performance.now() - askedMs < waitMs / 2) {
          await new Promise((resolve) => setTimeout(resolve, WATCH_PAUSE_MS));
        }
      } catch (error) {
        if (error instanceof AbortedError) return;
        throw error;
      }
    }
  }

  /**
   * A part of the keys whose values are of one type.
   *
   * @example
   * ```ts
   * import { Clerk, jsonValues, startNode } from "statecraft";
   *
   * const dataDir = await Deno.makeTempDir();
   * const http = { hostname: "127.0.0.1", port: 0 };
   * await using node = await startNode({ id: 1, single: true, dataDir, http });
   *
   * const users = node.kv.space("users/", jsonValues<{ name: string; visits: number }>());
   * await users.put("7", { name: "Ada", visits: 0 });
   * await users.update("7", (user) => user && { ...user, visits: user.visits + 1 });
   * console.assert((await users.get("7"))?.value.visits === 1);
   * ```
   */
  space<Value>(prefix: string, codec: ValueCodec<Value>): KeySpace<Value> {
    return new KeySpace(this, prefix, codec);
  }

  /**
   * Grants a lease, and keeps it alive until it is revoked or the clerk is disposed of.
   *
   * @example A key that is there while this program is
   * ```ts ignore
   * await using lease = await kv.lease(10_000);
   * await kv.put(`members/${name}`, address, { lease });
   * ```
   *
   * @throws {ClerkError} As {@linkcode put}.
   */
  async lease(
    ttlMs: number,
    options: CallOptions & { readonly keepAlive?: boolean } = {},
  ): Promise<Lease> {
    const sentMs = performance.now();
    const response = await this.fetch({
      ...{ method: "POST", path: "/v1/leases", body: JSON.stringify({ ttlSeconds: ttlMs / 1000 }) },
      headers: { "content-type": "application/json" },
      ...limitsOf(options),
    });
    const { id } = await response.json();
    const keepsAlive = options.keepAlive !== false;
    let begunMs = sentMs;
    // The answer came late, so that the lease may be over already: only one that is there is held.
    if (keepsAlive && performance.now() - sentMs >= ttlMs * KEEP_ALIVE_SHARE) {
      begunMs = performance.now();
      await this.fetch({ ...keepAliveOf(id), ...limitsOf(options) });
    }
    const lease: Lease = new Lease(id, {
      ...{ ttlMs, keepsAlive, requests: this.#requests, begunMs },
      onEnd: () => void this.#leases.delete(lease),
    });
    this.#leases.add(lease);
    return lease;
  }

  /**
   * Takes a lock once it is free; who waits for it gets it in order. It is held until it is released, or its
   * lease is lost.
   *
   * @example Only one of several programs does this at a time
   * ```ts ignore
   * await using lock = await kv.lock("nightly");
   * await work({ fencingToken: lock.fencingToken, signal: lock.lost });
   * ```
   *
   * @throws {LockHeldError} If it was not free in `waitMs`.
   * @throws {LeaseNotFoundError} If the lease was lost while it waited.
   * @throws {ClerkError} As {@linkcode put}.
   */
  async lock(name: Bytes, options: LockOptions = {}): Promise<Lock> {
    const { ttlMs = LOCK_TTL_MS, waitMs = Infinity, value = "", signal } = options;
    const untilMs = performance.now() + waitMs;
    const lease = await this.lease(ttlMs, signal === undefined ? {} : { signal });
    try {
      const ends = signal === undefined ? lease.lost : AbortSignal.any([signal, lease.lost]);
      for (;;) {
        const turnMs = Math.ceil(Math.min(WATCH_WAIT_MS, Math.max(0, untilMs - performance.now())));
        const held = await this.#takeLock(name, { lease, turnMs, value, signal: ends });
        if (!(held instanceof LockHeldError)) return held;
        if (performance.now() >= untilMs) throw held;
      }
    } catch (error) {
      // So it gives its place up. If that fails, too, the place goes with the lease.
      await lease.revoke().catch(() => {});
      if (signal?.aborted === true) {
        throw new AbortedError("It was aborted while it waited for the lock", { code: "aborted" });
      }
      throw lease.lost.aborted ? lease.lost.reason : error;
    }
  }

  /**
   * Waits until it is elected: as {@linkcode lock}, and the others are told who was.
   *
   * @example
   * ```ts ignore
   * await using term = await kv.elect("scheduler", "http://10.0.0.7:9000");
   * await lead(term.lost);
   * ```
   */
  elect(name: Bytes, value: Bytes, options: Omit<LockOptions, "value"> = {}): Promise<Lock> {
    return this.lock(name, { ...options, value });
  }

  /**
   * Who holds a lock, or was elected; undefined if nobody does.
   *
   * @throws {ClerkError} As {@linkcode get}.
   */
  async holder(name: Bytes, options: ReadOptions = {}): Promise<LockHolder | undefined> {
    const query = readQuery(options);
    query.set("encoding", "base64");
    const path = `/v1/locks/${percentOf(name)}${queryText(query)}`;
    const { holder } = await (await this.fetch({ method: "GET", path, ...limitsOf(options) }))
      .json();
    if (holder === undefined) return undefined;
    const { fencingToken, lease, value = "" } = holder;
    return { fencingToken, lease, value: Uint8Array.fromBase64(value) };
  }

  /** Waits for a lock for a while; the error if another holds it still. */
  async #takeLock(
    name: Bytes,
    { lease, turnMs, value, signal }: {
      readonly lease: Lease;
      readonly turnMs: number;
      readonly value: Bytes;
      readonly signal: AbortSignal;
    },
  ): Promise<Lock | LockHeldError> {
    const wish = {
      lease: lease.id,
      wait: `${turnMs}ms`,
      value: { base64: bytesOf(value).toBase64() },
    };
    try {
      const response = await this.fetch({
        ...{ method: "POST", path: `/v1/locks/${percentOf(name)}`, body: JSON.stringify(wish) },
        headers: { "content-type": "application/json" },
        ...{ attemptMs: turnMs + WATCH_MARGIN_MS, timeoutMs: this.#patienceMs(turnMs), signal },
      });
      return new Lock(await response.json(), lease);
    } catch (error) {
      if (error instanceof LockHeldError) return error;
      throw error;
    }
  }

  /**
   * Sends any request of the HTTP interface; the answer is a success.
   *
   * @throws {ClerkError} Of a class of clerk_errors.ts.
   */
  fetch(request: ClerkRequest): Promise<Response> {
    return this.#requests.send(request);
  }

  /** Ends the leases that it keeps alive, aborts what is under way, and closes its connections. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#isClosing = true;
    await Promise.all([...this.#leases].map((lease) => lease[Symbol.asyncDispose]()));
    this.#requests.close();
  }

  /** How long a watch tries to reach a member: each may hang for an attempt. */
  #patienceMs(waitMs: number): number {
    return this.#link.size * (waitMs + WATCH_MARGIN_MS) + this.#timeoutMs;
  }

  /** A transaction of one operation on one key. */
  async #one(
    operation: Operation,
    key: Bytes,
    options: WriteOptions,
  ): Promise<{ readonly result: OperationResult; readonly revision: number }> {
    const { ifRevision, ifAbsent } = options;
    const expected = ifAbsent === true ? 0 : ifRevision;
    const compare: readonly Compare[] = expected === undefined
      ? []
      : [{ key, target: "revision", op: "==", revision: expected }];
    const failure = compare.length === 0 ? [] : [{ get: { key } }];
    const { succeeded, results: [result], revision } = await this.transact(
      { compare, success: [operation], failure },
      options,
    );
    if (succeeded) return { result: result!, revision };
    const present = result?.get?.revision ?? 0;
    const message = present === 0 ? "The key does not exist" : `The key is at revision ${present}`;
    throw new PreconditionFailedError(message, present);
  }
}

/** A lease: keys that are attached to it are deleted when it ends. */
export class Lease implements AsyncDisposable {
  /** Its id. */
  readonly id: string;
  /** The time that a keepalive gives it, in milliseconds. */
  readonly ttlMs: number;
  readonly #requests: ClerkRequests;
  readonly #onEnd: () => void;
  readonly #lost = new AbortController();
  #timer: ReturnType<typeof setTimeout> | undefined;
  #isOver = false;

  /** See {@linkcode Clerk.lease}. */
  constructor(
    id: string,
    { ttlMs, begunMs, keepsAlive, requests, onEnd }: {
      readonly ttlMs: number;
      /** When it was asked for, or to be kept alive: its time began no earlier. */
      readonly begunMs: number;
      readonly keepsAlive: boolean;
      readonly requests: ClerkRequests;
      readonly onEnd: () => void;
    },
  ) {
    this.id = id;
    this.ttlMs = ttlMs;
    this.#requests = requests;
    this.#onEnd = onEnd;
    if (keepsAlive) this.#keepAliveSoon(begunMs);
  }

  /**
   * Aborted once the lease is lost: it has ended, or could not be kept alive in its time. Whoever relies on it
   * must stop then. With `keepAlive: false` nobody looks after its time: it is aborted once a `keepAlive()` finds
   * that it has ended.
   */
  get lost(): AbortSignal {
    return this.#lost.signal;
  }

  /**
   * Gives it all its time again; if it has ended, it is {@linkcode lost}.
   *
   * @throws {LeaseNotFoundError} If it has ended.
   * @throws {ClerkError} Of another class of clerk_errors.ts.
   */
  async keepAlive(options: CallOptions = {}): Promise<void> {
    try {
      await (await this.#requests.send({ ...keepAliveOf(this.id), ...options })).body?.cancel();
    } catch (error) {
      if (error instanceof LeaseNotFoundError && !this.#isOver) {
        this.#end();
        this.#lost.abort(error);
      }
      throw error;
    }
  }

  /** Ends it now, and deletes its keys; that it has ended already is no error. Idempotent. */
  async revoke(options: CallOptions = {}): Promise<void> {
    if (this.#isOver) return;
    this.#end();
    try {
      const path = `/v1/leases/${this.id}`;
      await (await this.#requests.send({ method: "DELETE", path, ...options })).body?.cancel();
    } catch (error) {
      if (!(error instanceof LeaseNotFoundError)) throw error;
    }
  }

  /** As {@linkcode revoke}. */
  [Symbol.asyncDispose](): Promise<void> {
    return this.revoke();
  }

  /**
   * Keeps it alive again and again. Its time began at the earliest when the request was sent that it was
   * given it by; the answer may have taken long.
   */
  #keepAliveSoon(begunMs: number): void {
    const dueMs = begunMs + this.ttlMs * KEEP_ALIVE_SHARE - performance.now();
    this.#timer = setTimeout(async () => {
      const sentMs = performance.now();
      try {
        await this.keepAlive({ timeoutMs: Math.max(1, begunMs + this.ttlMs - sentMs) });
        if (!this.#isOver) this.#keepAliveSoon(sentMs);
      } catch (error) {
        if (this.#isOver) return;
        this.#end();
        this.#lost.abort(error);
      }
    }, Math.min(TIMER_MS_MAX, Math.max(0, dueMs)));
  }

  #end(): void {
    this.#isOver = true;
    clearTimeout(this.#timer);
    this.#onEnd();
  }
}

function keepAliveOf(id: string): { readonly method: "POST"; readonly path: string } {
  return { method: "POST", path: `/v1/leases/${id}/keepalive` };
}

function eventOf(event: Record<string, unknown>): WatchEvent {
  const { type, revision, prev } = event as unknown as {
    readonly type: "put" | "delete";
    readonly revision: number;
    readonly prev?: Record<string, unknown>;
  };
  const keyBytes = Uint8Array.fromBase64(event["key"] as string);
  return {
    ...{ type, revision, keyBytes, key: new TextDecoder().decode(keyBytes) },
    entry: type === "put" ? entryOf(event) : undefined,
    previous: prev === undefined ? undefined : entryOf({ ...prev, key: event["key"] }),
  };
}

function cutShort(why: string): ClerkError {
  return new ClerkError(`The answer was cut short: ${why}`, { code: "cut-short" });
}

/** Ids of sessions that are drawn from the ports' chance, so that a run of a simulator can be repeated. */
function idsOf(ports: ClerkPorts | undefined): (() => string) | undefined {
  if (ports === undefined) return undefined;
  const part = (): string =>
    Math.floor(ports.random.next() * 2 ** 52).toString(16).padStart(13, "0");
  return () => `${part()}${part()}${part()}`;
}

function isCommandLink(link: ClerkLink): link is CommandLink {
  return "execute" in link;
}

/** @throws {RangeError} See the constructor of {@linkcode Clerk}. */
function linkTo({ endpoints, transport }: ClerkOptions): ClerkLink {
  const schemes = endpoints.map((endpoint) => URL.parse(endpoint)?.protocol ?? "");
  if (schemes.every((scheme) => scheme === "http:" || scheme === "https:")) {
    return new HttpLink(endpoints.map((endpoint) => endpoint.replace(/\/$/, "")), transport);
  }
  const addresses = endpoints.map((endpoint) =>
    parseHostPort(/^tcp:\/\/([^/]+)\/?$/.exec(endpoint)?.[1] ?? "")
  );
  const wrong = endpoints.find((_, at) => addresses[at] === undefined);
  if (wrong === undefined) return new WireLink(addresses as HostPort[], { network: tcpNetwork });
  throw new RangeError(
    `An endpoint is http://HOST:PORT, or all are tcp://HOST:PORT, not ${JSON.stringify(wrong)}`,
  );
}
