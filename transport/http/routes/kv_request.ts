/**
 * What a request for `/v1/kv` asks for, read from its path, query and headers.
 *
 * @module
 */
import type { Compare } from "../../../storage/kv/compare.ts";
import type { KvBounds, KvRange } from "../../../storage/kv/entry.ts";
import type { Once } from "../../../storage/kv/once.ts";
import type { Operation } from "../../../storage/kv/operations/operations.ts";
import type { Context } from "hono";
import { createHash } from "node:crypto";
import {
  CONTENT_TYPE_CHARS_MAX,
  IDEMPOTENCY_KEY_CHARS_MAX,
  KEY_BYTES_MAX,
} from "../../../storage/kv/limits.ts";
import type { GatewayEnvironment } from "../gateway.ts";
import type { Consistency, ReadOptions } from "../gateway_port.ts";
import {
  LIST_LIMIT_DEFAULT,
  LIST_LIMIT_MAX,
  REQUEST_TIMEOUT_MS,
  REQUEST_TIMEOUT_MS_MAX,
  REQUEST_TIMEOUT_MS_MIN,
} from "../limits.ts";
import { GatewayError } from "../problem.ts";
import { checkKey, type JsonEncoding, keyFromPath, keyOfCursor, percentDecode } from "../values.ts";

/** The content type of a value that was stored without one. */
export const DEFAULT_CONTENT_TYPE = "application/octet-stream";
/** What clients such as curl send when the user chose no type. */
const unaskedTypes = [DEFAULT_CONTENT_TYPE, "application/x-www-form-urlencoded"];
/** Parameters that the gateway itself takes on any path. */
export const writeParameters = ["redirect"];
const readParameters = [...writeParameters, "consistency", "min_revision"];
export const valueParameters = [...readParameters, "meta"];
export const itemParameters = [...readParameters, "key", "encoding"];
export const listParameters = [
  ...[...readParameters, "encoding"],
  ...["prefix", "start", "end", "limit", "cursor", "reverse", "keys_only", "count_only"],
];
export const putParameters = [...writeParameters, "ttl", "lease"];
export const leaseParameters = [...readParameters, "encoding"];
export const watchParameters = [
  ...["redirect", "encoding", "key", "prefix", "start", "end", "from", "prev", "wait"],
];
export const eventsParameters = ["redirect"];
export const leasesParameters = [...readParameters, "limit", "after"];
export const deleteParameters = [...writeParameters, "prefix", "start", "end", "all"];
const consistencies = ["linearizable", "lease", "follower", "stale"];

const NO_QUERY: ReadonlyMap<string, string> = new Map();

/**
 * The rest of the path after `/v1/kv/`, not decoded. The router decodes the path, so the path as it was
 * sent must begin with `/v1/kv/`: otherwise `/%761/kv/a/v1/kv/b` would name two keys.
 */
export function pathRest(url: string): string {
  const path = url.indexOf("/", "http://".length);
  const at = url.startsWith("/v1/kv/", path) ? path : -1;
  const start = at + "/v1/kv/".length;
  let end = start;
  while (end < url.length && url[end] !== "?" && url[end] !== "#") end++;
  if (at < 0 || end === start) throw new GatewayError("no-such-route", "The path has no key");
  return url.slice(start, end);
}

/** The key in the path of a write. The query may hold only these parameters. */
export function keyToWrite(c: Context, known: readonly string[] = writeParameters): string {
  const { url } = c.req;
  queryOf(url, known);
  return keyFromPath(pathRest(url));
}

/** Whether the query names a key. */
export function hasKey(c: Context): boolean {
  return /[?&]key=/.test(c.req.url);
}

/** The key in `?key=`, for keys that a path cannot hold. */
export function keyInQuery(c: Context, more: readonly string[] = writeParameters): string {
  const known = c.req.method === "GET" ? itemParameters : [...more, "key"];
  const text = queryOf(c.req.url, known).get("key");
  if (text === undefined) {
    throw new GatewayError("invalid-request", "Name the key in the path, or with ?key=");
  }
  return checkKey(percentDecode(text.replaceAll("+", "%20")));
}

