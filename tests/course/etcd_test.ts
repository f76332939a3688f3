/**
 * Cases of etcd-io/raft's and raft-rs's suites, by name, that paper_test.ts and regression_test.ts
 * do not have: by meaning, where PreVote and CheckQuorum are always on and a term begins with a
 * no-op. tests/README.md says where each case is, and which do not apply.
 *
 * @module
 */
import { assert, assertEquals } from "@std/assert";
import { DEFAULT_TIMING } from "../../machines/group_state.ts";
import type { LogIndex, NodeId, RaftMessage, Term } from "../../machines/raft_types.ts";
import { CoreCluster } from "../machines/core_cluster.ts";
import { matchesOf, messagesTo, only, SoloCore } from "../machines/solo_core.ts";

const { electionTimeoutMsMin, electionTimeoutMsMax, heartbeatMs } = DEFAULT_TIMING;

/** Three nodes of which 1 leads in term 1. */
function led(): CoreCluster {
  const cluster = new CoreCluster({ voters: [1, 2, 3] });
  cluster.elect(1);
  return cluster;
}

/** Loses everything between two nodes. */
function cut(cluster: CoreCluster, a: NodeId, b: NodeId): void {
  cluster.isLost = ({ to, message: { from } }) =>
    (to === a && from === b) || (to === b && from === a);
}

function roles(cluster: CoreCluster, ids: readonly NodeId[] = [1, 2, 3]): string[] {
  return ids.map((id) => cluster.core(id).role);
}

function terms(cluster: CoreCluster, ids: readonly NodeId[] = [1, 2, 3]): Term[] {
  return ids.map((id) => cluster.core(id).context.currentTerm);
}

function commits(cluster: CoreCluster, ids: readonly NodeId[] = [1, 2, 3]): LogIndex[] {
  return ids.map((id) => cluster.core(id).state.commitIndex);
}

/** A core in each role, in term 2 with a log of terms 1 and 2. */
const inEachRole = {
  follower: () => new SoloCore({ terms: [1, 2] }),
  preCandidate: () => {
    const solo = new SoloCore({ terms: [1, 2] });
    solo.timeout();
    return solo;
  },
  candidate: () => {
    const solo = new SoloCore({ terms: [1, 1], currentTerm: 1 });
    solo.persist(solo.campaign());
    return solo;
  },
  leader: () => {
    const solo = new SoloCore({ terms: [1, 1], currentTerm: 1 });
    solo.persist(solo.lead());
    return solo;
  },
} as const;

// Elections.

for (
  const [what, voters, down, role] of [
    ["three of three", [1, 2, 3], [], "leader"],
    ["two of three", [1, 2, 3], [3], "leader"],
    ["one of three", [1, 2, 3], [2, 3], "preCandidate"],
    ["two of four", [1, 2, 3, 4], [3, 4], "preCandidate"],
    ["three of five", [1, 2, 3, 4, 5], [4, 5], "leader"],
  ] as const
) {
  Deno.test(`TestLeaderElection, TestLeaderElectionPreVote: ${what} are up`, () => {
    const cluster = new CoreCluster({ voters });
    for (const id of down) cluster.crash(id);
    cluster.nowMs = electionTimeoutMsMax;
    cluster.timeout(1);
    cluster.settle();
    assertEquals(cluster.core(1).role, role);
    // Without a majority not even the term is raised.
    assertEquals(cluster.core(1).context.currentTerm, role === "leader" ? 1 : 0);
  });
}

