/**
 * Leader election: s5.2, s5.4.1, PreVote (thesis s9.6), stickiness (thesis s4.2.3).
 *
 * Vote requests leave only after the candidate's own vote and the log that they name are durable.
 * Otherwise a candidate could forget either in a crash, and be elected by replies to what it had
 * said before.
 *
 * @module
 */
import type { GroupState } from "./group_state.ts";
import type { RaftContext, RaftEvent } from "./raft_machine.ts";
import { allVoters } from "./quorum.ts";
import type { LogIndex, NodeId, PreVote, RaftMessage, RequestVote, Term } from "./raft_types.ts";

/**
 * "If the logs have last entries with different terms, then the log with the later term is more
 * up-to-date. If the logs end with the same term, then whichever log is longer" (s5.4.1).
 */
export function logIsUpToDate(
  candidate: { readonly lastLogIndex: LogIndex; readonly lastLogTerm: Term },
  own: { readonly lastIndex: LogIndex; readonly lastTerm: Term },
): boolean {
  return candidate.lastLogTerm > own.lastTerm ||
    (candidate.lastLogTerm === own.lastTerm && candidate.lastLogIndex >= own.lastIndex);
}

/** A role that waits for a leader has an election timer; one already running goes on. */
export function armElectionTimer(state: GroupState): void {
  if (state.electionDeadlineMs === undefined) state.restartElectionTimer();
}

/** A removed member never seeks election. */
export function disarmElectionTimer(state: GroupState): void {
  state.electionDeadlineMs = undefined;
}

/** "Reset election timer" (s5.2). */
export function restartElectionTimer(state: GroupState): void {
  state.restartElectionTimer();
}

/** Ask every other voter whether it would vote for this node in the next term (thesis s9.6). */
export function requestPreVotes(state: GroupState, context: RaftContext): void {
  state.restartElectionTimer();
  const { currentTerm } = context;
  const header = { group: state.group, term: currentTerm + 1, from: state.id };
  const { lastIndex: lastLogIndex, lastTerm: lastLogTerm } = state.log;
  for (const voter of allVoters(context)) {
    if (voter === state.id) continue;
    state.send(voter, { ...header, type: "PreVote", lastLogIndex, lastLogTerm });
  }
}

/**
 * "Vote for self; reset election timer; send RequestVote RPCs to all other servers" (s5.2). The own
 * vote counts once it is durable, which the chart hears as VoteDurable.
 */
export function requestVotes(state: GroupState, context: RaftContext, event: RaftEvent): void {
  state.candidacies++;
  state.restartElectionTimer(state.voteSlackMs);
  const request: RequestVote = {
    ...state.header(context),
    type: "RequestVote",
    lastLogIndex: state.log.lastIndex,
    lastLogTerm: state.log.lastTerm,
    transfer: event.type === "TimeoutNow",
  };
  for (const voter of allVoters(context)) {
    if (voter !== state.id) state.sendWhenDurable(voter, request);
  }
}

/** "If votedFor is null or candidateId, and candidate's log is up-to-date, grant vote" (s5.2, s5.4). */
export function sendVote(state: GroupState, context: RaftContext, request: RequestVote): void {
  state.restartElectionTimer(state.voteSlackMs);
  replyToVote(state, context, { to: request.from, granted: true });
}

/** The receiver already voted for another, or its log is more up-to-date. */
export function refuseVote(state: GroupState, context: RaftContext, request: RequestVote): void {
  replyToVote(state, context, { to: request.from, granted: false });
}

/** Grant a pre-vote: nothing is promised, nothing changes (thesis s9.6). */
export function sendPreVote(state: GroupState, _context: RaftContext, request: PreVote): void {
  const { group, term } = request;
  state.send(request.from, { type: "PreVoteReply", group, term, from: state.id, granted: true });
}

/** Refuse a pre-vote, with this node's own term so that a node left behind catches up. */
export function refusePreVote(state: GroupState, context: RaftContext, request: PreVote): void {
  state.send(request.from, { ...state.header(context), type: "PreVoteReply", granted: false });
}

/** "Reply false if term < currentTerm" (s5.1): the sender learns that its term is over. */
export function refuseStaleTerm(
  state: GroupState,
  context: RaftContext,
  event: { readonly message: RaftMessage },
): void {
  const { message } = event;
  const header = state.header(context);
  if (message.type === "RequestVote") {
    replyToVote(state, context, { to: message.from, granted: false });
  } else if (message.type === "AppendEntries") {
    state.sendWhenDurable(message.from, {
      ...header,
      type: "AppendEntriesReply",
      accepted: false,
      matchIndex: 0,
      prevLogIndex: message.prevLogIndex,
      conflictTerm: 0,
      conflictIndex: 0,
      round: 0,
    });
  } else if (message.type === "ReadIndex") {
    const { readId } = message;
    state.sendWhenDurable(message.from, {
      ...header,
      type: "ReadIndexReply",
      readId,
      readIndex: 0,
    });
  }
}

function replyToVote(
  state: GroupState,
  context: RaftContext,
  reply: { readonly to: NodeId; readonly granted: boolean },
): void {
  const { to, granted } = reply;
  state.sendWhenDurable(to, { ...state.header(context), type: "RequestVoteReply", granted });
}
