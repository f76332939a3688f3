/**
 * A member that lost its data directory and comes back under its id, in real processes.
 *
 * @module
 */
import { assert, assertEquals, assertMatch } from "@std/assert";
import { eventually, persist, RealCluster, type RealNode } from "./real_cluster.ts";

/** Several election timeouts of the longest kind: time enough to do harm. */
const LONG_ENOUGH_MS = 2_000;

Deno.test("a node that lost its directory is refused, neither votes nor leads, and lives on", async () => {
  await using cluster = new RealCluster(3);
  cluster.startAll();
  const leader = await cluster.leader();
  await persist(cluster.endpoints, "/v1/kv/a", { method: "PUT", body: "x" });
  await cluster.agree();
  // Node 2 dials node 1 and is dialled by node 3, so both sides of a hello refuse once.
  await cluster.kill(2);
  await Deno.remove(`${cluster.directory}/node-2`, { recursive: true });
  const lost = cluster.start(2);
  const others = [cluster.node(1), cluster.node(3)];
  for (const other of others) {
    await eventually(
      "a refusal",
      () => /node 2 has another data dir/.test(other.stderr) || undefined,
    );
  }
  const told = /node [13] has met this node with another data directory.*Bring the old directory/;
  await eventually("its own log to say so", () => told.test(lost.stderr) || undefined);

  const endpoints = others.map(({ http }) => http);
  await persist(endpoints, "/v1/kv/b", { method: "PUT", body: "y" });
  for (const endpoint of endpoints) assertEquals(await persist([endpoint], "/v1/kv/b", {}), "y");
  for (const other of others) {
    const member = (await other.status())!.members.find(({ id }) => id === 2)!;
    assertEquals(member.link, "down");
    assertMatch(member.refusal!, /^node 2 has another data directory than when/);
  }
  assertMatch(await kvStatus(endpoints[0]!), /^no link to node 2: node 2 has another data/m);
  const why = await fetch(`${lost.http}/v1/raft/explain`, { headers: { accept: "text/plain" } });
  assertMatch(await why.text(), /refused: node [13] has met this node with another data directory/);
  const { causes } = await (await fetch(`${endpoints[0]}/v1/raft/explain`)).json();
  assertEquals(
    causes.filter(({ code }: { code: string }) => code === "directory-lost")
      .map(({ nodes }: { nodes: number[] }) => nodes),
    [[2]],
  );
  await harmless(lost);

  // With one of the two others it would be a majority, and could elect without the writes.
  const absent = leader.id === 2 ? 1 : leader.id;
  await cluster.kill(absent);
  const rest = cluster.nodes.find(({ id }) => id !== 2)!;
  await harmless(lost);
  assert((await rest.status())!.role !== "leader", "a vote of the lost node was counted");
  cluster.start(absent);
  for (const key of ["a", "b"]) {
    assertEquals(await persist(endpoints, `/v1/kv/${key}`, {}), key === "a" ? "x" : "y");
  }
  await harmless(lost);
});

/** What `deno task kv status` prints. */
async function kvStatus(endpoint: string): Promise<string> {
  const main = new URL("../../cli/kv.ts", import.meta.url).pathname;
  const { stdout } = await new Deno.Command(Deno.execPath(), {
    args: ["run", "--quiet", "-A", main, "status", "--endpoints", endpoint],
  }).output();
  return new TextDecoder().decode(stdout);
}

/** The node runs, knows no leader, and has not entered a term, so it has neither voted nor led. */
async function harmless(lost: RealNode): Promise<void> {
  const endMs = performance.now() + LONG_ENOUGH_MS;
  while (performance.now() < endMs) {
    const status = (await lost.status())!;
    assertEquals([status.term, status.leader, status.lastLogIndex], [0, undefined, 0]);
    assert(["follower", "preCandidate"].includes(status.role), status.role);
    await new Promise((resolve) => setTimeout(resolve, 200));
  }
  const ready = await fetch(`${lost.http}/readyz`);
  assertEquals(ready.status, 503);
  assertMatch(await ready.text(), /\[-\]leader: No leader is known/);
  assert(!lost.stderr.includes("node-failed"), lost.stderr);
}
