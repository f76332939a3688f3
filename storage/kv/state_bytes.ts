/**
 * The parts that a state's bytes are made of: a number is 8 bytes, little-endian; a text or value is
 * a 4-byte length and its bytes.
 *
 * @module
 */
import { toByteString, writeByteString } from "../byte_string.ts";

/** A chunk is handed over once it has this many bytes; a larger item has a chunk of its own. */
export const STATE_CHUNK_BYTES = 64 * 1024;
const NUMBER_BYTES = 8;

/** Bytes that are no state of this version. */
export class StateError extends Error {
  override readonly name = "StateError";

  constructor(reason: string) {
    super(`Cannot load a state: ${reason}`);
  }
}

/** What takes the parts of something that is kept. */
export interface StateSink {
  /** An integer from 0 to 2^53-1. */
  number(value: number): void;
  /** A byte string. */
  text(value: string): void;
  bytes(value: Uint8Array): void;
}

/** Writes the parts of a state one after the other. */
export class StateWriter implements StateSink {
  #bytes = new Uint8Array(STATE_CHUNK_BYTES);
  #view = new DataView(this.#bytes.buffer);
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

  byte(value: number): void {
    this.#reserve(1);
    this.#bytes[this.#at++] = value;
  }

  number(value: number): void {
    this.#reserve(NUMBER_BYTES);
    this.#view.setFloat64(this.#at, value, true);
    this.#at += NUMBER_BYTES;
  }

  bytes(value: Uint8Array): void {
    this.#length(value.length);
    this.#bytes.set(value, this.#at);
    this.#at += value.length;
  }

  text(value: string): void {
    this.#length(value.length);
    this.#at = writeByteString(value, this.#bytes, this.#at);
  }

  #length(length: number): void {
    this.#reserve(4 + length);
    this.#view.setUint32(this.#at, length, true);
    this.#at += 4;
  }

  #reserve(size: number): void {
    if (this.#at + size <= this.#bytes.length) return;
    const grown = new Uint8Array(Math.max(this.#at + size, 2 * this.#bytes.length));
    grown.set(this.#bytes.subarray(0, this.#at));
    this.#bytes = grown;
    this.#view = new DataView(grown.buffer);
  }
}

/** Reads what a {@linkcode StateWriter} wrote. Every call throws a StateError. */
export class StateReader {
  readonly #bytes: Uint8Array;
  readonly #view: DataView;
  #at = 0;

  constructor(bytes: Uint8Array) {
    this.#bytes = bytes;
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  }

  get isAtEnd(): boolean {
    return this.#at === this.#bytes.length;
  }

  byte(): number {
    return this.#bytes[this.#take(1)]!;
  }

  number(): number {
    const value = this.#view.getFloat64(this.#take(NUMBER_BYTES), true);
    if (!Number.isSafeInteger(value) || value < 0) throw new StateError("a number is out of range");
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
    const length = this.#view.getUint32(this.#take(4), true);
    const start = this.#take(length);
    return this.#bytes.subarray(start, start + length);
  }

  text(): string {
    const length = this.#view.getUint32(this.#take(4), true);
    const start = this.#take(length);
    return toByteString(this.#bytes, start, start + length);
  }

  #take(size: number): number {
    const start = this.#at;
    if (start + size > this.#bytes.length) throw new StateError("a chunk ends within an item");
    this.#at += size;
    return start;
  }
}
