/**
 * A set of objects that know their place in it.
 *
 * Why not `Set`: if objects enter and leave a `Set` all the time, V8 rebuilds its table after every
 * few dozen of them, and each old table points to its successor. The first table that reaches the
 * collector's old generation keeps all later tables alive, and every request that was open at one
 * of the rebuilds. On a busy leader the collector copied 2 KiB of dead objects a request, half of
 * its work.
 *
 * @module
 */

/** What a bag can hold; it is in one bag at a time. */
export interface BagItem {
  /** Set by the bag it is in; -1 before. */
  place: number;
}

/**
 * Items in no particular order, though the same one for the same history.
 *
 * | operation | cost |
 * |---|---|
 * | add, delete | O(1), amortized |
 * | items | O(n) |
 */
export class Bag<Item extends BagItem> {
  readonly #items: Item[] = [];

  get size(): number {
    return this.#items.length;
  }

  /** Takes an item that is in no bag. */
  add(item: Item): void {
    item.place = this.#items.length;
    this.#items.push(item);
  }

  /** Whether the item was in it. */
  delete(item: Item): boolean {
    const { place } = item;
    if (this.#items[place] !== item) return false;
    const last = this.#items.pop()!;
    item.place = -1;
    if (last !== item) {
      last.place = place;
      this.#items[place] = last;
    }
    return true;
  }

  /** What is in it now. */
  items(): Item[] {
    return this.#items.slice();
  }
}
