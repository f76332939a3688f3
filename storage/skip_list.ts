/**
 * An ordered map from byte strings to values: a skip list (Pugh 1990) whose nodes hold blocks of
 * neighbouring keys.
 *
 * A classic skip list of a million keys reads about forty nodes scattered over memory for each
 * search; here the towers stand over blocks, so a search reads few of them and ends with a binary
 * search in one block, and a scan walks arrays.
 *
 * @module
 */

/** A block that would grow beyond this splits in two. */
const BLOCK_KEYS_MAX = 64;
/** A block smaller than this takes in its successor if both fill at most half a block. */
const BLOCK_KEYS_MIN = BLOCK_KEYS_MAX / 8;
/** Enough for 4^16 blocks. */
const LEVELS_MAX = 16;
const SEED_DEFAULT = 0x9e3779b9;

/** The keys of a scan: from `start` (included) to `end` (excluded), in descending order if `reverse`. */
export interface KeyRange {
  readonly start?: string | undefined;
  readonly end?: string | undefined;
  readonly reverse?: boolean | undefined;
}

/** Keys from `anchor` (included) to the next block's anchor (excluded), ascending. */
class Block<V> {
  /** Fixed for the block's life, even if its first key goes. */
  readonly anchor: string;
  readonly keys: string[];
  readonly values: V[];
  /** The next block at each level of this one's tower. */
  readonly next: (Block<V> | undefined)[];
  previous: Block<V> | undefined = undefined;

  constructor(anchor: string, keys: string[], values: V[], levels: number) {
    this.anchor = anchor;
    this.keys = keys;
    this.values = values;
    this.next = new Array<Block<V> | undefined>(levels).fill(undefined);
  }
}

/**
 * An ordered map from byte strings to values. Order is that of `<` on strings, which is bytewise
 * for byte strings (see byte_string.ts).
 *
 * | operation | expected | worst case |
 * |---|---|---|
 * | `get`, `has` | O(log n) | O(n) |
 * | `set`, `delete` | O(log n) | O(n) |
 * | `scan` of k keys | O(log n + k) | O(n) |
 * | `first`, `last` | O(1), O(log n) | O(1), O(n) |
 * | `size` | O(1) | O(1) |
 * | memory | n keys and values, 8 to 20 bytes each besides | |
 *
 * The worst cases need an improbable run of tower heights. Heights come from a seeded generator
 * and nothing observable depends on them: two maps with other seeds and the same content answer
 * the same.
 */
export class SkipList<V> {
  readonly #head = new Block<V>("", [], [], LEVELS_MAX);
  #levels = 1;
  #size = 0;
  #random: number;

  /** @param seed Seed of the tower heights. */
  constructor(seed: number = SEED_DEFAULT) {
    this.#random = seed | 0 || SEED_DEFAULT | 0;
  }

  /** How many keys there are. */
  get size(): number {
    return this.#size;
  }

  /** The value at `key`, if any. */
  get(key: string): V | undefined {
    const block = this.#blockOf(key);
    const at = lowerBound(block.keys, key);
    return block.keys[at] === key ? block.values[at] : undefined;
  }

  /** Whether there is a value at `key`. */
  has(key: string): boolean {
    const block = this.#blockOf(key);
    return block.keys[lowerBound(block.keys, key)] === key;
  }

  /** Puts `value` at `key` and returns the value that was there. */
  set(key: string, value: V): V | undefined {
    const block = this.#blockOf(key);
    const at = lowerBound(block.keys, key);
    if (block.keys[at] === key) {
      const previous = block.values[at];
      block.values[at] = value;
      return previous;
    }
    this.#size++;
    if (block.keys.length < BLOCK_KEYS_MAX) insertAt(block, at, key, value);
    else this.#split(block, at, key, value);
    return undefined;
  }

  /** Removes `key` and returns the value that was there. */
  delete(key: string): V | undefined {
    const block = this.#blockOf(key);
    const at = lowerBound(block.keys, key);
    if (block.keys[at] !== key) return undefined;
    const previous = block.values[at];
    removeAt(block, at);
    this.#size--;
    if (block.keys.length < BLOCK_KEYS_MIN) this.#shrink(block);
    return previous;
  }

  /** The smallest key and its value. */
  first(): [key: string, value: V] | undefined {
    const block = this.#head.keys.length > 0 ? this.#head : this.#head.next[0];
    return block === undefined ? undefined : [block.keys[0]!, block.values[0]!];
  }

  /** The greatest key and its value. */
  last(): [key: string, value: V] | undefined {
    const block = this.#lastBlock();
    const at = block.keys.length - 1;
    return at < 0 ? undefined : [block.keys[at]!, block.values[at]!];
  }

  /** Yields the keys of `range` in order. The map must not be changed before the scan is over. */
  scan(range: KeyRange = {}): Generator<[key: string, value: V], void> {
    const { start = "", end, reverse = false } = range;
    return reverse ? this.#scanDown(start, end) : this.#scanUp(start, end);
  }

