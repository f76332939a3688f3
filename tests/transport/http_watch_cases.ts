/**
 * What every gateway must answer to a watch: see http_cases.ts.
 *
 * @module
 */
import { assert, assertEquals, assertMatch } from "@std/assert";
import { assertProblem, type HttpCase, type Send } from "./http_cases.ts";

type Json = Record<string, unknown>;

/** A server-sent event. */
interface Event {
  readonly id: string | undefined;
  readonly type: string;
  readonly data: Json;
}

/** Reads events of a stream. */
class Events {
  readonly #reader: ReadableStreamDefaultReader<Uint8Array>;
  readonly #decoder = new TextDecoder();
  #text = "";
  /** What a client that comes back sends. */
  lastId = "";

  constructor(response: Response) {
    assertEquals(response.headers.get("content-type"), "text/event-stream");
    this.#reader = response.body!.getReader();
  }

  /** The next events; fewer if the stream ends. */
  async next(count: number): Promise<Event[]> {
    const events: Event[] = [];
    // The beginning is read even if no event is asked for.
    while (events.length < count || this.lastId === "") {
      const end = this.#text.indexOf("\n\n");
      if (end < 0) {
        const { done, value } = await this.#reader.read();
        if (done) return events;
        this.#text += this.#decoder.decode(value, { stream: true });
        continue;
      }
      const lines = this.#text.slice(0, end).split("\n");
      this.#text = this.#text.slice(end + 2);
      const field = (name: string): string | undefined =>
        lines.find((line) => line.startsWith(`${name}: `))?.slice(name.length + 2);
      this.lastId = field("id") ?? this.lastId;
      if (field("data") === undefined) continue;
      events.push({ id: field("id"), type: field("event")!, data: JSON.parse(field("data")!) });
    }
    return events;
  }

  cancel(): Promise<void> {
    return this.#reader.cancel();
  }
}

async function put(send: Send, key: string, value: string): Promise<number> {
  const headers = { "content-type": "application/octet-stream" };
  const response = await send(`/v1/kv/${key}`, { method: "PUT", body: value, headers });
  return (await response.json()).revision;
}

async function remove(send: Send, key: string): Promise<number> {
  return (await (await send(`/v1/kv/${key}`, { method: "DELETE" })).json()).revision;
}

/** The cases. */
export const watchCases: readonly HttpCase[] = [
  {
    name: "watch: a client that comes back before its first event goes on where it began",
    run: async (send) => {
      const before = await put(send, "watch9/a", "1");
      const events = new Events(await send("/v1/watch?prefix=watch9/"));
      await events.next(0);
      await events.cancel();
      assertEquals(events.lastId, String(before));
      const missed = await put(send, "watch9/a", "2");
      const headers = { "last-event-id": events.lastId };
      const again = new Events(await send("/v1/watch?prefix=watch9/", { headers }));
      const [event] = await again.next(1);
      await again.cancel();
      assertEquals(event!.data["revision"], missed);
    },
  },
  {
    name: "watch: from=0 is from the first revision",
    run: async (send) => {
      const response = await send("/v1/watch?prefix=watch10/&from=0&wait=0s");
      const first = await send("/v1/watch?prefix=watch10/&from=1&wait=0s");
      assertEquals([response.status, await response.text()], [first.status, await first.text()]);
    },
  },
  {
    name:
      "watch: puts and deletes of a prefix as server-sent events, in order, each with its revision",
    run: async (send) => {
      const events = new Events(await send("/v1/watch?prefix=watch/a&prev=true"));
      const first = await put(send, "watch/a1", "x");
      await put(send, "watch/b", "not watched");
      const second = await put(send, "watch/a1", "y");
      const third = await remove(send, "watch/a1");
      const [one, two, three] = await events.next(3);
      await events.cancel();
      const facts = { revision: first, created: first, version: 1 };
      assertEquals(one, {
        ...{ id: String(first), type: "put" },
        data: { key: "watch/a1", value: "x", ...facts },
      });
      const now = { revision: second, created: first, version: 2 };
      assertEquals(two!.data, {
        ...{ key: "watch/a1", value: "y", ...now },
        prev: { value: "x", ...facts },
      });
      assertEquals(three, {
        ...{ id: String(third), type: "delete" },
        data: { key: "watch/a1", revision: third, prev: { value: "y", ...now } },
      });
    },
  },
  {
    name: "watch: from a revision, and after the last event that was seen; a revision has one id",
    run: async (send) => {
      const first = await put(send, "watch2/a", "1");
      const success = ["a", "b", "c"].map((key) => ({ put: { key: `watch2/${key}`, value: "2" } }));
      const txn = await send("/v1/txn", { method: "POST", body: JSON.stringify({ success }) });
      const { revision } = await txn.json();
      const all = new Events(await send(`/v1/watch?prefix=watch2/&from=${first}`));
      const seen = await all.next(4);
      await all.cancel();
      assertEquals(seen.map(({ id }) => id), [
        ...[String(first), undefined, undefined, String(revision)],
      ]);
      assertEquals(seen.map(({ data }) => data["key"]), [
        ...["watch2/a", "watch2/a", "watch2/b", "watch2/c"],
      ]);
      const headers = { "last-event-id": String(first) };
      const rest = new Events(await send("/v1/watch?prefix=watch2/&from=1", { headers }));
      assertEquals((await rest.next(3)).map(({ data }) => data["revision"]), [
        ...[revision, revision, revision],
      ]);
      await rest.cancel();
      const one = new Events(await send(`/v1/watch?key=watch2/b&from=${first}&encoding=base64`));
      const [only] = await one.next(1);
      await one.cancel();
      assertEquals([only!.data["key"], only!.data["value"]], ["d2F0Y2gyL2I=", "Mg=="]);
    },
  },
  {
    name:
      "watch: a long poll answers what is new, or nothing when its time is up, and where to go on",
    run: async (send) => {
      const first = await put(send, "watch3/a", "x");
      const poll = async (query: string): Promise<{ events: Json[]; from: number }> => {
        const response = await send(`/v1/watch?prefix=watch3/&${query}`);
        assertEquals(response.status, 200);
        return await response.json();
      };
      const { events, from } = await poll(`wait=30s&from=${first}`);
      assertEquals(events.map(({ type, key }) => [type, key]), [["put", "watch3/a"]]);
      assert(from > first);
      const waiting = poll(`wait=30s&from=${from}`);
      await remove(send, "watch3/a");
      assertEquals((await waiting).events.map(({ type }) => type), ["delete"]);
    },
  },
  {
    name: "watch: what means nothing is refused",
    run: async (send) => {
      const queries = [
        ...["", "key=a&prefix=b", "key=", "prefix=a&start=b", "from=1", "prefix=a&from=x"],
        ...["prefix=a&wait=x", "prefix=a&wait=1h", "prefix=a&limit=3", "prefix=a&prev=maybe"],
      ];
      for (const query of queries) {
        await assertProblem(await send(`/v1/watch?${query}`), 400, "invalid-request");
      }
      const headers = { "last-event-id": "x" };
      const detail = await assertProblem(
        await send("/v1/watch?prefix=a", { headers }),
        400,
        "invalid-request",
      );
      assertMatch(detail, /Last-Event-ID/);
      const method = await send("/v1/watch?prefix=a", { method: "POST" });
      await assertProblem(method, 405, "method-not-allowed");
    },
  },
];
