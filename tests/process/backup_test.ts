/**
 * A backup of a real cluster under load, and the new cluster of three that is restored from it.
 *
 * @module
 */
import { assert, assertEquals, assertGreater, assertMatch } from "@std/assert";
import { existsSync } from "node:fs";
import { EXIT } from "../../cli/usage.ts";
import { kvAt } from "../cli/run_kv.ts";
import { eventually, persist, RealCluster } from "./real_cluster.ts";

const WRITERS = 8;
const KEYS = 50;
/** Acknowledged before the backup begins, and again before the load ends. */
const WRITES = 300;
const VALUE_CHARS = 2_000;

/** A put that was acknowledged. */
interface Written {
  readonly key: string;
  readonly value: string;
  readonly revision: number;
}

/** Clients that put new values at few keys until they are told to stop. */
class Load {
  readonly written: Written[] = [];
  #stopping = false;
  readonly #done: Promise<unknown>;

  constructor(endpoints: readonly string[]) {
    const writers = Array.from({ length: WRITERS }, (_, at) => this.#write(endpoints, at));
    this.#done = Promise.all(writers);
  }

  /** Resolves once so many puts were acknowledged. */
  async reaches(count: number): Promise<void> {
    await eventually(`${count} writes`, () => this.written.length >= count ? true : undefined);
  }

  async stop(): Promise<void> {
    this.#stopping = true;
    await this.#done;
  }

  /** What each key held at `revision`. */
  stateAt(revision: number): Map<string, Written> {
    const state = new Map<string, Written>();
    const before = this.written.filter((written) => written.revision <= revision);
    for (const written of before.sort((a, b) => a.revision - b.revision)) {
      state.set(written.key, written);
    }
    return state;
  }

  async #write(endpoints: readonly string[], writer: number): Promise<void> {
    for (let count = 0; !this.#stopping; count++) {
      const key = `k${(writer * 7 + count) % KEYS}`;
      const value = `${writer}-${count}-`.padEnd(VALUE_CHARS, "x");
      const headers = { "idempotency-key": `"${writer}-${count}"` };
      const answer = await persist(endpoints, `/v1/kv/${key}`, {
        ...{ method: "PUT", body: value, headers },
      });
      this.written.push({ key, value, revision: JSON.parse(answer).revision });
    }
  }
}

/** Restores every member of a cluster that has not run yet. */
async function restoreAll(cluster: RealCluster, file: string): Promise<string[]> {
  return await Promise.all(cluster.ids.map(async (id) => {
    const flags = cluster.args(id).slice(0, 6);
    const { code, stdout, stderr } = await kvAt("http://127.0.0.1:1")(["restore", file, ...flags]);
    assertEquals(code, EXIT.ok, stderr);
    const { clusterId, revision, keys, stateHash } = JSON.parse(stdout);
    return JSON.stringify({ clusterId, revision, keys, stateHash });
  }));
}

Deno.test("a backup of a cluster under load is restored as another cluster, exactly", async () => {
  await using old = new RealCluster(3);
  const file = `${old.directory}/the.backup`;
  for (const id of old.ids) old.start(id, { flags: ["--snapshot-entries", "1000"] });
  const leader = await old.leader();
  const load = new Load(old.endpoints);
  await load.reaches(WRITES);
  const acknowledged = Math.max(...load.written.map(({ revision }) => revision));
  // Any node serves it: here one that does not lead.
  const follower = old.nodes.find(({ id }) => id !== leader.id)!;
  const { code, stdout, stderr } = await kvAt(follower.http)(["backup", file, "--timeout", "60s"]);
  assertEquals(code, EXIT.ok, stderr);
  const { revision, clusterId } = JSON.parse(stdout);
  assert(revision >= acknowledged, "what was acknowledged before is in it");
  await load.reaches(load.written.length + WRITES);
  await load.stop();
  assertGreater(Math.max(...load.written.map((written) => written.revision)), revision);

  await using fresh = new RealCluster(3);
  const restored = await restoreAll(fresh, file);
  assertEquals(new Set(restored).size, 1, "members that are restored alike are alike");
  fresh.startAll();
  await fresh.leader();
  const put = await persist(fresh.endpoints, "/v1/kv/after", { method: "PUT", body: "x" });
  assertEquals(JSON.parse(put).revision, revision + 1_000_000_000 + 1);
  await fresh.agree();
  const status = (await fresh.nodes[0]!.status())!;
  assertEquals(status.clusterId, JSON.parse(restored[0]!).clusterId);
  assert(status.clusterId !== clusterId);
  const expected = load.stateAt(revision);
  const listing = JSON.parse(await persist(fresh.endpoints, "/v1/kv?prefix=k", {}));
  assertEquals(listing.items.length, expected.size);
  for (const { key, value, revision } of listing.items) {
    assertEquals({ key, value, revision }, expected.get(key));
  }

  // What was written with a key before the backup is not applied again after it.
  const first = load.written.find(({ value }) => value.startsWith("0-0-"))!;
  const again = await fetch(`${fresh.endpoints[0]}/v1/kv/${first.key}`, {
    ...{ method: "PUT", body: first.value, headers: { "idempotency-key": '"0-0"' } },
  });
  assertEquals(again.headers.get("idempotency-replayed"), "true");
  assertEquals((await again.json()).revision, first.revision);
});

