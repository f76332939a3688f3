/**
 * The chart that ships, explored whole by xstate/graph: every state and every transition is taken,
 * nothing is unexpected that is not listed here, no state that must not be is reached, and the core
 * that hosts the chart is always where the chart says.
 *
 * @module
 */
import { assert, assertEquals, assertThrows } from "@std/assert";
import { type AnyStateMachine, createMachine, initialTransition } from "xstate";
import { activePaths, describeChart } from "../../machines/chart.ts";
import { guardTexts } from "../../machines/explain.ts";
import {
  RAFT_EFFECTS,
  type RaftEvent,
  raftMachine,
  type RaftSnapshot,
} from "../../machines/raft_machine.ts";
import { roleOf } from "../../machines/raft_step.ts";
import { step } from "../../machines/step.ts";
import { CoreDriver } from "./core_driver.ts";
import {
  type Edge,
  eventsAt,
  exploreEdges,
  explorePaths,
  INPUTS,
  namedTransitions,
  nameOf,
  takenBy,
} from "./exploration.ts";

const inputs = Object.values(INPUTS);
const edges = inputs.flatMap((input) => exploreEdges(raftMachine, { input }));

/** Events that end in failUnexpected, as "state event": nothing else may. */
const unexpected: readonly string[] = [
  // Election safety (s5.2): a second leader in this term. The node must stop.
  "role.leader AppendEntries",
  "role.leader InstallSnapshot",
];

interface Coverage {
  readonly states: ReadonlySet<string>;
  readonly transitions: ReadonlySet<string>;
}

function coverageOf(
  machine: AnyStateMachine,
  taken: readonly Edge<typeof raftMachine>[],
): Coverage {
  const states = new Set<string>();
  const transitions = new Set<string>();
  for (const edge of taken) {
    for (const path of activePaths(edge.from.value)) states.add(path);
    for (const name of takenBy(machine, edge)) transitions.add(name);
  }
  return { states, transitions };
}

/** Throws with the names of the states and transitions that were not taken. */
function assertCovered(machine: AnyStateMachine, coverage: Coverage): void {
  const missing = [
    ...describeChart(machine).states.map(({ path }) => path)
      .filter((path) => path !== "" && !coverage.states.has(path)),
    ...namedTransitions(machine).map(({ name }) => name)
      .filter((name) => !coverage.transitions.has(name)),
  ];
  assertEquals(missing, [], "never taken");
}

Deno.test("model: every state and every transition of the shipping chart is taken", () => {
  const coverage = coverageOf(raftMachine, edges);
  assertCovered(raftMachine, coverage);
  const chart = describeChart(raftMachine);
  const paths = inputs.flatMap((input) => explorePaths(raftMachine, { input }));
  const states = chart.states.length - 1;
  const transitions = chart.transitions.length;
  // Reports what was explored, for readers of the test run.
  // deno-lint-ignore no-console
  console.log(
    `states ${coverage.states.size}/${states}, ` +
      `transitions ${coverage.transitions.size}/${transitions}, paths ${paths.length}`,
  );
  assertEquals(coverage.states.size, states);
  assertEquals(coverage.transitions.size, transitions);
});

Deno.test("model: a planted transition that nothing takes fails the coverage, by name", () => {
  const { states, ...root } = raftMachine.config as unknown as {
    states: { role: { states: { follower: { on: Record<string, unknown> } } } };
  };
  const { follower, ...roles } = states.role.states;
  const planted = createMachine(
    {
      ...root,
      states: {
        ...states,
        role: {
          ...states.role,
          states: {
            follower: {
              ...follower,
              // A follower has no votes, so this is dead.
              on: { ...follower.on, QuorumLost: { guard: "hasMajority", target: "leader" } },
            },
            ...roles,
          },
        },
      },
    } as never,
    raftMachine.implementations as never,
  ) as unknown as typeof raftMachine;
  const taken = inputs.flatMap((input) => exploreEdges(planted, { input }));
  assertThrows(
    () => assertCovered(planted, coverageOf(planted, taken)),
    Error,
    "role.follower on QuorumLost #0",
  );
});

Deno.test("model: the coverage fails for every event type that is withheld", () => {
  const types = new Set(edges.map(({ event }) => event.type));
  for (const withheld of types) {
    const kept = edges.filter(({ event }) => event.type !== withheld);
    assertThrows(
      () => assertCovered(raftMachine, coverageOf(raftMachine, sampled(kept))),
      Error,
      withheld,
    );
  }
});

