/**
 * `/v1/kv`: single keys as raw bytes, listings as JSON.
 *
 * These routes have no middleware: an async middleware costs half of the throughput.
 *
 * @module
 */
import type { Executed } from "../../../storage/kv/command_result.ts";
import type { Compare } from "../../../storage/kv/compare.ts";
import type { KvItem, KvRange } from "../../../storage/kv/entry.ts";
import type { Once } from "../../../storage/kv/once.ts";
import type {
  Operation,
  OperationOf,
  ResultOf,
} from "../../../storage/kv/operations/operations.ts";
import type { Context, Hono } from "hono";
import { LEASE_TTL_MS_MAX, LEASE_TTL_MS_MIN, VALUE_BYTES_MAX } from "../../../storage/kv/limits.ts";
import type { GatewayPort, ItemPort, ReadContext } from "../gateway_port.ts";
import { intervalOf } from "../../../storage/kv/operations/interval.ts";
import { readBody, readJson, refuseEncoded } from "../body.ts";
import {
  JSON_BODY_BYTES_MAX,
  LARGE_VALUE_BYTES,
  LIST_BYTES_MAX,
  SCAN_UNREAD_BYTES,
} from "../limits.ts";
import { GatewayError, problemResponse } from "../problem.ts";
import { joinPieces, type LargeResponses, piecesOf, unmeasured } from "../stream.ts";
import {
  bytesAs,
  cursorOf,
  type JsonEncoding,
  keyAs,
  keyFromPath,
  leaseOfJson,
} from "../values.ts";
import {
  boundsOf,
  comparesOf,
  contentTypeOf,
  DEFAULT_CONTENT_TYPE,
  deleteParameters,
  durationOf,
  encodingOf,
  hasKey,
  isHead,
  isOn,
  itemParameters,
  keyInQuery,
  keyToWrite,
  limitOf,
  listParameters,
  onceOf,
  pathRest,
  putParameters,
  queryOf,
  readOptionsOf,
  resume,
  scanLimitOf,
  tagsOf,
  valueParameters,
  writeParameters,
} from "./kv_request.ts";
import { incrementOf } from "./txn.ts";
import { execute, written } from "./write.ts";

/**
 * A browser may show a value that has a content type of its own, but must not run it: the value shares
 * its origin with the pages of this node. Browsers save a value of the default type and do not show it.
 */
const VALUE_POLICY = "default-src 'none'; sandbox";
/** About how many bytes of JSON an entry is besides its key and value. */
const ITEM_BYTES = 80;
const LEASE_TTL_MS = { min: LEASE_TTL_MS_MIN, max: LEASE_TTL_MS_MAX };
const NDJSON = "application/x-ndjson";
const NO_BYTES = new Uint8Array(0);
const utf8 = new TextEncoder();

/** What the routes share. */
interface Routes<Port extends ItemPort = ItemPort> {
  readonly port: Port;
  readonly large: LargeResponses;
}

/** Adds the routes. The key is the rest of the path, or `?key=` where a path cannot hold it. */
export function addKvRoutes(app: Hono, port: GatewayPort, large: LargeResponses): void {
  const routes: Routes<GatewayPort> = { port, large };
  app.get("/v1/kv", (c) => hasKey(c) ? item(c, routes) : list(c, routes));
  app.put("/v1/kv", (c) => put(c, port, keyInQuery(c, putParameters)));
  app.delete("/v1/kv", (c) => {
    return hasKey(c) ? remove(c, port, keyInQuery(c)) : removeRange(c, port);
  });
  addItemRoutes(app, port, large);
}

/** Adds those whose path names the key. */
export function addItemRoutes(app: Hono, port: ItemPort, large: LargeResponses): void {
  const routes: Routes = { port, large };
  app.get("/v1/kv/*", (c) => get(c, routes));
  app.put("/v1/kv/*", (c) => put(c, port, keyToWrite(c, putParameters)));
  app.delete("/v1/kv/*", (c) => remove(c, port, keyToWrite(c)));
  app.post("/v1/kv/*", (c) => post(c, port));
}

