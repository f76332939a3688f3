/**
 * An ordered map from byte strings to values: a skip list (Pugh 1990) whose levels are cut into
 * blocks, as in a B-tree (the "B-skiplist").
 *
 * A classic skip list of a million keys reads about forty nodes scattered over memory for each
 * search. Here a level's neighbours lie in one array, which a search halves, so that it compares
 * as often as a binary search; a key's tower decides where the arrays of the levels below begin.
 *
 * @module
 */

/** A leaf that would grow beyond this splits in two. */
const LEAF_KEYS_MAX = 64;
/** A leaf smaller than this takes in its successor if both fill at most half a leaf. */
const LEAF_KEYS_MIN = LEAF_KEYS_MAX / 8;
/** A tower reaches one level higher with probability 2^-5: branches have 32 children on average. */
const LEVEL_BITS = 5;
const SEED_DEFAULT = 0x9e3779b9;

/** The keys of a scan: from `start` (included) to `end` (excluded), in descending order if `reverse`. */
export interface KeyRange {
  readonly start?: string | undefined;
  readonly end?: string | undefined;
  readonly reverse?: boolean | undefined;
}

/** Level 0: keys from `anchor` (included) to the next leaf's anchor (excluded), ascending. */
class Leaf<V> {
  /** Fixed for the leaf's life, even if its first key goes. */
  readonly anchor: string;
  readonly keys: string[];
  readonly values: V[];
  previous: Leaf<V> | undefined = undefined;
  next: Leaf<V> | undefined = undefined;

  constructor(anchor: string, keys: string[], values: V[]) {
    this.anchor = anchor;
    this.keys = keys;
    this.values = values;
  }
}

/** A level above: nodes of the level below and the anchor at which each begins. */
class Branch<V> {
  readonly anchors: string[];
  readonly children: Node<V>[];

  constructor(anchors: string[], children: Node<V>[]) {
    this.anchors = anchors;
    this.children = children;
  }
}

