/**
 * The ways of a client to the members, and what one attempt on such a way comes to: over HTTP, over the
 * clients' own wire (clerk_wire.ts), or to a node in the same program (clerk_local.ts).
 *
 * @module
 */
import type { CommandResult } from "../storage/kv/command_result.ts";
import type { WireEntry } from "../transport/wire/client_codec.ts";
import { type ClerkError, errorOf, type Problem } from "./clerk_errors.ts";
import type { Clock, Random, TimerHandle, Timers } from "./runtime/ports.ts";

/** The part of an attempt's time, in milliseconds, that is left for the network; the server gets the rest. */
export const ANSWER_MARGIN_MS = 200;
/** Least and most time that a server takes a request to have, in milliseconds. */
const SERVER_MS = { min: 50, max: 60_000 } as const;

/** A timer takes its delay as a 32-bit integer, in milliseconds; a longer one would fire at once. */
export const TIMER_MS_MAX = 2 ** 31 - 1;

/** Time and chance. */
export interface ClerkPorts {
  /** Time. */
  readonly clock: Clock;
  /** One-shot timers. */
  readonly timers: Timers;
  /** Chance. */
  readonly random: Random;
}

/** Those of this program, in Deno, a browser or Node. */
export const programPorts: ClerkPorts = {
  clock: { monotonicMs: () => performance.now() },
  timers: {
    set: (delayMs, fire) => setTimeout(fire, Math.ceil(delayMs)) as unknown as TimerHandle,
    clear: (handle) => clearTimeout(handle as unknown as number),
  },
  random: { next: () => Math.random() },
};

/** Like `fetch`. */
export type Transport = (url: string, init: RequestInit) => Promise<Response>;

/** How long a request goes on. */
export interface CallLimits {
  /** Aborts it, and the reading of an answer that is streamed. */
  readonly signal?: AbortSignal;
  /** How long it may take, in milliseconds, at most TIMER_MS_MAX; default that of the requests. */
  readonly timeoutMs?: number;
  /** How long one attempt may take, in milliseconds; default its share of the time that is left. */
  readonly attemptMs?: number;
}

/** One request of the HTTP interface, for any endpoint. */
export interface ClerkRequest extends CallLimits {
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
}

/** What an attempt came to. */
export type Attempt<Answer> =
  /** It is known what became of the request. */
  | { readonly type: "Answered"; readonly answer: Answer | ClerkError }
  /** The request surely had no effect (`Failed`), or may have had it (`Lost`). */
  | {
    readonly type: "Failed" | "Lost";
    readonly why: string;
    /** An endpoint said so. */
    readonly isSaid?: boolean;
  };

/** What goes with an attempt. */
export interface AttemptOptions {
  /** How long it may take, in milliseconds. */
  readonly attemptMs: number;
  /** The attempt says by this how it is given up. */
  readonly onCancel: (cancel: () => void) => void;
  /** `fetch`: an answer that says no is an answer as well, which is passed on. Default false. */
  readonly passes?: boolean;
}

/** A way to the members. */
export interface ClerkLink {
  /** How many endpoints there are, numbered from 0. */
  readonly size: number;
  /** The endpoint that is, as far as anybody said, the leader. */
  readonly leaderAt?: number | undefined;
  /** Sends a request of the HTTP interface; the answer is a success, read whole unless it is streamed. */
  fetch(at: number, request: ClerkRequest, options: AttemptOptions): Promise<Attempt<Response>>;
  /** Closes what is open. Idempotent. */
  close(): void;
}

/** The options of a call that are there. */
export function limitsOf({ signal, timeoutMs, attemptMs }: CallLimits): CallLimits {
  return {
    ...(signal === undefined ? {} : { signal }),
    ...(timeoutMs === undefined ? {} : { timeoutMs }),
    ...(attemptMs === undefined ? {} : { attemptMs }),
  };
}

/** How fresh a read must be. */
export interface Freshness {
  readonly consistency?: "linearizable" | "lease" | "follower" | "stale";
  readonly minRevision?: number;
}

/** A way that takes commands as they are in the log. */
export interface CommandLink extends ClerkLink {
  /** Proposes a command. */
  execute(
    at: number,
    payload: Uint8Array,
    options: AttemptOptions & { readonly mayRepeat: boolean },
  ): Promise<Attempt<CommandResult>>;
  /** Reads a key, whose UTF-16 units stand for bytes. */
  get(
    at: number,
    key: string,
    options: AttemptOptions & Freshness,
  ): Promise<Attempt<Reading>>;
}

/** What a read saw, and where. */
export interface Reading {
  readonly entry: WireEntry | undefined;
  /** Of the store. */
  readonly revision: number;
  readonly servedBy: number;
  /** 0 if none was known. */
  readonly leader: number;
  readonly term: number;
}

/** Members over HTTP. */
export class HttpLink implements ClerkLink {
  readonly size: number;
  readonly #endpoints: readonly string[];
  readonly #transport: Transport;

  /** `endpoints`: URLs without a path. */
  constructor(endpoints: readonly string[], transport: Transport = fetch) {
    this.size = endpoints.length;
    this.#endpoints = endpoints;
    this.#transport = transport;
  }

  async fetch(
    at: number,
    { method, path, headers, body, isStreamed = false, signal }: ClerkRequest,
    { attemptMs, onCancel }: AttemptOptions,
  ): Promise<Attempt<Response>> {
    const endpoint = this.#endpoints[at]!;
    // A browser's fetch does not let itself be called as a method of anything else.
    const transport = this.#transport;
    const attempt = new AbortController();
    onCancel(() => attempt.abort());
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
      return await attemptOf(response, { isWrite, isStreamed });
    } catch (error) {
      const reason = reasonOf(error as Error, attemptMs);
      const why = `${endpoint}: ${reason}`;
      // If the connection was refused, no node has seen the request. After any other failure one may have.
      return { type: isWrite && !/refused/i.test(reason) ? "Lost" : "Failed", why };
    } finally {
      clearTimeout(timer);
    }
  }

  close(): void {
    // Each request has a connection of the runtime's.
  }
}

/** Statuses of problems after which another attempt may do better. */
const RETRIED: readonly number[] = [429, 503, 504, 507];

/** What an answer over HTTP comes to. */
export async function attemptOf(
  response: Response,
  { isWrite, isStreamed, passes = false }: {
    readonly isWrite: boolean;
    readonly isStreamed: boolean;
    readonly passes?: boolean;
  },
): Promise<Attempt<Response>> {
  const isProblem = response.headers.get("content-type") === "application/problem+json";
  const isEnd = response.ok || (passes && !(isProblem && RETRIED.includes(response.status)));
  if (isEnd && isStreamed) return { type: "Answered", answer: response };
  const bytes = await response.bytes();
  const { status } = response;
  if (response.ok || status === 304) {
    const read = new Response(status === 304 ? null : bytes, {
      status,
      headers: response.headers,
    });
    return { type: "Answered", answer: read };
  }
  return attemptOfProblem(status, problemIn(status, bytes), isWrite);
}

/** What a problem that an endpoint answered with comes to. */
export function attemptOfProblem(
  status: number,
  problem: Problem,
  isWrite: boolean,
): Attempt<never> {
  if (!problem.retryable) return { type: "Answered", answer: errorOf(status, problem) };
  const why = `${problem.title}: ${problem.detail}`;
  const isInDoubt = isWrite && problem.outcome === "unknown";
  return { type: isInDoubt ? "Lost" : "Failed", why, isSaid: true };
}

/** How long the server may take, so that its answer arrives within the attempt. */
export function serverMsOf(attemptMs: number): number {
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
