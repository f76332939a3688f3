/**
 * Coming back after the log was lost or damaged: what this node had promised is gone, and must not be
 * broken all the same.
 *
 * It may have voted in a term that it knows nothing of, and acknowledged entries that it has no more.
 * So it begins in the role `recovering`, in two steps:
 *
 * 1. Asking. It asks every other voter, and takes no part in anything until all have answered. A voter
 *    that it ever voted for, or that led it, is in a term at least as high, and every answer carries the
 *    answerer's term. So after that this node's term is at least as high as any that it ever was in.
 *    Before, an answer of its own could confirm a leader that it had helped to depose.
 * 2. Catching up. It takes entries and snapshots like a follower, and asks the leader for a read index.
 *    The request says that the log was lost, so the leader counts none of what this node acknowledged
 *    before. Once the log holds the read index durably, it holds every entry that was committed with an
 *    acknowledgement of this node: by that leader, whose request for the read index came first, or by
 *    an earlier one, whose entries are in this leader's log (s5.4).
 *
 * It then gives away its vote of the present term, which may have been given before, and follows.
 *
 * The voters of the first step are those that this node knew last: `members.json` names them, for a
 * snapshot may be older. The log that it has caught up with may name others, and a candidate of those may
 * have had its vote too. Then it asks them as well, and catches up once more.
 *
 * This needs all other voters once. Where one is gone for good, the member has to be replaced.
 *
 * @module
 */
import { RECOVERY_REQUESTS_MAX } from "./bounds.ts";
import type { GroupState } from "./group_state.ts";
import { type RaftContext, type RaftEvent, votersNotHeard } from "./raft_machine.ts";
import { allVoters } from "./quorum.ts";
import type { LogIndex } from "./raft_types.ts";

/** What a recovering node waits for. */
export interface Recovery {
  /** Requests of this step that may be answered still. */
  readonly asked: Set<number>;
  /** When it asks again. */
  deadlineMs: number;
  /** Whether all voters were heard. */
  catchesUp: boolean;
  /** What the log must hold durably. */
  readIndex: LogIndex | undefined;
}

/** Both steps begin by asking. */
export function askVoters(state: GroupState, context: RaftContext): void {
  const recovery: Recovery = state.recovery ??= {
    asked: new Set(),
    deadlineMs: 0,
    catchesUp: false,
    readIndex: undefined,
  };
  recovery.deadlineMs = state.nowMs + state.timing.electionTimeoutMsMin;
  const { id, leaderId } = context;
  // To ask a leader again would make it forget what it was sent meanwhile.
  if (recovery.readIndex !== undefined) return;
  // Once all were heard, only the leader has something to say.
  const asked = recovery.catchesUp
    ? allVoters(context).filter((voter) => voter !== id && voter === leaderId)
    : votersNotHeard(context);
  for (const voter of asked) {
    const readId = ++state.forwarded.lastReadId;
    recovery.asked.add(readId);
    if (recovery.asked.size > RECOVERY_REQUESTS_MAX) {
      const [oldest] = recovery.asked;
      recovery.asked.delete(oldest!);
    }
    state.send(voter, { ...state.header(context), type: "ReadIndex", readId, isLogLost: true });
  }
}

/** What was answered before all were heard says nothing of what this node must hold. */
export function beginCatchUp(state: GroupState, context: RaftContext): void {
  state.recovery!.asked.clear();
  state.recovery!.catchesUp = true;
  askVoters(state, context);
}

/** An answer of this or of a lower term: whoever sent it is in no higher one. */
export function noteAnswer(
  state: GroupState,
  _context: RaftContext,
  event: Extract<RaftEvent, { type: "ReadIndexReply" | "StaleTerm" }>,
): void {
  const answer = event.type === "StaleTerm" ? event.message : event;
  const { recovery } = state;
  if (answer.type !== "ReadIndexReply" || recovery?.asked.has(answer.readId) !== true) return;
  recovery.asked.delete(answer.readId);
  state.raise({ type: "VoterHeard", from: answer.from });
  const isConfirmed = event.type === "ReadIndexReply" && event.readIndex > 0;
  if (recovery.catchesUp && isConfirmed) recovery.readIndex ??= event.readIndex;
}

/** Whether the log holds what it must. */
export function isCaughtUp({ recovery, commitIndex, durableIndex }: GroupState): boolean {
  const readIndex = recovery?.readIndex;
  if (readIndex === undefined) return false;
  return commitIndex >= readIndex && durableIndex >= readIndex;
}

/** The node is a follower from now on, begins again, or was removed. */
export function endRecovery(state: GroupState): void {
  state.recovery = undefined;
}
