/**
 * Byte strings: keys as JavaScript strings with one char (0 to 255) per byte.
 *
 * `<` on them is bytewise order, a `Map` finds them, and V8 keeps them one byte wide.
 *
 * @module
 */

type Slice = (this: Uint8Array, start: number, end: number) => string;

// Called on plain Uint8Arrays: a Buffer around each key would cost more than the conversion. It
// returns a flat string, which `<` compares three times as fast as one joined from parts. Browsers, where
// the client runs as well, have no Buffer.
const latin1Slice: Slice = (globalThis as { readonly Buffer?: { readonly prototype: unknown } })
    .Buffer === undefined
  ? sliceByChars
  : (globalThis as unknown as { Buffer: { prototype: { latin1Slice: Slice } } })
    .Buffer.prototype.latin1Slice;

/** As Buffer's latin1Slice. */
export function sliceByChars(this: Uint8Array, start: number, end: number): string {
  let text = "";
  for (let at = start; at < end; at++) text += String.fromCharCode(this[at]!);
  return text;
}

/** The bytes from `start` to `end` as a byte string; it shares no memory with `bytes`. */
export function toByteString(
  bytes: Uint8Array,
  start: number = 0,
  end: number = bytes.length,
): string {
  return latin1Slice.call(bytes, start, end);
}

/** The bytes of a byte string. */
export function toBytes(byteString: string): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(byteString.length);
  writeByteString(byteString, bytes, 0);
  return bytes;
}

/** Writes the bytes of a byte string into `target` and returns the offset just after them. */
export function writeByteString(byteString: string, target: Uint8Array, at: number): number {
  for (let i = 0; i < byteString.length; i++) target[at + i] = byteString.charCodeAt(i);
  return at + byteString.length;
}

/** Whether every char stands for one byte. */
export function isByteString(text: string): boolean {
  for (let i = 0; i < text.length; i++) if (text.charCodeAt(i) > 0xff) return false;
  return true;
}

/**
 * The smallest byte string greater than all that begin with `prefix`; `undefined` if there is
 * none, because the prefix is empty or has only 0xff bytes.
 */
export function prefixEnd(prefix: string): string | undefined {
  for (let last = prefix.length - 1; last >= 0; last--) {
    const code = prefix.charCodeAt(last);
    if (code < 0xff) return prefix.slice(0, last) + String.fromCharCode(code + 1);
  }
  return undefined;
}
