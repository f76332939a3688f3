/**
 * An ordered map from byte strings to values: a skip list (Pugh 1990) whose levels are cut into
 * blocks, as in a B-tree (the "B-skiplist").
 *
 * A classic skip list of a million keys reads about forty nodes scattered over memory for each
 * search. Here a level's neighbours lie in one array, and a search halves it, as a binary search
 * does. A key's tower decides where the arrays of the levels below begin.
 *
 * The map can be frozen: a view keeps the map as it is now, and the map can still be changed. To
 * freeze costs nothing at once. Every block carries the epoch in which it was made. A block that a
 * view may see is cloned before its first change, together with the blocks on the way to it from the
 * root. So no block that a view can reach is ever changed. Leaves are not linked to their neighbours,
 * because a clone would have to change them.
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
  /** The epoch of the map in which this block was made. */
  readonly epoch: number;
  /** Fixed for the leaf's life, even if its first key goes. */
  readonly anchor: string;
  readonly keys: string[];
  readonly values: V[];

  constructor(epoch: number, anchor: string, keys: string[], values: V[]) {
    this.epoch = epoch;
    this.anchor = anchor;
    this.keys = keys;
    this.values = values;
  }
}

/** A level above: nodes of the level below and the anchor at which each begins. */
class Branch<V> {
  readonly epoch: number;
  readonly anchors: string[];
  readonly children: Node<V>[];

  constructor(epoch: number, anchors: string[], children: Node<V>[]) {
    this.epoch = epoch;
    this.anchors = anchors;
    this.children = children;
  }
}

type Node<V> = Leaf<V> | Branch<V>;

/** A branch, and the position of one of its children. */
interface Step<V> {
  readonly branch: Branch<V>;
  at: number;
}

/** All that a reader needs of a map at one moment. */
interface Tree<V> {
  readonly root: Node<V>;
  /** Levels of branches above the leaves. */
  readonly levels: number;
}

/** A map as it was when it was frozen. */
export class FrozenMap<V> {
  /** How many keys there are. */
  readonly size: number;
  readonly #tree: Tree<V>;
  readonly #release: () => void;

  constructor(tree: Tree<V>, size: number, release: () => void) {
    this.#tree = tree;
    this.size = size;
    this.#release = release;
  }

