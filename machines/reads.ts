/**
 * Linearizable reads without the log: ReadIndex rounds (thesis s6.4), from any node.
 *
 * Safety, in the five steps of the thesis: (1) the leader waits until it has committed an entry of
 * its own term; (2) it remembers its commit index as the read index; (3) a majority answers an
 * AppendEntries that was sent after that, so no later leader had been elected when the reads
 * arrived; (4) the read waits until lastApplied reaches the read index; (5) it is served.
 *
 * @module
 */
import { appendAll } from "./append_all.ts";
import type { GroupState } from "./group_state.ts";
import { isQuorum } from "./quorum.ts";
import type { RaftContext, RaftEvent } from "./raft_machine.ts";
import type { AppendEntriesReply, NodeId, ReadIndex, ReadIndexReply } from "./raft_types.ts";
import { type ReadRound, READS_PENDING_MAX } from "./read_queue.ts";

type ReadEvent = Extract<RaftEvent, { type: "Read" }>;

/** Leader: reads wait for the next round to begin, at the end of this turn or of the running round. */
export function queueReads(state: GroupState, _context: RaftContext, event: ReadEvent): void {
  const { reads } = state.lead;
  if (reads.waiting.length + event.readIds.length > READS_PENDING_MAX) {
    refuseReads(state, _context, event);
  } else appendAll(reads.waiting, event.readIds);
}

/** Leader: a follower's request waits like the leader's own reads. */
export function queueForwardedRead(
  state: GroupState,
  context: RaftContext,
  request: ReadIndex,
): void {
  const { reads, progress } = state.lead;
  // Before the read index is taken: nothing is committed any more by what that follower had once.
  if (request.isLogLost) progress.get(request.from)?.forget();
  if (reads.waitingForwarded.length >= READS_PENDING_MAX) {
    refuseForwardedRead(state, context, request);
  } else reads.waitingForwarded.push({ from: request.from, readId: request.readId });
}

/** Follower: ask the leader for a read index for the whole batch, under an id never used before. */
export function forwardReads(state: GroupState, context: RaftContext, event: ReadEvent): void {
  const { forwarded } = state;
  if (context.leaderId === undefined || forwarded.batches.size >= READS_PENDING_MAX) {
    refuseReads(state, context, event);
    return;
  }
  const readId = ++forwarded.lastReadId;
  forwarded.batches.set(readId, { readIds: event.readIds, sentMs: state.nowMs });
  const header = state.header(context);
  state.send(context.leaderId, { ...header, type: "ReadIndex", readId, isLogLost: false });
}

/** Follower: the leader confirmed a read index for one attempt, or refused it. */
export function completeReads(
  state: GroupState,
  context: RaftContext,
  reply: ReadIndexReply,
): void {
  const { batches } = state.forwarded;
  const batch = batches.get(reply.readId);
  if (batch === undefined || reply.from !== context.leaderId) return;
  batches.delete(reply.readId);
  const { readIds } = batch;
  if (reply.readIndex === 0) appendAll(state.outbox.readsRefused, readIds);
  else state.outbox.readsReady.push({ readIndex: reply.readIndex, readIds });
}

/** No leader is known to serve the reads. */
export function refuseReads(state: GroupState, _context: RaftContext, event: ReadEvent): void {
  appendAll(state.outbox.readsRefused, event.readIds);
}

/** This node does not lead, or is overloaded: the follower's reads are refused with read index 0. */
export function refuseForwardedRead(
  state: GroupState,
  context: RaftContext,
  request: ReadIndex,
): void {
  replyToRead(state, context, request, 0);
}

/** The leader that served this node's reads no longer can, so they are refused at once. */
export function dropReads(state: GroupState): void {
  appendAll(state.outbox.readsRefused, state.leadership?.reads.takeAll() ?? []);
  appendAll(state.outbox.readsRefused, state.forwarded.takeAll());
}

/** Follower: an answer that is overdue was lost; the batch is refused so that its reads can be retried. */
export function refuseOverdueReads(state: GroupState): void {
  const { batches } = state.forwarded;
  for (const [readId, batch] of batches) {
    if (state.nowMs - batch.sentMs < state.timing.electionTimeoutMsMax) return;
    batches.delete(readId);
    appendAll(state.outbox.readsRefused, batch.readIds);
  }
}

/**
 * Leader, at the end of a turn: begins a round for all reads that wait, unless one is running
 * or no entry of this term has committed yet. Reads that arrive during a round share the next one.
 */
export function beginReadRound(state: GroupState, context: RaftContext): void {
  const { lead: { reads, progress }, commitIndex } = state;
  if (!reads.hasWaiting || reads.running !== undefined) return;
  if (state.log.termAt(commitIndex) !== context.currentTerm) return;
  const round = reads.begin(++state.lastRound, commitIndex);
  for (const follower of progress.values()) follower.beatDue = true;
  completeIfConfirmed(state, context, round);
}

/** Leader: `reply` answers an AppendEntries sent when `reply.round` had begun. */
export function acknowledgeRound(
  state: GroupState,
  context: RaftContext,
  reply: AppendEntriesReply,
): void {
  const { running } = state.lead.reads;
  if (running === undefined || reply.round < running.round) return;
  if (!running.acknowledged.includes(reply.from)) running.acknowledged.push(reply.from);
  completeIfConfirmed(state, context, running);
}

function completeIfConfirmed(state: GroupState, context: RaftContext, running: ReadRound): void {
  if (!isQuorum([state.id, ...running.acknowledged], context)) return;
  state.lead.reads.running = undefined;
  const { readIndex, readIds } = running;
  if (readIds.length > 0) state.outbox.readsReady.push({ readIndex, readIds });
  for (const request of running.forwarded) replyToRead(state, context, request, readIndex);
}

function replyToRead(
  state: GroupState,
  context: RaftContext,
  request: { readonly from: NodeId; readonly readId: number },
  readIndex: number,
): void {
  const { readId } = request;
  state.send(request.from, { ...state.header(context), type: "ReadIndexReply", readId, readIndex });
}
