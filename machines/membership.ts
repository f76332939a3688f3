/**
 * Changes of the members while the group serves: joint consensus (thesis s4.3).
 *
 * A configuration is in force from the moment at which its entry is in a log, and no more once the entry
 * is dropped. Safety: a leader changes the members only when an entry of its own term is committed (the
 * correction of 2015), when the configuration in force is committed, and when it is stable. So at any
 * time two configurations are in force at most, of which one follows the other, and every quorum of one
 * meets every quorum of the other.
 *
 * A leader that is no voter of the next configuration leads until that is committed, and does not count
 * itself. Then it calls a successor, and is removed. A member that is removed hears so from the leader,
 * and plays no role any more.
 *
 * @module
 */
import { type GroupConfig, MEMBERS_VERSION } from "./group_config.ts";
import type { GroupState } from "./group_state.ts";
import {
  ChangeError,
  type ChangeRefusal,
  type ChangeReport,
  configWith,
  isEmptyChange,
  leaveJoint,
  type MembershipChange,
  reportOf,
} from "./membership_change.ts";
import { isJoint } from "./quorum.ts";
import type { RaftContext, RaftEvent } from "./raft_machine.ts";
import type { LogIndex, NodeId } from "./raft_types.ts";
import { appendConfig, peersOf } from "./replication.ts";

/**
 * A learner is promoted after so many rounds of catching up, one after the other, that took less than
 * the shortest election timeout each (thesis s4.2.1): so it will not hold up what is committed.
 */
export const QUICK_ROUNDS = 3;

/** What became of a change that was asked for. */
export type ChangeOutcome =
  /** It is in the log, at `index`, and done once a stable configuration from there on is committed. */
  | { readonly accepted: true; readonly index: LogIndex; readonly report: ChangeReport }
  | RefusedChange;

/** A change that was not made, and why. */
export type RefusedChange =
  & { readonly accepted: false; readonly report?: ChangeReport }
  & ChangeRefusal;

/** What a change leads to, and what it means for the quorums. */
export interface PlannedChange {
  readonly config: GroupConfig;
  readonly report: ChangeReport;
}

/** Why a node that does not lead changes nothing. */
export const NOT_LEADING: ChangeRefusal = {
  reason: "not-leader",
  detail: "This node does not lead",
};

const BUSY: ChangeRefusal = {
  reason: "busy",
  detail: "Another change of the members is under way, or the leader has only just been elected",
};

/** Whether the leader may change the members now: see the module. */
export function isSettled(state: GroupState, context: RaftContext): boolean {
  const { commitIndex, configs: { current }, log } = state;
  return !isJoint(context) && current.index <= commitIndex &&
    log.termAt(commitIndex) === context.currentTerm;
}

/** What the change would do, as this leader sees the members. */
export function planChange(
  state: GroupState,
  change: MembershipChange,
): PlannedChange | ChangeRefusal {
  const { configs: { current: { config } } } = state;
  if (config.clusterVersion < MEMBERS_VERSION) {
    const detail =
      "Not all members are known to run a build that knows that members change: each has " +
      "to be up once, together with the leader (kv member list says whose BUILD is not known)";
    return { reason: "old-build", detail };
  }
  if (isEmptyChange(change)) return { reason: "invalid", detail: "The change asks for nothing" };
  try {
    const next = configWith(config, change, state.directoryOf);
    return { config: next, report: reportOf({ before: config, change, next }, viewOf(state)) };
  } catch (error) {
    if (!(error instanceof ChangeError)) throw error;
    return { reason: "invalid", detail: error.message };
  }
}

function viewOf(state: GroupState): Parameters<typeof reportOf>[1] {
  const { id, nowMs, timing: { electionTimeoutMsMax }, log, leadership, directoryOf } = state;
  return {
    directoryOf,
    isAlive: (node: NodeId): boolean => {
      if (node === id) return true;
      const progress = leadership?.progress.get(node);
      return progress?.wasHeard === true && nowMs - progress.lastContactMs < electionTimeoutMsMax;
    },
    entriesBehind: (node: NodeId): LogIndex =>
      node === id ? 0 : log.lastIndex - (leadership?.progress.get(node)?.matchIndex ?? 0),
  };
}

