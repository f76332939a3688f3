import { assert, assertEquals, assertStringIncludes, assertThrows } from "@std/assert";
import {
  checkDataDirectory,
  type DataDirectory,
  type DataDirectoryOptions,
  DirectoryCopiedError,
  DirectoryLockedError,
  IdentityMismatchError,
  openDataDirectory,
  putLogAside,
} from "../../storage/log/data_directory.ts";
import { IdentityDamagedError } from "../../storage/log/directory_file.ts";
import { DenoDisk } from "../../storage/log/deno_disk.ts";
import { type Disk, DiskError } from "../../storage/log/disk.ts";
import { IDENTITY_BYTES_MAX } from "../../storage/log/limits.ts";
import { StoredPeerIdentities } from "../../storage/log/peer_identities.ts";
import { type OpenedWal, Wal } from "../../storage/log/wal.ts";
import { WalCorruptError, WalFailedError, WalLockedError } from "../../storage/log/wal_errors.ts";
import { encodeHardState } from "../../storage/log/wal_record.ts";
import { MemoryDisk } from "../sim/memory_disk.ts";
import { openWal } from "./open_wal.ts";
import { forEachPowerLoss } from "./power_loss.ts";
import { encode, entry } from "./wal_script.ts";

const options: DataDirectoryOptions = {
  clusterId: "c-1",
  nodeId: 1,
  members: [1, 2, 3],
  clusterIdSource: "configured",
  newDirectoryId: "d-1",
};

for (const name of ["memory disk", "Deno disk"] as const) {
  Deno.test(`a data directory on a ${name} is created once and has one user`, () => {
    const root = Deno.makeTempDirSync();
    const disk: Disk = name === "Deno disk" ? new DenoDisk(`${root}/new/data`) : new MemoryDisk();
    try {
      const first = openDataDirectory(disk, options);
      assertEquals([first.created, first.identity], [true, {
        clusterId: "c-1",
        nodeId: 1,
        members: [1, 2, 3],
      }]);
      assertEquals(first.directoryId, "d-1");
      assertThrows(() => openDataDirectory(disk, options), DirectoryLockedError);
      first.release();
      const second = openDataDirectory(disk, { ...options, newDirectoryId: "d-2" });
      assertEquals([second.created, second.identity], [false, first.identity]);
      assertEquals(second.directoryId, "d-1", "a directory keeps its id");
      second.release();
    } finally {
      Deno.removeSync(root, { recursive: true });
    }
  });
}

/** A directory whose node has voted, so that somebody may rely on it. */
function promised(
  more: Partial<DataDirectoryOptions> = {},
  disk: MemoryDisk = new MemoryDisk({ later: (run) => run() }),
): MemoryDisk {
  const directory = openDataDirectory(disk, { ...options, ...more });
  const { wal } = Wal.open(disk, directory.identity);
  wal.append([encodeHardState(0, { currentTerm: 1, votedFor: 2 })]);
  wal.close();
  directory.release();
  return disk;
}

Deno.test("the directory of another node or of another configured cluster is refused", () => {
  const disk = promised();
  for (const other of [{ ...options, nodeId: 2 }, { ...options, clusterId: "c-2" }]) {
    const error = assertThrows(() => openDataDirectory(disk, other), IdentityMismatchError);
    assertEquals(error.stored, { clusterId: "c-1", nodeId: 1, members: [1, 2, 3] });
  }
  openDataDirectory(disk, options).release();
});

Deno.test("X1: a directory keeps its members: a start that names others is refused, and changes nothing", () => {
  for (const computed of [true, false]) {
    const clusterIdSource = computed ? "computed" : "configured";
    const disk = promised({ clusterIdSource });
    for (const members of [[1], [1, 2], [1, 2, 3, 4], [1, 2, 4]]) {
      // The cluster id is computed from the members, so it differs too, or is the same by a trick.
      for (const clusterId of ["c-1", "c-2"]) {
        const wrong = { ...options, clusterIdSource, members, clusterId } as const;
        const error = assertThrows(() => openDataDirectory(disk, wrong), IdentityMismatchError);
        assertThrows(() => checkDataDirectory(disk, wrong), IdentityMismatchError);
        const says = clusterId === "c-1" || computed ? "has the members 1, 2, 3" : "";
        assertStringIncludes(error.message, says);
      }
    }
    checkDataDirectory(disk, { ...options, clusterIdSource });
    const again = openDataDirectory(disk, { ...options, clusterIdSource });
    assertEquals([again.created, again.identity.members], [false, [1, 2, 3]]);
    again.release();
  }
});

