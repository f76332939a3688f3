/**
 * CRC-32C (Castagnoli), the checksum of every record and file at rest.
 *
 * @module
 */

/** The polynomial 0x1EDC6F41, bits reversed. */
const POLYNOMIAL = 0x82f63b78;
/** Bytes consumed by one step: each has a table of 256 entries. */
const STEP_BYTES = 16;

const tables = buildTables();

/**
 * Checksum of `bytes` from `start` to `end`. To go on from an earlier part, pass its checksum as
 * `seed`: `crc32c(b, 0, b.length, crc32c(a))` is the checksum of `a` followed by `b`.
 *
 * @returns An unsigned 32-bit integer.
 */
export function crc32c(
  bytes: Uint8Array,
  start: number = 0,
  end: number = bytes.length,
  seed: number = 0,
): number {
  const t = tables;
  let crc = ~seed;
  let at = start;
  // Sixteen table look-ups per step that do not wait for each other ("slicing by 16").
  for (const stepEnd = end - STEP_BYTES; at <= stepEnd; at += STEP_BYTES) {
    crc = t[3840 + ((crc ^ bytes[at]!) & 0xff)]! ^
      t[3584 + (((crc >>> 8) ^ bytes[at + 1]!) & 0xff)]! ^
      t[3328 + (((crc >>> 16) ^ bytes[at + 2]!) & 0xff)]! ^
      t[3072 + ((crc >>> 24) ^ bytes[at + 3]!)]! ^
      t[2816 + bytes[at + 4]!]! ^
      t[2560 + bytes[at + 5]!]! ^
      t[2304 + bytes[at + 6]!]! ^
      t[2048 + bytes[at + 7]!]! ^
      t[1792 + bytes[at + 8]!]! ^
      t[1536 + bytes[at + 9]!]! ^
      t[1280 + bytes[at + 10]!]! ^
      t[1024 + bytes[at + 11]!]! ^
      t[768 + bytes[at + 12]!]! ^
      t[512 + bytes[at + 13]!]! ^
      t[256 + bytes[at + 14]!]! ^
      t[bytes[at + 15]!]!;
  }
  for (; at < end; at++) crc = (crc >>> 8) ^ t[(crc ^ bytes[at]!) & 0xff]!;
  return ~crc >>> 0;
}

/** Table k, at 256 k, holds the effect of a byte that k zero bytes follow. */
function buildTables(): Int32Array {
  const built = new Int32Array(256 * STEP_BYTES);
  for (let byte = 0; byte < 256; byte++) {
    let crc = byte;
    for (let bit = 0; bit < 8; bit++) crc = (crc >>> 1) ^ ((crc & 1) * POLYNOMIAL);
    built[byte] = crc;
  }
  for (let at = 256; at < built.length; at++) {
    const shorter = built[at - 256]!;
    built[at] = (shorter >>> 8) ^ built[shorter & 0xff]!;
  }
  return built;
}
