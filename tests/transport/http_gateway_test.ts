import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import type { KvWriteResult } from "../../transport/gateway_port.ts";
import { createGateway, type GatewayHandler } from "../../transport/http_gateway.ts";
import {
  BODY_MS_MAX,
  REQUESTS_IN_FLIGHT_MAX,
  WHOLE_BODY_BYTES_MAX,
} from "../../transport/http_limits.ts";
import { GatewayError, type ProblemCode } from "../../transport/problem.ts";
import { assertProblem, httpCases, type Send } from "./http_cases.ts";
import { FakePort } from "./http_fake_port.ts";

interface Gateway {
  readonly port: FakePort;
  readonly handler: GatewayHandler;
  readonly send: Send;
  readonly defects: unknown[];
}

function gateway(): Gateway {
  const port = new FakePort();
  const defects: unknown[] = [];
  const onDefect = (error: unknown): void => void defects.push(error);
  const handler = createGateway(port, { version: "1.2.3", onDefect });
  const send: Send = async (path, init) =>
    await handler(new Request(`http://gateway${path}`, init));
  return { port, handler, send, defects };
}

for (const { name, run } of httpCases) {
  Deno.test(`over a port: ${name}`, async () => {
    const { send, defects } = gateway();
    await run(send);
    assertEquals(defects, []);
  });
}

Deno.test("every problem code has its status, and says what became of the write", async () => {
  const expected: Record<ProblemCode, [number, boolean, string]> = {
    "invalid-request": [400, false, "not-applied"],
    "not-found": [404, false, "not-applied"],
    "method-not-allowed": [405, false, "not-applied"],
    "not-acceptable": [406, false, "not-applied"],
    "conflict": [409, false, "not-applied"],
    "precondition-failed": [412, false, "not-applied"],
    "too-large": [413, false, "not-applied"],
    "unsupported-media-type": [415, false, "not-applied"],
    "idempotency-mismatch": [422, false, "not-applied"],
    "request-timeout": [408, true, "not-applied"],
    "overloaded": [429, true, "not-applied"],
    "internal": [500, false, "unknown"],
    "unavailable": [503, true, "not-applied"],
    "outcome-unknown": [504, true, "unknown"],
  };
  for (const [code, [status, retryable, outcome]] of Object.entries(expected)) {
    const { port, send, defects } = gateway();
    const error = new GatewayError(code as ProblemCode, "Because", { leader: 3 });
    port.write = () => Promise.reject(error);
    const response = await send("/v1/kv/a", { method: "PUT", body: "x" });
    const detail = await assertProblem(response, status, code, { retryable, outcome, leader: 3 });
    assertEquals([detail, defects], ["Because", []]);
  }
});

Deno.test("a result that is no success is an error of its own", async () => {
  const results: [KvWriteResult, number, ProblemCode][] = [
    [{ status: "precondition-failed", revision: 0 }, 412, "precondition-failed"],
    [{ status: "too-large" }, 413, "too-large"],
    [{ status: "idempotency-mismatch" }, 422, "idempotency-mismatch"],
    [{ status: "session-expired" }, 409, "conflict"],
  ];
  for (const [result, status, code] of results) {
    const { port, send } = gateway();
    port.write = () => Promise.resolve(result);
    await assertProblem(await send("/v1/kv/a", { method: "PUT", body: "x" }), status, code);
  }
  const { port, send } = gateway();
  port.write = () => Promise.resolve({ status: "overloaded" });
  const response = await send("/v1/kv/a", { method: "PUT", body: "x" });
  await assertProblem(response, 429, "overloaded", { retryable: true });
});

Deno.test("an error that nobody expected reveals nothing, is reported, and may have been applied", async () => {
  const { port, send, defects } = gateway();
  port.write = () => Promise.reject(new TypeError("the secret detail"));
  const response = await send("/v1/kv/a", { method: "PUT", body: "x" });
  const detail = await assertProblem(response, 500, "internal", { outcome: "unknown" });
  assert(!detail.includes("secret"));
  assertEquals(defects.map(String), ["TypeError: the secret detail"]);
});

Deno.test("a body that ends early is the client's fault, not a defect", async () => {
  const { port, send, defects } = gateway();
  const bodies = [{ "content-length": "10" }, {}].map((headers) => ({
    method: "PUT",
    headers,
    body: new ReadableStream({
      pull: (controller) => controller.error(new TypeError("connection closed")),
    }),
  }));
  for (const init of bodies) {
    await assertProblem(await send("/v1/kv/a", init), 400, "invalid-request");
  }
  assertEquals([port.writes, defects], [[], []]);
});

