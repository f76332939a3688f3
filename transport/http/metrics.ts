/**
 * What the gateway answered: requests by method, route pattern and status, and how long they took.
 *
 * It is no middleware, because an async middleware costs half of the throughput. The gateway's
 * handler knows when a request came and when its answer was ready.
 *
 * @module
 */
import type { Hono } from "hono";
import { hasKeyInPath, targetOf } from "./target.ts";
import { formatHistograms, formatMetrics, Histogram } from "./prometheus.ts";

/** Buckets of the latency of requests, in seconds: from a stale read to the longest deadline. */
const HTTP_BUCKETS_SECONDS: readonly number[] = [
  ...[0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05],
  ...[0.1, 0.25, 0.5, 1, 2.5, 5, 10, 60],
];

const methods = ["GET", "HEAD", "PUT", "POST", "PATCH", "DELETE"];

interface Answered {
  readonly labels: { readonly method: string; readonly route: string };
  readonly latency: Histogram;
  readonly statuses: Map<number, number>;
}

/** Counts the answers of one gateway. A label is never a key, and there are few labels. */
export class HttpMetrics {
  /** By route, and then by method: a key made of both would be a new string for each request. */
  readonly #answered = new Map<string, Map<string, Answered>>();
  readonly #app: Pick<Hono, "routes">;
  /** Paths that are routes as they stand; read at the first answer, when all routes are there. */
  #plainRoutes: ReadonlySet<string> | undefined;
  #openRoutes: readonly OpenRoute[] = [];

  /** Counts by the routes of `app`. */
  constructor(app: Pick<Hono, "routes">) {
    this.#app = app;
  }

  /** Notes an answer that took `durationMs`, until its headers were there. */
  observe(request: Request, status: number, durationMs: number): void {
    const method = methods.includes(request.method) ? request.method : "other";
    const route = this.#routeOf(request);
    const answered = this.#answered.get(route)?.get(method) ?? this.#begin(method, route);
    answered.latency.observe(durationMs / 1_000);
    answered.statuses.set(status, (answered.statuses.get(status) ?? 0) + 1);
  }

  /** Prometheus text. */
  format(): string {
    const all = [...this.#answered.values()].flatMap((byMethod) => [...byMethod.values()]);
    return formatMetrics([{
      name: "statecraft_http_requests_total",
      help: "Requests answered",
      type: "counter",
      samples: all.flatMap(({ labels, statuses }) =>
        [...statuses].map(([status, value]) => ({ labels: { ...labels, status }, value }))
      ),
    }]) + formatHistograms(
      "statecraft_http_request_duration_seconds",
      "From a request's arrival to the headers of its answer",
      all.map(({ labels, latency: histogram }) => ({ labels, histogram })),
    );
  }

  #begin(method: string, route: string): Answered {
    const latency = new Histogram(HTTP_BUCKETS_SECONDS);
    const answered = { labels: { method, route }, latency, statuses: new Map() };
    const byMethod = this.#answered.get(route);
    if (byMethod === undefined) this.#answered.set(route, new Map([[method, answered]]));
    else byMethod.set(method, answered);
    return answered;
  }

  /** The pattern that a request's path matches; "other" if none does. */
  #routeOf(request: Request): string {
    if (hasKeyInPath(request)) {
      return request.method === "POST" ? "/v1/kv/{key}/{verb}" : "/v1/kv/{key}";
    }
    const target = targetOf(request);
    const query = target.indexOf("?");
    const path = query < 0 ? target : target.slice(0, query);
    if (this.#plainRoutes === undefined) {
      const paths = new Set(this.#app.routes.map((route) => route.path));
      this.#openRoutes = [...paths].filter((route) => /[:*]/.test(route) && route !== "/*")
        .map(openRoute);
      this.#plainRoutes = paths;
    }
    if (this.#plainRoutes.has(path)) return path;
    return this.#openRoutes.find(({ pattern }) => pattern.test(path))?.label ?? "other";
  }
}

/** A route with a part that the client names, as its label and what its paths match. */
interface OpenRoute {
  readonly label: string;
  readonly pattern: RegExp;
}

function openRoute(route: string): OpenRoute {
  return {
    label: route.replace(/:(\w+)/g, "{$1}").replace("*", "{name}"),
    pattern: new RegExp(`^${route.replace(/:\w+/g, "[^/]+").replace("*", ".+")}$`),
  };
}
