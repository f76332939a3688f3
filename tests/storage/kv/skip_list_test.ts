import { assert, assertEquals } from "@std/assert";
import fc from "fast-check";
import { type KeyRange, SkipList } from "../../../storage/kv/skip_list.ts";

type Model = [key: string, value: number][];

type Step =
  | { type: "set"; key: string; value: number }
  | { type: "delete"; key: string }
  | { type: "get"; key: string }
  | { type: "scan"; range: KeyRange };

// Few distinct keys, so that the steps meet each other.
const key = fc.nat(400).map((n) => String.fromCharCode(n & 0xff) + "k".repeat(n >> 8));
const bound = fc.option(key, { nil: undefined });
const step: fc.Arbitrary<Step> = fc.oneof(
  { weight: 6, arbitrary: fc.record({ type: fc.constant("set"), key, value: fc.nat() }) },
  { weight: 4, arbitrary: fc.record({ type: fc.constant("delete"), key }) },
  { weight: 2, arbitrary: fc.record({ type: fc.constant("get"), key }) },
  {
    weight: 1,
    arbitrary: fc.record({
      type: fc.constant("scan"),
      range: fc.record({ start: bound, end: bound, reverse: fc.boolean() }),
    }),
  },
) as fc.Arbitrary<Step>;

Deno.test("skip list: behaves like a sorted array, whatever the tower heights", () => {
  const steps = fc.array(step, { minLength: 200, maxLength: 1000, size: "max" });
  fc.assert(
    fc.property(steps, fc.integer(), (script, seed) => {
      const list = new SkipList<number>(seed);
      const model: Model = [];
      for (const one of script) check(list, model, one);
      assertEquals(contentOf(list), model);
      for (const [at] of [...model]) check(list, model, { type: "delete", key: at });
      assertEquals([list.size, list.first(), list.last()], [0, undefined, undefined]);
    }),
    { numRuns: 60 },
  );
});

Deno.test("skip list: many keys in ascending, descending and mixed order", () => {
  const count = 5000;
  const name = (n: number): string => String(n).padStart(6, "0");
  const ascending = Array.from({ length: count }, (_, n) => n);
  const mixed = ascending.map((n) => (n * 1237) % count);
  for (const order of [ascending, ascending.toReversed(), mixed]) {
    const list = new SkipList<number>();
    for (const n of order) assertEquals(list.set(name(n), n), undefined);
    assertEquals(list.size, count);
    assertEquals(contentOf(list).map(([, value]) => value), ascending);
    assertEquals(list.first(), [name(0), 0]);
    assertEquals(list.last(), [name(count - 1), count - 1]);
    for (const n of mixed.slice(0, count - 10)) assertEquals(list.delete(name(n)), n);
    const rest = mixed.slice(count - 10).sort((a, b) => a - b);
    assertEquals(contentOf(list).map(([, value]) => value), rest);
    assertEquals(list.last(), [name(rest.at(-1)!), rest.at(-1)!]);
  }
});

Deno.test("skip list: towers of several levels rise and fall", () => {
  const count = 20_000;
  const name = (n: number): string => String(n).padStart(6, "0");
  for (const seed of [1, 2, 3]) {
    const list = new SkipList<number>(seed);
    for (let n = 0; n < count; n++) list.set(name((n * 7919) % count), n);
    // Three quarters go, in runs that empty whole leaves, and half of what is gone comes back.
    const isGone = (n: number): boolean => n % 4000 < 3000;
    const isBack = (n: number): boolean => n % 4000 < 1500;
    for (let n = 0; n < count; n++) {
      const key = (n * 6007) % count;
      if (isGone(key)) assert(list.delete(name(key)) !== undefined);
    }
    for (let n = 0; n < count; n++) if (isBack(n)) list.set(name(n), n);
    const expected = Array.from({ length: count }, (_, n) => n)
      .filter((n) => !isGone(n) || isBack(n)).map(name);
    assertEquals(Array.from(list.scan(), ([found]) => found), expected);
    const descending = Array.from(list.scan({ reverse: true }), ([found]) => found);
    assertEquals(descending, expected.toReversed());
    for (let n = 0; n < count; n++) assertEquals(list.has(name(n)), !isGone(n) || isBack(n));
    // Read after write and write after delete, down to leaves that hold this one key.
    for (const found of expected) {
      list.delete(found);
      list.set(found, 1);
      assertEquals(list.get(found), 1);
      assertEquals(list.delete(found), 1);
    }
    assertEquals([list.size, list.first(), list.last()], [0, undefined, undefined]);
  }
});

Deno.test("skip list: keys that are names of object properties are ordinary", () => {
  const list = new SkipList<number>();
  for (const name of ["__proto__", "constructor", "", "\0"]) {
    assert(!list.has(name));
    assertEquals(list.set(name, 1), undefined);
    assertEquals(list.set(name, 2), 1);
    assert(list.has(name));
  }
  assertEquals(contentOf(list).map(([k]) => k), ["", "\0", "__proto__", "constructor"]);
});

