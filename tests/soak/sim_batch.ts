/**
 * A batch of simulations in a process of its own: one JSON line on stdout for each seed. A
 * simulation holds its thread, which the clients and timers of the soak must not share.
 *
 * @module
 */
import { printLine } from "../../cli/usage.ts";
import { runSeed, type SeedResult } from "../sim/seed_run.ts";
import { DEFAULT_SIMULATION } from "../sim/simulation.ts";

/** The outcome of one seed, as a line; `violation` is absent in JSON if nothing was found. */
export type SimLine = SeedResult;

/** Nodes and groups of the clusters, in turn. */
const SHAPES = [
  { nodes: 3, groups: 1 },
  { nodes: 5, groups: 1 },
  { nodes: 7, groups: 1 },
  { nodes: 3, groups: 2 },
  { nodes: 5, groups: 2 },
  { nodes: 7, groups: 2 },
];
/** Seeds of one batch do not meet those of the next. */
const SEEDS_PER_BATCH = 1_000;

/** Runs seeds of batch `batch` until `ms` have passed; at least one. */
async function main(): Promise<void> {
  const [batch, ms] = Deno.args.map(Number);
  const endMs = performance.now() + ms!;
  for (let at = 0; at < SEEDS_PER_BATCH && (at === 0 || performance.now() < endMs); at++) {
    const seed = batch! * SEEDS_PER_BATCH + at;
    // The first cluster of a batch is another one each time, so that short batches meet them all.
    const options = { ...DEFAULT_SIMULATION, ...SHAPES[(batch! + at) % SHAPES.length]!, seed };
    const line: SimLine = await runSeed({ options, twice: false, history: false });
    printLine(JSON.stringify(line));
    if (line.violation !== undefined) return;
  }
}

if (import.meta.main) await main();
