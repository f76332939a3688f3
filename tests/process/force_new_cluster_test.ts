/**
 * The last resort: one surviving directory becomes a cluster of its own.
 *
 * @module
 */
import { assert, assertEquals, assertMatch, assertNotEquals, assertRejects } from "@std/assert";
import { forcedPaths, ForceInterruptedError, interruptedForce } from "../../actors/forced_paths.ts";
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
    const { made, kept } = forcedPaths(dataDir, anew.status().clusterId);
    // In either somebody has something that is not ours to remove.
    for (const taken of [`${made}/members.json`, `${kept}/x`]) {
      const directory = taken.slice(0, taken.lastIndexOf("/"));
      await Deno.mkdir(directory);
      await Deno.writeTextFile(taken, "");
      assertMatch((await refused(1)).message, /move (it|that) away first/);
      await Deno.remove(directory, { recursive: true });
    }
    const { newClusterId, clusterId, keptAt } = await forceNewCluster({ id: 1, dataDir });
    assertNotEquals(newClusterId, clusterId);
    assert((await Deno.stat(keptAt)).isDirectory);
    // The flag has stayed in a unit file.
    assertMatch((await refused(1)).message, /done before.*Start the node without/);
    await using again = await startNode({ id: 1, dataDir, http });
    assertEquals(again.status().clusterId, newClusterId);
  } finally {
    await Deno.remove(root, { recursive: true });
  }
});

Deno.test("what a crash leaves of a forced cluster is finished by running it again, and by nothing else", async () => {
  const root = await Deno.makeTempDir();
  try {
    const dataDir = `${root}/node-1`;
    const http = { hostname: "127.0.0.1", port: 0 };
    await using node = await startNode({ id: 1, single: true, dataDir, http });
    await node.kv.put("key", "value");
    const { clusterId } = node.status();
    await node.stop();
    const { made, kept } = forcedPaths(dataDir, clusterId);

    // Killed while it makes the new directory: the old one is there, and serves if need be.
    await Deno.mkdir(`${made}/snapshots`, { recursive: true });
    await Deno.writeTextFile(`${made}/snapshots/half`, "half");
    await using old = await startNode({ id: 1, dataDir, http });
    assertEquals(old.status().clusterId, clusterId);
    await old.stop();
    const { newClusterId } = await forceNewCluster({ id: 1, dataDir });

    // Killed between the two renames: the new directory is whole, and not in its place.
    await Deno.rename(dataDir, made);
    for (const start of [{}, { single: true }, { join: ["http://127.0.0.1:9"] }]) {
      await assertRejects(
        () => startNode({ id: 1, dataDir, http, ...start }),
        ForceInterruptedError,
        "once more with --force-new-cluster --yes",
      );
    }
    // A supervisor may have made an empty one, and the path may end with a slash.
    await Deno.mkdir(dataDir);
    assertEquals(inspectSurvivor({ id: 1, dataDir }).clusterId, clusterId);
    const finished = await forceNewCluster({ id: 1, dataDir: `${dataDir}/` });
    assertEquals([finished.newClusterId, finished.keptAt], [newClusterId, kept]);
    await using forced = await startNode({ id: 1, dataDir, http });
    assertEquals(forced.status().clusterId, newClusterId);
    assertEquals((await forced.kv.get("key"))?.text(), "value");
    await forced.stop();

    // And what is half made between them is no cluster.
    await Deno.rename(dataDir, made);
    await Deno.remove(`${made}/identity.json`);
    const half = await assertRejects(() => forceNewCluster({ id: 1, dataDir }));
    assertMatch((half as Error).message, /the data directory of no member/);
  } finally {
    await Deno.remove(root, { recursive: true });
  }
});

Deno.test("a directory above that may not be listed, or is none, keeps no node from its start", async () => {
  const root = await Deno.makeTempDir();
  try {
    await Deno.writeTextFile(`${root}/file`, "");
    for (const path of [`${root}/file/below`, `${root}/none/below`, "below"]) {
      assertEquals(interruptedForce(path), undefined);
    }
    const start = `import { startNode } from ${JSON.stringify(import.meta.resolve("../../mod.ts"))};
      const http = { hostname: "127.0.0.1", port: 0 };
      const dataDir = ${JSON.stringify(`${root}/data`)};
      const node = await startNode({ id: 1, single: true, dataDir, http });
      await node.stop();`;
    await Deno.mkdir(`${root}/data`);
    await Deno.writeTextFile(`${root}/start.ts`, start);
    const { code, stderr } = await new Deno.Command(Deno.execPath(), {
      args: [
        ...["run", "--quiet", "--no-check", "--no-prompt", "--allow-net", "--allow-env"],
        ...["--config", new URL("../../deno.json", import.meta.url).pathname],
        ...[`--allow-read=${root}/data`, `--allow-write=${root}/data`, `${root}/start.ts`],
      ],
      stdout: "null",
      stderr: "piped",
    }).output();
    assertEquals([code, new TextDecoder().decode(stderr)], [0, ""]);
  } finally {
    await Deno.remove(root, { recursive: true });
  }
});
