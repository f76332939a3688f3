/**
 * `deno task soak`: simulations and chaos in turn, for as long as one likes.
 *
 * @module
 */
import { parseArgs } from "@std/cli/parse-args";
import { complain, printLine } from "../../cli/usage.ts";
import { chaosRounds, simulations } from "./parts.ts";
import { countsText, Soak } from "./soak.ts";

/** Longest run. */
export const MINUTES_MAX = 1_440;
/** Highest first seed; batches have seeds of a thousand times as much. */
const SEED_MAX = 2 ** 31;
/** Simulations and chaos take turns of this. */
const PART_MS = 2 * 60_000;
const PROGRESS_MS = 20_000;

const HELP = `Usage: deno task soak [flags]

  --minutes N     how long, up to ${MINUTES_MAX} (default 10)
  --seed N        first seed (default 1)
`;

async function main(): Promise<void> {
  const args = parseArgs(Deno.args, {
    string: ["minutes", "seed"],
    boolean: ["help"],
    unknown: (arg) => {
      complain(`statecraft soak: unknown flag ${arg}`);
      Deno.exit(2);
    },
  });
  if (args["help"] === true) return printLine(HELP);
  const number = (flag: string, byDefault: number, max: number): number => {
    const value = Number(args[flag] ?? byDefault);
    if (value > 0 && value <= max) return value;
    complain(`statecraft soak: --${flag} takes a number up to ${max}`);
    Deno.exit(2);
  };
  const minutes = number("minutes", 10, MINUTES_MAX);
  const stop = new AbortController();
  for (const signal of ["SIGINT", "SIGTERM"] as const) {
    Deno.addSignalListener(signal, () => stop.abort());
  }
  const soak = new Soak({
    seed: number("seed", 1, SEED_MAX),
    durationMs: minutes * 60_000,
    partMs: Math.min(PART_MS, minutes * 60_000 / 2),
    parts: [simulations(stop.signal), chaosRounds(stop.signal)],
    nowMs: () => performance.now(),
    isInterrupted: () => stop.signal.aborted,
  });
  const startMs = performance.now();
  const progress = setInterval(() => {
    const seconds = ((performance.now() - startMs) / 1000).toFixed(0);
    complain(`${seconds} s, ${soak.where}: ${countsText(soak.totals)}`);
  }, PROGRESS_MS);
  const violation = await soak.run();
  clearInterval(progress);
  const { totals } = soak;
  if (!totals.has("violations")) totals.set("violations", 0);
  printLine(countsText(totals).replaceAll(", ", "\n"));
  if (violation === undefined) Deno.exit(0);
  printLine(violation);
  Deno.exit(1);
}

if (import.meta.main) await main();