for (
  const [size, granted, refused, role] of [
    [3, [2, 3], [], "leader"],
    [3, [2], [], "leader"],
    [5, [2, 3, 4, 5], [], "leader"],
    [5, [2, 3], [], "leader"],
    [5, [2, 3], [4, 5], "leader"],
    [3, [], [2, 3], "candidate"],
    [5, [2], [3, 4, 5], "candidate"],
    [5, [], [2, 3, 4, 5], "candidate"],
    [3, [], [], "candidate"],
    [5, [2], [], "candidate"],
  ] as const
) {
  Deno.test(`TestLeaderElectionInOneRoundRPC: ${granted.length} of ${size - 1} grant, ${refused.length} refuse`, () => {
    const voters = Array.from({ length: size }, (_, offset) => offset + 1);
    const solo = new SoloCore({ voters });
    solo.persist(solo.campaign());
    solo.receive(...refused.map((from) => solo.vote({ from, granted: false })));
    solo.receive(...granted.map((from) => solo.vote({ from })));
    assertEquals([solo.core.role, solo.term], [role, 1]);
  });
}

Deno.test("TestLeaderCycle, TestLeaderCyclePreVote: each node can be elected in turn", () => {
  const cluster = new CoreCluster({ voters: [1, 2, 3] });
  for (const id of [1, 2, 3, 1]) {
    cluster.elect(id);
    const expected = [1, 2, 3].map((other) => other === id ? "leader" : "follower");
    assertEquals(roles(cluster), expected);
  }
  assertEquals(terms(cluster), [4, 4, 4]);
});

Deno.test("TestLeaderElectionOverwriteNewerLogs, TestLeaderElectionOverwriteNewerLogsPreVote: an uncommitted entry of a later term gives way to a leader whom a majority elects", () => {
  // Node 3 won term 2 with the votes of 4 and 5 and crashed before it replicated its entry.
  const votedFor3 = { currentTerm: 2, votedFor: 3 };
  const cluster = new CoreCluster({
    voters: [1, 2, 3, 4, 5],
    logs: { 1: [1], 2: [1], 3: [2] },
    hardStates: { 3: votedFor3, 4: votedFor3, 5: votedFor3 },
  });
  const ids = [1, 2, 3, 4, 5];
  cluster.nowMs = electionTimeoutMsMax;
  cluster.timeout(1);
  cluster.settle();
  // The first attempt fails, and tells node 1 the term.
  assertEquals([cluster.core(1).role, cluster.core(1).context.currentTerm], ["follower", 2]);
  cluster.elect(1);
  cluster.elapse(2 * heartbeatMs);
  for (const id of ids) assertEquals(cluster.termsOf(id), [1, 3]);
});

for (const [role, make] of Object.entries(inEachRole)) {
  Deno.test(`TestVoteFromAnyState: a ${role} votes for a candidate of a later term whom the leader sent`, () => {
    const solo = make();
    const outbox = solo.receive(solo.requestVote({ transfer: true, term: 3 }));
    assertEquals(only("RequestVoteReply", outbox).granted, true);
    assertEquals([solo.core.role, solo.term, solo.core.context.votedFor], ["follower", 3, 2]);
  });

  Deno.test(`TestPreVoteFromAnyState: a ${role} answers a pre-vote and stays what it is`, () => {
    const solo = make();
    solo.nowMs += electionTimeoutMsMin;
    const { context } = solo.core;
    const request = { group: 0, term: 9, from: 3, lastLogIndex: 9, lastLogTerm: 9 };
    const outbox = solo.receive({ type: "PreVote", ...request });
    assertEquals(only("PreVoteReply", outbox).granted, role !== "leader");
    assertEquals([solo.core.role as string, solo.core.context], [role, context]);
  });
}

for (
  const [lastLogIndex, lastLogTerm, votedFor, granted] of [
    [0, 0, undefined, false],
    [3, 1, undefined, false],
    [1, 2, undefined, false],
    [2, 2, undefined, true],
    [3, 2, undefined, true],
    [1, 3, undefined, true],
    [3, 2, 2, true],
    [3, 2, 1, false],
    [3, 2, 3, false],
  ] as const
) {
  Deno.test(`TestRecvMsgVote: last ${lastLogIndex} of term ${lastLogTerm}, voted for ${votedFor}: ${granted}`, () => {
    const solo = new SoloCore({
      terms: [1, 2],
      currentTerm: 3,
      ...(votedFor === undefined ? {} : { votedFor }),
    });
    solo.nowMs += electionTimeoutMsMin;
    const outbox = solo.receive(solo.requestVote({ term: 3, lastLogIndex, lastLogTerm }));
    assertEquals(only("RequestVoteReply", outbox).granted, granted);
  });
}

