/**
 * The operations on keys as commands of the log, which a link takes as they are: nothing is written as text
 * on the way, and the members need not read it but to apply it.
 *
 * @module
 */
import { toBytes, toByteString } from "../storage/byte_string.ts";
import { type Command, encodeCommand } from "../storage/kv/command.ts";
import { CommandError } from "../storage/kv/command_bytes.ts";
import type { CommandResult, Executed } from "../storage/kv/command_result.ts";
import type { Compare as StoreCompare } from "../storage/kv/compare.ts";
import { SESSION_WINDOW } from "../storage/kv/limits.ts";
import type {
  Operation as StoreOperation,
  OperationResult as StoreResult,
} from "../storage/kv/operations/operations.ts";
import type { WireEntry } from "../transport/wire/client_codec.ts";
import {
  ClerkError,
  ConflictError,
  InvalidRequestError,
  LeaseNotFoundError,
  PreconditionFailedError,
} from "./clerk_errors.ts";
import type { HttpKeyCalls } from "./clerk_http.ts";
import { type Attempt, type CommandLink, limitsOf, type Reading } from "./clerk_link.ts";
import type { ClerkRequests } from "./clerk_requests.ts";
import { ClerkSessions } from "./clerk_sessions.ts";
import {
  type Bytes,
  bytesOf,
  type CallOptions,
  type Compare,
  type Entry,
  type KeyCalls,
  makeEntry,
  type Operation,
  type OperationResult,
  type PutOptions,
  type ReadOptions,
  type Transaction,
  type TransactionResult,
  type WriteOptions,
  type Written,
} from "./clerk_types.ts";

const NO_COMPARES: readonly StoreCompare[] = [];
const NO_OPERATIONS: readonly StoreOperation[] = [];

/** See the module. */
export class CommandKeyCalls implements KeyCalls {
  readonly #link: CommandLink;
  readonly #requests: ClerkRequests;
  readonly #http: HttpKeyCalls;
  readonly #sessions: ClerkSessions;

  /** `http` does, over the same link, what is no command of its own. */
  constructor(
    { link, requests, http, newId }: {
      readonly newId: (() => string) | undefined;
      readonly link: CommandLink;
      readonly requests: ClerkRequests;
      readonly http: HttpKeyCalls;
    },
  ) {
    this.#link = link;
    this.#requests = requests;
    this.#http = http;
    this.#sessions = new ClerkSessions(async (once) => {
      const nothing = { compares: [], success: [], failure: [], once };
      await this.#propose(encodeCommand(nothing), {});
    }, newId);
  }

  /** See {@linkcode KeyCalls.put}. */
  async put(
    key: Bytes,
    value: Bytes,
    options: PutOptions,
  ): Promise<Written & { readonly lease?: string }> {
    if (options.ttlMs !== undefined) return await this.#http.put(key, value, options);
    const operation = putOf(key, value, options);
    const { result, revision } = await this.#one(operation, options);
    if (result.type === "putLeased") {
      return { revision, version: result.version, lease: String(result.lease) };
    }
    return { revision, version: versionOf(result) };
  }

  /** See {@linkcode KeyCalls.get}. */
  async get(key: Bytes, options: ReadOptions): Promise<Entry | undefined> {
    const name = keyOf(key);
    const { consistency, minRevision } = options;
    const freshness = {
      ...(consistency === undefined ? {} : { consistency }),
      ...(minRevision === undefined ? {} : { minRevision }),
    };
    const { entry } = await this.#requests.run<Reading>({
      ...limitsOf(options),
      ...{ isWrite: false, mayRepeat: true },
      attempt: (at, call) => this.#link.get(at, name, { ...call, ...freshness }),
    });
    return entry === undefined ? undefined : entryOf(name, entry);
  }

  /** See {@linkcode KeyCalls.delete}. */
  async delete(key: Bytes, options: WriteOptions): Promise<boolean> {
    const { result } = await this.#one({ type: "delete", key: keyOf(key) }, options);
    return result.type === "delete" && result.deleted > 0;
  }

  /** See {@linkcode KeyCalls.transact}. */
  async transact(transaction: Transaction, options: CallOptions): Promise<TransactionResult> {
    const { compare = [], success = [], failure = [] } = transaction;
    const lists = [success.map(operationOf), failure.map(operationOf)];
    const [first, second] = lists;
    const isWhole = lists.every((list) => list.every((operation) => operation !== undefined));
    // What reads or deletes ranges goes the way that knows all of their options.
    if (!isWhole || first!.length + second!.length === 0) {
      return await this.#http.transact(transaction, options);
    }
    const command = {
      compares: compare.map(compareOf),
      success: first as StoreOperation[],
      failure: second as StoreOperation[],
    };
    const executed = await this.#execute(command, options);
    const operations = executed.succeeded ? command.success : command.failure;
    return {
      succeeded: executed.succeeded,
      revision: executed.revision,
      results: executed.results.map((result, at) => resultOf(result, operations[at]!)),
    };
  }

  /** A command of one operation, whose condition must hold. */
  async #one(
    operation: StoreOperation & { readonly key: string },
    options: WriteOptions,
  ): Promise<{ readonly result: StoreResult; readonly revision: number }> {
    const expected = options.ifAbsent === true ? 0 : options.ifRevision;
    const compares: readonly StoreCompare[] = expected === undefined ? NO_COMPARES : [
      { key: operation.key, target: "revision", operator: "==", operand: expected },
    ];
    const command = { compares, success: [operation], failure: NO_OPERATIONS };
    const executed = await this.#execute(command, options);
    if (executed.succeeded) return { result: executed.results[0]!, revision: executed.revision };
    const present = executed.presentRevision;
    const message = present === 0 ? "The key does not exist" : `The key is at revision ${present}`;
    throw new PreconditionFailedError(message, present);
  }

  /** Has a command applied once. A session that has ended since takes another place, if that is safe. */
  async #execute(
    command: Omit<Command, "once">,
    options: CallOptions,
  ): Promise<Executed> {
    const step = this.#requests.stepsOf(options);
    for (let tries = 1;; tries++) {
      const limits = step();
      const place = this.#sessions.take() ??
        await this.#requests.within(this.#sessions.wait(), limits, (late) => late.release());
      try {
        const payload = encoded({ ...command, once: place.once });
        const result = await this.#propose(payload, step());
        if (result.status === "ok") return checked(result, command);
        throw failureOf(result);
      } catch (error) {
        // The error is of an attempt that surely was not applied (answerInDoubt).
        if (!isExpiry(error)) throw error;
        place.expired();
        if (tries > SESSION_WINDOW) throw error;
      } finally {
        place.release();
      }
    }
  }

  #propose(payload: Uint8Array, options: CallOptions): Promise<CommandResult> {
    return this.#requests.run<CommandResult>({
      ...limitsOf(options),
      ...{ isWrite: true, mayRepeat: true },
      attempt: async (at, call) =>
        judged(await this.#link.execute(at, payload, { ...call, mayRepeat: true })),
    });
  }
}

