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
import { clusterVersionOf, type Command, COMMAND_VERSION, decodeCommand } from "./command.ts";
import { CommandError } from "./command_bytes.ts";
import { type CommandResult, commandResultOf, resultBytes } from "./command_result.ts";
import { type Compare, holds } from "./compare.ts";
import type { KvBounds, KvEntry, KvItem, KvRange } from "./entry.ts";
import { readState, type StateItem, writeState } from "./frozen_state.ts";
import { KeySpace, type KvChange } from "./key_space.ts";
import type { Lease } from "./leases.ts";
import { ENDED_KEYS_PER_ENTRY_MAX, RESULT_BYTES_MAX } from "./limits.ts";
import type { OperationFailure } from "./operations/operation.ts";
import { kindOf, type OperationResult } from "./operations/operations.ts";
import { type FrozenOnceTables, OnceTables, type OnceTablesOptions } from "./once_tables.ts";
import type { FrozenMap } from "./skip_list.ts";
import { StateError } from "./state_bytes.ts";
import { ItemHash, SetHash } from "./state_hash.ts";

/** Sizes of the tables, and the seed of what must not be observable. */
export interface KvStoreOptions extends OnceTablesOptions {
  /** Seed of the ordered map's tower heights. */
  readonly seed?: number;
}

const HASH_COUNTERS = 4;

/**
 * Keys in bytewise order with revisions.
 *
 * | operation | cost |
 * |---|---|
 * | `apply` | for each operation O(log n) and a copy of the value; an append copies the whole value |
 * | `get` | O(log n) |
 * | `range` of k entries | O(log n + k) |
 * | `count` | O(log n), and a step for each leaf within the bounds |
 * | `load` | O(n log n) |
 * | the rest | O(1) |
 */
export class KvStore implements StateMachine<CommandResult, KvChange> {
  readonly version = COMMAND_VERSION;
  #keys: KeySpace;
  readonly #options: KvStoreOptions;
  #hash = new SetHash();
  readonly #item = new ItemHash();
  #once: OnceTables;
  #lastApplied: LogIndex = 0;
  #logTimeMs = 0;

  constructor(options: KvStoreOptions = {}) {
    this.#options = options;
    this.#keys = new KeySpace(this.#hash, options);
    this.#once = new OnceTables(this.#hash, options);
  }

  /** Commands that changed something so far. */
  get revision(): number {
    return this.#keys.revision;
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
    return this.#keys.size;
  }

  check(payload: Uint8Array, clusterVersion: number): RequestRefusal | undefined {
    let command: Command;
    try {
      command = decodeCommand(payload);
    } catch (error) {
      if (error instanceof CommandError) return "invalid";
      throw error;
    }
    if (clusterVersionOf(command) > clusterVersion) return "too-new";
    return this.#once.isFull(command) ? "overloaded" : undefined;
  }