Deno.test("TestDuelingCandidates, TestDuelingPreCandidates: who lacks a committed entry loses, without raising the term, and follows once it can", () => {
  const cluster = new CoreCluster({ voters: [1, 2, 3] });
  cut(cluster, 1, 3);
  cluster.elect(1);
  cluster.timeout(3);
  cluster.settle();
  assertEquals(roles(cluster), ["leader", "follower", "follower"]);
  cluster.heal();
  cluster.elapse(2 * electionTimeoutMsMax);
  assertEquals([roles(cluster)[0], terms(cluster)], ["leader", [1, 1, 1]]);
  assertEquals(cluster.termsOf(3), cluster.termsOf(1));
});

Deno.test("TestCandidateConcede: a candidate cut off concedes to the leader of its term, whose log it takes", () => {
  const cluster = new CoreCluster({ voters: [1, 2, 3] });
  cluster.partition([1], [2, 3]);
  cluster.nowMs = electionTimeoutMsMax;
  cluster.timeout(1);
  cluster.settle();
  assertEquals(cluster.core(1).role, "preCandidate");
  cluster.elect(3);
  cluster.heal();
  cluster.propose(3, "force follower");
  cluster.elapse(2 * heartbeatMs);
  assertEquals([roles(cluster), terms(cluster)], [["follower", "follower", "leader"], [1, 1, 1]]);
  for (const id of [1, 2, 3]) assertEquals(cluster.committedTexts(id), ["force follower"]);
});

Deno.test("TestSingleNodeCandidate, TestSingleNodePreCandidate, TestSingleNodeCommit: one voter elects itself and commits", () => {
  const cluster = new CoreCluster({ voters: [1] });
  cluster.elect(1);
  cluster.propose(1, "a");
  cluster.propose(1, "b");
  assertEquals(cluster.committedTexts(1), ["a", "b"]);
});

for (const [role, make] of Object.entries(inEachRole)) {
  Deno.test(`TestAllServerStepdown: a ${role} follows in a later term, the leader known only from AppendEntries`, () => {
    const voter = make();
    voter.receive(voter.requestVote({ term: 3, transfer: true }));
    assertEquals([voter.core.role, voter.term], ["follower", 3]);
    assertEquals(voter.core.context.leaderId, undefined);
    const follower = make();
    follower.receive(follower.append({ term: 3 }));
    assertEquals([follower.core.role, follower.term], ["follower", 3]);
    assertEquals(follower.core.context.leaderId, 2);
    assert(follower.core.state.electionDeadlineMs !== undefined);
  });
}

for (const what of ["TestCandidateResetTermMsgHeartbeat", "TestCandidateResetTermMsgApp"]) {
  Deno.test(`${what}: an isolated node that campaigned follows the leader when it is back`, () => {
    const cluster = led();
    cluster.partition([1, 2], [3]);
    cluster.elapse(3 * electionTimeoutMsMax);
    assertEquals(cluster.core(3).role, "preCandidate");
    cluster.heal();
    if (what === "TestCandidateResetTermMsgApp") cluster.propose(1, "a");
    cluster.elapse(2 * heartbeatMs);
    assertEquals([cluster.core(3).role, cluster.core(3).context.leaderId], ["follower", 1]);
    assertEquals(terms(cluster), [1, 1, 1]);
  });
}

Deno.test("TestCampaignWhileLeader, TestPreCampaignWhileLeader: a leader that is told to campaign leads on in its term", () => {
  const solo = inEachRole.leader();
  const { term } = solo;
  solo.receive({ type: "TimeoutNow", group: 0, term, from: 2 });
  assertEquals([solo.core.role, solo.term], ["leader", term]);
});

