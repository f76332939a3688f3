/**
 * `/v1/cluster` and `/v1/raft`: which node leads, and why.
 *
 * @module
 */
import type { Context, Hono } from "hono";
import { chartToMermaid } from "../../../machines/chart.ts";
import { explanationToText } from "../../../machines/explain.ts";
import type { GatewayPort } from "../gateway_port.ts";
import { readJson } from "../body.ts";
import { JSON_BODY_BYTES_MAX } from "../limits.ts";
import { GatewayError } from "../problem.ts";
import { timeoutOf } from "./kv_request.ts";

/** Adds the routes. */
export function addClusterRoutes(app: Hono, port: GatewayPort): void {
  app.get("/v1/cluster", (c) => c.json(port.status()));
  app.post("/v1/cluster/transfer", async (c) => {
    const to = targetOf(await readJson(c.req.raw, JSON_BODY_BYTES_MAX, port));
    return c.json(await port.transfer(to, timeoutOf(c)));
  });
  app.get("/v1/raft/explain", (c) => {
    const explanation = port.explain();
    return wantsText(c) ? c.text(explanationToText(explanation)) : c.json(explanation);
  });
  app.get("/v1/raft/chart", (c) => {
    const { chart, active } = port.chart();
    const mermaid = chartToMermaid(chart, active);
    if (c.req.query("format") === "mermaid" || wantsText(c)) return c.text(mermaid);
    return c.json({ ...chart, active, mermaid });
  });
}

function wantsText(c: Context): boolean {
  return c.req.header("accept")?.startsWith("text/plain") === true;
}

function targetOf(body: unknown): number {
  const to = (body as { to?: unknown } | null)?.to;
  if (typeof to !== "number" || !Number.isInteger(to) || to < 1 || to > 2 ** 31) {
    throw new GatewayError("invalid-request", 'Send {"to": N} with the id of a voter');
  }
  return to;
}
