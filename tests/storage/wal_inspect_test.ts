/**
 * An inspection says of a log what opening it would, and changes nothing.
 *
 * @module
 */
import {
  assert,
  assertEquals,
  assertGreater,
  assertStringIncludes,
  assertThrows,
} from "@std/assert";
import { crc32c } from "../../storage/crc32c.ts";
import { INSPECTION_TRIES } from "../../storage/log/limits.ts";
import { WalCorruptError, WalError, WalVersionError } from "../../storage/log/wal_errors.ts";
import {
  inspectLog,
  type LogFiles,
  type LogFinding,
  type LogVerdict,
} from "../../storage/log/wal_inspect.ts";
import { RECORD_HEADER_BYTES } from "../../storage/log/wal_record.ts";
import { SEGMENT_HEADER_BYTES, segmentPath } from "../../storage/log/wal_segment.ts";
import { WATERMARK_PATH } from "../../storage/log/watermark.ts";
import { MemoryDisk } from "../sim/memory_disk.ts";
import { openWal } from "./open_wal.ts";
import { encode, entry, hardState, walOptions } from "./wal_script.ts";

/** A log of several segments with every kind of record, and a base; never closed. */
function writtenLog(): MemoryDisk {
  const disk = new MemoryDisk({ later: (run) => run() });
  const { wal } = openWal(disk, walOptions);
  wal.append([encode(hardState(0, 1, 2)), encode(hardState(7, 3))]);
  for (let index = 1; index <= 12; index++) {
    wal.append([encode(entry(0, 1, index)), encode(entry(7, 3, index))]);
    wal.sync(() => {});
    if (index === 6) {
      for (const group of [0, 7]) {
        wal.forget(group, { index: 4, term: group === 0 ? 1 : 3 }, { keepsRest: true });
      }
    }
  }
  return disk;
}

function filesOf(disk: MemoryDisk): LogFiles {
  return {
    list: () => disk.list("wal"),
    read: (name) => disk.exists(`wal/${name}`) ? disk.readFile(`wal/${name}`) : undefined,
    readWatermark: () => disk.exists(WATERMARK_PATH) ? disk.readFile(WATERMARK_PATH) : undefined,
  };
}

function inspect(files: LogFiles): { findings: LogFinding[]; verdict: LogVerdict } {
  const findings: LogFinding[] = [];
  const running = inspectLog(files);
  for (;;) {
    const { done, value } = running.next();
    if (done === true) return { findings, verdict: value };
    findings.push(value);
  }
}

function images(disk: MemoryDisk): (readonly [string, Uint8Array])[] {
  return disk.list("wal").map((name) => [`wal/${name}`, disk.readFile(`wal/${name}`)]);
}

function diskOf(files: readonly (readonly [string, Uint8Array])[]): MemoryDisk {
  const disk = new MemoryDisk({ later: (run) => run() });
  disk.makeDirectory("wal");
  for (const [path, bytes] of files) disk.replace(path, bytes);
  return disk;
}

Deno.test("an inspection finds every segment and record in its place, and what the groups come to", () => {
  const disk = writtenLog();
  const { findings, verdict } = inspect(filesOf(disk));
  const segments = findings.filter((finding) => finding.type === "segment");
  assertEquals(segments.map(({ path }) => path), disk.list("wal").map((name) => `wal/${name}`));
  assertGreater(segments.length, 2);
  assertGreater(segments[0]!.sequence, 1, "the first segment was removed");
  assertEquals([segments[0]!.nodeId, segments[0]!.clusterId], [1, "c-1"]);
  // The records fill their segments, without a gap.
  for (const { path, bytes, position } of segments) {
    let at = SEGMENT_HEADER_BYTES;
    for (const finding of findings) {
      if (finding.type !== "record" || finding.path !== path) continue;
      assertEquals([finding.offset, finding.position], [at, position + at]);
      at += finding.bytes;
    }
    assertEquals(at, bytes);
  }
  const records = findings.filter((finding) => finding.type === "record");
  const last = records.findLast(({ kind }) => kind === "command")!;
  assertEquals([last.group, last.term, last.index, last.timeMs], [7, 3, 12, 1012]);
  assertEquals(last.bytes, RECORD_HEADER_BYTES + "7/3/12".length);
  const mark = records.findLast(({ kind }) => kind === "mark")!;
  assertEquals([mark.group, mark.index], [undefined, undefined]);
  assertGreater(mark.durablePosition!, 0);
  assert(mark.durablePosition! <= mark.position);
  const checkpoint = records.findLast(({ kind }) => kind === "checkpoint")!;
  assertEquals([checkpoint.group, checkpoint.votedFor, checkpoint.baseIndex], [7, 0, 4]);
  assertEquals([verdict.error, verdict.tornTail, verdict.segments], [
    undefined,
    undefined,
    segments.length,
  ]);
  assertEquals([...verdict.groups], [
    [0, { term: 1, votedFor: 2, baseIndex: 4, baseTerm: 1, lastIndex: 12 }],
    [7, { term: 3, votedFor: 0, baseIndex: 4, baseTerm: 3, lastIndex: 12 }],
  ]);
});

