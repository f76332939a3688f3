import {
  assert,
  assertEquals,
  assertGreater,
  assertInstanceOf,
  assertStrictEquals,
  assertStringIncludes,
  assertThrows,
} from "@std/assert";
import { compress } from "../../storage/compression.ts";
import { DenoDisk } from "../../storage/log/deno_disk.ts";
import { type Disk, DiskError } from "../../storage/log/disk.ts";
import { RECOVERED_BLOCK_BYTES, WRITE_GATHER_BYTES_MAX } from "../../storage/log/limits.ts";
import type { Wal } from "../../storage/log/wal.ts";
import { openWal } from "./open_wal.ts";
import {
  WalCorruptError,
  WalError,
  WalFailedError,
  WalFullError,
  WalIdentityError,
  WalMisplacedSegmentError,
  WalMissingSegmentError,
  WalUnknownRecordError,
  WalVersionError,
} from "../../storage/log/wal_errors.ts";
import {
  CHECKPOINT_BYTES,
  encodeCheckpoint,
  encodePacked,
  encodeRun,
  RECORD_HEADER_BYTES,
  writeMark,
} from "../../storage/log/wal_record.ts";
import {
  encodeSegmentHeader,
  SEGMENT_HEADER_BYTES,
  segmentPath,
} from "../../storage/log/wal_segment.ts";
import { crc32c } from "../../storage/crc32c.ts";
import { MemoryDisk } from "../sim/memory_disk.ts";
import {
  contentAfter,
  contentOf,
  encode,
  entry,
  hardState,
  walOptions,
  type Written,
} from "./wal_script.ts";

/** Batches, each of which is synced; they fill three segments. */
const batches: readonly Written[][] = [
  [hardState(0, 1, 1), entry(0, 1, 1)],
  [entry(0, 1, 2), entry(3, 1, 1)],
  [entry(0, 1, 3)],
  [hardState(0, 2), entry(0, 2, 3)],
  [entry(0, 2, 4), entry(3, 1, 2)],
  [entry(3, 1, 3)],
  [entry(0, 2, 5)],
  [hardState(3, 4, 1)],
];
const written = batches.flat();

for (
  const [name, makeDisk] of [
    ["memory disk", () => ({ disk: new MemoryDisk(), dispose: () => {} })],
    ["Deno disk", makeDenoDisk],
  ] as const
) {
  Deno.test(`S01: a log on a ${name} is still there when it is opened again`, async () => {
    const { disk, dispose } = makeDisk();
    try {
      disk.makeDirectory("");
      for (let at = 0; at < batches.length; at++) {
        const opened = openWal(disk, walOptions);
        assertEquals(contentOf(opened), contentAfter(batches.slice(0, at).flat()));
        opened.wal.append(batches[at]!.map(encode));
        await synced(opened.wal);
        assertEquals(opened.wal.durablePosition, opened.wal.position);
        opened.wal.close();
      }
      const last = openWal(disk, walOptions);
      assertEquals(contentOf(last), contentAfter(written));
      assertEquals(last.tornTail, undefined);
      last.wal.close();
      assertGreater(disk.list("wal").length, 2);
    } finally {
      dispose();
    }
  });

  Deno.test(`appends on a ${name} go on while a sync runs`, async () => {
    const { disk, dispose } = makeDisk();
    try {
      disk.makeDirectory("");
      const { wal } = openWal(disk, { ...walOptions, segmentBytes: 2000 });
      let index = 0;
      for (let round = 0; round < 10; round++) {
        const before = wal.append([encode(entry(0, 1, ++index))]);
        const sync = synced(wal);
        assertThrows(() => wal.sync(() => {}), Error, "a sync is running");
        assertThrows(() => wal.close(), Error, "a sync is running");
        const position = wal.append([encode(entry(0, 1, ++index)), encode(entry(0, 1, ++index))]);
        assertGreater(position, before);
        assertEquals(await sync, before);
        assertEquals(wal.durablePosition, before);
      }
      await synced(wal);
      assertEquals(wal.durablePosition, wal.position);
      wal.close();
      const again = openWal(disk, walOptions);
      const entries = Array.from({ length: index }, (_, i) => entry(0, 1, i + 1));
      assertEquals(contentOf(again), contentAfter(entries));
      again.wal.close();
    } finally {
      dispose();
    }
  });
}

