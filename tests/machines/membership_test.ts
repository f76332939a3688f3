/**
 * Changes of the members: thesis s4 sentence by sentence, over cores whose messages and disks move when
 * a test says so.
 *
 * @module
 */
import { assert, assertEquals, assertMatch } from "@std/assert";
import { DEFAULT_BOUNDS } from "../../machines/bounds.ts";
import { DEFAULT_TIMING } from "../../machines/group_state.ts";
import { LEAVING_MS_MAX } from "../../machines/leadership.ts";
import {
  configWith,
  type MembershipChange,
  type NewMember,
  reportOf,
  withDirectories,
} from "../../machines/membership_change.ts";
import type { Membership, NodeId } from "../../machines/raft_types.ts";
import { CoreCluster } from "./core_cluster.ts";
import { SoloCore } from "./solo_core.ts";
import {
  configOfStored,
  encodeConfig,
  foundingConfig,
  storedConfigOf,
} from "../../machines/group_config.ts";
import { encodeRun } from "../../storage/log/wal_record.ts";

const { electionTimeoutMsMax } = DEFAULT_TIMING;

/** Three voters of whom node 1 leads, and has committed an entry of its term. */
function founded(voters: readonly NodeId[] = [1, 2, 3], bounds = DEFAULT_BOUNDS): CoreCluster {
  const cluster = new CoreCluster({ voters, membersChange: true, bounds });
  cluster.elect(1);
  cluster.elapse(DEFAULT_TIMING.heartbeatMs);
  return cluster;
}

const newMember = (id: NodeId): NewMember => ({ id, raft: `host-${id}:1`, http: "" });

/** Adds nodes and lets them catch up and be promoted. */
function grow(cluster: CoreCluster, ...ids: readonly NodeId[]): void {
  assertTaken(cluster, 1, { add: ids.map(newMember) });
  cluster.elapse(DEFAULT_TIMING.heartbeatMs);
  for (const id of ids) cluster.join(id, 1);
  cluster.elapse(1_000);
  for (const id of ids) assert(membersOf(cluster, 1).voters.includes(id), `node ${id}`);
}

function assertTaken(cluster: CoreCluster, leader: NodeId, change: MembershipChange): void {
  const outcome = cluster.change(leader, change);
  assert(outcome.accepted, JSON.stringify(outcome));
}

function membersOf(cluster: CoreCluster, id: NodeId): Membership {
  const { voters, outgoing, learners } = cluster.core(id).context;
  return { voters, outgoing, learners };
}

const stable = (...voters: NodeId[]): Membership => ({ voters, outgoing: [], learners: [] });

function refusalOf(cluster: CoreCluster, id: NodeId, change: MembershipChange): string {
  const outcome = cluster.change(id, change);
  assert(!outcome.accepted, "it was taken");
  return `${outcome.reason}: ${outcome.detail}`;
}

Deno.test("thesis s4.2.1: a new member is a learner, catches up, and is promoted by itself", () => {
  const cluster = founded();
  cluster.propose(1, "a", "b");
  assertTaken(cluster, 1, { add: [newMember(4)] });
  assertEquals(membersOf(cluster, 1), { ...stable(1, 2, 3), learners: [4] });
  // It is not there yet, and nobody waits for it.
  cluster.propose(1, "c");
  cluster.elapse(1_000);
  assertEquals(cluster.committedTexts(2), ["a", "b", "c"]);
  assertEquals(membersOf(cluster, 1).learners, [4]);
  cluster.join(4, 1);
  cluster.elapse(1_000);
  for (const id of [1, 2, 3, 4]) assertEquals(membersOf(cluster, id), stable(1, 2, 3, 4));
  assertEquals(cluster.committedTexts(4), ["a", "b", "c"]);
});

