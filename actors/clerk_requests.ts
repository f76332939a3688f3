/**
 * Requests of a client to a cluster: any endpoint, asked again as far as that is safe. What is decided when
 * is in the chart (machines/clerk_machine.ts); this hosts it over `fetch`, or anything like it.
 *
 * A write carries an idempotency key, so that to repeat it after a lost answer applies it once.
 *
 * @module
 */
import { ChartHost } from "../machines/chart_host.ts";
import {
  type ClerkEffect,
  clerkEnd,
  type ClerkEvent,
  clerkMachine,
  clerkPauseMs,
  startClerk,
} from "../machines/clerk_machine.ts";
import {
  AbortedError,
  type ClerkError,
  CompactedError,
  errorOf,
  InvalidRequestError,
  OutcomeUnknownError,
  type Problem,
  UnavailableError,
} from "./clerk_errors.ts";

/**
 * Least time of an attempt, in milliseconds, unless less is left: with a small share of a short time no
 * attempt could succeed.
 */
export const ATTEMPT_MS_MIN = 100;
/** The part of an attempt's time, in milliseconds, that is left for the network; the server gets the rest. */
export const ANSWER_MARGIN_MS = 200;
/** Least and most time that a server takes a request to have, in milliseconds. */
const SERVER_MS = { min: 50, max: 60_000 } as const;

/** A timer takes its delay as a 32-bit integer, in milliseconds; a longer one would fire at once. */
export const TIMER_MS_MAX = 2 ** 31 - 1;

/** Like `fetch`. */
export type Transport = (url: string, init: RequestInit) => Promise<Response>;

/** One request, for any endpoint. */
export interface ClerkRequest {
  /** A GET changes nothing. */
  readonly method: "GET" | "PUT" | "POST" | "DELETE";
  /** The path and the query. */
  readonly path: string;
  /** Further headers. */
  readonly headers?: Readonly<Record<string, string>>;
  /** The body; default none. */
  readonly body?: Uint8Array<ArrayBuffer> | string;
  /** It must not be repeated once it may have been done: no idempotency key protects it. Default false. */
  readonly isOnce?: boolean;
  /** The answer's body is read as it comes, for however long that takes. Default: within the attempt. */
  readonly isStreamed?: boolean;
  /** Aborts it, and the reading of an answer that is streamed. */
  readonly signal?: AbortSignal;
  /** How long it may take, in milliseconds, at most TIMER_MS_MAX; default that of the requests. */
  readonly timeoutMs?: number;
  /** How long one attempt may take, in milliseconds; default its share of the time that is left. */
  readonly attemptMs?: number;
}

/** What requests need. */
export interface ClerkRequestsOptions {
  /** HTTP addresses of members, at least one. */
  readonly endpoints: readonly string[];
  /** How long a request may take, in milliseconds. */
  readonly timeoutMs: number;
  /** Default `fetch`. */
  readonly transport?: Transport;
}

/** What an attempt came to. */
type Attempt =
  | { readonly type: "Answered"; readonly answer: Response | ClerkError }
  | { readonly type: "Failed" | "Lost"; readonly why: string };

/** Sends requests; one endpoint is as good as another, and the last one that answered is asked first. */
export class ClerkRequests {
  readonly #options: ClerkRequestsOptions;
  #first = 0;

  /** @throws {RangeError} If there is no endpoint. */
  constructor(options: ClerkRequestsOptions) {
    if (options.endpoints.length === 0) throw new RangeError("Cannot ask a cluster: no endpoint");
    this.#options = options;
  }

