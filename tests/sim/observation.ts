/**
 * What the invariants see of a simulated cluster: facts, told as they happen.
 *
 * @module
 */
import type { Role } from "../../machines/raft_machine.ts";
import type { GroupId, LogIndex, NodeId, Term } from "../../machines/raft_types.ts";

interface OfNode {
  readonly node: NodeId;
  readonly group: GroupId;
}

/** A node's control state after an event. */
export interface StateObserved extends OfNode {
  readonly type: "state";
  /** Which start of the node this is. */
  readonly life: number;
  readonly role: Role;
  readonly term: Term;
  readonly votedFor: NodeId | undefined;
  readonly commitIndex: LogIndex;
}

/** A node entered the leader role. */
export interface LeaderObserved extends OfNode {
  readonly type: "leader";
  readonly term: Term;
  readonly lastIndex: LogIndex;
  readonly termAt: (index: LogIndex) => Term | undefined;
}

/** An entry is in a node's log that was not there before. */
export interface AppendObserved extends OfNode {
  readonly type: "append";
  readonly index: LogIndex;
  readonly term: Term;
  /** Term of the entry before it, 0 at the log's beginning. */
  readonly prevTerm: Term;
  /** CRC of the entry's record. */
  readonly checksum: number;
}

/** A node learnt that an entry is committed. */
export interface CommitObserved extends OfNode {
  readonly type: "commit";
  readonly index: LogIndex;
  readonly term: Term;
  readonly checksum: number;
  /** Voters on whose disks the entry was durable at that moment, by their own account. */
  readonly durableOn: readonly NodeId[];
  /**
   * If the node leads, each configuration that was in force during the event, as the voters in each half
   * of it; else none.
   */
  readonly configs: readonly (readonly (readonly NodeId[])[])[];
}

/** A node applied an entry. */
export interface ApplyObserved extends OfNode {
  readonly type: "apply";
  readonly index: LogIndex;
  readonly checksum: number;
  /** The sessions and sequences of its requests that took effect, rather than being repeats or refused. */
  readonly effects: readonly string[];
}

/** A node's store between two events, all entries through `index` applied. */
export interface StoreObserved extends OfNode {
  readonly type: "store";
  readonly index: LogIndex;
  readonly stateHash: string;
}

/** A node's log begins behind an entry that it knew no more of than what a snapshot says. */
export interface SnapshotObserved extends OfNode {
  readonly type: "snapshot";
  readonly index: LogIndex;
  readonly term: Term;
  /** Term of the entry that is committed at that index; undefined if none is known to be. */
  readonly committedTerm: Term | undefined;
}

/** A granted vote left a node. */
export interface VoteObserved extends OfNode {
  readonly type: "vote";
  readonly term: Term;
  readonly candidate: NodeId;
  /** How often the cluster has taken a lost disk of this node out, and the node in again. */
  readonly generation: number;
}

/** A follower's answer to its leader leaves it: it claims to hold the leader's log up to an index. */
export interface AcceptanceObserved extends OfNode {
  readonly type: "acceptance";
  readonly leader: NodeId;
  readonly matchIndex: LogIndex;
  /** What the follower has on its disk. */
  readonly durableIndex: LogIndex;
  /** Terms of the entry at matchIndex, here and at the leader; undefined where there is none. */
  readonly ownTerm: Term | undefined;
  readonly leaderTerm: Term | undefined;
}

/** A node was asked for a linearizable read, and says that it may be served. */
export interface ReadObserved extends OfNode {
  readonly type: "read";
  /** Highest index that any node knew to be committed when the read was asked for. */
  readonly committed: LogIndex;
  readonly applied: LogIndex;
}

/** A node started from its disk. */
export interface RecoveryObserved extends OfNode {
  readonly type: "recovery";
  readonly term: Term;
  readonly lastIndex: LogIndex;
  readonly termAt: (index: LogIndex) => Term | undefined;
  /** What the node had said to be durable before: the last entry, and the term it had entered. */
  readonly promised: { readonly index: LogIndex; readonly entryTerm: Term; readonly term: Term };
}

/** A client was told that its write took effect. */
export interface AckObserved {
  readonly type: "ack";
  readonly group: GroupId;
  readonly once: string;
}

/** A node's store applied a command that changed something. */
export interface ChangesObserved {
  readonly type: "changes";
  readonly group: GroupId;
  readonly revision: number;
  /** The keys, and whether they were set or deleted, in order. */
  readonly keys: string;
}

/** A watcher is told of all changes from this revision on. */
export interface WatchBeginsObserved {
  readonly type: "watchBegins";
  readonly watcher: string;
  readonly from: number;
}

/** A watcher was told of all that a revision has changed. */
export interface WatchedObserved {
  readonly type: "watched";
  readonly watcher: string;
  readonly group: GroupId;
  readonly revision: number;
  readonly keys: string;
}

/** The run is over: faults were healed and the cluster had its time to converge. */
export interface EndObserved {
  readonly type: "end";
  readonly group: GroupId;
  /** State of the nodes of the healed quorum, in the end. */
  readonly nodes: readonly {
    readonly node: NodeId;
    readonly applied: LogIndex;
    readonly stateHash: string;
  }[];
  readonly leaders: readonly NodeId[];
  /** Requests that clients sent after the heal and that were not answered. */
  readonly unanswered: number;
}

/** Anything that invariants look at. */
export type Observation =
  | StateObserved
  | LeaderObserved
  | AppendObserved
  | CommitObserved
  | ApplyObserved
  | StoreObserved
  | SnapshotObserved
  | VoteObserved
  | AcceptanceObserved
  | ReadObserved
  | RecoveryObserved
  | AckObserved
  | ChangesObserved
  | WatchBeginsObserved
  | WatchedObserved
  | EndObserved;

/** One thing that must always hold. */
export interface Invariant {
  /** Such as "INV1 election safety". */
  readonly name: string;
  /** Takes the next fact; a text if it breaks the invariant. */
  observe(observation: Observation): string | undefined;
}
