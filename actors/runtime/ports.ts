/**
 * The ports of the actors: time, chance and turns come from outside, so that the same code runs
 * in production (actors/deno_ports.ts) and on virtual time in the simulator.
 *
 * @module
 */

/** Time that only goes forward. */
export interface Clock {
  /** Milliseconds since some fixed moment; never falls, may have a fraction. */
  monotonicMs(): number;
}

/** What {@linkcode Timers.set} gives and {@linkcode Timers.clear} takes. */
export interface TimerHandle {
  /** Nothing is known of it; it only goes back to the timers it came from. */
  readonly opaque?: never;
}

/** One-shot timers. */
export interface Timers {
  /**
   * Runs `fire` once, `delayMs` or more from now, never from within this call.
   *
   * @throws {RangeError} If `delayMs` is not within 1 and 2^31-1.
   */
  set(delayMs: number, fire: () => void): TimerHandle;
  /** Forgets the timer; does nothing if it has fired or was cleared. */
  clear(handle: TimerHandle): void;
}

/** Chance. */
export interface Random {
  /** A number from 0, inclusive, to 1, exclusive. */
  next(): number;
}

/** Turns of the event loop. */
export interface Scheduler {
  /** Runs `run` soon, after the IO that is ready now, never from within this call; first come, first served. */
  soon(run: () => void): void;
}

/** All that a process of actors takes from outside, the network and the disk aside. */
export interface Ports {
  /** Time. */
  readonly clock: Clock;
  /** One-shot timers. */
  readonly timers: Timers;
  /** Chance. */
  readonly random: Random;
  /** Turns of the event loop. */
  readonly scheduler: Scheduler;
}

/** How much a log line matters. */
export type LogLevel = "debug" | "info" | "warn" | "error";

/** Takes a log line: `event` is a fixed kebab-case name, `fields` what differs from line to line. */
export type Log = (
  level: LogLevel,
  event: string,
  fields: { readonly [field: string]: string | number | boolean | undefined },
) => void;
