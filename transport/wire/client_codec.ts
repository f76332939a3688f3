/**
 * The wire between a client and a member: what travels, as types, and as frames.
 *
 * A frame is as between members (codec.ts): a length and a MessagePack array `[tag, ...fields]`. A client
 * says hello first. From then on it sends requests, as many at a time as it likes, each with an id of its
 * own choice, and gets an answer for each, in any order. What is sent in one turn leaves in one write.
 *
 * | from the client | |
 * |---|---|
 * | Execute | a command, as its bytes in the log (storage/kv/command.ts) |
 * | Get | a key |
 * | Fetch | any other request of the HTTP interface |
 * | Pull | one more piece of a body, whose first PIECES_AHEAD come by themselves |
 * | Cancel | the client does not want the answer, or the rest of it, any more |
 *
 * Within a version fields are only appended, and a side skips those that it does not know.
 *
 * @module
 */
import { NODE_ID_MAX } from "./limits.ts";
import { badField, BodyCursor, FrameWriter } from "./msgpack.ts";
import { isWireObject, WireError, type WireValue } from "./messages.ts";

/** Versions of the client's wire. */
export const CLIENT_VERSIONS = { min: 1, max: 1 } as const;
/** First field of a client's hello. */
const CLIENT_MAGIC = "STCC";
/** Pieces of a body that are sent before the client asks for more. */
export const PIECES_AHEAD = 4;
/** Longest text in a frame, in characters: a request's target has an encoded key in it. */
export const TEXT_CHARS_MAX = 16 * 1024;
/** Most headers of a request or an answer: what the runtime takes of an HTTP request, and the link's own. */
export const HEADERS_MAX = 128;

/** The first frame of a client. */
export interface ClientHello {
  /** Names the kind of message. */
  readonly type: "ClientHello";
  /** The lowest version of the wire that the client speaks. */
  readonly versionMin: number;
  /** The highest one. */
  readonly versionMax: number;
}

/** The answer to it. */
export interface ClientWelcome {
  readonly type: "ClientWelcome";
  /** Why the client is not welcome; empty if it is. */
  readonly refusal: string;
  /** The version that both speak from now on. */
  readonly version: number;
  readonly clusterId: string;
  /** The member that answers. */
  readonly node: number;
}

/** How fresh a read must be; its position is its number on the wire. */
export const CONSISTENCIES = ["linearizable", "lease", "follower", "stale"] as const;

/** What a client asks. `timeoutMs` is how long the member may take. */
export type ClientAsk =
  | {
    readonly type: "Execute";
    readonly id: number;
    readonly timeoutMs: number;
    readonly payload: Uint8Array;
  }
  | {
    readonly type: "Get";
    readonly id: number;
    readonly timeoutMs: number;
    readonly consistency: (typeof CONSISTENCIES)[number];
    /** The store must have reached this revision; 0 for any. */
    readonly minRevision: number;
    /** UTF-16 units stand for bytes. */
    readonly key: string;
  }
  | {
    readonly type: "Fetch";
    readonly id: number;
    readonly method: string;
    /** The path and the query. */
    readonly target: string;
    readonly headers: Readonly<Record<string, string>>;
    readonly body: Uint8Array;
  }
  | { readonly type: "Pull"; readonly id: number }
  | { readonly type: "Cancel"; readonly id: number };

/** What is stored at a key. */
export interface WireEntry {
  readonly value: Uint8Array;
  readonly contentType: string | undefined;
  readonly created: number;
  readonly revision: number;
  readonly version: number;
  readonly lease: number | undefined;
}

/** What a problem document says (transport/http/problem.ts). */
export interface WireProblem {
  readonly code: string;
  readonly status: number;
  readonly title: string;
  readonly detail: string;
  readonly retryable: boolean;
  readonly outcome: "not-applied" | "unknown";
  readonly revision?: number;
}

