/**
 * Power lost at every disk operation of a piece of work, with every kind of loss.
 *
 * @module
 */
import { assertEquals } from "@std/assert";
import { type Choose, MemoryDisk, type MemoryDiskOptions } from "../sim/memory_disk.ts";

/** Ways in which the disk may lose what was not synced, tried at each operation. */
const LOSSES = 64;

/** What is done, and what must be there afterwards. */
export interface PowerLossTrial<Result> {
  /** The first operation at which power may be lost is that after so many. */
  readonly operations: number;
  /** When the disk's syncs end. Default: in a microtask, which is after the work. */
  readonly later?: MemoryDiskOptions["later"];
  /** Before power may be lost. */
  readonly prepare?: (disk: MemoryDisk) => void;
  readonly work: (disk: MemoryDisk) => Result;
  /** `result` is undefined if power was lost before the work returned. */
  readonly check: (disk: MemoryDisk, result: Result | undefined) => void;
}

/** Which of the ways to lose what was not synced: another one for each number, as far as there are so many. */
export function choicesOf(dice: number): Choose {
  let rest = dice;
  return (count) => {
    const choice = rest % count;
    rest = Math.floor(rest / count);
    return choice;
  };
}

/** Runs the trial with power lost after 0, 1, … `operations - 1` operations, and each loss. */
export function forEachPowerLoss<Result>(trial: PowerLossTrial<Result>): void {
  for (let survived = 0; survived < trial.operations; survived++) {
    for (let dice = 0; dice < LOSSES; dice++) {
      let alive = Infinity;
      const disk = new MemoryDisk({
        tornPartBytes: 16,
        ...(trial.later === undefined ? {} : { later: trial.later }),
        fault: () => {
          if (alive-- > 0) return undefined;
          throw new Error("power loss");
        },
      });
      trial.prepare?.(disk);
      alive = survived;
      let result: Result | undefined;
      try {
        result = trial.work(disk);
      } catch (error) {
        // A log that failed tells of it as the cause.
        const { cause = error } = error as Error;
        assertEquals((cause as Error).message, "power loss");
      }
      disk.crash(choicesOf(dice));
      alive = Infinity;
      trial.check(disk, result);
    }
  }
}