Deno.test("a learner that is told to stay one stays one", () => {
  const cluster = founded();
  assertTaken(cluster, 1, { add: [{ ...newMember(4), staysLearner: true }] });
  cluster.settle();
  cluster.join(4, 1);
  cluster.elapse(2_000);
  assertEquals(membersOf(cluster, 4), { ...stable(1, 2, 3), learners: [4] });
  assertTaken(cluster, 1, { promote: [4] });
  cluster.elapse(200);
  assertEquals(membersOf(cluster, 4), stable(1, 2, 3, 4));
});

Deno.test("a learner that answers slowly is not promoted", () => {
  const cluster = founded();
  assertTaken(cluster, 1, { add: [newMember(4)] });
  cluster.settle();
  cluster.join(4, 1);
  cluster.isHeld = ({ to, message }) => to === 4 || message.from === 4;
  for (let round = 0; round < 20; round++) {
    cluster.elapse(DEFAULT_TIMING.electionTimeoutMsMin + 50);
    for (const envelope of cluster.take(({ to, message }) => to === 4 || message.from === 4)) {
      cluster.deliver(envelope);
    }
  }
  assertEquals(membersOf(cluster, 1).learners, [4]);
});

Deno.test("thesis s4.3: several members change in one step, through a joint configuration", () => {
  const cluster = founded();
  grow(cluster, 4, 5);
  const seen: string[] = [];
  cluster.isTold = () => false;
  const outcome = cluster.change(1, { remove: [2, 3], add: [newMember(6)] });
  assert(outcome.accepted);
  assertEquals(membersOf(cluster, 1), {
    ...{ voters: [1, 4, 5], outgoing: [1, 2, 3, 4, 5], learners: [6] },
  });
  assertEquals(cluster.core(1).snapshot.value.members, "joint");
  assertEquals(outcome.report.between!.map(({ needed }) => needed), [2, 3]);
  cluster.elapse(500);
  assertEquals(membersOf(cluster, 1), { ...stable(1, 4, 5), learners: [6] });
  assertEquals(cluster.core(1).snapshot.value.members, "stable");
  seen.push(cluster.core(2).role, cluster.core(3).role, cluster.core(4).role);
  assertEquals(seen, ["removed", "removed", "follower"]);
});

Deno.test("thesis s4.3: in a joint configuration an entry needs a majority of both halves", () => {
  // From 1 to 5 to 1, 3 and 4: three of the five, and two of the three.
  for (
    const { reached, commits } of [
      { reached: [1, 2, 5], commits: false },
      { reached: [1, 4], commits: false },
      { reached: [1, 2, 4], commits: true },
      { reached: [1, 3, 4], commits: true },
    ]
  ) {
    const cluster = founded();
    grow(cluster, 4, 5);
    cluster.isLost = ({ to, message }) => !reached.includes(to) || !reached.includes(message.from);
    assertTaken(cluster, 1, { remove: [2, 5] });
    const { index } = cluster.core(1).state.configs.current;
    cluster.elapse(DEFAULT_TIMING.heartbeatMs);
    assertEquals(cluster.core(1).state.commitIndex >= index, commits, reached.join());
  }
});

Deno.test("thesis s4.1: a configuration is in force once it is in the log, and no more once it is dropped", () => {
  const cluster = founded();
  cluster.partition([1], [2, 3]);
  assertTaken(cluster, 1, { remove: [3] });
  assertEquals(membersOf(cluster, 1), { voters: [1, 2], outgoing: [1, 2, 3], learners: [] });
  cluster.elapse(3 * electionTimeoutMsMax);
  assert(cluster.leader !== 1 && cluster.leader !== undefined);
  cluster.heal();
  cluster.elapse(500);
  assertEquals(membersOf(cluster, 1), stable(1, 2, 3));
  assertEquals(cluster.core(1).snapshot.value.members, "stable");
});

Deno.test("a configuration is in force after a restart, committed or not", () => {
  const cluster = founded();
  cluster.partition([1], [2, 3]);
  assertTaken(cluster, 1, { remove: [3] });
  cluster.crash(1);
  cluster.restart(1);
  assertEquals(membersOf(cluster, 1), { voters: [1, 2], outgoing: [1, 2, 3], learners: [] });
  assertEquals(cluster.core(1).snapshot.value.members, "joint");
});

