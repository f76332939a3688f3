/**
 * Exactly-once tables (thesis s6.3): which requests have been applied, and with what result. They
 * are part of the replicated state, so that every node recognises a repeat, and they forget by
 * log time, so that every node forgets at the same entry.
 *
 * @module
 */
import type { CommandResult, Once } from "./command.ts";
import { type Expiring, ExpiryQueue } from "./expiry_queue.ts";
import {
  EXPIRED_PER_ENTRY_MAX,
  IDEMPOTENCY_KEYS_MAX,
  IDEMPOTENCY_RETENTION_MS,
  SESSION_IDLE_MS,
  SESSION_WINDOW,
  SESSIONS_MAX,
} from "./limits.ts";
import { ItemHash, type SetHash } from "./state_hash.ts";

/** How many keys and sessions there may be. */
export interface OnceTablesOptions {
  /** Default IDEMPOTENCY_KEYS_MAX. */
  readonly idempotencyKeysMax?: number;
  /** Default SESSIONS_MAX. */
  readonly sessionsMax?: number;
}

interface KeyRecord extends Expiring {
  readonly key: string;
  readonly fingerprint: string;
  readonly result: CommandResult;
}

interface Session extends Expiring {
  readonly clientId: string;
  /** Highest sequence applied. */
  highest: number;
  /** Results by sequence, of those above `highest - SESSION_WINDOW`. */
  readonly results: Map<number, CommandResult>;
}

const HASH_KEY = 1;
const HASH_SESSION = 2;
const HASH_RESULT = 3;
const STATUS_CODE = {
  "ok": 1,
  "precondition-failed": 2,
  "too-large": 3,
  "idempotency-mismatch": 4,
  "session-expired": 5,
  "overloaded": 6,
} as const;

/**
 * Idempotency keys and client sessions.
 *
 * | table | kept | when full |
 * |---|---|---|
 * | idempotency keys | IDEMPOTENCY_RETENTION_MS from the first use | `overloaded` |
 * | sessions | until unused for SESSION_IDLE_MS | `overloaded` |
 * | results of a session | SESSION_WINDOW sequences below the highest | `session-expired` |
 *
 * Every call is O(1). What has expired is treated as absent at once, and forgotten a few at a time.
 */
export class OnceTables {
  readonly #idempotencyKeysMax: number;
  readonly #sessionsMax: number;
  readonly #keys = new Map<string, KeyRecord>();
  readonly #keysByAge = new ExpiryQueue<KeyRecord>();
  readonly #sessions = new Map<string, Session>();
  readonly #sessionsByAge = new ExpiryQueue<Session>();
  readonly #hash: SetHash;
  readonly #item = new ItemHash();
  #nowMs = 0;

  /** @param hash Takes in what the tables hold. */
  constructor(hash: SetHash, options: OnceTablesOptions = {}) {
    this.#hash = hash;
    this.#idempotencyKeysMax = options.idempotencyKeysMax ?? IDEMPOTENCY_KEYS_MAX;
    this.#sessionsMax = options.sessionsMax ?? SESSIONS_MAX;
  }

  /** Idempotency keys held, some of which may have expired. */
  get idempotencyKeys(): number {
    return this.#keys.size;
  }

  /** Sessions held, some of which may have expired. */
  get sessions(): number {
    return this.#sessions.size;
  }

  /** Moves the tables' time, which must not go back, and forgets some of what has expired. */
  advance(nowMs: number): void {
    this.#nowMs = nowMs;
    for (let count = 0; count < EXPIRED_PER_ENTRY_MAX; count++) {
      const record = this.#keysByAge.oldest;
      if (record === undefined || !this.#keyExpired(record)) break;
      this.#forgetKey(record);
    }
    for (let count = 0; count < EXPIRED_PER_ENTRY_MAX; count++) {
      const session = this.#sessionsByAge.oldest;
      if (session === undefined || !this.#sessionExpired(session)) break;
      this.#forgetSession(session);
    }
  }

  /**
   * The answer to a request that must not be applied: the first result of one that has been, or
   * why it cannot be; `undefined` if it is to be applied and its result to be passed to `record`.
   */
  recall(once: Once): CommandResult | undefined {
    return once.type === "session"
      ? this.#recallSequence(once.clientId, once.sequence)
      : this.#recallKey(once.key, once.fingerprint);
  }

  /** Keeps the result of a request for which `recall` has just returned `undefined`. */
  record(once: Once, result: CommandResult): void {
    if (once.type === "session") this.#recordSequence(once.clientId, once.sequence, result);
    else this.#recordKey(once.key, once.fingerprint, result);
  }

  #recallKey(key: string, fingerprint: string): CommandResult | undefined {
    const record = this.#keys.get(key);
    if (record !== undefined && !this.#keyExpired(record)) {
      if (record.fingerprint !== fingerprint) return { status: "idempotency-mismatch" };
      return replayed(record.result);
    }
    if (record !== undefined) this.#forgetKey(record);
    return this.#keys.size < this.#idempotencyKeysMax ? undefined : { status: "overloaded" };
  }

  #recordKey(key: string, fingerprint: string, result: CommandResult): void {
    const links = { usedMs: this.#nowMs, older: undefined, newer: undefined };
    const record: KeyRecord = { key, fingerprint, result, ...links };
    this.#keys.set(key, record);
    this.#keysByAge.add(record);
    this.#hash.add(this.#hashOfKey(record));
  }

  #forgetKey(record: KeyRecord): void {
    this.#hash.remove(this.#hashOfKey(record));
    this.#keysByAge.remove(record);
    this.#keys.delete(record.key);
  }

