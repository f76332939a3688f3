/**
 * The replicated state of one group: keys with their revisions, and the exactly-once tables.
 *
 * The state is a function of the entries applied and of nothing else: no clock, no chance, no
 * locale. Time is the log time stamped on the entries.
 *
 * @module
 */
import type { LogIndex } from "../../machines/raft_types.ts";
import type {
  Applied,
  AppliedEntry,
  FrozenState,
  RequestRefusal,
  StateMachine,
} from "../../machines/state_machine.ts";
import { ByteSlabs } from "./byte_slabs.ts";
import { prefixEnd } from "../byte_string.ts";
import {
  type AppendCommand,
  type Command,
  CommandError,
  type Condition,
  decodeRequest,
  type DeleteCommand,
  type PutCommand,
  type Request,
  REQUEST_VERSION,
} from "./command.ts";
import { type CommandResult, commandResultOf } from "./command_result.ts";
import { crc32c } from "../crc32c.ts";
import type { KvBounds, KvEntry, KvItem, KvRange } from "./entry.ts";
import { SHARED_VALUE_BYTES_MAX, VALUE_BYTES_MAX, VALUE_SLAB_BYTES } from "./limits.ts";
import { readState, StateError, type StateItem, writeState } from "./frozen_state.ts";
import { type FrozenOnceTables, OnceTables, type OnceTablesOptions } from "./sessions.ts";
import { type FrozenMap, type KeyRange, SkipList } from "./skip_list.ts";
import { ItemHash, SetHash } from "./state_hash.ts";

/** What the store keeps of an entry besides. */
interface StoredEntry extends KvEntry {
  /** CRC-32C of the value as a signed integer, which V8 keeps without a box. */
  readonly valueCrc: number;
  /** What the entry adds to the state hash. */
  readonly low: number;
  readonly high: number;
}

/** A key that an entry changed. */
export interface KvChange {
  /** A byte string. */
  readonly key: string;
  /** What is there now; undefined: it was deleted. */
  readonly entry: KvEntry | undefined;
  /** What was there before. */
  readonly previous: KvEntry | undefined;
  /** Revision of the store after the change. */
  readonly revision: number;
}

/** Sizes of the tables, and the seed of what must not be observable. */
export interface KvStoreOptions extends OnceTablesOptions {
  /** Seed of the ordered map's tower heights. */
  readonly seed?: number;
}

const HASH_ENTRY = 0;
const HASH_COUNTERS = 4;
const NOTHING: Applied<never, never> = { results: [], changes: [] };

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
export class KvStore implements StateMachine<CommandResult, KvChange> {
  readonly version = REQUEST_VERSION;
  #entries: SkipList<StoredEntry>;
  readonly #values = new ByteSlabs(VALUE_SLAB_BYTES, SHARED_VALUE_BYTES_MAX);
  readonly #options: KvStoreOptions;
  #hash = new SetHash();
  readonly #item = new ItemHash();
  #once: OnceTables;
  #changes: KvChange[] = [];
  #revision = 0;
  #lastApplied: LogIndex = 0;
  #logTimeMs = 0;

