/**
 * Real members upgraded one by one to a build whose protocol and cluster version are one higher, under
 * load.
 *
 * @module
 */
import { assert, assertEquals, assertMatch } from "@std/assert";
import { CLUSTER_VERSIONS } from "../../machines/group_config.ts";
import { eventually, persist, RealCluster } from "./real_cluster.ts";

const CLIENTS = 4;
const NEXT_BUILD = new URL("./next_build.ts", import.meta.url).pathname;
const NEXT_VERSION = CLUSTER_VERSIONS.max + 1;

/** Appends distinct tokens until it is told to stop; answers how many were acknowledged. */
async function appendUntil(
  stop: AbortSignal,
  endpoints: readonly string[],
  client: number,
): Promise<number> {
  for (let count = 0;; count++) {
    if (stop.aborted) return count;
    await persist(endpoints, `/v1/kv/client-${client}/append`, {
      method: "POST",
      headers: { "idempotency-key": `c${client}-${count}` },
      body: `${count};`,
    });
  }
}

Deno.test("three members are upgraded one by one under load, and an old build then stops", async () => {
  await using cluster = new RealCluster(3);
  cluster.startAll();
  await cluster.leader();
  const agreeOn = (version: number): Promise<true> =>
    eventually(`cluster version ${version}`, async () => {
      const statuses = await Promise.all(cluster.nodes.map((node) => node.status()));
      return statuses.every((status) => status?.clusterVersion === version) || undefined;
    });
  await agreeOn(CLUSTER_VERSIONS.max);
  const { endpoints } = cluster;
  const stop = new AbortController();
  const clients = Array.from(
    { length: CLIENTS },
    (_, client) => appendUntil(stop.signal, endpoints, client),
  );
  for (const id of cluster.ids) {
    const { clusterVersion } = (await cluster.node(id).status())!;
    assertEquals(clusterVersion, CLUSTER_VERSIONS.max, "a version that not all members know");
    const node = cluster.node(id);
    node.signal("SIGTERM");
    assertEquals((await node.ended).code, 0, node.stderr);
    const upgraded = cluster.start(id, { script: NEXT_BUILD });
    await eventually(
      "the upgraded member back",
      async () => (await upgraded.status())?.leader,
      () => upgraded.stderr,
    );
  }
  await agreeOn(NEXT_VERSION);

  const [id] = cluster.ids;
  await cluster.kill(id!);
  const { code, stderr } = await cluster.start(id!).ended;
  assertEquals(code, 2, stderr);
  assertMatch(stderr, /the cluster has agreed on version 3, and this build knows versions up to 2/);
  await cluster.kill(id!);
  cluster.start(id!, { script: NEXT_BUILD });

  stop.abort();
  const acknowledged = await Promise.all(clients);
  await cluster.agree();
  for (const [client, count] of acknowledged.entries()) {
    assert(count > 0);
    const value = await persist(endpoints, `/v1/kv/client-${client}`, {});
    assertEquals(value, Array.from({ length: count }, (_, at) => `${at};`).join(""));
  }
});