Deno.test("entries of one term come back in few runs, in memory of their own", () => {
  const disk = new MemoryDisk();
  const { wal } = openWal(disk, { clusterId: "c", nodeId: 1 });
  const payload = new Uint8Array(10_000);
  const count = 250;
  for (let index = 1; index <= count; index++) {
    wal.append([encodeRun({ ...common, firstIndex: index, payloads: [payload] }).bytes]);
  }
  wal.close();
  const { groups } = openWal(disk, { clusterId: "c", nodeId: 1 });
  const { runs } = groups.get(0)!;
  assertEquals(runs.length, Math.ceil(count / Math.floor(RECOVERED_BLOCK_BYTES / 10_040)));
  for (const { bytes, ends } of runs) {
    assertEquals(ends.at(-1), bytes.length);
    assertEquals(bytes.buffer.byteLength, bytes.length);
  }
});

Deno.test("chunks larger than the gather buffer are written too", () => {
  const disk = new MemoryDisk();
  const { wal } = openWal(disk, walOptions);
  const payload = new Uint8Array(WRITE_GATHER_BYTES_MAX).fill(7);
  const { bytes } = encodeRun({ ...common, firstIndex: 1, payloads: [payload, payload] });
  wal.append([bytes, encode(entry(1, 1, 1))]);
  wal.close();
  const { groups } = openWal(disk, walOptions);
  assertEquals(groups.get(0)!.runs[0]!.bytes.length, bytes.length);
  assertEquals(groups.get(1)!.runs.length, 1);
});

Deno.test("an entry replaces all of its group from its index on", () => {
  const disk = new MemoryDisk();
  const records = [
    ...[1, 2, 3, 4, 5].map((index) => entry(0, 1, index)),
    entry(1, 1, 1),
    entry(0, 2, 3),
    entry(0, 2, 4),
    entry(0, 3, 4),
    entry(0, 5, 1),
    entry(0, 5, 2),
  ];
  for (let at = 0; at < records.length; at++) {
    openWal(disk, walOptions).wal.append([encode(records[at]!)]);
    const { groups } = openWal(disk, walOptions);
    assertEquals(contentOf({ groups }), contentAfter(records.slice(0, at + 1)));
  }
});

Deno.test("records that contradict each other are corruption, not a torn tail", () => {
  for (
    const records of [
      [entry(0, 1, 2)],
      [entry(0, 1, 1), entry(0, 1, 3)],
      [entry(0, 2, 1), entry(0, 1, 2)],
      [entry(0, 2, 1), entry(0, 2, 2), entry(0, 1, 2)],
      [hardState(0, 3), hardState(0, 2)],
    ]
  ) {
    const disk = new MemoryDisk();
    const { wal } = openWal(disk, walOptions);
    wal.append(records.map(encode));
    assertThrows(() => openWal(disk, walOptions), WalCorruptError);
  }
});

Deno.test("X6: two writers of one log are damage, not a torn tail, though no mark tells of more", () => {
  const disk = new MemoryDisk();
  const { wal: one } = openWal(disk, walOptions);
  one.append([encode(entry(0, 1, 1))]);
  const both = disk.readFile(segmentPath(1));
  one.append([encode(entry(0, 1, 2))]);
  const rest = disk.readFile(segmentPath(1)).subarray(both.length);
  // The other writes between them, and believes to be where the first has written.
  const others = both.subarray(SEGMENT_HEADER_BYTES);
  disk.replace(segmentPath(1), new Uint8Array([...both, ...others, ...rest]));
  const before = disk.readFile(segmentPath(1));
  const error = assertThrows(() => openWal(disk, walOptions), WalCorruptError);
  assertStringIncludes(error.message, "a mark of another place");
  assertEquals(disk.readFile(segmentPath(1)), before, "nothing was cut off");
});

Deno.test("X6: a whole mark that tells of the future, or of another segment, is damage", () => {
  for (const wrong of [{ durablePosition: 1e6 }, { sequence: 7 }, { position: 3 }]) {
    const disk = new MemoryDisk({ later: (run) => run() });
    const { wal } = openWal(disk, walOptions);
    const { position } = wal;
    wal.append([encode(entry(0, 1, 1))]);
    const bytes = disk.readFile(segmentPath(1));
    writeMark(bytes, position, {
      ...{ sequence: 1, position, durablePosition: position, checksumBefore: 0 },
      ...wrong,
    });
    disk.replace(segmentPath(1), bytes);
    assertThrows(() => openWal(disk, walOptions), WalCorruptError);
  }
});

