/**
 * Commands of one operation, which most are.
 *
 * @module
 */
import type { Command } from "../../../storage/kv/command.ts";
import type { Operation } from "../../../storage/kv/operations/operations.ts";

/** The command of one operation. */
export function commandOf(
  operation: Operation,
  { compares = [], once }: Partial<Pick<Command, "compares" | "once">> = {},
): Command {
  return { compares, success: [operation], failure: [], once };
}
