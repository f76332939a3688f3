import { assert, assertEquals } from "@std/assert";
import type { Operation } from "../../storage/kv/operations/operations.ts";
import { createGateway } from "../../transport/http/gateway.ts";
import {
  LOCK_KEEP_ALIVE_SHARE,
  LOCK_KEYS_MAX,
  LOCK_WAITERS_MAX,
  LOCK_WAITS_MAX,
} from "../../transport/http/limits.ts";
import { lockPrefix } from "../../transport/http/lock_queue.ts";
import { GatewayError } from "../../transport/http/problem.ts";
import { assertProblem } from "./http_cases.ts";
import { FakePort } from "./http_fake_port.ts";

const TTL_MS = 60_000;
const WAIT_MS = 7_000;
const HELD_LIST = [
  { prefix: lockPrefix("name"), limit: 10 },
  { consistency: "stale", timeoutMs: 1_000, bytesMax: Infinity },
] as const;

/** A gateway whose time passes when the test says so. */
class Bench {
  readonly port = new FakePort();
  readonly defects: unknown[] = [];
  readonly #handler = createGateway(this.port, {
    version: "1",
    nowMs: () => this.port.nowMs,
    onDefect: (error) => void this.defects.push(error),
  });

  send(path: string, init: RequestInit = {}): Promise<Response> {
    const headers = { ...init.headers, host: "gateway" };
    return Promise.resolve(
      this.#handler(new Request(`http://gateway${path}`, { ...init, headers })),
    );
  }

  lock(body: Record<string, unknown> = {}, headers: HeadersInit = {}): Promise<Response> {
    const json = JSON.stringify({ ttlSeconds: TTL_MS / 1000, wait: `${WAIT_MS}ms`, ...body });
    return this.send("/v1/locks/name", { method: "POST", body: json, headers });
  }

  async held(): Promise<{ readonly lease: string; readonly fencingToken: number }> {
    return await (await this.lock()).json();
  }

  async release(lease: string): Promise<void> {
    const response = await this.send(`/v1/locks/name?lease=${lease}`, { method: "DELETE" });
    await response.body?.cancel();
  }

  async shown(): Promise<
    { readonly holder?: { readonly lease: string }; readonly waiting: number }
  > {
    return await (await this.send("/v1/locks/name")).json();
  }

  async untilWatching(count = 1): Promise<void> {
    while (this.port.watches.size !== count) await Promise.resolve();
  }

  /** What is due after this time is due now. */
  expire(delayMs: number): void {
    for (const [expire, ms] of [...this.port.expiring]) {
      if (ms !== delayMs) continue;
      this.port.expiring.delete(expire);
      expire();
    }
  }

  assertNothingLeft(): void {
    assertEquals([this.port.watches.size, this.port.expiring.size, this.defects], [0, 0, []]);
  }
}

function keepAlives({ port }: Bench): number {
  const all = port.writes.flatMap(({ success }): readonly Operation[] => success);
  return all.filter(({ type }) => type === "leaseKeepAlive").length;
}

Deno.test("lock: one who has waited in vain is not in the queue any more", async () => {
  const bench = new Bench();
  await bench.held();
  const waiting = bench.lock();
  await bench.untilWatching();
  assertEquals((await bench.shown()).waiting, 1);
  bench.expire(WAIT_MS);
  await assertProblem(await waiting, 409, "lock-held");
  assertEquals((await bench.shown()).waiting, 0);
  bench.assertNothingLeft();
});

Deno.test("lock: a waiter's lease is kept alive while it waits, and once more before it holds", async () => {
  const bench = new Bench();
  const { lease, fencingToken } = await bench.held();
  const waiting = bench.lock();
  await bench.untilWatching();
  for (let times = 1; times <= 3; times++) {
    bench.expire(TTL_MS * LOCK_KEEP_ALIVE_SHARE);
    while (keepAlives(bench) < times) await Promise.resolve();
    await bench.untilWatching();
    while (!bench.port.expiring.size) await Promise.resolve();
  }
  await bench.release(lease);
  const next = await (await waiting).json();
  assert(next.fencingToken > fencingToken);
  assertEquals(keepAlives(bench), 4);
  bench.assertNothingLeft();
});

Deno.test("lock: who holds it with a lease of its own must have it still when its turn comes", async () => {
  const bench = new Bench();
  const { lease } = await bench.held();
  const body = JSON.stringify({ ttlSeconds: 60 });
  const { id } = await (await bench.send("/v1/leases", { method: "POST", body })).json();
  const waiting = bench.lock({ ttlSeconds: undefined, lease: id });
  await bench.untilWatching();
  // The queue is read as this node knows it: it may not know yet that the lease is over.
  const { get } = bench.port;
  bench.port.get = async (key, options) => ({
    ...await get.call(bench.port, key, options),
    entry: undefined,
  });
  await bench.release(lease);
  await assertProblem(await waiting, 404, "lease-not-found");
  assertEquals(bench.port.reads.at(-1), "linearizable");
  bench.assertNothingLeft();
});

Deno.test("lock: on a node that stops a waiter is told so", async () => {
  const bench = new Bench();
  await bench.held();
  const waiting = bench.lock();
  await bench.untilWatching();
  bench.port.watches.end();
  await assertProblem(await waiting, 503, "unavailable", { retryable: true });
  assertEquals((await bench.shown()).waiting, 0);
  bench.assertNothingLeft();
});

