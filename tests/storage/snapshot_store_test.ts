/**
 * The snapshots of a process on their disk: what counts, what is put aside, refused and removed, and
 * what is left of one whose disk fails or whose power is lost.
 *
 * @module
 */
import { assert, assertEquals, assertGreater, assertThrows } from "@std/assert";
import { crc32c } from "../../storage/crc32c.ts";
import { DiskError, type DiskErrorCode } from "../../storage/log/disk.ts";
import {
  BROKEN_SNAPSHOTS_KEPT,
  SNAPSHOT_SYNC_BYTES,
  SNAPSHOTS_KEPT,
} from "../../storage/log/limits.ts";
import { SnapshotError, type SnapshotMeta } from "../../storage/log/snapshot_file.ts";
import {
  SNAPSHOT_DIRECTORY,
  snapshotNameOf,
  snapshotPath,
  SnapshotStore,
  type StoredSnapshot,
} from "../../storage/log/snapshot_store.ts";
import { type DiskOperation, MemoryDisk } from "../sim/memory_disk.ts";
import { forEachPowerLoss } from "./power_loss.ts";
import {
  CLUSTER_ID,
  imageOf,
  metaOf,
  placesOf,
  type SnapshotImage,
  statesOf,
} from "./snapshot_image.ts";

const PART_BYTES = 100;

/** A disk whose syncs end at once. */
function promptDisk(fault?: (operation: DiskOperation) => DiskError | undefined): MemoryDisk {
  return new MemoryDisk({ later: (run) => run(), ...(fault === undefined ? {} : { fault }) });
}

function imageAt(index: number, fields: Partial<SnapshotMeta> = {}): SnapshotImage {
  return imageOf(statesOf({ count: 3, bytes: 200, seed: index }), { index, ...fields });
}

function openStore(disk: MemoryDisk, broken: SnapshotError[] = []): SnapshotStore {
  return SnapshotStore.open(disk, {
    clusterId: CLUSTER_ID,
    onBroken: (error) => void broken.push(error),
  });
}

/** Writes it as an actor does: a failure of the disk is thrown or given, and what was written is dropped. */
function write(
  store: SnapshotStore,
  { bytes, meta, digest }: SnapshotImage,
): StoredSnapshot | DiskError | SnapshotError | undefined {
  let outcome: StoredSnapshot | DiskError | SnapshotError | undefined;
  let file: ReturnType<SnapshotStore["create"]> | undefined;
  try {
    file = store.create(meta);
    for (let at = 0; at < bytes.length; at += PART_BYTES) {
      file.append(bytes.subarray(at, at + PART_BYTES));
    }
    file.finish(digest, (result) => outcome = result);
    return outcome;
  } catch (error) {
    if (!(error instanceof DiskError)) throw error;
    file?.discard();
    return error;
  }
}

function mustWrite(store: SnapshotStore, image: SnapshotImage): StoredSnapshot {
  const stored = write(store, image);
  assert(stored !== undefined && !(stored instanceof Error), `${stored}`);
  return stored;
}

/** Names that are there; none if the directory is not. */
function names(disk: MemoryDisk): string[] {
  return disk.exists(SNAPSHOT_DIRECTORY) ? disk.list(SNAPSHOT_DIRECTORY) : [];
}

/** A disk with this file under the name of the snapshot at index 7 of term 2. */
function diskWith(bytes: Uint8Array): MemoryDisk {
  const disk = promptDisk();
  disk.makeDirectory(SNAPSHOT_DIRECTORY);
  disk.replace(snapshotPath({ group: 0, index: 7, term: 2 }), bytes);
  return disk;
}

function indexesOf(store: SnapshotStore, group = 0): number[] {
  return store.of(group).map(({ index }) => index);
}

const failure = (code: DiskErrorCode, path: string): DiskError =>
  new DiskError(`Cannot write: ${code}`, { code, path });

Deno.test("a name says which snapshot it is, and names of a group sort by index", () => {
  const name = { group: 4_294_967_295, index: 2 ** 53 - 1, term: 2 ** 48 };
  assertEquals(snapshotNameOf(snapshotPath(name).slice(SNAPSHOT_DIRECTORY.length + 1)), name);
  const sorted = [9, 10, 100, 2 ** 40].map((index) => snapshotPath({ group: 0, index, term: 3 }));
  assertEquals(sorted.toSorted(), sorted);
  for (const other of ["x.snap", "0-1-1.snap", "0-0000000000000007-000000000000002.snap.new", ""]) {
    assertEquals(snapshotNameOf(other), undefined);
  }
});

Deno.test("a snapshot that has its name is found again with its meta, its digest and its chunks", () => {
  const disk = promptDisk();
  const image = imageAt(7);
  const stored = mustWrite(openStore(disk), image);
  const again = openStore(disk);
  assertEquals(again.newest(0), stored);
  assertEquals([stored.meta, stored.digest, stored.size], [
    image.meta,
    image.digest,
    image.bytes.length,
  ]);
  assertEquals([...again.open(stored).chunks()], image.states);
  assertEquals(again.read(stored, 10, 20), image.bytes.slice(10, 30));
  assertEquals([again.diskBytes, again.of(1)], [image.bytes.length, []]);
});

