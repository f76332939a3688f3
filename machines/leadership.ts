/**
 * What a leader knows and owes in its term (Fig. 2, volatile state on leaders; thesis s3.10, s6.2,
 * s6.4). `startTerm` makes it and `endTerm` drops it, so nothing is left of one leadership in
 * the next, and no rule asks whether this node leads.
 *
 * @module
 */
import type { ReplicationBounds } from "./bounds.ts";
import { Progress } from "./progress.ts";
import type { LogIndex, NodeId } from "./raft_types.ts";
import { ReadRounds } from "./read_queue.ts";

/** One leadership, from the election to its end. */
export class Leadership {
  /** Every other voter and learner. */
  readonly progress: ReadonlyMap<NodeId, Progress>;
  /** Reads that wait for a round, and the round that runs. */
  readonly reads: ReadRounds = new ReadRounds();
  /** When the followers must hear from this leader again. */
  heartbeatDeadlineMs: number;
  /** When this leader must have heard from a majority. */
  quorumDeadlineMs: number;
  /** When the transfer under way is given up; undefined if there is none. */
  transferDeadlineMs: number | undefined;
  readonly #logTimeBaseMs: number;

  /**
   * "Upon election": nextIndex and matchIndex anew for every peer. Log time goes on from
   * `logTimeMs`, the last entry's, at the pace of this leader's clock.
   */
  constructor(start: {
    readonly peers: readonly NodeId[];
    readonly lastLogIndex: LogIndex;
    readonly nowMs: number;
    readonly logTimeMs: number;
    readonly heartbeatMs: number;
    readonly quorumMs: number;
    readonly bounds: ReplicationBounds;
  }) {
    const { peers, nowMs, bounds } = start;
    this.progress = new Map(peers.map((peer) => [peer, new Progress(start, bounds)]));
    this.heartbeatDeadlineMs = nowMs + start.heartbeatMs;
    this.quorumDeadlineMs = nowMs + start.quorumMs;
    this.#logTimeBaseMs = nowMs - start.logTimeMs;
  }

  /** A follower has answered; undefined if `from` is none of this leader's. */
  heard(from: NodeId, nowMs: number): Progress | undefined {
    const progress = this.progress.get(from);
    if (progress !== undefined) progress.lastContactMs = nowMs;
    return progress;
  }

  /** When the host must let time elapse at the latest. */
  get nextDeadlineMs(): number {
    const beat = Math.min(this.heartbeatDeadlineMs, this.quorumDeadlineMs);
    return this.transferDeadlineMs === undefined ? beat : Math.min(beat, this.transferDeadlineMs);
  }

  /** The log time at a moment of the host's clock: never a wall clock's. */
  logTimeAt(nowMs: number): number {
    return Math.floor(nowMs - this.#logTimeBaseMs);
  }

  /** Which of these holds most of the log, as far as this leader knows; of equals the first. */
  holdsMost(peers: readonly NodeId[]): NodeId | undefined {
    const matchOf = (peer: NodeId): LogIndex => this.progress.get(peer)?.matchIndex ?? 0;
    return peers.toSorted((one, other) => matchOf(other) - matchOf(one))[0];
  }
}
