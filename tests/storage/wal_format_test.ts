/**
 * The second format of the log: packed records, marks that know the append before them, and segments
 * that are written anew at start.
 *
 * @module
 */
import {
  assert,
  assertEquals,
  assertGreater,
  assertLess,
  assertStringIncludes,
  assertThrows,
} from "@std/assert";
import { compress } from "../../storage/compression.ts";
import { DiskError } from "../../storage/log/disk.ts";
import { PACK_BYTES_MIN, PACKED_BYTES_MAX } from "../../storage/log/limits.ts";
import { type OpenedWal, Wal } from "../../storage/log/wal.ts";
import { WalCorruptError, WalFailedError } from "../../storage/log/wal_errors.ts";
import {
  encodePacked,
  encodeRun,
  forEachEntry,
  RECORD_HEADER_BYTES,
  RecordCursor,
  writeMark,
} from "../../storage/log/wal_record.ts";
import { SEGMENT_HEADER_BYTES, segmentPath } from "../../storage/log/wal_segment.ts";
import { MemoryDisk } from "../sim/memory_disk.ts";
import { Dice } from "../sim/random.ts";
import { openWal } from "./open_wal.ts";
import { contentAfter, contentOf, encode, entry, hardState, walOptions } from "./wal_script.ts";

const now = { later: (run: () => void): void => run() };
/** Everything is tried. */
const packing = { ...walOptions, segmentBytes: 100_000, packBytesMin: 0 };
const plain = { ...packing, packBytesMin: Infinity };

/** An entry that is long and of one letter, or of chance. */
function long(index: number, length: number, dice?: Dice): Uint8Array {
  const place = { group: 0, term: 1, firstIndex: index, timeMs: 1000 + index } as const;
  const payload = Uint8Array.from({ length }, () => dice?.below(256) ?? 120);
  return encodeRun({ ...place, kind: "command", payloads: [payload] }).bytes;
}

function lengthsOf({ groups }: Pick<OpenedWal, "groups">): number[] {
  const lengths: number[] = [];
  for (const run of groups.get(0)?.runs ?? []) {
    forEachEntry(run, (_index, _timeMs, _kind, { length }) => void lengths.push(length));
  }
  return lengths;
}

function kindsOf(disk: MemoryDisk, sequence = 1): string[] {
  const cursor = new RecordCursor(disk.readFile(segmentPath(sequence)), SEGMENT_HEADER_BYTES);
  const kinds: string[] = [];
  while (cursor.next()) kinds.push(cursor.kind);
  return kinds;
}

/** The records of an append that stands at the end of a segment. */
function append(wal: Wal, ...texts: Parameters<typeof encode>[0][]): void {
  wal.append(texts.map(encode));
  wal.sync(() => {});
}

Deno.test("records that shrink are packed, and come back with packing on and off", () => {
  const records = [
    hardState(0, 1, 1),
    ...[1, 2, 3, 4].map((index) => entry(0, 1, index)),
    entry(3, 1, 1),
    entry(0, 2, 3),
  ];
  const disk = new MemoryDisk(now);
  append(openWal(disk, packing).wal, ...records);
  append(openWal(disk, plain).wal, entry(0, 2, 4));
  append(openWal(disk, packing).wal, entry(0, 2, 5), entry(0, 2, 6), entry(3, 2, 2));
  assertEquals(kindsOf(disk), ["mark", "packed", "mark", "command", "mark", "packed"]);
  const expected = contentAfter([
    ...[...records, entry(0, 2, 4), entry(0, 2, 5), entry(0, 2, 6), entry(3, 2, 2)],
  ]);
  for (const options of [packing, plain]) assertEquals(contentOf(openWal(disk, options)), expected);
});

