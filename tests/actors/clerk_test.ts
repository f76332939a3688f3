/**
 * The Clerk over a real node, and over a transport that loses and delays.
 *
 * @module
 */
import { assert, assertEquals, assertMatch, assertRejects, assertThrows } from "@std/assert";
import {
  AbortedError,
  Clerk,
  ClerkError,
  CompactedError,
  ConflictError,
  InvalidRequestError,
  type KeyRange,
  LeaseNotFoundError,
  LockHeldError,
  OutcomeUnknownError,
  PreconditionFailedError,
  startNode,
  type Transport,
  UnavailableError,
} from "../../mod.ts";
import { type ClerkLink, TIMER_MS_MAX } from "../../actors/clerk_link.ts";
import { ATTEMPT_LEFT_MS_MIN } from "../../actors/clerk_requests.ts";
import { CLERK_PAUSE_MS_MIN } from "../../machines/clerk_machine.ts";
import { VirtualPorts } from "./virtual_ports.ts";

/** The ways of a Clerk to a node. */
const WAYS = ["HTTP", "the wire", "the same program"] as const;

async function withNode(
  run: (kv: Clerk, endpoint: string) => Promise<void>,
  way: (typeof WAYS)[number] = "HTTP",
): Promise<void> {
  const dataDir = await Deno.makeTempDir();
  try {
    const http = { hostname: "127.0.0.1", port: 0 };
    await using node = await startNode({ id: 1, single: true, dataDir, http });
    if (way === "the same program") return await run(node.kv, node.httpAddress);
    const endpoint = way === "HTTP"
      ? node.httpAddress
      : `tcp://${node.status().members[0]!.raftAddress}`;
    await using kv = new Clerk({ endpoints: [endpoint], timeoutMs: 30_000 });
    await run(kv, node.httpAddress);
  } finally {
    await Deno.remove(dataDir, { recursive: true });
  }
}

async function keysOf(entries: AsyncIterable<{ readonly key: string }>): Promise<string[]> {
  return (await Array.fromAsync(entries)).map(({ key }) => key);
}