Deno.test("TestPreVoteWithSplitVote: two candidates of a term split the votes, and a later term has a leader", () => {
  const cluster = led();
  cluster.crash(1);
  cluster.nowMs += 2 * electionTimeoutMsMax;
  cluster.timeout(2);
  cluster.timeout(3);
  cluster.settle();
  assertEquals(roles(cluster, [2, 3]), ["candidate", "candidate"]);
  assertEquals(terms(cluster, [2, 3]), [2, 2]);
  cluster.elapse(5 * electionTimeoutMsMax);
  assert(cluster.leader === 2 || cluster.leader === 3);
});

Deno.test("TestNodeWithSmallerTermCanCompleteElection: a node that slept through an election takes part in the next", () => {
  const cluster = led();
  cluster.partition([1, 2], [3]);
  for (const [from, to] of [[1, 2], [2, 1]] as const) {
    cluster.turn(from, (core) => core.transfer(to));
    cluster.settle();
    cluster.elapse(heartbeatMs);
  }
  assertEquals(terms(cluster), [3, 3, 1]);
  cluster.crash(1);
  cluster.heal();
  cluster.elapse(6 * electionTimeoutMsMax);
  // Node 3 lacks what was committed, so only node 2 can win, with the vote of 3.
  assertEquals(roles(cluster, [2, 3]), ["leader", "follower"]);
  assertEquals(cluster.termsOf(3), cluster.termsOf(2));
});

// CheckQuorum and PreVote.

Deno.test("TestLeaderStepdownWhenQuorumActive: a leader that hears a majority leads on", () => {
  const cluster = led();
  cluster.crash(3);
  cluster.elapse(10 * electionTimeoutMsMax);
  assertEquals([cluster.leader, terms(cluster, [1, 2])], [1, [1, 1]]);
});

Deno.test("TestLeaderStepdownWhenQuorumLost: a leader that hears no majority follows", () => {
  const cluster = led();
  cluster.partition([1], [2, 3]);
  cluster.elapse(electionTimeoutMsMax + heartbeatMs);
  assert(cluster.core(1).role !== "leader");
  assertEquals(cluster.core(1).context.currentTerm, 1);
});

Deno.test("TestLeaderSupersedingWithCheckQuorum, TestLeaderElectionWithCheckQuorum: nobody supersedes a leader that is heard, somebody one that is not", () => {
  const cluster = led();
  cluster.elapse(heartbeatMs);
  const { lastIndex: lastLogIndex, lastTerm: lastLogTerm } = cluster.core(3).state.log;
  const message: RaftMessage = {
    type: "RequestVote",
    group: 0,
    term: 2,
    from: 3,
    lastLogIndex,
    lastLogTerm,
    transfer: false,
  };
  const { context } = cluster.core(2);
  cluster.deliver({ to: 2, message });
  assertEquals(cluster.core(2).context, context);
  cluster.partition([1], [2, 3]);
  cluster.elapse(3 * electionTimeoutMsMax);
  assert(cluster.leader === 2 || cluster.leader === 3);
  assert(cluster.core(1).role !== "leader");
});

Deno.test("TestPreVoteWithCheckQuorum: two nodes elect one of them when the leader is cut off", () => {
  const cluster = led();
  cluster.elapse(10 * heartbeatMs);
  cluster.partition([1], [2, 3]);
  cluster.elapse(3 * electionTimeoutMsMax);
  assertEquals(roles(cluster, [2, 3]).sort(), ["follower", "leader"]);
});

Deno.test("TestDisruptiveFollowerPreVote: a node that comes back with an old log and a new campaign disturbs nobody", () => {
  const cluster = led();
  cluster.partition([1, 2], [3]);
  for (const text of ["a", "b", "c"]) cluster.propose(1, text);
  cluster.elapse(3 * electionTimeoutMsMax);
  cluster.heal();
  cluster.timeout(3);
  cluster.settle();
  cluster.elapse(electionTimeoutMsMax);
  assertEquals([roles(cluster), terms(cluster)], [["leader", "follower", "follower"], [1, 1, 1]]);
  assertEquals(cluster.committedTexts(3), ["a", "b", "c"]);
});