/** What a member answers. `leader` is the one that it knows, 0 if none. */
export type ClientAnswer =
  | {
    readonly type: "Executed";
    readonly id: number;
    readonly leader: number;
    readonly result: WireValue;
  }
  | {
    readonly type: "Got";
    readonly id: number;
    readonly leader: number;
    readonly term: number;
    /** Of the store. */
    readonly revision: number;
    readonly entry: WireEntry | undefined;
  }
  | {
    readonly type: "Fetched";
    readonly id: number;
    readonly status: number;
    readonly headers: Readonly<Record<string, string>>;
    /** No piece follows. */
    readonly isLast: boolean;
    readonly body: Uint8Array;
  }
  | {
    readonly type: "Piece";
    readonly id: number;
    readonly isLast: boolean;
    readonly body: Uint8Array;
  }
  /** The body ends here, and not where it should. */
  | { readonly type: "Broken"; readonly id: number; readonly why: string }
  | {
    readonly type: "Failed";
    readonly id: number;
    readonly leader: number;
    readonly problem: WireProblem;
  };

const TAGS = {
  ClientHello: 64,
  ClientWelcome: 65,
  Execute: 66,
  Get: 67,
  Fetch: 68,
  Pull: 69,
  Cancel: 70,
  Executed: 80,
  Got: 81,
  Fetched: 82,
  Piece: 83,
  Broken: 84,
  Failed: 85,
} as const;

const ID_MAX = Number.MAX_SAFE_INTEGER;
const INTEGER_MAX = Number.MAX_SAFE_INTEGER;
const NONE = 0;

/** Makes and reads the frames of one side. A reader's bytes are views of the body. */
export class ClientCodec {
  readonly #w = new FrameWriter();

  /** @throws {WireError} If it is too large. */
  hello({ versionMin, versionMax }: ClientHello): Uint8Array {
    const w = this.#begin(TAGS.ClientHello, 3);
    w.string(CLIENT_MAGIC);
    w.uint(versionMin);
    w.uint(versionMax);
    return w.end();
  }

  /** As {@linkcode hello}. */
  welcome({ refusal, version, clusterId, node }: ClientWelcome): Uint8Array {
    const w = this.#begin(TAGS.ClientWelcome, 4);
    w.string(refusal);
    w.uint(version);
    w.string(clusterId);
    w.uint(node);
    return w.end();
  }

  /** @throws {WireError} If it is too large, or the member would not read it. */
  ask(ask: ClientAsk): Uint8Array {
    switch (ask.type) {
      case "Execute": {
        const w = this.#begin(TAGS.Execute, 3);
        w.uint(ask.id);
        w.uint(ask.timeoutMs);
        w.bin(ask.payload);
        return w.end();
      }
      case "Get": {
        const w = this.#begin(TAGS.Get, 5);
        w.uint(ask.id);
        w.uint(ask.timeoutMs);
        w.uint(CONSISTENCIES.indexOf(ask.consistency));
        w.uint(ask.minRevision);
        w.string(readable("key", ask.key));
        return w.end();
      }
      case "Fetch": {
        const w = this.#begin(TAGS.Fetch, 5);
        w.uint(ask.id);
        w.string(readable("method", ask.method));
        w.string(readable("target", ask.target));
        w.value(headersOf(ask.headers));
        w.bin(ask.body);
        return w.end();
      }
      case "Pull":
      case "Cancel": {
        const w = this.#begin(TAGS[ask.type], 1);
        w.uint(ask.id);
        return w.end();
      }
    }
  }

  /** As {@linkcode hello}. */
  answer(answer: ClientAnswer): Uint8Array {
    switch (answer.type) {
      case "Executed": {
        const w = this.#begin(TAGS.Executed, 3);
        w.uint(answer.id);
        w.uint(answer.leader);
        w.value(answer.result);
        return w.end();
      }
      case "Got": {
        const { entry } = answer;
        const w = this.#begin(TAGS.Got, entry === undefined ? 4 : 10);
        w.uint(answer.id);
        w.uint(answer.leader);
        w.uint(answer.term);
        w.uint(answer.revision);
        if (entry === undefined) return w.end();
        w.bin(entry.value);
        w.string(entry.contentType ?? "");
        w.uint(entry.created);
        w.uint(entry.revision);
        w.uint(entry.version);
        w.uint(entry.lease ?? NONE);
        return w.end();
      }
      case "Fetched": {
        const w = this.#begin(TAGS.Fetched, 5);
        w.uint(answer.id);
        w.uint(answer.status);
        w.value(answer.headers);
        w.boolean(answer.isLast);
        w.bin(answer.body);
        return w.end();
      }
      case "Piece": {
        const w = this.#begin(TAGS.Piece, 3);
        w.uint(answer.id);
        w.boolean(answer.isLast);
        w.bin(answer.body);
        return w.end();
      }
      case "Broken": {
        const w = this.#begin(TAGS.Broken, 2);
        w.uint(answer.id);
        w.string(answer.why);
        return w.end();
      }
      case "Failed": {
        const w = this.#begin(TAGS.Failed, 3);
        w.uint(answer.id);
        w.uint(answer.leader);
        w.value(answer.problem as unknown as WireValue);
        return w.end();
      }
    }
  }