for (const way of WAYS) {
  Deno.test(`Clerk over ${way}: every method does what it says, and fails with its own error`, async (t) => {
    await withNode(async (kv) => {
      await t.step("put, get, delete; texts, bytes and JSON", async () => {
        const { revision, version } = await kv.put("a", "hällo", { contentType: "text/plain" });
        const entry = (await kv.get("a"))!;
        assertEquals([entry.key, entry.text(), entry.contentType], ["a", "hällo", "text/plain"]);
        assertEquals([entry.revision, entry.created, entry.version], [revision, revision, version]);
        await kv.put("json", JSON.stringify({ n: 1 }));
        assertEquals((await kv.get("json"))!.json<{ n: number }>().n, 1);
        assertEquals(await kv.get("none"), undefined);
        assertEquals([await kv.delete("a"), await kv.delete("a")], [true, false]);
      });
      await t.step(
        "any bytes are a key and a value, also what a URL would take apart",
        async () => {
          const all = Uint8Array.from({ length: 256 }, (_, byte) => byte);
          for (
            const key of [all, ".", "..", "/", "a//b/", "?&=#%", "\u{1f600}", new Uint8Array([0])]
          ) {
            await kv.put(key, all);
            const entry = (await kv.get(key))!;
            assertEquals([entry.value, entry.keyBytes], [
              all,
              typeof key === "string" ? new TextEncoder().encode(key) : key,
            ]);
            assertEquals((await kv.append(key, "x")).length, 257);
            assertEquals(await kv.delete(key), true);
          }
        },
      );
      await t.step("conditions", async () => {
        const { revision } = await kv.put("c", "1", { ifAbsent: true });
        const taken = await assertRejects(
          () => kv.put("c", "2", { ifAbsent: true }),
          PreconditionFailedError,
        );
        assertEquals([taken.revision, taken.outcome], [revision, "not-applied"]);
        await kv.put("c", "2", { ifRevision: revision });
        await assertRejects(
          () => kv.delete("c", { ifRevision: revision }),
          PreconditionFailedError,
        );
        const behind = { ifRevision: revision };
        await assertRejects(() => kv.append("c", "x", behind), PreconditionFailedError);
        await assertRejects(() => kv.increment("c", 1, behind), PreconditionFailedError);
        assertEquals(await kv.compareAndSet("c", "1", "3"), false);
        assertEquals(await kv.compareAndSet("c", "2", "3"), true);
        assertEquals(await kv.compareAndSet("new", undefined, "x"), true);
        assertEquals(await kv.compareAndSet("new", undefined, "x"), false);
      });
      await t.step("increments are 64-bit", async () => {
        assertEquals((await kv.increment("n")).value, 1n);
        assertEquals((await kv.increment("n", 2n ** 62n)).value, 2n ** 62n + 1n);
        await assertRejects(() => kv.increment("n", 2n ** 62n), ConflictError, "64-bit");
        await kv.put("n", "x");
        await assertRejects(() => kv.increment("n"), ConflictError, "decimal");
      });
      await t.step("transactions", async () => {
        const { succeeded, results } = await kv.transact({
          compare: [{ key: "t", target: "version", op: "==", version: 0 }],
          success: [
            { put: { key: "t", value: new Uint8Array([255]) } },
            { increment: { key: "t/n", by: 5n } },
            { get: { key: "t" } },
            { get: { key: "none" } },
            { range: { prefix: "t/" } },
            { delete: { key: "t/n" } },
          ],
        });
        assertEquals([succeeded, results.length], [true, 6]);
        assertEquals(results[1]!.increment!.value, 5n);
        assertEquals(results[2]!.get!.value, new Uint8Array([255]));
        assertEquals(results[3]!.get, undefined);
        assertEquals(results[4]!.range!.items.map(({ key, text }) => [key, text()]), [[
          "t/n",
          "5",
        ]]);
        assertEquals(results[5]!.delete, { deleted: 1 });
        await assertRejects(() => kv.transact({}), InvalidRequestError, "no operation");
      });
      await t.step("ranges", async () => {
        for (const key of ["r/1", "r/2", "r/3"]) await kv.put(key, key);
        assertEquals(await keysOf(kv.range({ prefix: "r/" })), ["r/1", "r/2", "r/3"]);
        assertEquals(await keysOf(kv.range({ start: "r/1", end: "r/3", reverse: true })), [
          ...["r/2", "r/1"],
        ]);
        assertEquals(await keysOf(kv.range({ prefix: "r/", limit: 1 })), ["r/1"]);
        for await (const { key } of kv.range({ prefix: "r/" })) if (key === "r/1") break;
        assertEquals(await kv.count({ prefix: "r/" }), 3);
        assertEquals(await kv.deleteRange({ prefix: "r/" }), 3);
        await assertRejects(
          () => keysOf(kv.range({ prefix: "a", start: "b" })),
          InvalidRequestError,
        );
      });
      await t.step("leases", async () => {
        const lease = await kv.lease(60_000, { keepAlive: false });
        await kv.put("leased", "x", { lease });
        assertEquals((await kv.get("leased"))!.lease, lease.id);
        await lease.keepAlive();
        await lease.revoke();
        await lease.revoke();
        assertEquals(await kv.get("leased"), undefined);
        await assertRejects(() => lease.keepAlive(), LeaseNotFoundError);
        await assertRejects(() => kv.put("leased", "x", { lease }), LeaseNotFoundError);
        assertMatch((await kv.put("brief", "x", { ttlMs: 60_000 })).lease!, /^\d+$/);
        await assertRejects(() => kv.lease(1), InvalidRequestError);
      });
      await t.step("watches", async () => {
        const stop = new AbortController();
        const seen: string[] = [];
        const watching = (async () => {
          const options = { prefix: "w/", withPrevious: true, signal: stop.signal };
          for await (const { type, key, entry, previous } of kv.watch(options)) {
            seen.push([type, key, entry?.text(), previous?.text()].join(" "));
            if (seen.length === 3) stop.abort();
          }
        })();
        // It says nothing of when it has begun, so it is given something until it has seen the first.
        while (seen.length === 0) {
          await kv.put("w/a", "1");
          await new Promise((resolve) => setTimeout(resolve, 20));
          await kv.delete("w/a");
        }
        await kv.put("w/b", "2");
        await kv.put("w/b", "3");
        await watching;
        assert(
          seen.length >= 3 && seen.every((event) => /^(put|delete) w/.test(event)),
          seen.join(),
        );
        const { revision } = await kv.put("w2", "x");
        for await (const event of kv.watch({ key: "w2", from: revision })) {
          assertEquals([event.key, event.revision, event.entry?.text()], ["w2", revision, "x"]);
          break;
        }
      });
      await t.step("every key at once", async () => {
        assert(await kv.count() > 0);
        assert(await kv.deleteRange({ prefix: "" }) > 0);
        assertEquals(await kv.count(), 0);
      });
    }, way);
  });
}

