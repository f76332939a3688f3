/**
 * How much a leader takes and sends before it waits (thesis s10.2.2, pipelining).
 *
 * Speed and memory depend on these bounds, and safety never does. The simulator draws them from its
 * seed, small enough that every window fills.
 *
 * @module
 */

/** Entry bytes in one AppendEntries; a single larger entry still goes, alone. Larger messages look like a dead leader. */
export const APPEND_BYTES_MAX = 1024 * 1024;
/** AppendEntries that carry entries and await their reply; more wait for replies. */
export const INFLIGHT_MESSAGES_MAX = 128;
/** Entry bytes awaiting replies of one follower; more wait for replies. */
export const INFLIGHT_BYTES_MAX = 8 * 1024 * 1024;
/**
 * Entry bytes that a leader holds uncommitted. A request that comes on top is refused as
 * overloaded.
 */
export const UNCOMMITTED_BYTES_MAX = 64 * 1024 * 1024;

/**
 * How long a leader waits for something else to send before it tells followers that more is committed, in
 * milliseconds: watches and stale reads of an idle cluster's followers are behind by no more. Under load the
 * next entries say it.
 */
export const COMMIT_NOTICE_MS = 2;

/** Bytes of a snapshot in one InstallSnapshot; one at a time is on its way to a follower. */
export const SNAPSHOT_PART_BYTES_MAX = 512 * 1024;
/**
 * Entry bytes that stay in memory behind a snapshot, so that a follower that is a little behind gets
 * entries and not the snapshot.
 */
export const TRAILING_BYTES = 8 * 1024 * 1024;
/**
 * Entry bytes that stay in memory at most for a follower that a snapshot is being sent to. With more
 * it gets the next snapshot.
 */
export const AWAITED_BYTES_MAX = 256 * 1024 * 1024;

/**
 * Requests of a recovering member that may still be answered. Of more, the answer to the oldest says
 * nothing any more.
 */
export const RECOVERY_REQUESTS_MAX = 1_024;

/** The bounds of one group. */
export interface ReplicationBounds {
  /** As {@linkcode APPEND_BYTES_MAX}. */
  readonly appendBytesMax: number;
  /** As {@linkcode INFLIGHT_MESSAGES_MAX}. */
  readonly inflightMessagesMax: number;
  /** As {@linkcode INFLIGHT_BYTES_MAX}. */
  readonly inflightBytesMax: number;
  /** As {@linkcode UNCOMMITTED_BYTES_MAX}. */
  readonly uncommittedBytesMax: number;
  /** As {@linkcode SNAPSHOT_PART_BYTES_MAX}. */
  readonly snapshotPartBytesMax: number;
  /** As {@linkcode TRAILING_BYTES}. */
  readonly trailingBytes: number;
  /** As {@linkcode AWAITED_BYTES_MAX}. */
  readonly awaitedBytesMax: number;
}

/** What a node uses. */
export const DEFAULT_BOUNDS: ReplicationBounds = {
  appendBytesMax: APPEND_BYTES_MAX,
  inflightMessagesMax: INFLIGHT_MESSAGES_MAX,
  inflightBytesMax: INFLIGHT_BYTES_MAX,
  uncommittedBytesMax: UNCOMMITTED_BYTES_MAX,
  snapshotPartBytesMax: SNAPSHOT_PART_BYTES_MAX,
  trailingBytes: TRAILING_BYTES,
  awaitedBytesMax: AWAITED_BYTES_MAX,
};
