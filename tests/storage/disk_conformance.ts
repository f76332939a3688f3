/**
 * What every implementation of the disk port must do; run by disk_test.ts against each of them.
 *
 * @module
 */
import { assert, assertEquals, assertThrows } from "@std/assert";
import { type Disk, DiskError, type DiskFile } from "../../storage/log/disk.ts";

/** A fresh, empty disk and how to throw it away. */
export interface DiskUnderTest {
  readonly disk: Disk;
  readonly dispose: () => void;
}

/** Registers the suite for one implementation. */
export function testDisk(name: string, make: () => DiskUnderTest): void {
  const test = (title: string, run: (disk: Disk) => void | Promise<void>): void => {
    Deno.test(`${name}: ${title}`, async () => {
      const { disk, dispose } = make();
      try {
        disk.makeDirectory("");
        await run(disk);
      } finally {
        dispose();
      }
    });
  };

  test("appends, reads back and keeps the size", (disk) => {
    const file = disk.open("a.log");
    assertEquals(file.size, 0);
    file.append(new Uint8Array([1, 2, 3]));
    file.append(new Uint8Array(0));
    file.append(new Uint8Array([4]));
    assertEquals(file.size, 4);
    assertEquals([...disk.readFile("a.log")], [1, 2, 3, 4]);
    file.close();
    const again = disk.open("a.log");
    assertEquals(again.size, 4, "S01: opening does not truncate");
    again.append(new Uint8Array([5]));
    again.close();
    assertEquals([...disk.readFile("a.log")], [1, 2, 3, 4, 5]);
  });

  test("a chunk that was appended may be changed by its owner", (disk) => {
    const file = disk.open("a.log");
    const bytes = new Uint8Array([1, 2, 3]);
    file.append(bytes);
    bytes.fill(9);
    file.close();
    assertEquals([...disk.readFile("a.log")], [1, 2, 3]);
  });

  test("truncates and goes on at the new end", (disk) => {
    const file = disk.open("a.log");
    file.append(new Uint8Array([1, 2, 3, 4]));
    file.truncate(2);
    assertEquals(file.size, 2);
    file.append(new Uint8Array([7]));
    file.sync();
    file.close();
    assertEquals([...disk.readFile("a.log")], [1, 2, 7]);
  });

  test("a sync finishes in a later turn, with appends in between", async (disk) => {
    const file = disk.open("a.log");
    file.append(new Uint8Array(4096));
    let finished = false;
    const first = synced(file).then(() => finished = true);
    assert(!finished);
    file.append(new Uint8Array([1]));
    assertEquals(file.size, 4097);
    await first;
    await synced(file);
    file.close();
  });

  test("lists names in order, files and directories", (disk) => {
    disk.makeDirectory("wal/old");
    disk.open("wal/b").close();
    disk.open("wal/a").close();
    assertEquals(disk.list("wal"), ["a", "b", "old"]);
    assertEquals(disk.list(""), ["wal"]);
    assertEquals(disk.list("wal/old"), []);
    assert(disk.exists("wal/a"));
    assert(disk.exists("wal/old"));
    assert(!disk.exists("wal/c"));
  });

  test("making a directory that is there keeps it", (disk) => {
    disk.makeDirectory("wal");
    disk.open("wal/a").close();
    disk.makeDirectory("wal");
    assertEquals(disk.list("wal"), ["a"]);
  });

  test("renames over another file and removes", (disk) => {
    const fresh = disk.open("fresh");
    fresh.append(new Uint8Array([1]));
    fresh.close();
    const old = disk.open("old");
    old.append(new Uint8Array([2, 2]));
    old.close();
    disk.rename("fresh", "old");
    disk.syncDirectory("");
    assertEquals([...disk.readFile("old")], [1]);
    assert(!disk.exists("fresh"));
    disk.remove("old");
    disk.syncDirectory("");
    assertEquals(disk.list(""), []);
  });

  test("a directory is synced off the event loop", async (disk) => {
    disk.makeDirectory("later");
    disk.open("later/file").close();
    let isOver = false;
    await new Promise<void>((resolve, reject) => {
      disk.syncDirectoryData("later", (error) => {
        isOver = true;
        if (error === undefined) resolve();
        else reject(error);
      });
      assert(!isOver, "in a later turn");
    });
  });

  test("what is missing is not-found", (disk) => {
    for (
      const run of [
        () => disk.readFile("none"),
        () => disk.list("none"),
        () => disk.open("none/a"),
        () => disk.remove("none"),
        () => disk.rename("none", "other"),
        () => disk.syncDirectory("none"),
        () => disk.syncDirectoryData("none", () => {}),
      ]
    ) assertEquals(assertThrows(run, DiskError).code, "not-found");
  });

  test("paths cannot leave the root", (disk) => {
    for (const path of ["..", "a/../b", "/etc", "a//b", "A", "a\0", "a/", "."]) {
      assertEquals(assertThrows(() => disk.open(path), DiskError).code, "invalid-path", path);
      assertThrows(() => disk.rename("a", path), DiskError);
    }
  });

  test("a lock has one holder, whatever is removed from the directory", (disk) => {
    disk.makeDirectory("locked");
    const lock = disk.lock("locked");
    assert(lock !== undefined);
    assertEquals(disk.lock("locked"), undefined);
    const file = disk.open("locked/file");
    file.close();
    disk.remove("locked/file");
    assertEquals(disk.lock("locked"), undefined);
    lock.release();
    const next = disk.lock("locked");
    assert(next !== undefined);
    next.release();
  });

  test("an empty directory is removed, any other stays", (disk) => {
    disk.makeDirectory("some/where");
    disk.open("some/file").close();
    disk.removeDirectory("some/where");
    disk.removeDirectory("some");
    disk.removeDirectory("not-there");
    assertEquals([disk.exists("some/where"), disk.exists("some/file")], [false, true]);
  });
}

function synced(file: DiskFile): Promise<void> {
  return new Promise((resolve, reject) => {
    file.syncData((error) => error === undefined ? resolve() : reject(error));
  });
}