Deno.test("Clerk: a held lease outlives its time, and ends with the clerk", async () => {
  await withNode(async (kv, endpoint) => {
    {
      await using holder = new Clerk({ endpoints: [endpoint] });
      const lease = await holder.lease(600);
      await kv.put("held", "x", { lease });
      await new Promise((resolve) => setTimeout(resolve, 1_500));
      assertEquals([(await kv.get("held"))?.text(), lease.lost.aborted], ["x", false]);
    }
    assertEquals(await kv.get("held"), undefined);
  });
});

Deno.test("Clerk: a lease that cannot be kept alive says that it is lost", async () => {
  let isCut = false;
  const transport: Transport = () => {
    if (isCut) return Promise.reject(new TypeError("connection reset"));
    return Promise.resolve(Response.json({ id: "7" }));
  };
  const kv = new Clerk({ endpoints: ["http://x"], transport });
  const lease = await kv.lease(500);
  isCut = true;
  await new Promise((resolve) => lease.lost.addEventListener("abort", resolve));
  assert(lease.lost.reason instanceof ClerkError);
  await kv[Symbol.asyncDispose]();
});

Deno.test("Clerk: a lease's time begins when it is asked for: one that comes late is kept alive first", async () => {
  const ttlMs = 600;
  const asked: string[] = [];
  const transport: Transport = async (url) => {
    asked.push(new URL(url).pathname);
    if (asked.length === 1) await new Promise((resolve) => setTimeout(resolve, ttlMs * 2 / 3));
    return asked.length === 3
      ? problem(404, "lease-not-found", false, "not-applied")
      : Response.json({ id: "7" });
  };
  await using kv = new Clerk({ endpoints: ["http://x"], transport });
  const lease = await kv.lease(ttlMs);
  assertEquals(asked, ["/v1/leases", "/v1/leases/7/keepalive"]);
  await new Promise((resolve) => lease.lost.addEventListener("abort", resolve));
  assert(lease.lost.reason instanceof LeaseNotFoundError);
});

Deno.test("Clerk: a lease and a time of many days need no attention at once", async () => {
  const asked: string[] = [];
  const transport: Transport = (url) => {
    asked.push(new URL(url).pathname);
    return new Promise((resolve) =>
      setTimeout(() => resolve(Response.json({ id: "7", key: "aw==" })), 5)
    );
  };
  await using kv = new Clerk({ endpoints: ["http://x"], transport });
  const lease = await kv.lease(366 * 24 * 60 * 60 * 1000);
  assertEquals((await kv.get("k", { timeoutMs: Infinity }))!.key, "k");
  assertEquals((await kv.get("k", { timeoutMs: TIMER_MS_MAX + 1 }))!.key, "k");
  assertEquals([asked, lease.lost.aborted], [["/v1/leases", "/v1/kv", "/v1/kv"], false]);
});

/** A transport that answers with these, one after the other; the last one again and again. */
function answers(...list: readonly (Response | Error)[]): { transport: Transport; keys: string[] } {
  const keys: string[] = [];
  const transport: Transport = (_url, { headers }) => {
    keys.push(new Headers(headers).get("idempotency-key") ?? "");
    const answer = list[Math.min(keys.length, list.length) - 1]!;
    return answer instanceof Error ? Promise.reject(answer) : Promise.resolve(answer.clone());
  };
  return { transport, keys };
}

function problem(status: number, code: string, retryable: boolean, outcome: string): Response {
  return Response.json({ title: "T", detail: "D", code, retryable, outcome }, { status });
}

Deno.test("Clerk: a write whose answer is lost is repeated under one key, and then applied once", async () => {
  const { transport, keys } = answers(
    new TypeError("connection reset"),
    problem(504, "outcome-unknown", true, "unknown"),
    problem(503, "unavailable", true, "not-applied"),
    Response.json({ revision: 7, version: 1 }),
  );
  const kv = new Clerk({ endpoints: ["http://x", "http://y"], transport });
  assertEquals((await kv.put("k", "v")).revision, 7);
  assertEquals([keys.length, new Set(keys).size], [4, 1]);
});

