/**
 * Exactly-once tables (thesis s6.3): which requests have been applied, and with what result. They
 * are part of the replicated state, so that every node recognises a repeat, and they forget by
 * log time, so that every node forgets at the same entry.
 *
 * Records are never changed, but replaced, and live in maps that can be frozen (skip_list.ts).
 *
 * @module
 */
import type { Command } from "./command.ts";
import {
  type CommandResult,
  packedBytesMax,
  packResult,
  replayed,
  unpackResult,
} from "./command_result.ts";
import {
  EXPIRED_PER_ENTRY_MAX,
  FINGERPRINT_CHARS_MAX,
  IDEMPOTENCY_BYTES_MAX,
  IDEMPOTENCY_KEY_CHARS_MAX,
  IDEMPOTENCY_RECORD_BYTES,
  IDEMPOTENCY_RETENTION_MS,
  IDEMPOTENCY_RETENTION_MS_MIN,
  RECORD_RESULT_BYTES,
  RESULT_BYTES_MAX,
  ROOM_PAUSE_MS,
  SESSION_IDLE_MS,
  SESSION_RESULT_BYTES_MAX,
  SESSION_WINDOW,
  SESSIONS_MAX,
} from "./limits.ts";
import type { Once } from "./once.ts";
import { type FrozenMap, SkipList } from "./skip_list.ts";
import { ItemHash, type SetHash } from "./state_hash.ts";

type OnceKey = Extract<Once, { type: "idempotencyKey" }>;
type OnceSequence = Extract<Once, { type: "session" }>;

/** How much the tables hold. */
export interface OnceTablesOptions {
  /** Default IDEMPOTENCY_BYTES_MAX. */
  readonly idempotencyBytesMax?: number;
  /** Default SESSIONS_MAX. */
  readonly sessionsMax?: number;
  /** Default SESSION_RESULT_BYTES_MAX. */
  readonly sessionResultBytesMax?: number;
}

/** An idempotency key and what its first request came to. */
export interface KeyRecord {
  readonly key: string;
  readonly fingerprint: string;
  /** Packed (command_result.ts). */
  readonly result: string;
  /** Log time of the first use. */
  readonly usedMs: number;
  /** Its place among all uses. */
  readonly use: number;
}

/** A client's session. */
export interface Session {
  readonly clientId: string;
  /** Highest sequence applied. */
  readonly highest: number;
  /** Log time of the last use. */
  readonly usedMs: number;
  /** Its place among all uses. */
  readonly use: number;
}

/** What one command of a session came to. */
export interface SessionResult {
  readonly clientId: string;
  readonly sequence: number;
  /** Packed (command_result.ts). */
  readonly result: string;
}

/** The tables at one moment. */
export interface FrozenOnceTables {
  readonly keys: FrozenMap<KeyRecord>;
  readonly sessions: FrozenMap<Session>;
  readonly results: FrozenMap<SessionResult>;
}

const HASH_KEY = 1;
const HASH_SESSION = 2;
const HASH_RESULT = 3;

/**
 * Idempotency keys and client sessions.
 *
 * | table | kept | when full |
 * |---|---|---|
 * | idempotency keys | IDEMPOTENCY_RETENTION_MS from the first use; when there are many, IDEMPOTENCY_RETENTION_MS_MIN | `overloaded` |
 * | sessions | until unused for SESSION_IDLE_MS | `overloaded` |
 * | results of a session | SESSION_WINDOW sequences below the highest | `session-expired` beyond the window, `overloaded` without room for the bytes |
 *
 * Every call is O(log n). What has expired is treated as absent at once, and forgotten a few at a
 * time.
 */
export class OnceTables {
  readonly #idempotencyBytesMax: number;
  readonly #sessionsMax: number;
  readonly #sessionResultBytesMax: number;
  readonly #keys = new SkipList<KeyRecord>();
  readonly #keysByUse = new SkipList<KeyRecord>();
  #keyBytes = 0;
  readonly #sessions = new SkipList<Session>();
  readonly #sessionsByUse = new SkipList<Session>();
  readonly #results = new SkipList<SessionResult>();
  #resultBytes = 0;
  readonly #hash: SetHash;
  readonly #item = new ItemHash();
  #nowMs = 0;
  #uses = 0;

