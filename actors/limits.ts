/**
 * Every bound of the actors, with its unit and what happens when it is hit.
 *
 * @module
 */

/** Messages handed over in one turn. More wait for the actor's next turn, behind the other actors. */
export const BATCH_MESSAGES_MAX = 1_024;
/** Messages a mailbox holds unless spawned with another capacity. Full: its `whenFull` policy. */
export const MAILBOX_CAPACITY = 16 * 1024;
/** Turns before the event loop gets to see IO and timers again; the rest follow soon after. */
export const TURNS_PER_DRAIN_MAX = 256;

/** Calls notice their deadline this much late at most, the event loop's own lateness aside. */
export const DEADLINE_RESOLUTION_MS = 10;
/** Slots of the deadline wheel; longer deadlines go around it more than once. */
export const DEADLINE_SLOTS = 512;
/** Longest `timeoutMs` of a call (one day). Longer: RangeError. */
export const CALL_TIMEOUT_MS_MAX = 24 * 60 * 60 * 1_000;
/** Calls of one system that may wait for an answer. More: MailboxFullError, not delivered. */
export const PENDING_CALLS_MAX = 1024 * 1024;

/** First pause before a restart; doubled for each restart of the window. */
export const RESTART_BACK_OFF_MS_MIN = 50;
/** Longest pause before a restart. */
export const RESTART_BACK_OFF_MS_MAX = 5_000;

/** Connections whose hello has not come. More: the newest is closed unanswered. */
export const UNGREETED_CONNECTIONS_MAX = 64;
/** Different causes that are logged before the log is held back; counters go on. */
export const LOGGED_CAUSES_MAX = 256;
/** A timer that is this late says more about us than about the peer: what has arrived is read first. */
export const TIMER_LATE_MS_MAX = 100;
/** How long a late timer waits for what has arrived to be read. */
export const TIMER_GRACE_MS = 50;

/**
 * Messages that a Raft actor's mailbox holds: more than the requests that the gateways of a cluster
 * let in at once (REQUESTS_IN_FLIGHT_MAX each), so that what keeps the actor alive (a write that
 * became durable, a timer) always finds room. Full: messages of peers are dropped, and sent again.
 */
export const RAFT_MAILBOX_CAPACITY = 128 * 1_024;
