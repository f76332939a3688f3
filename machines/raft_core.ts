/**
 * One group's member: settles terms, feeds the chart, runs the rules that it asks for, and collects
 * the outbox of the turn.
 *
 * A host calls {@linkcode RaftCore.beginTurn}, any number of the methods that feed the chart, and
 * {@linkcode RaftCore.endTurn}; all are synchronous, and no clock, chance or IO is reached from
 * here. A defect (an event that the chart does not list, a broken invariant) throws, and the host
 * must stop the node before anything else leaves it.
 *
 * @module
 */
import { initialTransition } from "xstate";
import * as election from "./election.ts";
import { type GroupOptions, GroupState, type Outbox, type ProposeOutcome } from "./group_state.ts";
import { majority } from "./quorum.ts";
import { type RaftContext, type RaftEffect, type RaftEvent, raftMachine } from "./raft_machine.ts";
import type { RaftInput, RaftSnapshot, Role } from "./raft_machine.ts";
import {
  type HardState,
  type LogIndex,
  type NodeId,
  type RaftMessage,
  type RequestVote,
  type Term,
  TERM_JUMP_MAX,
  TERM_MAX,
} from "./raft_types.ts";
import * as reads from "./reads.ts";
import * as replication from "./replication.ts";
import { step } from "./step.ts";

type Rule = (state: GroupState, context: RaftContext, event: never) => void;

/** What each of the chart's effects does. The chart guarantees the event's type to the rule. */
const rules: Record<RaftEffect, Rule> = {
  abortTransfer: replication.abortTransfer,
  acceptEntries: replication.acceptEntries,
  advanceCommit: replication.advanceCommit,
  appendCommands: replication.appendCommands,
  armElectionTimer: election.armElectionTimer,
  broadcastHeartbeat: replication.broadcastHeartbeat,
  catchUpTarget: replication.catchUpTarget,
  completeReads: reads.completeReads,
  dropReads: reads.dropReads,
  endTerm: replication.endTerm,
  failUnexpected,
  forwardReads: reads.forwardReads,
  noteDurable: replication.noteDurable,
  queueForwardedRead: reads.queueForwardedRead,
  queueReads: reads.queueReads,
  recordMatch: replication.recordMatch,
  refuseForwardedRead: reads.refuseForwardedRead,
  refusePreVote: election.refusePreVote,
  refuseProposals: replication.refuseProposals,
  refuseReads: reads.refuseReads,
  refuseStaleTerm: election.refuseStaleTerm,
  refuseTransfer: replication.refuseTransfer,
  refuseVote: election.refuseVote,
  requestPreVotes: election.requestPreVotes,
  requestVotes: election.requestVotes,
  restartElectionTimer: election.restartElectionTimer,
  sendPreVote: election.sendPreVote,
  sendTimeoutNow: replication.sendTimeoutNow,
  sendVote: election.sendVote,
  startTerm: replication.startTerm,
};

/** A change of role, for the log, the timeline and the dashboard. */
export interface RoleChange {
  readonly from: Role;
  readonly to: Role;
  /** The type of the event that caused it. */
  readonly cause: RaftEvent["type"];
  readonly term: Term;
  readonly leaderId: NodeId | undefined;
}

/** What a group starts from: options of the data plane and the chart's input. */
export interface RaftCoreOptions extends GroupOptions, RaftInput {
  /** Called after every change of role or leader. */
  readonly onRoleChange?: (change: RoleChange) => void;
}

/** One group's member, from start to end of the process. */
export class RaftCore {
  readonly #state: GroupState;
  #snapshot: RaftSnapshot;
  readonly #onRoleChange: ((change: RoleChange) => void) | undefined;
  /** The hard state last handed to the host. */
  #writtenHardState: HardState;
  /** Messages dropped because their term cannot come from a sound node. */
  termBombs = 0;

