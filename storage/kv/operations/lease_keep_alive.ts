/**
 * Moves a lease's deadline: it has all its time again.
 *
 * Its bytes: the lease's id as a number.
 *
 * @module
 */
import { checkNumber } from "../command_bytes.ts";
import { RANGES_VERSION } from "../limits.ts";
import { numberSize, writeNumber } from "../numbers.ts";
import { isCount, type OperationFailure, type OperationKind } from "./operation.ts";

/** Moves a lease's deadline. */
export interface LeaseKeepAliveOperation {
  readonly type: "leaseKeepAlive";
  readonly lease: number;
}

/** The result of a keepalive. */
export interface LeaseKeepAliveResult {
  readonly type: "leaseKeepAlive";
  /** What the lease has left now, which is all. */
  readonly ttlMs: number;
}

/** See the module. */
export const leaseKeepAliveKind: OperationKind<LeaseKeepAliveOperation, LeaseKeepAliveResult> = {
  code: 9,
  since: RANGES_VERSION,
  check: ({ lease }) => checkNumber(lease),
  size: ({ lease }) => numberSize(lease),
  write: ({ lease }, bytes, at) => writeNumber(lease, bytes, at),
  read: (reader) => ({ type: "leaseKeepAlive", lease: reader.number() }),
  apply({ lease: id }, { leases }): LeaseKeepAliveResult | OperationFailure {
    const lease = leases.get(id);
    if (lease === undefined) return "no-lease";
    return { type: "leaseKeepAlive", ttlMs: leases.keepAlive(lease).ttlMs };
  },
  contentBytesMax: 0,
  contentBytes: () => 0,
  writeResult: ({ ttlMs }, writer) => writer.number(ttlMs),
  readResult: (reader) => ({ type: "leaseKeepAlive", ttlMs: reader.number() }),
  isResult: ({ ttlMs }) => isCount(ttlMs),
};
