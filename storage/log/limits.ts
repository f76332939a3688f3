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

/** Appends up to this size leave in one write, gathered in a buffer; larger ones in several. */
export const WRITE_GATHER_BYTES_MAX = 256 * 1024;

/** Recovered entries of one term are gathered in blocks of this size; a larger entry has its own. */
export const RECOVERED_BLOCK_BYTES = 1024 * 1024;

/** Longest cluster id, in ASCII characters; opening a log or a data directory throws a RangeError. */
export const CLUSTER_ID_CHARS_MAX = 64;

/** Highest node id; opening a log or a data directory throws a RangeError. */
export { NODE_ID_MAX } from "../../machines/raft_types.ts";

/** Largest identity file that is read; a larger one is refused as damaged. */
export const IDENTITY_BYTES_MAX = 4096;

/** Largest file of the peers' directories that is read; a larger one is refused as damaged. */
export const PEERS_BYTES_MAX = 64 * 1024;
