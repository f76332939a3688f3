/**
 * The replicated state of one group: keys with their revisions, and the exactly-once tables.
 *
 * The state is a function of the entries applied and of nothing else: no clock, no chance, no
 * locale. Time is the log time stamped on the entries.
 *
 * @module
 */
import type { EntryKind, LogIndex } from "../machines/raft_types.ts";
import { ByteSlabs } from "./byte_slabs.ts";
import { prefixEnd } from "./byte_string.ts";
import {
  type AppendCommand,
  type Command,
  type CommandResult,
  type Condition,
  decodeRequest,
  type DeleteCommand,
  type PutCommand,
} from "./command.ts";
import { crc32c } from "./crc32c.ts";
import { SHARED_VALUE_BYTES_MAX, VALUE_BYTES_MAX, VALUE_SLAB_BYTES } from "./limits.ts";
import { OnceTables, type OnceTablesOptions } from "./sessions.ts";
import { SkipList } from "./skip_list.ts";
import { ItemHash, SetHash } from "./state_hash.ts";

export type { CommandResult } from "./command.ts";

/** What is stored at a key. Entries are never changed, but replaced. */
export interface KvEntry {
  /** Must not be changed by readers. */
  readonly value: Uint8Array;
  readonly contentType: string | undefined;
  /** Revision of the key's creation. */
  readonly created: number;
  /** Revision of its last change. */
  readonly revision: number;
  /** Changes since its creation, which is the first. */
  readonly version: number;
  /** CRC-32C of the value as a signed integer, which V8 keeps without a box. */
  readonly valueCrc: number;
  /** What the entry adds to the state hash. */
  readonly low: number;
  readonly high: number;
}

/** An entry and its key. */
export interface KvItem extends KvEntry {
  /** A byte string. */
  readonly key: string;
}

/** Which entries to read: those within all the bounds given. */
export interface KvRange {
  /** Included. */
  readonly start?: string | undefined;
  /** Excluded. */
  readonly end?: string | undefined;
  readonly prefix?: string | undefined;
  /** Most entries to yield. */
  readonly limit: number;
  /** Descending order. */
  readonly reverse?: boolean | undefined;
}

/** Sizes of the tables, and the seed of what must not be observable. */
export interface KvStoreOptions extends OnceTablesOptions {
  /** Seed of the ordered map's tower heights. */
  readonly seed?: number;
}

const HASH_ENTRY = 0;
const HASH_COUNTERS = 4;

/**
 * Keys in bytewise order with revisions.
 *
 * | operation | cost |
 * |---|---|
 * | `apply` | O(log n) and a copy of the value; an append copies the whole value |
 * | `get` | O(log n) |
 * | `range` of k entries | O(log n + k) |
 * | the rest | O(1) |
 */
export class KvStore {
  readonly #entries: SkipList<KvEntry>;
  readonly #values = new ByteSlabs(VALUE_SLAB_BYTES, SHARED_VALUE_BYTES_MAX);
  readonly #hash = new SetHash();
  readonly #item = new ItemHash();
  readonly #once: OnceTables;
  #revision = 0;
  #lastApplied: LogIndex = 0;
  #logTimeMs = 0;

  constructor(options: KvStoreOptions = {}) {
    this.#entries = new SkipList(options.seed);
    this.#once = new OnceTables(this.#hash, options);
  }

  /** Commands that changed something so far. */
  get revision(): number {
    return this.#revision;
  }

  /** Index of the last entry applied. */
  get lastApplied(): LogIndex {
    return this.#lastApplied;
  }

  /** Highest log time of the entries applied. */
  get logTimeMs(): number {
    return this.#logTimeMs;
  }

  /** How many keys there are. */
  get size(): number {
    return this.#entries.size;
  }

  /**
   * Applies the entry that follows `lastApplied`. A command gets its result, other entries only
   * move `lastApplied` and the log time. `payload` is copied as far as it is kept.
   *
   * @throws {RangeError} If the entry is not the next.
   * @throws {CommandError} If the payload is no request of this version; nothing has changed. To
   * skip it would let replicas of different releases diverge, so the node must stop.
   */
  apply(
    index: LogIndex,
    timeMs: number,
    kind: EntryKind,
    payload: Uint8Array,
  ): CommandResult | undefined {
    if (index !== this.#lastApplied + 1) {
      throw new RangeError(`Cannot apply entry ${index}: entry ${this.#lastApplied + 1} is next`);
    }
    const request = kind === "command" ? decodeRequest(payload) : undefined;
    this.#lastApplied = index;
    this.#logTimeMs = Math.max(this.#logTimeMs, timeMs);
    this.#once.advance(this.#logTimeMs);
    if (request === undefined) return undefined;
    const { command, once } = request;
    if (once === undefined) return this.#execute(command);
    const known = this.#once.recall(once);
    if (known !== undefined) return known;
    const result = this.#execute(command);
    this.#once.record(once, result);
    return result;
  }

