/**
 * `/v1/kv`: single keys as raw bytes, listings as JSON.
 *
 * No middleware stands before these routes: an async one costs half of the throughput.
 *
 * @module
 */
import type {
  CommandResult,
  Condition,
  Once,
  Request as KvRequest,
} from "../../../storage/kv/command.ts";
import type { Context, Hono } from "hono";
import { createHash } from "node:crypto";
import type { GatewayEnvironment } from "../gateway.ts";
import type {
  Consistency,
  GatewayPort,
  KvEntry,
  KvRange,
  ReadContext,
  ReadOptions,
} from "../gateway_port.ts";
import { readBody, refuseEncoded } from "../body.ts";
import {
  CONTENT_TYPE_LENGTH_MAX,
  IDEMPOTENCY_KEY_LENGTH_MAX,
  KEY_BYTES_MAX,
  LARGE_VALUE_BYTES,
  LIST_BYTES_MAX,
  LIST_LIMIT_DEFAULT,
  LIST_LIMIT_MAX,
  REQUEST_TIMEOUT_MS,
  REQUEST_TIMEOUT_MS_MAX,
  REQUEST_TIMEOUT_MS_MIN,
  VALUE_BYTES_MAX,
} from "../limits.ts";
import { LargeResponses, piecesOf } from "../stream.ts";
import {
  bytesAs,
  checkKey,
  cursorOf,
  type JsonEncoding,
  keyAs,
  keyFromPath,
  keyOfCursor,
  percentDecode,
} from "../values.ts";
import { GatewayError, problemResponse } from "../problem.ts";

const DEFAULT_CONTENT_TYPE = "application/octet-stream";
/**
 * A value with a type of its own is shown, never run: it shares its origin with the pages of this
 * node. Browsers only ever save one of the default type.
 */
const VALUE_POLICY = "default-src 'none'; sandbox";
/** What clients such as curl send when nobody chose a type. */
const unaskedTypes = [DEFAULT_CONTENT_TYPE, "application/x-www-form-urlencoded"];
/** What the gateway itself takes on any path. */
const writeParameters = ["redirect"];
const readParameters = [...writeParameters, "consistency", "min_revision"];
const valueParameters = [...readParameters, "meta"];
const itemParameters = [...readParameters, "key", "encoding"];
const listParameters = [
  ...[...readParameters, "encoding"],
  ...["prefix", "start", "end", "limit", "cursor", "reverse", "keys_only", "count_only"],
];
const consistencies = ["linearizable", "lease", "follower", "stale"];

/** About how many bytes of JSON an entry is besides its key and value. */
const ITEM_BYTES = 80;
const NO_BYTES = new Uint8Array(0);
const utf8 = new TextEncoder();

const NO_QUERY: ReadonlyMap<string, string> = new Map();

/** A committed write that took effect. */
type Applied = Extract<CommandResult, { status: "ok" }>;

/** What the routes share. */
interface Routes {
  readonly port: GatewayPort;
  readonly large: LargeResponses;
}