Deno.test("a snapshot says who the members were when it was taken, and what follows it stays in force", () => {
  const solo = new SoloCore({ id: 3, currentTerm: 1 });
  const snapshot = { index: 9, term: 1, timeMs: 0, size: 1, digest: "0".repeat(64) };
  const config = foundingConfig({ voters: [2, 3, 4, 5] });
  const stored = storedConfigOf(config);
  solo.receive({
    ...{ type: "InstallSnapshot", group: 0, term: 1, from: 2, snapshot, offset: 0 },
    bytes: new Uint8Array(1),
  });
  solo.turn((core) => core.snapshotReceived(snapshot, { clusterVersion: 2, stored }));
  assertEquals(solo.core.context.voters, [2, 3, 4, 5]);
  assertEquals(solo.core.state.configs.at(9).voters, [2, 3, 4, 5]);
  // An entry that changes them again is dropped: the snapshot's are in force.
  const next = { ...config, clusterVersion: 2, voters: [2, 3], learners: [4, 5] };
  const run = encodeRun({
    ...{ group: 0, term: 1, firstIndex: 10, timeMs: 0, kind: "config" },
    payloads: [encodeConfig(next)],
  });
  solo.receive(solo.append({ prevLogIndex: 9, prevLogTerm: 1, runs: [run] }));
  assertEquals(solo.core.context.voters, [2, 3]);
  solo.receive({
    ...solo.append({ prevLogIndex: 9, prevLogTerm: 1, terms: [2] }),
    term: 2,
  });
  assertEquals(solo.core.context.voters, [2, 3, 4, 5]);
});

Deno.test("a learner that fell silent is not promoted, whatever it holds", () => {
  const cluster = founded();
  assertTaken(cluster, 1, { add: [newMember(4)] });
  cluster.settle();
  cluster.join(4, 1);
  const { progress } = cluster.core(1).state.leadership!;
  // It answers until it holds all, and is silent from then on.
  cluster.isLost = ({ message }) =>
    message.from === 4 && progress.get(4)!.matchIndex >= cluster.core(1).state.log.lastIndex;
  cluster.elapse(2_000);
  assertEquals(membersOf(cluster, 1).learners, [4]);
});

Deno.test("2015: a leader that has committed nothing in its term changes no members", () => {
  const cluster = new CoreCluster({ voters: [1, 2, 3], membersChange: true });
  cluster.campaign(1);
  cluster.settle(["PreVote", "PreVoteReply", "RequestVote", "RequestVoteReply"]);
  assertEquals(cluster.core(1).role, "leader");
  // It has heard of nobody, so only force gets past the quorum.
  const early = cluster.change(1, { remove: [3] }, true);
  assert(!early.accepted && early.reason === "busy");
  cluster.settle();
  cluster.elapse(DEFAULT_TIMING.heartbeatMs);
  assertTaken(cluster, 1, { remove: [3] });
});

Deno.test("2015: two leaders that change the members at once never find disjoint quorums", () => {
  // One adds and one removes, both add, both remove: the schedules of the bug in single-server changes.
  const pairs: [MembershipChange, MembershipChange][] = [
    [{ add: [newMember(5)], promote: [5] }, { remove: [4] }],
    [{ add: [newMember(5)], promote: [5] }, { add: [newMember(6)], promote: [6] }],
    [{ remove: [3] }, { remove: [4] }],
  ];
  for (const [first, second] of pairs) {
    const cluster = founded([1, 2, 3, 4]);
    // The old leader appends its change, and nobody hears of it.
    cluster.partition([1], [2, 3, 4]);
    assert(cluster.change(1, first, true).accepted);
    const before = membersOf(cluster, 1);
    // Another one is elected without it. It has to commit an entry of its own term first …
    cluster.campaign(2);
    cluster.settle(["PreVote", "PreVoteReply", "RequestVote", "RequestVoteReply"]);
    assertEquals(cluster.core(2).role, "leader");
    const early = cluster.change(2, second, true);
    assert(!early.accepted && early.reason === "busy");
    cluster.settle();
    assert(cluster.change(2, second, true).accepted);
    cluster.settle();
    // … so that with all the votes of its own configuration, the old leader cannot come back.
    cluster.crash(2);
    cluster.heal();
    cluster.elapse(electionTimeoutMsMax);
    cluster.campaign(1);
    cluster.settle();
    assert(cluster.core(1).role !== "leader", JSON.stringify(first));
    cluster.restart(2);
    cluster.elapse(6 * electionTimeoutMsMax);
    const { leader } = cluster;
    assert(leader !== undefined);
    // What the old leader had appended alone is gone.
    assert(JSON.stringify(membersOf(cluster, 1)) !== JSON.stringify(before));
  }
});

