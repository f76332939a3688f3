/**
 * step.ts against XState's exported `transition()`: the same next state and the same effects in the
 * same order, on every edge of the charts. The pinned version may be raised when this passes.
 *
 * @module
 */
import { assert, assertEquals, assertStrictEquals, assertThrows } from "@std/assert";
import { assign, type EventFrom, initialTransition, setup, transition } from "xstate";
import { getAdjacencyMap } from "xstate/graph";
import { type ClerkEvent, clerkMachine } from "../../machines/clerk_machine.ts";
import { type PeerEvent, peerMachine } from "../../machines/peer_machine.ts";
import { raftMachine } from "../../machines/raft_machine.ts";
import { step } from "../../machines/step.ts";
import { exploreEdges, INPUTS, nameOf } from "./exploration.ts";

Deno.test("step: what is remembered of a step is what it does again, on every edge of the client's chart", () => {
  const events: ClerkEvent[] = [
    ...[{ type: "Answered" }, { type: "Failed" }, { type: "Lost" }] as const,
    ...[{ type: "PauseOver" }, { type: "TimeUp" }, { type: "Aborted" }] as const,
  ];
  for (const [isWrite, mayRepeat] of [[true, true], [true, false], [false, true]] as const) {
    const input = { endpoints: 2, isWrite, mayRepeat };
    const map = getAdjacencyMap(clerkMachine, { events, input, limit: 10_000 });
    for (const { state } of Object.values(map)) {
      for (const event of events) {
        const [expected, actions] = transition(clerkMachine, state, event);
        for (let time = 0; time < 3; time++) {
          const { snapshot, effects } = step(clerkMachine, state, event);
          assertEquals([snapshot.value, snapshot.context], [expected.value, expected.context]);
          assertEquals(effects.map((effect) => effect.name), actions.map(({ type }) => type));
        }
      }
    }
  }
});

Deno.test("step: what a guard or an assignment takes from an event is not remembered", () => {
  const picky = setup({
    types: {} as { context: { readonly last: number }; events: { type: "Go"; to: number } },
  }).createMachine({
    id: "picky",
    context: { last: 0 },
    initial: "here",
    states: {
      here: {
        on: {
          Go: [
            { guard: ({ event }) => event.to > 1, target: "far" },
            { guard: ({ event }) => event.to === 1, target: "near" },
          ],
        },
      },
      near: { on: { Go: { target: "far", actions: assign({ last: ({ event }) => event.to }) } } },
      far: { on: { Go: "here" } },
    },
  });
  const [start] = initialTransition(picky);
  for (const [to, place] of [[2, "far"], [1, "near"], [0, "here"], [2, "far"]] as const) {
    assertEquals(step(picky, start, { type: "Go", to }).snapshot.value, place);
  }
  const { snapshot: near } = step(picky, start, { type: "Go", to: 1 });
  for (const to of [5, 7]) {
    assertEquals(step(picky, near, { type: "Go", to }).snapshot.context, { last: to });
  }
  const { snapshot: far } = step(picky, start, { type: "Go", to: 2 });
  const again = step(picky, far, { type: "Go", to: 3 }).snapshot;
  assertEquals(again.value, "here");
  assertStrictEquals(step(picky, far, { type: "Go", to: 4 }).snapshot, again);
});

for (const [name, input] of Object.entries(INPUTS)) {
  Deno.test(`step: equals transition() on every edge of the Raft chart (${name})`, () => {
    const edges = exploreEdges(raftMachine, { input });
    assert(edges.length > 4_000, `${edges.length} edges`);
    for (const { from, event } of edges) {
      const [expected, actions] = transition(raftMachine, from, event);
      const { snapshot, effects } = step(raftMachine, from, event);
      // Said here and not by the assertion, whose text is costly to make.
      if (nameOf(snapshot) !== nameOf(expected)) {
        assertEquals(nameOf(snapshot), nameOf(expected), `${nameOf(from)} ${event.type}`);
      }
      assertStrictEquals(snapshot.status, expected.status);
      assertEquals(effects.map((effect) => effect.name), actions.map(({ type }) => type));
    }
  });
}

