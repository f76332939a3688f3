/**
 * Log compaction: s7 of the paper and Fig. 13, InstallSnapshot RPC.
 *
 * A member takes a snapshot of its own when its log has grown, and forgets the entries that it covers.
 * A follower that needs such an entry gets the leader's snapshot, a part at a time. Each answer says
 * how much of it the follower has, so a lost part, a lost connection or another leader with the same
 * snapshot costs no more than one part.
 *
 * Safety: a snapshot covers committed entries only, since it is made of what was applied. It is durable
 * before the log forgets anything (`SnapshotTaken`, `SnapshotReceived`), and the machine holds its state
 * by then. So an entry up to its index is as durable as if the log still held it.
 *
 * @module
 */
import type { GroupState } from "./group_state.ts";
import type { Progress } from "./progress.ts";
import type { RaftContext, RaftEvent } from "./raft_machine.ts";
import type { InstallSnapshot, InstallSnapshotReply, NodeId, SnapshotRef } from "./raft_types.ts";
import { noteCaughtUp } from "./transfer.ts";

/** The log has grown: the host takes a snapshot of the machine as it is now. */
export function takeSnapshot(state: GroupState): void {
  state.outbox.takesSnapshot = true;
}

/**
 * "Once a server completes writing a snapshot, it may delete all log entries up through the last
 * included index" (s7). In memory some of them stay for followers that are a little behind. On disk the
 * entries since the snapshot before this one stay, so that one can be used if this one is damaged.
 */
export function compactLog(
  state: GroupState,
  _context: RaftContext,
  { snapshot, before }: Extract<RaftEvent, { type: "SnapshotTaken" }>,
): void {
  const { log } = state;
  state.noteSnapshot(snapshot);
  const index = Math.min(
    snapshot.index,
    log.indexBefore(state.bounds.trailingBytes),
    awaited(state),
  );
  if (index > log.base.index) {
    log.compactUpTo(index);
    state.configs.forgetBefore(index);
  }
  // What the snapshot covers needs no log to be durable.
  state.durableIndex = Math.max(state.durableIndex, log.base.index);
  if (before !== undefined) state.forget(before, { keepsRest: true });
}

/** A follower that is being sent a snapshot needs the entries behind it next. */
function awaited(state: GroupState): number {
  let index = Infinity;
  if (state.log.byteLength > state.bounds.awaitedBytesMax) return index;
  for (const { sending } of state.leadership?.progress.values() ?? []) {
    if (sending !== undefined) index = Math.min(index, sending.snapshot.index);
  }
  return index;
}

/**
 * Sends the next part of a snapshot, unless one is on its way. A part that was lost is sent again once
 * the follower has answered something else and an election timeout has passed.
 */
export function sendSnapshot(
  state: GroupState,
  context: RaftContext,
  peer: NodeId,
  progress: Progress,
): void {
  if (progress.sending === undefined) {
    if (state.snapshot === undefined) return;
    progress.beginSnapshot(state.snapshot);
  }
  const sending = progress.sending!;
  const { sentMs, snapshot, offset } = sending;
  const isAwaited = sentMs !== undefined && (progress.lastContactMs <= sentMs ||
    state.nowMs - sentMs < state.timing.electionTimeoutMsMax);
  if (isAwaited) return;
  sending.sentMs = state.nowMs;
  const length = Math.min(state.bounds.snapshotPartBytesMax, snapshot.size - offset);
  const request = { ...state.header(context), type: "InstallSnapshot", snapshot, offset } as const;
  state.outbox.snapshotParts.push({ to: peer, request, length });
}

/** A follower's answer: it has installed the snapshot, or says from where on it wants more. */
export function recordInstall(
  state: GroupState,
  context: RaftContext,
  reply: InstallSnapshotReply,
): void {
  const progress = state.lead.heard(reply.from, state.nowMs);
  if (progress === undefined) return;
  const { lastIncludedIndex, installed, offset } = reply;
  if (installed) {
    const isNews = progress.installed(Math.min(lastIncludedIndex, state.log.lastIndex));
    if (isNews && context.transferee === reply.from) noteCaughtUp(state, reply.from);
    return;
  }
  const { sending } = progress;
  // An answer to a part that was sent twice must not send what follows twice.
  if (sending?.snapshot.index !== lastIncludedIndex || offset === sending.offset) return;
  const { snapshot } = sending;
  // It had all and begins again: the snapshot is damaged, or it was on the way.
  if (sending.offset === snapshot.size && offset === 0) state.outbox.doubted = snapshot;
  sending.offset = Math.min(offset, snapshot.size);
  // It has all and installs it: it is asked again in a while.
  sending.sentMs = sending.offset === snapshot.size ? state.nowMs : undefined;
}

