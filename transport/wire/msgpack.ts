/**
 * MessagePack, the part of it that our frames use: written and read field by field, with every
 * limit checked before anything is allocated.
 *
 * Why not a library: a general decoder allocates what an array's header claims, has no bound on
 * nesting, and builds an array of fields that is taken apart again at once.
 * tests/transport/codec_test.ts holds both directions against `@msgpack/msgpack`.
 *
 * @module
 */
import {
  FRAME_BYTES_MAX,
  FRAME_HEADER_BYTES,
  WIRE_ARRAY_LENGTH_MAX,
  WIRE_MAP_LENGTH_MAX,
  WIRE_NESTING_MAX,
  WIRE_STRING_BYTES_MAX,
  WIRE_VALUES_MAX,
} from "./limits.ts";
import { WireError, type WireValue } from "./messages.ts";

const SCRATCH_BYTES_MIN = 4 * 1024;
/** A scratch buffer that a large message has made larger than this is dropped. */
const SCRATCH_BYTES_KEPT = 256 * 1024;
const ASCII_LENGTH_MAX = 64;
const TWO_32 = 2 ** 32;

const utf8Encoder = new TextEncoder();
const utf8Decoder = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

/** Writes one frame at a time: `begin`, values, then `end` or `endWithBin`. */
export class FrameWriter {
  #scratch = new Uint8Array(SCRATCH_BYTES_MIN);
  #view = new DataView(this.#scratch.buffer);
  #length = FRAME_HEADER_BYTES;
  #values = 0;

  /** Forgets what was written and starts a frame. */
  begin(): void {
    this.#length = FRAME_HEADER_BYTES;
    this.#values = 0;
  }

  /**
   * The complete frame, its length in front; the caller owns the bytes.
   *
   * @throws {WireError} If the body exceeds FRAME_BYTES_MAX.
   */
  end(): Uint8Array {
    const bodyBytes = this.#length - FRAME_HEADER_BYTES;
    checkBody(bodyBytes);
    this.#view.setUint32(0, bodyBytes);
    const frame = this.#scratch.slice(0, this.#length);
    if (this.#scratch.length > SCRATCH_BYTES_KEPT) {
      this.#scratch = new Uint8Array(SCRATCH_BYTES_MIN);
      this.#view = new DataView(this.#scratch.buffer);
    }
    return frame;
  }

