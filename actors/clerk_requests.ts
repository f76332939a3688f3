/**
 * Requests of a client to a cluster: any endpoint, asked again as far as that is safe. What is decided when
 * is in the chart (machines/clerk_machine.ts); this hosts it, and a link (clerk_link.ts) makes the attempts.
 *
 * A write carries an idempotency key, or a place in a session, so that to repeat it after a lost answer
 * applies it once.
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
  ClerkError,
  CompactedError,
  InvalidRequestError,
  OutcomeUnknownError,
  UnavailableError,
} from "./clerk_errors.ts";
import {
  type Attempt,
  type AttemptOptions,
  type CallLimits,
  type ClerkLink,
  type ClerkPorts,
  type ClerkRequest,
  limitsOf,
  programPorts,
  TIMER_MS_MAX,
} from "./clerk_link.ts";
import { type Deadline, Deadlines } from "./runtime/deadlines.ts";
import type { TimerHandle } from "./runtime/ports.ts";

/**
 * Least time of an attempt, in milliseconds, unless less is left: with a small share of a short time no
 * attempt could succeed.
 */
export const ATTEMPT_MS_MIN = 100;
/** With less time left, in milliseconds, no further attempt is made. */
export const ATTEMPT_LEFT_MS_MIN = 20;
/** What requests need. */
export interface ClerkRequestsOptions {
  readonly link: ClerkLink;
  /** How long a request may take, in milliseconds. */
  readonly timeoutMs: number;
  /** Default those of this program. */
  readonly ports?: ClerkPorts;
}

/** One request, whichever way its attempts are made. */
export interface ClerkCall<Answer> extends Pick<CallLimits, "signal" | "timeoutMs" | "attemptMs"> {
  /** Whether it can have an effect. */
  readonly isWrite: boolean;
  /** Whether it may be repeated once it may have had its effect. */
  readonly mayRepeat: boolean;
  /** Asks one endpoint. */
  readonly attempt: (at: number, options: AttemptOptions) => Promise<Attempt<Answer>>;
}

/** Sends requests; one endpoint is as good as another, and the last one that answered is asked first. */
export class ClerkRequests {
  readonly #options: ClerkRequestsOptions;
  readonly #ports: ClerkPorts;
  readonly #deadlines: Deadlines;
  /** How each request that is under way is aborted. */
  readonly #aborts = new Set<() => void>();
  #isClosed = false;
  #first = 0;

  /** @throws {RangeError} If there is no endpoint. */
  constructor(options: ClerkRequestsOptions) {
    if (options.link.size === 0) throw new RangeError("Cannot ask a cluster: no endpoint");
    this.#options = options;
    this.#ports = options.ports ?? programPorts;
    this.#deadlines = new Deadlines(this.#ports);
  }

  /**
   * Sends a request of the HTTP interface until an endpoint answers it or its time is up.
   *
   * @throws {ClerkError} If the cluster refuses it, nobody answers in time, or it is aborted.
   */
  send(request: ClerkRequest): Promise<Response> {
    const { method, isOnce = false } = request;
    const headers: Record<string, string> = {
      ...request.headers,
      ...(method === "GET" || isOnce ? {} : { "idempotency-key": `"${crypto.randomUUID()}"` }),
    };
    const whole = { ...request, headers };
    return this.run({
      ...limitsOf(request),
      isWrite: method !== "GET",
      mayRepeat: !isOnce,
      attempt: (at, options) => this.#options.link.fetch(at, whole, options),
    });
  }

