/**
 * Clients that could bring a node down: more connections than it may hold, and clients that do not
 * read their answers.
 *
 * @module
 */
import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { nodeWords } from "../../cli/dev.ts";
import { VALUE_BYTES_MAX } from "../../storage/kv/limits.ts";
import { freePorts } from "../../bench/local_cluster.ts";
import { eventually, persist, RealCluster } from "./real_cluster.ts";

/** File descriptors that the node may have open, of which it needs about 20 itself. */
const DESCRIPTORS = 64;
const CONNECTIONS = 100;
/** What the attack on a member was: less than its bound, more than is left of it. */
const IDLE_CONNECTIONS = 60;

/** What a client sends before it falls silent. */
const silences: Readonly<Record<string, string>> = {
  "nothing": "",
  "half a head": "GET /livez HTTP/1.1\r\nHost: a\r\n",
  "half a body": "PUT /v1/kv/half HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\nx",
  "a whole request": "GET /livez HTTP/1.1\r\nHost: a\r\n\r\n",
};

Deno.test("X3: a node out of file descriptors closes idle connections and goes on", async (t) => {
  const directory = await Deno.makeTempDir();
  const [port] = freePorts(1) as [number];
  const http = `http://127.0.0.1:${port}`;
  const words = nodeWords([
    ...["--id", "1", "--single", "--data", `${directory}/node`, "--http", `127.0.0.1:${port}`],
  ]);
  const node = new Deno.Command("sh", {
    args: ["-c", `ulimit -n ${DESCRIPTORS} && exec "$@"`, "sh", ...words],
    stdin: "null",
    stdout: "null",
    stderr: "piped",
  }).spawn();
  const stderr = new Response(node.stderr).text();
  const open: Deno.Conn[] = [];
  let isOver = false;
  try {
    await persist([http], "/v1/kv/before", { method: "PUT", body: "x" });
    for (const [what, text] of Object.entries(silences)) {
      await t.step(what, async () => {
        await Promise.allSettled(Array.from({ length: CONNECTIONS }, async () => {
          const connection = await Deno.connect({ hostname: "127.0.0.1", port });
          open.push(connection);
          await connection.write(new TextEncoder().encode(text));
        }));
        const path = `/v1/kv/${encodeURIComponent(what)}`;
        await persist([http], path, { method: "PUT", body: what });
        assertEquals(await persist([http], path, {}), what);
        for (const connection of open.splice(0)) connection.close();
      });
    }
    assertEquals(await persist([http], "/v1/kv/before", {}), "x");
    node.kill("SIGTERM");
    const { code } = await node.status;
    isOver = true;
    assertEquals(code, 0, "an orderly stop");
    assertStringIncludes(await stderr, "http-connections-shed");
  } finally {
    if (!isOver) node.kill("SIGKILL");
    await node.status;
    await stderr;
    await Deno.remove(directory, { recursive: true });
  }
});

Deno.test("X3: a member whose HTTP clients use up its descriptors keeps its peers and its log", async () => {
  await using cluster = new RealCluster(3);
  for (const id of [1, 2]) cluster.start(id);
  const member = cluster.start(3, { descriptorsMax: DESCRIPTORS });
  await cluster.leader();
  await persist(cluster.endpoints, "/v1/kv/before", { method: "PUT", body: "x" });
  await eventually("all links", async () => {
    const statuses = await Promise.all(cluster.nodes.map((node) => node.status()));
    const links = statuses.flatMap((status) => status?.members.map(({ link }) => link) ?? []);
    return links.length === 9 && !links.includes("down") || undefined;
  });
  const before = (await cluster.node(1).status())!;
  const { hostname, port } = new URL(member.http);
  const idle: Deno.Conn[] = [];
  try {
    // While the member sheds connections it may refuse one, or reset it.
    await Promise.allSettled(Array.from({ length: IDLE_CONNECTIONS }, async () => {
      idle.push(await Deno.connect({ hostname, port: Number(port) }));
    }));
    // It takes part in what the others commit meanwhile, which needs its log and its links.
    const endpoints = [1, 2].map((id) => cluster.node(id).http);
    for (let at = 0; at < 50; at++) {
      await persist(endpoints, `/v1/kv/meanwhile-${at}`, {
        method: "PUT",
        body: "y".repeat(1_000),
      });
    }
    assertEquals(await persist([member.http], "/v1/kv/meanwhile-49", {}), "y".repeat(1_000));
  } finally {
    for (const connection of idle) connection.close();
  }
  // On a connection of its own: one that was there before says nothing of the listener.
  using client = Deno.createHttpClient({ poolMaxIdlePerHost: 0 });
  const fresh: RequestInit & { readonly client: Deno.HttpClient } = {
    method: "PUT",
    body: "z",
    client,
  };
  await persist([member.http], "/v1/kv/after", fresh);
  await cluster.agree();
  const after = (await cluster.node(1).status())!;
  assertEquals([after.term, after.leader], [before.term, before.leader], "nobody was elected");
  for (const node of cluster.nodes) assert(!node.stderr.includes("link-lost"), node.stderr);
  assertStringIncludes(member.stderr, "http-connections-shed");
});

Deno.test("X5: thirty clients that list everything at once cost no election", async () => {
  await using cluster = new RealCluster(3);
  cluster.startAll();
  const value = new Uint8Array(VALUE_BYTES_MAX).fill(97);
  for (let at = 0; at < 8; at++) {
    await persist(cluster.endpoints, `/v1/kv/large-${at}`, { method: "PUT", body: value });
  }
  const leader = await cluster.leader();
  await cluster.agree();
  const before = await leader.status();
  const statuses = await Promise.all(Array.from({ length: 30 }, async () => {
    const response = await fetch(`${leader.http}/v1/kv?prefix=large-`);
    const { items, retryable } = await response.json();
    if (response.status === 429) return assertEquals(retryable, true), 429;
    assert(
      items.length > 0 &&
        items.every((item: { value: string }) => item.value.length === VALUE_BYTES_MAX),
    );
    return response.status;
  }));
  assertEquals(statuses.filter((status) => status !== 200 && status !== 429), []);
  assert(statuses.includes(200));
  // Answers that nobody reads keep nobody else waiting.
  const unread = await Promise.all(
    Array.from({ length: 30 }, () => fetch(`${leader.http}/v1/kv?prefix=large-`)),
  );
  await persist([leader.http], "/v1/kv/after", { method: "PUT", body: "x" });
  for (const response of unread) await response.body?.cancel();
  const after = await eventually("the leader's status", () => leader.status());
  assertEquals([after.term, after.role], [before!.term, "leader"]);
});
