/**
 * The client's side of its wire: places in sessions, and what the loss of a connection tells.
 */
import { assert, assertEquals, assertRejects } from "@std/assert";
import { CLERK_SESSIONS_MAX, ClerkSessions, type Place } from "../../actors/clerk_sessions.ts";
import {
  AbortedError,
  Clerk,
  ClerkError,
  InvalidRequestError,
  OutcomeUnknownError,
  UnavailableError,
} from "../../mod.ts";
import { ANSWER_MARGIN_MS } from "../../actors/clerk_link.ts";
import { WireLink } from "../../actors/clerk_wire.ts";
import { CLIENT_FRAME_BYTES_MAX } from "../../actors/limits.ts";
import { decodeCommand } from "../../storage/kv/command.ts";
import { SESSION_WINDOW } from "../../storage/kv/limits.ts";
import {
  type ClientAnswer,
  type ClientAsk,
  clientAskOf,
  ClientCodec,
  clientHelloOf,
  HEADERS_MAX,
  TEXT_CHARS_MAX,
} from "../../transport/wire/client_codec.ts";
import { FRAME_HEADER_BYTES } from "../../transport/wire/limits.ts";
import type { WireValue } from "../../transport/wire/messages.ts";
import type {
  Connection,
  ConnectionHandlers,
  HostPort,
  Network,
} from "../../transport/wire/network.ts";

const codec = new ClientCodec();

/** Members that a test plays: each request is handed to it, with a way to answer or to cut. */
class PlayedNetwork implements Pick<Network, "dial"> {
  readonly dialled: number[] = [];
  readonly #onAsk: (member: number, ask: ClientAsk, line: Line) => void;
  refuses = new Set<number>();
  /** Nobody is welcome, nor told why. */
  isMute = false;

  constructor(onAsk: (member: number, ask: ClientAsk, line: Line) => void) {
    this.#onAsk = onAsk;
  }

  dial({ port }: HostPort, handlers: ConnectionHandlers): Connection {
    this.dialled.push(port);
    let isOpen = true;
    const line: Line = {
      answer: (answer) => {
        if (isOpen) handlers.onFrame(codec.answer(answer).slice(FRAME_HEADER_BYTES));
      },
      cut: () => {
        if (!isOpen) return;
        isOpen = false;
        handlers.onClose({ code: "connection-lost", detail: "cut" });
      },
    };
    setTimeout(() => {
      if (this.refuses.has(port)) return line.cut();
      handlers.onOpen?.();
    }, 0);
    return {
      ...{ remote: "played", bufferedBytes: 0, setFrameLimit: () => {} },
      send: (frame) => {
        const body = frame.slice(FRAME_HEADER_BYTES);
        setTimeout(() => {
          if (!isOpen || this.isMute) return;
          if (clientHelloOf(body) === undefined) {
            return this.#onAsk(port, clientAskOf(body), line);
          }
          const welcome = { refusal: "", version: 1, clusterId: "abc", node: port } as const;
          handlers.onFrame(
            codec.welcome({ type: "ClientWelcome", ...welcome }).slice(FRAME_HEADER_BYTES),
          );
        }, 0);
        return true;
      },
      close: () => void (isOpen = false),
      end: () => void (isOpen = false),
    };
  }
}

interface Line {
  readonly answer: (answer: ClientAnswer) => void;
  readonly cut: () => void;
}

function clerkOf(network: PlayedNetwork, members = 1, timeoutMs = 2_000): Clerk {
  const endpoints = Array.from({ length: members }, (_, at) => ({ hostname: "m", port: at + 1 }));
  return new Clerk({ link: new WireLink(endpoints, { network }), timeoutMs });
}

function sequenceOf(ask: ClientAsk): number {
  if (ask.type !== "Execute") return 0;
  const { once } = decodeCommand(ask.payload);
  return once?.type === "session" ? once.sequence : 0;
}

function done({ id }: ClientAsk, { leader = 1, results }: {
  readonly leader?: number;
  readonly results: readonly WireValue[];
}): ClientAnswer {
  const result = { status: "ok", revision: 9, succeeded: true, results };
  return { type: "Executed", id, leader, result };
}

const PUT = { type: "put", version: 1, created: true };

Deno.test("clerk wire: a write whose connection is cut is sent again with its place, and what waited for the welcome with it", async () => {
  const places: number[] = [];
  let cuts = 0;
  const network = new PlayedNetwork((_member, ask, line) => {
    if (ask.type !== "Execute") return;
    const sequence = sequenceOf(ask);
    places.push(sequence);
    if (sequence > 1 && cuts++ === 0) return line.cut();
    line.answer(done(ask, { results: sequence === 1 ? [] : [PUT] }));
  });
  await using kv = clerkOf(network);
  assertEquals((await kv.put("a", "1")).revision, 9);
  assertEquals(places, [1, 2, 2]);
});

