/**
 * Idempotency keys: which commands with an idempotency key were applied, and their results.
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
  FINGERPRINT_CHARS_MAX,
  IDEMPOTENCY_BYTES_MAX,
  IDEMPOTENCY_KEY_CHARS_MAX,
  IDEMPOTENCY_RECORD_BYTES,
  IDEMPOTENCY_RETENTION_MS,
  IDEMPOTENCY_RETENTION_MS_MIN,
  RESULT_BYTES_MAX,
} from "./limits.ts";
import type { Once } from "./once.ts";
import { type FrozenMap, SkipList } from "./skip_list.ts";
import { ItemHash, type SetHash } from "./state_hash.ts";
import { type Used, UseOrder } from "./use_order.ts";

type OnceKey = Extract<Once, { type: "idempotencyKey" }>;

/** An idempotency key and the result of its first request. */
export interface KeyRecord extends Used {
  readonly key: string;
  readonly fingerprint: string;
  /** Packed (command_result.ts). */
  readonly result: string;
}

const HASH_KEY = 1;
/** Bytes that the largest record counts for. */
const RECORD_BYTES_MAX = IDEMPOTENCY_RECORD_BYTES + IDEMPOTENCY_KEY_CHARS_MAX +
  FINGERPRINT_CHARS_MAX + RESULT_BYTES_MAX;

/**
 * Keys are kept for IDEMPOTENCY_RETENTION_MS from their first use. When the table is full, the oldest
 * keys make room once they are IDEMPOTENCY_RETENTION_MS_MIN old. If none is, a command is answered
 * `overloaded`. Every call is O(log n).
 */
export class IdempotencyKeys {
  readonly #bytesMax: number;
  readonly #keys = new SkipList<KeyRecord>();
  /** In the order of first uses: a repeat does not prolong a key's life. */
  readonly #uses = new UseOrder<KeyRecord>();
  #bytes = 0;
  readonly #hash: SetHash;
  readonly #item = new ItemHash();

  /** `hash` takes in what the table holds. */
  constructor(hash: SetHash, bytesMax: number = IDEMPOTENCY_BYTES_MAX) {
    this.#hash = hash;
    this.#bytesMax = bytesMax;
  }

  /** The table as it is now; the caller must release it. */
  freeze(): FrozenMap<KeyRecord> {
    return this.#keys.freeze();
  }

  /** Adds a record of a frozen table. Only such records may be in this table. */
  restore(record: KeyRecord): void {
    this.#uses.restore(record);
    this.#addRecord(record);
  }

  /** Sets the time to that of the frozen table, and forgets nothing. */
  restoreTime(nowMs: number): void {
    this.#uses.restoreTime(nowMs);
  }

  /** Moves the table's time, which must not go back, and forgets some of what has expired. */
  advance(nowMs: number): void {
    this.#uses.advance(nowMs, IDEMPOTENCY_RETENTION_MS, (record) => this.#forget(record));
  }

  /** Whether the command would be answered `overloaded` now. */
  isFull(once: OnceKey, command: Command): boolean {
    if (this.#keys.has(once.key) || this.#hasRoom(once, command)) return false;
    return this.#oldestToForget() === undefined;
  }

  /** Log time at which a full table has room; Infinity if there is room, or will be at the next entry. */
  roomMs(): number {
    const isFull = this.#bytes + RECORD_BYTES_MAX > this.#bytesMax;
    const oldest = isFull ? this.#uses.oldest() : undefined;
    if (oldest === undefined || this.#uses.isOlder(oldest, IDEMPOTENCY_RETENTION_MS_MIN)) {
      return Infinity;
    }
    return oldest.usedMs + IDEMPOTENCY_RETENTION_MS_MIN;
  }

  /** See {@linkcode OnceTables.recall}. */
  recall(once: OnceKey, command: Command): CommandResult | undefined {
    const { key, fingerprint } = once;
    const record = this.#keys.get(key);
    if (record !== undefined && !this.#uses.isOlder(record, IDEMPOTENCY_RETENTION_MS)) {
      if (record.fingerprint !== fingerprint) return { status: "idempotency-mismatch" };
      return replayed(unpackResult(record.result));
    }
    if (record !== undefined) this.#forget(record);
    while (!this.#hasRoom(once, command)) {
      const oldest = this.#oldestToForget();
      if (oldest === undefined) return { status: "overloaded" };
      this.#forget(oldest);
    }
    return undefined;
  }

  /** See {@linkcode OnceTables.record}. */
  record({ key, fingerprint }: OnceKey, result: CommandResult): void {
    const { nowMs: usedMs } = this.#uses;
    const use = this.#uses.next();
    const record = { key, fingerprint, result: packResult(result), usedMs, use };
    this.#uses.add(record);
    this.#addRecord(record);
  }

  #hasRoom({ key, fingerprint }: OnceKey, command: Command): boolean {
    const bytes = keyBytes(key, fingerprint) + countedBytes(packedBytesMax(command));
    return this.#bytes + bytes <= this.#bytesMax;
  }

  /** The oldest key, if it may be forgotten to make room. */
  #oldestToForget(): KeyRecord | undefined {
    const oldest = this.#uses.oldest();
    if (oldest === undefined) return undefined;
    return this.#uses.isOlder(oldest, IDEMPOTENCY_RETENTION_MS_MIN) ? oldest : undefined;
  }

  #addRecord(record: KeyRecord): void {
    this.#keys.set(record.key, record);
    this.#bytes += recordBytes(record);
    this.#hash.add(this.#hashOf(record));
  }

  #forget(record: KeyRecord): void {
    this.#hash.remove(this.#hashOf(record));
    this.#keys.delete(record.key);
    this.#uses.remove(record);
    this.#bytes -= recordBytes(record);
  }

  #hashOf({ key, fingerprint, result, usedMs }: KeyRecord): ItemHash {
    return this.#item.begin(HASH_KEY).text(key).text(fingerprint).number(usedMs).text(result);
  }
}

/** Bytes that a record counts for without its result. */
function keyBytes(key: string, fingerprint: string): number {
  return IDEMPOTENCY_RECORD_BYTES + key.length + fingerprint.length;
}

/** Bytes that a record counts for. */
function recordBytes({ key, fingerprint, result }: KeyRecord): number {
  return keyBytes(key, fingerprint) + countedBytes(result.length);
}
