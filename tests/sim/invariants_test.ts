import { assert, assertEquals } from "@std/assert";
import { Liveness } from "./invariants/inv10_liveness.ts";
import { ElectionSafety } from "./invariants/inv1_election_safety.ts";
import { LogMatching } from "./invariants/inv2_log_matching.ts";
import { LeaderCompleteness } from "./invariants/inv3_leader_completeness.ts";
import { StateMachineSafety } from "./invariants/inv4_state_machine_safety.ts";
import { CommittedIsDurable } from "./invariants/inv5_committed_is_durable.ts";
import { Monotone } from "./invariants/inv6_monotone.ts";
import { NoLostWrite } from "./invariants/inv7_no_lost_write.ts";
import { FreshReads } from "./invariants/inv12_fresh_reads.ts";
import { WholeWatches } from "./invariants/inv14_whole_watches.ts";
import { HonestAcceptance } from "./invariants/inv11_honest_acceptance.ts";
import { ExactlyOnce } from "./invariants/inv8_exactly_once.ts";
import type { AcceptanceObserved, Invariant, Observation } from "./observation.ts";

const group = 0;
const termAt = (terms: readonly number[]) => (index: number) => terms[index - 1];

const leader = (node: number, term: number, terms: readonly number[] = []): Observation => ({
  type: "leader",
  node,
  group,
  term,
  lastIndex: terms.length,
  termAt: termAt(terms),
});
const append = (node: number, index: number, term: number, prevTerm: number, checksum: number) =>
  ({ type: "append", node, group, index, term, prevTerm, checksum }) as Observation;
const changed = (revision: number, keys = "+k"): Observation => (
  { type: "changes", group: 0, revision, keys }
);
const watcher = "w";
const begins = (from: number): Observation => ({ type: "watchBegins", watcher, from });
const watched = (revision: number, keys = "+k"): Observation => (
  { type: "watched", watcher, group: 0, revision, keys }
);
const commit = (node: number, index: number, term: number, durableOn: number[]): Observation => ({
  type: "commit",
  node,
  group,
  index,
  term,
  checksum: 0,
  durableOn,
  configs: [[[1, 2, 3]]],
});
const apply = (node: number, index: number, checksum: number, once?: string): Observation => ({
  type: "apply",
  node,
  group,
  index,
  checksum,
  effects: once === undefined ? [] : [once],
});
const store = (node: number, index: number, stateHash: string): Observation => ({
  type: "store",
  node,
  group,
  index,
  stateHash,
});
const state = (life: number, term: number, commitIndex: number): Observation => ({
  type: "state",
  node: 1,
  group,
  life,
  role: "follower",
  term,
  votedFor: undefined,
  commitIndex,
});
const recovery = (
  term: number,
  terms: number[],
  index: number,
  entryTerm: number,
): Observation => ({
  type: "recovery",
  node: 1,
  group,
  term,
  lastIndex: terms.length,
  termAt: termAt(terms),
  promised: { index, entryTerm, term: 3 },
});
const end = (overrides: Partial<Extract<Observation, { type: "end" }>>): Observation => ({
  type: "end",
  group,
  nodes: [{ node: 1, applied: 9, stateHash: "a" }, { node: 2, applied: 9, stateHash: "a" }],
  leaders: [1],
  unanswered: 0,
  ...overrides,
});

/** For each invariant: what it must let pass, and planted violations, each caught by its last fact. */
const acceptance = (more: Partial<AcceptanceObserved>): Observation => ({
  type: "acceptance",
  node: 2,
  group,
  leader: 1,
  matchIndex: 4,
  durableIndex: 4,
  ownTerm: 2,
  leaderTerm: 2,
  ...more,
});
const read = (committed: number, applied: number): Observation => ({
  type: "read",
  node: 1,
  group,
  committed,
  applied,
});