Deno.test("clerk wire: what may have been done is in doubt if nobody answers, what was not sent is not", async () => {
  const network = new PlayedNetwork((_member, ask, line) => {
    if (sequenceOf(ask) === 1) line.answer(done(ask, { results: [] }));
  });
  await using kv = clerkOf(network, 1, 400);
  await assertRejects(() => kv.put("a", "1"), OutcomeUnknownError);
  // Not even a session could be begun: the write was not sent.
  const mute = new PlayedNetwork(() => {});
  await using silent = clerkOf(mute, 1, 400);
  await assertRejects(() => silent.put("a", "1", { timeoutMs: 100 }), UnavailableError);
  await assertRejects(() => silent.put("a", "1"), UnavailableError);
  await assertRejects(
    () => silent.put("a", "1", { signal: AbortSignal.timeout(20) }),
    AbortedError,
  );
  const nobody = new PlayedNetwork(() => {});
  nobody.refuses.add(1);
  await using other = clerkOf(nobody, 1, 400);
  await assertRejects(() => other.put("a", "1"), UnavailableError);
});

Deno.test("clerk wire: requests go to the leader once an answer has named it", async () => {
  const asked: number[] = [];
  const network = new PlayedNetwork((member, ask, line) => {
    if (ask.type !== "Get") return;
    asked.push(member);
    line.answer({ type: "Got", id: ask.id, leader: 3, term: 1, revision: 0, entry: undefined });
  });
  await using kv = clerkOf(network, 3);
  await kv.get("a");
  // The leader is looked for among those that are not connected yet.
  while (network.dialled.length < 3) await new Promise((resolve) => setTimeout(resolve, 5));
  await new Promise((resolve) => setTimeout(resolve, 20));
  await kv.get("a");
  await kv.get("a");
  assertEquals(asked, [1, 3, 3]);
});

Deno.test("clerk wire: a session that has ended is replaced if that is safe, and told of if not", async () => {
  let sessions = 0;
  let isCut = false;
  const network = new PlayedNetwork((_member, ask, line) => {
    if (ask.type !== "Execute") return;
    const sequence = sequenceOf(ask);
    if (sequence === 1) {
      sessions++;
      return line.answer(done(ask, { results: [] }));
    }
    if (isCut) {
      isCut = false;
      return line.cut();
    }
    if (sessions < 2) {
      return line.answer({
        type: "Executed",
        id: ask.id,
        leader: 1,
        result: { status: "session-expired" },
      });
    }
    line.answer(done(ask, { results: [PUT] }));
  });
  await using kv = clerkOf(network);
  assertEquals((await kv.put("a", "1")).version, 1);
  assertEquals(sessions, 2);
  // Now an attempt was lost before: it may have been applied in the session that is gone.
  await using other = clerkOf(network);
  sessions = 0;
  isCut = true;
  const error = await assertRejects(() => other.put("a", "1"), OutcomeUnknownError);
  assert((error as ClerkError).message.includes("session"), String(error));
});

Deno.test("clerk wire: a place that comes when nobody waits for it any more is given back", async () => {
  let begin = (): void => {};
  let beginnings = 0;
  const network = new PlayedNetwork((_member, ask, line) => {
    const sequence = sequenceOf(ask);
    if (sequence > 1) return line.answer(done(ask, { results: [PUT] }));
    beginnings++;
    begin = () => line.answer(done(ask, { results: [] }));
  });
  await using kv = clerkOf(network, 1, 5_000);
  const early = Array.from(
    { length: SESSION_WINDOW },
    () => assertRejects(() => kv.put("a", "1", { timeoutMs: 50 }), UnavailableError),
  );
  await Promise.all(early);
  begin();
  await new Promise((resolve) => setTimeout(resolve, 20));
  // The one session has all of its places for those who come now.
  await Promise.all(Array.from({ length: SESSION_WINDOW }, () => kv.put("a", "1")));
  assertEquals(beginnings, 1);
});

Deno.test("clerk wire: what the member would close the connection over is not sent, and costs nobody else anything", async () => {
  const targets: string[] = [];
  const network = new PlayedNetwork((_member, ask, line) => {
    if (ask.type !== "Fetch") return;
    targets.push(ask.target);
    const answer = { type: "Fetched", id: ask.id, status: 200, headers: {}, isLast: true } as const;
    // The other request is answered after those that are refused.
    setTimeout(() => line.answer({ ...answer, body: new Uint8Array(0) }), 20);
  });
  await using kv = clerkOf(network);
  const get = { method: "GET", path: "/a" } as const;
  const good = kv.fetch(get);
  const many = Array.from({ length: HEADERS_MAX + 1 }, (_, at) => [`x-${at}`, "v"]);
  await assertRejects(() => kv.fetch({ ...get, headers: Object.fromEntries(many) }), ClerkError);
  const path = `/${"x".repeat(TEXT_CHARS_MAX)}`;
  await assertRejects(() => kv.fetch({ ...get, path }), InvalidRequestError);
  await assertRejects(() => kv.get("k".repeat(TEXT_CHARS_MAX + 1)), InvalidRequestError);
  const body = new Uint8Array(CLIENT_FRAME_BYTES_MAX);
  await assertRejects(
    () => kv.fetch({ method: "POST", path: "/b", body }),
    InvalidRequestError,
    String(CLIENT_FRAME_BYTES_MAX),
  );
  assertEquals((await good).status, 200);
  assertEquals([targets, network.dialled.length], [["/a"], 1]);
});