  #begin(tag: number, fields: number): FrameWriter {
    this.#w.begin();
    this.#w.array(1 + fields);
    this.#w.uint(tag);
    return this.#w;
  }
}

/** The hello of a client; undefined if the body is none. */
export function clientHelloOf(body: Uint8Array): ClientHello | undefined {
  try {
    const cursor = new BodyCursor(body);
    const length = cursor.array();
    if (cursor.uint("tag", 0x7f) !== TAGS.ClientHello || length < 4) return undefined;
    if (cursor.string("magic", CLIENT_MAGIC.length) !== CLIENT_MAGIC) return undefined;
    const versionMin = cursor.uint("versionMin", INTEGER_MAX, 1);
    const versionMax = cursor.uint("versionMax", INTEGER_MAX, versionMin);
    return { type: "ClientHello", versionMin, versionMax };
  } catch (error) {
    if (error instanceof WireError) return undefined;
    throw error;
  }
}

/** @throws {WireError} If the body is anything but a welcome. */
export function clientWelcomeOf(body: Uint8Array): ClientWelcome {
  const cursor = new BodyCursor(body);
  const length = cursor.array();
  if (cursor.uint("tag", 0x7f) !== TAGS.ClientWelcome) throw badField("tag", "a welcome");
  const refusal = cursor.string("refusal", TEXT_CHARS_MAX);
  const version = cursor.uint("version", INTEGER_MAX);
  const clusterId = cursor.string("clusterId", TEXT_CHARS_MAX);
  const node = cursor.uint("node", NODE_ID_MAX);
  endOf(cursor, length, 5);
  return { type: "ClientWelcome", refusal, version, clusterId, node };
}

/** @throws {WireError} If the body is anything but one whole request. */
export function clientAskOf(body: Uint8Array): ClientAsk {
  const cursor = new BodyCursor(body);
  const length = cursor.array();
  const tag = cursor.uint("tag", 0x7f);
  const id = cursor.uint("id", ID_MAX);
  switch (tag) {
    case TAGS.Execute: {
      const timeoutMs = cursor.uint("timeoutMs", INTEGER_MAX);
      const payload = cursor.bin("payload");
      endOf(cursor, length, 4);
      return { type: "Execute", id, timeoutMs, payload };
    }
    case TAGS.Get: {
      const timeoutMs = cursor.uint("timeoutMs", INTEGER_MAX);
      const consistency = CONSISTENCIES[cursor.uint("consistency", CONSISTENCIES.length - 1)]!;
      const minRevision = cursor.uint("minRevision", INTEGER_MAX);
      const key = cursor.string("key", TEXT_CHARS_MAX);
      endOf(cursor, length, 6);
      return { type: "Get", id, timeoutMs, consistency, minRevision, key };
    }
    case TAGS.Fetch: {
      const method = cursor.string("method", TEXT_CHARS_MAX);
      const target = cursor.string("target", TEXT_CHARS_MAX);
      const headers = headersOf(cursor.value());
      const content = cursor.bin("body");
      endOf(cursor, length, 6);
      return { type: "Fetch", id, method, target, headers, body: content };
    }
    case TAGS.Pull:
    case TAGS.Cancel:
      endOf(cursor, length, 2);
      return tag === TAGS.Pull ? { type: "Pull", id } : { type: "Cancel", id };
    default:
      throw new WireError("unknown-tag", `Cannot read a client's frame: its tag is ${tag}`);
  }
}

