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
import { StateError } from "../state_bytes.ts";
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

/** Forms of a result. */
const [MISSING, PLAIN, LEASED] = [0, 1, 2];

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
    return { type: "get", entry: entryOf(stored) };
  },
  contentBytesMax: VALUE_BYTES_MAX + CONTENT_TYPE_CHARS_MAX,
  contentBytes({ entry }): number {
    return entry === undefined ? 0 : entry.value.length + (entry.contentType ?? "").length;
  },
  writeResult({ entry }, writer): void {
    writer.number(entry === undefined ? MISSING : entry.lease === undefined ? PLAIN : LEASED);
    if (entry === undefined) return;
    writer.entry(entry);
    if (entry.lease !== undefined) writer.number(entry.lease);
  },
  readResult(reader): GetResult {
    const form = reader.number();
    if (form > LEASED) throw new StateError("a result of a get has an unknown form");
    if (form === MISSING) return { type: "get", entry: undefined };
    const read = reader.entry();
    const entry = { ...read, value: read.value.slice() };
    return { type: "get", entry: form === PLAIN ? entry : { ...entry, lease: reader.number() } };
  },
  isResult: ({ entry }) => entry === undefined || isEntry(entry),
};

/** What readers see of an entry that is stored. */
export function entryOf(
  { value, contentType, created, revision, version, lease }: KvEntry,
): KvEntry {
  const entry = { value, contentType, created, revision, version };
  return lease === undefined ? entry : { ...entry, lease };
}

/** Whether another node's value is an entry. */
export function isEntry(entry: unknown): boolean {
  if (typeof entry !== "object" || entry === null) return false;
  const { value, contentType, created, revision, version, lease } = entry as Partial<KvEntry>;
  return value instanceof Uint8Array && (lease === undefined || isCount(lease)) &&
    (contentType === undefined || typeof contentType === "string") &&
    [created, revision, version].every(isCount);
}
