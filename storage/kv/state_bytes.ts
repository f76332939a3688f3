/**
 * The parts that a state's bytes are made of: numbers (numbers.ts), texts and values, each a number
 * for its length and its bytes, and entries, which are made of those.
 *
 * @module
 */
import { toByteString, writeByteString } from "../byte_string.ts";
import type { KvEntry } from "./entry.ts";
import { NUMBER_BYTES_MAX, numberSize, readNumber, writeNumber } from "./numbers.ts";

/** A chunk is handed over once it has this many bytes; a larger item has a chunk of its own. */
export const STATE_CHUNK_BYTES = 64 * 1024;

/** These bytes are no state of this version. */
export class StateError extends Error {
  override readonly name = "StateError";

  constructor(reason: string) {
    super(`Cannot load a state: ${reason}`);
  }
}

/** Writes the parts of a state one after the other. */
export class StateWriter {
  #bytes = new Uint8Array(STATE_CHUNK_BYTES);
  #at = 0;

  get length(): number {
    return this.#at;
  }

  /** What was written since the last call. */
  take(): Uint8Array {
    const taken = this.#bytes.slice(0, this.#at);
    this.#at = 0;
    return taken;
  }

  /** As `take`, as a byte string. */
  takeText(): string {
    const taken = toByteString(this.#bytes, 0, this.#at);
    this.#at = 0;
    // A large result is rare; without this its buffer would be kept for good.
    if (this.#bytes.length > STATE_CHUNK_BYTES) this.#bytes = new Uint8Array(STATE_CHUNK_BYTES);
    return taken;
  }

  byte(value: number): void {
    this.#reserve(1);
    this.#bytes[this.#at++] = value;
  }

  /** An integer from 0 to 2^53-1. */
  number(value: number): void {
    this.#reserve(NUMBER_BYTES_MAX);
    this.#at = writeNumber(value, this.#bytes, this.#at);
  }

  bytes(value: Uint8Array): void {
    this.number(value.length);
    this.#reserve(value.length);
    this.#bytes.set(value, this.#at);
    this.#at += value.length;
  }

  /** A byte string. */
  text(value: string): void {
    this.number(value.length);
    this.#reserve(value.length);
    this.#at = writeByteString(value, this.#bytes, this.#at);
  }

  /** An entry: its value, content type and numbers. */
  entry({ value, contentType, created, revision, version }: KvEntry): void {
    this.bytes(value);
    this.text(contentType ?? "");
    this.number(created);
    this.number(revision);
    this.number(version);
  }

  #reserve(size: number): void {
    if (this.#at + size <= this.#bytes.length) return;
    const grown = new Uint8Array(Math.max(this.#at + size, 2 * this.#bytes.length));
    grown.set(this.#bytes.subarray(0, this.#at));
    this.#bytes = grown;
  }
}

/** Reads what a {@linkcode StateWriter} wrote. Every call throws a StateError. */
export class StateReader {
  readonly #bytes: Uint8Array;
  #at = 0;

  constructor(bytes: Uint8Array) {
    this.#bytes = bytes;
  }

  get isAtEnd(): boolean {
    return this.#at === this.#bytes.length;
  }

  byte(): number {
    return this.#bytes[this.#take(1)]!;
  }

  number(): number {
    const value = readNumber(this.#bytes, this.#at);
    if (value < 0) throw new StateError("a number is cut short or out of range");
    this.#at += numberSize(value);
    return value;
  }

  /** A number that is 0 or 1. */
  flag(): boolean {
    const value = this.number();
    if (value > 1) throw new StateError("a flag is neither 0 nor 1");
    return value === 1;
  }

  /** A view of the chunk. */
  bytes(): Uint8Array {
    const length = this.number();
    const start = this.#take(length);
    return this.#bytes.subarray(start, start + length);
  }

  text(): string {
    const length = this.number();
    const start = this.#take(length);
    return toByteString(this.#bytes, start, start + length);
  }

  /** An entry whose value is a view of the chunk. */
  entry(): KvEntry {
    const value = this.bytes();
    const contentType = this.text() || undefined;
    const [created, revision, version] = [this.number(), this.number(), this.number()];
    return { value, contentType, created, revision, version };
  }

  #take(size: number): number {
    const start = this.#at;
    if (start + size > this.#bytes.length) throw new StateError("a chunk ends within an item");
    this.#at += size;
    return start;
  }
}
