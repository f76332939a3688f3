/**
 * Sets a key's value.
 *
 * Its bytes: the content type's text or 0, key, value.
 *
 * @module
 */
import {
  checkKey,
  checkText,
  checkValue,
  keySize,
  textSize,
  valueSize,
  writeKey,
  writeText,
  writeValue,
} from "../command_bytes.ts";
import { CONTENT_TYPE_CHARS_MAX } from "../limits.ts";
import { isCount, type OperationKind } from "./operation.ts";

/** Sets a key's value and its content type. */
export interface PutOperation {
  readonly type: "put";
  /** A byte string. */
  readonly key: string;
  readonly value: Uint8Array;
  readonly contentType?: string | undefined;
}

/** The result of a put. */
export interface PutResult {
  readonly type: "put";
  /** Changes of the key since its creation. */
  readonly version: number;
  /** Whether the key was not there before. */
  readonly created: boolean;
}

/** See the module. */
export const putKind: OperationKind<PutOperation, PutResult> = {
  code: 1,
  since: 1,
  check({ key, value, contentType }): void {
    checkKey(key);
    checkValue(value.length);
    if (contentType !== undefined) checkText("content type", contentType, CONTENT_TYPE_CHARS_MAX);
  },
  size: ({ key, value, contentType }) => textSize(contentType) + keySize(key) + valueSize(value),
  write({ key, value, contentType }, bytes, at): number {
    return writeValue(value, bytes, writeKey(key, bytes, writeText(contentType, bytes, at)));
  },
  read(reader): PutOperation {
    const contentType = reader.optionalText("content type", CONTENT_TYPE_CHARS_MAX);
    const key = reader.key();
    return { type: "put", key, value: reader.value(), contentType };
  },
  apply({ key, value, contentType }, keys): PutResult {
    const old = keys.get(key);
    const { version } = keys.set(key, old, value, contentType);
    return { type: "put", version, created: old === undefined };
  },
  contentBytesMax: 0,
  contentBytes: () => 0,
  writeResult({ version, created }, writer): void {
    writer.number(version);
    writer.number(+created);
  },
  readResult: (reader) => ({ type: "put", version: reader.number(), created: reader.flag() }),
  isResult: ({ version, created }) => isCount(version) && typeof created === "boolean",
};
