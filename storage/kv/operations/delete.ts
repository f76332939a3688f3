/**
 * Removes a key.
 *
 * Its bytes: key.
 *
 * @module
 */
import { checkKey, keySize, writeKey } from "../command_bytes.ts";
import { isCount, type OperationKind } from "./operation.ts";

/** Removes a key, if it is there. */
export interface DeleteOperation {
  readonly type: "delete";
  /** A byte string. */
  readonly key: string;
}

/** The result of a delete. */
export interface DeleteResult {
  readonly type: "delete";
  /** Keys deleted: 0 or 1. */
  readonly deleted: number;
}

/** See the module. */
export const deleteKind: OperationKind<DeleteOperation, DeleteResult> = {
  code: 3,
  since: 1,
  check: ({ key }) => checkKey(key),
  size: ({ key }) => keySize(key),
  write: ({ key }, bytes, at) => writeKey(key, bytes, at),
  read: (reader) => ({ type: "delete", key: reader.key() }),
  apply({ key }, keys): DeleteResult {
    const old = keys.get(key);
    if (old !== undefined) keys.remove(key, old);
    return { type: "delete", deleted: old === undefined ? 0 : 1 };
  },
  contentBytesMax: 0,
  contentBytes: () => 0,
  writeResult: ({ deleted }, writer) => writer.number(deleted),
  readResult: (reader) => ({ type: "delete", deleted: reader.number() }),
  isResult: ({ deleted }) => isCount(deleted),
};
