/**
 * What the chart costs: one event through `step`, a change of role, and a batch of proposals in one
 * event, which is why there is one event for a batch.
 *
 * Run: `deno bench bench/chart_bench.ts`
 *
 * @module
 */
import { foundingConfig } from "../machines/group_config.ts";
import { initialTransition } from "xstate";
import { DEFAULT_TIMING } from "../machines/group_state.ts";
import { RaftCore } from "../machines/raft_core.ts";
import { RaftLog } from "../machines/raft_log.ts";
import { type RaftEvent, raftMachine, type RaftSnapshot } from "../machines/raft_machine.ts";
import { step } from "../machines/step.ts";
import { recordFormat } from "../storage/log/wal_record.ts";

const PROPOSALS = 64;
const payloads = Array.from({ length: PROPOSALS }, () => new Uint8Array(100));

const [follower] = initialTransition(raftMachine, {
  id: 1,
  currentTerm: 1,
  votedFor: undefined,
  voters: [1, 2, 3],
  outgoing: [],
  learners: [],
});
const header = { group: 0, term: 1, from: 2 };
const heartbeat: RaftEvent = {
  ...header,
  type: "AppendEntries",
  prevLogIndex: 0,
  prevLogTerm: 0,
  leaderCommit: 0,
  round: 0,
  runs: [],
};
const reply: RaftEvent = {
  ...header,
  type: "AppendEntriesReply",
  accepted: true,
  matchIndex: 1,
  prevLogIndex: 0,
  conflictTerm: 0,
  conflictIndex: 0,
  round: 0,
};

/** The chart after these events. */
function after(...events: readonly RaftEvent[]): RaftSnapshot {
  let snapshot: RaftSnapshot = follower;
  for (const event of events) ({ snapshot } = step(raftMachine, snapshot, event));
  return snapshot;
}

const following = after(heartbeat);
const leading = after(
  { type: "ElectionTimeout" },
  { ...header, type: "PreVoteReply", term: 2, granted: true },
  { ...header, type: "PreVoteReply", from: 1, term: 2, granted: true },
  { ...header, type: "RequestVoteReply", from: 1, term: 2, granted: true },
  { ...header, type: "RequestVoteReply", term: 2, granted: true },
);

Deno.bench({ name: "AppendEntries at a follower", group: "one event" }, () => {
  step(raftMachine, following, heartbeat);
});
Deno.bench({ name: "AppendEntriesReply at a leader", group: "one event" }, () => {
  step(raftMachine, leading, { ...reply, term: 2 });
});
Deno.bench({ name: "64 proposals at a leader", group: "one event" }, () => {
  step(raftMachine, leading, { type: "Propose", requests: payloads });
});
Deno.bench({ name: "ElectionTimeout: follower to preCandidate", group: "change of role" }, () => {
  step(raftMachine, following, { type: "ElectionTimeout" });
});
Deno.bench({ name: "HigherTerm: leader to follower", group: "change of role" }, () => {
  step(raftMachine, leading, { type: "HigherTerm", term: 3 });
});

/** A core of one voter that leads. */
function leadingCore(): RaftCore {
  const core = new RaftCore({
    id: 1,
    group: 0,
    timing: DEFAULT_TIMING,
    records: recordFormat,
    random: () => 0,
    log: new RaftLog(),
    nowMs: 0,
    config: foundingConfig({ voters: [1] }),
    currentTerm: 0,
    votedFor: undefined,
  });
  core.beginTurn(DEFAULT_TIMING.electionTimeoutMsMax);
  core.elapse();
  for (let turn = 0; core.role !== "leader"; turn++) {
    if (turn > 10) throw new Error("Cannot bench: nobody leads");
    if (core.endTurn().write !== undefined) core.durable();
  }
  return core;
}

/** Entries after which a bench begins with a new core, so that its log stays small. */
const ENTRIES_MAX = 100_000;
let core = leadingCore();

for (const batch of [1, PROPOSALS]) {
  const some = payloads.slice(0, batch);
  Deno.bench({ name: `${batch} proposals`, group: "a turn of the core, log and records" }, () => {
    const { lastIndex } = core.state.log;
    if (lastIndex > ENTRIES_MAX) core = leadingCore();
    core.propose(some);
    if (core.endTurn().write !== undefined) core.durable();
  });
}
