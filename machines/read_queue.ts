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

/** A leader's reads: those that wait for a round to begin, and the round that runs. */
export class ReadRounds {
  /** This node's reads that arrived since the running round began. */
  waiting: number[] = [];
  /** Followers' requests that arrived since the running round began. */
  waitingForwarded: ForwardedRead[] = [];
  /** The running round. */
  running: ReadRound | undefined;

  /** Whether any read waits for a round to begin. */
  get hasWaiting(): boolean {
    return this.waiting.length > 0 || this.waitingForwarded.length > 0;
  }

  /** Begins a round with everything that waits, under a number never used before. */
  begin(round: number, readIndex: LogIndex): ReadRound {
    const running: ReadRound = {
      round,
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
    this.running = undefined;
    this.waiting = [];
    this.waitingForwarded = [];
    return readIds;
  }
}

/** A follower's batches of reads that were sent to the leader. */
export class ForwardedReads {
  /** By the id of their attempt, oldest first. */
  readonly batches: Map<number, ForwardedBatch> = new Map();
  /**
   * The id of the last attempt; grows for the life of the process. It begins at random, so that no
   * read is confirmed by a leader's late answer to this node before it was restarted.
   */
  lastReadId: number;

  /** @param lastReadId Where to begin: random. */
  constructor(lastReadId: number) {
    this.lastReadId = lastReadId;
  }

  /** Takes back every read that waits for an answer. */
  takeAll(): number[] {
    const readIds = [...this.batches.values()].flatMap((batch) => batch.readIds);
    this.batches.clear();
    return readIds;
  }
}
