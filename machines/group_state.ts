/**
 * The data plane of one group: the mutable state that the rules change (Fig. 2, volatile state),
 * and the outbox of the running turn.
 *
 * Nothing here decides a role. The chart does, from its context and its events.
 *
 * @module
 */
import { appendAll } from "./append_all.ts";
import { DEFAULT_BOUNDS, type ReplicationBounds } from "./bounds.ts";
import { ConfigHistory } from "./config_history.ts";
import type { ConfigEntry, GroupConfig } from "./group_config.ts";
import type { Leadership } from "./leadership.ts";
import type { ChangeOutcome } from "./membership.ts";
import { PendingWrites, type Write } from "./pending_writes.ts";
import type { LogBase, RaftLog } from "./raft_log.ts";
import type { RaftContext, RaftEvent } from "./raft_machine.ts";
import type {
  EntryRun,
  Envelope,
  GroupId,
  HardState,
  InstallSnapshot,
  LogIndex,
  NodeId,
  RaftMessage,
  RecordFormat,
  SnapshotRef,
  Term,
} from "./raft_types.ts";
import { ForwardedReads } from "./read_queue.ts";
import type { Recovery } from "./recovery.ts";

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

/** Longest time added to an election timer for the disks that votes wait for; see `voteSlackMs`. */
export const VOTE_SLACK_MS_MAX = 5_000;
/**
 * With every write the remembered latency falls to this share of itself, or to the write's own
 * latency if that is more.
 */
const LATENCY_MEMORY = 0.9;

/**
 * A process numbers its read attempts from a random number below this, so the count stays an exact
 * integer.
 */
const FIRST_READ_ID_MAX = 2 ** 52;

/** Why a proposal or a read was not taken: it has surely had no effect. */
export type Refusal = "not-leader" | "transferring" | "overloaded" | "no-space";

/** What became of a batch of proposed requests. */
export type ProposeOutcome =
  | {
    readonly accepted: true;
    readonly term: Term;
    readonly firstIndex: LogIndex;
    /** How many requests each of the consecutive entries holds. Requests beyond their sum are refused as overloaded. */
    readonly counts: readonly number[];
  }
  | { readonly accepted: false; readonly reason: Refusal };

/** Reads that may be served once lastApplied reaches readIndex. */
export interface ReadyReads {
  readonly readIndex: LogIndex;
  readonly readIds: readonly number[];
}

/** A part of a snapshot to be sent: the host reads its `length` bytes from the snapshot's file. */
export interface SnapshotPart {
  readonly to: NodeId;
  readonly request: Omit<InstallSnapshot, "bytes">;
  readonly length: number;
}

/** A part of a snapshot that was received: the host keeps its bytes. */
export type ReceivedPart = Pick<InstallSnapshot, "snapshot" | "offset" | "bytes">;

/** The snapshot that this node receives, and how many bytes of it there are. */
export interface Receiving {
  readonly snapshot: SnapshotRef;
  offset: number;
}

/** A follower's log has been cut short, and the follower does not know. */
export interface CutShort {
  readonly node: NodeId;
  /** The last entry that it had acknowledged. */
  readonly acknowledged: LogIndex;
  /** The last entry that it has, or an earlier one. */
  readonly holds: LogIndex;
}

/** How a leadership transfer ended. */
export type TransferOutcome = "refused" | "aborted";

/**
 * What one turn asks of its host.
 *
 * The host sends `messages`, hands `write` to the disk behind every earlier one, and calls
 * `RaftCore.durable` in a later turn once the write is durable. What must wait for the disk waits
 * in the core and is among the messages of that later turn.
 */
export interface Outbox {
  /** Messages that may leave at once. */
  readonly messages: Envelope[];
  /** What the turn has to be written; undefined if nothing. */
  write: Write | undefined;
  readonly readsReady: ReadyReads[];
  readonly readsRefused: number[];
  transfer: TransferOutcome | undefined;
  readonly snapshotParts: SnapshotPart[];
  readonly received: ReceivedPart[];
  /** Whether the host is to take a snapshot. */
  takesSnapshot: boolean;
  /** Whether the parts that were received are not needed any more. */
  abandonsReceived: boolean;
  /** A follower could not use this snapshot: the host looks whether it is sound. */
  doubted: SnapshotRef | undefined;
  /** Followers that have lost what they had acknowledged. */
  readonly cutShort: CutShort[];
}

