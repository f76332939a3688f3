/**
 * A member's directory founded from a backup: what it holds, what is refused, and what a crash leaves.
 *
 * @module
 */
import { CLUSTER_VERSIONS } from "../../machines/group_config.ts";
import {
  assert,
  assertEquals,
  assertGreater,
  assertNotEquals,
  assertRejects,
  assertThrows,
} from "@std/assert";
import { Backups } from "../../actors/backups.ts";
import { RESTORE_REVISION_RAISE } from "../../actors/limits.ts";
import { clusterIdOf } from "../../actors/node.ts";
import {
  type BackupState,
  readBackup,
  restoreDirectory,
  RestoreError,
  type RestoreResult,
} from "../../actors/restore.ts";
import { encodeCommand } from "../../storage/kv/command.ts";
import type { CommandResult } from "../../storage/kv/command_result.ts";
import { KvStore } from "../../storage/kv/kv_store.ts";
import type { Once } from "../../storage/kv/once.ts";
import { joinBytes } from "../../storage/join_bytes.ts";
import {
  type DataDirectoryOptions,
  DirectoryLockedError,
  IdentityMismatchError,
  openDataDirectory,
} from "../../storage/log/data_directory.ts";
import { IdentityDamagedError } from "../../storage/log/directory_file.ts";
import { DiskError } from "../../storage/log/disk.ts";
import {
  openSnapshot,
  SnapshotEncoder,
  SnapshotError,
  type SnapshotMeta,
} from "../../storage/log/snapshot_file.ts";
import { SnapshotStore } from "../../storage/log/snapshot_store.ts";
import { Wal } from "../../storage/log/wal.ts";
import { recoverState } from "../../actors/group_recovery.ts";
import type { HostPort } from "../../transport/wire/network.ts";
import { MemoryDisk } from "../sim/memory_disk.ts";
import { applyNothing, applyRequest } from "../storage/kv/apply.ts";
import { commandOf } from "../storage/kv/command_of.ts";
import { choicesOf } from "../storage/power_loss.ts";

const THREE = membersAt(7001, 7002, 7003);
const FACTS = { term: 3, timeMs: 1_000, clusterVersion: 1, members: [1, 2] };
const GOLDEN = new URL("../golden/format-1.backup", import.meta.url);

function membersAt(...ports: number[]): ReadonlyMap<number, HostPort> {
  return new Map(ports.map((port, at) => [at + 1, { hostname: "127.0.0.1", port }]));
}

function put(store: KvStore, key: string, value: Uint8Array, once?: Once): CommandResult {
  const operation = { type: "put", key, value, contentType: "text/plain" } as const;
  return applyRequest(store, encodeCommand(commandOf(operation, { once })), { timeMs: 1_000 });
}

/** A store with everything that a state can hold. */
function filled(): KvStore {
  const store = new KvStore();
  applyNothing(store);
  for (let at = 0; at < 100; at++) put(store, `k${at}`, new Uint8Array(at * 10).fill(at));
  put(store, "once", new Uint8Array([1]), ONCE);
  put(store, "session", new Uint8Array([2]), SESSION);
  applyRequest(store, encodeCommand(commandOf({ type: "delete", key: "k99" })), { timeMs: 1_000 });
  return store;
}

const ONCE: Once = { type: "idempotencyKey", key: "key", fingerprint: "print" };
const SESSION: Once = { type: "session", clientId: "client", sequence: 1 };

function backupOf(machine: KvStore): Uint8Array<ArrayBuffer> {
  const backups = new Backups({ group: 0, clusterId: "old", machine, factsAt: () => FACTS });
  const pieces: Uint8Array[] = [];
  const backup = backups.begin()!;
  for (let next = backup.next(); next.done !== true; next = backup.next()) pieces.push(next.value);
  return joinBytes(pieces, pieces.reduce((sum, { length }) => sum + length, 0));
}

function readBytes(bytes: Uint8Array): BackupState {
  const read = (offset: number, length: number): Uint8Array =>
    bytes.subarray(offset, offset + length);
  return readBackup("the.backup", openSnapshot("the.backup", { read, size: bytes.length }));
}

