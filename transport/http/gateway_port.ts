/**
 * What the HTTP gateway needs from the node behind it: plain values in, plain values out.
 *
 * Keys are byte strings: one UTF-16 unit per byte, so that `<` is bytewise order.
 *
 * @module
 */
import type { Command } from "../../storage/kv/command.ts";
import type { CommandResult } from "../../storage/kv/command_result.ts";
import type { KvChange } from "../../storage/kv/key_space.ts";
import type { KvBounds, KvItem, KvRange } from "../../storage/kv/entry.ts";
import type { ChartDescription } from "../../machines/chart.ts";
import type { Explanation } from "../../machines/explain.ts";
import type { ChangeReport } from "../../machines/membership_change.ts";
import type { Role } from "../../machines/raft_machine.ts";
import type { Transition } from "../../machines/raft_step.ts";
import type { GroupId, LogIndex, NodeId, Term } from "../../machines/raft_types.ts";

/** How fresh a read must be: as of now, or (`stale`) as this node has it. ARCHITECTURE.md says how. */
export type Consistency = "linearizable" | "lease" | "follower" | "stale";

/** What a read asks for besides its keys. */
export interface ReadOptions {
  readonly consistency: Consistency;
  /** The store must have reached this revision. */
  readonly minRevision?: number | undefined;
  /** How long the read may wait for that. */
  readonly timeoutMs: number;
}

/** What a listing asks for besides its keys. */
export interface ListOptions extends ReadOptions {
  /** Stop before the values listed exceed this, but list at least one. */
  readonly bytesMax: number;
}

/** Where a read was served. */
export interface ReadContext {
  readonly servedBy: NodeId;
  readonly leaderId: NodeId | undefined;
  readonly term: Term;
  /** Store revision that the read saw. */
  readonly revision: number;
}

/** One member in the cluster's status. */
export interface MemberStatus {
  /** The member's id. */
  readonly id: NodeId;
  /** Whether it counts in quorums. */
  readonly voter: boolean;
  /** It is a learner for good, and not promoted when it has caught up; absent otherwise. */
  readonly staysLearner?: true;
  /** The voter whose place it takes when it has caught up; absent if there is none. */
  readonly replaces?: NodeId;
  /** Where its peers reach it, `HOST:PORT`. */
  readonly raftAddress: string;
  /** Where clients reach it, an URL; empty if unknown. */
  readonly httpAddress: string;
  /** Whether it is the node that answers. */
  readonly self: boolean;
  /** The link from this node: itself, connected, or not. */
  readonly link: "self" | "connected" | "down";
  /** Leader's view of the member's log; absent elsewhere. */
  readonly matchIndex?: LogIndex;
  /** Milliseconds since the leader heard of it; absent elsewhere, and before it has. */
  readonly lastHeardMs?: number;
  /** The highest cluster version that its build knows; absent without a link. */
  readonly clusterVersionMax?: number;
  /** Why there is no link: one of the two has refused the other; absent if neither did. */
  readonly refusal?: string;
}

/** `GET /v1/cluster`. */
export interface ClusterStatus {
  /** The cluster, `^[a-z0-9-]{1,64}$`. */
  readonly clusterId: string;
  /** The version that all members have agreed on: no build that does not know it may take part. */
  readonly clusterVersion: number;
  /** The node that answers. */
  readonly nodeId: NodeId;
  /** The Raft group. */
  readonly group: GroupId;
  /** The role it plays. */
  readonly role: Role;
  /** The term. */
  readonly term: Term;
  /** The leader of the term, if known. */
  readonly leader: NodeId | undefined;
  /** Highest index known to be committed. */
  readonly commitIndex: LogIndex;
  /** Highest index applied to the store. */
  readonly appliedIndex: LogIndex;
  /** Index of the last entry of the log. */
  readonly lastLogIndex: LogIndex;
  /** Changes of the store so far. */
  readonly revision: number;
  /** Equal on members that applied the same log to the same index. */
  readonly stateHash: string;
  /** All members, this one too. */
  readonly members: readonly MemberStatus[];
  /** The entry that holds the configuration in force; 0 is that of the founding. */
  readonly configIndex: LogIndex;
  /** The voters before a change that is under way; absent in a stable configuration. */
  readonly outgoing?: readonly NodeId[];
}

/** The state at one moment, as the bytes of a file. */
export interface Backup {
  /** The cluster whose state it is. */
  readonly clusterId: string;
  /** Store revision at that moment. */
  readonly revision: number;
  /** The pieces of the file, each made when it is asked for. Whoever gives up must call `return`. */
  readonly pieces: Iterator<Uint8Array, undefined>;
}

/** A lease, as of a read. */
export interface LeaseView {
  readonly id: number;
  readonly ttlMs: number;
  /** Log time that it has left, as far as the node can tell. */
  readonly remainingMs: number;
}

/** What a watcher is told. */
export type WatchNews =
  /** Changes, in order; those of one revision are never in two of these. */
  | { readonly type: "changes"; readonly changes: readonly KvChange[] }
  /** The changes from the revision that it is at are not kept any more; the watch is over. */
  | { readonly type: "compacted"; readonly firstRevision: number }
  /** The same, of one that had begun in time, and did not keep up: it was told of all before `from`. */
  | { readonly type: "lagged"; readonly from: number; readonly firstRevision: number }
  /** It can go on from here, at another node perhaps; the watch is over. */
  | { readonly type: "ended"; readonly from: number };

/** A watch on keys. Whoever gives up must call `end`. */
export interface WatchSource {
  /** Revision from which it goes on: it has told of all changes before. */
  readonly from: number;
  /** What is new; undefined if nothing is, and then `onNews` is called once when something is. */
  take(onNews: () => void): WatchNews | undefined;
  /** Nobody reads it any more. Idempotent. */
  end(): void;
}