/** What a group needs besides its persistent state. */
export interface GroupOptions {
  readonly id: NodeId;
  readonly group: GroupId;
  readonly timing: RaftTiming;
  /** Default {@linkcode DEFAULT_BOUNDS}. */
  readonly bounds?: ReplicationBounds;
  readonly records: RecordFormat;
  /** Uniform in [0, 1); draws election timeouts and where read ids begin. */
  readonly random: () => number;
  /** Entries recovered from disk, all of them durable. */
  readonly log: RaftLog;
  /** The newest snapshot; the machine holds its state. It covers at least the log's base. */
  readonly snapshot?: SnapshotRef;
  /** What the group had agreed on as of the snapshot; without one, at its founding. */
  readonly config: GroupConfig;
  /**
   * The entry that made this node a member; default 0, of a founding member. An earlier one that does
   * not name it is no removal.
   */
  readonly memberSince?: LogIndex;
  /** The data directory of a member, as far as this node knows; default unknown. */
  readonly directoryOf?: (id: NodeId) => string | undefined;
  /** Host time at start. */
  readonly nowMs: number;
}

/** One group's data plane. */
export class GroupState {
  readonly id: NodeId;
  readonly group: GroupId;
  readonly timing: RaftTiming;
  readonly bounds: ReplicationBounds;
  readonly records: RecordFormat;
  readonly log: RaftLog;
  /** What the group agrees on, as far as the log holds it. */
  readonly configs: ConfigHistory;
  /** See {@linkcode GroupOptions}. */
  readonly memberSince: LogIndex;
  readonly directoryOf: (id: NodeId) => string | undefined;
  /** Host time of the running turn; set once per turn. */
  nowMs: number;
  /** Turns begun. As long as it does not change, this node has taken nothing new. */
  turn = 0;
  /** Highest index known to be committed; never decreases. */
  commitIndex: LogIndex;
  /** The log's entries up to here are on this node's disk. */
  durableIndex: LogIndex;
  /**
   * When a leader was last heard. A start counts as hearing one: this node may have heard it just
   * before it crashed.
   */
  leaderContactMs: number;
  /** When this node seeks election unless a leader is heard; undefined while it leads. */
  electionDeadlineMs: number | undefined;
  /** Candidacies of this node since it last knew a leader. */
  candidacies = 0;
  /** Set while this node leads. */
  leadership: Leadership | undefined;
  /** What this node knew when it last ceased to lead: whom it may call. */
  formerLeadership: Leadership | undefined = undefined;
  /** This node's newest snapshot. */
  snapshot: SnapshotRef | undefined;
  /** Set while this node comes back after its log was lost. */
  recovery: Recovery | undefined;
  /** Set while a leader sends its snapshot. */
  receiving: Receiving | undefined;
  /** Reads that this node has sent to the leader. */
  readonly forwarded: ForwardedReads;
  /** The number of the last read round that this node began; grows for the life of the process. */
  lastRound = 0;
  /** What was handed to the disk and is not durable yet. */
  readonly writes: PendingWrites = new PendingWrites();
  /** What became of the turn's Propose event. */
  proposeOutcome: ProposeOutcome | undefined;
  /** What became of the turn's ChangeMembers event. */
  changeOutcome: ChangeOutcome | undefined;
  outbox: Outbox = emptyOutbox();
  /** Events that rules ask the chart to take after the current one. */
  readonly raised: RaftEvent[] = [];
  /** The term and vote that the disk holds. An answer that relies on another term or vote waits. */
  durableHardState: HardState;
  #handedHardState: HardState;
  #runs: EntryRun[] = [];
  /** Where the log is to begin from the running turn on. */
  #forgotten: Write["forgotten"];
  /** Where the log on disk begins, at most where the one in memory does. */
  #diskBaseIndex: LogIndex;
  /** Messages of the running turn that wait for what was written. */
  #promises: Envelope[] = [];
  #logTimeMs = 0;
  /** When the entry with that log time came. */
  #logTimeNotedMs: number;
  /** How long the slowest recent write took to become durable; slowly forgotten. */
  #writeLatencyMs = 0;
  readonly #random: () => number;

