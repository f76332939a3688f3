/**
 * The data plane of one group: the mutable state that the rules change (Fig. 2, volatile state),
 * and the outbox of the running turn.
 *
 * Nothing here decides a role. The chart does, from its context and its events.
 *
 * @module
 */
import type { Progress } from "./progress.ts";
import type { RaftLog } from "./raft_log.ts";
import type { RaftContext, RaftEvent } from "./raft_machine.ts";
import type {
  EntryRun,
  Envelope,
  GroupId,
  HardState,
  LogIndex,
  NodeId,
  RaftMessage,
  RecordFormat,
  Term,
} from "./raft_types.ts";
import { ReadQueue } from "./read_queue.ts";

/** Bounds of a group's timing, in milliseconds of the host's monotonic clock. */
export interface RaftTiming {
  /** A follower waits a random time from this … */
  readonly electionTimeoutMsMin: number;
  /** … up to this before it seeks election (s5.2). */
  readonly electionTimeoutMsMax: number;
  /** A leader sends at least this often; at most a third of electionTimeoutMsMin. */
  readonly heartbeatMs: number;
}

/** The paper's spread, doubled: what a busy machine with a slow disk keeps up with. */
export const DEFAULT_TIMING: RaftTiming = {
  electionTimeoutMsMin: 300,
  electionTimeoutMsMax: 600,
  heartbeatMs: 50,
};

/** Entry bytes that a leader holds uncommitted; further proposals are refused as overloaded. */
export const UNCOMMITTED_BYTES_MAX = 64 * 1024 * 1024;

/** A process begins to count its read attempts below this, at random; the count stays an exact integer. */
const FIRST_READ_ID_MAX = 2 ** 52;

/** Why a proposal or a read was not taken: it has surely had no effect. */
export type Refusal = "not-leader" | "transferring" | "overloaded";

/** What became of a batch of proposals. */
export type ProposeOutcome =
  | { readonly accepted: true; readonly term: Term; readonly firstIndex: LogIndex }
  | { readonly accepted: false; readonly reason: Refusal };

/** Reads that may be served once lastApplied reaches readIndex. */
export interface ReadyReads {
  readonly readIndex: LogIndex;
  readonly readIds: readonly number[];
}

/** How a leadership transfer ended. */
export type TransferOutcome = "refused" | "aborted";

/**
 * What one turn asks of its host.
 *
 * Order: `hardState` and `runs` go to disk in one write; `messages` may leave at once;
 * `messagesAfterSync` only when that write, and every earlier one, is durable (s5, "updated on
 * stable storage before responding to RPCs"). Messages to this node itself come back to it.
 */
export interface Outbox {
  readonly messages: Envelope[];
  readonly messagesAfterSync: Envelope[];
  /** Set if the turn changed term or vote. */
  hardState: HardState | undefined;
  /** Entries the turn put into the log, in order; a later run may replace an earlier one. */
  readonly runs: EntryRun[];
  readonly readsReady: ReadyReads[];
  readonly readsRefused: number[];
  /** Entries after this index were dropped by a conflict; undefined if none were. */
  truncatedAfter: LogIndex | undefined;
  transfer: TransferOutcome | undefined;
}

/** What a group needs besides its persistent state. */
export interface GroupOptions {
  readonly id: NodeId;
  readonly group: GroupId;
  readonly timing: RaftTiming;
  readonly records: RecordFormat;
  /** Uniform in [0, 1); draws election timeouts and where read ids begin. */
  readonly random: () => number;
  /** Entries recovered from disk, all of them durable. */
  readonly log: RaftLog;
  /** Host time at start. */
  readonly nowMs: number;
}

