import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import type { CommandResult } from "../../storage/kv/command_result.ts";
import type { KvItem } from "../../storage/kv/entry.ts";
import { VALUE_BYTES_MAX } from "../../storage/kv/limits.ts";
import { createGateway, type GatewayHandler } from "../../transport/http/gateway.ts";
import { openSnapshot } from "../../storage/log/snapshot_file.ts";
import {
  BACKUP_UNREAD_BYTES,
  BODIES_BYTES_MAX,
  BODY_MS_MAX,
  REQUEST_TIMEOUT_MS,
  REQUESTS_IN_FLIGHT_MAX,
  RESPONSE_BYTES_MAX,
  RESPONSE_CHUNK_BYTES,
  RESPONSE_STALL_MS_MAX,
  SCAN_UNREAD_BYTES,
  WATCH_HEARTBEAT_MS,
  WHOLE_BODY_BYTES_MAX,
} from "../../transport/http/limits.ts";
import { GatewayError, type ProblemCode } from "../../transport/http/problem.ts";
import { assertProblem, httpCases, type Send } from "./http_cases.ts";
import { leaseCases } from "./http_lease_cases.ts";
import { txnCases } from "./http_txn_cases.ts";
import { checked } from "./openapi_check.ts";
import { lockCases } from "./http_lock_cases.ts";
import { watchCases } from "./http_watch_cases.ts";
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
  const handler = createGateway(port, { version: "1.2.3", nowMs: () => port.nowMs, onDefect });
  const send: Send = async (path, init) => sentOf(init, await handler(requestOf(path, init)));
  return { port, handler, send, defects };
}

/** As the runtime sends it: no body after HEAD, but its length, unless it is a stream. */
async function sentOf(init: RequestInit | undefined, answer: Response): Promise<Response> {
  if (init?.method !== "HEAD") return answer;
  const { status, headers } = answer;
  const { length } = await answer.bytes();
  if (!headers.has("content-length") && length > 0) headers.set("content-length", String(length));
  return new Response(null, { status, headers });
}

/** As the runtime makes it: with the Host that the URL is made from. */
function requestOf(path: string, init: RequestInit = {}): Request {
  const headers = new Headers(init.headers);
  if (!headers.has("host")) headers.set("host", "gateway");
  return new Request(`http://gateway${path}`, { ...init, headers });
}

for (
  const { name, run } of [...httpCases, ...txnCases, ...leaseCases, ...lockCases, ...watchCases]
) {
  Deno.test(`over a port: ${name}`, async () => {
    const { send, defects } = gateway();
    // Each answer is one that the OpenAPI document has.
    await run(checked(send));
    assertEquals(defects, []);
  });
}

Deno.test("a poll whose time is up just as something changes leaves that to the next poll", async () => {
  const { port, send } = gateway();
  const poll = send("/v1/watch?prefix=&wait=30s");
  while (port.watches.size === 0) await Promise.resolve();
  for (const expire of port.expiring.keys()) expire();
  const value = new Uint8Array(1);
  const success = [{ type: "put", key: "k", value } as const];
  const written = port.write({ compares: [], success, failure: [] });
  assertEquals(await (await poll).json(), { events: [], from: 1 });
  const { events } = await (await send("/v1/watch?prefix=&wait=0s&from=1")).json();
  assertEquals([events.length, (await written).status], [1, "ok"]);
});

Deno.test("WATCH_HEARTBEAT_MS: a silent watch says where it is, so that it is not behind when it comes back", async () => {
  const { port, send } = gateway();
  const reader = (await send("/v1/watch?key=a")).body!.getReader();
  const next = async (): Promise<string> => new TextDecoder().decode((await reader.read()).value);
  assertEquals(await next(), "id: 0\n\n");
  const heartbeat = next();
  while (port.expiring.size === 0) await Promise.resolve();
  assertEquals([...port.expiring.values()], [WATCH_HEARTBEAT_MS]);
  const put = { type: "put", key: "b", value: new Uint8Array() } as const;
  await port.write({ compares: [], success: [put], failure: [] });
  for (const expire of port.expiring.keys()) expire();
  assertEquals(await heartbeat, ": heartbeat\nid: 1\n\n");
  await reader.cancel();
});

