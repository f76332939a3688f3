/**
 * How long the entries of a leader take from their proposal to their commit.
 *
 * @module
 */
import type { LogIndex } from "../machines/raft_types.ts";

/**
 * The proposals of one leadership that are not committed. There is one item a turn, so the list is
 * short.
 */
export class CommitTimes {
  readonly #observe: (durationMs: number) => void;
  #proposed: { readonly lastIndex: LogIndex; readonly atMs: number }[] = [];

  /** `observe` gets the duration of each turn's proposals. */
  constructor(observe: (durationMs: number) => void) {
    this.#observe = observe;
  }

  /** Entries up to `lastIndex` were proposed. */
  propose(lastIndex: LogIndex, nowMs: number): void {
    this.#proposed.push({ lastIndex, atMs: nowMs });
  }

  /** Entries up to `commitIndex` are committed. */
  commit(commitIndex: LogIndex, nowMs: number): void {
    let count = 0;
    while (count < this.#proposed.length && this.#proposed[count]!.lastIndex <= commitIndex) {
      this.#observe(nowMs - this.#proposed[count++]!.atMs);
    }
    if (count > 0) this.#proposed.splice(0, count);
  }

  /** Leadership ended: another leader may commit other entries at these indexes. */
  forget(): void {
    if (this.#proposed.length > 0) this.#proposed = [];
  }
}
