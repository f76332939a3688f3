/**
 * A disk that fails while a snapshot is taken or received: the snapshot is given up, and the member
 * goes on.
 *
 * @module
 */
import { FOUNDED } from "../machines/solo_core.ts";
import { assert, assertEquals, assertGreater } from "@std/assert";
import { DEFAULT_BOUNDS } from "../../machines/bounds.ts";
import { encodeCommand } from "../../storage/kv/command.ts";
import type { CommandResult } from "../../storage/kv/command_result.ts";
import { KvStore } from "../../storage/kv/kv_store.ts";
import { DiskError, type DiskErrorCode } from "../../storage/log/disk.ts";
import { openSnapshot } from "../../storage/log/snapshot_file.ts";
import { SNAPSHOT_DIRECTORY } from "../../storage/log/snapshot_store.ts";
import { type DiskOperation, MemoryDisk } from "../sim/memory_disk.ts";
import { commandOf } from "../storage/kv/command_of.ts";
import { LoneGroup } from "./lone_group.ts";
import { SnapshotBench, snapshotOf } from "./snapshot_bench.ts";

/** How a disk refuses to read. */
function unreadable(code: DiskErrorCode): (path: string) => never {
  return (path) => {
    throw new DiskError(`Cannot read: ${code}`, { code, path });
  };
}

const CODES: readonly DiskErrorCode[] = ["io", "no-space"];
const WRITES = 260;

/** Fails the operation on a snapshot that comes after so many. */
class PlannedFault {
  readonly seen: string[] = [];
  readonly #code: DiskErrorCode;
  #left: number;

  constructor(code: DiskErrorCode, after: number) {
    this.#code = code;
    this.#left = after;
  }

