/**
 * What every gateway must answer to increments, transactions and deletes of many keys: see http_cases.ts.
 *
 * @module
 */
import { assertEquals, assertMatch } from "@std/assert";
import {
  INTEGER_MAX,
  KEY_BYTES_MAX,
  OPERATIONS_MAX,
  VALUE_BYTES_MAX,
} from "../../storage/kv/limits.ts";
import { TXN_BODY_BYTES_MAX } from "../../transport/http/limits.ts";
import { assertProblem, type HttpCase, type Send } from "./http_cases.ts";

async function told(response: Response): Promise<Record<string, unknown>> {
  const text = await response.text();
  assertEquals(response.status, 200, text);
  return JSON.parse(text);
}

function txn(send: Send, body: unknown, headers: HeadersInit = {}): Promise<Response> {
  return send("/v1/txn", { method: "POST", body: JSON.stringify(body), headers });
}

function increment(send: Send, key: string, body?: string, headers = {}): Promise<Response> {
  const init = { method: "POST", headers, ...(body === undefined ? {} : { body }) };
  return send(`/v1/kv/${key}/increment`, init);
}

async function put(send: Send, key: string, value: string): Promise<number> {
  const response = await send(`/v1/kv/${key}`, { method: "PUT", body: value });
  return (await response.json()).revision;
}

