/**
 * The kinds of operations that a command may have.
 *
 * @module
 */
import { appendKind, type AppendOperation, type AppendResult } from "./append.ts";
import { deleteKind, type DeleteOperation, type DeleteResult } from "./delete.ts";
import {
  deleteRangeKind,
  type DeleteRangeOperation,
  type DeleteRangeResult,
} from "./delete_range.ts";
import { getKind, type GetOperation, type GetResult } from "./get.ts";
import { incrementKind, type IncrementOperation, type IncrementResult } from "./increment.ts";
import { leaseGrantKind, type LeaseGrantOperation, type LeaseGrantResult } from "./lease_grant.ts";
import {
  leaseKeepAliveKind,
  type LeaseKeepAliveOperation,
  type LeaseKeepAliveResult,
} from "./lease_keep_alive.ts";
import {
  leaseRevokeKind,
  type LeaseRevokeOperation,
  type LeaseRevokeResult,
} from "./lease_revoke.ts";
import type { OperationKind } from "./operation.ts";
import { putKind, type PutOperation, type PutResult } from "./put.ts";
import { putLeasedKind, type PutLeasedOperation, type PutLeasedResult } from "./put_leased.ts";
import { rangeKind, type RangeOperation, type RangeResult } from "./range.ts";

/** One step of a command. */
export type Operation =
  | PutOperation
  | AppendOperation
  | DeleteOperation
  | GetOperation
  | IncrementOperation
  | DeleteRangeOperation
  | RangeOperation
  | LeaseGrantOperation
  | LeaseKeepAliveOperation
  | LeaseRevokeOperation
  | PutLeasedOperation;

/** The result of an operation; it has the operation's type. */
export type OperationResult =
  | PutResult
  | AppendResult
  | DeleteResult
  | GetResult
  | IncrementResult
  | DeleteRangeResult
  | RangeResult
  | LeaseGrantResult
  | LeaseKeepAliveResult
  | LeaseRevokeResult
  | PutLeasedResult;

/** An operation of one type. */
export type OperationOf<Type extends Operation["type"]> = Extract<Operation, { type: Type }>;

/** A result of one type. */
export type ResultOf<Type extends Operation["type"]> = Extract<OperationResult, { type: Type }>;

type Kinds = {
  readonly [Type in Operation["type"]]: OperationKind<OperationOf<Type>, ResultOf<Type>>;
};
/** The kind of any operation. The tables below make sure that a kind gets operations of its own type. */
type AnyKind = OperationKind<Operation, OperationResult>;

const kinds: Kinds = {
  put: putKind,
  append: appendKind,
  delete: deleteKind,
  get: getKind,
  increment: incrementKind,
  deleteRange: deleteRangeKind,
  range: rangeKind,
  leaseGrant: leaseGrantKind,
  leaseKeepAlive: leaseKeepAliveKind,
  leaseRevoke: leaseRevokeKind,
  putLeased: putLeasedKind,
};
const byType = kinds as unknown as Readonly<Record<Operation["type"], AnyKind>>;
const byCode: (AnyKind | undefined)[] = [];
for (const kind of Object.values(byType)) byCode[kind.code] = kind;

/** The kind of operations and results of this type. */
export function kindOf({ type }: { readonly type: Operation["type"] }): AnyKind {
  return byType[type];
}

/** The kind that has this code in the log; undefined if none has. */
export function kindOfCode(code: number): AnyKind | undefined {
  return byCode[code];
}

/** The only key that it is about; undefined if it is about a range of keys, or a lease. */
export function keyOf(operation: Operation): string | undefined {
  switch (operation.type) {
    case "range":
    case "deleteRange":
    case "leaseGrant":
    case "leaseKeepAlive":
    case "leaseRevoke":
      return undefined;
    default:
      return operation.key;
  }
}

/** Whether it is the type of an operation. */
export function isOperationType(type: unknown): type is Operation["type"] {
  return typeof type === "string" && Object.hasOwn(byType, type);
}