Deno.test("a poll whose client goes away ends its watch", async () => {
  const { port, send } = gateway();
  const poll = await send("/v1/watch?prefix=&wait=30s");
  assertEquals([port.watches.size, port.expiring.size], [1, 1]);
  // So does the runtime.
  await poll.body?.cancel();
  assertEquals([port.watches.size, port.expiring.size], [0, 0]);
});

Deno.test("every problem code has its status, and says what became of the write", async () => {
  const expected: Record<ProblemCode, [number, boolean, string]> = {
    "invalid-request": [400, false, "not-applied"],
    "cross-origin": [403, false, "not-applied"],
    "no-such-route": [404, false, "not-applied"],
    "key-not-found": [404, false, "not-applied"],
    "lock-held": [409, false, "not-applied"],
    "compacted": [410, false, "not-applied"],
    "lease-not-found": [404, false, "not-applied"],
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
    "no-space": [507, true, "not-applied"],
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
  const results: [CommandResult, number, ProblemCode][] = [
    [
      { status: "ok", succeeded: false, presentRevision: 0, revision: 1, results: [] },
      412,
      "precondition-failed",
    ],
    [{ status: "too-large" }, 413, "too-large"],
    [{ status: "idempotency-mismatch" }, 422, "idempotency-mismatch"],
    [{ status: "session-expired" }, 409, "conflict"],
    [{ status: "not-integer" }, 409, "conflict"],
    [{ status: "overflow" }, 409, "conflict"],
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

Deno.test("an answer for other operations than the write leaves its outcome unknown", async () => {
  const deleted = { type: "delete", deleted: 1 } as const;
  const put = { type: "put", version: 1, created: true } as const;
  for (const results of [[], [deleted], [put, put]]) {
    const { port, send } = gateway();
    port.write = () => Promise.resolve({ status: "ok", succeeded: true, revision: 1, results });
    const response = await send("/v1/kv/a", { method: "PUT", body: "x" });
    await assertProblem(response, 504, "outcome-unknown", { retryable: true, outcome: "unknown" });
  }
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
  const answer = port.get("a", { consistency: "stale", timeoutMs: REQUEST_TIMEOUT_MS });
  port.get = async () => (await finished, await answer);
  const waiting = Array.from(
    { length: REQUESTS_IN_FLIGHT_MAX },
    () => handler(requestOf("/v1/kv/a")),
  );
  await assertProblem(await send("/v1/kv/a"), 429, "overloaded", { retryable: true });
  for (const path of ["/livez", "/readyz", "/metrics"]) {
    const response = await send(path);
    assertEquals(response.status, 200, path);
    await response.body?.cancel();
  }
  finish();
  for (const response of await Promise.all(waiting)) assertEquals(response.status, 404);
  await assertProblem(await send("/v1/kv/a"), 404, "key-not-found");
});

Deno.test("a watch that does not keep up is told from where on changes are kept, and is over", async () => {
  const { port, send } = gateway();
  let ends = 0;
  port.watch = () => ({
    from: 7,
    take: () => ({ type: "lagged", from: 7, firstRevision: 12 }),
    end: () => void ends++,
  });
  const events = await (await send("/v1/watch?prefix=")).text();
  assertEquals(events, 'id: 6\n\nevent: lagged\ndata: {"from":7,"firstRevision":12}\n\n');
  const poll = await send("/v1/watch?prefix=&wait=1s&from=7");
  await assertProblem(poll, 410, "compacted");
  assertEquals(ends, 2);
});

Deno.test("BODIES_BYTES_MAX: bodies of requests in flight are bounded, and those without one go on", async () => {
  const { port, handler, send } = gateway();
  let finish: () => void = () => {};
  const finished = new Promise<void>((resolve) => finish = resolve);
  const write = port.write.bind(port);
  port.write = async (command) => (await finished, await write(command));
  const body = new Uint8Array(VALUE_BYTES_MAX);
  const headers = { "content-length": String(body.length) };
  const put = (): Promise<Response> =>
    Promise.resolve(handler(requestOf("/v1/kv/a", { method: "PUT", headers, body })));
  const waiting = Array.from({ length: BODIES_BYTES_MAX / VALUE_BYTES_MAX }, put);
  await assertProblem(await put(), 429, "overloaded", { retryable: true });
  // One of unknown length may be as long as any.
  const chunked = { method: "PUT", body: "x", headers: { "transfer-encoding": "chunked" } };
  const unknown = await handler(requestOf("/v1/kv/b", chunked));
  await assertProblem(unknown, 429, "overloaded", { retryable: true });
  await assertProblem(await send("/v1/kv/c"), 404, "key-not-found");
  finish();
  for (const response of await Promise.all(waiting)) assert(response.ok);
  assert((await put()).ok, "there is room again");
});

Deno.test("RESPONSE_BYTES_MAX: answers that nobody reads are bounded, and given up in time", async () => {
  const { port, send } = gateway();
  for (let at = 0; at < 8; at++) {
    const value = new Uint8Array(VALUE_BYTES_MAX).fill(97 + at);
    await (await send(`/v1/kv/large-${at}`, { method: "PUT", body: value })).body?.cancel();
  }
  const open: Response[] = [];
  const isFull = async (): Promise<boolean> => {
    const response = await send("/v1/kv?prefix=large-");
    if (response.status !== 200) {
      await assertProblem(response, 429, "overloaded", { retryable: true });
      return true;
    }
    open.push(response);
    return false;
  };
  const fill = async (): Promise<number> => {
    const before = open.length;
    const most = RESPONSE_BYTES_MAX / VALUE_BYTES_MAX;
    while (!await isFull()) assert(open.length - before <= most, "there is no bound");
    return open.length - before;
  };
  // A page holds up to 4 MiB of values, so that fewer than nine fit.
  const fits = await fill();
  assert(fits >= 4 && fits * 3 * VALUE_BYTES_MAX <= RESPONSE_BYTES_MAX, String(fits));
  // A large value is of the same kind; a small one, and a request for the headers, are not.
  const head = await send("/v1/kv?prefix=large-", { method: "HEAD" });
  assertEquals([head.status, head.body], [200, null]);
  await (await send("/v1/kv/small", { method: "PUT", body: "x" })).body?.cancel();
  assertEquals(await (await send("/v1/kv/small")).text(), "x");

  assertEquals((await open[0]!.json()).items.length > 0, true, "read to its end");
  await open[1]!.body!.cancel();
  assertEquals(await fill(), 2, "what was read or given up is free again");

  assertEquals(new Set(port.expiring.values()), new Set([RESPONSE_STALL_MS_MAX]));
  for (const expire of port.expiring.keys()) expire();
  const failed = await open.at(-1)!.text().then(() => "whole", (error) => error.message);
  assertEquals(failed, `the client has not read the answer for ${RESPONSE_STALL_MS_MAX} ms`);
  port.expiring.clear();
  open.length = 0;
  assertEquals(await fill(), fits, "what stalled is free again");
  for (const response of open) await response.body!.cancel();
  assertEquals(port.expiring.size, 0, "no timer is left behind");
});

Deno.test("a large answer is made as it is read", async () => {
  const { port, send } = gateway();
  let made = 0;
  const entry = { key: "k", contentType: undefined, created: 1, revision: 1, version: 1 };
  port.list = () => {
    const items = Array.from({ length: 64 }, () => ({
      ...entry,
      get value(): Uint8Array {
        made++;
        return new Uint8Array(64 * 1024).fill(97);
      },
    }));
    const context = { servedBy: 1, leaderId: 1, term: 1, revision: 1 };
    return Promise.resolve({ items, more: false, context });
  };
  const reader = (await send("/v1/kv")).body!.getReader();
  const counted = made;
  await reader.read();
  assert(made - counted <= 4, `${made - counted} values were encoded for the first piece`);
  await reader.cancel();
});

Deno.test("metrics count answers by method, route pattern and status, and never name a key", async () => {
  const { port, send } = gateway();
  const requests: [string, string][] = [
    ["PUT", "/v1/kv/secret%2Fkey"],
    ["PUT", "/v1/kv/secret/key"],
    ["GET", "/v1/kv/secret/key?meta=true"],
    ["GET", "/v1/kv/absent"],
    ["POST", "/v1/kv/secret/key/append"],
    ["GET", "/v1/kv?key=secret/key"],
    ["GET", "/readyz?verbose"],
    ["GET", "/secret"],
    ["SECRET", "/v1/kv/secret"],
    ["PATCH", "/v1/cluster"],
    ["POST", "/v1/locks/secret/lock?ttl=secret"],
    ["GET", "/v1/leases/secret"],
    ["POST", "/v1/leases/secret/keepalive"],
    ["PATCH", "/v1/cluster/members/secret"],
  ];
  for (const [method, path] of requests) {
    await (await send(path, { method })).body?.cancel();
  }
  const refused = await send("/v1/kv/secret/key", {
    method: "PUT",
    headers: { origin: "http://e" },
  });
  await refused.body?.cancel();
  // The time until the answer is there, in the bucket that it fits.
  const get = port.get.bind(port);
  port.get = async (key, options) => {
    port.nowMs += 300;
    return await get(key, options);
  };
  await (await send("/v1/kv/secret/key", { method: "HEAD" })).body?.cancel();
  const text = await (await send("/metrics")).text();
  const count = (labels: string): string =>
    text.split(`statecraft_http_requests_total{${labels}} `)[1]?.split("\n")[0] ?? "none";
  assertEquals(count('method="PUT",route="/v1/kv/{key}",status="201"'), "1");
  assertEquals(count('method="PUT",route="/v1/kv/{key}",status="200"'), "1");
  assertEquals(count('method="PUT",route="/v1/kv/{key}",status="403"'), "1");
  assertEquals(count('method="GET",route="/v1/kv/{key}",status="200"'), "1");
  assertEquals(count('method="GET",route="/v1/kv/{key}",status="404"'), "1");
  assertEquals(count('method="POST",route="/v1/kv/{key}/{verb}",status="200"'), "1");
  assertEquals(count('method="GET",route="/v1/kv",status="200"'), "1");
  assertEquals(count('method="GET",route="/readyz",status="200"'), "1");
  assertEquals(count('method="GET",route="other",status="404"'), "1");
  assertEquals(count('method="POST",route="/v1/locks/{name}",status="400"'), "1");
  assertEquals(count('method="GET",route="/v1/leases/{id}",status="400"'), "1");
  assertEquals(count('method="POST",route="/v1/leases/{id}/keepalive",status="400"'), "1");
  assertEquals(count('method="PATCH",route="/v1/cluster/members/{id}",status="400"'), "1");
  assertEquals(count('method="other",route="/v1/kv/{key}",status="405"'), "1");
  assertEquals(count('method="PATCH",route="/v1/cluster",status="405"'), "1");
  assert(!/secret|absent/i.test(text), text);
  const bucket = (le: string): string => {
    const labels = `method="HEAD",route="/v1/kv/{key}",le="${le}"`;
    const line = `statecraft_http_request_duration_seconds_bucket{${labels}} `;
    return text.split(line)[1]!.split("\n")[0]!;
  };
  assertEquals([bucket("0.25"), bucket("0.5"), bucket("+Inf")], ["0", "1", "1"]);
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

Deno.test("a backup is a stream that says what it is of, and is given up when nobody reads", async () => {
  const { port, send } = gateway();
  await (await send("/v1/kv/k", { method: "PUT", body: "x" })).body?.cancel();
  const whole = await send("/v1/backup");
  assertEquals(whole.status, 200);
  assertEquals(whole.headers.get("content-type"), "application/octet-stream");
  assertEquals(
    whole.headers.get("content-disposition"),
    'attachment; filename="fake-1.backup"',
  );
  assertEquals(whole.headers.get("statecraft-revision"), "1");
  const bytes = await whole.bytes();
  const read = (offset: number, length: number): Uint8Array =>
    bytes.subarray(offset, offset + length);
  const reader = openSnapshot("x", { read, size: bytes.length });
  assertEquals([...reader.chunks()].length > 0, true);
  assertEquals(port.backups.counters, { whole: 1, cut: 0 });

  const head = await send("/v1/backup", { method: "HEAD" });
  assertEquals([head.status, head.headers.get("statecraft-revision")], [200, "1"]);
  await (await send("/v1/backup")).body!.cancel();
  const stalled = await send("/v1/backup");
  assertEquals(new Set(port.expiring.values()), new Set([RESPONSE_STALL_MS_MAX]));
  for (const expire of port.expiring.keys()) expire();
  const failed = await stalled.text().then(() => "whole", (error) => error.message);
  assertEquals(failed, `the client has not read the answer for ${RESPONSE_STALL_MS_MAX} ms`);
  const cut = await send("/v1/backup");
  port.backups.stop();
  assertEquals(await cut.text().then(() => "whole", () => "cut"), "cut");
  assertEquals([port.backups.running, port.backups.counters.cut], [0, 4]);
});

Deno.test("a scan that nobody reads on is given up, and one that cannot begin keeps nothing", async () => {
  const { port, send } = gateway();
  let open = 0;
  const items = (count: number): Iterator<KvItem, undefined> => ({
    next: () => {
      if (count-- <= 0) return { done: true, value: undefined };
      const value = new Uint8Array(RESPONSE_CHUNK_BYTES);
      return { done: false, value: { key: "k", value, ...numbers } };
    },
    return: () => {
      open--;
      return { done: true, value: undefined };
    },
  });
  const numbers = { contentType: undefined, created: 1, revision: 1, version: 1 };
  port.scan = async () => {
    open++;
    const { context } = await port.get("k", { consistency: "stale", timeoutMs: 1 });
    return { items: items(1_000), context };
  };
  const init = { headers: { accept: "application/x-ndjson" } };
  const one = await send("/v1/kv", init);
  const reader = one.body!.getReader();
  await reader.read();
  assertEquals(open, 1);
  await reader.cancel();
  assertEquals(open, 0);
  const most = Math.floor(RESPONSE_BYTES_MAX / SCAN_UNREAD_BYTES);
  const unread = [];
  for (let n = 0; n < most; n++) unread.push(await send("/v1/kv", init));
  assertEquals(open, most);
  await assertProblem(await send("/v1/kv", init), 429, "overloaded", { retryable: true });
  assertEquals(open, most);
  for (const response of unread) await response.body!.cancel();
  assertEquals(open, 0);
});

Deno.test("a backup counts among the answers that are not read yet", async () => {
  const { port, send } = gateway();
  const open: Response[] = [];
  for (;;) {
    const response = await send("/v1/backup");
    if (response.status === 429) break;
    open.push(response);
  }
  assertEquals(open.length, RESPONSE_BYTES_MAX / BACKUP_UNREAD_BYTES);
  assertEquals(port.backups.running, open.length, "the refused one is not kept");
  for (const response of open) await response.body!.cancel();
  await assertProblem(await send("/v1/backup?from=1"), 400, "invalid-request");
  assertEquals(port.backups.running, 0);
});

Deno.test("a snapshot is taken by POST only, without parameters, and for no other site", async () => {
  const { send } = gateway();
  const path = "/v1/snapshot";
  const taken = await send(path, { method: "POST" });
  assertEquals(taken.status, 200);
  assertEquals((await taken.json()).index, 2);
  await assertProblem(await send(path), 405, "method-not-allowed");
  await assertProblem(await send(`${path}?now=1`, { method: "POST" }), 400, "invalid-request");
  const headers = { origin: "http://elsewhere.example" };
  await assertProblem(await send(path, { method: "POST", headers }), 403, "cross-origin");
});
