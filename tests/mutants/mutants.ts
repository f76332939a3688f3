/**
 * Bugs to plant, one at a time, in a copy of the product. The suite must catch each.
 *
 * A mutant is a change of text that occurs exactly once in its file; when the product changes and
 * it occurs no more, the run says so instead of passing quietly.
 *
 * @module
 */

/** A bug to plant. */
export interface Mutant {
  readonly name: string;
  readonly file: string;
  readonly find: string;
  readonly replace: string;
  /** Where it is looked for first; then everywhere. `sim` is the simulator. */
  readonly suspects: readonly ("sim" | string)[];
}

const core = "tests/machines";
const storage = "tests/storage";
const transport = "tests/transport";
const actors = "tests/actors";

/** All of them; SAFETY.md and field experience name the ideas. */
export const mutants: readonly Mutant[] = [
  // Durability
  {
    name: "skip fsync",
    file: "storage/log/wal.ts",
    find: "this.#syncSegments([...this.#segments], nameIsNew, (error) => {",
    replace: "queueMicrotask(() => { const error = undefined as Error | undefined;",
    suspects: ["sim", storage],
  },
  {
    name: "an ailing disk is tried only by writes",
    file: "actors/wal_actor.ts",
    find: "    if (this.#syncStartMs === undefined) return this.#probe();",
    replace: "    if (this.#syncStartMs === undefined) return;",
    suspects: [actors, "sim"],
  },
  {
    name: "acknowledge before fsync",
    file: "actors/wal_actor.ts",
    find: "count < this.#waiting.length && this.#waiting[count]!.position <= this.#durablePosition",
    replace: "count < this.#waiting.length",
    suspects: ["sim", actors],
  },
  {
    name: "promises leave before the sync",
    file: "machines/group_state.ts",
    find: "    this.#promises.push({ to, message });",
    replace: "    this.send(to, message);",
    suspects: [core, "sim"],
  },
  {
    name: "an empty turn overtakes writes under way",
    file: "machines/pending_writes.ts",
    find: "    return newest !== undefined;",
    replace: "    return false;",
    suspects: [core, "sim"],
  },
  {
    name: "vote not persisted",
    file: "storage/log/wal_record.ts",
    find: "kindCode, group, currentTerm, votedFor ?? 0, 0);",
    replace: "kindCode, group, currentTerm, 0, 0);",
    suspects: ["sim", storage],
  },
  {
    name: "term not persisted",
    file: "machines/group_state.ts",
    find:
      "    const isChanged = currentTerm !== handed.currentTerm || votedFor !== handed.votedFor;",
    replace: "    const isChanged = votedFor !== handed.votedFor && votedFor !== undefined;",
    suspects: [core, "sim"],
  },
  {
    name: "answers rely on a hard state that is not durable",
    file: "machines/group_state.ts",
    find: "    return durable.currentTerm === currentTerm && durable.votedFor === votedFor;",
    replace: "    return durable.currentTerm <= currentTerm || durable.votedFor === votedFor;",
    suspects: [core, "sim"],
  },
  {
    name: "a failed fsync is retried",
    file: "storage/log/wal.ts",
    find: "      if (error !== undefined) this.#fail(error);",
    replace: "      if (error !== undefined) { done(undefined, target); return; }",
    suspects: [storage, "sim"],
  },
  {
    name: "directory fsync missing",
    file: "storage/log/wal.ts",
    find: "        else if (nameIsNew) this.#syncName(done);",
    replace: "",
    suspects: [storage, "sim"],
  },
  {
    name: "a segment is begun while the name of the one before is not durable",
    file: "storage/log/wal.ts",
    find: "if (!isFull || this.#nameIsNew) return last;",
    replace: "if (!isFull) return last;",
    suspects: [storage],
  },
  {
    name: "CRC ignored",
    file: "storage/log/wal_record.ts",
    find: "if (view.getUint32(at, true) !== crc32c(bytes, at + LENGTH_AT, end)) {",
    replace: "if (view.getUint32(at, true) === -1) {",
    suspects: [storage],
  },
  {
    name: "damage in the middle of the log is cut off",
    file: "storage/log/wal_replay.ts",
    find: "    const durable = this.#durableBehind(tornAt);",
    replace: "    const durable = 0;",
    suspects: [storage],
  },
  {
    name: "torn tail kept",
    file: "storage/log/wal.ts",
    find: "    file.truncate(offset);",
    replace: "    void offset;",
    suspects: [storage, "sim"],
  },
  {
    name: "the sync of a replaced entry counts",
    file: "machines/pending_writes.ts",
    find: "      if (write.last !== undefined && write.last.index > index) write.last = undefined;",
    replace: "      if (write.last !== undefined && write.last.index > index) void write;",
    suspects: [core, "sim"],
  },
  {
    name: "a heartbeat's answer claims what is not durable",
    file: "machines/replication.ts",
    find: "    ? Math.min(lastNewIndex, state.durableIndex)",
    replace: "    ? Math.min(lastNewIndex, state.durableIndex + 1e9)",
    suspects: [core, "sim"],
  },
  {
    name: "acceptance does not wait for the disk",
    file: "machines/replication.ts",
    find:
      "if (matchIndex <= state.durableIndex && state.isDurable(context)) state.send(request.from, reply);",
    replace: "if (state.isDurable(context)) state.send(request.from, reply);",
    suspects: [core, "sim"],
  },
  {
    name: "the leader counts its log before its disk has it",
    file: "machines/replication.ts",
    find: "voter === state.id ? state.durableIndex : progress",
    replace: "voter === state.id ? state.log.lastIndex : progress",
    suspects: [core, "sim"],
  },
  {
    name: "truncation leaves the durable index",
    file: "machines/group_state.ts",
    find: "    this.durableIndex = Math.min(this.durableIndex, index);",
    replace: "",
    suspects: [core, "sim"],
  },
  {
    name: "a wiped node is welcomed back",
    file: "storage/log/peer_identities.ts",
    find: "if (known !== undefined) return known === directoryId;",
    replace: "if (known !== undefined) return true;",
    suspects: ["sim", storage, actors],
  },
  {
    name: "a wiped node is welcomed back by who has restarted",
    file: "storage/log/peer_identities.ts",
    find: "      replaceFile(this.#disk, PEERS_FILE, { peers: Object.fromEntries(known) });",
    replace: "",
    suspects: ["sim", storage],
  },

  // Elections
  {
    name: "vote twice",
    file: "machines/raft_machine.ts",
    find: "(context.votedFor === undefined || context.votedFor === event.from),",
    replace: "(context.votedFor === undefined || context.votedFor !== context.id),",
    suspects: [core, "sim"],
  },
  {
    name: "vote for a shorter log",
    file: "machines/election.ts",
    find: "(candidate.lastLogTerm === own.lastTerm && candidate.lastLogIndex >= own.lastIndex);",
    replace: "(candidate.lastLogTerm === own.lastTerm);",
    suspects: [core, "sim"],
  },
  {
    name: "vote for an older log",
    file: "machines/election.ts",
    find: "return candidate.lastLogTerm > own.lastTerm ||\n    (candidate",
    replace: "return candidate.lastLogIndex > own.lastIndex ||\n    (candidate",
    suspects: [core, "sim"],
  },
  {
    name: "half is a majority",
    file: "machines/quorum.ts",
    find: "  return Math.floor(voters / 2) + 1;",
    replace: "  return Math.ceil(voters / 2);",
    suspects: [core, "sim"],
  },
  {
    name: "one less than a majority",
    file: "machines/quorum.ts",
    find: "  return Math.floor(voters / 2) + 1;",
    replace: "  return Math.max(1, Math.floor(voters / 2));",
    suspects: [core, "sim"],
  },
  {
    name: "everybody's vote counts",
    file: "machines/quorum.ts",
    find: "  for (const voter of voters) if (granted.includes(voter)) count++;",
    replace: "  count = granted.length;",
    suspects: [core],
  },
  {
    name: "PreVote raises the term",
    file: "machines/raft_core.ts",
    find:
      'if (message.type === "PreVote" || (message.type === "PreVoteReply" && message.granted)) {',
    replace: 'if (message.type === "PreVoteReply" && message.granted) {',
    suspects: [core, "sim"],
  },
  {
    name: "a pre-vote is granted while a leader is alive",
    file: "machines/raft_machine.ts",
    find: '      event.type === "PreVote" && event.logIsUpToDate && !event.leaderIsAlive &&',
    replace: '      event.type === "PreVote" && event.logIsUpToDate &&',
    suspects: [core],
  },
  {
    name: "no stickiness",
    file: "machines/raft_core.ts",
    find: "return !request.transfer && this.#leaderIsAlive;",
    replace: "return !request.transfer && this.#leaderIsAlive && false;",
    suspects: [core],
  },
  {
    name: "a restarted node votes at once",
    file: "machines/group_state.ts",
    find: "    this.leaderContactMs = options.nowMs;",
    replace: "    this.leaderContactMs = -Infinity;",
    suspects: [core],
  },
  {
    name: "a higher term in a reply is ignored",
    file: "machines/raft_core.ts",
    find: '      this.#feed({ type: "HigherTerm", term });',
    replace: '      if (!message.type.endsWith("Reply")) this.#feed({ type: "HigherTerm", term });',
    suspects: [core, "sim"],
  },
  {
    name: "no CheckQuorum",
    file: "machines/raft_core.ts",
    find: 'if (state.nowMs >= deadlineMs) this.#feed({ type: "QuorumLost" });',
    replace: "if (state.nowMs >= deadlineMs) state.quorumDeadlineMs = state.nowMs + 600;",
    suspects: [core],
  },
  {
    name: "the election timeout is not random",
    file: "machines/group_state.ts",
    find: "this.electionDeadlineMs = this.nowMs + slackMs + min + this.#random() * (max - min);",
    replace: "this.electionDeadlineMs = this.nowMs + slackMs + min + 0 * (max - min);",
    suspects: [core],
  },
  {
    name: "a vote does not restart the election timer",
    file: "machines/election.ts",
    find:
      "export function sendVote(state: GroupState, context: RaftContext, request: RequestVote): void {\n  state.restartElectionTimer(state.voteSlackMs);",
    replace:
      "export function sendVote(state: GroupState, context: RaftContext, request: RequestVote): void {",
    suspects: [core],
  },

  // Replication
  {
    name: "commit an old term by counting",
    file: "machines/replication.ts",
    find: "if (index > state.commitIndex && state.log.termAt(index) === context.currentTerm) {",
    replace: "if (index > state.commitIndex) {",
    suspects: [core, "sim"],
  },
  {
    name: "no no-op",
    file: "machines/replication.ts",
    find: "  state.candidacies = 0;\n  appendPayloads(state, context,",
    replace: "  state.candidacies = 0;\n  if (state.nowMs < 0) appendPayloads(state, context,",
    suspects: [core, "sim"],
  },
  {
    name: "stale suffix kept",
    file: "machines/replication.ts",
    find: "    state.truncateAfter(index - 1);\n  }\n  state.append(runFrom(run, index));",
    replace: "    return;\n  }\n  state.append(runFrom(run, index));",
    suspects: [core, "sim"],
  },
  {
    name: "commit beyond what the leader sent (S06)",
    file: "machines/replication.ts",
    find: "Math.max(state.commitIndex, Math.min(request.leaderCommit, lastNewIndex));",
    replace: "Math.max(state.commitIndex, Math.min(request.leaderCommit, log.lastIndex));",
    suspects: [core, "sim"],
  },
  {
    name: "no consistency check",
    file: "machines/replication.ts",
    find: "  if (prevLogIndex >= log.base.index && ownTerm !== request.prevLogTerm) {",
    replace: "  if (prevLogIndex >= log.base.index && ownTerm === undefined) {",
    suspects: [core, "sim"],
  },
  {
    name: "a late, shorter request truncates",
    file: "machines/replication.ts",
    find: "  while (index <= last && log.termAt(index) === run.term) index++;",
    replace: "  while (index <= last && index < 0) index++;",
    suspects: [core, "sim"],
  },
  {
    name: "matchIndex moves backwards",
    file: "machines/progress.ts",
    find: "    if (isNews) this.matchIndex = matchIndex;",
    replace: "    this.matchIndex = matchIndex;",
    suspects: [core, "sim"],
  },
  {
    name: "nextIndex falls below matchIndex",
    file: "machines/progress.ts",
    find: "    const next = Math.max(this.matchIndex + 1, nextIndex);",
    replace: "    const next = Math.max(1, nextIndex);",
    suspects: [core, "sim"],
  },
  {
    name: "one entry back per refusal",
    file: "machines/replication.ts",
    find: "  progress.refused(Math.min(nextIndex, prevLogIndex));",
    replace: "  progress.refused(Math.min(nextIndex * 0 + prevLogIndex, prevLogIndex));",
    suspects: [core],
  },
  {
    name: "inflight window unbounded",
    file: "machines/progress.ts",
    find: "this.#inflight.length < this.#bounds.inflightMessagesMax &&",
    replace: "this.#inflight.length < Infinity &&",
    suspects: [core],
  },
  {
    name: "uncommitted bytes unbounded",
    file: "machines/replication.ts",
    find: "  const room = state.bounds.uncommittedBytesMax -",
    replace: "  const room = state.bounds.uncommittedBytesMax - 0 *",
    suspects: [core],
  },

  // Reads
  {
    name: "read index before a commit of the own term",
    file: "machines/reads.ts",
    find: "  if (state.log.termAt(commitIndex) !== context.currentTerm) return;",
    replace: "",
    suspects: [core, "sim"],
  },
  {
    name: "round id reused",
    file: "machines/reads.ts",
    find: "reads.begin(++state.lastRound, commitIndex);",
    replace: "reads.begin(state.lastRound || ++state.lastRound, commitIndex);",
    suspects: [core, "sim"],
  },
  {
    name: "read ids are used again after a restart",
    file: "machines/group_state.ts",
    find:
      "    this.forwarded = new ForwardedReads(Math.floor(this.#random() * FIRST_READ_ID_MAX));",
    replace: "    this.forwarded = new ForwardedReads(this.#random() * 0);",
    suspects: [core, "sim"],
  },
  {
    name: "a read joins the running round",
    file: "machines/reads.ts",
    find: "  } else appendAll(reads.waiting, event.readIds);",
    replace:
      "  } else if (reads.running !== undefined) (reads.running.readIds as number[]).push(...event.readIds);\n  else reads.waiting.push(...event.readIds);",
    suspects: [core, "sim"],
  },
  {
    name: "a read shares a barrier that was asked for before it came",
    file: "actors/node_client.ts",
    find: "waiting !== undefined && waiting.turn === turn &&",
    replace: "waiting !== undefined && waiting.turn >= turn - 1 &&",
    suspects: [actors],
  },
  {
    name: "reads without a round",
    file: "machines/reads.ts",
    find: "  if (!isQuorum([state.id, ...running.acknowledged], context.voters)) return;",
    replace: "",
    suspects: [core, "sim"],
  },
  {
    name: "a refused read is served",
    file: "machines/reads.ts",
    find: "  if (reply.readIndex === 0) appendAll(state.outbox.readsRefused, readIds);",
    replace: "  if (reply.readIndex < 0) state.outbox.readsRefused.push(...readIds);",
    suspects: [core, "sim"],
  },
  {
    name: "a read does not wait for lastApplied",
    file: "actors/machine_actor.ts",
    find: "const ready = this.#reads.filter(({ index }) => index <= lastApplied);",
    replace: "const ready = this.#reads.filter(({ index }) => index <= lastApplied + 1e9);",
    suspects: [actors, "sim"],
  },

  // Transfer
  {
    name: "proposals are taken during a transfer",
    file: "machines/raft_machine.ts",
    find: '      entry: "catchUpTarget",\n      on: {',
    replace:
      '      entry: "catchUpTarget",\n      on: {\n        Propose: { actions: "appendCommands" },',
    suspects: [core],
  },
  {
    name: "TimeoutNow before the target has caught up",
    file: "machines/transfer.ts",
    find: "  if (state.lead.progress.get(target)?.matchIndex === state.log.lastIndex) {",
    replace: "  if (state.lead.progress.get(target)?.matchIndex !== undefined) {",
    suspects: [core, "sim"],
  },
  {
    name: "a transfer never ends",
    file: "machines/transfer.ts",
    find: "  state.lead.transferDeadlineMs = state.nowMs + state.timing.electionTimeoutMsMax;",
    replace: "  state.lead.transferDeadlineMs = state.nowMs + 1e9;",
    suspects: [core, "sim"],
  },

  // Applying and sessions
  {
    name: "apply twice",
    file: "storage/kv/kv_store.ts",
    find: "    if (known !== undefined) return known;",
    replace: '    if (known !== undefined && known.status !== "ok") return known;',
    suspects: [storage, "sim"],
  },
  {
    name: "the fingerprint of an idempotency key is ignored",
    file: "storage/kv/sessions.ts",
    find: 'if (record.fingerprint !== fingerprint) return { status: "idempotency-mismatch" };',
    replace: "",
    suspects: [storage],
  },
  {
    name: "an expired session is made anew",
    file: "storage/kv/sessions.ts",
    find: '    if (sequence !== 1) return { status: "session-expired" };',
    replace: "",
    suspects: [storage, "sim"],
  },
  {
    name: "an overwritten proposal is answered",
    file: "actors/machine_actor.ts",
    find: "answer.reply(expected === term ?",
    replace: "answer.reply(expected <= term ?",
    suspects: [actors, "sim"],
  },
  {
    name: "log time goes back",
    file: "storage/kv/kv_store.ts",
    find: "    this.#logTimeMs = Math.max(this.#logTimeMs, timeMs);",
    replace: "    this.#logTimeMs = timeMs;",
    suspects: [storage],
  },
  {
    name: "append overwrites (S05)",
    file: "storage/kv/kv_store.ts",
    find: "    joined.set(value, old.value.length);",
    replace: "    joined.set(value);",
    suspects: [storage, "sim"],
  },
  {
    name: "UTF-16 key order",
    file: "storage/byte_string.ts",
    find: "  return latin1Slice.call(bytes, start, end);",
    replace: "  return new TextDecoder().decode(bytes.subarray(start, end));",
    suspects: [storage],
  },
  {
    name: "keys are ordered by locale",
    file: "storage/kv/skip_list.ts",
    find: "    if (keys[middle]! < key) low = middle + 1;",
    replace: "    if (keys[middle]!.localeCompare(key) < 0) low = middle + 1;",
    suspects: [storage],
  },

  // Runtime and transport
  {
    name: "bounded queue unbounded",
    file: "actors/runtime/mailbox.ts",
    find: "    return this.length >= this.capacity;",
    replace: "    return this.length >= Infinity;",
    suspects: [actors],
  },
  {
    name: "other cluster's hello accepted",
    file: "actors/greeter.ts",
    find: '    if (hello.clusterId !== clusterId) return "wrong-cluster";',
    replace: "",
    suspects: [actors],
  },
  {
    name: "a hello for another node accepted",
    file: "actors/greeter.ts",
    find: '    if (hello.to !== self) return "wrong-target";',
    replace: "",
    suspects: [actors],
  },
  {
    name: "frame length unchecked",
    file: "transport/wire/frame_reader.ts",
    find: "    if (length > this.#bytesMax) {",
    replace: "    if (length > Infinity) {",
    suspects: [transport],
  },
  {
    name: "a late timer is believed at once",
    file: "actors/raft_actor.ts",
    find: "    if (lateMs > timing.heartbeatMs / 2 && !gaveGrace) {",
    replace: "    if (lateMs > Infinity && !gaveGrace) {",
    suspects: [actors],
  },
  {
    name: "term bombs are believed",
    file: "machines/raft_core.ts",
    find: "    if (term > TERM_MAX || term > currentTerm + TERM_JUMP_MAX) {",
    replace: "    if (term > Infinity) {",
    suspects: [core],
  },
  {
    name: "a vote for itself counts before it is durable",
    file: "machines/raft_machine.ts",
    find:
      "    voteForSelf: assign(({ context }) => ({\n      currentTerm: context.currentTerm + 1,\n      votedFor: context.id,\n      leaderId: undefined,\n      votesGranted: [],",
    replace:
      "    voteForSelf: assign(({ context }) => ({\n      currentTerm: context.currentTerm + 1,\n      votedFor: context.id,\n      leaderId: undefined,\n      votesGranted: [context.id],",
    suspects: [core, "sim"],
  },
  {
    name: "the durable vote of an earlier election counts",
    file: "machines/raft_machine.ts",
    find: 'event.type === "VoteDurable" && event.term === context.currentTerm,',
    replace: 'event.type === "VoteDurable" && event.term <= context.currentTerm,',
    suspects: [core, "sim"],
  },
  {
    name: "progress of an earlier leadership is kept",
    file: "machines/replication.ts",
    find: "  state.leadership = new Leadership({",
    replace:
      "  state.leadership = (state as GroupState & { kept?: Leadership }).kept ??= new Leadership({",
    suspects: [core, "sim"],
  },
  {
    name: "an actor without a contract takes what peers send",
    file: "actors/runtime/remote.ts",
    find: "      return cell.remote?.(payload);",
    replace: "      return cell.remote === undefined ? payload : cell.remote(payload);",
    suspects: [actors],
  },
  {
    name: "a full mailbox loses a signal",
    file: "actors/runtime/cell.ts",
    find: "    this.mailbox.push(new SignalDelivery(signal));",
    replace: "    if (!this.mailbox.full) this.mailbox.push(new SignalDelivery(signal));",
    suspects: [actors],
  },
  {
    name: "a disk that stalled once stays stalled unless it is fast",
    file: "actors/wal_actor.ts",
    find: "this.#bearableSyncs >= DISK_RECOVERY_SYNCS",
    replace: "this.#fastSyncs >= DISK_RECOVERY_SYNCS",
    suspects: [actors, "sim"],
  },
  {
    name: "an election does not wait for slow disks",
    file: "machines/group_state.ts",
    find: "    return Math.min(VOTE_SLACK_MS_MAX, disksMs + votersMs);",
    replace: "    return Math.min(0, disksMs + votersMs);",
    suspects: [core, "tests/sim"],
  },
  {
    name: "a burst of requests ignores the bound on uncommitted bytes",
    file: "machines/replication.ts",
    find: "packRequests(event.requests, room);",
    replace: "packRequests(event.requests);",
    suspects: [core],
  },
  {
    name: "a burst of requests is proposed in one turn",
    file: "actors/raft_actor.ts",
    find: "leads ? this.#takeHeld(PROPOSE_BYTES_MAX) :",
    replace: "leads ? this.#takeHeld(1e12) :",
    suspects: [actors],
  },
  {
    name: "time waits for an entry that was lost with a leadership",
    file: "actors/raft_actor.ts",
    find: "      this.#timePassesAt = 0;\n",
    replace: "",
    suspects: [actors],
  },
  {
    name: "a full table of idempotency keys forgets live ones",
    file: "storage/kv/sessions.ts",
    find: "if (!this.#forgetOldestKey(IDEMPOTENCY_RETENTION_MS_MIN)) return",
    replace: "if (!this.#forgetOldestKey(0)) return",
    suspects: [storage],
  },
  {
    name: "idempotency keys are kept for a second",
    file: "storage/kv/limits.ts",
    find: "export const IDEMPOTENCY_RETENTION_MS = 10 * 60 * 1000;",
    replace: "export const IDEMPOTENCY_RETENTION_MS = 1000;",
    suspects: [storage, "tests/limits_test.ts"],
  },
  {
    name: "a frozen block is changed in place",
    file: "storage/kv/skip_list.ts",
    find: "    if (child.epoch > this.#frozenEpoch) return child;",
    replace: "    if (child.epoch > this.#frozenEpoch - 2) return child;",
    suspects: [storage],
  },
  {
    name: "flags that name other members are taken",
    file: "storage/log/data_directory.ts",
    find: "    sameMembers(stored.members, wanted.members);",
    replace: "    (true || sameMembers(stored.members, wanted.members));",
    suspects: [storage],
  },
  {
    name: "a directory with promises is founded anew",
    file: "storage/log/data_directory.ts",
    find: "  return log.groups.size === 0 && !(logBegun",
    replace: "  return log.groups.size >= 0 && !(logBegun",
    suspects: [storage],
  },
  {
    name: "the log is not locked",
    file: "storage/log/wal.ts",
    find: "    if (lock === undefined) throw new WalLockedError(WAL_DIRECTORY);",
    replace: "    if (lock === undefined) void 0;",
    suspects: [storage],
  },
  {
    name: "a mark of another place is a torn tail",
    file: "storage/log/wal_replay.ts",
    find: "      throw new WalCorruptError(path, cursor.start, error.reason);",
    replace: "      return;",
    suspects: [storage],
  },
  {
    name: "the vote is not recovered when the assembled group starts",
    file: "actors/group.ts",
    find: "      votedFor: recovered?.hardState?.votedFor,",
    replace: "      votedFor: undefined,",
    suspects: ["sim", actors],
  },
  {
    name: "the disk's condition is not told to Raft",
    file: "actors/process.ts",
    find: 'host.raft.signal({ type: "Disk", condition });',
    replace: "void host;",
    suspects: [actors],
  },
  {
    name: "a log that was begun and is lost is begun anew",
    file: "storage/log/wal.ts",
    find: "if (options.wasBegun === true && lacksFirstHeader(found)) {",
    replace:
      "if (options.wasBegun === undefined && lacksFirstHeader(found) && found.starts.size > 0) {",
    suspects: [storage],
  },
  {
    name: "a full table of keys waits for room without an end",
    file: "storage/kv/kv_store.ts",
    find: "    return this.#once.nextRoomMs();",
    replace: "    return Infinity;",
    suspects: [storage, actors],
  },
  {
    name: "a directory that was moved while in use is not noticed",
    file: "storage/log/deno_disk.ts",
    find: "      if (locked.dev === found.dev && locked.ino === found.ino) continue;",
    replace: "      if (locked.dev === locked.dev || found.dev === 0) continue;",
    suspects: [storage],
  },
  {
    name: "a wrong address of the first start stays",
    file: "storage/log/data_directory.ts",
    find: "  if (!isOurs || stored.identity.clusterId !== options.clusterId) {",
    replace: "  if (!isOurs) {",
    suspects: [storage],
  },
  {
    name: "a link speaks the highest version of its own",
    file: "actors/peer_link.ts",
    find: "  const highest = Math.min(own.max, versionMax);",
    replace: "  const highest = own.max;",
    suspects: [actors],
  },
  {
    name: "a cluster version is raised though a member cannot be asked",
    file: "actors/group.ts",
    find: "knownBy(id) ?? 0));",
    replace: "knownBy(id) ?? Infinity));",
    suspects: [actors, "sim"],
  },
  {
    name: "a build takes part whatever the members have agreed on",
    file: "actors/group.ts",
    find: "    if (clusterVersion > this.#clusterVersionMax) {",
    replace: "    if (clusterVersion > this.#clusterVersionMax && clusterVersion < 1) {",
    suspects: [actors],
  },
  {
    name: "a log of a higher cluster version is taken",
    file: "actors/group.ts",
    find: "      if (version > this.#clusterVersionMax) {",
    replace: "      if (version > this.#clusterVersionMax && version < 1) {",
    suspects: [actors],
  },
  {
    name: "a step that fails keeps the rest of a stop from being done",
    file: "actors/process.ts",
    find: "      failure ??= error as Error;",
    replace: "      throw error;",
    suspects: [actors],
  },
  {
    name: "fields that a later version appends are an error",
    file: "transport/wire/codec.ts",
    find: "  if (length < LENGTHS[type]) throw",
    replace: "  if (length !== LENGTHS[type]) throw",
    suspects: ["tests/transport", actors],
  },
  {
    name: "a lost link is not told to the runtime",
    file: "actors/peers.ts",
    find: '        if (link === "lost") system.linkLost(peer);',
    replace: "",
    suspects: [actors],
  },
  // HTTP gateway
  {
    name: "the Host header chooses the path",
    file: "transport/http/target.ts",
    find: "  if (!validHost.test(host)) refuse(",
    replace: "  if (host === undefined) refuse(",
    suspects: [transport],
  },
  {
    name: "a listener that ran out of descriptors stays down",
    file: "transport/http/server.ts",
    find: "    server.finished.catch((error) => this.shed(`${error.message}`));",
    replace: "    server.finished.catch(() => {});",
    suspects: ["tests/process"],
  },
  {
    name: "large answers are not bounded together",
    file: "transport/http/stream.ts",
    find: "    if (this.#bytes + bytes > RESPONSE_BYTES_MAX) {",
    replace: "    if (bytes > RESPONSE_BYTES_MAX) {",
    suspects: [transport],
  },
  {
    name: "an answer that nobody reads keeps its bytes",
    file: "transport/http/stream.ts",
    find: "        end();\n        controller.error(",
    replace: "        controller.error(",
    suspects: [transport],
  },
  {
    name: "the log fails when clients hold all descriptors",
    file: "storage/log/deno_disk.ts",
    find: "      this.#makeRoom();\n",
    replace: "",
    suspects: [storage],
  },
  // Command line
  {
    name: "the first endpoint may take the whole time",
    file: "cli/http_client.ts",
    find: "Math.max(ATTEMPT_MS_MIN, leftMs / attempts)",
    replace: "leftMs",
    suspects: ["tests/cli"],
  },
  {
    name: "status believes a leader of an old term",
    file: "cli/survey.ts",
    find: "other.term - one.term || rank(other)",
    replace: "rank(other)",
    suspects: ["tests/cli"],
  },
  {
    name: "dev believes a stranger",
    file: "cli/dev.ts",
    find: "members.filter(({ serves }) => serves)",
    replace: "members",
    suspects: ["tests/process"],
  },
  {
    name: "a node outlives the program that started it",
    file: "cli/node.ts",
    find: "      stopWithStdin(stop);\n",
    replace: "",
    suspects: ["tests/process"],
  },
];
