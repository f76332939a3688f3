/**
 * Requests of the command line to a cluster: any endpoint, retried as far as that is safe.
 *
 * A write carries an idempotency key, so repeating it after a lost answer applies it once.
 *
 * @module
 */
import { EXIT } from "./usage.ts";

/** Pause between two rounds over the endpoints. */
export const RETRY_PAUSE_MS = 100;

/** An answer that is not a success, with the exit code that it means. */
export class ClientError extends Error {
  override readonly name = "ClientError";
  readonly exitCode: number;

  /** `message` is for a person. */
  constructor(message: string, exitCode: number) {
    super(message);
    this.exitCode = exitCode;
  }
}

/** One request, for any endpoint. */
export interface ClientRequest {
  readonly method: "GET" | "PUT" | "POST" | "DELETE";
  readonly path: string;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: Uint8Array<ArrayBuffer> | string;
}

/** Sends a request until an endpoint answers it or the time is up. */
export async function send(
  request: ClientRequest,
  options: { readonly endpoints: readonly string[]; readonly timeoutMs: number },
): Promise<Response> {
  const deadlineMs = performance.now() + options.timeoutMs;
  const headers = new Headers(request.headers);
  if (request.method !== "GET") headers.set("idempotency-key", `"${crypto.randomUUID()}"`);
  let last = "no endpoint was tried";
  let mayHaveBeenApplied = false;
  for (;;) {
    for (const endpoint of options.endpoints) {
      const leftMs = deadlineMs - performance.now();
      if (leftMs <= 0) {
        const exitCode = mayHaveBeenApplied ? EXIT.outcomeUnknown : EXIT.unavailable;
        throw new ClientError(last, exitCode);
      }
      try {
        const response = await fetch(endpoint + request.path, {
          method: request.method,
          headers,
          signal: AbortSignal.timeout(Math.ceil(leftMs)),
          ...(request.body === undefined ? {} : { body: request.body }),
        });
        if (response.ok) return response;
        const problem = await problemOf(response);
        last = problem.message;
        if (problem.outcome === "unknown") mayHaveBeenApplied = true;
        if (!problem.retryable) {
          const isUnknown = problem.outcome === "unknown" && request.method !== "GET";
          const exitCode = isUnknown ? EXIT.outcomeUnknown : exitCodeOf(response.status);
          throw new ClientError(problem.message, exitCode);
        }
      } catch (error) {
        if (error instanceof ClientError) throw error;
        last = `${endpoint}: ${reasonOf(error as Error)}`;
        // A connection that was refused never carried the request; anything else may have.
        if (request.method !== "GET" && !/refused/i.test(last)) mayHaveBeenApplied = true;
      }
    }
    await new Promise((resolve) => setTimeout(resolve, RETRY_PAUSE_MS));
  }
}

/** What failed: `fetch` says so in the cause only. */
function reasonOf({ message, cause }: Error): string {
  return cause instanceof Error ? `${message}: ${cause.message}` : message;
}

async function problemOf(
  response: Response,
): Promise<{ message: string; retryable: boolean; outcome: string }> {
  const text = await response.text();
  try {
    const { title, detail, retryable, outcome } = JSON.parse(text);
    return { message: `${title}: ${detail}`, retryable, outcome };
  } catch {
    return { message: `${response.status} ${text}`, retryable: false, outcome: "unknown" };
  }
}

/** The exit code of a status that is not worth a retry. */
function exitCodeOf(status: number): number {
  if (status === 404) return EXIT.notFound;
  if (status === 412) return EXIT.preconditionFailed;
  if (status === 400) return EXIT.usage;
  return EXIT.failure;
}
