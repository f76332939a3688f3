import { assert, assertEquals, assertThrows } from "@std/assert";
import {
  type DataDirectoryOptions,
  DirectoryLockedError,
  IdentityMismatchError,
  openDataDirectory,
} from "../../storage/data_directory.ts";
import { IdentityDamagedError } from "../../storage/directory_file.ts";
import { DenoDisk } from "../../storage/deno_disk.ts";
import { type Disk, DiskError } from "../../storage/disk.ts";
import { IDENTITY_BYTES_MAX } from "../../storage/limits.ts";
import { StoredPeerIdentities } from "../../storage/peer_identities.ts";
import { Wal } from "../../storage/wal.ts";
import { MemoryDisk } from "../sim/memory_disk.ts";
import { forEachPowerLoss } from "./power_loss.ts";

const options: DataDirectoryOptions = {
  clusterId: "c-1",
  nodeId: 1,
  clusterIdSource: "configured",
  newDirectoryId: "d-1",
};

for (const name of ["memory disk", "Deno disk"] as const) {
  Deno.test(`a data directory on a ${name} is created once and has one user`, () => {
    const root = Deno.makeTempDirSync();
    const disk: Disk = name === "Deno disk" ? new DenoDisk(`${root}/new/data`) : new MemoryDisk();
    try {
      const first = openDataDirectory(disk, options);
      assertEquals([first.created, first.identity], [true, { clusterId: "c-1", nodeId: 1 }]);
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

Deno.test("the directory of another node or of another configured cluster is refused", () => {
  const disk = new MemoryDisk();
  openDataDirectory(disk, options).release();
  for (const other of [{ ...options, nodeId: 2 }, { ...options, clusterId: "c-2" }]) {
    const error = assertThrows(() => openDataDirectory(disk, other), IdentityMismatchError);
    assertEquals(error.stored, { clusterId: "c-1", nodeId: 1 });
  }
  openDataDirectory(disk, options).release();
});

Deno.test("the stored cluster id wins over one that was computed from the peers", () => {
  const disk = new MemoryDisk();
  const computed = { ...options, clusterIdSource: "computed" } as const;
  openDataDirectory(disk, computed).release();
  const again = openDataDirectory(disk, { ...computed, clusterId: "c-2" });
  assertEquals(again.identity.clusterId, "c-1");
  again.release();
  assertThrows(() => openDataDirectory(disk, { ...computed, nodeId: 2 }), IdentityMismatchError);
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
    `{"formatVersion":3,"clusterId":"c-1","nodeId":1,"directoryId":"d-1"}`,
    `{"formatVersion":2,"clusterId":"c-1","directoryId":"d-1"}`,
    `{"formatVersion":2,"clusterId":"c-1","nodeId":1}`,
    `{"formatVersion":2,"clusterId":"c-1","nodeId":1,"directoryId":"D 1"}`,
    `{"formatVersion":2,"clusterId":7,"nodeId":1,"directoryId":"d-1"}`,
    `{"formatVersion":2,"clusterId":"../x","nodeId":1,"directoryId":"d-1"}`,
    `{"formatVersion":2,"clusterId":"c-1","nodeId":0,"directoryId":"d-1"}`,
    " ".repeat(IDENTITY_BYTES_MAX + 1),
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
