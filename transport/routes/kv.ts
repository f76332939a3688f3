/**
 * `/v1/kv`: single keys as raw bytes, listings as JSON.
 *
 * No middleware stands before these routes: an async one costs half of the throughput.
 *
 * @module
 */
import type { Context, Hono } from "hono";
import { createHash } from "node:crypto";
import type {
  Consistency,
  GatewayPort,
  IdempotencyKey,
  KvEntry,
  KvRange,
  KvWrite,
  KvWriteResult,
  ReadContext,
  WriteCondition,
} from "../gateway_port.ts";
import { readBody, refuseFormTypes } from "../http_body.ts";
import {
  CONTENT_TYPE_LENGTH_MAX,
  IDEMPOTENCY_KEY_LENGTH_MAX,
  KEY_BYTES_MAX,
  LIST_BYTES_MAX,
  LIST_LIMIT_DEFAULT,
  LIST_LIMIT_MAX,
  VALUE_BYTES_MAX,
} from "../http_limits.ts";
import {
  bytesToJson,
  cursorOf,
  keyFromSegment,
  keyOfCursor,
  keyToJson,
  percentDecode,
} from "../http_values.ts";
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
const readParameters = [...writeParameters, "consistency"];
const listParameters = [
  ...readParameters,
  ...["prefix", "start", "end", "limit", "cursor", "reverse", "keys_only", "count_only"],
];
const consistencies = ["linearizable", "lease", "follower", "stale"];

const NO_QUERY: ReadonlyMap<string, string> = new Map();

/** A committed write that took effect. */
type Applied = Extract<KvWriteResult, { status: "ok" }>;

/** Adds the routes. */
export function addKvRoutes(app: Hono, port: GatewayPort): void {
  app.get("/v1/kv", (c) => list(c, port));
  app.get("/v1/kv/:key", (c) => get(c, port));
  app.put("/v1/kv/:key", (c) => put(c, port));
  app.delete("/v1/kv/:key", (c) => remove(c, port));
  app.post("/v1/kv/:key/append", (c) => append(c, port));
}

async function get(c: Context, port: GatewayPort): Promise<Response> {
  const url = c.req.url;
  const key = keyFromSegment(rawSegment(url));
  const query = queryOf(url, readParameters);
  const { entry, context } = await port.get(key, consistencyOf(query));
  if (entry === undefined) {
    const response = problemResponse(new GatewayError("not-found", "The key does not exist"));
    appendContext(response.headers, context);
    return response;
  }
  const etag = `"${entry.revision}"`;
  const match = c.req.header("if-none-match");
  if (match !== undefined && etagsOf(match).some((tag) => tag === etag || tag === "*")) {
    const response = new Response(null, { status: 304, headers: { etag } });
    appendContext(response.headers, context);
    return response;
  }
  // Headers are most of what a read costs: appended, they are not compared with all before them.
  const body = c.req.method === "HEAD" ? null : entry.value as Uint8Array<ArrayBuffer>;
  const response = new Response(body);
  const { headers } = response;
  appendContext(headers, context);
  headers.append("etag", etag);
  headers.append("content-type", entry.contentType ?? DEFAULT_CONTENT_TYPE);
  headers.append("statecraft-created", String(entry.created));
  headers.append("statecraft-version", String(entry.version));
  headers.append("x-content-type-options", "nosniff");
  if (entry.contentType !== undefined) headers.append("content-security-policy", VALUE_POLICY);
  if (body === null) headers.append("content-length", String(entry.value.length));
  return response;
}

async function put(c: Context, port: GatewayPort): Promise<Response> {
  const key = keyToWrite(c);
  const condition = conditionOf(c);
  const contentType = contentTypeOf(c);
  const value = await readBody(c.req.raw, VALUE_BYTES_MAX, port);
  const write: KvWrite = {
    type: "put",
    key,
    value,
    ...(contentType === undefined ? {} : { contentType }),
    ...(condition === undefined ? {} : { condition }),
    ...onceOf(c, value),
  };
  const result = await apply(port, write);
  const { revision, version, created } = result;
  return written(result, { revision, version }, created ? 201 : 200);
}

async function append(c: Context, port: GatewayPort): Promise<Response> {
  refuseFormTypes(c.req.raw);
  const key = keyToWrite(c);
  const condition = conditionOf(c);
  const value = await readBody(c.req.raw, VALUE_BYTES_MAX, port);
  const result = await apply(port, {
    type: "append",
    key,
    value,
    ...(condition === undefined ? {} : { condition }),
    ...onceOf(c, value),
  });
  const { revision, version, length } = result;
  return written(result, { revision, version, length }, 200);
}

