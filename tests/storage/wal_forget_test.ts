/**
 * A log that forgets: what a snapshot covers is removed, and nothing else is lost with it.
 *
 * @module
 */
import { assert, assertEquals, assertGreater, assertThrows } from "@std/assert";
import fc from "fast-check";
import type { OpenedWal, Wal } from "../../storage/log/wal.ts";
import { WalCorruptError, WalError, WalMissingSegmentError } from "../../storage/log/wal_errors.ts";
import { SEGMENT_HEADER_BYTES, segmentPath } from "../../storage/log/wal_segment.ts";
import { CHECKPOINT_BYTES, forEachEntry } from "../../storage/log/wal_record.ts";
import { MemoryDisk } from "../sim/memory_disk.ts";
import { openWal } from "./open_wal.ts";
import { forEachPowerLoss } from "./power_loss.ts";
import { encode, entry, hardState, walOptions } from "./wal_script.ts";

/** A disk whose syncs end at once, in a turn of their own. */
function promptDisk(): { readonly disk: MemoryDisk; readonly settle: () => void } {
  const pending: (() => void)[] = [];
  return {
    disk: new MemoryDisk({ later: (run) => void pending.push(run) }),
    settle: () => {
      while (pending.length > 0) pending.shift()!();
    },
  };
}

/** What a group came to: hard state, base, and the indexes of its entries. */
function groupsOf({ groups }: Pick<OpenedWal, "groups">): unknown {
  return [...groups].map(([group, { hardState, base, runs }]) => {
    const entries: string[] = [];
    for (const run of runs) {
      forEachEntry(run, (index) => void entries.push(`${index}@${run.term}`));
    }
    return [group, hardState.currentTerm, hardState.votedFor, `${base.index}@${base.term}`]
      .concat(entries);
  });
}

function names(disk: MemoryDisk): number[] {
  return disk.list("wal").map((name) => Number(name.slice(0, 20)));
}

/** Appends entries of term 1 one by one, each synced. */
function fill(wal: Wal, settle: () => void, from: number, through: number, group = 0): void {
  for (let index = from; index <= through; index++) {
    wal.append([encode(entry(group, 1, index))]);
    wal.sync(() => {});
    settle();
  }
}

Deno.test("segments whose entries a snapshot covers are removed, and votes and terms stay", () => {
  const { disk, settle } = promptDisk();
  const { wal } = openWal(disk, walOptions);
  wal.append([encode(hardState(0, 1, 2)), encode(hardState(7, 5, 3))]);
  fill(wal, settle, 1, 30);
  const before = names(disk);
  assertGreater(before.length, 5);
  const { diskBytes } = wal;
  wal.forget(0, { index: 28, term: 1 }, { keepsRest: true });
  assertEquals(names(disk)[0], before[0], "the base is not durable yet");
  wal.sync(() => {});
  settle();
  assertGreater(names(disk)[0]!, before[0]! + 3);
  assert(wal.diskBytes < diskBytes / 2, `${wal.diskBytes} of ${diskBytes} bytes`);
  assertEquals(names(disk), names(disk).map((_, at) => names(disk)[0]! + at), "no hole");
  wal.close();
  const again = openWal(disk, walOptions);
  assertEquals(groupsOf(again), [[0, 1, 2, "28@1", "29@1", "30@1"], [7, 5, 3, "0@0"]]);
  assertEquals(again.tornTail, undefined);
  fill(again.wal, settle, 31, 40);
  again.wal.forget(0, { index: 40, term: 1 }, { keepsRest: true });
  again.wal.sync(() => {});
  settle();
  again.wal.close();
  assertEquals(groupsOf(openWal(disk, walOptions)), [[0, 1, 2, "40@1"], [7, 5, 3, "0@0"]]);
});

Deno.test("a base that is written while a sync runs removes nothing at its end", () => {
  const { disk, settle } = promptDisk();
  const { wal } = openWal(disk, walOptions);
  fill(wal, settle, 1, 20);
  const [first] = names(disk);
  wal.append([encode(entry(0, 1, 21))]);
  wal.sync(() => {});
  wal.forget(0, { index: 20, term: 1 }, { keepsRest: true });
  settle();
  assertEquals(names(disk)[0], first);
  disk.crash(() => 0);
  const again = openWal(disk, walOptions);
  assertEquals((groupsOf(again) as string[][])[0]!.slice(3, 5), ["0@0", "1@1"]);
});