  constructor(options: KvStoreOptions = {}) {
    this.#options = options;
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

  /** All requests belong to the first cluster version. */
  check(payload: Uint8Array, _clusterVersion?: number): RequestRefusal | undefined {
    let request: Request;
    try {
      request = decodeRequest(payload);
    } catch (error) {
      if (error instanceof CommandError) return "invalid";
      throw error;
    }
    const { once } = request;
    return once !== undefined && this.#once.isFull(once) ? "overloaded" : undefined;
  }

  /**
   * Applies the entry that follows `lastApplied`. Values are copied as far as they are kept.
   *
   * @throws {RangeError} If the entry is not the next.
   * @throws {CommandError} If a request is none of this version; nothing has changed. To skip it
   * would let replicas of different releases diverge, so the node must stop.
   */
  apply({ index, timeMs, requests }: AppliedEntry): Applied<CommandResult, KvChange> {
    if (index !== this.#lastApplied + 1) {
      throw new RangeError(`Cannot apply entry ${index}: entry ${this.#lastApplied + 1} is next`);
    }
    const decoded = requests.map(decodeRequest);
    this.#lastApplied = index;
    this.#logTimeMs = Math.max(this.#logTimeMs, timeMs);
    this.#once.advance(this.#logTimeMs);
    if (decoded.length === 0) return NOTHING;
    const results = decoded.map((request) => this.#applyOne(request));
    const changes = this.#changes;
    this.#changes = [];
    return { results, changes };
  }

  /** What has expired is absent at once, whoever asks; only a full table needs time to pass. */
  nextDeadlineMs(): number {
    return this.#once.nextRoomMs();
  }

  resultOf(value: unknown): CommandResult | undefined {
    return commandResultOf(value);
  }

  freeze(): FrozenState {
    const { revision, lastApplied, logTimeMs } = this;
    const entries = this.#entries.freeze();
    const once = this.#once.freeze();
    const stateHash = this.stateHash();
    return {
      lastApplied,
      stateHash,
      chunks: () =>
        writeState({ revision, lastApplied, logTimeMs }, itemsOf(entries, once), stateHash),
      release: () => {
        for (const map of [entries, once.keys, once.sessions, once.results]) map.release();
      },
    };
  }

  /**
   * @throws {StateError} If the chunks are not a whole state of a known version, or do not make the
   * state that they say they are; what the store holds then must not be used.
   */
  load(chunks: Iterable<Uint8Array>): void {
    this.#entries = new SkipList(this.#options.seed);
    this.#hash = new SetHash();
    this.#once = new OnceTables(this.#hash, this.#options);
    const { head, stateHash } = readState(chunks, (item) => this.#restore(item));
    this.#revision = head.revision;
    this.#lastApplied = head.lastApplied;
    this.#logTimeMs = head.logTimeMs;
    this.#once.restoreTime(head.logTimeMs);
    if (this.stateHash() !== stateHash) {
      throw new StateError(`its hash is ${stateHash}, that of its items ${this.stateHash()}`);
    }
  }

  /** What is stored at `key`. */
  get(key: string): KvEntry | undefined {
    return this.#entries.get(key);
  }

  /** Yields the entries of a range in order; nothing may be applied before it is read to the end. */
  *range(range: KvRange): Generator<KvItem, void> {
    const { limit, reverse } = range;
    let left = limit;
    if (left <= 0) return;
    for (const [key, entry] of this.#entries.scan({ ...keyRangeOf(range), reverse })) {
      yield { key, ...entry };
      if (--left === 0) return;
    }
  }

  /** As many entries of a range as have at most `bytesMax` bytes of values, but at least one. */
  page(range: KvRange, bytesMax: number): { items: KvItem[]; more: boolean } {
    const { limit } = range;
    const items: KvItem[] = [];
    let bytes = 0;
    // One more than the limit tells whether there is more.
    for (const item of this.range({ ...range, limit: limit + 1 })) {
      bytes += item.value.length;
      if (items.length === limit || (bytes > bytesMax && items.length > 0)) {
        return { items, more: true };
      }
      items.push(item);
    }
    return { items, more: false };
  }

  /** How many keys there are within the bounds; does not look at each. */
  count(bounds: KvBounds = {}): number {
    return this.#entries.count(keyRangeOf(bounds));
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

  #applyOne({ command, once }: Request): CommandResult {
    if (once === undefined) return this.#execute(command);
    const known = this.#once.recall(once);
    if (known !== undefined) return known;
    const result = this.#execute(command);
    this.#once.record(once, result);
    return result;
  }

  #restore(item: StateItem): void {
    switch (item.type) {
      case "entry": {
        const { key, value, contentType, created, revision, version } = item.entry;
        const numbers = { created, revision, version, valueCrc: crc32c(value) | 0 };
        const entry = this.#entryOf(key, this.#copy(value), contentType, numbers);
        this.#hash.add(entry);
        this.#entries.set(key, entry);
        return;
      }
      case "key":
        return this.#once.restoreKey(item.record);
      case "session":
        return this.#once.restoreSession(item.session);
      case "result":
        return this.#once.restoreResult(item.result);
    }
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

  #put({ key, value, contentType }: PutCommand, old: StoredEntry | undefined): CommandResult {
    return this.#store(key, old, this.#copy(value), contentType, crc32c(value) | 0);
  }

  #append({ key, value }: AppendCommand, old: StoredEntry | undefined): CommandResult {
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

  #delete({ key }: DeleteCommand, old: StoredEntry | undefined): CommandResult {
    if (old !== undefined) {
      this.#revision++;
      this.#hash.remove(old);
      this.#entries.delete(key);
      this.#changes.push({ key, entry: undefined, previous: old, revision: this.#revision });
    }
    const deleted = old === undefined ? 0 : 1;
    const revision = this.#revision;
    return { status: "ok", revision, version: 0, length: 0, created: false, deleted };
  }

  #store(
    key: string,
    old: StoredEntry | undefined,
    value: Uint8Array,
    contentType: string | undefined,
    valueCrc: number,
  ): CommandResult {
    const revision = ++this.#revision;
    const created = old?.created ?? revision;
    const version = (old?.version ?? 0) + 1;
    const { length } = value;
    const numbers = { created, revision, version, valueCrc };
    const entry = this.#entryOf(key, value, contentType, numbers);
    if (old !== undefined) this.#hash.remove(old);
    this.#hash.add(entry);
    this.#entries.set(key, entry);
    this.#changes.push({ key, entry, previous: old, revision });
    return { status: "ok", revision, version, length, created: old === undefined, deleted: 0 };
  }

  /** An entry with what it adds to the state hash. */
  #entryOf(
    key: string,
    value: Uint8Array,
    contentType: string | undefined,
    numbers: Pick<StoredEntry, "created" | "revision" | "version" | "valueCrc">,
  ): StoredEntry {
    const { created, revision, version, valueCrc } = numbers;
    const { low, high } = this.#item.begin(HASH_ENTRY).text(key).text(contentType ?? "")
      .number(created).number(revision).number(version).number(value.length).number(valueCrc);
    return { value, contentType, created, revision, version, valueCrc, low, high };
  }
}

function holds(condition: Condition, entry: StoredEntry | undefined): boolean {
  if (condition === "absent") return entry === undefined;
  if (condition === "present") return entry !== undefined;
  return entry?.revision === condition.revision;
}

/** The bounds without a prefix. */
function keyRangeOf({ prefix = "", start, end }: KvBounds): KeyRange {
  const beyondPrefix = prefixEnd(prefix);
  const isEndBelow = end !== undefined && (beyondPrefix === undefined || end < beyondPrefix);
  return {
    start: start !== undefined && start > prefix ? start : prefix,
    end: isEndBelow ? end : beyondPrefix,
  };
}

function* itemsOf(
  entries: FrozenMap<StoredEntry>,
  { keys, sessions, results }: FrozenOnceTables,
): Generator<StateItem, void> {
  for (const [key, entry] of entries.scan()) yield { type: "entry", entry: { key, ...entry } };
  for (const [, record] of keys.scan()) yield { type: "key", record };
  for (const [, session] of sessions.scan()) yield { type: "session", session };
  for (const [, result] of results.scan()) yield { type: "result", result };
}
