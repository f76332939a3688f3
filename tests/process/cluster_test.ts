import { assert, assertEquals, assertMatch } from "@std/assert";
import type { ClusterStatus } from "../../transport/http/gateway_port.ts";
import { SIGNAL_ECHO_MS } from "../../cli/node.ts";
import { killAll, killLeaders } from "./kill_runs.ts";
import { eventually, persist, RealCluster } from "./real_cluster.ts";

async function started(): Promise<RealCluster> {
  const cluster = new RealCluster(3);
  try {
    cluster.startAll();
    await cluster.leader();
    return cluster;
  } catch (error) {
    await cluster[Symbol.asyncDispose]();
    throw error;
  }
}

Deno.test("three nodes elect a leader; what one takes, all have, at every consistency", async () => {
  await using cluster = await started();
  const { endpoints } = cluster;
  for (const [at, endpoint] of endpoints.entries()) {
    await persist([endpoint], `/v1/kv/key-${at}`, { method: "PUT", body: `value-${at}` });
  }
  for (const endpoint of endpoints) {
    for (const at of endpoints.keys()) {
      for (const consistency of ["linearizable", "lease", "follower"]) {
        const path = `/v1/kv/key-${at}?consistency=${consistency}`;
        assertEquals(await persist([endpoint], path, {}), `value-${at}`);
      }
    }
    const served = await fetch(`${endpoint}/v1/kv/key-0?meta=true`);
    await served.body?.cancel();
    const id = endpoints.indexOf(endpoint) + 1;
    assertEquals(served.headers.get("statecraft-served-by"), String(id));
  }
  await cluster.agree();
  const statuses = await Promise.all(cluster.nodes.map((node) => node.status()));
  for (const status of statuses) {
    assertEquals(status!.members.map(({ httpAddress }) => httpAddress), endpoints);
    assertEquals(status!.members.map(({ link }) => link).toSorted(), [
      "connected",
      "connected",
      "self",
    ]);
  }
  const leader = await cluster.leader();
  await eventually("a leader's metrics that show nobody behind", async () => {
    const text = await (await fetch(`${leader.http}/metrics`)).text();
    const lags = [...text.matchAll(/^statecraft_peer_match_lag\{to="\d"\} (\d+)$/gm)];
    return lags.length === 2 && lags.every(([, lag]) => lag === "0") || undefined;
  });
});

Deno.test("leadership goes where it is sent, and a redirect leads there", async () => {
  await using cluster = await started();
  const leader = await cluster.leader();
  const target = cluster.nodes.find(({ id }) => id !== leader.id)!;
  const other = cluster.nodes.find(({ id }) => id !== leader.id && id !== target.id)!;
  // The third node forwards the request to the leader, which hands over.
  const answer = await persist([other.http], "/v1/cluster/transfer", {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify({ to: target.id }),
  });
  assertEquals(JSON.parse(answer).leader, target.id);
  await eventually("the new leader everywhere", async () => {
    const all = await Promise.all(cluster.nodes.map((node) => node.status()));
    return all.every((status) => status?.leader === target.id) ? true : undefined;
  });
  const redirected = await fetch(`${other.http}/v1/kv/a?redirect=true`, { redirect: "manual" });
  await redirected.body?.cancel();
  assertEquals(redirected.status, 307);
  assertEquals(redirected.headers.get("location"), `${target.http}/v1/kv/a?redirect=true`);
  const unknown = await fetch(`${other.http}/v1/cluster/transfer`, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: '{"to":9}',
  });
  assertEquals([unknown.status, (await unknown.json()).code], [400, "invalid-request"]);
});

Deno.test("S12: a node that cannot confirm its leader answers no read but a stale one", async () => {
  await using cluster = await started();
  await persist(cluster.endpoints, "/v1/kv/a", { method: "PUT", body: "x" });
  const leader = await cluster.leader();
  await cluster.agree();
  for (const { id } of cluster.nodes) if (id !== leader.id) await cluster.kill(id);
  const writing = fetch(`${leader.http}/v1/kv/a`, { method: "PUT", body: "y" });
  const reading = ["linearizable", "lease", "follower"].map(async (consistency) => {
    const response = await fetch(`${leader.http}/v1/kv/a?consistency=${consistency}`);
    const { code, outcome } = await response.json();
    assertEquals([response.status, code, outcome], [503, "unavailable", "not-applied"]);
    assert(Number(response.headers.get("retry-after")) >= 1);
  });
  await Promise.all(reading);
  const write = await writing;
  const { outcome } = await write.json();
  assertEquals(outcome, write.status === 504 ? "unknown" : "not-applied");
  assert(write.status === 503 || write.status === 504);
  const stale = await fetch(`${leader.http}/v1/kv/a?consistency=stale`);
  assertEquals([stale.status, await stale.text()], [200, "x"]);
  const ready = await fetch(`${leader.http}/readyz`);
  assertEquals(ready.status, 503);
  assertMatch(await ready.text(), /\[-\]leader: No leader is known/);
});

