/**
 * Watches compared with a plain list of all changes: every one once, in order, none missing.
 *
 * @module
 */
import { assert, assertEquals } from "@std/assert";
import { WATCH_UNREAD_BYTES_MAX, WATCHES_MAX } from "../../actors/limits.ts";
import { type Watch, WatchHub } from "../../actors/watch_hub.ts";
import { changeBytes, ChangeLog } from "../../storage/kv/change_log.ts";
import type { KvChange } from "../../storage/kv/key_space.ts";
import { intervalOf } from "../../storage/kv/operations/interval.ts";
import { Dice } from "../sim/random.ts";

function change(revision: number, key: string, bytes = 1): KvChange {
  const entry = {
    ...{ value: new Uint8Array(bytes), contentType: undefined },
    ...{ created: revision, revision, version: 1 },
  };
  return { key, entry, previous: undefined, revision };
}

const seenOf = (changes: readonly KvChange[]): string[] =>
  changes.map(({ key, revision }) => `${revision} ${key}`);

/** A reader that takes what there is when it is told to, and remembers it. */
class Reader {
  readonly seen: string[] = [];
  readonly watch: Watch;
  last: string | undefined;
  /** Whether it was woken since it found nothing. */
  isWoken = true;

  constructor(watch: Watch) {
    this.watch = watch;
  }

  read(most = Infinity): void {
    for (let left = most; left > 0 && this.last === undefined; left--) {
      const news = this.watch.take(() => this.isWoken = true);
      if (news === undefined) {
        this.isWoken = false;
        return;
      }
      if (news.type === "changes") this.seen.push(...seenOf(news.changes));
      else this.last = news.type;
    }
  }
}

Deno.test("watches: every change of their keys once, in order, whenever they begin and however slowly they read", () => {
  for (let seed = 1; seed <= 30; seed++) {
    const dice = new Dice(seed);
    const hub = new WatchHub(0);
    const all: KvChange[] = [];
    const readers: { reader: Reader; covers: (key: string) => boolean; from: number }[] = [];
    const keys = ["a", "a\0", "ab", "b", "c", "\xff"];
    let revision = 0;
    for (let step = 0; step < 300; step++) {
      const entry: KvChange[] = [];
      for (let commands = dice.below(4); commands > 0; commands--) {
        revision++;
        for (let count = 1 + dice.below(3); count > 0; count--) {
          entry.push(change(revision, dice.pick(keys), dice.chance(0.1) ? 40_000 : 1));
        }
      }
      all.push(...entry);
      hub.changed(entry);
      if (dice.chance(0.1)) {
        const key = dice.pick(keys);
        const bounds = dice.pick([
          ...[{ start: key, end: `${key}\0` }, { prefix: "a" }, { start: "b" }, { prefix: "" }],
        ]);
        const interval = intervalOf(bounds);
        const from = dice.chance(0.5) ? undefined : 1 + dice.below(revision + 2);
        const watch = hub.watch(interval, from)!;
        readers.push({
          reader: new Reader(watch),
          covers: (one) =>
            one >= interval.start && (interval.end === undefined || one < interval.end),
          from: from ?? revision + 1,
        });
      }
      for (const { reader } of readers) if (dice.chance(0.3)) reader.read(1 + dice.below(2));
    }
    for (const { reader, covers, from } of readers) {
      const promised = all.filter((one) => one.revision >= from && covers(one.key));
      // Whoever waits was woken if there is anything.
      if (!reader.isWoken) assertEquals(reader.seen, seenOf(promised), "it was not woken");
      reader.read();
      assertEquals(reader.seen, seenOf(promised), `seed ${seed}`);
      assertEquals(reader.watch.from, Math.max(from, revision + 1));
      reader.watch.end();
    }
    assertEquals(hub.size, 0);
  }
});

