/**
 * What every gateway must answer, whatever is behind it: run over a port in memory and over a
 * real node (http_gateway_test.ts, http_node_test.ts).
 *
 * Each case keeps to keys of its own, so that all can share one store.
 *
 * @module
 */
import { assert, assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import {
  CONTENT_TYPE_CHARS_MAX,
  IDEMPOTENCY_KEY_CHARS_MAX,
  KEY_BYTES_MAX,
  VALUE_BYTES_MAX,
} from "../../storage/kv/limits.ts";
import { LIST_BYTES_MAX, LIST_LIMIT_MAX } from "../../transport/http/limits.ts";

/** Sends one request; `path` begins with "/" and is not encoded further. */
export type Send = (path: string, init?: RequestInit) => Promise<Response>;

/** One case. */
export interface HttpCase {
  readonly name: string;
  readonly run: (send: Send) => Promise<void>;
}

/** What `fetch` says of a string. */
const TEXT = "text/plain;charset=UTF-8";
const octets = { "content-type": "application/octet-stream" };

/** Asserts a problem document, whole but for its detail, and returns the detail. */
export async function assertProblem(
  response: Response,
  status: number,
  code: string,
  expected: {
    readonly retryable?: boolean;
    readonly outcome?: string;
    readonly leader?: number;
    readonly revision?: number;
  } = {},
): Promise<string> {
  const text = await response.text();
  assertEquals(response.status, status, text);
  assertEquals(response.headers.get("content-type"), "application/problem+json");
  const { detail, title, leader, revision, ...rest } = JSON.parse(text);
  assertEquals(rest, {
    type: `urn:statecraft:problem:${code}`,
    status,
    code,
    retryable: expected.retryable ?? false,
    outcome: expected.outcome ?? "not-applied",
  });
  assertEquals(leader, expected.leader);
  if (expected.revision !== undefined) assertEquals(revision, expected.revision);
  assert(title.length > 0 && detail.length > 0, text);
  const retryAfter = response.headers.get("retry-after");
  assertEquals(retryAfter !== null, [429, 503, 507].includes(status), text);
  return detail;
}

async function put(
  send: Send,
  key: string,
  value: string | Uint8Array<ArrayBuffer>,
): Promise<number> {
  const response = await send(`/v1/kv/${key}`, { method: "PUT", body: value });
  const { revision } = await response.json();
  assert(response.ok);
  return revision;
}

async function keysOf(send: Send, query: string): Promise<unknown[]> {
  const response = await send(`/v1/kv?${query}`);
  const { items } = await response.json();
  assertEquals(response.status, 200);
  return items.map((item: { key: unknown }) => item.key);
}

/** `%XX` for every byte. */
function encodeAll(bytes: readonly number[]): string {
  return bytes.map((byte) => `%${byte.toString(16).padStart(2, "0")}`).join("");
}

/** What a get tells only if asked, and HEAD always. */
const META_HEADERS = ["created", "version", "served-by", "leader", "term"]
  .map((name) => `statecraft-${name}`);

/** The cases. */
export const httpCases: readonly HttpCase[] = [
  {
    name: "PUT creates with 201, replaces with 200, and GET returns the bytes with their revisions",
    run: async (send) => {
      const created = await send("/v1/kv/crud", { method: "PUT", body: "one" });
      assertEquals(created.status, 201);
      const first = await created.json();
      assertEquals(first, { revision: first.revision, version: 1 });
      assertEquals(created.headers.get("etag"), `"${first.revision}"`);
      const replaced = await send("/v1/kv/crud", { method: "PUT", body: "two" });
      assertEquals(replaced.status, 200);
      assertEquals(await replaced.json(), { revision: first.revision + 1, version: 2 });

      const got = await send("/v1/kv/crud");
      assertEquals(got.status, 200);
      assertEquals(await got.text(), "two");
      assertEquals(got.headers.get("etag"), `"${first.revision + 1}"`);
      assertEquals(got.headers.get("statecraft-revision"), String(first.revision + 1));
      for (const name of META_HEADERS) assertEquals(got.headers.get(name), null, name);
      const meta = await send("/v1/kv/crud?meta=true");
      await meta.body?.cancel();
      assertEquals(meta.headers.get("statecraft-created"), String(first.revision));
      assertEquals(meta.headers.get("statecraft-version"), "2");
      assertEquals(meta.headers.get("statecraft-served-by"), "1");
      assertEquals(meta.headers.get("statecraft-leader"), "1");
      assertMatch(meta.headers.get("statecraft-term")!, /^[1-9]\d*$/);
    },
  },
  {
    name: "GET and HEAD of a missing key are 404 and say at which revision that was so",
    run: async (send) => {
      const response = await send("/v1/kv/missing");
      assertMatch(response.headers.get("statecraft-revision")!, /^\d+$/);
      await assertProblem(response, 404, "key-not-found");
      const head = await send("/v1/kv/missing", { method: "HEAD" });
      assertEquals([head.status, await head.text()], [404, ""]);
    },
  },
  {
    name: "HEAD answers as GET does, without the value",
    run: async (send) => {
      await put(send, "head", "12345");
      const get = await send("/v1/kv/head");
      await get.body?.cancel();
      const head = await send("/v1/kv/head", { method: "HEAD" });
      assertEquals([head.status, await head.text()], [200, ""]);
      assertEquals(head.headers.get("content-length"), "5");
      for (const name of ["etag", "content-type", "statecraft-revision"]) {
        assertEquals(head.headers.get(name), get.headers.get(name), name);
      }
      for (const name of META_HEADERS) assert(head.headers.get(name) !== null, name);
    },
  },
  {
    name: "X14: HEAD says of every route how many bytes GET answers with, or nothing",
    run: async (send) => {
      await put(send, "head-length", "12345");
      const known = ["/livez", "/version", "/v1/raft/chart", "/v1/kv/no-head", "/nowhere"];
      for (const path of ["/v1/kv/head-length", "/v1/kv?prefix=head-l&count_only", ...known]) {
        const get = await send(path);
        const head = await send(path, { method: "HEAD" });
        assertEquals([head.status, await head.text()], [get.status, ""], path);
        const { length } = await get.bytes();
        assertEquals(head.headers.get("content-length"), String(length), path);
      }
      for (const path of ["/v1/kv?prefix=head-l", "/v1/kv?key=head-length"]) {
        const head = await send(path, { method: "HEAD" });
        assertEquals([head.status, await head.text()], [200, ""]);
        assertEquals(head.headers.get("content-length"), null, path);
        assertEquals(head.headers.get("content-type"), "application/json");
      }
    },
  },
  {
    name: "DELETE counts what it deleted, and a missing key is not an error",
    run: async (send) => {
      const revision = await put(send, "delete", "x");
      const first = await send("/v1/kv/delete", { method: "DELETE" });
      assertEquals([first.status, await first.json()], [200, {
        deleted: 1,
        revision: revision + 1,
      }]);
      const second = await send("/v1/kv/delete", { method: "DELETE" });
      assertEquals([second.status, await second.json()], [200, {
        deleted: 0,
        revision: revision + 1,
      }]);
      // A tag that names the store's revision would match no key.
      assertEquals([first, second].map(({ headers }) => headers.get("etag")), [null, null]);
      await assertProblem(await send("/v1/kv/delete"), 404, "key-not-found");
    },
  },
  {
    name: "append creates, then adds to the end (S05)",
    run: async (send) => {
      const append = (body: string): Promise<Response> =>
        send("/v1/kv/append/append", { method: "POST", headers: octets, body });
      const first = await (await append("hello")).json();
      assertEquals(first, { revision: first.revision, version: 1, length: 5 });
      const second = await append(" world");
      assertEquals(second.status, 200);
      assertEquals(await second.json(), { revision: first.revision + 1, version: 2, length: 11 });
      assertEquals(await (await send("/v1/kv/append")).text(), "hello world");
    },
  },
  {
    name: "If-Match and If-None-Match decide whether a write takes effect",
    run: async (send) => {
      const write = (headers: Record<string, string>, method = "PUT"): Promise<Response> =>
        send("/v1/kv/condition", {
          method,
          headers: { ...octets, ...headers },
          ...(method === "PUT" ? { body: "v" } : {}),
        });
      await assertProblem(await write({ "if-match": "*" }), 412, "precondition-failed");
      await assertProblem(await write({ "if-match": '"1"' }), 412, "precondition-failed");
      // The revision of no key is 0, and If-Match never matches what is not there.
      await assertProblem(await write({ "if-match": '"0"' }), 412, "precondition-failed");
      const created = await write({ "if-none-match": "*" });
      const { revision } = await created.json();
      assertEquals(created.status, 201);
      const failed = await write({ "if-none-match": "*" });
      assertEquals(failed.headers.get("etag"), `"${revision}"`);
      const detail = await assertProblem(failed, 412, "precondition-failed", { revision });
      assertStringIncludes(detail, `"${revision}"`);
      const matched = await write({ "if-match": `"${revision}"` });
      assertEquals([matched.status, (await matched.json()).revision], [200, revision + 1]);
      await assertProblem(await write({ "if-match": `"${revision}"` }), 412, "precondition-failed");
      assertEquals((await (await write({ "if-match": "*" })).json()).revision, revision + 2);
      await assertProblem(await write({ "if-match": '"0"' }), 412, "precondition-failed", {
        revision: revision + 2,
      });
      await assertProblem(
        await write({ "if-match": `"${revision}"` }, "DELETE"),
        412,
        "precondition-failed",
      );
      const deleted = await write({ "if-match": `"${revision + 2}"` }, "DELETE");
      assertEquals((await deleted.json()).deleted, 1);
    },
  },
  {
    name: "malformed conditions are 400 and change nothing",
    run: async (send) => {
      const tables: Record<string, string>[] = [
        { "if-match": "17" },
        { "if-match": '"x"' },
        { "if-match": 'W/"17"' },
        { "if-match": '"1", "2"' },
        { "if-match": '"9999999999999999"' },
        { "if-none-match": '"17"' },
        { "if-match": '"1"', "if-none-match": "*" },
      ];
      for (const headers of tables) {
        const response = await send("/v1/kv/malformed", { method: "PUT", headers, body: "x" });
        await assertProblem(response, 400, "invalid-request");
      }
      await assertProblem(await send("/v1/kv/malformed"), 404, "key-not-found");
    },
  },
  {
    name: "GET with If-None-Match is 304 as long as the key is unchanged",
    run: async (send) => {
      const revision = await put(send, "etag", "x");
      const read = async (tags: string): Promise<number> => {
        const response = await send("/v1/kv/etag", { headers: { "if-none-match": tags } });
        assertEquals(response.headers.get("etag"), `"${revision}"`);
        await response.body?.cancel();
        return response.status;
      };
      assertEquals(await read(`"${revision}"`), 304);
      assertEquals(await read(`"1000000", W/"${revision}"`), 304);
      assertEquals(await read("*"), 304);
      assertEquals(await read(`"${revision + 1}"`), 200);
    },
  },
  {
    name: "a repeat with its idempotency key gets the first result and has no effect",
    run: async (send) => {
      const headers = { ...octets, "idempotency-key": '"repeat-1"' };
      const append = (body = "x"): Promise<Response> =>
        send("/v1/kv/repeat/append", { method: "POST", headers, body });
      const first = await append();
      assertEquals(first.headers.get("idempotency-replayed"), null);
      const second = await append();
      assertEquals(second.headers.get("idempotency-replayed"), "true");
      assertEquals([second.status, await second.text()], [first.status, await first.text()]);
      assertEquals(await (await send("/v1/kv/repeat")).text(), "x");

      await assertProblem(await append("y"), 422, "idempotency-mismatch");
      const others: [string, RequestInit][] = [
        ["/v1/kv/repeat", { method: "PUT", body: "x" }],
        ["/v1/kv/repeat", { method: "DELETE" }],
        ["/v1/kv/repeat2/append", { method: "POST", body: "x" }],
      ];
      for (const [path, init] of others) {
        const response = await send(path, { ...init, headers });
        await assertProblem(response, 422, "idempotency-mismatch");
      }
      const conditional = { ...headers, "if-match": "*" };
      await assertProblem(
        await send("/v1/kv/repeat/append", { method: "POST", headers: conditional, body: "x" }),
        422,
        "idempotency-mismatch",
      );
      assertEquals(await (await send("/v1/kv/repeat")).text(), "x");
    },
  },
  {
    name: "no request passes for a repeat of another, whatever bytes its key and body hold",
    run: async (send) => {
      const bytes = (text: string): Uint8Array<ArrayBuffer> => new TextEncoder().encode(text);
      const append = (key: string, body: string, more = {}): Promise<Response> => {
        const headers = { "idempotency-key": "passes-1", ...more };
        return send(`/v1/kv/${key}/append`, { method: "POST", headers, body: bytes(body) });
      };
      await (await send("/v1/kv/passes", { method: "PUT", body: bytes("v") })).body?.cancel();
      const first = await append("passes", "\nx", { "if-match": "*" });
      await first.body?.cancel();
      assertEquals(first.status, 200);
      await assertProblem(await append("passes%0A*", "x"), 422, "idempotency-mismatch");
    },
  },
  {
    name: "a repeated create is 201 again, and a repeated failure stays one",
    run: async (send) => {
      const headers = { "idempotency-key": "create-1", "if-none-match": "*" };
      const create = (): Promise<Response> =>
        send("/v1/kv/create", { method: "PUT", headers, body: "x" });
      const first = await create();
      const second = await create();
      assertEquals([first.status, second.status], [201, 201]);
      assertEquals(await second.json(), await first.json());
      const failing = { "idempotency-key": "create-2", "if-none-match": "*" };
      for (let attempt = 0; attempt < 2; attempt++) {
        const response = await send("/v1/kv/create", {
          method: "PUT",
          headers: failing,
          body: "y",
        });
        await assertProblem(response, 412, "precondition-failed");
      }
    },
  },
  {
    name: "an idempotency key has 1 to 64 printable characters",
    run: async (send) => {
      const status = async (key: string): Promise<number> => {
        const headers = { "idempotency-key": key };
        const response = await send("/v1/kv/once", { method: "PUT", headers, body: "x" });
        await response.body?.cancel();
        return response.status;
      };
      assertEquals(await status("k".repeat(IDEMPOTENCY_KEY_CHARS_MAX)), 201);
      assertEquals(await status(`"${"q".repeat(IDEMPOTENCY_KEY_CHARS_MAX)}"`), 200);
      for (const bad of ["k".repeat(IDEMPOTENCY_KEY_CHARS_MAX + 1), '""', "a b", "\u00e9"]) {
        assertEquals(await status(bad), 400, bad);
      }
    },
  },
  {
    name: "a listing has every entry of its range in order, with its revisions",
    run: async (send) => {
      const revisions: number[] = [];
      for (const name of ["a", "b", "c"]) revisions.push(await put(send, `list-${name}`, name));
      const response = await send("/v1/kv?prefix=list-");
      const body = await response.json();
      assertEquals(body, {
        items: ["a", "b", "c"].map((name, at) => ({
          key: `list-${name}`,
          value: name,
          contentType: TEXT,
          revision: revisions[at],
          created: revisions[at],
          version: 1,
        })),
        revision: body.revision,
      });
      assertEquals(response.headers.get("statecraft-revision"), String(body.revision));
      assertEquals(await keysOf(send, "start=list-b&end=list-c"), ["list-b"]);
      assertEquals(await keysOf(send, "start=list-c&end=list-b"), []);
      assertEquals(await keysOf(send, "prefix=list-&reverse=true"), ["list-c", "list-b", "list-a"]);
      assertEquals(await keysOf(send, "prefix=list-&reverse"), ["list-c", "list-b", "list-a"]);
      assertEquals(await keysOf(send, "prefix=list-&reverse=false&limit=1"), ["list-a"]);
      const keysOnly = await (await send("/v1/kv?prefix=list-&keys_only=true&limit=1")).json();
      assertEquals(Object.keys(keysOnly.items[0]).sort(), [
        "created",
        "key",
        "revision",
        "version",
      ]);
      const count = await (await send("/v1/kv?prefix=list-&count_only=true")).json();
      assertEquals(count, { count: 3, revision: count.revision });
    },
  },
  {
    name: "pages follow each other without a gap or a repeat, in both directions",
    run: async (send) => {
      const all = Array.from({ length: 7 }, (_, at) => `page-${at}`);
      for (const key of all) await put(send, key, "x");
      for (const [query, expected] of [["", all], ["&reverse=true", all.toReversed()]] as const) {
        const seen: string[] = [];
        let cursor: string | undefined = "";
        for (let pages = 0; cursor !== undefined; pages++) {
          assert(pages < 5);
          const from: string = cursor === "" ? "" : `&cursor=${cursor}`;
          const page: { items: { key: string }[]; next?: string } =
            await (await send(`/v1/kv?prefix=page-&limit=3${query}${from}`)).json();
          seen.push(...page.items.map(({ key }) => key));
          cursor = page.next;
        }
        assertEquals(seen, [...expected]);
      }
    },
  },
  {
    name: "a cursor from elsewhere does not lead out of the range",
    run: async (send) => {
      for (const key of ["fence-a", "fence-b", "fence-c"]) await put(send, key, "x");
      const cursorAt = async (key: string, reverse: boolean): Promise<string> => {
        const query = `limit=1&${reverse ? `end=${key}~&reverse=true` : `start=${key}`}`;
        return (await (await send(`/v1/kv?${query}`)).json()).next;
      };
      const low = await cursorAt("fence-a", false);
      assertEquals(await keysOf(send, `start=fence-c&end=fence-d&cursor=${low}`), ["fence-c"]);
      const high = await cursorAt("fence-c", true);
      assertEquals(
        await keysOf(send, `start=fence-a&end=fence-b&reverse=true&cursor=${high}`),
        ["fence-a"],
      );
    },
  },
  {
    name: "a page ends before its values exceed LIST_BYTES_MAX",
    run: async (send) => {
      const value = new Uint8Array(VALUE_BYTES_MAX).fill(120);
      const fitting = LIST_BYTES_MAX / VALUE_BYTES_MAX;
      for (let at = 0; at <= fitting; at++) await put(send, `wide-${at}`, value);
      const page = await (await send("/v1/kv?prefix=wide-")).json();
      assertEquals(page.items.length, fitting);
      const rest = await (await send(`/v1/kv?prefix=wide-&cursor=${page.next}`)).json();
      assertEquals([rest.items.length, rest.next], [1, undefined]);
    },
  },
  {
    name: "listing parameters out of range are 400",
    run: async (send) => {
      const queries = [
        "limit=0",
        "limit=-1",
        "limit=1.5",
        "limit=x",
        `limit=${LIST_LIMIT_MAX + 1}`,
        "reverse=maybe",
        "keys_only=1",
        "cursor=!",
        "cursor=",
        "prefix=a&start=b",
        "prefix=a&end=b",
        "prefix=%zz",
        `prefix=${"x".repeat(KEY_BYTES_MAX + 1)}`,
        "consistency=strong",
      ];
      for (const query of queries) {
        await assertProblem(await send(`/v1/kv?${query}`), 400, "invalid-request");
      }
      assertEquals((await keysOf(send, `limit=${LIST_LIMIT_MAX}&prefix=none-`)).length, 0);
      const scan = { headers: { accept: "application/x-ndjson" } };
      for (const query of ["limit=0", "limit=x", "cursor=!", "prefix=a&start=b"]) {
        await assertProblem(await send(`/v1/kv?${query}`, scan), 400, "invalid-request");
      }
    },
  },
  {
    name: "a listing as NDJSON is a line an item, of one moment, and says that it is whole",
    run: async (send) => {
      const scan = { headers: { accept: "application/x-ndjson" } };
      for (const key of ["scan/a", "scan/b", "scan/c"]) await put(send, key, `v-${key}`);
      const linesOf = async (query: string): Promise<Record<string, unknown>[]> => {
        const response = await send(`/v1/kv?${query}`, scan);
        assertEquals(response.headers.get("content-type"), "application/x-ndjson");
        const text = await response.text();
        assertEquals(text.at(-1), "\n");
        return text.trimEnd().split("\n").map((line) => JSON.parse(line));
      };
      const lines = await linesOf("prefix=scan/");
      const page = await (await send("/v1/kv?prefix=scan/")).json();
      assertEquals(lines.slice(0, 3), page.items);
      assertEquals(lines[3], { end: true, count: 3, revision: page.revision });
      const keys = (await linesOf("prefix=scan/&reverse=true&limit=2&keys_only=true")).map(
        ({ key, value, count }) => key ?? [value, count],
      );
      assertEquals(keys, ["scan/c", "scan/b", [undefined, 2]]);
      assertEquals((await linesOf("prefix=scan/none")).length, 1);
      const head = await send("/v1/kv?prefix=scan/", { ...scan, method: "HEAD" });
      assertEquals([head.status, await head.text()], [200, ""]);
      const counted = await send("/v1/kv?prefix=scan/&count_only=true", scan);
      assertEquals((await counted.json()).count, 3);
    },
  },
  {
    name: "every byte value round-trips in a key and in a value, and keys are ordered bytewise",
    run: async (send) => {
      const bytes = Array.from({ length: 256 }, (_, byte) => byte);
      for (const byte of bytes) {
        await put(send, `byte-${encodeAll([byte])}`, new Uint8Array([byte, 0, byte]));
      }
      for (const byte of bytes) {
        const response = await send(`/v1/kv/byte-${encodeAll([byte])}`);
        assertEquals([...await response.bytes()], [byte, 0, byte], `byte ${byte}`);
      }
      const keys = await keysOf(send, "prefix=byte-&keys_only=true");
      const asBytes = keys.map((key) =>
        typeof key === "string"
          ? [...new TextEncoder().encode(key)]
          : [...Uint8Array.fromBase64((key as { base64: string }).base64)]
      );
      assertEquals(
        asBytes,
        bytes.map((byte) => [...new TextEncoder().encode("byte-"), byte]),
      );
    },
  },
  {
    name: "text beyond the first plane sorts after the rest, and lone surrogates stay apart",
    run: async (send) => {
      // U+FF5E, U+1F600, and a surrogate half in the generalized UTF-8 that is not UTF-8.
      const keys = [[0xed, 0xa0, 0xbd], [0xef, 0xbd, 0x9e], [0xf0, 0x9f, 0x98, 0x80]];
      for (const key of keys.toReversed()) {
        await put(send, `text-${encodeAll(key)}`, new Uint8Array(key));
      }
      const { items } = await (await send("/v1/kv?prefix=text-")).json();
      const half = [...new TextEncoder().encode("text-"), 0xed, 0xa0, 0xbd];
      assertEquals(items.map(({ key, value }: Record<string, unknown>) => [key, value]), [
        [
          { base64: new Uint8Array(half).toBase64() },
          { base64: new Uint8Array(keys[0]!).toBase64() },
        ],
        ["text-\uff5e", "\uff5e"],
        ["text-\u{1f600}", "\u{1f600}"],
      ]);
      assertEquals(
        (await keysOf(send, `prefix=text-${encodeURIComponent("\u{1f600}")}`)).length,
        1,
      );
    },
  },
  {
    name: "a value that begins with a byte order mark is listed with it",
    run: async (send) => {
      await put(send, "bom", new Uint8Array([0xef, 0xbb, 0xbf, 0x61]));
      const { items } = await (await send("/v1/kv?prefix=bom")).json();
      assertEquals(items[0].value, "\ufeffa");
    },
  },
  {
    name: "a slash, dots, a percent sign and a plus are parts of keys like any other",
    run: async (send) => {
      const keys = ["a%2Fb", "..%2Fc", "%2F%2F", "100%25", "a+b", "__proto__", "%3Fx=1", "append"];
      for (const [at, key] of keys.entries()) await put(send, `odd-${key}`, String(at));
      for (const [at, key] of keys.entries()) {
        assertEquals(await (await send(`/v1/kv/odd-${key}`)).text(), String(at), key);
      }
      assertEquals(await keysOf(send, "prefix=odd-a%2B&keys_only"), ["odd-a+b"]);
      assertEquals(await keysOf(send, "prefix=odd-__proto__"), ["odd-__proto__"]);
    },
  },
  {
    name: "broken percent-encodings are 400",
    run: async (send) => {
      for (const key of ["%", "a%", "a%4", "%zz", "%4g", "%%41"]) {
        const detail = await assertProblem(await send(`/v1/kv/${key}`), 400, "invalid-request");
        assertStringIncludes(detail, "percent-encoding", key);
      }
    },
  },
  {
    name: "a key has at most KEY_BYTES_MAX bytes, however they are encoded",
    run: async (send) => {
      for (const unit of ["k", "%6b", "%ff"]) {
        const longest = unit.repeat(KEY_BYTES_MAX);
        await put(send, longest, "x");
        assertEquals(await (await send(`/v1/kv/${longest}`)).text(), "x");
        for (const method of ["GET", "PUT", "DELETE"]) {
          const response = await send(`/v1/kv/${longest}${unit}`, { method });
          await assertProblem(response, 400, "invalid-request");
        }
      }
    },
  },
  {
    name: "a value has at most VALUE_BYTES_MAX bytes, with and without a content length",
    run: async (send) => {
      const largest = new Uint8Array(VALUE_BYTES_MAX).fill(1);
      const streamed = (length: number): RequestInit => ({
        method: "PUT",
        body: new ReadableStream({
          start(controller): void {
            for (let at = 0; at < length; at += 65_536) {
              controller.enqueue(new Uint8Array(Math.min(65_536, length - at)));
            }
            controller.close();
          },
        }),
      });
      await put(send, "large", largest);
      assertEquals((await (await send("/v1/kv/large")).bytes()).length, VALUE_BYTES_MAX);
      const chunked = await send("/v1/kv/large", streamed(VALUE_BYTES_MAX));
      assertEquals(chunked.status, 200);
      await chunked.body?.cancel();

      const tooLarge = { method: "PUT", body: new Uint8Array(VALUE_BYTES_MAX + 1) };
      const detail = await assertProblem(await send("/v1/kv/larger", tooLarge), 413, "too-large");
      assertStringIncludes(detail, String(VALUE_BYTES_MAX));
      await assertProblem(
        await send("/v1/kv/larger", streamed(VALUE_BYTES_MAX + 1)),
        413,
        "too-large",
      );
      await assertProblem(await send("/v1/kv/larger"), 404, "key-not-found");
      const appended = { method: "POST", headers: octets, body: "x" };
      await assertProblem(await send("/v1/kv/large/append", appended), 413, "too-large");
    },
  },
  {
    name: "an empty value is a value",
    run: async (send) => {
      await put(send, "empty", "");
      const response = await send("/v1/kv/empty");
      assertEquals([response.status, await response.text()], [200, ""]);
    },
  },
  {
    name: "a content type is kept with the value, what nobody asked for is not",
    run: async (send) => {
      const typeAfter = async (type: string): Promise<string | null> => {
        const headers = { "content-type": type };
        const stored = await send("/v1/kv/type", { method: "PUT", headers, body: "{}" });
        assert(stored.ok, await stored.text());
        const response = await send("/v1/kv/type");
        await response.body?.cancel();
        return response.headers.get("content-type");
      };
      assertEquals(await typeAfter("application/json"), "application/json");
      assertEquals(await typeAfter("text/plain;charset=UTF-8"), "text/plain;charset=UTF-8");
      assertEquals(
        await typeAfter("application/x-www-form-urlencoded"),
        "application/octet-stream",
      );
      const longest = `text/${"x".repeat(CONTENT_TYPE_CHARS_MAX - 5)}`;
      assertEquals(await typeAfter(longest), longest);
      const headers = { "content-type": `${longest}x` };
      await assertProblem(
        await send("/v1/kv/type", { method: "PUT", headers, body: "x" }),
        400,
        "invalid-request",
      );
    },
  },
  {
    name: "plain curl works with any content type; a page of another site may not write (Origin)",
    run: async (send) => {
      const types = ["application/x-www-form-urlencoded", "multipart/form-data", "text/plain"];
      for (const type of types) {
        const headers = { "content-type": type };
        const response = await send("/v1/kv/form/append", { method: "POST", headers, body: "x" });
        await response.body?.cancel();
        assertEquals(response.status, 200);
      }
      for (const type of ["application/x-www-form-urlencoded", "text/plain", undefined]) {
        const headers: Record<string, string> = type === undefined ? {} : { "content-type": type };
        const body = new TextEncoder().encode('{"to":1}');
        const response = await send("/v1/cluster/transfer", { method: "POST", headers, body });
        assertEquals([response.status, (await response.json()).leader], [200, 1], type);
      }
      const writes: [string, string][] = [
        ["PUT", "/v1/kv/form"],
        ["DELETE", "/v1/kv/form"],
        ["POST", "/v1/kv/form/append"],
        ["POST", "/v1/cluster/transfer"],
      ];
      for (const [method, path] of writes) {
        for (const origin of ["http://evil.example", "null", "http://127.0.0.1:1"]) {
          const body = method === "DELETE" ? null : "{}";
          const response = await send(path, { method, headers: { origin }, body });
          await assertProblem(response, 403, "cross-origin");
        }
      }
      assertEquals(await (await send("/v1/kv/form")).text(), "xxx");
      // Who reads from elsewhere is kept from the answer by the browser itself.
      const read = await send("/v1/kv/form", { headers: { origin: "http://evil.example" } });
      await read.body?.cancel();
      assertEquals([read.status, read.headers.get("access-control-allow-origin")], [200, null]);
    },
  },
  {
    name: "X14: a Content-Encoding is refused, never dropped",
    run: async (send) => {
      for (const [method, path] of [["PUT", "/v1/kv/encoded"], ["POST", "/v1/kv/encoded/append"]]) {
        for (const encoding of ["gzip", "br", "gzip, identity"]) {
          const headers = { ...octets, "content-encoding": encoding };
          const response = await send(path!, { method: method!, headers, body: "x" });
          await assertProblem(response, 415, "unsupported-media-type");
        }
        const headers = { ...octets, "content-encoding": "identity" };
        const plain = await send(path!, { method: method!, headers, body: "x" });
        await plain.body?.cancel();
        assert(plain.ok);
      }
    },
  },
  {
    name: "X9: a path that only decoded begins as a key's does names no key",
    run: async (send) => {
      for (const method of ["PUT", "GET", "DELETE"]) {
        const body = method === "PUT" ? { body: "v" } : {};
        const response = await send("/%761/kv/one/v1/kv/other", { method, ...body });
        assertEquals(response.status, 404, method);
        await response.body?.cancel();
      }
      const other = await send("/v1/kv/other");
      await other.body?.cancel();
      assertEquals(other.status, 404);
    },
  },
  {
    name: "a key is the rest of the path, slashes and all, however they are written",
    run: async (send) => {
      const revision = await put(send, "config/db/host", "h");
      for (const path of ["config/db/host", "config%2Fdb%2Fhost", "config/db%2fhost"]) {
        const response = await send(`/v1/kv/${path}`);
        assertEquals([response.status, await response.text()], [200, "h"], path);
        assertEquals(response.headers.get("etag"), `"${revision}"`);
      }
      const append = await send("/v1/kv/config/db/host/append", { method: "POST", body: "!" });
      assertEquals((await append.json()).length, 2);
      assertEquals(await (await send("/v1/kv/config/db/host")).text(), "h!");
      await put(send, "config/append", "a key that ends like a verb");
      assertEquals(await keysOf(send, "prefix=config/"), ["config/append", "config/db/host"]);
      for (const path of ["/v1/kv/config", "/v1/kv/config/db/host/toString", "/v1/kv/append"]) {
        await assertProblem(await send(path, { method: "POST" }), 404, "no-such-route");
      }
    },
  },
  {
    name: "?key= names keys that a path cannot hold, on GET as an item, PUT and DELETE",
    run: async (send) => {
      for (
        const [name, key] of [[".", "."], ["..", ".."], ["query/", "query/"], ["a%20b%00", "a b\0"]]
      ) {
        const path = `/v1/kv?key=${name}`;
        const created = await send(path, { method: "PUT", body: "v" });
        assertEquals(created.status, 201, name);
        const { revision } = await created.json();
        const response = await send(path);
        assertEquals(response.headers.get("etag"), `"${revision}"`);
        assertEquals(await response.json(), {
          key,
          value: "v",
          contentType: TEXT,
          revision,
          created: revision,
          version: 1,
        });
        const base64 = await (await send(`${path}&encoding=base64`)).json();
        assertEquals([base64.key, base64.value], [btoa(key!), btoa("v")]);
        const deleted = await send(path, { method: "DELETE" });
        assertEquals((await deleted.json()).deleted, 1);
        await assertProblem(await send(path), 404, "key-not-found");
      }
      await assertProblem(
        await send("/v1/kv", { method: "PUT", body: "v" }),
        400,
        "invalid-request",
      );
      await assertProblem(
        await send("/v1/kv?key=", { method: "PUT", body: "v" }),
        400,
        "invalid-request",
      );
    },
  },
  {
    name: "?encoding=base64 makes every key and value of a listing base64",
    run: async (send) => {
      await put(send, "base64-a", "text");
      await put(send, "base64-b", new Uint8Array([0xff]));
      const { items } = await (await send("/v1/kv?prefix=base64-&encoding=base64")).json();
      assertEquals(items.map(({ key, value }: Record<string, unknown>) => [key, value]), [
        [btoa("base64-a"), btoa("text")],
        [btoa("base64-b"), "/w=="],
      ]);
      const plain = await (await send("/v1/kv?prefix=base64-b")).json();
      assertEquals(plain.items[0].value, { base64: "/w==" });
      const wrong = await send("/v1/kv?prefix=base64-&encoding=hex");
      await assertProblem(wrong, 400, "invalid-request");
    },
  },
  {
    name: "If-Match on GET is 412 with what is there, and compares strongly",
    run: async (send) => {
      const revision = await put(send, "if-match", "x");
      const read = async (tags: string): Promise<number> => {
        const response = await send("/v1/kv/if-match", { headers: { "if-match": tags } });
        assertEquals(response.headers.get("etag"), `"${revision}"`);
        await response.body?.cancel();
        return response.status;
      };
      assertEquals(await read(`"${revision}"`), 200);
      assertEquals(await read(`"1000000", "${revision}"`), 200);
      assertEquals(await read("*"), 200);
      assertEquals(await read(`W/"${revision}"`), 412);
      assertEquals(await read(`"${revision + 1}"`), 412);
    },
  },
  {
    name: "min_revision waits for the store, and Statecraft-Timeout-Ms says how long",
    run: async (send) => {
      const revision = await put(send, "min-revision", "x");
      const read = (
        min: number | string,
        headers: Record<string, string> = {},
      ): Promise<Response> =>
        send(`/v1/kv/min-revision?consistency=stale&min_revision=${min}`, { headers });
      assertEquals(await (await read(revision)).text(), "x");
      for (const min of ["-1", "x", ""]) {
        await assertProblem(await read(min), 400, "invalid-request");
      }
      for (const timeout of ["0", "x", "49", "60001"]) {
        const response = await read(1, { "statecraft-timeout-ms": timeout });
        await assertProblem(response, 400, "invalid-request");
      }
    },
  },
  {
    name: "a parameter that this version does not know is 400, not ignored",
    run: async (send) => {
      const requests: [string, string][] = [
        ["PUT", "/v1/kv/parameter?tll=30s"],
        ["GET", "/v1/kv/parameter?lease=7"],
        ["DELETE", "/v1/kv/parameter?prev=true"],
        ["GET", "/v1/kv/parameter?consistancy=stale"],
        ["GET", "/v1/kv?perfix=a"],
        ["POST", "/v1/kv/parameter/append?ttl=1s"],
        ["GET", "/v1/kv?limit=1&limit=2"],
        ["DELETE", "/v1/kv?key=a&key=b"],
      ];
      for (const [method, path] of requests) {
        const response = await send(path, { method });
        assertStringIncludes(
          await assertProblem(response, 400, "invalid-request"),
          /\?(\w+)/.exec(path)![1]!,
        );
      }
    },
  },
  {
    name: "an unknown path is 404, a known one with another method 405 with what it allows",
    run: async (send) => {
      for (const path of ["/index.html", "/v1", "/v1/kv/", "/v2/kv/a"]) {
        await assertProblem(await send(path), 404, "no-such-route");
      }
      const requests: [string, string, string][] = [
        ["OPTIONS", "/v1/kv", "GET, HEAD, PUT, POST, DELETE"],
        ["OPTIONS", "/v1/kv/a", "GET, HEAD, PUT, POST, DELETE"],
        ["PUT", "/v1/cluster", "GET, HEAD"],
        ["GET", "/v1/cluster/transfer", "POST"],
        ["POST", "/metrics", "GET, HEAD"],
      ];
      for (const [method, path, allowed] of requests) {
        const response = await send(path, { method });
        assertEquals(response.headers.get("allow"), allowed, `${method} ${path}`);
        await assertProblem(response, 405, "method-not-allowed");
      }
    },
  },
  {
    name: "JSON that is not what the route takes is 400, 413 or 415",
    run: async (send) => {
      const post = (body: BodyInit, type = "application/json"): Promise<Response> =>
        send("/v1/cluster/transfer", { method: "POST", headers: { "content-type": type }, body });
      const bodies = [
        "",
        "{",
        "null",
        "[]",
        "{}",
        '{"to":"1"}',
        '{"to":0}',
        '{"to":1.5}',
        '{"to":1e99}',
        '{"__proto__":{"to":1}}',
        '{"constructor":{"to":1}}',
      ];
      for (const body of bodies) await assertProblem(await post(body), 400, "invalid-request");
      await assertProblem(await post(new Uint8Array([0x22, 0xff, 0x22])), 400, "invalid-request");
      await assertProblem(await post(`"${"x".repeat(65_536)}"`), 413, "too-large");
      await assertProblem(await post('{"to":1}', "application/xml"), 415, "unsupported-media-type");
    },
  },
  {
    name: "operators get health, metrics, version, the cluster, the chart and why",
    run: async (send) => {
      for (const path of ["/livez", "/readyz", "/healthz"]) {
        const plain = await send(path);
        assertEquals([plain.status, await plain.text()], [200, "ok\n"]);
        const verbose = await send(`${path}?verbose`);
        assertMatch(await verbose.text(), /^(\[\+\][a-z]+: .+\n)+$/);
      }
      const version = await (await send("/version")).json();
      assertEquals([version.api, version.deno], ["v1", Deno.version.deno]);
      const metrics = await send("/metrics");
      assertStringIncludes(metrics.headers.get("content-type")!, "version=0.0.4");
      assertMatch(await metrics.text(), /^# HELP /);
      const cluster = await (await send("/v1/cluster")).json();
      assertEquals([cluster.nodeId, cluster.leader, cluster.role], [1, 1, "leader"]);
      const chart = await (await send("/v1/raft/chart")).json();
      assert(chart.active.length > 0);
      const mermaid = await send("/v1/raft/chart?format=mermaid");
      assertStringIncludes(mermaid.headers.get("content-type")!, "text/plain");
      assertEquals(await mermaid.text(), chart.mermaid);
      const explained = await (await send("/v1/raft/explain")).json();
      assert(explained.summary.length > 0);
      assertEquals(explained.causes, []);
      const text = await send("/v1/raft/explain", { headers: { accept: "text/plain" } });
      assertStringIncludes(text.headers.get("content-type")!, "text/plain");
      assertMatch(await text.text(), /^.+\n\nWhat may happen next:\n/);
    },
  },
  {
    name: "every consistency is accepted for keys, listings and counts",
    run: async (send) => {
      await put(send, "fresh", "x");
      for (const level of ["linearizable", "lease", "follower", "stale"]) {
        assertEquals(await (await send(`/v1/kv/fresh?consistency=${level}`)).text(), "x");
        assertEquals(await keysOf(send, `prefix=fresh&consistency=${level}`), ["fresh"]);
        const count = await send(`/v1/kv?prefix=fresh&count_only&consistency=${level}`);
        assertEquals((await count.json()).count, 1);
      }
      await assertProblem(await send("/v1/kv/fresh?consistency="), 400, "invalid-request");
    },
  },
  {
    name: "redirect=true at the leader changes nothing",
    run: async (send) => {
      const put = await send("/v1/kv/redirect?redirect=true", { method: "PUT", body: "x" });
      await put.body?.cancel();
      assertEquals(put.status, 201);
      assertEquals(await (await send("/v1/kv/redirect?redirect=true")).text(), "x");
    },
  },
];
