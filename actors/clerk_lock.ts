/**
 * A lock that a client holds.
 *
 * @module
 */
import type { Lease } from "./clerk.ts";

/** A lock that is held. It is lost with its lease, which is kept alive until it is released. */
export class Lock implements AsyncDisposable {
  /**
   * Grows from one holder to the next. What the lock protects must refuse a token that is lower than one it
   * has seen: a holder that was paused may go on after its lease has ended, and not know so yet.
   */
  readonly fencingToken: number;
  /**
   * The key that stands for the place of this holder. A transaction which compares that the key's `created` is
   * the fencing token takes effect only while the lock is held.
   */
  readonly key: string;
  readonly #lease: Lease;

  /** See `Clerk.lock`. */
  constructor(
    { fencingToken, key }: { readonly fencingToken: number; readonly key: string },
    lease: Lease,
  ) {
    this.fencingToken = fencingToken;
    this.key = key;
    this.#lease = lease;
  }

  /** Aborted once the lock is lost, or may be: whoever relies on it must stop then. */
  get lost(): AbortSignal {
    return this.#lease.lost;
  }

  /** Lets the next one have it. Idempotent. */
  release(): Promise<void> {
    return this.#lease.revoke();
  }

  /** As {@linkcode release}. */
  [Symbol.asyncDispose](): Promise<void> {
    return this.release();
  }
}
