/**
 * What Raft replicates: the one interface between a group and its state machine (s2 of the paper,
 * "replicated state machines").
 *
 * A machine is a function of the entries applied to it and of nothing else: no clock, no chance, no
 * locale. Its time is the log time that entries carry. Replicas that applied the same entries hold
 * the same state, which `stateHash` lets them compare.
 *
 * @module
 */
import type { EntryKind, LogIndex, Term } from "./raft_types.ts";

/** A committed entry, as its state machine sees it. */
export interface AppliedEntry {
  /** Its place in the log: one more than that of the entry applied before. */
  readonly index: LogIndex;
  /** The term of the leader that appended it. */
  readonly term: Term;
  /** Log time stamped by that leader; may lie before an earlier entry's. */
  readonly timeMs: number;
  /** Only a command has requests. */
  readonly kind: EntryKind;
  /** What clients asked for, in the order of its effect; views that must not be kept. */
  readonly requests: readonly Uint8Array[];
}

/** What an entry did. */
export interface Applied<Result, Change> {
  /** One result for each request, in their order. */
  readonly results: readonly Result[];
  /** What changed, in order: what watches are fed from. */
  readonly changes: readonly Change[];
}

/** Why a request is not proposed: it surely has no effect. */
export type RequestRefusal =
  /** No machine of this version can read it. */
  | "invalid"
  /** The machine has no room for what it would keep. */
  | "overloaded"
  /** A member of the cluster may not be able to read it yet. */
  | "too-new";

/** A machine's state at one moment, to be read in slices while the machine goes on. */
export interface FrozenState {
  /** The entry after which this was the state. */
  readonly lastApplied: LogIndex;
  /** As {@linkcode StateMachine.stateHash} at that moment. */
  readonly stateHash: string;
  /** The state in chunks of bytes, each made when it is asked for. */
  chunks(): Iterable<Uint8Array>;
  /** Frees what only this view kept. Idempotent; nothing may be read afterwards. */
  release(): void;
}

/**
 * A deterministic machine that entries drive. The key-value store is one, and the one that
 * `startNode` runs: its gateway speaks of keys. Another machine runs on the same host of Raft
 * (actors/group.ts).
 *
 * @example A machine that counts
 * ```ts
 * import type { AppliedEntry } from "statecraft";
 *
 * class Counter {
 *   value = 0;
 *   apply({ requests }: AppliedEntry): { results: number[]; changes: never[] } {
 *     return { results: requests.map(() => ++this.value), changes: [] };
 *   }
 * }
 * console.assert(new Counter().value === 0);
 * ```
 */
export interface StateMachine<Result = unknown, Change = unknown> {
  /** Version of the requests and of the frozen state that this machine writes and reads. */
  readonly version: number;
  /** Index of the last entry applied. */
  readonly lastApplied: LogIndex;
  /**
   * Whether a request may be proposed. What no replica can read must never be committed, because
   * every one of them would fail on it for good. What belongs to a higher version than the cluster
   * has agreed on is too new: some replica may run a build that cannot read it.
   */
  check(request: Uint8Array, clusterVersion: number): RequestRefusal | undefined;
  /**
   * Applies the entry after `lastApplied`.
   *
   * @throws {Error} If it cannot: the node must stop, since to skip the entry would let replicas
   * diverge.
   */
  apply(entry: AppliedEntry): Applied<Result, Change>;
  /**
   * Log time at which the state changes by itself; Infinity if it never does. A leader then appends
   * an entry without requests, so that time passes on every replica at the same place of the log.
   */
  nextDeadlineMs(): number;
  /**
   * Another node led and answered a request with this value: the result that the value stands for;
   * undefined if it stands for none. A result must not be an object whose `status` is one of Raft's
   * own answers (actors/raft_request.ts).
   */
  resultOf(value: unknown): Result | undefined;
  /** The state as it is now; costs O(1). */
  freeze(): FrozenState;
  /**
   * Takes the state that the chunks of a {@linkcode FrozenState} describe, in place of its own. Each
   * step of the iterator reads a chunk or so, and the caller may do other work between two steps, but
   * must not apply entries. The last step puts the new state in the place of the old one. Until then,
   * and if a step throws, the old one is unchanged.
   *
   * @throws {Error} From a step, if they are not a whole state of a version that this machine reads.
   */
  load(chunks: Iterable<Uint8Array>): Iterator<void, void>;
  /** 16 hexadecimal digits: equal on replicas that applied the same entries. */
  stateHash(): string;
}
