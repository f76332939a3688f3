/**
 * Things in the order of their last use, for forgetting the oldest first.
 *
 * @module
 */

/** A member of an {@linkcode ExpiryQueue}; a thing is in one queue at most. */
export interface Expiring {
  /** Log time of the last use. */
  usedMs: number;
  older: this | undefined;
  newer: this | undefined;
}

/**
 * A doubly linked list, oldest first; every operation is O(1). A `Map` in insertion order would
 * not do: its iterator passes over all that was removed from its front.
 */
export class ExpiryQueue<T extends Expiring> {
  #oldest: T | undefined = undefined;
  #newest: T | undefined = undefined;

  /** The thing that was not used for the longest time. */
  get oldest(): T | undefined {
    return this.#oldest;
  }

  /** Adds a thing as the newest. */
  add(thing: T): void {
    thing.older = this.#newest;
    thing.newer = undefined;
    if (this.#newest === undefined) this.#oldest = thing;
    else this.#newest.newer = thing;
    this.#newest = thing;
  }

  /** Takes a thing out. */
  remove(thing: T): void {
    const { older, newer } = thing;
    if (older === undefined) this.#oldest = newer;
    else older.newer = newer;
    if (newer === undefined) this.#newest = older;
    else newer.older = older;
    thing.older = thing.newer = undefined;
  }
}