/** The change is in the log, and in force. */
export function appendMembers(
  state: GroupState,
  context: RaftContext,
  { config, report }: Extract<RaftEvent, { type: "ChangeMembers" }>,
): void {
  appendConfig(state, context, config);
  state.changeOutcome = { accepted: true, index: state.log.lastIndex, report };
}

/** This node does not lead, hands over, or has another change under way. */
export function refuseChange(
  state: GroupState,
  context: RaftContext,
  { report }: Extract<RaftEvent, { type: "ChangeMembers" }>,
): void {
  const refusal = context.leaderId === state.id ? BUSY : NOT_LEADING;
  state.changeOutcome = { accepted: false, ...refusal, report };
}

/** The joint configuration is committed: the one behind it follows at once (thesis s4.3). */
export function leaveJointConfig(state: GroupState, context: RaftContext): void {
  appendConfig(state, context, leaveJoint(state.configs.current.config));
}

/** Learners that have caught up become voters. */
export function promoteLearners(
  state: GroupState,
  context: RaftContext,
  { ids }: Extract<RaftEvent, { type: "LearnersReady" }>,
): void {
  const { config } = state.configs.current;
  appendConfig(state, context, configWith(config, { promote: ids }, state.directoryOf));
}

/** Leader: sends the log to those who are members now. */
export function followMembers(state: GroupState, context: RaftContext): void {
  const { nowMs, log: { lastIndex: lastLogIndex } } = state;
  state.lead.followMembers(peersOf(context), { lastLogIndex, nowMs });
}

/** Leader: this peer has another data directory now, and nothing of what it had. */
export function renewPeer(
  state: GroupState,
  _context: RaftContext,
  { peer }: Extract<RaftEvent, { type: "PeerRenewed" }>,
): void {
  const { nowMs, log: { lastIndex: lastLogIndex } } = state;
  state.lead.renew(peer, { lastLogIndex, nowMs });
}

type MembershipEvent = "JointCommitted" | "LearnersReady" | "LeaderDemoted" | "MemberRemoved";

/** What a turn has shown of the members, for the chart: see raft_machine.ts. */
export function membershipEvent(
  state: GroupState,
  context: RaftContext,
): Extract<RaftEvent, { type: MembershipEvent }> | undefined {
  const { configs: { current: { index, config } }, commitIndex, leadership, memberSince } = state;
  if (index > commitIndex) return undefined;
  const { id, currentTerm } = context;
  // A new member reads the log from its beginning: what it says of the time before is no removal.
  if (
    index > memberSince && !isJoint(context) && !config.members.some((member) => member.id === id)
  ) {
    return { type: "MemberRemoved" };
  }
  if (leadership === undefined || state.log.termAt(commitIndex) !== currentTerm) return undefined;
  if (config.clusterVersion < MEMBERS_VERSION) return undefined;
  if (isJoint(context)) return { type: "JointCommitted" };
  if (!context.voters.includes(id)) return { type: "LeaderDemoted" };
  const ids = context.learners.length === 0 ? [] : learnersReady(state, config);
  return ids.length === 0 ? undefined : { type: "LearnersReady", ids };
}

function learnersReady(state: GroupState, { learners, members }: GroupConfig): NodeId[] {
  const { nowMs, log: { lastIndex }, timing: { electionTimeoutMsMin }, lead } = state;
  const ready: NodeId[] = [];
  for (const id of learners) {
    const progress = lead.progress.get(id);
    const member = members.find((each) => each.id === id);
    if (progress === undefined || member === undefined || member.staysLearner) continue;
    const round = progress.catchUp ??= { target: lastIndex, startedMs: nowMs, quick: 0 };
    const isOver = progress.mode === "replicate" && progress.matchIndex >= round.target &&
      progress.lastContactMs > round.startedMs;
    if (!isOver) continue;
    const quick = nowMs - round.startedMs < electionTimeoutMsMin ? round.quick + 1 : 0;
    progress.catchUp = { target: lastIndex, startedMs: nowMs, quick };
    if (quick >= QUICK_ROUNDS) ready.push(id);
  }
  return ready;
}
