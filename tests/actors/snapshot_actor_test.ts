import { FOUNDED } from "../machines/solo_core.ts";
import { assertEquals } from "@std/assert";
import { SNAPSHOT_DIRECTORY } from "../../storage/log/snapshot_store.ts";
import { SnapshotBench, snapshotOf } from "./snapshot_bench.ts";

Deno.test("a part that does not follow what has arrived, or follows nothing, is not kept", () => {
  const bench = new SnapshotBench();
  const { snapshot, bytes } = snapshotOf(5);
  const store = (from: number, through: number): void => {
    const part = { snapshot, offset: from, bytes: bytes.subarray(from, through) };
    bench.turn({ type: "Store", part });
  };
  store(50, 100);
  assertEquals(bench.files, []);
  store(0, 50);
  store(80, 100);
  store(50, bytes.length);
  bench.loads[0]!.done(undefined);
  bench.turn();
  assertEquals(bench.toRaft, [{ type: "SnapshotReceived", snapshot, config: FOUNDED }]);
});

Deno.test("a state that was loaded is no word on another snapshot, which has begun to arrive meanwhile", () => {
  const bench = new SnapshotBench();
  const [first, second] = [snapshotOf(5), snapshotOf(9)];
  bench.turn({ type: "Store", part: { snapshot: first.snapshot, offset: 0, bytes: first.bytes } });
  // The machine has loaded the first; the second is offered before this actor hears of it.
  bench.loads[0]!.done(undefined);
  const cut = second.bytes.length - 60;
  const part = { snapshot: second.snapshot, offset: 0, bytes: second.bytes.subarray(0, cut) };
  bench.turn({ type: "Store", part });
  assertEquals(bench.toRaft, []);
  assertEquals(bench.files.filter((name) => name.endsWith(".snap")), []);
  const rest = { snapshot: second.snapshot, offset: cut, bytes: second.bytes.subarray(cut) };
  bench.turn({ type: "Store", part: rest });
  bench.loads[1]!.done(undefined);
  bench.turn();
  assertEquals(bench.toRaft, [{
    type: "SnapshotReceived",
    snapshot: second.snapshot,
    config: FOUNDED,
  }]);
  assertEquals(bench.disk.sizeOf(`${SNAPSHOT_DIRECTORY}/${bench.files[0]}`), second.bytes.length);
});
