/**
 * Fig. 2 of the Raft paper as types: ids, log entries, messages, and the outbox of one turn.
 *
 * A message's `type` is the name of the chart's event and the name on the wire: one spelling from
 * the paper to the packet.
 *
 * @module
 */

/** A member process, 1 to {@linkcode NODE_ID_MAX}. */
export type NodeId = number;
/** One Raft group of a process, 0 to 2^32-1. */
export type GroupId = number;
/** A term, 0 (before any election) to {@linkcode TERM_MAX}. */
export type Term = number;
/** A position in the log; the first entry has index 1. */
export type LogIndex = number;

/** Highest node id. A log or a directory of a higher one, and a frame that names one, are refused. */
export const NODE_ID_MAX = 2 ** 31;
/** Highest term accepted from anybody; far above what elections reach, far below 2^53. */
export const TERM_MAX = 2 ** 48;
/** A message whose term is ahead of ours by more than this is dropped, and raises our term by this. */
export const TERM_JUMP_MAX = 2 ** 32;

/** What an entry is for: a term's first entry or time that passes, clients' requests, what the group agrees on (group_config.ts). */
export type EntryKind = "noop" | "command" | "config";

/**
 * Consecutive entries of one term, held as the bytes that are written to disk, sent to followers
 * and read back at start: encoded once, by the leader that proposed them.
 *
 * Invariant: `ends` is strictly ascending, not empty, and its last element is `bytes.length`.
 */
export interface EntryRun {
  /** The term. */
  readonly term: Term;
  /** Index of the first entry. */
  readonly firstIndex: LogIndex;
  /** Offset in `bytes` just after each entry's record. */
  readonly ends: readonly number[];
  /** The records, one after the other. */
  readonly bytes: Uint8Array;
}

/** How entries become record bytes and back; implemented by storage/log/wal_record.ts. */
export interface RecordFormat {
  /** Encodes `payloads` as consecutive entries; throws a RangeError if one is too large. */
  encodeRun(entries: {
    readonly group: GroupId;
    readonly term: Term;
    readonly firstIndex: LogIndex;
    readonly timeMs: number;
    readonly kind: EntryKind;
    readonly payloads: readonly Uint8Array[];
  }): EntryRun;
  /**
   * Splits contiguous records into runs of one term, checking length, CRC and consecutive indexes.
   * The runs are views of `bytes`.
   *
   * @throws {RecordError} If the bytes are not whole, valid entries of `group`.
   */
  decodeRuns(bytes: Uint8Array, group: GroupId): EntryRun[];
  /** The log time stamped on the run's last entry. */
  lastTimeMs(run: EntryRun): number;
  /** The run's entries of kind "config", in order; the payloads are views. */
  configsIn(run: EntryRun): { readonly index: LogIndex; readonly payload: Uint8Array }[];
}

/**
 * Who counts in quorums, and who only receives the log (thesis s4). All ascending.
 *
 * While the voters change, the configuration is joint (thesis s4.3): every decision needs a majority of
 * the voters and a majority of the outgoing ones.
 */
export interface Membership {
  /** Who counts in quorums; while they change, the voters to be. */
  readonly voters: readonly NodeId[];
  /** Joint: the voters before the change. Empty in a stable configuration. */
  readonly outgoing: readonly NodeId[];
  /** Who only receives the log. An outgoing voter that becomes a learner is in both lists. */
  readonly learners: readonly NodeId[];
}

/** What must survive a crash besides the log (Fig. 2, persistent state). */
export interface HardState {
  /** The latest term this node has seen. */
  readonly currentTerm: Term;
  /** The candidate this node voted for in `currentTerm`. */
  readonly votedFor: NodeId | undefined;
}

/** What every message carries. */
export interface Rpc {
  /** The group it belongs to. */
  readonly group: GroupId;
  /** The sender's currentTerm; for PreVote the term it would enter. */
  readonly term: Term;
  /** The sender; the transport refuses a frame whose `from` is not the connection's peer. */
  readonly from: NodeId;
}

/** Fig. 2: invoked by the leader to replicate entries; empty as heartbeat. */
export interface AppendEntries extends Rpc {
  /** Names the kind of message. */
  readonly type: "AppendEntries";
  /** Index of the entry that precedes the new ones. */
  readonly prevLogIndex: LogIndex;
  /** Term of the entry at prevLogIndex. */
  readonly prevLogTerm: Term;
  /** The leader's commitIndex. */
  readonly leaderCommit: LogIndex;
  /** The latest ReadIndex round begun before this was sent (thesis s6.4); 0 for none. */
  readonly round: number;
  /** The new entries, consecutive; none in a heartbeat. */
  readonly runs: readonly EntryRun[];
}

