import { assert, assertEquals, assertThrows } from "@std/assert";
import fc from "fast-check";
import {
  CommandError,
  type CommandErrorCode,
  decodeRequest,
  encodeRequest,
  type Request,
} from "../../../storage/kv/command.ts";
import {
  CONTENT_TYPE_CHARS_MAX,
  IDEMPOTENCY_KEY_CHARS_MAX,
  KEY_BYTES_MAX,
  VALUE_BYTES_MAX,
} from "../../../storage/kv/limits.ts";
import { ENTRY_PAYLOAD_BYTES_MAX } from "../../../storage/log/limits.ts";

const byteString = fc.uint8Array({ minLength: 1, maxLength: 30 }).map((bytes) =>
  String.fromCharCode(...bytes)
);
const text = fc.string({ minLength: 1, maxLength: 64, unit: "grapheme-ascii" });
const integer = fc.oneof(
  fc.constantFrom(1, 2 ** 31, 2 ** 32 - 1, 2 ** 32, 2 ** 53 - 1),
  fc.maxSafeNat().map((n) => Math.max(1, n)),
);
const condition = fc.option(
  fc.oneof(fc.constantFrom("absent", "present"), plain({ revision: integer })),
  { nil: undefined },
);
const once = fc.option(
  fc.oneof(
    plain({ type: fc.constant("idempotencyKey"), key: text, fingerprint: text }),
    plain({ type: fc.constant("session"), clientId: text, sequence: integer }),
  ),
  { nil: undefined },
);
const contentType = fc.option(text, { nil: undefined });
const value = fc.uint8Array({ maxLength: 40 });
const put = plain({ type: fc.constant("put"), key: byteString, value, contentType, condition });
const append = plain({ type: fc.constant("append"), key: byteString, value, condition });
const removal = plain({ type: fc.constant("delete"), key: byteString, condition });
const request = plain({ command: fc.oneof(put, append, removal), once }) as fc.Arbitrary<
  Request
>;

Deno.test("requests come back as they were encoded", () => {
  fc.assert(
    fc.property(request, (original) => {
      assertEquals(decodeRequest(encodeRequest(original)), original);
    }),
    { numRuns: 500 },
  );
});

Deno.test("the largest request fits an entry, and anything larger is refused", () => {
  const key = "\xff".repeat(KEY_BYTES_MAX);
  const large = new Uint8Array(VALUE_BYTES_MAX);
  const longText = "x".repeat(CONTENT_TYPE_CHARS_MAX);
  const bytes = encodeRequest({
    command: { type: "put", key, value: large, contentType: longText, condition: { revision: 1 } },
    once: { type: "idempotencyKey", key: "k".repeat(64), fingerprint: "f".repeat(64) },
  });
  assert(bytes.length <= ENTRY_PAYLOAD_BYTES_MAX);
  assertEquals(decodeRequest(bytes).command.key, key);
  const cases: [CommandErrorCode, Request][] = [
    ["key-size", { command: { type: "delete", key: "" } }],
    ["key-size", { command: { type: "delete", key: key + "k" } }],
    ["key-size", { command: { type: "delete", key: "\u0100" } }],
    ["value-size", {
      command: { type: "put", key: "k", value: new Uint8Array(VALUE_BYTES_MAX + 1) },
    }],
    ["text", putWith({ contentType: longText + "x" })],
    ["text", putWith({ contentType: "" })],
    ["text", putWith({ contentType: "a\nb" })],
    ["text", putWith({ contentType: "\u00e9" })],
    ["number", { command: { type: "delete", key: "k", condition: { revision: -1 } } }],
    ["number", { command: { type: "delete", key: "k", condition: { revision: 2 ** 53 } } }],
    ["number", onceWith({ type: "session", clientId: "c", sequence: 0 })],
    ["number", onceWith({ type: "session", clientId: "c", sequence: 1.5 })],
    ["text", onceWith({ type: "session", clientId: "", sequence: 1 })],
    [
      "text",
      onceWith({
        type: "idempotencyKey",
        key: "k".repeat(IDEMPOTENCY_KEY_CHARS_MAX + 1),
        fingerprint: "f",
      }),
    ],
  ];
  for (const [code, wrong] of cases) {
    assertEquals(assertThrows(() => encodeRequest(wrong), CommandError).code, code);
  }
});

Deno.test("bytes that are cut short, lengthened or changed give a typed error or another request", () => {
  fc.assert(
    fc.property(request, fc.nat(), fc.integer({ min: 1, max: 255 }), (original, at, flip) => {
      const bytes = encodeRequest(original);
      for (let size = 0; size < bytes.length; size++) {
        assertThrows(() => decodeRequest(bytes.subarray(0, size)), CommandError);
      }
      const longer = new Uint8Array(bytes.length + 1);
      longer.set(bytes);
      assertThrows(() => decodeRequest(longer), CommandError);
      bytes[at % bytes.length]! ^= flip;
      let changed: Request | undefined;
      try {
        changed = decodeRequest(bytes);
      } catch (error) {
        assert(error instanceof CommandError);
      }
      // What is accepted is canonical: it encodes to the same bytes.
      if (changed !== undefined) assertEquals([...encodeRequest(changed)], [...bytes]);
    }),
  );
});

Deno.test("bytes of any kind give a typed error or a canonical request", () => {
  const anything = fc.uint8Array({ maxLength: 60 }).map((bytes) => {
    if (bytes.length > 7) bytes.set([1, bytes[1]!, bytes[2]! & 15, 0, bytes[4]! & 15, 0, 0, 0]);
    return bytes;
  });
  fc.assert(
    fc.property(anything, (bytes) => {
      try {
        assertEquals([...encodeRequest(decodeRequest(bytes))], [...bytes]);
      } catch (error) {
        if (!(error instanceof CommandError)) throw error;
      }
    }),
    { numRuns: 2000 },
  );
  const later = encodeRequest(putWith({}));
  later[0] = 2;
  assertEquals(assertThrows(() => decodeRequest(later), CommandError).code, "unknown-version");
});

function putWith(some: { contentType?: string }): Request {
  return { command: { type: "put", key: "k", value: new Uint8Array(1), ...some } };
}

function onceWith(once: Request["once"]): Request {
  return { command: { type: "delete", key: "k" }, once };
}

/** A record with the prototype that decoded objects have. */
function plain<T extends object>(fields: { [K in keyof T]: fc.Arbitrary<T[K]> }): fc.Arbitrary<T> {
  return fc.record<T>(fields, { noNullPrototype: true }) as fc.Arbitrary<T>;
}
