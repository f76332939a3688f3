/**
 * The gateway in front of the members: every case of the HTTP interface, through it.
 */
import { assert, assertEquals, assertMatch } from "@std/assert";
import { startGateway, startNode, type StatecraftNode } from "../../mod.ts";
import { TEXT_CHARS_MAX } from "../../transport/wire/client_codec.ts";
import { parseHostPort } from "../../transport/wire/network.ts";
import { assertProblem, httpCases, type Send } from "./http_cases.ts";
import { leaseCases } from "./http_lease_cases.ts";
import { lockCases } from "./http_lock_cases.ts";
import { txnCases } from "./http_txn_cases.ts";
import { watchCases } from "./http_watch_cases.ts";
import { checked } from "./openapi_check.ts";

const http = { hostname: "127.0.0.1", port: 0 };

async function withGateway(
  run: (send: Send, node: StatecraftNode, errors: string[]) => Promise<void>,
): Promise<void> {
  const dataDir = await Deno.makeTempDir();
  const errors: string[] = [];
  const log = (level: string, event: string, fields: unknown): void => {
    if (level === "error") errors.push(`${event} ${JSON.stringify(fields)}`);
  };
  try {
    await using node = await startNode({ id: 1, single: true, dataDir, http, log });
    const members = [parseHostPort(node.status().members[0]!.raftAddress)!];
    await using gateway = startGateway({ members, http, log });
    const send: Send = (path, init) => fetch(gateway.httpAddress + path, init);
    await (await send("/v1/kv/until-leading")).body?.cancel();
    await run(send, node, errors);
    assertEquals(errors, []);
  } finally {
    await Deno.remove(dataDir, { recursive: true });
  }
}

Deno.test("over a gateway in front of a node", async (t) => {
  await withGateway(async (send) => {
    const cases = [...httpCases, ...txnCases, ...leaseCases, ...lockCases, ...watchCases];
    for (const { name, run } of cases) {
      // A gateway has health and metrics of its own.
      if (!name.startsWith("operators get health")) await t.step(name, () => run(checked(send)));
    }
  });
});

Deno.test("a gateway counts what it answers, and passes on what the nodes say of themselves", async () => {
  await withGateway(async (send, node) => {
    for (const path of ["/", "/readyz?verbose", "/version", "/v1/raft/explain", "/openapi.json"]) {
      const [own, passed] = await Promise.all([fetch(node.httpAddress + path), send(path)]);
      assertEquals([passed.status, passed.headers.get("content-type")], [
        own.status,
        own.headers.get("content-type"),
      ]);
      assertEquals((await passed.text()).length, (await own.text()).length, path);
    }
    const metrics = await (await send("/metrics")).text();
    assertMatch(metrics, /^statecraft_gateway_members_up(\{\})? 1$/m);
    assertMatch(metrics, /route="\/v1\/kv\/\{key\}",status="404"\} \d/);
    assert(!metrics.includes("etcd_server_has_leader"), "these are a node's metrics");
    assertEquals(await (await send("/livez")).text(), "ok\n");
  });
});

Deno.test("a gateway refuses what a page of another site sends, and does not pass it on", async () => {
  await withGateway(async (send, node) => {
    const headers = { origin: "http://evil.example" };
    const put = { method: "PUT", body: "x", headers };
    await assertProblem(await send("/v1/kv/a", put), 403, "cross-origin");
    const post = { method: "POST", body: '{"ttlSeconds":5}', headers };
    await assertProblem(await send("/v1/leases", post), 403, "cross-origin");
    assertEquals(node.status().revision, 0);
  });
});

Deno.test("a gateway without a member says so, and what it knows of a write", async () => {
  using listener = Deno.listen(http);
  const { port } = listener.addr;
  listener.close();
  await using gateway = startGateway({ members: [{ hostname: "127.0.0.1", port }], http });
  const headers = { "statecraft-timeout-ms": "300" };
  const read = await fetch(`${gateway.httpAddress}/v1/kv/a`, { headers });
  await assertProblem(read, 503, "unavailable", { retryable: true });
  const write = await fetch(`${gateway.httpAddress}/v1/kv/a`, {
    method: "PUT",
    body: "x",
    headers,
  });
  await assertProblem(write, 503, "unavailable", { retryable: true });
  const passed = await fetch(`${gateway.httpAddress}/v1/cluster`, { headers });
  await assertProblem(passed, 503, "unavailable", { retryable: true });
});

Deno.test("a gateway gives a poll and a lock the time that they ask for, and anything else no more than its own", async () => {
  await withGateway(async (send, node) => {
    const poll = await send("/v1/watch?prefix=p&wait=60s");
    assertEquals(poll.status, 200);
    await poll.body?.cancel();
    for (const timeout of ["", "-5", "1e9"]) {
      const headers = { "statecraft-timeout-ms": timeout };
      await assertProblem(await send("/v1/leases/7", { headers }), 400, "invalid-request");
    }
    // As many headers as the runtime takes are passed on; a name that no member would read is refused.
    const headers = Object.fromEntries(Array.from({ length: 80 }, (_, at) => [`x-${at}`, "v"]));
    const cluster = await send("/v1/cluster", { headers });
    assertEquals([cluster.status, (await cluster.json()).nodeId], [200, node.id]);
    const name = "x".repeat(TEXT_CHARS_MAX);
    await assertProblem(await send(`/v1/locks/${name}`), 400, "invalid-request");
  });
});

Deno.test("a gateway whose member hangs gives up what is about a lock in its time", async () => {
  // It takes connections, and says nothing.
  using listener = Deno.listen(http);
  const { port } = listener.addr;
  await using gateway = startGateway({ members: [{ hostname: "127.0.0.1", port }], http });
  const headers = { "statecraft-timeout-ms": "100", "content-type": "application/json" };
  const body = '{"ttlSeconds":5,"wait":"100ms"}';
  const url = `${gateway.httpAddress}/v1/locks/a`;
  const inits: RequestInit[] = [{}, { method: "POST", body }, { method: "DELETE" }];
  for (const init of inits) {
    const answer = await fetch(url, { ...init, headers, signal: AbortSignal.timeout(10_000) });
    await answer.body?.cancel();
    assert([503, 504].includes(answer.status), `${init.method} ${answer.status}`);
  }
});

Deno.test("GATEWAY_STOP_MS_MAX: a gateway that stops cuts what waits for news", async () => {
  const dataDir = await Deno.makeTempDir();
  try {
    await using node = await startNode({ id: 1, single: true, dataDir, http });
    const members = [parseHostPort(node.status().members[0]!.raftAddress)!];
    await using gateway = startGateway({ members, http });
    const reader = (await fetch(`${gateway.httpAddress}/v1/watch?prefix=`)).body!.getReader();
    await reader.read();
    const rest = reader.read().catch((error: Error) => error.name);
    await gateway.stop();
    assertEquals(await rest, "TypeError");
  } finally {
    await Deno.remove(dataDir, { recursive: true });
  }
});
