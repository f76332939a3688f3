/**
 * Log replication: s5.3, the commit rule of s5.4.2, the leader's disk in parallel with its
 * followers' (thesis s10.2.1), batching and pipelining (thesis s10.2.2).
 *
 * @module
 */
import { COMMIT_NOTICE_MS } from "./bounds.ts";
import { encodeConfig, type GroupConfig } from "./group_config.ts";
import type { GroupState } from "./group_state.ts";
import { Leadership } from "./leadership.ts";
import { withDirectories } from "./membership_change.ts";
import type { Progress } from "./progress.ts";
import { quorumValue } from "./quorum.ts";
import { lastIndexOf, type RaftLog, runFrom } from "./raft_log.ts";
import type { RaftContext, RaftEvent } from "./raft_machine.ts";
import type {
  AppendEntries,
  AppendEntriesReply,
  EntryKind,
  EntryRun,
  NodeId,
  Term,
} from "./raft_types.ts";
import { acknowledgeRound, beginReadRound } from "./reads.ts";
import { sendSnapshot } from "./snapshots.ts";
import { packRequests } from "./request_batch.ts";
import { noteCaughtUp } from "./transfer.ts";

const NO_PAYLOAD = new Uint8Array(0);

/** "Upon election": nextIndex and matchIndex anew, and a no-op so that earlier terms' entries commit (s8). */
export function startTerm(state: GroupState, context: RaftContext): void {
  const { nowMs, bounds, timing: { heartbeatMs, electionTimeoutMsMax } } = state;
  state.leadership = new Leadership({
    peers: peersOf(context),
    lastLogIndex: state.log.lastIndex,
    nowMs,
    logTimeMs: state.logTimeAt(nowMs),
    heartbeatMs,
    quorumMs: electionTimeoutMsMax,
    bounds,
  });
  state.electionDeadlineMs = undefined;
  state.candidacies = 0;
  appendPayloads(state, context, { kind: "noop", payloads: [NO_PAYLOAD] });
}

/** A former leader answers nothing more for its term. Its proposals may still commit, or not. */
export function endTerm(state: GroupState): void {
  state.formerLeadership = state.leadership;
  state.leadership = undefined;
  // A leader was alive until now: this node itself.
  state.leaderContactMs = state.nowMs;
}

/**
 * "If command received from client: append entry to local log" (s5.3); replication starts at the
 * turn's end. Takes as many of the requests as the bound on uncommitted bytes allows.
 */
export function appendCommands(
  state: GroupState,
  context: RaftContext,
  event: Extract<RaftEvent, { type: "Propose" }>,
): void {
  const room = state.bounds.uncommittedBytesMax - state.log.bytesAfter(state.commitIndex);
  if (room <= 0) {
    state.proposeOutcome = { accepted: false, reason: "overloaded" };
    return;
  }
  const firstIndex = state.log.lastIndex + 1;
  const { payloads, counts } = packRequests(event.requests, room);
  appendPayloads(state, context, { kind: "command", payloads });
  state.proposeOutcome = { accepted: true, term: context.currentTerm, firstIndex, counts };
}

/** The state machine is due: an entry without requests lets time pass on every replica. */
export function appendTime(state: GroupState, context: RaftContext): void {
  appendPayloads(state, context, { kind: "noop", payloads: [NO_PAYLOAD] });
}

/** All members know the version: an entry lets them agree on it. The members stay as they are. */
export function appendVersion(
  state: GroupState,
  context: RaftContext,
  { version }: Extract<RaftEvent, { type: "RaiseClusterVersion" }>,
): void {
  const config = withDirectories(state.configs.current.config, state.directoryOf);
  const clusterVersion = Math.max(config.clusterVersion, version);
  appendConfig(state, context, { ...config, clusterVersion });
}

/** What the group is to agree on, as an entry: it is in force at once. */
export function appendConfig(
  state: GroupState,
  context: RaftContext,
  config: GroupConfig,
): void {
  appendPayloads(state, context, { kind: "config", payloads: [encodeConfig(config)] });
}

