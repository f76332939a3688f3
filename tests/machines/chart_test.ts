/**
 * The chart as values, as Mermaid text and as sentences, and the document that shows it.
 *
 * @module
 */
import { assert, assertEquals, assertMatch, assertStringIncludes, assertThrows } from "@std/assert";
import { createMachine, setup } from "xstate";
import { activePaths, chartToMermaid, describeChart } from "../../machines/chart.ts";
import { chartDocument, charts } from "../../machines/chart_document.ts";
import {
  explain,
  type Explanation,
  explanationToText,
  guardTexts,
  type LinkFact,
  type Surroundings,
} from "../../machines/explain.ts";
import { raftMachine } from "../../machines/raft_machine.ts";
import { CoreCluster } from "./core_cluster.ts";
import { SoloCore } from "./solo_core.ts";

const lamp = setup({
  types: {} as { events: { type: "Press" } | { type: "Break" } | { type: "Ignore" } },
  actions: { shine: () => {}, count: () => {}, note: () => {} },
  guards: { hasPower: () => true },
}).createMachine({
  id: "lamp",
  initial: "off",
  on: { Break: { target: ".broken", actions: "note" } },
  states: {
    off: {
      on: {
        Press: [
          { guard: "hasPower", target: "on", actions: "count" },
          { description: "No power, no light" },
        ],
      },
    },
    on: {
      entry: "shine",
      initial: "dim",
      states: {
        dim: { on: { Press: "bright" } },
        bright: { always: { guard: "hasPower", target: "dim" } },
      },
      on: { Ignore: { actions: "note" } },
    },
    broken: { type: "final" },
  },
});

Deno.test("describeChart: states with entry and default, transitions in the order in which they are tried", () => {
  const { id, states, transitions } = describeChart(lamp);
  assertEquals(id, "lamp");
  assertEquals(states, [
    { path: "", type: "compound", initial: "off", entry: [], exit: [] },
    { path: "off", type: "atomic", entry: [], exit: [] },
    { path: "on", type: "compound", initial: "on.dim", entry: ["shine"], exit: [] },
    { path: "on.dim", type: "atomic", entry: [], exit: [] },
    { path: "on.bright", type: "atomic", entry: [], exit: [] },
    { path: "broken", type: "final", entry: [], exit: [] },
  ]);
  assertEquals(transitions, [
    { from: "", event: "Break", target: "broken", actions: ["note"] },
    { from: "off", event: "Press", guard: "hasPower", target: "on", actions: ["count"] },
    { from: "off", event: "Press", actions: [], description: "No power, no light" },
    { from: "on", event: "Ignore", actions: ["note"] },
    { from: "on.dim", event: "Press", target: "on.bright", actions: [] },
    { from: "on.bright", event: "", guard: "hasPower", target: "on.dim", actions: [] },
  ]);
});

Deno.test("chartToMermaid: nested states, arrows with event, guard and effects, reactions, the active state", () => {
  assertEquals(
    chartToMermaid(describeChart(lamp), ["on", "on.dim"]),
    `stateDiagram-v2
  [*] --> off
  state "off" as off
  state "on" as on {
    [*] --> on_dim
    state "dim" as on_dim
    state "bright" as on_bright
    on_dim --> on_bright : Press
    on_bright --> on_dim : [hasPower]
  }
  note right of on
    entry / shine
    Ignore / note
  end note
  state "broken" as broken
  off --> broken : Break / note
  on --> broken : Break / note
  broken --> broken : Break / note
  off --> on : Press [hasPower] / count
  classDef active fill:#2f6f4f,color:#fff
  class on_dim active
`,
  );
});

Deno.test("chartToMermaid: an arrow that leaves its parent is drawn around both ends", () => {
  const door = createMachine({
    id: "door",
    initial: "open",
    states: {
      open: { initial: "wide", states: { wide: { on: { Slam: "#shut" } } } },
      shut: { id: "shut" },
    },
  });
  assertEquals(
    chartToMermaid(describeChart(door)),
    `stateDiagram-v2
  [*] --> open
  state "open" as open {
    [*] --> open_wide
    state "wide" as open_wide
  }
  state "shut" as shut
  open_wide --> shut : Slam
`,
  );
});