Deno.test("X1: changed addresses of the same members are taken, and the stored cluster id stays", () => {
  const disk = promised({ clusterIdSource: "computed" });
  const moved = { ...options, clusterId: "c-2", clusterIdSource: "computed" } as const;
  checkDataDirectory(disk, moved);
  const again = openDataDirectory(disk, moved);
  assertEquals(again.identity.clusterId, "c-1");
  again.release();
});

Deno.test("X7: a directory that has promised nothing is not spoilt by a wrong first start", () => {
  const wrongs: Partial<DataDirectoryOptions>[] = [
    { members: [1, 2] },
    { members: [1], clusterId: "c-2" },
    { clusterId: "c-2" },
    { nodeId: 2 },
  ];
  for (const wrong of wrongs) {
    for (const hasLog of [true, false]) {
      const disk = new MemoryDisk();
      const first = openDataDirectory(disk, { ...options, ...wrong });
      if (hasLog) Wal.open(disk, first.identity).wal.close();
      first.release();
      checkDataDirectory(disk, options);
      const second = openDataDirectory(disk, options);
      assertEquals(second.identity, { clusterId: "c-1", nodeId: 1, members: [1, 2, 3] });
      assertEquals(second.directoryId, "d-1", "a peer may have noted it");
      const { wal, groups } = Wal.open(disk, second.identity);
      assertEquals(groups.size, 0);
      wal.close();
    }
  }
  // A typo in an address alone makes another cluster id, which the peers would always refuse.
  for (const hasLog of [true, false]) {
    const disk = new MemoryDisk();
    const computed = { ...options, clusterIdSource: "computed" } as const;
    const first = openDataDirectory(disk, { ...computed, clusterId: "c-typo" });
    if (hasLog) Wal.open(disk, first.identity).wal.close();
    first.release();
    checkDataDirectory(disk, computed);
    const second = openDataDirectory(disk, computed);
    assertEquals([second.identity.clusterId, second.directoryId], ["c-1", "d-1"]);
    Wal.open(disk, second.identity).wal.close();
  }
  // One that has met a peer is no empty one, though it has stored nothing.
  const disk = new MemoryDisk();
  const directory = openDataDirectory(disk, options);
  Wal.open(disk, directory.identity).wal.close();
  StoredPeerIdentities.open(disk, directory.directoryId).recognise(2, "d-2");
  directory.release();
  const wrong = { ...options, members: [1] };
  assertThrows(() => openDataDirectory(disk, wrong), IdentityMismatchError);
});

Deno.test("X7: a crash while a directory is founded anew leaves it to the old owner or the new, unspoilt", () => {
  const right = { ...options, members: [1, 2] };
  const owners = new Set<string>();
  forEachPowerLoss({
    operations: 24,
    prepare: (disk) => {
      const first = openDataDirectory(disk, options);
      Wal.open(disk, first.identity).wal.close();
      first.noteLogBegun();
      first.release();
    },
    work: (disk) => openDataDirectory(disk, right),
    check: (disk, returned) => {
      owners.add(new TextDecoder().decode(disk.readFile("identity.json")));
      const opened = openDataDirectory(disk, right);
      assertEquals(opened.identity.members, [1, 2]);
      if (returned !== undefined) assertEquals(opened.directoryId, returned.directoryId);
      Wal.open(disk, { ...opened.identity, wasBegun: opened.logBegun }).wal.close();
    },
  });
  assertEquals(owners.size, 3, "the old owner, the old one without its log, the new one");
});

