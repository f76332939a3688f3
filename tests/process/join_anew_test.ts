/**
 * A directory that was founded by mistake joins after all, if nobody relies on it; and one that stays what
 * it is says so.
 *
 * @module
 */
import { assertEquals, assertMatch, assertNotEquals } from "@std/assert";
import { type NodeOptions, startNode } from "../../mod.ts";
import { PEERS_FILE } from "../../storage/log/data_directory.ts";
import { DenoDisk } from "../../storage/log/deno_disk.ts";
import { replaceFields } from "../../storage/log/directory_file.ts";
import { freePorts } from "../../bench/local_cluster.ts";
import { eventually } from "./real_cluster.ts";

Deno.test("a start that forgot --join is corrected by the next one; a member of another cluster stays one", async () => {
  const root = await Deno.makeTempDir();
  const [one, two, three] = freePorts(3) as [number, number, number];
  const on = (port: number): { hostname: string; port: number } => ({
    hostname: "127.0.0.1",
    port,
  });
  const lines: string[] = [];
  const options = (id: number, raft: number, name: string): NodeOptions => ({
    ...{ id, dataDir: `${root}/${name}`, listen: on(raft), http: on(0) },
    log: (_level, event, fields) => void lines.push(`${name} ${event} ${JSON.stringify(fields)}`),
  });
  try {
    await using cluster = await startNode({ ...options(1, one, "one"), single: true });
    const { clusterId } = cluster.status();
    const join = [cluster.httpAddress];
    await eventually("a leader", () => cluster.status().leader, () => lines.join("\n"));

    // Node 2 was to join, and waits for a cluster of its own instead.
    const peers = new Map([[1, on(three)], [2, on(two)]]);
    await using mistaken = await startNode({ ...options(2, two, "two"), peers });
    assertNotEquals(mistaken.status().clusterId, clusterId);
    await mistaken.stop();
    // Once it has met a peer, that counts on it.
    const disk = new DenoDisk(`${root}/two`);
    replaceFields(disk, PEERS_FILE, { peers: { 1: "d-1" } });
    await using met = await startNode({ ...options(2, two, "two"), join });
    assertNotEquals(met.status().clusterId, clusterId);
    await met.stop();
    disk.remove(PEERS_FILE.path);
    await using joined = await startNode({ ...options(2, two, "two"), join });
    assertEquals(joined.status().clusterId, clusterId);
    await eventually(
      "a second voter",
      () => cluster.status().members.some(({ id, voter }) => id === 2 && voter) || undefined,
      () => lines.join("\n"),
    );
    await joined.stop();

    // Node 3 has promised something to a cluster of its own, which it cannot reach any more.
    await using other = await startNode({ ...options(3, three, "three"), single: true });
    const { clusterId: others } = other.status();
    await eventually("another leader", () => other.status().leader, () => lines.join("\n"));
    const [gone] = freePorts(1) as [number];
    await using fourth = await startNode({
      ...options(4, gone, "four"),
      join: [other.httpAddress],
    });
    await eventually(
      "its second voter",
      () => other.status().members.some(({ id, voter }) => id === 4 && voter) || undefined,
      () => lines.join("\n"),
    );
    await fourth.stop();
    await other.stop();
    await using still = await startNode({ ...options(3, three, "three"), join });
    assertEquals(still.status().clusterId, others);
    const said = await eventually(
      "a word about that",
      () => lines.find((line) => line.startsWith("three other-cluster")),
      () => lines.join("\n"),
    );
    assertMatch(said, /stays a member of its own cluster.*an empty directory/);
  } finally {
    await Deno.remove(root, { recursive: true });
  }
});