async function get(c: Context, { port, large }: Routes): Promise<Response> {
  const { url } = c.req;
  const key = keyFromPath(pathRest(url));
  const query = queryOf(url, valueParameters);
  const { entry, context } = await port.get(key, readOptionsOf(c, query));
  if (entry === undefined) return keyNotFound(context);
  const early = conditionalAnswer(c, entry.revision, context);
  if (early !== undefined) return early;
  const { value } = entry;
  const withoutBody = isHead(c);
  const body = withoutBody
    ? null
    : value.length > LARGE_VALUE_BYTES
    ? large.stream(piecesOf(value), value.length)
    : value as Uint8Array<ArrayBuffer>;
  // Headers are most of what a read costs. `append` does not compare a header with those before it.
  const response = new Response(body);
  const { headers } = response;
  headers.append("etag", `"${entry.revision}"`);
  headers.append("content-type", entry.contentType ?? DEFAULT_CONTENT_TYPE);
  headers.append("statecraft-revision", String(context.revision));
  if (entry.contentType !== undefined) {
    headers.append("x-content-type-options", "nosniff");
    headers.append("content-security-policy", VALUE_POLICY);
  }
  if (withoutBody || value.length > LARGE_VALUE_BYTES) {
    headers.append("content-length", String(value.length));
  }
  if (withoutBody || isOn(query, "meta")) {
    headers.append("statecraft-created", String(entry.created));
    headers.append("statecraft-version", String(entry.version));
    if (entry.lease !== undefined) headers.append("statecraft-lease", String(entry.lease));
    appendMeta(headers, context);
  }
  return response;
}

/** One key as JSON, as it stands in a listing. */
async function item(c: Context, { port, large }: Routes): Promise<Response> {
  const query = queryOf(c.req.url, itemParameters);
  const { entry, context } = await port.get(keyInQuery(c), readOptionsOf(c, query));
  if (entry === undefined) return keyNotFound(context);
  const early = conditionalAnswer(c, entry.revision, context);
  if (early !== undefined) return early;
  const encoding = encodingOf(query);
  const pieces = (function* (): Generator<Uint8Array, void> {
    yield utf8.encode(JSON.stringify(itemOf(entry, { encoding, keysOnly: false })) + "\n");
  })();
  const response = json(isHead(c) ? unmeasured() : large.stream(pieces, sizeOf(entry)), context);
  response.headers.append("etag", `"${entry.revision}"`);
  return response;
}

function keyNotFound(context: ReadContext): Response {
  const response = problemResponse(new GatewayError("key-not-found", "The key does not exist"));
  response.headers.append("statecraft-revision", String(context.revision));
  return response;
}

