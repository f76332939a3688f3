/**
 * Requests that wait for a leader, all on one event and one timer.
 *
 * During an election thousands of requests may wait. If each looked again every few milliseconds,
 * they would take the processor from the nodes that have to elect.
 *
 * @module
 */
import { type Deadline, Deadlines } from "./runtime/deadlines.ts";
import type { Ports, TimerHandle } from "./runtime/ports.ts";

/** Pause before a request that surely had no effect is tried again while a leader is known. */
export const RETRY_PAUSE_MS = 20;

/** Wakes requests when it is worth trying again. */
export class LeaderWatch {
  readonly #ports: Ports;
  readonly #deadlines: Deadlines;
  #waiters = new Set<Waiter>();
  #timer: TimerHandle | undefined;

  constructor(ports: Ports) {
    this.#ports = ports;
    this.#deadlines = new Deadlines(ports);
  }

  /** Requests that wait. */
  get waiting(): number {
    return this.#waiters.size;
  }

  /**
   * Resolves when a leader is heard of, or at `deadlineMs`. While a leader is known already, it
   * resolves after RETRY_PAUSE_MS, which all who wait share.
   */
  wait(options: { readonly leaderIsKnown: boolean; readonly deadlineMs: number }): Promise<void> {
    const leftMs = Math.max(1, options.deadlineMs - this.#ports.clock.monotonicMs());
    return new Promise((resolve) => {
      const waiter: Waiter = {
        place: -1,
        tick: 0,
        wake: () => {
          this.#deadlines.clear(waiter);
          this.#waiters.delete(waiter);
          resolve();
        },
        expire: () => {
          this.#waiters.delete(waiter);
          resolve();
        },
      };
      this.#waiters.add(waiter);
      this.#deadlines.set(waiter, leftMs);
      if (options.leaderIsKnown) this.#wakeSoon();
    });
  }

  /** A leader is known, or another one: everybody tries again. */
  leaderChanged(): void {
    for (const waiter of [...this.#waiters]) waiter.wake();
  }

  #wakeSoon(): void {
    this.#timer ??= this.#ports.timers.set(RETRY_PAUSE_MS, () => {
      this.#timer = undefined;
      this.leaderChanged();
    });
  }
}

interface Waiter extends Deadline {
  wake(): void;
}