/** A place that was taken in a session which has ended, and which no attempt before it may have used. */
function isExpiry(error: unknown): boolean {
  return error instanceof ClerkError && error.code === "session-expired";
}

/** A result that says no more than that there is no room now is an attempt that failed. */
function judged(attempt: Attempt<CommandResult>): Attempt<CommandResult> {
  if (attempt.type !== "Answered" || attempt.answer instanceof ClerkError) return attempt;
  const { status } = attempt.answer;
  if (status === "session-expired") return { type: "Answered", answer: failureOf(attempt.answer) };
  if (status !== "overloaded" && status !== "too-many-leases") return attempt;
  return { type: "Failed", why: failureOf(attempt.answer).message, isSaid: true };
}

/** The error that a result stands for which is no success. */
function failureOf({ status }: Exclude<CommandResult, Executed>): ClerkError {
  switch (status) {
    case "too-large":
      return new InvalidRequestError(
        "The value, what is read or what is deleted would be too large; nothing was changed",
        { code: "too-large", status: 413 },
      );
    case "not-integer":
      return new ConflictError(
        "The value is not the decimal text of a 64-bit integer; nothing was changed",
        { code: "conflict", status: 409 },
      );
    case "overflow":
      return new ConflictError("The sum is no 64-bit integer; nothing was changed", {
        ...{ code: "conflict", status: 409 },
      });
    case "no-lease":
      return new LeaseNotFoundError("There is no such lease, or it has ended", {
        ...{ code: "lease-not-found", status: 404 },
      });
    case "session-expired":
      return new ClerkError("The client's session has ended", { code: status, status: 409 });
    case "too-many-leases":
    case "overloaded":
    case "idempotency-mismatch":
      return new ClerkError(`The cluster has no room for the request: ${status}`, {
        ...{ code: "overloaded", status: 429 },
      });
  }
}

/** A faulty leader may answer for other operations; then nobody knows what was done. */
function checked(
  executed: Executed,
  { success, failure }: Pick<Command, "success" | "failure">,
): Executed {
  const operations = executed.succeeded ? success : failure;
  const isAnswer = executed.results.length === operations.length &&
    executed.results.every(({ type }, at) => type === operations[at]!.type);
  if (isAnswer) return executed;
  throw new ClerkError("The leader did not answer for this command", {
    ...{ code: "outcome-unknown", outcome: "unknown" } as const,
  });
}

