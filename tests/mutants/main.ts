/**
 * `deno task mutants`: plants each bug of mutants.ts in a copy of the project and runs the suite
 * against it until something fails; prints which test caught which.
 *
 * A mutant that survives every stage, or whose text is not found, makes the run fail.
 *
 * @module
 */
import { parseArgs } from "@std/cli/parse-args";
import { complain, EXIT, printLine } from "../../cli/usage.ts";
import { type Mutant, mutants } from "./mutants.ts";

/** One stage against one mutant may take this long; a suite that hangs has caught it too. */
export const STAGE_MS_MAX = 120_000;
/** Seeds and simulated minutes of the simulator's stage. */
const SIM = ["--seeds", "60", "--minutes", "2", "--faults-per-hour", "1800"];
const SIM_WIDE = ["--seed", "7000", "--seeds", "25", "--minutes", "2", "--nodes", "5"];

const HELP = `Usage: deno task mutants [flags]

  --only TEXT     mutants whose name contains this
  --shard I/N     every N-th mutant from the I-th on (from 1), to share the work
  --list          print the names
`;

/** Folders and files that a copy needs. */
const COPIED = [
  "deno.json",
  "deno.lock",
  "mod.ts",
  "ARCHITECTURE.md",
  "CHANGELOG.md",
  "README.md",
  "actors",
  "machines",
  "storage",
  "transport",
  "cli",
  "tests",
  "vendor",
];

/** Every stage, the quick ones first. */
const STAGES = ["tests/storage", "tests/transport", "tests/actors", "tests/machines", "sim"];

interface Outcome {
  readonly mutant: Mutant;
  /** The first test that failed; undefined if the mutant survived. */
  readonly caughtBy: string | undefined;
  readonly seconds: number;
}

async function main(): Promise<void> {
  const args = parseArgs(Deno.args, { string: ["only", "shard"], boolean: ["list", "help"] });
  if (args["help"] === true) return printLine(HELP);
  const only = args["only"] as string | undefined;
  const shard = /^(\d+)\/(\d+)$/.exec((args["shard"] as string | undefined) ?? "1/1");
  if (shard === null) throw new Error("--shard takes I/N");
  const chosen = mutants
    .filter(({ name }) => only === undefined || name.includes(only))
    .filter((_, at) => at % Number(shard[2]) === Number(shard[1]) - 1);
  if (args["list"] === true) return chosen.forEach(({ name }) => printLine(name));
  if (chosen.length === 0) {
    complain("statecraft mutants: no mutant has such a name; --list prints the names");
    Deno.exit(EXIT.usage);
  }
  await checkBaseline();
  const outcomes: Outcome[] = [];
  for (const mutant of chosen) {
    const outcome = await judge(mutant);
    outcomes.push(outcome);
    const verdict = outcome.caughtBy === undefined ? "SURVIVED" : `caught by ${outcome.caughtBy}`;
    printLine(
      `${outcomes.length}/${chosen.length}  ${mutant.name}: ${verdict} ` +
        `(${outcome.seconds.toFixed(1)} s)`,
    );
  }
  const survivors = outcomes.filter(({ caughtBy }) => caughtBy === undefined);
  const slowest = outcomes.reduce((a, b) => a.seconds >= b.seconds ? a : b);
  printLine(
    `mutants caught ${outcomes.length - survivors.length}/${outcomes.length}; ` +
      `slowest "${slowest.mutant.name}" ${slowest.seconds.toFixed(1)} s`,
  );
  if (survivors.length > 0) Deno.exit(1);
}

/** A suite that fails without a bug would seem to catch every one. */
async function checkBaseline(): Promise<void> {
  const root = await Deno.makeTempDir({ prefix: "statecraft-mutant-" });
  try {
    copyProject(root);
    for (const stage of STAGES) {
      const failure = await runStage(stage, root);
      if (failure === undefined) continue;
      printLine(`the suite fails without any mutant: ${failure}`);
      Deno.exit(1);
    }
    printLine("the suite passes without mutants");
  } finally {
    await Deno.remove(root, { recursive: true });
  }
}

/** Plants one bug in a fresh copy and looks for it, where it is suspected first. */
async function judge(mutant: Mutant): Promise<Outcome> {
  const root = await Deno.makeTempDir({ prefix: "statecraft-mutant-" });
  const startMs = performance.now();
  try {
    copyProject(root);
    plant(mutant, root);
    const elsewhere = STAGES.filter((stage) => !mutant.suspects.includes(stage));
    for (const stage of [...mutant.suspects, ...elsewhere]) {
      const caughtBy = await runStage(stage, root);
      if (caughtBy === undefined) continue;
      return { mutant, caughtBy, seconds: (performance.now() - startMs) / 1000 };
    }
    return { mutant, caughtBy: undefined, seconds: (performance.now() - startMs) / 1000 };
  } finally {
    await Deno.remove(root, { recursive: true });
  }
}

function plant({ name, file, find, replace }: Mutant, root: string): void {
  const text = Deno.readTextFileSync(`${root}/${file}`);
  const parts = text.split(find);
  if (parts.length !== 2) {
    throw new Error(`Cannot plant "${name}": its text occurs ${parts.length - 1} times in ${file}`);
  }
  Deno.writeTextFileSync(`${root}/${file}`, parts.join(replace));
}

/** Runs one stage; the name of what failed, undefined if all passed. */
async function runStage(stage: string, root: string): Promise<string | undefined> {
  if (stage !== "sim") {
    return await run(root, ["test", "--no-check", "-A", "--fail-fast", stage], stage);
  }
  const wide = await run(root, ["run", "--no-check", "-A", "tests/sim/main.ts", ...SIM], "sim");
  return wide ??
    await run(root, ["run", "--no-check", "-A", "tests/sim/main.ts", ...SIM_WIDE], "sim");
}

async function run(
  root: string,
  args: readonly string[],
  stage: string,
): Promise<string | undefined> {
  const child = new Deno.Command(Deno.execPath(), {
    args: [...args],
    cwd: root,
    env: { NO_COLOR: "1" },
    stdout: "piped",
    stderr: "piped",
  }).spawn();
  const timer = setTimeout(() => child.kill("SIGKILL"), STAGE_MS_MAX);
  const { success, signal, stdout, stderr } = await child.output();
  clearTimeout(timer);
  if (success) return undefined;
  if (signal !== null) return `${stage} (did not end within ${STAGE_MS_MAX / 1000} s)`;
  const text = new TextDecoder().decode(stdout) + new TextDecoder().decode(stderr);
  return `${stage}: ${firstFailure(text)}`;
}

function firstFailure(text: string): string {
  const invariant = /^(INV\d+ [^:]+): /m.exec(text)?.[1];
  const test = /^(.+?) \.\.\. (?:.*)?FAILED/m.exec(text)?.[1];
  const ended = /^node \d+ ended by itself: (.+)$/m.exec(text)?.[1];
  const error = /^(?:error: )?(?:Uncaught )?.*?(\w*Error: .+)$/m.exec(text)?.[1];
  return (invariant ?? test ?? ended ?? error ?? "failed").slice(0, 110);
}

function copyProject(root: string): void {
  for (const name of COPIED) {
    copy(new URL(`../../${name}`, import.meta.url).pathname, `${root}/${name}`);
  }
}

function copy(from: string, to: string): void {
  const { isDirectory } = Deno.statSync(from);
  if (!isDirectory) return Deno.copyFileSync(from, to);
  Deno.mkdirSync(to);
  for (const { name } of Deno.readDirSync(from)) copy(`${from}/${name}`, `${to}/${name}`);
}

if (import.meta.main) await main();