/** One group's data plane. */
export class GroupState {
  readonly id: NodeId;
  readonly group: GroupId;
  readonly timing: RaftTiming;
  readonly records: RecordFormat;
  readonly log: RaftLog;
  /** Host time of the running turn; set once per turn. */
  nowMs: number;
  /** Turns begun: who saw it unchanged knows that nothing was taken in between. */
  turn = 0;
  /** Highest index known to be committed; never decreases. */
  commitIndex: LogIndex;
  /** Entries up to here, of this very log, are on this node's disk. */
  durableIndex: LogIndex;
  /** When a leader was last heard. A start counts: a vote promised before a crash must not be broken early. */
  leaderContactMs: number;
  electionDeadlineMs = Infinity;
  heartbeatDeadlineMs = Infinity;
  quorumDeadlineMs = Infinity;
  transferDeadlineMs = Infinity;
  /** Leader: every other voter and learner. */
  readonly progress: Map<NodeId, Progress> = new Map();
  readonly reads: ReadQueue = new ReadQueue();
  /** What became of the turn's Propose event. */
  proposeOutcome: ProposeOutcome | undefined;
  outbox: Outbox = emptyOutbox();
  /** Events that rules ask the chart to take after the current one. */
  readonly raised: RaftEvent[] = [];
  /** Term or vote changed and are not yet durable: no answer may leave that relies on them. */
  hardStateIsDirty = false;
  #logTimeMs = 0;
  #termStartMs = 0;
  readonly #random: () => number;

  /** Begins with everything in the log durable and nothing known to be committed. */
  constructor(options: GroupOptions) {
    this.id = options.id;
    this.group = options.group;
    this.timing = options.timing;
    this.records = options.records;
    this.log = options.log;
    this.nowMs = options.nowMs;
    this.leaderContactMs = options.nowMs;
    this.commitIndex = options.log.base.index;
    this.durableIndex = options.log.lastIndex;
    this.#random = options.random;
    this.reads.lastReadId = Math.floor(this.#random() * FIRST_READ_ID_MAX);
    const last = this.log.slice(this.log.lastIndex, this.log.lastIndex)[0];
    if (last !== undefined) this.#logTimeMs = this.records.lastTimeMs(last);
  }

  /** Draws a new random election timeout (s5.2). */
  restartElectionTimer(): void {
    const { electionTimeoutMsMin: min, electionTimeoutMsMax: max } = this.timing;
    this.electionDeadlineMs = this.nowMs + min + this.#random() * (max - min);
  }

  /** Sends to one node as soon as the turn ends. */
  send(to: NodeId, message: RaftMessage): void {
    this.outbox.messages.push({ to, message });
  }

  /** Sends to one node once all that this node has written so far is durable. */
  sendAfterSync(to: NodeId, message: RaftMessage): void {
    this.outbox.messagesAfterSync.push({ to, message });
  }

  /** Asks the chart to take another event after the current one. */
  raise(event: RaftEvent): void {
    this.raised.push(event);
  }

  /** Puts entries into the log and on their way to disk. */
  append(run: EntryRun): void {
    this.log.append(run);
    this.outbox.runs.push(run);
    this.#logTimeMs = Math.max(this.#logTimeMs, this.records.lastTimeMs(run));
  }

  /** Drops a conflicting suffix (s5.3). What was durable of it no longer counts. */
  truncateAfter(index: LogIndex): void {
    this.log.truncateAfter(index);
    this.durableIndex = Math.min(this.durableIndex, index);
    this.outbox.truncatedAfter = Math.min(this.outbox.truncatedAfter ?? Infinity, index);
  }

  /** Log time goes on from where the log's last entry left it, at the pace of this leader's clock. */
  startLogTime(): void {
    this.#termStartMs = this.nowMs - this.#logTimeMs;
  }

  /** The log time to stamp on entries now: monotone, never a wall clock's. */
  get logTimeMs(): number {
    return Math.max(this.#logTimeMs, Math.floor(this.nowMs - this.#termStartMs));
  }

  /** Fields that every message of this group carries. */
  header(context: RaftContext): { group: GroupId; term: Term; from: NodeId } {
    return { group: this.group, term: context.currentTerm, from: this.id };
  }

  /** Hands the turn's outbox over and begins an empty one. */
  takeOutbox(): Outbox {
    const outbox = this.outbox;
    this.outbox = emptyOutbox();
    return outbox;
  }
}

function emptyOutbox(): Outbox {
  return {
    messages: [],
    messagesAfterSync: [],
    hardState: undefined,
    runs: [],
    readsReady: [],
    readsRefused: [],
    truncatedAfter: undefined,
    transfer: undefined,
  };
}
