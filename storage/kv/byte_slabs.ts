/**
 * Small byte arrays that share buffers.
 *
 * A byte array with a buffer of its own costs more than its bytes: the buffer is allocated outside of
 * the JavaScript heap, tracked, and freed by the collector, all together about 1 us and 300 bytes. A
 * shared buffer costs each array a quarter of both. The price: a buffer lives as long as any array in
 * it, so an array may keep up to a slab of dead bytes alive. Slabs for values that live long are
 * therefore small.
 *
 * @module
 */

/** Cuts byte arrays out of buffers of one size. */
export class ByteSlabs {
  readonly #slabBytes: number;
  readonly #sharedBytesMax: number;
  #slab: Uint8Array<ArrayBuffer>;
  #used = 0;

  /** Arrays of at most `sharedBytesMax` bytes share buffers of `slabBytes`; larger ones do not. */
  constructor(slabBytes: number, sharedBytesMax: number) {
    this.#slabBytes = slabBytes;
    this.#sharedBytesMax = sharedBytesMax;
    this.#slab = new Uint8Array(0);
  }

  /** An array of zeros that only the caller writes. */
  allocate(length: number): Uint8Array<ArrayBuffer> {
    if (length > this.#sharedBytesMax) return new Uint8Array(length);
    const start = this.#used;
    const end = start + length;
    if (end <= this.#slab.length) {
      this.#used = end;
      return this.#slab.subarray(start, end);
    }
    this.#slab = new Uint8Array(this.#slabBytes);
    this.#used = length;
    return this.#slab.subarray(0, length);
  }
}