  /**
   * Starts as follower (s5.2). The log's entries must be durable.
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
    this.#onRoleChange = options.onRoleChange;
    const { id, currentTerm, votedFor, voters, learners } = options;
    const input: RaftInput = { id, currentTerm, votedFor, voters, learners };
    const [snapshot] = initialTransition(raftMachine, input);
    this.#snapshot = snapshot;
    this.#writtenHardState = { currentTerm, votedFor };
    this.#state.restartElectionTimer();
  }

  /** The chart's present moment. */
  get snapshot(): RaftSnapshot {
    return this.#snapshot;
  }

  /** What the chart's guards see. */
  get context(): RaftContext {
    return this.#snapshot.context;
  }

  /** The data plane, to be read by status pages, invariants and tests; only rules change it. */
  get state(): Readonly<GroupState> {
    return this.#state;
  }

  /** The role this node plays now. */
  get role(): Role {
    return roleOf(this.#snapshot);
  }

  /** When the host must call {@linkcode elapse} at the latest; Infinity if nothing is due. */
  get nextDeadlineMs(): number {
    const state = this.#state;
    return Math.min(
      state.electionDeadlineMs,
      state.heartbeatDeadlineMs,
      state.quorumDeadlineMs,
      state.transferDeadlineMs,
      this.#readDeadlineMs,
    );
  }

  /** Sets the time of the turn; it never runs backwards. */
  beginTurn(nowMs: number): void {
    this.#state.turn++;
    this.#state.nowMs = Math.max(this.#state.nowMs, nowMs);
  }

  /** Takes a message from another node, or a vote of this node's own. */
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

  /** Proposes a batch of commands; all are appended at consecutive indexes, or none. */
  propose(payloads: readonly Uint8Array[]): ProposeOutcome {
    this.#state.proposeOutcome = undefined;
    this.#feed({ type: "Propose", payloads });
    return this.#state.proposeOutcome ?? failUnanswered();
  }

  /** Asks for a read index for each of the reads; the outbox says which became ready or were refused. */
  read(readIds: readonly number[]): void {
    this.#feed({ type: "Read", readIds });
  }

  /** The log through (term, index) became durable on this node. */
  synced(term: Term, index: LogIndex): void {
    this.#feed({ type: "Synced", term, index });
  }

  /** The hard state of an earlier outbox became durable. */
  hardStateSynced(hardState: HardState): void {
    // The running turn may have changed it again since it was written.
    const { currentTerm, votedFor } = this.context;
    if (hardState.currentTerm === currentTerm && hardState.votedFor === votedFor) {
      this.#state.hardStateIsDirty = false;
    }
  }

  /** Hands leadership to `to` (thesis s3.10); the outbox says if it was refused or aborted. */
  transfer(to: NodeId): void {
    this.#feed({ type: "TransferLeadership", to });
  }

  /** The disk's condition changed. */
  disk(condition: "DiskSlow" | "DiskStalled" | "DiskRecovered"): void {
    this.#feed({ type: condition });
  }

  /** Feeds the timers that are due. */
  elapse(): void {
    const state = this.#state;
    const { nowMs } = state;
    if (nowMs >= state.electionDeadlineMs) this.#feed({ type: "ElectionTimeout" });
    if (nowMs >= state.quorumDeadlineMs) this.#checkQuorum();
    if (nowMs >= state.heartbeatDeadlineMs) this.#feed({ type: "HeartbeatTimeout" });
    if (nowMs >= state.transferDeadlineMs) this.#feed({ type: "TransferTimeout" });
    if (nowMs >= this.#readDeadlineMs) reads.refuseOverdueReads(state);
  }

  /** Ends the turn: a leader sends what is owed, and everything the turn asks for is handed over. */
  endTurn(): Outbox {
    const state = this.#state;
    if (this.role === "leader") {
      replication.advanceCommit(state, this.context);
      replication.sendAppends(state, this.context);
    }
    const { currentTerm, votedFor } = this.context;
    const written = this.#writtenHardState;
    if (currentTerm !== written.currentTerm || votedFor !== written.votedFor) {
      this.#writtenHardState = { currentTerm, votedFor };
      state.outbox.hardState = this.#writtenHardState;
    }
    return state.takeOutbox();
  }

  /** Whether a leader, perhaps this node, was heard within the minimum election timeout. */
  get #leaderIsAlive(): boolean {
    const { leaderContactMs, nowMs, timing } = this.#state;
    return this.context.leaderId === this.#state.id ||
      nowMs - leaderContactMs < timing.electionTimeoutMsMin;
  }

  get #readDeadlineMs(): number {
    const oldest = this.#state.reads.forwarded.values().next().value;
    return oldest === undefined
      ? Infinity
      : oldest.sentMs + this.#state.timing.electionTimeoutMsMax;
  }

