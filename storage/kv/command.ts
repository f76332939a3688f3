/**
 * What clients want, and a request's bytes in a log entry.
 *
 * Integers are little-endian.
 *
 * | bytes | field |
 * |---|---|
 * | 1 | version, 1 |
 * | 1 | shape: bits 0-1 type (1 put, 2 append, 3 delete), 2-3 condition (0 none, 1 revision, 2 absent, 3 present), 4-5 once (0 none, 1 idempotency key, 2 session), 6 content type, 7 zero |
 * | 2 | length of the key |
 * | 4 | length of the value; 0 for a delete |
 * | 8 | revision, if that is the condition |
 * | 1 + n | content type, if there is one |
 * | 1 + n, 1 + n | idempotency key and fingerprint, if that is the once |
 * | 8, 1 + n | sequence and client id, if that is the once |
 * | n, n | key, value |
 *
 * Written by hand because it decodes at least three times as fast as a MessagePack array
 * (bench/skip_list_bench.ts), and so that a request has one encoding only.
 *
 * @module
 */
import { ByteSlabs } from "./byte_slabs.ts";
import { isByteString, toByteString, writeByteString } from "../byte_string.ts";
import {
  CLIENT_ID_CHARS_MAX,
  CONTENT_TYPE_CHARS_MAX,
  FINGERPRINT_CHARS_MAX,
  IDEMPOTENCY_KEY_CHARS_MAX,
  KEY_BYTES_MAX,
  VALUE_BYTES_MAX,
} from "./limits.ts";

/** What must hold of the key for a command to take effect. */
export type Condition =
  /** Its last change has this revision. */
  | { readonly revision: number }
  | "absent"
  | "present";

/** Sets a key's value. */
export interface PutCommand {
  readonly type: "put";
  /** A byte string. */
  readonly key: string;
  readonly value: Uint8Array;
  readonly contentType?: string | undefined;
  readonly condition?: Condition | undefined;
}

/** Adds bytes to the end of a key's value; creates the key if it is missing. */
export interface AppendCommand {
  readonly type: "append";
  readonly key: string;
  readonly value: Uint8Array;
  readonly condition?: Condition | undefined;
}

/** Removes a key. */
export interface DeleteCommand {
  readonly type: "delete";
  readonly key: string;
  readonly condition?: Condition | undefined;
}

/** A change of one key. */
export type Command = PutCommand | AppendCommand | DeleteCommand;

/** How a repeated request is recognised, so that it is applied once. */
export type Once =
  | {
    readonly type: "idempotencyKey";
    readonly key: string;
    /** Tells whether a repeat is the same request. */
    readonly fingerprint: string;
  }
  | {
    readonly type: "session";
    readonly clientId: string;
    /** 1 for the client's first command, which creates the session, and so on. */
    readonly sequence: number;
  };

/** The payload of a command entry. */
export interface Request {
  readonly command: Command;
  readonly once?: Once | undefined;
}

/** What is wrong with a request or its bytes. */
export type CommandErrorCode =
  | "unknown-version"
  | "malformed"
  | "key-size"
  | "value-size"
  | "text"
  | "number";

/** A request that cannot be encoded, or bytes that are not a request. */
export class CommandError extends Error {
  override readonly name = "CommandError";
  readonly code: CommandErrorCode;

  constructor(code: CommandErrorCode, reason: string) {
    super(`Cannot take request: ${reason}`);
    this.code = code;
  }
}

/** Version of the layout. */
export const REQUEST_VERSION = 1;

const HEADER_BYTES = 8;
const INTEGER_BYTES = 8;
const TYPE_CODE = { put: 1, append: 2, delete: 3 } as const;
const CONDITION_REVISION = 1;
const CONDITION_ABSENT = 2;
const CONDITION_PRESENT = 3;
const ONCE_IDEMPOTENCY_KEY = 1;
const ONCE_SESSION = 2;
const CONTENT_TYPE_BIT = 1 << 6;
const CHAR_FIRST = 0x20;
const CHAR_LAST = 0x7e;
const TWO_TO_32 = 2 ** 32;
const NO_BYTES = new Uint8Array(0);
/** Requests live until they are in the log: large slabs are soon free again. */
const REQUEST_SLAB_BYTES = 64 * 1024;
const requests = new ByteSlabs(REQUEST_SLAB_BYTES, REQUEST_SLAB_BYTES / 8);

