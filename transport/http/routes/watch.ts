/**
 * `/v1/watch`: changes as they are applied, as server-sent events or by long polling.
 *
 * A revision's changes are sent together, and only the last of them has an `id`. So a client that comes back
 * with `Last-Event-ID` misses nothing; if its connection was cut within a revision, it is sent that anew.
 * The beginning and each heartbeat have an id as well, without an event: a client that was told of nothing
 * yet goes on where it began, and one whose keys seldom change is not behind the changes that are kept.
 *
 * @module
 */
import type { Context, Hono } from "hono";
import type { KvChange } from "../../../storage/kv/key_space.ts";
import type { KvBounds, KvEntry } from "../../../storage/kv/entry.ts";
import { eventStream } from "../event_stream.ts";
import type { GatewayPort, WatchNews, WatchSource } from "../gateway_port.ts";
import { WATCH_HEARTBEAT_MS, WATCH_WAIT_MS_MAX } from "../limits.ts";
import { GatewayError } from "../problem.ts";
import { bytesAs, checkKey, type JsonEncoding, keyAs, percentDecode } from "../values.ts";
import { boundsOf, durationOf, encodingOf, isOn, queryOf, watchParameters } from "./kv_request.ts";

const utf8 = new TextEncoder();

/** How changes are written. */
interface Form {
  readonly encoding: JsonEncoding;
  /** With what was stored before. */
  readonly withPrevious: boolean;
}

/** Adds the route. */
export function addWatchRoute(app: Hono, port: GatewayPort): void {
  app.get("/v1/watch", (c) => {
    const query = queryOf(c.req.url, watchParameters);
    const bounds = watchedOf(query);
    const form = { encoding: encodingOf(query), withPrevious: isOn(query, "prev") };
    const from = fromOf(c, query);
    const wait = query.get("wait");
    const waitMs = wait === undefined
      ? undefined
      : durationOf(wait, "wait", { min: 0, max: WATCH_WAIT_MS_MAX });
    const watch = port.watch(bounds, from);
    return waitMs === undefined
      ? events(watch, form, port)
      : poll(watch, { ...form, waitMs }, port);
  });
}

/** Server-sent events, for as long as the client reads. */
function events(watch: WatchSource, form: Form, port: GatewayPort): Response {
  const seen = (): string => `id: ${watch.from - 1}\n\n`;
  return eventStream({
    first: seen(),
    heartbeatMs: WATCH_HEARTBEAT_MS,
    heartbeat: () => `: heartbeat\n${seen()}`,
    next: (onNews) => {
      const news = watch.take(onNews);
      if (news === undefined) return undefined;
      return { text: eventsOf(news, form), isLast: news.type !== "changes" };
    },
    end: () => watch.end(),
  }, port);
}

/**
 * What is new within the time, as JSON; and where to go on.
 *
 * An answer that has to wait has begun by then: a client that goes away cancels its body, and so frees the
 * watch. If the changes are lost while it waits, it says nothing, and the next poll is told so.
 */
function poll(
  watch: WatchSource,
  { waitMs, ...form }: Form & { readonly waitMs: number },
  port: GatewayPort,
): Response {
  const headers = { "content-type": "application/json", "cache-control": "no-store" };
  const answerOf = (news: WatchNews | undefined): string => {
    const { from } = watch;
    // In the same turn: what comes now belongs to the next answer, and nobody may take it here.
    watch.end();
    const changes = news?.type === "changes" ? news.changes : [];
    return JSON.stringify({ events: changes.map((change) => eventOf(change, form)), from }) + "\n";
  };
  let tell = (_: WatchNews | undefined): void => {};
  const look = (): void => {
    const news = watch.take(look);
    if (news !== undefined) tell(news);
  };
  const news = watch.take(look);
  if (news?.type === "compacted" || news?.type === "lagged") {
    watch.end();
    throw compacted(news.firstRevision);
  }
  if (news !== undefined || waitMs === 0) return new Response(answerOf(news), { headers });
  let takeBack = (): void => {};
  const body = new ReadableStream<Uint8Array>({
    start: (controller) => {
      tell = (news) => {
        takeBack();
        controller.enqueue(utf8.encode(answerOf(news)));
        controller.close();
      };
      takeBack = port.expireAfter(waitMs, () => tell(undefined));
    },
    cancel: () => {
      takeBack();
      watch.end();
    },
  });
  return new Response(body, { headers });
}

function eventsOf(news: WatchNews, form: Form): string {
  if (news.type === "compacted") {
    return `event: compacted\ndata: ${JSON.stringify({ firstRevision: news.firstRevision })}\n\n`;
  }
  if (news.type === "lagged") {
    const { from, firstRevision } = news;
    return `event: lagged\ndata: ${JSON.stringify({ from, firstRevision })}\n\n`;
  }
  if (news.type === "ended") {
    return `event: ended\ndata: ${JSON.stringify({ from: news.from })}\n\n`;
  }
  const { changes } = news;
  return changes.map((change, at) => {
    const { type, ...data } = eventOf(change, form);
    const isLast = changes[at + 1]?.revision !== change.revision;
    const id = isLast ? `id: ${change.revision}\n` : "";
    return `${id}event: ${type}\ndata: ${JSON.stringify(data)}\n\n`;
  }).join("");
}

function eventOf(
  { key, entry, previous, revision }: KvChange,
  { encoding, withPrevious }: Form,
): Record<string, unknown> & { readonly type: string } {
  const what = entry === undefined ? {} : {
    value: bytesAs(encoding, entry.value),
    contentType: entry.contentType,
    ...factsOf(entry),
  };
  const prev = withPrevious && previous !== undefined
    ? { prev: { value: bytesAs(encoding, previous.value), ...factsOf(previous) } }
    : {};
  const type = entry === undefined ? "delete" : "put";
  return { type, key: keyAs(encoding, key), ...what, revision, ...prev };
}

function factsOf({ created, revision, version, lease }: KvEntry): Record<string, unknown> {
  return { revision, created, version, ...(lease === undefined ? {} : { lease: String(lease) }) };
}

/** The keys that are watched: one, or those within bounds. */
function watchedOf(query: ReadonlyMap<string, string>): KvBounds {
  const text = query.get("key");
  const bounds = boundsOf(query);
  const hasBounds = Object.values(bounds).some((bound) => bound !== undefined);
  if (text === undefined) {
    if (hasBounds) return bounds;
    throw invalid(
      "Name what to watch with key=, prefix=, or start= and end=; prefix= is every key",
    );
  }
  if (hasBounds) throw invalid("key does not go with prefix, start and end");
  const key = checkKey(percentDecode(text.replaceAll("+", "%20")));
  return { start: key, end: `${key}\0` };
}

/** Where the watch begins: after the last event that the client has seen, or where it says. */
function fromOf(c: Context, query: ReadonlyMap<string, string>): number | undefined {
  const seen = c.req.header("last-event-id");
  if (seen !== undefined && seen !== "") {
    if (!/^\d{1,15}$/.test(seen)) throw invalid("Last-Event-ID is a revision");
    return Number(seen) + 1;
  }
  const text = query.get("from");
  if (text === undefined) return undefined;
  if (!/^\d{1,15}$/.test(text)) throw invalid("from is a revision, such as 17");
  // The first revision is 1, so nothing is before it.
  return Math.max(1, Number(text));
}

function compacted(firstRevision: number): GatewayError {
  const detail =
    `This node keeps changes from revision ${firstRevision} on; list the keys, and watch anew`;
  return new GatewayError("compacted", detail, { revision: firstRevision });
}

function invalid(detail: string): GatewayError {
  return new GatewayError("invalid-request", detail);
}