Deno.test("X7: a first start that fails takes back what it made, and nothing else", () => {
  const root = Deno.makeTempDirSync();
  try {
    const path = `${root}/new/data`;
    const disk = new DenoDisk(path);
    const first = openDataDirectory(disk, options);
    Wal.open(disk, first.identity).wal.close();
    first.noteLogBegun();
    first.discard();
    assertEquals([...Deno.readDirSync(`${root}/new`)].length, 0);
    const second = openDataDirectory(disk, { ...options, newDirectoryId: "d-2" });
    Deno.writeTextFileSync(`${path}/somebody-elses`, "");
    second.discard();
    assertEquals([...Deno.readDirSync(path)].map(({ name }) => name), ["somebody-elses"]);
    // A later start that fails keeps the directory.
    const third = openDataDirectory(disk, options);
    third.release();
    openDataDirectory(disk, options).discard();
    assertEquals(disk.exists("identity.json"), true);
  } finally {
    Deno.removeSync(root, { recursive: true });
  }
});

Deno.test("X6: two processes cannot write one log, whatever is removed or moved", () => {
  const root = Deno.makeTempDirSync();
  try {
    const disk = new DenoDisk(`${root}/data`);
    const first = openDataDirectory(disk, options);
    const { wal } = Wal.open(disk, first.identity);
    for (const { name } of [...Deno.readDirSync(`${root}/data`)]) {
      if (name !== "wal") Deno.removeSync(`${root}/data/${name}`, { recursive: true });
    }
    assertThrows(() => openDataDirectory(disk, options), DirectoryLockedError);
    // Another name, and another directory around the same log.
    Deno.symlinkSync(`${root}/data`, `${root}/alias`);
    const alias = new DenoDisk(`${root}/alias`);
    assertThrows(() => openDataDirectory(alias, options), DirectoryLockedError);
    Deno.mkdirSync(`${root}/other`);
    Deno.renameSync(`${root}/data/wal`, `${root}/other/wal`);
    const other = new DenoDisk(`${root}/other`);
    assertThrows(() => Wal.open(other, first.identity), WalLockedError);
    Deno.renameSync(`${root}/other/wal`, `${root}/data/wal`);
    wal.close();
    first.release();
    Wal.open(disk, first.identity).wal.close();
  } finally {
    Deno.removeSync(root, { recursive: true });
  }
});

Deno.test("X6: a directory that was moved while in use writes nothing into the one that took its path", () => {
  const root = Deno.makeTempDirSync();
  try {
    const path = `${root}/data`;
    const disk = new DenoDisk(path);
    const directory = openDataDirectory(disk, options);
    const { wal } = Wal.open(disk, { ...directory.identity, segmentBytes: 1 });
    const peers = StoredPeerIdentities.open(disk, directory.directoryId);
    Deno.renameSync(path, `${root}/moved`);
    const others = new DenoDisk(path);
    const other = openDataDirectory(others, { ...options, newDirectoryId: "d-2" });
    const opened = Wal.open(others, other.identity);
    const before = [others.list(""), others.list("wal")];
    assertThrows(() => peers.recognise(2, "d-3"), DiskError, "was moved");
    assertThrows(() => wal.append([]), WalFailedError, "was moved");
    assertEquals([others.list(""), others.list("wal")], before);
    opened.wal.close();
    other.release();
    wal.close();
    directory.release();
  } finally {
    Deno.removeSync(root, { recursive: true });
  }
});

