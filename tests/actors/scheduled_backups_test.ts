import { assert, assertEquals, assertMatch } from "@std/assert";
import { Backups } from "../../actors/backups.ts";
import { BACKUP_RETRY_MS } from "../../actors/limits.ts";
import { ScheduledBackups } from "../../actors/scheduled_backups.ts";
import { encodeCommand } from "../../storage/kv/command.ts";
import { KvStore } from "../../storage/kv/kv_store.ts";
import { DiskError } from "../../storage/log/disk.ts";
import { openSnapshot } from "../../storage/log/snapshot_file.ts";
import { type DiskOperation, MemoryDisk } from "../sim/memory_disk.ts";
import { applyRequest } from "../storage/kv/apply.ts";
import { commandOf } from "../storage/kv/command_of.ts";
import { memoryLog, VirtualPorts } from "./virtual_ports.ts";

const HOUR_MS = 3_600_000;
const START_MS = Date.UTC(2026, 0, 31, 23, 30);

/** A member whose state the test writes, on virtual time. */
class Bench {
  readonly ports = new VirtualPorts();
  readonly store = new KvStore();
  readonly backups: Backups;
  readonly disk: MemoryDisk;
  readonly lines: string[];
  readonly scheduled: ScheduledBackups;
  /** What the disk does now. */
  fault: (operation: DiskOperation) => DiskError | undefined = () => undefined;
  hasFacts = true;

  constructor({ keep = 3, owner = "c-1", disk, wallMs = START_MS }: {
    readonly keep?: number;
    readonly owner?: string;
    readonly disk?: MemoryDisk;
    readonly wallMs?: number;
  } = {}) {
    this.disk = disk ??
      new MemoryDisk({ later: (run) => run(), fault: (operation) => this.fault(operation) });
    const { lines, log } = memoryLog();
    this.lines = lines;
    const facts = { term: 1, timeMs: 0, clusterVersion: 1, members: [1] };
    this.backups = new Backups({
      ...{ group: 0, clusterId: "c", machine: this.store },
      factsAt: () => this.hasFacts ? facts : undefined,
    });
    this.scheduled = new ScheduledBackups({
      ...{ everyMs: HOUR_MS, keep, disk: this.disk, owner, backups: this.backups, log },
      wallMs: () => wallMs + this.ports.clock.monotonicMs(),
      revision: () => this.store.revision,
      ports: this.ports,
    });
  }

  get files(): string[] {
    return this.disk.list("");
  }

  put(count = 1, bytes = 10): this {
    for (; count > 0; count--) {
      const key = `k${this.store.revision}`;
      const value = crypto.getRandomValues(new Uint8Array(bytes));
      applyRequest(this.store, encodeCommand(commandOf({ type: "put", key, value })));
    }
    return this;
  }

  async pass(ms: number): Promise<void> {
    this.ports.advance(ms);
    await this.settle();
  }

  /** Lets what is under way come to its end. */
  async settle(): Promise<void> {
    for (let turns = 0; turns < 200; turns++) {
      for (let steps = 0; steps < 10; steps++) await Promise.resolve();
      this.ports.settle();
    }
  }
}

Deno.test("a backup is made at once, then each time that the pause has passed; the oldest go", async () => {
  const bench = new Bench().put();
  bench.scheduled.start();
  await bench.pass(1);
  const first = "c-1-0000000000000001-20260131t233000z.backup";
  assertEquals(bench.files, [first]);
  const { meta } = openSnapshot("x", {
    read: (offset, length) => bench.disk.read(first, offset, length),
    size: bench.disk.sizeOf(first),
  });
  assertEquals([meta.clusterId, meta.stateHash], ["c", bench.store.stateHash()]);
  for (let hour = 1; hour <= 4; hour++) {
    bench.put();
    await bench.pass(HOUR_MS - 1);
    assertEquals(bench.scheduled.counters.taken, hour);
    await bench.pass(1);
  }
  assertEquals(bench.files, [
    "c-1-0000000000000003-20260201t013000z.backup",
    "c-1-0000000000000004-20260201t023000z.backup",
    "c-1-0000000000000005-20260201t033000z.backup",
  ]);
  const newestMs = START_MS + 4 * HOUR_MS + 1;
  assertEquals(bench.scheduled.counters, { taken: 5, failed: 0, newestMs });
  assertMatch(
    bench.lines.at(-1)!,
    /^info backup-made file=c-1-\d+-\w+.backup revision=5 bytes=\d+$/,
  );
  await bench.scheduled.stop();
  assertEquals(bench.ports.armedTimers, 0);
});

