/**
 * Chunks of a byte stream to frames: TCP keeps no boundaries, so a frame may come byte by byte or
 * many in one read.
 *
 * @module
 */
import { FRAME_BUFFER_BYTES_MIN, FRAME_HEADER_BYTES } from "./limits.ts";
import { WireError } from "./messages.ts";

/**
 * Cuts a stream into the bodies of frames (unsigned big-endian 32-bit length, then the body).
 *
 * A length is checked against the limit of the moment before anything is allocated, and the buffer
 * of a frame in pieces grows with the bytes that arrive, not with those that were announced.
 * Cost: each byte of a frame that comes whole is copied once; one in pieces at most three times.
 */
export class FrameReader {
  readonly #onFrame: (body: Uint8Array) => void;
  #bytesMax: number;
  #header = 0;
  #headerBytes = 0;
  /** The body of the frame in pieces; undefined between frames. */
  #body: Uint8Array | undefined;
  #bodyBytes = 0;
  #bodyLength = 0;
  #stopped = false;

  /**
   * @param bytesMax Longest body accepted.
   * @param onFrame Gets each body, in order; it owns the bytes. It may call `setLimit` and `stop`.
   */
  constructor(bytesMax: number, onFrame: (body: Uint8Array) => void) {
    this.#bytesMax = bytesMax;
    this.#onFrame = onFrame;
  }

  /** Changes the longest body accepted, from the next frame on. */
  setLimit(bytesMax: number): void {
    this.#bytesMax = bytesMax;
  }

  /** Hands over no frame any more, not even one that has arrived whole. */
  stop(): void {
    this.#stopped = true;
    this.#body = undefined;
  }

  /** Bytes held for a frame that is not complete. */
  get bufferedBytes(): number {
    return this.#headerBytes + (this.#body === undefined ? 0 : this.#body.length);
  }

  /**
   * Takes the next bytes of the stream. They may be reused by the caller afterwards.
   *
   * @throws {WireError} If a length is 0 or over the limit; the stream is lost then.
   */
  push(chunk: Uint8Array): void {
    let at = 0;
    while (!this.#stopped && at < chunk.length) {
      at = this.#body === undefined ? this.#startFrame(chunk, at) : this.#continueFrame(chunk, at);
    }
  }

  #startFrame(chunk: Uint8Array, start: number): number {
    let at = start;
    while (this.#headerBytes < FRAME_HEADER_BYTES && at < chunk.length) {
      this.#header = this.#header * 0x100 + chunk[at++]!;
      this.#headerBytes++;
    }
    if (this.#headerBytes < FRAME_HEADER_BYTES) return at;
    const length = this.#header;
    this.#checkLength(length);
    this.#header = 0;
    this.#headerBytes = 0;
    if (chunk.length - at >= length) {
      this.#onFrame(chunk.slice(at, at + length));
      return at + length;
    }
    this.#body = new Uint8Array(Math.min(length, FRAME_BUFFER_BYTES_MIN));
    this.#bodyBytes = 0;
    this.#bodyLength = length;
    return at;
  }

  #continueFrame(chunk: Uint8Array, start: number): number {
    const end = Math.min(chunk.length, start + this.#bodyLength - this.#bodyBytes);
    const body = this.#roomFor(this.#bodyBytes + end - start);
    body.set(chunk.subarray(start, end), this.#bodyBytes);
    this.#bodyBytes += end - start;
    if (this.#bodyBytes === this.#bodyLength) {
      this.#body = undefined;
      this.#onFrame(body);
    }
    return end;
  }

  /** The body's buffer with room for `bytes`; exactly as long as the body once it is complete. */
  #roomFor(bytes: number): Uint8Array {
    const body = this.#body!;
    if (bytes <= body.length) return body;
    const grown = new Uint8Array(Math.min(this.#bodyLength, Math.max(bytes, body.length * 2)));
    grown.set(body.subarray(0, this.#bodyBytes));
    this.#body = grown;
    return grown;
  }

  #checkLength(length: number): void {
    if (length === 0) throw new WireError("frame-empty", "Cannot read a frame: its length is 0");
    if (length > this.#bytesMax) {
      throw new WireError(
        "frame-too-large",
        `Cannot read a frame: its length is ${length}, at most ${this.#bytesMax}`,
      );
    }
  }
}
