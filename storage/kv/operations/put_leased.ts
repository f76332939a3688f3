/**
 * Sets a key's value and attaches the key to a lease.
 *
 * Its bytes: the lease's id as a number, then those of a put.
 *
 * @module
 */
import { checkNumber } from "../command_bytes.ts";
import { RANGES_VERSION } from "../limits.ts";
import { numberSize, writeNumber } from "../numbers.ts";
import { isCount, type OperationFailure, type OperationKind } from "./operation.ts";
import { putKind } from "./put.ts";

/** Sets a key's value and its content type, and attaches it to a lease. */
export interface PutLeasedOperation {
  readonly type: "putLeased";
  /** A byte string. */
  readonly key: string;
  readonly value: Uint8Array;
  readonly contentType?: string | undefined;
  /** 0: the lease that the same command has granted before. */
  readonly lease: number;
}

/** The result of such a put. */
export interface PutLeasedResult {
  readonly type: "putLeased";
  /** Changes of the key since its creation. */
  readonly version: number;
  /** Whether the key was not there before. */
  readonly created: boolean;
  /** The lease that the key is attached to. */
  readonly lease: number;
}

/** See the module. */
export const putLeasedKind: OperationKind<PutLeasedOperation, PutLeasedResult> = {
  code: 11,
  since: RANGES_VERSION,
  check(operation): void {
    checkNumber(operation.lease);
    putKind.check({ ...operation, type: "put" });
  },
  size: (operation) => numberSize(operation.lease) + putKind.size({ ...operation, type: "put" }),
  write(operation, bytes, at): number {
    const putAt = writeNumber(operation.lease, bytes, at);
    return putKind.write({ ...operation, type: "put" }, bytes, putAt);
  },
  read(reader): PutLeasedOperation {
    const lease = reader.number();
    const { key, value, contentType } = putKind.read(reader);
    return { type: "putLeased", key, value, contentType, lease };
  },
  apply({ key, value, contentType, lease: named }, keys): PutLeasedResult | OperationFailure {
    const { leases } = keys;
    const lease = named === 0 ? leases.grantedId : named;
    if (leases.get(lease) === undefined) return "no-lease";
    const old = keys.get(key);
    if (old?.lease !== lease && !leases.hasRoom(lease)) return "too-large";
    const { version } = keys.set(key, old, value, contentType, lease);
    return { type: "putLeased", version, created: old === undefined, lease };
  },
  contentBytesMax: 0,
  contentBytes: () => 0,
  writeResult({ version, created, lease }, writer): void {
    writer.number(version);
    writer.number(+created);
    writer.number(lease);
  },
  readResult(reader): PutLeasedResult {
    const [version, created] = [reader.number(), reader.flag()];
    return { type: "putLeased", version, created, lease: reader.number() };
  },
  isResult: ({ version, created, lease }) =>
    isCount(version) && typeof created === "boolean" && isCount(lease),
};
