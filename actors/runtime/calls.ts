/**
 * Calls on the caller's side: one outcome for each, by its answer or by its deadline.
 *
 * @module
 */
import {
  type Address,
  type CallOptions,
  CallTimeoutError,
  formatAddress,
  MailboxFullError,
  type Outcome,
} from "./actor.ts";
import type { Caller } from "./cell.ts";
import { type Deadline, Deadlines } from "./deadlines.ts";
import { CALL_TIMEOUT_MS_MAX, PENDING_CALLS_MAX } from "./limits.ts";
import type { Ports } from "./ports.ts";

/** A callback that is due outside of any actor's turn. */
export interface Completion {
  complete(): void;
}

/** The calls of one system that have no outcome yet. */
export class Calls {
  readonly #deadlines: Deadlines;
  readonly #completeLater: (completion: Completion) => void;
  #pending = 0;

  /** Calls that have their outcome are handed to `completeLater`. */
  constructor(ports: Ports, completeLater: (completion: Completion) => void) {
    this.#deadlines = new Deadlines(ports);
    this.#completeLater = completeLater;
  }

  /** Calls without an outcome. */
  get pending(): number {
    return this.#pending;
  }

  /**
   * Begins a call; undefined if there are PENDING_CALLS_MAX already, which `done` is told.
   *
   * @throws {RangeError} If `timeoutMs` is out of range.
   */
  begin(
    address: Address,
    { timeoutMs }: CallOptions,
    done: (outcome: Outcome<unknown>) => void,
  ): PendingCall | undefined {
    if (!(timeoutMs > 0 && timeoutMs <= CALL_TIMEOUT_MS_MAX)) {
      throw new RangeError(
        `Cannot call ${
          formatAddress(address)
        }: timeoutMs ${timeoutMs} is not within 0 and ${CALL_TIMEOUT_MS_MAX}`,
      );
    }
    const call = new PendingCall(this.#ended, address, timeoutMs, done);
    if (++this.#pending > PENDING_CALLS_MAX) {
      call.settle({ ok: false, error: new MailboxFullError(call.address) });
      return undefined;
    }
    this.#deadlines.set(call, timeoutMs);
    return call;
  }

  readonly #ended = (call: PendingCall): void => {
    this.#pending--;
    this.#deadlines.clear(call);
    this.#completeLater(call);
  };
}

/** A call that waits for its outcome. */
export class PendingCall implements Caller, Deadline, Completion {
  onSettled: (() => void) | undefined;
  place = -1;
  tick = 0;
  readonly #ended: (call: PendingCall) => void;
  readonly #callee: Address;
  readonly #timeoutMs: number;
  readonly #done: (outcome: Outcome<unknown>) => void;
  #outcome: Outcome<unknown> | undefined;

  constructor(
    ended: (call: PendingCall) => void,
    callee: Address,
    timeoutMs: number,
    done: (outcome: Outcome<unknown>) => void,
  ) {
    this.#ended = ended;
    this.#callee = callee;
    this.#timeoutMs = timeoutMs;
    this.#done = done;
  }

  /** As text, which only failures need. */
  get address(): string {
    return formatAddress(this.#callee);
  }

  settle(outcome: Outcome<unknown>): void {
    if (this.#outcome !== undefined) return;
    this.#outcome = outcome;
    this.onSettled?.();
    this.#ended(this);
  }

  expire(): void {
    this.settle({ ok: false, error: new CallTimeoutError(this.address, this.#timeoutMs) });
  }

  complete(): void {
    this.#done(this.#outcome!);
  }
}