/** A file that has this state and says this of it. */
function fileOf(machine: KvStore, changed: Partial<SnapshotMeta>): Uint8Array {
  const frozen = machine.freeze();
  const encoder = new SnapshotEncoder();
  const meta = {
    ...{ clusterId: "old", group: 0, index: machine.lastApplied, ...FACTS },
    ...{ machineVersion: machine.version, stateHash: frozen.stateHash },
    ...changed,
  };
  const pieces = [encoder.head(meta)];
  for (const chunk of frozen.chunks()) pieces.push(encoder.chunk(chunk));
  pieces.push(encoder.end());
  return joinBytes(pieces, pieces.reduce((sum, { length }) => sum + length, 0));
}

function prompt(fault?: () => DiskError | undefined): MemoryDisk {
  return new MemoryDisk({ later: (run) => run(), ...(fault === undefined ? {} : { fault }) });
}

function restore(
  disk: MemoryDisk,
  bytes: Uint8Array,
  { id = 1, members = THREE, revisionRaise = RESTORE_REVISION_RAISE } = {},
): Promise<RestoreResult> {
  return restoreDirectory(disk, readBytes(bytes), { id, members, revisionRaise });
}

const ownerOf = (id: number, members = THREE): DataDirectoryOptions => ({
  ...{ nodeId: id, members: [...members.keys()], clusterId: clusterIdOf(members) },
  ...{ clusterIdSource: "computed", newDirectoryId: "new" },
});

/** Starts as a member does: its directory, its log and its snapshot. */
function start(disk: MemoryDisk, id = 1): {
  readonly clusterId: string;
  readonly machine: KvStore;
  readonly recovered: ReturnType<typeof recoverState>;
} {
  const directory = openDataDirectory(disk, ownerOf(id));
  const { clusterId } = directory.identity;
  const { wal, groups, tornTail } = Wal.open(disk, {
    ...{ clusterId, nodeId: id, wasBegun: directory.logBegun },
  });
  assertEquals(tornTail, undefined);
  const machine = new KvStore();
  const fail = (error: Error): never => {
    throw error;
  };
  const store = SnapshotStore.open(disk, { clusterId, onBroken: fail });
  const recovered = recoverState({
    ...{ group: 0, machine, store, recovered: groups.get(0), onBroken: fail },
  });
  wal.close();
  directory.release();
  return { clusterId, machine, recovered };
}

Deno.test("members restored alike begin with one state, in one cluster that is new", async () => {
  const store = filled();
  const bytes = backupOf(store);
  const results: RestoreResult[] = [];
  for (const id of [1, 2, 3]) {
    const disk = prompt();
    const result = await restore(disk, bytes, { id });
    results.push(result);
    const { clusterId, machine, recovered } = start(disk, id);
    assertEquals(clusterId, result.clusterId);
    assertEquals([result.keys, result.members], [store.size, [1, 2, 3]]);
    assertEquals(result.revision, store.revision + RESTORE_REVISION_RAISE);
    assertEquals([machine.stateHash(), machine.revision], [result.stateHash, result.revision]);
    assertEquals(machine.logTimeMs, store.logTimeMs);
    const all = { reverse: false, limit: Infinity };
    assertEquals([...machine.range(all)], [...store.range(all)], "entries keep their revisions");
    const { hardState, hardStateIsNew, newBase, log, snapshot } = recovered;
    assertEquals(hardState, { currentTerm: FACTS.term, votedFor: undefined });
    assertEquals([hardStateIsNew, newBase], [false, undefined]);
    assertEquals(log.base, { index: store.lastApplied, term: FACTS.term });
    assertEquals(log.lastIndex, store.lastApplied);
    assertEquals(snapshot?.meta.members, [1, 2, 3]);
    assertEquals(snapshot?.meta.timeMs, FACTS.timeMs);
  }
  assertEquals(new Set(results.map(({ clusterId }) => clusterId)).size, 1);
  assertEquals(new Set(results.map(({ stateHash }) => stateHash)).size, 1);
  assertEquals(results[0]!.backup.clusterId, "old");
});

