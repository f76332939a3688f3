/**
 * Callers of one Clerk on the clients' wire, in place of connections: each has one request under way, and all
 * of them share the Clerk's connections, as the callers of a program do.
 *
 * @module
 */
import { Clerk, ClerkError } from "../mod.ts";
import type { LoadLine } from "./load_run.ts";
import type { RequestTemplate } from "./load_client.ts";

/** How long a request may take before it counts as an error. */
const TIMEOUT_MS = 10_000;

/** Opens callers of one Clerk; `close` closes it once they are done. */
export function wireCallers(
  endpoints: readonly { readonly hostname: string; readonly port: number }[],
): { readonly open: () => Promise<LoadLine>; readonly close: () => Promise<void> } {
  const kv = new Clerk({
    endpoints: endpoints.map(({ hostname, port }) =>
      `tcp://${hostname.includes(":") ? `[${hostname}]` : hostname}:${port}`
    ),
    timeoutMs: TIMEOUT_MS,
  });
  const line: LoadLine = {
    request: (template, key) => requestOf(kv, template, key),
    close: () => {},
  };
  return { open: () => Promise.resolve(line), close: () => kv[Symbol.asyncDispose]() };
}

/** As LoadConnection.request: the status that HTTP would have. */
async function requestOf(kv: Clerk, template: RequestTemplate, at: number): Promise<number> {
  const { operation, keys } = template;
  if (operation === undefined) throw new Error("the wire has no such request");
  const key = keys[at]!;
  try {
    if (operation.type === "put") await kv.put(key, valueOf(template));
    else await kv.get(key, operation.options);
    return 200;
  } catch (error) {
    if (error instanceof ClerkError) return error.status ?? 503;
    throw error;
  }
}

function valueOf({ operation, values }: RequestTemplate): Uint8Array {
  if (values === undefined) return operation!.value!;
  const from = Math.floor(Math.random() * (values.pool.length - values.bytes));
  return values.pool.subarray(from, from + values.bytes);
}
