/**
 * One run from a seed: a safety phase under random faults, then a liveness phase on a healed
 * quorum, then the verdict on the clients' history.
 *
 * @module
 */
import {
  BACK_OFF_MS_MAX,
  DIAL_MS_MAX,
  IDLE_MS_MAX,
  SUSPECT_MS_MAX,
} from "../../machines/peer_machine.ts";
import type { NodeId } from "../../machines/raft_types.ts";
import { DiskError } from "../../storage/log/disk.ts";
import { SimCluster } from "./cluster.ts";
import { InvariantViolation } from "./cluster_watch.ts";
import { type Fault, faults, healEverything } from "./faults.ts";
import type { Operation } from "./history.ts";
import { checkLinearizable } from "./linearizability.ts";
import { timelineText } from "./timeline.ts";
import { SimWatcher } from "./sim_watcher.ts";
import { DEFAULT_WORKLOAD, Workload } from "./workload.ts";

/** How long a snapshot may take on its way to a node that is behind, at the end of a run. */
const INSTALL_MS_MAX = 30_000;

/** What a run is made from; the seed decides the rest. */
export interface SimulationOptions {
  readonly seed: number;
  readonly nodes: number;
  /** Raft groups on every node; clients use each. */
  readonly groups: number;
  /** Simulated minutes of the safety phase. */
  readonly minutes: number;
  readonly faultsPerHour: number;
  readonly operationsPerSecond: number;
  readonly transcript?: boolean;
  /** Only these faults, by name; all by default. */
  readonly only?: readonly string[];
}

/** A usual run. */
export const DEFAULT_SIMULATION: Omit<SimulationOptions, "seed"> = {
  nodes: 3,
  groups: 1,
  minutes: 2,
  faultsPerHour: 900,
  operationsPerSecond: 50,
};

/** What a run did and found. */
export interface SimulationResult {
  readonly seed: number;
  readonly traceHash: string;
  readonly simulatedMs: number;
  readonly steps: number;
  readonly operations: number;
  readonly unknown: number;
  readonly faults: ReadonlyMap<string, number>;
  /** Segments of logs that were begun. */
  readonly segments: number;
  /** Logs that were lost, and restored from the others. */
  readonly logsRestored: number;
  /** Changes of the members that were made. */
  readonly membersChanged: number;
  /** Snapshots that were taken, and those that were installed from a leader. */
  readonly snapshots: { readonly taken: number; readonly installed: number };
  /** Events after which a leader's window to a follower was full. */
  readonly windowsFilled: number;
  /** Undefined if nothing was found. */
  readonly violation: string | undefined;
  readonly transcript: readonly string[];
  readonly history: readonly Operation[];
}

/** Election timeouts after the heal until there must be one leader (INV10). */
const HEAL_ELECTION_TIMEOUTS = 10;
/** A link that was half open, refused a dial and backed off is up again by then. */
const RELINK_MS = IDLE_MS_MAX + SUSPECT_MS_MAX + DIAL_MS_MAX + 2 * BACK_OFF_MS_MAX;
/** A fault lasts this long. */
const FAULT_MS = { min: 100, max: 8_000 };
/** Clients go on this long after the heal. */
const LIVENESS_MS = 3_000;

/** Clients of a group that watch it. */
const WATCHERS = 2;

