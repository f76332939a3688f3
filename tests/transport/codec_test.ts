/**
 * The wire: what goes in comes out, and nothing else comes in.
 *
 * @module
 */
import { assert, assertEquals, assertInstanceOf, assertThrows } from "@std/assert";
import { decode as decodeMsgpack, encode as encodeMsgpack } from "@msgpack/msgpack";
import fc from "fast-check";
import { TERM_MAX } from "../../machines/raft_types.ts";
import { createCodec } from "../../transport/wire/codec.ts";
import {
  FRAME_BYTES_MAX,
  FRAME_HEADER_BYTES,
  GROUP_ID_MAX,
  NODE_ID_MAX,
  WIRE_ARRAY_LENGTH_MAX,
  WIRE_MAP_LENGTH_MAX,
  WIRE_NESTING_MAX,
  WIRE_STRING_BYTES_MAX,
  WIRE_VALUES_MAX,
} from "../../transport/wire/limits.ts";
import {
  type RefusalReason,
  WireError,
  type WireErrorCode,
  type WireMessage,
  type WireValue,
} from "../../transport/wire/messages.ts";
import { plainRecords } from "./plain_records.ts";

const codec = createCodec(plainRecords);

function roundTrip(message: WireMessage): WireMessage {
  const frame = codec.encode(message);
  const view = new DataView(frame.buffer, frame.byteOffset);
  assertEquals(view.getUint32(0), frame.length - FRAME_HEADER_BYTES);
  return codec.decode(frame.subarray(FRAME_HEADER_BYTES));
}

const integer = fc.oneof(
  fc.constantFrom(0, 127, 128, 255, 256, 65535, 65536, 2 ** 31, 2 ** 32 - 1, 2 ** 32, 2 ** 53 - 1),
  fc.maxSafeNat(),
);
const term = integer.map((value) => Math.min(value, TERM_MAX));
const group = integer.map((value) => Math.min(value, GROUP_ID_MAX));
const node = integer.map((value) => Math.min(Math.max(1, value), NODE_ID_MAX));
const name = fc.stringMatching(/^[a-z0-9-]{1,64}$/);
const text = fc.string({ unit: "grapheme", maxLength: 80 });
const key = text.filter((value) => value !== "__proto__");
/** Without -0: other implementations of MessagePack may write it as 0. */
const double = fc.double({ noNaN: true, noDefaultInfinity: true })
  .filter((number) => !Object.is(number, -0));
const payload = fc.letrec<{ value: WireValue }>((tie) => ({
  value: fc.oneof(
    { depthSize: "small" },
    fc.constant(undefined),
    fc.boolean(),
    fc.oneof(fc.integer(), integer, double),
    text,
    fc.uint8Array({ maxLength: 300 }),
    fc.array(tie("value"), { maxLength: 20 }),
    fc.dictionary(key, tie("value"), { maxKeys: 20, noNullPrototype: true }),
  ),
})).value;

const rpc = { group, term, from: node };
const refusals: RefusalReason[] = [
  "wrong-magic",
  "wrong-version",
  "wrong-cluster",
  "wrong-target",
  "unknown-node",
  "wrong-direction",
  "wrong-directory",
  "wrong-target-directory",
  "removed",
];
const type = <T extends string>(value: T): fc.Arbitrary<T> => fc.constant(value);
const lastLog = { lastLogIndex: integer, lastLogTerm: term };
const toActor = { from: node, group, name };
const plain = { noNullPrototype: true } as const;
/** A part of a snapshot that lies within it. */
const anyInstall: fc.Arbitrary<WireMessage> = fc.record({
  rpc: fc.record(rpc, plain),
  index: fc.integer({ min: 1 }),
  timeMs: integer,
  digest: fc.constantFrom("0".repeat(64), "0123456789abcdef".repeat(4)),
  offset: fc.integer({ min: 0, max: 2 ** 40 }),
  bytes: fc.uint8Array(),
  more: fc.nat(),
}, plain).map(({ rpc, index, timeMs, digest, offset, bytes, more }) => ({
  type: "InstallSnapshot",
  ...rpc,
  snapshot: { index, term: rpc.term, timeMs, size: offset + bytes.length + more, digest },
  offset,
  bytes,
}));

