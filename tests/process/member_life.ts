/**
 * The life of a cluster of real processes under constant load: it is founded with one node, grows, loses
 * a disk and gets another, moves a member, shrinks without its leader, and is upgraded.
 *
 * Run by hand it takes its time and prints a table:
 * `deno run -A tests/process/member_life.ts --step-seconds 30`.
 *
 * @module
 */
import { parseArgs } from "@std/cli/parse-args";
import { CLUSTER_VERSIONS } from "../../machines/group_config.ts";
import { DEFAULT_TIMING } from "../../machines/group_state.ts";
import type { MembersChanged } from "../../transport/http/gateway_port.ts";
import { kvAt } from "../cli/run_kv.ts";
import { eventually, RealCluster } from "./real_cluster.ts";

const CLIENTS = 4;
const ATTEMPT_MS_MAX = 3_000;
const RETRY_MS = 5;
/** Longer than a member takes to see that it listens elsewhere than the members have agreed on. */
const TENDED_MS = 1_500;
const NEXT_BUILD = new URL("./next_build.ts", import.meta.url).pathname;

/** What happened in one step. */
export interface Step {
  readonly name: string;
  /** Writes that were acknowledged. */
  readonly acknowledged: number;
  /** Attempts that failed, and were repeated with the same key. */
  readonly failed: number;
  /** The longest time without any acknowledged write. */
  readonly pauseMs: number;
  /** The longest time of one write, with all its attempts. */
  readonly slowestMs: number;
}

/** What became of it all. */
export interface Life {
  readonly steps: readonly Step[];
  /** Acknowledged writes that are not there in the end. */
  readonly lost: number;
}

/** Writes that go to one key: a longer value would make each append a copy of it. */
const VALUE_WRITES = 500;

function keyOf(client: number, n: number): string {
  return `client-${client}-${Math.floor(n / VALUE_WRITES)}`;
}

/** Clients that write one number after the other, each to keys of its own. */
class Load {
  readonly #cluster: RealCluster;
  readonly #acknowledged: number[] = [];
  readonly #clients: Promise<void>[];
  #isOver = false;
  #step = { acknowledged: 0, failed: 0, pauseMs: 0, slowestMs: 0 };
  #lastMs = performance.now();

  constructor(cluster: RealCluster) {
    this.#cluster = cluster;
    this.#clients = Array.from({ length: CLIENTS }, (_, client) => this.#run(client));
  }

