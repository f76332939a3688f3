/**
 * Locks over keys and leases: who wants a lock puts a key of its own, attached to a lease, under the
 * lock's prefix, and whose key was created first holds it. So waiters are served in order, a holder that
 * is gone loses the lock when its lease ends, and the revision of the key's creation is a fencing token: it
 * grows from one holder to the next.
 *
 * Each waiter watches the one ahead of it only, so that a release wakes one.
 *
 * What is read here is this node's state as of a revision that has the own key. It may lack what is newer,
 * but never an earlier waiter: one that it shows to be gone is gone for good.
 *
 * @module
 */
import type { Command } from "../../storage/kv/command.ts";
import type { Compare } from "../../storage/kv/compare.ts";
import type { Executed } from "../../storage/kv/command_result.ts";
import type { KvItem } from "../../storage/kv/entry.ts";
import type { GatewayPort, ReadContext, ReadOptions } from "./gateway_port.ts";
import { LOCK_KEEP_ALIVE_SHARE, LOCK_KEYS_MAX, LOCK_WAITERS_MAX } from "./limits.ts";
import { GatewayError } from "./problem.ts";

const PREFIX = "_locks/";

/** A place in a lock's queue. */
export interface Place {
  /** The key that stands for it. */
  readonly key: string;
  /** Revision of the key's creation: the fencing token. */
  readonly token: number;
  readonly lease: number;
  readonly value: Uint8Array;
}

/** How long a place is waited for, and how. */
export interface WaitOptions {
  readonly waitMs: number;
  /** How long each read and write may take. */
  readonly timeoutMs: number;
  /**
   * The lease's time if it is this node that keeps it alive meanwhile. Then the place is given up when the
   * time is up.
   */
  readonly keptAliveMs: number | undefined;
}

/**
 * The prefix of a lock's keys. The name is a byte string; it is encoded, so that no lock's prefix is that
 * of another.
 */
export function lockPrefix(name: string): string {
  const encoded = name.replace(/[^A-Za-z0-9._~-]/g, (unit) => {
    return `%${unit.charCodeAt(0).toString(16).toUpperCase().padStart(2, "0")}`;
  });
  return `${PREFIX}${encoded}/`;
}

/** The queue of a lock, the holder first. */
export async function queueOf(
  port: GatewayPort,
  prefix: string,
  options: ReadOptions,
): Promise<{ readonly places: readonly Place[]; readonly context: ReadContext }> {
  const range = { prefix, limit: LOCK_KEYS_MAX };
  const { items, more, context } = await port.list(range, { ...options, bytesMax: Infinity });
  // The first in the queue may be the last in the order of keys: who cannot see all must not judge.
  if (more) throw new GatewayError("overloaded", `More than ${LOCK_KEYS_MAX} keys are the lock's`);
  const places = items.flatMap((item) => placeOf(item) ?? []);
  return { places: places.sort((one, other) => one.token - other.token), context };
}

/** Somebody else may have put a key there, which is no place without a lease. */
function placeOf({ key, created, lease, value }: KvItem): Place | undefined {
  return lease === undefined ? undefined : { key, token: created, lease, value };
}

/**
 * Waits until the place is the first.
 *
 * @throws {GatewayError} `lock-held` if it is not in time; `lease-not-found` if its lease ended meanwhile;
 * `overloaded` if too many wait.
 */
export async function waitForTurn(
  port: GatewayPort,
  { key, revision, isReplayed, prefix }: {
    readonly key: string;
    /** Of the store when the key was there. */
    readonly revision: number;
    /** Whether that was when the request came first, and may be long ago. */
    readonly isReplayed: boolean;
    readonly prefix: string;
  },
  { waitMs, timeoutMs, keptAliveMs }: WaitOptions,
): Promise<Place> {
  using alarms = new Alarms(port, { waitMs, keptAliveMs });
  let minRevision = revision;
  for (let mayBeOld = isReplayed;; mayBeOld = true) {
    const read = { consistency: "stale", minRevision, timeoutMs } as const;
    const { places, context } = await queueOf(port, prefix, read);
    const at = places.findIndex((place) => place.key === key);
    if (at < 0) throw leaseEnded();
    const own = places[at]!;
    if (at === 0) {
      if (mayBeOld) await confirm(port, own, { timeoutMs, keptAliveMs });
      return own;
    }
    if (at >= LOCK_WAITERS_MAX) {
      throw new GatewayError("overloaded", `${LOCK_WAITERS_MAX} wait for this lock already`);
    }
    const ahead = places[at - 1]!;
    minRevision = context.revision;
    for (let isSame = true; isSame;) {
      switch (await alarms.next(ahead.key, minRevision + 1)) {
        case "time":
          if (keptAliveMs !== undefined) {
            const { isReleased, revision } = await leave(port, own, { timeoutMs, behind: ahead });
            if (!isReleased) {
              minRevision = revision;
              isSame = false;
              break;
            }
          }
          throw new GatewayError("lock-held", `${at} ${at === 1 ? "is" : "are"} ahead of this one`);
        case "keepAlive":
          await keepAlive(port, own.lease, timeoutMs);
          break;
        case "change":
          isSame = false;
      }
    }
  }
}

