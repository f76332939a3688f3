/**
 * Grants a lease from now on.
 *
 * Its bytes: milliseconds as a number, a byte that is 1 if it is for one key, else 0.
 *
 * @module
 */
import { checkNumber, CommandError } from "../command_bytes.ts";
import { LEASE_TTL_MS_MAX, LEASE_TTL_MS_MIN, RANGES_VERSION } from "../limits.ts";
import { numberSize, writeNumber } from "../numbers.ts";
import { isCount, type OperationFailure, type OperationKind } from "./operation.ts";

/** Grants a lease. */
export interface LeaseGrantOperation {
  readonly type: "leaseGrant";
  /** LEASE_TTL_MS_MIN to LEASE_TTL_MS_MAX. */
  readonly ttlMs: number;
  /** It goes with the last key that is attached to it. */
  readonly isOfKey: boolean;
}

/** The result of a grant. */
export interface LeaseGrantResult {
  readonly type: "leaseGrant";
  readonly lease: number;
}

const FLAG_BYTES = 1;

/** See the module. */
export const leaseGrantKind: OperationKind<LeaseGrantOperation, LeaseGrantResult> = {
  code: 8,
  since: RANGES_VERSION,
  check: ({ ttlMs }) => checkTtl(ttlMs),
  size: ({ ttlMs }) => numberSize(ttlMs) + FLAG_BYTES,
  write({ ttlMs, isOfKey }, bytes, at): number {
    const flagAt = writeNumber(ttlMs, bytes, at);
    bytes[flagAt] = +isOfKey;
    return flagAt + FLAG_BYTES;
  },
  read(reader): LeaseGrantOperation {
    const ttlMs = reader.number();
    checkTtl(ttlMs);
    const flag = reader.byte();
    if (flag > 1) throw new CommandError("malformed", "a flag of it is neither 0 nor 1");
    return { type: "leaseGrant", ttlMs, isOfKey: flag === 1 };
  },
  apply({ ttlMs, isOfKey }, { leases }): LeaseGrantResult | OperationFailure {
    const lease = leases.grant(ttlMs, isOfKey);
    return lease === undefined ? "too-many-leases" : { type: "leaseGrant", lease: lease.id };
  },
  contentBytesMax: 0,
  contentBytes: () => 0,
  writeResult: ({ lease }, writer) => writer.number(lease),
  readResult: (reader) => ({ type: "leaseGrant", lease: reader.number() }),
  isResult: ({ lease }) => isCount(lease),
};

function checkTtl(ttlMs: number): void {
  checkNumber(ttlMs);
  if (ttlMs >= LEASE_TTL_MS_MIN && ttlMs <= LEASE_TTL_MS_MAX) return;
  const reason = `a lease of ${ttlMs} ms is not ${LEASE_TTL_MS_MIN} to ${LEASE_TTL_MS_MAX}`;
  throw new CommandError("number", reason);
}
