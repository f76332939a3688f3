/**
 * The member's side of the clients' wire, over connections that a test reads and cuts.
 */
import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { ClientConnections, type ClientHost } from "../../actors/client_connections.ts";
import {
  CLIENT_CONNECTIONS_MAX,
  CLIENT_FRAME_BYTES_MAX,
  CLIENT_REQUEST_BYTES_MAX,
  CLIENT_REQUESTS_MAX,
  CLIENT_STALL_MS_MAX,
  CLIENT_TIMEOUT_MS,
  CLIENT_UNREAD_BYTES_MAX,
} from "../../actors/limits.ts";
import { encodeCommand } from "../../storage/kv/command.ts";
import type { CommandResult } from "../../storage/kv/command_result.ts";
import { GatewayError } from "../../transport/http/problem.ts";
import {
  type ClientAnswer,
  clientAnswerOf,
  type ClientAsk,
  ClientCodec,
  clientWelcomeOf,
  PIECES_AHEAD,
} from "../../transport/wire/client_codec.ts";
import { FRAME_HEADER_BYTES } from "../../transport/wire/limits.ts";
import type { Connection, ConnectionHandlers } from "../../transport/wire/network.ts";

const codec = new ClientCodec();
const HELLO = { type: "ClientHello", versionMin: 1, versionMax: 1 } as const;
const DONE: CommandResult = { status: "ok", revision: 1, succeeded: true, results: [] };

class FakeConnection implements Connection {
  readonly remote = "test";
  /** Bytes that were sent and that the client has not read, once it does not read any more. */
  bufferedBytes = 0;
  reads = true;
  readonly sent: Uint8Array[] = [];
  handlers: ConnectionHandlers | undefined;
  end_ = "open";
  isFull = false;
  frameLimit = 0;

  send(frame: Uint8Array): boolean {
    if (this.isFull) return false;
    this.sent.push(frame.subarray(FRAME_HEADER_BYTES));
    if (!this.reads) this.bufferedBytes += frame.length;
    return true;
  }

  /** The client reads what it was sent. */
  read(): void {
    this.bufferedBytes = 0;
    this.handlers!.onDrained!();
  }

  setFrameLimit(bytesMax: number): void {
    this.frameLimit = bytesMax;
  }

  close(): void {
    this.end_ = "closed";
  }

  end(): void {
    this.end_ = "ended";
  }

  ask(ask: ClientAsk): void {
    this.handlers!.onFrame(codec.ask(ask).subarray(FRAME_HEADER_BYTES));
  }

  /** The answers since the welcome. */
  async answers(): Promise<ClientAnswer[]> {
    for (let turn = 0; turn < 20; turn++) await Promise.resolve();
    await new Promise((resolve) => setTimeout(resolve, 0));
    return this.sent.slice(1).map(clientAnswerOf);
  }
}

interface Set {
  readonly clients: ClientConnections;
  readonly executed: { readonly mayRepeat: boolean; readonly timeoutMs: number }[];
  readonly defects: unknown[];
  /** What expires, and when. */
  readonly expiring: Map<() => void, number>;
  connect(hello?: { versionMin: number; versionMax: number }): FakeConnection;
}

function setUp(
  overrides: Partial<ClientHost["port"]> & Pick<Partial<ClientHost>, "gateway"> = {},
): Set {
  const executed: Set["executed"] = [];
  const defects: unknown[] = [];
  const expiring = new Map<() => void, number>();
  const clients = new ClientConnections({
    clusterId: "abc",
    port: {
      nodeId: 2,
      leader: () => 3,
      expireAfter: (delayMs, expire) => {
        expiring.set(expire, delayMs);
        return () => expiring.delete(expire);
      },
      execute: (_payload, options) => {
        executed.push(options);
        return Promise.resolve(DONE);
      },
      get: () => Promise.reject(new GatewayError("unavailable", "no leader")),
      ...overrides,
    },
    gateway: overrides.gateway ?? (() => new Response("hello")),
    onDefect: (error) => void defects.push(error),
  });
  return {
    ...{ clients, executed, defects, expiring },
    connect: (hello = HELLO) => {
      const connection = new FakeConnection();
      connection.handlers = clients.accept(connection, { ...HELLO, ...hello });
      return connection;
    },
  };
}

