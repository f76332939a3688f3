/**
 * Ports on virtual time for tests of the actors: nothing happens but what the test asks for.
 *
 * @module
 */
import type { Log, Ports, TimerHandle } from "../../actors/runtime/ports.ts";

interface Timer {
  readonly dueMs: number;
  readonly order: number;
  readonly fire: () => void;
}

/** Ports whose time and turns the test drives. */
export class VirtualPorts implements Ports {
  readonly #timers = new Map<TimerHandle, Timer>();
  #soon: (() => void)[] = [];
  #nowMs = 0;
  #order = 0;
  #seed = 1;
  /** Times `soon` was asked for. */
  scheduled = 0;

  readonly clock = { monotonicMs: (): number => this.#nowMs };
  readonly timers = {
    set: (delayMs: number, fire: () => void): TimerHandle => {
      const handle = {};
      this.#timers.set(handle, { dueMs: this.#nowMs + delayMs, order: this.#order++, fire });
      return handle;
    },
    clear: (handle: TimerHandle): void => void this.#timers.delete(handle),
  };
  readonly random = {
    next: (): number => {
      this.#seed = (this.#seed * 48_271) % 2_147_483_647;
      return this.#seed / 2_147_483_647;
    },
  };
  readonly scheduler = {
    soon: (run: () => void): void => {
      this.scheduled++;
      this.#soon.push(run);
    },
  };

  get armedTimers(): number {
    return this.#timers.size;
  }

  /** One turn of the event loop: what was asked for until now, not what that asks for. */
  turn(): void {
    const runs = this.#soon;
    this.#soon = [];
    for (const run of runs) run();
  }

  /** Turns until there is nothing more to do at this moment. */
  settle(): void {
    for (let turns = 0; this.#soon.length > 0; turns++) {
      if (turns > 100_000) throw new Error("Cannot settle: there is no end of turns");
      this.turn();
    }
  }

  /** Lets time pass, firing what is due in order and settling after each. */
  advance(ms: number): void {
    const endMs = this.#nowMs + ms;
    this.settle();
    for (let next = this.#nextDue(endMs); next !== undefined; next = this.#nextDue(endMs)) {
      const [handle, timer] = next;
      this.#timers.delete(handle);
      this.#nowMs = Math.max(this.#nowMs, timer.dueMs);
      timer.fire();
      this.settle();
    }
    this.#nowMs = endMs;
  }

  /** Fires what is due now, without a turn before or after. */
  fireDue(): void {
    for (let next = this.#nextDue(this.#nowMs); next; next = this.#nextDue(this.#nowMs)) {
      this.#timers.delete(next[0]);
      next[1].fire();
    }
  }

  /** Time passes and nothing runs, as in a long synchronous loop. */
  stall(ms: number): void {
    this.#nowMs += ms;
  }

  #nextDue(endMs: number): [TimerHandle, Timer] | undefined {
    let next: [TimerHandle, Timer] | undefined;
    for (const entry of this.#timers) {
      const [, timer] = entry;
      if (timer.dueMs > endMs) continue;
      if (
        next === undefined || timer.dueMs < next[1].dueMs ||
        (timer.dueMs === next[1].dueMs && timer.order < next[1].order)
      ) next = entry;
    }
    return next;
  }
}

/** A log that keeps its lines, and the `Log` that writes them. */
export function memoryLog(): { readonly lines: string[]; readonly log: Log } {
  const lines: string[] = [];
  return {
    lines,
    log: (level, event, fields) => {
      const text = Object.entries(fields).map(([name, value]) => `${name}=${value}`).join(" ");
      lines.push(`${level} ${event} ${text}`);
    },
  };
}