Deno.test("another file, other members or another raise make another cluster", async () => {
  const bytes = backupOf(filled());
  const other = filled();
  // Of the same revision.
  applyNothing(other);
  const ids = [clusterIdOf(THREE), "old"];
  const note = async (bytes: Uint8Array, options = {}): Promise<void> =>
    void ids.push((await restore(prompt(), bytes, options)).clusterId);
  await note(bytes);
  await note(backupOf(other));
  await note(bytes, { members: membersAt(7001, 7002) });
  await note(bytes, { members: membersAt(7001, 7002, 7009) });
  await note(bytes, { revisionRaise: 1 });
  assertEquals(new Set(ids).size, ids.length);
});

Deno.test("the next write gets a revision that no client of the old cluster can have seen", async () => {
  const store = filled();
  const disk = prompt();
  await restore(disk, backupOf(store));
  const { machine } = start(disk);
  const result = put(machine, "k1", new Uint8Array(1));
  assert(result.status === "ok");
  assertEquals(result.revision, store.revision + RESTORE_REVISION_RAISE + 1);
  assertEquals(machine.get("k1")?.revision, result.revision);
  assertEquals(machine.get("k2")?.revision, store.get("k2")?.revision);
});

Deno.test("idempotency keys and sessions go on: a repeat gets its first answer", async () => {
  const store = filled();
  const disk = prompt();
  await restore(disk, backupOf(store));
  const { machine } = start(disk);
  const { revision } = machine;
  for (const [key, fill, once] of [["once", 1, ONCE], ["session", 2, SESSION]] as const) {
    const repeated = put(machine, key, new Uint8Array([fill]), once);
    assert(repeated.status === "ok" && repeated.replayed === true);
  }
  assertEquals(machine.revision, revision);
});

Deno.test("a restored directory is that of its members, and no other start founds it anew", async () => {
  const disk = prompt();
  await restore(disk, backupOf(filled()));
  const { clusterId } = start(disk);
  assertNotEquals(clusterId, clusterIdOf(THREE));
  assertThrows(() => openDataDirectory(disk, ownerOf(2)), IdentityMismatchError, "node 1");
  const single = ownerOf(1, membersAt(7001));
  assertThrows(() => openDataDirectory(disk, single), IdentityMismatchError, "members 1, 2, 3");
  // Addresses may change: the stored id wins.
  const moved = openDataDirectory(disk, ownerOf(1, membersAt(1, 2, 3)));
  assertEquals(moved.identity.clusterId, clusterId);
  moved.release();
});

Deno.test("a directory that is not empty, or in use, is refused and left as it is", async () => {
  const bytes = backupOf(filled());
  const disk = prompt();
  disk.makeDirectory("");
  const file = disk.open("notes.txt");
  file.append(new Uint8Array(3));
  file.close();
  await assertRejects(() => restore(disk, bytes), RestoreError, "there is notes.txt in it");
  assertEquals(disk.list(""), ["notes.txt"]);
  const locked = prompt();
  locked.makeDirectory("");
  const lock = locked.lock("")!;
  await assertRejects(() => restore(locked, bytes), DirectoryLockedError);
  lock.release();
  assertEquals(locked.list(""), []);
  await restore(locked, bytes);
  await assertRejects(() => restore(locked, bytes), RestoreError, "not empty");
});

Deno.test("revisions that would run out, or fall, are refused", async () => {
  const bytes = backupOf(filled());
  for (const revisionRaise of [Number.MAX_SAFE_INTEGER, -1, 0.5]) {
    const disk = prompt();
    await assertRejects(() => restore(disk, bytes, { revisionRaise }), RestoreError, "raise");
    assertEquals(disk.list(""), []);
  }
});

Deno.test("every 97th bit flipped, and every 11th length: a damaged backup is refused", () => {
  const bytes = backupOf(filled());
  readBytes(bytes);
  let refused = 0;
  for (let bit = 0; bit < 8 * bytes.length; bit += 97) {
    const damaged = bytes.slice();
    damaged[bit >> 3]! ^= 1 << (bit & 7);
    const error = assertThrows(() => readBytes(damaged), SnapshotError, "the.backup");
    assertEquals(error.kind, "damaged", `bit ${bit}`);
    refused++;
  }
  assertGreater(refused, 100);
  for (let length = 0; length < bytes.length; length += 11) {
    assertThrows(() => readBytes(bytes.subarray(0, length)), SnapshotError, "the.backup");
  }
  const longer = new Uint8Array(bytes.length + 1);
  longer.set(bytes);
  assertThrows(() => readBytes(longer), SnapshotError, "the.backup");
});