/** Everybody whom a leader sends the log to. */
export function peersOf({ id, voters, outgoing, learners }: RaftContext): NodeId[] {
  return [...new Set([...voters, ...outgoing, ...learners])].filter((peer) => peer !== id);
}

/** Only a leader that is not handing over takes commands. */
export function refuseProposals(state: GroupState, context: RaftContext): void {
  const reason = context.transferee === undefined ? "not-leader" : "transferring";
  state.proposeOutcome = { accepted: false, reason };
}

/** The disk has too little space for more entries. */
export function refuseForSpace(state: GroupState): void {
  state.proposeOutcome = { accepted: false, reason: "no-space" };
}

/** Fig. 2, AppendEntries RPC, receiver implementation 2 to 5. */
export function acceptEntries(
  state: GroupState,
  context: RaftContext,
  request: AppendEntries,
): void {
  state.hearLeader();
  const { log } = state;
  const { prevLogIndex } = request;
  const ownTerm = log.termAt(prevLogIndex);
  if (prevLogIndex >= log.base.index && ownTerm !== request.prevLogTerm) {
    refuseEntries(state, context, request);
    return;
  }
  let lastNewIndex = prevLogIndex;
  for (const run of request.runs) {
    storeRun(state, run);
    lastNewIndex = lastIndexOf(run);
  }
  // "If leaderCommit > commitIndex, set commitIndex = min(leaderCommit, index of last new entry)".
  state.commitIndex = Math.max(state.commitIndex, Math.min(request.leaderCommit, lastNewIndex));
  const matchIndex = request.runs.length === 0
    ? Math.min(lastNewIndex, state.durableIndex)
    : lastNewIndex;
  const reply: AppendEntriesReply = {
    ...state.header(context),
    type: "AppendEntriesReply",
    accepted: true,
    matchIndex,
    prevLogIndex,
    conflictTerm: 0,
    conflictIndex: 0,
    round: request.round,
  };
  // A heartbeat's answer claims only what is durable, so that it never waits for the disk.
  if (matchIndex <= state.durableIndex && state.isDurable(context)) state.send(request.from, reply);
  else state.sendWhenDurable(request.from, reply);
}

/** Fig. 2, leaders: "If successful: update nextIndex and matchIndex; if it fails: decrement nextIndex and retry". */
export function recordMatch(
  state: GroupState,
  context: RaftContext,
  reply: AppendEntriesReply,
): void {
  const progress = state.lead.heard(reply.from, state.nowMs);
  if (progress === undefined) return;
  acknowledgeRound(state, context, reply);
  if (!reply.accepted) {
    backtrack(state, progress, reply);
    return;
  }
  if (progress.accepted(Math.min(reply.matchIndex, state.log.lastIndex))) {
    advanceCommit(state, context);
    if (context.transferee === reply.from) noteCaughtUp(state, reply.from);
  }
}

/** Entries through `index` are durable here, and are the ones that the log holds (pending_writes.ts). */
export function noteDurable(
  state: GroupState,
  _context: RaftContext,
  event: Extract<RaftEvent, { type: "EntriesDurable" }>,
): void {
  // What a snapshot covers by now was durable with it.
  if (event.index < state.log.base.index) return;
  if (state.log.termAt(event.index) !== event.term) {
    throw new Error(
      `Cannot count entry ${event.index} durable: the log has it in term ` +
        `${state.log.termAt(event.index)}, the disk in term ${event.term}`,
    );
  }
  state.durableIndex = Math.max(state.durableIndex, event.index);
}

/**
 * "If there exists an N such that N > commitIndex, a majority of matchIndex[i] >= N, and
 * log[N].term == currentTerm: set commitIndex = N" (s5.3, s5.4). The leader's own match is what its
 * disk holds, so a majority of followers can commit before the leader's disk does.
 */
export function advanceCommit(state: GroupState, context: RaftContext): void {
  const { progress } = state.lead;
  const index = quorumValue(
    context,
    (voter) => voter === state.id ? state.durableIndex : progress.get(voter)?.matchIndex ?? 0,
  );
  if (index > state.commitIndex && state.log.termAt(index) === context.currentTerm) {
    state.commitIndex = index;
    state.lead.commitNoticeMs = Math.min(
      state.lead.commitNoticeMs,
      state.nowMs + COMMIT_NOTICE_MS,
    );
  }
}

