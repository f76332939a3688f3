/**
 * A compare of what is stored at a key. The compares of a command choose which of its lists is
 * executed.
 *
 * | bytes | field |
 * |---|---|
 * | 1 | bits 0-3 target (0 revision, 1 version, 2 created, 3 value, 4 lease), 4-7 operator (0 ==, 1 !=, 2 <, 3 >) |
 * | n | key, unless it is the key of the command's only operation |
 * | n | operand: a value if that is the target, else a number |
 *
 * @module
 */
import {
  checkKey,
  checkNumber,
  checkValue,
  CommandError,
  type CommandReader,
  keySize,
  valueSize,
  writeKey,
  writeValue,
} from "./command_bytes.ts";
import { numberSize, writeNumber } from "./numbers.ts";
import type { KvEntry } from "./entry.ts";

/** How the stored number or value must compare with the operand. Values are compared byte by byte. */
export type CompareOperator = "==" | "!=" | "<" | ">";

/** A compare of one key. */
export type Compare =
  | {
    readonly key: string;
    /** A number of the key's entry; 0 if the key is missing, or has no lease. */
    readonly target: "revision" | "version" | "created" | "lease";
    readonly operator: CompareOperator;
    readonly operand: number;
  }
  | {
    readonly key: string;
    /** A missing key has no value: no compare with it holds. */
    readonly target: "value";
    readonly operator: CompareOperator;
    readonly operand: Uint8Array;
  };

const TARGETS = ["revision", "version", "created", "value", "lease"] as const;
const OPERATORS = ["==", "!=", "<", ">"] as const;
const CODE_BYTES = 1;

/** Whether the compare holds, if `entry` is stored at its key. */
export function holds(compare: Compare, entry: KvEntry | undefined): boolean {
  const { operator } = compare;
  if (compare.target === "value") {
    return entry !== undefined && agrees(orderOf(entry.value, compare.operand), operator);
  }
  const actual = entry?.[compare.target] ?? 0;
  return agrees(actual - compare.operand, operator);
}

/**
 * How many bytes it takes, with or without its key.
 *
 * @throws {CommandError} If a part of it is outside its limits.
 */
export function compareSize(compare: Compare, key: "with-key" | "without-key"): number {
  checkKey(compare.key);
  const size = CODE_BYTES + (key === "with-key" ? keySize(compare.key) : 0);
  if (compare.target === "value") {
    checkValue(compare.operand.length);
    return size + valueSize(compare.operand);
  }
  checkNumber(compare.operand);
  return size + numberSize(compare.operand);
}

/** Writes it and returns the offset just after it. */
export function writeCompare(
  compare: Compare,
  key: "with-key" | "without-key",
  bytes: Uint8Array,
  at: number,
): number {
  bytes[at] = TARGETS.indexOf(compare.target) | (OPERATORS.indexOf(compare.operator) << 4);
  let end = at + CODE_BYTES;
  if (key === "with-key") end = writeKey(compare.key, bytes, end);
  return compare.target === "value"
    ? writeValue(compare.operand, bytes, end)
    : writeNumber(compare.operand, bytes, end);
}

/**
 * Reads it; `key` is given if the bytes do not have it.
 *
 * @throws {CommandError} If it is of an unknown kind, or a part is outside its limits.
 */
export function readCompare(reader: CommandReader, key: string | undefined): Compare {
  const code = reader.byte();
  const target = TARGETS[code & 15];
  const operator = OPERATORS[code >>> 4];
  if (target === undefined || operator === undefined) {
    throw new CommandError("malformed", `it has a compare of kind ${code}`);
  }
  const named = key ?? reader.key();
  return target === "value"
    ? { key: named, target, operator, operand: reader.value() }
    : { key: named, target, operator, operand: reader.number() };
}

/** Whether the operator holds of two things: `order` is negative if the first is less, 0 if they are equal. */
function agrees(order: number, operator: CompareOperator): boolean {
  switch (operator) {
    case "==":
      return order === 0;
    case "!=":
      return order !== 0;
    case "<":
      return order < 0;
    case ">":
      return order > 0;
  }
}

function orderOf(one: Uint8Array, other: Uint8Array): number {
  const length = Math.min(one.length, other.length);
  for (let at = 0; at < length; at++) {
    if (one[at] !== other[at]) return one[at]! - other[at]!;
  }
  return one.length - other.length;
}