  /**
   * s5.1: "if RPC request or response contains term T > currentTerm: set currentTerm = T, convert
   * to follower"; "if a server receives a request with a stale term number, it rejects the request".
   * Returns whether the message is for the chart, its term being ours.
   */
  #settleTerm(message: RaftMessage): boolean {
    const { currentTerm } = this.context;
    const { term } = message;
    if (term > TERM_MAX || term > currentTerm + TERM_JUMP_MAX) {
      this.termBombs++;
      return false;
    }
    // They speak of a term that nobody has entered, so nobody's term changes (thesis s9.6).
    if (message.type === "PreVote" || (message.type === "PreVoteReply" && message.granted)) {
      return true;
    }
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
   * leader itself asked for the election. The only place where this exception lives.
   */
  #isDisruptive(request: RequestVote): boolean {
    return !request.transfer && this.#leaderIsAlive;
  }

  /** Thesis s6.2: a leader that a majority has not answered for an election timeout steps down. */
  #checkQuorum(): void {
    const state = this.#state;
    const { voters } = this.context;
    const contacts = voters
      .map((id) => id === state.id ? state.nowMs : state.progress.get(id)?.lastContactMs ?? 0)
      .sort((a, b) => b - a);
    const quorumContactMs = contacts[majority(voters.length) - 1]!;
    const deadlineMs = quorumContactMs + state.timing.electionTimeoutMsMax;
    if (state.nowMs >= deadlineMs) this.#feed({ type: "QuorumLost" });
    else state.quorumDeadlineMs = deadlineMs;
  }

  #feed(event: RaftEvent): void {
    this.#take(event);
    const { raised } = this.#state;
    while (raised.length > 0) this.#take(raised.shift()!);
  }

  #take(event: RaftEvent): void {
    const before = this.#snapshot;
    const { snapshot, effects } = step(raftMachine, before, event);
    this.#snapshot = snapshot;
    const was = before.context;
    const is = snapshot.context;
    // Whatever changed term or vote, they are written before any promise of this turn leaves.
    if (is.currentTerm !== was.currentTerm || is.votedFor !== was.votedFor) {
      this.#state.hardStateIsDirty = true;
    }
    for (const { name, context } of effects) {
      rules[name as RaftEffect](this.#state, context, event as never);
    }
    if (this.#onRoleChange === undefined) return;
    const from = roleOf(before);
    const to = roleOf(snapshot);
    if (from !== to || was.leaderId !== is.leaderId) {
      const { currentTerm: term, leaderId } = is;
      this.#onRoleChange({ from, to, cause: event.type, term, leaderId });
    }
  }
}

/** The role in a snapshot's state value. */
export function roleOf(snapshot: RaftSnapshot): Role {
  const { role } = snapshot.value;
  return typeof role === "string" ? role : "leader";
}

function failUnexpected(_state: GroupState, _context: RaftContext, event: RaftEvent): never {
  throw new Error(`Cannot take event: the chart does not list ${event.type} here`);
}

function failUnanswered(): never {
  throw new Error("Cannot propose: the chart did not answer");
}