type Node<V> = Leaf<V> | Branch<V>;

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
  /** The leftmost leaf is never removed. */
  readonly #head = new Leaf<V>("", [], []);
  #root: Node<V> = this.#head;
  /** Levels of branches above the leaves. */
  #levels = 0;
  #size = 0;
  #random: number;
  /** The last key searched for and its leaf: a command reads a key before it writes it. */
  #recentKey: string | undefined = undefined;
  #recentLeaf: Leaf<V> = this.#head;

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
    const leaf = this.#leafOf(key);
    const at = lowerBound(leaf.keys, key);
    return leaf.keys[at] === key ? leaf.values[at] : undefined;
  }

  /** Whether there is a value at `key`. */
  has(key: string): boolean {
    const leaf = this.#leafOf(key);
    return leaf.keys[lowerBound(leaf.keys, key)] === key;
  }

  /** Puts `value` at `key` and returns the value that was there. */
  set(key: string, value: V): V | undefined {
    const leaf = this.#leafOf(key);
    const at = lowerBound(leaf.keys, key);
    if (leaf.keys[at] === key) {
      const previous = leaf.values[at];
      leaf.values[at] = value;
      return previous;
    }
    this.#size++;
    if (leaf.keys.length < LEAF_KEYS_MAX) insertAt(leaf, at, key, value);
    else this.#split(leaf, at, key, value);
    return undefined;
  }

  /** Removes `key` and returns the value that was there. */
  delete(key: string): V | undefined {
    const leaf = this.#leafOf(key);
    const at = lowerBound(leaf.keys, key);
    if (leaf.keys[at] !== key) return undefined;
    const previous = leaf.values[at];
    removeAt(leaf, at);
    this.#size--;
    if (leaf.keys.length < LEAF_KEYS_MIN) this.#shrink(leaf);
    return previous;
  }

  /** The smallest key and its value. */
  first(): [key: string, value: V] | undefined {
    const leaf = this.#head.keys.length > 0 ? this.#head : this.#head.next;
    return leaf === undefined ? undefined : [leaf.keys[0]!, leaf.values[0]!];
  }

  /** The greatest key and its value. */
  last(): [key: string, value: V] | undefined {
    const leaf = this.#lastLeaf();
    const at = leaf.keys.length - 1;
    return at < 0 ? undefined : [leaf.keys[at]!, leaf.values[at]!];
  }

  /** Yields the keys of `range` in order. The map must not be changed before the scan is over. */
  scan(range: KeyRange = {}): Generator<[key: string, value: V], void> {
    const { start = "", end, reverse = false } = range;
    return reverse ? this.#scanDown(start, end) : this.#scanUp(start, end);
  }

  /** How many keys of `range` there are; O(log n) and one step for each leaf, not for each key. */
  count({ start = "", end }: Pick<KeyRange, "start" | "end"> = {}): number {
    let leaf: Leaf<V> | undefined = this.#leafOf(start);
    let count = -lowerBound(leaf.keys, start);
    while (leaf !== undefined) {
      const { keys } = leaf;
      const isLast = end !== undefined && keys.length > 0 && keys.at(-1)! >= end;
      if (isLast) return Math.max(0, count + lowerBound(keys, end));
      count += keys.length;
      leaf = leaf.next;
    }
    return Math.max(0, count);
  }

  *#scanUp(start: string, end: string | undefined): Generator<[key: string, value: V], void> {
    let leaf: Leaf<V> | undefined = this.#leafOf(start);
    let at = lowerBound(leaf.keys, start);
    while (leaf !== undefined) {
      const { keys, values } = leaf;
      const stop = end === undefined ? keys.length : lowerBound(keys, end);
      for (; at < stop; at++) yield [keys[at]!, values[at]!];
      if (stop < keys.length) return;
      leaf = leaf.next;
      at = 0;
    }
  }

  *#scanDown(start: string, end: string | undefined): Generator<[key: string, value: V], void> {
    let leaf: Leaf<V> | undefined = end === undefined ? this.#lastLeaf() : this.#leafOf(end);
    let at = (end === undefined ? leaf.keys.length : lowerBound(leaf.keys, end)) - 1;
    while (leaf !== undefined) {
      const { keys, values } = leaf;
      const stop = lowerBound(keys, start);
      for (; at >= stop; at--) yield [keys[at]!, values[at]!];
      if (stop > 0) return;
      leaf = leaf.previous;
      at = leaf === undefined ? -1 : leaf.keys.length - 1;
    }
  }

  /** The only leaf that may hold `key`: the last whose anchor is not greater. */
  #leafOf(key: string): Leaf<V> {
    if (key === this.#recentKey) return this.#recentLeaf;
    let node = this.#root;
    for (let level = this.#levels; level > 0; level--) {
      const { anchors, children } = node as Branch<V>;
      node = children[childAt(anchors, key)]!;
    }
    this.#recentKey = key;
    this.#recentLeaf = node as Leaf<V>;
    return node as Leaf<V>;
  }

  #lastLeaf(): Leaf<V> {
    let node = this.#root;
    for (let level = this.#levels; level > 0; level--) node = (node as Branch<V>).children.at(-1)!;
    return node as Leaf<V>;
  }

  /** The branches on the way to the leaf of `key`, by level less one, and the child taken in each. */
  #pathTo(key: string): { readonly branch: Branch<V>; readonly at: number }[] {
    const path = new Array<{ branch: Branch<V>; at: number }>(this.#levels);
    let node = this.#root;
    for (let level = this.#levels; level > 0; level--) {
      const branch = node as Branch<V>;
      const at = childAt(branch.anchors, key);
      path[level - 1] = { branch, at };
      node = branch.children[at]!;
    }
    return path;
  }

  /** Makes room for `key` in a full leaf by moving its upper half into a new one. */
  #split(leaf: Leaf<V>, at: number, key: string, value: V): void {
    this.#recentKey = undefined;
    // Keys that arrive in order leave full leaves behind instead of halves.
    const atEnd = at === LEAF_KEYS_MAX && leaf.next === undefined;
    const middle = LEAF_KEYS_MAX >>> 1;
    const keys = atEnd ? [key] : leaf.keys.splice(middle);
    const values = atEnd ? [value] : leaf.values.splice(middle);
    const upper = new Leaf<V>(keys[0]!, keys, values);
    this.#raiseTower(upper);
    upper.previous = leaf;
    upper.next = leaf.next;
    if (leaf.next !== undefined) leaf.next.previous = upper;
    leaf.next = upper;
    if (atEnd) return;
    if (at <= middle) insertAt(leaf, at, key, value);
    else insertAt(upper, at - middle, key, value);
  }

  /** Keeps leaves from becoming many and nearly empty after deletions. */
  #shrink(leaf: Leaf<V>): void {
    const { next } = leaf;
    if (leaf.keys.length === 0 && leaf !== this.#head) this.#unlink(leaf);
    else if (next !== undefined && leaf.keys.length + next.keys.length <= LEAF_KEYS_MAX / 2) {
      for (let i = 0; i < next.keys.length; i++) {
        leaf.keys.push(next.keys[i]!);
        leaf.values.push(next.values[i]!);
      }
      this.#unlink(next);
    }
  }

  #unlink(leaf: Leaf<V>): void {
    this.#recentKey = undefined;
    this.#removeTower(leaf.anchor);
    leaf.previous!.next = leaf.next;
    if (leaf.next !== undefined) leaf.next.previous = leaf.previous;
  }

  /**
   * Enters a new leaf into the levels above, up to a height drawn by lot: at the top of its tower
   * it joins a branch, and below it begins a new one.
   */
  #raiseTower(leaf: Leaf<V>): void {
    const { anchor } = leaf;
    const path = this.#pathTo(anchor);
    const height = this.#drawHeight();
    let node: Node<V> = leaf;
    for (let level = 0; level < height - 1; level++) {
      const { branch, at } = path[level]!;
      const anchors = branch.anchors.splice(at + 1);
      const children = branch.children.splice(at + 1);
      anchors.unshift(anchor);
      children.unshift(node);
      node = new Branch<V>(anchors, children);
    }
    if (height > this.#levels) {
      this.#root = new Branch<V>(["", anchor], [this.#root, node]);
      this.#levels = height;
    } else {
      const { branch, at } = path[height - 1]!;
      branch.anchors.splice(at + 1, 0, anchor);
      branch.children.splice(at + 1, 0, node);
    }
  }

  /** Takes an anchor out of all levels, and joins the branches that its tower kept apart. */
  #removeTower(anchor: string): void {
    const path = this.#pathTo(anchor);
    let top = 0;
    while (path[top]!.at === 0) top++;
    const { branch, at } = path[top]!;
    branch.anchors.splice(at, 1);
    branch.children.splice(at, 1);
    let before = branch.children[at - 1]!;
    for (let level = top - 1; level >= 0; level--) {
      const { anchors, children } = path[level]!.branch;
      const joined = before as Branch<V>;
      before = joined.children.at(-1)!;
      for (let i = 1; i < children.length; i++) {
        joined.anchors.push(anchors[i]!);
        joined.children.push(children[i]!);
      }
    }
    while (this.#levels > 0 && (this.#root as Branch<V>).children.length === 1) {
      this.#root = (this.#root as Branch<V>).children[0]!;
      this.#levels--;
    }
  }

  /** At least 1, at most one more than there are levels (xorshift32, Marsaglia 2003). */
  #drawHeight(): number {
    let x = this.#random;
    x ^= x << 13;
    x ^= x >>> 17;
    x ^= x << 5;
    this.#random = x;
    const mask = (1 << LEVEL_BITS) - 1;
    let height = 1;
    for (let bits = x; height <= this.#levels && (bits & mask) === 0; bits >>>= LEVEL_BITS) {
      height++;
    }
    return height;
  }
}

/** Position of the last anchor that is not greater than `key`; the first anchor counts as least. */
function childAt(anchors: readonly string[], key: string): number {
  let low = 1;
  let high = anchors.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (anchors[middle]! <= key) low = middle + 1;
    else high = middle;
  }
  return low - 1;
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
function insertAt<V>(leaf: Leaf<V>, at: number, key: string, value: V): void {
  const { keys, values } = leaf;
  keys.push(key);
  values.push(value);
  for (let i = keys.length - 1; i > at; i--) {
    keys[i] = keys[i - 1]!;
    values[i] = values[i - 1]!;
  }
  keys[at] = key;
  values[at] = value;
}

function removeAt<V>(leaf: Leaf<V>, at: number): void {
  const { keys, values } = leaf;
  for (let i = at + 1; i < keys.length; i++) {
    keys[i - 1] = keys[i]!;
    values[i - 1] = values[i]!;
  }
  keys.pop();
  values.pop();
}
