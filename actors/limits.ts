/**
 * Every bound of the actors, with its unit and what happens when it is hit.
 *
 * @module
 */
import { PACK_BYTES_MIN } from "../storage/log/limits.ts";

/** Connections whose hello has not come. More: the oldest is closed unanswered. */
export const UNGREETED_CONNECTIONS_MAX = 64;
/**
 * Dials in a row that fail before the log warns of it: half a second or so. A peer that starts a
 * moment later is no warning.
 */
export const WARNED_FAILURES = 4;
/** Different causes that are logged before the log is held back; counters go on. */
export const LOGGED_CAUSES_MAX = 256;
/** If a timer is this late, this node was slow and not the peer: what has arrived is read first. */
export const TIMER_LATE_MS_MAX = 100;
/** How long a late timer waits for what has arrived to be read. */
export const TIMER_GRACE_MS = 50;

/**
 * Messages that a Raft actor's mailbox holds: more than the requests that the gateways of a cluster
 * let in at once (REQUESTS_IN_FLIGHT_MAX each), so that what keeps the actor alive (a write that
 * became durable, a timer) always finds room. Full: messages of peers are dropped, and sent again.
 */
export const RAFT_MAILBOX_CAPACITY = 128 * 1_024;

/**
 * Requests for a transfer that wait at a node for its end; without a leader that may be long. More are
 * refused.
 */
export const TRANSFERS_WAITING_MAX = 64;

/** A node remembers the hash of its state after each entry whose index is a multiple of this. */
export const AUDIT_ENTRIES = 16;
/** Hashes that a node remembers to compare; the oldest is forgotten. */
export const AUDIT_HASHES_KEPT = 64;
/** How often a node asks the others for theirs. */
export const AUDIT_MS = 1_000;

/** From how many bytes on what is compressed, and when. */
export interface CompressionPolicy {
  /** Records that are appended to the log together. */
  readonly logBytesMin: number;
  /** They are compressed only while a sync of the log takes as long, so that fewer bytes may help. */
  readonly logSyncMsMin: number;
  /** A frame to a peer. */
  readonly frameBytesMin: number;
  /** A frame is compressed only if so many bytes wait on its connection, so that it would wait too. */
  readonly frameWaitBytesMin: number;
}

/**
 * Adaptive: a frame is compressed while it would wait anyway, and the log while its disk is slow, so that
 * fast networks and disks never wait for it. Always: also for fast ones whose bytes cost money. What has
 * been compressed is read either way.
 */
export const COMPRESSION = {
  adaptive: {
    logBytesMin: PACK_BYTES_MIN,
    logSyncMsMin: 10,
    frameBytesMin: 16 * 1024,
    frameWaitBytesMin: 256 * 1024,
  },
  always: {
    ...{ logBytesMin: PACK_BYTES_MIN, logSyncMsMin: 0 },
    ...{ frameBytesMin: 4 * 1024, frameWaitBytesMin: 0 },
  },
  off: {
    ...{ logBytesMin: Infinity, logSyncMsMin: 0 },
    ...{ frameBytesMin: Infinity, frameWaitBytesMin: 0 },
  },
} as const satisfies Record<string, CompressionPolicy>;

/** See {@linkcode COMPRESSION}. */
export type CompressionMode = keyof typeof COMPRESSION;

/** Bytes of state that a turn writes into a snapshot, or loads from one: a few milliseconds. */
export const SNAPSHOT_SLICE_BYTES = 128 * 1024;
/**
 * After a slice of a snapshot the event loop belongs to requests for so many times as long: without
 * that, a member that takes one does little else, and so do all members at once.
 */
export const SNAPSHOT_REST_SHARE = 3;
/** Requests that wait for a snapshot of their own choosing. More are refused. */
export const SNAPSHOT_DEMANDS_MAX = 64;
/** Record bytes applied since the last snapshot after which another one is taken. */
export const SNAPSHOT_AFTER_BYTES = 64 * 1024 * 1024;
/** Entries applied since the last snapshot after which another one is taken. */
export const SNAPSHOT_AFTER_ENTRIES = 1_000_000;

/**
 * Backups of a group that are made at once, since each keeps what the machine has replaced since it
 * began. More are refused.
 */