Deno.test("an identity that is damaged, of a later release or missing beside a log is refused", () => {
  const broken = [
    "",
    "{",
    "[]",
    "null",
    "1",
    "{}",
    `{"formatVersion":1,"clusterId":"c-1","nodeId":1,"directoryId":"d-1"}`,
    `{"formatVersion":4,"clusterId":"c-1","nodeId":1,"directoryId":"d-1","members":[1]}`,
    `{"formatVersion":3,"clusterId":"c-1","directoryId":"d-1","members":[1]}`,
    `{"formatVersion":3,"clusterId":"c-1","nodeId":1,"members":[1]}`,
    `{"formatVersion":3,"clusterId":"c-1","nodeId":1,"directoryId":"D 1","members":[1]}`,
    `{"formatVersion":3,"clusterId":7,"nodeId":1,"directoryId":"d-1","members":[1]}`,
    `{"formatVersion":3,"clusterId":"../x","nodeId":1,"directoryId":"d-1","members":[1]}`,
    `{"formatVersion":3,"clusterId":"c-1","nodeId":0,"directoryId":"d-1","members":[1]}`,
    `{"formatVersion":2,"clusterId":"c-1","nodeId":1,"directoryId":"d-1"}`,
    `{"formatVersion":3,"clusterId":"c-1","nodeId":1,"directoryId":"d-1"}`,
    `{"formatVersion":3,"clusterId":"c-1","nodeId":1,"directoryId":"d-1","members":[]}`,
    `{"formatVersion":3,"clusterId":"c-1","nodeId":1,"directoryId":"d-1","members":[2]}`,
    `{"formatVersion":3,"clusterId":"c-1","nodeId":1,"directoryId":"d-1","members":[1,1]}`,
    `{"formatVersion":3,"clusterId":"c-1","nodeId":1,"directoryId":"d-1","members":[1,"2"]}`,
  ];
  for (const text of broken) {
    const disk = new MemoryDisk();
    disk.replace("identity.json", new TextEncoder().encode(text));
    assertThrows(() => openDataDirectory(disk, options), IdentityDamagedError);
    assertThrows(() => openDataDirectory(disk, options), IdentityDamagedError, "", "lock is free");
  }
  const disk = new MemoryDisk();
  disk.makeDirectory("wal");
  assertThrows(() => openDataDirectory(disk, options), IdentityDamagedError);
  const known = new MemoryDisk();
  known.replace("peers.json", new Uint8Array(0));
  assertThrows(() => openDataDirectory(known, options), IdentityDamagedError, "no identity");
  // It says that a log was durable here: a start that founded the directory anew would forget that.
  const marked = new MemoryDisk();
  marked.replace("durable", new Uint8Array(12));
  assertThrows(() => openDataDirectory(marked, options), IdentityDamagedError, "no identity");
  assert(marked.exists("durable"));
});

Deno.test("a directory that has met peers and lost its log is refused", () => {
  const disk = new MemoryDisk();
  const directory = openDataDirectory(disk, options);
  Wal.open(disk, directory.identity).wal.close();
  StoredPeerIdentities.open(disk, directory.directoryId).recognise(2, "d-2");
  directory.release();
  openDataDirectory(disk, options).release();
  for (const name of disk.list("wal")) disk.erase(`wal/${name}`);
  assertThrows(() => openDataDirectory(disk, options), IdentityDamagedError, "log is missing");
});

Deno.test("a directory that has begun its log and lost it is refused, by whatever was removed", () => {
  const begun = (): MemoryDisk => {
    const disk = new MemoryDisk();
    const directory = openDataDirectory(disk, options);
    assertEquals(directory.logBegun, false);
    Wal.open(disk, directory.identity).wal.close();
    directory.noteLogBegun();
    directory.release();
    return disk;
  };
  const whole = openDataDirectory(begun(), options);
  assertEquals(whole.logBegun, true);
  const path = "wal/00000000000000000001.wal";
  const gone = begun();
  gone.erase(path);
  for (const wanted of [options, { ...options, members: [1] }]) {
    const error = assertThrows(() => openDataDirectory(gone, wanted));
    assert(error instanceof IdentityDamagedError || error instanceof IdentityMismatchError);
  }
  for (const length of [0, 64, 127]) {
    const cut = begun();
    cut.replace(path, cut.readFile(path).slice(0, length));
    // It has promised something, for all that anybody can tell: nobody founds it anew.
    assertThrows(
      () => openDataDirectory(cut, { ...options, members: [1] }),
      IdentityMismatchError,
    );
    const { identity, logBegun: wasBegun } = openDataDirectory(cut, options);
    assertThrows(() => openWal(cut, { ...identity, wasBegun }), WalCorruptError, "whole once");
  }
});