/** @throws {InvalidRequestError} If a part of the command is outside its limits. */
function encoded(command: Command): Uint8Array<ArrayBuffer> {
  try {
    return encodeCommand(command);
  } catch (error) {
    if (!(error instanceof CommandError)) throw error;
    const isTooLarge = error.code === "command-size" || error.code === "value-size";
    const code = isTooLarge ? "too-large" : "invalid-request";
    throw new InvalidRequestError(error.message, { code, status: isTooLarge ? 413 : 400 });
  }
}

/** The key as the store has it: a UTF-16 unit for each byte. */
function keyOf(key: Bytes): string {
  if (typeof key === "string" && isAscii(key)) return key;
  const bytes = bytesOf(key);
  return toByteString(bytes, 0, bytes.length);
}

function isAscii(text: string): boolean {
  for (let at = 0; at < text.length; at++) {
    if (text.charCodeAt(at) >= 0x80) return false;
  }
  return true;
}

function leaseOf(lease: string | { readonly id: string }): number {
  const id = Number(typeof lease === "string" ? lease : lease.id);
  if (Number.isSafeInteger(id) && id > 0) return id;
  throw new InvalidRequestError("A lease is the id of one", {
    code: "invalid-request",
    status: 400,
  });
}

function entryOf(key: string, entry: WireEntry): Entry {
  const { lease, value, ...rest } = entry;
  return makeEntry({
    ...rest,
    value,
    keyBytes: toBytes(key),
    lease: lease === undefined ? undefined : String(lease),
  });
}

function compareOf(compare: Compare): StoreCompare {
  const base = { key: keyOf(compare.key), operator: compare.op };
  switch (compare.target) {
    case "value":
      return { ...base, target: "value", operand: bytesOf(compare.value) };
    case "lease":
      return {
        ...{ ...base, target: "lease" } as const,
        operand: compare.lease === 0 ? 0 : leaseOf(compare.lease),
      };
    case "version":
      return { ...base, target: "version", operand: compare.version };
    case "created":
      return { ...base, target: "created", operand: compare.created };
    case "revision":
      return { ...base, target: "revision", operand: compare.revision };
  }
}

function putOf(
  key: Bytes,
  value: Bytes,
  { contentType, lease }: Pick<PutOptions, "contentType" | "lease">,
): StoreOperation & { readonly key: string } {
  const base = { key: keyOf(key), value: bytesOf(value), contentType };
  return lease === undefined
    ? { type: "put", ...base }
    : { type: "putLeased", ...base, lease: leaseOf(lease) };
}

/** The operation as the store has it; undefined if it is one on a range. */
function operationOf(operation: Operation): StoreOperation | undefined {
  if ("put" in operation) return putOf(operation.put.key, operation.put.value, operation.put);
  if ("append" in operation) {
    const { key, value } = operation.append;
    return { type: "append", key: keyOf(key), value: bytesOf(value) };
  }
  if ("increment" in operation) {
    const { key, by = 1 } = operation.increment;
    if (typeof by === "number" && !Number.isSafeInteger(by)) {
      const facts = { code: "invalid-request", status: 400 };
      throw new InvalidRequestError("What is added is a whole number", facts);
    }
    return { type: "increment", key: keyOf(key), by: BigInt(by) };
  }
  if ("get" in operation) return { type: "get", key: keyOf(operation.get.key) };
  if ("delete" in operation && "key" in operation.delete) {
    return { type: "delete", key: keyOf(operation.delete.key) };
  }
  return undefined;
}

function resultOf(result: StoreResult, operation: StoreOperation): OperationResult {
  switch (result.type) {
    case "put": {
      const { version, created } = result;
      return { put: { version, created } };
    }
    case "putLeased": {
      const { version, created, lease } = result;
      return { put: { version, created, lease: String(lease) } };
    }
    case "append": {
      const { version, length, created } = result;
      return { append: { version, length, created } };
    }
    case "increment": {
      const { value, version, created } = result;
      return { increment: { value: BigInt(value), version, created } };
    }
    case "delete":
      return { delete: { deleted: result.deleted } };
    case "get": {
      const { entry } = result;
      if (entry === undefined || operation.type !== "get") return { get: undefined };
      return { get: entryOf(operation.key, { ...entry, lease: entry.lease }) };
    }
    default:
      throw new ClerkError(`The leader answered with ${result.type}`, {
        ...{ code: "outcome-unknown", outcome: "unknown" } as const,
      });
  }
}

function versionOf(result: StoreResult): number {
  return "version" in result ? result.version : 0;
}