const cases: readonly {
  readonly create: () => Invariant;
  readonly sound: readonly Observation[];
  readonly broken: readonly (readonly Observation[])[];
}[] = [
  {
    create: () => new ElectionSafety(),
    sound: [leader(1, 1), leader(2, 2), leader(2, 2)],
    broken: [[leader(1, 1), leader(2, 1)]],
  },
  {
    create: () => new LogMatching(),
    sound: [append(1, 1, 1, 0, 7), append(2, 1, 1, 0, 7), append(2, 1, 2, 0, 8)],
    broken: [
      [append(1, 1, 1, 0, 7), append(2, 1, 1, 0, 8)],
      [append(1, 2, 2, 1, 7), append(2, 2, 2, 2, 7)],
    ],
  },
  {
    create: () => new LeaderCompleteness(),
    sound: [commit(1, 2, 1, [1, 2]), leader(2, 2, [1, 1])],
    broken: [
      [commit(1, 2, 1, [1, 2]), leader(2, 2, [1])],
      [commit(1, 2, 1, [1, 2]), leader(2, 3, [1, 2])],
    ],
  },
  {
    create: () => new StateMachineSafety(),
    sound: [apply(1, 1, 7), apply(2, 1, 7), store(1, 1, "a"), store(2, 1, "a")],
    broken: [[apply(1, 1, 7), apply(2, 1, 8)], [store(1, 1, "a"), store(2, 1, "b")]],
  },
  {
    create: () => new CommittedIsDurable(),
    sound: [commit(1, 1, 1, [1, 2]), commit(2, 1, 1, []), recovery(3, [1, 3], 2, 3)],
    broken: [
      [commit(1, 1, 1, [1])],
      [recovery(2, [1, 3], 2, 3)],
      [recovery(3, [1], 2, 3)],
      [recovery(3, [1, 2], 2, 3)],
    ],
  },
  {
    create: () => new Monotone(),
    sound: [
      state(1, 2, 5),
      state(1, 2, 6),
      state(2, 2, 0),
      { type: "vote", node: 1, group, term: 2, candidate: 3, generation: 0 },
      { type: "vote", node: 1, group, term: 2, candidate: 3, generation: 0 },
    ],
    broken: [
      [state(1, 2, 5), state(1, 1, 5)],
      [state(1, 2, 5), state(1, 2, 4)],
      [
        { type: "vote", node: 1, group, term: 2, candidate: 3, generation: 0 },
        { type: "vote", node: 1, group, term: 2, candidate: 2, generation: 0 },
      ],
    ],
  },
  {
    create: () => new NoLostWrite(),
    sound: [apply(1, 4, 7, "c#1"), { type: "ack", group, once: "c#1" }, end({})],
    broken: [
      [{ type: "ack", group, once: "c#1" }],
      [apply(1, 10, 7, "c#1"), { type: "ack", group, once: "c#1" }, end({})],
    ],
  },
  {
    create: () => new ExactlyOnce(),
    sound: [apply(1, 4, 7, "c#1"), apply(2, 4, 7, "c#1"), apply(1, 5, 7, "c#2")],
    broken: [[apply(1, 4, 7, "c#1"), apply(2, 5, 8, "c#1")]],
  },
  {
    create: () => new Liveness(),
    sound: [end({})],
    broken: [
      [end({ leaders: [] })],
      [end({ leaders: [1, 2] })],
      [end({ unanswered: 1 })],
      [end({
        nodes: [{ node: 1, applied: 9, stateHash: "a" }, { node: 2, applied: 8, stateHash: "a" }],
      })],
      [end({
        nodes: [{ node: 1, applied: 9, stateHash: "a" }, { node: 2, applied: 9, stateHash: "b" }],
      })],
    ],
  },
  {
    create: () => new HonestAcceptance(),
    sound: [acceptance({}), acceptance({ matchIndex: 0, ownTerm: 0, leaderTerm: 0 })],
    broken: [
      [acceptance({ durableIndex: 3 })],
      [acceptance({ ownTerm: 1 })],
      [acceptance({ leaderTerm: undefined })],
    ],
  },
  {
    create: () => new FreshReads(),
    sound: [read(4, 4), read(0, 7)],
    broken: [[read(5, 4)]],
  },
  {
    create: () => new WholeWatches(),
    sound: [changed(1), changed(2), begins(1), watched(1), watched(2), begins(9)],
    broken: [
      [changed(1), begins(1), watched(1), watched(1)],
      [changed(1), changed(2), begins(1), watched(2)],
      [changed(1), changed(2), begins(2), watched(1)],
      [changed(1), begins(1), watched(1, "+k +l")],
      [begins(1), watched(1)],
    ],
  },
];

for (const { create, sound, broken } of cases) {
  const { name } = create();
  Deno.test("INV5: a committed entry must be durable in each half of a configuration that was in force", () => {
    const joint = [[1, 4, 5], [1, 2, 3]];
    const of = (durableOn: number[], ...configs: number[][][]): string | undefined =>
      new CommittedIsDurable().observe({ ...commit(1, 1, 1, durableOn), configs } as Observation);
    assertEquals(of([1, 2, 4], joint), undefined);
    assert(of([1, 4, 5], joint) !== undefined, "the half before the change is ignored");
    assert(of([1, 2, 3], joint) !== undefined, "the half after the change is ignored");
    assertEquals(of([1, 4, 5], joint, [[1, 4, 5]]), undefined);
    assert(of([4, 6, 7], joint, [[1, 4, 5]]) !== undefined, "others count");
  });

  Deno.test(`${name}: lets sound facts pass and finds every planted violation`, () => {
    const invariant = create();
    for (const fact of sound) assertEquals(invariant.observe(fact), undefined);
    for (const facts of broken) {
      const planted = create();
      for (const fact of facts.slice(0, -1)) assertEquals(planted.observe(fact), undefined);
      assert(planted.observe(facts.at(-1)!) !== undefined, Deno.inspect(facts));
    }
  });
}