Deno.test("a backup of a cluster at rest has the state hash that its members show", async () => {
  await using old = new RealCluster(3);
  const file = `${old.directory}/the.backup`;
  old.startAll();
  await old.leader();
  for (let at = 0; at < 20; at++) {
    await persist(old.endpoints, `/v1/kv/k${at}`, { method: "PUT", body: `value ${at}` });
  }
  await old.agree();
  const { stdout } = await kvAt(old.endpoints.join())(["backup", file, "--timeout", "60s"]);
  const status = (await old.nodes[0]!.status())!;
  const { revision, stateHash, index } = JSON.parse(stdout);
  assertEquals(
    { revision, stateHash, index },
    { revision: status.revision, stateHash: status.stateHash, index: status.appliedIndex },
  );
});

Deno.test("--backup-every: each member backs itself up, keeps the newest, and stops in order meanwhile", async () => {
  await using cluster = new RealCluster(3);
  const directory = `${cluster.directory}/backups`;
  const flags = ["--backup-every", "1s", "--backup-dir", directory, "--backup-keep", "2"];
  for (const id of cluster.ids) cluster.start(id, { flags });
  const leader = await cluster.leader();
  const { clusterId } = (await leader.status())!;
  for (let at = 0; at < 100; at++) {
    await persist(cluster.endpoints, `/v1/kv/k${at}`, { method: "PUT", body: `value ${at}` });
  }
  await eventually("the directory", () => existsSync(directory) ? true : undefined);
  const files = (): string[] => Array.from(Deno.readDirSync(directory), ({ name }) => name).sort();
  const newest = await eventually("whole backups of all members", () => {
    const whole = files().filter((name) => name.includes("-0000000000000100-"));
    const members = new Set(whole.map((name) => name.slice(0, clusterId.length + 2)));
    return members.size === 3 ? whole[0] : undefined;
  });
  await eventually("a metric", async () => {
    const text = await (await fetch(`${leader.http}/metrics`)).text();
    const made = /^statecraft_scheduled_backups_total\{result="made"\} (\d+)$/m.exec(text)?.[1];
    return Number(made) >= 3 ? true : undefined;
  });
  for (const id of cluster.ids) {
    const own = files().filter((name) =>
      name.startsWith(`${clusterId}-${id}-`) && name.endsWith(".backup")
    );
    assert(own.length <= 3, own.join());
  }
  for (const node of cluster.nodes) node.signal("SIGTERM");
  for (const node of cluster.nodes) assertEquals((await node.ended).code, 0, node.stderr);
  assertEquals(files().filter((name) => name.endsWith(".new")), []);
  await using fresh = new RealCluster(3);
  const restored = await restoreAll(fresh, `${directory}/${files().at(-1)!}`);
  assertEquals(JSON.parse(restored[0]!).keys, 100);
  assertMatch(newest.replace(/\.new$/, ""), /^[0-9a-f]{16}-\d-\d{16}-\d{8}t\d{6}z\.backup$/);
});

Deno.test("an interrupted restore is refused by the node, and a member of another cluster by the others", async () => {
  await using cluster = new RealCluster(3);
  const file = new URL("../golden/format-1.backup", import.meta.url).pathname;
  await restoreAll(cluster, file);
  // As if the restore had ended before its last step.
  await Deno.remove(`${cluster.directory}/node-1/identity.json`);
  const { code, stderr } = await cluster.start(1).ended;
  assertEquals(code, 3, stderr);
  assert(/there is (wal|snapshots) in it, but no identity/.test(stderr), stderr);
  await Deno.remove(`${cluster.directory}/node-1`, { recursive: true });
  await cluster.kill(1);
  // A member that was not restored founds a cluster of its own, which the restored ones refuse.
  cluster.startAll();
  const told = await eventually("a refusal", async () => {
    const status = await cluster.node(2).status();
    return status?.members.find(({ id, refusal }) => id === 1 && refusal !== undefined)?.refusal;
  });
  assert(/cluster/.test(told), told);
});
