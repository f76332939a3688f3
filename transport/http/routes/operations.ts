/**
 * What an operator's tools ask: health, metrics, version.
 *
 * @module
 */
import type { Context, Hono } from "hono";
import type { GatewayPort, HealthCheck } from "../gateway_port.ts";
import type { HttpMetrics } from "../metrics.ts";
import { openApiDocument } from "../openapi/document.ts";

/** What the gateway knows of itself. */
export interface OperationsOptions {
  readonly version: string;
  readonly metrics: HttpMetrics;
}

/** Adds the routes. */
export function addOperationsRoutes(
  app: Hono,
  port: GatewayPort,
  { version, metrics }: OperationsOptions,
): void {
  app.get("/livez", (c) => health(c, port.liveness()));
  app.get("/readyz", (c) => health(c, port.readiness()));
  app.get("/healthz", (c) => health(c, port.readiness()));
  app.get("/metrics", (c) => {
    c.header("content-type", "text/plain; version=0.0.4; charset=utf-8");
    return c.body(port.metrics() + metrics.format());
  });
  let document: string | undefined;
  app.get("/openapi.json", () => {
    document ??= JSON.stringify(openApiDocument(version), undefined, 2) + "\n";
    return new Response(document, { headers: { "content-type": "application/json" } });
  });
  app.get("/version", (c) => c.json({ version, api: "v1", deno: Deno.version.deno }));
}

/** 200 or 503; with `?verbose`, or on failure, a line for each check. */
function health(c: Context, checks: readonly HealthCheck[]): Response {
  const ok = checks.every((check) => check.ok);
  const lines = checks.map(({ name, ok, message }) => `[${ok ? "+" : "-"}]${name}: ${message}\n`);
  const text = ok && c.req.query("verbose") === undefined ? "ok\n" : lines.join("");
  return c.text(text, ok ? 200 : 503);
}
