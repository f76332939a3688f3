/**
 * `/v1/raft/events`: the transitions of this node's chart as server-sent events: those that are kept, and
 * then each as it happens.
 *
 * @module
 */
import type { Context, Hono } from "hono";
import { eventStream } from "../event_stream.ts";
import type { ChartTransitionTold, GatewayPort } from "../gateway_port.ts";
import { WATCH_HEARTBEAT_MS } from "../limits.ts";
import { GatewayError } from "../problem.ts";
import { eventsParameters, queryOf } from "./kv_request.ts";

/** Adds the route. */
export function addRaftEventsRoute(app: Hono, port: GatewayPort): void {
  app.get("/v1/raft/events", (c) => {
    queryOf(c.req.url, eventsParameters);
    const source = port.transitions(seenOf(c));
    return eventStream({
      first: ": transitions\n\n",
      heartbeatMs: WATCH_HEARTBEAT_MS,
      heartbeat: () => ": heartbeat\n\n",
      next: (onNews) => {
        const told = source.take(onNews);
        if (told === "ended") return { text: "event: ended\ndata: {}\n\n", isLast: true };
        return told.length === 0 ? undefined : { text: told.map(eventOf).join(""), isLast: false };
      },
      end: () => source.end(),
    }, port);
  });
}

function eventOf({ id, ...transition }: ChartTransitionTold): string {
  return `id: ${id}\nevent: transition\ndata: ${JSON.stringify(transition)}\n\n`;
}

/** The last transition that the client has seen; undefined if none. */
function seenOf(c: Context): string | undefined {
  const seen = c.req.header("last-event-id") ?? "";
  if (seen === "") return undefined;
  if (/^\d{1,16}-\d{1,15}$/.test(seen)) return seen;
  throw new GatewayError("invalid-request", "Last-Event-ID is the id of a transition");
}
