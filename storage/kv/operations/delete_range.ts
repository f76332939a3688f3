/**
 * Removes all keys within bounds, at most RANGE_DELETE_KEYS_MAX of them.
 *
 * Its bytes: the interval (interval.ts).
 *
 * @module
 */
import { RANGE_DELETE_KEYS_MAX, RANGES_VERSION } from "../limits.ts";
import { isCount, type OperationFailure, type OperationKind } from "./operation.ts";
import {
  checkInterval,
  intervalSize,
  type KeyInterval,
  readInterval,
  writeInterval,
} from "./interval.ts";

/** Removes all keys within bounds. */
export interface DeleteRangeOperation extends KeyInterval {
  readonly type: "deleteRange";
}

/** The result of such a delete. */
export interface DeleteRangeResult {
  readonly type: "deleteRange";
  /** Keys deleted. */
  readonly deleted: number;
}

/** See the module. */
export const deleteRangeKind: OperationKind<DeleteRangeOperation, DeleteRangeResult> = {
  code: 6,
  since: RANGES_VERSION,
  check: checkInterval,
  size: intervalSize,
  write: writeInterval,
  read: (reader) => ({ type: "deleteRange", ...readInterval(reader) }),
  apply({ start, end }, keys): DeleteRangeResult | OperationFailure {
    const range = { start, end, limit: RANGE_DELETE_KEYS_MAX + 1 };
    // A range must be read to its end before anything in it may change.
    const found = [...keys.range(range)];
    if (found.length > RANGE_DELETE_KEYS_MAX) return "too-large";
    for (const { key } of found) keys.remove(key, keys.get(key)!);
    return { type: "deleteRange", deleted: found.length };
  },
  contentBytesMax: 0,
  contentBytes: () => 0,
  writeResult: ({ deleted }, writer) => writer.number(deleted),
  readResult: (reader) => ({ type: "deleteRange", deleted: reader.number() }),
  isResult: ({ deleted }) => isCount(deleted),
};
