/**
 * A command, which is what a client's write is, and its bytes in a log entry. It takes effect whole or
 * not at all. A put is a command of one operation.
 *
 * | bytes | field |
 * |---|---|
 * | 1 | version, 2 |
 * | 1 | shape: bits 0-1 form, bits 2-3 the code of once (once.ts), the rest zero |
 * | 0 or 3 | form 2 only: how many compares, operations of success, operations of failure |
 * | n | once, if there is one |
 * | n | operations of success, then of failure: a code each, and what follows it (operations/) |
 * | n | compares (compare.ts) |
 *
 * | form | the command |
 * |---|---|
 * | 0 | one operation |
 * | 1 | one operation and one compare, of the operation's key, which is not repeated |
 * | 2 | anything else |
 *
 * Written by hand because it decodes at least three times as fast as a MessagePack array
 * (bench/skip_list_bench.ts), and so that a command has one encoding only.
 *
 * @module
 */
import { ByteSlabs } from "./byte_slabs.ts";
import { CommandError, CommandReader } from "./command_bytes.ts";
import { type Compare, compareSize, readCompare, writeCompare } from "./compare.ts";
import { COMMAND_BYTES_MAX, COMPARES_MAX, OPERATIONS_MAX, RANGES_VERSION } from "./limits.ts";
import { type Once, onceCode, onceSize, readOnce, writeOnce } from "./once.ts";
import { keyOf, kindOf, kindOfCode, type Operation } from "./operations/operations.ts";

/**
 * What a client proposes. The compares see the store as it was before; an operation sees what those
 * before it in its list did.
 */
export interface Command {
  /** If all of them hold, `success` is executed, else `failure`. */
  readonly compares: readonly Compare[];
  readonly success: readonly Operation[];
  readonly failure: readonly Operation[];
  readonly once?: Once | undefined;
}

/** Version of the layout. */
export const COMMAND_VERSION = 2;

const FORM_SINGLE = 0;
const FORM_COMPARED = 1;
const FORM_LISTS = 2;
const HEADER_BYTES = 2;
const COUNTS_BYTES = 3;
const CODE_BYTES = 1;
const NO_COMPARES: readonly Compare[] = [];
const NO_OPERATIONS: readonly Operation[] = [];
/** Commands live only until they are in the log, so even large slabs are soon free again. */
const COMMAND_SLAB_BYTES = 64 * 1024;
const commands = new ByteSlabs(COMMAND_SLAB_BYTES, COMMAND_SLAB_BYTES / 8);

/**
 * The command's bytes.
 *
 * @throws {CommandError} If a part of it is outside its limits (limits.ts).
 */
export function encodeCommand(command: Command): Uint8Array<ArrayBuffer> {
  const { compares, success, failure, once } = command;
  checkCounts(compares.length, success.length + failure.length);
  const form = formOf(command);
  const key = form === FORM_COMPARED ? "without-key" : "with-key";
  let size = HEADER_BYTES + (form === FORM_LISTS ? COUNTS_BYTES : 0) + onceSize(once);
  for (const operation of success) size += operationSize(operation);
  for (const operation of failure) size += operationSize(operation);
  for (const compare of compares) size += compareSize(compare, key);
  checkSize(size);

  const bytes = commands.allocate(size);
  bytes[0] = COMMAND_VERSION;
  bytes[1] = form | (onceCode(once) << 2);
  let at = HEADER_BYTES;
  if (form === FORM_LISTS) {
    bytes[at] = compares.length;
    bytes[at + 1] = success.length;
    bytes[at + 2] = failure.length;
    at += COUNTS_BYTES;
  }
  at = writeOnce(once, bytes, at);
  for (const operation of success) at = writeOperation(operation, bytes, at);
  for (const operation of failure) at = writeOperation(operation, bytes, at);
  for (const compare of compares) at = writeCompare(compare, key, bytes, at);
  return bytes;
}

/**
 * Reads a command's bytes; values are views of them.
 *
 * @throws {CommandError} If they are anything but one whole command within its limits.
 */