  /** @param hash Takes in what the tables hold. */
  constructor(hash: SetHash, options: OnceTablesOptions = {}) {
    this.#hash = hash;
    this.#idempotencyBytesMax = options.idempotencyBytesMax ?? IDEMPOTENCY_BYTES_MAX;
    this.#sessionsMax = options.sessionsMax ?? SESSIONS_MAX;
    this.#sessionResultBytesMax = options.sessionResultBytesMax ?? SESSION_RESULT_BYTES_MAX;
  }

  /** Idempotency keys held, some of which may have expired. */
  get idempotencyKeys(): number {
    return this.#keys.size;
  }

  /** Sessions held, some of which may have expired. */
  get sessions(): number {
    return this.#sessions.size;
  }

  /** The tables as they are now; whoever takes them releases each. */
  freeze(): FrozenOnceTables {
    return {
      keys: this.#keys.freeze(),
      sessions: this.#sessions.freeze(),
      results: this.#results.freeze(),
    };
  }

  /** Takes in a record of a frozen table; the tables are empty but for such. */
  restoreKey(record: KeyRecord): void {
    this.#uses = Math.max(this.#uses, record.use);
    this.#addKey(record);
  }

  /** As {@linkcode restoreKey}. */
  restoreSession(session: Session): void {
    this.#uses = Math.max(this.#uses, session.use);
    this.#addSession(session);
  }

  /** As {@linkcode restoreKey}. */
  restoreResult(result: SessionResult): void {
    this.#addResult(result);
  }

  /** Sets the tables' time as it was when they were frozen; forgets nothing, as they did not. */
  restoreTime(nowMs: number): void {
    this.#nowMs = nowMs;
  }

