import { assert, assertEquals } from "@std/assert";
import { SimCluster } from "./cluster.ts";
import { faults } from "./faults.ts";
import {
  DEFAULT_SIMULATION,
  repeatCommand,
  simulate,
  type SimulationOptions,
} from "./simulation.ts";

/** Runs seeds and fails with the line that repeats the first failure. */
async function runSeeds(
  seeds: readonly number[],
  options: Partial<typeof DEFAULT_SIMULATION>,
): Promise<Map<string, number>> {
  const counts = new Map<string, number>();
  for (const seed of seeds) {
    const run = { ...DEFAULT_SIMULATION, ...options, seed };
    const result = await simulate(run);
    assertEquals(result.violation, undefined, repeatCommand(run));
    assert(result.operations > 0);
    for (const [name, count] of result.faults) counts.set(name, (counts.get(name) ?? 0) + count);
  }
  return counts;
}

const seedsFrom = (first: number, count: number): number[] =>
  Array.from({ length: count }, (_, offset) => first + offset);

Deno.test("three nodes keep every invariant under every fault (30 seeds, 1 simulated hour)", async () => {
  const counts = await runSeeds(seedsFrom(31, 30), {});
  assertEquals(faults.filter(({ name }) => !counts.has(name)), []);
});

Deno.test("five nodes keep every invariant (6 seeds)", async () => {
  await runSeeds(seedsFrom(100, 6), { nodes: 5 });
});

Deno.test("seven nodes keep every invariant (2 seeds)", async () => {
  await runSeeds(seedsFrom(200, 2), { nodes: 7, minutes: 1 });
});

Deno.test("two groups on one log and one network keep every invariant (6 seeds)", async () => {
  await runSeeds(seedsFrom(300, 6), { groups: 2 });
});

/** Lost disks among elections. */
const wipes: Partial<SimulationOptions> = {
  minutes: 0.5,
  faultsPerHour: 3_600,
  only: [
    "wipe",
    "isolate-follower",
    "isolate-leader",
    "crash-leader",
    "partition",
    "bad-network",
  ],
};

/** Runs that broke an invariant once, each with the defect that it found. */
const regressions: readonly (Partial<SimulationOptions> & { seed: number; found: string })[] = [
  {
    // First seen in seed 11146 of a run of 100 simulated hours, under slow links and quick restarts.
    found: "read ids began at 1 in each life: a late answer confirmed a new read, which was stale",
    seed: 54,
    minutes: 1,
    faultsPerHour: 3_600,
    only: ["crash-loop", "slow-node", "bad-network"],
  },
  {
    found: "a wiped node was welcome: it helped to elect a leader without a committed entry",
    seed: 26,
    ...wipes,
  },
  { found: "a wiped node was welcome: two leaders in one term", seed: 188, ...wipes },
  {
    // First seen in seed 72189 of a run of 100 simulated hours, after a disk had been lost.
    found: "a disk that had stalled was never tried again: nobody could be elected",
    seed: 57,
    minutes: 0.4,
    faultsPerHour: 5_400,
    only: ["slow-disk", "crash-leader"],
  },
];

for (const { found, ...options } of regressions) {
  Deno.test(`regression: ${found} (seed ${options.seed})`, async () => {
    const run = { ...DEFAULT_SIMULATION, ...options };
    assertEquals((await simulate(run)).violation, undefined, repeatCommand(run));
  });
}

Deno.test("the same seed gives the same run, to the last message (20 seeds)", async () => {
  const hashes = new Set<string>();
  for (const seed of seedsFrom(400, 20)) {
    const options = { ...DEFAULT_SIMULATION, seed, minutes: 0.3 };
    const first = await simulate(options);
    const second = await simulate({ ...options, transcript: true });
    assertEquals(second.traceHash, first.traceHash, repeatCommand(options));
    assertEquals(second.history, first.history);
    hashes.add(first.traceHash);
  }
  // Different seeds give different runs: the digest is not constant.
  assertEquals(hashes.size, 20);
});

Deno.test("disks are lost of a minority only, and of nodes that all others have greeted", () => {
  const cluster = new SimCluster({ seed: 1, nodes: 5 });
  const wipeable = (): number[] => cluster.ids.filter((id) => cluster.mayWipe(id));
  cluster.startAll();
  assertEquals(wipeable(), [], "nobody has greeted anybody");
  cluster.network.partition([5], [1, 2, 3, 4]);
  cluster.run(3_000);
  assertEquals(wipeable(), [], "node 5 has greeted nobody");
  cluster.network.heal();
  cluster.run(1_000);
  assertEquals(wipeable(), [1, 2, 3, 4, 5]);
  cluster.wipe(1);
  assertEquals(wipeable(), [2, 3, 4, 5], "a node is lost once");
  cluster.start(1);
  cluster.run(3_000);
  cluster.wipe(4);
  assertEquals(wipeable(), [], "two of five are lost");
});

/** Writes at the followers while the leader stops, and what their answers say of the writes. */
async function outcomesOfStop(seed: number): Promise<string[]> {
  const cluster = new SimCluster({ seed, nodes: 3 });
  for (const id of cluster.ids) cluster.start(id);
  assert(cluster.runUntilTrue(10_000, () => cluster.leader() !== undefined));
  cluster.run(1_000);
  const leader = cluster.leader()!;
  const outcomes: string[] = [];
  let isOver = false;
  const write = (id: number): void => {
    if (isOver) return;
    const headers = { host: "node" };
    const request = new Request("http://node/v1/kv/key", { method: "PUT", body: "value", headers });
    const answered = cluster.awaitPromise();
    Promise.resolve(cluster.node(id).process!.gateway(0)(request)).then(async (response) => {
      const { outcome } = await response.json() as { readonly outcome?: string };
      outcomes.push(outcome ?? "applied");
      answered();
      cluster.loop.after(1, () => write(id));
    });
  };
  for (const id of cluster.ids.filter((each) => each !== leader)) {
    for (let writer = 0; writer < 4; writer++) write(id);
  }
  await cluster.play(10 + seed / 8);
  const hasEnded = cluster.stop(leader);
  assert(await cluster.playUntilTrue(6_000, hasEnded));
  assertEquals(cluster.failures, []);
  isOver = true;
  await cluster.play(1_000);
  return outcomes;
}

Deno.test("a leader that stops leaves no write in doubt that another node has forwarded (60 seeds)", async () => {
  for (const seed of seedsFrom(1, 60)) {
    const outcomes = await outcomesOfStop(seed);
    assert(outcomes.length > 20, `seed ${seed}: ${outcomes.length} writes`);
    assertEquals(outcomes.filter((each) => each !== "applied"), [], `seed ${seed}`);
  }
});
