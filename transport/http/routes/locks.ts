/**
 * `/v1/locks`: locks with fencing tokens, whose waiters are served in order. An election is a lock with a
 * value, which says who was elected.
 *
 * @module
 */
import type { Context, Hono } from "hono";
import { createHash } from "node:crypto";
import type { Command } from "../../../storage/kv/command.ts";
import { LEASE_TTL_MS_MAX, LEASE_TTL_MS_MIN } from "../../../storage/kv/limits.ts";
import type { Once } from "../../../storage/kv/once.ts";
import type { Operation } from "../../../storage/kv/operations/operations.ts";
import { readJson } from "../body.ts";
import type { GatewayPort } from "../gateway_port.ts";
import {
  JSON_BODY_BYTES_MAX,
  LOCK_NAME_BYTES_MAX,
  LOCK_VALUE_BYTES_MAX,
  LOCK_WAIT_MS_MAX,
  LOCK_WAITS_MAX,
} from "../limits.ts";
import { leave, lockPrefix, type Place, queueOf, waitForTurn } from "../lock_queue.ts";
import { GatewayError } from "../problem.ts";
import { bytesAs, bytesOfJson, keyAs, leaseOfJson, percentDecode } from "../values.ts";
import {
  durationOf,
  encodingOf,
  leaseParameters,
  onceOf,
  queryOf,
  readOptionsOf,
  timeoutOf,
  writeParameters,
} from "./kv_request.ts";
import { execute } from "./write.ts";

const PATH = "/v1/locks/";
const TICKET_BYTES = 8;
const utf8 = new TextEncoder();
const FIELDS = ["ttlSeconds", "lease", "wait", "value"];

/** What a request for a lock says. */
interface Wish {
  /** How long the lease is to last that is granted for it; undefined if there is one. */
  readonly ttlMs: number | undefined;
  /** A lease that is there; 0 if there is none. */
  readonly lease: number;
  readonly waitMs: number;
  readonly value: Uint8Array;
}

/** Adds the routes. */
export function addLockRoutes(app: Hono, port: GatewayPort): void {
  let waiting = 0;
  app.post(`${PATH}*`, async (c) => {
    if (waiting >= LOCK_WAITS_MAX) {
      throw new GatewayError(
        "overloaded",
        `${LOCK_WAITS_MAX} requests wait for locks here already`,
      );
    }
    waiting++;
    try {
      return await acquire(c, port);
    } finally {
      waiting--;
    }
  });
  app.get(`${PATH}*`, (c) => show(c, port));
  app.delete(`${PATH}*`, (c) => release(c, port));
}

/** Takes a place in the queue, and answers once it is the first. */
async function acquire(c: Context, port: GatewayPort): Promise<Response> {
  queryOf(c.req.url, writeParameters);
  const prefix = prefixOf(c);
  const body = await readJson(c.req.raw, JSON_BODY_BYTES_MAX, port);
  const wish = wishOf(body);
  const meaning = utf8.encode(JSON.stringify(body));
  const once = onceOf(c, { key: prefix, action: "lock", body: meaning });
  const key = prefix + ticketOf(wish, once);
  const { revision, replayed: isReplayed = false } = await execute(
    c,
    port,
    commandOf(key, wish, once),
  );
  const options = {
    waitMs: wish.waitMs,
    timeoutMs: timeoutOf(c),
    keptAliveMs: wish.ttlMs,
  };
  let place: Place;
  try {
    place = await waitForTurn(port, { key, revision, isReplayed, prefix }, options);
  } catch (error) {
    // With a lease of its own the place is kept for the next request.
    if (wish.ttlMs === undefined) throw error;
    const code = error instanceof GatewayError ? error.code : undefined;
    if (code === "lock-held") throw error;
    // A repeat has nothing but this place.
    const isKept = once !== undefined && (code === "unavailable" || code === "outcome-unknown");
    if (!isKept && await isGivenUp(port, { key, revision }, options.timeoutMs)) throw error;
    const detail = "The lock's queue may still have the place, until its lease ends";
    throw new GatewayError("outcome-unknown", `${detail}: ${(error as Error).message}`);
  }
  return json({ lease: String(place.lease), fencingToken: place.token, key: keyAs("text", key) });
}

async function show(c: Context, port: GatewayPort): Promise<Response> {
  const query = queryOf(c.req.url, leaseParameters);
  const { places: [holder, ...waiting], context } = await queueOf(
    port,
    prefixOf(c),
    readOptionsOf(c, query),
  );
  const encoding = encodingOf(query);
  const facts = holder === undefined ? {} : {
    holder: {
      lease: String(holder.lease),
      fencingToken: holder.token,
      key: keyAs(encoding, holder.key),
      ...(holder.value.length === 0 ? {} : { value: bytesAs(encoding, holder.value) }),
    },
  };
  return json({ ...facts, waiting: waiting.length, revision: context.revision });
}

