/**
 * What a soak is made of: batches of simulations, and rounds of chaos.
 *
 * @module
 */
import { type ChaosCounts, runChaos } from "../chaos/run.ts";
import type { SimLine } from "./sim_batch.ts";
import { add, type SoakPart } from "./soak.ts";

const MS_PER_HOUR = 3_600_000;
const MS_PER_MINUTE = 60_000;
const CHAOS_CLIENTS = 6;
const CHAOS_NODES = [3, 5];
/** A round shorter than this would be all start and stop. */
const CHAOS_MS_MIN = 5_000;

/** Simulations of 3, 5 and 7 nodes with 1 and 2 groups; `stop` ends the batch at once. */
export function simulations(stop: AbortSignal): SoakPart {
  return {
    name: "simulations",
    run: async (seed, ms, onCount) => {
      const counts = new Map<string, number>();
      const child = new Deno.Command(Deno.execPath(), {
        args: [
          ...["run", "--quiet", "--allow-read", "--allow-write"],
          ...[new URL("./sim_batch.ts", import.meta.url).pathname, String(seed), String(ms)],
        ],
        stdout: "piped",
        stderr: "inherit",
      }).spawn();
      const kill = (): void => child.kill("SIGKILL");
      stop.addEventListener("abort", kill);
      let violation: string | undefined;
      for await (const line of linesOf(child.stdout)) {
        const outcome: SimLine = JSON.parse(line);
        add(counts, countsOf(outcome));
        onCount(counts);
        violation ??= outcome.violation;
      }
      const { success } = await child.status;
      stop.removeEventListener("abort", kill);
      if (!success) violation ??= `the batch ended by itself\n${child.pid}: sim_batch.ts ${seed}`;
      return { counts, violation };
    },
  };
}

/** Real processes under kills, pauses and partitions. */
export function chaosRounds(stop: AbortSignal): SoakPart {
  return {
    name: "chaos",
    run: async (seed, ms, onCount) => {
      const nodes = CHAOS_NODES[seed % CHAOS_NODES.length]!;
      const durationMs = Math.max(ms, CHAOS_MS_MIN);
      const line = `deno task chaos --minutes ${durationMs / MS_PER_MINUTE} --seed ${seed} ` +
        `--nodes ${nodes}`;
      let counts = new Map<string, number>();
      try {
        const report = await runChaos({
          seed,
          nodes,
          clients: CHAOS_CLIENTS,
          durationMs,
          isInterrupted: () => stop.aborted,
          onProgress: (progress) => onCount(counts = chaosCountsOf(progress)),
        });
        const { violations } = report;
        const violation = violations.length === 0 ? undefined : [...violations, line].join("\n");
        return { counts: chaosCountsOf(report), violation };
      } catch (error) {
        // No leader, no agreement, a request refused for good: the run could not even be judged.
        return { counts, violation: `${(error as Error).stack}\n${line}` };
      }
    },
  };
}

function countsOf({ simulatedMs, operations, unknown, faults }: SimLine): Map<string, number> {
  return new Map([
    ["simulated hours", simulatedMs / MS_PER_HOUR],
    ["simulated operations", operations],
    ["simulated operations of unknown outcome", unknown],
    ...faults.map(([name, count]) => [`fault ${name}`, count] as const),
  ]);
}

function chaosCountsOf(counts: ChaosCounts): Map<string, number> {
  const { kills, leaderKills, clusterKills, pauses, partitions, slowLinks, resets } = counts;
  const all = { kills, leaderKills, clusterKills, pauses, partitions, slowLinks, resets };
  return new Map([
    ...Object.entries(all).map(([name, count]) => [`chaos ${name}`, count] as const),
    ["chaos operations", counts.operations],
    ["chaos operations of unknown outcome", counts.unknown],
  ]);
}

async function* linesOf(stream: ReadableStream<Uint8Array>): AsyncGenerator<string> {
  const decoder = new TextDecoder();
  let rest = "";
  for await (const chunk of stream) {
    const lines = (rest + decoder.decode(chunk, { stream: true })).split("\n");
    rest = lines.pop()!;
    yield* lines;
  }
}
