/**
 * The ordered map against `sorted-btree`, and the store on top of it.
 *
 * Each iteration does as many operations as the name of its group says.
 *
 * @module
 */
import { decode, encode } from "@msgpack/msgpack";
import SortedBTree from "sorted-btree";
import { toBytes, toByteString } from "../storage/byte_string.ts";
import { decodeCommand, encodeCommand } from "../storage/kv/command.ts";
import { KvStore } from "../storage/kv/kv_store.ts";
import { applyRequest } from "../tests/storage/kv/apply.ts";
import { SkipList } from "../storage/kv/skip_list.ts";
import { commandOf } from "../tests/storage/kv/command_of.ts";

type BTree = SortedBTree.default<string, number>;
const BTree = SortedBTree.default;

const KEYS = 1_000_000;
const PROBES = 10_000;
const STORE_KEYS = 100_000;

const keys = shuffled(Array.from({ length: KEYS }, (_, n) => keyOf(n)));
const probes = shuffled([...keys]).slice(0, PROBES);
const skipList = fillSkipList();
const btree = fillBTree();

for (const [name, map] of [["skip list", skipList], ["sorted-btree", btree]] as const) {
  Deno.bench({ name, group: "get 10^4 of 10^6 keys", baseline: map === skipList }, () => {
    let sum = 0;
    for (const key of probes) sum += map.get(key)!;
    if (sum === 0) throw new Error("nothing found");
  });
}

Deno.bench(
  { name: "skip list", group: "insert 10^6 keys", baseline: true, n: 2, warmup: 1 },
  () => {
    fillSkipList();
  },
);
Deno.bench({ name: "sorted-btree", group: "insert 10^6 keys", n: 2, warmup: 1 }, () => {
  fillBTree();
});

Deno.bench({ name: "skip list", group: "scan 10^6 keys", baseline: true, n: 5 }, () => {
  let count = 0;
  for (const _ of skipList.scan()) count++;
  if (count !== KEYS) throw new Error("keys are missing");
});
Deno.bench({ name: "sorted-btree", group: "scan 10^6 keys", n: 5 }, () => {
  let count = 0;
  for (const _ of btree.entries()) count++;
  if (count !== KEYS) throw new Error("keys are missing");
});

const value = new Uint8Array(100).fill(7);
const request = encodeCommand(commandOf({ type: "put", key: keyOf(1), value }));
const packed = encode([1, [1, toBytes(keyOf(1)), value, null, null], null]);

Deno.bench({ name: "own layout", group: "decode a put of 16 + 100 B", baseline: true }, () => {
  decodeCommand(request);
});
Deno.bench({ name: "MessagePack array", group: "decode a put of 16 + 100 B" }, () => {
  const [, command] = decode(packed) as [number, [number, Uint8Array, Uint8Array]];
  toByteString(command[1]);
});

const store = new KvStore();
const puts = Array.from(
  { length: STORE_KEYS },
  (_, n) => encodeCommand(commandOf({ type: "put", key: keyOf(n), value })),
);
for (const put of puts) applyRequest(store, put);
shuffled(puts);
let next = 0;

Deno.bench({ name: "decode and apply a put over one of 10^5 keys", group: "store" }, () => {
  next = (next + 1) % STORE_KEYS;
  applyRequest(store, puts[next]!);
});

function keyOf(n: number): string {
  return toByteString(toBytes(`key/${String(n).padStart(12, "0")}`));
}

function fillSkipList(): SkipList<number> {
  const map = new SkipList<number>();
  for (let n = 0; n < keys.length; n++) map.set(keys[n]!, n);
  return map;
}

function fillBTree(): BTree {
  const map = new BTree<string, number>(undefined, (a, b) => a < b ? -1 : a > b ? 1 : 0);
  for (let n = 0; n < keys.length; n++) map.set(keys[n]!, n);
  return map;
}

/** Fisher and Yates, with a generator that is the same in every run. */
function shuffled<T>(list: T[]): T[] {
  let state = 1;
  for (let at = list.length - 1; at > 0; at--) {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    const other = state % (at + 1);
    [list[at], list[other]] = [list[other]!, list[at]!];
  }
  return list;
}