/** Edges enough to take all that the full list takes: one for each state value and event shape. */
function sampled(all: readonly Edge<typeof raftMachine>[]): Edge<typeof raftMachine>[] {
  const byShape = new Map<string, Edge<typeof raftMachine>>();
  for (const edge of all) {
    const { value } = edge.from;
    byShape.set(JSON.stringify([value, edge.event.type, edge.to.value]), edge);
  }
  return [...byShape.values()];
}

Deno.test("model: the events of the exploration are every type that the chart lists", () => {
  const listed = new Set(
    describeChart(raftMachine).transitions.map(({ event }) => event)
      .filter((event) => event !== "" && event !== "*"),
  );
  assertEquals(new Set(edges.map(({ event }) => event.type as string)), listed);
});

Deno.test("model: only a second leader of the same term is unexpected", () => {
  const found = new Set<string>();
  for (const edge of edges) {
    if (!takenBy(raftMachine, edge).includes(" on * #0")) continue;
    found.add(`role.${roleOf(edge.from)} ${edge.event.type}`);
  }
  assertEquals([...found], [...unexpected]);
});

Deno.test("model: AppendEntries to a leader of the same term stops the node", () => {
  const path = explorePaths(raftMachine, { input: INPUTS.voter }).find(({ state }) =>
    roleOf(state) === "leader"
  )!;
  const driver = new CoreDriver(INPUTS.voter);
  for (const event of path.events) driver.take(event);
  const event = eventsAt(path.state).find(({ type }) => type === "AppendEntries")!;
  assertThrows(() => driver.take(event), Error, "Cannot take event");
});

/** What holds in every reachable state; each sentence is a property of the chart alone. */
const invariants: Readonly<Record<string, (state: RaftSnapshot) => boolean>> = {
  "a leader knows itself as leader and voted for itself": ({ value, context }) =>
    !isLeading(value) ||
    (context.leaderId === context.id && context.votedFor === context.id),
  "only a leader is its own leader": ({ value, context }) =>
    isLeading(value) || context.leaderId !== context.id,
  "a candidate voted for itself and knows no leader": ({ value, context }) =>
    value.role !== "candidate" ||
    (context.votedFor === context.id && context.leaderId === undefined),
  "a pre-candidate knows no leader": ({ value, context }) =>
    value.role !== "preCandidate" || context.leaderId === undefined,
  "votes are held only by those who ask for them": ({ value, context }) =>
    value.role === "preCandidate" || value.role === "candidate" ||
    context.votesGranted.length === 0,
  "a stalled disk neither leads nor campaigns": ({ value }) =>
    value.disk !== "stalled" || value.role === "follower" || value.role === "removed" ||
    isRecovering(value),
  "who recovers has no votes, and leads nobody": ({ value, context }) =>
    !isRecovering(value) || (context.votesGranted.length === 0 && context.leaderId !== context.id),
  "who catches up has heard all other voters": ({ value, context }) =>
    !isRecovering(value) || (value.role as { recovering: string }).recovering === "asking" ||
    [...context.voters, ...context.outgoing]
      .every((id) =>
        id === context.id || context.votersHeard.includes(id) || value.members === "joint"
      ),
  "only who hands over has a transferee, another voter": ({ value, context }) => {
    const transfers = isLeading(value) &&
      (value.role as { leader: string }).leader === "transferring";
    const { transferee } = context;
    return transfers
      ? transferee !== undefined && transferee !== context.id && context.voters.includes(transferee)
      : transferee === undefined;
  },
  "a learner neither campaigns nor votes for itself": ({ value, context }) =>
    context.voters.includes(context.id) || context.outgoing.includes(context.id) ||
    value.role === "follower" || value.role === "removed" || isRecovering(value) ||
    // Until the configuration that demotes it is committed.
    isLeading(value),
  "the members are joint as long as voters leave": ({ value, context }) =>
    (value.members === "joint") === (context.outgoing.length > 0),
};

function isLeading({ role }: RaftSnapshot["value"]): boolean {
  return typeof role !== "string" && "leader" in role;
}

function isRecovering({ role }: RaftSnapshot["value"]): boolean {
  return typeof role !== "string" && "recovering" in role;
}

for (const [sentence, holds] of Object.entries(invariants)) {
  Deno.test(`model: in every reachable state, ${sentence}`, () => {
    for (const { to } of edges) assert(holds(to), nameOf(to));
  });
}