  /** What is stored at `key`. */
  get(key: string): KvEntry | undefined {
    return this.#entries.get(key);
  }

  /** Yields the entries of a range in order; nothing may be applied before it is read to the end. */
  *range(range: KvRange): Generator<KvItem, void> {
    const { prefix = "", limit, reverse } = range;
    const beyondPrefix = prefixEnd(prefix);
    const start = range.start !== undefined && range.start > prefix ? range.start : prefix;
    const end = range.end !== undefined && (beyondPrefix === undefined || range.end < beyondPrefix)
      ? range.end
      : beyondPrefix;
    let left = limit;
    if (left <= 0) return;
    for (const [key, entry] of this.#entries.scan({ start, end, reverse })) {
      yield { key, ...entry };
      if (--left === 0) return;
    }
  }

  /** How many keys there are from `start`, inclusive, to `end`, exclusive; does not look at each. */
  count(range: Pick<KvRange, "start" | "end"> = {}): number {
    return this.#entries.count({ start: range.start, end: range.end });
  }

  /**
   * 16 hexadecimal digits that are equal on two replicas that applied the same entries, and almost
   * surely differ if their states do.
   */
  stateHash(): string {
    const item = this.#item.begin(HASH_COUNTERS).number(this.#revision).number(this.#lastApplied)
      .number(this.#logTimeMs);
    this.#hash.add(item);
    const text = this.#hash.toString();
    this.#hash.remove(item);
    return text;
  }

  #execute(command: Command): CommandResult {
    const { key, condition } = command;
    const entry = this.#entries.get(key);
    if (condition !== undefined && !holds(condition, entry)) {
      return { status: "precondition-failed", revision: entry?.revision ?? 0 };
    }
    switch (command.type) {
      case "put":
        return this.#put(command, entry);
      case "append":
        return this.#append(command, entry);
      case "delete":
        return this.#delete(command, entry);
    }
  }

  #put({ key, value, contentType }: PutCommand, old: KvEntry | undefined): CommandResult {
    return this.#store(key, old, this.#copy(value), contentType, crc32c(value) | 0);
  }

  #append({ key, value }: AppendCommand, old: KvEntry | undefined): CommandResult {
    if (old === undefined) {
      return this.#store(key, old, this.#copy(value), undefined, crc32c(value) | 0);
    }
    const length = old.value.length + value.length;
    if (length > VALUE_BYTES_MAX) return { status: "too-large" };
    const joined = this.#values.allocate(length);
    joined.set(old.value);
    joined.set(value, old.value.length);
    const valueCrc = crc32c(value, 0, value.length, old.valueCrc) | 0;
    return this.#store(key, old, joined, old.contentType, valueCrc);
  }

  /** The one copy: a view would keep the whole batch it came in alive. */
  #copy(value: Uint8Array): Uint8Array {
    const copy = this.#values.allocate(value.length);
    copy.set(value);
    return copy;
  }

  #delete({ key }: DeleteCommand, old: KvEntry | undefined): CommandResult {
    if (old !== undefined) {
      this.#revision++;
      this.#hash.remove(old);
      this.#entries.delete(key);
    }
    const deleted = old === undefined ? 0 : 1;
    const revision = this.#revision;
    return { status: "ok", revision, version: 0, length: 0, created: false, deleted };
  }

  #store(
    key: string,
    old: KvEntry | undefined,
    value: Uint8Array,
    contentType: string | undefined,
    valueCrc: number,
  ): CommandResult {
    const revision = ++this.#revision;
    const created = old?.created ?? revision;
    const version = (old?.version ?? 0) + 1;
    const { length } = value;
    const { low, high } = this.#item.begin(HASH_ENTRY).text(key).text(contentType ?? "")
      .number(created).number(revision).number(version).number(length).number(valueCrc);
    const entry: KvEntry = {
      value,
      contentType,
      created,
      revision,
      version,
      valueCrc,
      low,
      high,
    };
    if (old !== undefined) this.#hash.remove(old);
    this.#hash.add(entry);
    this.#entries.set(key, entry);
    return { status: "ok", revision, version, length, created: old === undefined, deleted: 0 };
  }
}

function holds(condition: Condition, entry: KvEntry | undefined): boolean {
  if (condition === "absent") return entry === undefined;
  if (condition === "present") return entry !== undefined;
  return entry?.revision === condition.revision;
}
