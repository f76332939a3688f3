/**
 * How long the event loop was held: figures for a report, never for an assertion.
 *
 * @module
 */

/** The longest time between two notes. */
export class StallWatch {
  #lastMs = performance.now();
  #longestMs = 0;

  /** The event loop, or one input, has come round. */
  note(): void {
    const nowMs = performance.now();
    this.#longestMs = Math.max(this.#longestMs, nowMs - this.#lastMs);
    this.#lastMs = nowMs;
  }

  /** What happened since the last note does not count. */
  restart(): void {
    this.#lastMs = performance.now();
  }

  /** The longest so far, in milliseconds. */
  get longestMs(): number {
    return this.#longestMs;
  }
}
