/**
 * Bytes in parts to bytes in one piece.
 *
 * @module
 */

/** The parts one behind the other; `length` is that of all of them together. */
export function joinBytes(parts: readonly Uint8Array[], length: number): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(length);
  let at = 0;
  for (const part of parts) {
    bytes.set(part, at);
    at += part.length;
  }
  return bytes;
}
