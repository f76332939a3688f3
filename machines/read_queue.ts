/**
 * Linearizable reads on their way through a ReadIndex round (thesis s6.4).
 *
 * Safety: a read joins the round that begins after it arrived, never one already running, and a
 * round's number is never reused within the life of the process, so that no answer to an earlier
 * round can confirm a later one.
 *
 * @module
 */
import type { LogIndex, NodeId } from "./raft_types.ts";

/** Reads waiting in a group; further ones are refused. */
export const READS_PENDING_MAX = 65_536;

/** A follower's request for a read index. */
export interface ForwardedRead {
  readonly from: NodeId;
  readonly readId: number;
}

/** A round that was sent to the followers and awaits a majority. */
export interface ReadRound {
  readonly round: number;
  /** The commit index when the round began. */
  readonly readIndex: LogIndex;
  readonly readIds: readonly number[];
  readonly forwarded: readonly ForwardedRead[];
  readonly acknowledged: NodeId[];
}

/** A follower's batch of reads, waiting for the leader's answer. */
export interface ForwardedBatch {
  readonly readIds: readonly number[];
  readonly sentMs: number;
}

/** The reads of one group on this node. */
export class ReadQueue {
  /** Leader: reads that arrived since the running round began. */
  waiting: number[] = [];
  /** Leader: followers' requests that arrived since the running round began. */
  waitingForwarded: ForwardedRead[] = [];
  /** Leader: the running round. */
  running: ReadRound | undefined;
  /** Leader: the number of the last round begun; grows for the life of the process. */
  lastRound = 0;
  /** Follower: batches sent to the leader, by the id of that attempt. */
  readonly forwarded: Map<number, ForwardedBatch> = new Map();
  /**
   * Follower: the id of the last attempt; grows for the life of the process. It begins at random, so
   * that a leader's late answer to an earlier life of this process confirms nothing.
   */
  lastReadId = 0;

  /** Whether any read waits for a round to begin. */
  get hasWaiting(): boolean {
    return this.waiting.length > 0 || this.waitingForwarded.length > 0;
  }

  /** Begins the next round with everything that waits. */
  begin(readIndex: LogIndex): ReadRound {
    const running: ReadRound = {
      round: ++this.lastRound,
      readIndex,
      readIds: this.waiting,
      forwarded: this.waitingForwarded,
      acknowledged: [],
    };
    this.running = running;
    this.waiting = [];
    this.waitingForwarded = [];
    return running;
  }

  /** Takes back every read that this node still owes an answer; followers' requests are dropped. */
  takeAll(): number[] {
    const readIds = [...this.running?.readIds ?? [], ...this.waiting];
    for (const batch of this.forwarded.values()) readIds.push(...batch.readIds);
    this.running = undefined;
    this.waiting = [];
    this.waitingForwarded = [];
    this.forwarded.clear();
    return readIds;
  }
}
