/**
 * One group's member: settles terms, feeds the chart, runs the rules that it asks for, and collects
 * the outbox of the turn.
 *
 * A host calls {@linkcode RaftCore.beginTurn}, any number of the methods that feed the chart, and
 * {@linkcode RaftCore.endTurn}; all are synchronous, and none reaches a clock, chance or IO.
 * A defect (an event that the chart does not list, a broken invariant) throws, and the host
 * must stop the node before anything else leaves it.
 *
 * @module
 */
import { appendAll } from "./append_all.ts";
import { initialTransition } from "xstate";
import * as election from "./election.ts";
import { type GroupOptions, GroupState, type Outbox, type ProposeOutcome } from "./group_state.ts";
import { ChartHost, type UNEXPECTED } from "./chart_host.ts";
import type { ConfigEntry, PlacedConfig } from "./group_config.ts";
import * as membership from "./membership.ts";
import { type ChangeRefusal, type MembershipChange, objectionTo } from "./membership_change.ts";
import { allVoters, isJoint, quorumValue } from "./quorum.ts";
import type { LogBase } from "./raft_log.ts";
import { type RaftContext, type RaftEffect, type RaftEvent, raftMachine } from "./raft_machine.ts";
import type { RaftInput, RaftSnapshot, Role } from "./raft_machine.ts";
import {
  type HardState,
  type NodeId,
  type RaftMessage,
  type RequestVote,
  type SnapshotRef,
  TERM_JUMP_MAX,
  TERM_MAX,
} from "./raft_types.ts";
import * as reads from "./reads.ts";
import * as recovery from "./recovery.ts";
import * as replication from "./replication.ts";
import { type RaftStep, roleOf } from "./raft_step.ts";
import * as snapshots from "./snapshots.ts";
import * as transfer from "./transfer.ts";

type Rule = (state: GroupState, context: RaftContext, event: never) => void;

/** What each of the chart's effects does. The chart guarantees the event's type to the rule. */
const rules: Record<Exclude<RaftEffect, typeof UNEXPECTED>, Rule> = {
  abandonReceived: snapshots.abandonReceived,
  abortTransfer: transfer.abortTransfer,
  acceptEntries: replication.acceptEntries,
  acceptPart: snapshots.acceptPart,
  advanceCommit: replication.advanceCommit,
  appendCommands: replication.appendCommands,
  appendMembers: membership.appendMembers,
  appendTime: replication.appendTime,
  appendVersion: replication.appendVersion,
  armElectionTimer: election.armElectionTimer,
  askVoters: recovery.askVoters,
  beginCatchUp: recovery.beginCatchUp,
  broadcastHeartbeat: replication.broadcastHeartbeat,
  callSuccessor: transfer.callSuccessor,
  catchUpTarget: transfer.catchUpTarget,
  compactLog: snapshots.compactLog,
  completeReads: reads.completeReads,
  disarmElectionTimer: election.disarmElectionTimer,
  dropReads: reads.dropReads,
  dropReceived: snapshots.dropReceived,
  endRecovery: recovery.endRecovery,
  endTerm: replication.endTerm,
  followMembers: membership.followMembers,
  forwardReads: reads.forwardReads,
  installSnapshot: snapshots.installSnapshot,
  leaveJointConfig: membership.leaveJointConfig,
  noteAnswer: recovery.noteAnswer,
  noteDurable: replication.noteDurable,
  promoteLearners: membership.promoteLearners,
  queueForwardedRead: reads.queueForwardedRead,
  queueReads: reads.queueReads,
  recordInstall: snapshots.recordInstall,
  recordMatch: replication.recordMatch,
  refuseChange: membership.refuseChange,
  refuseForSpace: replication.refuseForSpace,
  refuseForwardedRead: reads.refuseForwardedRead,
  refusePreVote: election.refusePreVote,
  refuseProposals: replication.refuseProposals,
  refuseReads: reads.refuseReads,
  refuseStaleTerm: election.refuseStaleTerm,
  refuseTransfer: transfer.refuseTransfer,
  refuseVote: election.refuseVote,
  renewPeer: membership.renewPeer,
  replaceSnapshot: snapshots.replaceSnapshot,
  requestPreVotes: election.requestPreVotes,
  requestVotes: election.requestVotes,
  restartElectionTimer: election.restartElectionTimer,
  sendPreVote: election.sendPreVote,
  sendTimeoutNow: transfer.sendTimeoutNow,
  sendVote: election.sendVote,
  startTerm: replication.startTerm,
  takeSnapshot: snapshots.takeSnapshot,
};

/** How much space the disk has, in the chart's words. */
export type SpaceCondition = "SpaceLow" | "SpaceNone" | "SpaceEnough";

