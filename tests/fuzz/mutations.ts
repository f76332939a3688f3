/**
 * Damage to bytes: what decay, torn writes, faulty senders and attackers make of them.
 *
 * @module
 */
import type { Dice } from "../sim/random.ts";

/** Bytes at which length fields, tags and signs change their meaning. */
const EDGE_BYTES = [0x00, 0x01, 0x7f, 0x80, 0x8f, 0x90, 0xa0, 0xc0, 0xc1, 0xc4, 0xd9, 0xdd, 0xff];
/** Longest range that one mutation copies, fills or removes. */
const RANGE_BYTES_MAX = 600;

/** Bytes of chance. */
export function randomBytes(dice: Dice, length: number): Uint8Array {
  return Uint8Array.from({ length }, () => dice.below(256));
}

/** One to four mutations of a copy. */
export function mutate(dice: Dice, bytes: Uint8Array): Uint8Array {
  let mutated: Uint8Array = bytes.slice();
  for (let left = 1 + dice.below(4); left > 0; left--) mutated = mutateOnce(dice, mutated);
  return mutated;
}

function mutateOnce(dice: Dice, bytes: Uint8Array): Uint8Array {
  if (bytes.length === 0) return randomBytes(dice, 1 + dice.below(8));
  const at = dice.below(bytes.length);
  const end = Math.min(bytes.length, at + 1 + dice.below(RANGE_BYTES_MAX));
  switch (dice.below(8)) {
    case 0:
      bytes[at]! ^= 1 << dice.below(8);
      return bytes;
    case 1:
      bytes[at] = dice.below(256);
      return bytes;
    case 2:
      bytes[at] = dice.pick(EDGE_BYTES);
      return bytes;
    case 3:
      return bytes.slice(0, at);
    case 4:
      return bytes.fill(0, at, end);
    case 5:
      return joined(bytes.subarray(0, at), bytes.subarray(end));
    case 6:
      return joined(
        bytes.subarray(0, at),
        randomBytes(dice, 1 + dice.below(40)),
        bytes.subarray(at),
      );
    default:
      return bytes.copyWithin(dice.below(bytes.length), at, end);
  }
}

/** The parts, one after the other. */
export function joined(...parts: readonly Uint8Array[]): Uint8Array {
  const whole = new Uint8Array(parts.reduce((length, part) => length + part.length, 0));
  let at = 0;
  for (const part of parts) {
    whole.set(part, at);
    at += part.length;
  }
  return whole;
}
