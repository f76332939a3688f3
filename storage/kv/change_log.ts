/**
 * The newest changes of a store, in order, so that a watcher can go on from a revision that it has seen.
 *
 * It is kept in memory beside the store and is no part of the state: it begins anew at the state that a
 * start or a snapshot loads, and drops the oldest changes beyond its bounds.
 *
 * @module
 */
import type { KvChange } from "./key_space.ts";
import { CHANGE_BYTES, CHANGE_LOG_BYTES_MAX } from "./limits.ts";

/** See the module. Adding is O(1), reading from a revision O(log n) and what is read. */
export class ChangeLog {
  readonly #bytesMax: number;
  /** Those that were dropped are undefined. */
  #changes: (KvChange | undefined)[] = [];
  /** Where the first change that is kept stands in `#changes`. */
  #head = 0;
  #bytes = 0;
  /** Every change after this revision is kept. */
  #floor: number;
  #revision: number;

  /** Begins at the revision of the store; `bytesMax` is CHANGE_LOG_BYTES_MAX unless a test says otherwise. */
  constructor(revision: number, bytesMax: number = CHANGE_LOG_BYTES_MAX) {
    this.#floor = this.#revision = revision;
    this.#bytesMax = bytesMax;
  }

  /** Revision of the newest change. */
  get revision(): number {
    return this.#revision;
  }

  /** The first revision from which it can be read. */
  get firstRevision(): number {
    return this.#floor + 1;
  }

  /** Bytes that the changes count for. */
  get bytes(): number {
    return this.#bytes;
  }

  /** The store holds another state now, of this revision: what led there is not known. */
  reset(revision: number): void {
    this.#changes = [];
    this.#head = 0;
    this.#bytes = 0;
    this.#floor = this.#revision = revision;
  }

  /** Adds changes, whose revisions do not fall. */
  add(changes: readonly KvChange[]): void {
    for (const change of changes) {
      this.#changes.push(change);
      this.#bytes += changeBytes(change);
      this.#revision = change.revision;
    }
    while (this.#bytes > this.#bytesMax) this.#dropOldest();
    // Trimmed rarely and in bulk, which costs O(1) for each change.
    if (this.#head > 1_024 && 2 * this.#head > this.#changes.length) {
      this.#changes = this.#changes.slice(this.#head);
      this.#head = 0;
    }
  }

  /**
   * The changes of this revision and later ones, in whole revisions of at most about `bytesMax`; undefined
   * if some of them are not kept any more.
   */
  page(revision: number, bytesMax: number): readonly KvChange[] | undefined {
    if (revision <= this.#floor) return undefined;
    let [low, high] = [this.#head, this.#changes.length];
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (this.#changes[middle]!.revision < revision) low = middle + 1;
      else high = middle;
    }
    const page: KvChange[] = [];
    for (let bytes = 0; low < this.#changes.length; low++) {
      const change = this.#changes[low]!;
      if (bytes > bytesMax && change.revision !== page.at(-1)!.revision) break;
      bytes += changeBytes(change);
      page.push(change);
    }
    return page;
  }

  /** All changes of the oldest revision go together. */
  #dropOldest(): void {
    const { revision } = this.#changes[this.#head]!;
    for (let oldest; (oldest = this.#changes[this.#head])?.revision === revision;) {
      this.#bytes -= changeBytes(oldest!);
      this.#changes[this.#head++] = undefined;
    }
    this.#floor = revision;
  }
}

/** Bytes that a change counts for, wherever it waits. */
export function changeBytes({ key, entry, previous }: KvChange): number {
  return CHANGE_BYTES + key.length + (entry?.value.length ?? 0) + (previous?.value.length ?? 0);
}