Deno.test("a flipped bit: corruption if it was marked durable, else a shorter prefix; never less", () => {
  const files = filesOf(writeBatches());
  const markedPrefixes = prefixTexts(batches.length - 1);
  let refused = 0;
  let cut = 0;
  for (const [path, bytes] of files) {
    for (let at = 0; at < bytes.length; at++) {
      const disk = diskOf(files);
      disk.flipBit(path, at * 8 + (at % 8));
      try {
        const { groups, tornTail } = openWal(disk, walOptions);
        assert(tornTail !== undefined);
        const text = JSON.stringify(contentOf({ groups }));
        assert(markedPrefixes.includes(text), `byte ${at} of ${path}: ${text}`);
        cut++;
      } catch (error) {
        if (!(error instanceof WalError)) throw error;
        refused++;
      }
    }
  }
  assertEquals([refused, cut], [totalBytes(files) - unmarkedBytes(files), unmarkedBytes(files)]);
});

Deno.test("a flipped bit anywhere in a log that was closed is corruption", () => {
  const closed = writeBatches();
  openWal(closed, walOptions).wal.close();
  const files = filesOf(closed);
  const last = files.at(-1)![0];
  for (const [path, bytes] of files) {
    for (let at = 0; at < bytes.length; at += 3) {
      const disk = diskOf(files);
      disk.flipBit(path, at * 8);
      const closingMark = path === last && at >= bytes.length - RECORD_HEADER_BYTES;
      if (!closingMark) assertThrows(() => openWal(disk, walOptions), WalError);
      else assertEquals(contentOf(openWal(disk, walOptions)), contentAfter(written));
    }
  }
});

Deno.test("a corrupt log names the segment and the byte, and is left as it was", () => {
  const disk = writeBatches();
  const path = segmentPath(2);
  const head = SEGMENT_HEADER_BYTES + 2 * CHECKPOINT_BYTES;
  disk.flipBit(path, (head + 50) * 8);
  const before = JSON.stringify(filesOf(disk));
  const error = assertThrows(() => openWal(disk, walOptions), WalCorruptError);
  const at = head + RECORD_HEADER_BYTES;
  assertEquals([error.path, error.offset], [path, at]);
  const text = `Cannot open log segment "${path}": corrupt in the record at byte ${at}: ` +
    "its checksum does not match, although the log had been durable to position ";
  assertEquals(error.message.slice(0, text.length), text);
  assertEquals(JSON.stringify(filesOf(disk)), before);
});

Deno.test("a segment cut short: an error if another follows, else a prefix without a gap", () => {
  const files = filesOf(writeBatches());
  const prefixes = prefixTexts(0);
  const last = files.at(-1)![0];
  for (const [path, bytes] of files) {
    for (let size = 0; size < bytes.length; size++) {
      const disk = diskOf(files);
      disk.replace(path, bytes.subarray(0, size));
      if (path !== last) assertThrows(() => openWal(disk, walOptions), WalCorruptError);
      else {
        const text = JSON.stringify(contentOf(openWal(disk, walOptions)));
        assert(prefixes.includes(text), `${size} bytes left: ${text}`);
      }
    }
  }
});

Deno.test("zeros or garbage behind the last record are a torn tail", () => {
  const files = filesOf(writeBatches());
  const [path, bytes] = files.at(-1)!;
  for (const filler of [0, 0xff, 5, 1]) {
    for (const size of [1, 39, 40, 41, 512, 5000]) {
      const disk = diskOf(files);
      const longer = new Uint8Array(bytes.length + size).fill(filler);
      longer.set(bytes);
      disk.replace(path, longer);
      const opened = openWal(disk, walOptions);
      assert(opened.tornTail !== undefined);
      assertEquals(contentOf(opened), contentAfter(written));
      assertEquals(disk.readFile(path).length, bytes.length);
      opened.wal.append([encode(entry(0, 2, 6))]);
      const again = contentOf(openWal(disk, walOptions));
      assertEquals(again, contentAfter([...written, entry(0, 2, 6)]));
    }
  }
});

