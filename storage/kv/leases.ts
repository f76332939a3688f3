/**
 * Leases: keys that are attached to one are deleted when it ends. It ends when it is revoked, or when log
 * time has come to its deadline; a keepalive moves the deadline.
 *
 * Time is log time, so a lease's remaining time survives changes of the leader and restarts: while nobody
 * leads, no log time passes.
 *
 * A lease is never changed, but replaced, and lives in a map that can be frozen (skip_list.ts). Which keys
 * it has follows from the entries, each of which names its lease.
 *
 * @module
 */
import { LEASE_KEYS_MAX, LEASES_MAX } from "./limits.ts";
import { orderKey } from "./numbers.ts";
import { type FrozenMap, SkipList } from "./skip_list.ts";
import { ItemHash, type SetHash } from "./state_hash.ts";

/** A lease. */
export interface Lease {
  /** 1 for the first of a store, and so on. */
  readonly id: number;
  readonly ttlMs: number;
  /** Log time at which it ends. */
  readonly deadlineMs: number;
  /** It was granted for one key, and goes when no key is attached to it any more. */
  readonly isOfKey: boolean;
}

const HASH_LEASE = 4;
const HASH_LAST_ID = 5;
const NO_KEYS: ReadonlySet<string> = new Set();

/** Every call is O(log n), but for what is said of it. */
export class Leases {
  readonly #leases = new SkipList<Lease>();
  readonly #byDeadline = new SkipList<Lease>();
  readonly #keys = new Map<number, Set<string>>();
  readonly #hash: SetHash;
  readonly #item = new ItemHash();
  #nowMs = 0;
  #lastId = 0;
  /** How to undo what the command at hand did, in order. */
  #undo: (() => void)[] = [];
  /** Leases of keys that the command at hand may have left without one. */
  #emptied: number[] = [];
  #grantedId = 0;

  /** `hash` takes in the leases. */
  constructor(hash: SetHash) {
    this.#hash = hash;
  }

  /** The highest id so far; 0 if there was none. */
  get lastId(): number {
    return this.#lastId;
  }

  /** The lease that the command at hand has granted last; 0 if none. */
  get grantedId(): number {
    return this.#grantedId;
  }

  /** How many there are. */
  get size(): number {
    return this.#leases.size;
  }

  /** The lease; undefined if there is none, or it has ended. */
  get(id: number): Lease | undefined {
    const lease = this.#leases.get(orderKey(id));
    return lease === undefined || lease.deadlineMs <= this.#nowMs ? undefined : lease;
  }

