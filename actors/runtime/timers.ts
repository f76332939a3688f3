/**
 * One lazy timer for a deadline that moves all the time.
 *
 * A follower's election deadline moves with every heartbeat. To move it to a later time costs
 * nothing: the timer fires at the earlier time, sees the new deadline, and is set again.
 *
 * @module
 */
import type { Ports, TimerHandle } from "./ports.ts";

/** Longest single delay; a later deadline is reached in several. Timers take at most 2^31-1 ms. */
export const TIMER_DELAY_MS_MAX = 60 * 60 * 1_000;

/** Calls `due` once the deadline has passed, at least a millisecond after it was set. */
export class LazyTimer {
  readonly #ports: Ports;
  readonly #due: (lateMs: number) => void;
  #deadlineMs = Infinity;
  #armedMs = Infinity;
  #handle: TimerHandle | undefined;

  /** `due` gets by how much the deadline was missed. */
  constructor(ports: Ports, due: (lateMs: number) => void) {
    this.#ports = ports;
    this.#due = due;
  }

  /** Sets the deadline on the ports' clock; Infinity for none. */
  set(deadlineMs: number): void {
    this.#deadlineMs = deadlineMs;
    if (deadlineMs >= this.#armedMs) return;
    this.#disarm();
    this.#arm();
  }

  /** Forgets the deadline. */
  stop(): void {
    this.#deadlineMs = Infinity;
    this.#disarm();
  }

  #arm(): void {
    if (this.#deadlineMs === Infinity) return;
    const nowMs = this.#ports.clock.monotonicMs();
    const delayMs = Math.min(Math.max(1, this.#deadlineMs - nowMs), TIMER_DELAY_MS_MAX);
    this.#armedMs = nowMs + delayMs;
    this.#handle = this.#ports.timers.set(delayMs, () => this.#fire());
  }

  #disarm(): void {
    if (this.#handle !== undefined) this.#ports.timers.clear(this.#handle);
    this.#handle = undefined;
    this.#armedMs = Infinity;
  }

  #fire(): void {
    this.#handle = undefined;
    this.#armedMs = Infinity;
    const lateMs = this.#ports.clock.monotonicMs() - this.#deadlineMs;
    if (lateMs < 0) return this.#arm();
    this.#deadlineMs = Infinity;
    this.#due(lateMs);
  }
}