  /**
   * Sends a request until an endpoint answers it or its time is up.
   *
   * An attempt takes at most its share of the time that is left, so that an endpoint that hangs leaves
   * enough for the others.
   *
   * @throws {ClerkError} If the cluster refuses it, nobody answers in time, or it is aborted.
   */
  send(request: ClerkRequest): Promise<Response> {
    const { endpoints, timeoutMs: defaultMs } = this.#options;
    const { method, isOnce = false, signal } = request;
    const timeoutMs = Math.min(TIMER_MS_MAX, request.timeoutMs ?? defaultMs);
    const deadlineMs = performance.now() + timeoutMs;
    const headers: Record<string, string> = {
      ...request.headers,
      ...(method === "GET" || isOnce ? {} : { "idempotency-key": `"${crypto.randomUUID()}"` }),
    };
    return new Promise((resolve, reject) => {
      let at = this.#first;
      let attempt: AbortController | undefined;
      let pause: ReturnType<typeof setTimeout> | undefined;
      let last = "nobody was asked";
      // What an endpoint says of the cluster tells more than the failure to reach another one.
      let said: string | undefined;
      let doubt: string | undefined;
      let answer: Response | ClerkError | undefined;
      // Each member keeps changes of its own, so another one may have those that this one does not.
      let compacted: CompactedError | undefined;
      const isWrite = method !== "GET";
      const start = startClerk({ endpoints: endpoints.length, isWrite, mayRepeat: !isOnce });
      const host = new ChartHost(clerkMachine, start, {
        perform: (effect) => perform(effect as ClerkEffect),
      });
      const take = (event: ClerkEvent): void => {
        try {
          host.take(event);
        } catch (error) {
          return reject(error);
        }
        const end = clerkEnd(host.snapshot);
        if (end === undefined) return;
        clearTimeout(timer);
        signal?.removeEventListener("abort", abort);
        if (end === "answered" && answer instanceof Response) return resolve(answer);
        if (end === "answered") return reject(answer);
        reject(endError(end, { why: said ?? last, doubt }));
      };
      const perform = (effect: ClerkEffect): void => {
        switch (effect) {
          case "askNext":
            return ask();
          case "armPause":
            pause = setTimeout(
              () => take({ type: "PauseOver" }),
              clerkPauseMs(host.snapshot.context.rounds, Math.random()),
            );
            return;
          case "clearPause":
            return clearTimeout(pause);
          case "cancelAttempt":
            return attempt?.abort();
        }
      };
      const ask = (): void => {
        const index = at++ % endpoints.length;
        const { context } = host.snapshot;
        const leftMs = deadlineMs - performance.now();
        const attemptMs = request.attemptMs ??
          attemptMsOf(leftMs, endpoints.length - context.asked + 1);
        const mine = attempt = new AbortController();
        this.#try(endpoints[index]!, request, { headers, attemptMs, attempt: mine }).then(
          (came) => {
            // The request has ended, or gone on, without it.
            if (mine !== attempt || clerkEnd(host.snapshot) !== undefined) return;
            const isCompacted = came.type === "Answered" && came.answer instanceof CompactedError;
            if (isCompacted) compacted = came.answer as CompactedError;
            if (compacted !== undefined && (isCompacted || came.type !== "Answered")) {
              answer = compacted;
              const isLast = host.snapshot.context.asked >= endpoints.length;
              return take({ type: isLast ? "Answered" : "Failed" });
            }
            if (came.type === "Answered") {
              this.#first = index;
              answer = doubt === undefined ? came.answer : answerInDoubt(came.answer, doubt);
            } else {
              last = came.why;
              if (came.isSaid) said = came.why;
              if (came.type === "Lost") doubt = came.why;
            }
            take({ type: came.type });
          },
        );
      };
      const abort = (): void => take({ type: "Aborted" });
      const timer = setTimeout(() => take({ type: "TimeUp" }), timeoutMs);
      if (signal?.aborted === true) {
        clearTimeout(timer);
        return reject(endError("aborted", { why: "it was aborted before it was sent", doubt }));
      }
      signal?.addEventListener("abort", abort);
      // The chart's first effect; its initial state has performed none.
      ask();
    });
  }

  async #try(
    endpoint: string,
    request: ClerkRequest,
    { headers, attemptMs, attempt }: {
      readonly headers: Readonly<Record<string, string>>;
      readonly attemptMs: number;
      readonly attempt: AbortController;
    },
  ): Promise<Attempt & { readonly isSaid?: boolean }> {
    const { method, path, body, isStreamed = false, signal } = request;
    const { transport = fetch } = this.#options;
    const isWrite = method !== "GET";
    const late = (): void => attempt.abort(new DOMException("late", "TimeoutError"));
    const timer = setTimeout(late, attemptMs);
    try {
      const response = await transport(endpoint + path, {
        method,
        headers: { ...headers, "statecraft-timeout-ms": String(serverMsOf(attemptMs)) },
        // The request has ended for the chart when a streamed answer begins, but not for the caller.
        signal: isStreamed && signal !== undefined
          ? AbortSignal.any([attempt.signal, signal])
          : attempt.signal,
        ...(body === undefined ? {} : { body }),
      });
      if (response.ok && isStreamed) return { type: "Answered", answer: response };
      const bytes = await response.bytes();
      const { status } = response;
      if (response.ok || status === 304) {
        const read = new Response(status === 304 ? null : bytes, {
          status,
          headers: response.headers,
        });
        return { type: "Answered", answer: read };
      }
      const problem = problemIn(status, bytes);
      if (!problem.retryable) return { type: "Answered", answer: errorOf(status, problem) };
      const why = `${problem.title}: ${problem.detail}`;
      const isInDoubt = isWrite && problem.outcome === "unknown";
      return { type: isInDoubt ? "Lost" : "Failed", why, isSaid: true };
    } catch (error) {
      const reason = reasonOf(error as Error, attemptMs);
      const why = `${endpoint}: ${reason}`;
      // If the connection was refused, no node has seen the request. After any other failure one may have.
      return { type: isWrite && !/refused/i.test(reason) ? "Lost" : "Failed", why };
    } finally {
      clearTimeout(timer);
    }
  }
}