Deno.test("PACK_BYTES_MIN, blocks and PACKED_BYTES_MAX: what is packed, and what stays plain", () => {
  const header = RECORD_HEADER_BYTES;
  for (
    const [chunks, kinds] of [
      [[PACK_BYTES_MIN - header - 1], ["command"]],
      [[PACK_BYTES_MIN - header], ["packed"]],
      [[100, PACK_BYTES_MIN], ["packed"]],
      // A block ends before the chunk that would make it too long; what is short stays plain.
      [[200_000, 100_000, 100], ["packed", "packed"]],
      [[200_000, 100, 300_000, 50], ["packed", "packed", "command"]],
    ] as const
  ) {
    const disk = new MemoryDisk(now);
    const { wal } = openWal(disk, { ...walOptions, segmentBytes: 10 ** 7 });
    wal.append(chunks.map((length, at) => long(at + 1, length)));
    assertEquals(kindsOf(disk), ["mark", ...kinds], String(chunks));
    assertEquals(lengthsOf(openWal(disk, plain)), [...chunks]);
  }
  const disk = new MemoryDisk(now);
  const { wal } = openWal(disk, { ...packing, segmentBytes: 10 ** 8 });
  const place = { group: 0, term: 1, firstIndex: 1, timeMs: 1001, kind: "command" } as const;
  const payloads = Array.from({ length: 5 }, () => new Uint8Array(1024 * 1024));
  wal.append([encodeRun({ ...place, payloads }).bytes]);
  assertEquals(new Set(kindsOf(disk)), new Set(["mark", "command"]));
  assertThrows(() => encodePacked(new Uint8Array(10), PACKED_BYTES_MAX + 1), RangeError);
});

Deno.test("records that stay longer than a payload when they are packed are written plain", () => {
  const disk = new MemoryDisk(now);
  const { wal } = openWal(disk, { ...packing, segmentBytes: 10 ** 8 });
  const dice = new Dice(7);
  // Of the 8 bits of each byte 6 are of chance, as in a text in base64.
  const payloads = [1, 2, 3].map(() => Uint8Array.from({ length: 2 ** 20 }, () => dice.below(64)));
  const place = { group: 0, term: 1, firstIndex: 1, timeMs: 1001, kind: "command" } as const;
  wal.append([encodeRun({ ...place, payloads }).bytes]);
  assertEquals(kindsOf(disk), ["mark", "command", "command", "command"]);
  assertEquals(lengthsOf(openWal(disk, plain)), payloads.map(({ length }) => length));
});

Deno.test("content of chance is written plain, and is hardly tried", () => {
  const disk = new MemoryDisk(now);
  const { wal } = openWal(disk, { ...packing, packBytesMin: PACK_BYTES_MIN });
  const dice = new Dice(3);
  for (let index = 1; index <= 200; index++) wal.append([long(index, 5_000, dice)]);
  const { futile, plainBytes } = wal.compression;
  assertEquals([futile, plainBytes], [8, 0]);
  const { groups } = openWal(disk, packing);
  assertEquals(groups.get(0)!.lastIndex, 200);
});

Deno.test("what is packed takes less of the disk, and the totals say how much", () => {
  const disk = new MemoryDisk(now);
  const { wal } = openWal(disk, packing);
  const before = wal.diskBytes;
  wal.append([long(1, 50_000)]);
  const { plainBytes, packedBytes } = wal.compression;
  assertEquals(plainBytes, 50_000 + RECORD_HEADER_BYTES);
  assertEquals(wal.diskBytes - before, packedBytes + 2 * RECORD_HEADER_BYTES);
  assertLess(packedBytes, 1_000);
});

Deno.test("a whole packed record that says what cannot be is damage, with its place", () => {
  const records = encode(entry(0, 1, 1));
  const mark = new Uint8Array(RECORD_HEADER_BYTES);
  writeMark(mark, 0, { sequence: 1, position: 0, durablePosition: 0, checksumBefore: 0 });
  const ofRecords = (bytes: Uint8Array): Uint8Array =>
    encodePacked(compress(bytes, 1), bytes.length);
  for (
    const [bytes, reason] of [
      [encodePacked(compress(records, 1), records.length - 1), "it cannot be unpacked"],
      [encodePacked(compress(records, 1), records.length + 1), "it cannot be unpacked"],
      [encodePacked(new Uint8Array(20), 100), "it cannot be unpacked"],
      [encodePacked(new Uint8Array(0), 0), "unpacked it would have 0 bytes"],
      [ofRecords(mark), "a mark is packed in it"],
      [ofRecords(ofRecords(records)), "a packed is packed in it"],
      [ofRecords(records.subarray(0, 44)), "of a record in it, the bytes end within its payload"],
      [ofRecords(encode(entry(0, 1, 2))), "entry 2 follows entry 0"],
    ] as const
  ) {
    const disk = new MemoryDisk(now);
    openWal(disk, packing);
    const offset = disk.sizeOf(segmentPath(1));
    disk.replace(segmentPath(1), new Uint8Array([...disk.readFile(segmentPath(1)), ...bytes]));
    const open = (): unknown => openWal(disk, packing);
    const error = assertThrows(open, WalCorruptError, reason, reason);
    assertEquals([error.path, error.offset], [segmentPath(1), offset]);
  }
});