const anyMessage: fc.Arbitrary<WireMessage> = fc.oneof(
  fc.record({
    type: type("Hello"),
    magic: name,
    versionMin: group,
    versionMax: group,
    clusterId: name,
    from: node,
    to: node,
    incarnation: integer,
    directoryId: name,
    toDirectoryId: fc.option(name, { nil: undefined }),
    clusterVersionMax: group,
  }, plain),
  fc.record({
    type: type("HelloReply"),
    from: node,
    incarnation: integer,
    refusal: fc.constantFrom(undefined, ...refusals),
    version: group,
    clusterVersionMax: group,
    directoryId: name,
  }, plain),
  fc.record({ type: fc.constantFrom("Ping", "Pong"), id: integer }, plain),
  fc.record({
    type: type("AppendEntriesReply"),
    ...rpc,
    accepted: fc.boolean(),
    matchIndex: integer,
    prevLogIndex: integer,
    conflictTerm: term,
    conflictIndex: integer,
    round: integer,
  }, plain),
  fc.record({ type: type("RequestVote"), ...rpc, ...lastLog, transfer: fc.boolean() }, plain),
  fc.record({ type: type("PreVote"), ...rpc, ...lastLog }, plain),
  fc.record({
    type: fc.constantFrom("RequestVoteReply", "PreVoteReply"),
    ...rpc,
    granted: fc.boolean(),
  }, plain),
  fc.record({ type: type("TimeoutNow"), ...rpc }, plain),
  fc.record(
    { type: type("ReadIndex"), ...rpc, readId: integer, isLogLost: fc.boolean() },
    plain,
  ),
  fc.record({ type: type("ReadIndexReply"), ...rpc, readId: integer, readIndex: integer }, plain),
  anyInstall,
  fc.record({
    type: type("InstallSnapshotReply"),
    ...rpc,
    lastIncludedIndex: integer,
    installed: fc.boolean(),
    offset: integer,
  }, plain),
  fc.record({ type: type("ActorCast"), ...toActor, payload }, plain),
  fc.record({ type: type("ActorCall"), ...toActor, callId: integer, payload }, plain),
  fc.record({ type: type("ActorReply"), from: node, callId: integer, payload }, plain),
  fc.record({
    type: type("ActorFail"),
    from: node,
    callId: integer,
    error: fc.record({
      name: text,
      message: text,
      fields: fc.dictionary(key, payload, { maxKeys: 5, noNullPrototype: true }),
    }, plain),
  }, plain),
  fc.record({ type: fc.constantFrom("ActorWatch", "ActorTerminated"), ...toActor }, plain),
);

const anyAppendEntries = fc.record({
  term: fc.integer({ min: 10, max: 2 ** 32 - 1 }),
  prevLogIndex: fc.integer({ min: 0, max: 2 ** 31 }),
  leaderCommit: integer,
  round: integer,
  group,
  from: node,
  runs: fc.array(
    fc.array(fc.uint8Array({ maxLength: 200 }), { minLength: 1, maxLength: 8 }),
    { maxLength: 4 },
  ),
}).map(({ runs, ...fields }): WireMessage => {
  let firstIndex = fields.prevLogIndex + 1;
  const encoded = runs.map((payloads, i) => {
    const run = plainRecords.encodeRun({
      group: fields.group,
      term: 5 + i,
      firstIndex,
      timeMs: 0,
      kind: "command",
      payloads,
    });
    firstIndex += payloads.length;
    return run;
  });
  return { type: "AppendEntries", ...fields, prevLogTerm: 5, runs: encoded };
});

Deno.test("codec: every message comes out as it went in", () => {
  fc.assert(
    fc.property(anyMessage, (message) => {
      assertEquals(roundTrip(message), message);
    }),
    { numRuns: 1_000 },
  );
});

