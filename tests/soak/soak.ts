/**
 * The long form of the proof: simulations and real processes in turn, until the time is up or
 * something is violated.
 *
 * @module
 */

/** What one part did, by name, and the violation that ended it. */
export interface PartReport {
  readonly counts: ReadonlyMap<string, number>;
  /** What was found, and the command line that repeats it; undefined if nothing was. */
  readonly violation: string | undefined;
}

/** A part that is run again and again, each time from another seed and for about `ms`. */
export interface SoakPart {
  readonly name: string;
  readonly run: (seed: number, ms: number, onCount: OnCount) => Promise<PartReport>;
}

/** Told the counts of a part that still runs, as they are now. */
export type OnCount = (counts: ReadonlyMap<string, number>) => void;

/** How a soak goes on and when it ends. */
export interface SoakOptions {
  readonly seed: number;
  readonly durationMs: number;
  /** Longest run of one part before the next has its turn. */
  readonly partMs: number;
  readonly parts: readonly SoakPart[];
  readonly nowMs: () => number;
  readonly isInterrupted: () => boolean;
}

/** Runs the parts in turn; what it counted so far can be read at any time. */
export class Soak {
  readonly #options: SoakOptions;
  readonly #finished = new Map<string, number>();
  #running: ReadonlyMap<string, number> = new Map();
  #where = "starting";

  constructor(options: SoakOptions) {
    this.#options = options;
  }

  /** Returns the violation that ended it; undefined if the time was up or it was interrupted. */
  async run(): Promise<string | undefined> {
    const { parts, seed, durationMs, partMs, nowMs, isInterrupted } = this.#options;
    const endMs = nowMs() + durationMs;
    for (let turn = 0; nowMs() < endMs && !isInterrupted(); turn++) {
      const part = parts[turn % parts.length]!;
      const partSeed = seed + Math.floor(turn / parts.length);
      this.#where = `${part.name}, seed ${partSeed}`;
      const { counts, violation } = await part.run(
        partSeed,
        Math.min(partMs, endMs - nowMs()),
        (counts) => this.#running = counts,
      );
      this.#running = new Map();
      add(this.#finished, counts);
      // An interrupted part may be torn in the middle: what it says then proves nothing.
      if (violation !== undefined && !isInterrupted()) {
        add(this.#finished, new Map([["violations", 1]]));
        return violation;
      }
    }
    return undefined;
  }

  /** Everything counted so far, finished or not. */
  get totals(): Map<string, number> {
    const totals = new Map(this.#finished);
    add(totals, this.#running);
    return totals;
  }

  /** What is running now. */
  get where(): string {
    return this.#where;
  }
}

/** Counts as one line, by name. */
export function countsText(counts: ReadonlyMap<string, number>): string {
  return [...counts].sort(([a], [b]) => a < b ? -1 : 1)
    .map(([name, count]) => `${name} ${Math.round(count * 100) / 100}`).join(", ");
}

/** Adds counts to others. */
export function add(to: Map<string, number>, counts: ReadonlyMap<string, number>): void {
  for (const [name, count] of counts) to.set(name, (to.get(name) ?? 0) + count);
}
