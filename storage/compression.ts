/**
 * Compression with zstd of blocks that stand by themselves: chunks of a snapshot, batches of the log,
 * frames between peers.
 *
 * @module
 */
import { constants, zstdCompressSync, zstdDecompressSync } from "node:zlib";

/** How hard zstd tries on what is written or sent at once: the least. */
export const FAST_ZSTD_LEVEL = 1;

/** A block is kept plain unless compression takes away at least one byte of so many. */
export const COMPRESSION_GAIN_PART = 8;

/**
 * Blocks that are kept plain, at most, before compression is tried again on content that does not
 * shrink.
 */
export const COMPRESSION_SKIPS_MAX = 64;

/** What a compressor has done so far. */
export interface CompressionTotals {
  /** Bytes of the blocks that were compressed, before. */
  readonly plainBytes: number;
  /** The same blocks' bytes, after. */
  readonly packedBytes: number;
  /** Blocks that did not shrink enough when it was tried. */
  readonly futile: number;
  /** Time that it took, tries in vain included. */
  readonly durationMs: number;
}

/** What a compressor goes by. */
export interface CompressorOptions {
  /** Blocks below this are kept plain; Infinity turns compression off. */
  readonly bytesMin: number;
  /** For the time that it takes; without it, no time is told. */
  readonly nowMs?: () => number;
}

/**
 * Compresses blocks while that helps. After a block that does not shrink it leaves the next ones plain,
 * twice as many each time, up to COMPRESSION_SKIPS_MAX; so random content costs a try in 65.
 */
export class Compressor {
  /** Blocks below this are kept plain. */
  readonly bytesMin: number;
  readonly #nowMs: () => number;
  #skips = 0;
  /** Blocks that are left plain before the next try. */
  #toSkip = 0;
  #plainBytes = 0;
  #packedBytes = 0;
  #futile = 0;
  #durationMs = 0;

  /** See {@linkcode CompressorOptions}. */
  constructor({ bytesMin, nowMs = () => 0 }: CompressorOptions) {
    this.bytesMin = bytesMin;
    this.#nowMs = nowMs;
  }

  /** What it has done. */
  get totals(): CompressionTotals {
    return {
      ...{ plainBytes: this.#plainBytes, packedBytes: this.#packedBytes },
      ...{ futile: this.#futile, durationMs: this.#durationMs },
    };
  }

  /** The block compressed; undefined if it is to be kept plain. */
  compress(block: Uint8Array): Uint8Array | undefined {
    if (block.length < this.bytesMin) return undefined;
    if (this.#toSkip > 0) {
      this.#toSkip--;
      return undefined;
    }
    const startMs = this.#nowMs();
    const packed = compress(block, FAST_ZSTD_LEVEL);
    this.#durationMs += this.#nowMs() - startMs;
    if (packed.length > block.length - block.length / COMPRESSION_GAIN_PART) {
      this.#futile++;
      this.#toSkip = this.#skips = Math.min(2 * this.#skips + 1, COMPRESSION_SKIPS_MAX);
      return undefined;
    }
    this.#skips = 0;
    this.#plainBytes += block.length;
    this.#packedBytes += packed.length;
    return packed;
  }
}

/**
 * Compresses a block by itself.
 *
 * @param level 1 to 22: how hard zstd tries.
 */
export function compress(block: Uint8Array, level: number): Uint8Array {
  return zstdCompressSync(block, { params: { [constants.ZSTD_c_compressionLevel]: level } });
}

/**
 * The block that was compressed. It never makes more bytes than `length`, whatever the input says.
 *
 * @throws {RangeError} If the input is damaged, or not of a block of `length` bytes.
 */
export function decompress(packed: Uint8Array, length: number): Uint8Array {
  let bytes: Uint8Array;
  try {
    bytes = zstdDecompressSync(packed, { maxOutputLength: length });
  } catch (cause) {
    throw new RangeError(`Cannot decompress a block: ${(cause as Error).message}`, { cause });
  }
  if (bytes.length !== length) {
    throw new RangeError(`Cannot decompress a block: it has ${bytes.length} bytes, not ${length}`);
  }
  // A plain array: `slice` of a Buffer makes no copy, and would keep the whole block.
  return new Uint8Array(bytes.buffer, bytes.byteOffset, length);
}
