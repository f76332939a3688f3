/**
 * What became of a command: how it is answered, kept and recognised.
 *
 * @module
 */
import { toBytes } from "../byte_string.ts";
import type { Command } from "./command.ts";
import {
  OPERATIONS_MAX,
  RECORD_RESULT_BYTES,
  RESULT_BYTES_MAX,
  RESULT_OVERHEAD_BYTES,
} from "./limits.ts";
import { isCount, type OperationFailure } from "./operations/operation.ts";
import {
  isOperationType,
  kindOf,
  kindOfCode,
  type Operation,
  type OperationResult,
} from "./operations/operations.ts";
import { StateError, StateReader, StateWriter } from "./state_bytes.ts";

/** A command that was executed: one of its two lists, whole. */
export type Executed =
  & {
    readonly status: "ok";
    /** Revision of the store after the command. */
    readonly revision: number;
    /** The result of each operation of the list, in the order of the operations. */
    readonly results: readonly OperationResult[];
    /** Present if this is the result of an earlier request, which was repeated. */
    readonly replayed?: true;
  }
  & (
    /** Every compare held, so `success` was executed. */
    | { readonly succeeded: true }
    | {
      /** A compare did not hold, so `failure` was executed. */
      readonly succeeded: false;
      /** Revision of the first such compare's key before the command; 0 if there was no such key. */
      readonly presentRevision: number;
    }
  );

/** What became of a command. Only `ok` may have changed anything. */
export type CommandResult =
  | Executed
  /** An operation could not be done, or what was read exceeds RESULT_BYTES_MAX: nothing was changed. */
  | { readonly status: OperationFailure; readonly replayed?: true }
  /** The idempotency key was used for another request. */
  | { readonly status: "idempotency-mismatch" }
  /** The session is not known, or its window has moved beyond the sequence. */
  | { readonly status: "session-expired" }
  /** There is no room for the idempotency key, the session or the result that would be kept. */
  | { readonly status: "overloaded" };

const packer = new StateWriter();
/** Codes of the results that are kept, which are never used for others. */
const KEPT = {
  "ok": 1,
  "too-large": 2,
  "not-integer": 3,
  "overflow": 4,
  "no-lease": 5,
  "too-many-leases": 6,
} satisfies Record<"ok" | OperationFailure, number>;
const FAILURES = new Map(
  Object.entries(KEPT).flatMap(([status, code]): [number, OperationFailure][] =>
    status === "ok" ? [] : [[code, status as OperationFailure]]
  ),
);
const REFUSALS: readonly unknown[] = [
  "idempotency-mismatch",
  "session-expired",
  "overloaded",
] satisfies readonly Exclude<CommandResult["status"], keyof typeof KEPT>[];

/** Bytes that a result counts for against RESULT_BYTES_MAX. */
export function resultBytes(results: readonly OperationResult[]): number {
  let bytes = RESULT_OVERHEAD_BYTES * results.length;
  for (const result of results) bytes += kindOf(result).contentBytes(result);
  return bytes;
}

/** Most bytes that a command's result has when it is packed. */
export function packedBytesMax({ success, failure }: Command): number {
  return RESULT_OVERHEAD_BYTES + Math.max(listBytesMax(success), listBytesMax(failure));
}

function listBytesMax(operations: readonly Operation[]): number {
  let bytes = RESULT_OVERHEAD_BYTES * operations.length;
  for (const operation of operations) bytes += kindOf(operation).contentBytesMax;
  return Math.min(bytes, RESULT_BYTES_MAX);
}

/** Bytes that a packed result counts for where it is kept, on top of its record. */
export function countedBytes(packed: number): number {
  return Math.max(0, packed - RECORD_RESULT_BYTES);
}

/** The same result, for a client that repeats a request. */
export function replayed(result: CommandResult): CommandResult {
  return isKept(result.status) ? { ...result, replayed: true } as CommandResult : result;
}

/** A result as a byte string, which takes less memory where results are kept. */
export function packResult(result: CommandResult): string {
  const { status } = result;
  if (!isKept(status)) throw new StateError(`a result "${status}" is not kept`);
  packer.number(KEPT[status]);
  if (result.status !== "ok") return packer.takeText();
  packer.number(result.revision);
  // 0 if every compare held, else one more than presentRevision.
  packer.number(result.succeeded ? 0 : 1 + result.presentRevision);
  packer.number(result.results.length);
  for (const one of result.results) {
    const kind = kindOf(one);
    packer.number(kind.code);
    kind.writeResult(one, packer);
  }
  return packer.takeText();
}

/** @throws {StateError} If `packResult` made no such byte string. */
export function unpackResult(packed: string): CommandResult {
  const reader = new StateReader(toBytes(packed));
  const result = readResult(reader);
  if (!reader.isAtEnd) throw new StateError("bytes follow a result");
  return result;
}

function readResult(reader: StateReader): CommandResult {
  const kept = reader.number();
  const failure = FAILURES.get(kept);
  if (failure !== undefined) return { status: failure };
  if (kept !== KEPT.ok) throw new StateError("it has a result of an unknown kind");
  const revision = reader.number();
  const failed = reader.number();
  const results: OperationResult[] = [];
  for (let left = reader.number(); left > 0; left--) {
    const kind = kindOfCode(reader.number());
    if (kind === undefined) throw new StateError("it has a result of an unknown operation");
    results.push(kind.readResult(reader));
  }
  return failed === 0
    ? { status: "ok", succeeded: true, revision, results }
    : { status: "ok", succeeded: false, presentRevision: failed - 1, revision, results };
}

/** The result that a value of another node stands for; undefined if it stands for none. */
export function commandResultOf(value: unknown): CommandResult | undefined {
  if (!isRecord(value)) return undefined;
  const { status, replayed } = value;
  if (replayed !== undefined && replayed !== true) return undefined;
  const isResult = status === "ok"
    ? isExecuted(value)
    : isKept(status) || REFUSALS.includes(status);
  return isResult ? value as unknown as CommandResult : undefined;
}

function isKept(status: unknown): status is keyof typeof KEPT {
  return typeof status === "string" && Object.hasOwn(KEPT, status);
}

function isExecuted({ revision, succeeded, presentRevision, results }: Fields): boolean {
  if (!isCount(revision) || typeof succeeded !== "boolean") return false;
  if (!succeeded && !isCount(presentRevision)) return false;
  return Array.isArray(results) && results.length <= OPERATIONS_MAX && results.every(isOneResult);
}

function isOneResult(value: unknown): boolean {
  if (!isRecord(value)) return false;
  const { type } = value;
  return isOperationType(type) && kindOf({ type }).isResult(value);
}

type Fields = Readonly<Record<string, unknown>>;

function isRecord(value: unknown): value is Fields {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