/** Runs a simulation. */
export async function simulate(options: SimulationOptions): Promise<SimulationResult> {
  const groups = Array.from({ length: options.groups }, (_, group) => group);
  const cluster = new SimCluster({
    seed: options.seed,
    nodes: options.nodes,
    groups,
    isDrawn: true,
    transcript: options.transcript ?? false,
  });
  const workloads = groups.map((group) =>
    new Workload(cluster, {
      ...DEFAULT_WORKLOAD,
      group,
      operationsPerSecond: options.operationsPerSecond / groups.length,
    })
  );
  const counts = new Map<string, number>();
  let violation: string | undefined;
  try {
    cluster.startAll();
    for (const workload of workloads) workload.start();
    for (const group of groups) {
      for (let n = 1; n <= WATCHERS; n++) {
        new SimWatcher(`watcher ${group}/${n}`, cluster, group).start();
      }
    }
    await safetyPhase(cluster, options, counts);
    await livenessPhase(cluster, workloads);
    violation = workloads.map(verdictOf).find((text) => text !== undefined);
  } catch (error) {
    // A broken invariant, or a defect that the product's own assertions found.
    violation = error instanceof InvariantViolation
      ? error.message
      : `${(error as Error).stack} (at ${cluster.loop.nowMs} ms)`;
  }
  const history = workloads.flatMap((workload) => workload.history);
  return {
    seed: options.seed,
    traceHash: cluster.traceHash,
    simulatedMs: cluster.loop.nowMs,
    steps: cluster.loop.steps,
    operations: history.length,
    unknown: history.filter(({ returnMs }) => returnMs === undefined).length,
    faults: counts,
    segments: [...cluster.nodes.values()].reduce((sum, node) => sum + node.segments, 0),
    windowsFilled: cluster.windowsFilled,
    snapshots: cluster.snapshots,
    membersChanged: cluster.membersChanged,
    logsRestored: [...cluster.nodes.values()].reduce((sum, node) => sum + node.logsRestored, 0),
    violation: violation ?? unexpectedFailure(cluster),
    transcript: cluster.transcript,
    history,
  };
}

/** The command line that repeats a run. */
export function repeatCommand(options: SimulationOptions): string {
  const { seed, nodes, groups, minutes, faultsPerHour, operationsPerSecond, only } = options;
  return `deno task sim --seed ${seed} --nodes ${nodes} --groups ${groups} --minutes ${minutes} ` +
    `--faults-per-hour ${faultsPerHour} --ops ${operationsPerSecond}` +
    (only === undefined ? "" : ` --only ${only.join()}`);
}

async function safetyPhase(
  cluster: SimCluster,
  options: SimulationOptions,
  counts: Map<string, number>,
): Promise<void> {
  const { dice, loop } = cluster;
  const endMs = options.minutes * 60_000;
  const drawable = faults.filter(({ name }) => options.only?.includes(name) ?? true);
  const meanMs = 3_600_000 / options.faultsPerHour;
  const next = (): void => {
    if (loop.nowMs >= endMs) return;
    cluster.letJoin();
    const possible = drawable.filter(({ isPossible }) => isPossible?.(cluster) ?? true);
    if (possible.length === 0) return void loop.after(dice.exponential(meanMs), next);
    const fault = draw(cluster, possible);
    counts.set(fault.name, (counts.get(fault.name) ?? 0) + 1);
    cluster.say(`fault cluster ${fault.name}`);
    const end = fault.begin(cluster);
    loop.after(dice.between(FAULT_MS.min, FAULT_MS.max), () => {
      cluster.say(`fault cluster ${fault.name} ends`);
      end();
    });
    loop.after(dice.exponential(meanMs), next);
  };
  loop.after(dice.exponential(meanMs), next);
  await cluster.play(endMs - loop.nowMs);
  // What began last must end before the heal, or its end would undo the heal.
  await cluster.play(FAULT_MS.max);
}

function draw(cluster: SimCluster, drawable: readonly Fault[]): Fault {
  let left = cluster.dice.next() * drawable.reduce((sum, { weight }) => sum + weight, 0);
  for (const fault of drawable) {
    left -= fault.weight;
    if (left < 0) return fault;
  }
  return drawable.at(-1)!;
}

/**
 * Heals a random quorum; the other nodes stay down. Nodes that lost their disks or their logs are in
 * no quorum and run beside it: they must not disturb it.
 */
