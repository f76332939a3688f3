/**
 * Snapshots of one group, from the entry that makes one due to the restart that begins with it: the
 * shipped host, its actors, its log and its snapshots on a memory disk.
 *
 * @module
 */
import { assert, assertEquals, assertGreater, assertLess, assertThrows } from "@std/assert";
import { recoverState } from "../../actors/group_recovery.ts";
import type { SnapshotTrigger } from "../../actors/machine_actor.ts";
import { DEFAULT_BOUNDS } from "../../machines/bounds.ts";
import { LOG_CHUNK_BYTES } from "../../machines/raft_log.ts";
import type { StateMachine } from "../../machines/state_machine.ts";
import type { ReadIndex } from "../../machines/raft_types.ts";
import { encodeRun } from "../../storage/log/wal_record.ts";
import { encodeCommand } from "../../storage/kv/command.ts";
import type { CommandResult } from "../../storage/kv/command_result.ts";
import { KvStore } from "../../storage/kv/kv_store.ts";
import { SnapshotError } from "../../storage/log/snapshot_file.ts";
import { SNAPSHOT_DIRECTORY, SnapshotStore } from "../../storage/log/snapshot_store.ts";
import { DiskError } from "../../storage/log/disk.ts";
import { BROKEN_SNAPSHOTS_KEPT } from "../../storage/log/limits.ts";
import { SnapshotMissingError } from "../../storage/log/wal_errors.ts";
import { type DiskOperation, MemoryDisk } from "../sim/memory_disk.ts";
import { commandOf } from "../storage/kv/command_of.ts";
import { openWal } from "../storage/open_wal.ts";
import { LoneGroup } from "./lone_group.ts";

const SEGMENT_BYTES = 4 * 1024;
const AFTER: SnapshotTrigger = { bytes: 16 * 1024, entries: 1_000 };
const TRAILING_BYTES = 1024;
const VALUE_BYTES = 100;
const KEYS = 20;

type Group = LoneGroup<CommandResult, KvStore>;

function start(disk: MemoryDisk, snapshotAfter = AFTER): Group {
  return new LoneGroup<CommandResult, KvStore>(new KvStore(), {
    disk,
    snapshotAfter,
    segmentBytes: SEGMENT_BYTES,
    bounds: { ...DEFAULT_BOUNDS, trailingBytes: TRAILING_BYTES },
  }).lead();
}

/** Writes KEYS keys again and again, and sees every write answered. */
function write(group: Group, count: number): void {
  for (let at = 0; at < count; at++) {
    const value = new Uint8Array(VALUE_BYTES).fill(at);
    const answers = group.propose(
      ...encodeCommand(commandOf({ type: "put", key: `k${at % KEYS}`, value })),
    );
    group.pass(2);
    assertEquals((answers[0] as CommandResult | undefined)?.status, "ok");
  }
  group.pass(50);
  assertEquals(group.failures, []);
}

const sizeOf = (disk: MemoryDisk, directory: string): number =>
  disk.list(directory).reduce((bytes, name) => bytes + disk.sizeOf(`${directory}/${name}`), 0);

Deno.test("a log is forgotten on disk and in memory, however much is written", () => {
  const disk = promptly();
  const group = start(disk);
  write(group, 1_500);
  const { taken } = group.host.snapshotActor.counters;
  assertGreater(taken, 10);
  assertEquals(disk.list(SNAPSHOT_DIRECTORY).length, 2);
  const bound = 2 * AFTER.bytes + 4 * SEGMENT_BYTES;
  assertLess(sizeOf(disk, "wal"), bound);
  // In memory as much stays as the trailing bytes ask for, in chunks, and what came since.
  const { log } = group.host.core.state;
  assertLess(log.byteLength, AFTER.bytes + TRAILING_BYTES + LOG_CHUNK_BYTES);
  assertGreater(log.base.index, 0);
});

