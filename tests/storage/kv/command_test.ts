import { assert, assertEquals, assertThrows } from "@std/assert";
import fc from "fast-check";
import {
  type Command,
  COMMAND_VERSION,
  decodeCommand,
  encodeCommand,
} from "../../../storage/kv/command.ts";
import { CommandError, type CommandErrorCode } from "../../../storage/kv/command_bytes.ts";
import type { Compare } from "../../../storage/kv/compare.ts";
import {
  COMMAND_BYTES_MAX,
  COMPARES_MAX,
  CONTENT_TYPE_CHARS_MAX,
  FINGERPRINT_CHARS_MAX,
  IDEMPOTENCY_KEY_CHARS_MAX,
  INTEGER_MAX,
  INTEGER_MIN,
  KEY_BYTES_MAX,
  OPERATIONS_MAX,
  RANGE_LIMIT_MAX,
  VALUE_BYTES_MAX,
} from "../../../storage/kv/limits.ts";
import { keyOf, type Operation } from "../../../storage/kv/operations/operations.ts";
import { commandOf } from "./command_of.ts";

const byteString = fc.uint8Array({ minLength: 1, maxLength: 30 }).map((bytes) =>
  String.fromCharCode(...bytes)
);
const text = fc.string({ minLength: 1, maxLength: 64, unit: "grapheme-ascii" });
const integer = fc.oneof(
  fc.constantFrom(1, 127, 128, 2 ** 14, 2 ** 31, 2 ** 32 - 1, 2 ** 32, 2 ** 49, 2 ** 53 - 1),
  fc.maxSafeNat().map((n) => Math.max(1, n)),
);
const value = fc.uint8Array({ maxLength: 40 });
const operator = fc.constantFrom("==", "!=", "<", ">");
const compare = fc.oneof(
  plain({
    key: byteString,
    target: fc.constantFrom("revision", "version", "created"),
    operator,
    operand: fc.oneof(integer, fc.constant(0)),
  }),
  plain({ key: byteString, target: fc.constant("value"), operator, operand: value }),
) as fc.Arbitrary<Compare>;
const once = fc.option(
  fc.oneof(
    plain({ type: fc.constant("idempotencyKey"), key: text, fingerprint: text }),
    plain({ type: fc.constant("session"), clientId: text, sequence: integer }),
  ),
  { nil: undefined },
);
const contentType = fc.option(text, { nil: undefined });
const bound = fc.oneof(byteString, fc.constant(""));
const optionalBound = fc.option(bound, { nil: undefined });
const operation = fc.oneof(
  plain({ type: fc.constant("put"), key: byteString, value, contentType }),
  plain({ type: fc.constant("append"), key: byteString, value }),
  plain({ type: fc.constant("delete"), key: byteString }),
  plain({ type: fc.constant("get"), key: byteString }),
  plain({
    type: fc.constant("increment"),
    key: byteString,
    by: fc.bigInt(INTEGER_MIN, INTEGER_MAX),
  }),
  plain({ type: fc.constant("deleteRange"), start: bound, end: optionalBound }),
  plain({
    ...{ type: fc.constant("range"), start: bound, end: optionalBound },
    ...{ limit: fc.nat(RANGE_LIMIT_MAX), reverse: fc.boolean(), keysOnly: fc.boolean() },
  }),
) as fc.Arbitrary<Operation>;
const operations = fc.array(operation, { maxLength: 4 });
const compares = fc.array(compare, { maxLength: 3 });
const single = fc.tuple(operation, compares, once).map(([one, compares, once]) =>
  commandOf(one, {
    compares: compares.map((other) => ({ ...other, key: keyOf(one) ?? "k" })),
    once,
  })
);
const lists = plain({ compares, success: operations, failure: operations, once });
const command = fc.oneof(single, lists) as fc.Arbitrary<Command>;

Deno.test("commands come back as they were encoded", () => {
  fc.assert(
    fc.property(command, (original) => {
      assertEquals(decodeCommand(encodeCommand(original)), original);
    }),
    { numRuns: 1_000 },
  );
});

Deno.test("a command of one operation costs few bytes more than its key and value", () => {
  const key = "k".repeat(16);
  const overhead = (compares: readonly Compare[]): number =>
    encodeCommand(commandOf({ type: "put", key, value: new Uint8Array(100) }, { compares }))
      .length - 116;
  const revision = (operand: number): Compare => (
    { key, target: "revision", operator: "==", operand }
  );
  assertEquals([overhead([]), overhead([revision(0)]), overhead([revision(2 ** 20)])], [6, 8, 10]);
});