const command = encodeCommand({
  ...{ compares: [], failure: [], success: [{ type: "get", key: "a" }] },
});
const once = encodeCommand({
  ...{ compares: [], failure: [], success: [{ type: "get", key: "a" }] },
  once: { type: "session", clientId: "c", sequence: 1 },
});

Deno.test("client connections: a client is welcome, or told why not", () => {
  const { clients, connect } = setUp();
  const welcome = clientWelcomeOf(connect().sent[0]!);
  assertEquals([welcome.refusal, welcome.version, welcome.clusterId, welcome.node], [
    "",
    1,
    "abc",
    2,
  ]);
  const late = connect({ versionMin: 2, versionMax: 9 });
  assertStringIncludes(clientWelcomeOf(late.sent[0]!).refusal, "versions 1 to 1");
  assertEquals([late.end_, late.handlers], ["ended", undefined]);
  while (clients.size < CLIENT_CONNECTIONS_MAX) connect();
  const many = connect();
  assertStringIncludes(clientWelcomeOf(many.sent[0]!).refusal, String(CLIENT_CONNECTIONS_MAX));
  clients.stop();
  assertEquals([clients.size, clients.counters.refused], [0, 2]);
  assertStringIncludes(clientWelcomeOf(connect().sent[0]!).refusal, "stopping");
});

Deno.test("client connections: a command is repeated by the node only if a repeat is recognised", async () => {
  const { connect, executed } = setUp();
  const connection = connect();
  assertEquals(connection.frameLimit, CLIENT_FRAME_BYTES_MAX);
  connection.ask({ type: "Execute", id: 1, timeoutMs: 0, payload: command });
  connection.ask({ type: "Execute", id: 2, timeoutMs: 2 ** 40, payload: once });
  connection.ask({ type: "Execute", id: 3, timeoutMs: 700, payload: new Uint8Array(0) });
  assertEquals((await connection.answers()).map((answer) => [answer.type, answer.id]), [
    ["Executed", 1],
    ["Executed", 2],
    ["Executed", 3],
  ]);
  assertEquals(executed, [
    { mayRepeat: false, timeoutMs: CLIENT_TIMEOUT_MS.min },
    { mayRepeat: true, timeoutMs: CLIENT_TIMEOUT_MS.max },
    { mayRepeat: false, timeoutMs: 700 },
  ]);
});

Deno.test("client connections: an error is its problem, and one that nobody expected tells nothing", async () => {
  const { connect, defects } = setUp({
    execute: () => Promise.reject(new Error("secret")),
  });
  const connection = connect();
  connection.ask({
    type: "Get",
    id: 1,
    timeoutMs: 100,
    consistency: "stale",
    minRevision: 0,
    key: "a",
  });
  connection.ask({ type: "Execute", id: 2, timeoutMs: 100, payload: command });
  const problems = (await connection.answers()).map((answer) =>
    answer.type === "Failed" ? [answer.leader, answer.problem.code, answer.problem.outcome] : []
  );
  assertEquals(problems, [[3, "unavailable", "not-applied"], [3, "internal", "unknown"]]);
  assertEquals(defects.length, 1);
});

Deno.test("client connections: so many requests are in flight, and a stop takes no more", async () => {
  const waiting: (() => void)[] = [];
  const { connect, clients } = setUp({
    execute: () => new Promise((resolve) => waiting.push(() => resolve(DONE))),
  });
  const connection = connect();
  for (let id = 1; id <= CLIENT_REQUESTS_MAX + 1; id++) {
    connection.ask({ type: "Execute", id, timeoutMs: 100, payload: command });
  }
  const codeOf = (answer: ClientAnswer | undefined): unknown =>
    answer?.type === "Failed" ? [answer.id, answer.problem.code] : answer?.type;
  assertEquals((await connection.answers()).map(codeOf), [[CLIENT_REQUESTS_MAX + 1, "overloaded"]]);
  clients.drain();
  connection.ask({ type: "Execute", id: 9_999, timeoutMs: 100, payload: command });
  for (const answer of waiting) answer();
  const answers = await connection.answers();
  assertEquals(codeOf(answers[1]), [9_999, "unavailable"]);
  assertEquals(answers.length, 2 + CLIENT_REQUESTS_MAX);
});