Deno.test("a value that looks like a mark of the future does not turn a torn tail into corruption", () => {
  const disk = new MemoryDisk();
  const { wal } = openWal(disk, { clusterId: "c", nodeId: 1 });
  wal.append([encode(entry(0, 1, 1))]);
  wal.close();
  const before = disk.readFile(segmentPath(1));
  const mark = new Uint8Array(RECORD_HEADER_BYTES);
  const future = { sequence: 1, position: 10_000, durablePosition: 9_000, checksumBefore: 0 };
  writeMark(mark, 0, future);
  const { bytes } = encodeRun({ ...common, firstIndex: 2, payloads: [mark, mark] });
  bytes[0]! ^= 1;
  const torn = new Uint8Array(before.length + bytes.length);
  torn.set(before);
  torn.set(bytes, before.length);
  disk.replace(segmentPath(1), torn);
  const opened = openWal(disk, { clusterId: "c", nodeId: 1 });
  assert(opened.tornTail !== undefined);
  assertEquals(contentOf(opened), contentAfter([entry(0, 1, 1)]));
});

Deno.test("a crash between creating a segment and writing its header is recovered from", () => {
  const files = filesOf(writeBatches());
  const next = segmentPath(files.length + 1);
  for (const size of [0, 1, SEGMENT_HEADER_BYTES - 1]) {
    const disk = diskOf(files);
    const position = totalBytes(files);
    const header = encodeSegmentHeader({
      ...walOptions,
      sequence: files.length + 1,
      position,
      checkpoints: 0,
      checksumBefore: 0,
    });
    disk.replace(next, header.slice(0, size));
    assertEquals(contentOf(openWal(disk, walOptions)), contentAfter(written));
    assert(!disk.exists(next));
    disk.replace(next, new Uint8Array(SEGMENT_HEADER_BYTES));
    assertEquals(contentOf(openWal(disk, walOptions)), contentAfter(written));
  }
  const fresh = new MemoryDisk();
  fresh.makeDirectory("wal");
  fresh.replace(segmentPath(1), new Uint8Array(5));
  assertEquals(contentOf(openWal(fresh, walOptions)), {});
});

Deno.test("missing, doubled and exchanged segments are refused", () => {
  const files = filesOf(writeBatches());
  assertGreater(files.length, 2);
  for (let missing = 0; missing < files.length - 1; missing++) {
    const disk = diskOf(files.filter((_, at) => at !== missing));
    const error = assertThrows(() => openWal(disk, walOptions), WalMissingSegmentError);
    assertEquals(error.path, segmentPath(missing + 1));
  }
  const doubled = diskOf(files);
  doubled.replace(segmentPath(files.length + 1), files.at(-1)![1]);
  assertThrows(() => openWal(doubled, walOptions), WalMisplacedSegmentError);
  const exchanged = diskOf(files);
  exchanged.replace(segmentPath(1), files[1]![1]);
  exchanged.replace(segmentPath(2), files[0]![1]);
  assertThrows(() => openWal(exchanged, walOptions), WalMisplacedSegmentError);
  const misnamed = diskOf(files);
  misnamed.replace("wal/4.wal", files[0]![1]);
  assertThrows(() => openWal(misnamed, walOptions), WalMisplacedSegmentError);
  const longer = diskOf(files);
  longer.replace(segmentPath(1), new Uint8Array([...files[0]![1], ...encode(entry(8, 1, 1))]));
  assertThrows(() => openWal(longer, walOptions), WalCorruptError);
  const quarantined = diskOf(files);
  quarantined.replace(`${segmentPath(1)}.broken`, files[0]![1]);
  assertEquals(contentOf(openWal(quarantined, walOptions)), contentAfter(written));
});

Deno.test("X1: a whole record that a later release wrote is no torn tail: the log is refused, and stays as it is", () => {
  const changes: [what: string, change: (view: DataView) => void][] = [
    ["its version is 2", (view) => view.setUint8(8, 2)],
    ["its kind is 8", (view) => view.setUint8(9, 8)],
    ["its reserved bytes are not zero", (view) => view.setUint8(10, 1)],
    ["it is a checkpoint with a payload of 5 bytes", (view) => view.setUint8(9, 6)],
    ["a number in it is above 2^53-1", (view) => view.setUint32(20, 2 ** 21, true)],
  ];
  const sealed = encode(entry(0, 1, 1));
  for (const [what, change] of changes) {
    const record = sealed.slice();
    change(new DataView(record.buffer));
    new DataView(record.buffer).setUint32(0, crc32c(record, 4), true);
    // Also where it is packed, and where power has torn what follows it.
    const packed = encodePacked(compress(record, 1), record.length);
    for (const bytesOf of [record, packed]) {
      for (const behind of [[], [0, 0, 0, 0], sealed.subarray(0, 50)]) {
        const disk = new MemoryDisk();
        openWal(disk, walOptions);
        const offset = disk.sizeOf(segmentPath(1));
        const bytes = new Uint8Array([...disk.readFile(segmentPath(1)), ...bytesOf, ...behind]);
        disk.replace(segmentPath(1), bytes);
        for (let start = 0; start < 2; start++) {
          const error = assertThrows(() => openWal(disk, walOptions), WalUnknownRecordError, what);
          assertEquals([error.path, error.offset], [segmentPath(1), offset]);
        }
        assertEquals(disk.readFile(segmentPath(1)), bytes);
      }
    }
  }
});

