/**
 * Deadlines by the hundred thousand on one timer: a hashed wheel of coarse ticks.
 *
 * @module
 */
import { Bag, type BagItem } from "./bag.ts";
import { DEADLINE_RESOLUTION_MS, DEADLINE_SLOTS } from "./limits.ts";
import type { Clock, TimerHandle, Timers } from "./ports.ts";

/** Something to be done once its time is up; it is in one wheel at a time. */
export interface Deadline extends BagItem {
  /** Set by the wheel: when it is due, as monotonic time divided by the resolution, rounded up. */
  tick: number;
  expire(): void;
}

/**
 * Calls `expire` at the first tick after the deadline: never early, and at most
 * DEADLINE_RESOLUTION_MS late, plus the lateness of the event loop.
 *
 * | operation | cost |
 * |---|---|
 * | set, clear | O(1) |
 * | a tick | O(deadlines in its slot) |
 *
 * The timer runs only while there are deadlines, and to the next slot that has any.
 */
export class Deadlines {
  readonly #clock: Clock;
  readonly #timers: Timers;
  readonly #slots: Bag<Deadline>[] = Array.from({ length: DEADLINE_SLOTS }, () => new Bag());
  #size = 0;
  /** The last tick whose slot was looked at. */
  #tick = 0;
  #timer: TimerHandle | undefined;
  #timerTick = 0;

  constructor(ports: { readonly clock: Clock; readonly timers: Timers }) {
    this.#clock = ports.clock;
    this.#timers = ports.timers;
  }

  /** Deadlines that are neither due nor cleared. */
  get size(): number {
    return this.#size;
  }

  /** Has `deadline` expire after `delayMs`. */
  set(deadline: Deadline, delayMs: number): void {
    const nowMs = this.#clock.monotonicMs();
    if (this.#size === 0) this.#tick = Math.floor(nowMs / DEADLINE_RESOLUTION_MS);
    const tick = Math.ceil((nowMs + delayMs) / DEADLINE_RESOLUTION_MS);
    deadline.tick = tick;
    this.#slots[tick % DEADLINE_SLOTS]!.add(deadline);
    this.#size++;
    if (this.#timer === undefined || tick < this.#timerTick) this.#arm(tick, nowMs);
  }

  /** Forgets the deadline; does nothing if it is past. */
  clear(deadline: Deadline): void {
    if (!this.#slots[deadline.tick % DEADLINE_SLOTS]!.delete(deadline)) return;
    this.#size--;
    if (this.#size === 0) this.#disarm();
  }

  #arm(tick: number, nowMs: number): void {
    this.#disarm();
    this.#timerTick = tick;
    // No later than once around the wheel, which looks again then: a timer does not take any delay.
    const delayMs = Math.min(
      DEADLINE_SLOTS * DEADLINE_RESOLUTION_MS,
      Math.max(1, tick * DEADLINE_RESOLUTION_MS - nowMs),
    );
    this.#timer = this.#timers.set(delayMs, () => {
      this.#timer = undefined;
      this.#advance();
    });
  }

  #disarm(): void {
    if (this.#timer !== undefined) this.#timers.clear(this.#timer);
    this.#timer = undefined;
  }

  #advance(): void {
    const now = Math.floor(this.#clock.monotonicMs() / DEADLINE_RESOLUTION_MS);
    // However late it is, once around is enough: every slot has been looked at then.
    const from = Math.max(this.#tick + 1, now - DEADLINE_SLOTS + 1);
    this.#tick = now;
    for (let tick = from; tick <= now; tick++) this.#expireSlot(tick % DEADLINE_SLOTS, now);
    if (this.#size > 0) this.#arm(this.#nextTick(now), this.#clock.monotonicMs());
  }

  #expireSlot(slot: number, now: number): void {
    for (const deadline of this.#slots[slot]!.items()) {
      if (deadline.tick > now || !this.#slots[slot]!.delete(deadline)) continue;
      this.#size--;
      deadline.expire();
    }
  }

  /** The first tick whose slot is not empty; it may hold only deadlines of a later round. */
  #nextTick(now: number): number {
    let tick = now + 1;
    while (this.#slots[tick % DEADLINE_SLOTS]!.size === 0) tick++;
    return tick;
  }
}