Deno.test("a group that needs old entries keeps the segments of all", () => {
  const { disk, settle } = promptDisk();
  const { wal } = openWal(disk, walOptions);
  fill(wal, settle, 1, 1, 7);
  fill(wal, settle, 1, 20);
  const before = names(disk);
  wal.forget(0, { index: 20, term: 1 }, { keepsRest: true });
  wal.sync(() => {});
  settle();
  assertEquals(names(disk)[0], before[0]);
  wal.forget(7, { index: 1, term: 1 }, { keepsRest: true });
  wal.sync(() => {});
  settle();
  assertGreater(names(disk)[0]!, before[0]! + 2);
});

Deno.test("a snapshot from the leader takes the place of the whole log", () => {
  const { disk, settle } = promptDisk();
  const { wal } = openWal(disk, walOptions);
  fill(wal, settle, 1, 12);
  wal.forget(0, { index: 100, term: 4 }, { keepsRest: false });
  wal.append([encode(entry(0, 5, 101))]);
  wal.sync(() => {});
  settle();
  assertEquals(groupsOf(openWal(disk, walOptions)), [[0, 0, undefined, "100@4", "101@5"]]);
  // Conflicting entries behind the base go as well.
  wal.append([encode(entry(0, 5, 102)), encode(entry(0, 5, 103))]);
  wal.forget(0, { index: 102, term: 6 }, { keepsRest: false });
  wal.sync(() => {});
  settle();
  assertEquals(groupsOf(openWal(disk, walOptions)), [[0, 0, undefined, "102@6"]]);
  assertThrows(() => wal.forget(0, { index: 101, term: 6 }, { keepsRest: true }), RangeError);
});

Deno.test("the oldest segments that nobody covered are missed", () => {
  const { disk, settle } = promptDisk();
  const { wal } = openWal(disk, walOptions);
  fill(wal, settle, 1, 20);
  wal.forget(0, { index: 3, term: 1 }, { keepsRest: true });
  wal.sync(() => {});
  settle();
  wal.close();
  const [first, second] = names(disk);
  disk.erase(segmentPath(first!));
  assertThrows(() => openWal(disk, walOptions), WalMissingSegmentError);
  disk.erase(segmentPath(second!));
  assertThrows(() => openWal(disk, walOptions), WalMissingSegmentError);
});

Deno.test("a flipped bit at the head of the first segment is never taken for another vote", () => {
  const { disk, settle } = promptDisk();
  const { wal } = openWal(disk, walOptions);
  wal.append([encode(hardState(0, 3, 2))]);
  fill(wal, settle, 1, 20);
  wal.forget(0, { index: 19, term: 1 }, { keepsRest: true });
  wal.sync(() => {});
  settle();
  fill(wal, settle, 21, 21);
  wal.close();
  const whole = groupsOf(openWal(disk, walOptions));
  const path = segmentPath(names(disk)[0]!);
  const { length } = disk.readFile(path);
  let refused = 0;
  for (let bit = 0; bit < length * 8; bit += 7) {
    disk.flipBit(path, bit);
    try {
      assertEquals(groupsOf(openWal(disk, walOptions)), whole, `bit ${bit}`);
    } catch (error) {
      if (!(error instanceof WalError)) throw error;
      refused++;
    }
    disk.flipBit(path, bit);
  }
  assertGreater(refused, length);
});

Deno.test("a damaged head of the oldest segment is damage, for no crash can have torn it", () => {
  const { disk, settle } = promptDisk();
  const { wal } = openWal(disk, walOptions);
  wal.append([encode(hardState(0, 3, 2))]);
  fill(wal, settle, 1, 20);
  wal.forget(0, { index: 20, term: 1 }, { keepsRest: true });
  wal.sync(() => {});
  settle();
  // Only the oldest is left, and no mark behind its head says that anything was durable.
  const path = segmentPath(names(disk)[0]!);
  for (const later of names(disk).slice(1)) disk.erase(segmentPath(later));
  const bytes = disk.readFile(path);
  for (let length = 0; length < SEGMENT_HEADER_BYTES + CHECKPOINT_BYTES; length += 9) {
    disk.replace(path, bytes.slice(0, length));
    assertThrows(() => openWal(disk, walOptions), WalCorruptError, "it is the oldest segment");
  }
});

