/**
 * `/v1/leases`: leases, whose keys are deleted when they end.
 *
 * @module
 */
import type { Context, Hono } from "hono";
import { LEASE_TTL_MS_MAX, LEASE_TTL_MS_MIN } from "../../../storage/kv/limits.ts";
import type { Operation, ResultOf } from "../../../storage/kv/operations/operations.ts";
import { readJson } from "../body.ts";
import type { GatewayPort, LeaseView, ReadContext } from "../gateway_port.ts";
import { JSON_BODY_BYTES_MAX } from "../limits.ts";
import { GatewayError } from "../problem.ts";
import { keyAs, leaseOfJson } from "../values.ts";
import {
  encodingOf,
  leaseParameters,
  leasesParameters,
  limitOf,
  onceOf,
  queryOf,
  readOptionsOf,
  writeParameters,
} from "./kv_request.ts";
import { execute, written } from "./write.ts";

const PATH = "/v1/leases";
const utf8 = new TextEncoder();

/** Adds the routes. */
export function addLeaseRoutes(app: Hono, port: GatewayPort): void {
  app.post(PATH, async (c) => {
    queryOf(c.req.url, writeParameters);
    const ttlMs = ttlOfJson(await readJson(c.req.raw, JSON_BODY_BYTES_MAX, port));
    const operation = { type: "leaseGrant", ttlMs, isOfKey: false } as const;
    const { response, result } = await change<"leaseGrant">(c, port, operation);
    return response({ ...facts({ id: result.lease, ttlMs, remainingMs: ttlMs }), keys: [] });
  });
  app.get(PATH, async (c) => {
    const query = queryOf(c.req.url, leasesParameters);
    const after = query.get("after") ?? "0";
    if (!/^\d{1,15}$/.test(after)) throw invalid("after is the id of a lease");
    const options = { ...readOptionsOf(c, query), limit: limitOf(query) };
    const { leases, more, context } = await port.leases(Number(after), options);
    const last = leases.at(-1);
    const next = more && last !== undefined ? { next: String(last.id) } : {};
    return read(c, { leases: leases.map(facts), ...next, revision: context.revision }, context);
  });
  app.get(`${PATH}/:id`, async (c) => {
    const query = queryOf(c.req.url, leaseParameters);
    const { lease, context } = await port.lease(idOf(c), readOptionsOf(c, query));
    if (lease === undefined) throw notFound();
    const keys = lease.keys.map((key) => keyAs(encodingOf(query), key));
    return read(c, { ...facts(lease), keys }, context);
  });
  app.post(`${PATH}/:id/keepalive`, async (c) => {
    queryOf(c.req.url, writeParameters);
    const id = idOf(c);
    const operation = { type: "leaseKeepAlive", lease: id } as const;
    const { response, result: { ttlMs } } = await change<"leaseKeepAlive">(c, port, operation);
    return response(facts({ id, ttlMs, remainingMs: ttlMs }));
  });
  app.delete(`${PATH}/:id`, async (c) => {
    queryOf(c.req.url, writeParameters);
    const operation = { type: "leaseRevoke", lease: idOf(c) } as const;
    const { response, result, revision } = await change<"leaseRevoke">(c, port, operation);
    return response({ deleted: result.deleted, revision });
  });
}

async function change<Type extends Operation["type"]>(
  c: Context,
  port: GatewayPort,
  operation: Extract<Operation, { readonly type: Type }>,
): Promise<{
  readonly response: (body: Record<string, unknown>) => Response;
  readonly result: ResultOf<Type>;
  readonly revision: number;
}> {
  const once = onceOf(c, {
    key: "",
    action: operation.type,
    body: utf8.encode(JSON.stringify(operation)),
  });
  const command = { compares: [], success: [operation], failure: [], once };
  const executed = await execute(c, port, command);
  const [result] = executed.results;
  if (executed.results.length !== 1 || result!.type !== operation.type) {
    throw new GatewayError("outcome-unknown", `The leader did not answer for a ${operation.type}`);
  }
  return {
    response: (body) => written(executed, body),
    result: result as ResultOf<Type>,
    revision: executed.revision,
  };
}

/** A lease as JSON; its id is text, since it may be any integer up to 2^53-1. */
function facts({ id, ttlMs, remainingMs }: LeaseView): Record<string, unknown> {
  return { id: String(id), ttlSeconds: ttlMs / 1000, remainingSeconds: remainingMs / 1000 };
}

function read(
  _c: Context,
  body: Record<string, unknown>,
  { revision, servedBy }: ReadContext,
): Response {
  const response = new Response(JSON.stringify(body) + "\n");
  response.headers.set("content-type", "application/json");
  response.headers.append("statecraft-revision", String(revision));
  response.headers.append("statecraft-served-by", String(servedBy));
  return response;
}

function ttlOfJson(body: unknown): number {
  const isObject = typeof body === "object" && body !== null && !Array.isArray(body);
  const unknown = isObject ? Object.keys(body).find((name) => name !== "ttlSeconds") : undefined;
  if (!isObject || unknown !== undefined) throw invalid('Send {"ttlSeconds": 30}');
  const { ttlSeconds } = body as { readonly ttlSeconds?: unknown };
  if (typeof ttlSeconds !== "number") throw invalid("ttlSeconds is a number");
  return checkTtl(Math.round(ttlSeconds * 1000), "ttlSeconds");
}

function checkTtl(ttlMs: number, name: string): number {
  if (ttlMs >= LEASE_TTL_MS_MIN && ttlMs <= LEASE_TTL_MS_MAX) return ttlMs;
  throw invalid(`${name} is half a second to 366 days`);
}

function idOf(c: Context): number {
  return leaseOfJson(c.req.param("id") ?? "", "The path's last part");
}

function notFound(): GatewayError {
  return new GatewayError("lease-not-found", "There is no such lease, or it has ended");
}

function invalid(detail: string): GatewayError {
  return new GatewayError("invalid-request", detail);
}