  /** Aborts what is under way, and takes nothing more. Idempotent. */
  close(): void {
    this.#isClosed = true;
    for (const abort of [...this.#aborts]) abort();
    this.#options.link.close();
  }

  /**
   * The limits of a call that takes one step after the other: each step has the time that is left.
   *
   * @throws {ClerkError} What is returned throws `unavailable` once there is none.
   */
  stepsOf(options: CallLimits): () => CallLimits {
    const { clock } = this.#ports;
    const timeoutMs = this.#timeoutOf(options);
    const deadlineMs = clock.monotonicMs() + timeoutMs;
    return () => {
      const leftMs = deadlineMs - clock.monotonicMs();
      if (leftMs > 0) return { ...limitsOf(options), timeoutMs: leftMs };
      throw endError("unavailable", {
        why: "its time was up before it was sent",
        doubt: undefined,
      });
    };
  }

  /**
   * Waits for what a request needs before it can be sent, no longer than the request may take.
   *
   * @throws {ClerkError} `unavailable` or `aborted`: nothing was sent. What comes later goes to `onLate`.
   */
  within<Value>(
    needed: Promise<Value>,
    { signal, timeoutMs }: CallLimits,
    onLate: (value: Value) => void,
  ): Promise<Value> {
    return new Promise((resolve, reject) => {
      let isOver = false;
      const giveUp = (end: "unavailable" | "aborted", why: string): void => {
        isOver = true;
        reject(endError(end, { why, doubt: undefined }));
      };
      const late: Deadline = {
        ...{ place: -1, tick: 0 },
        expire: () => giveUp("unavailable", "no session could be begun in time"),
      };
      const abort = (): void => giveUp("aborted", "it was aborted before it was sent");
      needed.then((value) => isOver ? onLate(value) : undefined, () => {});
      if (signal?.aborted === true) return abort();
      this.#deadlines.set(late, Math.min(TIMER_MS_MAX, timeoutMs ?? this.#options.timeoutMs));
      signal?.addEventListener("abort", abort);
      const done = (): void => {
        this.#deadlines.clear(late);
        signal?.removeEventListener("abort", abort);
      };
      needed.then((value) => {
        done();
        resolve(value);
      }, (error) => {
        done();
        reject(error);
      });
    });
  }

  /** @throws {InvalidRequestError} If it is no time. */
  #timeoutOf({ timeoutMs = this.#options.timeoutMs }: CallLimits): number {
    if (timeoutMs > 0) return Math.min(TIMER_MS_MAX, timeoutMs);
    const message = `timeoutMs is a number of milliseconds above 0, not ${timeoutMs}`;
    throw new InvalidRequestError(message, { code: "invalid-request", status: 400 });
  }

  /**
   * Makes attempts until an endpoint answers or the time is up.
   *
   * An attempt takes at most its share of the time that is left, so that an endpoint that hangs leaves
   * enough for the others.
   *
   * @throws {ClerkError} As {@linkcode send}.
   */
  async run<Answer>(call: ClerkCall<Answer>): Promise<Answer> {
    const { link } = this.#options;
    const { isWrite, mayRepeat, signal } = call;
    const timeoutMs = this.#timeoutOf(call);
    const { clock, timers, random } = this.#ports;
    const deadlineMs = clock.monotonicMs() + timeoutMs;
    return await new Promise((resolve, reject) => {
      let at = link.leaderAt ?? this.#first;
      // The attempt under way; an answer to another one is late.
      let attempts = 0;
      let cancel = (): void => {};
      let pause: TimerHandle | undefined;
      let last = "nobody was asked";
      // What an endpoint says of the cluster tells more than the failure to reach another one.
      let said: string | undefined;
      let doubt: string | undefined;
      let answer: Answer | ClerkError | undefined;
      // Each member keeps changes of its own, so another one may have those that this one does not.
      let compacted: CompactedError | undefined;
      const start = startClerk({ endpoints: link.size, isWrite, mayRepeat });
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
        this.#deadlines.clear(deadline);
        this.#aborts.delete(abort);
        signal?.removeEventListener("abort", abort);
        if (end !== "answered") return reject(endError(end, { why: said ?? last, doubt }));
        if (answer instanceof ClerkError) reject(answer);
        else resolve(answer as Answer);
      };
      const perform = (effect: ClerkEffect): void => {
        switch (effect) {
          case "askNext":
            return ask();
          case "armPause":
            pause = timers.set(
              clerkPauseMs(host.snapshot.context.rounds, random.next()),
              // With too little time left for another attempt the pause goes on until the time is up.
              () => isTooLate() ? undefined : take({ type: "PauseOver" }),
            );
            return;
          case "clearPause":
            if (pause !== undefined) timers.clear(pause);
            return;
          case "cancelAttempt":
            return cancel();
        }
      };
      const isTooLate = (): boolean => deadlineMs - clock.monotonicMs() < ATTEMPT_LEFT_MS_MIN;
      const ask = (): void => {
        const index = at++ % link.size;
        const mine = ++attempts;
        const leftMs = deadlineMs - clock.monotonicMs();
        const attemptMs = call.attemptMs ??
          attemptMsOf(leftMs, link.size - host.snapshot.context.asked + 1);
        const onCancel = (canceller: () => void): void => {
          cancel = canceller;
        };
        // An attempt that nobody can answer in time would only leave a write in doubt.
        const asked: Promise<Attempt<Answer>> = attempts > 1 && isTooLate()
          ? Promise.resolve({ type: "Failed", why: last })
          : call.attempt(index, { attemptMs, onCancel });
        asked.then((came) => {
          // The request has ended, or gone on, without it.
          if (mine !== attempts || clerkEnd(host.snapshot) !== undefined) return;
          const isCompacted = came.type === "Answered" && came.answer instanceof CompactedError;
          if (isCompacted) compacted = came.answer as CompactedError;
          if (compacted !== undefined && (isCompacted || came.type !== "Answered")) {
            answer = compacted;
            const isLast = host.snapshot.context.asked >= link.size;
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
        }, reject);
      };
      const abort = (): void => take({ type: "Aborted" });
      const deadline: Deadline = { place: -1, tick: 0, expire: () => take({ type: "TimeUp" }) };
      if (signal?.aborted === true || this.#isClosed) {
        return reject(endError("aborted", { why: "it was aborted before it was sent", doubt }));
      }
      this.#deadlines.set(deadline, timeoutMs);
      this.#aborts.add(abort);
      signal?.addEventListener("abort", abort);
      // The chart's first effect; its initial state has performed none.
      ask();
    });
  }
}

/**
 * What an answer tells of a request that may have been done before. A result, and an error that follows from
 * what is stored, is the first attempt's own. But a member that could not read the request (of an older build,
 * or a proxy) knows nothing of that attempt, and neither does one that has forgotten the session.
 */
function answerInDoubt<Answer>(
  answer: Answer | ClerkError,
  doubt: string,
): Answer | ClerkError {
  if (!(answer instanceof ClerkError)) return answer;
  const saysNothing = answer.code === "session-expired" ||
    (answer instanceof InvalidRequestError && answer.code !== "too-large");
  if (!saysNothing) return answer;
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