Deno.test("model: in every step, the term never falls, and a vote is changed only with the term", () => {
  for (const { from, event, to } of edges) {
    const text = `${nameOf(from)} ${JSON.stringify(event)} ${nameOf(to)}`;
    assert(to.context.currentTerm >= from.context.currentTerm, text);
    if (
      to.context.currentTerm === from.context.currentTerm && from.context.votedFor !== undefined
    ) {
      assertEquals(to.context.votedFor, from.context.votedFor, text);
    }
  }
});

Deno.test("model: a leader comes only out of a candidacy with a majority of the voters", () => {
  for (const { from, event, to } of edges) {
    if (roleOf(to) !== "leader" || roleOf(from) === "leader") continue;
    assertEquals(roleOf(from), "candidate");
    const votes = new Set(from.context.votesGranted);
    if (event.type === "VoteDurable") votes.add(from.context.id);
    else {
      assert(event.type === "RequestVoteReply" && event.granted);
      votes.add(event.from);
    }
    for (const half of [to.context.voters, to.context.outgoing]) {
      const granted = half.filter((voter) => votes.has(voter)).length;
      assert(half.length === 0 || granted > half.length / 2, nameOf(from));
    }
  }
});

for (const [name, input] of Object.entries(INPUTS)) {
  Deno.test(`model: on every path, a core is where the chart is at every step (${name})`, () => {
    const paths = explorePaths(raftMachine, { input });
    assert(paths.length > 50, `${paths.length} paths`);
    for (const { events } of paths) {
      const driver = new CoreDriver(input);
      let state = initialTransition(raftMachine, input)[0];
      for (const event of events) {
        driver.take(event);
        state = next(state, event);
        assertEquals(driver.core.snapshot.value, state.value, nameOf(state));
        assertEquals(driver.core.context, state.context, nameOf(state));
        assertEquals(driver.core.role, roleOf(state));
      }
    }
  });

  Deno.test(`model: a core takes every step that the chart offers, to the same place (${name})`, () => {
    for (const { state, events } of explorePaths(raftMachine, { input })) {
      for (const event of eventsAt(state)) {
        if (roleOf(state) === "leader" && isOfLeader(event)) continue;
        const driver = new CoreDriver(input);
        for (const earlier of events) driver.take(earlier);
        driver.take(event);
        const to = next(state, event);
        const text = `${nameOf(state)} ${event.type}`;
        assertEquals(driver.core.snapshot.value, to.value, text);
        assertEquals(driver.core.context, to.context, text);
      }
    }
  });
}

/** What only the leader of its term sends. */
function isOfLeader({ type }: RaftEvent): boolean {
  return type === "AppendEntries" || type === "InstallSnapshot";
}

function next(state: RaftSnapshot, event: RaftEvent): RaftSnapshot {
  return step(raftMachine, state, event).snapshot;
}

Deno.test("model: every effect that has a rule is asked for by the chart, and no other is", () => {
  const { states, transitions } = describeChart(raftMachine);
  const asked = new Set([
    ...states.flatMap(({ entry, exit }) => [...entry, ...exit]),
    ...transitions.flatMap(({ actions }) => actions),
  ]);
  const assigns = [
    "adoptMembers",
    "adoptTerm",
    "dropRemembered",
    "dropTransferee",
    "followLeader",
    "forfeitVote",
    "forgetLeader",
    "leadTerm",
    "nameTransferee",
    "preVoteForSelf",
    "recordHeard",
    "recordOwnVote",
    "recordVote",
    "voteForCandidate",
    "voteForSelf",
  ];
  assertEquals([...asked].sort(), [...RAFT_EFFECTS, ...assigns].sort());
  assertEquals(Object.keys(raftMachine.implementations.actions).sort(), [...asked].sort());
});

Deno.test("model: every guard has a sentence, and every sentence a guard", () => {
  const guards = Object.keys(raftMachine.implementations.guards).sort();
  assertEquals(Object.keys(guardTexts).sort(), guards);
  const used = new Set(describeChart(raftMachine).transitions.flatMap(({ guard }) => guard ?? []));
  for (const guard of used) assert(guards.includes(guard), `${guard} is not implemented`);
  // These are parts of mayCampaign.
  const parts = ["isVoter", "diskIsUsable", "hasRoom"];
  assertEquals(guards.filter((guard) => !used.has(guard)), parts.sort());
});
