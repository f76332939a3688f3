import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { historyFromNdjson, historyToNdjson, type Operation } from "./history.ts";
import { checkLinearizable } from "./linearizability.ts";
import { Dice } from "./random.ts";
import { timelineHtml, timelineText } from "./timeline.ts";

/** An operation from a short form. */
function op(
  client: string,
  [invokeMs, returnMs]: readonly [number, number | undefined],
  type: Operation["type"],
  rest: Partial<Operation> = {},
): Operation {
  return { client, key: "k", type, invokeMs, returnMs, result: undefined, ...rest };
}

const got = (value: string | undefined, revision: number): Partial<Operation> => ({
  result: { value, revision },
});
const ok = (value: string, revision: number): Partial<Operation> => ({
  value,
  result: { ok: true, revision },
});

Deno.test("histories known to be good are accepted", () => {
  const good: Operation[][] = [
    [],
    [op("a", [0, 1], "get", got(undefined, 0))],
    [op("a", [0, 1], "put", ok("x", 1)), op("a", [2, 3], "get", got("x", 1))],
    // A read that overlaps a write may see either value.
    [op("a", [0, 5], "put", ok("x", 1)), op("b", [1, 2], "get", got(undefined, 0))],
    [op("a", [0, 5], "put", ok("x", 1)), op("b", [1, 2], "get", got("x", 1))],
    // A write of unknown outcome may take effect late, or never.
    [
      op("a", [0, undefined], "put", { value: "x" }),
      op("b", [1, 2], "get", got(undefined, 0)),
      op("b", [3, 4], "get", got("x", 1)),
    ],
    [op("a", [0, undefined], "put", { value: "x" }), op("b", [1, 2], "get", got(undefined, 0))],
    [
      op("a", [0, 1], "append", ok("x", 1)),
      op("b", [2, 3], "append", ok("y", 2)),
      op("a", [4, 5], "get", got("xy", 2)),
      op("a", [6, 7], "cas", { ...ok("z", 3), expected: 2 }),
      op("b", [6, 9], "cas", { value: "w", expected: 2, result: { ok: false, revision: 3 } }),
      op("b", [10, 11], "delete", { result: { ok: true, revision: 4 } }),
      op("b", [12, 13], "cas", { ...ok("v", 5), expected: 0 }),
    ],
  ];
  for (const history of good) {
    assertEquals(checkLinearizable(history).verdict, "linearizable", historyToNdjson(history));
  }
});

Deno.test("histories known to be bad are rejected", () => {
  const bad: Operation[][] = [
    // A stale read after a write returned.
    [op("a", [0, 1], "put", ok("x", 1)), op("b", [2, 3], "get", got(undefined, 0))],
    // Two reads that saw two writes in different orders.
    [
      op("a", [0, 10], "put", ok("x", 1)),
      op("b", [0, 10], "put", ok("y", 2)),
      op("c", [11, 12], "get", got("x", 1)),
    ],
    // A value that nobody wrote.
    [op("a", [0, 1], "get", got("ghost", 1))],
    // An append that happened twice.
    [op("a", [0, 1], "append", ok("x", 1)), op("a", [2, 3], "get", got("xx", 2))],
    // Two compare-and-sets won against the same revision.
    [
      op("a", [0, 1], "put", ok("x", 1)),
      op("a", [2, 9], "cas", { ...ok("y", 2), expected: 1 }),
      op("b", [2, 9], "cas", { ...ok("z", 3), expected: 1 }),
    ],
    // X20: a compare-and-set won against a revision that was past, behind a write of unknown outcome.
    [
      op("a", [0, 1], "put", ok("x", 1)),
      op("a", [2, 3], "put", ok("y", 2)),
      op("b", [4, undefined], "put", { value: "z" }),
      op("a", [5, 6], "cas", { ...ok("w", 4), expected: 1 }),
    ],
    // It won against the very revision that it then had.
    [
      op("a", [0, 1], "put", ok("x", 1)),
      op("b", [2, undefined], "put", { value: "z" }),
      op("a", [3, 4], "cas", { ...ok("w", 3), expected: 3 }),
    ],
    // Somebody was told a revision that was given away before.
    [
      op("a", [0, 1], "put", ok("x", 5)),
      op("b", [2, undefined], "put", { value: "z" }),
      op("a", [3, 4], "get", got("z", 5)),
    ],
    // A read went back in time.
    [
      op("a", [0, undefined], "put", { value: "x" }),
      op("b", [1, 2], "get", got("x", 1)),
      op("b", [3, 4], "get", got(undefined, 0)),
    ],
  ];
  for (const history of bad) {
    assertEquals(checkLinearizable(history).verdict, "violation", historyToNdjson(history));
  }
});

/** A history that a real register made, with `concurrency` clients. */
function generate(dice: Dice, length: number, concurrency: number): Operation[] {
  const history: Operation[] = [];
  const freeMs = new Array<number>(concurrency).fill(0);
  let nowMs = 0;
  let revision = 0;
  let register: { value: string | undefined; revision: number } = { value: undefined, revision: 0 };
  for (let n = 0; n < length; n++) {
    const client = dice.below(concurrency);
    // Effects happen one after the other; each operation reaches around its own.
    nowMs += 1;
    const invokeMs = Math.max(freeMs[client]!, nowMs - dice.between(0.1, 3));
    if (invokeMs >= nowMs) continue;
    const returnMs = nowMs + dice.between(0.1, 3);
    freeMs[client] = returnMs + 0.01;
    const base = { client: `c${client}`, key: "k", invokeMs, returnMs };
    if (dice.chance(0.5)) {
      history.push({ ...base, type: "get", result: { ...register } });
    } else {
      const value = `v${n};`;
      const type = dice.chance(0.5) ? "put" : "append";
      revision++;
      register = { value: type === "put" ? value : (register.value ?? "") + value, revision };
      history.push({ ...base, type, value, result: { ok: true, revision } });
    }
  }
  return history;
}

