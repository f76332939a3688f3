import { assertEquals } from "@std/assert";
import { runSeed, runSeeds, type SeedResult, type SeedTask } from "./seed_run.ts";
import { DEFAULT_SIMULATION } from "./simulation.ts";

function task(seed: number): SeedTask {
  const options = { ...DEFAULT_SIMULATION, minutes: 0.1, seed };
  return { options, twice: false, history: true };
}

Deno.test("seeds in workers come to the same as here", async () => {
  const tasks = [1, 2, 3, 4, 5].map(task);
  const results: SeedResult[] = [];
  await runSeeds(tasks.values(), 2, (result) => results.push(result) > 0);
  const bySeed = results.toSorted((a, b) => a.seed - b.seed);
  assertEquals(bySeed, await Promise.all(tasks.map(runSeed)));
});

Deno.test("no seed is begun or reported after one that ended the run", async () => {
  const tasks = [1, 2, 3, 4, 5, 6].map(task).values();
  const seen: number[] = [];
  await runSeeds(tasks, 2, ({ seed }) => seen.push(seed) < 2);
  assertEquals(seen.length, 2);
  assertEquals([...tasks].length >= 2, true);
});