Deno.test("a whole checkpoint that contradicts itself is damage, with its place", () => {
  const disk = new MemoryDisk();
  openWal(disk, walOptions);
  const hardState = { currentTerm: 1, votedFor: undefined };
  const bytes = encodeCheckpoint(0, { hardState, base: { index: 5, term: 1 }, lastIndex: 5 });
  const view = new DataView(bytes.buffer);
  view.setUint32(RECORD_HEADER_BYTES, 9, true);
  view.setUint32(0, crc32c(bytes, 4), true);
  const offset = disk.sizeOf(segmentPath(1));
  disk.replace(segmentPath(1), new Uint8Array([...disk.readFile(segmentPath(1)), ...bytes]));
  const reason = "its log ends at 5, before 9";
  const error = assertThrows(() => openWal(disk, walOptions), WalCorruptError, reason);
  assertEquals([error.path, error.offset], [segmentPath(1), offset]);
});

Deno.test("the log of another node, cluster or release is refused", () => {
  const disk = writeBatches();
  assertThrows(() => openWal(disk, { ...walOptions, nodeId: 2 }), WalIdentityError);
  assertThrows(() => openWal(disk, { ...walOptions, clusterId: "c-2" }), WalIdentityError);
  const releases = [[1, "start anew"], [2, "start anew"], [3, "start anew"], [
    6,
    "use a newer release",
  ]] as const;
  for (const [version, advice] of releases) {
    const other = disk.readFile(segmentPath(1));
    const view = new DataView(other.buffer);
    view.setUint32(8, version, true);
    view.setUint32(124, crc32c(other, 0, 124), true);
    disk.replace(segmentPath(1), other);
    const error = assertThrows(() => openWal(disk, walOptions), WalVersionError, advice);
    assertEquals(error.version, version);
  }
  for (const clusterId of ["", "A", "a/b", "x".repeat(65)]) {
    assertThrows(() => openWal(disk, { ...walOptions, clusterId }), RangeError);
  }
  for (const nodeId of [0, -1, 1.5, 2 ** 31 + 1, NaN]) {
    assertThrows(() => openWal(disk, { ...walOptions, nodeId }), RangeError);
  }
});

Deno.test("what an opened log returned is durable, also if the process had been killed", () => {
  const disk = new MemoryDisk();
  const { wal } = openWal(disk, walOptions);
  for (const batch of batches) wal.append(batch.map(encode));
  assertGreater(disk.list("wal").length, 1);
  assertEquals(contentOf(openWal(disk, walOptions)), contentAfter(written));
  disk.crash(() => 0);
  assertEquals(contentOf(openWal(disk, walOptions)), contentAfter(written));
});

Deno.test("a torn segment with unsynced ones behind it is cut off, whenever the power goes again", () => {
  let alive = Infinity;
  for (let survived = 0; survived < 12; survived++) {
    for (let lost = 0; lost < 8; lost++) {
      const disk = new MemoryDisk({
        fault: () => {
          if (alive-- > 0) return undefined;
          throw new Error("power loss");
        },
      });
      alive = Infinity;
      const { wal } = openWal(disk, walOptions);
      for (const batch of batches) wal.append(batch.map(encode));
      // The second one's name survives, and all of it; the first segment loses its tail.
      let outcome = 0;
      disk.crash(() => outcome++ === 2 ? 0 : 1);
      assertEquals(disk.list("wal").length, 2);
      alive = survived;
      try {
        openWal(disk, walOptions);
      } catch (error) {
        assertEquals((error as Error).message, "power loss");
      }
      let change = 0;
      disk.crash(() => (lost >> change++) & 1);
      alive = Infinity;
      assertEquals(contentOf(openWal(disk, walOptions)), {});
      assertEquals(disk.list("wal").length, 1);
    }
  }
});

