/**
 * The last resort: one surviving directory becomes a cluster of its own.
 *
 * @module
 */
import { assert, assertEquals, assertMatch, assertNotEquals, assertRejects } from "@std/assert";
import { forceNewCluster, ForceNewClusterError, inspectSurvivor, startNode } from "../../mod.ts";
import { putLogAside } from "../../storage/log/data_directory.ts";
import { DenoDisk } from "../../storage/log/deno_disk.ts";
import { eventually, persist, RealCluster } from "./real_cluster.ts";

Deno.test("a survivor of a lost majority becomes a new cluster, which the old members cannot reach", async () => {
  await using cluster = new RealCluster(3);
  cluster.startAll();
  const old = (await (await cluster.leader()).status())!;
  for (let n = 0; n < 20; n++) {
    await persist(cluster.endpoints, `/v1/kv/key-${n}`, { method: "PUT", body: `value ${n}` });
  }
  await cluster.agree();
  for (const id of cluster.ids) await cluster.kill(id);
  const dataDir = `${cluster.directory}/node-2`;

  // Without a yes it only says what it would do.
  const flags = ["--force-new-cluster"];
  const asked = await cluster.start(2, { by: "known", flags }).ended;
  assertEquals(asked.code, 2);
  assertMatch(asked.stderr, /other members: 1, 3\) this directory holds 20 keys/);
  assertMatch(asked.stderr, /nothing was changed/);
  const survivor = inspectSurvivor({ id: 2, dataDir });
  assertEquals([survivor.clusterId, survivor.keys], [old.clusterId, 20]);

  const node = cluster.start(2, { by: "known", flags: [...flags, "--yes"] });
  const status = await eventually("a leader of the new cluster", async () => {
    const status = await node.status();
    return status?.leader === 2 ? status : undefined;
  }, () => node.stderr);
  assertNotEquals(status.clusterId, old.clusterId);
  assertEquals(status.members.map(({ id }) => id), [2]);
  assert(status.revision > old.revision);
  const value = await persist([node.http], "/v1/kv/key-7", {});
  assertEquals(value, "value 7");
  assertMatch(node.stderr, new RegExp(`kept in ${dataDir}.was-${old.clusterId}`));

  // Node 3 of the old cluster dials node 2, and is turned away.
  const stranger = cluster.start(3);
  await eventually(
    "a refusal",
    () => /cause=wrong-cluster/.test(stranger.stderr) || undefined,
    () => stranger.stderr,
  );
  await stranger.kill();

  // It grows again, also by a member whose old directory is put away.
  await cluster.wipe(3);
  cluster.start(3, { by: "join" });
  await eventually("a second voter", async () => {
    const now = await node.status();
    return now?.members.some(({ id, voter }) => id === 3 && voter) || undefined;
  }, () => node.stderr + cluster.node(3).stderr);
});

Deno.test("what is no member's directory, or another's, or in use, becomes no cluster", async () => {
  const root = await Deno.makeTempDir();
  try {
    const dataDir = `${root}/node-1`;
    const refused = (id: number): Promise<Error> =>
      assertRejects(() => forceNewCluster({ id, dataDir }));
    assertMatch((await refused(1)).message, /the data directory of no member/);
    const http = { hostname: "127.0.0.1", port: 0 };
    const node = await startNode({ id: 1, single: true, dataDir, http });
    assertEquals((await refused(1)).name, "DirectoryLockedError");
    await node.stop();
    const other = await refused(2);
    assert(other instanceof ForceNewClusterError);
    assertMatch(other.message, /belongs to node 1, not to 2/);
    // Without its log it lacks what it had promised, and nobody knows how much.
    await Deno.rename(`${dataDir}/wal`, `${root}/wal`);
    assertMatch((await refused(1)).message, /its log was lost/);
    await Deno.rename(`${root}/wal`, `${dataDir}/wal`);
    putLogAside(new DenoDisk(dataDir));
    const fetched = await refused(1);
    assert(fetched instanceof ForceNewClusterError);
    assertMatch(fetched.message, /its log was lost.* restore a backup/);
    await Deno.remove(dataDir, { recursive: true });
    await using anew = await startNode({ id: 1, single: true, dataDir, http });
    await anew.stop();
    await Deno.mkdir(`${dataDir}.new-cluster`);
    assertMatch((await refused(1)).message, /move it away first/);
    await Deno.remove(`${dataDir}.new-cluster`);
    const { newClusterId, clusterId, keptAt } = await forceNewCluster({ id: 1, dataDir });
    assertNotEquals(newClusterId, clusterId);
    assert((await Deno.stat(keptAt)).isDirectory);
    await using again = await startNode({ id: 1, dataDir, http });
    assertEquals(again.status().clusterId, newClusterId);
  } finally {
    await Deno.remove(root, { recursive: true });
  }
});