Deno.test("power lost while the log forgets: the base it had or the one it gets, and nothing between", () => {
  const seen = new Set<string>();
  forEachPowerLoss({
    operations: 40,
    prepare: (disk) => {
      const { wal } = openWal(disk, walOptions);
      wal.append([encode(hardState(0, 1, 2))]);
      for (let index = 1; index <= 12; index++) wal.append([encode(entry(0, 1, index))]);
      wal.close();
    },
    work: (disk) => {
      const { wal } = openWal(disk, walOptions);
      wal.forget(0, { index: 10, term: 1 }, { keepsRest: true });
      wal.append([encode(entry(0, 1, 13))]);
      wal.close();
      // Opened again, its base is durable, and the next sync removes what it covers.
      const again = openWal(disk, walOptions).wal;
      again.sync(() => {});
    },
    check: (disk) => {
      const text = JSON.stringify(groupsOf(openWal(disk, walOptions)));
      seen.add(text);
      const [[, term, vote, base]] = JSON.parse(text);
      assertEquals([term, vote], [1, 2]);
      assert(["0@0", "10@1"].includes(base), text);
      assertGreater(JSON.parse(text)[0].length, base === "0@0" ? 15 : 5);
    },
  });
  assertGreater(seen.size, 1);
});

Deno.test("whatever is written and forgotten, a log that is opened again comes to the same", () => {
  const step = fc.oneof(
    fc.record({ type: fc.constant("append" as const), count: fc.integer({ min: 1, max: 4 }) }),
    fc.record({ type: fc.constant("conflict" as const), back: fc.nat(3) }),
    fc.record({ type: fc.constant("vote" as const), node: fc.integer({ min: 1, max: 3 }) }),
    fc.record({ type: fc.constant("forget" as const), back: fc.nat(6) }),
    fc.record({ type: fc.constant("install" as const), ahead: fc.integer({ min: 1, max: 5 }) }),
    fc.record({ type: fc.constant("reopen" as const) }),
  );
  fc.assert(
    fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
      const { disk, settle } = promptDisk();
      let { wal } = openWal(disk, walOptions);
      const model = { term: 1, vote: undefined as number | undefined, base: [0, 0] };
      /** Terms of the entries behind the base. */
      let terms: number[] = [];
      const sync = (): void => {
        wal.sync(() => {});
        settle();
      };
      wal.append([encode(hardState(0, 1))]);
      sync();
      for (const it of steps) {
        const last = model.base[0]! + terms.length;
        if (it.type === "append") {
          for (let n = 1; n <= it.count; n++) {
            wal.append([encode(entry(0, model.term, last + n))]);
            terms.push(model.term);
          }
        } else if (it.type === "conflict" && it.back < terms.length) {
          model.term++;
          model.vote = undefined;
          terms = terms.slice(0, terms.length - 1 - it.back);
          terms.push(model.term);
          const index = model.base[0]! + terms.length;
          wal.append([encode(hardState(0, model.term)), encode(entry(0, model.term, index))]);
        } else if (it.type === "vote") {
          model.term++;
          model.vote = it.node;
          wal.append([encode(hardState(0, model.term, it.node))]);
        } else if (it.type === "forget" && it.back < terms.length) {
          const index = last - it.back;
          model.base = [index, terms[terms.length - 1 - it.back]!];
          terms = terms.slice(terms.length - it.back);
          wal.forget(0, { index, term: model.base[1]! }, { keepsRest: true });
        } else if (it.type === "install") {
          model.base = [last + it.ahead, model.term];
          terms = [];
          wal.forget(0, { index: last + it.ahead, term: model.term }, { keepsRest: false });
        } else if (it.type === "reopen") {
          wal.close();
          ({ wal } = openWal(disk, walOptions));
        }
        sync();
      }
      const entries = terms.map((term, at) => `${model.base[0]! + 1 + at}@${term}`);
      assertEquals(groupsOf(openWal(disk, walOptions)), [
        [0, model.term, model.vote, model.base.join("@"), ...entries],
      ]);
      // What is covered takes no room: at most the segment that is written, and the one before it.
      if (terms.length === 0 && steps.at(-1)?.type === "install") {
        wal.append([]);
        sync();
        assert(names(disk).length <= 2, `${names(disk)}`);
      }
    }),
    { numRuns: 1000 },
  );
});
