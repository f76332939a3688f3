/**
 * A bounded queue that hands over batches.
 *
 * @module
 */

/** What a full mailbox does with one message more. */
export type WhenFull =
  /** The sender is told: `cast` is false, a call fails with MailboxFullError. */
  | "refuse"
  /** The new message is lost: `cast` is true all the same, a call fails with MailboxFullError. */
  | "drop-newest"
  /**
   * The oldest waiting message is lost, its call fails with MailboxFullError. Where a signal stands
   * first, the new message is refused instead.
   */
  | "drop-oldest";

/**
 * Messages that wait for their actor's turn.
 *
 * | operation | cost |
 * |---|---|
 * | push, dropOldest | O(1), amortized |
 * | takeBatch | O(1) if it takes everything, else O(batch), amortized |
 * | waiting | O(n) |
 */
export class Mailbox<T> {
  readonly capacity: number;
  #waiting: T[] = [];
  /** Where the oldest message is; what is before it has been taken. */
  #head = 0;
  #highWater = 0;

  /** @throws {RangeError} If the capacity is not a positive integer. */
  constructor(capacity: number) {
    if (!Number.isInteger(capacity) || capacity < 1) {
      throw new RangeError(`Cannot make a mailbox: capacity ${capacity} is not a positive integer`);
    }
    this.capacity = capacity;
  }

  get length(): number {
    return this.#waiting.length - this.#head;
  }

  /** The most messages that ever waited. */
  get highWater(): number {
    return this.#highWater;
  }

  get full(): boolean {
    return this.length >= this.capacity;
  }

  /** The message that has waited longest. */
  get oldest(): T | undefined {
    return this.#waiting[this.#head];
  }

  /** Adds a message, even to a full mailbox: the caller checks the capacity. */
  push(message: T): void {
    this.#waiting.push(message);
    if (this.length > this.#highWater) this.#highWater = this.length;
  }

  /** Removes and returns the oldest message. */
  dropOldest(): T | undefined {
    if (this.length === 0) return undefined;
    const oldest = this.#waiting[this.#head++];
    this.#compactIfSparse();
    return oldest;
  }

  /** Removes and returns the oldest messages, `max` at most. */
  takeBatch(max: number): T[] {
    if (this.#head === 0 && this.#waiting.length <= max) {
      const all = this.#waiting;
      this.#waiting = [];
      return all;
    }
    const batch = this.#waiting.slice(this.#head, this.#head + max);
    this.#head += batch.length;
    this.#compactIfSparse();
    return batch;
  }

  /** What waits, oldest first. */
  waiting(): readonly T[] {
    return this.#waiting.slice(this.#head);
  }

  /** Drops what was taken once it is half of the array, so that each message moves O(1) times. */
  #compactIfSparse(): void {
    if (this.#head * 2 < this.#waiting.length) return;
    this.#waiting = this.#waiting.slice(this.#head);
    this.#head = 0;
  }
}
