/**
 * `deno task sim`: runs simulations from seeds, and prints the line that repeats a failure.
 *
 * @module
 */
import { parseArgs } from "@std/cli/parse-args";
import { complain, printLine } from "../../cli/usage.ts";
import { faults } from "./faults.ts";
import { runSeed, runSeeds, type SeedResult, type SeedTask } from "./seed_run.ts";
import { DEFAULT_SIMULATION } from "./simulation.ts";

/** More workers than this would only wait for each other's memory. */
const JOBS_MAX = 64;

const HELP = `Usage: deno task sim [flags]

  --seed N              first seed (default 1)
  --seeds N             how many seeds (default 1)
  --jobs N              how many at a time (default: as many as there are processors)
  --nodes N             3, 5 or 7 (default ${DEFAULT_SIMULATION.nodes})
  --groups N            Raft groups a node (default ${DEFAULT_SIMULATION.groups})
  --minutes N           simulated minutes under faults (default ${DEFAULT_SIMULATION.minutes})
  --faults-per-hour N   (default ${DEFAULT_SIMULATION.faultsPerHour})
  --ops N               client operations a second (default ${DEFAULT_SIMULATION.operationsPerSecond})
  --only LIST           only these faults
  --twice               run each seed twice and compare their traces
  --transcript          print the run as a play: messages, disks, clients, faults
  --history FILE        write the clients' history as NDJSON
  --commit ID           ignored; tells the reader which commit the seed failed on
`;

async function main(): Promise<void> {
  const args = parseArgs(Deno.args, {
    string: [
      "seed",
      "seeds",
      "jobs",
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
  const seeds = number("seeds", 1);
  const jobs = Math.min(seeds, JOBS_MAX, number("jobs", navigator.hardwareConcurrency));
  const only = (args["only"] as string | undefined)?.split(",");
  const unknown = only?.find((name) => !faults.some((fault) => fault.name === name));
  if (unknown !== undefined) {
    const names = faults.map(({ name }) => name).join(", ");
    complain(`statecraft sim: --only does not know "${unknown}"; the faults are ${names}`);
    Deno.exit(2);
  }
  const settings = {
    nodes: number("nodes", DEFAULT_SIMULATION.nodes),
    groups: number("groups", DEFAULT_SIMULATION.groups),
    minutes: number("minutes", DEFAULT_SIMULATION.minutes),
    faultsPerHour: number("faults-per-hour", DEFAULT_SIMULATION.faultsPerHour),
    operationsPerSecond: number("ops", DEFAULT_SIMULATION.operationsPerSecond),
    transcript: args["transcript"] === true,
    ...(only === undefined ? {} : { only }),
  };
  const historyFile = args["history"] as string | undefined;
  const tasks = function* (): Generator<SeedTask> {
    for (let seed = first; seed < first + seeds; seed++) {
      const history = historyFile !== undefined;
      yield { options: { ...settings, seed }, twice: args["twice"] === true, history };
    }
  };
  const report = new Report(seeds, historyFile);
  if (jobs > 1) await runSeeds(tasks(), jobs, (result) => report.add(result));
  else for (const task of tasks()) if (!report.add(await runSeed(task))) break;
  Deno.exit(report.finish());
}

/** Prints the results of the seeds. */
class Report {
  readonly #seeds: number;
  readonly #historyFile: string | undefined;
  readonly #startMs = performance.now();
  readonly #faults = new Map<string, number>();
  #done = 0;
  #simulatedMs = 0;
  #operations = 0;
  #segments = 0;
  #windowsFilled = 0;
  #logsRestored = 0;
  #membersChanged = 0;
  readonly #snapshots = { taken: 0, installed: 0 };
  #found = false;

  constructor(seeds: number, historyFile: string | undefined) {
    this.#seeds = seeds;
    this.#historyFile = historyFile;
  }

  /** Returns whether to go on. */
  add(result: SeedResult): boolean {
    const { seed, traceHash, transcript, history, violation } = result;
    for (const line of transcript) printLine(line);
    if (this.#historyFile !== undefined) Deno.writeTextFileSync(this.#historyFile, history!);
    this.#done++;
    this.#simulatedMs += result.simulatedMs;
    this.#operations += result.operations;
    this.#segments += result.segments;
    this.#windowsFilled += result.windowsFilled;
    this.#logsRestored += result.logsRestored;
    this.#membersChanged += result.membersChanged;
    this.#snapshots.taken += result.snapshots.taken;
    this.#snapshots.installed += result.snapshots.installed;
    for (const [name, count] of result.faults) {
      this.#faults.set(name, (this.#faults.get(name) ?? 0) + count);
    }
    if (violation !== undefined) {
      this.#found = true;
      printLine(violation);
      return false;
    }
    if (this.#done % 20 === 0 || this.#done === this.#seeds) {
      const realMs = performance.now() - this.#startMs;
      const faults = [...this.#faults.values()].reduce((total, count) => total + count, 0);
      printLine(
        `seed ${seed} ok: trace ${traceHash}; ${this.#done} seeds, ` +
          `${(this.#simulatedMs / 3_600_000).toFixed(2)} simulated hours, ` +
          `${(this.#simulatedMs / realMs).toFixed(0)} x real time, ` +
          `${this.#operations} operations, ${faults} faults, ${this.#segments} segments, ` +
          `${this.#snapshots.taken} snapshots, ${this.#snapshots.installed} installed, ` +
          `${this.#logsRestored} logs restored, ${this.#membersChanged} changes of members, ` +
          `windows full ${this.#windowsFilled} times`,
      );
    }
    return true;
  }

  /** Prints the faults, and returns the exit code. */
  finish(): number {
    if (this.#found) return 1;
    printLine([...this.#faults].sort().map(([name, count]) => `${name} ${count}`).join(", "));
    return 0;
  }
}

if (import.meta.main) await main();
