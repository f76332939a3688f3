/**
 * Signed 64-bit integers as decimal text, which is how they are stored.
 *
 * @module
 */
import { INTEGER_MAX, INTEGER_MIN } from "../limits.ts";

const DECIMAL = /^(0|-?[1-9]\d{0,18})$/;

/** The integer that a text stands for; undefined if it is not the one text of a 64-bit integer. */
export function integerOf(text: string): bigint | undefined {
  if (!DECIMAL.test(text)) return undefined;
  const integer = BigInt(text);
  return integer >= INTEGER_MIN && integer <= INTEGER_MAX ? integer : undefined;
}
