/**
 * Exactly-once tables (thesis s6.3): which commands were applied, and their results. The tables are
 * part of the replicated state, so that every node recognises a repeat. They forget by log time, so
 * that every node forgets at the same entry.
 *
 * An expired record is treated as absent at once, and removed later, a few records at each entry.
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

  /** The tables as they are now; the caller must release each of them. */
  freeze(): FrozenOnceTables {
    return { keys: this.keys.freeze(), ...this.sessions.freeze() };
  }

  /** Sets the time to that of the frozen tables, and forgets nothing. */
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

  /** Whether a command would be answered `overloaded`, so that it need not be proposed. */
  isFull(command: Command): boolean {
    const { once } = command;
    if (once === undefined) return false;
    return once.type === "session"
      ? this.sessions.isFull(once, command)
      : this.keys.isFull(once, command);
  }

  /**
   * Log time at which a full table has room again; Infinity if there is room, or will be at the next
   * entry. A leader appends an empty entry at that time: commands that `isFull` refuses make no
   * entries, and without entries no log time passes.
   */
  nextRoomMs(): number {
    const roomMs = Math.min(this.keys.roomMs(), this.sessions.roomMs());
    return Math.max(roomMs, this.#nowMs + ROOM_PAUSE_MS);
  }

  /**
   * The answer to a command that must not be applied: its first result, if it was applied before, or
   * why it cannot be applied. `undefined` if it must be applied; `record` then takes its result.
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
