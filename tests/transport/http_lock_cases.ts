/**
 * What every gateway must answer about locks: see http_cases.ts.
 *
 * @module
 */
import { assert, assertEquals } from "@std/assert";
import {
  LOCK_NAME_BYTES_MAX,
  LOCK_VALUE_BYTES_MAX,
  LOCK_WAIT_MS_MAX,
} from "../../transport/http/limits.ts";
import { assertProblem, type HttpCase, type Send } from "./http_cases.ts";

interface Held {
  readonly lease: string;
  readonly fencingToken: number;
  readonly key: string;
}

interface Shown {
  readonly holder?: Held & { readonly value?: string };
  readonly waiting: number;
}

function post(
  send: Send,
  name: string,
  body: unknown,
  headers: HeadersInit = {},
): Promise<Response> {
  const text = typeof body === "string" ? body : JSON.stringify(body);
  return send(`/v1/locks/${name}`, { method: "POST", body: text, headers });
}

async function acquired(response: Response | Promise<Response>): Promise<Held> {
  const text = await (await response).text();
  assertEquals((await response).status, 200, text);
  return JSON.parse(text);
}

async function shown(send: Send, name: string): Promise<Shown> {
  return await (await send(`/v1/locks/${name}`)).json();
}

function release(send: Send, name: string, lease: string): Promise<Response> {
  return send(`/v1/locks/${name}?lease=${lease}`, { method: "DELETE" });
}

async function released(send: Send, name: string, lease: string): Promise<void> {
  const response = await release(send, name, lease);
  assertEquals([response.status, (await response.json()).released], [200, true]);
}

async function revoked(send: Send, lease: string): Promise<void> {
  const response = await send(`/v1/leases/${lease}`, { method: "DELETE" });
  assertEquals(response.status, 200, await response.text());
}

/** Until so many wait. */
async function untilWaiting(send: Send, name: string, count: number): Promise<void> {
  while ((await shown(send, name)).waiting < count);
}

