/**
 * One run of real processes under real faults: nodes behind proxies, clients over HTTP, the history
 * through the checker, and equal states in the end.
 *
 * @module
 */
import { RealCluster, type StartOptions } from "../process/real_cluster.ts";
import { checkLinearizable, type Verdict } from "../sim/linearizability.ts";
import type { Operation } from "../sim/history.ts";
import { Dice } from "../sim/random.ts";
import { ChaosClients } from "./clients.ts";
import { leaveAndReturn, replaceDisk } from "./members.ts";
import { LinkFaults, NodeProxy } from "./proxy.ts";

/** How large a run is. */
export interface ChaosOptions {
  readonly seed: number;
  readonly nodes: number;
  /** How long faults are injected. */
  readonly durationMs: number;
  readonly clients: number;
  readonly onProgress?: (report: ChaosCounts, leftMs: number) => void;
  /** Ends the run early. */
  readonly isInterrupted?: () => boolean;
}

/** What was done. */
export interface ChaosCounts {
  kills: number;
  leaderKills: number;
  clusterKills: number;
  pauses: number;
  partitions: number;
  slowLinks: number;
  resets: number;
  replacedDisks: number;
  leaves: number;
  operations: number;
  unknown: number;
}

/** What was done and found. */
export interface ChaosReport extends ChaosCounts {
  /** Empty if all is well. */
  readonly violations: readonly string[];
  readonly verdict: Verdict;
  readonly keys: number;
  readonly history: readonly Operation[];
}

/** Nodes listen on another loopback address, on the port at which their proxies stand. */
const NODE_HOST = "127.0.0.2";

/** Nodes that are reached through proxies only. */
class ProxiedCluster extends RealCluster {
  readonly faults = new LinkFaults();
  readonly #proxies: readonly NodeProxy[];

  constructor(size: number) {
    super(size);
    this.#proxies = this.ids.map((id) =>
      new NodeProxy(
        id,
        { hostname: "127.0.0.1", port: this.raftPort(id) },
        { hostname: NODE_HOST, port: this.raftPort(id) },
        this.faults,
      )
    );
  }

  override args(id: number, by: StartOptions["by"] = "peers"): string[] {
    const port = this.raftPort(id);
    const words = super.args(id, by).map((word) =>
      word === `127.0.0.1:${port}` ? `${NODE_HOST}:${port}` : word
    );
    return [
      ...words,
      ...(by === "peers"
        ? ["--listen", `${NODE_HOST}:${port}`]
        : ["--advertise", `127.0.0.1:${port}`]),
      ...["--log-level", "warn"],
    ];
  }

  override async [Symbol.asyncDispose](): Promise<void> {
    this.faults.heal();
    for (const node of this.nodes) node.signal("SIGCONT");
    await Promise.all(this.#proxies.map((proxy) => proxy.stop()));
    await super[Symbol.asyncDispose]();
  }
}

/** Runs chaos for a while and judges it. */
export async function runChaos(options: ChaosOptions): Promise<ChaosReport> {
  const dice = new Dice(options.seed);
  const counts: ChaosCounts = {
    kills: 0,
    leaderKills: 0,
    clusterKills: 0,
    pauses: 0,
    partitions: 0,
    slowLinks: 0,
    resets: 0,
    replacedDisks: 0,
    leaves: 0,
    operations: 0,
    unknown: 0,
  };
  await using cluster = new ProxiedCluster(options.nodes);
  cluster.startAll();
  await cluster.leader();
  // The clients draw from dice of their own: their number of draws depends on the real clock.
  const clients = new ChaosClients(cluster.endpoints, new Dice(options.seed + 1), options.clients);
  const endMs = performance.now() + options.durationMs;
  while (performance.now() < endMs && options.isInterrupted?.() !== true) {
    await injectOne(cluster, dice, counts);
    counts.operations = clients.history.length;
    counts.unknown = clients.history.filter(({ returnMs }) => returnMs === undefined).length;
    options.onProgress?.(counts, endMs - performance.now());
  }
  cluster.faults.heal();
  for (const node of cluster.nodes) node.signal("SIGCONT");
  cluster.startAll();
  await cluster.leader();
  await sleep(1_000);
  await clients.stop();
  const violations = [...clients.surprises];
  try {
    await cluster.agree();
  } catch (error) {
    violations.push((error as Error).message);
  }
  const { history } = clients;
  const verdict = checkLinearizable(history);
  if (verdict.verdict !== "linearizable") violations.push(`history: ${verdict.verdict}`);
  counts.operations = history.length;
  counts.unknown = history.filter(({ returnMs }) => returnMs === undefined).length;
  const keys = new Set(history.map(({ key }) => key)).size;
  return { ...counts, violations, verdict, keys, history };
}