Deno.test("an older write that shows in an append's place is damage, although it is whole and of that place", () => {
  // Two histories of one log; a write of the second was lost, so the first one's shows there.
  for (const options of [plain, packing, { ...plain, segmentBytes: 1 }]) {
    const [first, second] = ["before", "after!"].map((text) => {
      const disk = new MemoryDisk(now);
      const { wal } = openWal(disk, options);
      append(wal, entry(0, 1, 1));
      const newest = (): string => `wal/${disk.list("wal").at(-1)}`;
      const sizeBefore = disk.sizeOf(newest());
      append(wal, { type: "entry", group: 0, term: 1, index: 2, text });
      const path = newest();
      const end = disk.sizeOf(path);
      append(wal, entry(0, 1, 3));
      const start = options.segmentBytes === 1 ? 0 : sizeBefore;
      assertEquals(path === newest(), start > 0, "what follows is in the same segment");
      return { disk, path, start, end };
    });
    const { disk, path, start, end } = second!;
    assertEquals([first!.path, first!.start, first!.end], [path, start, end]);
    const bytes = disk.readFile(path);
    bytes.set(first!.disk.readFile(path).subarray(start, end), start);
    disk.replace(path, bytes);
    const error = assertThrows(() => openWal(disk, options), WalCorruptError);
    assertStringIncludes(error.message, "what precedes it is not what was written there");
  }
});

Deno.test("C5: what a failed sync left in the kernel's memory is written anew, not synced again", () => {
  let fails = false;
  const disk = new MemoryDisk({
    ...now,
    fault: ({ type, path }) =>
      fails && type === "syncData"
        ? new DiskError("Cannot sync: input/output error", { code: "io", path })
        : undefined,
  });
  const { wal } = openWal(disk, walOptions);
  append(wal, hardState(0, 1, 1), entry(0, 1, 1));
  wal.append([encode(entry(0, 1, 2))]);
  fails = true;
  let failure: Error | undefined;
  wal.sync((error) => failure = error);
  assert(failure instanceof WalFailedError);
  fails = false;
  const expected = contentAfter([hardState(0, 1, 1), entry(0, 1, 1), entry(0, 1, 2)]);
  // The next process sees the entry, and whoever asks it may count on that.
  assertEquals(contentOf(openWal(disk, walOptions)), expected);
  disk.crash(() => 0);
  assertEquals(contentOf(openWal(disk, walOptions)), expected);
});

Deno.test("C5: a start writes the bytes anew that it has checked, whatever a second reading would show", () => {
  const path = segmentPath(1);
  let onDisk: Uint8Array | undefined;
  class EvictingDisk extends MemoryDisk {
    override readFile(read: string): Uint8Array {
      const bytes = super.readFile(read);
      // The kernel drops what no sync has brought to the disk, and calls it clean.
      if (read === path && onDisk !== undefined) this.replace(path, onDisk);
      return bytes;
    }
  }
  const disk = new EvictingDisk(now);
  const { wal } = openWal(disk, walOptions);
  append(wal, entry(0, 1, 1));
  const durable = disk.readFile(path);
  wal.append([encode(entry(0, 1, 2))]);
  onDisk = durable;
  const expected = contentAfter([entry(0, 1, 1), entry(0, 1, 2)]);
  const reopened = openWal(disk, walOptions);
  onDisk = undefined;
  assertEquals(contentOf(reopened), expected);
  disk.crash(() => 0);
  assertEquals(contentOf(openWal(disk, walOptions)), expected);
});

