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
import { type ConfigEntry, decodeConfig } from "../machines/group_config.ts";
import type { EntryRun, LogIndex, Term } from "../machines/raft_types.ts";
import { unpackRequests } from "../machines/request_batch.ts";
import type { StateMachine } from "../machines/state_machine.ts";
import type { SnapshotMeta } from "../storage/log/snapshot_file.ts";
import { forEachEntry } from "../storage/log/wal_record.ts";
import { AUDIT_ENTRIES, SNAPSHOT_SLICE_BYTES } from "./limits.ts";
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
    readonly answers: readonly Answer<Result | NotApplied | Unknown>[];
  }
  /** Entries through this index are committed. */
  | { readonly type: "Committed"; readonly through: LogIndex }
  /** Answer once lastApplied has reached `index`. */
  | {
    readonly type: "AwaitApplied";
    readonly index: LogIndex;
    readonly answers: readonly Answer<{ readonly status: "ready" }>[];
  }
  /**
   * Take the state of a snapshot in place of the machine's, unless the machine has applied more; then
   * tell `done`, with what went wrong if anything did.
   */
  | {
    readonly type: "Load";
    readonly meta: SnapshotMeta;
    readonly chunks: () => Iterable<Uint8Array>;
    readonly done: (error: Error | undefined) => void;
  }
  /** A snapshot of the state as it is now is being taken … */
  | { readonly type: "Frozen" }
  /** … and is durable. */
  | { readonly type: "Snapshotted" }
  /** Go on applying, or loading. */
  | { readonly type: "Continue" };

/** When the log has grown so far that a snapshot is worth its while. */
export interface SnapshotTrigger {
  /** Record bytes applied since the last one. */
  readonly bytes: number;
  /** Entries applied since the last one. */
  readonly entries: number;
}

/** What the actor needs. */
export interface MachineActorOptions<Result> {
  readonly machine: StateMachine<Result>;
  /** Committed entries from `from` on, as views of the log. */
  readonly entries: (from: LogIndex, through: LogIndex, bytesMax: number) => EntryRun[];
  readonly scheduler: Scheduler;
  /** Gets what each entry changed, in order. */
  readonly onChanges?: (changes: readonly unknown[]) => void;
  /** The machine has loaded another state: what led there is not known. */
  readonly onLoaded?: () => void;
  /**
   * Gets each configuration that the group has agreed on, before the entries behind it are applied.
   *
   * @throws {ClusterVersionError} If this build must not take part any more.
   */
  readonly onConfig: (config: Pick<ConfigEntry, "clusterVersion">) => void;
  /** Gets the hash of the state after each entry whose index is a multiple of AUDIT_ENTRIES. */
  readonly onAudit: (index: LogIndex, hash: string) => void;
  readonly snapshotAfter: SnapshotTrigger;
  /** Called when that much was applied, and again whenever an eighth more was. */
  readonly onSnapshotDue: () => void;
  readonly self: () => LocalRef<never, never, MachineSignal<Result>>;
}

/** The proposals in an entry that a snapshot has covered: this node cannot tell what became of them. */
export interface Unknown {
  readonly status: "unknown";
}

/** The proposals in one entry. */
interface Expectation<Result> {
  readonly term: Term;
  readonly index: LogIndex;
  readonly answers: readonly Answer<Result | NotApplied | Unknown>[];
}

/** A state that is being loaded. */
interface Loading extends Pick<Extract<MachineSignal<never>, { type: "Load" }>, "meta" | "done"> {
  readonly steps: Iterator<void, void>;
  /** Bytes of the chunks read so far. */
  bytes: number;
}

/** How much was applied, or covered. */
interface Amount {
  bytes: number;
  entries: number;
}

/** A snapshot that could not be taken is asked for again after so much of what makes one due. */
const ASK_AGAIN_SHARE = 1 / 8;
const NO_REQUESTS: readonly Uint8Array[] = [];

