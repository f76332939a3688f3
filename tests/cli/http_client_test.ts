import { assert, assertEquals, assertLessOrEqual, assertMatch, assertRejects } from "@std/assert";
import {
  ASK_MS_MAX,
  askAll,
  bypassProxyOnLoopback,
  ClientError,
  send,
} from "../../cli/http_client.ts";
import { ANSWER_MARGIN_MS } from "../../actors/clerk_link.ts";
import { ATTEMPT_MS_MIN } from "../../actors/clerk_requests.ts";
import { REQUEST_TIMEOUT_MS_MAX, REQUEST_TIMEOUT_MS_MIN } from "../../transport/http/limits.ts";
import { EXIT } from "../../cli/usage.ts";
import { GatewayError, problemResponse } from "../../transport/http/problem.ts";

interface Server extends AsyncDisposable {
  readonly endpoint: string;
  /** What arrived: method, path, body, idempotency key and time. */
  readonly requests: {
    line: string;
    body: string;
    once: string | null;
    timeoutMs: number;
  }[];
}

/**
 * A server that answers its n-th request with the n-th answer, and all later ones with the last
 * answer.
 */
function serve(...answers: (() => Response | Promise<Response>)[]): Server {
  const requests: Server["requests"] = [];
  const http = { hostname: "127.0.0.1", port: 0, onListen: () => {} };
  const server = Deno.serve(http, async (request) => {
    requests.push({
      line: `${request.method} ${new URL(request.url).pathname}`,
      body: await request.text(),
      once: request.headers.get("idempotency-key"),
      timeoutMs: Number(request.headers.get("statecraft-timeout-ms")),
    });
    return await answers[Math.min(requests.length, answers.length) - 1]!();
  });
  return {
    endpoint: `http://127.0.0.1:${server.addr.port}`,
    requests,
    [Symbol.asyncDispose]: () => server.shutdown(),
  };
}

const ok = (): Response => new Response("fine\n");
const unavailable = (): Response => problemResponse(new GatewayError("unavailable", "No leader"));
const unknown = (): Response => problemResponse(new GatewayError("outcome-unknown", "No answer"));
const never = 30_000;

/** An endpoint where nobody listens. */
function refusedEndpoint(): string {
  using listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  return `http://127.0.0.1:${listener.addr.port}`;
}

/** A server that reads a request and closes the connection without an answer. */
function hangUp(): { endpoint: string; connections: () => number; close: () => void } {
  const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  let connections = 0;
  (async () => {
    for await (const connection of listener) {
      connections++;
      await connection.read(new Uint8Array(4096));
      connection.close();
    }
  })();
  return {
    endpoint: `http://127.0.0.1:${listener.addr.port}`,
    connections: () => connections,
    close: () => listener.close(),
  };
}

async function clientError(
  endpoints: readonly string[],
  method: "GET" | "PUT",
  timeoutMs = 400,
): Promise<ClientError> {
  const body = method === "PUT" ? { body: "x" } : {};
  const sent = send({ method, path: "/v1/kv/a", ...body }, { endpoints, timeoutMs });
  return await assertRejects(async () => await sent, ClientError);
}

Deno.test("a write is repeated with the same idempotency key until it is answered", async () => {
  await using server = serve(unavailable, unknown, ok);
  const response = await send(
    { method: "PUT", path: "/v1/kv/a", body: "value" },
    { endpoints: [server.endpoint], timeoutMs: never },
  );
  assertEquals(await response.text(), "fine\n");
  assertEquals(server.requests.map(({ line, body }) => [line, body]), [
    ["PUT /v1/kv/a", "value"],
    ["PUT /v1/kv/a", "value"],
    ["PUT /v1/kv/a", "value"],
  ]);
  assertEquals(new Set(server.requests.map(({ once }) => once)).size, 1);
  assert(server.requests[0]!.once!.length > 8);
});

Deno.test("two writes have different idempotency keys, and a read has none", async () => {
  await using server = serve(ok);
  const options = { endpoints: [server.endpoint], timeoutMs: never };
  for (const method of ["PUT", "PUT", "DELETE", "GET"] as const) {
    const response = await send({ method, path: "/v1/kv/a" }, options);
    await response.body?.cancel();
  }
  const keys = server.requests.map(({ once }) => once);
  assertEquals(new Set(keys).size, 4);
  assertEquals(keys[3], null);
});

Deno.test("an endpoint that refuses, hangs up or has no leader is passed over", async () => {
  const hung = hangUp();
  try {
    await using first = serve(unavailable);
    await using last = serve(ok);
    const endpoints = [refusedEndpoint(), hung.endpoint, first.endpoint, last.endpoint];
    const response = await send({ method: "PUT", path: "/a", body: "x" }, {
      endpoints,
      timeoutMs: never,
    });
    assertEquals(await response.text(), "fine\n");
    assertEquals(first.requests[0]!.once, last.requests[0]!.once);
  } finally {
    hung.close();
  }
});

Deno.test("an answer that no repetition changes is not repeated", async () => {
  const codes = [
    ["key-not-found", EXIT.notFound],
    ["precondition-failed", EXIT.preconditionFailed],
    ["invalid-request", EXIT.usage],
    ["conflict", EXIT.failure],
    ["too-large", EXIT.failure],
    ["internal", EXIT.outcomeUnknown],
  ] as const;
  for (const [code, exitCode] of codes) {
    await using server = serve(() => problemResponse(new GatewayError(code, "Because")));
    const error = await clientError([server.endpoint, server.endpoint], "PUT", never);
    assertEquals([error.exitCode, server.requests.length], [exitCode, 1], code);
    assert(error.message.endsWith(": Because"), error.message);
  }
});

