/**
 * The Clerk over real processes whose leaders are killed.
 *
 * @module
 */
import { assert, assertEquals } from "@std/assert";
import { runClerks, runLocks } from "./clerk_runs.ts";

async function countThroughKills(way: "http" | "wire"): Promise<void> {
  const report = await runClerks({ callers: 8, kills: 4, way });
  const { acknowledged, lost, duplicates, watched, gaps } = report;
  assertEquals([lost, duplicates, gaps], [0, 0, 0]);
  assert(acknowledged > 0 && watched > 0, JSON.stringify(report));
}

Deno.test("a Clerk counts and watches through kills of the leader: nothing lost, twice or missing", () =>
  countThroughKills("http"));

Deno.test("so does a Clerk on the clients' wire, whose writes have places in sessions", () =>
  countThroughKills("wire"));

Deno.test("a lock is held by one at a time through kills of the leader, and its tokens grow", async () => {
  const { held, shared, unordered } = await runLocks({ callers: 4, kills: 3 });
  assertEquals([shared, unordered], [0, 0]);
  assert(held > 0);
});
