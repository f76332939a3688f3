/**
 * Adds to the number at a key; a missing key counts as 0. The value stored is the decimal text of the
 * number, a signed 64-bit integer.
 *
 * Its bytes: the decimal text of what is added, key.
 *
 * @module
 */
import { toBytes, toByteString } from "../../byte_string.ts";
import {
  checkKey,
  CommandError,
  keySize,
  textSize,
  writeKey,
  writeText,
} from "../command_bytes.ts";
import { INTEGER_CHARS_MAX, RANGES_VERSION } from "../limits.ts";
import { integerOf } from "./integer.ts";
import { isCount, type OperationFailure, type OperationKind } from "./operation.ts";

/** Adds to the number at a key, whose content type stays. */
export interface IncrementOperation {
  readonly type: "increment";
  /** A byte string. */
  readonly key: string;
  /** INTEGER_MIN to INTEGER_MAX. */
  readonly by: bigint;
}

/** The result of an increment. */
export interface IncrementResult {
  readonly type: "increment";
  /** The number that is stored now, in decimal. */
  readonly value: string;
  /** Changes of the key since its creation. */
  readonly version: number;
  /** Whether the key was not there before. */
  readonly created: boolean;
}

/** See the module. */
export const incrementKind: OperationKind<IncrementOperation, IncrementResult> = {
  code: 5,
  since: RANGES_VERSION,
  check({ key, by }): void {
    checkKey(key);
    if (integerOf(String(by)) === undefined) throw new CommandError("number", `${by} is too large`);
  },
  size: ({ key, by }) => textSize(String(by)) + keySize(key),
  write: ({ key, by }, bytes, at) => writeKey(key, bytes, writeText(String(by), bytes, at)),
  read(reader): IncrementOperation {
    const text = reader.text("number", INTEGER_CHARS_MAX);
    const by = integerOf(text);
    if (by === undefined) throw new CommandError("number", "it adds what is no 64-bit integer");
    return { type: "increment", key: reader.key(), by };
  },
  apply({ key, by }, keys): IncrementResult | OperationFailure {
    const old = keys.get(key);
    const isTooLong = old !== undefined && old.value.length > INTEGER_CHARS_MAX;
    const before = old === undefined
      ? 0n
      : isTooLong
      ? undefined
      : integerOf(toByteString(old.value));
    if (before === undefined) return "not-integer";
    const value = String(before + by);
    if (integerOf(value) === undefined) return "overflow";
    const { version } = keys.set(key, old, toBytes(value), old?.contentType, old?.lease);
    return { type: "increment", value, version, created: old === undefined };
  },
  contentBytesMax: 0,
  contentBytes: () => 0,
  writeResult({ value, version, created }, writer): void {
    writer.text(value);
    writer.number(version);
    writer.number(+created);
  },
  readResult(reader): IncrementResult {
    const [value, version] = [reader.text(), reader.number()];
    return { type: "increment", value, version, created: reader.flag() };
  },
  isResult: ({ value, version, created }) =>
    typeof value === "string" && integerOf(value) !== undefined && isCount(version) &&
    typeof created === "boolean",
};