/** This node's newest snapshot turned out to be damaged; `snapshot` is the newest now, if there is one. */
export function replaceSnapshot(
  state: GroupState,
  _context: RaftContext,
  { snapshot }: Extract<RaftEvent, { type: "SnapshotLost" }>,
): void {
  state.snapshot = snapshot;
  for (const progress of state.leadership?.progress.values() ?? []) progress.sending = undefined;
  // A follower may need one that covers the log's base.
  if ((snapshot?.index ?? 0) < state.log.base.index) state.raise({ type: "SnapshotDue" });
}

/** Fig. 13, receiver implementation: takes a part that follows what this node has, and answers. */
export function acceptPart(
  state: GroupState,
  context: RaftContext,
  request: InstallSnapshot,
): void {
  state.hearLeader();
  const { snapshot, offset, bytes } = request;
  if (snapshot.index <= state.commitIndex) {
    state.sendWhenDurable(request.from, answer(state, context, snapshot, { installed: true }));
    return;
  }
  if (!isSame(state.receiving?.snapshot, snapshot)) {
    // An older one that comes late changes nothing; the newest is what the leader needs an answer to.
    state.receiving = { snapshot, offset: 0 };
    state.raise({ type: "SnapshotOffered" });
  }
  const { receiving } = state;
  if (offset === receiving!.offset && bytes.length > 0) {
    state.outbox.received.push({ snapshot, offset, bytes });
    receiving!.offset += bytes.length;
  }
  state.send(request.from, answer(state, context, snapshot, { offset: receiving!.offset }));
}

/**
 * The snapshot is durable and the machine holds its state. "If existing log entry has same index and
 * term as snapshot's last included entry, retain log entries following it"; otherwise "discard the
 * entire log" (Fig. 13, 6 and 7).
 */
export function installSnapshot(
  state: GroupState,
  context: RaftContext,
  { snapshot, config }: Extract<RaftEvent, { type: "SnapshotReceived" }>,
): void {
  const { log } = state;
  const { index, term } = snapshot;
  state.receiving = undefined;
  state.noteSnapshot(snapshot);
  if (index > log.base.index) {
    const keepsRest = log.termAt(index) === term;
    if (keepsRest) {
      log.compactUpTo(index);
      state.durableIndex = Math.max(state.durableIndex, index);
    } else state.resetLog(snapshot);
    state.resetConfig(snapshot, config, { keepsRest });
    state.forget({ index, term }, { keepsRest });
  }
  state.commitIndex = Math.max(state.commitIndex, index);
  const { leaderId } = context;
  if (leaderId === undefined || leaderId === state.id) return;
  state.sendWhenDurable(leaderId, answer(state, context, snapshot, { installed: true }));
}

/** What was received is no sound snapshot, or could not be kept: it has to be sent again. */
export function dropReceived(state: GroupState): void {
  state.receiving = undefined;
}

/** Whether what is received, and is not whole yet, covers nothing that is not known to be committed. */
export function isOutdated({ receiving, commitIndex }: GroupState): boolean {
  return receiving !== undefined && receiving.snapshot.index <= commitIndex &&
    receiving.offset < receiving.snapshot.size;
}

/** The host drops the parts that it keeps, too. */
export function abandonReceived(state: GroupState): void {
  state.receiving = undefined;
  state.outbox.abandonsReceived = true;
}

function answer(
  state: GroupState,
  context: RaftContext,
  { index }: SnapshotRef,
  { installed = false, offset = 0 }: { readonly installed?: boolean; readonly offset?: number },
): InstallSnapshotReply {
  const lastIncludedIndex = index;
  const header = state.header(context);
  return { ...header, type: "InstallSnapshotReply", lastIncludedIndex, installed, offset };
}

function isSame(one: SnapshotRef | undefined, other: SnapshotRef): boolean {
  return one !== undefined && one.index === other.index && one.digest === other.digest &&
    one.size === other.size;
}