Deno.test("TestNonPromotableVoterWithCheckQuorum, TestLearnerElectionTimeout: who may not lead follows, whatever its timer does", () => {
  const cluster = new CoreCluster({ voters: [1, 2], learners: [3] });
  cluster.nowMs = electionTimeoutMsMax;
  cluster.timeout(3);
  assertEquals(cluster.core(3).role, "follower");
  cluster.elect(1);
  assertEquals(cluster.core(3).context.leaderId, 1);
});

Deno.test("TestLearnerLogReplication: a learner gets what is committed and is not counted", () => {
  const cluster = new CoreCluster({ voters: [1, 2], learners: [3] });
  cluster.elect(1);
  cluster.crash(2);
  cluster.propose(1, "a");
  cluster.settle();
  assertEquals(cluster.committedTexts(1), []);
  assertEquals(cluster.termsOf(3), [1, 1]);
  cluster.restart(2);
  cluster.elapse(3 * heartbeatMs);
  assertEquals(cluster.committedTexts(3), ["a"]);
});

Deno.test("TestLearnerCanVote: a learner grants a vote, for it may have been promoted without knowing", () => {
  const solo = new SoloCore({ id: 2, voters: [1, 3], learners: [2] });
  solo.nowMs += electionTimeoutMsMin;
  const outbox = solo.receive(solo.requestVote({ from: 1, term: 2 }));
  assertEquals(only("RequestVoteReply", outbox).granted, true);
});

// Replication.

Deno.test("TestLogReplication: what any leader took is on all nodes, in one order", () => {
  const cluster = led();
  cluster.propose(1, "one");
  cluster.settle();
  cluster.elect(2);
  cluster.propose(2, "two");
  cluster.settle();
  cluster.elapse(2 * heartbeatMs);
  for (const id of [1, 2, 3]) assertEquals(cluster.committedTexts(id), ["one", "two"]);
});

for (const [what, down] of [["all", []], ["two", [3]], ["one", [2, 3]]] as const) {
  Deno.test(`TestProposal: of three nodes ${what} up`, () => {
    const cluster = led();
    for (const id of down) cluster.crash(id);
    assert(cluster.propose(1, "a").accepted);
    cluster.settle();
    assertEquals(cluster.committedTexts(1), down.length < 2 ? ["a"] : []);
  });
}

Deno.test("TestCannotCommitWithoutNewTermEntry: earlier entries on a majority do not commit before one of the leader's own term", () => {
  const cluster = new CoreCluster({ voters: [1, 2, 3, 4, 5] });
  const ids = [1, 2, 3, 4, 5];
  cluster.elect(1);
  cluster.elapse(2 * heartbeatMs);
  // All nodes hold the entries, but their leader never learns it.
  cluster.isLost = ({ message }) => message.type === "AppendEntriesReply";
  for (const text of ["a", "b"]) cluster.propose(1, text);
  cluster.settle();
  cluster.crash(1);
  // The next leader hears who matches how far, while its own entry does not arrive.
  cluster.isLost = ({ message }) => message.type === "AppendEntries" && message.runs.length > 0;
  cluster.elect(2);
  cluster.elapse(3 * heartbeatMs);
  assertEquals([3, 4, 5].map((id) => matchesOf(cluster.core(2))[id]), [3, 3, 3]);
  assertEquals(commits(cluster, [2, 3, 4, 5]), [1, 1, 1, 1]);
  cluster.heal();
  cluster.restart(1);
  cluster.elapse(3 * heartbeatMs);
  assertEquals(commits(cluster, ids), [4, 4, 4, 4, 4]);
});