Deno.test("Clerk: what is not answered in time says what may have become of it", async () => {
  const refused = new TypeError("Connection refused");
  const lost = new TypeError("connection reset");
  const kv = (...list: readonly (Response | Error)[]): Clerk =>
    new Clerk({ endpoints: ["http://x"], timeoutMs: 200, ...answers(...list) });
  await assertRejects(() => kv(refused).put("k", "v"), UnavailableError);
  const named = new Clerk({ endpoints: ["http://refused"], timeoutMs: 200, ...answers(lost) });
  await assertRejects(() => named.put("k", "v"), OutcomeUnknownError);
  const unknown = await assertRejects(() => kv(lost).put("k", "v"), OutcomeUnknownError);
  assertEquals(unknown.outcome, "unknown");
  await assertRejects(() => kv(lost, refused).put("k", "v"), OutcomeUnknownError);
  const noRoute = problem(404, "no-such-route", false, "not-applied");
  await assertRejects(() => kv(noRoute).increment("n"), InvalidRequestError);
  await assertRejects(() => kv(lost, noRoute).increment("n"), OutcomeUnknownError);
  const noLease = problem(404, "lease-not-found", false, "not-applied");
  await assertRejects(() => kv(lost, noLease).put("k", "v"), LeaseNotFoundError);
  await assertRejects(() => kv(lost).get("k"), UnavailableError);
  const internal = problem(500, "internal", false, "unknown");
  await assertRejects(() => kv(internal).put("k", "v"), OutcomeUnknownError);
  await assertRejects(() => kv(new Response("?", { status: 418 })).get("k"), OutcomeUnknownError);
});

Deno.test("Clerk: a signal aborts a request, and a write that was sent is in doubt then", async () => {
  const never: Transport = (_url, { signal }) =>
    new Promise((_, reject) => signal!.addEventListener("abort", () => reject(signal!.reason)));
  const kv = new Clerk({ endpoints: ["http://x"], transport: never });
  const soon = (): AbortSignal => AbortSignal.timeout(20);
  await assertRejects(() => kv.get("k", { signal: soon() }), AbortedError);
  await assertRejects(() => kv.put("k", "v", { signal: soon() }), OutcomeUnknownError);
  await assertRejects(() => kv.put("k", "v", { signal: AbortSignal.abort() }), AbortedError);
});

Deno.test("Clerk: a signal aborts a listing whose member hangs in the middle", async () => {
  const line = JSON.stringify({ key: "aw==", value: "", revision: 1, created: 1, version: 1 });
  const transport: Transport = (_url, { signal }) => {
    const body = new ReadableStream({
      start(controller): void {
        controller.enqueue(new TextEncoder().encode(`${line}\n`));
        signal!.addEventListener("abort", () => controller.error(signal!.reason));
      },
    });
    return Promise.resolve(new Response(body));
  };
  const kv = new Clerk({ endpoints: ["http://x"], transport });
  const seen: string[] = [];
  const abort = new AbortController();
  await assertRejects(async () => {
    for await (const { key } of kv.range({ signal: abort.signal })) {
      seen.push(key);
      setTimeout(() => abort.abort(), 1);
    }
  }, AbortedError);
  assertEquals(seen, ["k"]);
});

Deno.test("Clerk: a listing whose member hangs in the middle is given up in its time, a slow reader is not", async () => {
  const line = JSON.stringify({ key: "aw==", value: "", revision: 1, created: 1, version: 1 });
  const lines = [`${line}\n`, `${line}\n`, '{"end":true,"count":2,"revision":1}\n'];
  const listing = (count: number): Transport => () => {
    const left = lines.slice(0, count);
    const body = new ReadableStream({
      pull(controller): Promise<void> | void {
        const next = left.shift();
        if (next !== undefined) controller.enqueue(new TextEncoder().encode(next));
        else if (count === lines.length) controller.close();
        else return new Promise(() => {});
      },
    }, { highWaterMark: 0 });
    return Promise.resolve(new Response(body));
  };
  const hanging = new Clerk({ endpoints: ["http://x"], transport: listing(1), timeoutMs: 100 });
  const error = await assertRejects(() => Array.fromAsync(hanging.range()), ClerkError);
  assertEquals((error as ClerkError).code, "cut-short");
  const sound = new Clerk({ endpoints: ["http://x"], transport: listing(3), timeoutMs: 100 });
  let seen = 0;
  for await (const _ of sound.range()) {
    seen++;
    await new Promise((resolve) => setTimeout(resolve, 150));
  }
  assertEquals(seen, 2);
});

Deno.test("Clerk: a listing that ends before its last line is an error, not a short list", async () => {
  const line = JSON.stringify({ key: "aw==", value: "", revision: 1, created: 1, version: 1 });
  const { transport } = answers(new Response(`${line}\n`));
  const kv = new Clerk({ endpoints: ["http://x"], transport });
  const error = await assertRejects(() => keysOf(kv.range()), ClerkError, "cut short");
  assertEquals(error.code, "cut-short");
});

