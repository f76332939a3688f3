/**
 * The HTTP gateway: Request to Response over the {@linkcode GatewayPort} of a node.
 *
 * It translates and decides nothing: the port says what a write did, which node leads and how fresh
 * a read is. Errors are problem documents that say what became of a write.
 *
 * @module
 */
import { type Context, Hono } from "hono";
import type { GatewayPort, ItemPort } from "./gateway_port.ts";
import { BODIES_BYTES_MAX, REQUESTS_IN_FLIGHT_MAX, TXN_BODY_BYTES_MAX } from "./limits.ts";
import { HttpMetrics } from "./metrics.ts";
import { checkOrigin, checkTarget, targetOf } from "./target.ts";
import { GatewayError, problemResponse } from "./problem.ts";
import { addBackupRoute } from "./routes/backup.ts";
import { addClusterRoutes } from "./routes/cluster.ts";
import { addItemRoutes, addKvRoutes } from "./routes/kv.ts";
import { isHead } from "./routes/kv_request.ts";
import { addLeaseRoutes } from "./routes/leases.ts";
import { addLockRoutes } from "./routes/locks.ts";
import { addMemberRoutes } from "./routes/members.ts";
import { addPageRoutes } from "./routes/page.ts";
import { addRaftEventsRoute } from "./routes/raft_events.ts";
import { addOperationsRoutes } from "./routes/operations.ts";
import { addSnapshotRoute } from "./routes/snapshot.ts";
import { addTxnRoute } from "./routes/txn.ts";
import { addWatchRoute } from "./routes/watch.ts";
import { LargeResponses } from "./stream.ts";

/** What the gateway reports besides its answers. */
export interface GatewayOptions {
  readonly version: string;
  /** Milliseconds since some fixed moment. */
  readonly nowMs: () => number;
  /** Called for errors that are a fault of this program. */
  readonly onDefect: (error: unknown) => void;
}

/** What the gateway tells its routes besides the request. */
export interface GatewayEnvironment {
  /** Whether the client asked with HEAD: the answer to GET, whose body is not sent. */
  readonly isHead: boolean;
}

/** Methods that routes have; HEAD goes with GET. */
const methods = ["GET", "PUT", "POST", "PATCH", "DELETE"];

/** A request handler for `Deno.serve`. */
export type GatewayHandler = (request: Request) => Response | Promise<Response>;

/** All routes, and what is answered where there is none or one fails. */
export function createRoutes(
  port: GatewayPort,
  options: GatewayOptions,
): { readonly app: Hono; readonly metrics: HttpMetrics } {
  const app = new Hono({ strict: true });
  const large = new LargeResponses(port);
  addKvRoutes(app, port, large);
  addTxnRoute(app, port);
  addLeaseRoutes(app, port);
  addLockRoutes(app, port);
  addWatchRoute(app, port);
  addBackupRoute(app, port, large);
  addSnapshotRoute(app, port);
  addClusterRoutes(app, port);
  addMemberRoutes(app, port);
  addRaftEventsRoute(app, port);
  addPageRoutes(app);
  const metrics = new HttpMetrics(app);
  addOperationsRoutes(app, port, { version: options.version, metrics });
  app.notFound((c) => noRoute(app, c.req.path));
  app.onError((error) => {
    if (!(error instanceof GatewayError)) options.onDefect(error);
    return problemResponse(error);
  });
  return { app, metrics };
}

/** Builds the gateway of one node. */
export function createGateway(port: GatewayPort, options: GatewayOptions): GatewayHandler {
  const { app, metrics } = createRoutes(port, options);
  return guarded(app, metrics, {
    ...options,
    before: (request) => redirectIsWanted(request.url) ? redirect(request, port) : undefined,
  });
}

/**
 * Builds a gateway in front of the nodes: it answers for single keys and transactions by itself, and has
 * the nodes answer what else they serve.
 */
export function createFrontGateway(
  port: ItemPort,
  options: GatewayOptions & {
    /** Has a node answer. */
    readonly elsewhere: (request: Request, isHead: boolean) => Promise<Response>;
    /** Further metrics. */
    readonly metrics: () => string;
  },
): GatewayHandler {
  const app = new Hono({ strict: true });
  const metrics = new HttpMetrics(app);
  // A route of keys would take it as well.
  const elsewhere = (c: Context): Promise<Response> => options.elsewhere(c.req.raw, isHead(c));
  app.all("/v1/kv", elsewhere);
  addItemRoutes(app, port, new LargeResponses(port));
  addTxnRoute(app, port);
  app.get("/livez", (c) => c.text("ok\n"));
  app.get("/metrics", (c) => {
    c.header("content-type", "text/plain; version=0.0.4; charset=utf-8");
    return c.body(options.metrics() + metrics.format());
  });
  app.all("*", elsewhere);
  app.onError((error) => {
    if (!(error instanceof GatewayError)) options.onDefect(error);
    return problemResponse(error);
  });
  return guarded(app, metrics, {
    ...options,
    // Only the nodes know where their leader is.
    before: (request) =>
      redirectIsWanted(request.url)
        ? options.elsewhere(request, request.method === "HEAD")
        : undefined,
  });
}

