/**
 * `deno task test:kill`: kills leaders under load, then all nodes at once, and judges what is left.
 *
 * Exit code 1 if a write was lost, repeated or reordered.
 *
 * @module
 */
import { complain, print } from "../../cli/usage.ts";
import { numberSetting, readSettings } from "../../cli/settings.ts";
import { killAll, killLeaders, type KillReport } from "./kill_runs.ts";

const WRITES_MAX = 10_000_000;
const KILLS_MAX = 1_000;
const PROGRESS_EVERY_MS = 1_000;

const HELP = `Usage: deno task test:kill [flags]

Runs three nodes and kills them under load: first leaders, while tokens are appended with
idempotency keys, then all nodes at once, while keys are put.

  --appends N   writes of each run (default 10000)
  --kills N     kills of each run (default 5)
  --help
`;

/** Says now and then how far a run is. */
function progressLine(what: string, writes: number): (written: number, kills: number) => void {
  let saidMs = performance.now();
  return (written, kills) => {
    if (performance.now() - saidMs < PROGRESS_EVERY_MS) return;
    saidMs = performance.now();
    complain(`${what}: ${written} of ${writes} writes, ${kills} kills`);
  };
}

/** Prints what a run found; false if it found a violation. */
function report(what: string, { writes, recoveriesMs, violations }: KillReport): boolean {
  const sorted = recoveriesMs.toSorted((a, b) => a - b);
  const median = sorted[sorted.length >> 1] ?? 0;
  print(`${what}: ${writes} writes, ${recoveriesMs.length} kills\n`);
  print(`  to the next acknowledged write: median ${median.toFixed(0)} ms, `);
  print(`max ${(sorted.at(-1) ?? 0).toFixed(0)} ms`);
  print(` (each: ${recoveriesMs.map((ms) => ms.toFixed(0)).join(", ")})\n`);
  print(violations.length === 0 ? "  every write exactly once\n" : "  VIOLATIONS\n");
  for (const violation of violations) print(`  ${violation}\n`);
  return violations.length === 0;
}

async function main(): Promise<void> {
  const flags = { string: ["appends", "kills"], boolean: ["help"] };
  const settings = readSettings(Deno.args, flags, (name) => Deno.env.get(name));
  if (settings.isOn("help")) return print(HELP);
  const number = (flag: string, byDefault: number, max: number): number =>
    numberSetting(flag, settings.text(flag) ?? String(byDefault), { min: 1, max });
  const writes = number("appends", 10_000, WRITES_MAX);
  const kills = number("kills", 5, KILLS_MAX);
  const runs = [["leader killed", killLeaders], ["all nodes killed", killAll]] as const;
  let isSound = true;
  for (const [what, run] of runs) {
    const found = await run({ writes, kills, onProgress: progressLine(what, writes) });
    isSound = report(what, found) && isSound;
  }
  Deno.exit(isSound ? 0 : 1);
}

if (import.meta.main) await main();