/**
 * Gives the place up; that it is gone already is no error. Answers whether it was there.
 *
 * Who has waited in vain gives it up only `behind` another. What is read here may be old: if the other
 * is gone by now, the place may hold the lock, and a repeat of the request have been told so.
 */
export async function leave(
  port: GatewayPort,
  place: Pick<Place, "key" | "token">,
  { timeoutMs, behind }: { readonly timeoutMs: number; readonly behind?: Place },
): Promise<{ readonly isReleased: boolean; readonly revision: number }> {
  const { key } = place;
  const compares = [place, ...behind === undefined ? [] : [behind]].map(isThere);
  const command = { compares, success: [{ type: "delete", key }], failure: [] } as const;
  const { succeeded, revision } = await done(port, command, timeoutMs);
  return { isReleased: succeeded, revision };
}

function isThere({ key, token }: Pick<Place, "key" | "token">): Compare {
  return { key, target: "created", operator: "==", operand: token };
}

/** What was read may be old by now: the lease must still be there. */
async function confirm(
  port: GatewayPort,
  { key, token, lease }: Place,
  { timeoutMs, keptAliveMs }: Omit<WaitOptions, "waitMs">,
): Promise<void> {
  if (keptAliveMs !== undefined) return await keepAlive(port, lease, timeoutMs);
  const { entry } = await port.get(key, { consistency: "linearizable", timeoutMs });
  if (entry?.created !== token) throw leaseEnded();
}

async function keepAlive(port: GatewayPort, lease: number, timeoutMs: number): Promise<void> {
  const success = [{ type: "leaseKeepAlive", lease }] as const;
  await done(port, { compares: [], success, failure: [] }, timeoutMs);
}

async function done(port: GatewayPort, command: Command, timeoutMs: number): Promise<Executed> {
  const result = await port.write(command, timeoutMs);
  if (result.status === "ok") return result;
  if (result.status === "no-lease") throw leaseEnded();
  throw new GatewayError("unavailable", `The lock's queue cannot be changed: ${result.status}`);
}

function leaseEnded(): GatewayError {
  return new GatewayError(
    "lease-not-found",
    "The place is gone: its lease has ended, or it was given up",
  );
}

/** What a waiter waits for: its time, a keepalive that is due, a change of the one ahead. */
class Alarms implements Disposable {
  readonly #port: GatewayPort;
  readonly #keptAliveMs: number | undefined;
  readonly #takeBack: (() => void)[] = [];
  #isTimeUp = false;
  #isDue = false;
  #wake = (): void => {};

  constructor(
    port: GatewayPort,
    { waitMs, keptAliveMs }: Pick<WaitOptions, "waitMs" | "keptAliveMs">,
  ) {
    this.#port = port;
    this.#keptAliveMs = keptAliveMs;
    this.#isTimeUp = waitMs === 0;
    this.#takeBack.push(port.expireAfter(waitMs, () => {
      this.#isTimeUp = true;
      this.#wake();
    }));
    this.#armKeepAlive();
  }

  /** The next of them; the key is watched from a revision on. */
  async next(key: string, from: number): Promise<"time" | "keepAlive" | "change"> {
    const watch = this.#port.watch({ start: key, end: `${key}\0` }, from);
    let hasNews = false;
    const look = (): void => {
      // Also if the watch is over: then the queue is read again, and watched anew.
      hasNews = watch.take(look) !== undefined;
      if (hasNews) this.#wake();
    };
    try {
      const news = watch.take(look);
      // Only on a node that stops a watch is over as soon as it begins.
      if (news?.type === "ended") throw new GatewayError("unavailable", "This node is stopping");
      hasNews = news !== undefined;
      if (!hasNews && !this.#isTimeUp && !this.#isDue) {
        await new Promise<void>((resolve) => this.#wake = resolve);
      }
    } finally {
      watch.end();
      this.#wake = (): void => {};
    }
    if (hasNews) return "change";
    if (this.#isTimeUp) return "time";
    this.#isDue = false;
    this.#armKeepAlive();
    return "keepAlive";
  }

  [Symbol.dispose](): void {
    for (const takeBack of this.#takeBack) takeBack();
  }

  #armKeepAlive(): void {
    if (this.#keptAliveMs === undefined) return;
    this.#takeBack[1] = this.#port.expireAfter(this.#keptAliveMs * LOCK_KEEP_ALIVE_SHARE, () => {
      this.#isDue = true;
      this.#wake();
    });
  }
}
