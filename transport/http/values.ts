/**
 * Keys and values as HTTP carries them: percent-encoded path segments, and JSON in which a string
 * is UTF-8 text and `{"base64": "…"}` carries other bytes.
 *
 * Inside, a key is a byte string: one UTF-16 unit per byte.
 *
 * @module
 */
import { toBytes, toByteString } from "../../storage/byte_string.ts";
import { KEY_BYTES_MAX } from "../../storage/kv/limits.ts";
import { GatewayError } from "./problem.ts";

/** Bytes in JSON. */
export type JsonBytes = string | { readonly base64: string };

const plainKey = /^[A-Za-z0-9_.~!$&'()*+,;=:@/-]+$/;
// A byte order mark is part of the bytes: dropping it would list other bytes than are stored.
const strictUtf8 = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

/**
 * The key in the raw rest of a path, slashes included (a query value goes through percentDecode).
 *
 * @throws {GatewayError} invalid-request if the encoding is broken or the key is empty or too long.
 */
export function keyFromPath(rest: string): string {
  return checkKey(plainKey.test(rest) ? rest : percentDecode(rest));
}

/** Decodes `%XX` to bytes; other characters must be ASCII. */
export function percentDecode(text: string): string {
  let decoded = "";
  for (let i = 0; i < text.length; i++) {
    const unit = text.charCodeAt(i);
    if (unit === 0x25) {
      const hex = text.slice(i + 1, i + 3);
      if (!/^[0-9A-Fa-f]{2}$/.test(hex)) {
        throw new GatewayError(
          "invalid-request",
          `The percent-encoding "${text.slice(i, i + 3)}" at offset ${i} is broken`,
        );
      }
      decoded += String.fromCharCode(parseInt(hex, 16));
      i += 2;
    } else if (unit > 0x7f) {
      throw new GatewayError("invalid-request", `The character at offset ${i} must be encoded`);
    } else decoded += text[i];
  }
  return decoded;
}

/** Refuses an empty or overlong key. */
export function checkKey(key: string): string {
  if (key.length === 0) throw new GatewayError("invalid-request", "A key has at least 1 byte");
  if (key.length > KEY_BYTES_MAX) {
    throw new GatewayError(
      "invalid-request",
      `The key has ${key.length} bytes, the limit is ${KEY_BYTES_MAX}`,
    );
  }
  return key;
}

/** Bytes as JSON: text where they are valid UTF-8, base64 where not. */
export function bytesToJson(bytes: Uint8Array): JsonBytes {
  try {
    return strictUtf8.decode(bytes);
  } catch {
    return { base64: bytes.toBase64() };
  }
}

/**
 * The bytes that a request's JSON stands for; `name` is what the error calls them.
 *
 * @throws {GatewayError} invalid-request if it stands for none.
 */
export function bytesOfJson(value: unknown, name: string): Uint8Array {
  if (typeof value === "string" && value.isWellFormed()) return new TextEncoder().encode(value);
  const base64 = typeof value === "object" && value !== null && Object.keys(value).length === 1
    ? (value as { readonly base64?: unknown }).base64
    : undefined;
  try {
    if (typeof base64 === "string") return Uint8Array.fromBase64(base64);
  } catch {
    // It is no base64, as the error says.
  }
  throw new GatewayError("invalid-request", `${name} is a string, or {"base64": "…"}`);
}

/**
 * The key that a request's JSON stands for.
 *
 * @throws {GatewayError} invalid-request if it is none.
 */
export function keyOfJson(value: unknown, name: string): string {
  return checkKey(toByteString(bytesOfJson(value, name)));
}

/**
 * The lease that a request's JSON names by its id.
 *
 * @throws {GatewayError} invalid-request if it names none.
 */
export function leaseOfJson(value: unknown, name: string): number {
  const id = Number(value);
  const isId = typeof value === "string" ? /^[1-9]\d*$/.test(value) : typeof value === "number";
  if (isId && Number.isSafeInteger(id) && id >= 1) return id;
  throw new GatewayError("invalid-request", `${name} is the id of a lease, such as "77"`);
}

/** Bytes as JSON, in the way that a request asked for. */
export function bytesAs(encoding: JsonEncoding, bytes: Uint8Array): JsonBytes {
  return encoding === "base64" ? bytes.toBase64() : bytesToJson(bytes);
}

/** How a response carries bytes: text where it can, or a base64 string always. */
export type JsonEncoding = "text" | "base64";

/** A byte string as JSON, in the way that a request asked for. */
export function keyAs(encoding: JsonEncoding, key: string): JsonBytes {
  return encoding === "base64" ? toBytes(key).toBase64() : keyToJson(key);
}

/** A byte string as JSON. */
function keyToJson(key: string): JsonBytes {
  return plainKey.test(key) ? key : bytesToJson(toBytes(key));
}

/** A page's end as an opaque cursor. */
export function cursorOf(key: string): string {
  return toBytes(key).toBase64({ alphabet: "base64url", omitPadding: true });
}

/** The key in a cursor. */
export function keyOfCursor(cursor: string): string {
  const bytes = decodeCursor(cursor);
  if (bytes === undefined || bytes.length === 0 || bytes.length > KEY_BYTES_MAX) {
    throw new GatewayError("invalid-request", "The cursor is not one that a listing returned");
  }
  return toByteString(bytes);
}

function decodeCursor(cursor: string): Uint8Array | undefined {
  try {
    return Uint8Array.fromBase64(cursor, { alphabet: "base64url" });
  } catch {
    return undefined;
  }
}
