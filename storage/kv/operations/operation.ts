/**
 * What one kind of operation defines: its code in the log, its bytes, its effect, and how its result
 * is kept and recognised. A new kind is a file like those beside this one and a line in operations.ts.
 * No other file tells the kinds apart.
 *
 * @module
 */
import type { CommandReader } from "../command_bytes.ts";
import type { KeySpace } from "../key_space.ts";
import type { StateReader, StateWriter } from "../state_bytes.ts";

/** Why an operation cannot be done; its command changes nothing then. */
export type OperationFailure =
  /** A value, or what is read or deleted, would exceed its limit. */
  | "too-large"
  /** The value at the key of an increment is not the decimal text of a 64-bit integer. */
  | "not-integer"
  /** The sum is no 64-bit integer. */
  | "overflow"
  /** There is no such lease, or it has ended. */
  | "no-lease"
  /** There are LEASES_MAX leases. */
  | "too-many-leases";

/** A kind of operation: the type of its operations and that of their results. */
export interface OperationKind<Operation, Result> {
  /** Its first byte in the log, 1 to 255. The code of a kind is never used for another. */
  readonly code: number;
  /** The cluster version since which commands may have it; before, an older build could not read it. */
  readonly since: number;
  /** @throws {CommandError} If a part of it is outside its limits. */
  check(operation: Operation): void;
  /** How many bytes it takes besides its code. */
  size(operation: Operation): number;
  /** Writes them and returns the offset just after them. */
  write(operation: Operation, bytes: Uint8Array, at: number): number;
  /** @throws {CommandError} If the bytes are no such operation, or a part is outside its limits. */
  read(reader: CommandReader): Operation;
  /** Executes it. Changes nothing if it cannot be done. */
  apply(operation: Operation, keys: KeySpace): Result | OperationFailure;
  /** Most bytes of keys' content in a result; 0 if it has numbers only. */
  readonly contentBytesMax: number;
  /** Bytes of keys' content in this result. */
  contentBytes(result: Result): number;
  /** Writes the result: at most RESULT_OVERHEAD_BYTES besides content. */
  writeResult(result: Result, writer: StateWriter): void;
  /** @throws {StateError} If the bytes are not what `writeResult` wrote. */
  readResult(reader: StateReader): Result;
  /** Whether a record of another node, whose type is this kind's, is a result. */
  isResult(record: Readonly<Record<string, unknown>>): boolean;
}

/** Whether the value is an integer of at least 0, as all numbers in results are. */
export function isCount(value: unknown): boolean {
  return Number.isSafeInteger(value) && (value as number) >= 0;
}