/** Checks requests, bounds how many are in flight, and counts the answers. */
function guarded(
  app: Hono,
  metrics: HttpMetrics,
  options: Pick<GatewayOptions, "nowMs"> & {
    /** Answers a request before the routes do. */
    readonly before: (request: Request) => Response | Promise<Response> | undefined;
  },
): GatewayHandler {
  let inFlight = 0;
  let bodiesBytes = 0;
  const answer = (request: Request, bodyBytes: number): Response | Promise<Response> => {
    try {
      checkTarget(request);
      checkOrigin(request);
    } catch (error) {
      return problemResponse(error);
    }
    const early = options.before(request);
    if (early !== undefined) return early;
    // Probes and metrics are answered even then: an overloaded node must not be restarted.
    if (inFlight >= REQUESTS_IN_FLIGHT_MAX && request.url.includes("/v1/")) {
      const detail = `${REQUESTS_IN_FLIGHT_MAX} requests are in flight already`;
      return problemResponse(new GatewayError("overloaded", detail));
    }
    if (bodyBytes > 0 && bodiesBytes + bodyBytes > BODIES_BYTES_MAX) {
      const detail = `Requests in flight have ${BODIES_BYTES_MAX} bytes of bodies already`;
      return problemResponse(new GatewayError("overloaded", detail));
    }
    return request.method === "HEAD" ? answerHead(app, request) : app.fetch(request);
  };
  return (request) => {
    const startMs = options.nowMs();
    const note = (status: number): void =>
      metrics.observe(request, status, options.nowMs() - startMs);
    const bodyBytes = bodyBytesOf(request);
    const response = answer(request, bodyBytes);
    if (!(response instanceof Promise)) {
      note(response.status);
      return response;
    }
    inFlight++;
    bodiesBytes += bodyBytes;
    const leave = (status: number): void => {
      inFlight--;
      bodiesBytes -= bodyBytes;
      note(status);
    };
    response.then(({ status }) => leave(status), () => leave(500));
    return response;
  };
}

/** How many bytes of a body the request may hold: what is longer is refused before it is read. */
function bodyBytesOf({ method, headers }: Request): number {
  if (method === "GET" || method === "HEAD" || method === "DELETE") return 0;
  const declared = headers.get("content-length");
  if (declared !== null) return Math.min(Number(declared) || 0, TXN_BODY_BYTES_MAX);
  return headers.has("transfer-encoding") ? TXN_BODY_BYTES_MAX : 0;
}

/**
 * The answer to the same GET: the runtime measures its body and does not send it. Hono would drop
 * the body before, and Content-Length would be 0.
 */
function answerHead(app: Hono, { url, headers }: Request): Response | Promise<Response> {
  const environment: GatewayEnvironment = { isHead: true };
  return app.fetch(new Request(url, { headers }), environment);
}

/** 405 with the methods that the path has, or 404 if it has none. */
function noRoute(app: Hono, path: string): Response {
  const allowed = methods.filter((method) => app.router.match(method, path)[0].length > 0)
    .flatMap((method) => method === "GET" ? ["GET", "HEAD"] : [method]);
  if (allowed.length === 0) {
    return problemResponse(new GatewayError("no-such-route", "Nothing is served at this path"));
  }
  const allow = allowed.join(", ");
  const response = problemResponse(
    new GatewayError("method-not-allowed", `The path has ${allow}`),
  );
  response.headers.set("allow", allow);
  return response;
}

function redirectIsWanted(url: string): boolean {
  return url.includes("redirect=true") && /[?&]redirect=true(&|$)/.test(url) &&
    url.includes("/v1/");
}

/** 307 to the leader, if another node leads; the request itself is not touched. */
function redirect(request: Request, port: GatewayPort): Response | undefined {
  const leader = port.leader();
  if (leader === port.nodeId) return undefined;
  const address = leader === undefined ? undefined : port.httpAddressOf(leader);
  if (address === undefined) {
    return problemResponse(new GatewayError("unavailable", "No leader is known to redirect to"));
  }
  return new Response(null, { status: 307, headers: { location: address + targetOf(request) } });
}