Deno.test("TestCommitWithoutNewTermEntry: earlier entries commit with the new leader's no-op, without a proposal", () => {
  const cluster = new CoreCluster({ voters: [1, 2, 3, 4, 5] });
  const ids = [1, 2, 3, 4, 5];
  cluster.elect(1);
  cluster.elapse(2 * heartbeatMs);
  cluster.partition([1, 2], [3, 4, 5]);
  cluster.propose(1, "a");
  cluster.propose(1, "b");
  cluster.settle();
  assertEquals(commits(cluster, ids), [1, 1, 1, 1, 1]);
  cluster.heal();
  cluster.elect(2);
  cluster.elapse(3 * heartbeatMs);
  assertEquals(commits(cluster, ids), [4, 4, 4, 4, 4]);
  for (const id of ids) assertEquals(cluster.termsOf(id), [1, 1, 1, 2]);
});

Deno.test("TestOldMessages: an append of an earlier term changes nothing", () => {
  const cluster = led();
  cluster.elect(2);
  cluster.elect(1);
  const solo = new SoloCore({ id: 2, terms: [1, 2, 3] });
  const message = solo.append({ term: 2, prevLogIndex: 2, prevLogTerm: 2, terms: [2] });
  cluster.deliver({ to: 1, message });
  cluster.deliver({ to: 3, message });
  cluster.propose(1, "somedata");
  cluster.settle();
  for (const id of [1, 2, 3]) assertEquals(cluster.termsOf(id), [1, 2, 3, 3]);
});

for (
  const [what, fields, expected] of [
    ["previous term differs", { prevLogTerm: 3, prevLogIndex: 2, leaderCommit: 3 }, [2, 0, false]],
    ["previous entry is missing", { prevLogTerm: 3, prevLogIndex: 3, leaderCommit: 3 }, [
      2,
      0,
      false,
    ]],
    ["nothing new", { prevLogTerm: 1, prevLogIndex: 1, leaderCommit: 1 }, [2, 1, true]],
    ["all is new", { leaderCommit: 1, terms: [2] }, [1, 1, true]],
    ["two more", { prevLogTerm: 2, prevLogIndex: 2, leaderCommit: 3, terms: [2, 2] }, [4, 3, true]],
    ["one more, commit beyond", {
      prevLogTerm: 2,
      prevLogIndex: 2,
      leaderCommit: 4,
      terms: [2],
    }, [3, 3, true]],
    ["known entry again", { prevLogTerm: 1, prevLogIndex: 1, leaderCommit: 4, terms: [2] }, [
      2,
      2,
      true,
    ]],
    ["commit beyond the match", { prevLogTerm: 1, prevLogIndex: 1, leaderCommit: 3 }, [2, 1, true]],
  ] as const
) {
  Deno.test(`TestHandleMsgApp, TestHandleHeartbeat: ${what}`, () => {
    const solo = new SoloCore({ terms: [1, 2] });
    const outbox = solo.receive(solo.append(fields));
    const reply = only("AppendEntriesReply", outbox);
    const { log, commitIndex } = solo.core.state;
    assertEquals([log.lastIndex, commitIndex, reply.accepted], [...expected]);
    // A lower commit index later takes nothing back.
    solo.receive(solo.append({ prevLogTerm: solo.terms[0]!, prevLogIndex: 1, leaderCommit: 0 }));
    assertEquals(solo.core.state.commitIndex, commitIndex);
  });
}

Deno.test("TestMsgAppRespWaitReset: a follower in probe waits for its answer, then gets the rest", () => {
  const solo = new SoloCore();
  solo.persist(solo.lead());
  solo.receive(solo.reply({ from: 2, matchIndex: 1 }));
  assertEquals(solo.core.state.commitIndex, 1);
  const proposed = solo.turn((core) => core.propose([new Uint8Array([1])]));
  const entriesFor = (outbox: typeof proposed, to: NodeId): number[] =>
    messagesTo(outbox, to).flatMap((message) =>
      message.type === "AppendEntries" ? message.runs.map(({ firstIndex }) => firstIndex) : []
    );
  assertEquals([entriesFor(proposed, 2), entriesFor(proposed, 3)], [[2], []]);
  const resumed = solo.receive(solo.reply({ from: 3, matchIndex: 1 }));
  assertEquals([entriesFor(resumed, 2), entriesFor(resumed, 3)], [[], [2]]);
});