/** How the answer is to carry bytes. */
export function encodingOf(query: ReadonlyMap<string, string>): JsonEncoding {
  const value = query.get("encoding");
  if (value === undefined) return "text";
  if (value === "base64") return value;
  throw new GatewayError("invalid-request", "encoding is base64, or not given");
}

/** Whether the body is not sent. A large body would then hold its bytes until it is given up. */
export function isHead(c: Context): boolean {
  return (c.env as GatewayEnvironment | undefined)?.isHead === true;
}

/** How fresh a read must be, and how long it may wait. */
export function readOptionsOf(c: Context, query: ReadonlyMap<string, string>): ReadOptions {
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

/** How long the request may take. A client that says how long it waits is answered before it leaves. */
export function timeoutOf(c: Context): number {
  return timeoutOfText(c.req.header(TIMEOUT_HEADER)) ?? REQUEST_TIMEOUT_MS;
}

/** In which a client says how long it waits. */
export const TIMEOUT_HEADER = "statecraft-timeout-ms";

/**
 * As {@linkcode timeoutOf}, of the header's text; undefined if it is not there.
 *
 * @throws {GatewayError} invalid-request
 */
export function timeoutOfText(text: string | null | undefined): number | undefined {
  if (text === null || text === undefined) return undefined;
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
 * @throws {GatewayError} invalid-request if one is not among `known`: a client that asks for something
 * that this version does not do, such as `ttl`, must be told.
 */
export function queryOf(url: string, known: readonly string[]): ReadonlyMap<string, string> {
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

/** Whether a parameter is given, and is not `false`. */
export function isOn(query: ReadonlyMap<string, string>, name: string): boolean {
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

/** How long a duration such as `30s` is, in milliseconds. */
export function durationOf(
  text: string,
  name: string,
  { min, max }: { readonly min: number; readonly max: number },
): number {
  const found = /^(\d{1,10})(ms|s|m|h|d)$/.exec(text);
  const unitMs = { ms: 1, s: 1_000, m: 60_000, h: 3_600_000, d: 86_400_000 }[found?.[2] ?? ""];
  const ms = unitMs === undefined ? NaN : Number(found![1]) * unitMs;
  if (ms >= min && ms <= max) return ms;
  throw new GatewayError(
    "invalid-request",
    `${name} is a duration such as 30s, 500ms, 5m, 2h or 1d, from ${spanOf(min)} to ${spanOf(max)}`,
  );
}

/** A time in the largest unit that it is a whole number of, such as `366d`. */
function spanOf(ms: number): string {
  const units = [["d", 86_400_000], ["h", 3_600_000], ["m", 60_000], ["s", 1_000]] as const;
  const unit = units.find(([, unitMs]) => ms >= unitMs && ms % unitMs === 0);
  return unit === undefined ? `${ms}ms` : `${ms / unit[1]}${unit[0]}`;
}

/** Most entries of a page. */
export function limitOf(query: ReadonlyMap<string, string>): number {
  const text = query.get("limit");
  if (text === undefined) return LIST_LIMIT_DEFAULT;
  const limit = Number(text);
  if (!/^\d+$/.test(text) || limit < 1 || limit > LIST_LIMIT_MAX) {
    throw new GatewayError("invalid-request", `limit is a number from 1 to ${LIST_LIMIT_MAX}`);
  }
  return limit;
}

/** Most entries of a scan, which may have as many as there are. */
export function scanLimitOf(query: ReadonlyMap<string, string>): number {
  const text = query.get("limit");
  if (text === undefined) return Infinity;
  if (/^[1-9]\d{0,14}$/.test(text)) return Number(text);
  throw new GatewayError("invalid-request", "limit is a number from 1 on");
}

/** The keys that a listing asks for. */
export function boundsOf(query: ReadonlyMap<string, string>): KvBounds {
  const prefix = boundOf(query, "prefix");
  const start = boundOf(query, "start");
  const end = boundOf(query, "end");
  if (prefix !== undefined && (start !== undefined || end !== undefined)) {
    throw new GatewayError("invalid-request", "prefix does not go with start and end");
  }
  return { prefix, start, end };
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

/** Narrows the range to what the cursor left. */
export function resume(range: KvRange, query: ReadonlyMap<string, string>): KvRange {
  const cursor = query.get("cursor");
  if (cursor === undefined) return range;
  const last = keyOfCursor(cursor);
  // A cursor only narrows the range: the cursor of another listing must not lead out of its bounds.
  if (range.reverse) {
    return range.end !== undefined && range.end < last ? range : { ...range, end: last };
  }
  // The smallest byte string above `last` is `last` with a zero byte.
  const start = `${last}\0`;
  return range.start !== undefined && range.start > start ? range : { ...range, start };
}

/** What a write's headers say must hold of its key. */
export function comparesOf(c: Context, key: string): readonly Compare[] {
  const ifMatch = c.req.header("if-match");
  const ifNoneMatch = c.req.header("if-none-match");
  if (ifMatch === undefined && ifNoneMatch === undefined) return [];
  if (ifMatch !== undefined && ifNoneMatch !== undefined) {
    throw new GatewayError("invalid-request", "Send If-Match or If-None-Match, not both");
  }
  const target = "revision";
  const isAbsent = { key, target, operator: "==", operand: 0 } as const;
  const isPresent = { key, target, operator: "!=", operand: 0 } as const;
  if (ifNoneMatch !== undefined) {
    if (ifNoneMatch.trim() === "*") return [isAbsent];
    throw new GatewayError("invalid-request", "A write's If-None-Match is *");
  }
  if (ifMatch!.trim() === "*") return [isPresent];
  const revision = /^\s*"(\d{1,15})"\s*$/.exec(ifMatch!)?.[1];
  if (revision === undefined) {
    throw new GatewayError("invalid-request", 'If-Match is one revision such as "17", or *');
  }
  const isAt = { key, target, operator: "==", operand: Number(revision) } as const;
  // A missing key has revision 0 in a compare, and yet If-Match never matches it (RFC 9110, s13.1.1).
  return isAt.operand === 0 ? [isPresent, isAt] : [isAt];
}

/** The tags that a header lists. */
export function tagsOf(header: string): string[] {
  return header.split(",").map((tag) => tag.trim());
}

/** The content type to store: none if the client sent its default. */
export function contentTypeOf(c: Context): string | undefined {
  const type = c.req.header("content-type");
  if (type === undefined || unaskedTypes.includes(type)) return undefined;
  if (type.length > CONTENT_TYPE_CHARS_MAX || !/^[\x20-\x7e]+$/.test(type)) {
    throw new GatewayError(
      "invalid-request",
      `A content type has at most ${CONTENT_TYPE_CHARS_MAX} printable ASCII characters`,
    );
  }
  return type;
}

/** The idempotency key with the digest of everything that makes the request what it is. */
export function onceOf(
  c: Context,
  { key: storeKey, action, body, besides }: {
    readonly key: string;
    readonly action: Operation["type"] | "txn" | "lock";
    readonly body: Uint8Array;
    /** What else tells it from another; left out if nothing does. */
    readonly besides?: string;
  },
): Once | undefined {
  const header = c.req.header("idempotency-key");
  if (header === undefined) return undefined;
  const key = /^"(.*)"$/.exec(header)?.[1] ?? header;
  if (key.length < 1 || key.length > IDEMPOTENCY_KEY_CHARS_MAX || !/^[\x21-\x7e]+$/.test(key)) {
    throw new GatewayError(
      "invalid-request",
      `An idempotency key has 1 to ${IDEMPOTENCY_KEY_CHARS_MAX} printable ASCII characters`,
    );
  }
  // The digest is of what the request means, since a key can be encoded in more than one way. It is
  // of JSON, so that no part can pass for another: a key may hold any byte.
  const headers = ["if-match", "if-none-match", "content-type"].map((name) => c.req.header(name));
  const digest = createHash("sha256")
    .update(
      JSON.stringify([action, storeKey, ...headers, ...(besides === undefined ? [] : [besides])]),
    )
    .update(body);
  return { type: "idempotencyKey", key, fingerprint: digest.digest("base64url") };
}
