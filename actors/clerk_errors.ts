/**
 * What a client's request can fail with. Each class says what became of the request: `not-applied`, it surely
 * had no effect; or `unknown`.
 *
 * @module
 */

/** Any failure of a request; see the classes below for those that a program tells apart. */
export class ClerkError extends Error {
  /** Its class's name. */
  override readonly name: string = "ClerkError";
  /** What the cluster called it (the `code` of a problem document), or why nobody answered. */
  readonly code: string;
  /** The HTTP status; undefined if nobody answered. */
  readonly status: number | undefined;
  /** What became of a write. */
  readonly outcome: "not-applied" | "unknown";

  /** `message` is for a person. */
  constructor(
    message: string,
    { code, status, outcome = "not-applied" }: {
      readonly code: string;
      readonly status?: number;
      readonly outcome?: "not-applied" | "unknown";
    },
  ) {
    super(message);
    this.code = code;
    this.status = status;
    this.outcome = outcome;
  }
}

/** The request means nothing: a key that is too long, an unknown option. */
export class InvalidRequestError extends ClerkError {
  /** Its class's name. */
  override readonly name = "InvalidRequestError";
}

/** The condition of a write does not hold. */
export class PreconditionFailedError extends ClerkError {
  /** Its class's name. */
  override readonly name = "PreconditionFailedError";
  /** Revision of what is there, 0 if nothing is. */
  readonly revision: number;

  /** See the class. */
  constructor(message: string, revision: number) {
    super(message, { code: "precondition-failed", status: 412 });
    this.revision = revision;
  }
}

/** There is no such lease, or it has ended. */
export class LeaseNotFoundError extends ClerkError {
  /** Its class's name. */
  override readonly name = "LeaseNotFoundError";
}

/** The changes that a watch asks for are not kept any more. */
export class CompactedError extends ClerkError {
  /** Its class's name. */
  override readonly name = "CompactedError";
  /** The first revision from which the member that said so can tell. */
  readonly firstRevision: number;

  /** See the class. */
  constructor(message: string, firstRevision: number) {
    super(message, { code: "compacted", status: 410 });
    this.firstRevision = firstRevision;
  }
}

/** The lock is held by another, and was not free in the time that was waited. */
export class LockHeldError extends ClerkError {
  /** Its class's name. */
  override readonly name = "LockHeldError";
}

/** The request conflicts with what is stored: a value that is no integer, a sum beyond 64 bits. */
export class ConflictError extends ClerkError {
  /** Its class's name. */
  override readonly name = "ConflictError";
}

/** Nobody could do it in time, and it surely had no effect. */
export class UnavailableError extends ClerkError {
  /** Its class's name. */
  override readonly name = "UnavailableError";
}

/** The write may have been applied: no answer came in time. */
export class OutcomeUnknownError extends ClerkError {
  /** Its class's name. */
  override readonly name = "OutcomeUnknownError";
}

/** The caller's signal has aborted the request, which surely had no effect. */
export class AbortedError extends ClerkError {
  /** Its class's name. */
  override readonly name = "AbortedError";
}

/** What a problem document says. */
export interface Problem {
  readonly title: string;
  readonly detail: string;
  readonly code: string;
  readonly retryable: boolean;
  readonly outcome: "not-applied" | "unknown";
  readonly revision?: number;
}

/** The error that an answer stands for. */
export function errorOf(
  status: number,
  { title, detail, code, outcome, revision }: Problem,
): ClerkError {
  const message = `${title}: ${detail}`;
  const facts = { code, status, outcome };
  if (outcome === "unknown") return new OutcomeUnknownError(message, facts);
  switch (code) {
    case "precondition-failed":
      return new PreconditionFailedError(message, revision ?? 0);
    case "compacted":
      return new CompactedError(message, revision ?? 0);
    case "lease-not-found":
      return new LeaseNotFoundError(message, facts);
    case "lock-held":
      return new LockHeldError(message, facts);
    case "conflict":
      return new ConflictError(message, facts);
    default:
      return status >= 400 && status < 500 && status !== 429
        ? new InvalidRequestError(message, facts)
        : new ClerkError(message, facts);
  }
}