for (
  const [what, fields, match, next, commit] of [
    ["a stale refusal", { accepted: false, prevLogIndex: 9, conflictIndex: 1 }, 0, 3, 0],
    ["a refusal of the probe", { accepted: false, prevLogIndex: 2, conflictIndex: 2 }, 0, 2, 0],
    ["an acceptance", { matchIndex: 3, prevLogIndex: 2 }, 3, 4, 3],
    ["a heartbeat's acceptance without a match", { matchIndex: 0, prevLogIndex: 2 }, 0, 4, 0],
  ] as const
) {
  Deno.test(`TestLeaderAppResp: ${what}`, () => {
    const solo = new SoloCore({ terms: [1, 1] });
    solo.persist(solo.lead());
    solo.receive(solo.reply(fields));
    const progress = solo.core.state.lead.progress.get(2)!;
    assertEquals([progress.matchIndex, progress.nextIndex], [match, next]);
    assertEquals([matchesOf(solo.core)[3], solo.core.state.commitIndex], [0, commit]);
  });
}

Deno.test("TestBcastBeat: a heartbeat goes to every follower and learner, at what it is believed to hold", () => {
  const solo = new SoloCore({ voters: [1, 2, 3], learners: [4], terms: [1, 1] });
  solo.persist(solo.lead());
  solo.receive(solo.reply({ from: 2, matchIndex: 3, prevLogIndex: 2 }));
  const beats = solo.elapse(heartbeatMs).messages;
  assertEquals(
    beats.map(({ to, message }) =>
      message.type === "AppendEntries" &&
      [to, message.prevLogIndex, message.leaderCommit, message.runs.length]
    ),
    [[2, 3, 3, 0], [3, 2, 3, 0], [4, 2, 3, 0]],
  );
});

for (const [role, make] of Object.entries(inEachRole)) {
  Deno.test(`TestRecvMsgBeat: a ${role} ${role === "leader" ? "beats" : "does not beat"}`, () => {
    const { messages } = make().elapse(heartbeatMs);
    const beats = messages.filter(({ message }) => message.type === "AppendEntries");
    assertEquals(beats.length, role === "leader" ? 2 : 0);
  });
}

for (
  const [own, other] of [
    [[1, 2, 2, 4, 4, 4, 4], [1, 2, 2, 3, 3, 3, 3, 3, 3, 3, 3]],
    [[1, 1, 1, 1, 1, 1, 5], [1, 1, 1, 4, 4, 4, 4]],
    [[1, 2, 3, 5], [1, 2, 2, 2, 2, 2]],
    [[1, 1, 1, 1, 6], [1, 1, 4, 4, 4, 4, 4]],
  ] as const
) {
  Deno.test(`TestFastLogRejection: ${own.join("")} against ${other.join("")} takes one refusal`, () => {
    const cluster = new CoreCluster({ voters: [1, 2, 3], logs: { 1: own, 2: other, 3: own } });
    cluster.elect(1);
    cluster.elapse(2 * heartbeatMs);
    assertEquals(cluster.termsOf(2), cluster.termsOf(1));
    const refusals = cluster.transcript.filter((line) => line.includes("refused at"));
    assertEquals(refusals.length, 1);
  });
}

// Reads.

Deno.test("TestReadOnlyOptionSafe: reads at any node get an index at or above what was committed before", () => {
  const cluster = led();
  cluster.elapse(2 * heartbeatMs);
  for (let round = 0; round < 10; round++) {
    for (const id of [1, 2, 3]) {
      cluster.propose(1, ...Array.from({ length: 10 }, (_, n) => `${round}.${id}.${n}`));
      cluster.settle();
      const committed = cluster.core(1).state.commitIndex;
      const readId = round * 10 + id;
      cluster.turn(id, (core) => core.read([readId]));
      cluster.settle();
      const ready = cluster.node(id).readsReady.find(({ readIds }) => readIds.includes(readId));
      assertEquals(ready?.readIndex, committed);
    }
  }
});