/** The answer to {@linkcode AppendEntries}. */
export interface AppendEntriesReply extends Rpc {
  /** Names the kind of message. */
  readonly type: "AppendEntriesReply";
  /** Whether the log held prevLog. */
  readonly accepted: boolean;
  /** Accepted: highest index known to be durable and equal to the leader's log. Refused: 0. */
  readonly matchIndex: LogIndex;
  /** The request's prevLogIndex. */
  readonly prevLogIndex: LogIndex;
  /** Refused: term of the follower's entry at prevLogIndex, 0 if it has none (s5.3, fast backtracking). */
  readonly conflictTerm: Term;
  /** Refused: first index of conflictTerm, or lastLogIndex + 1 if the log is too short. */
  readonly conflictIndex: LogIndex;
  /** The request's round. */
  readonly round: number;
}

/** Fig. 2: invoked by candidates to gather votes. */
export interface RequestVote extends Rpc {
  /** Names the kind of message. */
  readonly type: "RequestVote";
  /** Index of the last entry of the log. */
  readonly lastLogIndex: LogIndex;
  /** Term of the last entry of the log. */
  readonly lastLogTerm: Term;
  /** The leader asked for this election (TimeoutNow), so it does not disturb it (thesis s4.2.3). */
  readonly transfer: boolean;
}

/** The answer to {@linkcode RequestVote}. */
export interface RequestVoteReply extends Rpc {
  /** Names the kind of message. */
  readonly type: "RequestVoteReply";
  /** Whether the vote is given. */
  readonly granted: boolean;
}

/**
 * Thesis s9.6: asks whether the sender could win an election in `term`, which it has not entered.
 */
export interface PreVote extends Rpc {
  /** Names the kind of message. */
  readonly type: "PreVote";
  /** Index of the last entry of the log. */
  readonly lastLogIndex: LogIndex;
  /** Term of the last entry of the log. */
  readonly lastLogTerm: Term;
}

/** The answer to {@linkcode PreVote}: `term` repeats the request's if granted, else is the voter's own. */
export interface PreVoteReply extends Rpc {
  /** Names the kind of message. */
  readonly type: "PreVoteReply";
  /** Whether the vote is given. */
  readonly granted: boolean;
}

/** Thesis s3.10: the leader tells a caught-up follower to start an election at once. */
export interface TimeoutNow extends Rpc {
  /** Names the kind of message. */
  readonly type: "TimeoutNow";
}

/** Thesis s6.4: a follower asks the leader for a read index. */
export interface ReadIndex extends Rpc {
  /** Names the kind of message. */
  readonly type: "ReadIndex";
  /** Unique per attempt, across restarts of the sender too; never reused. */
  readonly readId: number;
  /** The sender has lost its log (recovery.ts): what it acknowledged before counts no more. */
  readonly isLogLost: boolean;
}

/** The answer to {@linkcode ReadIndex}, sent once a quorum confirmed the leader. */
export interface ReadIndexReply extends Rpc {
  /** Names the kind of message. */
  readonly type: "ReadIndexReply";
  /** The request's readId. */
  readonly readId: number;
  /** The read may be served once lastApplied reaches this; 0 if the leader could not confirm it. */
  readonly readIndex: LogIndex;
}

/** A snapshot that is durable on this node: which state it holds, and which bytes it is. */
export interface SnapshotRef {
  /** The last entry that it covers (Fig. 13, lastIncludedIndex). */
  readonly index: LogIndex;
  /** That entry's term (lastIncludedTerm). */
  readonly term: Term;
  /** That entry's log time. */
  readonly timeMs: number;
  /** Bytes of its file. */
  readonly size: number;
  /** SHA-256 of its content, 64 hexadecimal digits: equal digests are equal files. */
  readonly digest: string;
}

/**
 * Fig. 13: invoked by the leader to send a part of a snapshot to a follower whose next entry its log
 * no longer holds. A part of no bytes asks how far the follower is.
 */
export interface InstallSnapshot extends Rpc {
  /** Names the kind of message. */
  readonly type: "InstallSnapshot";
  /** Which snapshot it is a part of. */
  readonly snapshot: SnapshotRef;
  /** Where in the file the part begins. */
  readonly offset: number;
  /** The part. */
  readonly bytes: Uint8Array;
}

/** The answer to {@linkcode InstallSnapshot}. */
export interface InstallSnapshotReply extends Rpc {
  /** Names the kind of message. */
  readonly type: "InstallSnapshotReply";
  /** The request's snapshot.index. */
  readonly lastIncludedIndex: LogIndex;
  /** The follower's log, with the snapshot, reaches lastIncludedIndex and is durable. */
  readonly installed: boolean;
  /** Not installed: bytes of the file that the follower has; from there on it wants more. */
  readonly offset: number;
}

/** Everything two nodes of a group say to each other. */
export type RaftMessage =
  | AppendEntries
  | AppendEntriesReply
  | RequestVote
  | RequestVoteReply
  | PreVote
  | PreVoteReply
  | TimeoutNow
  | ReadIndex
  | ReadIndexReply
  | InstallSnapshot
  | InstallSnapshotReply;

/** A message and the node it is for. */
export interface Envelope {
  /** The node that it is for. */
  readonly to: NodeId;
  /** What is sent. */
  readonly message: RaftMessage;
}
