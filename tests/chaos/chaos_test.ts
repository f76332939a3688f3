import { assert, assertEquals } from "@std/assert";
import { runChaos } from "./run.ts";

Deno.test("real processes under kills, pauses and partitions stay linearizable", async () => {
  const report = await runChaos({ seed: 11, nodes: 3, clients: 4, durationMs: 20_000 });
  assertEquals(report.violations, []);
  assertEquals(report.verdict.verdict, "linearizable");
  assert(report.kills + report.pauses + report.partitions > 0);
  assert(report.operations > 0);
});