  /**
   * As `end`, with `parts` as one last bin value: each byte is copied once, into the frame.
   *
   * @throws {WireError} If the body exceeds FRAME_BYTES_MAX.
   */
  endWithBin(parts: readonly { readonly bytes: Uint8Array }[]): Uint8Array {
    let binBytes = 0;
    for (const part of parts) binBytes += part.bytes.length;
    this.#binHeader(binBytes);
    const bodyBytes = this.#length - FRAME_HEADER_BYTES + binBytes;
    checkBody(bodyBytes);
    this.#view.setUint32(0, bodyBytes);
    const frame = new Uint8Array(FRAME_HEADER_BYTES + bodyBytes);
    frame.set(this.#scratch.subarray(0, this.#length));
    let at = this.#length;
    for (const part of parts) {
      frame.set(part.bytes, at);
      at += part.bytes.length;
    }
    return frame;
  }

  array(length: number): void {
    this.#reserve(5);
    if (length < 16) this.#scratch[this.#length++] = 0x90 | length;
    else this.#sized(length, 0, 0xdc, 0xdd);
  }

  boolean(value: boolean): void {
    this.#reserve(1);
    this.#scratch[this.#length++] = value ? 0xc3 : 0xc2;
  }

  nil(): void {
    this.#reserve(1);
    this.#scratch[this.#length++] = 0xc0;
  }

  /** An integer of 0 to 2^53-1. */
  uint(value: number): void {
    this.#reserve(9);
    if (value < 0x80) this.#scratch[this.#length++] = value;
    else if (value < TWO_32) this.#sized(value, 0xcc, 0xcd, 0xce);
    else {
      this.#scratch[this.#length++] = 0xcf;
      this.#view.setUint32(this.#length, Math.floor(value / TWO_32));
      this.#view.setUint32(this.#length + 4, value % TWO_32);
      this.#length += 8;
    }
  }

  string(value: string): void {
    if (value.length <= ASCII_LENGTH_MAX && this.#shortAscii(value)) return;
    if (!value.isWellFormed()) {
      throw new WireError("not-encodable", "Cannot encode: a string has a lone surrogate");
    }
    if (value.length > WIRE_STRING_BYTES_MAX) throw tooLarge("a string", WIRE_STRING_BYTES_MAX);
    const bytes = utf8Encoder.encode(value);
    if (bytes.length > WIRE_STRING_BYTES_MAX) throw tooLarge("a string", WIRE_STRING_BYTES_MAX);
    this.#reserve(5);
    if (bytes.length < 32) this.#scratch[this.#length++] = 0xa0 | bytes.length;
    else this.#sized(bytes.length, 0xd9, 0xda, 0xdb);
    this.#append(bytes);
  }

  bin(bytes: Uint8Array): void {
    if (bytes.length > FRAME_BYTES_MAX) throw tooLarge("bytes", FRAME_BYTES_MAX);
    this.#binHeader(bytes.length);
    this.#append(bytes);
  }

  /**
   * Any plain value.
   *
   * @throws {WireError} If the value is not a {@linkcode WireValue} or exceeds a limit.
   */
  value(value: WireValue, depth = 1): void {
    if (++this.#values > WIRE_VALUES_MAX) {
      throw new WireError(
        "too-many-values",
        `Cannot encode: more than ${WIRE_VALUES_MAX} values in a message`,
      );
    }
    if (value === undefined) return this.nil();
    if (typeof value === "boolean") return this.boolean(value);
    if (typeof value === "number") return this.#number(value);
    if (typeof value === "string") return this.string(value);
    if (typeof value !== "object" || value === null) throw notPlain(value);
    if (value instanceof Uint8Array) return this.bin(value);
    if (depth >= WIRE_NESTING_MAX) {
      throw new WireError("too-deep", `Cannot encode: nested deeper than ${WIRE_NESTING_MAX}`);
    }
    if (isArray(value)) {
      if (value.length > WIRE_ARRAY_LENGTH_MAX) throw tooLarge("an array", WIRE_ARRAY_LENGTH_MAX);
      this.array(value.length);
      for (const element of value) this.value(element, depth + 1);
    } else {
      this.#object(value, depth);
    }
  }

  #object(value: { readonly [key: string]: WireValue }, depth: number): void {
    const prototype = Object.getPrototypeOf(value);
    if (prototype !== Object.prototype && prototype !== null) throw notPlain(value);
    const keys = Object.keys(value);
    if (keys.length > WIRE_MAP_LENGTH_MAX) throw tooLarge("an object", WIRE_MAP_LENGTH_MAX);
    this.#reserve(5);
    if (keys.length < 16) this.#scratch[this.#length++] = 0x80 | keys.length;
    else this.#sized(keys.length, 0, 0xde, 0xdf);
    for (const key of keys) {
      if (key === "__proto__") {
        throw new WireError("not-encodable", "Cannot encode: an object has the key __proto__");
      }
      this.string(key);
      this.value(value[key], depth + 1);
    }
  }

  #number(value: number): void {
    if (Number.isSafeInteger(value) && !Object.is(value, -0)) {
      if (value >= 0) return this.uint(value);
      if (value >= -32) {
        this.#reserve(1);
        this.#scratch[this.#length++] = value & 0xff;
        return;
      }
    }
    if (!Number.isFinite(value)) throw notPlain(value);
    this.#reserve(9);
    this.#scratch[this.#length] = 0xcb;
    this.#view.setFloat64(this.#length + 1, value);
    this.#length += 9;
  }

  /** True if the string was ASCII and is now written. */
  #shortAscii(value: string): boolean {
    this.#reserve(value.length + 2);
    const scratch = this.#scratch;
    let at = this.#length + (value.length < 32 ? 1 : 2);
    for (let i = 0; i < value.length; i++) {
      const unit = value.charCodeAt(i);
      if (unit >= 0x80) return false;
      scratch[at++] = unit;
    }
    if (value.length < 32) scratch[this.#length] = 0xa0 | value.length;
    else {
      scratch[this.#length] = 0xd9;
      scratch[this.#length + 1] = value.length;
    }
    this.#length = at;
    return true;
  }

  #binHeader(length: number): void {
    this.#reserve(5);
    this.#sized(length, 0xc4, 0xc5, 0xc6);
  }

  /** A header byte and a length of 8, 16 or 32 bits; `head8` of 0: there is no 8-bit form. */
  #sized(length: number, head8: number, head16: number, head32: number): void {
    if (length < 0x100 && head8 !== 0) {
      this.#scratch[this.#length++] = head8;
      this.#scratch[this.#length++] = length;
    } else if (length < 0x10000) {
      this.#scratch[this.#length] = head16;
      this.#view.setUint16(this.#length + 1, length);
      this.#length += 3;
    } else {
      this.#scratch[this.#length] = head32;
      this.#view.setUint32(this.#length + 1, length);
      this.#length += 5;
    }
  }