/** The cases. */
export const txnCases: readonly HttpCase[] = [
  {
    name: "increment: adds 1, or what it says; the value is text, the answer says it",
    run: async (send) => {
      const first = await increment(send, "inc/a");
      const etag = first.headers.get("etag");
      const { value, version, revision } = await told(first);
      assertEquals([value, version, etag], ["1", 1, `"${revision}"`]);
      assertEquals((await told(await increment(send, "inc/a", '{"by":41}')))["value"], "42");
      assertEquals((await told(await increment(send, "inc/a", '{"by":"-50"}')))["value"], "-8");
      assertEquals(await (await send("/v1/kv/inc/a")).text(), "-8");
      const most = JSON.stringify({ by: String(INTEGER_MAX) });
      assertEquals(
        (await told(await increment(send, "inc/b", most)))["value"],
        String(INTEGER_MAX),
      );
      await assertProblem(await increment(send, "inc/b"), 409, "conflict");
      await put(send, "inc/c", "pear");
      const detail = await assertProblem(await increment(send, "inc/c"), 409, "conflict");
      assertMatch(detail, /not the decimal text/);
    },
  },
  {
    name: "increment: conditions, idempotency keys, and bodies that mean nothing",
    run: async (send) => {
      const revision = await put(send, "inc/d", "1");
      const isAt = { "if-match": `"${revision}"` };
      assertEquals((await told(await increment(send, "inc/d", "", isAt)))["value"], "2");
      await assertProblem(await increment(send, "inc/d", "", isAt), 412, "precondition-failed");
      const once = { "idempotency-key": "inc-once" };
      const first = await told(await increment(send, "inc/d", '{"by":2}', once));
      const again = await increment(send, "inc/d", '{"by":"2"}', once);
      assertEquals(again.headers.get("idempotency-replayed"), "true");
      assertEquals(await told(again), first);
      await assertProblem(
        await increment(send, "inc/d", '{"by":3}', once),
        422,
        "idempotency-mismatch",
      );
      const wrong = ["[]", "1", '{"by":1.5}', '{"by":"x"}', '{"by":null}', '{"to":1}', "{", "null"];
      for (const body of [...wrong, '{"by":"9223372036854775808"}', '{"by":1e300}']) {
        await assertProblem(await increment(send, "inc/d", body), 400, "invalid-request");
      }
      await assertProblem(await send("/v1/kv/increment", { method: "POST" }), 404, "no-such-route");
    },
  },
  {
    name: "delete of many keys: by prefix or bounds, and of all only if it says so",
    run: async (send) => {
      const keys = ["del/a", "del/b", "del/c", "del/d"];
      for (const key of keys) await put(send, key, "x");
      const remove = (query: string, headers: HeadersInit = {}): Promise<Response> =>
        send(`/v1/kv${query}`, { method: "DELETE", headers });
      const { deleted, revision } = await told(await remove("?start=del/b&end=del/d"));
      assertEquals([deleted, typeof revision], [2, "number"]);
      const once = { "idempotency-key": "del-once" };
      const first = await told(await remove("?prefix=del/", once));
      assertEquals(first["deleted"], 2);
      await put(send, "del/e", "x");
      assertEquals(await told(await remove("?prefix=del/", once)), first);
      assertEquals(await (await send("/v1/kv/del/e")).text(), "x");
      for (const query of ["", "?prefix=", "?start=", "?all=false"]) {
        const detail = await assertProblem(await remove(query), 400, "invalid-request");
        assertMatch(detail, /all=true/);
      }
      const unsound = ["?prefix=a&start=b", "?limit=3", "?prefix=%zz", "?all=maybe"];
      for (const query of [...unsound, `?prefix=${"k".repeat(KEY_BYTES_MAX + 1)}`]) {
        await assertProblem(await remove(query), 400, "invalid-request");
      }
      const conditional = await remove("?prefix=del/", { "if-match": "*" });
      await assertProblem(conditional, 400, "invalid-request");
    },
  },
  {
    name: "transaction: compares choose the list, whose operations have one revision",
    run: async (send) => {
      const at = await put(send, "txn/a", "one");
      const body = {
        compare: [
          { key: "txn/a", target: "revision", op: "==", revision: at },
          { key: "txn/a", target: "value", op: "==", value: "one" },
          { key: "txn/none", target: "version", op: "==", version: 0 },
          { key: "txn/a", target: "created", op: "<", created: at + 1 },
        ],
        success: [
          { put: { key: "txn/a", value: "two", contentType: "text/plain" } },
          { put: { key: "txn/b", value: { base64: "/w==" } } },
          { get: { key: "txn/a" } },
          { get: { key: "txn/none" } },
          { append: { key: "txn/a", value: "!" } },
          { increment: { key: "txn/n", by: "7" } },
          { range: { prefix: "txn/", limit: 2, keys_only: true } },
          { range: { start: "txn/b", end: "txn/c", reverse: true } },
          { range: { prefix: "txn/", count_only: true } },
          { delete: { prefix: "txn/n" } },
          { delete: { key: "txn/b" } },
        ],
        failure: [{ get: { key: "txn/a" } }],
      };
      const { succeeded, revision, results } = await told(await txn(send, body));
      assertEquals([succeeded, revision], [true, at + 1]);
      const numbers = { revision, created: revision, version: 1 };
      const a = { key: "txn/a", revision, created: at, version: 2 };
      assertEquals(results, [
        { put: { version: 2, created: false } },
        { put: { version: 1, created: true } },
        { get: { ...a, value: "two", contentType: "text/plain" } },
        { get: null },
        { append: { version: 3, length: 4, created: false } },
        { increment: { value: "7", version: 1, created: true } },
        { range: { items: [{ ...a, version: 3 }, { key: "txn/b", ...numbers }], count: 3 } },
        { range: { items: [{ key: "txn/b", value: { base64: "/w==" }, ...numbers }], count: 1 } },
        { range: { items: [], count: 3 } },
        { delete: { deleted: 1 } },
        { delete: { deleted: 1 } },
      ]);
      const again = await told(await txn(send, body));
      assertEquals([again["succeeded"], again["revision"]], [false, at + 1]);
      const [{ get: found }] = again["results"] as [{ get: { value: string } }];
      assertEquals(found.value, "two!");
    },
  },
  {
    name: "transaction: bytes go both ways, and an idempotency key repeats the answer",
    run: async (send) => {
      const key = { base64: "dHhuL/8=" };
      const body = { success: [{ put: { key, value: "x" } }, { get: { key } }] };
      const once = { "idempotency-key": "txn-once" };
      const first = await txn(send, body, once);
      const { results } = await told(first);
      const [, { get: item }] = results as [unknown, { get: Record<string, unknown> }];
      assertEquals([item["key"], item["value"]], [key, "x"]);
      const again = await txn(send, body, once);
      assertEquals(again.headers.get("idempotency-replayed"), "true");
      assertEquals((await told(again))["results"], results);
      const other = { success: [{ get: { key } }] };
      await assertProblem(await txn(send, other, once), 422, "idempotency-mismatch");
      const encoded = await send("/v1/txn?encoding=base64", {
        method: "POST",
        body: JSON.stringify(other),
      });
      const [{ get }] = (await told(encoded))["results"] as [{ get: Record<string, unknown> }];
      assertEquals([get["key"], get["value"]], [key.base64, "eA=="]);
    },
  },
  {
    name: "transaction: one that cannot be done changes nothing, and says why",
    run: async (send) => {
      await put(send, "txn2/text", "pear");
      const success = [{ put: { key: "txn2/new", value: "x" } }, {
        increment: { key: "txn2/text" },
      }];
      const detail = await assertProblem(await txn(send, { success }), 409, "conflict");
      assertMatch(detail, /nothing was changed/);
      await assertProblem(await send("/v1/kv/txn2/new"), 404, "key-not-found");
    },
  },
  {
    name: "transaction: what means nothing is refused, and the answer names the part",
    run: async (send) => {
      const get = { get: { key: "k" } };
      const cases: [unknown, RegExp][] = [
        [[], /The body is an object/],
        [{}, /There is no operation/],
        [{ success: {} }, /success is a list/],
        [{ succes: [] }, /unknown field "succes"/],
        [{ success: [1] }, /success\[0\] is an object/],
        [{ success: [{}] }, /success\[0\] has one of put/],
        [{ success: [{ ...get, delete: { key: "k" } }] }, /has one of/],
        [{ success: [{ patch: {} }] }, /unknown field "patch"/],
        [{ success: [{ get: {} }] }, /success\[0\]\.get\.key/],
        [{ success: [{ get: { key: "" } }] }, /at least 1 byte/],
        [{ success: [{ get: { key: "k", limit: 1 } }] }, /unknown field "limit"/],
        [{ success: [{ put: { key: "k" } }] }, /put\.value is a string/],
        [{ success: [{ put: { key: "k", value: { base64: "%" } } }] }, /put\.value/],
        [{ success: [{ put: { key: "k", value: "\ud800" } }] }, /put\.value/],
        [{ success: [{ put: { key: "k", value: "", contentType: "" } }] }, /contentType/],
        [{ success: [{ delete: {} }] }, /names a key, or bounds, or says "all"/],
        [{ success: [{ delete: { prefix: "" } }] }, /says "all"/],
        [{ success: [{ delete: { start: "", end: "" } }] }, /says "all"/],
        [{ success: [{ delete: { prefix: "", all: false } }] }, /says "all"/],
        [{ success: [{ delete: { prefix: "a", all: "x" } }] }, /all is true or false/],
        [{ success: [{ delete: { prefix: "a", all: true } }] }, /says "all"/],
        [{ success: [{ delete: { prefix: "a", start: "b" } }] }, /does not go with/],
        [{ success: [{ range: { limit: 0 } }] }, /range\.limit/],
        [{ success: [{ range: { reverse: 1 } }] }, /range\.reverse/],
        [{ success: [{ increment: { key: "k", by: 0.5 } }] }, /increment\.by/],
        [{ compare: [{ key: "k", target: "size" }], success: [get] }, /target is one of/],
        [
          { compare: [{ key: "k", target: "lease", op: "==", lease: "x" }], success: [get] },
          /compare\[0\]\.lease is the id of a lease/,
        ],
        [
          { compare: [{ key: "k", target: "version", op: "=", version: 1 }], success: [get] },
          /op is one of/,
        ],
        [
          { compare: [{ key: "k", target: "version", op: "==", value: "1" }], success: [get] },
          /unknown field "value"/,
        ],
        [
          { compare: [{ key: "k", target: "version", op: "==", version: -1 }], success: [get] },
          /compare\[0\]\.version/,
        ],
        [{ success: Array(OPERATIONS_MAX).fill(get), failure: [get] }, /more than 128 operations/],
        [
          {
            compare: Array(129).fill({ key: "k", target: "version", op: "==", version: 1 }),
            success: [get],
          },
          /compare has more than 128/,
        ],
      ];
      for (const [body, expected] of cases) {
        const response = await txn(send, body);
        assertMatch(await assertProblem(response, 400, "invalid-request"), expected);
      }
      const large = await send("/v1/txn", {
        method: "POST",
        body: "x".repeat(TXN_BODY_BYTES_MAX + 1),
      });
      await assertProblem(large, 413, "too-large");
      const half = "x".repeat(VALUE_BYTES_MAX - 1_000);
      const puts = ["k", "l"].map((key) => ({ put: { key, value: half } }));
      const tooLarge: [unknown, RegExp][] = [
        [{ success: [{ put: { key: "k", value: `${half}${"x".repeat(1_001)}` } }] }, /value/],
        [{ success: [{ append: { key: "k", value: `${half}${"x".repeat(1_001)}` } }] }, /value/],
        [{ success: puts }, /bytes, more than/],
      ];
      for (const [body, expected] of tooLarge) {
        assertMatch(await assertProblem(await txn(send, body), 413, "too-large"), expected);
      }
      const method = await send("/v1/txn");
      await assertProblem(method, 405, "method-not-allowed");
    },
  },
];