Deno.test("C1: a start that writes segments anew loses nothing, wherever power goes", () => {
  const records = [1, 2, 3, 4, 5, 6, 7].map((index) => entry(0, 1, index));
  let operations = 0;
  for (let survived = 0; survived < 40; survived++) {
    for (const loss of [0, 1, 2]) {
      let alive = Infinity;
      const disk = new MemoryDisk({
        ...now,
        fault: () => {
          operations = Math.max(operations, 40 - alive);
          if (alive-- > 0) return undefined;
          throw new Error("power loss");
        },
      });
      const { wal } = openWal(disk, { ...walOptions, segmentBytes: 300 });
      for (const record of records) append(wal, record);
      assertGreater(disk.list("wal").length, 2);
      alive = survived;
      try {
        openWal(disk, walOptions);
      } catch (error) {
        assertEquals((error as Error).message, "power loss");
      }
      disk.crash((count) => Math.min(loss, count - 1));
      alive = Infinity;
      const reopened = openWal(disk, walOptions);
      assertEquals(contentOf(reopened), contentAfter(records));
      assert(disk.list("wal").every((name) => name.endsWith(".wal")), "a copy was left behind");
    }
  }
});

Deno.test("C6: on a full disk a start syncs its segments where they are", () => {
  let isFull = false;
  const disk = new MemoryDisk({
    ...now,
    fault: ({ type, path }) =>
      isFull && (type === "append" || type === "create")
        ? new DiskError("Cannot write: no space left", { code: "no-space", path })
        : undefined,
  });
  const { wal } = openWal(disk, walOptions);
  wal.append([encode(entry(0, 1, 1))]);
  isFull = true;
  assertEquals(contentOf(openWal(disk, walOptions)), contentAfter([entry(0, 1, 1)]));
  assertEquals(disk.list("wal").length, 1);
  disk.crash(() => 0);
  assertEquals(contentOf(openWal(disk, walOptions)), contentAfter([entry(0, 1, 1)]));
});

/** A directory of the format before. */
function goldenDisk(): MemoryDisk {
  const disk = new MemoryDisk(now);
  disk.makeDirectory("wal");
  const golden = new URL("../golden/directory-1/wal/", import.meta.url);
  for (const { name } of Deno.readDirSync(golden)) {
    disk.replace(`wal/${name}`, Deno.readFileSync(new URL(name, golden)));
  }
  return disk;
}

Deno.test("a log of the format before is read, and what is written next begins a segment of today's", () => {
  const disk = goldenDisk();
  const names = disk.list("wal");
  const whose = { clusterId: "lone", nodeId: 1 };
  const { wal, groups } = openWal(disk, whose);
  const { lastIndex, hardState: { currentTerm } } = groups.get(0)!;
  const last = `wal/${names.at(-1)}`;
  const before = disk.readFile(last);
  wal.append([encode(entry(0, currentTerm, lastIndex + 1))]);
  wal.sync(() => {});
  assertEquals(disk.readFile(last), before);
  assertEquals(disk.list("wal").length, names.length + 1);
  const versionOf = (path: string): number =>
    new DataView(disk.readFile(path).buffer).getUint32(8, true);
  const newest = `wal/${disk.list("wal").at(-1)}`;
  assertEquals([versionOf(last), versionOf(newest)], [4, 5]);
  assertEquals(openWal(disk, whose).groups.get(0)!.lastIndex, lastIndex + 1);
});

Deno.test("after a log was closed in order, a start writes nothing anew", () => {
  const story: string[] = [];
  const disk = new MemoryDisk({ ...now, fault: ({ type }) => void story.push(type) });
  for (let start = 1; start <= 3; start++) {
    const { wal } = Wal.open(disk, walOptions);
    append(wal, entry(0, 1, start));
    wal.close();
  }
  assertEquals(story.filter((type) => type === "rename"), []);
});

Deno.test("what a full disk took a part of, and what does not go away again, fails the log", () => {
  let fails: string[] = [];
  const disk = new MemoryDisk({
    ...now,
    fault: ({ type, path }) =>
      path.startsWith("wal/") && fails.includes(type)
        ? new DiskError("Cannot write: no space left", { code: "no-space", path })
        : undefined,
  });
  for (const [segmentBytes, undo] of [[100_000, "truncate"], [1, "remove"]] as const) {
    disk.wipe();
    fails = [];
    disk.makeDirectory("wal");
    const { wal } = openWal(disk, { ...plain, segmentBytes });
    append(wal, entry(0, 1, 1));
    fails = ["append", undo];
    const error = assertThrows(() => wal.append([encode(entry(0, 1, 2))]), WalFailedError);
    fails = [];
    assertEquals(wal.failure, error);
  }
});