Deno.test("BODY_MS_MAX: a body that does not end is 408, and its place is free again", async () => {
  const { port, send, defects } = gateway();
  let given = 0;
  const large = String(WHOLE_BODY_BYTES_MAX + 1);
  for (const headers of [{ "content-length": "10" }, { "content-length": large }, {}]) {
    const body = new ReadableStream({
      start: (controller) => controller.enqueue(new Uint8Array(1)),
      cancel: () => void given++,
    });
    const response = send("/v1/kv/a", { method: "PUT", headers, body });
    assertEquals([...port.expiring.values()], [BODY_MS_MAX]);
    for (const expire of port.expiring.keys()) expire();
    await assertProblem(await response, 408, "request-timeout", { retryable: true });
    port.expiring.clear();
  }
  // What has come of the larger ones, and of those of unknown length, is not kept.
  assertEquals(given, 2);
  await (await send("/v1/kv/a", { method: "PUT", body: "x" })).body?.cancel();
  assertEquals([port.writes.length, port.expiring.size, defects], [1, 0, []]);
});

Deno.test("one request more than REQUESTS_IN_FLIGHT_MAX is 429, health and metrics still answer", async () => {
  const { port, handler, send } = gateway();
  let finish: () => void = () => {};
  const finished = new Promise<void>((resolve) => finish = resolve);
  const answer = port.get("a", "stale");
  port.get = async () => (await finished, await answer);
  const waiting = Array.from(
    { length: REQUESTS_IN_FLIGHT_MAX },
    () => handler(new Request("http://gateway/v1/kv/a")),
  );
  await assertProblem(await send("/v1/kv/a"), 429, "overloaded", { retryable: true });
  for (const path of ["/livez", "/readyz", "/metrics"]) {
    const response = await send(path);
    assertEquals(response.status, 200, path);
    await response.body?.cancel();
  }
  finish();
  for (const response of await Promise.all(waiting)) assertEquals(response.status, 404);
  await assertProblem(await send("/v1/kv/a"), 404, "not-found");
});

Deno.test("a read is as fresh as asked, linearizable if not asked", async () => {
  const { port, send } = gateway();
  for (const query of ["", "?consistency=lease", "?consistency=follower", "?consistency=stale"]) {
    await (await send(`/v1/kv/a${query}`)).body?.cancel();
    await (await send(`/v1/kv${query}`)).body?.cancel();
    await (await send(`/v1/kv${query}${query === "" ? "?" : "&"}count_only`)).body?.cancel();
  }
  const thrice = (level: string): string[] => [level, level, level];
  assertEquals(
    port.reads,
    ["linearizable", "lease", "follower", "stale"].flatMap(thrice) as typeof port.reads,
  );
});

Deno.test("S13: a read never writes", async () => {
  const { port, send } = gateway();
  for (
    const path of ["/v1/kv/a", "/v1/kv", "/v1/kv?count_only", "/v1/cluster", "/v1/raft/explain"]
  ) {
    for (const method of ["GET", "HEAD"]) {
      const headers = { "idempotency-key": "read-1" };
      await (await send(path, { method, headers })).body?.cancel();
    }
  }
  assertEquals(port.writes, []);
});

Deno.test("redirect=true names the leader's address with the same path, or is 503", async () => {
  const { port, send } = gateway();
  port.leaderId = 2;
  const path = "/v1/kv/a%2Fb?consistency=lease&redirect=true";
  const response = await send(path, { redirect: "manual" });
  assertEquals(response.status, 307);
  assertEquals(response.headers.get("location"), `http://127.0.0.1:8002${path}`);
  assertEquals(port.reads, []);
  for (const leader of [3, undefined]) {
    port.leaderId = leader;
    await assertProblem(await send(path), 503, "unavailable", { retryable: true });
  }
  assertEquals((await send("/v1/kv/a?redirect=false")).status, 404);
  assertEquals((await send("/v1/kv/redirect=true")).status, 404);
});

Deno.test("a failing check makes a probe 503 and is named", async () => {
  const { port, send } = gateway();
  port.checks = [{ name: "disk", ok: false, message: "stalled" }, ...port.checks];
  for (const path of ["/livez", "/readyz", "/healthz"]) {
    const response = await send(path);
    assertEquals(response.status, 503);
    assertStringIncludes(await response.text(), "[-]disk: stalled\n[+]fake: well\n");
  }
});