  #recallSequence(clientId: string, sequence: number): CommandResult | undefined {
    const session = this.#sessions.get(clientId);
    if (session !== undefined && !this.#sessionExpired(session)) {
      this.#touch(session, session.highest);
      const result = session.results.get(sequence);
      if (result !== undefined) return replayed(result);
      const inWindow = sequence > session.highest - SESSION_WINDOW;
      return inWindow ? undefined : { status: "session-expired" };
    }
    if (session !== undefined) this.#forgetSession(session);
    // A session that was forgotten is never made anew behind the client's back: what it repeats
    // may have been applied.
    if (sequence !== 1) return { status: "session-expired" };
    return this.#sessions.size < this.#sessionsMax ? undefined : { status: "overloaded" };
  }

  #recordSequence(clientId: string, sequence: number, result: CommandResult): void {
    const session = this.#sessions.get(clientId) ?? this.#beginSession(clientId);
    session.results.set(sequence, result);
    this.#hash.add(this.#hashOfResult(session, sequence, result));
    if (sequence <= session.highest) return;
    const previous = session.highest;
    this.#touch(session, sequence);
    const firstKept = sequence - SESSION_WINDOW + 1;
    for (let old = Math.max(1, previous - SESSION_WINDOW + 1); old < firstKept; old++) {
      if (old > previous) break;
      this.#forgetResult(session, old);
    }
  }

  #beginSession(clientId: string): Session {
    const links = { usedMs: this.#nowMs, older: undefined, newer: undefined };
    const session: Session = { clientId, highest: 0, results: new Map(), ...links };
    this.#sessions.set(clientId, session);
    this.#sessionsByAge.add(session);
    this.#hash.add(this.#hashOfSession(session));
    return session;
  }

  /** Notes a use of the session and its highest sequence. */
  #touch(session: Session, highest: number): void {
    this.#hash.remove(this.#hashOfSession(session));
    this.#sessionsByAge.remove(session);
    session.usedMs = this.#nowMs;
    session.highest = highest;
    this.#sessionsByAge.add(session);
    this.#hash.add(this.#hashOfSession(session));
  }

  #forgetSession(session: Session): void {
    for (const sequence of session.results.keys()) this.#forgetResult(session, sequence);
    this.#hash.remove(this.#hashOfSession(session));
    this.#sessionsByAge.remove(session);
    this.#sessions.delete(session.clientId);
  }

  #forgetResult(session: Session, sequence: number): void {
    const result = session.results.get(sequence);
    if (result === undefined) return;
    this.#hash.remove(this.#hashOfResult(session, sequence, result));
    session.results.delete(sequence);
  }

  #keyExpired({ usedMs }: KeyRecord): boolean {
    return this.#nowMs - usedMs >= IDEMPOTENCY_RETENTION_MS;
  }

  #sessionExpired({ usedMs }: Session): boolean {
    return this.#nowMs - usedMs >= SESSION_IDLE_MS;
  }

  #hashOfKey({ key, fingerprint, result, usedMs }: KeyRecord): ItemHash {
    const item = this.#item.begin(HASH_KEY).text(key).text(fingerprint).number(usedMs);
    return feedResult(item, result);
  }

  #hashOfSession({ clientId, highest, usedMs }: Session): ItemHash {
    return this.#item.begin(HASH_SESSION).text(clientId).number(highest).number(usedMs);
  }

  #hashOfResult({ clientId }: Session, sequence: number, result: CommandResult): ItemHash {
    return feedResult(this.#item.begin(HASH_RESULT).text(clientId).number(sequence), result);
  }
}

function replayed(result: CommandResult): CommandResult {
  switch (result.status) {
    case "ok":
    case "precondition-failed":
    case "too-large":
      return { ...result, replayed: true };
    default:
      return result;
  }
}

function feedResult(item: ItemHash, result: CommandResult): ItemHash {
  item.number(STATUS_CODE[result.status]);
  if (result.status === "precondition-failed") return item.number(result.revision);
  if (result.status !== "ok") return item;
  const { revision, version, length, created, deleted } = result;
  return item.number(revision).number(version).number(length).number(deleted).number(+created);
}
