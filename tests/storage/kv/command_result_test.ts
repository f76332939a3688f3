import { assert, assertEquals, assertThrows } from "@std/assert";
import fc from "fast-check";
import type { Command } from "../../../storage/kv/command.ts";
import {
  type CommandResult,
  commandResultOf,
  packedBytesMax,
  packResult,
  resultBytes,
  unpackResult,
} from "../../../storage/kv/command_result.ts";
import {
  CONTENT_TYPE_CHARS_MAX,
  INTEGER_MAX,
  INTEGER_MIN,
  OPERATIONS_MAX,
  RESULT_BYTES_MAX,
  RESULT_OVERHEAD_BYTES,
  VALUE_BYTES_MAX,
} from "../../../storage/kv/limits.ts";
import { numberSize, readNumber, writeNumber } from "../../../storage/kv/numbers.ts";
import type { Operation, OperationResult } from "../../../storage/kv/operations/operations.ts";
import { recordFormat } from "../../../storage/log/wal_record.ts";
import { createCodec } from "../../../transport/wire/codec.ts";
import { FRAME_HEADER_BYTES } from "../../../transport/wire/limits.ts";
import type { ActorReply } from "../../../transport/wire/messages.ts";
import { StateError } from "../../../storage/kv/state_bytes.ts";

const number = fc.oneof(fc.nat(300), fc.maxSafeNat(), fc.constant(Number.MAX_SAFE_INTEGER));
const entry = plain({
  value: fc.uint8Array({ maxLength: 300 }),
  contentType: fc.option(fc.string({ minLength: 1, maxLength: 20, unit: "grapheme-ascii" }), {
    nil: undefined,
  }),
  created: number,
  revision: number,
  version: number,
});
const operationResult = fc.oneof(
  plain({ type: fc.constant("put"), version: number, created: fc.boolean() }),
  plain({ type: fc.constant("append"), version: number, length: number, created: fc.boolean() }),
  plain({ type: fc.constant("delete"), deleted: fc.nat(1) }),
  plain({ type: fc.constant("get"), entry: fc.option(entry, { nil: undefined }) }),
  plain({
    ...{ type: fc.constant("increment"), value: fc.bigInt(INTEGER_MIN, INTEGER_MAX).map(String) },
    ...{ version: number, created: fc.boolean() },
  }),
  plain({ type: fc.constant("deleteRange"), deleted: number }),
  plain({
    type: fc.constant("range"),
    items: fc.array(
      fc.tuple(fc.uint8Array({ maxLength: 5 }), entry).map(([key, entry]) => (
        { key: String.fromCharCode(...key), ...entry as object }
      )),
      { maxLength: 3 },
    ),
    count: number,
  }),
) as fc.Arbitrary<OperationResult>;
const status = fc.constant("ok");
const results = fc.array(operationResult, { maxLength: 5 });
const kept = fc.oneof(
  plain({ status, succeeded: fc.constant(true), revision: number, results }),
  plain({
    status,
    succeeded: fc.constant(false),
    presentRevision: number.map((n) => Math.min(n, Number.MAX_SAFE_INTEGER - 1)),
    revision: number,
    results,
  }),
  plain({ status: fc.constantFrom("too-large", "not-integer", "overflow") }),
) as fc.Arbitrary<CommandResult>;

Deno.test("a result that is kept comes back as it was, and no cut of it does", () => {
  fc.assert(
    fc.property(kept, (result) => {
      const packed = packResult(result);
      assertEquals(unpackResult(packed), result);
      assertEquals(commandResultOf(result), result);
      for (let size = 0; size < packed.length; size++) {
        assertThrows(() => unpackResult(packed.slice(0, size)), StateError);
      }
      assertThrows(() => unpackResult(`${packed}\0`), StateError, "bytes follow");
    }),
    { numRuns: 300 },
  );
});