Deno.test("a crash between an identity and its log is no loss", () => {
  forEachPowerLoss({
    operations: 24,
    work: (disk) => {
      const directory = openDataDirectory(disk, options);
      Wal.open(disk, { ...directory.identity, wasBegun: directory.logBegun });
      directory.noteLogBegun();
      return directory;
    },
    check: (disk) => {
      const directory = openDataDirectory(disk, options);
      Wal.open(disk, { ...directory.identity, wasBegun: directory.logBegun });
    },
  });
});

Deno.test("a crash while a directory is created leaves none or a whole one", () => {
  const outcomes = new Set<boolean>();
  forEachPowerLoss({
    operations: 12,
    work: (disk) => openDataDirectory(disk, options),
    check: (disk, returned) => {
      const opened = openDataDirectory(disk, options);
      assert(
        !(returned !== undefined && opened.created),
        "an identity that was returned is durable",
      );
      outcomes.add(opened.created);
    },
  });
  assertEquals(outcomes.size, 2);
});

Deno.test("a directory that may not be used is a typed error", {
  ignore: Deno.build.os === "windows",
}, () => {
  const root = Deno.makeTempDirSync();
  try {
    Deno.writeFileSync(`${root}/file`, new Uint8Array(0));
    const disk = new DenoDisk(`${root}/file/data`);
    assertThrows(() => openDataDirectory(disk, options), DiskError);
  } finally {
    Deno.removeSync(root, { recursive: true });
  }
  const denied = new MemoryDisk({
    fault: ({ path }) => new DiskError("Cannot create: denied", { code: "permission", path }),
  });
  const error = assertThrows(() => openDataDirectory(denied, options), DiskError);
  assertEquals(error.code, "permission");
});

Deno.test("an identity that no directory could have is refused", () => {
  const wrongs = [
    { clusterId: "A" },
    { clusterId: "" },
    { nodeId: 0 },
    { nodeId: 1.5 },
    { newDirectoryId: "" },
    { newDirectoryId: "D" },
  ];
  for (const wrong of wrongs) {
    assertThrows(() => openDataDirectory(new MemoryDisk(), { ...options, ...wrong }), RangeError);
  }
});

Deno.test("a copy is refused, and nothing is changed, until the operator says that it may be taken", () => {
  const disk = promised();
  const before = disk.readFile("identity.json");
  disk.place = "2";
  for (let times = 0; times < 2; times++) {
    assertThrows(() => openDataDirectory(disk, options), DirectoryCopiedError);
    assertEquals(disk.readFile("identity.json"), before);
  }
  const taken = openDataDirectory(disk, { ...options, mayBeCopy: true });
  assertEquals(taken.directoryId, "d-1");
  taken.release();
  // It belongs here from now on.
  openDataDirectory(disk, options).release();
  disk.place = "1";
  assertThrows(() => openDataDirectory(disk, options), DirectoryCopiedError);
});

Deno.test("a copy that has promised nothing is taken, and so is one where nobody can tell", () => {
  const fresh = new MemoryDisk();
  openDataDirectory(fresh, options).release();
  fresh.place = "2";
  openDataDirectory(fresh, options).release();

  const disk = promised();
  disk.place = undefined;
  openDataDirectory(disk, options).release();
});

Deno.test("a directory of which nobody noted the place notes it", () => {
  const disk = new MemoryDisk({ later: (run) => run() });
  disk.place = undefined;
  promised({}, disk);
  disk.place = "1";
  openDataDirectory(disk, options).release();
  disk.place = "2";
  assertThrows(() => openDataDirectory(disk, options), DirectoryCopiedError);
});

