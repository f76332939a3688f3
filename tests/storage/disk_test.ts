import { assert, assertEquals, assertThrows } from "@std/assert";
import { DenoDisk } from "../../storage/log/deno_disk.ts";
import { DiskError } from "../../storage/log/disk.ts";
import { withFewDescriptors } from "../few_descriptors.ts";
import { MemoryDisk } from "../sim/memory_disk.ts";
import { testDisk } from "./disk_conformance.ts";

testDisk("memory disk", () => ({ disk: new MemoryDisk(), dispose: () => {} }));

testDisk("Deno disk", () => {
  const root = Deno.makeTempDirSync();
  return {
    disk: new DenoDisk(`${root}/a/b`),
    dispose: () => Deno.removeSync(root, { recursive: true }),
  };
});

Deno.test(
  "Deno disk: directories are 0700 and files 0600",
  { ignore: Deno.build.os === "windows" },
  () => {
    const root = Deno.makeTempDirSync();
    try {
      const disk = new DenoDisk(`${root}/d`);
      disk.makeDirectory("wal");
      disk.open("wal/a").close();
      const modeOf = (path: string): number => Deno.statSync(`${root}/d/${path}`).mode! & 0o777;
      assertEquals([modeOf(""), modeOf("wal")], [0o700, 0o700]);
      assertEquals(modeOf("wal/a"), 0o600);
    } finally {
      Deno.removeSync(root, { recursive: true });
    }
  },
);

Deno.test("Deno disk: a file in the place of a directory is refused", () => {
  const root = Deno.makeTempDirSync();
  try {
    Deno.writeFileSync(`${root}/file`, new Uint8Array(1));
    const error = assertThrows(() => new DenoDisk(`${root}/file`).makeDirectory(""), DiskError);
    assertEquals(error.code, "exists");
  } finally {
    Deno.removeSync(root, { recursive: true });
  }
});

Deno.test("memory disk: a crash loses what was not synced, and only that", () => {
  const disk = new MemoryDisk();
  const file = disk.open("a");
  file.append(new Uint8Array([1, 2]));
  file.sync();
  disk.syncDirectory("");
  file.append(new Uint8Array([3]));
  disk.open("b");
  disk.crash(() => 0);
  assertEquals(disk.list(""), ["a"]);
  assertEquals([...disk.readFile("a")], [1, 2]);
  assertEquals(assertThrows(() => file.append(new Uint8Array(1)), DiskError).code, "closed");
});

Deno.test("memory disk: a synced file whose directory was not synced can vanish", () => {
  const disk = new MemoryDisk();
  const file = disk.open("a");
  file.append(new Uint8Array([1]));
  file.sync();
  disk.crash(() => 0);
  assert(!disk.exists("a"));
});

Deno.test("memory disk: an unsynced rename may or may not have happened", () => {
  for (const outcome of [0, 1]) {
    const disk = new MemoryDisk();
    for (const [name, byte] of [["new", 2], ["old", 1]] as const) {
      const file = disk.open(name);
      file.append(new Uint8Array([byte]));
      file.sync();
    }
    disk.syncDirectory("");
    disk.rename("new", "old");
    disk.crash(() => outcome);
    assertEquals(disk.list(""), outcome === 0 ? ["new", "old"] : ["old"]);
    assertEquals([...disk.readFile("old")], [outcome === 0 ? 1 : 2]);
  }
});

Deno.test("memory disk: a tail tears in parts aligned to the file", () => {
  const outcomes = new Set<string>();
  for (const parts of [0b000, 0b001, 0b010, 0b111]) {
    const disk = new MemoryDisk({ tornPartBytes: 4 });
    const file = disk.open("a");
    file.append(new Uint8Array(3).fill(1));
    file.sync();
    disk.syncDirectory("");
    file.append(new Uint8Array(7).fill(2));
    const choices = [3, parts & 1, (parts >> 1) & 1, (parts >> 2) & 1];
    disk.crash(() => choices.shift()!);
    outcomes.add([...disk.readFile("a")].join(""));
  }
  assertEquals([...outcomes], ["1110000000", "1112000000", "1110222200", "1112222222"]);
});

Deno.test("memory disk: an unsynced truncation may or may not have happened", () => {
  for (const outcome of [0, 1]) {
    const disk = new MemoryDisk();
    const file = disk.open("a");
    file.append(new Uint8Array([1, 2, 3]));
    file.sync();
    disk.syncDirectory("");
    file.truncate(2);
    file.truncate(1);
    disk.crash(() => outcome);
    assertEquals([...disk.readFile("a")], outcome === 0 ? [1, 2, 3] : [1]);
  }
});

Deno.test("memory disk: a sync covers what was written before it began", () => {
  const pending: (() => void)[] = [];
  const disk = new MemoryDisk({ later: (run) => pending.push(run) });
  const file = disk.open("a");
  disk.syncDirectory("");
  file.append(new Uint8Array([1]));
  let results = 0;
  file.syncData(() => results++);
  file.append(new Uint8Array([2]));
  assertEquals(results, 0);
  pending.shift()!();
  assertEquals(results, 1);
  file.syncData(() => results++);
  disk.crash(() => 0);
  pending.shift()!();
  assertEquals(results, 1, "a sync of an earlier life never completes");
  assertEquals([...disk.readFile("a")], [1]);
});

Deno.test("memory disk: faults hit the operation they name", () => {
  const failing = new Set<string>();
  const disk = new MemoryDisk({
    fault: ({ type, path }) =>
      failing.has(type)
        ? new DiskError("Cannot go on: no space", { code: "no-space", path })
        : undefined,
    later: (run) => run(),
  });
  const file = disk.open("a");
  failing.add("append").add("syncData");
  assertEquals(assertThrows(() => file.append(new Uint8Array(8)), DiskError).code, "no-space");
  assertEquals(file.size, 4, "a failed append may have written a part");
  let failure: DiskError | undefined;
  file.syncData((error) => failure = error);
  assertEquals(failure?.code, "no-space");
});

Deno.test(
  "X3: a disk that finds no file descriptor left asks for room and goes on",
  { ignore: Deno.build.os === "windows" },
  async () => {
    const root = Deno.makeTempDirSync();
    const script = `
      import { DenoDisk } from "${new URL("../../storage/log/deno_disk.ts", import.meta.url)}";
      const [root] = Deno.args;
      let calls = 0;
      const disk = new DenoDisk(root, () => { calls++; free(4); });
      disk.makeDirectory("wal");
      for (const use of [
        () => disk.open("wal/a").append(new Uint8Array(8)),
        () => disk.syncDirectory("wal"),
        () => disk.list("wal"),
        () => disk.readFile("wal/a"),
        () => new Promise((resolve) => disk.syncDirectoryData("wal", resolve)),
      ]) {
        fill();
        const error = await use();
        if (error instanceof Error) throw error;
      }
      fill();
      let code;
      try { new DenoDisk(root).open("wal/b"); } catch (error) { code = error.code; }
      console.log(JSON.stringify({ calls, code }));
    `;
    try {
      const found = await withFewDescriptors(script, [root]);
      assertEquals(found, { calls: 5, code: "too-many-files" });
    } finally {
      Deno.removeSync(root, { recursive: true });
    }
  },
);
