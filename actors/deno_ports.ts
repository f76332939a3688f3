/**
 * The real ports: Deno's clock, timers, chance and event loop.
 *
 * @module
 */
import { setImmediate } from "node:timers";
import type { Ports, TimerHandle } from "./runtime/ports.ts";

/** Deno takes a delay as a 32-bit integer, so a longer one would fire at once. */
const TIMER_DELAY_MS_MAX = 2 ** 31 - 1;

/**
 * The ports of this process. `soon` is `setImmediate`: it runs after the IO that is ready, while
 * `setTimeout(0)` costs more than a millisecond.
 *
 * The clock does not count while the machine is suspended.
 */
export const denoPorts: Ports = {
  clock: { monotonicMs: () => performance.now() },
  timers: { set: setTimer, clear: (handle) => clearTimeout(handle as unknown as number) },
  random: { next: () => Math.random() },
  scheduler: { soon: (run) => void setImmediate(run) },
};

function setTimer(delayMs: number, fire: () => void): TimerHandle {
  if (!(delayMs >= 1 && delayMs <= TIMER_DELAY_MS_MAX)) {
    throw new RangeError(`Cannot set a timer: ${delayMs} ms is not within 1 and 2^31-1`);
  }
  return setTimeout(fire, Math.ceil(delayMs)) as unknown as TimerHandle;
}