  /** Begins with the log and the hard state durable and nothing known to be committed. */
  constructor(options: GroupOptions & HardState) {
    this.id = options.id;
    this.group = options.group;
    this.timing = options.timing;
    this.bounds = options.bounds ?? DEFAULT_BOUNDS;
    this.records = options.records;
    this.log = options.log;
    this.memberSince = options.memberSince ?? 0;
    this.directoryOf = options.directoryOf ?? (() => undefined);
    this.nowMs = options.nowMs;
    this.leaderContactMs = options.nowMs;
    this.snapshot = options.snapshot;
    this.commitIndex = Math.max(options.log.base.index, options.snapshot?.index ?? 0);
    const first = { index: options.snapshot?.index ?? 0, config: options.config };
    this.configs = new ConfigHistory(options.records, first);
    for (const run of options.log.slice(options.log.base.index + 1, options.log.lastIndex)) {
      this.configs.append(run);
    }
    this.durableIndex = options.log.lastIndex;
    this.#diskBaseIndex = options.log.base.index;
    this.#random = options.random;
    this.forwarded = new ForwardedReads(Math.floor(this.#random() * FIRST_READ_ID_MAX));
    const { currentTerm, votedFor } = options;
    this.durableHardState = this.#handedHardState = { currentTerm, votedFor };
    const last = this.log.slice(this.log.lastIndex, this.log.lastIndex)[0];
    this.#logTimeMs = Math.max(
      options.snapshot?.timeMs ?? 0,
      last === undefined ? 0 : this.records.lastTimeMs(last),
    );
    this.#logTimeNotedMs = options.nowMs;
  }

  /** Draws a new random election timeout (s5.2), `slackMs` longer. */
  restartElectionTimer(slackMs = 0): void {
    const { electionTimeoutMsMin: min, electionTimeoutMsMax: max } = this.timing;
    this.electionDeadlineMs = this.nowMs + slackMs + min + this.#random() * (max - min);
  }

  /** The leader of this term was heard, so nobody needs to seek election for now (s5.2). */
  hearLeader(): void {
    this.leaderContactMs = this.nowMs;
    this.candidacies = 0;
    this.restartElectionTimer();
  }

  /** A write is durable that was handed over at `handedMs`. */
  noteWriteLatency(handedMs: number): void {
    this.#writeLatencyMs = Math.max(this.nowMs - handedMs, LATENCY_MEMORY * this.#writeLatencyMs);
  }

  /**
   * What an election that is under way gets on top of its timeout. A vote needs two writes, the
   * candidate's and the voter's, so with syncs of half a timeout no election could ever succeed.
   * This node knows how slow its own disk is. It learns from candidacies without a leader that a
   * voter's disk is slow. A follower's wait for its leader is not longer than before, since
   * heartbeats do not wait for a disk.
   */
  get voteSlackMs(): number {
    const runningMs = this.nowMs - (this.writes.oldestMs ?? this.nowMs);
    const disksMs = 2 * Math.max(this.#writeLatencyMs, runningMs);
    const futile = Math.max(0, this.candidacies - 2);
    const votersMs = futile === 0 ? 0 : this.timing.electionTimeoutMsMax * 2 ** (futile - 1);
    return Math.min(VOTE_SLACK_MS_MAX, disksMs + votersMs);
  }

  /** Sends to one node as soon as the turn ends. */
  send(to: NodeId, message: RaftMessage): void {
    this.outbox.messages.push({ to, message });
  }

  /** Sends to another node once all that this node has written so far is durable. */
  sendWhenDurable(to: NodeId, message: RaftMessage): void {
    this.#promises.push({ to, message });
  }

  /** This leader's data. Only rules that the chart runs while this node leads may ask for it. */
  get lead(): Leadership {
    if (this.leadership === undefined) {
      throw new Error("Cannot run a leader's rule: no term is led");
    }
    return this.leadership;
  }

  /** Whether the disk holds the term and vote that the chart is at. */
  isDurable({ currentTerm, votedFor }: HardState): boolean {
    const { durableHardState: durable } = this;
    return durable.currentTerm === currentTerm && durable.votedFor === votedFor;
  }

  /** Asks the chart to take another event after the current one. */
  raise(event: RaftEvent): void {
    this.raised.push(event);
  }

  /** Puts entries into the log and on their way to disk. */
  append(run: EntryRun): void {
    this.log.append(run);
    this.#noteConfigs(() => this.configs.append(run));
    this.#runs.push(run);
    this.#noteLogTime(this.records.lastTimeMs(run));
  }

  #noteLogTime(timeMs: number): void {
    if (timeMs <= this.#logTimeMs) return;
    this.#logTimeMs = timeMs;
    this.#logTimeNotedMs = this.nowMs;
  }

  /** Drops a conflicting suffix (s5.3). What was durable of it no longer counts. */
  truncateAfter(index: LogIndex): void {
    this.log.truncateAfter(index);
    this.#noteConfigs(() => this.configs.truncateAfter(index));
    this.durableIndex = Math.min(this.durableIndex, index);
    this.writes.truncateAfter(index);
  }

  /**
   * A snapshot covers the log up to its index, and says what was in force there.
   */
  resetConfig(
    { index }: SnapshotRef,
    config: ConfigEntry,
    { keepsRest }: { readonly keepsRest: boolean },
  ): void {
    this.#noteConfigs(() => this.configs.reset(index, config, { keepsRest }));
  }

  /** What is in force is so at once: the chart hears of it before it takes anything else. */
  #noteConfigs(change: () => void): void {
    const before = this.configs.current.config;
    change();
    const { config } = this.configs.current;
    if (config === before) return;
    const { voters, outgoing, learners } = config;
    this.raise({ type: "MembersChanged", voters, outgoing, learners });
  }

  /** A snapshot is durable, and newer than the ones before. */
  noteSnapshot(snapshot: SnapshotRef): void {
    if (snapshot.index > (this.snapshot?.index ?? 0)) this.snapshot = snapshot;
  }

  /** The log begins behind a snapshot; nothing is left of what it held. */
  resetLog({ index, term, timeMs }: SnapshotRef): void {
    this.log.reset({ index, term });
    this.durableIndex = index;
    // Nothing that is being written is in the log any more, not even an entry at this very index.
    this.writes.truncateAfter(0);
    this.#noteLogTime(timeMs);
  }

  /**
   * The disk may forget the entries up to `base`, and keeps those behind it if `keepsRest`. Entries of
   * the turn are written after that.
   *
   * @throws {Error} If the turn has written entries: a host takes what it was told of a snapshot in a
   * turn of its own.
   */
  forget(base: LogBase, { keepsRest }: { readonly keepsRest: boolean }): void {
    if (base.index <= this.#diskBaseIndex) return;
    if (this.#runs.length > 0) throw new Error("Cannot forget entries: the turn has written some");
    this.#diskBaseIndex = base.index;
    this.#forgotten = { base, keepsRest };
  }

  /** The log time of the last entry. */
  get lastLogTimeMs(): number {
    return this.#logTimeMs;
  }

  /**
   * Log time at a moment of the host's clock. A leader counts it. Any other node takes it to have passed
   * like its own since the last entry came. So the next leader goes on from there, and what passed while
   * nothing was written, or nobody led, is not lost.
   */
  logTimeAt(nowMs: number): number {
    const counted = this.leadership?.logTimeAt(nowMs) ??
      Math.floor(this.#logTimeMs + nowMs - this.#logTimeNotedMs);
    return Math.max(this.#logTimeMs, counted);
  }

  /** Fields that every message of this group carries. */
  header(context: RaftContext): { group: GroupId; term: Term; from: NodeId } {
    return { group: this.group, term: context.currentTerm, from: this.id };
  }

  /**
   * Hands the turn's outbox over and begins an empty one. A changed term or vote is in the turn's
   * write, whichever transition changed it, so no rule can forget it. Promises wait for that write.
   * If the turn writes nothing, they wait for the newest write under way.
   */
  takeOutbox({ currentTerm, votedFor }: HardState): Outbox {
    const { outbox } = this;
    const handed = this.#handedHardState;
    const isChanged = currentTerm !== handed.currentTerm || votedFor !== handed.votedFor;
    if (isChanged) this.#handedHardState = { currentTerm, votedFor };
    if (isChanged || this.#runs.length > 0 || this.#forgotten !== undefined) {
      const hardState = isChanged ? this.#handedHardState : undefined;
      outbox.write = { hardState, forgotten: this.#forgotten, runs: this.#runs };
      this.writes.push(outbox.write, this.#promises, this.nowMs);
    } else if (this.#promises.length > 0 && !this.writes.wait(this.#promises)) {
      appendAll(outbox.messages, this.#promises);
    }
    this.outbox = emptyOutbox();
    this.#runs = [];
    this.#forgotten = undefined;
    this.#promises = [];
    return outbox;
  }
}

function emptyOutbox(): Outbox {
  return {
    messages: [],
    write: undefined,
    readsReady: [],
    readsRefused: [],
    transfer: undefined,
    snapshotParts: [],
    received: [],
    takesSnapshot: false,
    abandonsReceived: false,
    doubted: undefined,
    cutShort: [],
  };
}