export function decodeCommand(bytes: Uint8Array): Command {
  if (bytes.length < HEADER_BYTES) throw new CommandError("malformed", "it is cut short");
  if (bytes[0] !== COMMAND_VERSION) {
    const reason = `its version is ${bytes[0]}, not ${COMMAND_VERSION}`;
    throw new CommandError("unknown-version", reason);
  }
  checkSize(bytes.length);
  const shape = bytes[1]!;
  const form = shape & 3;
  if (form > FORM_LISTS || shape > 15) {
    throw new CommandError("malformed", `its shape is ${shape}`);
  }
  const reader = new CommandReader(bytes, HEADER_BYTES);
  const command = form === FORM_LISTS
    ? readLists(reader, shape >>> 2)
    : readSingle(reader, shape >>> 2, form);
  if (!reader.isAtEnd) throw new CommandError("malformed", "bytes follow its end");
  return command;
}

function readSingle(reader: CommandReader, once: number, form: number): Command {
  const recognised = readOnce(once, reader);
  const operation = readOperation(reader);
  const key = keyOf(operation);
  if (form === FORM_COMPARED && key === undefined) {
    throw new CommandError("malformed", "it has a compare of no key");
  }
  const compares = form === FORM_COMPARED ? [readCompare(reader, key)] : NO_COMPARES;
  return { compares, success: [operation], failure: NO_OPERATIONS, once: recognised };
}

function readLists(reader: CommandReader, once: number): Command {
  const [compareCount, successCount, failureCount] = [reader.byte(), reader.byte(), reader.byte()];
  checkCounts(compareCount, successCount + failureCount);
  const recognised = readOnce(once, reader);
  const success = Array.from({ length: successCount }, () => readOperation(reader));
  const failure = Array.from({ length: failureCount }, () => readOperation(reader));
  const compares = Array.from({ length: compareCount }, () => readCompare(reader, undefined));
  const command = { compares, success, failure, once: recognised };
  if (formOf(command) !== FORM_LISTS) {
    throw new CommandError("malformed", "it is longer than needed");
  }
  return command;
}

/** Whether a repeat of the command is recognised, so that it may be proposed again. Reads two bytes. */
export function isRepeatable(bytes: Uint8Array): boolean {
  return bytes.length >= HEADER_BYTES && bytes[1]! >>> 2 !== 0;
}

/** The cluster version since which entries may hold the command. */
export function clusterVersionOf({ compares, success, failure }: Command): number {
  let version = compares.some(({ target }) => target === "lease") ? RANGES_VERSION : 1;
  for (const operation of success) version = Math.max(version, kindOf(operation).since);
  for (const operation of failure) version = Math.max(version, kindOf(operation).since);
  return version;
}

/** The shortest form that can hold the command. */
function formOf({ compares, success, failure }: Command): number {
  if (success.length !== 1 || failure.length > 0 || compares.length > 1) return FORM_LISTS;
  if (compares.length === 0) return FORM_SINGLE;
  return compares[0]!.key === keyOf(success[0]!) ? FORM_COMPARED : FORM_LISTS;
}

function operationSize(operation: Operation): number {
  const kind = kindOf(operation);
  kind.check(operation);
  return CODE_BYTES + kind.size(operation);
}

function writeOperation(operation: Operation, bytes: Uint8Array, at: number): number {
  const kind = kindOf(operation);
  bytes[at] = kind.code;
  return kind.write(operation, bytes, at + CODE_BYTES);
}

function readOperation(reader: CommandReader): Operation {
  const code = reader.byte();
  const kind = kindOfCode(code);
  if (kind === undefined) {
    throw new CommandError("malformed", `it has an operation of kind ${code}`);
  }
  return kind.read(reader);
}

function checkCounts(compares: number, operations: number): void {
  if (compares > COMPARES_MAX) {
    const reason = `it has ${compares} compares, more than ${COMPARES_MAX}`;
    throw new CommandError("command-size", reason);
  }
  if (operations > OPERATIONS_MAX) {
    const reason = `it has ${operations} operations, more than ${OPERATIONS_MAX}`;
    throw new CommandError("command-size", reason);
  }
}

function checkSize(bytes: number): void {
  if (bytes <= COMMAND_BYTES_MAX) return;
  const reason = `it has ${bytes} bytes, more than ${COMMAND_BYTES_MAX}`;
  throw new CommandError("command-size", reason);
}