Deno.test("client connections: bytes of requests in flight are bounded over all connections", async () => {
  const waiting: (() => void)[] = [];
  const { connect } = setUp({
    execute: () => new Promise((resolve) => waiting.push(() => resolve(DONE))),
  });
  const [one, other] = [connect(), connect()];
  const payload = new Uint8Array(1024 * 1024);
  const count = Math.floor(CLIENT_REQUEST_BYTES_MAX / (payload.length + 32));
  for (let id = 1; id <= count; id++) one.ask({ type: "Execute", id, timeoutMs: 100, payload });
  other.ask({ type: "Execute", id: 1, timeoutMs: 100, payload });
  const [refused] = await other.answers();
  assertEquals(refused?.type === "Failed" && refused.problem.code, "overloaded");
  for (const answer of waiting.splice(0)) answer();
  await one.answers();
  other.ask({ type: "Execute", id: 2, timeoutMs: 100, payload });
  await other.answers();
  assertEquals(waiting.length, 1);
});

Deno.test("client connections: answers follow as fast as the client reads, in order", async () => {
  const value = new Uint8Array(400 * 1024);
  const entry = { key: "a", value, contentType: undefined, created: 1, revision: 1, version: 1 };
  const context = { servedBy: 2, leaderId: 3, term: 1, revision: 1 };
  const { connect, expiring } = setUp({ get: () => Promise.resolve({ entry, context }) });
  const connection = connect();
  connection.reads = false;
  const get = { type: "Get", timeoutMs: 100, consistency: "stale", minRevision: 0 } as const;
  for (let id = 1; id <= 8; id++) connection.ask({ ...get, id, key: "a" });
  const idsNow = async (): Promise<number[]> => (await connection.answers()).map(({ id }) => id);
  // A window of 1 MiB is on its way, the rest waits.
  assertEquals(await idsNow(), [1, 2, 3]);
  assertEquals([...expiring.values()], [CLIENT_STALL_MS_MAX]);
  connection.read();
  assertEquals(await idsNow(), [1, 2, 3, 4, 5, 6]);
  connection.read();
  assertEquals(await idsNow(), [1, 2, 3, 4, 5, 6, 7, 8]);
  assertEquals([expiring.size, connection.end_], [0, "open"]);
});

Deno.test("client connections: who leaves many answers unread is refused reads, others are not; a client that reads nothing is given up", async () => {
  const value = new Uint8Array(1024 * 1024);
  const entry = { key: "a", value, contentType: undefined, created: 1, revision: 1, version: 1 };
  const context = { servedBy: 2, leaderId: 3, term: 1, revision: 1 };
  const { connect, clients, expiring } = setUp({ get: () => Promise.resolve({ entry, context }) });
  const [sleeper, other] = [connect(), connect()];
  sleeper.reads = false;
  const get = {
    type: "Get",
    timeoutMs: 100,
    consistency: "stale",
    minRevision: 0,
    key: "a",
  } as const;
  const count = CLIENT_UNREAD_BYTES_MAX / value.length;
  for (let id = 1; id <= count; id++) sleeper.ask({ ...get, id });
  await sleeper.answers();
  other.ask({ ...get, id: 1 });
  assertEquals((await other.answers()).map(({ type }) => type), ["Got"]);
  const dozer = connect();
  dozer.reads = false;
  for (let id = 1; id <= 3; id++) dozer.ask({ ...get, id });
  // One is on its way, one waits, and the third may not.
  await dozer.answers();
  dozer.reads = true;
  dozer.read();
  assertEquals((await dozer.answers()).map(({ type }) => type), ["Got", "Got", "Failed"]);
  for (const expire of [...expiring.keys()]) expire();
  assertEquals([sleeper.end_, clients.size, clients.counters.unread], ["closed", 2, 1]);
  // What waited for it is forgotten.
  other.ask({ ...get, id: 2 });
  assertEquals((await other.answers()).at(-1)!.type, "Got");
});