Deno.test("one change at a time: the next waits until the last is committed and stable", () => {
  const cluster = founded([1, 2, 3, 4]);
  const held = cluster.take(() => true);
  assertEquals(held, []);
  cluster.isHeld = () => true;
  assertTaken(cluster, 1, { remove: [4] });
  assertMatch(refusalOf(cluster, 1, { remove: [3] }), /^busy: Another change/);
  cluster.isHeld = () => false;
  cluster.elapse(200);
  assertTaken(cluster, 1, { remove: [3] });
});

Deno.test("thesis s4.2.2: a removed leader leads until that is committed, without counting itself", () => {
  const cluster = founded();
  cluster.isLost = ({ to, message }) => to === 3 || message.from === 3;
  const outcome = cluster.change(1, { remove: [1] });
  assert(outcome.accepted);
  cluster.elapse(2 * DEFAULT_TIMING.heartbeatMs);
  // Nodes 1 and 2 are a majority of three, and only node 2 is one of the two that stay.
  assertEquals(cluster.core(1).role, "leader");
  assert(cluster.core(1).state.commitIndex < outcome.index);
  cluster.heal();
  cluster.elapse(500);
  assertEquals(cluster.core(1).role, "removed");
  assert(cluster.leader === 2 || cluster.leader === 3);
  assertEquals(membersOf(cluster, 2), stable(2, 3));
});

Deno.test("thesis s4.2.3: who is removed hears so, has no timer, and disturbs nobody", () => {
  const cluster = founded();
  assertTaken(cluster, 1, { remove: [3] });
  cluster.elapse(200);
  assertEquals(cluster.core(3).role, "removed");
  const { currentTerm } = cluster.core(1).context;
  assertEquals(cluster.core(3).nextDeadlineMs, Infinity);
  cluster.elapse(5 * electionTimeoutMsMax);
  assertEquals([cluster.leader, cluster.core(1).context.currentTerm], [1, currentTerm]);
  assertEquals([...cluster.core(1).state.leadership!.progress.keys()], [2]);
});

Deno.test("who is removed while it is down is given up after a while", () => {
  const cluster = founded();
  cluster.crash(3);
  cluster.elapse(electionTimeoutMsMax);
  assertTaken(cluster, 1, { remove: [3] });
  cluster.elapse(1_000);
  assertEquals([...cluster.core(1).state.leadership!.progress.keys()], [2, 3]);
  cluster.elapse(LEAVING_MS_MAX);
  assertEquals([...cluster.core(1).state.leadership!.progress.keys()], [2]);
  // It comes back, and cannot win: it asks for pre-votes in vain.
  cluster.restart(3);
  cluster.elapse(5 * electionTimeoutMsMax);
  assertEquals(cluster.leader, 1);
});

Deno.test("a new leader goes on with a joint configuration that it finds", () => {
  const cluster = founded();
  cluster.isHeld = ({ message }) => message.type === "AppendEntriesReply";
  assertTaken(cluster, 1, { remove: [3] });
  cluster.settle();
  assertEquals(membersOf(cluster, 2).outgoing, [1, 2, 3]);
  cluster.crash(1);
  cluster.isHeld = () => false;
  cluster.take(() => true);
  cluster.elapse(5 * electionTimeoutMsMax);
  // Voters 1 and 2 of the new half are both needed, and node 1 is down.
  assertEquals(cluster.leader, undefined);
  cluster.restart(1);
  cluster.elapse(5 * electionTimeoutMsMax);
  assert(cluster.leader !== undefined);
  assertEquals(membersOf(cluster, cluster.leader), stable(1, 2));
});