Deno.test("a result means the same on a node that it was sent to, also one of the largest", () => {
  const codec = createCodec(recordFormat);
  const travelled = (payload: CommandResult): CommandResult | undefined => {
    const frame = codec.encode({ type: "ActorReply", from: 1, callId: 1, payload } as ActorReply);
    const { payload: received } = codec.decode(frame.subarray(FRAME_HEADER_BYTES)) as ActorReply;
    return commandResultOf(received);
  };
  fc.assert(fc.property(kept, (result) => assertEquals(travelled(result), result)));
  const numbers = { contentType: undefined, created: 1, revision: 1, version: 1 };
  const large = { ...numbers, value: new Uint8Array(VALUE_BYTES_MAX).fill(7) };
  const results = Array<OperationResult>(RESULT_BYTES_MAX / VALUE_BYTES_MAX)
    .fill({ type: "get", entry: large });
  const result: CommandResult = { status: "ok", succeeded: true, revision: 1, results };
  assertEquals(travelled(result), result);
});

Deno.test("packed bytes that mean no result are refused", () => {
  const cases = ["", "\0", "\x07", "\x01\x01\x00\x01\x09", "\x01\x01\x00\x01\x01\x01\x02"];
  for (const packed of cases) assertThrows(() => unpackResult(packed), StateError);
  for (const status of ["overloaded", "session-expired", "idempotency-mismatch"] as const) {
    assertThrows(() => packResult({ status }), StateError, "is not kept");
  }
});

Deno.test("RESULT_OVERHEAD_BYTES: no result takes more bytes than room is kept for", () => {
  const most = Number.MAX_SAFE_INTEGER;
  const numbers = { created: most, revision: most, version: most };
  const contentType = "x".repeat(CONTENT_TYPE_CHARS_MAX);
  const largest: OperationResult[] = [
    { type: "put", version: most, created: true },
    { type: "append", version: most, length: most, created: true },
    { type: "delete", deleted: 1 },
    { type: "deleteRange", deleted: most },
    { type: "increment", value: String(INTEGER_MIN), version: most, created: true },
    { type: "get", entry: { ...numbers, value: new Uint8Array(1024 * 1024), contentType } },
  ];
  for (const result of largest) {
    for (const count of [1, 2, OPERATIONS_MAX]) {
      if (result.type === "get" && count > 2) continue;
      const results = Array<OperationResult>(count).fill(result);
      const executed = { status: "ok", revision: most, results } as const;
      const failed = { ...executed, succeeded: false, presentRevision: most - 1 } as const;
      const packed = packResult(failed);
      assert(packed.length <= RESULT_OVERHEAD_BYTES + resultBytes(results));
      const success = Array<Operation>(count).fill({
        ...{ type: result.type, key: "k", value: new Uint8Array(0) },
      } as Operation);
      const command: Command = { compares: [], success, failure: [] };
      if (count === 1) assert(packed.length <= packedBytesMax(command));
    }
  }
});

Deno.test("a number has one encoding, of as many bytes as it needs", () => {
  fc.assert(
    fc.property(number, fc.nat(3), (value, at) => {
      const bytes = new Uint8Array(12);
      const end = writeNumber(value, bytes, at);
      assertEquals([end - at, readNumber(bytes, at)], [numberSize(value), value]);
      assertEquals(readNumber(bytes.subarray(0, end - 1), at), -1);
    }),
  );
  const none = [[0x80, 0], [0xff, 0x80, 0], [0x80], [], Array<number>(40).fill(0xff)];
  none.push([0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x10]);
  // So many that a scale without bound would become Infinity, and the number NaN.
  none.push([...Array<number>(160).fill(0x80), 1]);
  for (const bytes of none) assertEquals(readNumber(new Uint8Array(bytes), 0), -1, `${bytes}`);
  assertEquals([0, 127, 128, 2 ** 53 - 1].map(numberSize), [1, 1, 2, 8]);
});

/** A record with the prototype that decoded objects have. */
function plain<T extends object>(fields: { [K in keyof T]: fc.Arbitrary<T[K]> }): fc.Arbitrary<T> {
  return fc.record<T>(fields, { noNullPrototype: true }) as fc.Arbitrary<T>;
}
