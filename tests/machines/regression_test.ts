/**
 * Defects of the C++ starting point (S06 to S21 of the list of known defects) and of other Raft
 * implementations that apply to this one: each must fail if it comes back.
 *
 * @module
 */
import { assert, assertEquals } from "@std/assert";
import { DEFAULT_TIMING, VOTE_SLACK_MS_MAX } from "../../machines/group_state.ts";
import { CoreCluster } from "./core_cluster.ts";
import { messagesTo, only, SoloCore } from "./solo_core.ts";

const { electionTimeoutMsMin, electionTimeoutMsMax, heartbeatMs } = DEFAULT_TIMING;

Deno.test("S06: on conflict the stale suffix goes with the entry, and what is left of it is never committed", () => {
  const solo = new SoloCore({ terms: [1, 2, 2, 2, 2] });
  solo.receive(
    solo.append({ term: 3, prevLogIndex: 1, prevLogTerm: 1, terms: [3], leaderCommit: 5 }),
  );
  assertEquals(solo.terms, [1, 3]);
  assertEquals(solo.core.state.commitIndex, 2);
});

Deno.test("S06: commitIndex stops at the last new entry, not at the end of the follower's log", () => {
  const solo = new SoloCore({ terms: [1, 2, 2, 2] });
  solo.receive(solo.append({ prevLogIndex: 1, prevLogTerm: 1, terms: [2], leaderCommit: 4 }));
  assertEquals(solo.core.state.commitIndex, 2);
});

Deno.test("S08: a higher term learned in an AppendEntries reply is persisted", () => {
  const solo = new SoloCore({ terms: [1] });
  solo.persist(solo.lead());
  const outbox = solo.receive(solo.reply({ term: 7, accepted: false }));
  assertEquals(solo.core.role, "follower");
  assertEquals(outbox.hardState, { currentTerm: 7, votedFor: undefined });
});

Deno.test("S11: a late reply cannot move matchIndex backwards or have entries sent again", () => {
  const solo = new SoloCore({ terms: [1] });
  solo.persist(solo.lead());
  solo.receive(solo.reply({ matchIndex: 2, prevLogIndex: 1 }));
  const late = solo.receive(
    solo.reply({ matchIndex: 0 }),
    solo.reply({ accepted: false, prevLogIndex: 1, conflictIndex: 1 }),
  );
  assertEquals(solo.core.state.lead.progress.get(2)!.matchIndex, 2);
  assertEquals(messagesTo(late, 2), []);
});

Deno.test("S15: a term starts with a no-op, which commits what earlier leaders left", () => {
  const cluster = new CoreCluster({ voters: [1, 2, 3], logs: { 1: [1], 2: [1], 3: [1] } });
  cluster.elect(2);
  assertEquals(cluster.core(2).state.commitIndex, 2);
});

Deno.test("S15: pre-votes keep a returning node from raising the term", () => {
  const cluster = new CoreCluster({ voters: [1, 2, 3] });
  cluster.elect(1);
  cluster.partition([1, 2], [3]);
  cluster.elapse(10 * electionTimeoutMsMax);
  cluster.heal();
  cluster.elapse(2 * electionTimeoutMsMax);
  assertEquals([cluster.leader, cluster.core(1).context.currentTerm], [1, 1]);
});

Deno.test("S15: a leader without a majority ends its leadership", () => {
  const cluster = new CoreCluster({ voters: [1, 2, 3] });
  cluster.elect(1);
  cluster.partition([1], [2, 3]);
  cluster.elapse(electionTimeoutMsMax + heartbeatMs);
  assert(cluster.core(1).role !== "leader");
});

Deno.test("S16: a command leaves in the turn that takes it, without waiting for a heartbeat", () => {
  const solo = new SoloCore();
  solo.persist(solo.lead());
  solo.receive(...[2, 3].map((from) => solo.reply({ from, matchIndex: 1 })));
  const outbox = solo.turn((core) => core.propose([new Uint8Array([1])]));
  for (const to of [2, 3]) {
    const append = only("AppendEntries", outbox.messages.filter((envelope) => envelope.to === to));
    assertEquals(append.runs.map(({ firstIndex }) => firstIndex), [2]);
  }
});