Deno.test("a change that would leave too few voters who answer is refused, and made with force", () => {
  const cluster = founded();
  cluster.crash(3);
  cluster.elapse(2 * electionTimeoutMsMax);
  assertMatch(
    refusalOf(cluster, 1, { remove: [2] }),
    /^quorum: 2 of the voters 1, 3 must answer, and only node 1 does$/,
  );
  assert(cluster.change(1, { remove: [2] }, true).accepted);
});

Deno.test("a change that does two things with one member is refused", () => {
  const cluster = founded();
  for (
    const change of [{ promote: [3], demote: [3] }, { demote: [3], remove: [3] }, {
      remove: [3, 3],
    }]
  ) {
    assertMatch(
      refusalOf(cluster, 1, change),
      /^invalid: Node 3 is named twice; a change promotes/,
    );
  }
});

Deno.test("a preview says what a change would do, and changes nothing", () => {
  const cluster = founded();
  const { index } = cluster.core(1).state.configs.current;
  const outcome = cluster.core(1).previewChange({ remove: [3] });
  assert(outcome.accepted);
  assertEquals(outcome.report.before, { voters: [1, 2, 3], needed: 2, alive: [1, 2, 3] });
  assertEquals(outcome.report.after, { voters: [1, 2], needed: 2, alive: [1, 2] });
  assertEquals(cluster.core(1).state.configs.current.index, index);
  const other = cluster.core(2).previewChange({ remove: [3] });
  assert(!other.accepted && other.reason === "not-leader");
});

Deno.test("what makes no sense is refused with a sentence", () => {
  const cluster = founded();
  const refused: [MembershipChange, RegExp][] = [
    [{}, /asks for nothing/],
    [{ add: [] }, /asks for nothing/],
    [{ add: [newMember(2)] }, /Node 2 is a member already/],
    [{ add: [newMember(4), newMember(4)] }, /Node 4 is a member already/],
    [{ add: [{ ...newMember(4), id: 0 }] }, /whole number/],
    [{ add: [newMember(4), { ...newMember(5), raft: "host-4:1" }] }, /cannot have one address/],
    [{ add: [{ ...newMember(4), http: "x".repeat(600) }] }, /characters/],
    [{ add: Array.from({ length: 30 }, (_, at) => newMember(10 + at)) }, /31 members at most/],
    [{ remove: [9] }, /Node 9 is no member; the members are 1, 2, 3/],
    [{ remove: [1, 2, 3] }, /last voter/],
    [{ promote: [2] }, /a voter already/],
    [{ demote: [1, 2, 3] }, /last voter/],
    [{ update: [{ id: 9, raft: "a:1" }] }, /no member/],
    [{ replace: [{ id: 9 }] }, /no member/],
    [
      { replace: [{ id: 2, by: { ...newMember(4), staysLearner: true } }] },
      /cannot stay a learner/,
    ],
  ];
  for (const [change, text] of refused) {
    const refusal = refusalOf(cluster, 1, change);
    assertMatch(refusal, /^invalid: /);
    assertMatch(refusal, text);
  }
  assertEquals(membersOf(cluster, 1), stable(1, 2, 3));
});

Deno.test("before every build knows that members change, they do not", () => {
  const cluster = new CoreCluster({ voters: [1, 2, 3], learners: [4] });
  cluster.elect(1);
  cluster.elapse(1_000);
  assertMatch(refusalOf(cluster, 1, { remove: [3] }), /^old-build/);
  assertEquals(membersOf(cluster, 1), { ...stable(1, 2, 3), learners: [4] });
});