Deno.test("TestReadOnlyForNewLeader: a new leader serves no read before an entry of its term is committed", () => {
  const cluster = led();
  cluster.propose(1, "a");
  cluster.settle();
  cluster.isLost = ({ message }) => message.type === "AppendEntries";
  cluster.elect(2);
  cluster.turn(2, (core) => core.read([1]));
  cluster.settle();
  assertEquals(cluster.node(2).readsReady, []);
  cluster.heal();
  cluster.elapse(3 * heartbeatMs);
  assertEquals(cluster.node(2).readsReady, [{ readIndex: 3, readIds: [1] }]);
});

Deno.test("TestRaftFreesReadOnlyMem: nothing is kept of a read that was answered", () => {
  const cluster = led();
  cluster.elapse(2 * heartbeatMs);
  for (const id of [1, 2, 3]) cluster.turn(id, (core) => core.read([id]));
  cluster.settle();
  for (const id of [1, 2, 3]) {
    const { leadership, forwarded } = cluster.core(id).state;
    assertEquals([leadership?.reads.hasWaiting ?? false, forwarded.batches.size], [false, 0]);
    assertEquals(leadership?.reads.running, undefined);
    assertEquals(cluster.node(id).readsReady.length, 1);
  }
});

// Transfers.

Deno.test("TestLeaderTransferToUpToDateNode, TestLeaderTransferWithCheckQuorum, TestLeaderTransferBack: there and back again, at once", () => {
  const cluster = led();
  cluster.elapse(2 * heartbeatMs);
  for (const [from, to] of [[1, 2], [2, 1]] as const) {
    cluster.turn(from, (core) => core.transfer(to));
    cluster.settle();
    assertEquals(cluster.leader, to);
    assertEquals(cluster.core(from).role, "follower");
    cluster.elapse(2 * heartbeatMs);
  }
  assertEquals(terms(cluster), [3, 3, 3]);
});

Deno.test("TestLeaderTransferToSlowFollower: it gets what it lacks, and leads", () => {
  const cluster = led();
  cluster.partition([1, 2], [3]);
  cluster.propose(1, "a");
  cluster.settle();
  cluster.heal();
  cluster.turn(1, (core) => core.transfer(3));
  cluster.elapse(3 * heartbeatMs);
  assertEquals(cluster.leader, 3);
  assertEquals(cluster.committedTexts(3), ["a"]);
});

Deno.test("TestLeaderTransferSecondTransferToSameNode: the first goes on, and ends when its own time is over", () => {
  const cluster = led();
  cluster.elapse(2 * heartbeatMs);
  cluster.partition([1, 2], [3]);
  cluster.turn(1, (core) => core.transfer(3));
  cluster.elapse(electionTimeoutMsMax / 2);
  cluster.turn(1, (core) => core.transfer(3));
  assertEquals(cluster.core(1).context.transferee, 3);
  cluster.elapse(electionTimeoutMsMax / 2 + heartbeatMs);
  assertEquals(cluster.core(1).context.transferee, undefined);
  assertEquals([cluster.leader, cluster.node(1).transfers], [1, ["refused", "aborted"]]);
});

Deno.test("TestLeaderTransferReceiveHigherTermVote: a candidate of a later term ends the transfer with the leadership", () => {
  const cluster = led();
  cluster.elapse(2 * heartbeatMs);
  cut(cluster, 1, 3);
  cluster.turn(1, (core) => core.transfer(3));
  assertEquals(cluster.core(1).context.transferee, 3);
  cluster.heal();
  const { lastIndex: lastLogIndex, lastTerm: lastLogTerm } = cluster.core(2).state.log;
  const request = { type: "RequestVote", group: 0, term: 5, from: 2 } as const;
  cluster.deliver({ to: 1, message: { ...request, lastLogIndex, lastLogTerm, transfer: true } });
  assertEquals([cluster.core(1).role, cluster.core(1).context.transferee], ["follower", undefined]);
});
