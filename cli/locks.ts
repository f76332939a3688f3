/**
 * `deno task kv lock` and `deno task kv elect`: hold a lock until Ctrl-C, or say who holds it.
 *
 * @module
 */
import { Clerk, ClerkError, LockHeldError, type LockOptions } from "../mod.ts";
import { ClientError, exitCodeOf, type Reach } from "./http_client.ts";
import { EXIT } from "./usage.ts";

/**
 * Takes a lock, says so in a line of JSON, and holds it until the signal is aborted.
 *
 * @throws {ClientError} If it is not free in time, or is lost while it is held.
 */
export async function holdLock(
  name: string,
  options: LockOptions & { readonly signal: AbortSignal },
  { reach, show }: { readonly reach: Reach; readonly show: (text: string) => void },
): Promise<void> {
  try {
    await using lock = await new Clerk(reach).lock(name, options);
    const { fencingToken, key } = lock;
    show(JSON.stringify({ fencingToken, key }) + "\n");
    await aborted(AbortSignal.any([options.signal, lock.lost]));
    if (!lock.lost.aborted) return;
    throw new ClientError("The lock was lost: its lease could not be kept alive", EXIT.unavailable);
  } catch (error) {
    if (options.signal.aborted && error instanceof ClerkError) return;
    throw clientError(error);
  }
}

/**
 * Shows who holds a lock, as JSON; or only what the holder says of itself.
 *
 * @throws {ClientError} `notFound` if nobody does.
 */
export async function showHolder(
  name: string,
  { reach, show, isValueOnly }: {
    readonly reach: Reach;
    readonly show: (text: string) => void;
    readonly isValueOnly: boolean;
  },
): Promise<void> {
  try {
    const holder = await new Clerk(reach).holder(name);
    if (holder === undefined) throw new ClientError("Nobody holds it", EXIT.notFound);
    const { fencingToken, lease, value } = holder;
    const text = textOf(value);
    show(isValueOnly ? `${text}\n` : JSON.stringify({ fencingToken, lease, value: text }) + "\n");
  } catch (error) {
    throw clientError(error);
  }
}

function clientError(error: unknown): unknown {
  if (error instanceof LockHeldError) {
    return new ClientError(error.message, EXIT.preconditionFailed);
  }
  return error instanceof ClerkError ? new ClientError(error.message, exitCodeOf(error)) : error;
}

function aborted(signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal.aborted) resolve();
    else signal.addEventListener("abort", () => resolve(), { once: true });
  });
}

function textOf(bytes: Uint8Array): string {
  return new TextDecoder().decode(bytes);
}
