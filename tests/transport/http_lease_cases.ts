/**
 * What every gateway must answer about leases, and keys that last for a time: see http_cases.ts. What needs
 * time to pass is shown on a store (tests/storage/kv/leases_test.ts) and in the simulator.
 *
 * @module
 */
import { assert, assertEquals, assertMatch, assertNotEquals } from "@std/assert";
import { assertProblem, type HttpCase, type Send } from "./http_cases.ts";

type Json = Record<string, unknown>;

async function told(response: Response, status = 200): Promise<Json> {
  const text = await response.text();
  assertEquals(response.status, status, text);
  return JSON.parse(text);
}

function send(
  via: Send,
  method: string,
  path: string,
  body?: unknown,
  headers: HeadersInit = {},
): Promise<Response> {
  const text = typeof body === "string" ? body : JSON.stringify(body);
  return via(path, { method, headers, ...(body === undefined ? {} : { body: text }) });
}

async function grant(via: Send, ttlSeconds = 60): Promise<string> {
  return (await told(await send(via, "POST", "/v1/leases", { ttlSeconds })))["id"] as string;
}

/** The cases. */
export const leaseCases: readonly HttpCase[] = [
  {
    name: "lease: granted, kept alive, read, and revoked with its keys in one revision",
    run: async (via) => {
      const granted = await told(await send(via, "POST", "/v1/leases", { ttlSeconds: 60 }));
      const id = granted["id"] as string;
      assertMatch(id, /^[1-9]\d*$/);
      assertEquals(granted, { id, ttlSeconds: 60, remainingSeconds: 60, keys: [] });
      for (const key of ["lease/b", "lease/a"]) {
        const put = await send(via, "PUT", `/v1/kv/${key}?lease=${id}`, "x");
        const etag = put.headers.get("etag");
        const { revision, version, lease } = await told(put, 201);
        assertEquals([etag, version, lease], [`"${revision}"`, 1, id]);
      }
      const seen = await told(await send(via, "GET", `/v1/leases/${id}`));
      assertEquals([seen["id"], seen["ttlSeconds"], seen["keys"]], [id, 60, [
        "lease/a",
        "lease/b",
      ]]);
      const remaining = seen["remainingSeconds"] as number;
      assert(remaining > 0 && remaining <= 60, String(remaining));
      const item = await told(await send(via, "GET", "/v1/kv?key=lease/a"));
      assertEquals(item["lease"], id);
      const head = await via("/v1/kv/lease/a?meta=true");
      assertEquals([head.headers.get("statecraft-lease"), await head.text()], [id, "x"]);
      const kept = await told(await send(via, "POST", `/v1/leases/${id}/keepalive`));
      assertEquals(kept, { id, ttlSeconds: 60, remainingSeconds: 60 });
      const revoked = await told(await send(via, "DELETE", `/v1/leases/${id}`));
      assertEquals(revoked["deleted"], 2);
      await assertProblem(await via("/v1/kv/lease/a"), 404, "key-not-found");
      for (const [method, path] of [["GET", ""], ["DELETE", ""], ["POST", "/keepalive"]]) {
        const gone = await send(via, method!, `/v1/leases/${id}${path}`);
        await assertProblem(gone, 404, "lease-not-found");
      }
      const late = await send(via, "PUT", `/v1/kv/lease/c?lease=${id}`, "x");
      await assertProblem(late, 404, "lease-not-found");
      await assertProblem(await via("/v1/kv/lease/c"), 404, "key-not-found");
    },
  },
  {
    name: "lease: a plain put takes a key off its lease, append and increment leave it there",
    run: async (via) => {
      const id = await grant(via);
      await told(await send(via, "PUT", `/v1/kv/lease2/n?lease=${id}`, "1"), 201);
      await told(await send(via, "POST", "/v1/kv/lease2/n/increment"));
      await told(await send(via, "POST", "/v1/kv/lease2/n/append", "0"));
      const keysOf = async (): Promise<unknown> =>
        (await told(await send(via, "GET", `/v1/leases/${id}`)))["keys"];
      assertEquals(await keysOf(), ["lease2/n"]);
      await told(await send(via, "PUT", "/v1/kv/lease2/n", "7"));
      assertEquals(await keysOf(), []);
      assertEquals((await told(await send(via, "DELETE", `/v1/leases/${id}`)))["deleted"], 0);
      assertEquals(await (await via("/v1/kv/lease2/n")).text(), "7");
    },
  },
  {
    name: "ttl: a put with a time of its own has a lease that goes with the key",
    run: async (via) => {
      const put = (value: string): Promise<Response> =>
        send(via, "PUT", "/v1/kv/ttl/a?ttl=60s", value);
      const first = (await told(await put("x"), 201))["lease"] as string;
      const second = (await told(await put("y")))["lease"] as string;
      assertNotEquals(first, second);
      await assertProblem(await via(`/v1/leases/${first}`), 404, "lease-not-found");
      assertEquals((await told(await via(`/v1/leases/${second}`)))["keys"], ["ttl/a"]);
      await told(await send(via, "DELETE", "/v1/kv/ttl/a"));
      await assertProblem(await via(`/v1/leases/${second}`), 404, "lease-not-found");
      await told(await send(via, "PUT", "/v1/kv?key=ttl/b&ttl=1d", "x"), 201);
    },
  },
  {
    name: "ttl: conditions and idempotency keys go with it, and another time is another request",
    run: async (via) => {
      const isNew = { "if-none-match": "*" };
      await told(await send(via, "PUT", "/v1/kv/ttl/c?ttl=1h", "x", isNew), 201);
      const taken = await send(via, "PUT", "/v1/kv/ttl/c?ttl=1h", "x", isNew);
      await assertProblem(taken, 412, "precondition-failed");
      const once = { "idempotency-key": "ttl-once" };
      const first = await told(await send(via, "PUT", "/v1/kv/ttl/d?ttl=1h", "x", once), 201);
      const again = await send(via, "PUT", "/v1/kv/ttl/d?ttl=1h", "x", once);
      assertEquals(again.headers.get("idempotency-replayed"), "true");
      assertEquals(await told(again, 201), first);
      const other = await send(via, "PUT", "/v1/kv/ttl/d?ttl=2h", "x", once);
      await assertProblem(other, 422, "idempotency-mismatch");
    },
  },
  {
    name: "lease: transactions attach keys and compare their leases",
    run: async (via) => {
      const lease = await grant(via);
      const body = {
        compare: [{ key: "lease3/a", target: "lease", op: "==", lease: 0 }],
        success: [{ put: { key: "lease3/a", value: "x", lease } }, { get: { key: "lease3/a" } }],
      };
      const { succeeded, results } = await told(await send(via, "POST", "/v1/txn", body));
      const [put, got] = results as [{ put: Json }, { get: Json }];
      assertEquals([succeeded, put.put["lease"], got.get["lease"]], [true, lease, lease]);
      const again = await told(await send(via, "POST", "/v1/txn", body));
      assertEquals([again["succeeded"], again["results"]], [false, []]);
      const held = { key: "lease3/a", target: "lease", op: "==", lease };
      const other = { compare: [held], success: [{ delete: { key: "lease3/a" } }] };
      assertEquals((await told(await send(via, "POST", "/v1/txn", other)))["succeeded"], true);
    },
  },
  {
    name: "leases: listed in the order of their ids, a page at a time",
    run: async (via) => {
      const ids = [await grant(via), await grant(via), await grant(via)];
      const before = Number(ids[0]) - 1;
      const page = await told(await via(`/v1/leases?after=${before}&limit=2`));
      const idsOf = ({ leases }: Json): unknown[] => (leases as Json[]).map(({ id }) => id);
      assertEquals([idsOf(page), page["next"]], [ids.slice(0, 2), ids[1]]);
      const rest = await told(await via(`/v1/leases?after=${page["next"]}&limit=2`));
      assertEquals([idsOf(rest)[0], rest["next"]], [ids[2], undefined]);
    },
  },
  {
    name: "lease: what means nothing is refused",
    run: async (via) => {
      const bodies = [[], {}, { ttl: 1 }, { ttlSeconds: "1" }, { ttlSeconds: 0.4 }, null];
      for (const body of [...bodies, { ttlSeconds: 1e9 }, { ttlSeconds: -1 }]) {
        await assertProblem(await send(via, "POST", "/v1/leases", body), 400, "invalid-request");
      }
      const queries = ["ttl=1", "ttl=s", "ttl=0s", "ttl=999d", "ttl=1.5s", "lease=0", "lease=x"];
      for (const query of [...queries, "ttl=1s&lease=1", "ttl="]) {
        const put = await send(via, "PUT", `/v1/kv/lease4?${query}`, "x");
        await assertProblem(put, 400, "invalid-request");
      }
      for (const id of ["0", "x", "-1", "1.5"]) {
        await assertProblem(await via(`/v1/leases/${id}`), 400, "invalid-request");
      }
      await assertProblem(await via("/v1/leases?after=x"), 400, "invalid-request");
      await assertProblem(await via("/v1/leases/999999999"), 404, "lease-not-found");
      const method = await send(via, "PUT", "/v1/leases/1", "x");
      await assertProblem(method, 405, "method-not-allowed");
    },
  },
];
