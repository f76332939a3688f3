/**
 * What waits for the disk (s5, "updated on stable storage before responding to RPCs").
 *
 * A turn's write carries its hard state and its entries. Promises are votes, requests for votes and
 * a follower's acceptances. A promise may rely on everything that was written before it, so it
 * waits for the write of its turn. If its turn writes nothing, it waits for the newest write under
 * way. The host writes in the order in which it is handed writes, and says `durable` once for each.
 *
 * Safety: an entry may be replaced while its sync still runs, and may even come back later at the
 * same index in the same term. The end of that sync says nothing about what took its place. So a
 * truncation takes the dropped entries out of every write under way, and only the write that stored
 * the new entries reports them durable.
 *
 * @module
 */
import { appendAll } from "./append_all.ts";
import { lastIndexOf, type LogBase } from "./raft_log.ts";
import type { EntryRun, Envelope, HardState, LogIndex, Term } from "./raft_types.ts";

/** What a turn has to be written before anything that relies on it leaves; never empty. */
export interface Write {
  /** Set if the turn changed term or vote. It precedes the entries. */
  readonly hardState: HardState | undefined;
  /**
   * Set if a snapshot covers the entries up to `base`: the log on disk begins behind it. What was
   * written before stays behind the base only if `keepsRest`. It precedes the entries, too.
   */
  readonly forgotten: { readonly base: LogBase; readonly keepsRest: boolean } | undefined;
  /** Entries the turn put into the log, in order; a later run may replace an earlier one. */
  readonly runs: readonly EntryRun[];
}

/** A write under way, and what is released when it is durable. */
export interface PendingWrite {
  readonly hardState: HardState | undefined;
  /** Host time at which it was handed over. */
  readonly handedMs: number;
  /** The last entry written; undefined if there is none, or it was dropped meanwhile. */
  last: { readonly term: Term; readonly index: LogIndex } | undefined;
  /** Promises that wait for this write and for every earlier one. */
  readonly messages: Envelope[];
}

/** The writes of one group that are under way, oldest first. */
export class PendingWrites {
  #writes: PendingWrite[] = [];

  /** Writes under way. */
  get length(): number {
    return this.#writes.length;
  }

  /** All promises that wait, oldest first. */
  get messages(): Envelope[] {
    return this.#writes.flatMap(({ messages }) => messages);
  }

  /** When the oldest was handed over; undefined if nothing is under way. */
  get oldestMs(): number | undefined {
    return this.#writes[0]?.handedMs;
  }

  /** Adds a write that is handed over now, and what waits for it. */
  push(
    { hardState, runs }: Pick<Write, "hardState" | "runs">,
    messages: Envelope[],
    handedMs: number,
  ): void {
    const run = runs.at(-1);
    const last = run === undefined ? undefined : { term: run.term, index: lastIndexOf(run) };
    this.#writes.push({ hardState, handedMs, last, messages });
  }

  /** Has messages wait for the newest write; false if nothing is under way. */
  wait(messages: readonly Envelope[]): boolean {
    const newest = this.#writes.at(-1);
    if (newest !== undefined) appendAll(newest.messages, messages);
    return newest !== undefined;
  }

  /**
   * Entries after `index` were dropped: the writes under way do not report them durable any more.
   */
  truncateAfter(index: LogIndex): void {
    for (const write of this.#writes) {
      if (write.last !== undefined && write.last.index > index) write.last = undefined;
    }
  }

  /**
   * The oldest write is durable.
   *
   * @throws {Error} If nothing is under way: the host has counted wrong.
   */
  shift(): PendingWrite {
    const oldest = this.#writes.shift();
    if (oldest === undefined) throw new Error("Cannot take durable: no write is under way");
    return oldest;
  }
}
