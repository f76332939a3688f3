/**
 * Which directory each peer has: remembered for good, before it is believed.
 *
 * @module
 */
import { assertEquals, assertThrows } from "@std/assert";
import { DenoDisk } from "../../storage/log/deno_disk.ts";
import { IdentityDamagedError } from "../../storage/log/directory_file.ts";
import { type Disk, DiskError } from "../../storage/log/disk.ts";
import { PEERS_BYTES_MAX } from "../../storage/log/limits.ts";
import { StoredPeerIdentities } from "../../storage/log/peer_identities.ts";
import { MemoryDisk } from "../sim/memory_disk.ts";
import { forEachPowerLoss } from "./power_loss.ts";

const open = (disk: Disk): StoredPeerIdentities => StoredPeerIdentities.open(disk, "own");

for (const name of ["memory disk", "Deno disk"] as const) {
  Deno.test(`peer identities on a ${name} outlive the process, and another one is refused`, () => {
    const root = Deno.makeTempDirSync();
    const disk: Disk = name === "Deno disk" ? new DenoDisk(root) : new MemoryDisk();
    try {
      const first = open(disk);
      assertEquals([first.own, first.of(2)], ["own", undefined]);
      assertEquals([first.recognise(2, "d-2"), first.recognise(3, "d-3")], [true, true]);
      if (disk instanceof MemoryDisk) disk.crash(() => 0);
      const second = open(disk);
      assertEquals([second.of(2), second.of(3), second.of(4)], ["d-2", "d-3", undefined]);
      assertEquals([second.recognise(2, "new"), second.recognise(2, "d-2")], [false, true]);
      assertEquals(second.of(2), "d-2", "a refusal changes nothing");
      assertEquals(second.recognise(4, "d-4"), true);
      assertEquals([2, 3, 4].map((peer) => open(disk).of(peer)), ["d-2", "d-3", "d-4"]);
    } finally {
      Deno.removeSync(root, { recursive: true });
    }
  });
}

Deno.test("peer identities: a peer that is known costs no disk operation", () => {
  let operations = 0;
  const disk = new MemoryDisk({
    fault: () => {
      operations++;
      return undefined;
    },
  });
  const identities = open(disk);
  identities.recognise(2, "d-2");
  const before = operations;
  identities.recognise(2, "d-2");
  identities.recognise(2, "new");
  assertEquals(operations, before);
});

Deno.test("peer identities: what could not be written was not recognised, now or later", () => {
  for (const failing of ["create", "append", "sync", "rename", "syncDirectory"]) {
    let planted = false;
    const disk = new MemoryDisk({
      fault: ({ type, path }) =>
        planted && type === failing
          ? new DiskError("Cannot write: planted", { code: "io", path })
          : undefined,
    });
    const identities = open(disk);
    identities.recognise(2, "d-2");
    planted = true;
    assertThrows(() => identities.recognise(3, "d-3"), DiskError, "planted", failing);
    assertEquals(identities.of(3), undefined);
    // The disk is well again, but what it holds is unknown: only a new process may look.
    planted = false;
    assertThrows(() => identities.recognise(3, "d-3"), DiskError, "planted", failing);
    assertEquals(identities.recognise(2, "d-2"), true);
    disk.crash(() => 0);
    assertEquals(open(disk).of(2), "d-2");
  }
});

Deno.test("peer identities: a crash at any operation, with any loss, leaves the old or the new", () => {
  const outcomes = new Set<string | undefined>();
  forEachPowerLoss({
    operations: 10,
    prepare: (disk) => open(disk).recognise(2, "d-2"),
    work: (disk) => open(disk).recognise(3, "d-3"),
    check: (disk, returned) => {
      const again = open(disk);
      assertEquals(again.of(2), "d-2");
      if (returned) assertEquals(again.of(3), "d-3", "what was recognised is durable");
      outcomes.add(again.of(3));
      // What was read has become durable too: the next crash takes nothing back.
      disk.crash(() => 0);
      assertEquals(open(disk).of(3), again.of(3));
    },
  });
  assertEquals(outcomes, new Set([undefined, "d-3"]));
});

Deno.test("peer identities: a file that is damaged or of a later release is refused", () => {
  const broken = [
    "",
    "{",
    "[]",
    "null",
    "{}",
    `{"formatVersion":2,"peers":{}}`,
    `{"formatVersion":1}`,
    `{"formatVersion":1,"peers":[]}`,
    `{"formatVersion":1,"peers":{"0":"d"}}`,
    `{"formatVersion":1,"peers":{"x":"d"}}`,
    `{"formatVersion":1,"peers":{"2":""}}`,
    `{"formatVersion":1,"peers":{"2":7}}`,
  ];
  for (const text of broken) {
    const disk = new MemoryDisk();
    disk.replace("peers.json", new TextEncoder().encode(text));
    assertThrows(() => open(disk), IdentityDamagedError, "Cannot use the data directory");
  }
});

Deno.test("a file of peers that is too large is refused before it is read", () => {
  const disk = new MemoryDisk();
  disk.replace("peers.json", new Uint8Array(PEERS_BYTES_MAX + 1));
  disk.readFile = (path) => {
    throw new Error(`${path} was read`);
  };
  assertThrows(() => open(disk), IdentityDamagedError, "peers.json has 65537 bytes");
});

Deno.test("a full disk remembers a peer later, and a removed one is forgotten for good", () => {
  let isFull = true;
  const disk = new MemoryDisk({
    later: (run) => run(),
    fault: ({ type, path }) =>
      isFull && type === "append"
        ? new DiskError("Cannot write: full", { code: "no-space", path })
        : undefined,
  });
  const identities = StoredPeerIdentities.open(disk, "own");
  assertThrows(() => identities.recognise(2, "d-2"), DiskError);
  assertEquals(identities.of(2), undefined);
  isFull = false;
  assertEquals(identities.recognise(2, "d-2"), true);
  assertEquals(identities.recognise(2, "other"), false);
  identities.forget(2);
  assertEquals([identities.peers, StoredPeerIdentities.open(disk, "own").of(2)], [[], undefined]);
  assertEquals(identities.recognise(2, "other"), true);
});