async function livenessPhase(cluster: SimCluster, workloads: readonly Workload[]): Promise<void> {
  cluster.letJoin();
  const healed = healedQuorum(cluster);
  const lost = [...cluster.lost, ...cluster.damaged];
  for (const id of cluster.ids) {
    if (!healed.includes(id) && !lost.includes(id)) cluster.crash(id);
  }
  healEverything(cluster, [...healed, ...lost]);
  cluster.say(`heal  nodes=${healed.join()}`);
  // A paused process of the safety phase still has to wake.
  await cluster.playUntilTrue(
    10_000,
    () => healed.every((id) => cluster.node(id).life?.paused !== true),
  );
  const { electionTimeoutMsMax } = cluster.timing;
  await cluster.play(RELINK_MS + HEAL_ELECTION_TIMEOUTS * electionTimeoutMsMax);
  cluster.letJoin();
  const healedMs = cluster.loop.nowMs;
  await cluster.play(LIVENESS_MS);
  for (const workload of workloads) workload.stop();
  await cluster.playUntilTrue(
    2 * DEFAULT_WORKLOAD.deadlineMs,
    () => workloads.every(({ underWay }) => underWay === 0),
  );
  // Followers learn the last commit with a heartbeat.
  await cluster.play(electionTimeoutMsMax);
  // Who was removed and could not be told, or has ended, is not asked.
  const { config: { members } } = cluster.members;
  const quorum = healed.filter((id) => members.some((member) => member.id === id));
  // One that is behind the log's base gets a snapshot, in parts of a few bytes if the seed says so. Now
  // that nothing is written, it needs no second one.
  await cluster.playUntilTrue(INSTALL_MS_MAX, () =>
    cluster.groups.every((group) => {
      const applied = quorum.map((node) => cluster.host(node, group)?.machine.lastApplied);
      return new Set(applied).size === 1;
    }));
  cluster.groups.forEach((group, at) => {
    cluster.tell({
      type: "end",
      group,
      nodes: quorum.map((node) => storeOf(cluster, node, group)),
      leaders: quorum.filter((id) => cluster.host(id, group)?.core.role === "leader"),
      unanswered: workloads[at]!.history.filter(({ invokeMs, returnMs }) =>
        invokeMs >= healedMs && returnMs === undefined
      ).length,
    });
  });
}

/**
 * A random majority of the voters. Where members have changed, all of them: a change may be under way,
 * and only those who take part in it know what it needs.
 */
function healedQuorum(cluster: SimCluster): NodeId[] {
  const { dice, ids } = cluster;
  const lost = [...cluster.lost, ...cluster.damaged];
  const whole = ids.filter((id) => !lost.includes(id));
  const { index, config } = cluster.members;
  const hasChanged = cluster.membersChanged > 0 || config.members.length !== ids.length;
  if (index > 0 && hasChanged) return whole;
  const majority = Math.floor(ids.length / 2) + 1;
  return dice.shuffle(whole).slice(0, majority + dice.below(whole.length - majority + 1));
}

function storeOf(
  cluster: SimCluster,
  node: NodeId,
  group: number,
): { node: NodeId; applied: number; stateHash: string } {
  const store = cluster.host(node, group)?.machine;
  return { node, applied: store?.lastApplied ?? 0, stateHash: store?.stateHash() ?? "down" };
}

function verdictOf(workload: Workload): string | undefined {
  const verdict = checkLinearizable(workload.history);
  if (verdict.verdict === "violation") {
    return `INV9 linearizability: key ${verdict.key}\n${timelineText(verdict.window)}`;
  }
  // What nobody has judged has not passed.
  if (verdict.verdict === "undecided") return `INV9 undecided: keys ${verdict.keys.join(", ")}`;
  return undefined;
}

/**
 * A node that ended by itself is a defect, unless a write or a sync of its disk had failed. A full disk
 * is no such failure.
 */
function unexpectedFailure(cluster: SimCluster): string | undefined {
  const failure = cluster.failures.find(({ error }) => {
    const cause = error.name === "WalFailedError" ? error.cause : error;
    return !(cause instanceof DiskError && cause.code === "io");
  });
  return failure === undefined
    ? undefined
    : `node ${failure.node} ended by itself: ${failure.error.stack}`;
}
