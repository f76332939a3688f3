/**
 * `deno task test:clerk [--kills 100] [--callers 16] [--way http|wire]`: callers of a Clerk count while leaders are killed, and a watch follows them;
 * then they want one lock.
 *
 * @module
 */
import { parseArgs } from "@std/cli/parse-args";
import { printLine } from "../../cli/usage.ts";
import { Clerk, OutcomeUnknownError, UnavailableError } from "../../mod.ts";
import { RealCluster } from "./real_cluster.ts";

/** How long a request may take: far longer than an election. */
const TIMEOUT_MS = 20_000;
/** How long a lock outlives its holder: longer than an election. */
const LOCK_TTL_MS = 5_000;
/** Pauses before a killed node is started again, and before the next is killed. */
const PAUSES_MS = { down: 50, up: 150 } as const;

/** How much is done, and which way the Clerks go. */
export interface RunOptions {
  readonly callers: number;
  readonly kills: number;
  /** Default http. */
  readonly way?: "http" | "wire";
}

function endpointsOf(cluster: RealCluster, way: "http" | "wire"): string[] {
  if (way === "http") return cluster.endpoints;
  return [1, 2, 3].map((id) => `tcp://127.0.0.1:${cluster.raftPort(id)}`);
}

/** What was done and found. */
export interface ClerkReport {
  readonly kills: number;
  readonly acknowledged: number;
  readonly unknown: number;
  readonly unavailable: number;
  /** Acknowledged increments that are missing. */
  readonly lost: number;
  /** Increments that are there though nobody asked for so many. */
  readonly duplicates: number;
  readonly slowestMs: number;
  /** Changes of the first counter that were watched, and how often one did not follow the one before. */
  readonly watched: number;
  readonly gaps: number;
}

/** Runs it. */
export async function runClerks(
  { callers, kills, way = "http" }: RunOptions,
): Promise<ClerkReport> {
  await using cluster = new RealCluster(3);
  cluster.startAll();
  await cluster.leader();
  await using kv = new Clerk({ endpoints: endpointsOf(cluster, way), timeoutMs: TIMEOUT_MS });
  const counts = Array.from({ length: callers }, () => ({ acknowledged: 0, unknown: 0 }));
  let [unavailable, slowestMs, watched, gaps] = [0, 0, 0, 0];
  let isOver = false;
  const keyOf = (caller: number): string => `counter-${caller}`;
  const calls = counts.map(async (count, caller) => {
    while (!isOver) {
      const startMs = performance.now();
      try {
        await kv.increment(keyOf(caller));
        count.acknowledged++;
      } catch (error) {
        if (error instanceof OutcomeUnknownError) count.unknown++;
        else if (error instanceof UnavailableError) unavailable++;
        else throw error;
      }
      slowestMs = Math.max(slowestMs, performance.now() - startMs);
    }
  });
  const stop = new AbortController();
  const watching = (async () => {
    let last = 0n;
    const options = { key: keyOf(0), from: 1, signal: stop.signal };
    for await (const { entry } of kv.watch(options)) {
      const value = BigInt(entry!.text());
      if (value !== last + 1n) gaps++;
      last = value;
      watched++;
    }
  })();
  for (let kill = 0; kill < kills; kill++) {
    const { id } = await cluster.leader();
    await cluster.kill(id);
    await sleep(PAUSES_MS.down);
    cluster.start(id);
    await cluster.leader();
    await sleep(PAUSES_MS.up);
  }
  isOver = true;
  await Promise.all(calls);
  await cluster.agree();
  let [lost, duplicates] = [0, 0];
  for (const [caller, { acknowledged, unknown }] of counts.entries()) {
    const value = Number((await kv.get(keyOf(caller)))?.text() ?? 0);
    lost += Math.max(0, acknowledged - value);
    duplicates += Math.max(0, value - acknowledged - unknown);
  }
  while (watched < counts[0]!.acknowledged) await sleep(PAUSES_MS.down);
  stop.abort();
  await watching;
  const sum = (pick: (count: typeof counts[number]) => number): number =>
    counts.reduce((total, count) => total + pick(count), 0);
  return {
    ...{ kills, unavailable, lost, duplicates, slowestMs, watched, gaps },
    acknowledged: sum(({ acknowledged }) => acknowledged),
    unknown: sum(({ unknown }) => unknown),
  };
}

/** What was done with a lock, and found. */
export interface LockReport {
  readonly kills: number;
  /** Times that somebody held it. */
  readonly held: number;
  /** Times that somebody lost it while it was held. */
  readonly lost: number;
  /** Times that two held it at once, neither of whom had lost it. */
  readonly shared: number;
  /** Tokens that were written though a later holder had written before. */
  readonly unordered: number;
}

/** Callers want one lock while leaders are killed. Each writes its token while it holds the lock. */
export async function runLocks(
  { callers, kills, way = "http" }: RunOptions,
): Promise<LockReport> {
  await using cluster = new RealCluster(3);
  cluster.startAll();
  await cluster.leader();
  const endpoints = endpointsOf(cluster, way);
  const inside = new Set<AbortSignal>();
  let [held, lost, shared] = [0, 0, 0];
  let isOver = false;
  const calls = Array.from({ length: callers }, async () => {
    await using kv = new Clerk({ endpoints, timeoutMs: TIMEOUT_MS });
    while (!isOver) {
      await using lock = await kv.lock("lock", { ttlMs: LOCK_TTL_MS });
      held++;
      if ([...inside].some((other) => !other.aborted)) shared++;
      inside.add(lock.lost);
      const { key, fencingToken } = lock;
      await kv.transact({
        compare: [{ key, target: "created", op: "==", created: fencingToken }],
        success: [{ append: { key: "tokens", value: `${fencingToken} ` } }],
      });
      if (lock.lost.aborted) lost++;
      inside.delete(lock.lost);
    }
  });
  for (let kill = 0; kill < kills; kill++) {
    const { id } = await cluster.leader();
    await cluster.kill(id);
    await sleep(PAUSES_MS.down);
    cluster.start(id);
    await cluster.leader();
    await sleep(PAUSES_MS.up);
  }
  isOver = true;
  await Promise.all(calls);
  await using kv = new Clerk({ endpoints, timeoutMs: TIMEOUT_MS });
  const tokens = (await kv.get("tokens"))!.text().trim().split(" ").map(Number);
  const unordered = tokens.filter((token, at) => at > 0 && token <= tokens[at - 1]!).length;
  return { kills, held, lost, shared, unordered };
}

function sleep(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}

if (import.meta.main) {
  const { kills = "100", callers = "16", way } = parseArgs(Deno.args, {
    string: ["kills", "callers", "way"],
  });
  for (const each of way === undefined ? ["http", "wire"] as const : [way as "http" | "wire"]) {
    const options = { kills: Number(kills), callers: Number(callers), way: each };
    const report = await runClerks(options);
    printLine(JSON.stringify({ way: each, ...report, slowestMs: Math.round(report.slowestMs) }));
    printLine(JSON.stringify({ way: each, ...await runLocks(options) }));
  }
  Deno.exit(0);
}
