/**
 * The keys of a store, and what the command at hand changes of them.
 *
 * A command takes effect whole or not at all. Its operations change the keys at once, so that each
 * sees what those before it did; if one of them cannot be done, `undoCommand` puts back what was
 * there. Everything that one command changes has one revision.
 *
 * @module
 */
import { crc32c } from "../crc32c.ts";
import { ByteSlabs } from "./byte_slabs.ts";
import type { KvBounds, KvEntry, KvItem, KvRange } from "./entry.ts";
import { SHARED_VALUE_BYTES_MAX, VALUE_SLAB_BYTES } from "./limits.ts";
import { intervalOf } from "./operations/interval.ts";
import { type Lease, Leases } from "./leases.ts";
import { type FrozenMap, SkipList } from "./skip_list.ts";
import { ItemHash, type SetHash } from "./state_hash.ts";

/** See {@linkcode KeySpace.scan}. */
class FrozenScan implements Iterator<KvItem, undefined> {
  readonly #view: FrozenMap<StoredEntry>;
  readonly #entries: Iterator<[key: string, entry: StoredEntry]>;
  #left: number;

  constructor(view: FrozenMap<StoredEntry>, range: KvRange) {
    this.#view = view;
    this.#entries = view.scan({ ...intervalOf(range), reverse: range.reverse });
    this.#left = range.limit;
  }

  next(): IteratorResult<KvItem, undefined> {
    const found = this.#left > 0 ? this.#entries.next() : undefined;
    if (found === undefined || found.done === true) return this.return();
    this.#left--;
    const [key, entry] = found.value;
    return { done: false, value: { key, ...entry } };
  }

  return(): IteratorResult<KvItem, undefined> {
    this.#left = 0;
    this.#view.release();
    return { done: true, value: undefined };
  }
}

/** An entry with what the store needs for its hash. */
export interface StoredEntry extends KvEntry {
  readonly lease: number | undefined;
  /** CRC-32C of the value as a signed integer, which V8 keeps without a box. */
  readonly valueCrc: number;
  /** What the entry adds to the state hash. */
  readonly low: number;
  readonly high: number;
}

/** A key that an entry of the log changed. */
export interface KvChange {
  /** A byte string. */
  readonly key: string;
  /** What is stored now; undefined if the key was deleted. */
  readonly entry: KvEntry | undefined;
  /** What was stored before. */
  readonly previous: KvEntry | undefined;
  /** Revision of the store after the command. */
  readonly revision: number;
}

/** A change that can be undone. */
interface Change extends KvChange {
  readonly entry: StoredEntry | undefined;
  readonly previous: StoredEntry | undefined;
}

const HASH_ENTRY = 0;

/**
 * Keys in bytewise order with revisions.
 *
 * | operation | cost |
 * |---|---|
 * | `get`, `remove` | O(log n) |
 * | `set`, `restore` | O(log n) and a copy of the value |
 * | `extend` | O(log n) and a copy of the whole value |
 * | `range` of k entries | O(log n + k) |
 * | `count` | O(log n), and a step for each leaf within the bounds |
 * | `undoCommand` | O(log n) for each change that it undoes |
 * | the rest | O(1) |
 */
export class KeySpace {
  readonly #entries: SkipList<StoredEntry>;
  readonly #values = new ByteSlabs(VALUE_SLAB_BYTES, SHARED_VALUE_BYTES_MAX);
  /** The leases that keys may be attached to. */
  readonly leases: Leases;
  readonly #hash: SetHash;
  readonly #item = new ItemHash();
  #changes: Change[] = [];
  /** How many of the changes are of commands that have ended. */
  #settled = 0;
  #revision = 0;

  /** `hash` takes in the entries; `seed` is that of the ordered map's tower heights. */
  constructor(hash: SetHash, { seed }: { readonly seed?: number } = {}) {
    this.#hash = hash;
    this.leases = new Leases(hash);
    this.#entries = new SkipList(seed);
  }

  /** Commands that changed something so far. */
  get revision(): number {
    return this.#revision;
  }

  /** How many keys there are. */
  get size(): number {
    return this.#entries.size;
  }

  /** What is stored at `key`. */
  get(key: string): StoredEntry | undefined {
    return this.#entries.get(key);
  }

  /** Yields the entries of a range in order; nothing may be changed before it is read to the end. */
  *range(range: KvRange): Generator<KvItem, void> {
    const { limit, reverse } = range;
    let left = limit;
    if (left <= 0) return;
    for (const [key, entry] of this.#entries.scan({ ...intervalOf(range), reverse })) {
      yield { key, ...entry };
      if (--left === 0) return;
    }
  }

  /** How many keys there are within the bounds. */
  count(bounds: KvBounds): number {
    return this.#entries.count(intervalOf(bounds));
  }

