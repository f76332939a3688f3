/**
 * The chart of a client's request, explored: where doubt comes from, and that it never gets lost.
 *
 * @module
 */
import { assert, assertEquals, assertThrows } from "@std/assert";
import { getAdjacencyMap } from "xstate/graph";
import {
  CLERK_PAUSE_MS_MAX,
  CLERK_PAUSE_MS_MIN,
  CLERK_ROUNDS_MAX,
  type ClerkEffect,
  clerkEnd,
  type ClerkEvent,
  clerkMachine,
  clerkPauseMs,
  type ClerkSnapshot,
  startClerk,
} from "../../machines/clerk_machine.ts";
import { ChartHost } from "../../machines/chart_host.ts";

const EVENTS: readonly ClerkEvent[] = [
  { type: "Answered" },
  { type: "Failed" },
  { type: "Lost" },
  { type: "PauseOver" },
  { type: "TimeUp" },
  { type: "Aborted" },
];
const INPUTS = [1, 2, 3].flatMap((endpoints) => [
  { endpoints, isWrite: false, mayRepeat: true },
  { endpoints, isWrite: true, mayRepeat: true },
  { endpoints, isWrite: true, mayRepeat: false },
]);

function stepClerk(
  snapshot: ClerkSnapshot,
  event: ClerkEvent,
): { readonly snapshot: ClerkSnapshot; readonly effects: readonly ClerkEffect[] } {
  const effects: ClerkEffect[] = [];
  const host = new ChartHost(clerkMachine, snapshot, {
    perform: (effect) => void effects.push(effect as ClerkEffect),
  });
  host.take(event);
  return { snapshot: host.snapshot, effects };
}

/** Plays events from the start; what the chart asks for, and where it is. */
function play(
  input: (typeof INPUTS)[number],
  ...types: readonly ClerkEvent["type"][]
): { readonly at: string; readonly effects: readonly ClerkEffect[] } {
  let snapshot = startClerk(input);
  const effects: ClerkEffect[] = [];
  for (const type of types) {
    const next = stepClerk(snapshot, { type });
    snapshot = next.snapshot;
    effects.push(...next.effects);
  }
  return { at: snapshot.value as string, effects };
}

Deno.test("clerk chart: every state is reached, and every one that is no end lists each event that can come", () => {
  const seen = new Set<string>();
  for (const input of INPUTS) {
    const map = getAdjacencyMap(clerkMachine, { events: [...EVENTS], input, limit: 10_000 });
    for (const { state } of Object.values(map)) {
      const at = state.value as string;
      seen.add(at);
      const takes = EVENTS.filter((event) => {
        try {
          stepClerk(state as ClerkSnapshot, event);
          return true;
        } catch {
          return false;
        }
      }).map(({ type }) => type);
      const expected = clerkEnd(state as ClerkSnapshot) !== undefined
        ? []
        : at.startsWith("asking")
        ? ["Answered", "Failed", "Lost", "TimeUp", "Aborted"]
        : ["PauseOver", "TimeUp", "Aborted"];
      assertEquals(takes, expected, at);
    }
  }
  assertEquals([...seen].sort(), Object.keys(clerkMachine.states).sort());
});

Deno.test("clerk chart: a write that may have had its effect never ends as if it surely had none", () => {
  for (const input of INPUTS.filter(({ isWrite }) => isWrite)) {
    // Every sequence of up to six events, with the doubt that it leaves counted beside the chart.
    const walk = (snapshot: ClerkSnapshot, inDoubt: boolean, left: number): void => {
      const end = clerkEnd(snapshot);
      if (end !== undefined) {
        const isSure = end === "unavailable" || end === "aborted";
        assert(!(isSure && inDoubt), `${end} in doubt`);
        return;
      }
      if (left === 0) return;
      const at = snapshot.value as string;
      for (const event of EVENTS) {
        let next: ClerkSnapshot;
        try {
          next = stepClerk(snapshot, event).snapshot;
        } catch {
          continue;
        }
        const isCutOff = at.startsWith("asking") && ["TimeUp", "Aborted"].includes(event.type);
        walk(next, inDoubt || event.type === "Lost" || isCutOff, left - 1);
      }
    };
    walk(startClerk(input), false, 6);
  }
});

Deno.test("clerk chart: all endpoints are asked in a round, then it pauses, and doubt is carried on", () => {
  const write = { endpoints: 2, isWrite: true, mayRepeat: true };
  assertEquals(play(write, "Failed"), { at: "asking", effects: ["askNext"] });
  assertEquals(play(write, "Failed", "Failed"), {
    at: "pausing",
    effects: ["askNext", "armPause"],
  });
  assertEquals(play(write, "Failed", "Failed", "PauseOver").effects.slice(2), [
    "clearPause",
    "askNext",
  ]);
  assertEquals(play(write, "Lost").at, "askingInDoubt");
  assertEquals(play(write, "Failed", "Lost").at, "pausingInDoubt");
  assertEquals(play(write, "Lost", "Failed", "PauseOver", "Failed", "Failed").at, "pausingInDoubt");
  assertEquals(play(write, "Lost", "Answered").at, "answered");
  assertEquals(play(write, "Lost", "TimeUp"), {
    at: "unknown",
    effects: ["askNext", "cancelAttempt"],
  });
  assertEquals(play({ ...write, mayRepeat: false }, "Lost"), { at: "unknown", effects: [] });
  assertEquals(play({ ...write, isWrite: false }, "TimeUp").at, "unavailable");
  assertThrows(() => play(write, "Answered", "Answered"), Error, "does not list Answered");
});

Deno.test("clerk chart: pauses double up to CLERK_PAUSE_MS_MAX, less a random half", () => {
  const longest = Array.from({ length: CLERK_ROUNDS_MAX }, (_, at) => clerkPauseMs(at + 1, 0));
  assertEquals(longest[0], CLERK_PAUSE_MS_MIN);
  assertEquals(longest.at(-1), CLERK_PAUSE_MS_MAX);
  assert(
    longest.every((ms, at) =>
      at === 0 || ms === Math.min(CLERK_PAUSE_MS_MAX, 2 * longest[at - 1]!)
    ),
  );
  assertEquals(clerkPauseMs(1, 0.5), 0.75 * CLERK_PAUSE_MS_MIN);
});