Deno.test("a lost disk: another member takes the place in one step, when it has caught up", () => {
  const cluster = founded();
  cluster.crash(2);
  cluster.elapse(electionTimeoutMsMax);
  assertTaken(cluster, 1, { replace: [{ id: 2, by: newMember(4) }] });
  cluster.elapse(300);
  assertEquals(membersOf(cluster, 1), { ...stable(1, 2, 3), learners: [4] });
  cluster.join(4, 1);
  cluster.elapse(1_000);
  assertEquals(membersOf(cluster, 4), stable(1, 3, 4));
  const { config } = cluster.core(1).state.configs.current;
  assertEquals(config.removed, ["directory-2-0"]);
});

Deno.test("a lost disk: a leader that never met it takes it out of the cluster for all who have", () => {
  const met = withDirectories(foundingConfig({ voters: [1, 2, 3] }), (id) => `directory-${id}`);
  const replaced = configWith(met, { replace: [{ id: 2 }] }, () => undefined);
  assertEquals(replaced.removed, ["directory-2"]);
  assertEquals(configOfStored(storedConfigOf(replaced), 1), replaced);
  // Until the new one is met, the old one is not written down for it again.
  const again = configWith(replaced, { demote: [3] }, (id) => `directory-${id}`);
  const directories = again.members.map(({ id, directory }) => [id, directory]);
  assertEquals(directories, [[1, "directory-1"], [2, undefined], [3, "directory-3"]]);
  assertEquals(configWith(replaced, { promote: [2] }, () => "new").members[1]!.directory, "new");
  assertEquals(configWith(met, { remove: [3] }, () => undefined).removed, ["directory-3"]);
  // What the members have agreed on counts more than what this leader remembers.
  assertEquals(configWith(met, { remove: [3] }, () => "another").removed, ["directory-3"]);
});

Deno.test("a lost disk: a leader that never met it, and was not told, says so before it is replaced", () => {
  const unmetOf = (
    change: MembershipChange,
    { known = [1], alive = [1, 3] }: { known?: NodeId[]; alive?: NodeId[] } = {},
  ): readonly NodeId[] | undefined => {
    const before = { ...foundingConfig({ voters: [1, 2, 3], learners: [4] }), clusterVersion: 2 };
    const directoryOf = (id: NodeId): string | undefined =>
      known.includes(id) ? `d-${id}` : undefined;
    const next = configWith(before, change, directoryOf);
    const view = {
      isAlive: (id: NodeId) => alive.includes(id),
      entriesBehind: () => 0,
      directoryOf,
    };
    return reportOf({ before, change, next }, view).unmet;
  };
  assertEquals(unmetOf({ replace: [{ id: 2 }] }), [2]);
  assertEquals(unmetOf({ replace: [{ id: 2, by: newMember(5) }] }), [2]);
  assertEquals(unmetOf({ remove: [2] }), [2]);
  assertEquals(unmetOf({ replace: [{ id: 2 }] }, { known: [1, 2] }), undefined);
  // A learner has promised nothing, and who answers was met.
  assertEquals(unmetOf({ remove: [4] }), undefined);
  assertEquals(unmetOf({ remove: [3] }), undefined);
});

Deno.test("a lost disk: the member comes back empty as a learner, and is promoted again", () => {
  const cluster = founded();
  cluster.propose(1, "a");
  cluster.settle();
  cluster.crash(2);
  cluster.elapse(electionTimeoutMsMax);
  assertTaken(cluster, 1, { replace: [{ id: 2 }] });
  cluster.elapse(300);
  assertEquals(membersOf(cluster, 1), { ...stable(1, 3), learners: [2] });
  assertEquals(cluster.core(1).state.configs.current.config.removed, ["directory-2-0"]);
  cluster.join(2, 1);
  cluster.turn(1, (core) => core.peerRenewed(2));
  cluster.elapse(1_000);
  for (const id of [1, 2, 3]) assertEquals(membersOf(cluster, id), stable(1, 2, 3));
  assertEquals(cluster.committedTexts(2), ["a"]);
});

