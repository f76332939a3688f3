/**
 * Exactly-once tables (thesis s6.3): which commands have been applied, and with what result. They
 * are part of the replicated state, so that every node recognises a repeat, and they forget by
 * log time, so that every node forgets at the same entry.
 *
 * What has expired is treated as absent at once, and forgotten a few at a time.
 *
 * @module
 */
import type { Command } from "./command.ts";
import type { CommandResult } from "./command_result.ts";
import { IdempotencyKeys, type KeyRecord } from "./idempotency_keys.ts";
import { ROOM_PAUSE_MS } from "./limits.ts";
import type { Once } from "./once.ts";
import { type Session, type SessionResult, Sessions, type SessionsOptions } from "./sessions.ts";
import type { FrozenMap } from "./skip_list.ts";
import type { SetHash } from "./state_hash.ts";

/** How much the tables hold. */
export interface OnceTablesOptions extends SessionsOptions {
  /** Default IDEMPOTENCY_BYTES_MAX. */
  readonly idempotencyBytesMax?: number;
}

/** The tables at one moment. */
export interface FrozenOnceTables {
  readonly keys: FrozenMap<KeyRecord>;
  readonly sessions: FrozenMap<Session>;
  readonly results: FrozenMap<SessionResult>;
}

/** Idempotency keys and client sessions. */
export class OnceTables {
  readonly keys: IdempotencyKeys;
  readonly sessions: Sessions;
  #nowMs = 0;

  /** `hash` takes in what the tables hold. */
  constructor(hash: SetHash, options: OnceTablesOptions = {}) {
    this.keys = new IdempotencyKeys(hash, options.idempotencyBytesMax);
    this.sessions = new Sessions(hash, options);
  }

  /** The tables as they are now; whoever takes them releases each. */
  freeze(): FrozenOnceTables {
    return { keys: this.keys.freeze(), ...this.sessions.freeze() };
  }

  /** Sets the tables' time as it was when they were frozen; forgets nothing, as they did not. */
  restoreTime(nowMs: number): void {
    this.#nowMs = nowMs;
    this.keys.restoreTime(nowMs);
    this.sessions.restoreTime(nowMs);
  }

  /** Moves the tables' time, which must not go back, and forgets some of what has expired. */
  advance(nowMs: number): void {
    this.#nowMs = nowMs;
    this.keys.advance(nowMs);
    this.sessions.advance(nowMs);
  }

  /** Whether a command would be answered `overloaded` now, so that it need not be proposed. */
  isFull(command: Command): boolean {
    const { once } = command;
    if (once === undefined) return false;
    return once.type === "session"
      ? this.sessions.isFull(once, command)
      : this.keys.isFull(once, command);
  }

  /**
   * Log time at which a full table has room again; Infinity if it has, or will have it at the next
   * entry. What `isFull` refuses makes no entry, so that without one for this no time would pass.
   */
  nextRoomMs(): number {
    const roomMs = Math.min(this.keys.roomMs(), this.sessions.roomMs());
    return Math.max(roomMs, this.#nowMs + ROOM_PAUSE_MS);
  }

  /**
   * The answer to a command that must not be applied: the first result of one that has been, or
   * why it cannot be; `undefined` if it is to be applied and its result to be passed to `record`.
   */
  recall(once: Once, command: Command): CommandResult | undefined {
    return once.type === "session"
      ? this.sessions.recall(once, command)
      : this.keys.recall(once, command);
  }

  /** Keeps the result of a command for which `recall` has just returned `undefined`. */
  record(once: Once, result: CommandResult): void {
    if (once.type === "session") this.sessions.record(once, result);
    else this.keys.record(once, result);
  }
}