/**
 * The request's bytes.
 *
 * @throws {CommandError} If a part of it is outside its limits: keys of 1 to KEY_BYTES_MAX bytes,
 * values up to VALUE_BYTES_MAX, texts of printable ASCII.
 */
export function encodeRequest({ command, once }: Request): Uint8Array<ArrayBuffer> {
  const { key, condition } = command;
  const value = command.type === "delete" ? NO_BYTES : command.value;
  const contentType = command.type === "put" ? command.contentType : undefined;
  checkKey(key.length);
  if (!isByteString(key)) throw new CommandError("key-size", "its key is not a byte string");
  checkValue(value.length);

  const size = HEADER_BYTES + (typeof condition === "object" ? INTEGER_BYTES : 0) +
    (contentType === undefined ? 0 : 1 + contentType.length) + onceSize(once) +
    key.length + value.length;
  const bytes = requests.allocate(size);
  bytes[0] = REQUEST_VERSION;
  bytes[1] = TYPE_CODE[command.type] | (conditionCode(condition) << 2) | (onceCode(once) << 4) |
    (contentType === undefined ? 0 : CONTENT_TYPE_BIT);
  bytes[2] = key.length;
  bytes[3] = key.length >>> 8;
  bytes[4] = value.length;
  bytes[5] = value.length >>> 8;
  bytes[6] = value.length >>> 16;
  bytes[7] = value.length >>> 24;
  let at = HEADER_BYTES;
  if (typeof condition === "object") at = writeInteger(bytes, at, condition.revision);
  if (contentType !== undefined) {
    at = writeText(bytes, at, "content type", contentType, CONTENT_TYPE_CHARS_MAX);
  }
  if (once?.type === "idempotencyKey") {
    at = writeText(bytes, at, "idempotency key", once.key, IDEMPOTENCY_KEY_CHARS_MAX);
    at = writeText(bytes, at, "fingerprint", once.fingerprint, FINGERPRINT_CHARS_MAX);
  } else if (once?.type === "session") {
    if (once.sequence < 1) throw new CommandError("number", "its sequence is less than 1");
    at = writeInteger(bytes, at, once.sequence);
    at = writeText(bytes, at, "client id", once.clientId, CLIENT_ID_CHARS_MAX);
  }
  at = writeByteString(key, bytes, at);
  bytes.set(value, at);
  return bytes;
}

/**
 * Reads a request's bytes; the value is a view of them.
 *
 * @throws {CommandError} If they are anything but one whole request within its limits.
 */
export function decodeRequest(bytes: Uint8Array): Request {
  if (bytes.length < HEADER_BYTES) throw new CommandError("malformed", "it is cut short");
  if (bytes[0] !== REQUEST_VERSION) {
    throw new CommandError("unknown-version", `its version is ${bytes[0]}, not 1`);
  }
  const shape = bytes[1]!;
  const keyLength = bytes[2]! | (bytes[3]! << 8);
  const valueLength = (bytes[4]! | (bytes[5]! << 8) | (bytes[6]! << 16) | (bytes[7]! << 24)) >>> 0;
  checkKey(keyLength);
  checkValue(valueLength);

  const reader = new Reader(bytes, HEADER_BYTES);
  const condition = readCondition(reader, (shape >>> 2) & 3);
  const contentType = (shape & CONTENT_TYPE_BIT) === 0
    ? undefined
    : reader.text("content type", CONTENT_TYPE_CHARS_MAX);
  const once = readOnce(reader, (shape >>> 4) & 3);
  const keyAt = reader.at;
  const valueAt = keyAt + keyLength;
  if (valueAt + valueLength !== bytes.length || shape >>> 7 !== 0) {
    throw new CommandError("malformed", "its lengths do not add up");
  }
  const key = toByteString(bytes, keyAt, valueAt);
  switch (shape & 3) {
    case TYPE_CODE.put: {
      const value = bytes.subarray(valueAt);
      return { command: { type: "put", key, value, contentType, condition }, once };
    }
    case TYPE_CODE.append:
      if (contentType !== undefined) break;
      return { command: { type: "append", key, value: bytes.subarray(valueAt), condition }, once };
    case TYPE_CODE.delete:
      if (contentType !== undefined || valueLength > 0) break;
      return { command: { type: "delete", key, condition }, once };
  }
  throw new CommandError("malformed", `its shape is ${shape}`);
}

