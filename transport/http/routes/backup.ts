/**
 * `/v1/backup`: the state at one moment, as a file that `kv restore` founds a new cluster from.
 *
 * @module
 */
import type { Context, Hono } from "hono";
import type { Backup, GatewayPort } from "../gateway_port.ts";
import { BACKUP_UNREAD_BYTES } from "../limits.ts";
import { type LargeResponses, unmeasured } from "../stream.ts";
import { isHead, queryOf, timeoutOf, writeParameters } from "./kv_request.ts";

/** Adds the route. */
export function addBackupRoute(app: Hono, port: GatewayPort, large: LargeResponses): void {
  app.get("/v1/backup", async (c) => {
    queryOf(c.req.url, writeParameters);
    const backup = await port.backup(timeoutOf(c));
    const { clusterId, revision } = backup;
    const response = new Response(bodyOf(c, backup, large));
    const { headers } = response;
    headers.append("content-type", "application/octet-stream");
    headers.append("content-disposition", `attachment; filename="${clusterId}-${revision}.backup"`);
    headers.append("statecraft-revision", String(revision));
    return response;
  });
}

/** The file is as long as it turns out to be, so a client that is cut off sees no last chunk. */
function bodyOf(
  c: Context,
  { pieces }: Backup,
  large: LargeResponses,
): ReadableStream<Uint8Array> {
  try {
    if (!isHead(c)) return large.stream(pieces, BACKUP_UNREAD_BYTES);
  } catch (error) {
    pieces.return?.();
    throw error;
  }
  pieces.return?.();
  return unmeasured();
}