Deno.test("a restart begins with the newest snapshot, and applies the log behind it", () => {
  const disk = promptly();
  const before = start(disk);
  write(before, 700);
  const { lastApplied } = before.host.machine;
  const hash = before.host.machine.stateHash();
  disk.crash(() => 1);
  const loaded = new KvStore();
  const after = new LoneGroup<CommandResult, KvStore>(loaded, { disk, snapshotAfter: AFTER });
  assertGreater(loaded.lastApplied, 0);
  assertEquals(after.host.core.state.commitIndex, loaded.lastApplied);
  after.lead().pass(10);
  const again = new KvStore();
  assertEquals(after.host.core.state.log.termAt(lastApplied) !== undefined, true);
  assertGreater(after.host.machine.lastApplied, lastApplied);
  assertEquals(after.host.machine.revision, before.host.machine.revision);
  assertEquals([...after.host.machine.range({ limit: 100 })].length, KEYS);
  assert(hash !== again.stateHash());
});

Deno.test("C6: a start on a full disk whose log does not reach the snapshot goes on once there is room", () => {
  let isFull = false;
  const disk = promptly((operation) =>
    isFull && operation.type === "append"
      ? new DiskError("full", { code: "no-space", ...operation })
      : undefined
  );
  const before = start(disk);
  write(before, 700);
  disk.crash(() => 1);
  isFull = true;
  // Power was lost before the log's end was durable, or the log was lost.
  const recovered = {
    ...{ base: { index: 0, term: 0 }, lastIndex: 0, runs: [] },
    hardState: { currentTerm: 0, votedFor: undefined },
  };
  const after = new LoneGroup<CommandResult, KvStore>(new KvStore(), { disk, recovered });
  after.pass(1_000);
  const { core, machine } = after.host;
  assertEquals([core.role, after.failures], ["candidate", []]);
  const { base } = core.state.log;
  assertEquals(base.index, machine.lastApplied);
  isFull = false;
  after.lead();
  write(after, 1);
  const [lone] = openWal(disk, { clusterId: "lone", nodeId: 1 }).groups.values();
  assertEquals(lone?.base, base);
});

Deno.test("a newest snapshot that is damaged anywhere is put aside, and the one before it is used", () => {
  const disk = promptly();
  const before = start(disk);
  write(before, 700);
  const { revision } = before.host.machine;
  const [, newest] = disk.list(SNAPSHOT_DIRECTORY);
  const path = `${SNAPSHOT_DIRECTORY}/${newest}`;
  const whole = disk.readFile(path);
  const log = disk.list("wal").map((
    name,
  ): [string, Uint8Array] => [name, disk.readFile(`wal/${name}`)]);
  const [oldName] = disk.list(SNAPSHOT_DIRECTORY);
  const old = disk.readFile(`${SNAPSHOT_DIRECTORY}/${oldName}`);
  let tried = 0;
  for (let byte = 0; byte < whole.length; byte += 4) {
    const copy = promptly();
    for (const directory of ["wal", SNAPSHOT_DIRECTORY]) copy.makeDirectory(directory);
    for (const [name, bytes] of log) copy.replace(`wal/${name}`, bytes);
    copy.replace(`${SNAPSHOT_DIRECTORY}/${oldName}`, old);
    copy.replace(path, whole);
    copy.flipBit(path, 8 * byte + (byte % 8));
    const group = start(copy, { bytes: Infinity, entries: Infinity });
    group.pass(20);
    assertEquals(group.host.machine.revision, revision, `byte ${byte}`);
    assert(copy.exists(`${path}.broken`), `byte ${byte}`);
    tried++;
  }
  assertGreater(tried, 100);
});

Deno.test("a start that finds no sound snapshot keeps all damaged ones, and the next snapshot removes all but one", () => {
  const disk = promptly();
  write(start(disk), 700);
  const paths = disk.list(SNAPSHOT_DIRECTORY).map((name) => `${SNAPSHOT_DIRECTORY}/${name}`);
  // In the state, which only the load reads, and in the head, which the look at what is there reads.
  const whole = paths.map((path) => disk.readFile(path));
  for (const damagedBit of [8 * 400, 8 * 20]) {
    const files = [...paths, ...paths.map((path) => `${path}.broken`)];
    for (const path of files) disk.erase(path);
    paths.forEach((path, at) => disk.replace(path, whole[at]!));
    for (const path of paths) disk.flipBit(path, damagedBit);
    for (let tries = 0; tries < 2; tries++) {
      const error = assertThrows(() => start(disk), SnapshotMissingError);
      const { message } = error;
      assert(/^Cannot start group 0: its log begins after entry \d+, and no snap/.test(message));
      assertEquals(disk.list(SNAPSHOT_DIRECTORY), paths.map((path) => `${path.slice(10)}.broken`));
    }
  }
  // An operator brings one back.
  disk.replace(paths[1]!, whole[1]!);
  write(start(disk), 300);
  const broken = disk.list(SNAPSHOT_DIRECTORY).filter((name) => name.endsWith(".broken"));
  assertEquals(broken, [`${paths[1]!.slice(10)}.broken`]);
  assertEquals(broken.length, BROKEN_SNAPSHOTS_KEPT);
});