/**
 * "Repeat during idle periods to prevent election timeouts" (s5.2). A heartbeat's answer also goes
 * on where a probe was lost. One that comes early goes to those alone that hold what is committed and were
 * not told so by anything that was sent since.
 */
export function broadcastHeartbeat(state: GroupState): void {
  const { lead, nowMs, commitIndex } = state;
  const isNotice = nowMs < lead.heartbeatDeadlineMs;
  lead.commitNoticeMs = Infinity;
  if (!isNotice) lead.heartbeatDeadlineMs = nowMs + state.timing.heartbeatMs;
  for (const progress of lead.progress.values()) {
    const known = Math.min(commitIndex, progress.nextIndex - 1);
    const isUntold = progress.mode === "replicate" && progress.toldCommit < known;
    if (!isNotice || isUntold) progress.beatDue = true;
  }
}

/**
 * Ends a leader's turn: begins the read round that waits, then sends each follower what it lacks,
 * in one AppendEntries where it fits, or an empty one where a heartbeat is owed.
 */
export function sendAppends(state: GroupState, context: RaftContext): void {
  beginReadRound(state, context);
  state.lead.tellLeaving(state);
  for (const [peer, progress] of state.lead.progress) {
    while (progress.maySend && progress.nextIndex <= state.log.lastIndex) {
      sendEntries(state, context, peer, progress);
    }
    if (progress.beatDue) sendHeartbeat(state, context, peer, progress);
    if (progress.mode === "snapshot") sendSnapshot(state, context, peer, progress);
  }
  state.lead.dropLeft(state);
}

/** Sends the entries from nextIndex on, as many as one message holds. */
function sendEntries(
  state: GroupState,
  context: RaftContext,
  peer: NodeId,
  progress: Progress,
): void {
  const { log, bounds } = state;
  const prevLogTerm = prevTermOf(log, progress);
  if (prevLogTerm === undefined) return;
  const runs = log.slice(progress.nextIndex, log.lastIndex, bounds.appendBytesMax);
  const prevLogIndex = progress.nextIndex - 1;
  const bytes = runs.reduce((sum, run) => sum + run.bytes.length, 0);
  progress.sentEntries(lastIndexOf(runs.at(-1)!), bytes);
  sendAppend(state, context, peer, progress, { prevLogIndex, prevLogTerm, runs });
}

function sendHeartbeat(
  state: GroupState,
  context: RaftContext,
  peer: NodeId,
  progress: Progress,
): void {
  const prevLogTerm = prevTermOf(state.log, progress);
  // Every log begins with entry 0 of term 0, so a heartbeat is also taken where a snapshot is needed.
  const prev = prevLogTerm === undefined
    ? { prevLogIndex: 0, prevLogTerm: 0 }
    : { prevLogIndex: progress.nextIndex - 1, prevLogTerm };
  sendAppend(state, context, peer, progress, { ...prev, runs: [] });
}

/** The term before nextIndex; undefined if the follower needs a snapshot, as it does from here on. */
function prevTermOf(log: RaftLog, progress: Progress): Term | undefined {
  const term = log.termAt(progress.nextIndex - 1);
  if (term === undefined) progress.mode = "snapshot";
  return progress.mode === "snapshot" ? undefined : term;
}

function sendAppend(
  state: GroupState,
  context: RaftContext,
  peer: NodeId,
  progress: Progress,
  part: Pick<AppendEntries, "prevLogIndex" | "prevLogTerm" | "runs">,
): void {
  progress.beatDue = false;
  // A follower believes it as far as this message matches its log.
  const last = part.runs.length === 0 ? part.prevLogIndex : lastIndexOf(part.runs.at(-1)!);
  progress.toldCommit = Math.max(progress.toldCommit, Math.min(state.commitIndex, last));
  state.send(peer, {
    ...state.header(context),
    type: "AppendEntries",
    prevLogIndex: part.prevLogIndex,
    prevLogTerm: part.prevLogTerm,
    leaderCommit: state.commitIndex,
    round: state.lastRound,
    runs: part.runs,
  });
}