/**
 * What an answer tells of a request that may have been done before. A result, and an error that follows from
 * what is stored, is the first attempt's own. But a member that could not read the request (of an older build,
 * or a proxy) knows nothing of that attempt.
 */
function answerInDoubt(answer: Response | ClerkError, doubt: string): Response | ClerkError {
  if (!(answer instanceof InvalidRequestError) || answer.code === "too-large") return answer;
  return endError("unknown", { why: answer.message, doubt });
}

function endError(
  end: "unavailable" | "unknown" | "aborted",
  { why, doubt }: { readonly why: string; readonly doubt: string | undefined },
): ClerkError {
  switch (end) {
    case "unavailable":
      return new UnavailableError(why, { code: "unavailable" });
    case "aborted":
      return new AbortedError(why, { code: "aborted" });
    case "unknown": {
      const message = doubt === undefined || doubt === why
        ? why
        : `${why}; it may have been done all the same: ${doubt}`;
      return new OutcomeUnknownError(message, { code: "outcome-unknown", outcome: "unknown" });
    }
  }
}

/** The share of one attempt, if `attempts` of them are still to be made in this round. */
function attemptMsOf(leftMs: number, attempts: number): number {
  const shareMs = Math.max(ATTEMPT_MS_MIN, leftMs / Math.max(1, attempts));
  return Math.max(1, Math.ceil(Math.min(leftMs, shareMs)));
}

/** How long the server may take, so that its answer arrives within the attempt. */
function serverMsOf(attemptMs: number): number {
  const ms = attemptMs - Math.min(ANSWER_MARGIN_MS, Math.floor(attemptMs / 5));
  return Math.min(SERVER_MS.max, Math.max(SERVER_MS.min, ms));
}

/** What failed. `fetch` says it in the cause only, behind the URL, which the reader has seen already. */
export function reasonOf({ name, message, cause }: Error, attemptMs: number): string {
  if (name === "TimeoutError") return `no answer within ${attemptMs} ms`;
  if (!(cause instanceof Error)) return message;
  return /client error \(\w+\): (.*)$/.exec(cause.message)?.[1] ?? cause.message;
}

function problemIn(status: number, bytes: Uint8Array): Problem {
  const text = new TextDecoder().decode(bytes);
  try {
    const problem = JSON.parse(text) as Problem;
    if (typeof problem.code === "string" && typeof problem.detail === "string") return problem;
  } catch {
    // It is no problem document.
  }
  const facts = { code: "unexpected", retryable: false, outcome: "unknown" } as const;
  return { title: String(status), detail: text, ...facts };
}