  *#scanUp(start: string, end: string | undefined): Generator<[key: string, value: V], void> {
    let block: Block<V> | undefined = this.#blockOf(start);
    let at = lowerBound(block.keys, start);
    while (block !== undefined) {
      const { keys, values } = block;
      const stop = end === undefined ? keys.length : lowerBound(keys, end);
      for (; at < stop; at++) yield [keys[at]!, values[at]!];
      if (stop < keys.length) return;
      block = block.next[0];
      at = 0;
    }
  }

  *#scanDown(start: string, end: string | undefined): Generator<[key: string, value: V], void> {
    let block: Block<V> | undefined = end === undefined ? this.#lastBlock() : this.#blockOf(end);
    let at = (end === undefined ? block.keys.length : lowerBound(block.keys, end)) - 1;
    while (block !== undefined) {
      const { keys, values } = block;
      const stop = lowerBound(keys, start);
      for (; at >= stop; at--) yield [keys[at]!, values[at]!];
      if (stop > 0) return;
      block = block.previous;
      at = block === undefined ? -1 : block.keys.length - 1;
    }
  }

  #lastBlock(): Block<V> {
    let block = this.#head;
    for (let level = this.#levels - 1; level >= 0; level--) {
      for (let next = block.next[level]; next !== undefined; next = block.next[level]) block = next;
    }
    return block;
  }

  /** The only block that may hold `key`: the last whose anchor is not greater. */
  #blockOf(key: string): Block<V> {
    let block = this.#head;
    let beyond: Block<V> | undefined = undefined;
    for (let level = this.#levels - 1; level >= 0; level--) {
      let next = block.next[level];
      // A block found too far on a higher level need not be compared again.
      while (next !== undefined && next !== beyond && next.anchor <= key) {
        block = next;
        next = block.next[level];
      }
      beyond = next;
    }
    return block;
  }

  /** Makes room for `key` in a full block by moving its upper half into a new one. */
  #split(block: Block<V>, at: number, key: string, value: V): void {
    // Keys that arrive in order leave full blocks behind instead of halves.
    const atEnd = at === BLOCK_KEYS_MAX && block.next[0] === undefined;
    const middle = BLOCK_KEYS_MAX >>> 1;
    const keys = atEnd ? [key] : block.keys.splice(middle);
    const values = atEnd ? [value] : block.values.splice(middle);
    const upper = new Block<V>(keys[0]!, keys, values, this.#drawLevels());
    this.#link(upper);
    if (atEnd) return;
    if (at <= middle) insertAt(block, at, key, value);
    else insertAt(upper, at - middle, key, value);
  }

  /** Keeps blocks from becoming many and nearly empty after deletions. */
  #shrink(block: Block<V>): void {
    const next = block.next[0];
    if (block.keys.length === 0 && block !== this.#head) this.#unlink(block);
    else if (
      next !== undefined && block.keys.length + next.keys.length <= BLOCK_KEYS_MAX / 2
    ) {
      for (let i = 0; i < next.keys.length; i++) {
        block.keys.push(next.keys[i]!);
        block.values.push(next.values[i]!);
      }
      this.#unlink(next);
    }
  }

  #link(block: Block<V>): void {
    this.#levels = Math.max(this.#levels, block.next.length);
    let before = this.#head;
    for (let level = this.#levels - 1; level >= 0; level--) {
      before = lastBefore(before, level, block.anchor);
      if (level < block.next.length) {
        block.next[level] = before.next[level];
        before.next[level] = block;
      }
    }
    block.previous = before;
    const next = block.next[0];
    if (next !== undefined) next.previous = block;
  }

  #unlink(block: Block<V>): void {
    let before = this.#head;
    for (let level = this.#levels - 1; level >= 0; level--) {
      before = lastBefore(before, level, block.anchor);
      if (level < block.next.length) before.next[level] = block.next[level];
    }
    const next = block.next[0];
    if (next !== undefined) next.previous = before;
  }

  /** 1 with probability 3/4, 2 with 3/16, and so on (xorshift32, Marsaglia 2003). */
  #drawLevels(): number {
    let x = this.#random;
    x ^= x << 13;
    x ^= x >>> 17;
    x ^= x << 5;
    this.#random = x;
    let levels = 1;
    for (let bits = x >>> 2; levels < LEVELS_MAX && (bits & 3) === 0; bits >>>= 2) levels++;
    return levels;
  }
}

/** The last block at `level`, from `block` on, whose anchor is less than `anchor`. */
function lastBefore<V>(block: Block<V>, level: number, anchor: string): Block<V> {
  let before = block;
  let next = before.next[level];
  while (next !== undefined && next.anchor < anchor) {
    before = next;
    next = before.next[level];
  }
  return before;
}

/** Position of the first key that is not less than `key`. */
function lowerBound(keys: readonly string[], key: string): number {
  let low = 0;
  let high = keys.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (keys[middle]! < key) low = middle + 1;
    else high = middle;
  }
  return low;
}

// Loops instead of splice: it would build an array of what it removed at each call.
function insertAt<V>(block: Block<V>, at: number, key: string, value: V): void {
  const { keys, values } = block;
  keys.push(key);
  values.push(value);
  for (let i = keys.length - 1; i > at; i--) {
    keys[i] = keys[i - 1]!;
    values[i] = values[i - 1]!;
  }
  keys[at] = key;
  values[at] = value;
}

function removeAt<V>(block: Block<V>, at: number): void {
  const { keys, values } = block;
  for (let i = at + 1; i < keys.length; i++) {
    keys[i - 1] = keys[i]!;
    values[i - 1] = values[i]!;
  }
  keys.pop();
  values.pop();
}
