/**
 * `deno task chaos`: real processes, real faults, and the verdict.
 *
 * @module
 */
import { parseArgs } from "@std/cli/parse-args";
import { complain, printLine } from "../../cli/usage.ts";
import { historyToNdjson } from "../sim/history.ts";
import { timelineHtml, timelineText } from "../sim/timeline.ts";
import { type ChaosReport, runChaos } from "./run.ts";

/** Longest run. */
export const MINUTES_MAX = 24 * 60;
/** A long run is made of rounds, each a cluster of its own, so that histories stay short. */
const ROUND_MINUTES = 5;

const HELP = `Usage: deno task chaos [flags]

  --minutes N     how long faults are injected (default 5)
  --seed N        decides the faults (default 1)
  --nodes N       3 or 5 (default 3)
  --clients N     concurrent clients (default 6)
`;

async function main(): Promise<void> {
  const args = parseArgs(Deno.args, {
    string: ["minutes", "seed", "nodes", "clients"],
    boolean: ["help"],
    unknown: (arg) => {
      complain(`statecraft chaos: unknown flag ${arg}`);
      Deno.exit(2);
    },
  });
  if (args["help"] === true) return printLine(HELP);
  const number = (flag: string, byDefault: number, max: number): number => {
    const value = Number(args[flag] ?? byDefault);
    if (Number.isFinite(value) && value > 0 && value <= max) return value;
    complain(`statecraft chaos: --${flag} takes a number up to ${max}`);
    Deno.exit(2);
  };
  const minutes = number("minutes", 5, MINUTES_MAX);
  const firstSeed = number("seed", 1, 2 ** 31);
  const nodes = number("nodes", 3, 5);
  const clients = number("clients", 6, 64);
  let interrupted = false;
  Deno.addSignalListener("SIGINT", () => interrupted = true);
  Deno.addSignalListener("SIGTERM", () => interrupted = true);
  const reports: ChaosReport[] = [];
  for (let leftMinutes = minutes, seed = firstSeed; leftMinutes > 0 && !interrupted; seed++) {
    const durationMs = Math.min(leftMinutes, ROUND_MINUTES) * 60_000;
    leftMinutes -= ROUND_MINUTES;
    const report = await runChaos({
      seed,
      nodes,
      clients,
      durationMs,
      isInterrupted: () => interrupted,
      onProgress: (counts, leftMs) =>
        complain(
          `seed ${seed}: ${counts.kills} kills, ${counts.pauses} pauses, ` +
            `${counts.partitions} partitions, ${
              counts.replacedDisks + counts.leaves
            } members changed, ` +
            `${counts.operations} operations, ` +
            `${Math.max(0, leftMs / 1000).toFixed(0)} s left`,
        ),
    });
    reports.push(report);
    if (report.violations.length > 0) {
      explain(report, seed);
      printLine(
        `deno task chaos --minutes ${durationMs / 60_000} --seed ${seed} --nodes ${nodes}`,
      );
      Deno.exit(1);
    }
  }
  printLine(summary(reports));
  Deno.exit(0);
}

function summary(reports: readonly ChaosReport[]): string {
  const sum = (pick: (report: ChaosReport) => number): number =>
    reports.reduce((total, report) => total + pick(report), 0);
  return [
    `kills ${sum(({ kills }) => kills)} (of the leader ${sum(({ leaderKills }) => leaderKills)}, ` +
    `of the whole cluster ${sum(({ clusterKills }) => clusterKills)})`,
    `pauses ${sum(({ pauses }) => pauses)}, partitions ${sum(({ partitions }) => partitions)}, ` +
    `slow links ${sum(({ slowLinks }) => slowLinks)}, resets ${sum(({ resets }) => resets)}`,
    `disks replaced ${
      sum(({ replacedDisks }) => replacedDisks)
    }, members that left and came back ` +
    `${sum(({ leaves }) => leaves)}`,
    `operations ${sum(({ operations }) => operations)}, unknown ${
      sum(({ unknown }) => unknown)
    }, ` +
    `histories checked ${sum(({ keys }) => keys)}`,
    `lost acknowledged writes 0, violations 0, all replicas equal at the same applied index`,
  ].join("\n");
}

function explain(report: ChaosReport, seed: number): void {
  for (const violation of report.violations) printLine(violation);
  const file = `chaos-${seed}`;
  Deno.writeTextFileSync(`${file}.ndjson`, historyToNdjson(report.history));
  printLine(`history: ${file}.ndjson`);
  if (report.verdict.verdict !== "violation") return;
  printLine(timelineText(report.verdict.window));
  Deno.writeTextFileSync(
    `${file}.html`,
    timelineHtml(report.verdict.window, `chaos, seed ${seed}, key ${report.verdict.key}`),
  );
  printLine(`timeline: ${file}.html`);
}

if (import.meta.main) await main();
