import { assertEquals, assertThrows } from "@std/assert";
import {
  DISK_PROBE_MS,
  DISK_RECOVERY_SYNCS,
  DISK_SLOW_MS,
  DISK_STALLED_MS,
  type DiskCondition,
  WalActor,
  type WalSignal,
  type WriteRequest,
} from "../../actors/wal_actor.ts";
import type { Delivery, LocalRef } from "../../actors/runtime/actor.ts";
import { PACK_BYTES_MIN } from "../../storage/log/limits.ts";
import { WATERMARK_PATH } from "../../storage/log/watermark.ts";
import { DiskError } from "../../storage/log/disk.ts";
import { WalFailedError } from "../../storage/log/wal_errors.ts";
import { Wal } from "../../storage/log/wal.ts";
import { encodeRun } from "../../storage/log/wal_record.ts";
import { MemoryDisk } from "../sim/memory_disk.ts";
import { VirtualPorts } from "./virtual_ports.ts";

const IDENTITY = { clusterId: "test", nodeId: 1 };

/** A WAL actor whose disk finishes a sync when the test says so. */
class Bench {
  readonly ports = new VirtualPorts();
  readonly disk: MemoryDisk;
  readonly wal: Wal;
  readonly actor: WalActor;
  /** What happened, in order; a sync when it ends. */
  readonly story: string[] = [];
  readonly conditions: DiskCondition[] = [];
  readonly durationsMs: number[] = [];
  /** Operations of this type fail. */
  failNext: "append" | "syncData" | undefined;
  isFull = false;
  /** Whether the actor's mailbox takes messages. */
  runs = true;
  readonly #syncs: (() => void)[] = [];
  readonly #mailbox: WalSignal[] = [];

  /** What is not said is as in the product. */
  constructor(
    { segmentBytes, packSyncMsMin = 0 }: {
      readonly segmentBytes?: number;
      readonly packSyncMsMin?: number;
    } = {},
  ) {
    this.disk = new MemoryDisk({
      later: (run) => void this.#syncs.push(run),
      fault: ({ type, path }) => {
        if (path === WATERMARK_PATH) return undefined;
        if (type !== "append" && type !== "syncData") return undefined;
        if (type === "append" && this.isFull) {
          return new DiskError("Cannot write: no space is left", { code: "no-space", path });
        }
        if (type === this.failNext) {
          return new DiskError("Cannot write: input/output error", { code: "io", path });
        }
        this.story.push(type);
        return undefined;
      },
    });
    const segments = segmentBytes === undefined ? {} : { segmentBytes };
    this.wal = Wal.open(this.disk, { ...IDENTITY, ...segments }).wal;
    const self = {
      signal: (signal: WalSignal) => {
        if (this.runs) this.#mailbox.push(signal);
      },
    } as unknown as LocalRef<never, never, WalSignal>;
    this.actor = new WalActor({
      wal: this.wal,
      ports: this.ports,
      self: () => self,
      packSyncMsMin,
      onDiskCondition: (condition) => void this.conditions.push(condition),
      onFull: (isFull) => void this.story.push(isFull ? "full" : "room"),
      onSync: (durationMs) => void this.durationsMs.push(durationMs),
    });
    this.story.length = 0;
  }

  /** A write of one entry, answered in the story under `name`. */
  write(name: string, firstIndex: number): WriteRequest {
    const run = encodeRun({
      group: 0,
      term: 1,
      firstIndex,
      timeMs: 1,
      kind: "command",
      payloads: [new Uint8Array(10)],
    });
    const onDurable = (): void => void this.story.push(`durable ${name}`);
    return {
      type: "Write",
      group: 0,
      write: { hardState: undefined, forgotten: undefined, runs: [run] },
      onDurable,
    };
  }

  /** One turn with what waits in the mailbox and these messages. */
  turn(...messages: WalSignal[]): void {
    const batch = [...this.#mailbox.splice(0), ...messages].map((message) => ({
      message,
      reply: () => {},
      fail: () => {},
    } as unknown as Delivery<WalSignal>));
    this.actor.receive(batch);
  }

  /** The running sync ends, after this time, and the actor takes note. */
  endSync(durationMs = 1, { takes = this.runs } = {}): void {
    this.ports.advance(durationMs);
    const [end] = this.#syncs.splice(0, 1);
    end!();
    if (takes) this.turn();
  }

  /** Time passes, with a turn if anything is due by then. */
  pass(ms: number): void {
    this.ports.advance(ms);
    if (this.#mailbox.length > 0) this.turn();
  }

  get syncing(): boolean {
    return this.#syncs.length > 0;
  }
}

Deno.test("all writes of a turn are one append and one sync, answered in order once it has ended", () => {
  const bench = new Bench();
  bench.turn(bench.write("a", 1), bench.write("b", 2), bench.write("c", 3));
  assertEquals([bench.story, bench.syncing], [["append"], true]);
  bench.endSync();
  assertEquals(bench.story.slice(1), ["syncData", "durable a", "durable b", "durable c"]);
  assertEquals(bench.syncing, false);
});

