/**
 * Requests that wait for a leader, all on one event and one timer.
 *
 * During an election thousands of requests may wait. If each looked again every few milliseconds,
 * they would take the processor from the nodes that have to elect.
 *
 * @module
 */
import { type Deadline, Deadlines } from "./runtime/deadlines.ts";
import type { Ports } from "./runtime/ports.ts";

/** First pause before a request that surely had no effect is tried again. */
export const RETRY_PAUSE_MS = 20;
/**
 * Longest such pause. If a known leader does not answer, its followers give it up within an
 * election timeout.
 */
export const RETRY_PAUSE_MS_MAX = 320;

/** The pause after a number of attempts, while a leader is known: doubled each time. */
export function retryPauseMs(attempts: number): number {
  return Math.min(RETRY_PAUSE_MS_MAX, RETRY_PAUSE_MS * 2 ** (attempts - 1));
}

/** Wakes requests when it is worth trying again. */
export class LeaderWatch {
  readonly #ports: Ports;
  readonly #deadlines: Deadlines;
  readonly #waiters = new Set<Waiter>();

  constructor(ports: Ports) {
    this.#ports = ports;
    this.#deadlines = new Deadlines(ports);
  }

  /** Requests that wait. */
  get waiting(): number {
    return this.#waiters.size;
  }

  /** Resolves at the next `wake`, or at `untilMs` if that is earlier. */
  wait(untilMs: number): Promise<void> {
    const leftMs = Math.max(1, untilMs - this.#ports.clock.monotonicMs());
    return new Promise((resolve) => {
      const expire = (): void => {
        this.#waiters.delete(waiter);
        resolve();
      };
      const waiter: Waiter = {
        place: -1,
        tick: 0,
        expire,
        wake: () => {
          this.#deadlines.clear(waiter);
          expire();
        },
      };
      this.#waiters.add(waiter);
      this.#deadlines.set(waiter, leftMs);
    });
  }

  /**
   * There is a leader, or another leader, or nothing to wait for any more: every request that waits
   * tries again.
   */
  wake(): void {
    for (const waiter of [...this.#waiters]) waiter.wake();
  }
}

interface Waiter extends Deadline {
  wake(): void;
}
