/**
 * Errors on their way between two systems: an error of the runtime keeps its class, and any other
 * becomes a RemoteError.
 *
 * @module
 */
import type { WireFailure, WireValue } from "../../transport/wire/messages.ts";
import { ActorStoppedError, MailboxFullError, MessageRefusedError, RemoteError } from "./actor.ts";

/** What was thrown, as an error. */
export function asError(thrown: unknown): Error {
  return thrown instanceof Error ? thrown : new Error(`What was thrown is no error: ${thrown}`);
}

/** An error as its class's name, its text and those of its fields that are plain values. */
export function toWire(error: Error): WireFailure {
  const fields: { [key: string]: WireValue } = {};
  for (const [key, value] of Object.entries(error)) {
    if (key !== "name" && isScalar(value)) fields[key] = value;
  }
  return {
    name: error.name.toWellFormed(),
    message: error.message.toWellFormed(),
    fields: error instanceof RemoteError ? { ...error.fields, ...fields } : fields,
  };
}

/** An error of the runtime itself comes back as its own class; any other as a RemoteError. */
export function fromWire(failure: WireFailure, address: string): Error {
  const outcome = failure.fields["outcome"] === "not-delivered" ? "not-delivered" : "unknown";
  if (failure.name === "MailboxFullError") return new MailboxFullError(address);
  if (failure.name === "MessageRefusedError") return new MessageRefusedError(address);
  if (failure.name === "ActorStoppedError") return new ActorStoppedError(address, outcome);
  return new RemoteError(failure.name, failure.message, failure.fields);
}

function isScalar(value: unknown): value is boolean | number | string | Uint8Array {
  if (typeof value === "number") return Number.isFinite(value);
  if (typeof value === "string") return value.isWellFormed();
  return typeof value === "boolean" || value instanceof Uint8Array;
}