Deno.test("Clerk: a watch goes on where it was when an answer is lost, and says when it cannot", async () => {
  const event = (revision: number): Record<string, unknown> => ({
    ...{ type: "put", key: "aw==", value: "dg==", revision, created: 1, version: revision },
  });
  const list: (Response | Error)[] = [
    Response.json({ events: [], from: 5 }),
    Response.json({ events: [event(5), event(6)], from: 7 }),
    new TypeError("connection reset"),
    Response.json({ events: [event(7)], from: 8 }),
    problem(410, "compacted", false, "not-applied"),
  ];
  const asked: string[] = [];
  const transport: Transport = (url) => {
    asked.push(new URL(url).searchParams.get("from") ?? "");
    const answer = list[asked.length - 1]!;
    return answer instanceof Error ? Promise.reject(answer) : Promise.resolve(answer);
  };
  const kv = new Clerk({ endpoints: ["http://x"], transport });
  const seen: number[] = [];
  await assertRejects(async () => {
    for await (const { revision } of kv.watch()) seen.push(revision);
  }, CompactedError);
  assertEquals([seen, asked], [[5, 6, 7], ["", "5", "7", "7", "8"]]);
});

Deno.test("Clerk: a watch asks every member before it says that changes are not kept any more", async () => {
  const keeps = new Set<string>(["z"]);
  const asked: string[] = [];
  const transport: Transport = (url) => {
    const { hostname } = new URL(url);
    asked.push(hostname);
    if (hostname === "y") return Promise.reject(new TypeError("connection reset"));
    const isKept = keeps.delete(hostname);
    const event = { type: "put", key: "aw==", value: "dg==", revision: 5, created: 1, version: 1 };
    return Promise.resolve(
      isKept
        ? Response.json({ events: [event], from: 6 })
        : problem(410, "compacted", false, "not-applied"),
    );
  };
  const kv = new Clerk({ endpoints: ["http://x", "http://y", "http://z"], transport });
  const seen: number[] = [];
  await assertRejects(async () => {
    for await (const { revision } of kv.watch({ from: 5 })) seen.push(revision);
  }, CompactedError);
  assertEquals([seen, asked], [[5], ["x", "y", "z", "z", "x", "y"]]);
});

Deno.test("Clerk: a lock is one's at a time, in order, with a token that grows", async () => {
  await withNode(async (kv, endpoint) => {
    await using other = new Clerk({ endpoints: [endpoint], timeoutMs: 30_000 });
    assertEquals(await kv.holder("l/\xff"), undefined);
    const first = await kv.lock("l/\xff", { value: "me" });
    const holder = (await other.holder("l/\xff"))!;
    assertEquals([holder.fencingToken, new TextDecoder().decode(holder.value)], [
      first.fencingToken,
      "me",
    ]);
    await assertRejects(() => other.lock("l/\xff", { waitMs: 50 }), LockHeldError);
    const gone = new AbortController();
    const aborted = other.lock("l/\xff", { signal: gone.signal });
    const second = other.elect("l/\xff", "you");
    while (
      (await (await kv.fetch({ method: "GET", path: "/v1/locks/l%2F%C3%BF" })).json()).waiting < 2
    );
    aborted.catch(() => {});
    second.catch(() => {});
    gone.abort();
    await assertRejects(() => aborted, AbortedError);
    // What is done only while the lock is held.
    const guarded = (key: string, created: number): Promise<{ succeeded: boolean }> =>
      kv.transact({
        compare: [{ key, target: "created", op: "==", created }],
        success: [{ put: { key: "guarded", value: String(created) } }],
      });
    assert((await guarded(first.key, first.fencingToken)).succeeded);
    await first.release();
    await first.release();
    assert(!(await guarded(first.key, first.fencingToken)).succeeded);
    {
      await using held = await second;
      assert(held.fencingToken > first.fencingToken);
      assertEquals((await kv.holder("l/\xff"))?.fencingToken, held.fencingToken);
      assert(!held.lost.aborted);
    }
    assertEquals(await kv.holder("l/\xff"), undefined);
  });
});