  /** Moves the tables' time, which must not go back, and forgets some of what has expired. */
  advance(nowMs: number): void {
    this.#nowMs = nowMs;
    for (let count = 0; count < EXPIRED_PER_ENTRY_MAX; count++) {
      if (!this.#forgetOldestKey(IDEMPOTENCY_RETENTION_MS)) break;
    }
    for (let count = 0; count < EXPIRED_PER_ENTRY_MAX; count++) {
      const session = this.#sessionsByUse.first()?.[1];
      if (session === undefined || !this.#sessionExpired(session)) break;
      this.#forgetSession(session);
    }
  }

  /** Whether a command would be answered `overloaded` now, so that it need not be proposed. */
  isFull(command: Command): boolean {
    const { once } = command;
    if (once === undefined) return false;
    if (once.type === "session") {
      const { clientId, sequence } = once;
      if (this.#results.has(resultKey(clientId, sequence))) return false;
      if (!this.#hasResultRoom(command)) return true;
      return this.#sessions.size >= this.#sessionsMax && !this.#sessions.has(clientId);
    }
    if (this.#keys.has(once.key) || this.#hasRoom(once, command)) return false;
    const oldest = this.#keysByUse.first()?.[1];
    return oldest === undefined || !this.#isOlder(oldest, IDEMPOTENCY_RETENTION_MS_MIN);
  }

  /**
   * Log time at which a full table has room again; Infinity if it has, or will have it at the next
   * entry. What `isFull` refuses makes no entry, so that without one for this no time would pass.
   */
  nextRoomMs(): number {
    const isFullOfKeys = this.#keyBytes + KEY_RECORD_BYTES_MAX > this.#idempotencyBytesMax;
    const key = isFullOfKeys ? this.#keysByUse.first()?.[1] : undefined;
    const isFullOfSessions = this.#sessions.size >= this.#sessionsMax ||
      this.#resultBytes + RESULT_BYTES_MAX > this.#sessionResultBytesMax;
    const session = isFullOfSessions ? this.#sessionsByUse.first()?.[1] : undefined;
    const roomMs = Math.min(
      this.#dueMs(key, IDEMPOTENCY_RETENTION_MS_MIN),
      this.#dueMs(session, SESSION_IDLE_MS),
    );
    return Math.max(roomMs, this.#nowMs + ROOM_PAUSE_MS);
  }

  /** When the record will be that old; Infinity if there is none or it is. */
  #dueMs(record: { readonly usedMs: number } | undefined, ageMs: number): number {
    if (record === undefined || record.usedMs + ageMs <= this.#nowMs) return Infinity;
    return record.usedMs + ageMs;
  }

  /**
   * The answer to a command that must not be applied: the first result of one that has been, or
   * why it cannot be; `undefined` if it is to be applied and its result to be passed to `record`.
   */
  recall(once: Once, command: Command): CommandResult | undefined {
    return once.type === "session"
      ? this.#recallSequence(once, command)
      : this.#recallKey(once, command);
  }

  /** Keeps the result of a command for which `recall` has just returned `undefined`. */
  record(once: Once, result: CommandResult): void {
    if (once.type === "session") return this.#recordSequence(once.clientId, once.sequence, result);
    const { key, fingerprint } = once;
    this.#addKey({
      key,
      fingerprint,
      result: packResult(result),
      usedMs: this.#nowMs,
      use: ++this.#uses,
    });
  }

  #recallKey(once: OnceKey, command: Command): CommandResult | undefined {
    const { key, fingerprint } = once;
    const record = this.#keys.get(key);
    if (record !== undefined && !this.#isOlder(record, IDEMPOTENCY_RETENTION_MS)) {
      if (record.fingerprint !== fingerprint) return { status: "idempotency-mismatch" };
      return replayed(unpackResult(record.result));
    }
    if (record !== undefined) this.#forgetKey(record);
    while (!this.#hasRoom(once, command)) {
      if (!this.#forgetOldestKey(IDEMPOTENCY_RETENTION_MS_MIN)) return { status: "overloaded" };
    }
    return undefined;
  }

  #hasRoom({ key, fingerprint }: OnceKey, command: Command): boolean {
    const bytes = keyBytes(key, fingerprint) + countedBytes(packedBytesMax(command));
    return this.#keyBytes + bytes <= this.#idempotencyBytesMax;
  }

  #addKey(record: KeyRecord): void {
    const { key, use } = record;
    this.#keys.set(key, record);
    this.#keysByUse.set(numberKey(use), record);
    this.#keyBytes += recordBytes(record);
    this.#hash.add(this.#hashOfKey(record));
  }

  /** Forgets the oldest key if it is older than that; whether it was. */
  #forgetOldestKey(ageMs: number): boolean {
    const oldest = this.#keysByUse.first()?.[1];
    if (oldest === undefined || !this.#isOlder(oldest, ageMs)) return false;
    this.#forgetKey(oldest);
    return true;
  }

  #forgetKey(record: KeyRecord): void {
    const { key, use } = record;
    this.#hash.remove(this.#hashOfKey(record));
    this.#keys.delete(key);
    this.#keysByUse.delete(numberKey(use));
    this.#keyBytes -= recordBytes(record);
  }

  #recallSequence(
    { clientId, sequence }: OnceSequence,
    command: Command,
  ): CommandResult | undefined {
    const session = this.#sessions.get(clientId);
    if (session !== undefined && !this.#sessionExpired(session)) {
      this.#touch(session, session.highest);
      const known = this.#results.get(resultKey(clientId, sequence));
      if (known !== undefined) return replayed(unpackResult(known.result));
      const inWindow = sequence > session.highest - SESSION_WINDOW;
      if (!inWindow) return { status: "session-expired" };
      return this.#hasResultRoom(command) ? undefined : { status: "overloaded" };
    }
    if (session !== undefined) this.#forgetSession(session);
    // A session that was forgotten is never made anew behind the client's back: what it repeats
    // may have been applied.
    if (sequence !== 1) return { status: "session-expired" };
    const hasRoom = this.#sessions.size < this.#sessionsMax && this.#hasResultRoom(command);
    return hasRoom ? undefined : { status: "overloaded" };
  }