  /**
   * The entries of a range as they are now, to be read while they change. Whoever reads them to the end, or
   * calls `return`, gives back what only this view kept.
   */
  scan(range: KvRange): Iterator<KvItem, undefined> {
    return new FrozenScan(this.#entries.freeze(), range);
  }

  /** The entries as they are now; the caller must release them. */
  freeze(): FrozenMap<StoredEntry> {
    return this.#entries.freeze();
  }

  /** Adds an entry of a frozen state. Only such entries may be in this store. */
  restore({ key, value, contentType, created, revision, version, lease }: KvItem): void {
    const numbers = { created, revision, version, lease, valueCrc: crc32c(value) | 0 };
    const entry = this.#entryOf(key, this.#copy(value), contentType, numbers);
    this.#hash.add(entry);
    this.#entries.set(key, entry);
    this.leases.move(key, undefined, lease);
  }

  /** Sets the revision, which is no lower than that of any entry. */
  restoreRevision(revision: number): void {
    this.#revision = revision;
  }

  /** Stores a copy of `value` at `key`, where `old` is stored now, and attaches it to a lease. */
  set(
    key: string,
    old: StoredEntry | undefined,
    value: Uint8Array,
    contentType: string | undefined,
    lease?: number,
  ): KvEntry {
    const valueCrc = crc32c(value) | 0;
    return this.#store(key, old, this.#copy(value), { contentType, valueCrc, lease });
  }

  /** Stores `old`'s value with `value` at its end. */
  extend(key: string, old: StoredEntry, value: Uint8Array): KvEntry {
    const joined = this.#values.allocate(old.value.length + value.length);
    joined.set(old.value);
    joined.set(value, old.value.length);
    const valueCrc = crc32c(value, 0, value.length, old.valueCrc) | 0;
    const { contentType, lease } = old;
    return this.#store(key, old, joined, { contentType, valueCrc, lease });
  }

  /** Removes `key`, where `old` is stored now. */
  remove(key: string, old: StoredEntry): void {
    this.#hash.remove(old);
    this.#entries.delete(key);
    if (old.lease !== undefined) this.leases.move(key, old.lease, undefined);
    const revision = this.#revision + 1;
    this.#changes.push({ key, entry: undefined, previous: old, revision });
  }

  /** Removes a lease that is there, and its keys; answers how many those were. O(k log n). */
  endLease(lease: Lease): number {
    const keys = this.leases.keysOf(lease.id);
    for (const key of keys) this.remove(key, this.get(key)!);
    this.leases.remove(lease);
    return keys.length;
  }

  /** Ends a command; returns the revision of the store, which is a new one if it changed anything. */
  endCommand(): number {
    if (this.#changes.length > this.#settled) this.#revision++;
    if (this.#changes.length > this.#settled + 1) this.#mergeChanges();
    this.#settled = this.#changes.length;
    this.leases.endCommand();
    return this.#revision;
  }

  /** Puts back what the command at hand changed. */
  undoCommand(): void {
    while (this.#changes.length > this.#settled) {
      const { key, entry, previous } = this.#changes.pop()!;
      this.leases.move(key, entry?.lease, previous?.lease);
      if (entry !== undefined) this.#hash.remove(entry);
      if (previous === undefined) this.#entries.delete(key);
      else {
        this.#hash.add(previous);
        this.#entries.set(key, previous);
      }
    }
    this.leases.undoCommand();
  }

  /** What commands have changed since the last call, in order. */
  takeChanges(): readonly KvChange[] {
    const changes = this.#changes;
    this.#changes = [];
    this.#settled = 0;
    return changes;
  }

  /**
   * Makes one change of a key of all that the command at hand did to it: that is what a revision changed,
   * and a command that appends often to a large value must not crowd other changes out.
   */
  #mergeChanges(): void {
    const merged = new Map<string, Change>();
    for (const change of this.#changes.splice(this.#settled)) {
      const first = merged.get(change.key);
      merged.set(
        change.key,
        first === undefined ? change : { ...change, previous: first.previous },
      );
    }
    for (const change of merged.values()) {
      const isSeen = change.entry !== undefined || change.previous !== undefined;
      if (isSeen) this.#changes.push(change);
    }
  }

  #store(
    key: string,
    old: StoredEntry | undefined,
    value: Uint8Array,
    { contentType, valueCrc, lease }: Pick<StoredEntry, "contentType" | "valueCrc" | "lease">,
  ): KvEntry {
    const revision = this.#revision + 1;
    const created = old?.created ?? revision;
    const version = (old?.version ?? 0) + 1;
    const numbers = { created, revision, version, valueCrc, lease };
    const entry = this.#entryOf(key, value, contentType, numbers);
    if (old !== undefined) this.#hash.remove(old);
    this.#hash.add(entry);
    this.#entries.set(key, entry);
    this.leases.move(key, old?.lease, lease);
    this.#changes.push({ key, entry, previous: old, revision });
    return entry;
  }

  /** Copies the value: a view would keep the whole batch that it came in alive. */
  #copy(value: Uint8Array): Uint8Array {
    const copy = this.#values.allocate(value.length);
    copy.set(value);
    return copy;
  }

  /** An entry with what it adds to the state hash. */
  #entryOf(
    key: string,
    value: Uint8Array,
    contentType: string | undefined,
    numbers: Pick<StoredEntry, "created" | "revision" | "version" | "valueCrc" | "lease">,
  ): StoredEntry {
    const { created, revision, version, valueCrc, lease } = numbers;
    const item = this.#item.begin(HASH_ENTRY).text(key).text(contentType ?? "").number(created)
      .number(revision).number(version).number(value.length).number(valueCrc);
    // An entry without one has the hash that older builds give it.
    const { low, high } = lease === undefined ? item : item.number(lease);
    return { value, contentType, created, revision, version, lease, valueCrc, low, high };
  }
}