  /** Yields the keys of `range` in order, while the map may change. */
  scan(range: KeyRange = {}): Generator<[key: string, value: V], void> {
    return scanTree(this.#tree, range);
  }

  /** Ends the view: the map may change its blocks again, and nothing may be read from it. Idempotent. */
  release(): void {
    this.#release();
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
 * | `first`, `last` | O(log n) | O(n) |
 * | `size` | O(1) | O(1) |
 * | `freeze` | O(1), then a block cloned at its first change | the same |
 * | memory | n keys and values, 8 to 20 bytes each besides | |
 *
 * The worst cases need an improbable run of tower heights. Heights come from a seeded generator
 * and nothing observable depends on them: two maps with other seeds and the same content answer
 * the same.
 */
export class SkipList<V> {
  #root: Node<V> = new Leaf<V>(0, "", [], []);
  /** Levels of branches above the leaves. */
  #levels = 0;
  #size = 0;
  #random: number;
  /** The epoch of the blocks that are made now; a freeze ends it. */
  #epoch = 0;
  /** Blocks of this epoch and before may be seen by a view; -1 if there is none. */
  #frozenEpoch = -1;
  /** The epochs that the views ended. */
  readonly #views = new Set<number>();
  /**
   * The last key searched for, its leaf, and how many keys of the leaf are smaller: a command reads
   * a key before it writes it.
   */
  #recentKey: string | undefined = undefined;
  #recentLeaf: Leaf<V> | undefined = undefined;
  #recentAt = 0;

  /** @param seed Seed of the tower heights. */
  constructor(seed: number = SEED_DEFAULT) {
    this.#random = seed | 0 || SEED_DEFAULT | 0;
  }

  /** How many keys there are. */
  get size(): number {
    return this.#size;
  }

  /** The map as it is now, to be read while the map changes; the caller must release it. */
  freeze(): FrozenMap<V> {
    const epoch = this.#epoch++;
    this.#views.add(epoch);
    this.#frozenEpoch = epoch;
    const tree = { root: this.#root, levels: this.#levels };
    return new FrozenMap(tree, this.#size, () => {
      this.#views.delete(epoch);
      this.#frozenEpoch = Math.max(-1, ...this.#views);
    });
  }

  /** The value at `key`, if any. */
  get(key: string): V | undefined {
    const leaf = this.#leafOf(key);
    const at = this.#recentAt;
    return leaf.keys[at] === key ? leaf.values[at] : undefined;
  }

  /** Whether there is a value at `key`. */
  has(key: string): boolean {
    return this.#leafOf(key).keys[this.#recentAt] === key;
  }

  /** Puts `value` at `key` and returns the value that was there. */
  set(key: string, value: V): V | undefined {
    const leaf = this.#ownLeafOf(key);
    const at = this.#recentAt;
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
    if (!this.has(key)) return undefined;
    const leaf = this.#ownLeafOf(key);
    const at = this.#recentAt;
    const previous = leaf.values[at];
    removeAt(leaf, at);
    this.#size--;
    if (leaf.keys.length < LEAF_KEYS_MIN) this.#shrink(leaf);
    return previous;
  }

  /** The smallest key and its value. */
  first(): [key: string, value: V] | undefined {
    for (const entry of this.scan()) return entry;
    return undefined;
  }

  /** The greatest key and its value. */
  last(): [key: string, value: V] | undefined {
    for (const entry of this.scan({ reverse: true })) return entry;
    return undefined;
  }

  /** Yields the keys of `range` in order. The map must not be changed before the scan is over. */
  scan(range: KeyRange = {}): Generator<[key: string, value: V], void> {
    return scanTree({ root: this.#root, levels: this.#levels }, range);
  }

  /** How many keys of `range` there are; O(log n) and one step for each leaf, not for each key. */
  count({ start = "", end }: Pick<KeyRange, "start" | "end"> = {}): number {
    const cursor = new LeafCursor({ root: this.#root, levels: this.#levels }, start);
    let count = -lowerBound(cursor.leaf.keys, start);
    do {
      const { keys } = cursor.leaf;
      const isLast = end !== undefined && keys.length > 0 && keys.at(-1)! >= end;
      if (isLast) return Math.max(0, count + lowerBound(keys, end));
      count += keys.length;
    } while (cursor.next());
    return Math.max(0, count);
  }

  /** The only leaf that may hold `key`: the last whose anchor is not greater. Sets `#recentAt`. */
  #leafOf(key: string): Leaf<V> {
    if (key === this.#recentKey) return this.#recentLeaf!;
    let node = this.#root;
    for (let level = this.#levels; level > 0; level--) {
      const { anchors, children } = node as Branch<V>;
      node = children[childAt(anchors, key)]!;
    }
    return this.#remember(key, node as Leaf<V>);
  }

  #remember(key: string, leaf: Leaf<V>): Leaf<V> {
    this.#recentKey = key;
    this.#recentLeaf = leaf;
    this.#recentAt = lowerBound(leaf.keys, key);
    return leaf;
  }

  /** As `#leafOf`, for a leaf that will be changed. If no view sees a leaf, no view sees the way to it. */
  #ownLeafOf(key: string): Leaf<V> {
    if (key === this.#recentKey && this.#recentLeaf!.epoch > this.#frozenEpoch) {
      return this.#recentLeaf!;
    }
    let node = this.#ownRoot();
    for (let level = this.#levels; level > 0; level--) {
      const branch = node as Branch<V>;
      node = this.#ownChild(branch, childAt(branch.anchors, key));
    }
    return this.#remember(key, node as Leaf<V>);
  }

  #ownRoot(): Node<V> {
    if (this.#root.epoch <= this.#frozenEpoch) this.#root = this.#clone(this.#root);
    return this.#root;
  }

  #ownChild({ children }: Branch<V>, at: number): Node<V> {
    const child = children[at]!;
    if (child.epoch > this.#frozenEpoch) return child;
    return children[at] = this.#clone(child);
  }

  #clone(node: Node<V>): Node<V> {
    const epoch = this.#epoch;
    if (node instanceof Branch) {
      return new Branch<V>(epoch, node.anchors.slice(), node.children.slice());
    }
    // The leaf that is remembered may be this one.
    this.#recentKey = undefined;
    return new Leaf<V>(epoch, node.anchor, node.keys.slice(), node.values.slice());
  }

  /** The branches on the way to the leaf of `key`, for branches that will be changed; level 1 is first. */
  #ownPathTo(key: string): Step<V>[] {
    const path = new Array<Step<V>>(this.#levels);
    let node = this.#ownRoot();
    for (let level = this.#levels; level > 0; level--) {
      const branch = node as Branch<V>;
      const at = childAt(branch.anchors, key);
      path[level - 1] = { branch, at };
      if (level > 1) node = this.#ownChild(branch, at);
    }
    return path;
  }

  /** Makes room for `key` in a full leaf by moving its upper half into a new one. */
  #split(leaf: Leaf<V>, at: number, key: string, value: V): void {
    this.#recentKey = undefined;
    // Keys that arrive in order leave full leaves behind instead of halves.
    const atEnd = at === LEAF_KEYS_MAX && leaf === this.#lastLeaf();
    const middle = LEAF_KEYS_MAX >>> 1;
    const keys = atEnd ? [key] : leaf.keys.splice(middle);
    const values = atEnd ? [value] : leaf.values.splice(middle);
    const upper = new Leaf<V>(this.#epoch, keys[0]!, keys, values);
    this.#raiseTower(upper);
    if (atEnd) return;
    if (at <= middle) insertAt(leaf, at, key, value);
    else insertAt(upper, at - middle, key, value);
  }

  #lastLeaf(): Leaf<V> {
    let node = this.#root;
    for (let level = this.#levels; level > 0; level--) node = (node as Branch<V>).children.at(-1)!;
    return node as Leaf<V>;
  }

  /** Joins leaves that deletions have left nearly empty. The leftmost leaf is never removed. */
  #shrink(leaf: Leaf<V>): void {
    if (leaf.keys.length === 0 && leaf.anchor !== "") return this.#unlink(leaf);
    const cursor = new LeafCursor({ root: this.#root, levels: this.#levels }, leaf.anchor);
    if (!cursor.next()) return;
    const { leaf: next } = cursor;
    if (leaf.keys.length + next.keys.length > LEAF_KEYS_MAX / 2) return;
    for (let i = 0; i < next.keys.length; i++) {
      leaf.keys.push(next.keys[i]!);
      leaf.values.push(next.values[i]!);
    }
    this.#unlink(next);
  }

  #unlink(leaf: Leaf<V>): void {
    this.#recentKey = undefined;
    this.#removeTower(leaf.anchor);
  }

  /**
   * Enters a new leaf into the levels above, up to a height that is drawn at random. At the top of its
   * tower the leaf joins a branch, and on every level below it begins a new branch.
   */
  #raiseTower(leaf: Leaf<V>): void {
    const { anchor } = leaf;
    const path = this.#ownPathTo(anchor);
    const height = this.#drawHeight();
    let node: Node<V> = leaf;
    for (let level = 0; level < height - 1; level++) {
      const { branch, at } = path[level]!;
      const anchors = branch.anchors.splice(at + 1);
      const children = branch.children.splice(at + 1);
      anchors.unshift(anchor);
      children.unshift(node);
      node = new Branch<V>(this.#epoch, anchors, children);
    }
    if (height > this.#levels) {
      this.#root = new Branch<V>(this.#epoch, ["", anchor], [this.#root, node]);
      this.#levels = height;
    } else {
      const { branch, at } = path[height - 1]!;
      branch.anchors.splice(at + 1, 0, anchor);
      branch.children.splice(at + 1, 0, node);
    }
  }

  /** Takes an anchor out of all levels, and joins the branches that its tower kept apart. */
  #removeTower(anchor: string): void {
    const path = this.#ownPathTo(anchor);
    let top = 0;
    while (path[top]!.at === 0) top++;
    const { branch, at } = path[top]!;
    branch.anchors.splice(at, 1);
    branch.children.splice(at, 1);
    let parent = branch;
    let before = at - 1;
    for (let level = top - 1; level >= 0; level--) {
      const { anchors, children } = path[level]!.branch;
      const joined = this.#ownChild(parent, before) as Branch<V>;
      parent = joined;
      before = joined.children.length - 1;
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

/** The leaves of a tree, one after the other in either direction. */
class LeafCursor<V> {
  leaf: Leaf<V>;
  /** From the root down. */
  readonly #path: Step<V>[] = [];

  /** Begins at the leaf that may hold `key`; at the last leaf without one. */
  constructor({ root, levels }: Tree<V>, key: string | undefined) {
    let node = root;
    for (let level = levels; level > 0; level--) {
      const branch = node as Branch<V>;
      const at = key === undefined ? branch.children.length - 1 : childAt(branch.anchors, key);
      this.#path.push({ branch, at });
      node = branch.children[at]!;
    }
    this.leaf = node as Leaf<V>;
  }

  /** Moves to the next leaf; false if there is none. */
  next(): boolean {
    return this.#move(1);
  }

  /** Moves to the leaf before; false if there is none. */
  previous(): boolean {
    return this.#move(-1);
  }

  #move(by: 1 | -1): boolean {
    const path = this.#path;
    let level = path.length - 1;
    while (level >= 0) {
      const { branch, at } = path[level]!;
      if (at + by >= 0 && at + by < branch.children.length) break;
      level--;
    }
    if (level < 0) return false;
    path[level]!.at += by;
    let node = path[level]!.branch.children[path[level]!.at]!;
    for (level++; level < path.length; level++) {
      const branch = node as Branch<V>;
      const at = by > 0 ? 0 : branch.children.length - 1;
      path[level] = { branch, at };
      node = branch.children[at]!;
    }
    this.leaf = node as Leaf<V>;
    return true;
  }
}

function scanTree<V>(
  tree: Tree<V>,
  { start = "", end, reverse = false }: KeyRange,
): Generator<[key: string, value: V], void> {
  return reverse ? scanDown(tree, start, end) : scanUp(tree, start, end);
}

function* scanUp<V>(
  tree: Tree<V>,
  start: string,
  end: string | undefined,
): Generator<[key: string, value: V], void> {
  const cursor = new LeafCursor(tree, start);
  let at = lowerBound(cursor.leaf.keys, start);
  do {
    const { keys, values } = cursor.leaf;
    const stop = end === undefined ? keys.length : lowerBound(keys, end);
    for (; at < stop; at++) yield [keys[at]!, values[at]!];
    if (stop < keys.length) return;
    at = 0;
  } while (cursor.next());
}

function* scanDown<V>(
  tree: Tree<V>,
  start: string,
  end: string | undefined,
): Generator<[key: string, value: V], void> {
  const cursor = new LeafCursor(tree, end);
  let at = (end === undefined ? cursor.leaf.keys.length : lowerBound(cursor.leaf.keys, end)) - 1;
  for (;;) {
    const { keys, values } = cursor.leaf;
    const stop = lowerBound(keys, start);
    for (; at >= stop; at--) yield [keys[at]!, values[at]!];
    if (stop > 0 || !cursor.previous()) return;
    at = cursor.leaf.keys.length - 1;
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