Deno.test("client connections: what is no request closes the connection, and so does a client that does not read", async () => {
  const { connect, clients } = setUp();
  const [liar, sleeper] = [connect(), connect()];
  liar.handlers!.onFrame(new Uint8Array([0xc1]));
  assertEquals(liar.end_, "closed");
  sleeper.isFull = true;
  sleeper.ask({ type: "Execute", id: 1, timeoutMs: 100, payload: command });
  await sleeper.answers();
  assertEquals(sleeper.end_, "closed");
  assertEquals([clients.size, clients.counters.violations, clients.counters.unread], [0, 1, 1]);
});

Deno.test("client connections: a body comes as fast as it is asked for, and no further once it is not wanted", async () => {
  let made = 0;
  let cancelled = false;
  const { connect } = setUp({
    gateway: () =>
      new Response(
        new ReadableStream({
          pull: (controller) => {
            controller.enqueue(new Uint8Array([made++]));
            if (made > 100) controller.close();
          },
          cancel: () => void (cancelled = true),
        }, { highWaterMark: 0 }),
      ),
  });
  const connection = connect();
  const headers = {};
  connection.ask({
    ...{ type: "Fetch", id: 1, method: "GET", target: "/x", headers, body: new Uint8Array(0) },
  });
  assertEquals((await connection.answers()).length, PIECES_AHEAD);
  connection.ask({ type: "Pull", id: 1 });
  connection.ask({ type: "Pull", id: 77 });
  assertEquals((await connection.answers()).length, PIECES_AHEAD + 1);
  connection.ask({ type: "Cancel", id: 1 });
  await connection.answers();
  assert(cancelled, "the body goes on");
  // One read may have begun ahead.
  assert(made <= PIECES_AHEAD + 2, `${made} pieces were made`);
});

Deno.test("client connections: an answer that waits for news begins before it has any", async () => {
  let tell = (): void => {};
  const { connect } = setUp({
    gateway: () =>
      new Response(
        new ReadableStream({
          start: (controller) => {
            tell = () => {
              controller.enqueue(new Uint8Array([7]));
              controller.close();
            };
          },
        }),
      ),
  });
  const connection = connect();
  const ask = { type: "Fetch", id: 1, method: "GET", headers: {} } as const;
  connection.ask({ ...ask, target: "/poll", body: new Uint8Array(0) });
  const [begun, ...none] = await connection.answers();
  assertEquals([begun?.type, none.length], ["Fetched", 0]);
  tell();
  const pieces = (await connection.answers()).slice(1);
  assertEquals(pieces.map((piece) => piece.type === "Piece" && [...piece.body]).flat(), [7]);
});

Deno.test("client connections: a lost connection ends its requests; a body that breaks says so", async () => {
  let signal: AbortSignal | undefined;
  const { connect } = setUp({
    gateway: (request) => {
      signal = request.signal;
      const { pathname, host } = new URL(request.url);
      assertEquals(request.headers.get("host"), host);
      if (pathname === "/broken") {
        return new Response(new ReadableStream({ pull: (c) => c.error(new Error("cut")) }));
      }
      return new Promise<Response>(() => {});
    },
  });
  const connection = connect();
  const ask = { type: "Fetch", method: "GET", body: new Uint8Array(0) } as const;
  connection.ask({ ...ask, id: 1, target: "/broken", headers: { host: "elsewhere" } });
  connection.ask({ ...ask, id: 2, target: "//evil/x", headers: {} });
  connection.ask({ ...ask, id: 3, target: "http://evil/", headers: {} });
  connection.ask({ ...ask, id: 4, method: "NO SUCH", target: "/", headers: {} });
  // What a URL would make another key of.
  for (const target of ["/v1/kv/a/../b", "/v1/kv/a\\b", "/v1/kv/\u{fc}", "/v1/kv/a b"]) {
    connection.ask({ ...ask, id: 4, target, headers: {} });
  }
  const answers = await connection.answers();
  assertEquals(answers.map(({ type, id }) => [type, id]).sort(), [
    ["Broken", 1],
    ["Failed", 3],
    ...Array.from({ length: 5 }, () => ["Failed", 4]),
  ]);
  connection.ask({ ...ask, id: 5, target: "/slow", headers: {} });
  await connection.answers();
  connection.handlers!.onClose({ code: "connection-lost", detail: "test" });
  assert(signal!.aborted, "it goes on for a client that is gone");
});
