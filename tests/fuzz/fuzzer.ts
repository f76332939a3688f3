/**
 * What a fuzzer is, and how one is run: every input has a seed of its own, so that a failure is
 * repeated by that input alone.
 *
 * @module
 */
import { Dice } from "../sim/random.ts";

/** How often each thing happened: what became of the inputs. */
export type Tally = Map<string, number>;

/** Draws one input, feeds it, and throws if the product does what it must not. */
export interface Fuzzer {
  readonly name: string;
  /** All that the input is made of comes from `dice`; `tally` counts what became of it. */
  readonly tryOne: (dice: Dice, tally: Tally) => void | Promise<void>;
}

/** What a run of one fuzzer did. */
export interface FuzzReport {
  readonly inputs: number;
  readonly tally: Tally;
}

/** The product did what it must not; the message ends with the line that repeats it. */
export class FuzzFailure extends Error {
  override readonly name = "FuzzFailure";

  constructor(fuzzer: string, seed: number, cause: unknown) {
    const reason = cause instanceof Error ? cause.stack ?? cause.message : String(cause);
    super(`${reason}\ndeno task fuzz --only ${fuzzer} --seed ${seed} --inputs 1`, { cause });
  }
}

/**
 * Tries inputs of consecutive seeds until `isOver` says so, which is asked before each.
 *
 * @throws {FuzzFailure} At the first input that the fuzzer does not pass.
 */
export async function runFuzzer(
  fuzzer: Fuzzer,
  seed: number,
  isOver: (inputs: number) => boolean,
): Promise<FuzzReport> {
  const tally: Tally = new Map();
  let inputs = 0;
  for (; !isOver(inputs); inputs++) {
    const inputSeed = seed + inputs;
    try {
      const trial = fuzzer.tryOne(new Dice(inputSeed), tally);
      // A synchronous fuzzer is not slowed by a turn of the event loop for each input.
      if (trial !== undefined) await trial;
    } catch (error) {
      throw new FuzzFailure(fuzzer.name, inputSeed, error);
    }
  }
  return { inputs, tally };
}

/** Adds one to a count. */
export function count(tally: Tally, what: string): void {
  tally.set(what, (tally.get(what) ?? 0) + 1);
}

/** The counts as one line, the most frequent first. */
export function tallyText(tally: Tally): string {
  return [...tally].sort(([, a], [, b]) => b - a).map(([what, times]) => `${what} ${times}`)
    .join(", ");
}
