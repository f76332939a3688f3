import { assertEquals, assertStringIncludes, assertThrows } from "@std/assert";
import { DiskError } from "../../storage/log/disk.ts";
import { WATERMARK_FILE_BYTES } from "../../storage/log/limits.ts";
import { Wal } from "../../storage/log/wal.ts";
import { WalCorruptError } from "../../storage/log/wal_errors.ts";
import { segmentPath } from "../../storage/log/wal_segment.ts";
import { readWatermark, Watermark, WATERMARK_PATH } from "../../storage/log/watermark.ts";
import { MemoryDisk } from "../sim/memory_disk.ts";
import { choicesOf } from "./power_loss.ts";
import { encode, entry, walOptions } from "./wal_script.ts";

const promptly = (): MemoryDisk => new MemoryDisk({ later: (run) => run() });

/** A log of three synced batches whose process was killed; the length of its file after each. */
function killed(): { disk: MemoryDisk; sizes: number[] } {
  const disk = promptly();
  const { wal } = Wal.open(disk, walOptions);
  const sizes = [1, 2, 3].map((index) => {
    wal.append([encode(entry(0, 1, index))]);
    wal.sync(() => {});
    return disk.sizeOf(segmentPath(1));
  });
  disk.crash(() => 1);
  return { disk, sizes };
}

Deno.test("a log that is cut anywhere before what was durable is damaged, not torn", () => {
  const { disk, sizes } = killed();
  const whole = disk.readFile(segmentPath(1));
  for (let size = 0; size < sizes.at(-1)!; size++) {
    const { disk } = killed();
    disk.replace(segmentPath(1), whole.subarray(0, size));
    const error = assertThrows(() => Wal.open(disk, walOptions), WalCorruptError);
    assertStringIncludes(error.message, segmentPath(1));
  }
  disk.replace(segmentPath(1), new Uint8Array([...whole, 1, 2, 3]));
  assertEquals(Wal.open(disk, walOptions).groups.get(0)?.lastIndex, 3);
});

Deno.test("the last segment cannot be missed without notice", () => {
  const disk = promptly();
  const { wal } = Wal.open(disk, { ...walOptions, segmentBytes: 1 });
  for (const index of [1, 2, 3]) {
    wal.append([encode(entry(0, 1, index))]);
    wal.sync(() => {});
  }
  disk.crash(() => 1);
  disk.erase(`wal/${disk.list("wal").at(-1)}`);
  assertThrows(() => Wal.open(disk, walOptions), WalCorruptError, "had been durable to position");
});

Deno.test("it is never ahead of the log: what power takes from either is no damage", () => {
  for (let loss = 0; loss < 64; loss++) {
    const disk = promptly();
    const { wal } = Wal.open(disk, walOptions);
    for (const index of [1, 2, 3]) {
      wal.append([encode(entry(0, 1, index))]);
      if (index < 3) wal.sync(() => {});
    }
    disk.crash(choicesOf(loss));
    const { lastIndex } = Wal.open(disk, walOptions).groups.get(0)!;
    assertEquals(lastIndex === 2 || lastIndex === 3, true, `loss ${loss}: ${lastIndex}`);
  }
});

Deno.test("WATERMARK_FILE_BYTES: the file begins anew, and its last whole record counts", () => {
  const disk = promptly();
  const watermark = new Watermark(disk);
  let longest = 0;
  for (let position = 1; position <= 1_000; position++) {
    watermark.note(position);
    longest = Math.max(longest, disk.sizeOf(WATERMARK_PATH));
    assertEquals(readWatermark(disk), position);
  }
  assertEquals(longest, WATERMARK_FILE_BYTES);
  watermark.close();
  const bytes = disk.readFile(WATERMARK_PATH);
  disk.replace(WATERMARK_PATH, new Uint8Array([...bytes, 9, 9]));
  assertEquals(readWatermark(disk), 1_000);
  const again = new Watermark(disk);
  again.note(1_001);
  again.close();
  assertEquals(readWatermark(disk), 1_001);
  disk.flipBit(WATERMARK_PATH, 8 * (disk.sizeOf(WATERMARK_PATH) - 3));
  assertEquals(readWatermark(disk), 1_000);
});

Deno.test("a full disk leaves it behind the log, and any other failure of the disk fails the log", () => {
  for (const code of ["no-space", "io"] as const) {
    let fails = false;
    const disk = new MemoryDisk({
      later: (run) => run(),
      fault: ({ path }) =>
        fails && path === WATERMARK_PATH
          ? new DiskError(`Cannot write: ${code}`, { code, path })
          : undefined,
    });
    const { wal } = Wal.open(disk, walOptions);
    const before = readWatermark(disk);
    fails = true;
    wal.append([encode(entry(0, 1, 1))]);
    wal.sync(() => {});
    assertEquals(wal.failure?.message.includes("io"), code === "io" ? true : undefined);
    assertEquals(readWatermark(disk), before);
  }
});

Deno.test("a start notes what it found durable: a loss of power before it may have taken that", () => {
  const { disk } = killed();
  disk.erase(WATERMARK_PATH);
  Wal.open(disk, walOptions);
  disk.crash(() => 1);
  const whole = disk.readFile(segmentPath(1));
  disk.replace(segmentPath(1), whole.subarray(0, whole.length - 1));
  assertThrows(() => Wal.open(disk, walOptions), WalCorruptError);
});