Deno.test("S17, S18: garbage and a 4 GiB length on the Raft port do not disturb a node", async () => {
  await using cluster = await started();
  // Two are enough for a leader; the third may still be starting.
  for (const endpoint of cluster.endpoints) await persist([endpoint], "/livez", {});
  const before = (await cluster.node(1).status())!;
  const attacks = [
    new Uint8Array([0xff, 0xff, 0xff, 0xff]),
    new Uint8Array([0, 0, 0, 0]),
    new Uint8Array([0, 0, 0, 4, 0xc1, 0xc1, 0xc1, 0xc1]),
    new Uint8Array([0, 0, 0x10, 0]).map((byte) => byte),
    new Uint8Array([0, 0, 0, 6, 0x95, 0xdd, 0xff, 0xff, 0xff, 0xff]),
    new TextEncoder().encode("GET / HTTP/1.1\r\nHost: x\r\n\r\n"),
    crypto.getRandomValues(new Uint8Array(4096)),
  ];
  const held: Deno.TcpConn[] = [];
  try {
    for (const id of cluster.ids) {
      for (const bytes of attacks) {
        const connection = await Deno.connect({ port: cluster.raftPort(id) });
        held.push(connection);
        await connection.write(bytes).catch(() => {});
      }
    }
    await persist(cluster.endpoints, "/v1/kv/a", { method: "PUT", body: "x" });
    for (const endpoint of cluster.endpoints) {
      assertEquals(await persist([endpoint], "/v1/kv/a", {}), "x");
    }
  } finally {
    for (const connection of held) connection.close();
  }
  const after = (await cluster.node(1).status())!;
  assertEquals(after.clusterId, before.clusterId);
  assertEquals(cluster.nodes.map(({ stderr }) => /node-failed/.test(stderr)), [
    false,
    false,
    false,
  ]);
});

Deno.test("SIGTERM hands leadership over, exits 0, and no write is left in doubt", async () => {
  await using cluster = await started();
  const leader = await cluster.leader();
  const others = cluster.nodes.filter(({ id }) => id !== leader.id);
  let stop = false;
  const failures: string[] = [];
  const writers = others.map(async ({ http, id }) => {
    for (let count = 0; !stop; count++) {
      const response = await fetch(`${http}/v1/kv/w-${id}-${count}`, { method: "PUT", body: "x" });
      const text = await response.text();
      if (!response.ok) failures.push(text);
    }
  });
  leader.signal("SIGTERM");
  const { code, stderr } = await leader.ended;
  const next = await eventually("the next leader", async () => {
    const statuses = await Promise.all(others.map((node) => node.status()));
    return statuses.find((status): status is ClusterStatus => status?.role === "leader");
  });
  stop = true;
  await Promise.all(writers);
  assertEquals(code, 0, stderr);
  assertMatch(stderr, / stopped\n$/);
  assert(next.leader !== leader.id);
  // A member left in order: no other member's time-out was needed.
  assertMatch(others.map((node) => node.stderr).join(""), /cause=TimeoutNow/);
  assertEquals(failures, []);
});

Deno.test("a second signal ends a node at once", async () => {
  await using cluster = new RealCluster(3);
  // Alone, with a request that waits for a quorum: the stop takes its time.
  const node = cluster.start(1);
  await eventually("the node", () => node.status());
  const waiting = fetch(`${node.http}/v1/kv/a`).then((response) => response.text(), String);
  await new Promise((resolve) => setTimeout(resolve, 100));
  node.signal("SIGTERM");
  await eventually("the stop", () => / stopping /.test(node.stderr) ? true : undefined);
  await new Promise((resolve) => setTimeout(resolve, SIGNAL_ECHO_MS));
  node.signal("SIGINT");
  const { code, stderr } = await node.ended;
  await waiting;
  assert(code === 1 || / stopped\n$/.test(stderr), `${code} ${stderr}`);
});

Deno.test("SIGNAL_ECHO_MS: Ctrl-C that deno task passes on once more is one signal", async () => {
  await using cluster = await started();
  const leader = await cluster.leader();
  leader.signal("SIGINT");
  leader.signal("SIGTERM");
  const { code, stderr } = await leader.ended;
  assertEquals(code, 0, stderr);
  assertMatch(stderr, / stopped\n$/);
});

Deno.test("leaders killed under load: every append exactly once and in order", async () => {
  const { recoveriesMs, violations } = await killLeaders({ writes: 600, kills: 2 });
  assertEquals(violations, []);
  assertEquals(recoveriesMs.length, 2);
});

Deno.test("all nodes killed at once: every acknowledged write is there after the restart", async () => {
  const { recoveriesMs, violations } = await killAll({ writes: 300, kills: 2 });
  assertEquals(violations, []);
  assertEquals(recoveriesMs.length, 2);
});
