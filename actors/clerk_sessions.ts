/**
 * Places in sessions of the cluster (thesis s6.3): a command with one is applied once, however often it is
 * proposed.
 *
 * A session is begun by a command of its own, so that no later one can come before it. It answers for the
 * last SESSION_WINDOW of its commands; so that none under way falls out, as many are given out at most. Who
 * needs more at a time has several sessions.
 *
 * @module
 */
import { SESSION_WINDOW } from "../storage/kv/limits.ts";
import { ClerkError, UnavailableError } from "./clerk_errors.ts";
import type { Once } from "../storage/kv/once.ts";

/** Sessions that one client has at most: places for 4,096 commands at a time. The others wait. */
export const CLERK_SESSIONS_MAX = 64;

/** A place in a session. */
export interface Place {
  readonly once: Extract<Once, { readonly type: "session" }>;
  /** The command is done, or given up. Must be called once. */
  release(): void;
  /** The session has ended; it gives no more places. */
  expired(): void;
}

interface OpenSession {
  readonly clientId: string;
  /** The places under way, in the order in which they were given. */
  readonly taken: Set<number>;
  next: number;
  isOver: boolean;
}

/** Gives places of sessions, which it begins as they are needed. */
export class ClerkSessions {
  readonly #begin: (once: Place["once"]) => Promise<void>;
  readonly #newId: () => string;
  readonly #open: OpenSession[] = [];
  #beginning: Promise<void> | undefined;
  #waiting: (() => void)[] = [];

  /**
   * `begin` has a command without effect applied with its first place. `newId` must not give an id twice, in
   * any client.
   */
  constructor(
    begin: (once: Place["once"]) => Promise<void>,
    newId: () => string = () => crypto.randomUUID(),
  ) {
    this.#begin = begin;
    this.#newId = newId;
  }

  /** A place; undefined if that takes a wait. */
  take(): Place | undefined {
    for (const session of this.#open) {
      const [oldest = session.next] = session.taken;
      if (session.next - oldest < SESSION_WINDOW) return this.#placeIn(session);
    }
    return undefined;
  }

  /**
   * As {@linkcode take}, once there is one.
   *
   * @throws {ClerkError} If a session was needed and could not be begun.
   */
  async wait(): Promise<Place> {
    for (;;) {
      const place = this.take();
      if (place !== undefined) {
        // The oldest of a session's places makes room for many once it is released.
        this.#waiting.shift()?.();
        return place;
      }
      if (this.#open.length < CLERK_SESSIONS_MAX) await this.#beginOne();
      else await new Promise<void>((resolve) => this.#waiting.push(resolve));
    }
  }

  #beginOne(): Promise<void> {
    return this.#beginning ??= (async () => {
      const clientId = this.#newId();
      try {
        await this.#begin({ type: "session", clientId, sequence: 1 });
        this.#open.push({ clientId, taken: new Set(), next: 2, isOver: false });
      } catch (error) {
        // Whether there is such a session now or not: what it was for has not been sent.
        if (!(error instanceof ClerkError)) throw error;
        throw new UnavailableError(`No session could be begun: ${error.message}`, {
          code: "unavailable",
        });
      } finally {
        this.#beginning = undefined;
      }
    })();
  }

  #placeIn(session: OpenSession): Place {
    const sequence = session.next++;
    session.taken.add(sequence);
    return {
      once: { type: "session", clientId: session.clientId, sequence },
      release: () => {
        session.taken.delete(sequence);
        this.#waiting.shift()?.();
      },
      expired: () => {
        if (session.isOver) return;
        session.isOver = true;
        this.#open.splice(this.#open.indexOf(session), 1);
        this.#waiting.shift()?.();
      },
    };
  }
}