async function remove(c: Context, port: GatewayPort): Promise<Response> {
  const condition = conditionOf(c);
  const result = await apply(port, {
    type: "delete",
    key: keyToWrite(c),
    ...(condition === undefined ? {} : { condition }),
    ...onceOf(c, new Uint8Array(0)),
  });
  const { deleted, revision } = result;
  return written(result, { deleted, revision }, 200);
}

async function list(c: Context, port: GatewayPort): Promise<Response> {
  if (c.req.header("accept")?.includes("application/x-ndjson")) {
    throw new GatewayError("not-acceptable", "This version lists as application/json only");
  }
  const query = queryOf(c.req.url, listParameters);
  const bounds = boundsOf(query);
  const consistency = consistencyOf(query);
  if (isOn(query, "count_only")) {
    const { count, context } = await port.count(bounds, consistency);
    return json({ count, revision: context.revision }, context);
  }
  const keysOnly = isOn(query, "keys_only");
  const range: KvRange = {
    ...bounds,
    limit: limitOf(query),
    reverse: isOn(query, "reverse"),
    bytesMax: keysOnly ? Infinity : LIST_BYTES_MAX,
  };
  const { entries, more, context } = await port.list(resume(range, query), consistency);
  const last = entries.at(-1);
  return json({
    items: entries.map((entry) => itemOf(entry, keysOnly)),
    ...(more && last !== undefined ? { next: cursorOf(last.key) } : {}),
    revision: context.revision,
  }, context);
}

/** Applies a write, or turns what kept it from taking effect into an error. */
async function apply(port: GatewayPort, write: KvWrite): Promise<Applied> {
  const result = await port.write(write);
  switch (result.status) {
    case "ok":
      return result;
    case "precondition-failed":
      throw new GatewayError(
        "precondition-failed",
        result.revision === 0 ? "The key does not exist" : `The key is at "${result.revision}"`,
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

function json(body: unknown, context: ReadContext): Response {
  const headers = { "content-type": "application/json" };
  const response = new Response(JSON.stringify(body) + "\n", { headers });
  appendContext(response.headers, context);
  return response;
}

function itemOf(entry: KvEntry, keysOnly: boolean): Record<string, unknown> {
  const { revision, created, version } = entry;
  const value = keysOnly ? {} : { value: bytesToJson(entry.value) };
  return { key: keyToJson(entry.key), ...value, revision, created, version };
}

function appendContext(headers: Headers, context: ReadContext): void {
  headers.append("statecraft-revision", String(context.revision));
  headers.append("statecraft-served-by", String(context.servedBy));
  headers.append("statecraft-leader", String(context.leaderId ?? ""));
  headers.append("statecraft-term", String(context.term));
}

/** The path segment after `/v1/kv/`, not decoded. */
function rawSegment(url: string): string {
  const start = url.indexOf("/v1/kv/") + "/v1/kv/".length;
  let end = start;
  while (end < url.length && url[end] !== "/" && url[end] !== "?" && url[end] !== "#") end++;
  return url.slice(start, end);
}

/** The key of a write, whose query has nothing to say. */
function keyToWrite(c: Context): string {
  const { url } = c.req;
  queryOf(url, writeParameters);
  return keyFromSegment(rawSegment(url));
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

function conditionOf(c: Context): WriteCondition | undefined {
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

function etagsOf(header: string): string[] {
  return header.split(",").map((tag) => tag.trim().replace(/^W\//, ""));
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
function onceOf(c: Context, body: Uint8Array): { once?: IdempotencyKey } {
  const header = c.req.header("idempotency-key");
  if (header === undefined) return {};
  const key = /^"(.*)"$/.exec(header)?.[1] ?? header;
  if (key.length < 1 || key.length > IDEMPOTENCY_KEY_LENGTH_MAX || !/^[\x21-\x7e]+$/.test(key)) {
    throw new GatewayError(
      "invalid-request",
      `An idempotency key has 1 to ${IDEMPOTENCY_KEY_LENGTH_MAX} printable ASCII characters`,
    );
  }
  // By what the request means: the same key may be encoded in more than one way.
  const action = c.req.path.endsWith("/append") && c.req.method === "POST" ? "append" : "";
  const digest = createHash("sha256")
    .update(`${c.req.method} ${action} ${keyToWrite(c)}\n`, "latin1")
    .update(`${c.req.header("if-match") ?? ""}\n${c.req.header("if-none-match") ?? ""}\n`)
    .update(`${c.req.header("content-type") ?? ""}\n`)
    .update(body);
  return { once: { type: "idempotencyKey", key, fingerprint: digest.digest("base64url") } };
}
