/**
 * Records in the order in which they were used, and the log time by which they age. Both exactly-once
 * tables keep one.
 *
 * @module
 */
import { EXPIRED_PER_ENTRY_MAX } from "./limits.ts";
import { orderKey } from "./numbers.ts";
import { SkipList } from "./skip_list.ts";

/** A record that ages. */
export interface Used {
  /** Log time of the use. */
  readonly usedMs: number;
  /** Its place among the uses of all records. */
  readonly use: number;
}

/** The records of one table, oldest use first. Every call is O(log n). */
export class UseOrder<Item extends Used> {
  readonly #byUse = new SkipList<Item>();
  #nowMs = 0;
  #uses = 0;

  /** Adds a record of a frozen table. */
  restore(item: Item): void {
    this.#uses = Math.max(this.#uses, item.use);
    this.add(item);
  }

  /** Sets the time as it was when the table was frozen. */
  restoreTime(nowMs: number): void {
    this.#nowMs = nowMs;
  }

  /**
   * Moves the time, which must not go back. Calls `forget`, which must remove the record, for at most
   * EXPIRED_PER_ENTRY_MAX of the records that are `ageMs` old.
   */
  advance(nowMs: number, ageMs: number, forget: (item: Item) => void): void {
    this.#nowMs = nowMs;
    for (let count = 0; count < EXPIRED_PER_ENTRY_MAX; count++) {
      const oldest = this.oldest();
      if (oldest === undefined || !this.isOlder(oldest, ageMs)) break;
      forget(oldest);
    }
  }

  /** Log time. */
  get nowMs(): number {
    return this.#nowMs;
  }

  /** The place of a use that happens now: it comes after all others. */
  next(): number {
    return ++this.#uses;
  }

  add(item: Item): void {
    this.#byUse.set(orderKey(item.use), item);
  }

  remove({ use }: Item): void {
    this.#byUse.delete(orderKey(use));
  }

  oldest(): Item | undefined {
    return this.#byUse.first()?.[1];
  }

  /** Whether the record was used `ageMs` ago or longer. */
  isOlder({ usedMs }: Item, ageMs: number): boolean {
    return this.#nowMs - usedMs >= ageMs;
  }
}
