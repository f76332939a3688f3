/**
 * Damaged segment files into the write-ahead log.
 *
 * @module
 */
import { assertEquals, assertGreaterOrEqual, assertInstanceOf } from "@std/assert";
import type { OpenedWal } from "../../storage/log/wal.ts";
import { openWal } from "../storage/open_wal.ts";
import { WalError } from "../../storage/log/wal_errors.ts";
import { RecordCursor, RecordError } from "../../storage/log/wal_record.ts";
import {
  SEGMENT_HEADER_BYTES,
  segmentPath,
  sequenceOf,
  WAL_DIRECTORY,
} from "../../storage/log/wal_segment.ts";
import { MemoryDisk } from "../sim/memory_disk.ts";
import type { Dice } from "../sim/random.ts";
import {
  contentAfter,
  contentOf,
  encode,
  entry,
  hardState,
  walOptions,
  type Written,
} from "../storage/wal_script.ts";
import { count, type Fuzzer, type Tally } from "./fuzzer.ts";
import { joined, mutate, randomBytes } from "./mutations.ts";

const APPENDS_MAX = 12;
const RECORDS_MAX = 4;
const GARBAGE_BYTES_MAX = 700;
const GROUPS = [0, 7];

/**
 * Opening a damaged log recovers a prefix of what was written, with all that a mark still in place
 * says was durable, and goes on from there; or it throws a WalError.
 */
export const walFuzzer: Fuzzer = { name: "wal", tryOne: tryImage };

/** A log as it was written, before the damage. */
interface Image {
  readonly disk: MemoryDisk;
  readonly records: readonly Written[];
  /** For each record the position after the append that wrote it. */
  readonly ends: readonly number[];
  readonly segments: readonly Segment[];
}

interface Segment {
  readonly path: string;
  readonly bytes: Uint8Array;
}

function tryImage(dice: Dice, tally: Tally): void {
  const image = draw(dice);
  const damage = harm(dice, image);
  const promised = promisedBy(image);
  let opened: OpenedWal;
  try {
    opened = openWal(image.disk, walOptions);
  } catch (error) {
    assertInstanceOf(error, WalError);
    return count(tally, `${damage}: ${error.name}`);
  }
  if (hasMovedRecord(image)) {
    opened.wal.close();
    return count(tally, `${damage}: moved record`);
  }
  const recovered = contentOf(opened);
  const length = prefixOf(image.records, recovered);
  assertGreaterOrEqual(length, promised, `lost silently: ${Deno.inspect(recovered)}`);
  count(tally, `${damage}: ${length === image.records.length ? "whole" : "prefix"}`);
  opened.wal.close();
  goesOn(image.disk, recovered);
}

/** How many of the records the log holds; throws if they are not the first ones. */
function prefixOf(records: readonly Written[], recovered: ReturnType<typeof contentOf>): number {
  const text = JSON.stringify(recovered);
  for (let length = records.length; length >= 0; length--) {
    if (JSON.stringify(contentAfter(records.slice(0, length))) === text) return length;
  }
  throw new Error(`Cannot find what was recovered among the prefixes: ${text}`);
}

function goesOn(disk: MemoryDisk, recovered: ReturnType<typeof contentOf>): void {
  const { wal } = openWal(disk, walOptions);
  const next = [hardState(9, 4, 3), entry(9, 4, 1)];
  wal.append(next.map(encode));
  wal.close();
  const later = openWal(disk, walOptions);
  assertEquals(contentOf(later), { ...recovered, ...contentAfter(next) });
  assertEquals(later.tornTail, undefined);
  later.wal.close();
}