  readonly fault = ({ type, path }: DiskOperation): DiskError | undefined => {
    if (!path.startsWith(SNAPSHOT_DIRECTORY)) return undefined;
    this.seen.push(type);
    if (this.#left-- !== 0) return undefined;
    return new DiskError(`Cannot ${type}: ${this.#code}`, { code: this.#code, path });
  };
}

/** One member that takes three snapshots or so, with one fault of its disk. */
function takeSnapshots(
  planned: PlannedFault,
): { readonly group: LoneGroup<CommandResult, KvStore>; readonly disk: MemoryDisk } {
  const disk = new MemoryDisk({ later: (run) => run(), fault: planned.fault });
  const group = new LoneGroup<CommandResult, KvStore>(new KvStore(), {
    disk,
    snapshotAfter: { bytes: 8 * 1024, entries: 1_000 },
    segmentBytes: 2 * 1024,
    bounds: { ...DEFAULT_BOUNDS, trailingBytes: 0 },
  }).lead();
  for (let at = 0; at < WRITES; at++) {
    const value = new Uint8Array(60).fill(at);
    const put = commandOf({ type: "put", key: `k${at % 20}`, value });
    const answers = group.propose(...encodeCommand(put));
    group.pass(2);
    assertEquals((answers[0] as CommandResult | undefined)?.status, "ok", `write ${at}`);
  }
  group.pass(50);
  return { group, disk };
}

Deno.test("C1, C6: every operation on a snapshot that is taken fails once: writes go on, nothing is left, and the next one is taken", () => {
  const sound = new PlannedFault("io", Infinity);
  const { taken } = takeSnapshots(sound).group.host.snapshotActor.counters;
  assertGreater(taken, 2);
  const operations = sound.seen.length;
  assertGreater(operations, 20);
  let failed = 0;
  for (const code of CODES) {
    for (let after = 0; after < operations; after++) {
      const planned = new PlannedFault(code, after);
      const { group, disk } = takeSnapshots(planned);
      const what = `${code} at operation ${after}, ${sound.seen[after]}`;
      assertEquals(group.failures, [], what);
      const { counters } = group.host.snapshotActor;
      assert(counters.failed <= 1 && counters.taken >= taken - 1, what);
      failed += counters.failed;
      const names = disk.list(SNAPSHOT_DIRECTORY);
      assert(
        names.length <= 3 && names.every((name) => name.endsWith(".snap")),
        `${what}: ${names}`,
      );
      const { revision } = group.host.machine;
      assertEquals(revision, WRITES);
      disk.crash(() => 1);
      const machine = new KvStore();
      const again = new LoneGroup<CommandResult, KvStore>(machine, { disk }).lead();
      again.pass(10);
      assertEquals([again.broken, machine.revision], [[], WRITES], what);
    }
  }
  assertGreater(failed, operations);
});

Deno.test("C1, C6: every operation on a snapshot that is received fails once: it is refused, nothing is left, and it is taken when it comes again", () => {
  const { snapshot, bytes } = snapshotOf(9);
  const receive = (bench: SnapshotBench): void => {
    for (let offset = 0; offset < bytes.length; offset += 50) {
      const part = { snapshot, offset, bytes: bytes.subarray(offset, offset + 50) };
      bench.turn({ type: "Store", part });
    }
    bench.loads.splice(0).forEach(({ done }) => done(undefined));
    bench.turn();
  };
  const sound = new PlannedFault("io", Infinity);
  const first = new SnapshotBench(sound.fault);
  receive(first);
  assertEquals(first.toRaft, [{ type: "SnapshotReceived", snapshot, config: FOUNDED }]);
  assertGreater(sound.seen.length, 8);
  for (const code of CODES) {
    for (let after = 0; after < sound.seen.length; after++) {
      const what = `${code} at operation ${after}, ${sound.seen[after]}`;
      const bench = new SnapshotBench(new PlannedFault(code, after).fault);
      receive(bench);
      assertEquals([bench.toRaft, bench.files], [[{ type: "SnapshotRefused" }], []], what);
      receive(bench);
      assertEquals(
        bench.toRaft.slice(1),
        [{ type: "SnapshotReceived", snapshot, config: FOUNDED }],
        what,
      );
      const path = `${SNAPSHOT_DIRECTORY}/${bench.files[0]}`;
      const read = (offset: number, length: number): Uint8Array =>
        bench.disk.read(path, offset, length);
      const reader = openSnapshot(path, { read, size: bench.disk.sizeOf(path) });
      assertEquals([...reader.chunks()].length, 1, what);
    }
  }
});

Deno.test("C6: a disk without room for a snapshot that comes again and again is told once", () => {
  const { snapshot, bytes } = snapshotOf(9);
  let isFull = true;
  const bench = new SnapshotBench(({ type, path }) =>
    isFull && type === "append"
      ? new DiskError("Cannot append: no space", { code: "no-space", path })
      : undefined
  );
  const part = { snapshot, offset: 0, bytes };
  for (let times = 0; times < 3; times++) bench.turn({ type: "Store", part });
  assertEquals(bench.toRaft.length, 3);
  const told = ["warn snapshot-refused group=0 error=Cannot append: no space"];
  assertEquals(bench.lines, told);
  isFull = false;
  bench.turn({ type: "Store", part: { ...part, bytes: bytes.map((byte) => byte ^ 1) } });
  assertEquals(bench.lines[1]?.startsWith("error snapshot-refused"), true);
  isFull = true;
  bench.turn({ type: "Store", part });
  assertEquals(bench.lines.length, 3);
});

Deno.test("B8: a snapshot that arrives with any bit wrong is refused, and leaves nothing", () => {
  const { snapshot, bytes } = snapshotOf(9);
  for (let bit = 0; bit < 8 * bytes.length; bit++) {
    const damaged = bytes.slice();
    damaged[bit >>> 3]! ^= 1 << (bit & 7);
    const bench = new SnapshotBench();
    bench.turn({ type: "Store", part: { snapshot, offset: 0, bytes: damaged } });
    // The machine reads the chunks, and says what it found.
    for (const { chunks, done } of bench.loads.splice(0)) {
      try {
        for (const _chunk of chunks());
        done(undefined);
      } catch (error) {
        done(error as Error);
      }
    }
    bench.turn();
    assertEquals([bench.toRaft, bench.files], [[{ type: "SnapshotRefused" }], []], `bit ${bit}`);
  }
});

Deno.test("C1: a leader whose disk cannot read a snapshot does not stop: the snapshot is put aside, and the one before it is sent", () => {
  const [older, newest] = [snapshotOf(5), snapshotOf(9)];
  for (const code of ["io", "too-many-files"] as const) {
    const bench = new SnapshotBench();
    for (const { snapshot, bytes } of [older, newest]) {
      bench.turn({ type: "Store", part: { snapshot, offset: 0, bytes } });
      bench.loads.splice(0).forEach(({ done }) => done(undefined));
      bench.turn();
    }
    bench.toRaft.length = 0;
    const { snapshot } = newest;
    const header = { type: "InstallSnapshot", group: 0, term: 1, from: 1 } as const;
    const send = (): void => {
      const request = { ...header, snapshot, offset: 0 };
      bench.turn({ type: "Send", part: { to: 2, request, length: 50 } });
    };
    const { read } = bench.disk;
    bench.disk.read = unreadable(code);
    send();
    assertEquals(bench.sent, [], code);
    bench.disk.read = read;
    const isLost = code === "io";
    const lost = { type: "SnapshotLost", snapshot: older.snapshot } as const;
    assertEquals(bench.toRaft, isLost ? [lost] : []);
    assertEquals(bench.files.some((name) => name.endsWith(".broken")), isLost, code);
    if (isLost) continue;
    // A file descriptor is free again.
    send();
    assertEquals(bench.sent.length, 1);
  }
});

Deno.test("C1: a snapshot that is received and cannot be read back is refused", () => {
  const { snapshot, bytes } = snapshotOf(9);
  const bench = new SnapshotBench();
  const { read } = bench.disk;
  bench.disk.read = unreadable("io");
  bench.turn({ type: "Store", part: { snapshot, offset: 0, bytes } });
  bench.disk.read = read;
  assertEquals([bench.toRaft, bench.files], [[{ type: "SnapshotRefused" }], []]);
});