  #hasResultRoom(command: Command): boolean {
    const bytes = countedBytes(packedBytesMax(command));
    return bytes === 0 || this.#resultBytes + bytes <= this.#sessionResultBytesMax;
  }

  #recordSequence(clientId: string, sequence: number, result: CommandResult): void {
    const session = this.#sessions.get(clientId) ?? this.#beginSession(clientId);
    this.#addResult({ clientId, sequence, result: packResult(result) });
    const previous = session.highest;
    if (sequence <= previous) return;
    this.#touch(session, sequence);
    const firstKept = sequence - SESSION_WINDOW + 1;
    for (let old = Math.max(1, previous - SESSION_WINDOW + 1); old < firstKept; old++) {
      if (old > previous) break;
      this.#forgetResult(clientId, old);
    }
  }

  #beginSession(clientId: string): Session {
    const session = { clientId, highest: 0, usedMs: this.#nowMs, use: ++this.#uses };
    this.#addSession(session);
    return session;
  }

  /** Notes a use of the session and its highest sequence. */
  #touch(session: Session, highest: number): void {
    const { clientId, use } = session;
    this.#hash.remove(this.#hashOfSession(session));
    this.#sessionsByUse.delete(numberKey(use));
    this.#addSession({ clientId, highest, usedMs: this.#nowMs, use: ++this.#uses });
  }

  #addSession(session: Session): void {
    this.#sessions.set(session.clientId, session);
    this.#sessionsByUse.set(numberKey(session.use), session);
    this.#hash.add(this.#hashOfSession(session));
  }

  #forgetSession(session: Session): void {
    const { clientId, highest, use } = session;
    for (let old = Math.max(1, highest - SESSION_WINDOW + 1); old <= highest; old++) {
      this.#forgetResult(clientId, old);
    }
    this.#hash.remove(this.#hashOfSession(session));
    this.#sessionsByUse.delete(numberKey(use));
    this.#sessions.delete(clientId);
  }

  #addResult(result: SessionResult): void {
    this.#results.set(resultKey(result.clientId, result.sequence), result);
    this.#resultBytes += countedBytes(result.result.length);
    this.#hash.add(this.#hashOfResult(result));
  }

  #forgetResult(clientId: string, sequence: number): void {
    const known = this.#results.delete(resultKey(clientId, sequence));
    if (known === undefined) return;
    this.#resultBytes -= countedBytes(known.result.length);
    this.#hash.remove(this.#hashOfResult(known));
  }

  #isOlder({ usedMs }: KeyRecord, ageMs: number): boolean {
    return this.#nowMs - usedMs >= ageMs;
  }

  #sessionExpired({ usedMs }: Session): boolean {
    return this.#nowMs - usedMs >= SESSION_IDLE_MS;
  }

  #hashOfKey({ key, fingerprint, result, usedMs }: KeyRecord): ItemHash {
    return this.#item.begin(HASH_KEY).text(key).text(fingerprint).number(usedMs).text(result);
  }

  #hashOfSession({ clientId, highest, usedMs }: Session): ItemHash {
    return this.#item.begin(HASH_SESSION).text(clientId).number(highest).number(usedMs);
  }

  #hashOfResult({ clientId, sequence, result }: SessionResult): ItemHash {
    return this.#item.begin(HASH_RESULT).text(clientId).number(sequence).text(result);
  }
}

/** What the largest record of an idempotency key counts for. */
const KEY_RECORD_BYTES_MAX = IDEMPOTENCY_RECORD_BYTES + IDEMPOTENCY_KEY_CHARS_MAX +
  FINGERPRINT_CHARS_MAX + RESULT_BYTES_MAX;

/** What a record of an idempotency key counts for besides its result. */
function keyBytes(key: string, fingerprint: string): number {
  return IDEMPOTENCY_RECORD_BYTES + key.length + fingerprint.length;
}

/** What a record of an idempotency key counts for. */
function recordBytes({ key, fingerprint, result }: KeyRecord): number {
  return keyBytes(key, fingerprint) + countedBytes(result.length);
}

/** What a packed result of so many bytes counts for besides its record. */
function countedBytes(packed: number): number {
  return Math.max(0, packed - RECORD_RESULT_BYTES);
}

/** A number as a byte string, so that bytewise order is that of the numbers. */
function numberKey(value: number): string {
  const high = Math.floor(value / 2 ** 32);
  const low = value >>> 0;
  return String.fromCharCode(
    (high >>> 16) & 0xff,
    (high >>> 8) & 0xff,
    high & 0xff,
    low >>> 24,
    (low >>> 16) & 0xff,
    (low >>> 8) & 0xff,
    low & 0xff,
  );
}

/** Client ids are printable, so the separator is in none of them. */
function resultKey(clientId: string, sequence: number): string {
  return `${clientId}\0${numberKey(sequence)}`;
}