Deno.test("step: equals transition() on every edge of the peer chart", () => {
  const events: PeerEvent[] = [
    { type: "Start" },
    { type: "Stop" },
    { type: "Opened" },
    { type: "Closed" },
    { type: "Welcomed" },
    { type: "Refused", reason: "wrong-cluster" },
    { type: "Accepted" },
    { type: "Idle" },
    { type: "Heard" },
    { type: "TimedOut" },
  ];
  for (const dials of [true, false]) {
    const map = getAdjacencyMap(peerMachine, { events, input: { dials }, limit: 10_000 });
    for (const { state } of Object.values(map)) {
      for (const event of events) {
        const [expected, actions] = transition(peerMachine, state, event);
        const { snapshot, effects } = step(peerMachine, state, event);
        assertEquals([snapshot.value, snapshot.context], [expected.value, expected.context]);
        assertEquals(effects.map(({ name }) => name), actions.map(({ type }) => type));
      }
    }
  }
});

Deno.test("step: an effect comes with the context at the point where the chart asked for it", () => {
  const [follower] = initialTransition(raftMachine, INPUTS.voter);
  const timedOut = step(raftMachine, follower, { type: "ElectionTimeout" }).snapshot;
  const yes = { type: "PreVoteReply", group: 0, term: 2, granted: true } as const;
  const asked = step(raftMachine, timedOut, { ...yes, from: 1 }).snapshot;
  const { snapshot, effects } = step(raftMachine, asked, { ...yes, from: 2 });
  assertEquals(snapshot.value.role, "candidate");
  assertEquals(effects.map(({ name, context }) => [name, context.currentTerm, context.votedFor]), [
    ["dropReads", 2, 1],
    ["requestVotes", 2, 1],
  ]);
});

Deno.test("step: the snapshot that it is given stays as it is", () => {
  const [follower] = initialTransition(raftMachine, INPUTS.voter);
  const before = nameOf(follower);
  step(raftMachine, follower, { type: "HigherTerm", term: 7 });
  assertEquals(nameOf(follower), before);
});

const endless = setup({ types: {} as { events: { type: "Go" } } }).createMachine({
  id: "endless",
  initial: "idle",
  states: {
    idle: { on: { Go: "left" } },
    left: { always: "right" },
    right: { always: "left" },
  },
  options: { maxIterations: 100 },
});

Deno.test("step: a chart whose eventless transitions never end is an error, by maxIterations", () => {
  const [idle] = initialTransition(endless);
  assertThrows(() => step(endless, idle, { type: "Go" }), Error, "Infinite loop");
});

Deno.test("step: the Raft chart sets maxIterations", () => {
  assertEquals(raftMachine.options.maxIterations, 100);
});

const failing = setup({
  types: {} as { context: { count: number }; events: { type: "Guarded" } | { type: "Assigned" } },
  guards: {
    broken: () => {
      throw new Error("a guard is broken");
    },
  },
  actions: {
    brokenAssign: assign(() => {
      throw new Error("an assign is broken");
    }),
  },
}).createMachine({
  id: "failing",
  context: { count: 0 },
  on: { Guarded: { guard: "broken", actions: [] }, Assigned: { actions: "brokenAssign" } },
});

for (
  const [type, message] of [
    ["Guarded", "a guard is broken"],
    ["Assigned", "an assign is broken"],
  ] as const
) {
  Deno.test(`step: what a chart throws reaches the caller (${type})`, () => {
    const [first] = initialTransition(failing);
    const event: EventFrom<typeof failing> = { type };
    assertThrows(() => step(failing, first, event), Error, message);
    // The next step does not see what the failed one had collected.
    const [idle] = initialTransition(endless);
    assertEquals(step(endless, idle, { type: "xstate.none" } as never).effects, []);
  });
}