Deno.test("at a start what was not finished is removed, and what is no snapshot is left alone", () => {
  const disk = promptDisk();
  mustWrite(openStore(disk), imageAt(7));
  const finished = names(disk);
  const strangers = ["0-7-2.snap", "notes", "x.snap.broken"];
  for (const name of [...strangers, `${finished[0]}.new`, "y.new"]) {
    disk.replace(`${SNAPSHOT_DIRECTORY}/${name}`, new Uint8Array(3));
  }
  assertEquals(indexesOf(openStore(disk)), [7]);
  assertEquals(names(disk), [...finished, ...strangers].sort());
});

Deno.test("one whose head is damaged, or is another than its name says, is put aside; the one before it is the newest", () => {
  const damaged = imageAt(7);
  damaged.bytes[20]! ^= 1;
  const cut = imageAt(7);
  const cases: readonly (readonly [string, Uint8Array])[] = [
    ["its head is damaged", damaged.bytes],
    ["it is cut short", cut.bytes.subarray(0, 40)],
    ["it is cut short", new Uint8Array(0)],
    ["it does not begin as a snapshot does", new Uint8Array(1_000)],
    ["it is another one than its name says", imageAt(8).bytes],
    ["it is another one than its name says", imageAt(7, { term: 3 }).bytes],
    ["it is another one than its name says", imageAt(7, { group: 1 }).bytes],
  ];
  for (const [reason, bytes] of cases) {
    const disk = diskWith(bytes);
    const sound = imageAt(5);
    disk.replace(snapshotPath(sound.meta), sound.bytes);
    const broken: SnapshotError[] = [];
    const store = openStore(disk, broken);
    assertEquals([indexesOf(store), store.newest(0)?.index], [[5], 5], reason);
    const path = snapshotPath({ group: 0, index: 7, term: 2 });
    assertEquals(broken.map(({ message }) => message.startsWith(`Cannot use snapshot ${path}: `)), [
      true,
    ]);
    assert(broken[0]!.message.includes(reason), broken[0]!.message);
    assertEquals(disk.readFile(`${path}.broken`), bytes);
    assert(!disk.exists(path));
    // Durably: it does not come back.
    disk.crash(() => 0);
    assertEquals(indexesOf(openStore(disk)), [5]);
  }
});

Deno.test("one of another cluster, or of a newer format, refuses the start and stays as it is", () => {
  const newer = imageAt(7).bytes.slice();
  const { head } = placesOf(newer);
  const view = new DataView(newer.buffer);
  view.setUint32(8, 2, true);
  view.setUint32(head - 4, crc32c(newer, 0, head - 4), true);
  for (
    const [reason, bytes] of [
      ['it belongs to cluster "c-2"', imageAt(7, { clusterId: "c-2" }).bytes],
      ["its format version 2 is not known; use a newer release", newer],
    ] as const
  ) {
    const disk = diskWith(bytes);
    const before = names(disk);
    for (let start = 0; start < 2; start++) {
      const error = assertThrows(() => openStore(disk), SnapshotError, reason);
      assertEquals(error.kind, "foreign");
      assert(error.message.includes(before[0]!));
      assertEquals(names(disk), before);
    }
  }
});

Deno.test("SNAPSHOTS_KEPT and BROKEN_SNAPSHOTS_KEPT: the newest are kept, and what is in use", () => {
  const disk = promptDisk();
  const store = openStore(disk);
  for (const index of [3, 4, 5, 6, 7]) mustWrite(store, imageAt(index));
  mustWrite(store, imageAt(1, { group: 1 }));
  store.removeOld(0, ({ index }) => index === 4);
  assertEquals([indexesOf(store), indexesOf(store, 1)], [[4, 6, 7], [1]]);
  store.removeOld(0, () => false);
  assertEquals(indexesOf(store).length, SNAPSHOTS_KEPT);
  assertEquals(indexesOf(openStore(disk)), [6, 7]);
  for (const at of [0, 0]) store.putAside(store.of(0)[at]!);
  mustWrite(store, imageAt(8));
  assertEquals(names(disk).filter((name) => name.endsWith(".broken")).length, 2);
  store.removeOld(0, () => false);
  const broken = names(disk).filter((name) => name.endsWith(".broken"));
  assertEquals(broken.length, BROKEN_SNAPSHOTS_KEPT);
  assert(broken[0]!.includes("7-"), "the newest");
});

Deno.test("SNAPSHOT_SYNC_BYTES: a large snapshot becomes durable little by little", () => {
  const syncs: number[] = [];
  let written = 0;
  const disk = promptDisk(({ type, bytes = 0 }) => {
    written += bytes;
    if (type === "syncData") syncs.push(written);
    return undefined;
  });
  const file = openStore(disk).create(metaOf());
  const part = new Uint8Array(SNAPSHOT_SYNC_BYTES / 4);
  for (let count = 0; count < 10; count++) file.append(part);
  assertEquals(syncs, [SNAPSHOT_SYNC_BYTES, 2 * SNAPSHOT_SYNC_BYTES]);
  file.discard();
  assertEquals(names(disk), []);
});