Deno.test("a file that does not mean what it says is refused, and so is a newer release's", () => {
  const store = filled();
  readBytes(fileOf(store, {}));
  const cases: [Partial<SnapshotMeta>, SnapshotError["kind"], string][] = [
    [{ clusterVersion: CLUSTER_VERSIONS.max + 1 }, "foreign", "a newer release wrote it"],
    [{ machineVersion: store.version + 1 }, "foreign", "a newer release wrote it"],
    [{ group: 1 }, "foreign", "group 1"],
    [{ index: 7 }, "damaged", "its head says"],
    [{ stateHash: "0" }, "damaged", "its head says"],
  ];
  for (const [changed, kind, reason] of cases) {
    const error = assertThrows(() => readBytes(fileOf(store, changed)), SnapshotError, reason);
    assertEquals(error.kind, kind);
  }
  const encoder = new SnapshotEncoder();
  const meta = { clusterId: "c", group: 0, index: 1, ...FACTS, machineVersion: 2, stateHash: "0" };
  const pieces = [encoder.head(meta), encoder.chunk(new Uint8Array(9)), encoder.end()];
  const odd = joinBytes(pieces, pieces.reduce((sum, { length }) => sum + length, 0));
  assertThrows(() => readBytes(odd), SnapshotError, "Cannot load a state");
});

Deno.test("a disk that fails at any operation leaves nothing behind", async () => {
  const bytes = backupOf(filled());
  let operations = 0;
  await restore(prompt(() => void operations++), bytes);
  assertGreater(operations, 10);
  for (let failing = 0; failing < operations; failing++) {
    let at = 0;
    const disk = prompt(() =>
      at++ === failing ? new DiskError("planted", { code: "io", path: "" }) : undefined
    );
    await assertRejects(() => restore(disk, bytes), Error, "", `operation ${failing}`);
    assertEquals(disk.list(""), [], `operation ${failing}`);
  }
});

Deno.test("power lost at any operation leaves a directory that is refused, or none, or a whole one", async () => {
  const bytes = backupOf(filled());
  const ends = { none: 0, refused: 0, whole: 0 };
  for (let survived = 0;; survived++) {
    let isDone = false;
    for (let dice = 0; dice < 16; dice++) {
      let alive = survived;
      const disk = prompt(() => {
        if (alive-- > 0) return undefined;
        throw new Error("power loss");
      });
      isDone = await restore(disk, bytes).then(() => true, () => false);
      disk.crash(choicesOf(dice));
      alive = Infinity;
      const end = endOf(disk);
      ends[end]++;
      if (isDone) assertEquals(end, "whole");
    }
    if (isDone) break;
  }
  assert(ends.none > 0 && ends.refused > 0 && ends.whole > 0, JSON.stringify(ends));
});

function endOf(disk: MemoryDisk): "none" | "refused" | "whole" {
  if (disk.list("").length === 0) return "none";
  try {
    start(disk);
    return "whole";
  } catch (error) {
    assert(error instanceof IdentityDamagedError, String(error));
    return "refused";
  }
}

Deno.test("a backup of the first format is read by every later release", async () => {
  const { meta, digest, store } = readBytes(await Deno.readFile(GOLDEN));
  assertEquals(digest, "6e4afefe71d54078dced85572dd7ff73bd430fec0498d17c570a909ecf003bc4");
  assertEquals(meta, {
    ...{ clusterId: "old", group: 0, index: 104, ...FACTS, machineVersion: 2 },
    stateHash: "1f74958fa92ddf6f",
  });
  assertEquals([store.size, store.revision, store.logTimeMs], [101, 103, 1_000]);
  assertEquals(store.get("k7")?.value, new Uint8Array(70).fill(7));
  for (const [key, fill, once] of [["once", 1, ONCE], ["session", 2, SESSION]] as const) {
    const repeated = put(store, key, new Uint8Array([fill]), once);
    assert(repeated.status === "ok" && repeated.replayed === true);
  }
});
