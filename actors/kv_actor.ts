/**
 * Applies committed entries in order, answers those who proposed them, and releases the reads that
 * waited for them.
 *
 * What became of a proposal is decided by what was committed at its index: an entry of its own
 * term means it was applied, one of another term means that it never will be. Until then nobody
 * can tell, not even when this node's log dropped the entry: another node may still hold it and
 * win (s5.4.2, Fig. 8).
 *
 * @module
 */
import type { EntryRun, LogIndex, Term } from "../machines/raft_types.ts";
import type { CommandResult, KvStore } from "../storage/kv_store.ts";
import { forEachEntry } from "../storage/wal_record.ts";
import type { ApplyOutcome } from "./raft_request.ts";
import { Actor, type Delivery, type LocalRef } from "./runtime/actor.ts";
import type { Scheduler } from "./runtime/ports.ts";

/** Record bytes applied in one turn; the rest follows after the event loop has seen IO. */
export const APPLY_BYTES_MAX = 256 * 1024;

/** Where an outcome goes. */
export interface Answer<Value> {
  reply(value: Value): void;
}

/** What the KV actor takes: from this node's own Raft actor, and from itself. */
export type KvSignal =
  /** Commands were appended at `firstIndex` and after in `term`; answer each when its fate is known. */
  | {
    readonly type: "Expect";
    readonly term: Term;
    readonly firstIndex: LogIndex;
    readonly answers: readonly Answer<ApplyOutcome>[];
  }
  /** Entries through this index are committed. */
  | { readonly type: "Committed"; readonly through: LogIndex }
  /** Answer once lastApplied has reached `index`. */
  | {
    readonly type: "AwaitApplied";
    readonly index: LogIndex;
    readonly answers: readonly Answer<{ readonly status: "ready" }>[];
  }
  /** Go on applying. */
  | { readonly type: "Continue" };

/** What the KV actor needs. */
export interface KvActorOptions {
  readonly store: KvStore;
  /** Committed entries from `from` on, as views of the log. */
  readonly entries: (from: LogIndex, through: LogIndex, bytesMax: number) => EntryRun[];
  readonly scheduler: Scheduler;
  readonly self: () => LocalRef<never, never, KvSignal>;
}

interface Expectation {
  readonly term: Term;
  readonly firstIndex: LogIndex;
  readonly answers: readonly Answer<ApplyOutcome>[];
}

const ANSWERED: Expectation = { term: 0, firstIndex: 0, answers: [] };

/** Hosts the store of one group. */
export class KvActor extends Actor<never, never, KvSignal> {
  readonly #options: KvActorOptions;
  #committed: LogIndex = 0;
  #continues = false;
  /** Ascending by index; one leadership's proposals never overlap. */
  #expected: Expectation[] = [];
  #expectedHead = 0;
  /** Proposals of an earlier leadership at indexes that a later one used again. */
  readonly #superseded: Map<
    LogIndex,
    { readonly term: Term; readonly answer: Answer<ApplyOutcome> }[]
  > = new Map();
  #reads: { readonly index: LogIndex; readonly answers: readonly Answer<{ status: "ready" }>[] }[] =
    [];

  /** Hosts `options.store`, which nothing else may change. */
  constructor(options: KvActorOptions) {
    super();
    this.#options = options;
    this.#committed = options.store.lastApplied;
  }

  override receive(batch: readonly Delivery<KvSignal>[]): void {
    for (const { message } of batch) {
      if (message.type === "Committed") {
        this.#committed = Math.max(this.#committed, message.through);
      } else if (message.type === "Expect") this.#expect(message);
      else if (message.type === "AwaitApplied") this.#reads.push(message);
      else this.#continues = false;
    }
    this.#apply();
    this.#releaseReads();
  }

  #apply(): void {
    const { store, entries, scheduler, self } = this.#options;
    if (this.#continues || store.lastApplied >= this.#committed) return;
    const runs = entries(store.lastApplied + 1, this.#committed, APPLY_BYTES_MAX);
    for (const run of runs) {
      forEachEntry(run, (index, timeMs, kind, payload) => {
        const result = store.apply(index, timeMs, kind, payload);
        this.#answer(index, run.term, result);
      });
    }
    if (store.lastApplied < this.#committed) {
      this.#continues = true;
      scheduler.soon(() => self().signal({ type: "Continue" }));
    }
  }

  #expect(expectation: Expectation): void {
    const last = this.#expected.at(-1);
    const overlaps = this.#expectedHead < this.#expected.length && last !== undefined &&
      expectation.firstIndex < last.firstIndex + last.answers.length;
    if (overlaps) this.#supersede();
    this.#expected.push(expectation);
  }

  /** Leadership was lost and won again: what was expected before waits aside, index by index. */
  #supersede(): void {
    for (const { term, firstIndex, answers } of this.#expected.slice(this.#expectedHead)) {
      answers.forEach((answer, offset) => {
        const index = firstIndex + offset;
        if (index <= this.#options.store.lastApplied) return;
        const others = this.#superseded.get(index) ?? [];
        others.push({ term, answer });
        this.#superseded.set(index, others);
      });
    }
    this.#expected = [];
    this.#expectedHead = 0;
  }

  #answer(index: LogIndex, term: Term, result: CommandResult | undefined): void {
    const head = this.#expected[this.#expectedHead];
    if (head !== undefined && index >= head.firstIndex) {
      const offset = index - head.firstIndex;
      settle(head.answers[offset], head.term === term, result);
      if (offset >= head.answers.length - 1) this.#shiftExpected();
    }
    if (this.#superseded.size === 0) return;
    for (const { term: expected, answer } of this.#superseded.get(index) ?? []) {
      settle(answer, expected === term, result);
    }
    this.#superseded.delete(index);
  }

  #shiftExpected(): void {
    // What was answered holds whole requests: the collector shall have them now, not with the bulk.
    this.#expected[this.#expectedHead++] = ANSWERED;
    // Dropping the used part in bulk keeps the queue O(1) per answer.
    if (this.#expectedHead < 1024 && this.#expectedHead < this.#expected.length) return;
    this.#expected = this.#expected.slice(this.#expectedHead);
    this.#expectedHead = 0;
  }

  #releaseReads(): void {
    const { lastApplied } = this.#options.store;
    if (this.#reads.length === 0) return;
    const ready = this.#reads.filter(({ index }) => index <= lastApplied);
    if (ready.length === 0) return;
    this.#reads = this.#reads.filter(({ index }) => index > lastApplied);
    for (const { answers } of ready) {
      for (const answer of answers) answer.reply({ status: "ready" });
    }
  }
}

function settle(
  answer: Answer<ApplyOutcome> | undefined,
  isOwn: boolean,
  result: CommandResult | undefined,
): void {
  if (answer === undefined) return;
  if (!isOwn) answer.reply({ status: "not-applied" });
  else if (result !== undefined) answer.reply(result);
}