Deno.test("lock: a change of the one ahead that is no release is no turn", async () => {
  const bench = new Bench();
  const first = await bench.held();
  const [second, third] = [bench.lock(), bench.lock()];
  await bench.untilWatching(2);
  // The second gives up: the third is behind the first now.
  const { items } = await (await bench.send(`/v1/kv?prefix=${lockPrefix("name")}`)).json();
  const [, lease] = items.map((item: { lease: string; created: number }) => item)
    .sort((one: { created: number }, other: { created: number }) => one.created - other.created)
    .map((item: { lease: string }) => item.lease);
  await bench.release(lease);
  // It is woken by nothing that concerns it, and learns of its end when the one ahead goes.
  await bench.untilWatching(2);
  assertEquals((await bench.shown()).waiting, 1);
  await bench.release(first.lease);
  await assertProblem(await second, 404, "lease-not-found");
  assertEquals((await third).status, 200);
  bench.assertNothingLeft();
});

Deno.test("lock: who waits in vain as far as this node knows gives up nothing that a repeat was told of", async () => {
  const bench = new Bench();
  const headers = { "idempotency-key": '"once"' };
  const { lease } = await bench.held();
  const cutOff = bench.lock({}, headers);
  await bench.untilWatching();
  // This node is not told that the holder has gone; the one that is asked again knows it.
  const { changed } = bench.port.watches;
  bench.port.watches.changed = () => {};
  await bench.release(lease);
  bench.port.watches.changed = changed;
  const held = await (await bench.lock({}, headers)).json();
  bench.expire(WAIT_MS);
  const late = await cutOff;
  assertEquals([late.status, await late.json()], [200, held]);
  assertEquals((await bench.shown()).holder?.lease, held.lease);
  bench.assertNothingLeft();
});

Deno.test("lock: a repeat is told of what is there now, also by a node that is behind", async () => {
  const bench = new Bench();
  const headers = { "idempotency-key": '"once"' };
  const { lease } = await (await bench.lock({}, headers)).json();
  // This node does not know yet that the lease is over.
  const { list } = bench.port;
  const old = await list.call(bench.port, ...HELD_LIST);
  bench.port.list = () => Promise.resolve(old);
  await bench.release(lease);
  await assertProblem(await bench.lock({}, headers), 404, "lease-not-found");
  bench.assertNothingLeft();
});

Deno.test("lock: on a node that stops the place of an idempotency key is kept for the repeat", async () => {
  const bench = new Bench();
  const headers = { "idempotency-key": '"once"' };
  const { lease } = await bench.held();
  const waiting = bench.lock({}, headers);
  await bench.untilWatching();
  bench.port.watches.end();
  await assertProblem(await waiting, 504, "outcome-unknown", {
    retryable: true,
    outcome: "unknown",
  });
  await bench.release(lease);
  const held = await (await bench.lock({}, headers)).json();
  assertEquals((await bench.shown()).holder?.lease, held.lease);
  bench.assertNothingLeft();
});

Deno.test("lock: nobody is told that a place is gone which could not be given up", async () => {
  const bench = new Bench();
  await bench.held();
  const waiting = bench.lock();
  await bench.untilWatching();
  bench.port.write = () => Promise.reject(new GatewayError("unavailable", "planted"));
  bench.expire(WAIT_MS);
  await assertProblem(await waiting, 504, "outcome-unknown", {
    retryable: true,
    outcome: "unknown",
  });
  assertEquals((await bench.shown()).waiting, 1);
  bench.assertNothingLeft();
});

/** Puts places into the queue. */
async function fill({ port }: Bench, count: number): Promise<void> {
  const prefix = lockPrefix("name");
  const value = new Uint8Array();
  const grant = { type: "leaseGrant", ttlMs: TTL_MS, isOfKey: false } as const;
  await port.write({ compares: [], success: [grant], failure: [] });
  for (let at = 0; at < count; at += 100) {
    const success = Array.from({ length: Math.min(100, count - at) }, (_, offset) => {
      return { type: "putLeased", key: `${prefix}${at + offset}`, value, lease: 1 } as const;
    });
    await port.write({ compares: [], success, failure: [] });
  }
}

Deno.test("LOCK_WAITERS_MAX: so many wait, and no more", async () => {
  const bench = new Bench();
  await fill(bench, LOCK_WAITERS_MAX - 1);
  const waiting = bench.lock();
  await bench.untilWatching();
  await assertProblem(await bench.lock(), 429, "overloaded", { retryable: true });
  assertEquals((await bench.shown()).waiting, LOCK_WAITERS_MAX - 1);
  bench.expire(WAIT_MS);
  await assertProblem(await waiting, 409, "lock-held");
  bench.assertNothingLeft();
});

Deno.test("LOCK_KEYS_MAX: nobody judges a queue that is not read whole", async () => {
  const bench = new Bench();
  await fill(bench, LOCK_KEYS_MAX);
  assertEquals((await bench.send("/v1/locks/name")).status, 200);
  await fill(bench, LOCK_KEYS_MAX + 1);
  await assertProblem(await bench.send("/v1/locks/name"), 429, "overloaded", { retryable: true });
  await assertProblem(await bench.lock(), 429, "overloaded", { retryable: true });
});

Deno.test("LOCK_WAITS_MAX: so many requests wait on a node, and no more", async () => {
  const bench = new Bench();
  const { write } = bench.port;
  let fail = (_: Error): void => {};
  const written = new Promise<never>((_, reject) => fail = reject);
  bench.port.write = () => written;
  const waiting = Array.from({ length: LOCK_WAITS_MAX }, () => bench.lock());
  await assertProblem(await bench.lock(), 429, "overloaded", { retryable: true });
  fail(new GatewayError("unavailable", "planted"));
  for (const { status } of await Promise.all(waiting)) assertEquals(status, 503);
  bench.port.write = write;
  assertEquals((await bench.lock()).status, 200);
  bench.assertNothingLeft();
});