/** Hosts the state machine of one group. */
export class MachineActor<Result> extends Actor<never, never, MachineSignal<Result>> {
  readonly #options: MachineActorOptions<Result>;
  #committed: LogIndex;
  #continues = false;
  #loading: Loading | undefined;
  readonly #applied: Amount = { bytes: 0, entries: 0 };
  /** What had been applied when the snapshot was taken that is not durable yet. */
  #frozen: Readonly<Amount> = { bytes: 0, entries: 0 };
  /** What the newest snapshot covers of that. */
  #covered: Readonly<Amount> = { bytes: 0, entries: 0 };
  /** A snapshot was asked for when so much of what makes one worth its while had been applied. */
  #askedAt = 0;
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
      else if (message.type === "Load") this.#startLoad(message);
      else if (message.type === "Frozen") this.#frozen = { ...this.#applied };
      else if (message.type === "Snapshotted") this.#snapshotted();
      else this.#continues = false;
    }
    if (this.#loading !== undefined) this.#load(this.#loading);
    this.#apply();
    this.#askForSnapshot();
    this.#releaseReads();
  }

  #apply(): void {
    const { machine, entries, onConfig, onAudit, onChanges } = this.#options;
    if (this.#continues || this.#loading !== undefined) return;
    if (machine.lastApplied >= this.#committed) return;
    const runs = entries(machine.lastApplied + 1, this.#committed, APPLY_BYTES_MAX);
    if (runs.length === 0) {
      const next = machine.lastApplied + 1;
      throw new Error(`Cannot apply entry ${next}: it is committed, and the log does not hold it`);
    }
    for (const run of runs) {
      const { term } = run;
      this.#applied.bytes += run.bytes.length;
      this.#applied.entries += run.ends.length;
      forEachEntry(run, (index, timeMs, kind, payload) => {
        if (kind === "config") onConfig(decodeConfig(payload));
        const requests = kind === "command" ? unpackRequests(payload) : NO_REQUESTS;
        const { results, changes } = machine.apply({ index, term, timeMs, kind, requests });
        this.#answer(index, term, results);
        if (changes.length > 0) onChanges?.(changes);
        if (index % AUDIT_ENTRIES === 0) onAudit(index, machine.stateHash());
      });
    }
    if (machine.lastApplied < this.#committed) this.#goOn();
  }

  #goOn(): void {
    const { scheduler, self } = this.#options;
    this.#continues = true;
    scheduler.soon(() => self().signal({ type: "Continue" }));
  }

  #startLoad(
    { meta, chunks, done }: Extract<MachineSignal<Result>, { type: "Load" }>,
  ): void {
    const { machine, onConfig } = this.#options;
    if (machine.lastApplied >= meta.index) return done(undefined);
    onConfig({ clusterVersion: meta.clusterVersion });
    const loading: Loading = { meta, done, bytes: 0, steps: machine.load(counted()) };
    this.#loading = loading;
    function* counted(): Generator<Uint8Array, void> {
      for (const chunk of chunks()) {
        loading.bytes += chunk.length;
        yield chunk;
      }
    }
  }

  /** Loads a slice. Nothing is applied until all is loaded. */
  #load(loading: Loading): void {
    if (this.#continues) return;
    const through = loading.bytes + SNAPSHOT_SLICE_BYTES;
    try {
      while (loading.bytes < through) {
        if (loading.steps.next().done !== true) continue;
        this.#loading = undefined;
        this.#options.onLoaded?.();
        this.#settleCovered();
        return loading.done(undefined);
      }
    } catch (error) {
      this.#loading = undefined;
      return loading.done(error as Error);
    }
    this.#goOn();
  }

  /** A snapshot says what the state is, and not what an entry did on the way to it. */
  #settleCovered(): void {
    const { lastApplied } = this.#options.machine;
    for (let head; (head = this.#expected[this.#expectedHead]) !== undefined;) {
      if (head.index > lastApplied) break;
      for (const answer of head.answers) answer.reply({ status: "unknown" });
      this.#shiftExpected();
    }
    for (const [index, expectations] of this.#superseded) {
      if (index > lastApplied) continue;
      this.#superseded.delete(index);
      for (const { answers } of expectations) {
        for (const answer of answers) answer.reply({ status: "unknown" });
      }
    }
  }

  #snapshotted(): void {
    this.#covered = this.#frozen;
    this.#askedAt = 0;
  }

  #askForSnapshot(): void {
    const { snapshotAfter, onSnapshotDue } = this.#options;
    const share = Math.max(
      (this.#applied.bytes - this.#covered.bytes) / snapshotAfter.bytes,
      (this.#applied.entries - this.#covered.entries) / snapshotAfter.entries,
    );
    if (share < 1 || (this.#askedAt > 0 && share < this.#askedAt + ASK_AGAIN_SHARE)) return;
    this.#askedAt = share;
    onSnapshotDue();
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