Deno.test("only a damaged snapshot is put aside: one that another build wrote stays as it is", () => {
  const disk = promptly();
  write(start(disk), 700);
  const before = disk.list(SNAPSHOT_DIRECTORY);
  assertEquals(before.length, 2);
  const recover = (machine: Pick<StateMachine, "load" | "version">): unknown =>
    recoverState({
      group: 0,
      machine,
      store: SnapshotStore.open(disk, { clusterId: "lone", onBroken: fail }),
      recovered: undefined,
      onBroken: fail,
    });
  const { version } = new KvStore();
  const newer = assertThrows(
    () => recover({ version: version - 1, load: fail }),
    SnapshotError,
    `its state is of version ${version}, and this build reads versions up to ${version - 1}`,
  );
  assertEquals(newer.kind, "foreign");
  const failure = new RangeError("Array buffer allocation failed");
  const load = (): never => {
    throw failure;
  };
  assertEquals(assertThrows(() => recover({ version, load }), RangeError), failure);
  assertEquals(disk.list(SNAPSHOT_DIRECTORY), before);
});

function fail(): never {
  throw new Error("nothing is broken");
}

Deno.test("a snapshot that cannot be written is tried again once the log has grown, and nothing stops", () => {
  let isFull = true;
  const disk = promptly(({ path }) =>
    isFull && path.startsWith(SNAPSHOT_DIRECTORY)
      ? new DiskError("Cannot write: no space is left", { code: "no-space", path })
      : undefined
  );
  const group = start(disk);
  write(group, 300);
  const { counters } = group.host.snapshotActor;
  assertGreater(counters.failed, 2);
  assertEquals(counters.taken, 0);
  assertEquals(disk.list(SNAPSHOT_DIRECTORY), []);
  isFull = false;
  write(group, 50);
  assertEquals(counters.taken, 1);
});

/** A disk whose syncs end at once. */
function promptly(fault?: (operation: DiskOperation) => DiskError | undefined): MemoryDisk {
  return new MemoryDisk({ later: (run) => run(), ...(fault === undefined ? {} : { fault }) });
}

Deno.test("a log that was lost is said to be restored once the vote that was given away is durable", () => {
  const syncs: (() => void)[] = [];
  const disk = new MemoryDisk({ later: (run) => void syncs.push(run) });
  let restored = 0;
  const group = new LoneGroup<CommandResult, KvStore>(new KvStore(), {
    disk,
    voters: [1, 2, 3],
    isLogLost: true,
    onLogRestored: () => void restored++,
  });
  const { host, sent } = group;
  const settle = (): void => {
    for (let turn = 0; turn < 10; turn++) {
      group.pass(1);
      for (const sync of syncs.splice(0)) sync();
    }
  };
  const answer = (from: number, readIndex: number): void => {
    const asked = sent.findLast(({ to, message }) => to === from && message.type === "ReadIndex");
    const { readId } = asked!.message as ReadIndex;
    host.receive({ type: "ReadIndexReply", group: 0, term: 2, from, readId, readIndex });
    group.pass(1);
  };
  group.pass(400);
  answer(2, 0);
  answer(3, 0);
  const runs = [encodeRun({
    ...{ group: 0, term: 2, firstIndex: 1, timeMs: 0, kind: "noop" },
    payloads: [new Uint8Array(0)],
  })];
  const append = { type: "AppendEntries", group: 0, term: 2, from: 2, round: 0 } as const;
  host.receive({ ...append, prevLogIndex: 0, prevLogTerm: 0, leaderCommit: 1, runs });
  settle();
  group.pass(400);
  answer(2, 1);
  assertEquals([host.core.role, restored], ["follower", 0]);
  settle();
  assertEquals([host.core.role, restored, group.failures], ["follower", 1, []]);
});