/** Writes a log of several segments with conflicts, two groups, and syncs in places of chance. */
function draw(dice: Dice): Image {
  const pending: (() => void)[] = [];
  const disk = new MemoryDisk({ later: (run) => pending.push(run) });
  const { wal } = openWal(disk, walOptions);
  const records: Written[] = [];
  const ends: number[] = [];
  const logs = new Map(GROUPS.map((group) => [group, { term: 1, terms: [] as number[] }]));
  for (let left = 1 + dice.below(APPENDS_MAX); left > 0; left--) {
    const batch = Array.from({ length: 1 + dice.below(RECORDS_MAX) }, () => {
      const group = dice.pick(GROUPS);
      return drawRecord(dice, group, logs.get(group)!);
    });
    const end = wal.append(batch.map(encode));
    for (const record of batch) {
      records.push(record);
      ends.push(end);
    }
    if (dice.chance(0.6) && pending.length === 0) wal.sync(() => {});
    if (dice.chance(0.7)) { while (pending.length > 0) pending.shift()!(); }
  }
  while (pending.length > 0) pending.shift()!();
  if (dice.chance(0.3)) wal.close();
  const segments = disk.list(WAL_DIRECTORY)
    .map((name) => `${WAL_DIRECTORY}/${name}`)
    .map((path) => ({ path, bytes: disk.readFile(path) }));
  return { disk, records, ends, segments };
}

function drawRecord(
  dice: Dice,
  group: number,
  log: { term: number; terms: number[] },
): Written {
  if (dice.chance(0.2)) {
    log.term += dice.below(2);
    return hardState(group, log.term, dice.pick([undefined, 1, 2]));
  }
  // Sometimes a conflict replaces what is there.
  const keep = dice.chance(0.2) ? dice.below(log.terms.length + 1) : log.terms.length;
  log.terms.length = keep;
  log.terms.push(log.term);
  return entry(group, log.term, keep + 1);
}

/** Damages the files, and says how. */
function harm(dice: Dice, { disk, segments }: Image): string {
  const { path, bytes } = dice.pick(segments);
  const last = segments.at(-1)!;
  switch (dice.below(8)) {
    case 0:
      disk.erase(path);
      return "removed";
    case 1: {
      const other = dice.pick(segments);
      disk.replace(other.path, bytes);
      disk.replace(path, other.bytes);
      return "exchanged";
    }
    case 2:
      disk.replace(segmentPath(sequenceOf(last.path.slice(WAL_DIRECTORY.length + 1))! + 1), bytes);
      return "copied";
    case 3: {
      const garbage = randomBytes(dice, 1 + dice.below(GARBAGE_BYTES_MAX));
      disk.replace(last.path, joined(last.bytes, garbage));
      return "garbage behind";
    }
    case 4:
      disk.replace(`${WAL_DIRECTORY}/${dice.pick(["x.wal", "0.wal", "notes"])}`, bytes);
      return "stray file";
    default:
      disk.replace(path, mutate(dice, bytes));
      return "mutated";
  }
}

/**
 * Whether a whole, valid record stands where another one did. A record is the same bytes on every
 * node (ARCHITECTURE.md), so that it cannot name its own place, and a copy of it, byte for byte
 * where a record begins, is taken for one: what such a log holds is not judged here.
 */
function hasMovedRecord({ disk, segments }: Image): boolean {
  return segments.some(({ path, bytes }) => {
    if (!disk.exists(path)) return false;
    const harmed = disk.readFile(path);
    const cursor = new RecordCursor(harmed, SEGMENT_HEADER_BYTES);
    try {
      while (cursor.next()) {
        for (let byte = cursor.start; byte < cursor.end; byte++) {
          if (harmed[byte] !== bytes[byte]) return true;
        }
      }
    } catch (error) {
      assertInstanceOf(error, RecordError);
    }
    return false;
  });
}

/**
 * How many records a mark that is still where it was written says were durable: whatever happened
 * to the other bytes, these may not be lost without an error.
 */
function promisedBy({ disk, ends, segments }: Image): number {
  let durable = 0;
  segments.forEach(({ path, bytes }) => {
    if (!disk.exists(path)) return;
    const harmed = disk.readFile(path);
    const cursor = new RecordCursor(bytes, SEGMENT_HEADER_BYTES);
    while (cursor.next()) {
      if (cursor.kind !== "mark") continue;
      const isThere = bytes.subarray(cursor.start, cursor.end)
        .every((byte, offset) => harmed[cursor.start + offset] === byte);
      if (isThere) durable = Math.max(durable, cursor.index);
    }
  });
  return ends.filter((end) => end <= durable).length;
}