Deno.test("a write that surely never arrived is unavailable, one that may have is unknown", async () => {
  assertEquals((await clientError([refusedEndpoint()], "PUT")).exitCode, EXIT.unavailable);
  assertEquals((await clientError([refusedEndpoint()], "GET")).exitCode, EXIT.unavailable);
  {
    await using server = serve(unavailable);
    const error = await clientError([server.endpoint], "PUT");
    assertEquals(error.exitCode, EXIT.unavailable);
  }
  {
    await using server = serve(unknown, unavailable);
    assertEquals((await clientError([server.endpoint], "PUT")).exitCode, EXIT.outcomeUnknown);
  }
  const hung = hangUp();
  try {
    assertEquals((await clientError([hung.endpoint], "PUT")).exitCode, EXIT.outcomeUnknown);
    assertEquals((await clientError([hung.endpoint], "GET")).exitCode, EXIT.unavailable);
    assert(hung.connections() >= 2);
    // What is tried last surely had no effect; the message says why the outcome is unknown even so.
    const mixed = await clientError([hung.endpoint, refusedEndpoint()], "PUT");
    assertEquals(mixed.exitCode, EXIT.outcomeUnknown);
    assertMatch(mixed.message, new RegExp(`refused.*may have been done.*: ${hung.endpoint}`));
  } finally {
    hung.close();
  }
});

Deno.test("the time is up although the server never answers", async () => {
  let release: () => void = () => {};
  const held = new Promise<void>((resolve) => release = resolve);
  await using server = serve(async () => (await held, ok()));
  const ends = await Promise.all(
    (["PUT", "GET"] as const).map((method) => clientError([server.endpoint], method, 200)),
  );
  // The server waits for its answers.
  release();
  assertEquals(ends.map(({ exitCode }) => exitCode), [EXIT.outcomeUnknown, EXIT.unavailable]);
});

Deno.test("S20: retries pause between rounds and end with the deadline", async () => {
  await using server = serve(unavailable);
  const timeoutMs = 1_000;
  const endpoints = [server.endpoint, server.endpoint];
  await clientError(endpoints, "PUT", timeoutMs);
  // However slow the machine: a pause is never shorter than it says. Without jitter the rounds begin after
  // 0, 25, 75, 175, 375, 775 ms at the earliest.
  assertLessOrEqual(server.requests.length, endpoints.length * 6);
});

Deno.test("X8: every endpoint that hangs costs its share, and the server is told a little less", async () => {
  using hanging = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  await using server = serve(ok);
  const hung = `http://127.0.0.1:${(hanging.addr as Deno.NetAddr).port}`;
  const options = { endpoints: [hung, hung, server.endpoint], timeoutMs: 3_000 };
  for (const method of ["GET", "PUT"] as const) {
    const response = await send({ method, path: "/v1/kv/a" }, options);
    assertEquals(await response.text(), "fine\n");
  }
  for (const { timeoutMs } of server.requests) {
    assertLessOrEqual(timeoutMs, 1_001 - ANSWER_MARGIN_MS);
    assertLessOrEqual(REQUEST_TIMEOUT_MS_MIN, timeoutMs);
  }
});

Deno.test("X8: the server's time stays within its bounds", async () => {
  await using server = serve(ok);
  for (const timeoutMs of [ATTEMPT_MS_MIN, 10 * 60_000]) {
    const reach = { endpoints: [server.endpoint], timeoutMs };
    await (await send({ method: "GET", path: "/v1/kv/a" }, reach)).body?.cancel();
  }
  assertLessOrEqual(REQUEST_TIMEOUT_MS_MIN, server.requests[0]!.timeoutMs);
  assertEquals(server.requests[1]!.timeoutMs, REQUEST_TIMEOUT_MS_MAX);
});

Deno.test("X8: an answer that stops in its middle is asked for elsewhere", async () => {
  await using stuck = serve(() =>
    new Response(new ReadableStream({ start: (body) => body.enqueue(new Uint8Array(3)) }))
  );
  await using server = serve(ok);
  const reach = { endpoints: [stuck.endpoint, server.endpoint], timeoutMs: 1_000 };
  const response = await send({ method: "GET", path: "/v1/kv/a" }, reach);
  assertEquals(await response.text(), "fine\n");
});

Deno.test("X8: NO_PROXY keeps what it had and gains loopback", () => {
  const environment = new Map([["NO_PROXY", "example.org"]]);
  bypassProxyOnLoopback({
    get: (name) => environment.get(name),
    set: environment.set.bind(environment),
  });
  assertEquals(environment.get("NO_PROXY"), "example.org,127.0.0.0/8,::1,localhost");
  assertEquals(environment.get("no_proxy"), "127.0.0.0/8,::1,localhost");
});

Deno.test("X8: all endpoints are asked at once, and one that hangs costs no more than ASK_MS_MAX", async () => {
  using hanging = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  await using server = serve(unavailable);
  const hung = `http://127.0.0.1:${(hanging.addr as Deno.NetAddr).port}`;
  const reach = { endpoints: [hung, server.endpoint], timeoutMs: never };
  const [first, second] = await askAll({ path: "/readyz", accept: "text/plain" }, reach);
  assertEquals(first, { endpoint: hung, failure: `no answer within ${ASK_MS_MAX} ms` });
  assert(second!.failure === undefined && second!.status === 503);
});
