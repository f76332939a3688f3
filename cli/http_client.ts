/**
 * Requests of the command line to a cluster: any endpoint, retried as far as that is safe.
 *
 * A write carries an idempotency key, so repeating it after a lost answer applies it once.
 *
 * @module
 */
import { REQUEST_TIMEOUT_MS_MAX, REQUEST_TIMEOUT_MS_MIN } from "../transport/http/limits.ts";
import { EXIT } from "./usage.ts";

/** Pause between two rounds over the endpoints. */
export const RETRY_PAUSE_MS = 100;
/**
 * Least time of an attempt, unless less is left: with a small share of a short time no attempt
 * could succeed.
 */
export const ATTEMPT_MS_MIN = 100;
/** The part of an attempt's time that is left for the network; the server gets the rest. */
export const ANSWER_MARGIN_MS = 200;
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
export interface ClientRequest {
  readonly method: "GET" | "PUT" | "POST" | "DELETE";
  readonly path: string;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: Uint8Array<ArrayBuffer> | string;
  /** It must not be repeated once it may have been done: no idempotency key protects it. Default false. */
  readonly isOnce?: boolean;
}

/** Which endpoints a command may use, and for how long. */
export interface Reach {
  readonly endpoints: readonly string[];
  readonly timeoutMs: number;
}

/**
 * Sends a request until an endpoint answers it or the time is up.
 *
 * An attempt takes at most its share of the time that is left, so that an endpoint that hangs
 * leaves enough for the others. The answer is read whole within the attempt.
 */
export function send(request: ClientRequest, reach: Reach): Promise<Response> {
  return sendWith(fetchWhole, request, reach);
}

/**
 * As {@linkcode send}, but the answer's body is still to be read, for however long that takes. The
 * time is that until the answer begins.
 */
export function openStream(request: ClientRequest, reach: Reach): Promise<Response> {
  return sendWith(fetchHead, request, reach);
}

/** One attempt, which takes no longer than `attemptMs`. */
type Fetch = (url: string, init: RequestInit, attemptMs: number) => Promise<Response>;

async function fetchWhole(url: string, init: RequestInit, attemptMs: number): Promise<Response> {
  const response = await fetch(url, { ...init, signal: AbortSignal.timeout(attemptMs) });
  const { status, headers } = response;
  return new Response(await response.bytes(), { status, headers });
}

async function fetchHead(url: string, init: RequestInit, attemptMs: number): Promise<Response> {
  const attempt = new AbortController();
  const late = (): void => attempt.abort(new DOMException("late", "TimeoutError"));
  const timer = setTimeout(late, attemptMs);
  try {
    return await fetch(url, { ...init, signal: attempt.signal });
  } finally {
    clearTimeout(timer);
  }
}

async function sendWith(
  attempt: Fetch,
  request: ClientRequest,
  reach: Reach,
): Promise<Response> {
  const deadlineMs = performance.now() + reach.timeoutMs;
  const headers = new Headers(request.headers);
  if (request.method !== "GET") headers.set("idempotency-key", `"${crypto.randomUUID()}"`);
  let last = "no endpoint was tried";
  // An answer of a node tells more about the cluster than the failure to reach another node.
  let said: string | undefined;
  // Why a write may have been applied; undefined if it surely was not.
  let doubt: string | undefined;
  for (;;) {
    for (const [at, endpoint] of reach.endpoints.entries()) {
      const leftMs = deadlineMs - performance.now();
      if (leftMs <= 0) {
        const end = said ?? last;
        if (doubt === undefined) throw new ClientError(end, EXIT.unavailable);
        const message = doubt === end
          ? end
          : `${end}; it may have been done all the same: ${doubt}`;
        throw new ClientError(message, EXIT.outcomeUnknown);
      }
      const attemptMs = attemptMsOf(leftMs, reach.endpoints.length - at);
      headers.set("statecraft-timeout-ms", String(serverMsOf(attemptMs)));
      try {
        const { method, path, body } = request;
        const init = { method, headers, ...(body === undefined ? {} : { body }) };
        const response = await attempt(endpoint + path, init, attemptMs);
        if (response.ok) return response;
        const problem = await problemOf(response);
        said = problem.message;
        if (problem.outcome === "unknown") doubt = problem.message;
        if (!problem.retryable) {
          const isUnknown = problem.outcome === "unknown" && request.method !== "GET";
          const exitCode = isUnknown ? EXIT.outcomeUnknown : exitCodeOf(response.status);
          throw new ClientError(problem.message, exitCode);
        }
      } catch (error) {
        if (error instanceof ClientError) throw error;
        last = `${endpoint}: ${reasonOf(error as Error, attemptMs)}`;
        // If the connection was refused, no node has seen the request. After any other failure one
        // may have.
        if (request.method !== "GET" && !/refused/i.test(last)) doubt = last;
      }
      if (request.isOnce === true && doubt !== undefined) {
        throw new ClientError(`it may have been done: ${doubt}`, EXIT.outcomeUnknown);
      }
    }
    await new Promise((resolve) => setTimeout(resolve, RETRY_PAUSE_MS));
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
        headers: { accept, "statecraft-timeout-ms": String(serverMsOf(attemptMs)) },
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

/** The share of one attempt, if `attempts` of them are still to be made in this round. */
function attemptMsOf(leftMs: number, attempts: number): number {
  return Math.ceil(Math.min(leftMs, Math.max(ATTEMPT_MS_MIN, leftMs / attempts)));
}

/** How long the server may take, so that its answer arrives within the attempt. */
function serverMsOf(attemptMs: number): number {
  const ms = attemptMs - Math.min(ANSWER_MARGIN_MS, Math.floor(attemptMs / 5));
  return Math.min(REQUEST_TIMEOUT_MS_MAX, Math.max(REQUEST_TIMEOUT_MS_MIN, ms));
}

/**
 * What failed. `fetch` says it in the cause only, behind the URL, which the reader has seen
 * already.
 */
export function reasonOf({ name, message, cause }: Error, attemptMs: number): string {
  if (name === "TimeoutError") return `no answer within ${attemptMs} ms`;
  if (!(cause instanceof Error)) return message;
  return /client error \(\w+\): (.*)$/.exec(cause.message)?.[1] ?? cause.message;
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