Deno.test("a segment that cannot be removed fails the sync that would have let it go", () => {
  for (const failing of ["remove", "syncDirectoryData"]) {
    let fails = false;
    const disk = new MemoryDisk({
      ...now,
      fault: ({ type, path }) =>
        fails && type === failing
          ? new DiskError("Cannot remove: input/output error", { code: "io", path })
          : undefined,
    });
    const { wal } = openWal(disk, { ...plain, segmentBytes: 300 });
    for (let index = 1; index <= 8; index++) append(wal, entry(0, 1, index));
    assertGreater(disk.list("wal").length, 1);
    wal.forget(0, { index: 8, term: 1 }, { keepsRest: true });
    fails = true;
    let told: unknown = "nothing";
    wal.sync((error) => told = error);
    assert(told instanceof WalFailedError, `${failing}: ${told}`);
    assertEquals(wal.failure, told);
  }
});

Deno.test("a log of the format before stays as it is while nothing is written, also when it is closed", () => {
  const disk = goldenDisk();
  const files = (): unknown => disk.list("wal").map((name) => [name, disk.readFile(`wal/${name}`)]);
  const before = files();
  for (let start = 1; start <= 2; start++) {
    Wal.open(disk, { clusterId: "lone", nodeId: 1 }).wal.close();
    assertEquals(files(), before);
  }
});

Deno.test("a segment is removed also while more is written than a sync has made durable", () => {
  const ends: (() => void)[] = [];
  const disk = new MemoryDisk({ later: (run) => void ends.push(run) });
  const { wal } = openWal(disk, { ...plain, segmentBytes: 300 });
  let index = 0;
  const write = (): void => void wal.append([encode(entry(0, 1, ++index))]);
  const sync = (): void => {
    wal.sync(() => {});
    // What is written while a sync runs is not durable when it ends.
    write();
    while (ends.length > 0) ends.shift()!();
  };
  while (disk.list("wal").length < 2) {
    write();
    sync();
  }
  wal.forget(0, { index: index - 1, term: 1 }, { keepsRest: true });
  const [oldest] = disk.list("wal");
  sync();
  assert(!disk.list("wal").includes(oldest!));
});

Deno.test("a segment is not removed before the head of the next one is durable", () => {
  const ends: (() => void)[] = [];
  const disk = new MemoryDisk({ later: (run) => void ends.push(run) });
  const options = { ...plain, segmentBytes: 300 };
  const { wal } = openWal(disk, options);
  wal.append([hardState(0, 1, 1), entry(0, 1, 1)].map(encode));
  wal.forget(0, { index: 1, term: 1 }, { keepsRest: true });
  const oldest = disk.list("wal");
  wal.sync(() => {});
  wal.append([encode(entry(0, 1, 2))]);
  assertEquals(disk.list("wal").length, 2);
  while (ends.length > 0) ends.shift()!();
  assertEquals(disk.list("wal").slice(0, 1), oldest);
  disk.crash(() => 0);
  assertEquals(openWal(disk, options).groups.get(0)!.hardState, { currentTerm: 1, votedFor: 1 });
});

Deno.test("a segment is not removed before what replaces its entries is durable", () => {
  const ends: (() => void)[] = [];
  const disk = new MemoryDisk({ later: (run) => void ends.push(run) });
  const options = { ...plain, segmentBytes: 300 };
  const { wal } = openWal(disk, options);
  const finish = (): void => {
    while (ends.length > 0) ends.shift()!();
  };
  const records = [hardState(0, 1, 1), entry(0, 1, 1), entry(0, 1, 2), entry(0, 1, 3)];
  wal.append(records.map(encode));
  wal.forget(0, { index: 1, term: 1 }, { keepsRest: true });
  const [oldest] = disk.list("wal");
  wal.sync(() => {});
  finish();
  assertEquals(disk.list("wal").length, 2);
  wal.append([encode(hardState(0, 2))]);
  wal.sync(() => {});
  wal.append([encode(entry(0, 2, 2))]);
  finish();
  assertEquals(disk.list("wal")[0], oldest);
  wal.sync(() => {});
  finish();
  assert(!disk.list("wal").includes(oldest!));
});
