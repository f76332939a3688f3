/**
 * Every bound of the HTTP gateway, with its unit and what happens when it is hit. Those of keys and
 * values are the store's (storage/kv/limits.ts): what exceeds them is 400, a value 413 before the
 * rest of it is read.
 *
 * @module
 */

/** Bytes of a JSON request body. Longer: 413. */
export const JSON_BODY_BYTES_MAX = 64 * 1024;
/** Bytes of the JSON of a transaction: one of the largest values in base64, and much else. Longer: 413. */
export const TXN_BODY_BYTES_MAX = 3 * 1024 * 1024;
/** Entries of a listing's page if the request does not say. */
export const LIST_LIMIT_DEFAULT = 1000;
/** Entries of a listing's page. More asked: 400. */
export const LIST_LIMIT_MAX = 10_000;
/** Value bytes of a listing's page; the page ends before it would hold more, and `next` goes on. */
export const LIST_BYTES_MAX = 4 * 1024 * 1024;
/** Declared bytes of a body that is read in one step. More: in chunks, which can be given up. */
export const WHOLE_BODY_BYTES_MAX = 64 * 1024;
/** How long a request's body may take to arrive. Longer: 408, and nothing has been applied. */
export const BODY_MS_MAX = 30_000;
/** Requests being answered at once. More: 429. */
export const REQUESTS_IN_FLIGHT_MAX = 8192;
/**
 * Bytes of the bodies of requests that are being answered: a body is kept until its write is committed. One of
 * unknown length counts as TXN_BODY_BYTES_MAX. More: 429.
 */
export const BODIES_BYTES_MAX = 64 * 1024 * 1024;
/** How long a request may wait for a leader and its quorum. Longer: 503 if it surely had no effect, else 504. */
export const REQUEST_TIMEOUT_MS = 5_000;
/** Least and most that a request may ask to wait, with the header `Statecraft-Timeout-Ms`. Else: 400. */
export const REQUEST_TIMEOUT_MS_MIN = 50;
/** See REQUEST_TIMEOUT_MS_MIN. */
export const REQUEST_TIMEOUT_MS_MAX = 60_000;
/** Bytes of large answers that clients have not read yet, over all requests. More: 429. */
export const RESPONSE_BYTES_MAX = 32 * 1024 * 1024;
/**
 * Bytes that a backup counts for among them: about what the runtime takes of an answer before the
 * client has read anything (2.9.6).
 */
export const BACKUP_UNREAD_BYTES = 4 * 1024 * 1024;
/** Silence after which a watch sends a comment, so that nobody takes the connection for dead. */
export const WATCH_HEARTBEAT_MS = 10_000;
/** Longest time that a long poll may ask to wait. More: 400. */
export const WATCH_WAIT_MS_MAX = 5 * 60_000;
/** Longest time that a request may wait for a lock. More: 400. */
export const LOCK_WAIT_MS_MAX = 5 * 60_000;
/** Bytes of a lock's name. Longer: 400. */
export const LOCK_NAME_BYTES_MAX = 256;
/** Bytes of what a place in a lock's queue says of whom it is for. Longer: 413. */
export const LOCK_VALUE_BYTES_MAX = 1024;
/** Most that wait for a lock. More: 429. */
export const LOCK_WAITERS_MAX = 1_000;
/** Most keys under a lock's prefix, those that came too many and are about to leave among them. More: 429. */
export const LOCK_KEYS_MAX = 20_000;
/** Most requests that wait for locks on a node, so that others have room. More: 429. */
export const LOCK_WAITS_MAX = 4_096;
/** A waiter's lease is kept alive after this share of its time. */
export const LOCK_KEEP_ALIVE_SHARE = 1 / 3;
/** Bytes that a scan counts for among the answers that are not read yet, as a backup does. */
export const SCAN_UNREAD_BYTES = 1024 * 1024;
/** Bytes of a value beyond which its answer is a large one. */
export const LARGE_VALUE_BYTES = 64 * 1024;
/** Bytes of a large answer that are made in one go; the event loop sees other work in between. */
export const RESPONSE_CHUNK_BYTES = 64 * 1024;
/** How long a client may leave a large answer unread. Longer: its connection is cut. */
export const RESPONSE_STALL_MS_MAX = 10_000;
/**
 * File descriptors kept for the log and the peers; released when connections have used up the rest.
 */
export const SPARE_DESCRIPTORS = 16;
/** Pause before listening again. */
export const LISTEN_RETRY_MS = 50;