/** 304 or 412, if a condition of the request decides it (RFC 9110, s13.1). */
function conditionalAnswer(
  c: Context,
  revision: number,
  context: ReadContext,
): Response | undefined {
  const etag = `"${revision}"`;
  const ifMatch = c.req.header("if-match");
  // If-Match compares strongly, so that a weak tag matches nothing; If-None-Match weakly.
  if (ifMatch !== undefined && !tagsOf(ifMatch).some((tag) => tag === etag || tag === "*")) {
    const detail = `The key is at ${etag}`;
    return problemResponse(new GatewayError("precondition-failed", detail, { revision }));
  }
  const ifNoneMatch = c.req.header("if-none-match");
  if (ifNoneMatch === undefined) return undefined;
  const isKnown = tagsOf(ifNoneMatch).some((tag) =>
    tag.replace(/^W\//, "") === etag || tag === "*"
  );
  if (!isKnown) return undefined;
  const headers = { etag, "statecraft-revision": String(context.revision) };
  return new Response(null, { status: 304, headers });
}

/** On POST the last segment of the path is the verb. */
function post(c: Context, port: ItemPort): Promise<Response> {
  const rest = pathRest(c.req.url);
  const slash = rest.lastIndexOf("/");
  const verb = rest.slice(slash + 1);
  const act = slash < 1 ? undefined : verb === "append" ? append : increment;
  if (act === undefined || !["append", "increment"].includes(verb)) {
    const detail = "POST takes a key and a verb: /v1/kv/{key}/append or /v1/kv/{key}/increment";
    throw new GatewayError("no-such-route", detail);
  }
  queryOf(c.req.url, writeParameters);
  return act(c, port, keyFromPath(rest.slice(0, slash)));
}

async function put(c: Context, port: ItemPort, key: string): Promise<Response> {
  refuseEncoded(c.req.raw);
  const compares = comparesOf(c, key);
  const contentType = contentTypeOf(c);
  const value = await readBody(c.req.raw, VALUE_BYTES_MAX, port);
  if (c.req.url.includes("?")) {
    const lasting = lastingOf(c.req.url);
    if (lasting !== undefined) {
      return await putLeased(c, port, { key, value, contentType, lasting });
    }
  }
  const operation = { type: "put", key, value, contentType } as const;
  const once = onceOf(c, { key, action: "put", body: value });
  const { executed, result } = await apply<"put">(c, port, { operation, compares, once });
  const { version, created } = result;
  return stored(executed, { revision: executed.revision, version }, created ? 201 : 200);
}

/** How long a put is to last, if its query says so: a time of its own, or that of a lease. */
function lastingOf(
  url: string,
): { readonly ttlMs: number } | { readonly lease: number } | undefined {
  const query = queryOf(url, [...putParameters, "key"]);
  const [ttl, lease] = [query.get("ttl"), query.get("lease")];
  if (ttl !== undefined && lease !== undefined) {
    throw new GatewayError("invalid-request", "Send ttl or lease, not both");
  }
  if (ttl !== undefined) return { ttlMs: durationOf(ttl, "ttl", LEASE_TTL_MS) };
  return lease === undefined ? undefined : { lease: leaseOfJson(lease, "lease") };
}

/** A put that lasts as long as a lease: its own, which the same command grants, or another. */
async function putLeased(
  c: Context,
  port: ItemPort,
  { key, value, contentType, lasting }: {
    readonly key: string;
    readonly value: Uint8Array;
    readonly contentType: string | undefined;
    readonly lasting: NonNullable<ReturnType<typeof lastingOf>>;
  },
): Promise<Response> {
  const compares = comparesOf(c, key);
  const once = onceOf(c, { key, action: "put", body: value, besides: JSON.stringify(lasting) });
  const isOwn = "ttlMs" in lasting;
  const put = { type: "putLeased", key, value, contentType } as const;
  const success: readonly Operation[] = isOwn
    ? [{ type: "leaseGrant", ttlMs: lasting.ttlMs, isOfKey: true }, { ...put, lease: 0 }]
    : [{ ...put, lease: lasting.lease }];
  const executed = await execute(c, port, { compares, success, failure: [], once });
  if (!executed.succeeded) throw preconditionFailed(executed.presentRevision);
  const result = executed.results.at(-1);
  if (executed.results.length !== success.length || result?.type !== "putLeased") {
    throw new GatewayError("outcome-unknown", "The leader did not answer for one put");
  }
  const { version, created, lease } = result;
  const body = { revision: executed.revision, version, lease: String(lease) };
  return stored(executed, body, created ? 201 : 200);
}

async function append(c: Context, port: ItemPort, key: string): Promise<Response> {
  refuseEncoded(c.req.raw);
  const compares = comparesOf(c, key);
  const value = await readBody(c.req.raw, VALUE_BYTES_MAX, port);
  const operation = { type: "append", key, value } as const;
  const once = onceOf(c, { key, action: "append", body: value });
  const { executed, result } = await apply<"append">(c, port, { operation, compares, once });
  const { version, length } = result;
  return stored(executed, { revision: executed.revision, version, length }, 200);
}

async function increment(c: Context, port: ItemPort, key: string): Promise<Response> {
  const compares = comparesOf(c, key);
  const body = await readJson(c.req.raw, JSON_BODY_BYTES_MAX, port, {});
  const isObject = typeof body === "object" && body !== null && !Array.isArray(body);
  if (!isObject || Object.keys(body).some((name) => name !== "by")) {
    throw new GatewayError("invalid-request", 'Send {"by": 1}, or nothing');
  }
  const by = incrementOf((body as { readonly by?: unknown }).by, "The body");
  const operation = { type: "increment", key, by } as const;
  const once = onceOf(c, { key, action: "increment", body: utf8.encode(String(by)) });
  const { executed, result } = await apply<"increment">(c, port, { operation, compares, once });
  const { value, version } = result;
  return stored(executed, { value, revision: executed.revision, version }, 200);
}

async function removeRange(c: Context, port: ItemPort): Promise<Response> {
  const query = queryOf(c.req.url, deleteParameters);
  const bounds = boundsOf(query);
  const isWhole = Object.values(bounds).every((bound) => bound === undefined || bound === "");
  if (isWhole && !isOn(query, "all")) {
    throw new GatewayError(
      "invalid-request",
      "Name the keys with prefix=, or start= and end=; to delete all of them, say all=true",
    );
  }
  if (c.req.header("if-match") ?? c.req.header("if-none-match")) {
    throw new GatewayError("invalid-request", "A condition needs one key; use /v1/txn");
  }
  const operation = { type: "deleteRange", ...intervalOf(bounds) } as const;
  const meaning = utf8.encode(JSON.stringify([operation.start, operation.end]));
  const once = onceOf(c, { key: "", action: "deleteRange", body: meaning });
  const compares: readonly Compare[] = [];
  const { executed, result } = await apply<"deleteRange">(c, port, { operation, compares, once });
  return written(executed, { deleted: result.deleted, revision: executed.revision });
}

async function remove(c: Context, port: ItemPort, key: string): Promise<Response> {
  const compares = comparesOf(c, key);
  const operation = { type: "delete", key } as const;
  const once = onceOf(c, { key, action: "delete", body: NO_BYTES });
  const { executed, result } = await apply<"delete">(c, port, { operation, compares, once });
  return written(executed, { deleted: result.deleted, revision: executed.revision });
}

async function list(c: Context, { port, large }: Routes<GatewayPort>): Promise<Response> {
  const query = queryOf(c.req.url, listParameters);
  const bounds = boundsOf(query);
  const options = readOptionsOf(c, query);
  const isScan = c.req.header("accept")?.includes(NDJSON) === true;
  if (isScan && !isOn(query, "count_only")) return await scan(c, { port, large }, query);
  if (isOn(query, "count_only")) {
    const { count, context } = await port.count(bounds, options);
    return json(JSON.stringify({ count, revision: context.revision }) + "\n", context);
  }
  const keysOnly = isOn(query, "keys_only");
  const range: KvRange = {
    ...bounds,
    limit: limitOf(query),
    reverse: isOn(query, "reverse"),
  };
  const encoding = encodingOf(query);
  const bytesMax = keysOnly ? Infinity : LIST_BYTES_MAX;
  const { items, more, context } = await port.list(resume(range, query), { ...options, bytesMax });
  const last = items.at(-1);
  const next = more && last !== undefined ? cursorOf(last.key) : undefined;
  let bytes = 0;
  for (const item of items) bytes += keysOnly ? ITEM_BYTES + item.key.length : sizeOf(item);
  const pieces = pagePieces(items, { encoding, keysOnly, next, revision: context.revision });
  return json(isHead(c) ? unmeasured() : large.stream(joinPieces(pieces), bytes), context);
}

/** A listing of any length at one moment, a line an item, made as the client reads it. */
async function scan(
  c: Context,
  { port, large }: Routes<GatewayPort>,
  query: ReadonlyMap<string, string>,
): Promise<Response> {
  const keysOnly = isOn(query, "keys_only");
  const range: KvRange = {
    ...boundsOf(query),
    limit: scanLimitOf(query),
    reverse: isOn(query, "reverse"),
  };
  const encoding = encodingOf(query);
  const { items, context } = await port.scan(resume(range, query), readOptionsOf(c, query));
  const { revision } = context;
  const pieces = joinPieces(scanPieces(items, { encoding, keysOnly, revision }));
  let body: ReadableStream<Uint8Array>;
  try {
    body = isHead(c) ? unmeasured() : large.stream(
      { next: () => pieces.next(), return: () => endScan(items, pieces) },
      SCAN_UNREAD_BYTES,
    );
  } catch (error) {
    items.return?.();
    throw error;
  }
  if (isHead(c)) items.return?.();
  const response = json(body, context);
  response.headers.set("content-type", NDJSON);
  return response;
}

/** A generator that was never asked runs no code when it is told to return. */
function endScan(
  items: Iterator<KvItem, undefined>,
  pieces: Generator<Uint8Array, void>,
): IteratorResult<Uint8Array> {
  items.return?.();
  return pieces.return() as IteratorResult<Uint8Array>;
}

function* scanPieces(
  items: Iterator<KvItem, undefined>,
  { encoding, keysOnly, revision }: {
    readonly encoding: JsonEncoding;
    readonly keysOnly: boolean;
    readonly revision: number;
  },
): Generator<Uint8Array, void> {
  let count = 0;
  for (let next = items.next(); next.done !== true; next = items.next()) {
    count++;
    yield utf8.encode(JSON.stringify(itemOf(next.value, { encoding, keysOnly })) + "\n");
  }
  // Without this line the client knows that it has not seen the end.
  yield utf8.encode(JSON.stringify({ end: true, count, revision }) + "\n");
}

/** A page of a listing, item by item. */
function* pagePieces(
  items: readonly KvItem[],
  { encoding, keysOnly, next, revision }: {
    readonly encoding: JsonEncoding;
    readonly keysOnly: boolean;
    readonly next: string | undefined;
    readonly revision: number;
  },
): Generator<Uint8Array, void> {
  yield utf8.encode('{"items":[');
  for (let at = 0; at < items.length; at++) {
    const text = JSON.stringify(itemOf(items[at]!, { encoding, keysOnly }));
    yield utf8.encode(at === 0 ? text : `,${text}`);
  }
  const rest = { ...(next === undefined ? {} : { next }), revision };
  yield utf8.encode(`],${JSON.stringify(rest).slice(1)}\n`);
}

/** About how many bytes of JSON an entry is. */
function sizeOf({ key, value }: KvItem): number {
  return ITEM_BYTES + key.length + value.length;
}

/** Applies a write of one operation; throws an error that says why if it took no effect. */
async function apply<Type extends Operation["type"]>(
  c: Context,
  port: ItemPort,
  { operation, compares, once }: {
    readonly operation: OperationOf<Type>;
    readonly compares: readonly Compare[];
    readonly once: Once | undefined;
  },
): Promise<{ readonly executed: Executed; readonly result: ResultOf<Type> }> {
  const command = { compares, success: [operation], failure: [], once };
  const executed = await execute(c, port, command);
  if (!executed.succeeded) throw preconditionFailed(executed.presentRevision);
  return { executed, result: onlyResult(executed, operation) };
}

/** The result of a write's only operation. A faulty leader may answer for another operation. */
function onlyResult<Type extends Operation["type"]>(
  { results }: Executed,
  { type }: OperationOf<Type>,
): ResultOf<Type> {
  const [result] = results;
  if (results.length === 1 && result!.type === type) return result as ResultOf<Type>;
  throw new GatewayError("outcome-unknown", `The leader did not answer for one ${type}`);
}

function preconditionFailed(revision: number): GatewayError {
  const detail = revision === 0 ? "The key does not exist" : `The key is at "${revision}"`;
  return new GatewayError("precondition-failed", detail, { revision });
}

/** The answer to a write that left an entry, which the tag names. */
function stored(
  executed: Executed,
  body: Record<string, unknown>,
  status: 200 | 201,
): Response {
  const response = written(executed, body, status);
  response.headers.append("etag", `"${executed.revision}"`);
  return response;
}

function json(body: string | ReadableStream<Uint8Array>, context: ReadContext): Response {
  const response = new Response(body, { headers: { "content-type": "application/json" } });
  response.headers.append("statecraft-revision", String(context.revision));
  appendMeta(response.headers, context);
  return response;
}

function itemOf(
  entry: KvItem,
  { encoding, keysOnly }: { readonly encoding: JsonEncoding; readonly keysOnly: boolean },
): Record<string, unknown> {
  const { revision, created, version, contentType, lease } = entry;
  const value = keysOnly ? {} : { value: bytesAs(encoding, entry.value), contentType };
  return {
    key: keyAs(encoding, entry.key),
    ...value,
    revision,
    created,
    version,
    ...leaseAs(lease),
  };
}

function leaseAs(lease: number | undefined): { readonly lease?: string } {
  return lease === undefined ? {} : { lease: String(lease) };
}

/** The node that served a read, and the leader that it followed. */
function appendMeta(headers: Headers, context: ReadContext): void {
  headers.append("statecraft-served-by", String(context.servedBy));
  headers.append("statecraft-leader", String(context.leaderId ?? ""));
  headers.append("statecraft-term", String(context.term));
}