/** What the chart of a node has done. */
export interface ChartTransitionTold extends Transition {
  /** No other has it, in this life of the node or another. */
  readonly id: string;
  /** Milliseconds from then to when it is told. */
  readonly agoMs: number;
}

/** A view of what the chart does. Whoever gives up must call `end`. */
export interface TransitionSource {
  /**
   * What it did since the last call; if that is nothing, `onNews` is called once when it does something, or
   * it says that nothing comes any more.
   */
  take(onNews: () => void): readonly ChartTransitionTold[] | "ended";
  /** Nobody looks any more. Idempotent. */
  end(): void;
}

/** A snapshot that a node has of its state; its log can be cut behind it. */
export interface TakenSnapshot {
  /** The node that has it. */
  readonly nodeId: NodeId;
  /** The last entry that it covers: no earlier than what was applied when it was asked for. */
  readonly index: LogIndex;
  /** That entry's term. */
  readonly term: Term;
  /** Bytes of the file. */
  readonly bytes: number;
  /** The state's hash, equal on members that applied the same log to the same index. */
  readonly stateHash: string;
  /** Whether it was taken for this request; false if nothing was applied since the last. */
  readonly isNew: boolean;
}

/** What is to happen to a change of the members. */
export interface ChangeOptions {
  /** Make it also if too few of the voters that it needs answer now. */
  readonly force: boolean;
  /** Only say what it would do. */
  readonly dryRun: boolean;
  readonly timeoutMs: number;
}

/** What a change of the members does, or would do. */
export interface MembersChanged extends ChangeReport {
  /** Whether it was made. */
  readonly applied: boolean;
  /** Dry run: why it would be refused without force; absent if it would not. */
  readonly objection?: string;
}

/** One condition of `/readyz`. */
export interface HealthCheck {
  readonly name: string;
  readonly ok: boolean;
  readonly message: string;
}

/** The node behind the gateway. Methods reject with GatewayError. */
export interface GatewayPort {
  readonly nodeId: NodeId;
  /** It rejects with a CommandError if the command cannot be encoded. */
  write(command: Command, timeoutMs: number): Promise<CommandResult>;
  get(
    key: string,
    options: ReadOptions,
  ): Promise<{ readonly entry: KvItem | undefined; readonly context: ReadContext }>;
  list(range: KvRange, options: ListOptions): Promise<{
    readonly items: readonly KvItem[];
    /** Whether the range holds more. */
    readonly more: boolean;
    readonly context: ReadContext;
  }>;
  /**
   * The entries of a range at one moment, made as they are asked for while the store goes on. Whoever gives
   * up must call `return`.
   */
  scan(range: KvRange, options: ReadOptions): Promise<{
    readonly items: Iterator<KvItem, undefined>;
    readonly context: ReadContext;
  }>;
  count(
    bounds: KvBounds,
    options: ReadOptions,
  ): Promise<{ readonly count: number; readonly context: ReadContext }>;
  /**
   * Watches the keys within bounds: from a revision on, or what is new from now on.
   *
   * @throws {GatewayError} `overloaded` if there are too many watches.
   */
  watch(bounds: KvBounds, from: number | undefined): WatchSource;
  /** A lease and its keys; undefined if there is none, or it has ended. */
  lease(id: number, options: ReadOptions): Promise<{
    readonly lease: LeaseView & { readonly keys: readonly string[] } | undefined;
    readonly context: ReadContext;
  }>;
  /** The leases whose ids are higher than `after`, in the order of their ids. */
  leases(after: number, options: ReadOptions & { readonly limit: number }): Promise<{
    readonly leases: readonly LeaseView[];
    /** Whether there are more. */
    readonly more: boolean;
    readonly context: ReadContext;
  }>;
  /** A backup of the state as of now, as a linearizable read would see it. */
  backup(timeoutMs: number): Promise<Backup>;
  /** Takes a snapshot of this node's state; resolves when it is durable. */
  snapshot(timeoutMs: number): Promise<TakenSnapshot>;
  transfer(
    to: NodeId,
    timeoutMs: number,
  ): Promise<{ readonly leader: NodeId; readonly term: Term }>;
  /**
   * Changes the members in one step, from plain values (machines/membership_change.ts); resolves once
   * the new configuration is committed.
   *
   * @throws {GatewayError} `invalid-request` if it is no change; `conflict` if the change makes no sense for the members as they are, or too
   * few voters answer; `outcome-unknown` if the leader was lost meanwhile.
   */
  changeMembers(change: unknown, options: ChangeOptions): Promise<MembersChanged>;
  status(): ClusterStatus;
  chart(): { readonly chart: ChartDescription; readonly active: readonly string[] };
  /**
   * What the chart has done, as far as that is kept, after the transition with that id, and does from now on.
   *
   * @throws {GatewayError} `overloaded` if too many look at it.
   */
  transitions(after: string | undefined): TransitionSource;
  explain(): Explanation;
  /** Whether the process works; if not, it should be restarted. */
  liveness(): readonly HealthCheck[];
  /** Whether requests should be sent here. */
  readiness(): readonly HealthCheck[];
  /** Prometheus text. */
  metrics(): string;
  /** Where a node answers HTTP; undefined if unknown. */
  httpAddressOf(node: NodeId): string | undefined;
  /** The leader as this node knows it. */
  leader(): NodeId | undefined;
  /**
   * Calls `expire` after `delayMs`, perhaps a little late, unless the returned function was called
   * before.
   */
  expireAfter(delayMs: number, expire: () => void): () => void;
}

/** What the routes of single keys and transactions need. */
export type ItemPort = Pick<GatewayPort, "write" | "get" | "expireAfter">;