/** The cases. */
export const lockCases: readonly HttpCase[] = [
  {
    name: "lock: held by one, shown to all, released, and its lease goes with it",
    run: async (send) => {
      assertEquals((await shown(send, "one")).holder, undefined);
      const held = await acquired(post(send, "one", { ttlSeconds: 60, value: "me" }));
      const { holder, waiting } = await shown(send, "one");
      assertEquals([holder, waiting], [{ ...held, value: "me" }, 0]);
      const lease = await (await send(`/v1/leases/${held.lease}`)).json();
      assertEquals([lease.ttlSeconds, lease.keys], [60, [held.key]]);
      await assertProblem(await post(send, "one", { ttlSeconds: 60 }), 409, "lock-held");
      // Who could not wait is not in the queue any more.
      assertEquals((await shown(send, "one")).waiting, 0);
      await released(send, "one", held.lease);
      await assertProblem(await release(send, "one", held.lease), 404, "lease-not-found");
      await assertProblem(await send(`/v1/leases/${held.lease}`), 404, "lease-not-found");
      const next = await acquired(post(send, "one", { ttlSeconds: 60 }));
      assert(next.fencingToken > held.fencingToken);
      await released(send, "one", next.lease);
    },
  },
  {
    name: "lock: waiters are served in order, and one that gives up lets the next pass",
    run: async (send) => {
      const first = await acquired(post(send, "two", { ttlSeconds: 60 }));
      const waiters: Promise<Held>[] = [];
      const order: number[] = [];
      for (let number = 0; number < 3; number++) {
        const waiter = acquired(
          post(send, "two", { ttlSeconds: 60, wait: "20s", value: `${number}` }),
        );
        waiters.push(waiter.then((held) => (order.push(number), held)));
        await untilWaiting(send, "two", number + 1);
      }
      const impatient = post(send, "two", { ttlSeconds: 60 });
      await assertProblem(await impatient, 409, "lock-held");
      await released(send, "two", first.lease);
      let before = first;
      for (const waiter of waiters) {
        const held = await waiter;
        assert(held.fencingToken > before.fencingToken);
        assertEquals((await shown(send, "two")).holder?.lease, held.lease);
        await released(send, "two", held.lease);
        before = held;
      }
      assertEquals(order, [0, 1, 2]);
    },
  },
  {
    name: "lock: with a lease that is there a place is kept, and asked for again",
    run: async (send) => {
      const grant = async (): Promise<string> => {
        const body = JSON.stringify({ ttlSeconds: 60 });
        return (await (await send("/v1/leases", { method: "POST", body })).json()).id;
      };
      const [mine, theirs] = [await grant(), await grant()];
      const held = await acquired(post(send, "three", { lease: mine }));
      assertEquals(held.lease, mine);
      assertEquals(await acquired(post(send, "three", { lease: mine })), held);
      await assertProblem(await post(send, "three", { lease: theirs }), 409, "lock-held");
      assertEquals((await shown(send, "three")).waiting, 1);
      await assertProblem(
        await post(send, "three", { lease: theirs }),
        409,
        "lock-held",
      );
      assertEquals((await shown(send, "three")).waiting, 1);
      const waiting = acquired(post(send, "three", { lease: theirs, wait: "20s" }));
      await revoked(send, mine);
      assertEquals((await waiting).lease, theirs);
      await released(send, "three", theirs);
      // The lease is not the lock's, and stays.
      await revoked(send, theirs);
      await assertProblem(await post(send, "three", { lease: mine }), 404, "lease-not-found");
    },
  },
  {
    name: "lock: a waiter whose lease ends is told so, and holds nothing",
    run: async (send) => {
      const first = await acquired(post(send, "four", { ttlSeconds: 60 }));
      const { id } = await (await send("/v1/leases", {
        method: "POST",
        body: JSON.stringify({ ttlSeconds: 60 }),
      })).json();
      const waiting = post(send, "four", { lease: id, wait: "20s" });
      await untilWaiting(send, "four", 1);
      await revoked(send, id);
      await released(send, "four", first.lease);
      await assertProblem(await waiting, 404, "lease-not-found");
    },
  },
  {
    name: "lock: names hold any byte, and none is the prefix of another's",
    run: async (send) => {
      const names = ["a", "a%2Fb", "a/b/", "%FF%00", "a%25", "_locks"];
      const held = new Map<string, Held>();
      for (const name of names.filter((each) => each !== "a/b/")) {
        held.set(name, await acquired(post(send, name, { ttlSeconds: 60 })));
      }
      for (const [name, { key }] of held) {
        const { holder, waiting } = await shown(send, name);
        assertEquals([holder?.key, waiting], [key, 0], name);
      }
      assertEquals((await shown(send, "a/b")).holder, held.get("a%2Fb"));
      const slashed = await acquired(post(send, "a/b/", { ttlSeconds: 60 }));
      assertEquals(new Set([...held.values(), slashed].map(({ key }) => key)).size, names.length);
      for (const [name, { lease }] of held) {
        await released(send, name, lease);
      }
      await released(send, "a/b/", slashed.lease);
    },
  },
  {
    name: "lock: a repeat with the same idempotency key has the same place",
    run: async (send) => {
      const headers = { "idempotency-key": '"lock-repeat"' };
      const held = await acquired(post(send, "five", { ttlSeconds: 60 }, headers));
      assertEquals(await acquired(post(send, "five", { ttlSeconds: 60 }, headers)), held);
      const other = await post(send, "five", { ttlSeconds: 61 }, headers);
      await assertProblem(other, 422, "idempotency-mismatch");
      assertEquals((await shown(send, "five")).waiting, 0);
      await released(send, "five", held.lease);
    },
  },
  {
    name: "lock: a key that somebody put there without a lease is no place",
    run: async (send) => {
      await (await send("/v1/kv/_locks/six/a", { method: "PUT", body: "x" })).body?.cancel();
      const held = await acquired(post(send, "six", { ttlSeconds: 60 }));
      assertEquals((await shown(send, "six")).waiting, 0);
      await released(send, "six", held.lease);
    },
  },
  {
    name: "lock: what is no request for one is refused and takes no place",
    run: async (send) => {
      const wrong: unknown[] = [
        ...["", "[]", "7", "null", {}, { ttlSeconds: 60, lease: "1" }, { ttlSeconds: "60" }],
        ...[{ ttlSeconds: 0.4 }, { ttlSeconds: 1e12 }, { lease: "x" }, { lease: 0 }],
        ...[{ ttlSeconds: 60, wait: 5 }, { ttlSeconds: 60, wait: "5" }, {
          ttlSeconds: 60,
          vaule: "",
        }],
        ...[{ ttlSeconds: 60, wait: `${LOCK_WAIT_MS_MAX + 1}ms` }, { ttlSeconds: 60, value: 7 }],
      ];
      for (const body of wrong) {
        await assertProblem(await post(send, "seven", body), 400, "invalid-request");
      }
      const tooLong = "x".repeat(LOCK_NAME_BYTES_MAX + 1);
      await assertProblem(await post(send, tooLong, { ttlSeconds: 60 }), 400, "invalid-request");
      const longest = "%FF".repeat(LOCK_NAME_BYTES_MAX);
      const held = await acquired(post(send, longest, { ttlSeconds: 60 }));
      await released(send, longest, held.lease);
      const value = "x".repeat(LOCK_VALUE_BYTES_MAX);
      const large = await acquired(post(send, "seven", { ttlSeconds: 60, value }));
      await released(send, "seven", large.lease);
      const larger = await post(send, "seven", { ttlSeconds: 60, value: `${value}x` });
      await assertProblem(larger, 413, "too-large");
      for (const [method, path] of [["POST", ""], ["GET", ""], ["DELETE", "?lease=1"]] as const) {
        const body = method === "POST" ? { body: JSON.stringify({ ttlSeconds: 60 }) } : {};
        await assertProblem(
          await send(`/v1/locks/${path}`, { method, ...body }),
          404,
          "no-such-route",
        );
      }
      for (const query of ["", "?lease=x", "?lease=1&x=1"]) {
        const response = await send(`/v1/locks/seven${query}`, { method: "DELETE" });
        await assertProblem(response, 400, "invalid-request");
      }
      assertEquals(await shown(send, "seven").then(({ holder, waiting }) => [holder, waiting]), [
        ...[undefined, 0],
      ]);
    },
  },
];
