/**
 * Every bound of the log and of what lies beside it, with its unit, and what happens when it is
 * hit.
 *
 * @module
 */

/** Longest payload of one log entry; `encodeRun` throws a RangeError, `decodeRuns` a RecordError. */
export const ENTRY_PAYLOAD_BYTES_MAX = 2 * 1024 * 1024;

/** A segment that has reached this size is closed and the next append opens a new one (soft). */
export const SEGMENT_BYTES = 64 * 1024 * 1024;

/**
 * Records that are appended together are compressed from so many bytes on; below, a try costs more time
 * than the fewer bytes save.
 */
export const PACK_BYTES_MIN = 4 * 1024;

/** Records that are appended together are compressed in blocks of about this size. */
export const PACK_BLOCK_BYTES = 256 * 1024;

/**
 * Most bytes of records in one packed record, so that what they are packed to is never longer than a
 * payload may be. Larger ones are written plain, and reading one that claims more is an error.
 */
export const PACKED_BYTES_MAX: number = ENTRY_PAYLOAD_BYTES_MAX;

/** Appends up to this size leave in one write, gathered in a buffer; larger ones in several. */
export const WRITE_GATHER_BYTES_MAX = 256 * 1024;

/** Recovered entries of one term are gathered in blocks of this size; a larger entry has its own. */
export const RECOVERED_BLOCK_BYTES = 1024 * 1024;

/** Longest cluster id, in ASCII characters; opening a log or a data directory throws a RangeError. */
export const CLUSTER_ID_CHARS_MAX = 64;

/** Highest node id; opening a log or a data directory throws a RangeError. */
export { NODE_ID_MAX } from "../../machines/raft_types.ts";

/** Highest term that a snapshot may name; reading one of a higher term throws a SnapshotError. */
export { TERM_MAX } from "../../machines/raft_types.ts";

/** Largest identity file that is read; a larger one is refused as damaged. */
export const IDENTITY_BYTES_MAX = 64 * 1024;

/** Largest file of the members that is read; a larger one is refused as damaged. */
export const MEMBERS_BYTES_MAX = 64 * 1024;

/** Largest file of the peers' directories that is read; a larger one is refused as damaged. */
export const PEERS_BYTES_MAX = 64 * 1024;

/** The file that says how far the log is durable begins anew at this size. */
export const WATERMARK_FILE_BYTES = 12 * 340;

/** Longest meta of a snapshot; writing one throws a RangeError, reading one a SnapshotError. */
export const SNAPSHOT_META_BYTES_MAX = 64 * 1024;

/** Highest index that a snapshot may cover: as many entries again find room. Reading one throws a SnapshotError. */
export const SNAPSHOT_INDEX_MAX = 2 ** 52;

/** Latest log time of a snapshot, in milliseconds: as much time again can pass. Reading one throws a SnapshotError. */
export const SNAPSHOT_TIME_MS_MAX = 2 ** 52;

/** Longest chunk of a state in a snapshot; writing one throws a RangeError, reading one a SnapshotError. */
export const SNAPSHOT_CHUNK_BYTES_MAX = 16 * 1024 * 1024;

/** How hard zstd tries on snapshots, 1 to 22. */
export const SNAPSHOT_ZSTD_LEVEL = 3;

/**
 * A snapshot that is written is synced each time that so many bytes were added, so that no sync at
 * its end holds up the log's.
 */
export const SNAPSHOT_SYNC_BYTES = 8 * 1024 * 1024;

/** Snapshots of a group that are kept: the newest, and one to fall back on. Older ones are removed. */
export const SNAPSHOTS_KEPT = 2;

/**
 * Damaged snapshots of a group that are kept for whoever looks into it. Older ones are removed once a
 * new snapshot is durable.
 */
export const BROKEN_SNAPSHOTS_KEPT = 1;

/**
 * How often an inspection of a log begins anew because a node has removed a segment under it; then it
 * fails.
 */
export const INSPECTION_TRIES = 5;