  /**
   * Applies the entry that follows `lastApplied`. Values are copied as far as they are kept.
   *
   * @throws {RangeError} If the entry is not the next.
   * @throws {CommandError} If a request is no command of this version; nothing has changed. The node
   * must stop: if it skipped the request, its state would differ from that of other members.
   */
  apply({ index, timeMs, requests }: AppliedEntry): Applied<CommandResult, KvChange> {
    if (index !== this.#lastApplied + 1) {
      throw new RangeError(`Cannot apply entry ${index}: entry ${this.#lastApplied + 1} is next`);
    }
    const commands = requests.map(decodeCommand);
    this.#lastApplied = index;
    this.#logTimeMs = Math.max(this.#logTimeMs, timeMs);
    this.#once.advance(this.#logTimeMs);
    this.#endLeases();
    if (commands.length === 0) return { results: [], changes: this.#keys.takeChanges() };
    const results = commands.map((command) => this.#applyOne(command));
    return { results, changes: this.#keys.takeChanges() };
  }

  /** Expired records are treated as absent at once: of the tables only a full one needs time to pass. */
  nextDeadlineMs(): number {
    return Math.min(this.#once.nextRoomMs(), this.#keys.leases.nextDeadlineMs);
  }

  resultOf(value: unknown): CommandResult | undefined {
    return commandResultOf(value);
  }

  freeze(): FrozenState {
    const { revision, lastApplied, logTimeMs } = this;
    const entries = this.#keys.freeze();
    const once = this.#once.freeze();
    const leases = this.#keys.leases.freeze();
    const { lastId } = this.#keys.leases;
    const stateHash = this.stateHash();
    return {
      lastApplied,
      stateHash,
      chunks: () =>
        writeState(
          { revision, lastApplied, logTimeMs },
          itemsOf(entries, once, { leases, lastId }),
          stateHash,
        ),
      release: () => {
        for (const map of [entries, once.keys, once.sessions, once.results, leases]) map.release();
      },
    };
  }

  /**
   * The new state is built beside the old one, so both take memory until the last step.
   *
   * @throws {StateError} From a step, if the chunks are not a whole state of a known version, or their
   * items do not have the hash that they name.
   */
  *load(chunks: Iterable<Uint8Array>): Generator<void, void> {
    const fresh = new KvStore(this.#options);
    const { head, stateHash } = yield* readState(chunks, (item) => fresh.#restore(item));
    fresh.#keys.restoreRevision(head.revision);
    fresh.#lastApplied = head.lastApplied;
    fresh.#logTimeMs = head.logTimeMs;
    fresh.#once.restoreTime(head.logTimeMs);
    fresh.#keys.leases.restoreTime(head.logTimeMs);
    if (fresh.stateHash() !== stateHash) {
      throw new StateError(`its hash is ${stateHash}, that of its items ${fresh.stateHash()}`);
    }
    this.#hash = fresh.#hash;
    this.#keys = fresh.#keys;
    this.#once = fresh.#once;
    this.#lastApplied = fresh.#lastApplied;
    this.#logTimeMs = fresh.#logTimeMs;
  }

  /**
   * Raises the revision, so that what clients remember of revisions beyond it (the state was restored
   * from a backup) cannot be taken for what is written from now on. No entry does that, so every replica
   * must begin from the raised state.
   *
   * @throws {RangeError} If revisions would run out.
   */
  raiseRevision(by: number): void {
    const revision = this.revision + by;
    if (!Number.isSafeInteger(revision) || by < 0) {
      throw new RangeError(`Cannot raise revision ${this.revision} by ${by}`);
    }
    this.#keys.restoreRevision(revision);
  }

  /** What is stored at `key`. */
  get(key: string): KvEntry | undefined {
    return this.#keys.get(key);
  }

  /** A lease and its keys; undefined if there is none, or it has ended. */
  lease(id: number): { readonly lease: Lease; readonly keys: readonly string[] } | undefined {
    const lease = this.#keys.leases.get(id);
    return lease === undefined ? undefined : { lease, keys: this.#keys.leases.keysOf(id) };
  }

  /** Up to `limit` leases whose ids are higher than this one, in the order of their ids. */
  leasesAfter(id: number, limit: number): Lease[] {
    const found: Lease[] = [];
    if (limit <= 0) return found;
    for (const lease of this.#keys.leases.after(id)) {
      found.push(lease);
      if (found.length === limit) break;
    }
    return found;
  }

  /** How many leases there are. */
  get leaseCount(): number {
    return this.#keys.leases.size;
  }

  /** Yields the entries of a range in order; nothing may be applied before it is read to the end. */
  range(range: KvRange): Generator<KvItem, void> {
    return this.#keys.range(range);
  }

  /** The entries of a range as they are now: see {@linkcode KeySpace.scan}. */
  scan(range: KvRange): Iterator<KvItem, undefined> {
    return this.#keys.scan(range);
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

  /** How many keys there are within the bounds. */
  count(bounds: KvBounds = {}): number {
    return this.#keys.count(bounds);
  }

  /**
   * 16 hexadecimal digits that are equal on two replicas that applied the same entries, and almost
   * surely differ if their states do.
   */
  stateHash(): string {
    const item = this.#item.begin(HASH_COUNTERS).number(this.revision).number(this.#lastApplied)
      .number(this.#logTimeMs);
    this.#hash.add(item);
    const text = this.#hash.toString();
    this.#hash.remove(item);
    return text;
  }

  /** Ends the leases whose time is over, each with a revision of its own if it had keys. */
  #endLeases(): void {
    const { leases } = this.#keys;
    leases.advance(this.#logTimeMs);
    for (let left = ENDED_KEYS_PER_ENTRY_MAX; left > 0;) {
      const lease = leases.ended();
      if (lease === undefined) return;
      left -= 1 + this.#keys.endLease(lease);
      this.#keys.endCommand();
    }
  }

  #applyOne(command: Command): CommandResult {
    const { once } = command;
    if (once === undefined) return this.#execute(command);
    const known = this.#once.recall(once, command);
    if (known !== undefined) return known;
    const result = this.#execute(command);
    this.#once.record(once, result);
    return result;
  }

  /** Executes one of the command's lists, whole or not at all. */
  #execute({ compares, success, failure }: Command): CommandResult {
    const keys = this.#keys;
    let failed: Compare | undefined;
    for (const compare of compares) {
      if (holds(compare, keys.get(compare.key))) continue;
      failed = compare;
      break;
    }
    const presentRevision = failed === undefined ? 0 : keys.get(failed.key)?.revision ?? 0;
    const operations = failed === undefined ? success : failure;
    const results = new Array<OperationResult>(operations.length);
    let bytes = 0;
    for (let at = 0; at < operations.length; at++) {
      const operation = operations[at]!;
      const result = kindOf(operation).apply(operation, keys);
      if (typeof result === "string") return this.#undo(result);
      results[at] = result;
      // It ends here: to read on, up to OPERATIONS_MAX times as much, would hold up every replica.
      bytes += resultBytes([result]);
      if (bytes > RESULT_BYTES_MAX) return this.#undo("too-large");
    }
    const revision = keys.endCommand();
    return failed === undefined
      ? { status: "ok", succeeded: true, revision, results }
      : { status: "ok", succeeded: false, presentRevision, revision, results };
  }

  #undo(status: OperationFailure): CommandResult {
    this.#keys.undoCommand();
    return { status };
  }

  #restore(item: StateItem): void {
    switch (item.type) {
      case "entry":
        return this.#keys.restore(item.entry);
      case "key":
        return this.#once.keys.restore(item.record);
      case "session":
        return this.#once.sessions.restore(item.session);
      case "result":
        return this.#once.sessions.restoreResult(item.result);
      case "lease":
        return this.#keys.leases.restore(item.lease);
      case "lastLease":
        return this.#keys.leases.restoreLastId(item.id);
    }
  }
}

function* itemsOf(
  entries: FrozenMap<KvEntry>,
  { keys, sessions, results }: FrozenOnceTables,
  { leases, lastId }: { readonly leases: FrozenMap<Lease>; readonly lastId: number },
): Generator<StateItem, void> {
  for (const [key, entry] of entries.scan()) yield { type: "entry", entry: { key, ...entry } };
  for (const [, record] of keys.scan()) yield { type: "key", record };
  for (const [, session] of sessions.scan()) yield { type: "session", session };
  for (const [, result] of results.scan()) yield { type: "result", result };
  for (const [, lease] of leases.scan()) yield { type: "lease", lease };
  if (lastId > 0) yield { type: "lastLease", id: lastId };
}