/** Adds the routes. The key is the rest of the path, or `?key=` where a path cannot hold it. */
export function addKvRoutes(app: Hono, port: GatewayPort): void {
  const routes: Routes = { port, large: new LargeResponses(port) };
  app.get("/v1/kv", (c) => hasKey(c) ? item(c, routes) : list(c, routes));
  app.put("/v1/kv", (c) => put(c, port, keyInQuery(c)));
  app.delete("/v1/kv", (c) => remove(c, port, keyInQuery(c)));
  app.get("/v1/kv/*", (c) => get(c, routes));
  app.put("/v1/kv/*", (c) => put(c, port, keyToWrite(c)));
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
  // Headers are most of what a read costs: appended, they are not compared with all before them.
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
function post(c: Context, port: GatewayPort): Promise<Response> {
  const rest = pathRest(c.req.url);
  const slash = rest.lastIndexOf("/");
  const verb = rest.slice(slash + 1);
  if (slash < 1 || verb !== "append") {
    throw new GatewayError("no-such-route", "POST takes a key and a verb: /v1/kv/{key}/append");
  }
  queryOf(c.req.url, writeParameters);
  return append(c, port, keyFromPath(rest.slice(0, slash)));
}

async function put(c: Context, port: GatewayPort, key: string): Promise<Response> {
  refuseEncoded(c.req.raw);
  const condition = conditionOf(c);
  const contentType = contentTypeOf(c);
  const value = await readBody(c.req.raw, VALUE_BYTES_MAX, port);
  const result = await apply(c, port, {
    command: { type: "put", key, value, contentType, condition },
    once: onceOf(c, { key, action: "put", body: value }),
  });
  const { revision, version, created } = result;
  return written(result, { revision, version }, created ? 201 : 200);
}

async function append(c: Context, port: GatewayPort, key: string): Promise<Response> {
  refuseEncoded(c.req.raw);
  const condition = conditionOf(c);
  const value = await readBody(c.req.raw, VALUE_BYTES_MAX, port);
  const result = await apply(c, port, {
    command: { type: "append", key, value, condition },
    once: onceOf(c, { key, action: "append", body: value }),
  });
  const { revision, version, length } = result;
  return written(result, { revision, version, length }, 200);
}

async function remove(c: Context, port: GatewayPort, key: string): Promise<Response> {
  const condition = conditionOf(c);
  const result = await apply(c, port, {
    command: { type: "delete", key, condition },
    once: onceOf(c, { key, action: "delete", body: NO_BYTES }),
  });
  const { deleted, revision } = result;
  return written(result, { deleted, revision }, 200);
}

async function list(c: Context, { port, large }: Routes): Promise<Response> {
  if (c.req.header("accept")?.includes("application/x-ndjson")) {
    throw new GatewayError("not-acceptable", "This version lists as application/json only");
  }
  const query = queryOf(c.req.url, listParameters);
  const bounds = boundsOf(query);
  const options = readOptionsOf(c, query);
  if (isOn(query, "count_only")) {
    const { count, context } = await port.count(bounds, options);
    return json(JSON.stringify({ count, revision: context.revision }) + "\n", context);
  }
  const keysOnly = isOn(query, "keys_only");
  const range: KvRange = {
    ...bounds,
    limit: limitOf(query),
    reverse: isOn(query, "reverse"),
    bytesMax: keysOnly ? Infinity : LIST_BYTES_MAX,
  };
  const encoding = encodingOf(query);
  const { entries, more, context } = await port.list(resume(range, query), options);
  const last = entries.at(-1);
  const next = more && last !== undefined ? cursorOf(last.key) : undefined;
  let bytes = 0;
  for (const entry of entries) bytes += keysOnly ? ITEM_BYTES + entry.key.length : sizeOf(entry);
  const pieces = pagePieces(entries, { encoding, keysOnly, next, revision: context.revision });
  return json(isHead(c) ? unmeasured() : large.stream(pieces, bytes), context);
}

/** A page of a listing, item by item. */
function* pagePieces(
  entries: readonly KvEntry[],
  { encoding, keysOnly, next, revision }: {
    readonly encoding: JsonEncoding;
    readonly keysOnly: boolean;
    readonly next: string | undefined;
    readonly revision: number;
  },
): Generator<Uint8Array, void> {
  yield utf8.encode('{"items":[');
  for (let at = 0; at < entries.length; at++) {
    const text = JSON.stringify(itemOf(entries[at]!, { encoding, keysOnly }));
    yield utf8.encode(at === 0 ? text : `,${text}`);
  }
  const rest = { ...(next === undefined ? {} : { next }), revision };
  yield utf8.encode(`],${JSON.stringify(rest).slice(1)}\n`);
}

/** About how many bytes of JSON an entry is. */
function sizeOf({ key, value }: KvEntry): number {
  return ITEM_BYTES + key.length + value.length;
}

/** Applies a write, or turns what kept it from taking effect into an error. */
async function apply(c: Context, port: GatewayPort, request: KvRequest): Promise<Applied> {
  const result = await port.write(request, timeoutOf(c));
  switch (result.status) {
    case "ok":
      return result;
    case "precondition-failed":
      throw new GatewayError(
        "precondition-failed",
        result.revision === 0 ? "The key does not exist" : `The key is at "${result.revision}"`,
        { revision: result.revision },
      );
    case "too-large":
      throw new GatewayError(
        "too-large",
        `The value would exceed the limit of ${VALUE_BYTES_MAX} bytes`,
      );
    case "idempotency-mismatch":
      throw new GatewayError("idempotency-mismatch", "Use a new key for a new request");
    case "overloaded":
      throw new GatewayError("overloaded", "Too many idempotency keys are remembered");
    case "session-expired":
      throw new GatewayError("conflict", "The client's session has expired");
  }
}

function written(result: Applied, body: Record<string, unknown>, status: 200 | 201): Response {
  const response = new Response(JSON.stringify(body) + "\n", { status });
  const { headers } = response;
  headers.set("content-type", "application/json");
  headers.append("etag", `"${result.revision}"`);
  if (result.replayed === true) headers.append("idempotency-replayed", "true");
  return response;
}

function json(body: string | ReadableStream<Uint8Array>, context: ReadContext): Response {
  const response = new Response(body, { headers: { "content-type": "application/json" } });
  response.headers.append("statecraft-revision", String(context.revision));
  appendMeta(response.headers, context);
  return response;
}

function itemOf(
  entry: KvEntry,
  { encoding, keysOnly }: { readonly encoding: JsonEncoding; readonly keysOnly: boolean },
): Record<string, unknown> {
  const { revision, created, version } = entry;
  const value = keysOnly ? {} : { value: bytesAs(encoding, entry.value) };
  return { key: keyAs(encoding, entry.key), ...value, revision, created, version };
}

/** Who served a read, and whom it followed. */
function appendMeta(headers: Headers, context: ReadContext): void {
  headers.append("statecraft-served-by", String(context.servedBy));
  headers.append("statecraft-leader", String(context.leaderId ?? ""));
  headers.append("statecraft-term", String(context.term));
}

/**
 * The rest of the path after `/v1/kv/`, not decoded. The router decodes, so the path must begin so as
 * it was sent: `/%761/kv/a/v1/kv/b` would else name two keys.
 */
function pathRest(url: string): string {
  const path = url.indexOf("/", "http://".length);
  const at = url.startsWith("/v1/kv/", path) ? path : -1;
  const start = at + "/v1/kv/".length;
  let end = start;
  while (end < url.length && url[end] !== "?" && url[end] !== "#") end++;
  if (at < 0 || end === start) throw new GatewayError("no-such-route", "The path has no key");
  return url.slice(start, end);
}

/** The key of a write, whose query has nothing to say. */
function keyToWrite(c: Context): string {
  const { url } = c.req;
  queryOf(url, writeParameters);
  return keyFromPath(pathRest(url));
}

/** Whether the body is not sent. Nobody reads a large one then: it would hold its bytes until it is given up. */
function isHead(c: Context): boolean {
  return (c.env as GatewayEnvironment | undefined)?.isHead === true;
}

/** In place of a body that is not sent: the runtime takes it to be of unknown length. */
function unmeasured(): ReadableStream<Uint8Array> {
  return new ReadableStream({ start: (controller) => controller.close() });
}

function hasKey(c: Context): boolean {
  return /[?&]key=/.test(c.req.url);
}

/** The key in `?key=`, for keys that a path cannot hold. */
function keyInQuery(c: Context): string {
  const known = c.req.method === "GET" ? itemParameters : [...writeParameters, "key"];
  const text = queryOf(c.req.url, known).get("key");
  if (text === undefined) {
    throw new GatewayError("invalid-request", "Name the key in the path, or with ?key=");
  }
  return checkKey(percentDecode(text.replaceAll("+", "%20")));
}

function encodingOf(query: ReadonlyMap<string, string>): JsonEncoding {
  const value = query.get("encoding");
  if (value === undefined) return "text";
  if (value === "base64") return value;
  throw new GatewayError("invalid-request", "encoding is base64, or not given");
}

function readOptionsOf(c: Context, query: ReadonlyMap<string, string>): ReadOptions {
  const text = query.get("min_revision");
  if (text !== undefined && !/^\d{1,15}$/.test(text)) {
    throw new GatewayError("invalid-request", "min_revision is a revision, such as 17");
  }
  return {
    consistency: consistencyOf(query),
    timeoutMs: timeoutOf(c),
    ...(text === undefined ? {} : { minRevision: Number(text) }),
  };
}

/** How long the client waits, which it may tell so that an answer arrives before it has left. */
function timeoutOf(c: Context): number {
  const text = c.req.header("statecraft-timeout-ms");
  if (text === undefined) return REQUEST_TIMEOUT_MS;
  const timeoutMs = Number(text);
  const isValid = /^\d{1,6}$/.test(text) && timeoutMs >= REQUEST_TIMEOUT_MS_MIN &&
    timeoutMs <= REQUEST_TIMEOUT_MS_MAX;
  if (isValid) return timeoutMs;
  throw new GatewayError(
    "invalid-request",
    `Statecraft-Timeout-Ms is ${REQUEST_TIMEOUT_MS_MIN} to ${REQUEST_TIMEOUT_MS_MAX}`,
  );
}

/**
 * Query parameters, values not decoded; keys in them are bytes, which URLSearchParams cannot hold.
 *
 * @throws {GatewayError} invalid-request if one is not among `known`: what a client asks for and
 * does not get, such as `ttl`, must not pass in silence.
 */
function queryOf(url: string, known: readonly string[]): ReadonlyMap<string, string> {
  const start = url.indexOf("?");
  if (start < 0) return NO_QUERY;
  const query = new Map<string, string>();
  for (const part of url.slice(start + 1).split("&")) {
    if (part === "") continue;
    const equals = part.indexOf("=");
    const name = equals < 0 ? part : part.slice(0, equals);
    if (!known.includes(name)) {
      throw new GatewayError("invalid-request", `This version has no parameter "${name}" here`);
    }
    if (query.has(name)) {
      throw new GatewayError("invalid-request", `The parameter "${name}" is there twice`);
    }
    query.set(name, equals < 0 ? "" : part.slice(equals + 1));
  }
  return query;
}

function isOn(query: ReadonlyMap<string, string>, name: string): boolean {
  const value = query.get(name);
  if (value === undefined || value === "false") return false;
  if (value === "true" || value === "") return true;
  throw new GatewayError("invalid-request", `${name} is true or false`);
}

function consistencyOf(query: ReadonlyMap<string, string>): Consistency {
  const value = query.get("consistency") ?? "linearizable";
  if (!consistencies.includes(value)) {
    throw new GatewayError("invalid-request", `consistency is one of ${consistencies.join(", ")}`);
  }
  return value as Consistency;
}

function limitOf(query: ReadonlyMap<string, string>): number {
  const text = query.get("limit");
  if (text === undefined) return LIST_LIMIT_DEFAULT;
  const limit = Number(text);
  if (!/^\d+$/.test(text) || limit < 1 || limit > LIST_LIMIT_MAX) {
    throw new GatewayError("invalid-request", `limit is a number from 1 to ${LIST_LIMIT_MAX}`);
  }
  return limit;
}

function boundsOf(query: ReadonlyMap<string, string>): { start?: string; end?: string } {
  const prefix = boundOf(query, "prefix");
  const start = boundOf(query, "start");
  const end = boundOf(query, "end");
  if (prefix === undefined) {
    return { ...(start ? { start } : {}), ...(end === undefined ? {} : { end }) };
  }
  if (start !== undefined || end !== undefined) {
    throw new GatewayError("invalid-request", "prefix does not go with start and end");
  }
  const after = afterPrefix(prefix);
  return {
    ...(prefix === "" ? {} : { start: prefix }),
    ...(after === undefined ? {} : { end: after }),
  };
}

function boundOf(query: ReadonlyMap<string, string>, name: string): string | undefined {
  const text = query.get(name);
  if (text === undefined) return undefined;
  const bound = percentDecode(text.replaceAll("+", "%20"));
  if (bound.length > KEY_BYTES_MAX) {
    throw new GatewayError(
      "invalid-request",
      `${name} has ${bound.length} bytes, the limit is ${KEY_BYTES_MAX}`,
    );
  }
  return bound;
}

/** The smallest byte string above all that begin with `prefix`; undefined if there is none. */
function afterPrefix(prefix: string): string | undefined {
  let length = prefix.length;
  while (length > 0 && prefix.charCodeAt(length - 1) === 0xff) length--;
  if (length === 0) return undefined;
  return prefix.slice(0, length - 1) + String.fromCharCode(prefix.charCodeAt(length - 1) + 1);
}

/** Narrows the range to what the cursor left. */
function resume(range: KvRange, query: ReadonlyMap<string, string>): KvRange {
  const cursor = query.get("cursor");
  if (cursor === undefined) return range;
  const last = keyOfCursor(cursor);
  // A cursor only narrows: one of another listing must not lead out of this one's bounds.
  if (range.reverse) {
    return range.end !== undefined && range.end < last ? range : { ...range, end: last };
  }
  // The smallest byte string above `last` is `last` with a zero byte.
  const start = `${last}\0`;
  return range.start !== undefined && range.start > start ? range : { ...range, start };
}

function conditionOf(c: Context): Condition | undefined {
  const ifMatch = c.req.header("if-match");
  const ifNoneMatch = c.req.header("if-none-match");
  if (ifMatch === undefined && ifNoneMatch === undefined) return undefined;
  if (ifMatch !== undefined && ifNoneMatch !== undefined) {
    throw new GatewayError("invalid-request", "Send If-Match or If-None-Match, not both");
  }
  if (ifNoneMatch !== undefined) {
    if (ifNoneMatch.trim() === "*") return "absent";
    throw new GatewayError("invalid-request", "A write's If-None-Match is *");
  }
  if (ifMatch!.trim() === "*") return "present";
  const revision = /^\s*"(\d{1,15})"\s*$/.exec(ifMatch!)?.[1];
  if (revision === undefined) {
    throw new GatewayError("invalid-request", 'If-Match is one revision such as "17", or *');
  }
  return { revision: Number(revision) };
}

function tagsOf(header: string): string[] {
  return header.split(",").map((tag) => tag.trim());
}

/** The content type to store: none for what a client sends without being asked. */
function contentTypeOf(c: Context): string | undefined {
  const type = c.req.header("content-type");
  if (type === undefined || unaskedTypes.includes(type)) return undefined;
  if (type.length > CONTENT_TYPE_LENGTH_MAX || !/^[\x20-\x7e]+$/.test(type)) {
    throw new GatewayError(
      "invalid-request",
      `A content type has at most ${CONTENT_TYPE_LENGTH_MAX} printable ASCII characters`,
    );
  }
  return type;
}

/** The idempotency key with the digest of everything that makes the request what it is. */
function onceOf(
  c: Context,
  { key: storeKey, action, body }: {
    readonly key: string;
    readonly action: KvRequest["command"]["type"];
    readonly body: Uint8Array;
  },
): Once | undefined {
  const header = c.req.header("idempotency-key");
  if (header === undefined) return undefined;
  const key = /^"(.*)"$/.exec(header)?.[1] ?? header;
  if (key.length < 1 || key.length > IDEMPOTENCY_KEY_LENGTH_MAX || !/^[\x21-\x7e]+$/.test(key)) {
    throw new GatewayError(
      "invalid-request",
      `An idempotency key has 1 to ${IDEMPOTENCY_KEY_LENGTH_MAX} printable ASCII characters`,
    );
  }
  // By what the request means: a key in the store may be encoded in more than one way. As JSON, so
  // that no part can pass for another: keys hold any byte.
  const headers = ["if-match", "if-none-match", "content-type"].map((name) => c.req.header(name));
  const digest = createHash("sha256")
    .update(JSON.stringify([action, storeKey, ...headers]))
    .update(body);
  return { type: "idempotencyKey", key, fingerprint: digest.digest("base64url") };
}
