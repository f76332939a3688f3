/**
 * `deno task fuzz`: hostile bytes into every door of the product, from a seed.
 *
 * @module
 */
import { parseArgs } from "@std/cli/parse-args";
import { complain, printLine } from "../../cli/usage.ts";
import { coreFuzzer } from "./core_fuzzer.ts";
import { type Fuzzer, FuzzFailure, runFuzzer, tallyText } from "./fuzzer.ts";
import { HttpFuzzer } from "./http_fuzzer.ts";
import { requestFuzzer } from "./request_fuzzer.ts";
import { StallWatch } from "./stall_watch.ts";
import { walFuzzer } from "./wal_fuzzer.ts";
import { codecFuzzer, frameReaderFuzzer } from "./wire_fuzzer.ts";

/** Longest run. */
export const SECONDS_MAX = 24 * 60 * 60;
/** Highest first seed; each input counts up from it. */
const SEED_MAX = 2 ** 31;

/** All fuzzers that need nothing but a seed. */
const fuzzers: readonly Fuzzer[] = [
  codecFuzzer,
  frameReaderFuzzer,
  requestFuzzer,
  walFuzzer,
  coreFuzzer,
];

const HTTP = "http";

const HELP = `Usage: deno task fuzz [flags]

  --seconds N     how long, shared by the fuzzers (default 60)
  --seed N        first seed; every input has the next (default 1)
  --inputs N      stop each fuzzer after so many inputs
  --only NAME     one of NAMES
`;

async function main(): Promise<void> {
  const args = parseArgs(Deno.args, {
    string: ["seconds", "seed", "inputs", "only"],
    boolean: ["help"],
    unknown: (arg) => {
      complain(`statecraft fuzz: unknown flag ${arg}`);
      Deno.exit(2);
    },
  });
  const names = [...fuzzers.map(({ name }) => name), HTTP].join(", ");
  if (args["help"] === true) return printLine(HELP.replace("NAMES", names));
  const number = (flag: string, byDefault: number, max: number): number => {
    const value = Number(args[flag] ?? byDefault);
    if (value > 0 && value <= max) return value;
    complain(`statecraft fuzz: --${flag} takes a number up to ${max}`);
    Deno.exit(2);
  };
  const seconds = number("seconds", 60, SECONDS_MAX);
  const seed = number("seed", 1, SEED_MAX);
  const inputsMax = number("inputs", Infinity, Infinity);
  const only = args["only"] as string | undefined;
  const chosen = fuzzers.filter(({ name }) => only === undefined || name === only);
  const hasHttp = only === undefined || only === HTTP;
  const parts = chosen.length + (hasHttp ? 1 : 0);
  if (parts === 0) {
    complain(`statecraft fuzz: --only takes one of ${names}`);
    Deno.exit(2);
  }
  const share = { seed, inputsMax, ms: seconds * 1000 / parts };
  for (const fuzzer of chosen) await run(fuzzer, share);
  if (!hasHttp) return;
  await using http = await HttpFuzzer.start();
  await run(http, share, http.stall);
}

async function run(
  fuzzer: Fuzzer,
  { seed, inputsMax, ms }: { seed: number; inputsMax: number; ms: number },
  stall?: StallWatch,
): Promise<void> {
  const watch = stall ?? new StallWatch();
  const startMs = performance.now();
  try {
    const { inputs, tally } = await runFuzzer(fuzzer, seed, (inputs) => {
      if (stall === undefined) watch.note();
      return inputs >= inputsMax || performance.now() - startMs >= ms;
    });
    const perSecond = inputs / (performance.now() - startMs) * 1000;
    const mib = Deno.memoryUsage().rss / 2 ** 20;
    printLine(
      `${fuzzer.name}: ${inputs} inputs, ${perSecond.toFixed(0)}/s, longest ` +
        `${watch.longestMs.toFixed(0)} ms, resident ${mib.toFixed(0)} MiB\n  ${tallyText(tally)}`,
    );
  } catch (error) {
    if (!(error instanceof FuzzFailure)) throw error;
    printLine(error.message);
    Deno.exit(1);
  }
}

if (import.meta.main) await main();