/** Draws a fault, lets it work, and undoes it. */
async function injectOne(
  cluster: ProxiedCluster,
  dice: Dice,
  counts: ChaosCounts,
): Promise<void> {
  const { faults, ids } = cluster;
  const draw = dice.next();
  const victim = dice.pick(ids);
  const others = ids.filter((id) => id !== victim);
  const forMs = dice.between(300, 3_000);
  if (draw < 0.27) {
    const leader = await leaderOf(cluster) ?? victim;
    await killAndRestart(cluster, [leader], dice.between(100, 1_500));
    counts.kills++;
    counts.leaderKills++;
  } else if (draw < 0.45) {
    await killAndRestart(cluster, [victim], dice.between(100, 1_500));
    counts.kills++;
    if (await leaderOf(cluster) === undefined) await cluster.leader();
  } else if (draw < 0.48) {
    await killAndRestart(cluster, ids, dice.between(0, 1_000));
    counts.kills += ids.length;
    counts.leaderKills++;
    counts.clusterKills++;
    await cluster.leader();
  } else if (draw < 0.62) {
    const node = cluster.node(dice.chance(0.5) ? await leaderOf(cluster) ?? victim : victim);
    counts.pauses++;
    node.signal("SIGSTOP");
    await sleep(dice.chance(0.1) ? dice.between(3_000, 10_000) : forMs);
    node.signal("SIGCONT");
  } else if (draw < 0.82) {
    counts.partitions++;
    const leader = await leaderOf(cluster) ?? victim;
    const rest = ids.filter((id) => id !== leader);
    const kind = dice.next();
    if (kind < 0.35) faults.partition([leader], rest);
    else if (kind < 0.55) faults.partition([victim], others);
    else if (kind < 0.7) { for (const id of rest) faults.cut(leader, id); }
    else if (kind < 0.85) { for (const id of rest) faults.cut(id, leader); }
    else faults.partition([victim], [others[0]!]);
    await sleep(forMs);
    faults.heal();
  } else if (draw < 0.89) {
    counts.slowLinks++;
    if (dice.chance(0.3)) faults.dripping.add(victim);
    else faults.slowMs.set(victim, dice.between(5, 200));
    await sleep(forMs);
    faults.heal();
  } else if (draw < 0.93) {
    counts.resets++;
    faults.reset(victim);
    await sleep(200);
  } else {
    const isDisk = dice.chance(0.5);
    const kills = dice.chance(0.5);
    await (isDisk ? replaceDisk : leaveAndReturn)(cluster, victim, async () => {
      if (!kills) return;
      await sleep(dice.between(0, 1_000));
      const killed = await leaderOf(cluster) ?? others[0]!;
      await killAndRestart(cluster, [killed], dice.between(100, 1_000));
      counts.kills++;
    });
    if (isDisk) counts.replacedDisks++;
    else counts.leaves++;
  }
  await sleep(dice.between(100, 1_500));
}

async function killAndRestart(
  cluster: ProxiedCluster,
  ids: readonly number[],
  downMs: number,
): Promise<void> {
  await Promise.all(ids.map((id) => cluster.kill(id)));
  await sleep(downMs);
  // Either names the members or leaves that to the directory; it makes no difference.
  for (const id of ids) cluster.start(id, { by: id % 2 === 0 ? "peers" : "known" });
}

/** The leader that most nodes know of now, without waiting for one. */
async function leaderOf(cluster: ProxiedCluster): Promise<number | undefined> {
  const answers = await Promise.all(cluster.nodes.map((node) => node.status()));
  const best = answers.filter((status) => status?.leader !== undefined)
    .sort((a, b) => b!.term - a!.term)[0];
  return best?.leader;
}

function sleep(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}
