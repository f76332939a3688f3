/**
 * `kv export` and `kv load`: keys and values as lines of JSON, for other programs and other clusters.
 *
 * An export is of one moment, also while others write. A
 * load puts, line by line, so it can be repeated: what was loaded before is put again.
 *
 * @module
 */
import { ClientError, type ClientRequest } from "./http_client.ts";
import { linesOf } from "../mod.ts";
import { Progress } from "./progress.ts";
import { EXIT, UsageError } from "./usage.ts";

/** Bytes in JSON, as the gateway carries them. */
type JsonBytes = string | { readonly base64: string };

/** Sends one request with the settings' endpoints and time. */
type Send = (request: ClientRequest) => Promise<Response>;

/** Puts of a load that wait for their answers; more wait for one of them. */
export const LOAD_PUTS_MAX = 32;

/** Shows every key that begins with `prefix`, in order: its key, value and content type. */
export async function exportKeys(
  prefix: string,
  { query, open, show }: {
    readonly query: Readonly<Record<string, string>>;
    /** As `send`, but the answer is read as it comes. */
    readonly open: Send;
    readonly show: (text: string) => void;
  },
): Promise<void> {
  for await (const { key, value, contentType } of scanKeys(prefix, { query, open })) {
    show(JSON.stringify({ key, value, contentType }) + "\n");
  }
}

/**
 * Every key that begins with `prefix`, in order, as of one moment.
 *
 * @throws {ClientError} If the answer ends before it says that it is whole.
 */
export async function* scanKeys(
  prefix: string,
  { query, open }: { readonly query: Readonly<Record<string, string>>; readonly open: Send },
): AsyncGenerator<Record<string, unknown>, void> {
  const parameters = new URLSearchParams(query);
  const path = `/v1/kv?${parameters}&prefix=${encodeURIComponent(prefix.toWellFormed())}`;
  const headers = { accept: "application/x-ndjson" };
  const { body } = await open({ method: "GET", path, headers });
  let isWhole = false;
  try {
    for await (const line of linesOf(body ?? new Blob([]).stream())) {
      const item = JSON.parse(new TextDecoder().decode(line));
      isWhole = item.end === true;
      if (!isWhole) yield item;
    }
  } catch (error) {
    throw new ClientError(`the listing was cut short: ${(error as Error).message}`, EXIT.failure);
  }
  if (!isWhole) throw new ClientError("the listing was cut short", EXIT.failure);
}

/**
 * Puts what the lines say, a few at a time; those of one key in order. Returns how many.
 *
 * @throws {ClientError} At the first line that cannot be put, with its number. What stands before it
 * was put, and perhaps a few lines behind it.
 * @throws {UsageError} At the first line that says nothing to put, in the same way.
 */
export async function loadKeys(
  source: ReadableStream<Uint8Array>,
  { send, of }: { readonly send: Send; readonly of?: number | undefined },
): Promise<number> {
  const progress = new Progress("load");
  const underWay = new Map<string, Promise<void>>();
  let failure: { readonly line: number; readonly error: Error } | undefined;
  let [line, loaded, bytes] = [0, 0, 0];
  const fail = (line: number, error: Error): void => {
    if (failure === undefined || line < failure.line) failure = { line, error };
  };
  try {
    for await (const text of linesOf(source)) {
      line++;
      bytes += text.length + 1;
      progress.note(bytes, of);
      const put = putOf(text);
      if (put === undefined) continue;
      while (underWay.size >= LOAD_PUTS_MAX || underWay.has(put.path)) {
        await Promise.race(underWay.values());
      }
      if (failure !== undefined) break;
      const at = line;
      const sent = send(put).then(() => void loaded++, (error) => fail(at, error))
        .finally(() => underWay.delete(put.path));
      underWay.set(put.path, sent);
    }
  } catch (error) {
    // Else the next line could not be read.
    fail(error instanceof UsageError ? line : line + 1, error as Error);
  }
  await Promise.all(underWay.values());
  progress.end();
  if (failure === undefined) return loaded;
  const { line: at, error: { message: why } } = failure;
  const message = `line ${at}: ${why}; ${loaded} keys were loaded, and the load can be repeated`;
  if (failure.error instanceof ClientError) throw new ClientError(message, failure.error.exitCode);
  throw new UsageError(message);
}

/** The put that a line stands for; undefined if it is empty. */
function putOf(line: Uint8Array): ClientRequest | undefined {
  let text: string;
  let parsed: unknown;
  try {
    text = new TextDecoder("utf-8", { fatal: true }).decode(line).trim();
    if (text === "") return undefined;
    parsed = JSON.parse(text);
  } catch {
    throw new UsageError("it is not JSON in UTF-8");
  }
  const { key, value, contentType } = (parsed ?? {}) as Record<string, unknown>;
  const [keyBytes, body] = [bytesOf("key", key), bytesOf("value", value)];
  if (contentType !== undefined && typeof contentType !== "string") {
    throw new UsageError('"contentType" is no string');
  }
  const path = `/v1/kv?key=${percentEncode(keyBytes)}`;
  return {
    ...{ method: "PUT", path, body },
    headers: { "content-type": contentType ?? "application/octet-stream" },
  };
}

function bytesOf(name: string, value: unknown): Uint8Array<ArrayBuffer> {
  if (typeof value === "string") return new TextEncoder().encode(value);
  const { base64 } = (value ?? {}) as Partial<Exclude<JsonBytes, string>>;
  try {
    return Uint8Array.fromBase64(base64!);
  } catch {
    throw new UsageError(`"${name}" is neither a string nor {"base64": "…"}`);
  }
}

/** Every byte but letters and digits as `%XX`. */
function percentEncode(bytes: Uint8Array): string {
  return Array.from(bytes, (byte) => {
    const char = String.fromCharCode(byte);
    return /[A-Za-z0-9]/.test(char) ? char : `%${byte.toString(16).padStart(2, "0")}`;
  }).join("");
}
