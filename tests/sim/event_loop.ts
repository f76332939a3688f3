/**
 * Virtual time: one heap of events for the whole cluster, and for each life of a node the ports
 * that its actors see.
 *
 * Events at the same time run in the order in which they were planned, so a run is a function of
 * its seed.
 *
 * @module
 */
import type { Ports, TimerHandle } from "../../actors/runtime/ports.ts";
import type { Dice } from "./random.ts";

interface SimEvent {
  readonly atMs: number;
  readonly order: number;
  run: (() => void) | undefined;
}

/** The cluster's only clock and its future. */
export class EventLoop {
  #heap: SimEvent[] = [];
  #order = 0;
  #nowMs = 0;
  /** Events run so far. */
  steps = 0;

  /** The true time, in milliseconds since the start; no node sees it. */
  get nowMs(): number {
    return this.#nowMs;
  }

  /** Plans an event; the answer cancels it. */
  at(atMs: number, run: () => void): () => void {
    const event: SimEvent = { atMs: Math.max(atMs, this.#nowMs), order: this.#order++, run };
    this.#push(event);
    return () => void (event.run = undefined);
  }

  /** Plans an event this far ahead. */
  after(delayMs: number, run: () => void): () => void {
    return this.at(this.#nowMs + delayMs, run);
  }

  /** Runs the next event up to `untilMs`; false if there is none, time then stands at `untilMs`. */
  step(untilMs: number): boolean {
    for (;;) {
      const next = this.#heap[0];
      if (next === undefined || next.atMs > untilMs) {
        this.#nowMs = Math.max(this.#nowMs, untilMs);
        return false;
      }
      this.#pop();
      if (next.run === undefined) continue;
      this.#nowMs = next.atMs;
      this.steps++;
      next.run();
      return true;
    }
  }

  #push(event: SimEvent): void {
    const heap = this.#heap;
    let at = heap.length;
    heap.push(event);
    while (at > 0) {
      const parent = (at - 1) >>> 1;
      if (!isBefore(event, heap[parent]!)) break;
      heap[at] = heap[parent]!;
      at = parent;
    }
    heap[at] = event;
  }

  #pop(): void {
    const heap = this.#heap;
    const last = heap.pop()!;
    if (heap.length === 0) return;
    let at = 0;
    for (;;) {
      let child = 2 * at + 1;
      if (child >= heap.length) break;
      if (child + 1 < heap.length && isBefore(heap[child + 1]!, heap[child]!)) child++;
      if (!isBefore(heap[child]!, last)) break;
      heap[at] = heap[child]!;
      at = child;
    }
    heap[at] = last;
  }
}

function isBefore(a: SimEvent, b: SimEvent): boolean {
  return a.atMs < b.atMs || (a.atMs === b.atMs && a.order < b.order);
}

/** How a node's clock differs from the true time. */
export interface ClockFault {
  /** Local milliseconds per true millisecond. */
  rate: number;
}

/**
 * One life of one process on the event loop. Its events do nothing once it has ended, and wait
 * while it is paused (a stopped process, or an event loop that is stalled): timers that fell due
 * meanwhile fire first when it goes on, as they do in a real process.
 */
export class ProcessLife {
  readonly ports: Ports;
  readonly #loop: EventLoop;
  readonly #clock: ClockFault;
  /** Called after each event of this process. */
  readonly #onRan: () => void;
  #localMs: number;
  #trueMs: number;
  #ended = false;
  #resumeMs = 0;

  constructor(loop: EventLoop, dice: Dice, clock: ClockFault, onRan: () => void) {
    this.#loop = loop;
    this.#onRan = onRan;
    this.#clock = clock;
    // Every process has a clock of its own that began who knows when.
    this.#localMs = dice.between(0, 1e9);
    this.#trueMs = loop.nowMs;
    this.ports = {
      clock: { monotonicMs: () => this.#now() },
      timers: {
        set: (delayMs, fire) => this.after(delayMs / this.#clock.rate, fire) as TimerHandle,
        clear: (handle) => (handle as unknown as () => void)(),
      },
      random: { next: () => dice.next() },
      scheduler: { soon: (run) => void this.after(0, run) },
    };
  }

  /** Whether the process runs no more. */
  get ended(): boolean {
    return this.#ended;
  }

  /** Whether it is paused now. */
  get paused(): boolean {
    return this.#resumeMs > this.#loop.nowMs;
  }

  /** Ends this life; nothing of it runs any more. */
  end(): void {
    this.#ended = true;
  }

  /** The process does nothing for this long. */
  pause(durationMs: number): void {
    this.#resumeMs = Math.max(this.#resumeMs, this.#loop.nowMs + durationMs);
  }

  /** The clock runs at another rate from now on. */
  setClockRate(rate: number): void {
    this.#now();
    this.#clock.rate = rate;
  }

  /** Runs something that has come from outside: now, or once the process is awake. */
  run(run: () => void): void {
    if (this.#ended) return;
    if (this.paused) return void this.after(0, run);
    run();
    this.#onRan();
  }

  /** Plans an event of this process. */
  after(delayMs: number, run: () => void): () => void {
    let cancelled = false;
    const fire = (): void => {
      if (this.#ended || cancelled) return;
      if (this.#resumeMs > this.#loop.nowMs) return void this.#loop.at(this.#resumeMs, fire);
      run();
      this.#onRan();
    };
    this.#loop.after(delayMs, fire);
    return () => void (cancelled = true);
  }

  #now(): number {
    this.#localMs += (this.#loop.nowMs - this.#trueMs) * this.#clock.rate;
    this.#trueMs = this.#loop.nowMs;
    return this.#localMs;
  }
}