Deno.test("codec: minus zero stays minus zero", () => {
  const message: WireMessage = { type: "ActorReply", from: 1, callId: 2, payload: -0 };
  assertEquals(roundTrip(message), message);
});

Deno.test("codec: entries travel as the bytes of their records", () => {
  fc.assert(
    fc.property(anyAppendEntries, (message) => {
      const decoded = roundTrip(message);
      assertEquals(decoded, message);
    }),
    { numRuns: 300 },
  );
});

Deno.test("codec: frames are MessagePack to any other implementation", () => {
  fc.assert(fc.property(payload, (value) => {
    const frame = codec.encode({ type: "ActorReply", from: 1, callId: 2, payload: value });
    const fields = decodeMsgpack(frame.subarray(FRAME_HEADER_BYTES)) as unknown[];
    assertEquals(fields.slice(0, 3), [34, 1, 2]);
    assertEquals(fields[3], nilAsNull(value));
  }));
});

Deno.test("codec: reads what another implementation of MessagePack writes", () => {
  fc.assert(fc.property(payload, (value) => {
    const body = encodeMsgpack([34, 1, 2, nilAsNull(value)]);
    const message = codec.decode(body);
    assertEquals(message, { type: "ActorReply", from: 1, callId: 2, payload: value });
  }));
});

Deno.test("codec: arbitrary bytes decode or are a WireError, never anything else", () => {
  const body = fc.oneof(
    fc.uint8Array({ maxLength: 200 }),
    fc.tuple(anyMessage, fc.nat(), fc.nat(255)).map(([message, at, byte]) => {
      const bytes = codec.encode(message).slice(FRAME_HEADER_BYTES);
      bytes[at % bytes.length] = byte;
      return bytes;
    }),
    fc.tuple(anyAppendEntries, fc.nat()).map(([message, length]) => {
      const bytes = codec.encode(message).slice(FRAME_HEADER_BYTES);
      return bytes.slice(0, length % bytes.length);
    }),
  );
  fc.assert(
    fc.property(body, (bytes) => {
      try {
        codec.decode(bytes);
      } catch (error) {
        assertInstanceOf(error, WireError);
      }
    }),
    { numRuns: 3_000 },
  );
});

const TERM_INDEX = { group: 0, term: 7, from: 2 };

/** One valid body for each tag, as the array another implementation would write. */
const VALID: Record<string, unknown[]> = {
  Hello: [1, "STCF", 1, 2, "c", 1, 2, 3, "d", "", 1],
  HelloReply: [2, 1, 2, 0, "d", 1, 1],
  Ping: [3, 1],
  Pong: [4, 1],
  AppendEntries: [16, 0, 7, 2, 3, 1, 3, 0, new Uint8Array(0)],
  AppendEntriesReply: [17, 0, 7, 2, true, 3, 3, 0, 0, 0],
  RequestVote: [18, 0, 7, 2, 3, 1, false],
  RequestVoteReply: [19, 0, 7, 2, true],
  PreVote: [20, 0, 7, 2, 3, 1],
  PreVoteReply: [21, 0, 7, 2, true],
  TimeoutNow: [22, 0, 7, 2],
  ReadIndex: [23, 0, 7, 2, 4, false],
  ReadIndexReply: [24, 0, 7, 2, 4, 9],
  InstallSnapshot: [25, 0, 7, 2, 9, 7, 1, 10, "a".repeat(64), 4, new Uint8Array(6)],
  InstallSnapshotReply: [26, 0, 7, 2, 9, true, 0],
  ActorCast: [32, 2, 0, "kv", 1],
  ActorCall: [33, 2, 5, 0, "kv", 1],
  ActorReply: [34, 2, 5, 1],
  ActorFail: [35, 2, 5, "Error", "no", {}],
  ActorWatch: [36, 2, 0, "kv"],
  ActorTerminated: [37, 2, 0, "kv"],
};

/** Fields that may hold any value: `[tag, position]`. */
const FREE = new Set(["32 4", "33 5", "34 3"]);