Deno.test("activePaths: parents before children, through parallel regions", () => {
  assertEquals(activePaths("off"), ["off"]);
  assertEquals(activePaths({ role: { leader: "serving" }, disk: "slow" }), [
    "role",
    "role.leader",
    "role.leader.serving",
    "disk",
    "disk.slow",
  ]);
});

Deno.test("describeChart: every action and guard of the Raft chart has a name", () => {
  const { states, transitions } = describeChart(raftMachine);
  const names = [
    ...states.flatMap(({ entry, exit }) => [...entry, ...exit]),
    ...transitions.flatMap((
      { actions, guard },
    ) => [...actions, ...guard === undefined ? [] : [guard]]),
  ];
  for (const name of names) assertMatch(name, /^[a-z][A-Za-z]+$/);
});

Deno.test("describeChart: every transition of the Raft chart that does nothing says why", () => {
  for (
    const { from, event, target, actions, description } of describeChart(raftMachine).transitions
  ) {
    if (target !== undefined || actions.length > 0) continue;
    assert(description !== undefined, `${from} ${event}`);
  }
});

Deno.test("chartToMermaid: every state of every chart of a node is drawn", () => {
  for (const machine of Object.values(charts)) {
    const chart = describeChart(machine);
    const text = chartToMermaid(chart);
    for (const { path } of chart.states) {
      if (path !== "") assertStringIncludes(text, ` as ${path.replaceAll(".", "_")}`);
    }
  }
});