Deno.test("what arrives while a sync runs is written at once and shares the next sync", () => {
  const bench = new Bench();
  bench.turn(bench.write("a", 1));
  bench.turn(bench.write("b", 2));
  bench.turn(bench.write("c", 3));
  assertEquals(bench.story, ["append", "append", "append"]);
  bench.endSync();
  // The sync that ended began before b and c were written: it proves nothing about them.
  assertEquals([bench.story.slice(3), bench.syncing], [["syncData", "durable a"], true]);
  bench.endSync();
  assertEquals(bench.story.slice(5), ["syncData", "durable b", "durable c"]);
  assertEquals(bench.syncing, false);
});

Deno.test("a hard state alone is written, and is there after a crash that keeps what was synced", () => {
  const bench = new Bench();
  const { onDurable } = bench.write("vote", 1);
  const hardState = { currentTerm: 7, votedFor: 2 };
  bench.turn({
    type: "Write",
    group: 0,
    write: { hardState, forgotten: undefined, runs: [] },
    onDurable,
  });
  bench.endSync();
  assertEquals(bench.story, ["append", "syncData", "durable vote"]);
  bench.disk.crash(() => 0);
  assertEquals(Wal.open(bench.disk, IDENTITY).groups.get(0)?.hardState, hardState);
});

Deno.test("what was answered survives a crash, what was not may be lost", () => {
  const bench = new Bench();
  bench.turn(bench.write("a", 1));
  bench.endSync();
  bench.turn(bench.write("b", 2));
  bench.disk.crash(() => 0);
  assertEquals(bench.story.includes("durable b"), false);
  const runs = Wal.open(bench.disk, IDENTITY).groups.get(0)!.runs;
  assertEquals(runs.map(({ firstIndex, ends }) => [firstIndex, ends.length]), [[1, 1]]);
});

Deno.test("the first write or sync that fails throws, and nothing is answered then or later", () => {
  for (const operation of ["append", "syncData"] as const) {
    const bench = new Bench();
    bench.turn(bench.write("a", 1));
    bench.endSync();
    bench.failNext = operation;
    assertThrows(
      () => {
        bench.turn(bench.write("b", 2));
        bench.endSync();
      },
      WalFailedError,
      "input/output error",
    );
    bench.failNext = undefined;
    assertThrows(() => bench.turn(bench.write("c", 3)), WalFailedError);
    assertEquals(bench.story.filter((line) => line.startsWith("durable")), ["durable a"]);
  }
});

Deno.test("C6: what a full disk has no room for waits, and is written in order once it has", () => {
  const bench = new Bench();
  bench.turn(bench.write("a", 1));
  bench.endSync();
  bench.isFull = true;
  bench.turn(bench.write("b", 2));
  bench.turn(bench.write("c", 3));
  for (let probe = 0; probe < 10; probe++) bench.pass(DISK_PROBE_MS);
  assertEquals(bench.story, ["append", "syncData", "durable a", "full"]);
  bench.isFull = false;
  bench.pass(DISK_PROBE_MS);
  bench.endSync();
  assertEquals(bench.story.slice(4), ["append", "room", "syncData", "durable b", "durable c"]);
  bench.disk.crash(() => 0);
  const runs = Wal.open(bench.disk, IDENTITY).groups.get(0)!.runs;
  assertEquals(runs.map(({ firstIndex, ends }) => [firstIndex, ends.length]), [[1, 3]]);
});

Deno.test("one slow sync makes the disk slow, only several fast ones in a row recover it", () => {
  const bench = new Bench();
  let index = 0;
  const sync = (durationMs: number): void => {
    bench.turn(bench.write("x", ++index));
    bench.endSync(durationMs);
  };
  sync(DISK_SLOW_MS - 1);
  assertEquals(bench.conditions, []);
  sync(DISK_SLOW_MS);
  assertEquals(bench.conditions, ["DiskSlow"]);
  for (let count = 1; count < DISK_RECOVERY_SYNCS; count++) sync(1);
  sync(DISK_SLOW_MS);
  for (let count = 1; count < DISK_RECOVERY_SYNCS; count++) sync(1);
  assertEquals(bench.conditions, ["DiskSlow"]);
  sync(1);
  assertEquals(bench.conditions, ["DiskSlow", "DiskRecovered"]);
  assertEquals(bench.durationsMs.length, index);
});

Deno.test("a sync that does not end is told while it runs: slow, then stalled", () => {
  const bench = new Bench();
  bench.turn(bench.write("a", 1));
  bench.ports.advance(DISK_SLOW_MS);
  bench.turn();
  assertEquals(bench.conditions, ["DiskSlow"]);
  bench.ports.advance(DISK_STALLED_MS - DISK_SLOW_MS);
  bench.turn();
  assertEquals(bench.conditions, ["DiskSlow", "DiskStalled"]);
  bench.endSync(10_000);
  assertEquals(bench.conditions, ["DiskSlow", "DiskStalled"]);
  for (let index = 2; index < 2 + DISK_RECOVERY_SYNCS; index++) {
    bench.turn(bench.write("b", index));
    bench.endSync();
  }
  assertEquals(bench.conditions, ["DiskSlow", "DiskStalled", "DiskRecovered"]);
});

