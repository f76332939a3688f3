/**
 * An incremental hash of a set of things: equal sets have equal hashes, whatever the order in which
 * things were added (Clarke et al. 2003, with addition). It finds replicas that diverge by accident.
 * It does not withstand an attacker who wants a collision.
 *
 * @module
 */

/** A hash of 64 bits as two signed integers. */
export interface HashLanes {
  readonly low: number;
  readonly high: number;
}

/** The hash of one thing: feed it its parts in a fixed order, then add it to a {@linkcode SetHash}. */
export class ItemHash implements HashLanes {
  low = 0;
  high = 0;

  /** Forgets what was fed. `kind` tells things of different kinds apart. */
  begin(kind: number): this {
    this.low = 0x9e3779b9 ^ kind;
    this.high = 0x85ebca6b + kind;
    return this;
  }

  /** Feeds an integer up to 2^53-1. */
  number(value: number): this {
    const lowHalf = value | 0;
    this.#mix(lowHalf);
    this.#mix((value - (lowHalf >>> 0)) / 2 ** 32);
    return this;
  }

  /** Feeds a text, with its length, char by char. */
  text(text: string): this {
    let { low, high } = this;
    for (let at = 0; at < text.length; at++) {
      const code = text.charCodeAt(at);
      low = Math.imul(low ^ code, 0x01000193);
      high = Math.imul(high + code, 0x9e3779b1) ^ (high >>> 15);
    }
    this.low = low;
    this.high = high;
    this.#mix(text.length);
    return this;
  }

  #mix(word: number): void {
    let low = Math.imul(this.low ^ word, 0x85ebca6b);
    low ^= low >>> 13;
    this.low = Math.imul(low, 0xc2b2ae35) ^ (low >>> 16);
    let high = Math.imul(this.high + word, 0x27d4eb2f);
    high ^= high >>> 15;
    this.high = Math.imul(high, 0x165667b1) ^ (high >>> 13);
  }
}

/** The sum of the hashes of things. */
export class SetHash {
  #low = 0;
  #high = 0;

  add(item: HashLanes): void {
    this.#low = (this.#low + item.low) | 0;
    this.#high = (this.#high + item.high) | 0;
  }

  remove(item: HashLanes): void {
    this.#low = (this.#low - item.low) | 0;
    this.#high = (this.#high - item.high) | 0;
  }

  /** 16 hexadecimal digits. */
  toString(): string {
    return hex(this.#low) + hex(this.#high);
  }
}

function hex(lane: number): string {
  return (lane >>> 0).toString(16).padStart(8, "0");
}