Deno.test("Clerk: a lock is lost with its lease, and who waits is told that its lease is", async () => {
  await withNode(async (kv) => {
    const held = await kv.lock("l", { ttlMs: 600 });
    const waiting = kv.lock("l", { ttlMs: 600 });
    let places: { readonly lease: string; readonly token: number }[] = [];
    while (places.length < 2) {
      places = (await Array.fromAsync(kv.range({ prefix: "_locks/l/" })))
        .map(({ lease, created }) => ({ lease: lease!, token: created }));
    }
    const refused = assertRejects(() => waiting, LeaseNotFoundError);
    const lost = new Promise((resolve) => held.lost.addEventListener("abort", resolve));
    // The one that waits first, or it would hold the lock.
    for (const { lease } of places.sort((one, other) => other.token - one.token)) {
      await (await kv.fetch({ method: "DELETE", path: `/v1/leases/${lease}` })).body?.cancel();
    }
    await lost;
    await refused;
    assertEquals(await kv.holder("l"), undefined);
  });
});

Deno.test("Clerk: its transport is called as a function, as a browser's fetch must be", async () => {
  const owners: unknown[] = [];
  const transport = function (this: unknown): Promise<Response> {
    owners.push(this);
    return Promise.resolve(Response.json({ count: 3 }));
  } as Transport;
  await using kv = new Clerk({ endpoints: ["http://x"], transport });
  assertEquals([await kv.count(), owners], [3, [undefined]]);
});

Deno.test("Clerk: a range of no bounds deletes nothing, and a time that is none is refused", async () => {
  for (const way of WAYS) {
    await withNode(async (kv) => {
      await kv.put("a", "1");
      const prefix: string | undefined = undefined;
      for (const range of [{}, { prefix }, { start: undefined, end: undefined }]) {
        const none = range as unknown as KeyRange;
        await assertRejects(() => kv.deleteRange(none), InvalidRequestError, "every key");
      }
      for (const timeoutMs of [NaN, 0, -1]) {
        await assertRejects(() => kv.get("a", { timeoutMs }), InvalidRequestError, "timeoutMs");
        await assertRejects(() => kv.put("a", "2", { timeoutMs }), InvalidRequestError);
      }
      assertEquals([(await kv.get("a"))!.text(), await kv.deleteRange({ prefix: "" })], ["1", 1]);
    }, way);
  }
});

Deno.test("Clerk: a lease that ended is lost once a keepalive has found that", async () => {
  await withNode(async (kv) => {
    const lease = await kv.lease(1_000, { keepAlive: false });
    await new Promise((resolve) => setTimeout(resolve, 1_500));
    await assertRejects(() => lease.keepAlive(), LeaseNotFoundError);
    assert(lease.lost.aborted, "nobody is told");
  });
});

Deno.test("node.kv: a node stops though its own client watches and holds a lease", async () => {
  const dataDir = await Deno.makeTempDir();
  const http = { hostname: "127.0.0.1", port: 0 };
  const node = await startNode({ id: 1, single: true, dataDir, http });
  const { kv } = node;
  await kv.lease(10_000);
  const watching = (async () => {
    for await (const _ of kv.watch({ prefix: "a" }));
  })();
  await new Promise((resolve) => setTimeout(resolve, 50));
  await node.stop();
  await watching;
  await Deno.remove(dataDir, { recursive: true });
});

Deno.test("ATTEMPT_LEFT_MS_MIN: no attempt is made that nobody can answer in time: the write surely was not done", async () => {
  for (const [leftMs, attempts] of [[ATTEMPT_LEFT_MS_MIN - 1, 1], [ATTEMPT_LEFT_MS_MIN + 60, 2]]) {
    const ports = new VirtualPorts();
    let made = 0;
    const link: ClerkLink = {
      ...{ size: 1, close: () => {} },
      fetch: () => {
        made++;
        return Promise.resolve({ type: "Failed", why: "no leader" });
      },
    };
    // The pause after the first attempt is CLERK_PAUSE_MS_MIN at most.
    const kv = new Clerk({ link, ports, timeoutMs: CLERK_PAUSE_MS_MIN / 2 + leftMs! });
    const refused = assertRejects(() => kv.put("a", "1"), UnavailableError);
    for (let ms = 0; ms < 1_000; ms += 5) {
      for (let turn = 0; turn < 5; turn++) await Promise.resolve();
      ports.advance(5);
    }
    await refused;
    assertEquals(made, attempts);
  }
});

Deno.test("Clerk: endpoints must be addresses, and there must be one", () => {
  assertThrows(() => new Clerk({ endpoints: [] }), RangeError);
  assertThrows(() => new Clerk({ endpoints: ["127.0.0.1:8001"] }), RangeError);
});
