/**
 * Server-sent events, made as the client reads them, with a heartbeat while there is nothing to tell.
 *
 * @module
 */
import type { GatewayPort } from "./gateway_port.ts";

const utf8 = new TextEncoder();

/** What a stream of events is made from. */
export interface EventSource {
  /** What is sent at once; empty for nothing. */
  readonly first: string;
  /** What is new, if anything is; else `onNews` is called once when something is. */
  next(onNews: () => void): EventText | undefined;
  /** What is sent after `heartbeatMs` without news. */
  heartbeat(): string;
  readonly heartbeatMs: number;
  /** Nobody reads on. Idempotent. */
  end(): void;
}

/** Events as text. */
export interface EventText {
  readonly text: string;
  /** Nothing comes after it. */
  readonly isLast: boolean;
}

/** The answer, which goes on for as long as the client reads, or until the source says that it is over. */
export function eventStream(source: EventSource, port: Pick<GatewayPort, "expireAfter">): Response {
  let takeBack = (): void => {};
  const body = new ReadableStream<Uint8Array>({
    start: (controller) => {
      if (source.first !== "") controller.enqueue(utf8.encode(source.first));
    },
    pull: (controller) =>
      new Promise<void>((resolve) => {
        const send = (text: string): void => {
          takeBack();
          controller.enqueue(utf8.encode(text));
          resolve();
        };
        const look = (): void => {
          const news = source.next(look);
          if (news === undefined) return;
          send(news.text);
          if (!news.isLast) return;
          controller.close();
          source.end();
        };
        takeBack = port.expireAfter(source.heartbeatMs, () => send(source.heartbeat()));
        look();
      }),
    cancel: () => {
      takeBack();
      source.end();
    },
  }, { highWaterMark: 0 });
  const headers = { "content-type": "text/event-stream", "cache-control": "no-store" };
  return new Response(body, { headers });
}