Deno.test("a restart goes on with the pause, whatever the clock says, and touches no other's files", async () => {
  const bench = new Bench().put();
  bench.scheduled.start();
  await bench.pass(1);
  await bench.scheduled.stop();
  const { disk } = bench;
  for (const name of ["notes.txt", "c-2-0000000000000001-20260131t233000z.backup"]) {
    disk.open(name).close();
  }
  // What a crash has left: of this member, and of another.
  for (const owner of ["c-1", "c-2"]) {
    disk.open(`${owner}-0000000000000001-20260131t222222z.backup.new`).close();
  }
  const soon = new Bench({ disk, keep: 1, wallMs: START_MS + HOUR_MS / 2 }).put();
  soon.scheduled.start();
  await soon.pass(HOUR_MS / 2 - 1_000);
  assertEquals(soon.scheduled.counters.taken, 0);
  await soon.pass(1_000);
  assertEquals(soon.files, [
    "c-1-0000000000000001-20260201t003000z.backup",
    "c-2-0000000000000001-20260131t222222z.backup.new",
    "c-2-0000000000000001-20260131t233000z.backup",
    "notes.txt",
  ]);
  await soon.scheduled.stop();
  const past = new Bench({ disk, wallMs: START_MS - 100 * HOUR_MS }).put();
  past.scheduled.start();
  await past.pass(HOUR_MS);
  assertEquals(past.scheduled.counters.taken, 1);
  await past.scheduled.stop();
});

Deno.test("a backup that fails is a warning and a count, leaves nothing, and is tried again", async () => {
  for (const type of ["create", "append", "syncData", "rename", "syncDirectoryData"] as const) {
    const bench = new Bench().put();
    bench.fault = (operation) =>
      operation.type === type
        ? new DiskError("planted", { code: "no-space", path: "" })
        : undefined;
    bench.scheduled.start();
    await bench.pass(1);
    assertEquals(bench.lines, ["warn backup-failed error=planted"], type);
    assertEquals(bench.scheduled.counters.failed, 1, type);
    assertEquals(bench.files.filter((name) => name.endsWith(".new")), [], type);
    assertEquals(bench.backups.running, 0, type);
    bench.fault = () => undefined;
    await bench.pass(BACKUP_RETRY_MS);
    assertEquals(bench.scheduled.counters.taken, 1, type);
    await bench.scheduled.stop();
  }
});

Deno.test("what the disk has changed is not kept as a backup", async () => {
  const bench = new Bench().put(20);
  bench.fault = ({ type, path }) => {
    if (type === "syncData") bench.disk.flipBit(path, 8 * 300);
    return undefined;
  };
  bench.scheduled.start();
  await bench.pass(1);
  assertEquals(bench.files, []);
  assertMatch(bench.lines[0]!, /^warn backup-failed error=Cannot use snapshot .* is damaged$/);
  await bench.scheduled.stop();
});

Deno.test("a directory that cannot be read is a warning at the start, and tried again", async () => {
  const bench = new Bench().put();
  const { list } = bench.disk;
  bench.disk.list = () => {
    throw new DiskError("planted", { code: "permission", path: "" });
  };
  bench.scheduled.start();
  assertEquals(bench.lines, ["warn backup-failed error=planted"]);
  bench.disk.list = list;
  await bench.pass(BACKUP_RETRY_MS);
  assertEquals(bench.scheduled.counters.taken, 1);
  await bench.scheduled.stop();
});

Deno.test("a member that has nothing to back up yet waits a moment", async () => {
  const bench = new Bench();
  bench.scheduled.start();
  await bench.pass(1);
  bench.put();
  bench.hasFacts = false;
  await bench.pass(BACKUP_RETRY_MS);
  bench.hasFacts = true;
  assertEquals([bench.files, bench.lines, bench.backups.running], [[], [], 0]);
  await bench.pass(BACKUP_RETRY_MS);
  assertEquals(bench.files.length, 1);
  await bench.scheduled.stop();
});

Deno.test("a stop gives up the backup that is being made", async () => {
  const bench = new Bench().put(500, 10_000);
  bench.scheduled.start();
  bench.ports.advance(1);
  assertEquals(bench.backups.running, 1);
  assert(bench.files[0]?.endsWith(".new"));
  bench.backups.stop();
  const stopped = bench.scheduled.stop();
  await bench.settle();
  await stopped;
  assertEquals([bench.files, bench.lines, bench.ports.armedTimers], [[], [], 0]);
});
