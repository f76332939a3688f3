import { assert, assertEquals } from "@std/assert";
import { simulations } from "./parts.ts";
import { countsText, Soak, type SoakOptions, type SoakPart } from "./soak.ts";

/** Parts that take a minute of a clock of their own, and say which turns they had. */
function played(
  options: Partial<SoakOptions> & { readonly violationAt?: number },
): { soak: Soak; turns: string[] } {
  let nowMs = 0;
  const turns: string[] = [];
  const part = (name: string): SoakPart => ({
    name,
    run: (seed, ms) => {
      turns.push(`${name} ${seed} ${ms}`);
      nowMs += ms;
      const violation = turns.length === options.violationAt ? "planted" : undefined;
      return Promise.resolve({ counts: new Map([[name, 1]]), violation });
    },
  });
  const soak = new Soak({
    seed: 7,
    durationMs: 150,
    partMs: 60,
    parts: [part("a"), part("b")],
    nowMs: () => nowMs,
    isInterrupted: () => false,
    ...options,
  });
  return { soak, turns };
}

Deno.test("the parts take turns, each round from the next seed, until the time is up", async () => {
  const { soak, turns } = played({});
  assertEquals(await soak.run(), undefined);
  assertEquals(turns, ["a 7 60", "b 7 60", "a 8 30"]);
  assertEquals(countsText(soak.totals), "a 2, b 1");
});

Deno.test("the first violation ends it", async () => {
  const { soak, turns } = played({ violationAt: 2 });
  assertEquals(await soak.run(), "planted");
  assertEquals(turns.length, 2);
  assertEquals(soak.totals.get("violations"), 1);
});

Deno.test("an interrupt ends it in order, and what was torn proves nothing", async () => {
  let asked = 0;
  const { soak, turns } = played({ violationAt: 1, isInterrupted: () => ++asked > 1 });
  assertEquals(await soak.run(), undefined);
  assertEquals(turns.length, 1);
  assertEquals(soak.totals.get("violations"), undefined);
});

Deno.test("a batch of simulations counts what it did", async () => {
  const part = simulations(new AbortController().signal);
  const heard: number[] = [];
  const { counts, violation } = await part.run(
    3,
    1,
    (counts) => heard.push(counts.get("simulated hours")!),
  );
  assertEquals(violation, undefined);
  assert(counts.get("simulated hours")! > 0.03);
  assert(counts.get("simulated operations")! > 0);
  assert([...counts.keys()].some((name) => name.startsWith("fault ")));
  assertEquals(heard.length, 1);
});
