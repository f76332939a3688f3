/**
 * A write that a route makes: proposed, and answered with what it did or an error that says why it did
 * nothing.
 *
 * @module
 */
import type { Context } from "hono";
import type { Command } from "../../../storage/kv/command.ts";
import { CommandError } from "../../../storage/kv/command_bytes.ts";
import type { CommandResult, Executed } from "../../../storage/kv/command_result.ts";
import {
  LEASES_MAX,
  RANGE_DELETE_KEYS_MAX,
  RESULT_BYTES_MAX,
  VALUE_BYTES_MAX,
} from "../../../storage/kv/limits.ts";
import type { ItemPort } from "../gateway_port.ts";
import { GatewayError } from "../problem.ts";
import { timeoutOf } from "./kv_request.ts";

/** @throws {GatewayError} If the command took no effect, or nobody knows. */
export async function execute(c: Context, port: ItemPort, command: Command): Promise<Executed> {
  const answer = await propose(port, command, timeoutOf(c));
  switch (answer.status) {
    case "ok":
      return answer;
    case "too-large":
      throw new GatewayError(
        "too-large",
        `A value would exceed ${VALUE_BYTES_MAX} bytes, what is read ${RESULT_BYTES_MAX}, or what is ` +
          `deleted ${RANGE_DELETE_KEYS_MAX} keys; nothing was changed`,
      );
    case "not-integer":
      throw new GatewayError(
        "conflict",
        "The value is not the decimal text of a 64-bit integer; nothing was changed",
      );
    case "overflow":
      throw new GatewayError("conflict", "The sum is no 64-bit integer; nothing was changed");
    case "no-lease":
      throw new GatewayError("lease-not-found", "There is no such lease, or it has ended");
    case "too-many-leases":
      throw new GatewayError("overloaded", `There are ${LEASES_MAX} leases already`);
    case "idempotency-mismatch":
      throw new GatewayError("idempotency-mismatch", "Use a new key for a new request");
    case "overloaded":
      throw new GatewayError("overloaded", "Too many idempotency keys are remembered");
    case "session-expired":
      throw new GatewayError("conflict", "The client's session has expired");
  }
}

/** @throws {GatewayError} Also if the command cannot be encoded: nobody has proposed it then. */
async function propose(
  port: ItemPort,
  command: Command,
  timeoutMs: number,
): Promise<CommandResult> {
  try {
    return await port.write(command, timeoutMs);
  } catch (error) {
    if (!(error instanceof CommandError)) throw error;
    const isTooLarge = error.code === "command-size" || error.code === "value-size";
    throw new GatewayError(isTooLarge ? "too-large" : "invalid-request", error.message);
  }
}

/** The answer to a write. */
export function written(
  { replayed }: Executed,
  body: Record<string, unknown>,
  status: 200 | 201 = 200,
): Response {
  const response = new Response(JSON.stringify(body) + "\n", { status });
  const { headers } = response;
  headers.set("content-type", "application/json");
  if (replayed === true) headers.append("idempotency-replayed", "true");
  return response;
}