Deno.test("skip list: a scan goes no further than it is asked to", () => {
  const list = new SkipList<number>();
  for (let n = 0; n < 300; n++) list.set(String(n).padStart(3, "0"), n);
  for (const reverse of [false, true]) {
    const scan = list.scan({ start: "100", end: "200", reverse });
    const seen = Array.from({ length: 3 }, () => (scan.next().value as [string, number])[1]);
    assertEquals(seen, reverse ? [199, 198, 197] : [100, 101, 102]);
  }
});

Deno.test("S24: the ordered map writes nothing to the console", () => {
  const sink = globalThis.console;
  const log = sink.log;
  let lines = 0;
  sink.log = () => void lines++;
  try {
    const list = new SkipList<number>();
    for (let n = 0; n < 200; n++) list.set(String(n), n);
    for (let n = 0; n < 200; n++) list.delete(String(n));
  } finally {
    sink.log = log;
  }
  assertEquals(lines, 0);
});

function check(list: SkipList<number>, model: Model, step: Step): void {
  if (step.type === "scan") {
    const { start, end, reverse } = step.range;
    const expected = model.filter(([k]) => k >= (start ?? "") && (end === undefined || k < end));
    if (reverse === true) expected.reverse();
    assertEquals(contentOf(list, step.range), expected);
    return;
  }
  const at = model.findIndex(([k]) => k >= step.key);
  const found = at >= 0 && model[at]![0] === step.key ? model[at]! : undefined;
  if (step.type === "get") {
    assertEquals(list.get(step.key), found?.[1]);
    assertEquals(list.has(step.key), found !== undefined);
  } else if (step.type === "delete") {
    assertEquals(list.delete(step.key), found?.[1]);
    if (found !== undefined) model.splice(at, 1);
  } else {
    assertEquals(list.set(step.key, step.value), found?.[1]);
    assertEquals(list.get(step.key), step.value);
    if (found !== undefined) found[1] = step.value;
    else model.splice(at < 0 ? model.length : at, 0, [step.key, step.value]);
  }
  assertEquals(list.size, model.length);
  assertEquals(list.first(), model[0]);
  assertEquals(list.last(), model.at(-1));
}

function contentOf(list: SkipList<number>, range: KeyRange = {}): Model {
  return [...list.scan(range)];
}

Deno.test("count agrees with scan for any range", () => {
  fc.assert(
    fc.property(
      fc.array(fc.string({ maxLength: 3 }), { maxLength: 400 }),
      fc.option(fc.string({ maxLength: 3 }), { nil: undefined }),
      fc.option(fc.string({ maxLength: 3 }), { nil: undefined }),
      (keys, start, end) => {
        const list = new SkipList<number>();
        for (const key of keys) list.set(key, 1);
        assertEquals(list.count({ start, end }), [...list.scan({ start, end })].length);
      },
    ),
  );
});

Deno.test("freeze: a view keeps the map as it was, whatever happens to it and to other views", () => {
  const action = fc.oneof(
    { weight: 30, arbitrary: step },
    { weight: 1, arbitrary: fc.constant({ type: "freeze" } as const) },
    { weight: 1, arbitrary: fc.record({ type: fc.constant("release" as const), at: fc.nat(5) }) },
  );
  fc.assert(
    fc.property(
      fc.array(action, { minLength: 200, maxLength: 1000, size: "max" }),
      fc.integer(),
      (script, seed) => {
        const list = new SkipList<number>(seed);
        const model: Model = [];
        const views: { readonly view: ReturnType<typeof list.freeze>; readonly was: Model }[] = [];
        for (const one of script) {
          if (one.type === "freeze") {
            views.push({ view: list.freeze(), was: structuredClone(model) });
          } else if (one.type === "release") views.splice(one.at, 1)[0]?.view.release();
          else check(list, model, one);
        }
        assertEquals(contentOf(list), model);
        for (const { view, was } of views) {
          assertEquals([view.size, [...view.scan()]], [was.length, was]);
          assertEquals([...view.scan({ reverse: true })], was.toReversed());
        }
        for (const { view } of views) view.release();
        for (const [at] of [...model]) check(list, model, { type: "delete", key: at });
        assertEquals(list.size, 0);
      },
    ),
    { numRuns: 60 },
  );
});

Deno.test("freeze: what is read of a view in slices does not see what is written between them", () => {
  const list = new SkipList<number>();
  const name = (n: number): string => String(n).padStart(6, "0");
  for (let n = 0; n < 5_000; n++) list.set(name(n), n);
  const view = list.freeze();
  let read = 0;
  for (const [key, value] of view.scan()) {
    assertEquals([key, value], [name(read), read]);
    list.delete(name((read * 7) % 5_000));
    list.set(name(9_999 - read), -1);
    read++;
  }
  assertEquals([read, view.size], [5_000, 5_000]);
  view.release();
});
