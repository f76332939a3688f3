/**
 * One seed, here or in a worker of its own: a simulation holds its thread, so seeds share the
 * processors only from different ones.
 *
 * @module
 */
import { historyToNdjson } from "./history.ts";
import { repeatCommand, simulate, type SimulationOptions } from "./simulation.ts";

/** What to do with a seed. */
export interface SeedTask {
  readonly options: SimulationOptions;
  /** Run it a second time and compare the traces. */
  readonly twice: boolean;
  /** Give the clients' history back. */
  readonly history: boolean;
}

/** What came of it, as plain values that a worker can send. */
export interface SeedResult {
  readonly seed: number;
  readonly traceHash: string;
  readonly simulatedMs: number;
  readonly operations: number;
  /** Operations whose outcome the client never learned. */
  readonly unknown: number;
  readonly faults: readonly (readonly [name: string, count: number])[];
  /** Segments of logs that were begun. */
  readonly segments: number;
  /** Logs that were lost, and restored from the others. */
  readonly logsRestored: number;
  readonly membersChanged: number;
  /** Snapshots that were taken, and those that were installed from a leader. */
  readonly snapshots: { readonly taken: number; readonly installed: number };
  /** Events after which a leader's window to a follower was full. */
  readonly windowsFilled: number;
  readonly transcript: readonly string[];
  /** NDJSON, if it was asked for. */
  readonly history: string | undefined;
  /** What was found, and the line that repeats it. */
  readonly violation: string | undefined;
}

/** Runs the seed to its end. */
export async function runSeed(
  { options, twice, history }: SeedTask,
): Promise<SeedResult> {
  const result = await simulate(options);
  const { traceHash, simulatedMs, operations, unknown, segments, snapshots, windowsFilled } =
    result;
  const again = twice ? (await simulate(options)).traceHash : traceHash;
  const violation = again === traceHash
    ? result.violation
    : `seed ${options.seed} gave trace ${traceHash}, then ${again}`;
  return {
    seed: options.seed,
    traceHash,
    simulatedMs,
    operations,
    unknown,
    segments,
    snapshots,
    logsRestored: result.logsRestored,
    membersChanged: result.membersChanged,
    windowsFilled,
    faults: [...result.faults],
    transcript: [...result.transcript],
    history: history ? historyToNdjson(result.history) : undefined,
    violation: violation === undefined ? undefined : `${violation}\n${repeatCommand(options)}`,
  };
}

/** Runs tasks in `jobs` workers, as each is free; `onResult` returns whether to go on. */
export async function runSeeds(
  tasks: Iterator<SeedTask>,
  jobs: number,
  onResult: (result: SeedResult) => boolean,
): Promise<void> {
  let goesOn = true;
  const work = async (): Promise<void> => {
    const worker = new Worker(new URL("./seed_worker.ts", import.meta.url), { type: "module" });
    try {
      while (goesOn) {
        const task = tasks.next();
        if (task.done === true) return;
        const result = await ask(worker, task.value);
        // One that ended after another had found something is not reported.
        if (goesOn) goesOn = onResult(result);
      }
    } finally {
      worker.terminate();
    }
  };
  await Promise.all(Array.from({ length: jobs }, work));
}

function ask(worker: Worker, task: SeedTask): Promise<SeedResult> {
  return new Promise((resolve, reject) => {
    worker.onmessage = ({ data }: MessageEvent<SeedResult>) => resolve(data);
    worker.onerror = (event) => {
      event.preventDefault();
      reject(new Error(`Cannot run seed ${task.options.seed}: ${event.message}`));
    };
    worker.postMessage(task);
  });
}