Deno.test("X11: a segment's name becomes durable with the next sync, off the event loop", () => {
  const story: string[] = [];
  const pending: (() => void)[] = [];
  const disk = new MemoryDisk({
    later: (run) => void pending.push(run),
    fault: ({ type, path }) => void story.push(`${type} ${path}`),
  });
  const options = { ...walOptions, segmentBytes: SEGMENT_HEADER_BYTES + 1 };
  const { wal } = openWal(disk, options);
  story.length = 0;
  let durable = 0;
  const sync = (): void => wal.sync((_error, position) => durable = position);
  for (const index of [1, 2, 3]) wal.append([encode(entry(0, 1, index))]);
  assertEquals(disk.list("wal").length, 2, "the second segment grows while its name is new");
  sync();
  const target = wal.position;
  wal.append([encode(entry(0, 1, 4))]);
  assertEquals(disk.list("wal").length, 2, "and while the sync of its name runs");
  while (pending.length > 0) {
    assertEquals(durable, 0);
    pending.shift()!();
  }
  assertEquals(durable, target);
  wal.append([encode(entry(0, 1, 5))]);
  assertEquals(disk.list("wal").length, 3, "the next one is begun once the name is durable");
  assertEquals(story.filter((line) => /sync/i.test(line)), [
    "syncData wal/00000000000000000001.wal",
    "syncData wal/00000000000000000002.wal",
    "syncDirectoryData wal",
  ]);
  // The fourth entry was in the file when its sync began; the fifth was in no sync.
  disk.crash(() => 0);
  const reopened = openWal(disk, options);
  assertEquals(contentOf(reopened), contentAfter([1, 2, 3, 4].map((index) => entry(0, 1, index))));
});

Deno.test("C6: a full disk takes all of an append or nothing, at every operation, and whatever power takes", () => {
  const texts = (records: readonly Written[]): unknown => contentAfter(records);
  const small = { ...walOptions, segmentBytes: 300 };
  const records = [1, 2, 3, 4, 5, 6].map((index) => entry(0, 1, index));
  for (let full = 0; full < 40; full++) {
    for (const loss of [0, 1, 2]) {
      let calls = 0;
      const disk = new MemoryDisk({
        later: (run) => run(),
        fault: ({ type, path }) =>
          ["append", "create"].includes(type) && calls++ === full
            ? new DiskError("Cannot write: no space left", { code: "no-space", path })
            : undefined,
      });
      let wal: Wal;
      try {
        ({ wal } = openWal(disk, small));
      } catch (error) {
        // The first segment of all: without it there is no log to go on with.
        assertEquals((error as DiskError).code, "no-space");
        continue;
      }
      for (const record of records) {
        try {
          wal.append([encode(record)]);
        } catch (error) {
          assertInstanceOf(error, WalFullError);
          assertEquals(wal.failure, undefined);
          wal.append([encode(record)]);
        }
        wal.sync(() => {});
      }
      disk.crash((count) => Math.min(loss, count - 1));
      assertEquals(contentOf(openWal(disk, small)), texts(records));
    }
  }
});

Deno.test("the first failed write or sync is the last: no call is tried again", () => {
  for (const failing of ["append", "syncData", "create", "syncDirectoryData"] as const) {
    let broken = false;
    let calls = 0;
    const cause = new DiskError("Cannot write: input/output error", { code: "io", path: "wal" });
    const disk = new MemoryDisk({
      later: (run) => run(),
      fault: ({ type }) => {
        if (broken) calls++;
        return broken && type === failing ? cause : undefined;
      },
    });
    const { wal } = openWal(disk, { ...walOptions, segmentBytes: 300 });
    wal.append([encode(entry(0, 1, 1)), encode(entry(0, 1, 2))]);
    wal.append([encode(entry(0, 1, 3))]);
    broken = true;
    const errors: unknown[] = [];
    const attempts = [
      () => wal.append([encode(entry(0, 1, 4))]),
      () => wal.sync((error) => error !== undefined && errors.push(error)),
    ];
    if (failing === "syncData") attempts.reverse();
    for (const attempt of [...attempts, ...attempts]) {
      try {
        attempt();
      } catch (error) {
        errors.push(error);
      }
    }
    // A directory is synced for the segment that the first append begins.
    assertEquals(errors.length, failing === "syncDirectoryData" ? 3 : 4, failing);
    const failure = errors[0] as WalFailedError;
    assert(failure instanceof WalFailedError);
    assertStrictEquals(failure.cause, cause);
    assertStrictEquals(wal.failure, failure);
    for (const error of errors) assertStrictEquals(error, failure);
    const callsAtFailure = calls;
    wal.close();
    assertEquals(calls, callsAtFailure, "closing a failed log touches nothing");
    broken = false;
    const text = JSON.stringify(contentOf(openWal(disk, walOptions)));
    const entries = [1, 2, 3, 4].map((index) => entry(0, 1, index));
    const possible = [3, 4].map((count) => JSON.stringify(contentAfter(entries.slice(0, count))));
    assert(possible.includes(text), text);
  }
});

