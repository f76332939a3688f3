/**
 * The verbs of `deno task kv` that are transactions or act on many keys: incr, cas, txn, and del of a
 * prefix.
 *
 * @module
 */
import { ClientError, type ClientRequest } from "./http_client.ts";
import { EXIT, UsageError } from "./usage.ts";

type Send = (request: ClientRequest) => Promise<Response>;

const json = { "content-type": "application/json" };

/** A key or a value as JSON carries it. */
export type JsonBytes = string | { readonly base64: string };

/** Adds to the number at a key; the answer's text. */
export async function increment(path: string, by: string, send: Send): Promise<string> {
  if (!/^-?\d{1,19}$/.test(by)) throw new UsageError(`BY is a whole number, not "${by}"`);
  const body = JSON.stringify({ by: String(BigInt(by)) });
  const request = { method: "POST", path: `${path}/increment`, headers: json, body } as const;
  return await (await send(request)).text();
}

/**
 * Puts a value if another one is stored now; the answer's text.
 *
 * @throws {ClientError} If something else is stored, or nothing.
 */
export async function compareAndSet(
  key: string,
  { expected, value }: { readonly expected: JsonBytes; readonly value: JsonBytes },
  send: Send,
): Promise<string> {
  const body = JSON.stringify({
    compare: [{ key, target: "value", op: "==", value: expected }],
    success: [{ put: { key, value } }],
    failure: [{ get: { key } }],
  });
  const { succeeded, revision, results: [result] } = await transact(body, send);
  if (succeeded) {
    const { version } = (result as { readonly put: { readonly version: number } }).put;
    return JSON.stringify({ revision, version }) + "\n";
  }
  const { get } = result as { readonly get: { readonly revision: number } | null };
  const why = get === null
    ? "The key does not exist"
    : `Another value is there, of revision ${get.revision}`;
  throw new ClientError(why, EXIT.preconditionFailed);
}

/** Executes the transaction that the JSON says; the answer's text. */
export async function transaction(body: Uint8Array<ArrayBuffer>, send: Send): Promise<string> {
  const response = await send({ method: "POST", path: "/v1/txn", headers: json, body });
  return await response.text();
}

/** Deletes every key with the prefix, or every key if there is none; the answer's text. */
export async function deletePrefix(prefix: string | undefined, send: Send): Promise<string> {
  const query = prefix === undefined ? "all=true" : `prefix=${encodeURIComponent(prefix)}`;
  return await (await send({ method: "DELETE", path: `/v1/kv?${query}` })).text();
}

async function transact(body: string, send: Send): Promise<{
  readonly succeeded: boolean;
  readonly revision: number;
  readonly results: readonly unknown[];
}> {
  return await (await send({ method: "POST", path: "/v1/txn", headers: json, body })).json();
}