Deno.test("chartDocument: fills each chart's place, leaves all else, and changes nothing twice", () => {
  const place = (id: string, inner: string): string =>
    `<!-- chart:${id} -->\n${inner}<!-- /chart:${id} -->`;
  const rest = `${place("peer", "")}\n${place("clerk", "")}`;
  const document = `# Before\n${place("raft", "stale\n")}\nbetween\n${rest}\nafter\n`;
  const filled = chartDocument(document);
  for (const machine of Object.values(charts)) {
    assertStringIncludes(filled, chartToMermaid(describeChart(machine)));
  }
  assert(!filled.includes("stale"));
  assertMatch(filled, /^# Before\n[\s\S]*\nbetween\n[\s\S]*\nafter\n$/);
  assertEquals(chartDocument(filled), filled);
});

Deno.test("chartDocument: a document without a place for a chart is an error", () => {
  assertThrows(
    () => chartDocument("<!-- chart:raft -->\n<!-- /chart:raft -->\n"),
    Error,
    "no place for chart peer",
  );
});

// What an operator reads.

/** A node without peers that has just started. */
const ALONE: Surroundings = { links: [], lastLeader: undefined, upForMs: 0 };

const explained = (solo: SoloCore, surroundings: Partial<Surroundings> = {}): Explanation =>
  explain(solo.core.snapshot, solo.core.state, { ...ALONE, ...surroundings });

const sentencesOf = (solo: SoloCore): string[] =>
  explained(solo).possibilities.map(({ sentence }) => sentence);

Deno.test("explain: a follower says whom it follows and when it would seek election", () => {
  const solo = new SoloCore({ terms: [1] });
  const alone = explained(solo);
  assertEquals(
    alone.summary,
    "Follower without a leader in term 1; it seeks election in 450 ms unless a leader is heard",
  );
  assertEquals(alone.states, [
    ...["members", "members.stable", "role", "role.follower", "disk", "disk.healthy"],
    ...["space", "space.enough", "snapshot", "snapshot.none"],
  ]);
  solo.receive(solo.append());
  assertMatch(
    explained(solo).summary,
    /^Follower of node 2 in term 1; it seeks election if nothing is heard for 450 ms more$/,
  );
});

Deno.test("explain: a pre-candidate and a candidate say how many votes they have, and who is silent", () => {
  const solo = new SoloCore({ voters: [1, 2, 3, 4, 5] });
  solo.timeout();
  assertMatch(
    explained(solo).summary,
    /^PreCandidate: no leader is heard; 1 of 5 voters would elect this node in term 1, 3 are needed$/,
  );
  solo.persist(solo.campaign());
  solo.receive(solo.vote({ from: 4 }));
  assertMatch(
    explained(solo).summary,
    /^Candidate in term 1: 2 of 5 votes, 3 are needed$/,
  );
  assert(
    sentencesOf(solo).includes(
      "2 of 5 voters said yes (1, 4), 3 are needed; silent or unwilling: 2, 3, 5",
    ),
  );
});

Deno.test("explain: a leader says how many answer, and to whom it hands over", () => {
  const solo = new SoloCore();
  solo.persist(solo.lead());
  assertMatch(explained(solo).summary, /^Leader of term 1: 3 of 3/);
  solo.nowMs += 599;
  solo.receive(solo.reply({ from: 2, matchIndex: 1 }));
  solo.nowMs += 1;
  solo.turn((core) => core.transfer(2));
  assertEquals(
    explained(solo).summary,
    "Leader of term 1: 2 of 3 voters answer, 2 are needed to stay leader; it is handing over to node 2",
  );
});

Deno.test("explain: a stalled disk is named, and holds campaigning back", () => {
  const solo = new SoloCore();
  solo.turn((core) => core.disk("DiskStalled"));
  const { summary, possibilities } = explained(solo);
  assertStringIncludes(summary, "its disk is stalled, so it neither leads nor campaigns");
  const timeout = possibilities.find(({ event }) => event === "ElectionTimeout")!;
  assertEquals([timeout.guard, timeout.holds], ["mayCampaign", false]);
  solo.turn((core) => core.disk("DiskSlow"));
  const slow = explained(solo);
  assertStringIncludes(slow.summary, "its disk is slow");
  assertEquals(slow.possibilities.find(({ event }) => event === "ElectionTimeout")!.holds, true);
});

Deno.test("explain: a learner says that it may not campaign", () => {
  const solo = new SoloCore({ id: 4, learners: [4] });
  const timeout = explained(solo).possibilities
    .find(({ event }) => event === "ElectionTimeout")!;
  assertEquals(timeout.holds, false);
  assertEquals(
    timeout.sentence,
    "Node 4 is not among the voters (1, 2, 3), so it may not campaign",
  );
});

const link = (peer: number, fact: Partial<LinkFact> = {}): LinkFact => ({
  peer,
  isUp: true,
  forMs: 4_000,
  detail: "",
  isDirectoryLost: false,
  ...fact,
});

Deno.test("explain: nothing stands in the way of a follower that hears its leader over sound links", () => {
  const solo = new SoloCore({ terms: [1] });
  solo.receive(solo.append());
  assertEquals(explained(solo, { links: [link(2), link(3)] }).causes, []);
});

Deno.test("explain: without a leader the last one is named, and when it was heard", () => {
  const solo = new SoloCore();
  const links = [link(2), link(3)];
  const first = (surroundings: Partial<Surroundings>): unknown[] => {
    const { code, nodes, forMs, sentence } = explained(solo, { links, ...surroundings }).causes[0]!;
    return [code, nodes, forMs, sentence];
  };
  assertEquals(first({ upForMs: 12_345 }), [
    "no-leader",
    [],
    12_345,
    "No leader is known in term 0: none was heard since this node started 12.3 s ago",
  ]);
  assertEquals(first({ lastLeader: { id: 2, term: 7, agoMs: 3_000 } }), [
    "no-leader",
    [2],
    3_000,
    "No leader is known in term 0: node 2 was last heard as leader of term 7, 3.0 s ago",
  ]);
  assertEquals(
    first({ lastLeader: { id: 1, term: 7, agoMs: 3_000 } })[3],
    "No leader is known in term 0: this node led term 7 until 3.0 s ago",
  );
});

Deno.test("explain: a link that is down is named with its cause, and the quorum that lacks it", () => {
  const solo = new SoloCore();
  solo.receive(solo.append());
  const causes = (...links: LinkFact[]): unknown[] =>
    explained(solo, { links }).causes.map(({ code, nodes, sentence }) => [code, nodes, sentence]);
  const down = link(2, { isUp: false, detail: "dial-failed: refused" });
  const about2 = "The link to node 2 has been down for 4.0 s (dial-failed: refused)";
  assertEquals(causes(down, link(3)), [["link-down", [2], about2]]);
  const refused = link(3, { isUp: false, refusal: "wrong-cluster" });
  assertEquals(causes(down, refused), [
    [
      "no-quorum",
      [2, 3],
      "This node reaches 1 of 3 voters, itself included; 2 are needed; without a link: 2, 3",
    ],
    ["link-down", [2], about2],
    ["refused", [3], "The link to node 3 has been down for 4.0 s, refused: wrong-cluster"],
  ]);
  const lost = link(3, { isUp: false, refusal: "its disk was lost", isDirectoryLost: true });
  assertEquals(causes(link(2), lost), [
    [
      "directory-lost",
      [3],
      "The link to node 3 has been down for 4.0 s, refused: its disk was lost",
    ],
  ]);
});

Deno.test("explain: a leader names the voters that are silent, and for how long", () => {
  const solo = new SoloCore({ voters: [1, 2, 3, 4, 5] });
  solo.persist(solo.lead());
  solo.nowMs += 599;
  for (const from of [2, 4]) solo.receive(solo.reply({ from, matchIndex: 1 }));
  assertEquals(explained(solo).causes, []);
  solo.nowMs += 1;
  solo.receive(solo.reply({ from: 2, matchIndex: 1 }));
  assertEquals(explained(solo).causes, [{
    code: "silent-voters",
    nodes: [3, 5],
    forMs: 600,
    sentence: "Voters that have not answered this leader for 0.6 s: 3, 5",
  }]);
});

Deno.test("explain: a disk that ails is a cause", () => {
  const solo = new SoloCore();
  solo.receive(solo.append());
  const codes = (): string[] => explained(solo).causes.map(({ code }) => code);
  solo.turn((core) => core.disk("DiskSlow"));
  assertEquals(codes(), ["disk-slow"]);
  solo.turn((core) => core.disk("DiskStalled"));
  assertEquals(codes(), ["disk-stalled"]);
});

Deno.test("explain: as text, the summary, what is in the way, and what may happen next", () => {
  const solo = new SoloCore();
  const text = explanationToText(explained(solo, { links: [link(2, { isUp: false }), link(3)] }));
  const lines = text.split("\n");
  assertMatch(lines[0]!, /^Follower without a leader in term 0/);
  assertEquals(lines.slice(1, 5), [
    "",
    "In the way:",
    "- No leader is known in term 0: none was heard since this node started 0.0 s ago",
    "- The link to node 2 has been down for 4.0 s",
  ]);
  assertEquals(lines.slice(5, 7), ["", "What may happen next:"]);
  assertEquals(
    lines.find((line) => line.includes("ElectionTimeout")),
    "- ElectionTimeout [mayCampaign: yes] -> role.preCandidate: " +
      "Node 1 is a voter and may campaign unless its disk is stalled or full",
  );
  const idle = lines.indexOf("What changes nothing now:");
  const late = lines.findIndex((line) => line.startsWith("- QuorumLost: Late"));
  assert(idle > 0 && late > idle, text);
  assert(lines.every((line) => !line.includes("undefined")), text);
  const well = new SoloCore({ terms: [1] });
  well.receive(well.append());
  assert(!explanationToText(explained(well)).includes("In the way"));
});

Deno.test("explain: what a role does itself is offered, and not what all roles do else", () => {
  const solo = new SoloCore();
  const { possibilities } = explained(solo);
  const from = (event: string): string[] =>
    possibilities.filter((possibility) => possibility.event === event).map((each) => each.from);
  assertEquals(from("ElectionTimeout"), ["role.follower", "role.follower"]);
  assertEquals(from("Propose"), ["role"]);
  assert(!sentencesOf(solo).includes("Late: this node leads"));
});

Deno.test("explain: what a guard says before its event comes agrees with the chart in every role", () => {
  const cluster = new CoreCluster({ voters: [1, 2, 3] });
  cluster.elect(1);
  for (const id of [1, 2, 3]) {
    const { snapshot, state } = cluster.core(id);
    for (const { guard, holds, sentence } of explain(snapshot, state, ALONE).possibilities) {
      assert(sentence.length > 0);
      if (guard !== undefined) assertEquals(holds === undefined, guardTexts[guard]!.needsEvent);
    }
  }
});