Deno.test("a write that fails while a sync runs fails the sync too", () => {
  const pending: (() => void)[] = [];
  let broken = false;
  const disk = new MemoryDisk({
    later: (run) => pending.push(run),
    fault: ({ type, path }) =>
      broken && type === "append" ? new DiskError("Cannot write", { code: "io", path }) : undefined,
  });
  const { wal } = openWal(disk, walOptions);
  const durable = wal.durablePosition;
  wal.append([encode(entry(0, 1, 1))]);
  let outcome: [unknown, number] | undefined;
  wal.sync((error, position) => outcome = [error, position]);
  broken = true;
  assertThrows(() => wal.append([encode(entry(0, 1, 2))]), WalFailedError);
  assertEquals(outcome, undefined);
  pending.shift()!();
  assertEquals(outcome, [wal.failure, durable]);
});

Deno.test("a closed log takes nothing more", () => {
  const { wal } = openWal(new MemoryDisk(), walOptions);
  wal.close();
  assertThrows(() => wal.append([]), WalFailedError, "it is closed");
  assertThrows(() => wal.sync(() => {}), WalFailedError, "it is closed");
});

const common = { group: 0, term: 1, timeMs: 0, kind: "command" } as const;

function makeDenoDisk(): { disk: Disk; dispose: () => void } {
  const root = Deno.makeTempDirSync();
  return {
    disk: new DenoDisk(root),
    dispose: () => Deno.removeSync(root, { recursive: true }),
  };
}

function synced(wal: Wal): Promise<number> {
  return new Promise((resolve, reject) => {
    wal.sync((error, position) => error === undefined ? resolve(position) : reject(error));
  });
}

/** A log of all batches, each of them synced, that was never closed. */
function writeBatches(): MemoryDisk {
  const disk = new MemoryDisk({ later: (run) => run() });
  const { wal } = openWal(disk, walOptions);
  for (const batch of batches) {
    wal.append(batch.map(encode));
    wal.sync((error) => assertEquals(error, undefined));
  }
  return disk;
}

/** Mark and records of the last batch: behind them no mark tells that they had been durable. */
/** Bytes of the last batch, and of the segment's head if it is the first in its segment. */
function unmarkedBytes(files: readonly [path: string, bytes: Uint8Array][]): number {
  const bytes = RECORD_HEADER_BYTES +
    batches.at(-1)!.reduce((sum, record) => sum + encode(record).length, 0);
  const { length } = files.at(-1)![1];
  const head = SEGMENT_HEADER_BYTES + 2 * CHECKPOINT_BYTES;
  return length === head + bytes ? length : bytes;
}

/** The contents of every prefix of the records that has at least the first `atLeast` batches. */
function prefixTexts(atLeast: number): string[] {
  const texts: string[] = [];
  for (let count = batches.slice(0, atLeast).flat().length; count <= written.length; count++) {
    texts.push(JSON.stringify(contentAfter(written.slice(0, count))));
  }
  return texts;
}

function filesOf(disk: Disk): [path: string, bytes: Uint8Array][] {
  return disk.list("wal").map((name) => [`wal/${name}`, disk.readFile(`wal/${name}`)]);
}

function diskOf(files: readonly (readonly [path: string, bytes: Uint8Array])[]): MemoryDisk {
  const disk = new MemoryDisk();
  disk.makeDirectory("wal");
  for (const [path, bytes] of files) disk.replace(path, bytes);
  return disk;
}

function totalBytes(files: readonly (readonly [path: string, bytes: Uint8Array])[]): number {
  return files.reduce((sum, [, bytes]) => sum + bytes.length, 0);
}