Deno.test("a sync of several files is judged by the longest of them, while it runs as at its end", () => {
  // Each write begins a segment: that, the one before it and the name are made durable.
  const bench = new Bench({ segmentBytes: 1 });
  const stepMs = DISK_STALLED_MS - 100;
  bench.turn(bench.write("a", 1));
  let steps = 0;
  for (; bench.durationsMs.length === 0; steps++) {
    bench.pass(stepMs - 1);
    bench.endSync();
  }
  assertEquals([steps, bench.conditions], [3, ["DiskSlow"]]);
  assertEquals(bench.durationsMs, [3 * stepMs]);
  bench.pass(DISK_STALLED_MS);
  bench.turn(bench.write("b", 2));
  bench.pass(DISK_STALLED_MS);
  assertEquals(bench.conditions, ["DiskSlow", "DiskStalled"]);
});

Deno.test("what is written is compressed only while syncs take long enough", () => {
  const bench = new Bench({ packSyncMsMin: 10 });
  const payloads = [new Uint8Array(2 * PACK_BYTES_MIN)];
  const isPacked: boolean[] = [];
  [1, 9, 10, 12, 9, 1].forEach((syncMs, at) => {
    const { plainBytes } = bench.wal.compression;
    const place = { group: 0, term: 1, firstIndex: at + 1, timeMs: 1, kind: "command" } as const;
    const write = bench.write("x", at + 1);
    const runs = [encodeRun({ ...place, payloads })];
    bench.turn({ ...write, write: { ...write.write, runs } });
    isPacked.push(bench.wal.compression.plainBytes > plainBytes);
    bench.endSync(syncMs);
  });
  assertEquals(isPacked, [false, false, false, true, true, false]);
});

Deno.test("DISK_PROBE_MS: a disk that stalled is seen to recover though nobody writes", () => {
  const bench = new Bench();
  bench.turn(bench.write("a", 1));
  bench.endSync(DISK_STALLED_MS);
  assertEquals(bench.conditions, ["DiskStalled"]);
  for (let probe = 1; probe <= DISK_RECOVERY_SYNCS; probe++) {
    assertEquals([bench.conditions.length, bench.syncing], [1, false]);
    bench.ports.advance(DISK_PROBE_MS - 1);
    assertEquals(bench.syncing, false);
    bench.ports.advance(1);
    bench.turn();
    assertEquals(bench.syncing, true);
    bench.endSync(1);
  }
  assertEquals(bench.conditions, ["DiskStalled", "DiskRecovered"]);
  bench.ports.advance(10 * DISK_PROBE_MS);
  assertEquals([bench.syncing, bench.ports.armedTimers], [false, 0]);
});

Deno.test("X17: a disk that is always slow comes back from a stall as slow", () => {
  const bench = new Bench();
  let index = 0;
  const sync = (durationMs: number): void => {
    bench.turn(bench.write("x", ++index));
    bench.endSync(durationMs);
  };
  sync(DISK_STALLED_MS + 700);
  for (let count = 1; count < DISK_RECOVERY_SYNCS; count++) sync(DISK_SLOW_MS + 20);
  assertEquals(bench.conditions, ["DiskStalled"]);
  sync(DISK_SLOW_MS + 20);
  assertEquals(bench.conditions, ["DiskStalled", "DiskSlow"]);
  sync(DISK_STALLED_MS);
  sync(DISK_SLOW_MS);
  assertEquals(bench.conditions, ["DiskStalled", "DiskSlow", "DiskStalled"]);
});

Deno.test("an idle disk is neither slow nor stalled, however long", () => {
  const bench = new Bench();
  bench.turn(bench.write("a", 1));
  bench.endSync();
  bench.ports.advance(10 * DISK_STALLED_MS);
  bench.turn();
  assertEquals(bench.conditions, []);
  assertEquals(bench.ports.armedTimers, 0);
});

Deno.test("whenIdle: a sync whose end the actor never took is over all the same", () => {
  const bench = new Bench();
  bench.turn(bench.write("a", 1));
  // Taken into the mailbox of an actor that runs no more.
  bench.endSync(1, { takes: false });
  let idle = 0;
  bench.actor.whenIdle(() => idle++);
  assertEquals(idle, 1);
});

Deno.test("whenIdle waits for the sync that runs, also after the actor has stopped", () => {
  const bench = new Bench();
  let idle = 0;
  bench.actor.whenIdle(() => idle++);
  assertEquals(idle, 1);
  bench.turn(bench.write("a", 1));
  bench.runs = false;
  bench.actor.onStop();
  bench.actor.whenIdle(() => idle++);
  assertEquals(idle, 1);
  bench.endSync();
  assertEquals(idle, 2);
  bench.wal.close();
});
