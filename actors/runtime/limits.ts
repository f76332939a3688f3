/**
 * Every bound of the actor runtime, with its unit, and what happens when it is hit.
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