  /** The keys of a lease, in order. O(k log k). */
  keysOf(id: number): string[] {
    return [...this.#keys.get(id) ?? NO_KEYS].sort(bytewise);
  }

  /** Yields the leases after this id that have not ended, in the order of their ids. */
  *after(id: number): Generator<Lease, void> {
    for (const [, lease] of this.#leases.scan({ start: orderKey(id + 1) })) {
      if (lease.deadlineMs > this.#nowMs) yield lease;
    }
  }

  /** Log time at which the first of them ends; Infinity if there is none. O(1). */
  get nextDeadlineMs(): number {
    return this.#byDeadline.first()?.[1].deadlineMs ?? Infinity;
  }

  /** As they are now; the caller must release it. O(1). */
  freeze(): FrozenMap<Lease> {
    return this.#leases.freeze();
  }

  /** Adds a lease of a frozen state. */
  restore(lease: Lease): void {
    this.#add(lease);
  }

  /** Sets what a frozen state says besides its leases. */
  restoreTime(nowMs: number): void {
    this.#nowMs = nowMs;
  }

  /** As {@linkcode restoreTime}. */
  restoreLastId(id: number): void {
    this.#setLastId(id);
  }

  /** Moves the time, which must not go back. */
  advance(nowMs: number): void {
    this.#nowMs = nowMs;
  }

  /** The first lease that has ended and is still there. */
  ended(): Lease | undefined {
    const first = this.#byDeadline.first()?.[1];
    return first !== undefined && first.deadlineMs <= this.#nowMs ? first : undefined;
  }

  /** Grants one from now on; undefined if there are LEASES_MAX. */
  grant(ttlMs: number, isOfKey: boolean): Lease | undefined {
    if (this.#leases.size >= LEASES_MAX) return undefined;
    const previousId = this.#lastId;
    const previousGranted = this.#grantedId;
    const lease = { id: previousId + 1, ttlMs, deadlineMs: this.#nowMs + ttlMs, isOfKey };
    this.#setLastId(lease.id);
    this.#grantedId = lease.id;
    this.#add(lease);
    if (isOfKey) this.#emptied.push(lease.id);
    this.#undo.push(() => {
      this.#delete(lease);
      this.#setLastId(previousId);
      this.#grantedId = previousGranted;
    });
    return lease;
  }

  /** Moves the deadline of a lease that is there. */
  keepAlive(lease: Lease): Lease {
    const { id, ttlMs, isOfKey } = lease;
    const renewed = { id, ttlMs, deadlineMs: this.#nowMs + ttlMs, isOfKey };
    this.#delete(lease);
    this.#add(renewed);
    this.#undo.push(() => {
      this.#delete(renewed);
      this.#add(lease);
    });
    return renewed;
  }

  /** Removes a lease to which no key is attached any more. */
  remove(lease: Lease): void {
    this.#delete(lease);
    this.#undo.push(() => this.#add(lease));
  }

  /** Whether one more key can be attached. */
  hasRoom(id: number): boolean {
    return (this.#keys.get(id)?.size ?? 0) < LEASE_KEYS_MAX;
  }

  /** A key's entry names another lease than before; undefined stands for none. */
  move(key: string, from: number | undefined, to: number | undefined): void {
    if (from === to) return;
    if (from !== undefined) {
      const keys = this.#keys.get(from);
      keys?.delete(key);
      if (keys?.size === 0) {
        this.#keys.delete(from);
        this.#emptied.push(from);
      }
    }
    if (to === undefined) return;
    const keys = this.#keys.get(to);
    if (keys === undefined) this.#keys.set(to, new Set([key]));
    else keys.add(key);
  }

  /** The command at hand took effect. */
  endCommand(): void {
    if (this.#emptied.length > 0) this.#forgetEmptied();
    if (this.#undo.length > 0) this.#undo = [];
    this.#grantedId = 0;
  }

  /** The command at hand did not take effect; its keys are back already. */
  undoCommand(): void {
    for (const undo of this.#undo.reverse()) undo();
    this.#undo = [];
    this.#emptied = [];
    this.#grantedId = 0;
  }

  #forgetEmptied(): void {
    for (const id of this.#emptied) {
      const lease = this.#leases.get(orderKey(id));
      if (lease?.isOfKey === true && !this.#keys.has(id)) this.#delete(lease);
    }
    this.#emptied = [];
  }

  #add(lease: Lease): void {
    this.#leases.set(orderKey(lease.id), lease);
    this.#byDeadline.set(deadlineKey(lease), lease);
    this.#hash.add(this.#hashOf(lease));
  }

  #delete(lease: Lease): void {
    this.#leases.delete(orderKey(lease.id));
    this.#byDeadline.delete(deadlineKey(lease));
    this.#hash.remove(this.#hashOf(lease));
  }

  #setLastId(id: number): void {
    // A store that never had a lease has the hash that older builds give it.
    if (this.#lastId > 0) this.#hash.remove(this.#item.begin(HASH_LAST_ID).number(this.#lastId));
    this.#lastId = id;
    if (id > 0) this.#hash.add(this.#item.begin(HASH_LAST_ID).number(id));
  }

  #hashOf({ id, ttlMs, deadlineMs, isOfKey }: Lease): ItemHash {
    return this.#item.begin(HASH_LEASE).number(id).number(ttlMs).number(deadlineMs)
      .number(+isOfKey);
  }
}

function deadlineKey({ deadlineMs, id }: Lease): string {
  return orderKey(deadlineMs) + orderKey(id);
}

function bytewise(one: string, other: string): number {
  return one < other ? -1 : Number(one > other);
}
