/**
 * The peer chart, explored: every state and every transition is reached, and nothing else happens.
 *
 * @module
 */
import { assert, assertEquals, assertThrows } from "@std/assert";
import { getAdjacencyMap } from "xstate/graph";
import {
  BACK_OFF_MS_MAX,
  BACK_OFF_MS_MIN,
  backOffMs,
  FAILURES_MAX,
  type PeerEffect,
  type PeerEvent,
  peerMachine,
  type PeerSnapshot,
  startPeer,
} from "../../machines/peer_machine.ts";
import { ChartHost } from "../../machines/chart_host.ts";

const EVENTS: readonly PeerEvent[] = [
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

type StateNode = typeof peerMachine.root;

function walk(node: StateNode): StateNode[] {
  return [node, ...Object.values(node.states).flatMap((child) => walk(child as StateNode))];
}

function explore(dials: boolean): PeerSnapshot[] {
  const map = getAdjacencyMap(peerMachine, {
    events: [...EVENTS],
    input: { dials },
    limit: 10_000,
  });
  return Object.values(map).map(({ state }) => state);
}

/** Each transition the step takes, as "source event index", by the machine's own candidates. */
function taken(snapshot: PeerSnapshot, event: PeerEvent): string[] {
  return peerMachine.getTransitionData(snapshot, event)
    .map((transition) => key(transition.source, transition));
}

function key(
  source: { readonly id: string },
  transition: { readonly eventType: string; readonly target?: unknown; readonly guard?: unknown },
): string {
  const target = transition.target as readonly { readonly id: string }[] | undefined;
  return [source.id, transition.eventType, JSON.stringify(transition.guard ?? ""), target?.[0]?.id]
    .join(" ");
}

function legal(snapshot: PeerSnapshot, event: PeerEvent): boolean {
  return !taken(snapshot, event).some((name) => name.startsWith("peer * "));
}

/** One step, as a host of the chart sees it. */
function stepPeer(
  snapshot: PeerSnapshot,
  event: PeerEvent,
): { readonly snapshot: PeerSnapshot; readonly effects: readonly PeerEffect[] } {
  const effects: PeerEffect[] = [];
  const host = new ChartHost(peerMachine, snapshot, {
    perform: (effect) => void effects.push(effect as PeerEffect),
  });
  host.take(event);
  return { snapshot: host.snapshot, effects };
}

/** The snapshots that legal events lead to, and the transitions taken on the way. */
function exploreLegal(
  dials: boolean,
): { states: Map<string, PeerSnapshot>; transitions: Set<string> } {
  const first = startPeer({ dials });
  const states = new Map([[JSON.stringify([first.value, first.context]), first]]);
  const transitions = new Set<string>();
  for (const snapshot of states.values()) {
    for (const event of EVENTS) {
      if (!legal(snapshot, event)) {
        assertThrows(() => stepPeer(snapshot, event), Error, "does not list");
        continue;
      }
      for (const name of taken(snapshot, event)) transitions.add(name);
      const next = stepPeer(snapshot, event).snapshot;
      states.set(JSON.stringify([next.value, next.context]), next);
    }
  }
  return { states, transitions };
}

Deno.test("peer chart: every state and every transition is covered", () => {
  const reached = [exploreLegal(true), exploreLegal(false)];
  const nodes = new Set(
    reached.flatMap(({ states }) =>
      [...states.values()].flatMap((snapshot) => snapshot._nodes.map((node) => node.id))
    ),
  );
  const taken = new Set(reached.flatMap(({ transitions }) => [...transitions]));
  for (const node of walk(peerMachine.root)) {
    assert(nodes.has(node.id), `state ${node.id} is never reached`);
    for (const transitions of node.transitions.values()) {
      for (const transition of transitions) {
        if (transition.eventType === "*") continue;
        const name = key(node, transition);
        assert(taken.has(name), `transition ${name} is never taken`);
      }
    }
  }
});

Deno.test("peer chart: xstate/graph reaches the same states, and they are few", () => {
  for (const dials of [true, false]) {
    const byGraph = new Set(
      explore(dials).map(({ value, context }) => JSON.stringify([value, context])),
    );
    assertEquals(byGraph, new Set(exploreLegal(dials).states.keys()));
    assert(byGraph.size < 100, `${byGraph.size} states`);
  }
});

Deno.test("peer chart: an announcement of a link is always followed by its loss before the next", () => {
  for (const dials of [true, false]) {
    for (const snapshot of exploreLegal(dials).states.values()) {
      for (const event of EVENTS.filter((candidate) => legal(snapshot, candidate))) {
        const { snapshot: next, effects } = stepPeer(snapshot, event);
        let up = snapshot.matches("connected");
        for (const effect of effects) {
          if (effect === "announceUp") {
            assert(!up, `${JSON.stringify(snapshot.value)} ${event.type} announces up twice`);
            up = true;
          } else if (effect === "announceLost") {
            assert(up, `${JSON.stringify(snapshot.value)} ${event.type} loses what is not up`);
            up = false;
          }
        }
        assertEquals(up, next.matches("connected"));
      }
    }
  }
});

Deno.test("peer chart: a state that waits for time has one timer, any other has none", () => {
  for (const dials of [true, false]) {
    const timers = new Map<string, boolean>();
    const armed = (before: boolean, effects: readonly PeerEffect[]): boolean =>
      effects.reduce(
        (on, effect) => effect === "clearTimer" ? false : effect.startsWith("arm") || on,
        before,
      );
    const first = startPeer({ dials });
    const queue: [PeerSnapshot, boolean][] = [[first, false]];
    for (const [snapshot, before] of queue) {
      const name = JSON.stringify([snapshot.value, snapshot.context]);
      if (timers.has(name)) {
        assertEquals(timers.get(name), before, `timer of ${name}`);
        continue;
      }
      timers.set(name, before);
      const timed = ["connecting", "greeting", "backingOff", "refused", "connected"] as const;
      assertEquals(before, timed.some((state) => snapshot.matches(state)), name);
      for (const event of EVENTS.filter((candidate) => legal(snapshot, candidate))) {
        const step = stepPeer(snapshot, event);
        queue.push([step.snapshot, armed(before, step.effects)]);
      }
    }
  }
});

Deno.test("peer chart: snapshots are plain JSON", () => {
  for (const snapshot of explore(true)) {
    assertEquals(typeof JSON.stringify(peerMachine.getPersistedSnapshot(snapshot)), "string");
  }
});

Deno.test("backOffMs doubles to its bound and takes off at most half", () => {
  assertEquals(backOffMs(1, 0), BACK_OFF_MS_MIN);
  assertEquals(backOffMs(2, 0), 2 * BACK_OFF_MS_MIN);
  assertEquals(backOffMs(FAILURES_MAX, 0) <= BACK_OFF_MS_MAX, true);
  assertEquals(backOffMs(50, 0), BACK_OFF_MS_MAX);
  assertEquals(backOffMs(50, 0.5), BACK_OFF_MS_MAX * 0.75);
  assert(backOffMs(1, 0.999) > BACK_OFF_MS_MIN / 2);
});
