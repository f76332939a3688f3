import { assert, assertEquals, assertGreater, assertGreaterOrEqual } from "@std/assert";
import fc from "fast-check";
import { openWal } from "./open_wal.ts";
import { type Choose, MemoryDisk, type MemoryDiskOptions } from "../sim/memory_disk.ts";
import {
  contentAfter,
  contentOf,
  encode,
  entry,
  hardState,
  walOptions,
  type Written,
} from "./wal_script.ts";

type Step =
  | { readonly append: readonly Written[] }
  | "beginSync"
  | "endSync";

/** Conflicts, two groups, appends while a sync runs, and segments that end during a sync. */
const script: readonly Step[] = [
  { append: [hardState(0, 1, 1), entry(0, 1, 1), entry(0, 1, 2)] },
  "beginSync",
  { append: [entry(7, 1, 1)] },
  "endSync",
  { append: [entry(0, 1, 3), entry(0, 1, 4)] },
  "beginSync",
  { append: [hardState(0, 2)] },
  { append: [entry(0, 2, 3)] },
  "endSync",
  "beginSync",
  "endSync",
  { append: [hardState(7, 3, 2), entry(7, 3, 2)] },
  { append: [entry(0, 2, 4)] },
  "beginSync",
  "endSync",
  { append: [entry(0, 2, 5)] },
];

const records = script.flatMap((step) => typeof step === "object" ? step.append : []);

class PowerLoss extends Error {}

/** A disk that dies at an operation, and what the log had promised until then. */
class Run {
  readonly disk: MemoryDisk;
  /** Records that were durable according to the log. */
  promised = 0;
  operations = 0;
  #pending: (() => void)[] = [];
  #dieAt: number;

  constructor(dieAt: number, options: MemoryDiskOptions) {
    this.#dieAt = dieAt;
    this.disk = new MemoryDisk({
      ...options,
      later: (run) => this.#pending.push(run),
      fault: () => {
        if (this.operations >= this.#dieAt) throw new PowerLoss();
        this.operations++;
        return undefined;
      },
    });
  }

  /** Plays the script until the power goes. */
  play(): void {
    const ends: number[] = [];
    this.untilPowerLoss(() => {
      const { wal } = openWal(this.disk, walOptions);
      for (const step of script) {
        if (typeof step === "object") {
          const end = wal.append(step.append.map(encode));
          for (const _ of step.append) ends.push(end);
        } else if (step === "beginSync") {
          wal.sync((error, durable) => {
            if (error === undefined) this.promised = ends.filter((end) => end <= durable).length;
          });
        } else while (this.#pending.length > 0) this.#pending.shift()!();
      }
    });
  }

  /** Runs something during which the power may go. */
  untilPowerLoss(run: () => void): void {
    try {
      run();
    } catch (error) {
      const cause = error instanceof Error && error.cause !== undefined ? error.cause : error;
      if (!(cause instanceof PowerLoss)) throw error;
    }
  }

  restoreIn(operations: number): void {
    this.#dieAt = this.operations + operations;
  }
}

Deno.test("S03: after a crash at any operation, with any loss, all that was promised is there", () => {
  let outcomes = 0;
  const operations = countOperations();
  assertGreater(operations, 20);
  for (let dieAt = 0; dieAt <= operations; dieAt++) {
    forEachOutcome((choose) => {
      outcomes++;
      const run = new Run(dieAt, { tornPartBytes: 64 });
      run.play();
      run.disk.crash(choose);
      run.restoreIn(Infinity);
      checkRecovered(run);
    });
  }
  assertGreater(outcomes, 1000);
});

Deno.test("a crash during recovery is recovered from like any other", () => {
  const operations = countOperations();
  fc.assert(
    fc.property(
      fc.nat(operations),
      fc.array(fc.nat(12), { minLength: 1, maxLength: 4 }),
      fc.array(fc.nat(1 << 16), { minLength: 1 }),
      fc.constantFrom(16, 64, 512),
      (dieAt, recoveries, dice, tornPartBytes) => {
        let die = 0;
        const choose: Choose = (count) => dice[die++ % dice.length]! % count;
        const run = new Run(dieAt, { tornPartBytes });
        run.play();
        for (const survived of recoveries) {
          run.disk.crash(choose);
          run.restoreIn(survived);
          run.untilPowerLoss(() => void openWal(run.disk, walOptions));
        }
        run.disk.crash(choose);
        run.restoreIn(Infinity);
        checkRecovered(run);
      },
    ),
    { numRuns: 500 },
  );
});

/** The log holds a prefix of the script with all that was promised, and goes on from there. */
function checkRecovered(run: Run): void {
  const recovered = contentOf(openWal(run.disk, walOptions));
  const text = JSON.stringify(recovered);
  let length = records.length;
  while (length >= 0 && JSON.stringify(contentAfter(records.slice(0, length))) !== text) length--;
  assertGreaterOrEqual(length, 0, `not a prefix: ${text}`);
  assertGreaterOrEqual(length, run.promised, `lost what was promised: ${text}`);

  const { wal } = openWal(run.disk, walOptions);
  const next = [hardState(9, 4, 3), entry(9, 4, 1)];
  wal.append(next.map(encode));
  wal.close();
  const later = openWal(run.disk, walOptions);
  assertEquals(contentOf(later), { ...recovered, ...contentAfter(next) });
  assertEquals(later.tornTail, undefined);
}

function countOperations(): number {
  const run = new Run(Infinity, {});
  run.play();
  assert(run.promised > 0);
  return run.operations;
}

/** Calls `run` once for every sequence of choices it can meet. */
function forEachOutcome(run: (choose: Choose) => void): void {
  let choices: number[] = [];
  for (;;) {
    const counts: number[] = [];
    run((count) => {
      const at = counts.length;
      counts.push(count);
      return choices[at] ?? 0;
    });
    let last = counts.length - 1;
    while (last >= 0 && (choices[last] ?? 0) + 1 >= counts[last]!) last--;
    if (last < 0) return;
    const next = (choices[last] ?? 0) + 1;
    choices = Array.from({ length: last }, (_, at) => choices[at] ?? 0);
    choices.push(next);
  }
}