Deno.test("the largest parts of a command are taken, and anything larger is refused", () => {
  const key = "\xff".repeat(KEY_BYTES_MAX);
  const large = new Uint8Array(VALUE_BYTES_MAX);
  const longText = "x".repeat(CONTENT_TYPE_CHARS_MAX);
  const largest: Command = {
    compares: Array<Compare>(COMPARES_MAX).fill({
      ...{ key, target: "version", operator: ">", operand: Number.MAX_SAFE_INTEGER },
    }),
    success: [
      { type: "put", key, value: large, contentType: longText },
      ...Array<Operation>(OPERATIONS_MAX - 2).fill({
        ...{ type: "put", key, value: new Uint8Array(0), contentType: longText },
      }),
    ],
    failure: [{ type: "get", key }],
    once: {
      type: "idempotencyKey",
      key: "k".repeat(IDEMPOTENCY_KEY_CHARS_MAX),
      fingerprint: "f".repeat(FINGERPRINT_CHARS_MAX),
    },
  };
  assertEquals(decodeCommand(encodeCommand(largest)), largest);
  const get: Operation = { type: "get", key: "k" };
  const range: Operation = {
    ...{ type: "range", start: key, end: key, limit: RANGE_LIMIT_MAX },
    ...{ reverse: true, keysOnly: true },
  };
  for (const by of [INTEGER_MIN, INTEGER_MAX]) {
    const most = { ...commandOf(range), failure: [{ type: "increment", key, by }] } as Command;
    assertEquals(decodeCommand(encodeCommand(most)), most);
  }
  const revision = (operand: number): Compare => (
    { key: "k", target: "revision", operator: "==", operand }
  );
  const comparing = (...compares: Compare[]): Command => commandOf(get, { compares });
  const cases: [CommandErrorCode, Command][] = [
    ["command-size", { ...largest, failure: [get, get] }],
    ["command-size", { ...largest, compares: [...largest.compares, revision(1)] }],
    ["command-size", { ...commandOf(get), success: Array(OPERATIONS_MAX + 1).fill(get) }],
    ["number", commandOf({ type: "increment", key: "k", by: INTEGER_MAX + 1n })],
    ["number", commandOf({ type: "increment", key: "k", by: INTEGER_MIN - 1n })],
    ["number", commandOf({ ...range, limit: RANGE_LIMIT_MAX + 1 })],
    ["key-size", commandOf({ ...range, start: `${key}k` })],
    ["key-size", commandOf({ type: "deleteRange", start: "", end: `${key}k` })],
    ["key-size", commandOf({ type: "deleteRange", start: "\u0100", end: undefined })],
    ["key-size", commandOf({ type: "delete", key: "" })],
    ["key-size", commandOf({ type: "get", key: key + "k" })],
    ["key-size", commandOf({ type: "delete", key: "\u0100" })],
    ["key-size", comparing({ ...revision(1), key: "" })],
    [
      "value-size",
      commandOf({ type: "put", key: "k", value: new Uint8Array(VALUE_BYTES_MAX + 1) }),
    ],
    [
      "value-size",
      commandOf({
        ...{ type: "append", key: "k", value: new Uint8Array(VALUE_BYTES_MAX + 1) },
      }),
    ],
    [
      "value-size",
      comparing({
        ...{
          key: "k",
          target: "value",
          operator: "==",
          operand: new Uint8Array(VALUE_BYTES_MAX + 1),
        },
      }),
    ],
    ["text", putOf(longText + "x")],
    ["text", putOf("")],
    ["text", putOf("a\nb")],
    ["text", putOf("\u00e9")],
    ["number", comparing(revision(-1))],
    ["number", comparing(revision(2 ** 53))],
    ["number", onceOf({ type: "session", clientId: "c", sequence: 0 })],
    ["number", onceOf({ type: "session", clientId: "c", sequence: 1.5 })],
    ["text", onceOf({ type: "session", clientId: "", sequence: 1 })],
    [
      "text",
      onceOf({
        type: "idempotencyKey",
        key: "k".repeat(IDEMPOTENCY_KEY_CHARS_MAX + 1),
        fingerprint: "f",
      }),
    ],
  ];
  for (const [code, wrong] of cases) {
    assertEquals(assertThrows(() => encodeCommand(wrong), CommandError).code, code);
  }
});

Deno.test("COMMAND_BYTES_MAX: a command of that many bytes is taken, and one byte more is not", () => {
  const half: Operation = { type: "put", key: "a", value: new Uint8Array(COMMAND_BYTES_MAX / 2) };
  const two = (length: number): Command => (
    { ...commandOf(half), success: [half, { ...half, value: new Uint8Array(length) }] }
  );
  const rest = COMMAND_BYTES_MAX - encodeCommand(two(2 ** 14)).length + 2 ** 14;
  const bytes = encodeCommand(two(rest));
  assertEquals([bytes.length, decodeCommand(bytes).success.length], [COMMAND_BYTES_MAX, 2]);
  for (
    const refused of [
      () => encodeCommand(two(rest + 1)),
      () => decodeCommand(new Uint8Array(COMMAND_BYTES_MAX + 1).fill(COMMAND_VERSION)),
    ]
  ) assertEquals(assertThrows(refused, CommandError).code, "command-size");
});

