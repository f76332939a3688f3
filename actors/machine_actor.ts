/**
 * Applies committed entries to a group's state machine in order, answers the calls that proposed
 * them, and releases the reads that waited for them.
 *
 * The entry that is committed at a proposal's index decides what became of the proposal. If the
 * entry has the proposal's term, the proposal was applied. If it has another term, the proposal
 * never will be. Until then nobody can tell, even if this node's log has dropped the entry: another
 * node may still hold it and win an election (s5.4.2, Fig. 8).
 *
 * @module
 */
import { decodeConfig, type GroupConfig } from "../machines/group_config.ts";
import type { EntryRun, LogIndex, Term } from "../machines/raft_types.ts";
import { unpackRequests } from "../machines/request_batch.ts";
import type { StateMachine } from "../machines/state_machine.ts";
import { forEachEntry } from "../storage/log/wal_record.ts";
import { Actor, type Delivery, type LocalRef } from "./runtime/actor.ts";
import type { Scheduler } from "./runtime/ports.ts";

/** Record bytes applied in one turn; the rest follows after the event loop has seen IO. */
export const APPLY_BYTES_MAX = 256 * 1024;

/** A call that waits for an outcome. */
export interface Answer<Value> {
  reply(value: Value): void;
}

/** A proposal lost its place to another leader's entry. */
export interface NotApplied {
  readonly status: "not-applied";
}

/** What the actor takes: from this node's own Raft actor, and from itself. */
export type MachineSignal<Result> =
  /**
   * Requests were appended in `term` in consecutive entries from `firstIndex` on; each entry holds
   * as many as `counts` says. Answer each request when its outcome is known.
   */
  | {
    readonly type: "Expect";
    readonly term: Term;
    readonly firstIndex: LogIndex;
    readonly counts: readonly number[];
    readonly answers: readonly Answer<Result | NotApplied>[];
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

/** What the actor needs. */
export interface MachineActorOptions<Result> {
  readonly machine: StateMachine<Result>;
  /** Committed entries from `from` on, as views of the log. */
  readonly entries: (from: LogIndex, through: LogIndex, bytesMax: number) => EntryRun[];
  readonly scheduler: Scheduler;
  /**
   * Gets each configuration that the group has agreed on, before the entries behind it are applied.
   *
   * @throws {ClusterVersionError} If this build must not take part any more.
   */
  readonly onConfig: (config: GroupConfig) => void;
  readonly self: () => LocalRef<never, never, MachineSignal<Result>>;
}

/** The proposals in one entry. */
interface Expectation<Result> {
  readonly term: Term;
  readonly index: LogIndex;
  readonly answers: readonly Answer<Result | NotApplied>[];
}

const NO_REQUESTS: readonly Uint8Array[] = [];

/** Hosts the state machine of one group. */
export class MachineActor<Result> extends Actor<never, never, MachineSignal<Result>> {
  readonly #options: MachineActorOptions<Result>;
  #committed: LogIndex;
  #continues = false;
  /** Ascending by index; one leadership's proposals never overlap. Answered ones are undefined. */
  #expected: (Expectation<Result> | undefined)[] = [];
  #expectedHead = 0;
  /** Proposals of an earlier leadership at indexes that a later one used again. */
  readonly #superseded: Map<LogIndex, Expectation<Result>[]> = new Map();
  #reads: { readonly index: LogIndex; readonly answers: readonly Answer<{ status: "ready" }>[] }[] =
    [];

  /** Hosts `options.machine`, which nothing else may change. */
  constructor(options: MachineActorOptions<Result>) {
    super();
    this.#options = options;
    this.#committed = options.machine.lastApplied;
  }

  override receive(batch: readonly Delivery<MachineSignal<Result>>[]): void {
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
    const { machine, entries, scheduler, self, onConfig } = this.#options;
    if (this.#continues || machine.lastApplied >= this.#committed) return;
    const runs = entries(machine.lastApplied + 1, this.#committed, APPLY_BYTES_MAX);
    if (runs.length === 0) {
      const next = machine.lastApplied + 1;
      throw new Error(`Cannot apply entry ${next}: it is committed, and the log does not hold it`);
    }
    for (const run of runs) {
      const { term } = run;
      forEachEntry(run, (index, timeMs, kind, payload) => {
        if (kind === "config") onConfig(decodeConfig(payload));
        const requests = kind === "command" ? unpackRequests(payload) : NO_REQUESTS;
        const { results } = machine.apply({ index, term, timeMs, kind, requests });
        this.#answer(index, term, results);
      });
    }
    if (machine.lastApplied < this.#committed) {
      this.#continues = true;
      scheduler.soon(() => self().signal({ type: "Continue" }));
    }
  }

  #expect(
    { term, firstIndex, counts, answers }: Extract<MachineSignal<Result>, { type: "Expect" }>,
  ): void {
    const last = this.#expected.at(-1);
    if (last !== undefined && firstIndex <= last.index) this.#supersede();
    let from = 0;
    counts.forEach((count, offset) => {
      const part = count === answers.length ? answers : answers.slice(from, from + count);
      this.#expected.push({ term, index: firstIndex + offset, answers: part });
      from += count;
    });
  }

  /**
   * Leadership was lost and won again: proposals of the earlier leadership wait apart, by index.
   */
  #supersede(): void {
    for (const expectation of this.#expected.slice(this.#expectedHead)) {
      if (expectation === undefined || expectation.index <= this.#options.machine.lastApplied) {
        continue;
      }
      const others = this.#superseded.get(expectation.index) ?? [];
      others.push(expectation);
      this.#superseded.set(expectation.index, others);
    }
    this.#expected = [];
    this.#expectedHead = 0;
  }

  #answer(index: LogIndex, term: Term, results: readonly Result[]): void {
    const head = this.#expected[this.#expectedHead];
    if (head !== undefined && head.index === index) {
      settle(head, term, results);
      this.#shiftExpected();
    }
    if (this.#superseded.size === 0) return;
    for (const expectation of this.#superseded.get(index) ?? []) settle(expectation, term, results);
    this.#superseded.delete(index);
  }

  #shiftExpected(): void {
    // An answered call holds a whole request. It is released now, not only when the queue is
    // trimmed.
    this.#expected[this.#expectedHead++] = undefined;
    // The queue is trimmed rarely and in bulk, which costs O(1) per answer.
    if (this.#expectedHead < 1024 && this.#expectedHead < this.#expected.length) return;
    this.#expected = this.#expected.slice(this.#expectedHead);
    this.#expectedHead = 0;
  }

  #releaseReads(): void {
    const { lastApplied } = this.#options.machine;
    if (this.#reads.length === 0) return;
    const ready = this.#reads.filter(({ index }) => index <= lastApplied);
    if (ready.length === 0) return;
    this.#reads = this.#reads.filter(({ index }) => index > lastApplied);
    for (const { answers } of ready) {
      for (const answer of answers) answer.reply({ status: "ready" });
    }
  }
}

function settle<Result>(
  { term: expected, answers }: Expectation<Result>,
  term: Term,
  results: readonly Result[],
): void {
  answers.forEach((answer, at) =>
    answer.reply(expected === term ? results[at]! : { status: "not-applied" })
  );
}
