/**
 * Reads a key, at its place among the command's other operations.
 *
 * Its bytes: key.
 *
 * @module
 */
import { checkKey, keySize, writeKey } from "../command_bytes.ts";
import type { KvEntry } from "../entry.ts";
import { CONTENT_TYPE_CHARS_MAX, VALUE_BYTES_MAX } from "../limits.ts";
import { isCount, type OperationKind } from "./operation.ts";

/** Reads a key. */
export interface GetOperation {
  readonly type: "get";
  /** A byte string. */
  readonly key: string;
}

/** What a get found. */
export interface GetResult {
  readonly type: "get";
  /** Undefined if the key was not there. */
  readonly entry: KvEntry | undefined;
}

/** See the module. */
export const getKind: OperationKind<GetOperation, GetResult> = {
  code: 4,
  since: 1,
  check: ({ key }) => checkKey(key),
  size: ({ key }) => keySize(key),
  write: ({ key }, bytes, at) => writeKey(key, bytes, at),
  read: (reader) => ({ type: "get", key: reader.key() }),
  apply({ key }, keys): GetResult {
    const stored = keys.get(key);
    if (stored === undefined) return { type: "get", entry: undefined };
    const { value, contentType, created, revision, version } = stored;
    return { type: "get", entry: { value, contentType, created, revision, version } };
  },
  contentBytesMax: VALUE_BYTES_MAX + CONTENT_TYPE_CHARS_MAX,
  contentBytes({ entry }): number {
    return entry === undefined ? 0 : entry.value.length + (entry.contentType ?? "").length;
  },
  writeResult({ entry }, writer): void {
    writer.number(entry === undefined ? 0 : 1);
    if (entry === undefined) return;
    writer.entry(entry);
  },
  readResult(reader): GetResult {
    if (!reader.flag()) return { type: "get", entry: undefined };
    const entry = reader.entry();
    return { type: "get", entry: { ...entry, value: entry.value.slice() } };
  },
  isResult: ({ entry }) => entry === undefined || isEntry(entry),
};

/** Whether another node's value is an entry. */
export function isEntry(entry: unknown): boolean {
  if (typeof entry !== "object" || entry === null) return false;
  const { value, contentType, created, revision, version } = entry as Partial<KvEntry>;
  return value instanceof Uint8Array &&
    (contentType === undefined || typeof contentType === "string") &&
    [created, revision, version].every(isCount);
}