/** @throws {WireError} If the body is anything but one whole answer. */
export function clientAnswerOf(body: Uint8Array): ClientAnswer {
  const cursor = new BodyCursor(body);
  const length = cursor.array();
  const tag = cursor.uint("tag", 0x7f);
  const id = cursor.uint("id", ID_MAX);
  switch (tag) {
    case TAGS.Executed: {
      const leader = cursor.uint("leader", NODE_ID_MAX);
      const result = cursor.value();
      endOf(cursor, length, 4);
      return { type: "Executed", id, leader, result };
    }
    case TAGS.Got: {
      const leader = cursor.uint("leader", NODE_ID_MAX);
      const term = cursor.uint("term", INTEGER_MAX);
      const revision = cursor.uint("revision", INTEGER_MAX);
      const entry = length < 11 ? undefined : entryOf(cursor);
      endOf(cursor, length, entry === undefined ? 5 : 11);
      return { type: "Got", id, leader, term, revision, entry };
    }
    case TAGS.Fetched: {
      const status = cursor.uint("status", 599, 200);
      const headers = headersOf(cursor.value());
      const isLast = cursor.boolean("isLast");
      const content = cursor.bin("body");
      endOf(cursor, length, 6);
      return { type: "Fetched", id, status, headers, isLast, body: content };
    }
    case TAGS.Piece: {
      const isLast = cursor.boolean("isLast");
      const content = cursor.bin("body");
      endOf(cursor, length, 4);
      return { type: "Piece", id, isLast, body: content };
    }
    case TAGS.Broken: {
      const why = cursor.string("why", TEXT_CHARS_MAX);
      endOf(cursor, length, 3);
      return { type: "Broken", id, why };
    }
    case TAGS.Failed: {
      const leader = cursor.uint("leader", NODE_ID_MAX);
      const problem = problemOf(cursor.value());
      endOf(cursor, length, 4);
      return { type: "Failed", id, leader, problem };
    }
    default:
      throw new WireError("unknown-tag", `Cannot read a member's frame: its tag is ${tag}`);
  }
}

function entryOf(cursor: BodyCursor): WireEntry {
  const value = cursor.bin("value");
  const contentType = cursor.string("contentType", TEXT_CHARS_MAX);
  const created = cursor.uint("created", INTEGER_MAX);
  const revision = cursor.uint("revision", INTEGER_MAX);
  const version = cursor.uint("version", INTEGER_MAX);
  const lease = cursor.uint("lease", INTEGER_MAX);
  return {
    ...{ value, created, revision, version },
    contentType: contentType === "" ? undefined : contentType,
    lease: lease === NONE ? undefined : lease,
  };
}

/** Nobody's request may close the connection that it shares with others': what is not read is not sent. */
function readable(field: string, text: string): string {
  if (text.length <= TEXT_CHARS_MAX) return text;
  throw badField(field, `a text of at most ${TEXT_CHARS_MAX} characters`);
}

/** Skips the fields that a later version has appended. */
function endOf(cursor: BodyCursor, length: number, known: number): void {
  if (length < known) throw badField("fields", `an array of ${known}`);
  for (let more = known; more < length; more++) cursor.value();
  cursor.end();
}

function headersOf(value: WireValue): Readonly<Record<string, string>> {
  if (!isWireObject(value)) throw badField("headers", "a map");
  const entries = Object.entries(value);
  if (entries.length > HEADERS_MAX || entries.some(([, text]) => typeof text !== "string")) {
    throw badField("headers", `at most ${HEADERS_MAX} texts`);
  }
  return value as Readonly<Record<string, string>>;
}

function problemOf(value: WireValue): WireProblem {
  if (!isWireObject(value)) throw badField("problem", "a map");
  const { code, status, title, detail, retryable, outcome, revision } = value;
  const isProblem = [code, title, detail].every((text) => typeof text === "string") &&
    Number.isSafeInteger(status) && typeof retryable === "boolean" &&
    (outcome === "not-applied" || outcome === "unknown") &&
    (revision === undefined || Number.isSafeInteger(revision));
  if (!isProblem) throw badField("problem", "a problem");
  return value as unknown as WireProblem;
}
