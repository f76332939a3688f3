/**
 * Every bound of the key-value store, with its unit, and what happens when it is hit.
 *
 * @module
 */

/** Longest key; encoding or decoding a command throws a CommandError. A key has at least one byte. */
export const KEY_BYTES_MAX = 1024;

/** Longest value; a put is refused by the codec, an append is answered `too-large`. */
export const VALUE_BYTES_MAX = 1024 * 1024;

/** Compares of a command; the codec throws a CommandError. */
export const COMPARES_MAX = 128;

/** Operations of a command, those of success and of failure together; the codec throws a CommandError. */
export const OPERATIONS_MAX = 128;

/**
 * Bytes of a command; the codec throws a CommandError. That is one of the largest values, and the
 * largest keys in every compare and operation.
 */
export const COMMAND_BYTES_MAX = VALUE_BYTES_MAX + 512 * 1024;

/**
 * Bytes of the results of a command: what its gets read, and RESULT_OVERHEAD_BYTES for each. More is
 * answered `too-large`, and nothing is changed.
 */
export const RESULT_BYTES_MAX = 2 * 1024 * 1024;

/**
 * Most bytes that the result of one operation takes, without what it read. What a command's result
 * has besides those of its operations takes no more either.
 */
export const RESULT_OVERHEAD_BYTES = 48;

/** Longest content type, in ASCII characters; the codec throws a CommandError. */
export const CONTENT_TYPE_CHARS_MAX = 128;

/** Least and greatest number that an increment adds or leaves; more is answered `overflow`. */
export const INTEGER_MIN = -(2n ** 63n);
/** See INTEGER_MIN. */
export const INTEGER_MAX = 2n ** 63n - 1n;
/** Characters of such a number in decimal. */
export const INTEGER_CHARS_MAX = 20;

/** Items that one range of a command reads; the codec throws a CommandError. */
export const RANGE_LIMIT_MAX = 10_000;

/**
 * Keys that one operation deletes, so that the event loop goes on within a fifth of a second; more are
 * answered `too-large`, and nothing is deleted.
 */
export const RANGE_DELETE_KEYS_MAX = 100_000;

/** Leases at a time; a grant of one more is answered `too-many-leases`. */
export const LEASES_MAX = 100_000;

/** Keys of a lease, all of which are deleted at once when it ends; one more is answered `too-large`. */
export const LEASE_KEYS_MAX = 100_000;

/** Least log time that a lease may have, in milliseconds; the codec throws a CommandError. */
export const LEASE_TTL_MS_MIN = 500;

/** Most log time that a lease may have: 366 days; the codec throws a CommandError. */
export const LEASE_TTL_MS_MAX = 366 * 24 * 60 * 60 * 1000;

/**
 * Keys of leases that have ended which one applied entry deletes, but for those of its last lease. The
 * other leases end at the next entry, which a leader appends at once.
 */
export const ENDED_KEYS_PER_ENTRY_MAX = 10_000;

/**
 * The cluster version since which commands may have increments, ranges and leases; before, they are too
 * new.
 */
export const RANGES_VERSION = 2;

/** Longest idempotency key, in ASCII characters; the codec throws a CommandError. */
export const IDEMPOTENCY_KEY_CHARS_MAX = 64;

/** Longest fingerprint of a request, in ASCII characters; the codec throws a CommandError. */
export const FINGERPRINT_CHARS_MAX = 64;

/** Longest client id, in ASCII characters; the codec throws a CommandError. */
export const CLIENT_ID_CHARS_MAX = 64;

/** Log time for which the first result of an idempotency key is kept; then the key is free again. */
export const IDEMPOTENCY_RETENTION_MS = 10 * 60 * 1000;

/**
 * Log time for which a result is surely kept, even if IDEMPOTENCY_BYTES_MAX is reached. Then the oldest
 * results that are older than this make room. If none is, a write is answered `overloaded`.
 */
export const IDEMPOTENCY_RETENTION_MS_MIN = 60 * 1000;

/**
 * Bytes of idempotency keys kept, each counted with IDEMPOTENCY_RECORD_BYTES. With keys of 36
 * characters that is 15,000 keyed writes a second for a minute, or 1,500 for ten.
 */
export const IDEMPOTENCY_BYTES_MAX = 256 * 1024 * 1024;

/**
 * Bytes of a result that its record includes: enough for one operation that read nothing. Only the
 * bytes beyond them are counted.
 */
export const RECORD_RESULT_BYTES = 2 * RESULT_OVERHEAD_BYTES;

/**
 * Bytes that a record of an idempotency key counts for, on top of its key, its fingerprint and what
 * its result has beyond RECORD_RESULT_BYTES.
 */
export const IDEMPOTENCY_RECORD_BYTES = 200;

/** Sequences below a session's highest that it still answers; an older one is `session-expired`. */
export const SESSION_WINDOW = 64;

/** Log time after which an unused session is forgotten; its next command is `session-expired`. */
export const SESSION_IDLE_MS = 60 * 60 * 1000;

/** Most live sessions; the first command of the next is answered `overloaded` and is not applied. */
export const SESSIONS_MAX = 50_000;

/**
 * Bytes of the results of all sessions; of each only those beyond RECORD_RESULT_BYTES count. When
 * there is no room, a command whose result would need some is answered `overloaded`. The result of one
 * put, append or delete needs none.
 */
export const SESSION_RESULT_BYTES_MAX = 64 * 1024 * 1024;

/**
 * Expired keys, and expired sessions, forgotten by one applied entry. The others are treated as absent
 * and forgotten later, so that the first entry after a quiet hour does not take long.
 */
export const EXPIRED_PER_ENTRY_MAX = 16;

/** Bytes of changes that a node keeps for watchers who come back; the oldest go. */
export const CHANGE_LOG_BYTES_MAX = 32 * 1024 * 1024;

/** Bytes that a change counts for besides its key and its values. */
export const CHANGE_BYTES = 100;

/** Small values share buffers of this many bytes, so one value keeps at most so many bytes alive. */
export const VALUE_SLAB_BYTES = 2_048;

/** Bytes of the largest value that shares a buffer. */
export const SHARED_VALUE_BYTES_MAX = VALUE_SLAB_BYTES / 8;

/** Log time without an entry after which a full table asks for one that makes room. */
export const ROOM_PAUSE_MS = 1_000;
