import { assert, assertEquals } from "@std/assert";
import { recoverState } from "../../actors/group_recovery.ts";
import { unpackRequests } from "../../machines/request_batch.ts";
import type { CommandResult } from "../../storage/kv/command_result.ts";
import { KvStore } from "../../storage/kv/kv_store.ts";
import { openDataDirectory } from "../../storage/log/data_directory.ts";
import { StoredPeerIdentities } from "../../storage/log/peer_identities.ts";
import { SnapshotStore } from "../../storage/log/snapshot_store.ts";
import { Wal } from "../../storage/log/wal.ts";
import { forEachEntry } from "../../storage/log/wal_record.ts";
import { LoneGroup } from "../actors/lone_group.ts";
import { MemoryDisk } from "../sim/memory_disk.ts";
import { type Expected, keysOf, makeDirectory, OWNER } from "./golden.ts";

const names = Array.from(Deno.readDirSync(new URL(".", import.meta.url)))
  .filter(({ isDirectory }) => isDirectory).map(({ name }) => name).sort();

/** A copy of a golden directory. */
function diskOf(name: string): { readonly disk: MemoryDisk; readonly expected: Expected } {
  const disk = new MemoryDisk({ later: (run) => run() });
  disk.place = disk.innerPlace = undefined;
  const root = new URL(`${name}/`, import.meta.url);
  for (const directory of ["", "wal/", "snapshots/"]) {
    if (directory !== "") disk.makeDirectory(directory.slice(0, -1));
    for (const { name, isFile } of Deno.readDirSync(new URL(directory, root))) {
      if (!isFile || name === "expected.json") continue;
      disk.replace(`${directory}${name}`, Deno.readFileSync(new URL(directory + name, root)));
    }
  }
  return { disk, expected: JSON.parse(Deno.readTextFileSync(new URL("expected.json", root))) };
}

function check({ disk, expected }: ReturnType<typeof diskOf>): void {
  const directory = openDataDirectory(disk, {
    ...OWNER,
    clusterIdSource: "configured",
    newDirectoryId: "another",
  });
  assertEquals([directory.directoryId, directory.logBegun], ["golden-1", true]);
  assertEquals(StoredPeerIdentities.open(disk, directory.directoryId).of(2), "golden-2");
  const { wal, groups, tornTail } = Wal.open(disk, { ...OWNER, wasBegun: true });
  const { hardState, lastIndex } = groups.get(0)!;
  const { currentTerm, votedFor } = expected;
  assertEquals(hardState, { currentTerm, votedFor });
  assertEquals([lastIndex, tornTail], [expected.lastApplied, undefined]);
  wal.close();

  const snapshots = SnapshotStore.open(disk, { clusterId: OWNER.clusterId, onBroken: fail });
  assertEquals(snapshots.of(0).length, 2);
  for (const stored of snapshots.of(0)) {
    const machine = new KvStore();
    const steps = machine.load(snapshots.open(stored).chunks());
    while (steps.next().done !== true);
    assertEquals([machine.lastApplied, machine.stateHash()], [stored.index, stored.meta.stateHash]);
  }
  assertEquals(snapshots.newest(0)?.index, expected.base);

  const machine = new KvStore();
  const recovered = groups.get(0);
  const { log } = recoverState({ group: 0, machine, store: snapshots, recovered, onBroken: fail });
  for (const run of log.slice(machine.lastApplied + 1, expected.lastApplied)) {
    forEachEntry(run, (index, timeMs, kind, payload) => {
      const requests = kind === "command" ? unpackRequests(payload) : [];
      machine.apply({ index, term: run.term, timeMs, kind, requests });
    });
  }
  assertEquals([machine.revision, machine.stateHash()], [expected.revision, expected.stateHash]);
  assertEquals(keysOf(machine), [...expected.keys]);

  // The member starts from it, and knows what was done once.
  const group = new LoneGroup<CommandResult, KvStore>(new KvStore(), { disk }).lead();
  group.pass(10);
  for (const [request, revision] of expected.once) {
    const answers = group.propose(...Uint8Array.fromHex(request));
    group.pass(2);
    const [answer] = answers;
    assert(answer?.status === "ok");
    assertEquals(answer.revision, revision);
  }
  assertEquals(group.host.machine.revision, expected.revision);
}

function fail(error: Error): never {
  throw error;
}

for (const name of names) {
  Deno.test(`the data directory ${name} of an earlier release is read`, () => check(diskOf(name)));
}

Deno.test("there is a golden directory of today's formats", () => {
  const versionsOf = (disk: MemoryDisk): unknown => {
    const [segment] = disk.list("wal");
    const [snapshot] = disk.list("snapshots");
    const versionAt = (path: string): number =>
      new DataView(disk.readFile(path).buffer).getUint32(8, true);
    return [versionAt(`wal/${segment}`), versionAt(`snapshots/${snapshot}`)];
  };
  const made = makeDirectory();
  check(made);
  assert(names.length > 0);
  assertEquals(versionsOf(diskOf(names.at(-1)!).disk), versionsOf(made.disk));
});