  #append(bytes: Uint8Array): void {
    this.#reserve(bytes.length);
    this.#scratch.set(bytes, this.#length);
    this.#length += bytes.length;
  }

  #reserve(bytes: number): void {
    const needed = this.#length + bytes;
    if (needed <= this.#scratch.length) return;
    checkBody(this.#length - FRAME_HEADER_BYTES);
    const grown = new Uint8Array(Math.max(needed, this.#scratch.length * 2));
    grown.set(this.#scratch.subarray(0, this.#length));
    this.#scratch = grown;
    this.#view = new DataView(grown.buffer);
  }
}

/**
 * Reads one frame's body, value by value.
 *
 * Every method throws a {@linkcode WireError}, and nothing else, if the bytes are not what it
 * expects. Bytes are views of the body, not copies.
 */
export class BodyCursor {
  readonly #bytes: Uint8Array;
  readonly #view: DataView;
  #at = 0;
  #values = 0;

  constructor(body: Uint8Array) {
    this.#bytes = body;
    this.#view = new DataView(body.buffer, body.byteOffset, body.byteLength);
  }

  /** @throws {WireError} If bytes are left. */
  end(): void {
    if (this.#at !== this.#bytes.length) {
      throw new WireError(
        "trailing-bytes",
        `Cannot decode a frame: ${this.#bytes.length - this.#at} bytes left over`,
      );
    }
  }

  /** The header of an array: its length. */
  array(): number {
    const head = this.#byte();
    if (head >= 0x90 && head <= 0x9f) return head & 0x0f;
    if (head === 0xdc) return this.#uint16();
    if (head === 0xdd) return this.#uint32();
    throw badField("message", "an array");
  }

  /** An integer of `min` to `max`, at most 2^53-1. */
  uint(field: string, max: number, min = 0): number {
    const head = this.#byte();
    const value = head < 0x80 ? head : this.#unsigned(head);
    if (value === undefined || value < min || value > max) {
      throw badField(field, `an integer of ${min} to ${max}`);
    }
    return value;
  }

  boolean(field: string): boolean {
    const head = this.#byte();
    if (head === 0xc3) return true;
    if (head === 0xc2) return false;
    throw badField(field, "a boolean");
  }

  string(field: string, bytesMax: number): string {
    const length = this.#stringLength(this.#byte());
    if (length === undefined) throw badField(field, "a string");
    return this.#text(field, length, bytesMax);
  }

  bin(field: string): Uint8Array {
    const length = this.#binLength(this.#byte());
    if (length === undefined) throw badField(field, "bytes");
    return this.#take(length);
  }

  /** Any {@linkcode WireValue}. */
  value(depth = 1): WireValue {
    if (++this.#values > WIRE_VALUES_MAX) {
      throw new WireError(
        "too-many-values",
        `Cannot decode a frame: more than ${WIRE_VALUES_MAX} values`,
      );
    }
    const head = this.#byte();
    if (head < 0x80) return head;
    if (head >= 0xe0) return head - 0x100;
    if (head === 0xc0) return undefined;
    if (head === 0xc2) return false;
    if (head === 0xc3) return true;
    const unsigned = this.#unsigned(head);
    if (unsigned !== undefined) return safeInteger(unsigned);
    const stringBytes = this.#stringLength(head);
    if (stringBytes !== undefined) return this.#text("payload", stringBytes, WIRE_STRING_BYTES_MAX);
    const binBytes = this.#binLength(head);
    if (binBytes !== undefined) return this.#take(binBytes);
    return this.#signedOrFloat(head) ?? this.#container(head, depth);
  }

  #container(head: number, depth: number): WireValue {
    if (depth >= WIRE_NESTING_MAX) {
      throw new WireError(
        "too-deep",
        `Cannot decode a frame: nested deeper than ${WIRE_NESTING_MAX}`,
      );
    }
    if (head >= 0x90 && head <= 0x9f) return this.#elements(head & 0x0f, depth);
    if (head === 0xdc) return this.#elements(this.#uint16(), depth);
    if (head === 0xdd) return this.#elements(this.#uint32(), depth);
    if (head <= 0x8f) return this.#entries(head & 0x0f, depth);
    if (head === 0xde) return this.#entries(this.#uint16(), depth);
    if (head === 0xdf) return this.#entries(this.#uint32(), depth);
    throw new WireError(
      "unsupported-type",
      `Cannot decode a frame: MessagePack type 0x${head.toString(16)} is not in use`,
    );
  }

  #elements(length: number, depth: number): WireValue[] {
    this.#checkLength("an array", length, WIRE_ARRAY_LENGTH_MAX, 1);
    const elements: WireValue[] = [];
    for (let i = 0; i < length; i++) elements.push(this.value(depth + 1));
    return elements;
  }

  #entries(length: number, depth: number): WireValue {
    this.#checkLength("a map", length, WIRE_MAP_LENGTH_MAX, 2);
    const object: { [key: string]: WireValue } = {};
    for (let i = 0; i < length; i++) {
      const key = this.string("map key", WIRE_STRING_BYTES_MAX);
      if (key === "__proto__" || Object.hasOwn(object, key)) {
        throw badField("map key", "new and not __proto__");
      }
      object[key] = this.value(depth + 1);
    }
    return object;
  }

  #checkLength(what: string, length: number, max: number, bytesEach: number): void {
    if (length > max) {
      throw new WireError(
        "too-large",
        `Cannot decode a frame: ${what} of ${length}, at most ${max}`,
      );
    }
    if (length * bytesEach > this.#bytes.length - this.#at) throw truncated();
  }

  /**
   * The value of an unsigned head that is already consumed; undefined if the head is of another
   * type.
   */
  #unsigned(head: number): number | undefined {
    if (head === 0xcc) return this.#byte();
    if (head === 0xcd) return this.#uint16();
    if (head === 0xce) return this.#uint32();
    if (head === 0xcf) return this.#uint32() * TWO_32 + this.#uint32();
    return undefined;
  }

  #signedOrFloat(head: number): number | undefined {
    if (head === 0xd0) return this.#view.getInt8(this.#skip(1));
    if (head === 0xd1) return this.#view.getInt16(this.#skip(2));
    if (head === 0xd2) return this.#view.getInt32(this.#skip(4));
    if (head === 0xd3) {
      const at = this.#skip(8);
      return safeInteger(this.#view.getInt32(at) * TWO_32 + this.#view.getUint32(at + 4));
    }
    if (head === 0xca) return finite(this.#view.getFloat32(this.#skip(4)));
    if (head === 0xcb) return finite(this.#view.getFloat64(this.#skip(8)));
    return undefined;
  }

  #stringLength(head: number): number | undefined {
    if (head >= 0xa0 && head <= 0xbf) return head & 0x1f;
    if (head === 0xd9) return this.#byte();
    if (head === 0xda) return this.#uint16();
    if (head === 0xdb) return this.#uint32();
    return undefined;
  }

  #binLength(head: number): number | undefined {
    if (head === 0xc4) return this.#byte();
    if (head === 0xc5) return this.#uint16();
    if (head === 0xc6) return this.#uint32();
    return undefined;
  }

  #text(field: string, length: number, bytesMax: number): string {
    if (length > bytesMax) {
      throw new WireError(
        "too-large",
        `Cannot decode a frame: ${field} is a string of ${length} bytes, at most ${bytesMax}`,
      );
    }
    const bytes = this.#take(length);
    if (length <= ASCII_LENGTH_MAX) {
      let text = "";
      for (const byte of bytes) {
        if (byte >= 0x80) return decodeUtf8(field, bytes);
        text += String.fromCharCode(byte);
      }
      return text;
    }
    return decodeUtf8(field, bytes);
  }

  #take(length: number): Uint8Array {
    const start = this.#skip(length);
    return this.#bytes.subarray(start, start + length);
  }

  /** Consumes `bytes` and returns where they start. */
  #skip(bytes: number): number {
    const start = this.#at;
    if (bytes > this.#bytes.length - start) throw truncated();
    this.#at = start + bytes;
    return start;
  }

  #byte(): number {
    const byte = this.#bytes[this.#at];
    if (byte === undefined) throw truncated();
    this.#at++;
    return byte;
  }

  #uint16(): number {
    return this.#view.getUint16(this.#skip(2));
  }

  #uint32(): number {
    return this.#view.getUint32(this.#skip(4));
  }
}