  /** What happened since the last call. */
  takeStep(name: string): Step {
    const step = { name, ...this.#step };
    this.#step = { acknowledged: 0, failed: 0, pauseMs: 0, slowestMs: 0 };
    return step;
  }

  /** Stops, and counts the acknowledged writes that are missing. */
  async end(): Promise<number> {
    this.#isOver = true;
    await Promise.all(this.#clients);
    let lost = 0;
    for (const [client, count] of this.#acknowledged.entries()) {
      for (let from = 0; from < count; from += VALUE_WRITES) {
        const there = new Set((await this.#valueOf(keyOf(client, from))).split(";"));
        const through = Math.min(count, from + VALUE_WRITES);
        for (let n = from; n < through; n++) if (!there.has(String(n))) lost++;
      }
    }
    return lost;
  }

  #valueOf(key: string): Promise<string> {
    return eventually("a value", async () => {
      const [node] = this.#cluster.nodes;
      const response = await fetch(`${node!.http}/v1/kv/${key}`);
      const body = await response.text();
      return response.ok ? body : undefined;
    });
  }

  async #run(client: number): Promise<void> {
    this.#acknowledged[client] = 0;
    for (let n = 0; !this.#isOver; n++) {
      const startMs = performance.now();
      if (!await this.#append(client, n)) return;
      const nowMs = performance.now();
      this.#acknowledged[client] = n + 1;
      this.#step.acknowledged++;
      this.#step.slowestMs = Math.max(this.#step.slowestMs, nowMs - startMs);
      this.#step.pauseMs = Math.max(this.#step.pauseMs, nowMs - this.#lastMs);
      this.#lastMs = nowMs;
    }
  }

  async #append(client: number, n: number): Promise<boolean> {
    for (let turn = client; !this.#isOver; turn++) {
      const { nodes } = this.#cluster;
      const node = nodes[turn % nodes.length]!;
      try {
        const response = await fetch(`${node.http}/v1/kv/${keyOf(client, n)}/append`, {
          method: "POST",
          headers: { "idempotency-key": `c${client}-${n}` },
          body: `${n};`,
          signal: AbortSignal.timeout(ATTEMPT_MS_MAX),
        });
        await response.body?.cancel();
        if (response.ok) return true;
      } catch {
        // Another member is tried.
      }
      this.#step.failed++;
      await new Promise((resolve) => setTimeout(resolve, RETRY_MS));
    }
    return false;
  }
}

/** Lives it; every step takes at least `stepMs`. */
export async function live(
  { stepMs, onStep = () => {} }: {
    readonly stepMs: number;
    readonly onStep?: (step: Step) => void;
  },
): Promise<Life> {
  await using cluster = new RealCluster(5);
  const steps: Step[] = [];
  cluster.start(1, { by: "single" });
  await cluster.leader();
  await eventually("members that may change", async () => {
    const status = await cluster.node(1).status();
    return status?.clusterVersion === CLUSTER_VERSIONS.max || undefined;
  });
  const load = new Load(cluster);
  const step = async (name: string, act: () => Promise<void>): Promise<void> => {
    const startMs = performance.now();
    await act();
    const leftMs = stepMs - (performance.now() - startMs);
    await new Promise((resolve) => setTimeout(resolve, Math.max(0, leftMs)));
    const taken = load.takeStep(name);
    steps.push(taken);
    onStep(taken);
  };
  const join = async (...ids: readonly number[]): Promise<void> => {
    for (const id of ids) cluster.start(id, { by: "join" });
    for (const id of ids) await votes(cluster, id);
  };

  await step("found with one node", () => Promise.resolve());
  await step("grow to three", () => join(2, 3));
  await step("kill a disk", async () => {
    await cluster.wipe(2);
    // Until then its disk does not count as lost.
    await new Promise((resolve) => setTimeout(resolve, DEFAULT_TIMING.electionTimeoutMsMax));
  });
  await step("replace it", async () => {
    await member(cluster, "replace", "2");
    await join(2);
  });
  await step("grow to five", () => join(4, 5));
  await step("move a member", async () => {
    const id = (await cluster.leader()).id === 3 ? 4 : 3;
    const port = cluster.moveRaftPort(id);
    await member(cluster, "update", String(id), `raft=127.0.0.1:${port}`);
    // Where it still listens it must not take that back.
    await new Promise((resolve) => setTimeout(resolve, TENDED_MS));
    await restart(cluster, id);
  });
  await step("shrink to three without the leader", async () => {
    const { id: leader } = await cluster.leader();
    const other = cluster.nodes.map(({ id }) => id).find((id) => id !== leader)!;
    await member(cluster, "remove", String(leader), String(other));
    for (const id of [leader, other]) {
      const { code, stderr } = await cluster.leave(id);
      if (code !== 2) throw new Error(`A removed member ended with ${code}:\n${stderr}`);
    }
    await cluster.leader();
  });
  await step("roll a version", async () => {
    for (const { id } of cluster.nodes) await restart(cluster, id, NEXT_BUILD);
    await eventually("the next cluster version", async () => {
      const statuses = await Promise.all(cluster.nodes.map((node) => node.status()));
      const next = CLUSTER_VERSIONS.max + 1;
      return statuses.every((status) => status?.clusterVersion === next) || undefined;
    });
  });
  return { steps, lost: await load.end() };
}

/** Runs `kv member …`. */
async function member(cluster: RealCluster, ...words: readonly string[]): Promise<void> {
  const kv = kvAt(cluster.nodes.map(({ http }) => http).join());
  const { code, stdout, stderr } = await kv(["member", ...words, "-o", "json", "--timeout", "20s"]);
  if (code !== 0) throw new Error(`Cannot change members: ${stderr}`);
  const { applied } = JSON.parse(stdout) as MembersChanged;
  if (!applied) throw new Error(`Nothing was changed: ${stdout}`);
}

/** Resolves once the others count a node as a voter. */
async function votes(cluster: RealCluster, id: number): Promise<void> {
  await eventually(`node ${id} as a voter`, async () => {
    const status = await (await cluster.leader()).status();
    return status?.members.some((each) => each.id === id && each.voter) || undefined;
  }, () => cluster.node(id).stderr);
}

/** Stops a node in order, and starts it with what its directory knows. */
async function restart(cluster: RealCluster, id: number, script?: string): Promise<void> {
  cluster.node(id).signal("SIGTERM");
  await cluster.leave(id);
  const node = cluster.start(id, { by: "known", ...(script === undefined ? {} : { script }) });
  await eventually(
    `node ${id} back`,
    async () => (await node.status())?.leader,
    () => cluster.nodes.map(({ id, stderr }) => `node ${id}:\n${stderr.slice(-3_000)}`).join("\n"),
  );
}

if (import.meta.main) {
  const { "step-seconds": seconds } = parseArgs(Deno.args, {
    string: ["step-seconds"],
    default: { "step-seconds": "30" },
  });
  const print = (text: string): void =>
    void Deno.stdout.writeSync(new TextEncoder().encode(`${text}\n`));
  print("step                                 writes  failed attempts  pause ms  slowest ms");
  const { lost } = await live({
    stepMs: Number(seconds) * 1_000,
    onStep: ({ name, acknowledged, failed, pauseMs, slowestMs }) =>
      print(
        name.padEnd(36) + String(acknowledged).padStart(7) + String(failed).padStart(17) +
          pauseMs.toFixed(0).padStart(10) + slowestMs.toFixed(0).padStart(12),
      ),
  });
  print(`acknowledged writes lost: ${lost}`);
}