class Reader {
  at: number;
  readonly #bytes: Uint8Array;

  constructor(bytes: Uint8Array, at: number) {
    this.#bytes = bytes;
    this.at = at;
  }

  integer(): number {
    const { at } = this;
    this.#take(INTEGER_BYTES);
    const view = new DataView(this.#bytes.buffer, this.#bytes.byteOffset + at, INTEGER_BYTES);
    const value = view.getUint32(4, true) * TWO_TO_32 + view.getUint32(0, true);
    checkInteger(value);
    return value;
  }

  text(what: string, charsMax: number): string {
    const length = this.#bytes[this.at] ?? 0;
    this.#take(1);
    const start = this.at;
    this.#take(length);
    const text = toByteString(this.#bytes, start, this.at);
    checkText(what, text, charsMax);
    return text;
  }

  #take(count: number): void {
    this.at += count;
    if (this.at > this.#bytes.length) throw new CommandError("malformed", "it is cut short");
  }
}

function readCondition(reader: Reader, code: number): Condition | undefined {
  switch (code) {
    case CONDITION_REVISION:
      return { revision: reader.integer() };
    case CONDITION_ABSENT:
      return "absent";
    case CONDITION_PRESENT:
      return "present";
    default:
      return undefined;
  }
}

function readOnce(reader: Reader, code: number): Once | undefined {
  if (code === 0) return undefined;
  if (code === ONCE_IDEMPOTENCY_KEY) {
    const key = reader.text("idempotency key", IDEMPOTENCY_KEY_CHARS_MAX);
    const fingerprint = reader.text("fingerprint", FINGERPRINT_CHARS_MAX);
    return { type: "idempotencyKey", key, fingerprint };
  }
  if (code === ONCE_SESSION) {
    const sequence = reader.integer();
    if (sequence < 1) throw new CommandError("number", "its sequence is less than 1");
    return { type: "session", clientId: reader.text("client id", CLIENT_ID_CHARS_MAX), sequence };
  }
  throw new CommandError("malformed", "it says in an unknown way how it is recognised");
}

function conditionCode(condition: Condition | undefined): number {
  if (condition === undefined) return 0;
  if (condition === "absent") return CONDITION_ABSENT;
  return condition === "present" ? CONDITION_PRESENT : CONDITION_REVISION;
}

function onceCode(once: Once | undefined): number {
  if (once === undefined) return 0;
  return once.type === "session" ? ONCE_SESSION : ONCE_IDEMPOTENCY_KEY;
}

function onceSize(once: Once | undefined): number {
  if (once === undefined) return 0;
  if (once.type === "session") return INTEGER_BYTES + 1 + once.clientId.length;
  return 2 + once.key.length + once.fingerprint.length;
}

function writeInteger(bytes: Uint8Array, at: number, value: number): number {
  checkInteger(value);
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  const low = value >>> 0;
  view.setUint32(at, low, true);
  view.setUint32(at + 4, (value - low) / TWO_TO_32, true);
  return at + INTEGER_BYTES;
}

function writeText(
  bytes: Uint8Array,
  at: number,
  what: string,
  text: string,
  charsMax: number,
): number {
  checkText(what, text, charsMax);
  bytes[at] = text.length;
  return writeByteString(text, bytes, at + 1);
}

function checkKey(length: number): void {
  if (length >= 1 && length <= KEY_BYTES_MAX) return;
  throw new CommandError("key-size", `its key has ${length} bytes, not 1 to ${KEY_BYTES_MAX}`);
}

function checkValue(length: number): void {
  if (length <= VALUE_BYTES_MAX) return;
  throw new CommandError(
    "value-size",
    `its value has ${length} bytes, more than ${VALUE_BYTES_MAX}`,
  );
}

function checkText(what: string, text: string, charsMax: number): void {
  if (text.length < 1 || text.length > charsMax) {
    const reason = `its ${what} has ${text.length} characters, not 1 to ${charsMax}`;
    throw new CommandError("text", reason);
  }
  for (let at = 0; at < text.length; at++) {
    const code = text.charCodeAt(at);
    if (code >= CHAR_FIRST && code <= CHAR_LAST) continue;
    throw new CommandError("text", `its ${what} is not printable ASCII`);
  }
}

function checkInteger(value: number): void {
  if (Number.isSafeInteger(value) && value >= 0) return;
  throw new CommandError("number", `${value} is not an integer from 0 to 2^53-1`);
}