Deno.test("one that has another digest than it was to have does not get its name", () => {
  const disk = promptDisk();
  const store = openStore(disk);
  const result = write(store, { ...imageAt(7), digest: imageAt(8).digest });
  assert(result instanceof SnapshotError, `${result}`);
  assertEquals([names(disk), indexesOf(store)], [[], []]);
});

Deno.test("one that is given up leaves nothing, at any moment, and what the disk says later changes nothing", () => {
  const { bytes, meta, digest } = imageAt(7);
  for (const moment of ["empty", "begun", "finishing", "twice"]) {
    const pending: (() => void)[] = [];
    const disk = new MemoryDisk({ later: (run) => void pending.push(run) });
    const store = openStore(disk);
    const file = store.create(meta);
    if (moment !== "empty") file.append(bytes);
    if (moment === "finishing") file.finish(digest, () => assert(false, "it was given up"));
    file.discard();
    if (moment === "twice") file.discard();
    while (pending.length > 0) pending.shift()!();
    assertEquals([names(disk), store.of(0)], [[], []], moment);
  }
});

Deno.test("C1, C6: every disk operation of writing a snapshot fails once: a typed outcome, nothing left, and the next one succeeds", () => {
  const operations: string[] = [];
  const recording = promptDisk(({ type }) => void operations.push(type));
  mustWrite(openStore(recording), imageAt(7));
  assertGreater(operations.length, 10);
  assertEquals(new Set(operations).size, 6, `${[...new Set(operations)]}`);
  let tried = 0;
  for (const code of ["io", "no-space"] as const) {
    for (let failing = 0; failing < operations.length; failing++) {
      const what = `${code} at operation ${failing}, ${operations[failing]}`;
      let at = Infinity;
      const disk = promptDisk(({ path }) => at-- === 0 ? failure(code, path) : undefined);
      const store = openStore(disk);
      const older = mustWrite(store, imageAt(5));
      const before = names(disk);
      at = failing;
      const result = write(store, imageAt(7));
      assert(result instanceof DiskError && result.code === code, `${what}: ${result}`);
      assertEquals([names(disk), indexesOf(store)], [before, [5]], what);
      assertEquals([...store.open(older).chunks()], imageAt(5).states, what);
      mustWrite(store, imageAt(7));
      assertEquals(indexesOf(openStore(disk)), [5, 7], what);
      tried++;
    }
  }
  assertEquals(tried, 2 * operations.length);
});

Deno.test("a file that cannot be removed stops nobody, and is removed the next time", () => {
  let isBroken = false;
  const disk = promptDisk(({ type, path }) =>
    isBroken && type === "remove" ? failure("io", path) : undefined
  );
  const store = openStore(disk);
  for (const index of [3, 4, 5]) mustWrite(store, imageAt(index));
  store.putAside(store.of(0)[0]!);
  mustWrite(store, imageAt(6));
  store.putAside(store.of(0)[0]!);
  mustWrite(store, imageAt(7));
  isBroken = true;
  const before = names(disk);
  store.removeOld(0, () => false);
  assertEquals(names(disk), before);
  isBroken = false;
  store.removeOld(0, () => false);
  assertEquals(indexesOf(openStore(disk)), [6, 7]);
  assertEquals(names(disk).length, 3);
});

Deno.test("B3: power lost at any operation of writing a snapshot: what has its name is whole, and what was given is there", () => {
  const [older, image] = [imageAt(5), imageAt(7)];
  let images = 0;
  const outcomes = new Set<string>();
  forEachPowerLoss<boolean>({
    operations: 16,
    later: (run) => run(),
    prepare: (disk) => {
      disk.makeDirectory(SNAPSHOT_DIRECTORY);
      disk.replace(snapshotPath(older.meta), older.bytes);
    },
    work: (disk) => {
      const store = openStore(disk);
      let isStored = false;
      const file = store.create(image.meta);
      for (let at = 0; at < image.bytes.length; at += PART_BYTES) {
        file.append(image.bytes.subarray(at, at + PART_BYTES));
      }
      file.finish(image.digest, (result) => isStored = !(result instanceof Error));
      return isStored;
    },
    check: (disk, result) => {
      const broken: SnapshotError[] = [];
      const store = openStore(disk, broken);
      assertEquals(broken, [], "a snapshot that has its name is whole");
      const found = indexesOf(store);
      assert(found[0] === 5 && found.length <= 2, `${found}`);
      for (const stored of store.of(0)) {
        const { states } = stored.index === 5 ? older : image;
        assertEquals([...store.open(stored).chunks()], states);
      }
      if (result === true) assertEquals(found, [5, 7]);
      assertEquals(names(disk).filter((name) => name.endsWith(".new")), []);
      outcomes.add(`${result} ${found}`);
      images++;
    },
  });
  assertEquals(outcomes, new Set(["undefined 5", "undefined 5,7", "true 5,7"]));
  assertEquals(images, 16 * 64);
});
