/**
 * The requests that the load generator sends: Statecraft's HTTP, and etcd's JSON gateway to compare
 * it with.
 *
 * @module
 */
import type { ReadOptions } from "../mod.ts";
import type { RequestTemplate } from "./load_client.ts";

/** Sizes of what is written. */
export interface Sizes {
  /** Different keys. */
  readonly keys: number;
  readonly keyBytes: number;
  readonly valueBytes: number;
  /** What values are like; default one letter many times. */
  readonly content?: ValueContent;
}

/** A letter many times, documents of JSON, or bytes of chance: as compressible as these are. */
export type ValueContent = "letter" | "json" | "random";

const POOL_BYTES = 8 * 1024 * 1024;

/** What values are cut out of. */
function poolOf(content: ValueContent): Uint8Array | undefined {
  if (content === "letter") return undefined;
  const pool = new Uint8Array(POOL_BYTES);
  if (content === "random") {
    for (let at = 0; at < pool.length; at += 65_536) {
      crypto.getRandomValues(pool.subarray(at, at + 65_536));
    }
    return pool;
  }
  const encoder = new TextEncoder();
  for (let at = 0, id = 0; at < pool.length; id++) {
    const document = {
      ...{ id, name: `user-${(id * 7_919) % 100_003}`, active: id % 3 === 0 },
      ...{ mail: `u${id}@example.org`, score: Math.random(), tags: ["blue", "green"] },
    };
    at += encoder.encodeInto(JSON.stringify(document), pool.subarray(at)).written || pool.length;
  }
  return pool;
}

/** Keys are decimal numbers, filled up with zeros from the left. */
export function keysOf({ keys, keyBytes }: Sizes): string[] {
  const digits = String(keys - 1).length;
  if (keyBytes < digits) {
    throw new RangeError(`Cannot make ${keys} keys of ${keyBytes} bytes: they need ${digits}`);
  }
  return Array.from({ length: keys }, (_, at) => String(at).padStart(keyBytes, "0"));
}

/** `PUT /v1/kv/{key}`. */
export function statecraftPut(sizes: Sizes): RequestTemplate {
  const head = `Content-Length: ${sizes.valueBytes}\r\n`;
  const keys = keysOf(sizes);
  const { valueBytes: bytes, content = "letter" } = sizes;
  const put = template(
    "PUT /v1/kv/",
    keys,
    ` HTTP/1.1\r\nHost: load\r\n${head}\r\n${valueOf(sizes)}`,
  );
  const operation = { type: "put", value: new TextEncoder().encode(valueOf(sizes)) } as const;
  const pool = poolOf(content);
  return { ...put, operation, ...(pool === undefined ? {} : { values: { pool, bytes } }) };
}

/** `GET /v1/kv/{key}`. */
export function statecraftGet(sizes: Sizes, consistency: string | undefined): RequestTemplate {
  const query = consistency === undefined ? "" : `?consistency=${consistency}`;
  const get = template("GET /v1/kv/", keysOf(sizes), `${query} HTTP/1.1\r\nHost: load\r\n\r\n`);
  const options = consistency === undefined ? {} : { consistency } as ReadOptions;
  return { ...get, operation: { type: "get", options } };
}

/** `POST /v3/kv/put`. */
export function etcdPut(sizes: Sizes): RequestTemplate {
  const keys = keysOf(sizes).map((key) => btoa(key));
  return etcdPost("/v3/kv/put", `{"value":"${btoa(valueOf(sizes))}","key":"`, keys);
}

/** `POST /v3/kv/range` of one key, linearizable as etcd's default is. */
export function etcdGet(sizes: Sizes): RequestTemplate {
  return etcdPost("/v3/kv/range", `{"key":"`, keysOf(sizes).map((key) => btoa(key)));
}

function etcdPost(path: string, bodyStart: string, keys: readonly string[]): RequestTemplate {
  const bodyEnd = '"}';
  const length = bodyStart.length + keys[0]!.length + bodyEnd.length;
  const head = `POST ${path} HTTP/1.1\r\nHost: load\r\nContent-Type: application/json\r\n`;
  return template(`${head}Content-Length: ${length}\r\n\r\n${bodyStart}`, keys, bodyEnd);
}

function template(before: string, keys: readonly string[], after: string): RequestTemplate {
  const encoder = new TextEncoder();
  return {
    bytes: encoder.encode(before + keys[0]! + after),
    keyAt: encoder.encode(before).length,
    keys: keys.map((key) => encoder.encode(key)),
  };
}

function valueOf({ valueBytes }: Sizes): string {
  return "v".repeat(valueBytes);
}
