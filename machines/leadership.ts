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

/** For how long a leader tries to tell a member that it was removed, in milliseconds. */
export const LEAVING_MS_MAX = 10_000;

/** What a leader tells those who leave. */
interface Told {
  readonly configs: { readonly current: { readonly index: LogIndex } };
  readonly commitIndex: LogIndex;
  readonly nowMs: number;
}

/** One leadership, from the election to its end. */
export class Leadership {
  readonly #progress: Map<NodeId, Progress>;
  /**
   * Who is no member any more, and may not know it: they still get the log, until they have heard that
   * the entry that removed them is committed. With the host time at which they are given up.
   */
  readonly #leaving = new Map<NodeId, { readonly untilMs: number; isTold: boolean }>();
  readonly #bounds: ReplicationBounds;
  /** Reads that wait for a round, and the round that runs. */
  readonly reads: ReadRounds = new ReadRounds();
  /** When the followers must hear from this leader again. */
  heartbeatDeadlineMs: number;
  /** When followers must hear that more is committed; Infinity if they need not. */
  commitNoticeMs = Infinity;
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
    this.#bounds = bounds;
    this.#progress = new Map(peers.map((peer) => [peer, new Progress(start, bounds)]));
    this.heartbeatDeadlineMs = nowMs + start.heartbeatMs;
    this.quorumDeadlineMs = nowMs + start.quorumMs;
    this.#logTimeBaseMs = nowMs - start.logTimeMs;
  }

  /** Every other voter and learner, and who is leaving. */
  get progress(): ReadonlyMap<NodeId, Progress> {
    return this.#progress;
  }

  /** The members have changed: these are the others now. */
  followMembers(
    peers: readonly NodeId[],
    start: { readonly lastLogIndex: LogIndex; readonly nowMs: number },
  ): void {
    for (const peer of peers) {
      if (!this.#progress.has(peer)) {
        this.#progress.set(peer, new Progress(start, this.#bounds));
      }
      this.#leaving.delete(peer);
    }
    const untilMs = start.nowMs + LEAVING_MS_MAX;
    for (const peer of this.#progress.keys()) {
      if (peers.includes(peer) || this.#leaving.has(peer)) continue;
      this.#leaving.set(peer, { untilMs, isTold: false });
    }
  }

  /** What the peer held is gone: somebody else has its id now. */
  renew(peer: NodeId, start: { readonly lastLogIndex: LogIndex; readonly nowMs: number }): void {
    if (this.#progress.has(peer)) this.#progress.set(peer, new Progress(start, this.#bounds));
  }

  /** Before the messages of a turn: who holds the entry that removed it hears now that it is committed. */
  tellLeaving({ configs, commitIndex }: Told): void {
    const { index } = configs.current;
    for (const [peer, leaving] of this.#leaving) {
      const progress = this.#progress.get(peer)!;
      if (commitIndex < index || progress.matchIndex < index) continue;
      progress.beatDue = true;
      leaving.isTold = true;
    }
  }

  /** After the messages of a turn: who was told, or has not listened for too long, gets no more. */
  dropLeft({ nowMs }: Told): void {
    for (const [peer, { untilMs, isTold }] of this.#leaving) {
      if (!isTold && nowMs < untilMs) continue;
      this.#leaving.delete(peer);
      this.#progress.delete(peer);
    }
  }

  /** A follower has answered; undefined if `from` is none of this leader's. */
  heard(from: NodeId, nowMs: number): Progress | undefined {
    const progress = this.progress.get(from);
    if (progress !== undefined) {
      progress.lastContactMs = nowMs;
      progress.wasHeard = true;
    }
    return progress;
  }

  /** When the host must let time elapse at the latest. */
  get nextDeadlineMs(): number {
    const beat = Math.min(this.heartbeatDeadlineMs, this.commitNoticeMs, this.quorumDeadlineMs);
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
