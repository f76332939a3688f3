/**
 * The HTTP gateway: Request to Response over the {@linkcode GatewayPort} of a node.
 *
 * It translates and decides nothing: what a write did, who leads, how fresh a read is, are the
 * port's answers. Errors are problem documents that say what became of a write.
 *
 * @module
 */
import { Hono } from "hono";
import type { GatewayPort } from "./gateway_port.ts";
import { REQUESTS_IN_FLIGHT_MAX } from "./http_limits.ts";
import { GatewayError, problemResponse } from "./problem.ts";
import { addClusterRoutes } from "./routes/cluster.ts";
import { addKvRoutes } from "./routes/kv.ts";
import { addOperationsRoutes } from "./routes/operations.ts";

/** What the gateway reports besides its answers. */
export interface GatewayOptions {
  readonly version: string;
  /** Called for errors that are nobody's fault but ours. */
  readonly onDefect: (error: unknown) => void;
}

/** Methods that routes have; HEAD goes with GET. */
const methods = ["GET", "PUT", "POST", "DELETE"];

/** A request handler for `Deno.serve`. */
export type GatewayHandler = (request: Request) => Response | Promise<Response>;

/** Builds the gateway of one node. */
export function createGateway(port: GatewayPort, options: GatewayOptions): GatewayHandler {
  const app = new Hono({ strict: true });
  addKvRoutes(app, port);
  addClusterRoutes(app, port);
  addOperationsRoutes(app, port, options.version);
  app.notFound((c) => noRoute(app, c.req.path));
  app.onError((error) => {
    if (!(error instanceof GatewayError)) options.onDefect(error);
    return problemResponse(error);
  });
  let inFlight = 0;
  const leave = (): void => void inFlight--;
  return (request) => {
    const problem = foreignProblem(request);
    if (problem !== undefined) return problemResponse(problem);
    if (redirectIsWanted(request.url)) {
      const response = redirect(request, port);
      if (response !== undefined) return response;
    }
    // Probes and metrics answer at once and stay: an overloaded node is not to be restarted.
    if (inFlight >= REQUESTS_IN_FLIGHT_MAX && request.url.includes("/v1/")) {
      const detail = `${REQUESTS_IN_FLIGHT_MAX} requests are in flight already`;
      return problemResponse(new GatewayError("overloaded", detail));
    }
    const response = app.fetch(request);
    if (response instanceof Promise) {
      inFlight++;
      response.then(leave, leave);
    }
    return response;
  };
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

/** A name or an address, and perhaps a port. */
const hostPattern = /^(?:[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(?::\d{1,5})?$/;

/**
 * What is wrong with where a request says that it goes to or comes from. Safety: the runtime makes a
 * request's URL of the Host header and the path, so a Host with a slash in it would choose the path.
 * A foreign web page can make a browser send requests here; only Origin tells, and the browser sets it.
 */
function foreignProblem(request: Request): GatewayError | undefined {
  const host = request.headers.get("host");
  if (host === null || !hostPattern.test(host)) {
    return new GatewayError("invalid-request", "The Host header is missing or no HOST:PORT");
  }
  if (!request.url.startsWith(host, "http://".length)) {
    return new GatewayError("invalid-request", "The request line names another host than Host");
  }
  if (request.method === "GET" || request.method === "HEAD") return undefined;
  const origin = request.headers.get("origin");
  if (origin === null || origin.replace(/^https?:\/\//, "") === host) return undefined;
  return new GatewayError("cross-origin", `A page of ${origin} may not write here`);
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
  const path = request.url.slice(request.url.indexOf("/", "http://".length));
  return new Response(null, { status: 307, headers: { location: address + path } });
}
