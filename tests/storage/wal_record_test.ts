import { assert, assertEquals, assertThrows } from "@std/assert";
import fc from "fast-check";
import type { EntryKind, EntryRun } from "../../machines/raft_types.ts";
import { ENTRY_PAYLOAD_BYTES_MAX } from "../../storage/log/limits.ts";
import {
  decodeRuns,
  encodeHardState,
  encodeRun,
  forEachEntry,
  hardStateAt,
  lastTimeMs,
  RECORD_HEADER_BYTES,
  RecordCursor,
  RecordError,
  type RecordErrorCode,
  recordFormat,
} from "../../storage/log/wal_record.ts";
import { crc32c } from "../../storage/crc32c.ts";

const integer = fc.oneof(
  fc.constantFrom(1, 2 ** 31 - 1, 2 ** 31, 2 ** 32 - 1, 2 ** 32, 2 ** 53 - 64),
  fc.integer({ min: 1, max: 2 ** 53 - 64 }),
);
const batch = fc.record({
  group: fc.nat(2 ** 32 - 1),
  term: integer,
  firstIndex: integer,
  timeMs: integer,
  kind: fc.constantFrom<EntryKind>("noop", "command", "config"),
  payloads: fc.array(fc.uint8Array({ maxLength: 50 }), { minLength: 1, maxLength: 20 }),
});

Deno.test("entries come back as they were encoded, in one run of one buffer", () => {
  fc.assert(fc.property(batch, (entries) => {
    const run = encodeRun(entries);
    assertEquals(run.ends.at(-1), run.bytes.length);
    assertEquals(lastTimeMs(run), entries.timeMs);
    const decoded = decodeRuns(run.bytes, entries.group);
    assertEquals(decoded, [run]);
    assert(decoded[0]!.bytes.buffer === run.bytes.buffer, "a view, not a copy");
    const seen: unknown[] = [];
    forEachEntry(run, (...entry) => seen.push(entry));
    const { firstIndex, timeMs, kind } = entries;
    assertEquals(seen, entries.payloads.map((bytes, i) => [firstIndex + i, timeMs, kind, bytes]));
  }));
});

Deno.test("S19: terms and indexes beyond 32 bits are exact", () => {
  for (const value of [2 ** 31, 2 ** 32, 2 ** 53 - 1]) {
    const run = encodeRun(entriesOf({ term: value, firstIndex: value, timeMs: value }));
    const [decoded] = decodeRuns(run.bytes, 0);
    assertEquals([decoded!.term, decoded!.firstIndex, lastTimeMs(decoded!)], [value, value, value]);
    const cursor = new RecordCursor(
      encodeHardState(2 ** 32 - 1, { currentTerm: value, votedFor: 3 }),
    );
    assert(cursor.next());
    assertEquals(hardStateAt(cursor), { currentTerm: value, votedFor: 3 });
    assertEquals(cursor.group, 2 ** 32 - 1);
  }
});

Deno.test("S02: payloads keep every byte, white space and zeros too", () => {
  const payload = Uint8Array.from({ length: 256 }, (_, i) => i);
  const spaces = new TextEncoder().encode(" \t\r\n two  words \0");
  const run = encodeRun(entriesOf({ payloads: [payload, spaces, new Uint8Array(0)] }));
  const seen: number[][] = [];
  forEachEntry(decodeRuns(run.bytes, 0)[0]!, (_i, _t, _k, bytes) => seen.push([...bytes]));
  assertEquals(seen, [[...payload], [...spaces], []]);
});

Deno.test("hard states come back, with and without a vote", () => {
  for (const votedFor of [undefined, 1, 2 ** 31]) {
    const cursor = new RecordCursor(encodeHardState(7, { currentTerm: 5, votedFor }));
    assert(cursor.next());
    assertEquals([cursor.kind, cursor.group], ["hardState", 7]);
    assertEquals(hardStateAt(cursor), { currentTerm: 5, votedFor });
    assert(!cursor.next());
  }
});

Deno.test("runs split where the term changes", () => {
  const bytes = join([
    encodeRun(entriesOf({ term: 1, firstIndex: 5, payloads: [bytesOf(1), bytesOf(2)] })),
    encodeRun(entriesOf({ term: 1, firstIndex: 7 })),
    encodeRun(entriesOf({ term: 3, firstIndex: 8, kind: "noop" })),
    encodeRun(entriesOf({ term: 4, firstIndex: 9, payloads: [bytesOf(3), bytesOf(4)] })),
  ]);
  const runs = decodeRuns(bytes, 0);
  const shape = runs.map((run) => [run.term, run.firstIndex, run.ends.length]);
  assertEquals(shape, [[1, 5, 3], [3, 8, 1], [4, 9, 2]]);
  assertEquals([...join(runs)], [...bytes]);
  assertEquals(decodeRuns(new Uint8Array(0), 0), []);
});