/** Gives a place up, whether it holds the lock or waits for it. */
async function release(c: Context, port: GatewayPort): Promise<Response> {
  const query = queryOf(c.req.url, [...writeParameters, "lease"]);
  const lease = leaseOfJson(query.get("lease"), "lease");
  const timeoutMs = timeoutOf(c);
  const read = { consistency: "linearizable", timeoutMs } as const;
  const { places } = await queueOf(port, prefixOf(c), read);
  const own = places.find((place) => place.lease === lease);
  if (own === undefined) throw notFound();
  const { isReleased, revision } = await leave(port, own, { timeoutMs });
  if (!isReleased) throw notFound();
  return json({ released: true, revision });
}

/**
 * The request is refused: what it put into the queue must not stay there. Answers whether it surely does not.
 */
async function isGivenUp(
  port: GatewayPort,
  { key, revision: minRevision }: {
    readonly key: string;
    /** Of the store when the key was there: this node may not have it yet. */
    readonly revision: number;
  },
  timeoutMs: number,
): Promise<boolean> {
  try {
    const read = { consistency: "stale", minRevision, timeoutMs } as const;
    const { entry } = await port.get(key, read);
    if (entry !== undefined) await leave(port, { key, token: entry.created }, { timeoutMs });
    return true;
  } catch (error) {
    // It goes with its lease, which nobody keeps alive.
    if (!(error instanceof GatewayError)) throw error;
    return false;
  }
}

/** Puts the key, unless it is there already. */
function commandOf(
  key: string,
  { ttlMs, lease, value }: Wish,
  once: Once | undefined,
): Command {
  const put: Operation = { type: "putLeased", key, value, lease };
  if (ttlMs !== undefined) {
    const grant = { type: "leaseGrant", ttlMs, isOfKey: true } as const;
    return { compares: [], success: [grant, put], failure: [], once };
  }
  const isNew = { key, target: "version", operator: "==", operand: 0 } as const;
  return { compares: [isNew], success: [put], failure: [], once };
}

/**
 * What tells the place from others of the queue. With a lease that is there it is the same however often it
 * is asked for, and so it is with an idempotency key.
 */
function ticketOf({ ttlMs, lease }: Wish, once: Once | undefined): string {
  if (ttlMs === undefined) return `lease-${lease}`;
  if (once?.type === "idempotencyKey") {
    return createHash("sha256").update(once.key).digest("hex").slice(0, 4 * TICKET_BYTES);
  }
  return crypto.getRandomValues(new Uint8Array(TICKET_BYTES)).toHex();
}

function wishOf(body: unknown): Wish {
  const isObject = typeof body === "object" && body !== null && !Array.isArray(body);
  if (!isObject) throw invalid('Send {"ttlSeconds": 10}, or {"lease": "77"}');
  const unknown = Object.keys(body).find((name) => !FIELDS.includes(name));
  if (unknown !== undefined) {
    throw invalid(`"${unknown}" is none of ${FIELDS.join(", ")}`);
  }
  const { ttlSeconds, lease, wait = "0s", value = "" } = body as Readonly<Record<string, unknown>>;
  if ((ttlSeconds === undefined) === (lease === undefined)) {
    throw invalid("Send ttlSeconds, for a lease of its own, or a lease that is there; not both");
  }
  if (typeof wait !== "string") throw invalid('wait is a duration such as "5s"');
  const bytes = bytesOfJson(value, "value");
  if (bytes.length > LOCK_VALUE_BYTES_MAX) {
    throw new GatewayError("too-large", `The value has more than ${LOCK_VALUE_BYTES_MAX} bytes`);
  }
  return {
    ttlMs: ttlSeconds === undefined ? undefined : ttlOf(ttlSeconds),
    lease: lease === undefined ? 0 : leaseOfJson(lease, "lease"),
    waitMs: durationOf(wait, "wait", { min: 0, max: LOCK_WAIT_MS_MAX }),
    value: bytes,
  };
}

function ttlOf(seconds: unknown): number {
  const ms = typeof seconds === "number" ? Math.round(seconds * 1000) : NaN;
  if (ms >= LEASE_TTL_MS_MIN && ms <= LEASE_TTL_MS_MAX) return ms;
  throw invalid("ttlSeconds is a number, half a second to 366 days");
}

/** The lock's name is the rest of the path, decoded. */
function prefixOf(c: Context): string {
  const { url } = c.req;
  const path = url.indexOf("/", "http://".length);
  const [rest = ""] = url.slice(path + PATH.length).split(/[?#]/, 1);
  if (!url.startsWith(PATH, path) || rest === "") {
    throw new GatewayError("no-such-route", "The path has no lock");
  }
  const name = percentDecode(rest);
  if (name.length > LOCK_NAME_BYTES_MAX) {
    throw invalid(`A lock's name has 1 to ${LOCK_NAME_BYTES_MAX} bytes`);
  }
  return lockPrefix(name);
}

function json(body: Record<string, unknown>): Response {
  return new Response(JSON.stringify(body) + "\n", {
    headers: { "content-type": "application/json" },
  });
}

function notFound(): GatewayError {
  return new GatewayError("lease-not-found", "The lease has no place in the lock's queue");
}

function invalid(detail: string): GatewayError {
  return new GatewayError("invalid-request", detail);
}