Deno.test("B8: with any byte flipped, and cut anywhere, an inspection says what a start would, and changes nothing", () => {
  const files = images(writtenLog());
  const damaged: [what: string, files: (readonly [string, Uint8Array])[]][] = [];
  files.forEach(([path, bytes], nth) => {
    for (let at = 0; at < bytes.length; at++) {
      const flipped = bytes.with(at, bytes[at]! ^ (1 << (at % 8)));
      damaged.push([`${path} at ${at}`, files.with(nth, [path, flipped])]);
      const cut = bytes.slice(0, at);
      if (at % 7 === 0) damaged.push([`${path} cut at ${at}`, files.with(nth, [path, cut])]);
    }
    damaged.push([`${path} missing`, files.toSpliced(nth, 1)]);
  });
  const verdicts = { sound: 0, torn: 0, refused: 0 };
  for (const [what, image] of damaged) {
    const disk = diskOf(image);
    const { findings, verdict: { error, tornTail } } = inspect(filesOf(disk));
    assertEquals(images(disk), image.toSorted(([one], [other]) => one < other ? -1 : 1), what);
    let opened: ReturnType<typeof openWal> | undefined;
    let refusal: unknown;
    try {
      opened = openWal(disk, walOptions);
    } catch (thrown) {
      refusal = thrown;
    }
    assertEquals(error?.message, (refusal as Error | undefined)?.message, what);
    assertEquals(tornTail === undefined, opened?.tornTail === undefined, what);
    if (tornTail !== undefined) assert(opened!.tornTail!.startsWith(tornTail.path), what);
    if (error !== undefined) assert(error instanceof WalError, what);
    const isCut = findings.some(({ type }) => type === "unreadable");
    if (error instanceof WalCorruptError && error.offset > 0) assert(isCut, what);
    verdicts[error !== undefined ? "refused" : tornTail !== undefined ? "torn" : "sound"]++;
  }
  assertGreater(verdicts.refused, 500);
  assertGreater(verdicts.torn, 20);
});

Deno.test("a segment of a newer release is none of this release's business", () => {
  const disk = writtenLog();
  const [path, bytes] = images(disk)[0]!;
  const view = new DataView(bytes.buffer);
  view.setUint32(8, 6, true);
  view.setUint32(124, crc32c(bytes, 0, 124), true);
  disk.replace(path, bytes);
  assertThrows(() => inspect(filesOf(disk)), WalVersionError, "use a newer release");
});

Deno.test("INSPECTION_TRIES: a log whose first segments are removed meanwhile is looked at anew, but not without an end", () => {
  const disk = writtenLog();
  const files = filesOf(disk);
  const names = disk.list("wal");
  const removed = segmentPath(Number(names[0]!.slice(0, 20)) - 1).slice(4);
  let looks = 0;
  const { verdict } = inspect({
    // It is there when the verdict begins to look, and gone when its turn comes.
    list: () => looks++ < 2 ? [removed, ...names] : names,
    read: files.read,
    readWatermark: files.readWatermark,
  });
  assertEquals([verdict.error, verdict.segments, looks], [undefined, names.length, 3]);
  let lists = 0;
  const never: LogFiles = {
    list: () => {
      lists++;
      return files.list();
    },
    read: () => undefined,
    readWatermark: () => undefined,
  };
  assertThrows(() => inspect(never), Error, "it was removed meanwhile");
  assertEquals(lists, 1 + INSPECTION_TRIES);
});

Deno.test("a log that is cut at its end, below what was durable, is damaged, as a start finds it", () => {
  const disk = new MemoryDisk({ later: (run) => run() });
  const { wal } = openWal(disk, { ...walOptions, segmentBytes: 1_000_000 });
  for (let index = 1; index <= 3; index++) {
    wal.append([encode(entry(0, 1, index))]);
    wal.sync(() => {});
  }
  assertEquals(inspect(filesOf(disk)).verdict.error, undefined);
  const bytes = disk.readFile(segmentPath(1));
  disk.replace(segmentPath(1), bytes.slice(0, -60));
  const { verdict } = inspect(filesOf(disk));
  assertStringIncludes(verdict.error!.message, "although the log had been durable to position");
  // Without the file nobody can tell.
  disk.erase(WATERMARK_PATH);
  assertEquals(inspect(filesOf(disk)).verdict.error, undefined);
});

Deno.test("a record that a node is writing is no damage, also if the segment has grown at the second look", () => {
  const disk = new MemoryDisk({ later: (run) => run() });
  const { wal } = openWal(disk, { ...walOptions, segmentBytes: 1_000_000 });
  for (let index = 1; index <= 6; index++) {
    wal.append([encode(entry(0, 1, index))]);
    wal.sync(() => {});
  }
  const files = filesOf(disk);
  const [newest] = disk.list("wal");
  const whole = disk.readFile(`wal/${newest}`);
  for (let missing = 1; missing <= whole.length - SEGMENT_HEADER_BYTES; missing++) {
    // The listing reads it first, then the verdict.
    let reads = 0;
    const read = (name: string): Uint8Array | undefined =>
      name === newest && ++reads <= 2
        ? whole.subarray(0, whole.length - missing)
        : files.read(name);
    // It was read before any of this was durable.
    const readWatermark = (): undefined => undefined;
    const { verdict } = inspect({ ...files, read, readWatermark });
    assertEquals(verdict.error, undefined, `${missing} bytes`);
  }
});

Deno.test("no segments are no damage, and neither is a first one whose header is being written", () => {
  const disk = new MemoryDisk();
  disk.makeDirectory("wal");
  assertEquals(inspect(filesOf(disk)).verdict.error, undefined);
  disk.replace(segmentPath(1), new Uint8Array(40));
  const { findings, verdict } = inspect(filesOf(disk));
  assertEquals(findings.map(({ type }) => type), ["unreadable"]);
  assertEquals([verdict.error, verdict.tornTail?.offset], [undefined, 0]);
});
