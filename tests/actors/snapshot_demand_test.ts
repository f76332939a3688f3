/**
 * Snapshots that somebody asks for.
 *
 * @module
 */
import { assert, assertEquals, assertInstanceOf, assertStringIncludes } from "@std/assert";
import {
  SNAPSHOT_DEMANDS_MAX,
  SNAPSHOT_REST_SHARE,
  SNAPSHOT_SLICE_BYTES,
} from "../../actors/limits.ts";
import { encodeCommand } from "../../storage/kv/command.ts";
import type { CommandResult } from "../../storage/kv/command_result.ts";
import { KvStore } from "../../storage/kv/kv_store.ts";
import { DiskError } from "../../storage/log/disk.ts";
import { SNAPSHOT_DIRECTORY, type StoredSnapshot } from "../../storage/log/snapshot_store.ts";
import { MemoryDisk } from "../sim/memory_disk.ts";
import { applyRequest } from "../storage/kv/apply.ts";
import { commandOf } from "../storage/kv/command_of.ts";
import { LoneGroup } from "./lone_group.ts";
import { SnapshotBench } from "./snapshot_bench.ts";

type Lone = LoneGroup<CommandResult, KvStore>;

/** A leader whose state takes many turns to write. */
function leaderOf(disk = new MemoryDisk({ later: (run) => run() })): Lone {
  const group: Lone = new LoneGroup<CommandResult, KvStore>(new KvStore(), { disk }).lead();
  for (let at = 0; at < 20; at++) put(group, `k${at}`, 64 * 1024);
  group.pass(10);
  return group;
}

function put(group: Lone, key: string, length: number): void {
  const value = Uint8Array.from({ length }, (_, byte) => byte * 31);
  group.propose(...encodeCommand(commandOf({ type: "put", key, value })));
}

function demand({ host }: Lone): (StoredSnapshot | Error)[] {
  const answers: (StoredSnapshot | Error)[] = [];
  host.snapshots.signal({ type: "Demand", answer: (result) => void answers.push(result) });
  return answers;
}

function indexesOf(...demands: readonly (StoredSnapshot | Error)[][]): unknown[] {
  return demands.map(([result]) => result instanceof Error ? result.message : result?.index);
}

Deno.test("a snapshot is taken when it is asked for, and covers what was applied by then", () => {
  const group = leaderOf();
  const { host: { machine, core } } = group;
  const one = demand(group);
  const { lastApplied } = machine;
  assertEquals(one, []);
  group.pass(50);
  assertEquals(indexesOf(one), [lastApplied]);
  assertEquals(core.state.snapshot?.index, lastApplied);
  const again = demand(group);
  group.pass(1);
  assertEquals([again[0], core.snapshot.value.snapshot], [one[0], "none"], "nothing is new");
});

/** A machine with something in it, and a snapshot under way: more than a slice of state. */
function takingBench(): { readonly bench: SnapshotBench; put(): void } {
  const bench = new SnapshotBench();
  const put = (): void => {
    const value = Uint8Array.from({ length: 2 * SNAPSHOT_SLICE_BYTES }, (_, byte) => byte * 31);
    const index = bench.machine.lastApplied + 1;
    const command = commandOf({ type: "put", key: `k${index}`, value });
    applyRequest(bench.machine, encodeCommand(command));
  };
  put();
  return { bench, put };
}

Deno.test("who asks while one is being taken gets one that covers what was applied meanwhile", () => {
  const { bench, put } = takingBench();
  const first: (StoredSnapshot | Error)[] = [];
  const second: (StoredSnapshot | Error)[] = [];
  bench.turn({ type: "Demand", answer: (result) => void first.push(result) });
  bench.turn({ type: "Take" });
  put();
  bench.turn({ type: "Demand", answer: (result) => void second.push(result) });
  const goOn = (): void => {
    bench.ports.settle();
    bench.turn();
  };
  while (first.length === 0) goOn();
  const due = { type: "SnapshotDue" };
  assertEquals(bench.toRaft.map(({ type }) => type), [
    ...["SnapshotDue", "SnapshotDue", "SnapshotTaken", "SnapshotDue"],
  ]);
  assertEquals([bench.toRaft.at(-1), second], [due, []]);
  bench.turn({ type: "Take" });
  while (second.length === 0) goOn();
  assertEquals(indexesOf(first, second), [1, 2]);
});

Deno.test("SNAPSHOT_DEMANDS_MAX, and a disk that fails: an answer for everybody", () => {
  let isFull = true;
  const disk = new MemoryDisk({
    later: (run) => run(),
    fault: ({ path }) =>
      isFull && path.startsWith("snapshots/")
        ? new DiskError("Cannot write: no space left", { code: "no-space", path })
        : undefined,
  });
  const group = leaderOf(disk);
  const demands = Array.from({ length: SNAPSHOT_DEMANDS_MAX + 1 }, () => demand(group));
  group.pass(20);
  const refused = demands.pop()![0];
  assertInstanceOf(refused, Error);
  assertStringIncludes(refused.message, `${SNAPSHOT_DEMANDS_MAX} requests wait`);
  for (const [result] of demands) {
    assertInstanceOf(result, Error);
    assertStringIncludes(result.message, "no space left");
  }
  isFull = false;
  const again = demand(group);
  group.pass(50);
  assertEquals(indexesOf(again), [group.host.machine.lastApplied]);
});

Deno.test("a node that stops answers who waits, and one with nothing to show says so", () => {
  const { bench } = takingBench();
  const waiting: (StoredSnapshot | Error)[] = [];
  bench.turn({ type: "Demand", answer: (result) => void waiting.push(result) });
  bench.turn({ type: "Take" });
  bench.stop();
  assertEquals(indexesOf(waiting), ["the node stops"]);
  const empty: Lone = new LoneGroup<CommandResult, KvStore>(new KvStore(), {});
  const answers = demand(empty);
  empty.pass(1);
  assertEquals(indexesOf(answers), ["there is nothing to take a snapshot of yet"]);
});

Deno.test("SNAPSHOT_REST_SHARE: between slices the event loop belongs to others, for so much longer", () => {
  const sliceMs = 2;
  const bench: SnapshotBench = new SnapshotBench(({ type, path }) => {
    if (type === "append" && path.startsWith("snapshots/")) bench.ports.stall(sliceMs);
    return undefined;
  });
  const value = new Uint8Array(SNAPSHOT_SLICE_BYTES);
  for (const key of ["a", "b", "c", "d"]) {
    applyRequest(bench.machine, encodeCommand(commandOf({ type: "put", key, value })));
  }
  const size = (): number => bench.disk.sizeOf(`${SNAPSHOT_DIRECTORY}/${bench.files[0]}`);
  bench.turn({ type: "Take" });
  for (let slices = 1; slices <= 3; slices++) {
    const written = size();
    bench.ports.settle();
    bench.turn();
    bench.ports.advance(SNAPSHOT_REST_SHARE * sliceMs - 0.1);
    bench.turn();
    assertEquals(size(), written, "a slice was written while others had the loop");
    bench.ports.advance(0.1);
    bench.turn();
    assert(size() > written);
  }
  bench.stop();
  assertEquals(bench.ports.armedTimers, 0);
});
