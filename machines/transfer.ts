/**
 * Leadership transfer (thesis s3.10): bring the target up to date, tell it to campaign at once, and
 * take commands again if it does not win in time.
 *
 * @module
 */
import type { GroupState } from "./group_state.ts";
import type { RaftContext } from "./raft_machine.ts";
import type { NodeId } from "./raft_types.ts";

/** Brings the transferee up to date before it is told to campaign. */
export function catchUpTarget(state: GroupState, context: RaftContext): void {
  state.lead.transferDeadlineMs = state.nowMs + state.timing.electionTimeoutMsMax;
  if (context.transferee !== undefined) noteCaughtUp(state, context.transferee);
}

/** Asks the chart to go on once the target's log equals this leader's. */
export function noteCaughtUp(state: GroupState, target: NodeId): void {
  if (state.lead.progress.get(target)?.matchIndex === state.log.lastIndex) {
    state.raise({ type: "TargetCaughtUp" });
  }
}

/** "It sends a TimeoutNow request", behind every entry on the same ordered connection. */
export function sendTimeoutNow(state: GroupState, context: RaftContext): void {
  if (context.transferee !== undefined) tellToCampaign(state, context, context.transferee);
}

/**
 * This leader's disk has stalled, and it leads no longer: it tells the voter whose log is closest to its
 * own to campaign at once, so that nobody waits for an election timeout. No disk is needed for that:
 * the request follows the entries on the same ordered connection. If nobody was heard of late, or that
 * voter cannot win, an election timeout decides as ever.
 */
export function callSuccessor(state: GroupState, context: RaftContext): void {
  const { timing: { electionTimeoutMsMin }, nowMs, formerLeadership } = state;
  const heard = context.voters.filter((voter) => {
    const progress = formerLeadership?.progress.get(voter);
    return progress !== undefined && nowMs - progress.lastContactMs < electionTimeoutMsMin;
  });
  const successor = formerLeadership?.holdsMost(heard);
  if (successor !== undefined) tellToCampaign(state, context, successor);
}

function tellToCampaign(state: GroupState, context: RaftContext, voter: NodeId): void {
  state.send(voter, { ...state.header(context), type: "TimeoutNow" });
}

/** "If leadership transfer does not complete after about an election timeout, the prior leader aborts". */
export function abortTransfer(state: GroupState): void {
  state.lead.transferDeadlineMs = undefined;
  state.outbox.transfer = "aborted";
}

/** This node does not lead, already transfers, or the target cannot lead. */
export function refuseTransfer(state: GroupState): void {
  state.outbox.transfer = "refused";
}