/** The error for a field that holds something else than it must. */
export function badField(field: string, expected: string): WireError {
  return new WireError("bad-field", `Cannot decode a frame: ${field} is not ${expected}`);
}

function decodeUtf8(field: string, bytes: Uint8Array): string {
  try {
    return utf8Decoder.decode(bytes);
  } catch {
    throw badField(field, "UTF-8");
  }
}

function safeInteger(value: number): number {
  if (!Number.isSafeInteger(value)) throw badField("a number", "a safe integer");
  return value;
}

function finite(value: number): number {
  if (!Number.isFinite(value)) throw badField("a number", "finite");
  return value;
}

function truncated(): WireError {
  return new WireError("truncated", "Cannot decode a frame: it ends too early");
}

function checkBody(bytes: number): void {
  if (bytes > FRAME_BYTES_MAX) {
    throw new WireError(
      "frame-too-large",
      `Cannot encode: the message needs ${bytes} bytes, a frame has ${FRAME_BYTES_MAX}`,
    );
  }
}

function tooLarge(what: string, max: number): WireError {
  return new WireError("too-large", `Cannot encode: ${what} is longer than ${max}`);
}

function notPlain(value: unknown): WireError {
  const what = typeof value === "object" && value !== null
    ? `an instance of ${value.constructor?.name ?? "an unknown class"}`
    : String(value);
  return new WireError("not-encodable", `Cannot encode: ${what} is not a plain value`);
}

function isArray(value: object): value is readonly WireValue[] {
  return Array.isArray(value);
}