function appendPayloads(
  state: GroupState,
  context: RaftContext,
  entries: { readonly kind: EntryKind; readonly payloads: readonly Uint8Array[] },
): void {
  state.append(state.records.encodeRun({
    group: state.group,
    term: context.currentTerm,
    firstIndex: state.log.lastIndex + 1,
    timeMs: state.logTimeAt(state.nowMs),
    ...entries,
  }));
}

/**
 * "If an existing entry conflicts with a new one (same index but different terms), delete the
 * existing entry and all that follow it; append any new entries not already in the log" (s5.3).
 * Entries already there stay, even beyond the request: a late, shorter request takes nothing back.
 */
function storeRun(state: GroupState, run: EntryRun): void {
  const { log } = state;
  const last = lastIndexOf(run);
  let index = Math.max(run.firstIndex, log.base.index + 1);
  // Equal index and term mean equal entries (s5.3, log matching).
  while (index <= last && log.termAt(index) === run.term) index++;
  if (index > last) return;
  if (index <= log.lastIndex) {
    if (index <= state.commitIndex) {
      throw new Error(
        `Cannot accept entries: entry ${index} of term ${run.term} would replace a committed one ` +
          `of term ${log.termAt(index)}`,
      );
    }
    state.truncateAfter(index - 1);
  }
  state.append(runFrom(run, index));
}

/**
 * This follower's log does not hold prevLog: tell the leader where to look (s5.3, last paragraphs).
 */
function refuseEntries(state: GroupState, context: RaftContext, request: AppendEntries): void {
  const conflictTerm = state.log.termAt(request.prevLogIndex) ?? 0;
  const conflictIndex = conflictTerm === 0
    ? state.log.lastIndex + 1
    : state.log.firstIndexOfTerm(conflictTerm) ?? state.log.base.index + 1;
  const reply: AppendEntriesReply = {
    ...state.header(context),
    type: "AppendEntriesReply",
    accepted: false,
    matchIndex: 0,
    prevLogIndex: request.prevLogIndex,
    conflictTerm,
    conflictIndex,
    round: request.round,
  };
  if (state.isDurable(context)) state.send(request.from, reply);
  else state.sendWhenDurable(request.from, reply);
}

/**
 * Whether the refusal proves that the follower has lost what it had acknowledged. What it says of
 * itself is recovery.ts; this is of a log that was cut short and does not know.
 */
function hasLost(
  state: GroupState,
  progress: Progress,
  { prevLogIndex, round }: AppendEntriesReply,
): boolean {
  const { suspicion, matchIndex } = progress;
  if (suspicion !== undefined && prevLogIndex <= suspicion.matchIndex) {
    return round >= suspicion.round;
  }
  progress.suspicion = { round: ++state.lastRound, matchIndex };
  return false;
}

/**
 * One round trip per conflicting term: skip to the end of that term in this log, or else to where
 * the follower says.
 */
function backtrack(state: GroupState, progress: Progress, reply: AppendEntriesReply): void {
  const { prevLogIndex, conflictTerm, conflictIndex } = reply;
  if (prevLogIndex <= progress.matchIndex && hasLost(state, progress, reply)) {
    const { matchIndex: acknowledged } = progress;
    state.outbox.cutShort.push({ node: reply.from, acknowledged, holds: conflictIndex - 1 });
    progress.forget();
  }
  // A refusal beyond this log comes from no sound follower. To believe it would put nextIndex
  // beyond
  // the log, and the follower would get no heartbeat.
  const isStale = progress.mode === "probe"
    ? prevLogIndex !== progress.nextIndex - 1
    : prevLogIndex <= progress.matchIndex || prevLogIndex > state.log.lastIndex;
  if (isStale) return;
  const own = conflictTerm === 0 ? undefined : state.log.lastIndexOfTerm(conflictTerm);
  const nextIndex = own === undefined || own >= prevLogIndex ? conflictIndex : own + 1;
  progress.refused(Math.min(nextIndex, prevLogIndex));
}