/** A fault that makes the history wrong; undefined if this history has no place for it. */
function mutate(dice: Dice, history: readonly Operation[]): Operation[] | undefined {
  const mutated = history.map((operation) => ({ ...operation }));
  const gets = mutated.filter(({ type }) => type === "get");
  const kind = dice.pick(["stale read", "lost write", "reordering"]);
  if (kind === "stale read") {
    // A read returns what the register held two writes before the read began.
    const read = dice.pick(gets);
    const writes = mutated.filter(({ type, returnMs }) =>
      type !== "get" && returnMs! < (read?.invokeMs ?? 0)
    ).sort((a, b) => revisionOf(a) - revisionOf(b));
    if (read === undefined || writes.length < 2) return undefined;
    const stale = history.find((other) =>
      other.type === "get" && revisionOf(other) < revisionOf(writes.at(-1)!)
    );
    if (stale === undefined) return undefined;
    read.result = { ...stale.result! };
    return mutated;
  }
  if (kind === "lost write") {
    // A write that a later read rests on never happened.
    const seen = mutated.findIndex((write) =>
      write.type !== "get" &&
      mutated.some((read) =>
        read.type === "get" && read.result !== undefined && revisionOf(read) === revisionOf(write)
      )
    );
    if (seen < 0) return undefined;
    mutated.splice(seen, 1);
    return mutated;
  }
  // Two reads, one wholly before the other, saw different revisions and swap what they saw.
  for (const first of gets) {
    const later = gets.find((get) =>
      get.invokeMs > first.returnMs! && revisionOf(get) !== revisionOf(first)
    );
    if (later === undefined) continue;
    [first.result, later.result] = [later.result, first.result];
    return mutated;
  }
  return undefined;
}

function revisionOf({ result }: Operation): number {
  return result?.revision ?? 0;
}

Deno.test("10,000 mutated histories are all rejected, their originals accepted", () => {
  const dice = new Dice(20261122);
  let rejected = 0;
  while (rejected < 10_000) {
    const history = generate(dice, 14, 3);
    const mutated = mutate(dice, history);
    if (mutated === undefined) continue;
    if (rejected % 20 === 0) assertEquals(checkLinearizable(history).verdict, "linearizable");
    assertEquals(checkLinearizable(mutated).verdict, "violation", historyToNdjson(mutated));
    rejected++;
  }
  assertEquals(rejected, 10_000);
});

Deno.test("long histories of real registers are accepted, with progress", () => {
  const dice = new Dice(7);
  const history = Array.from(
    { length: 20 },
    (_, key) => generate(dice, 300, 8).map((operation) => ({ ...operation, key: `k${key}` })),
  ).flat();
  const progress: number[] = [];
  const verdict = checkLinearizable(history, { onProgress: (done) => progress.push(done) });
  assertEquals(verdict.verdict, "linearizable");
  assertEquals(progress, Array.from({ length: 20 }, (_, at) => at + 1));
});

Deno.test("an outage with many writes of unknown outcome is decided", () => {
  const outage = Array.from(
    { length: 60 },
    (_, at) =>
      op(`c${at}`, [10 + at, undefined], at % 3 === 0 ? "append" : at % 3 === 1 ? "put" : "cas", {
        value: `lost-${at};`,
        ...(at % 3 === 2 ? { expected: 1 } : {}),
      }),
  );
  const before = op("a", [0, 1], "put", ok("x;", 1));
  const after = [
    op("a", [200, 201], "get", got("x;", 1)),
    op("a", [202, 203], "append", ok("y;", 2)),
    op("a", [204, 205], "get", got("x;y;", 2)),
  ];
  assertEquals(checkLinearizable([before, ...outage, ...after]).verdict, "linearizable");
  const stale = op("b", [206, 207], "get", got("x;", 1));
  assertEquals(checkLinearizable([before, ...outage, ...after, stale]).verdict, "violation");
  // One of them took effect, and a refused compare-and-set was told its revision.
  const refused = op("b", [202, 203], "cas", {
    ...{ value: "z", expected: 1, result: { ok: false, revision: 3 } },
  });
  assertEquals(checkLinearizable([before, ...outage.slice(0, 4), refused]).verdict, "linearizable");
});

Deno.test("a search that takes too long is undecided, not accepted", () => {
  const history = generate(new Dice(9), 200, 8);
  assertEquals(checkLinearizable(history, { stepsMax: 10 }), { verdict: "undecided", keys: ["k"] });
});

Deno.test("histories survive NDJSON", () => {
  const history = [...generate(new Dice(3), 50, 3), op("x", [5, undefined], "put", { value: "u" })];
  assertEquals(historyFromNdjson(historyToNdjson(history)), history);
});

Deno.test("a violation comes with the shortest prefix that fails, as text and as a page", () => {
  const history = [
    op("a", [0, 1], "put", ok("x", 1)),
    op("b", [2, 3], "get", got(undefined, 0)),
    op("a", [4, 5], "put", ok("<later>", 2)),
  ];
  const verdict = checkLinearizable(history);
  assert(verdict.verdict === "violation");
  assertEquals(verdict.window, history.slice(0, 2));
  assertStringIncludes(timelineText(verdict.window), "get -> (none) @0");
  const page = timelineHtml(history, "seed 1");
  assertStringIncludes(page, "put &#60;later&#62;");
  assert(!page.includes("<later>"));
});
