/**
 * `deno task sim`: runs simulations from seeds, and prints the line that repeats a failure.
 *
 * @module
 */
import { parseArgs } from "@std/cli/parse-args";
import { complain, printLine } from "../../cli/usage.ts";
import { historyToNdjson } from "./history.ts";
import {
  DEFAULT_SIMULATION,
  repeatCommand,
  simulate,
  type SimulationOptions,
} from "./simulation.ts";

const HELP = `Usage: deno task sim [flags]

  --seed N              first seed (default 1)
  --seeds N             how many seeds, one after the other (default 1)
  --nodes N             3, 5 or 7 (default ${DEFAULT_SIMULATION.nodes})
  --groups N            Raft groups a node (default ${DEFAULT_SIMULATION.groups})
  --minutes N           simulated minutes under faults (default ${DEFAULT_SIMULATION.minutes})
  --faults-per-hour N   (default ${DEFAULT_SIMULATION.faultsPerHour})
  --ops N               client operations a second (default ${DEFAULT_SIMULATION.operationsPerSecond})
  --only LIST           only these faults
  --twice               run each seed twice and compare their traces
  --transcript          print the run as a play
  --history FILE        write the clients' history as NDJSON
  --commit ID           ignored; tells the reader which commit the seed failed on
`;

function main(): void {
  const args = parseArgs(Deno.args, {
    string: [
      "seed",
      "seeds",
      "nodes",
      "groups",
      "minutes",
      "faults-per-hour",
      "ops",
      "only",
      "history",
      "commit",
    ],
    boolean: ["transcript", "twice", "help"],
    unknown: (arg) => {
      complain(`statecraft sim: unknown flag ${arg}`);
      Deno.exit(2);
    },
  });
  if (args["help"] === true) return printLine(HELP);
  const number = (flag: string, byDefault: number): number => {
    const value = Number(args[flag] ?? byDefault);
    if (Number.isFinite(value) && value > 0) return value;
    complain(`statecraft sim: --${flag} takes a positive number`);
    Deno.exit(2);
  };
  const first = number("seed", 1);
  const only = args["only"] as string | undefined;
  const totals = new Map<string, number>();
  const startMs = performance.now();
  let simulatedMs = 0;
  let operations = 0;
  const seeds = number("seeds", 1);
  for (let seed = first; seed < first + seeds; seed++) {
    const options: SimulationOptions = {
      seed,
      nodes: number("nodes", DEFAULT_SIMULATION.nodes),
      groups: number("groups", DEFAULT_SIMULATION.groups),
      minutes: number("minutes", DEFAULT_SIMULATION.minutes),
      faultsPerHour: number("faults-per-hour", DEFAULT_SIMULATION.faultsPerHour),
      operationsPerSecond: number("ops", DEFAULT_SIMULATION.operationsPerSecond),
      transcript: args["transcript"] === true,
      ...(only === undefined ? {} : { only: only.split(",") }),
    };
    const result = simulate(options);
    if (args["twice"] === true) {
      const { traceHash } = simulate(options);
      if (traceHash !== result.traceHash) {
        printLine(`seed ${seed} gave trace ${result.traceHash}, then ${traceHash}`);
        Deno.exit(1);
      }
    }
    for (const line of result.transcript) printLine(line);
    if (typeof args["history"] === "string") {
      Deno.writeTextFileSync(args["history"], historyToNdjson(result.history));
    }
    simulatedMs += result.simulatedMs;
    operations += result.operations;
    for (const [name, count] of result.faults) totals.set(name, (totals.get(name) ?? 0) + count);
    if (result.violation !== undefined) {
      printLine(result.violation);
      printLine(repeatCommand(options));
      Deno.exit(1);
    }
    if (seeds === 1 || seed % 20 === 0 || seed === first + seeds - 1) {
      const realMs = performance.now() - startMs;
      printLine(
        `seed ${seed} ok: trace ${result.traceHash}, ${(simulatedMs / 3_600_000).toFixed(2)} ` +
          `simulated hours, ${(simulatedMs / realMs).toFixed(0)} x real time, ` +
          `${operations} operations, ${sum(totals)} faults`,
      );
    }
  }
  printLine([...totals].sort().map(([name, count]) => `${name} ${count}`).join(", "));
}

function sum(counts: ReadonlyMap<string, number>): number {
  return [...counts.values()].reduce((total, count) => total + count, 0);
}

if (import.meta.main) main();