Deno.test("watches: who comes too late, or falls behind the log, is told where the log begins", () => {
  const bytesMax = 10 * changeBytes(change(1, "k"));
  const hub = new WatchHub(0, bytesMax);
  const [slow, idle] = [hub.watch(intervalOf({}))!, hub.watch({ start: "other", end: undefined })!];
  for (let revision = 1; revision <= 2_000; revision++) hub.changed([change(revision, "k")]);
  const lagged = { type: "lagged", from: 1, firstRevision: 1_991 } as const;
  assertEquals(slow.take(() => {}), lagged);
  assertEquals(slow.take(() => {}), undefined);
  // One whose keys have not changed is behind nothing.
  assertEquals([idle.take(() => {}), idle.from], [undefined, 2_001]);
  assertEquals(hub.watch(intervalOf({}), 1_990)!.take(() => {})!.type, "compacted");
  const reader = new Reader(hub.watch(intervalOf({}), 1_991)!);
  reader.read();
  assertEquals(reader.seen.length, 10);
  assertEquals(hub.size, 2);
});

Deno.test("WATCH_UNREAD_BYTES_MAX: beyond it a watcher keeps nothing of its own, and still misses nothing", () => {
  const hub = new WatchHub(0);
  const reader = new Reader(hub.watch(intervalOf({}))!);
  reader.read();
  const count = 3 * Math.ceil(WATCH_UNREAD_BYTES_MAX / changeBytes(change(1, "k", 1_000)));
  for (let revision = 1; revision <= count; revision++) hub.changed([change(revision, "k", 1_000)]);
  assert(reader.isWoken);
  assertEquals(reader.watch.from, 1);
  reader.read(1);
  assert(reader.seen.length < count / 2, "a page of the log");
  reader.read();
  assertEquals(reader.seen.length, count);
});

Deno.test("WATCHES_MAX: one more is refused, and has room when another ends", () => {
  const hub = new WatchHub(0);
  const watches = Array.from({ length: WATCHES_MAX }, () => hub.watch(intervalOf({}))!);
  assertEquals([hub.watch(intervalOf({})), hub.counters.refused], [undefined, 1]);
  watches[0]!.end();
  watches[0]!.end();
  assert(hub.watch(intervalOf({})) !== undefined);
});

Deno.test("watches: a node that stops, or loads another state, says where each can go on", () => {
  const hub = new WatchHub(5);
  const live = new Reader(hub.watch(intervalOf({}))!);
  live.read();
  hub.changed([change(6, "k")]);
  hub.reset(100);
  hub.changed([change(101, "k")]);
  live.read();
  assertEquals([live.seen, live.last], [["6 k"], "ended"]);
  const read = hub.watch(intervalOf({}))!;
  hub.changed([change(102, "k")]);
  const before = hub.watch(intervalOf({}), 101)!;
  hub.end();
  assertEquals(read.take(() => {})!.type, "changes");
  assertEquals(read.take(() => {}), { type: "ended", from: 103 });
  assertEquals(before.take(() => {}), { type: "ended", from: 101 });
  assertEquals(hub.watch(intervalOf({}))!.take(() => {}), { type: "ended", from: 103 });
  assertEquals(hub.watch(intervalOf({}), 7)!.take(() => {}), { type: "ended", from: 7 });
});

Deno.test("change log: a revision's changes go together, and pages are whole revisions", () => {
  const bytes = changeBytes(change(1, "k"));
  const log = new ChangeLog(0, 4 * bytes);
  log.add([change(1, "a"), change(1, "b"), change(2, "c"), change(3, "d")]);
  assertEquals([log.firstRevision, log.bytes], [1, 4 * bytes]);
  log.add([change(4, "e")]);
  assertEquals([log.firstRevision, log.revision, log.bytes], [2, 4, 3 * bytes]);
  assertEquals(log.page(1, 0), undefined);
  log.add([change(5, "f"), change(5, "g")]);
  assertEquals(seenOf(log.page(4, 0)!), ["4 e"]);
  assertEquals(seenOf(log.page(4, bytes)!), ["4 e", "5 f", "5 g"]);
  assertEquals([log.page(6, 9), log.page(99, 9)], [[], []]);
});