export const BACKUPS_MAX = 2;

/** Transitions of a group's chart that a node keeps for those who look later. */
export const TIMELINE_LENGTH = 256;
/** Those who watch a node's chart; one more is refused as overloaded. */
export const TIMELINE_VIEWERS_MAX = 256;
/** Connections of clients on the wire of their own; one more is turned away with a reason. */
export const CLIENT_CONNECTIONS_MAX = 1_024;
/** Requests of one connection that are in flight; one more is answered as overloaded. */
export const CLIENT_REQUESTS_MAX = 8_192;
/** Bytes of the requests of all connections that are in flight; one more is answered as overloaded. */
export const CLIENT_REQUEST_BYTES_MAX = 64 * 1024 * 1024;
/**
 * Bytes of answers that wait until their clients read, over all connections. With more than half of it a read
 * of a client whose own answers wait is answered as overloaded; what cannot be refused any more closes its connection when it finds no room.
 */
export const CLIENT_UNREAD_BYTES_MAX = 128 * 1024 * 1024;
/** How long a client may read nothing of what waits for it, in milliseconds; then its connection is closed. */
export const CLIENT_STALL_MS_MAX = 10_000;
/** Bytes of requests that wait in a client until a member reads; more fail at once. */
export const CLERK_UNSENT_BYTES_MAX = 64 * 1024 * 1024;
/** Longest frame of a client: the largest value as the body of a request, and what is around it. */
export const CLIENT_FRAME_BYTES_MAX = 4 * 1024 * 1024;
/** Least and most time that a request of a client gets, in milliseconds. */
export const CLIENT_TIMEOUT_MS = { min: 50, max: 60_000 } as const;
/** How long a gateway that stops waits for its answers to end, in milliseconds; then they are cut. */
export const GATEWAY_STOP_MS_MAX = 1_000;
/** Watchers of a node; one more is refused as overloaded. */
export const WATCHES_MAX = 20_000;

/**
 * Bytes of changes that wait for a watcher to read them; beyond, they are dropped, and it reads them from
 * the log of changes when it comes to it.
 */
export const WATCH_UNREAD_BYTES_MAX = 64 * 1024;

/** Scans of a node that are being read at a time, each of which keeps what changes meanwhile. More are refused. */
export const SCANS_MAX = 64;

/** Shortest and longest pause between scheduled backups; a start with another throws a RangeError. */
export const BACKUP_EVERY_MS = { min: 1_000, max: 2 ** 31 - 1 } as const;
/** Fewest and most scheduled backups that are kept; a start with another number throws a RangeError. */
export const BACKUPS_KEPT = { min: 1, max: 10_000 } as const;
/** A scheduled backup that failed is tried again after so long, or when the next is due if that is sooner. */
export const BACKUP_RETRY_MS = 60_000;

/**
 * What a restore adds to the revision: more than the cluster that was backed up can have counted since,
 * so that no revision and no ETag stands for two states. It is etcd's, for the same end.
 */
export const RESTORE_REVISION_RAISE = 1_000_000_000;

/** A leader refuses writes, and a member does not take leadership over, with less space on its disk. */
export const MIN_FREE_BYTES = 128 * 1024 * 1024;
/** Once it was less, so many times as much must be free before writes are taken again. */
export const SPACE_ENOUGH_SHARE = 1.25;
/** How often the free space is looked at. */
export const SPACE_CHECK_MS = 1_000;
/**
 * A leader without space hands over, and not again for this long: where no disk has any, leadership
 * must not go round.
 */
export const SPACE_HANDOVER_MS = 30_000;

/**
 * How long a stop may take to hand leadership over; after that the others elect by their timeouts.
 */
export const HANDOVER_MS_MAX = 1_500;
/** How long a stop waits for the requests in flight; then it goes on without them. */
export const DRAIN_MS_MAX = 2_000;
/** How long a stop waits for a member's answer to its leave; there are two rounds. */
export const LEAVE_MS_MAX = 500;
/**
 * How long a member that has said that it stops is believed, if its link stays up: longer than a stop may
 * take.
 */
export const LEAVING_NODE_MS_MAX = 10_000;
/** How long a stop may take to drain the actors' mailboxes. */
export const ACTOR_STOP_MS_MAX = 1_000;
