/**
 * The operations on keys over the HTTP interface, and how that writes what goes in and out.
 *
 * @module
 */
import { ClerkError } from "./clerk_errors.ts";
import { type ClerkRequest, limitsOf } from "./clerk_link.ts";
import {
  type Bytes,
  bytesOf,
  type CallOptions,
  type Entry,
  type KeyCalls,
  type KeyRange,
  makeEntry,
  type OperationResult,
  type PutOptions,
  type ReadOptions,
  type Transaction,
  type TransactionResult,
  type WriteOptions,
  type Written,
} from "./clerk_types.ts";

/** See the module. */
export class HttpKeyCalls implements KeyCalls {
  readonly #send: (request: ClerkRequest) => Promise<Response>;

  /** `send` makes a request whose answer is a success. */
  constructor(send: (request: ClerkRequest) => Promise<Response>) {
    this.#send = send;
  }

  async put(
    key: Bytes,
    value: Bytes,
    options: PutOptions,
  ): Promise<Written & { readonly lease?: string }> {
    const { ttlMs, lease, contentType } = options;
    const query = new Map<string, string>();
    if (ttlMs !== undefined) query.set("ttl", `${ttlMs}ms`);
    if (lease !== undefined) query.set("lease", typeof lease === "string" ? lease : lease.id);
    const response = await this.#send({
      ...{ method: "PUT", path: keyPath(key, query), body: bytesOf(value) },
      headers: {
        "content-type": contentType ?? "application/octet-stream",
        ...conditionOf(options),
      },
      ...limitsOf(options),
    });
    return await response.json();
  }

  async get(key: Bytes, options: ReadOptions): Promise<Entry | undefined> {
    const query = readQuery(options);
    query.set("encoding", "base64");
    try {
      const request = { method: "GET", path: keyPath(key, query), ...limitsOf(options) } as const;
      return entryOf(await (await this.#send(request)).json());
    } catch (error) {
      if (error instanceof ClerkError && error.code === "key-not-found") return undefined;
      throw error;
    }
  }

  async delete(key: Bytes, options: WriteOptions): Promise<boolean> {
    const response = await this.#send({
      ...{ method: "DELETE", path: keyPath(key, new Map()), headers: conditionOf(options) },
      ...limitsOf(options),
    });
    return (await response.json()).deleted > 0;
  }

  async transact(
    { compare = [], success = [], failure = [] }: Transaction,
    options: CallOptions,
  ): Promise<TransactionResult> {
    const body = JSON.stringify({
      compare: compare.map(jsonOf),
      success: success.map(jsonOf),
      failure: failure.map(jsonOf),
    });
    const response = await this.#send({
      ...{ method: "POST", path: "/v1/txn?encoding=base64", body },
      headers: { "content-type": "application/json" },
      ...limitsOf(options),
    });
    const { succeeded, revision, results } = await response.json();
    return { succeeded, revision, results: results.map(resultOf) };
  }
}

/** The query names the key, since a path cannot hold every key. */
export function keyPath(key: Bytes, query: ReadonlyMap<string, string>): string {
  return `/v1/kv${queryText(new Map([["key", percentOf(key)], ...query]))}`;
}

/** Values are percent-encoded already. */
export function queryText(query: ReadonlyMap<string, string>): string {
  if (query.size === 0) return "";
  return `?${[...query].map(([name, value]) => `${name}=${value}`).join("&")}`;
}

/** Every byte but letters and digits as `%XX`. */
export function percentOf(bytes: Bytes): string {
  return Array.from(bytesOf(bytes), (byte) => {
    const char = String.fromCharCode(byte);
    return /[A-Za-z0-9]/.test(char) ? char : `%${byte.toString(16).padStart(2, "0")}`;
  }).join("");
}

export function readQuery({ consistency, minRevision }: ReadOptions): Map<string, string> {
  const query = new Map<string, string>();
  if (consistency !== undefined) query.set("consistency", consistency);
  if (minRevision !== undefined) query.set("min_revision", String(minRevision));
  return query;
}

export function rangeQuery({ prefix, start, end }: KeyRange): Map<string, string> {
  const query = new Map<string, string>();
  if (prefix !== undefined) query.set("prefix", percentOf(prefix));
  if (start !== undefined) query.set("start", percentOf(start));
  if (end !== undefined) query.set("end", percentOf(end));
  return query;
}

function conditionOf({ ifRevision, ifAbsent }: WriteOptions): Record<string, string> {
  if (ifAbsent === true) return { "if-none-match": "*" };
  return ifRevision === undefined ? {} : { "if-match": `"${ifRevision}"` };
}

/** A compare or an operation as the HTTP interface takes it. */
function jsonOf(value: unknown): unknown {
  if (value instanceof Uint8Array) return { base64: value.toBase64() };
  if (typeof value === "bigint") return String(value);
  if (typeof value !== "object" || value === null) return value;
  return Object.fromEntries(Object.entries(value).map(([name, each]) => [name, jsonOf(each)]));
}

/** An item of a listing or of a transaction, whose bytes are base64. */
export function entryOf(item: Record<string, unknown>): Entry {
  return makeEntry({
    keyBytes: Uint8Array.fromBase64(item["key"] as string),
    value: Uint8Array.fromBase64((item["value"] as string | undefined) ?? ""),
    contentType: item["contentType"] as string | undefined,
    revision: item["revision"] as number,
    created: item["created"] as number,
    version: item["version"] as number,
    lease: item["lease"] as string | undefined,
  });
}

function resultOf(result: Record<string, Record<string, unknown> | null>): OperationResult {
  const { get, increment, range } = result;
  if (get !== undefined) return { get: get === null ? undefined : entryOf(get) };
  if (increment) {
    const { value, version, created } = increment as Record<string, never>;
    return { increment: { value: BigInt(value!), version: version!, created: created! } };
  }
  if (range) {
    const { items, count } = range as { items: Record<string, unknown>[]; count: number };
    return { range: { items: items.map(entryOf), count } };
  }
  return result as OperationResult;
}
