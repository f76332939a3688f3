/**
 * The bounds of an operation on many keys.
 *
 * | bytes | field |
 * |---|---|
 * | n | start: its length as a number, its bytes |
 * | 1 | 1 if there is an end, else 0 |
 * | n | end, if there is one |
 *
 * @module
 */
import { prefixEnd } from "../../byte_string.ts";
import {
  boundSize,
  checkBound,
  CommandError,
  type CommandReader,
  writeBound,
} from "../command_bytes.ts";
import type { KvBounds } from "../entry.ts";

/** Keys from `start` on, that included, up to `end`, that excluded. */
export interface KeyInterval {
  /** A byte string; empty: from the first key on. */
  readonly start: string;
  /** A byte string; undefined: to the last key. */
  readonly end: string | undefined;
}

const FLAG_BYTES = 1;

/** The bounds without a prefix. */
export function intervalOf({ prefix = "", start, end }: KvBounds): KeyInterval {
  const beyondPrefix = prefixEnd(prefix);
  const isEndBelow = end !== undefined && (beyondPrefix === undefined || end < beyondPrefix);
  return {
    start: start !== undefined && start > prefix ? start : prefix,
    end: isEndBelow ? end : beyondPrefix,
  };
}

/** @throws {CommandError} If a bound is too long, or no byte string. */
export function checkInterval({ start, end }: KeyInterval): void {
  checkBound(start);
  if (end !== undefined) checkBound(end);
}

/** How many bytes it takes. */
export function intervalSize({ start, end }: KeyInterval): number {
  return boundSize(start) + FLAG_BYTES + (end === undefined ? 0 : boundSize(end));
}

/** Writes it and returns the offset just after it. */
export function writeInterval({ start, end }: KeyInterval, bytes: Uint8Array, at: number): number {
  const flagAt = writeBound(start, bytes, at);
  bytes[flagAt] = end === undefined ? 0 : 1;
  return end === undefined ? flagAt + FLAG_BYTES : writeBound(end, bytes, flagAt + FLAG_BYTES);
}

/** @throws {CommandError} If the bytes are no interval. */
export function readInterval(reader: CommandReader): KeyInterval {
  const start = reader.bound();
  const hasEnd = reader.byte();
  if (hasEnd > 1) throw new CommandError("malformed", "a flag of it is neither 0 nor 1");
  return { start, end: hasEnd === 1 ? reader.bound() : undefined };
}