Deno.test("a damaged byte anywhere is found", () => {
  const { bytes } = encodeRun(entriesOf({ payloads: [bytesOf(1, 2, 3), bytesOf(4)] }));
  for (let bit = 0; bit < bytes.length * 8; bit++) {
    const damaged = bytes.slice();
    damaged[bit >>> 3]! ^= 1 << (bit & 7);
    assertThrows(() => decodeRuns(damaged, 0), RecordError);
  }
  for (let size = 1; size < bytes.length; size++) {
    if (size === RECORD_HEADER_BYTES + 3) continue;
    assertThrows(() => decodeRuns(bytes.subarray(0, size), 0), RecordError);
  }
});

Deno.test("bytes of any kind are refused with a typed error", () => {
  fc.assert(fc.property(fc.uint8Array({ minLength: 1, maxLength: 200 }), (bytes) => {
    assertThrows(() => decodeRuns(bytes, 0), RecordError);
  }));
});

Deno.test("records with a valid checksum and senseless fields are refused", () => {
  const cases: [RecordErrorCode, (view: DataView) => void][] = [
    ["length", (view) => view.setUint32(4, ENTRY_PAYLOAD_BYTES_MAX + 1, true)],
    ["length", (view) => view.setUint32(4, 2 ** 32 - 1, true)],
    ["truncated", (view) => view.setUint32(4, 2, true)],
    ["version", (view) => view.setUint8(8, 2)],
    ["kind", (view) => view.setUint8(9, 0)],
    ["kind", (view) => view.setUint8(9, 7)],
    ["length", (view) => view.setUint8(9, 6)],
    ["length", (view) => view.setUint8(9, 4)],
    ["reserved", (view) => view.setUint8(10, 1)],
    ["group", (view) => view.setUint32(12, 1, true)],
    ["order", (view) => view.setUint8(16, 0)],
    ["order", (view) => view.setUint8(24, 0)],
    ["number", (view) => view.setUint32(20, 2 ** 21, true)],
    ["number", (view) => view.setUint32(28, 2 ** 32 - 1, true)],
    ["number", (view) => view.setUint32(36, 2 ** 21, true)],
  ];
  for (const [code, change] of cases) {
    const { bytes } = encodeRun(entriesOf({ payloads: [bytesOf(9)] }));
    const view = new DataView(bytes.buffer);
    change(view);
    view.setUint32(0, crc32c(bytes, 4), true);
    assertEquals(assertThrows(() => decodeRuns(bytes, 0), RecordError).code, code);
  }
  const hardState = encodeHardState(0, { currentTerm: 1, votedFor: 1 });
  assertEquals(assertThrows(() => decodeRuns(hardState, 0), RecordError).code, "kind");
});

Deno.test("entries out of order are refused, and the error says where", () => {
  const first = encodeRun(entriesOf({ term: 2, firstIndex: 5 }));
  for (
    const second of [
      encodeRun(entriesOf({ term: 2, firstIndex: 7 })),
      encodeRun(entriesOf({ term: 2, firstIndex: 5 })),
      encodeRun(entriesOf({ term: 1, firstIndex: 6 })),
    ]
  ) {
    const error = assertThrows(() => decodeRuns(join([first, second]), 0), RecordError);
    assertEquals([error.code, error.offset], ["order", first.bytes.length]);
  }
});

Deno.test("what no record can hold is not encoded", () => {
  for (
    const wrong of [
      { payloads: [] },
      { payloads: [new Uint8Array(ENTRY_PAYLOAD_BYTES_MAX + 1)] },
      { term: 0 },
      { term: 2 ** 53 },
      { term: 1.5 },
      { term: NaN },
      { firstIndex: 0 },
      { firstIndex: 2 ** 53 - 1, payloads: [bytesOf(1), bytesOf(2)] },
      { timeMs: -1 },
      { group: 2 ** 32 },
      { group: -1 },
    ]
  ) assertThrows(() => recordFormat.encodeRun(entriesOf(wrong)), RangeError);
  assertThrows(() => encodeHardState(0, { currentTerm: -1, votedFor: undefined }), RangeError);
  assertThrows(() => encodeHardState(0, { currentTerm: 1, votedFor: 0 }), RangeError);
  const largest = new Uint8Array(ENTRY_PAYLOAD_BYTES_MAX);
  const run = encodeRun(entriesOf({ payloads: [largest] }));
  assertEquals(decodeRuns(run.bytes, 0)[0]!.ends, [ENTRY_PAYLOAD_BYTES_MAX + RECORD_HEADER_BYTES]);
});

type Entries = Parameters<typeof encodeRun>[0];

function entriesOf(some: Partial<Entries>): Entries {
  return {
    group: 0,
    term: 1,
    firstIndex: 1,
    timeMs: 1,
    kind: "command",
    payloads: [bytesOf(1)],
    ...some,
  };
}

function bytesOf(...bytes: number[]): Uint8Array {
  return new Uint8Array(bytes);
}

function join(runs: readonly EntryRun[]): Uint8Array {
  return new Uint8Array(runs.flatMap((run) => [...run.bytes]));
}
