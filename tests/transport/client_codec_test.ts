import { assert, assertEquals, assertThrows } from "@std/assert";
import fc from "fast-check";
import {
  type ClientAnswer,
  clientAnswerOf,
  type ClientAsk,
  clientAskOf,
  ClientCodec,
  clientHelloOf,
  clientWelcomeOf,
  CONSISTENCIES,
} from "../../transport/wire/client_codec.ts";
import { FRAME_HEADER_BYTES } from "../../transport/wire/limits.ts";
import { WireError } from "../../transport/wire/messages.ts";
import { FrameWriter } from "../../transport/wire/msgpack.ts";

const codec = new ClientCodec();
const bodyOf = (frame: Uint8Array): Uint8Array => frame.subarray(FRAME_HEADER_BYTES);
const id = fc.maxSafeNat();
const bytes = fc.uint8Array({ maxLength: 300 });
const text = fc.string({ unit: "grapheme", maxLength: 40 });
const headers = fc.dictionary(
  fc.stringMatching(/^[a-z-]{1,12}$/).filter((name) => name !== "__proto__"),
  fc.string({ maxLength: 20 }),
  { maxKeys: 5, noNullPrototype: true },
);

const asks: fc.Arbitrary<ClientAsk> = fc.oneof(
  fc.record({ type: fc.constant("Execute" as const), id, timeoutMs: id, payload: bytes }),
  fc.record({
    ...{ type: fc.constant("Get" as const), id, timeoutMs: id, minRevision: id },
    consistency: fc.constantFrom(...CONSISTENCIES),
    key: text,
  }),
  fc.record({
    ...{
      type: fc.constant("Fetch" as const),
      id,
      method: text,
      target: text,
      headers,
      body: bytes,
    },
  }),
  fc.record({ type: fc.constantFrom("Pull" as const, "Cancel" as const), id }),
);

const entry = fc.record({
  ...{ value: bytes, created: id, revision: id, version: id },
  contentType: fc.option(fc.constant("text/plain"), { nil: undefined }),
  lease: fc.option(fc.integer({ min: 1 }), { nil: undefined }),
});
const leader = fc.integer({ min: 0, max: 2 ** 31 });
const answers: fc.Arbitrary<ClientAnswer> = fc.oneof(
  fc.record({
    ...{ type: fc.constant("Executed" as const), id, leader },
    result: fc.constant({ status: "ok", revision: 7, succeeded: true, results: [] }),
  }),
  fc.record({
    ...{ type: fc.constant("Got" as const), id, leader, term: id, revision: id },
    entry: fc.option(entry, { nil: undefined }),
  }),
  fc.record({
    ...{ type: fc.constant("Fetched" as const), id, headers, isLast: fc.boolean(), body: bytes },
    status: fc.integer({ min: 200, max: 599 }),
  }),
  fc.record({ type: fc.constant("Piece" as const), id, isLast: fc.boolean(), body: bytes }),
  fc.record({ type: fc.constant("Broken" as const), id, why: text }),
  fc.record({
    ...{ type: fc.constant("Failed" as const), id, leader },
    problem: fc.record({
      ...{ code: text, title: text, detail: text, retryable: fc.boolean() },
      status: fc.integer({ min: 400, max: 599 }),
      outcome: fc.constantFrom("not-applied" as const, "unknown" as const),
    }),
  }),
);

Deno.test("client wire: what is sent is what arrives", () => {
  fc.assert(fc.property(asks, (ask) => {
    assertEquals(clientAskOf(bodyOf(codec.ask(ask))), structuredClone(ask));
  }));
  fc.assert(fc.property(answers, (answer) => {
    assertEquals(clientAnswerOf(bodyOf(codec.answer(answer))), structuredClone(answer));
  }));
  const hello = { type: "ClientHello", versionMin: 1, versionMax: 3 } as const;
  assertEquals(clientHelloOf(bodyOf(codec.hello(hello))), hello);
  const welcome = {
    ...{ type: "ClientWelcome", refusal: "no", version: 1, clusterId: "abc", node: 2 } as const,
  };
  assertEquals(clientWelcomeOf(bodyOf(codec.welcome(welcome))), welcome);
});

Deno.test("client wire: any bytes are a message or a WireError, on both sides, whole or cut short", () => {
  const readers = [clientAskOf, clientAnswerOf, clientWelcomeOf, clientHelloOf];
  const read = (body: Uint8Array): void => {
    for (const reader of readers) {
      try {
        reader(body);
      } catch (error) {
        assert(error instanceof WireError, String(error));
      }
    }
  };
  fc.assert(fc.property(fc.uint8Array({ maxLength: 80 }), read), { numRuns: 2_000 });
  fc.assert(
    fc.property(
      fc.oneof(asks.map((ask) => codec.ask(ask)), answers.map((a) => codec.answer(a))),
      fc.nat(),
      fc.nat(255),
      (frame, at, byte) => {
        const body = bodyOf(frame).slice();
        read(body.subarray(0, at % body.length));
        body[at % body.length] = byte;
        read(body);
      },
    ),
    { numRuns: 2_000 },
  );
});

Deno.test("client wire: fields that a later version appends are skipped, missing ones are refused", () => {
  const frame = (tag: number, fields: readonly number[]): Uint8Array => {
    const writer = new FrameWriter();
    writer.begin();
    writer.array(1 + fields.length);
    writer.uint(tag);
    for (const field of fields) writer.uint(field);
    return bodyOf(writer.end());
  };
  assertEquals(clientAskOf(frame(69, [7, 1, 2, 3])), { type: "Pull", id: 7 });
  assertThrows(() => clientAskOf(frame(69, [])), WireError);
  assertThrows(() => clientAskOf(frame(99, [7])), WireError, "tag is 99");
  assertThrows(() => clientAnswerOf(frame(69, [7])), WireError, "tag is 69");
});
