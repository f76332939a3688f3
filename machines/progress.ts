/**
 * What the leader knows of one follower (Fig. 2, volatile state on leaders), and how fast it may
 * send to it (thesis s10.2.2, pipelining).
 *
 * @module
 */
import { DEFAULT_BOUNDS, type ReplicationBounds } from "./bounds.ts";
import type { LogIndex, SnapshotRef } from "./raft_types.ts";

/**
 * probe: nextIndex is a guess, so one message with entries is sent at a time. replicate: the guess
 * was right, so entries are sent without waiting for answers. snapshot: the follower needs entries
 * that the log no longer holds.
 */
export type ProgressMode = "probe" | "replicate" | "snapshot";

/** A snapshot on its way to a follower, a part at a time. */
export interface Sending {
  readonly snapshot: SnapshotRef;
  /** Where the next part begins, or the one that is on its way. */
  offset: number;
  /** When a part was sent that is not answered yet; undefined if none is. */
  sentMs: number | undefined;
}

/**
 * A follower refused entries that it had acknowledged. The refusal may have been under way for long. If
 * it refuses them in this round or a later one, which the next heartbeat says, it has lost them.
 */
export interface Suspicion {
  readonly round: number;
  /** What it had acknowledged when the round began. */
  readonly matchIndex: LogIndex;
}

/** A learner is to reach what the leader's log held when the round began (thesis s4.2.1). */
export interface CatchUp {
  readonly target: LogIndex;
  readonly startedMs: number;
  /** Rounds before this one that were quick, one after the other. */
  readonly quick: number;
}

/** One follower as the leader of the current term sees it. */
export class Progress {
  /**
   * Index of the highest entry known to be durable there; never decreases within a term, unless the
   * follower has lost its log.
   */
  matchIndex: LogIndex = 0;
  /** Index of the next entry to send; always above matchIndex. */
  nextIndex: LogIndex;
  mode: ProgressMode = "probe";
  /** Host time at which it was last heard from; at first, at which this leader began. */
  lastContactMs: number;
  /** Whether this leader has heard of it at all. */
  wasHeard = false;
  /** A learner's round of catching up (membership.ts); undefined before the first. */
  catchUp: CatchUp | undefined;
  /** An AppendEntries is owed even if it carries nothing: heartbeat, read round, commit index. */
  beatDue = true;
  /** Highest commit index that it was told of, whether or not it has heard. */
  toldCommit: LogIndex = 0;
  /**
   * Probe mode: entries were sent, and more wait for an answer. If they were lost, a heartbeat's
   * answer is one.
   */
  probeSent = false;
  /** Snapshot mode: what is being sent. */
  sending: Sending | undefined;
  /** Set since it has refused what it had acknowledged. */
  suspicion: Suspicion | undefined;
  #inflight: { lastIndex: LogIndex; bytes: number }[] = [];
  #inflightBytes = 0;
  readonly #bounds: ReplicationBounds;

  /** Begins as the paper says: nextIndex is the leader's lastLogIndex + 1, matchIndex 0. */
  constructor(
    start: { readonly lastLogIndex: LogIndex; readonly nowMs: number },
    bounds: ReplicationBounds = DEFAULT_BOUNDS,
  ) {
    this.#bounds = bounds;
    this.nextIndex = start.lastLogIndex + 1;
    this.lastContactMs = start.nowMs;
  }

  /** Messages awaiting a reply. */
  get inflightMessages(): number {
    return this.#inflight.length;
  }

  /** Whether another message with entries may leave now. */
  get maySend(): boolean {
    if (this.mode === "probe") return !this.probeSent;
    return this.mode === "replicate" &&
      this.#inflight.length < this.#bounds.inflightMessagesMax &&
      this.#inflightBytes < this.#bounds.inflightBytesMax;
  }

  /**
   * Entries up to `lastIndex` were sent. In replicate mode the next ones follow without waiting.
   */
  sentEntries(lastIndex: LogIndex, bytes: number): void {
    if (this.mode === "probe") {
      this.probeSent = true;
      return;
    }
    this.nextIndex = lastIndex + 1;
    this.#inflight.push({ lastIndex, bytes });
    this.#inflightBytes += bytes;
  }

  /** The follower needs entries that only this snapshot covers. */
  beginSnapshot(snapshot: SnapshotRef): void {
    this.mode = "snapshot";
    this.sending = { snapshot, offset: 0, sentMs: undefined };
    this.#inflight = [];
    this.#inflightBytes = 0;
  }

  /** The follower has installed a snapshot up to `index`. Returns whether that is news. */
  installed(index: LogIndex): boolean {
    this.mode = "probe";
    this.sending = undefined;
    return this.accepted(index);
  }

  /** The follower has lost what it held. */
  forget(): void {
    this.matchIndex = 0;
    this.suspicion = undefined;
    this.refused(this.nextIndex);
    this.probeSent = false;
  }

  /** The follower is known to hold entries up to `matchIndex`. Returns whether that is news. */
  accepted(matchIndex: LogIndex): boolean {
    const isNews = matchIndex > this.matchIndex;
    if (isNews) this.matchIndex = matchIndex;
    if (this.nextIndex <= this.matchIndex) this.nextIndex = this.matchIndex + 1;
    if (this.mode === "probe") {
      this.mode = "replicate";
      this.probeSent = false;
    }
    // It had more than it seemed to, and needs no snapshot: what it lacks, it is sent again.
    if (this.mode === "snapshot" && isNews) {
      this.mode = "probe";
      this.sending = undefined;
    }
    while (this.#inflight.length > 0 && this.#inflight[0]!.lastIndex <= this.matchIndex) {
      this.#inflightBytes -= this.#inflight.shift()!.bytes;
    }
    return isNews;
  }

  /**
   * The follower's log does not fit at nextIndex: guess again from `nextIndex`, never below what
   * matched. A follower that lost what had matched always refuses, so it is asked once a heartbeat.
   */
  refused(nextIndex: LogIndex): void {
    const next = Math.max(this.matchIndex + 1, nextIndex);
    this.probeSent = this.mode === "probe" && next === this.nextIndex;
    this.mode = "probe";
    this.sending = undefined;
    this.#inflight = [];
    this.#inflightBytes = 0;
    this.nextIndex = next;
  }
}
