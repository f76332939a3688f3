/**
 * Errors as clients see them: RFC 9457 problem documents that say what happened to a write.
 *
 * @module
 */
import type { NodeId } from "../../machines/raft_types.ts";

/** What became of a write: it surely had no effect, or nobody can tell yet. */
export type Outcome = "not-applied" | "unknown";

/** Stable codes, for programs; the HTTP status and the title follow from them. */
const problems = {
  "invalid-request": { status: 400, title: "The request is not valid", retryable: false },
  "cross-origin": { status: 403, title: "The request comes from another site", retryable: false },
  "no-such-route": { status: 404, title: "Not found: the path", retryable: false },
  "key-not-found": { status: 404, title: "Not found: the key", retryable: false },
  "lease-not-found": { status: 404, title: "Not found: the lease", retryable: false },
  "method-not-allowed": { status: 405, title: "The method is not allowed", retryable: false },
  "not-acceptable": { status: 406, title: "No such representation", retryable: false },
  "request-timeout": { status: 408, title: "The request took too long", retryable: true },
  "conflict": { status: 409, title: "The request conflicts with the state", retryable: false },
  "lock-held": { status: 409, title: "The lock is held by another", retryable: false },
  "compacted": { status: 410, title: "The changes are not kept any more", retryable: false },
  "precondition-failed": { status: 412, title: "The condition does not hold", retryable: false },
  "too-large": { status: 413, title: "The content is too large", retryable: false },
  "unsupported-media-type": {
    status: 415,
    title: "The content type is not accepted",
    retryable: false,
  },
  "idempotency-mismatch": {
    status: 422,
    title: "The idempotency key was used for another request",
    retryable: false,
  },
  "overloaded": { status: 429, title: "The node is overloaded", retryable: true },
  "internal": { status: 500, title: "The node failed", retryable: false },
  "unavailable": { status: 503, title: "The request cannot be served now", retryable: true },
  "outcome-unknown": {
    status: 504,
    title: "It is not known whether the write was applied",
    retryable: true,
  },
  "no-space": { status: 507, title: "The disk has too little space left", retryable: true },
} as const;

/** A problem's code. */
export type ProblemCode = keyof typeof problems;

/** All of them. */
export const problemCodes = Object.keys(problems) as readonly ProblemCode[];

/** Whether it is one of them. */
export function isProblemCode(code: string): code is ProblemCode {
  return Object.hasOwn(problems, code);
}

/** Seconds after which a client may try again; an election takes about one. */
const RETRY_AFTER_SECONDS = 1;

/** An error with a defined answer. */
export class GatewayError extends Error {
  override name = "GatewayError";
  readonly code: ProblemCode;
  readonly outcome: Outcome;
  readonly leader: NodeId | undefined;
  /** precondition-failed: revision of what is there, 0 if nothing is. */
  readonly revision: number | undefined;

  /** `detail` says what to do; `leader` helps a client that routes by itself. */
  constructor(
    code: ProblemCode,
    detail: string,
    options: { readonly leader?: NodeId; readonly revision?: number } = {},
  ) {
    super(detail);
    this.code = code;
    this.outcome = code === "outcome-unknown" || code === "internal" ? "unknown" : "not-applied";
    this.leader = options.leader;
    this.revision = options.revision;
  }

  /** The HTTP status of this error. */
  get status(): number {
    return problems[this.code].status;
  }
}

/** What is told of an error, over HTTP and over the clients' wire. */
export interface Problem {
  readonly title: string;
  readonly status: number;
  readonly detail: string;
  readonly code: ProblemCode;
  readonly retryable: boolean;
  readonly outcome: Outcome;
  readonly leader?: NodeId;
  readonly revision?: number;
}

/** As {@linkcode problemResponse}, as plain values. */
export function problemOf(error: unknown): Problem {
  const known = error instanceof GatewayError
    ? error
    : new GatewayError("internal", "The node's log has the cause");
  const { status, title, retryable } = problems[known.code];
  return {
    title,
    status,
    detail: known.message,
    code: known.code,
    retryable,
    outcome: known.outcome,
    ...(known.leader === undefined ? {} : { leader: known.leader }),
    ...(known.revision === undefined ? {} : { revision: known.revision }),
  };
}

/**
 * The problem document for any error. For one that is not a GatewayError the client learns nothing
 * but "internal", and the outcome is unknown, because nobody knows how far the request had come.
 */
export function problemResponse(error: unknown): Response {
  const problem = problemOf(error);
  const { status, code, revision = 0 } = problem;
  const body = { type: `urn:statecraft:problem:${code}`, ...problem };
  const headers = new Headers({ "content-type": "application/problem+json" });
  if (status === 503 || status === 429 || status === 507) {
    headers.set("retry-after", String(RETRY_AFTER_SECONDS));
  }
  if (code === "precondition-failed" && revision > 0) headers.set("etag", `"${revision}"`);
  return new Response(JSON.stringify(body) + "\n", { status, headers });
}
