/**
 * Adds bytes to the end of a key's value; creates the key if it is missing.
 *
 * Its bytes: key, value.
 *
 * @module
 */
import {
  checkKey,
  checkValue,
  keySize,
  valueSize,
  writeKey,
  writeValue,
} from "../command_bytes.ts";
import { VALUE_BYTES_MAX } from "../limits.ts";
import { isCount, type OperationFailure, type OperationKind } from "./operation.ts";

/** Adds bytes to a key's value, whose content type stays. */
export interface AppendOperation {
  readonly type: "append";
  /** A byte string. */
  readonly key: string;
  readonly value: Uint8Array;
}

/** The result of an append. */
export interface AppendResult {
  readonly type: "append";
  /** Changes of the key since its creation. */
  readonly version: number;
  /** Bytes in the value. */
  readonly length: number;
  /** Whether the key was not there before. */
  readonly created: boolean;
}

/** See the module. */
export const appendKind: OperationKind<AppendOperation, AppendResult> = {
  code: 2,
  since: 1,
  check({ key, value }): void {
    checkKey(key);
    checkValue(value.length);
  },
  size: ({ key, value }) => keySize(key) + valueSize(value),
  write: ({ key, value }, bytes, at) => writeValue(value, bytes, writeKey(key, bytes, at)),
  read: (reader) => ({ type: "append", key: reader.key(), value: reader.value() }),
  apply({ key, value }, keys): AppendResult | OperationFailure {
    const old = keys.get(key);
    if (old !== undefined && old.value.length + value.length > VALUE_BYTES_MAX) return "too-large";
    const entry = old === undefined
      ? keys.set(key, old, value, undefined)
      : keys.extend(key, old, value);
    const { version, value: { length } } = entry;
    return { type: "append", version, length, created: old === undefined };
  },
  contentBytesMax: 0,
  contentBytes: () => 0,
  writeResult({ version, length, created }, writer): void {
    writer.number(version);
    writer.number(length);
    writer.number(+created);
  },
  readResult(reader): AppendResult {
    const [version, length] = [reader.number(), reader.number()];
    return { type: "append", version, length, created: reader.flag() };
  },
  isResult: ({ version, length, created }) =>
    isCount(version) && isCount(length) && typeof created === "boolean",
};
