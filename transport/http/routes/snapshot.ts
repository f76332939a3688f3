/**
 * `POST /v1/snapshot`: this node takes a snapshot of its state now, and its log can be cut behind it.
 *
 * @module
 */
import type { Hono } from "hono";
import type { GatewayPort } from "../gateway_port.ts";
import { queryOf, timeoutOf, writeParameters } from "./kv_request.ts";

/** Adds the route. */
export function addSnapshotRoute(app: Hono, port: GatewayPort): void {
  app.post("/v1/snapshot", async (c) => {
    queryOf(c.req.url, writeParameters);
    return c.json(await port.snapshot(timeoutOf(c)));
  });
}