Deno.test("on a real disk a renamed directory is the same, and a copied one is not", async () => {
  const root = Deno.makeTempDirSync();
  try {
    const one = new DenoDisk(`${root}/one`);
    const directory = openDataDirectory(one, options);
    const { wal } = Wal.open(one, directory.identity);
    wal.append([encodeHardState(0, { currentTerm: 1, votedFor: 2 })]);
    wal.close();
    directory.release();
    Deno.renameSync(`${root}/one`, `${root}/renamed`);
    openDataDirectory(new DenoDisk(`${root}/renamed`), options).release();
    const { success } = await new Deno.Command("cp", {
      args: ["-a", `${root}/renamed`, `${root}/copy`],
    }).output();
    assert(success);
    const copy = new DenoDisk(`${root}/copy`);
    assertThrows(() => openDataDirectory(copy, options), DirectoryCopiedError);
    openDataDirectory(copy, { ...options, mayBeCopy: true }).release();
  } finally {
    Deno.removeSync(root, { recursive: true });
  }
});

Deno.test("on a real disk a backup is refused, whatever it is put back as", async () => {
  const root = Deno.makeTempDirSync();
  const path = `${root}/data`;
  try {
    const shell = async (script: string): Promise<void> => {
      const { success } = await new Deno.Command("sh", {
        args: ["-ec", script],
        cwd: root,
      }).output();
      assert(success, script);
    };
    const disk = new DenoDisk(path);
    const directory = openDataDirectory(disk, options);
    const { wal } = Wal.open(disk, directory.identity);
    directory.noteLogBegun();
    wal.append([encodeHardState(0, { currentTerm: 1, votedFor: 2 })]);
    wal.close();
    directory.release();
    await shell("cp -a data backup");
    const restores = [
      // The file system may give the number of the inode again.
      "rm -r data; cp -a backup data",
      "rm -r data/*; cp -a backup/* data",
      "rm -r data/wal; cp -a backup/wal data",
      "mv data gone; mv backup data; cp -a data backup",
    ];
    for (const restore of restores) {
      await shell(restore);
      assertThrows(() => openDataDirectory(disk, options), DirectoryCopiedError, "", restore);
      openDataDirectory(disk, { ...options, mayBeCopy: true }).release();
      openDataDirectory(disk, options).release();
    }
  } finally {
    Deno.removeSync(root, { recursive: true });
  }
});

Deno.test("on a real disk a log that is begun anew after its loss makes no copy", () => {
  const root = Deno.makeTempDirSync();
  const path = `${root}/data`;
  const disk = new DenoDisk(path);
  const start = (): DataDirectory => {
    const directory = openDataDirectory(disk, options);
    const { isLogLost, logBegun, identity } = directory;
    try {
      Wal.open(disk, { ...identity, wasBegun: logBegun && !isLogLost }).wal.close();
      directory.noteLogBegun();
    } finally {
      directory.release();
    }
    return directory;
  };
  try {
    start();
    for (const reason of ["its log is missing", "it is cut short"]) {
      Deno.removeSync(`${path}/wal`, { recursive: true });
      assertThrows(start, Error, reason);
      putLogAside(disk);
      // A crash, or a stop, before the log is whole again.
      for (let times = 0; times < 2; times++) assert(start().isLogLost);
    }
    start().noteLogRestored();
    assertEquals(start().isLogLost, false);
    // From then on it is told from a backup again.
    Deno.renameSync(`${path}/wal`, `${path}/gone`);
    Deno.mkdirSync(`${path}/wal`);
    assertThrows(start, DirectoryCopiedError);
  } finally {
    Deno.removeSync(root, { recursive: true });
  }
});

Deno.test("a place is another one by its number, by its time, and by that of the log", () => {
  const open = (place: string, innerPlace: string): void => {
    const disk = new MemoryDisk({ later: (run) => run() });
    [disk.place, disk.innerPlace] = ["1.5", "2.6"];
    promised({}, disk);
    openDataDirectory(disk, options).noteLogBegun();
    disk.dropLocks();
    [disk.place, disk.innerPlace] = [place, innerPlace];
    openDataDirectory(disk, options).release();
  };
  for (const [place, inner] of [["1.5", "2.6"], ["1", "2.6"], ["1.5", "2"]] as const) {
    open(place, inner);
  }
  const others = [["3.5", "2.6"], ["1.6", "2.6"], ["1.5", "3.6"], ["1.5", "2.7"]] as const;
  for (const [place, inner] of others) {
    assertThrows(() => open(place, inner), DirectoryCopiedError, "", `${place} ${inner}`);
  }
});

