/**
 * What became of a command, and how a value from another node is known to say so.
 *
 * @module
 */

/** What became of a command. Only `ok` may have changed anything. */
export type CommandResult =
  | {
    readonly status: "ok";
    /** Revision of the store after the command. */
    readonly revision: number;
    /** Changes of the key since its creation; 0 after a delete. */
    readonly version: number;
    /** Bytes in the value; 0 after a delete. */
    readonly length: number;
    /** Whether the key was not there before. */
    readonly created: boolean;
    /** Keys deleted: 0 or 1. */
    readonly deleted: number;
    /** Present if this is the result of an earlier request, which was repeated. */
    readonly replayed?: true;
  }
  /** The condition did not hold. */
  | {
    readonly status: "precondition-failed";
    /** Revision of the key's last change; 0 if it is not there. */
    readonly revision: number;
    readonly replayed?: true;
  }
  /** The value would exceed VALUE_BYTES_MAX. */
  | { readonly status: "too-large"; readonly replayed?: true }
  /** The idempotency key was used for another request. */
  | { readonly status: "idempotency-mismatch" }
  /** The session is not known, or its window has moved beyond the sequence. */
  | { readonly status: "session-expired" }
  /** There is no room for another idempotency key or session. */
  | { readonly status: "overloaded" };

/** The integers that each result has besides its status. */
const INTEGERS = {
  "ok": ["revision", "version", "length", "deleted"],
  "precondition-failed": ["revision"],
  "too-large": [],
  "idempotency-mismatch": [],
  "session-expired": [],
  "overloaded": [],
} satisfies Record<CommandResult["status"], readonly string[]>;

/** The result that a value of another node means; undefined if none. */
export function commandResultOf(value: unknown): CommandResult | undefined {
  if (typeof value !== "object" || value === null) return undefined;
  const record = value as { readonly [name: string]: unknown };
  const { status, replayed } = record;
  if (typeof status !== "string" || !Object.hasOwn(INTEGERS, status)) return undefined;
  for (const name of INTEGERS[status as CommandResult["status"]]) {
    const integer = record[name];
    if (!Number.isSafeInteger(integer) || integer as number < 0) return undefined;
  }
  if (status === "ok" && typeof record["created"] !== "boolean") return undefined;
  if (replayed !== undefined && replayed !== true) return undefined;
  return value as CommandResult;
}
