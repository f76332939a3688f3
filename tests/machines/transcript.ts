/**
 * Lines of a play: the time, then what kind of line it is, which node acts, and what happens. The
 * simulator's plays (tests/sim/play.ts) have the same lines.
 *
 *      600  info  node 1  role from=follower to=preCandidate cause=ElectionTimeout term=1 leader=none
 *      600  send  node 1  -> 2  PreVote t2 last 1@t1
 *      600  disk  node 1  durable t2 vote 1 [2-2@t2]
 *
 * @module
 */
import type { Write } from "../../machines/pending_writes.ts";
import { lastIndexOf } from "../../machines/raft_log.ts";
import { describeRoleChange, type RoleChange } from "../../machines/raft_step.ts";
import type { EntryRun, NodeId, RaftMessage } from "../../machines/raft_types.ts";

/** What a line is about. */
export type LineKind = "info" | "send" | "recv" | "disk" | "client" | "show";

/** One line about a node. */
export function transcriptLine(
  line: {
    readonly nowMs: number;
    readonly kind: LineKind;
    readonly node: NodeId;
    readonly text: string;
  },
): string {
  const { nowMs, kind, node, text } = line;
  return `${String(Math.round(nowMs)).padStart(8)}  ${kind}  node ${node}  ${text}`;
}

/** A message in a few words. */
export function describeMessage(message: RaftMessage): string {
  const { type, term } = message;
  const head = `${type} t${term}`;
  switch (type) {
    case "AppendEntries":
      return `${head} after ${message.prevLogIndex}@t${message.prevLogTerm} ` +
        `[${describeRuns(message.runs)}] commit ${message.leaderCommit}${describeRound(message)}`;
    case "AppendEntriesReply":
      return message.accepted
        ? `${head} match ${message.matchIndex}${describeRound(message)}`
        : `${head} refused at ${message.prevLogIndex}, conflict ${message.conflictIndex}@t${message.conflictTerm}`;
    case "RequestVote":
      return `${head} last ${message.lastLogIndex}@t${message.lastLogTerm}` +
        (message.transfer ? ", asked by the leader" : "");
    case "PreVote":
      return `${head} last ${message.lastLogIndex}@t${message.lastLogTerm}`;
    case "RequestVoteReply":
    case "PreVoteReply":
      return `${head} ${message.granted ? "granted" : "refused"}`;
    case "ReadIndexReply":
      return `${head} ${message.readIndex === 0 ? "refused" : `index ${message.readIndex}`}`;
    default:
      return head;
  }
}

/** Heartbeats, and answers that accept, would drown a play. */
export function isQuiet(message: RaftMessage): boolean {
  return (message.type === "AppendEntries" && message.runs.length === 0) ||
    (message.type === "AppendEntriesReply" && message.accepted);
}

/** A change of role or leader, as a node logs it. */
export function describeChange(change: RoleChange): string {
  const { event, fields } = describeRoleChange(change);
  return [event, ...Object.entries(fields).map(([name, value]) => `${name}=${value}`)].join(" ");
}

/**
 * What a write puts on the disk: the term and vote if they changed, and the entries if there are
 * any.
 */
export function describeWrite({ hardState, runs }: Write): string {
  const parts: string[] = [];
  if (hardState !== undefined) {
    parts.push(`t${hardState.currentTerm} vote ${hardState.votedFor ?? "none"}`);
  }
  if (runs.length > 0) parts.push(`[${describeRuns(runs)}]`);
  return parts.join(" ");
}

/** The read round that a heartbeat or its answer is good for; nothing before the first read. */
function describeRound({ round }: { readonly round: number }): string {
  return round === 0 ? "" : ` round ${round}`;
}

function describeRuns(runs: readonly EntryRun[]): string {
  return runs.map((run) => `${run.firstIndex}-${lastIndexOf(run)}@t${run.term}`).join(" ");
}