Deno.test("a copy is taken whole or not at all, whenever the power fails", () => {
  const places = new Set<string>();
  forEachPowerLoss({
    operations: 12,
    prepare: (disk) => {
      promised({}, disk);
      disk.place = "2";
    },
    work: (disk) => openDataDirectory(disk, { ...options, mayBeCopy: true }),
    check: (disk) => {
      places.add(new TextDecoder().decode(disk.readFile("identity.json")));
      assertEquals(openDataDirectory(disk, { ...options, mayBeCopy: true }).directoryId, "d-1");
    },
  });
  assertEquals(places.size, 2);
});

Deno.test("an identity that is too large is refused before it is read", () => {
  const disk = new MemoryDisk();
  disk.replace("identity.json", new Uint8Array(IDENTITY_BYTES_MAX + 1));
  disk.readFile = (path) => {
    throw new Error(`${path} was read`);
  };
  assertThrows(
    () => openDataDirectory(disk, options),
    IdentityDamagedError,
    `identity.json has ${IDENTITY_BYTES_MAX + 1} bytes`,
  );
});

Deno.test("a log that is put aside is gone for good or still there, whenever the power goes", () => {
  const outcomes = new Set<boolean>();
  forEachPowerLoss({
    operations: 16,
    prepare: (disk) => {
      const directory = openDataDirectory(disk, options);
      const { wal } = Wal.open(disk, { ...directory.identity, segmentBytes: 1 });
      for (const index of [1, 2, 3]) wal.append([encode(entry(0, 1, index))]);
      wal.close();
      directory.noteLogBegun();
      directory.release();
    },
    work: (disk) => putLogAside(disk),
    check: (disk) => {
      const directory = openDataDirectory(disk, options);
      outcomes.add(directory.isLogLost);
      const open = (): OpenedWal =>
        Wal.open(disk, {
          ...directory.identity,
          wasBegun: directory.logBegun && !directory.isLogLost,
        });
      if (!directory.isLogLost) {
        assertEquals(open().groups.get(0)?.lastIndex, 3);
        return;
      }
      directory.release();
      // As a start does, if what is left of it cannot be opened either.
      putLogAside(disk);
      const again = openDataDirectory(disk, options);
      assertEquals([again.isLogLost, open().groups.size], [true, 0]);
      again.noteLogRestored();
      again.release();
      assertEquals(openDataDirectory(disk, options).isLogLost, false);
    },
  });
  assertEquals(outcomes, new Set([false, true]));
});

Deno.test("a directory that lost its log has promised what nobody knows: no other members take it over", () => {
  const disk = new MemoryDisk({ later: (run) => run() });
  const start = (members: readonly number[]): void => {
    const directory = openDataDirectory(disk, { ...options, members });
    Wal.open(disk, directory.identity).wal.close();
    directory.noteLogBegun();
    directory.release();
  };
  start([1, 2, 3]);
  putLogAside(disk);
  start([1, 2, 3]);
  assertThrows(() => start([1, 4]), IdentityMismatchError);
});

Deno.test("what is put aside is kept until the next loss, and then replaced", () => {
  const disk = new MemoryDisk();
  const lose = (): string[] => {
    const directory = openDataDirectory(disk, options);
    Wal.open(disk, { ...directory.identity, wasBegun: false }).wal.close();
    directory.noteLogBegun();
    directory.release();
    putLogAside(disk);
    return disk.list("wal");
  };
  const aside = ["00000000000000000001.wal.broken"];
  assertEquals([lose(), lose()], [aside, aside]);
  const directory = openDataDirectory(disk, options);
  assertThrows(() => putLogAside(disk), DirectoryLockedError);
  directory.release();
});
