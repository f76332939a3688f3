/**
 * Client sessions (thesis s6.3): which commands of each client were applied, and their results.
 *
 * Records are never changed, but replaced, and live in maps that can be frozen (skip_list.ts).
 *
 * @module
 */
import type { Command } from "./command.ts";
import {
  type CommandResult,
  countedBytes,
  packedBytesMax,
  packResult,
  replayed,
  unpackResult,
} from "./command_result.ts";
import {
  RESULT_BYTES_MAX,
  SESSION_IDLE_MS,
  SESSION_RESULT_BYTES_MAX,
  SESSION_WINDOW,
  SESSIONS_MAX,
} from "./limits.ts";
import { orderKey } from "./numbers.ts";
import type { Once } from "./once.ts";
import { type FrozenMap, SkipList } from "./skip_list.ts";
import { ItemHash, type SetHash } from "./state_hash.ts";
import { type Used, UseOrder } from "./use_order.ts";

type OnceSequence = Extract<Once, { type: "session" }>;

/** How much the table holds. */
export interface SessionsOptions {
  /** Default SESSIONS_MAX. */
  readonly sessionsMax?: number;
  /** Default SESSION_RESULT_BYTES_MAX. */
  readonly sessionResultBytesMax?: number;
}

/** A client's session. */
export interface Session extends Used {
  readonly clientId: string;
  /** Highest sequence applied. */
  readonly highest: number;
}

/** The result of one command of a session. */
export interface SessionResult {
  readonly clientId: string;
  readonly sequence: number;
  /** Packed (command_result.ts). */
  readonly result: string;
}

const HASH_SESSION = 2;
const HASH_RESULT = 3;

/**
 * | table | kept | when full |
 * |---|---|---|
 * | sessions | until unused for SESSION_IDLE_MS | `overloaded` |
 * | results of a session | SESSION_WINDOW sequences below the highest | `session-expired` beyond the window, `overloaded` without room for the bytes |
 *
 * Every call is O(log n).
 */
export class Sessions {
  readonly #sessionsMax: number;
  readonly #resultBytesMax: number;
  readonly #sessions = new SkipList<Session>();
  readonly #uses = new UseOrder<Session>();
  readonly #results = new SkipList<SessionResult>();
  #resultBytes = 0;
  readonly #hash: SetHash;
  readonly #item = new ItemHash();

  /** `hash` takes in what the table holds. */
  constructor(hash: SetHash, options: SessionsOptions = {}) {
    this.#hash = hash;
    this.#sessionsMax = options.sessionsMax ?? SESSIONS_MAX;
    this.#resultBytesMax = options.sessionResultBytesMax ?? SESSION_RESULT_BYTES_MAX;
  }