Deno.test("a replacement that is asked for twice does not take out the new directory", () => {
  const cluster = founded();
  cluster.crash(2);
  cluster.elapse(electionTimeoutMsMax);
  assertTaken(cluster, 1, { replace: [{ id: 2 }] });
  cluster.elapse(300);
  // Nobody has come with a new one yet: the answer may have been lost, and it is asked for again.
  assertTaken(cluster, 1, { replace: [{ id: 2 }] });
  cluster.elapse(300);
  cluster.join(2, 1);
  cluster.turn(1, (core) => core.peerRenewed(2));
  cluster.elapse(100);
  assertEquals(
    refusalOf(cluster, 1, { replace: [{ id: 2 }] }),
    "in-use: Node 2 answers, so its disk is not lost: a replacement would take out the directory " +
      "that it has now (if it has just stopped, try again in a second)",
  );
  const report = cluster.core(1).previewChange({ replace: [{ id: 2 }] }).report;
  assertEquals(report?.inUse, [2]);
  // Another member may take its place all the same.
  assertTaken(cluster, 1, { replace: [{ id: 2, by: newMember(4) }] });
  assertEquals(cluster.core(1).state.configs.current.config.removed, ["directory-2-0"]);
});

Deno.test("what a lost directory had acknowledged does not count for the one in its place", () => {
  const cluster = founded();
  cluster.propose(1, "a");
  cluster.settle();
  const { accepted } = cluster.change(1, { replace: [{ id: 2 }] }, true);
  assert(accepted);
  cluster.elapse(50);
  cluster.crash(2);
  const before = cluster.core(1).state.leadership!.progress.get(2)!.matchIndex;
  assert(before > 0);
  cluster.turn(1, (core) => core.peerRenewed(2));
  const progress = cluster.core(1).state.leadership!.progress.get(2)!;
  assertEquals([progress.matchIndex, progress.mode], [0, "probe"]);
});

Deno.test("an address changes without a joint configuration", () => {
  const cluster = founded();
  assertTaken(cluster, 1, { update: [{ id: 2, raft: "elsewhere:7", http: "http://elsewhere" }] });
  cluster.elapse(200);
  assertEquals(membersOf(cluster, 3), stable(1, 2, 3));
  const member = cluster.core(3).state.configs.current.config.members[1]!;
  assertEquals([member.raft, member.http], ["elsewhere:7", "http://elsewhere"]);
});

Deno.test("a leader that is demoted leads until that is committed, and is a follower then", () => {
  const cluster = founded();
  assertTaken(cluster, 1, { demote: [1] });
  assertEquals(cluster.core(1).role, "leader");
  cluster.elapse(500);
  assertEquals(cluster.core(1).role, "follower");
  assert(cluster.leader === 2 || cluster.leader === 3);
  assertEquals(membersOf(cluster, 1), { ...stable(2, 3), learners: [1] });
});

Deno.test("a demoted voter stays a learner, and its directory stays welcome", () => {
  const cluster = founded();
  assertTaken(cluster, 1, { demote: [3] });
  cluster.elapse(2_000);
  assertEquals(membersOf(cluster, 3), { ...stable(1, 2), learners: [3] });
  assertEquals(cluster.core(3).role, "follower");
  assertEquals(cluster.core(1).state.configs.current.config.removed, []);
});

Deno.test("who reads the log of a time before it was a member is not removed by it", () => {
  // An entry at a time, so that each configuration is in force for a while.
  const cluster = founded([1, 2, 3], { ...DEFAULT_BOUNDS, appendBytesMax: 1 });
  grow(cluster, 4);
  assertTaken(cluster, 1, { remove: [4] });
  cluster.elapse(300);
  assertEquals(cluster.core(4).role, "removed");
  // Node 4 again, with an empty disk: the log says twice that it is no member.
  assertTaken(cluster, 1, { add: [newMember(4)] });
  cluster.elapse(100);
  cluster.join(4, 1);
  cluster.elapse(1_000);
  assertEquals([cluster.core(4).role, membersOf(cluster, 4)], ["follower", stable(1, 2, 3, 4)]);
});
