/**
 * A log of 64 KiB with bits flipped: refused with a typed error, or all but the last append, whose loss
 * no mark tells of. Every bit: `FLIPPED_BITS=8 deno test -A tests/storage/wal_bits_test.ts`.
 *
 * @module
 */
import { assert, assertEquals, assertGreater } from "@std/assert";
import { WalError } from "../../storage/log/wal_errors.ts";
import { encodeRun, forEachEntry, RECORD_HEADER_BYTES } from "../../storage/log/wal_record.ts";
import type { Wal } from "../../storage/log/wal.ts";
import { MemoryDisk } from "../sim/memory_disk.ts";
import { Dice } from "../sim/random.ts";
import { openWal } from "./open_wal.ts";
import { encode, hardState, walOptions } from "./wal_script.ts";

const LOG_BYTES = 64 * 1024;
const options = { ...walOptions, segmentBytes: 16 * 1024 };
/** Bits that are flipped of each byte; without it, one of every 8th byte. */
const BITS = Deno.env.get("FLIPPED_BITS");
const BYTES_STEP = BITS === undefined ? 8 : 1;

/** Entries with values of chance, each append synced, and the bytes of the last. */
function write(
  disk: MemoryDisk,
): { readonly wal: Wal; readonly count: number; readonly last: number } {
  const dice = new Dice(1);
  const { wal } = openWal(disk, options);
  wal.append([encode(hardState(0, 1, 1))]);
  let count = 0;
  let last = 0;
  while (wal.diskBytes < LOG_BYTES) {
    const { position } = wal;
    const payload = Uint8Array.from({ length: dice.below(600) }, () => dice.below(256));
    const place = { group: 0, term: 1, firstIndex: ++count, timeMs: count } as const;
    wal.append([encodeRun({ ...place, kind: "command", payloads: [payload] }).bytes]);
    wal.sync(() => {});
    last = wal.position - position;
  }
  return { wal, count, last };
}

/** How many entries a log holds; fails if they are not the first ones, as they were written. */
function entriesOf(disk: MemoryDisk, sound: readonly string[]): number {
  const { groups, tornTail } = openWal(disk, options);
  assert(tornTail !== undefined, "nothing was noticed");
  const { hardState: { currentTerm, votedFor }, runs } = groups.get(0)!;
  assertEquals([currentTerm, votedFor], [1, 1]);
  let count = 0;
  for (const run of runs) {
    forEachEntry(run, (index, _timeMs, _kind, payload) => {
      assertEquals([index, payload.toBase64()], [count + 1, sound[count]!]);
      count++;
    });
  }
  return count;
}

Deno.test("B8: bits of a log of 64 KiB flipped: refused, or all but what was never marked", () => {
  const disk = new MemoryDisk({ later: (run) => run() });
  const { count, last } = write(disk);
  const files = disk.list("wal").map((name): [string, Uint8Array] => {
    const path = `wal/${name}`;
    return [path, disk.readFile(path)];
  });
  const sound: string[] = [];
  for (const run of openWal(disk, options).groups.get(0)!.runs) {
    forEachEntry(run, (_index, _timeMs, _kind, payload) => void sound.push(payload.toBase64()));
  }
  assertEquals(sound.length, count);
  const damaged = new MemoryDisk({ later: (run) => run() });
  damaged.makeDirectory("wal");
  let [refused, cut] = [0, 0];
  for (const [path, bytes] of files) {
    for (const [other, whole] of files) damaged.replace(other, whole);
    for (let at = 0; at < bytes.length; at += BYTES_STEP) {
      for (let nth = 0; nth < Number(BITS ?? 1); nth++) {
        damaged.flipBit(path, 8 * at + (at + nth) % 8);
        try {
          assertEquals(entriesOf(damaged, sound), count - 1, `byte ${at} of ${path}`);
          cut++;
          // What was torn was cut off.
          for (const [other, whole] of files) damaged.replace(other, whole);
        } catch (error) {
          if (!(error instanceof WalError)) throw error;
          refused++;
          damaged.flipBit(path, 8 * at + (at + nth) % 8);
        }
      }
    }
  }
  const flips = files.reduce((sum, [, { length }]) => sum + Math.ceil(length / BYTES_STEP), 0) *
    Number(BITS ?? 1);
  assertEquals(refused + cut, flips);
  assertGreater(cut, 0);
  if (BITS !== undefined) assertEquals(cut, last * Number(BITS));
  assertGreater(last, RECORD_HEADER_BYTES);
});