  /** The tables as they are now; the caller must release each of them. */
  freeze(): { readonly sessions: FrozenMap<Session>; readonly results: FrozenMap<SessionResult> } {
    return { sessions: this.#sessions.freeze(), results: this.#results.freeze() };
  }

  /** Adds a session of a frozen table. Only such sessions may be in this table. */
  restore(session: Session): void {
    this.#uses.restore(session);
    this.#addSession(session);
  }

  /** As {@linkcode restore}. */
  restoreResult(result: SessionResult): void {
    this.#addResult(result);
  }

  /** Sets the time to that of the frozen table, and forgets nothing. */
  restoreTime(nowMs: number): void {
    this.#uses.restoreTime(nowMs);
  }

  /** Moves the table's time, which must not go back, and forgets some of what has expired. */
  advance(nowMs: number): void {
    this.#uses.advance(nowMs, SESSION_IDLE_MS, (session) => this.#forget(session));
  }

  /**
   * Whether there is no room for the command, and the next entry will not make any: an entry forgets
   * some of the sessions that have expired.
   */
  isFull({ clientId, sequence }: OnceSequence, command: Command): boolean {
    if (this.#results.has(resultKey(clientId, sequence))) return false;
    const hasRoom = this.#hasResultRoom(command) &&
      (this.#sessions.size < this.#sessionsMax || this.#sessions.has(clientId));
    if (hasRoom) return false;
    const oldest = this.#uses.oldest();
    return oldest === undefined || !this.#hasExpired(oldest);
  }

  /** Log time at which a full table has room; Infinity if there is room, or will be at the next entry. */
  roomMs(): number {
    const isFull = this.#sessions.size >= this.#sessionsMax ||
      this.#resultBytes + RESULT_BYTES_MAX > this.#resultBytesMax;
    const oldest = isFull ? this.#uses.oldest() : undefined;
    if (oldest === undefined || this.#hasExpired(oldest)) return Infinity;
    return oldest.usedMs + SESSION_IDLE_MS;
  }

  /** See {@linkcode OnceTables.recall}. */
  recall(
    { clientId, sequence }: OnceSequence,
    command: Command,
  ): CommandResult | undefined {
    const session = this.#sessions.get(clientId);
    if (session !== undefined && !this.#hasExpired(session)) {
      this.#touch(session, session.highest);
      const known = this.#results.get(resultKey(clientId, sequence));
      if (known !== undefined) return replayed(unpackResult(known.result));
      const inWindow = sequence > session.highest - SESSION_WINDOW;
      if (!inWindow) return { status: "session-expired" };
      return this.#hasResultRoom(command) ? undefined : { status: "overloaded" };
    }
    if (session !== undefined) this.#forget(session);
    // Only a client that begins with sequence 1 gets a new session. A later command may be a repeat of
    // one that the forgotten session had applied.
    if (sequence !== 1) return { status: "session-expired" };
    const hasRoom = this.#sessions.size < this.#sessionsMax && this.#hasResultRoom(command);
    return hasRoom ? undefined : { status: "overloaded" };
  }

  /** See {@linkcode OnceTables.record}. */
  record({ clientId, sequence }: OnceSequence, result: CommandResult): void {
    const session = this.#sessions.get(clientId) ?? this.#begin(clientId);
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

  #hasResultRoom(command: Command): boolean {
    const bytes = countedBytes(packedBytesMax(command));
    return bytes === 0 || this.#resultBytes + bytes <= this.#resultBytesMax;
  }

  #begin(clientId: string): Session {
    const session = this.#used(clientId, 0);
    this.#add(session);
    return session;
  }

  /** Notes a use of the session and its highest sequence. */
  #touch(session: Session, highest: number): void {
    const { clientId } = session;
    this.#hash.remove(this.#hashOfSession(session));
    this.#uses.remove(session);
    this.#add(this.#used(clientId, highest));
  }

  /** A session that is used now. */
  #used(clientId: string, highest: number): Session {
    return { clientId, highest, usedMs: this.#uses.nowMs, use: this.#uses.next() };
  }

  #add(session: Session): void {
    this.#uses.add(session);
    this.#addSession(session);
  }

  #addSession(session: Session): void {
    this.#sessions.set(session.clientId, session);
    this.#hash.add(this.#hashOfSession(session));
  }

  #forget(session: Session): void {
    const { clientId, highest } = session;
    for (let old = Math.max(1, highest - SESSION_WINDOW + 1); old <= highest; old++) {
      this.#forgetResult(clientId, old);
    }
    this.#hash.remove(this.#hashOfSession(session));
    this.#uses.remove(session);
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

  #hasExpired(session: Session): boolean {
    return this.#uses.isOlder(session, SESSION_IDLE_MS);
  }

  #hashOfSession({ clientId, highest, usedMs }: Session): ItemHash {
    return this.#item.begin(HASH_SESSION).text(clientId).number(highest).number(usedMs);
  }

  #hashOfResult({ clientId, sequence, result }: SessionResult): ItemHash {
    return this.#item.begin(HASH_RESULT).text(clientId).number(sequence).text(result);
  }
}

/** Client ids are printable, so the separator is in none of them. */
function resultKey(clientId: string, sequence: number): string {
  return `${clientId}\0${orderKey(sequence)}`;
}
