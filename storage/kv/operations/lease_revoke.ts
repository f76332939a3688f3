/**
 * Ends a lease: its keys are deleted.
 *
 * Its bytes: the lease's id as a number.
 *
 * @module
 */
import { checkNumber } from "../command_bytes.ts";
import { RANGES_VERSION } from "../limits.ts";
import { numberSize, writeNumber } from "../numbers.ts";
import { isCount, type OperationFailure, type OperationKind } from "./operation.ts";

/** Ends a lease. */
export interface LeaseRevokeOperation {
  readonly type: "leaseRevoke";
  readonly lease: number;
}

/** The result of that. */
export interface LeaseRevokeResult {
  readonly type: "leaseRevoke";
  /** Keys deleted. */
  readonly deleted: number;
}

/** See the module. */
export const leaseRevokeKind: OperationKind<LeaseRevokeOperation, LeaseRevokeResult> = {
  code: 10,
  since: RANGES_VERSION,
  check: ({ lease }) => checkNumber(lease),
  size: ({ lease }) => numberSize(lease),
  write: ({ lease }, bytes, at) => writeNumber(lease, bytes, at),
  read: (reader) => ({ type: "leaseRevoke", lease: reader.number() }),
  apply({ lease: id }, keys): LeaseRevokeResult | OperationFailure {
    const lease = keys.leases.get(id);
    if (lease === undefined) return "no-lease";
    return { type: "leaseRevoke", deleted: keys.endLease(lease) };
  },
  contentBytesMax: 0,
  contentBytes: () => 0,
  writeResult: ({ deleted }, writer) => writer.number(deleted),
  readResult: (reader) => ({ type: "leaseRevoke", deleted: reader.number() }),
  isResult: ({ deleted }) => isCount(deleted),
};