Deno.test("clerk wire: the member is told that the rest of a body is not wanted", async () => {
  const cancelled: number[] = [];
  const network = new PlayedNetwork((_member, ask, line) => {
    if (ask.type === "Cancel") cancelled.push(ask.id);
    if (ask.type !== "Fetch") return;
    const answer = {
      type: "Fetched",
      id: ask.id,
      status: 200,
      headers: {},
      isLast: false,
    } as const;
    line.answer({ ...answer, body: new Uint8Array(1) });
  });
  await using kv = clerkOf(network);
  const get = { method: "GET", path: "/a" } as const;
  const stop = new AbortController();
  const { body } = await kv.fetch({ ...get, isStreamed: true, signal: stop.signal });
  stop.abort();
  await assertRejects(() => new Response(body).text(), Error, "aborted");
  await assertRejects(() => kv.fetch({ ...get, timeoutMs: 60 }), UnavailableError);
  const signal = AbortSignal.timeout(20);
  await assertRejects(() => kv.fetch({ ...get, signal }), AbortedError);
  for (let turn = 0; turn < 200 && cancelled.length < 3; turn++) {
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
  assertEquals(cancelled, [1, 2, 3]);
});

Deno.test("clerk wire: a write that waited for a welcome which does not come surely was not done", async () => {
  const network = new PlayedNetwork(() => {});
  network.isMute = true;
  const link = new WireLink([{ hostname: "m", port: 1 }], { network });
  let cancel = (): void => {};
  const attempt = link.execute(0, new Uint8Array(0), {
    attemptMs: 1_000,
    onCancel: (canceller) => void (cancel = canceller),
  });
  cancel();
  assertEquals((await attempt).type, "Failed");
  await new Promise((resolve) => setTimeout(resolve, 5));
  link.close();
});

Deno.test("clerk wire: an answer for other operations is no success", async () => {
  const network = new PlayedNetwork((_member, ask, line) =>
    line.answer(
      done(ask, { results: sequenceOf(ask) === 1 ? [] : [{ type: "delete", deleted: 1 }] }),
    )
  );
  await using kv = clerkOf(network);
  const error = await assertRejects(() => kv.put("a", "1"), ClerkError);
  assertEquals((error as ClerkError).outcome, "unknown");
});

Deno.test("clerk sessions: as many places are given out as a session answers for, then there is another", async () => {
  const begun: string[] = [];
  const sessions = new ClerkSessions(({ clientId, sequence }) => {
    assertEquals(sequence, 1);
    begun.push(clientId);
    return Promise.resolve();
  });
  assertEquals(sessions.take(), undefined);
  const places: Place[] = [await sessions.wait()];
  for (let place = sessions.take(); place !== undefined; place = sessions.take()) {
    places.push(place);
  }
  assertEquals([begun.length, places.length], [1, SESSION_WINDOW]);
  assertEquals(places.map(({ once }) => once.sequence), places.map((_, at) => at + 2));
  // A later one that is done makes no room: the oldest is the one that must not fall out.
  places[5]!.release();
  assertEquals(sessions.take(), undefined);
  places[0]!.release();
  assertEquals(sessions.take()!.once.sequence, SESSION_WINDOW + 2);
  assertEquals((await sessions.wait()).once.clientId, begun[1]!);

  for (;;) {
    if (sessions.take() !== undefined) continue;
    if (begun.length === CLERK_SESSIONS_MAX) break;
    await sessions.wait();
  }
  let isThere = false;
  const waiting = sessions.wait().then((place) => {
    isThere = true;
    return place;
  });
  await new Promise((resolve) => setTimeout(resolve, 5));
  assert(!isThere, `there are more than ${CLERK_SESSIONS_MAX} sessions`);
  places[1]!.release();
  assertEquals((await waiting).once.clientId, begun[0]!);
  // Those that are done before the oldest make no room, but do once the oldest is done.
  const three = [1, 2, 3].map(() => sessions.wait());
  for (const at of [3, 4, 2]) {
    places[at]!.release();
    await new Promise((resolve) => setTimeout(resolve, 0));
  }
  for (const { once } of await Promise.all(three)) assertEquals(once.clientId, begun[0]!);
});

Deno.test("clerk wire: a write that waited for its session has the time that is left", async () => {
  const told: number[] = [];
  const network = new PlayedNetwork((_member, ask, line) => {
    if (ask.type !== "Execute") return;
    const isBeginning = sequenceOf(ask) === 1;
    if (!isBeginning) told.push(ask.timeoutMs);
    const answer = (): void => line.answer(done(ask, { results: isBeginning ? [] : [PUT] }));
    setTimeout(answer, isBeginning ? 300 : 0);
  });
  await using kv = clerkOf(network, 1, 5_000);
  await kv.put("a", "1");
  // The member is told less, so that its answer arrives in time.
  const [timeoutMs = Infinity] = told;
  assert(timeoutMs <= 5_000 - 300 - ANSWER_MARGIN_MS + 20, `it has ${timeoutMs} ms`);
});