Deno.test("S16: each entry is sent once to each follower; heartbeats carry none of it again", () => {
  const solo = new SoloCore();
  solo.persist(solo.lead());
  solo.receive(...[2, 3].map((from) => solo.reply({ from, matchIndex: 1 })));
  const sent: number[] = [];
  for (let at = 0; at < 50; at++) {
    const proposed = solo.turn((core) => core.propose([new Uint8Array([at])]));
    const beat = solo.elapse(heartbeatMs / 5);
    for (const message of [...messagesTo(proposed, 2), ...messagesTo(beat, 2)]) {
      assert(message.type === "AppendEntries");
      sent.push(
        ...message.runs.flatMap(({ firstIndex, ends }) => ends.map((_, nth) => firstIndex + nth)),
      );
    }
  }
  assertEquals(sent, Array.from({ length: 50 }, (_, at) => at + 2));
});

Deno.test("S21: timers go by the host's clock alone: a clock that is set back or forward fires none early", () => {
  const solo = new SoloCore();
  solo.nowMs = 1_000_000;
  solo.receive(solo.append());
  const deadlineMs = solo.core.state.electionDeadlineMs!;
  assert(deadlineMs >= 1_000_000 + electionTimeoutMsMin);
  assert(deadlineMs <= 1_000_000 + electionTimeoutMsMax);
  solo.nowMs = 0;
  solo.turn((core) => core.elapse());
  assertEquals(solo.core.role, "follower");
  solo.receive(solo.append());
  assert(solo.core.state.electionDeadlineMs! >= 1_000_000 + electionTimeoutMsMin);
  solo.nowMs = solo.core.state.electionDeadlineMs!;
  solo.turn((core) => core.elapse());
  assertEquals(solo.core.role, "preCandidate");
});

// Known from etcd's raft.

Deno.test("etcd: a node stuck in a higher term is freed by the leader stepping down to it", () => {
  const cluster = new CoreCluster({
    voters: [1, 2, 3],
    hardStates: { 3: { currentTerm: 9, votedFor: 3 } },
  });
  cluster.partition([1, 2], [3]);
  cluster.elect(1);
  cluster.heal();
  cluster.elapse(3 * electionTimeoutMsMax);
  const { leader } = cluster;
  assert(leader !== undefined);
  assert(cluster.core(leader).context.currentTerm > 9);
  for (const id of [1, 2, 3]) assertEquals(cluster.core(id).context.leaderId, leader);
});

Deno.test("etcd: two nodes elect a leader after the old one is gone, stickiness and pre-votes notwithstanding", () => {
  const cluster = new CoreCluster({ voters: [1, 2, 3] });
  cluster.elect(1);
  cluster.crash(1);
  cluster.elapse(4 * electionTimeoutMsMax);
  assert(cluster.leader === 2 || cluster.leader === 3);
});

Deno.test("etcd: a pre-candidate with an old term but the better log wins after all", () => {
  const cluster = new CoreCluster({
    voters: [1, 2, 3],
    logs: { 1: [1, 1], 2: [1, 1], 3: [1] },
    hardStates: { 3: { currentTerm: 5, votedFor: 3 } },
  });
  cluster.crash(2);
  cluster.elapse(10 * electionTimeoutMsMax);
  assertEquals(cluster.leader, 1);
  assertEquals(cluster.termsOf(3).slice(0, 2), [1, 1]);
});

Deno.test("etcd: a heartbeat does not commit what a follower that was refilled does not have", () => {
  const solo = new SoloCore({ terms: [1] });
  solo.receive(solo.append({ prevLogIndex: 1, prevLogTerm: 1, leaderCommit: 7 }));
  assertEquals(solo.core.state.commitIndex, 1);
});

Deno.test("etcd: after an aborted transfer a late TimeoutNow elects its target, and nothing breaks", () => {
  const cluster = new CoreCluster({ voters: [1, 2, 3] });
  cluster.elect(1);
  cluster.turn(1, (core) => core.transfer(2));
  const late = cluster.inFlight.find(({ message }) => message.type === "TimeoutNow")!;
  cluster.inFlight = cluster.inFlight.filter((envelope) => envelope !== late);
  cluster.elapse(electionTimeoutMsMax + heartbeatMs);
  assertEquals(cluster.node(1).transfers, ["aborted"]);
  assert(cluster.propose(1, "after the abort").accepted);
  cluster.settle();
  cluster.deliver(late);
  cluster.elapse(2 * heartbeatMs);
  assertEquals(cluster.leader, 2);
  for (const id of [1, 2, 3]) assertEquals(cluster.committedTexts(id), ["after the abort"]);
});