Deno.test("hostile: every field refuses values of the wrong type, NaN, -1 and 2^53", () => {
  const wrong: unknown[] = [NaN, -1, 2 ** 53, 1.5, null, [], { a: 1 }, "Not A Name!", -Infinity];
  let refused = 0;
  for (const [messageType, fields] of Object.entries(VALID)) {
    assertEquals(codec.decode(encodeMsgpack(fields)).type, messageType as WireMessage["type"]);
    for (let position = 0; position < fields.length; position++) {
      if (FREE.has(`${fields[0]} ${position}`)) continue;
      for (const value of wrong) {
        if (typeof value === "string" && typeof fields[position] === "string") continue;
        if (messageType === "ActorFail" && position === 5 && isMap(value)) continue;
        const body = encodeMsgpack(fields.with(position, value));
        const error = assertThrows(() => codec.decode(body), WireError);
        assert(["bad-field", "unknown-tag"].includes(error.code), `${messageType} ${position}`);
        refused++;
      }
    }
    const short = encodeMsgpack(fields.slice(0, -1));
    assertThrows(() => codec.decode(short), WireError);
  }
  assert(refused > 500);
});

function isMap(value: unknown): boolean {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function bytes(...parts: (number | Uint8Array)[]): Uint8Array {
  return new Uint8Array(parts.flatMap((part) => typeof part === "number" ? [part] : [...part]));
}

/** The start of an ActorCast, up to its payload. */
const CAST = bytes(0x95, 32, 2, 0, 0xa2, 0x6b, 0x76);

const HOSTILE: readonly { what: string; body: Uint8Array; code: WireErrorCode }[] = [
  { what: "nothing", body: bytes(), code: "truncated" },
  { what: "no array", body: bytes(0xc0), code: "bad-field" },
  { what: "unknown tag", body: bytes(0x91, 99), code: "unknown-tag" },
  { what: "trailing bytes", body: bytes(0x92, 3, 1, 0), code: "trailing-bytes" },
  { what: "array32 of 2^32-1", body: bytes(0xdd, 255, 255, 255, 255), code: "truncated" },
  {
    what: "payload array32 of 2^32-1",
    body: bytes(CAST, 0xdd, 255, 255, 255, 255),
    code: "too-large",
  },
  {
    what: "payload array16 longer than the frame",
    body: bytes(CAST, 0xdc, 255, 255),
    code: "truncated",
  },
  { what: "map32 of 2^32-1", body: bytes(CAST, 0xdf, 255, 255, 255, 255), code: "too-large" },
  { what: "str32 of 2^32-1", body: bytes(CAST, 0xdb, 255, 255, 255, 255), code: "too-large" },
  { what: "bin32 of 2^32-1", body: bytes(CAST, 0xc6, 255, 255, 255, 255), code: "truncated" },
  { what: "fixext1", body: bytes(CAST, 0xd4, 1, 0), code: "unsupported-type" },
  { what: "ext8", body: bytes(CAST, 0xc7, 1, 1, 0), code: "unsupported-type" },
  { what: "timestamp", body: bytes(CAST, 0xd6, 0xff, 0, 0, 0, 0), code: "unsupported-type" },
  { what: "never used 0xc1", body: bytes(CAST, 0xc1), code: "unsupported-type" },
  {
    what: "depth 10^4",
    body: bytes(CAST, new Uint8Array(10_000).fill(0x91), 0xc0),
    code: "too-deep",
  },
  {
    what: "maps of depth 10^4",
    body: bytes(CAST, ...Array.from({ length: 10_000 }, () => bytes(0x81, 0xa1, 0x61)), 0xc0),
    code: "too-deep",
  },
  { what: "__proto__", body: bytes(CAST, encodeMsgpack(protoObject())), code: "bad-field" },
  {
    what: "a key twice",
    body: bytes(CAST, 0x82, 0xa1, 0x61, 1, 0xa1, 0x61, 2),
    code: "bad-field",
  },
  { what: "a key that is a number", body: bytes(CAST, 0x81, 1, 1), code: "bad-field" },
  { what: "NaN", body: bytes(CAST, encodeMsgpack(NaN)), code: "bad-field" },
  { what: "infinity", body: bytes(CAST, encodeMsgpack(Infinity)), code: "bad-field" },
  {
    what: "uint64 of 2^64-1",
    body: bytes(CAST, 0xcf, new Uint8Array(8).fill(255)),
    code: "bad-field",
  },
  {
    what: "int64 of -2^63",
    body: bytes(CAST, 0xd3, 0x80, new Uint8Array(7)),
    code: "bad-field",
  },
  { what: "not UTF-8", body: bytes(CAST, 0xa2, 0xc3, 0x28), code: "bad-field" },
  { what: "a surrogate in UTF-8", body: bytes(CAST, 0xa3, 0xed, 0xa0, 0x80), code: "bad-field" },
  {
    what: "term bomb",
    body: encodeMsgpack([22, 0, Number.MAX_SAFE_INTEGER, 2]),
    code: "bad-field",
  },
  {
    what: "a hello without a directory",
    body: encodeMsgpack([1, "STCF", 1, "c", 1, 2, 3, "", ""]),
    code: "bad-field",
  },
  {
    what: "a hello to a directory that is none",
    body: encodeMsgpack([1, "STCF", 1, "c", 1, 2, 3, "d", "../d"]),
    code: "bad-field",
  },
  {
    what: "a welcome without a directory",
    body: encodeMsgpack([2, 1, 2, 0, ""]),
    code: "bad-field",
  },
  { what: "node 0", body: encodeMsgpack([22, 0, 1, 0]), code: "bad-field" },
  { what: "node 2^31+1", body: encodeMsgpack([22, 0, 1, 2 ** 31 + 1]), code: "bad-field" },
  { what: "group 2^32", body: encodeMsgpack([22, 2 ** 32, 1, 1]), code: "bad-field" },
  { what: "prevLogTerm ahead of the term", body: append({ prevLogTerm: 8 }), code: "bad-field" },
  { what: "torn records", body: append({ blob: bytes(0, 0, 0, 9) }), code: "bad-records" },
  { what: "a gap after prevLogIndex", body: append({ blob: records(7, 5) }), code: "bad-field" },
  { what: "entries of a later term", body: append({ blob: records(9, 4) }), code: "bad-field" },
  { what: "entries of a falling term", body: append({ blob: records(1, 4) }), code: "bad-field" },
];

function protoObject(): unknown {
  return JSON.parse(`{"__proto__":1}`);
}

function records(recordTerm: number, firstIndex: number): Uint8Array {
  return plainRecords.encodeRun({
    group: 0,
    term: recordTerm,
    firstIndex,
    timeMs: 0,
    kind: "command",
    payloads: [new Uint8Array(3)],
  }).bytes;
}

function append(fields: { prevLogTerm?: number; blob?: Uint8Array }): Uint8Array {
  const { prevLogTerm = 2, blob = new Uint8Array(0) } = fields;
  return encodeMsgpack([16, TERM_INDEX.group, TERM_INDEX.term, 2, 3, prevLogTerm, 3, 0, blob]);
}

for (const { what, body, code } of HOSTILE) {
  Deno.test(`hostile: ${what} is ${code}`, () => {
    assertEquals(assertThrows(() => codec.decode(body), WireError).code, code);
  });
}

Deno.test("hostile: more values than a frame may hold", () => {
  const inner = new Array(WIRE_ARRAY_LENGTH_MAX - 1).fill(0);
  const full = new Array(WIRE_VALUES_MAX / WIRE_ARRAY_LENGTH_MAX).fill(inner);
  const body = encodeMsgpack([32, 2, 0, "kv", [...full, 0, 0]]);
  assertEquals(assertThrows(() => codec.decode(body), WireError).code, "too-many-values");
});

function nested(depth: number): WireValue {
  return depth === 0 ? 1 : [nested(depth - 1)];
}

function cast(value: WireValue): WireMessage {
  return { type: "ActorCast", from: 1, group: 0, name: "kv", payload: value };
}

Deno.test("limits: the deepest, longest and largest messages that pass", () => {
  const wide = Object.fromEntries(
    Array.from({ length: WIRE_MAP_LENGTH_MAX }, (_, i) => [`k${i}`, i]),
  );
  const passing: WireValue[] = [
    nested(WIRE_NESTING_MAX - 2),
    "x".repeat(WIRE_STRING_BYTES_MAX),
    new Array(WIRE_ARRAY_LENGTH_MAX).fill(0),
    wide,
    new Uint8Array(FRAME_BYTES_MAX - 12),
  ];
  for (const value of passing) assertEquals(roundTrip(cast(value)), cast(value));
});

const UNENCODABLE: readonly { what: string; value: unknown; code: WireErrorCode }[] = [
  { what: "null", value: null, code: "not-encodable" },
  { what: "NaN", value: [NaN], code: "not-encodable" },
  { what: "a bigint", value: 1n, code: "not-encodable" },
  { what: "a function", value: { f: () => 1 }, code: "not-encodable" },
  { what: "a Map", value: new Map(), code: "not-encodable" },
  { what: "a Date", value: [new Date(0)], code: "not-encodable" },
  { what: "a lone surrogate", value: "\ud800", code: "not-encodable" },
  { what: "a __proto__ key", value: protoObject(), code: "not-encodable" },
  { what: "one level more", value: nested(WIRE_NESTING_MAX - 1), code: "too-deep" },
  {
    what: "one byte more of text",
    value: "x".repeat(WIRE_STRING_BYTES_MAX + 1),
    code: "too-large",
  },
  {
    what: "one element more",
    value: new Array(WIRE_ARRAY_LENGTH_MAX + 1).fill(0),
    code: "too-large",
  },
  { what: "a frame more", value: new Uint8Array(FRAME_BYTES_MAX), code: "frame-too-large" },
];

for (const { what, value, code } of UNENCODABLE) {
  Deno.test(`codec: cannot encode ${what}`, () => {
    const error = assertThrows(() => codec.encode(cast(value as WireValue)), WireError);
    assertEquals(error.code, code);
    assertEquals(roundTrip(cast("after")), cast("after"));
  });
}

Deno.test("codec: fields that a later version appends are read over, in every message", () => {
  fc.assert(
    fc.property(
      anyMessage,
      fc.array(fc.constantFrom(1, "x", [2], { a: 3 }), { minLength: 1, maxLength: 3 }),
      (message, more) => {
        const fields = decodeMsgpack(
          codec.encode(message).subarray(FRAME_HEADER_BYTES),
        ) as unknown[];
        const longer = codec.decode(
          encodeMsgpack([...fields, ...more], { ignoreUndefined: false }),
        );
        const same = codec.decode(codec.encode(message).slice(FRAME_HEADER_BYTES));
        assertEquals(longer, same);
        assertThrows(() => codec.decode(encodeMsgpack(fields.slice(0, -1))), WireError);
      },
    ),
  );
});

Deno.test("codec: a reason that a later version appends is a refusal", () => {
  const reply = codec.decode(encodeMsgpack([2, 1, 2, refusals.length + 1, "d", 0, 1]));
  assert(reply.type === "HelloReply" && reply.refusal === "unknown-reason");
  assertEquals(roundTrip(reply), reply);
});

Deno.test("codec: encode gives bytes of the caller's own", () => {
  const first = codec.encode({ type: "Ping", id: 1 });
  const copy = first.slice();
  codec.encode({ type: "Ping", id: 2 });
  assertEquals(first, copy);
});

/** Nil is undefined here and null there. */
function nilAsNull(value: WireValue): unknown {
  if (value === undefined) return null;
  if (value instanceof Uint8Array || typeof value !== "object") return value;
  if (Array.isArray(value)) return value.map(nilAsNull);
  return Object.fromEntries(Object.entries(value).map(([k, v]) => [k, nilAsNull(v)]));
}