/** What a group starts from: options of the data plane and the chart's input. */
export interface RaftCoreOptions extends GroupOptions, HardState {
  /** The log was lost, and with it what this node had promised; default false. */
  readonly isLogLost?: boolean;
  /** The newest configuration that is remembered beside the log that was lost; default none. */
  readonly remembered?: PlacedConfig | undefined;
  /** Sees every step of the chart; see raft_step.ts. */
  readonly onStep?: (step: RaftStep) => void;
}

/** One group's member, from start to end of the process. */
export class RaftCore {
  readonly #state: GroupState;
  readonly #chart: ChartHost<typeof raftMachine>;
  /** Messages dropped because their term cannot come from a sound node. */
  termBombs = 0;

  /**
   * Starts as follower (s5.2). The log's entries and the hard state must be durable.
   *
   * @throws {RangeError} If a log entry's term is above currentTerm: hard state was lost.
   */
  constructor(options: RaftCoreOptions) {
    if (options.log.lastTerm > options.currentTerm) {
      throw new RangeError(
        `Cannot start group ${options.group}: log ends in term ${options.log.lastTerm}, ` +
          `hard state in term ${options.currentTerm}`,
      );
    }
    this.#state = new GroupState(options);
    const { id, currentTerm, votedFor, remembered, onStep } = options;
    const { index, config: { voters, outgoing, learners } } = this.#state.configs.current;
    const input: RaftInput = {
      ...{ id, currentTerm, votedFor, voters, outgoing, learners },
      // A snapshot, or a log that is being fetched anew, may be older.
      ...(remembered === undefined || remembered.index <= index
        ? {}
        : { votersRemembered: allVoters(remembered.config) }),
    };
    const [snapshot] = initialTransition(raftMachine, input);
    this.#chart = new ChartHost(raftMachine, snapshot, {
      perform: (effect, context, event) =>
        rules[effect as keyof typeof rules](this.#state, context, event as never),
      ...(onStep === undefined ? {} : { onStep }),
    });
    this.#state.restartElectionTimer();
    if (isJoint(input)) this.#feed({ type: "MembersChanged", voters, outgoing, learners });
    if (options.isLogLost === true) this.#feed({ type: "LogLost" });
  }

  /** The chart's present moment. */
  get snapshot(): RaftSnapshot {
    return this.#chart.snapshot;
  }

  /** What the chart's guards see. */
  get context(): RaftContext {
    return this.#chart.snapshot.context;
  }

  /** The data plane, to be read by status pages, invariants and tests; only rules change it. */
  get state(): Readonly<GroupState> {
    return this.#state;
  }

  /** The role this node plays now. */
  get role(): Role {
    return roleOf(this.#chart.snapshot);
  }

  /** When the host must call {@linkcode elapse} at the latest. */
  get nextDeadlineMs(): number {
    const { electionDeadlineMs, leadership, recovery } = this.#state;
    let nextMs = this.#readDeadlineMs;
    if (electionDeadlineMs !== undefined) nextMs = Math.min(nextMs, electionDeadlineMs);
    if (leadership !== undefined) nextMs = Math.min(nextMs, leadership.nextDeadlineMs);
    if (recovery !== undefined) nextMs = Math.min(nextMs, recovery.deadlineMs);
    return nextMs;
  }

  /** Sets the time of the turn; it never runs backwards. */
  beginTurn(nowMs: number): void {
    this.#state.turn++;
    this.#state.nowMs = Math.max(this.#state.nowMs, nowMs);
  }

  /** Takes a message from another node. */
  receive(message: RaftMessage): void {
    if (!this.#settleTerm(message)) return;
    if (message.type === "RequestVote") {
      const logIsUpToDate = election.logIsUpToDate(message, this.#state.log);
      this.#feed({ ...message, logIsUpToDate });
    } else if (message.type === "PreVote") {
      const logIsUpToDate = election.logIsUpToDate(message, this.#state.log);
      this.#feed({ ...message, logIsUpToDate, leaderIsAlive: this.#leaderIsAlive });
    } else this.#feed(message);
  }

  /** Proposes a batch of requests; those that are taken are appended in order, at consecutive indexes. */
  propose(requests: readonly Uint8Array[]): ProposeOutcome {
    this.#state.proposeOutcome = undefined;
    this.#feed({ type: "Propose", requests });
    return this.#state.proposeOutcome ?? failUnanswered();
  }

  /** The state machine's deadline has come: a leader lets time pass. */
  machineDue(): void {
    this.#feed({ type: "MachineDue" });
  }

  /** Every member knows this cluster version: a leader lets the group agree on it. */
  raiseClusterVersion(version: number): void {
    this.#feed({ type: "RaiseClusterVersion", version });
  }

  /**
   * Changes the members: a leader appends the next configuration. Without `force` it refuses what would
   * leave too few voters that answer.
   */
  changeMembers(
    change: MembershipChange,
    { force }: { readonly force: boolean },
  ): membership.ChangeOutcome {
    const state = this.#state;
    state.changeOutcome = undefined;
    const planned = this.#planned(change, { force });
    if (!("config" in planned)) return planned;
    const { config, report } = planned;
    const isSettled = membership.isSettled(state, this.context);
    this.#feed({ type: "ChangeMembers", config, report, isSettled });
    return state.changeOutcome ?? failUnanswered();
  }

  /** What a change of the members would do; nothing changes. */
  previewChange(change: MembershipChange): membership.ChangeOutcome {
    const planned = this.#planned(change, { force: false });
    if (!("config" in planned)) return planned;
    const { report } = planned;
    return { accepted: true, index: this.#state.configs.current.index, report };
  }

  /** Only a leader can tell who answers, so another node says that it does not lead. */
  #planned(
    change: MembershipChange,
    { force }: { readonly force: boolean },
  ): membership.PlannedChange | membership.RefusedChange {
    const refused = (refusal: ChangeRefusal): membership.RefusedChange => ({
      accepted: false,
      ...(this.role === "leader" ? refusal : membership.NOT_LEADING),
    });
    const planned = membership.planChange(this.#state, change);
    if (!("config" in planned)) return refused(planned);
    const { report } = planned;
    const objection = force ? undefined : objectionTo(report);
    return objection === undefined ? planned : { ...refused(objection), report };
  }

  /** A peer has another data directory than before, and nothing of what it had acknowledged. */
  peerRenewed(peer: NodeId): void {
    this.#feed({ type: "PeerRenewed", peer });
  }

  /** Asks for a read index for each of the reads; the outbox says which became ready or were refused. */
  read(readIds: readonly number[]): void {
    this.#feed({ type: "Read", readIds });
  }

  /**
   * The oldest of the writes that the host was given is durable. What waited for it is among the
   * messages of this turn's outbox.
   *
   * @throws {Error} If no write is under way.
   */
  durable(): void {
    const state = this.#state;
    const { hardState, handedMs, last, messages } = state.writes.shift();
    state.noteWriteLatency(handedMs);
    if (hardState !== undefined) state.durableHardState = hardState;
    if (last !== undefined) this.#feed({ type: "EntriesDurable", ...last });
    if (hardState?.votedFor === state.id) {
      this.#feed({ type: "VoteDurable", term: hardState.currentTerm });
    }
    appendAll(state.outbox.messages, messages);
  }

  /** The log has grown so far that a snapshot is worth its while; the outbox says if one is to be taken. */
  snapshotDue(): void {
    this.#feed({ type: "SnapshotDue" });
  }

  /**
   * The snapshot that was asked for is durable. Entries up to `before`, which the snapshot before it
   * covers, are not needed any more.
   */
  snapshotTaken(snapshot: SnapshotRef, before: LogBase | undefined): void {
    this.#feed({ type: "SnapshotTaken", snapshot, before });
  }

  /** The snapshot that was asked for could not be taken. */
  snapshotFailed(): void {
    this.#feed({ type: "SnapshotFailed" });
  }

  /**
   * The snapshot that a leader sent is durable, and the machine holds its state; `config` is what the
   * group had agreed on by then.
   */
  snapshotReceived(snapshot: SnapshotRef, config: ConfigEntry): void {
    this.#feed({ type: "SnapshotReceived", snapshot, config });
  }

  /** The snapshot that a leader sent is damaged, or could not be kept. */
  snapshotRefused(): void {
    this.#feed({ type: "SnapshotRefused" });
  }

  /** This node's newest snapshot is damaged; `snapshot` is the newest of those that are left. */
  snapshotLost(snapshot: SnapshotRef | undefined): void {
    this.#feed({ type: "SnapshotLost", snapshot });
  }

  /** Hands leadership to `to` (thesis s3.10); the outbox says if it was refused or aborted. */
  transfer(to: NodeId): void {
    this.#feed({ type: "TransferLeadership", to });
  }

  /** The disk's condition changed. */
  disk(condition: "DiskSlow" | "DiskStalled" | "DiskRecovered"): void {
    this.#feed({ type: condition });
  }

  /** The space on the disk changed. */
  space(condition: SpaceCondition): void {
    this.#feed({ type: condition });
  }

  /** Feeds the timers that are due. */
  elapse(): void {
    const state = this.#state;
    const { nowMs } = state;
    const isDue = (deadlineMs: number | undefined): boolean =>
      deadlineMs !== undefined && nowMs >= deadlineMs;
    if (isDue(state.electionDeadlineMs)) this.#feed({ type: "ElectionTimeout" });
    if (isDue(state.leadership?.quorumDeadlineMs)) this.#checkQuorum();
    const { heartbeatDeadlineMs, commitNoticeMs = Infinity } = state.leadership ?? {};
    if (isDue(heartbeatDeadlineMs) || isDue(commitNoticeMs)) {
      this.#feed({ type: "HeartbeatTimeout" });
    }
    if (isDue(state.leadership?.transferDeadlineMs)) this.#feed({ type: "TransferTimeout" });
    if (isDue(state.recovery?.deadlineMs)) this.#feed({ type: "RecoveryTimeout" });
    if (isDue(this.#readDeadlineMs)) reads.refuseOverdueReads(state);
  }

  /** Ends the turn: a leader sends what is owed, and everything the turn asks for is handed over. */
  endTurn(): Outbox {
    const state = this.#state;
    if (state.leadership !== undefined) replication.advanceCommit(state, this.context);
    this.#followCommittedMembers();
    if (state.leadership !== undefined) replication.sendAppends(state, this.context);
    if (recovery.isCaughtUp(state)) this.#feed({ type: "CaughtUp" });
    if (snapshots.isOutdated(state)) this.#feed({ type: "SnapshotOutdated" });
    return state.takeOutbox(this.context);
  }

  /** Whether a leader, perhaps this node, was heard within the minimum election timeout. */
  get #leaderIsAlive(): boolean {
    const { leaderContactMs, nowMs, timing } = this.#state;
    return this.context.leaderId === this.#state.id ||
      nowMs - leaderContactMs < timing.electionTimeoutMsMin;
  }

  get #readDeadlineMs(): number {
    const oldest = this.#state.forwarded.batches.values().next().value;
    return oldest === undefined
      ? Infinity
      : oldest.sentMs + this.#state.timing.electionTimeoutMsMax;
  }

  /**
   * s5.1: "if RPC request or response contains term T > currentTerm: set currentTerm = T, convert
   * to follower"; "if a server receives a request with a stale term number, it rejects the
   * request". Returns whether the message is one for the chart: its term is then this node's.
   */
  #settleTerm(message: RaftMessage): boolean {
    const { currentTerm } = this.context;
    const { term } = message;
    // They speak of a term that nobody has entered, so nobody's term changes (thesis s9.6).
    const isOfNextTerm = message.type === "PreVote" ||
      (message.type === "PreVoteReply" && message.granted);
    if (term > TERM_MAX || term > currentTerm + TERM_JUMP_MAX) {
      this.termBombs++;
      // One step towards it, and no more is believed: sound nodes that a faulty one has driven far
      // apart must be able to meet again.
      if (term <= TERM_MAX && !isOfNextTerm) {
        this.#feed({ type: "HigherTerm", term: currentTerm + TERM_JUMP_MAX });
      }
      return false;
    }
    if (isOfNextTerm) return true;
    if (term < currentTerm) {
      this.#feed({ type: "StaleTerm", message });
      return false;
    }
    if (message.type === "RequestVote" && this.#isDisruptive(message)) return false;
    if (term > currentTerm) {
      this.#feed({ type: "HigherTerm", term });
    }
    return true;
  }

  /**
   * Thesis s4.2.3: "if a server receives a RequestVote request within the minimum election timeout
   * of hearing from a current leader, it does not update its term or grant its vote", unless the
   * leader itself asked for the election.
   */
  #isDisruptive(request: RequestVote): boolean {
    return !request.transfer && this.#leaderIsAlive;
  }

  /** Thesis s6.2: a leader that a majority has not answered for an election timeout steps down. */
  #checkQuorum(): void {
    const state = this.#state;
    const { lead } = state;
    const quorumContactMs = quorumValue(
      this.context,
      (id) => id === state.id ? state.nowMs : lead.progress.get(id)?.lastContactMs ?? 0,
    );
    const deadlineMs = quorumContactMs + state.timing.electionTimeoutMsMax;
    if (state.nowMs >= deadlineMs) this.#feed({ type: "QuorumLost" });
    else lead.quorumDeadlineMs = deadlineMs;
  }

  /** A committed configuration has a sequel: see membership.ts. */
  #followCommittedMembers(): void {
    if (this.role === "removed") return;
    const event = membership.membershipEvent(this.#state, this.context);
    if (event !== undefined) this.#feed(event);
  }

  #feed(event: RaftEvent): void {
    this.#chart.take(event);
    const { raised } = this.#state;
    while (raised.length > 0) this.#chart.take(raised.shift()!);
  }
}

function failUnanswered(): never {
  throw new Error("Cannot propose: the chart did not answer");
}