Deno.test("etcd: an old round's reads are gone when a leader is elected again", () => {
  const cluster = new CoreCluster({ voters: [1, 2, 3] });
  cluster.elect(1);
  cluster.isLost = ({ to }) => to === 1;
  cluster.turn(1, (core) => core.read([1]));
  cluster.settle();
  cluster.elect(2);
  cluster.heal();
  cluster.elapse(2 * heartbeatMs);
  assertEquals(cluster.core(1).context.leaderId, 2);
  cluster.elect(1);
  assertEquals(cluster.node(1).readsRefused, [1]);
  assertEquals(cluster.node(1).readsReady, []);
  cluster.turn(1, (core) => core.read([2]));
  cluster.settle();
  assertEquals(cluster.node(1).readsReady.flatMap(({ readIds }) => readIds), [2]);
});

Deno.test("etcd: a leader that was paused does not serve reads from before its pause", () => {
  const cluster = new CoreCluster({ voters: [1, 2, 3] });
  cluster.elect(1);
  // 1 is stopped: nothing reaches it, nothing leaves it.
  cluster.partition([2, 3], [1]);
  cluster.elect(2);
  cluster.propose(2, "while it slept");
  cluster.settle();
  cluster.turn(1, (core) => core.read([1]));
  cluster.heal();
  cluster.elapse(2 * electionTimeoutMsMax);
  const { readsReady, readsRefused } = cluster.node(1);
  assertEquals([readsReady, readsRefused], [[], [1]]);
});

Deno.test("etcd: progress that ran ahead of what was lost goes back to probing, once, not per message", () => {
  const solo = new SoloCore();
  solo.persist(solo.lead());
  solo.receive(solo.reply({ matchIndex: 1 }));
  for (let at = 0; at < 5; at++) solo.turn((core) => core.propose([new Uint8Array([at])]));
  // Everything was lost; each message that got through behind it is refused.
  const first = solo.receive(
    solo.reply({ accepted: false, prevLogIndex: 3, conflictIndex: 2 }),
  );
  assertEquals(only("AppendEntries", first.messages.filter(({ to }) => to === 2)).prevLogIndex, 1);
  const second = solo.receive(
    solo.reply({ accepted: false, prevLogIndex: 4, conflictIndex: 2 }),
    solo.reply({ accepted: false, prevLogIndex: 5, conflictIndex: 2 }),
  );
  assertEquals(messagesTo(second, 2), []);
});

Deno.test("X18: an election waits as long as two syncs of this disk take, a follower no longer than before", () => {
  const solo = new SoloCore({ terms: [1] });
  const { electionDeadlineMs: follower } = solo.core.state;
  solo.campaign();
  solo.nowMs += 900;
  solo.turn((core) => core.durable());
  solo.campaign();
  const waits = solo.core.state.electionDeadlineMs! - solo.nowMs;
  assert(waits >= 2 * 900 + electionTimeoutMsMin, `it waits ${waits} ms`);
  // With a leader the timer is the paper's again.
  solo.turn((core) => core.durable());
  solo.receive(solo.append());
  assertEquals(solo.core.state.electionDeadlineMs! - solo.nowMs, follower);
});

Deno.test("X18: candidacies that lead to no leader wait longer and longer, up to a bound", () => {
  const solo = new SoloCore({ terms: [1] });
  const waits: number[] = [];
  for (let candidacy = 0; candidacy < 12; candidacy++) {
    solo.persist(solo.campaign());
    waits.push(solo.core.state.electionDeadlineMs! - solo.nowMs);
  }
  assertEquals(waits[0], waits[1]);
  assert(waits[2]! > waits[1]! && waits[3]! > waits[2]!);
  assertEquals(waits.at(-1)! - waits[0]!, VOTE_SLACK_MS_MAX);
  solo.receive(solo.append());
  assertEquals(solo.core.state.candidacies, 0);
});
