/**
 * `deno task coverage:faults`: plays every row of the fault matrix and a batch of random seeds, and
 * prints how often each row was hit and what came of it.
 *
 * @module
 */
import { parseArgs } from "@std/cli/parse-args";
import { complain, printLine } from "../../cli/usage.ts";
import { matrix, type MatrixRow } from "./fault_matrix.ts";
import { faults } from "./faults.ts";
import { DEFAULT_SIMULATION, repeatCommand, simulate } from "./simulation.ts";

/** Random seeds run unless asked for more: about ten seconds. */
const SEEDS_DEFAULT = 10;
/** Most seeds of one run; more take hours. More: refused. */
const SEEDS_MAX = 10_000;

const HELP = `Usage: deno task coverage:faults [--seeds N]

  --seeds N   random simulations beside the matrix, 1 to ${SEEDS_MAX} (default ${SEEDS_DEFAULT})
`;

/** What a batch of random seeds did. */
interface RandomRuns {
  /** How often each fault was drawn, by its name. */
  readonly hits: ReadonlyMap<string, number>;
  /** Every violation, with the line that repeats it. */
  readonly violations: readonly string[];
}

async function main(): Promise<void> {
  const args = parseArgs(Deno.args, {
    string: ["seeds"],
    boolean: ["help"],
    unknown: (arg) => {
      complain(`statecraft coverage: unknown flag ${arg}`);
      Deno.exit(2);
    },
  });
  if (args["help"] === true) return printLine(HELP);
  const seeds = Number(args["seeds"] ?? SEEDS_DEFAULT);
  if (!Number.isInteger(seeds) || seeds < 1 || seeds > SEEDS_MAX) {
    complain(`statecraft coverage: --seeds takes 1 to ${SEEDS_MAX}`);
    Deno.exit(2);
  }
  const { hits, violations } = await runSeeds(seeds);
  let failures = violations.length;
  printLine("| row | title | times hit | result |");
  printLine("|---|---|---|---|");
  for (const row of matrix) {
    const { times, result, isFailure } = playRow(row);
    if (isFailure) failures++;
    const total = times + randomHits(row.row, hits);
    printLine(`| ${row.row} | ${row.title} | ${total} | ${result} |`);
  }
  printLine(`\nRandom faults, ${seeds} seeds:\n\n| fault | row | times hit |\n|---|---|---|`);
  for (const { name, row } of faults) printLine(`| ${name} | ${row} | ${hits.get(name) ?? 0} |`);
  for (const violation of violations) complain(violation);
  if (failures > 0) Deno.exit(1);
}

async function runSeeds(seeds: number): Promise<RandomRuns> {
  const hits = new Map<string, number>();
  const violations: string[] = [];
  for (let seed = 1; seed <= seeds; seed++) {
    const options = { ...DEFAULT_SIMULATION, seed };
    const result = await simulate(options);
    for (const [name, count] of result.faults) hits.set(name, (hits.get(name) ?? 0) + count);
    if (result.violation !== undefined) {
      violations.push(`${result.violation}\n${repeatCommand(options)}`);
    }
  }
  return { hits, violations };
}

/** How often the random runs drew a fault of this row. */
function randomHits(row: string, hits: ReadonlyMap<string, number>): number {
  return faults.filter((fault) => fault.row === row)
    .reduce((sum, { name }) => sum + (hits.get(name) ?? 0), 0);
}

/** Plays a row, if the simulator can, and says in a few words what came of it. */
function playRow(
  { play, shownBy = [] }: MatrixRow,
): { readonly times: number; readonly result: string; readonly isFailure: boolean } {
  const elsewhere = shownBy.length === 0 ? "" : `shown by ${shownBy.length} named tests`;
  if (play === undefined) return { times: 0, result: elsewhere, isFailure: false };
  try {
    const times = play();
    const result = elsewhere === "" ? "passes" : `passes, and ${elsewhere}`;
    return { times, result, isFailure: false };
  } catch (error) {
    const [line] = (error as Error).message.split("\n");
    return { times: 0, result: `FAILS: ${line}`, isFailure: true };
  }
}

if (import.meta.main) await main();
