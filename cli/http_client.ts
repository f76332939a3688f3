/**
 * Requests of the command line to a cluster, through the Clerk, and what its errors mean for the exit code.
 *
 * @module
 */
import { Clerk, ClerkError, type ClerkRequest, reasonOf } from "../mod.ts";
import { EXIT } from "./usage.ts";

/** How long an endpoint may take to report its own state, which it knows without asking a peer. */
export const ASK_MS_MAX = 2_000;
const LOOPBACK = "127.0.0.0/8,::1,localhost";

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
export type ClientRequest = Omit<ClerkRequest, "isStreamed" | "signal" | "timeoutMs">;

/** Which endpoints a command may use, and for how long. */
export interface Reach {
  readonly endpoints: readonly string[];
  readonly timeoutMs: number;
}

/**
 * Sends a request until an endpoint answers it or the time is up, as {@linkcode Clerk.fetch} does.
 *
 * @throws {ClientError} If the answer is no success, or nobody answers.
 */
export function send(request: ClientRequest, reach: Reach): Promise<Response> {
  return sendWith(request, reach);
}

/**
 * As {@linkcode send}, but the answer's body is still to be read, for however long that takes. The
 * time is that until the answer begins.
 */
export function openStream(request: ClientRequest, reach: Reach): Promise<Response> {
  return sendWith({ ...request, isStreamed: true }, reach);
}

async function sendWith(request: ClerkRequest, reach: Reach): Promise<Response> {
  try {
    return await new Clerk(reach).fetch(request);
  } catch (error) {
    if (!(error instanceof ClerkError)) throw error;
    throw new ClientError(error.message, exitCodeOf(error));
  }
}

/** What one endpoint said, or why it said nothing. */
export type Answer =
  & { readonly endpoint: string }
  & (
    | { readonly status: number; readonly body: string; readonly failure?: never }
    | { readonly failure: string }
  );

/** Asks every endpoint at once, each once; the answers are in the order of the endpoints. */
export async function askAll(
  { method = "GET", path, accept }: {
    /** What is asked for with POST may take all of the time. */
    readonly method?: "GET" | "POST";
    readonly path: string;
    readonly accept: string;
  },
  reach: Reach,
): Promise<readonly Answer[]> {
  const attemptMs = method === "POST" ? reach.timeoutMs : Math.min(reach.timeoutMs, ASK_MS_MAX);
  return await Promise.all(reach.endpoints.map(async (endpoint): Promise<Answer> => {
    try {
      const response = await fetch(endpoint + path, {
        method,
        headers: { accept, "statecraft-timeout-ms": String(attemptMs) },
        signal: AbortSignal.timeout(attemptMs),
      });
      return { endpoint, status: response.status, body: await response.text() };
    } catch (error) {
      return { endpoint, failure: reasonOf(error as Error, attemptMs) };
    }
  }));
}

/** What a body says as JSON; undefined if it is none. */
export function jsonIn(body: string): unknown {
  try {
    return JSON.parse(body);
  } catch {
    return undefined;
  }
}

/**
 * Keeps requests to this machine away from the proxy that the environment names: `fetch` asks it
 * for loopback too. Must run before the first `fetch`, which reads the environment once.
 */
export function bypassProxyOnLoopback(environment: Pick<typeof Deno.env, "get" | "set">): void {
  for (const name of ["NO_PROXY", "no_proxy"]) {
    const given = environment.get(name);
    environment.set(name, given === undefined ? LOOPBACK : `${given},${LOOPBACK}`);
  }
}

/** The exit code that the error of a request means. */
export function exitCodeOf({ outcome, status, name }: ClerkError): number {
  if (outcome === "unknown") return EXIT.outcomeUnknown;
  if (name === "UnavailableError") return EXIT.unavailable;
  if (status === 404) return EXIT.notFound;
  if (status === 412) return EXIT.preconditionFailed;
  if (status === 400) return EXIT.usage;
  return EXIT.failure;
}