Deno.test("bytes of more operations or compares than a command may have are refused", () => {
  const command = (compares: number, success: number, failure: number): Uint8Array => {
    const bytes = new Uint8Array(5 + 3 * (success + failure) + 4 * compares);
    bytes.set([COMMAND_VERSION, 2, compares, success, failure]);
    let at = 5;
    for (let n = 0; n < success + failure; n++, at += 3) bytes.set([4, 1, 0x6b], at);
    for (let n = 0; n < compares; n++, at += 4) bytes.set([0, 1, 0x6b, 0], at);
    return bytes;
  };
  const most = decodeCommand(command(COMPARES_MAX, OPERATIONS_MAX - 1, 1));
  assertEquals([most.compares.length, most.success.length], [COMPARES_MAX, OPERATIONS_MAX - 1]);
  for (const bytes of [command(COMPARES_MAX + 1, 0, 0), command(0, OPERATIONS_MAX, 1)]) {
    assertEquals(assertThrows(() => decodeCommand(bytes), CommandError).code, "command-size");
  }
});

Deno.test("bytes that are cut short, lengthened or changed give a typed error or another command", () => {
  fc.assert(
    fc.property(command, fc.nat(), fc.integer({ min: 1, max: 255 }), (original, at, flip) => {
      const bytes = encodeCommand(original);
      for (let size = 0; size < bytes.length; size++) {
        assertThrows(() => decodeCommand(bytes.subarray(0, size)), CommandError);
      }
      const longer = new Uint8Array(bytes.length + 1);
      longer.set(bytes);
      assertThrows(() => decodeCommand(longer), CommandError);
      bytes[at % bytes.length]! ^= flip;
      let changed: Command | undefined;
      try {
        changed = decodeCommand(bytes);
      } catch (error) {
        assert(error instanceof CommandError);
      }
      // What is accepted is canonical: it encodes to the same bytes.
      if (changed !== undefined) assertEquals([...encodeCommand(changed)], [...bytes]);
    }),
  );
});

Deno.test("bytes of any kind give a typed error or a canonical command", () => {
  const small = fc.array(fc.oneof(fc.nat(5), fc.nat(255), fc.constant(128)), { maxLength: 40 });
  const anything = fc.tuple(fc.nat(15), small).map(([shape, rest]) =>
    new Uint8Array([COMMAND_VERSION, shape, ...rest])
  );
  let taken = 0;
  fc.assert(
    fc.property(anything, (bytes) => {
      try {
        assertEquals([...encodeCommand(decodeCommand(bytes))], [...bytes]);
        taken++;
      } catch (error) {
        if (!(error instanceof CommandError)) throw error;
      }
    }),
    { numRuns: 5_000, seed: 1 },
  );
  assert(taken > 0, "nothing was a command");
});

Deno.test("no command has a second, longer encoding", () => {
  const key = [1, 0x6b];
  const get = [4, ...key];
  const cases: [string, number[]][] = [
    ["longer than needed", [2, 0, 1, 0, ...get]],
    ["longer than needed", [2, 1, 1, 0, ...get, 0, ...key, 9]],
    ["longer than needed", [0, 4, 0x81, 0, 0x6b]],
    ["longer than needed", [1, ...get, 0, 0x80, 0]],
    ["its shape is 3", [3, ...get]],
    ["its shape is 16", [16, ...get]],
    ["unknown way", [12, ...get]],
    ["operation of kind 0", [0, 0, ...key]],
    ["operation of kind 99", [0, 99, ...key]],
    ["compare of kind 5", [1, ...get, 5, 9]],
    ["compare of kind 64", [1, ...get, 64, 9]],
    ["above 2^53-1", [1, ...get, 0, 255, 255, 255, 255, 255, 255, 255, 16]],
    ["above 2^53-1", [1, ...get, 0, ...Array<number>(30).fill(255)]],
  ];
  for (const [reason, rest] of cases) {
    const bytes = new Uint8Array([COMMAND_VERSION, ...rest]);
    assertThrows(() => decodeCommand(bytes), CommandError, reason);
  }
});

Deno.test("a command of another version is refused by its version, whatever follows", () => {
  for (const version of [0, 1, 3, 255]) {
    const bytes = encodeCommand(putOf("text/plain"));
    bytes[0] = version;
    const error = assertThrows(() => decodeCommand(bytes), CommandError, `version is ${version}`);
    assertEquals(error.code, "unknown-version");
  }
});

function putOf(contentType: string): Command {
  return commandOf({ type: "put", key: "k", value: new Uint8Array(1), contentType });
}

function onceOf(once: Command["once"]): Command {
  return commandOf({ type: "delete", key: "k" }, { once });
}

/** A record with the prototype that decoded objects have. */
function plain<T extends object>(fields: { [K in keyof T]: fc.Arbitrary<T[K]> }): fc.Arbitrary<T> {
  return fc.record<T>(fields, { noNullPrototype: true }) as fc.Arbitrary<T>;
}
