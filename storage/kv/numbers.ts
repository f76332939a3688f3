/**
 * Numbers from 0 to 2^53-1 in as few bytes as each needs: 7 bits a byte, the lowest first; all but
 * the last byte have bit 7 set. So small numbers, which most are, take one byte. Each has one
 * encoding only: the last byte is not zero, unless it is the only one.
 *
 * @module
 */

/** Values of the 7 bits of a byte that carry the number. */
const GROUP = 128;
/** Bytes of the largest number. */
export const NUMBER_BYTES_MAX = 8;

/** How many bytes a number takes. */
export function numberSize(value: number): number {
  let size = 1;
  for (let rest = value; rest >= GROUP; rest = Math.floor(rest / GROUP)) size++;
  return size;
}

/** Writes a number and returns the offset just after it. */
export function writeNumber(value: number, bytes: Uint8Array, at: number): number {
  let rest = value;
  let end = at;
  for (; rest >= GROUP; rest = Math.floor(rest / GROUP)) bytes[end++] = (rest % GROUP) | GROUP;
  bytes[end++] = rest;
  return end;
}

/** The number at `at`, which takes `numberSize` of it; -1 if there is none. */
export function readNumber(bytes: Uint8Array, at: number): number {
  let value = 0;
  let scale = 1;
  const stop = Math.min(bytes.length, at + NUMBER_BYTES_MAX);
  for (let end = at; end < stop; end++) {
    const byte = bytes[end]!;
    value += (byte & (GROUP - 1)) * scale;
    if (value > Number.MAX_SAFE_INTEGER) return -1;
    if (byte < GROUP) return byte === 0 && end > at ? -1 : value;
    scale *= GROUP;
  }
  return -1;
}

/** A number as a byte string, so that bytewise order is that of the numbers. */
export function orderKey(value: number): string {
  const high = Math.floor(value / 2 ** 32);
  const low = value >>> 0;
  return String.fromCharCode(
    (high >>> 16) & 0xff,
    (high >>> 8) & 0xff,
    high & 0xff,
    low >>> 24,
    (low >>> 16) & 0xff,
    (low >>> 8) & 0xff,
    low & 0xff,
  );
}
