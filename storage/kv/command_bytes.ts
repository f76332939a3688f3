/**
 * The parts that a command's bytes are made of, written and read within their limits.
 *
 * | part | bytes |
 * |---|---|
 * | number | numbers.ts |
 * | text, printable ASCII | its length in one byte, its characters |
 * | key | its length as a number, its bytes |
 * | value | its length as a number, its bytes |
 *
 * Each part has one encoding only, and so has a command.
 *
 * @module
 */
import { isByteString, toByteString, writeByteString } from "../byte_string.ts";
import { KEY_BYTES_MAX, VALUE_BYTES_MAX } from "./limits.ts";
import { numberSize, readNumber, writeNumber } from "./numbers.ts";

/** What is wrong with a command or its bytes. */
export type CommandErrorCode =
  | "unknown-version"
  | "malformed"
  | "command-size"
  | "key-size"
  | "value-size"
  | "text"
  | "number";

/** A command that cannot be encoded, or bytes that are not a command. */
export class CommandError extends Error {
  override readonly name = "CommandError";
  readonly code: CommandErrorCode;

  constructor(code: CommandErrorCode, reason: string) {
    super(`Cannot take command: ${reason}`);
    this.code = code;
  }
}

const CHAR_FIRST = 0x20;
const CHAR_LAST = 0x7e;

/** Reads the parts of a command one after the other. Every call throws a CommandError. */
export class CommandReader {
  #at: number;
  readonly #bytes: Uint8Array;

  constructor(bytes: Uint8Array, at: number) {
    this.#bytes = bytes;
    this.#at = at;
  }

  get isAtEnd(): boolean {
    return this.#at === this.#bytes.length;
  }

  byte(): number {
    const byte = this.#bytes[this.#at++];
    if (byte === undefined) throw cutShort();
    return byte;
  }

  number(): number {
    const value = readNumber(this.#bytes, this.#at);
    if (value < 0) {
      const reason = "a number of it is cut short, longer than needed or above 2^53-1";
      throw new CommandError("malformed", reason);
    }
    this.#at += numberSize(value);
    return value;
  }

  /** A text, or undefined if there is none. */
  optionalText(what: string, charsMax: number): string | undefined {
    const length = this.byte();
    if (length === 0) return undefined;
    const text = this.#byteString(length);
    checkText(what, text, charsMax);
    return text;
  }

  text(what: string, charsMax: number): string {
    const text = this.optionalText(what, charsMax) ?? "";
    if (text === "") checkText(what, text, charsMax);
    return text;
  }

  key(): string {
    const length = this.number();
    checkKeyLength(length);
    return this.#byteString(length);
  }

  /** A bound of keys: as a key, but it may be empty. */
  bound(): string {
    const length = this.number();
    checkBoundLength(length);
    return this.#byteString(length);
  }

  /** A view of the bytes. */
  value(): Uint8Array {
    const length = this.number();
    checkValue(length);
    const start = this.#take(length);
    return this.#bytes.subarray(start, start + length);
  }

  #byteString(length: number): string {
    const start = this.#take(length);
    return toByteString(this.#bytes, start, start + length);
  }

  #take(count: number): number {
    const start = this.#at;
    this.#at += count;
    if (this.#at > this.#bytes.length) throw cutShort();
    return start;
  }
}

/** How many bytes a text takes; undefined takes one. */
export function textSize(text: string | undefined): number {
  return 1 + (text === undefined ? 0 : text.length);
}

/** Writes a text, or that there is none, and returns the offset just after it. */
export function writeText(text: string | undefined, bytes: Uint8Array, at: number): number {
  if (text === undefined) {
    bytes[at] = 0;
    return at + 1;
  }
  bytes[at] = text.length;
  return writeByteString(text, bytes, at + 1);
}

/** How many bytes a key takes. */
export function keySize(key: string): number {
  return numberSize(key.length) + key.length;
}

/** Writes a key, and returns the offset just after it. */
export function writeKey(key: string, bytes: Uint8Array, at: number): number {
  return writeByteString(key, bytes, writeNumber(key.length, bytes, at));
}

/** How many bytes a bound of keys takes. */
export function boundSize(bound: string): number {
  return keySize(bound);
}

/** Writes a bound of keys, and returns the offset just after it. */
export function writeBound(bound: string, bytes: Uint8Array, at: number): number {
  return writeKey(bound, bytes, at);
}

/** How many bytes a value takes. */
export function valueSize(value: Uint8Array): number {
  return numberSize(value.length) + value.length;
}

/** Writes a value, and returns the offset just after it. */
export function writeValue(value: Uint8Array, bytes: Uint8Array, at: number): number {
  const start = writeNumber(value.length, bytes, at);
  bytes.set(value, start);
  return start + value.length;
}

/** @throws {CommandError} If it is no key. */
export function checkKey(key: string): void {
  checkKeyLength(key.length);
  if (!isByteString(key)) throw new CommandError("key-size", "its key is not a byte string");
}

/** @throws {CommandError} If it is no bound of keys. */
export function checkBound(bound: string): void {
  checkBoundLength(bound.length);
  if (!isByteString(bound)) throw new CommandError("key-size", "a bound is not a byte string");
}

/** @throws {CommandError} If that is more than a value may have. */
export function checkValue(length: number): void {
  if (length <= VALUE_BYTES_MAX) return;
  throw new CommandError(
    "value-size",
    `its value has ${length} bytes, more than ${VALUE_BYTES_MAX}`,
  );
}

/** @throws {CommandError} If it is not printable ASCII of 1 to `charsMax` characters. */
export function checkText(what: string, text: string, charsMax: number): void {
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

/** @throws {CommandError} If it is no integer from 0 to 2^53-1. */
export function checkNumber(value: number): void {
  if (Number.isSafeInteger(value) && value >= 0) return;
  throw new CommandError("number", `${value} is not an integer from 0 to 2^53-1`);
}

function checkKeyLength(length: number): void {
  if (length >= 1 && length <= KEY_BYTES_MAX) return;
  throw new CommandError("key-size", `its key has ${length} bytes, not 1 to ${KEY_BYTES_MAX}`);
}

function checkBoundLength(length: number): void {
  if (length <= KEY_BYTES_MAX) return;
  throw new CommandError("key-size", `a bound has ${length} bytes, more than ${KEY_BYTES_MAX}`);
}

function cutShort(): CommandError {
  return new CommandError("malformed", "it is cut short");
}
