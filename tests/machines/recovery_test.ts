/**
 * A member that starts without the log that it had (machines/recovery.ts), on one core: what it asks,
 * what it keeps silent about, and when it votes again. The simulator damages logs of whole clusters.
 *
 * @module
 */
import { assert, assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { RECOVERY_REQUESTS_MAX } from "../../machines/bounds.ts";
import { causesOf } from "../../machines/explain.ts";
import { DEFAULT_TIMING } from "../../machines/group_state.ts";
import { encodeConfig, foundingConfig } from "../../machines/group_config.ts";
import type { Envelope, NodeId, ReadIndex, Term } from "../../machines/raft_types.ts";
import { encodeRun } from "../../storage/log/wal_record.ts";
import {
  hardStateOf,
  matchesOf,
  only,
  SoloCore,
  type SoloOptions,
  type Turn,
} from "./solo_core.ts";

const ASK_MS = DEFAULT_TIMING.electionTimeoutMsMin;

/** A voter of three whose log was lost, and what it sent at once. */
class Recovering {
  readonly solo: SoloCore;
  /** The ids under which each voter was asked last. */
  readonly asked = new Map<NodeId, ReadIndex>();

  constructor(options: Pick<SoloOptions, "remembered"> = {}) {
    this.solo = new SoloCore({ isLogLost: true, ...options });
    this.note(this.solo.turn(() => {}));
  }

  note(turn: Turn): Turn {
    for (const { to, message } of turn.messages) {
      if (message.type === "ReadIndex") this.asked.set(to, message);
    }
    return turn;
  }

  /** The voter answers what it was asked last. */
  answer(from: NodeId, { term = this.solo.term, readIndex = 0 } = {}): Turn {
    const { readId } = this.asked.get(from)!;
    const reply = { type: "ReadIndexReply", group: 0, term, from, readId, readIndex } as const;
    return this.note(this.solo.receive(reply));
  }

  /** Time passes until it asks again. */
  wait(): Turn {
    return this.note(this.solo.elapse(ASK_MS));
  }

  /** It has heard all, and node 2 leads. */
  catchUp(term: Term): void {
    this.answer(2, { term });
    this.answer(3, { term });
    assertEquals(this.value, { recovering: "catchingUp" });
    this.solo.receive(this.solo.append({ from: 2 }));
    this.wait();
  }

  /** Node 2 leads that term, and confirms that this node has all. */
  catchUpAgain(term: Term): void {
    this.solo.receive(this.solo.append({ from: 2 }));
    this.wait();
    this.answer(2, { term, readIndex: 1 });
    while (this.solo.core.state.writes.length > 0) this.solo.turn((core) => core.durable());
  }

  get value(): unknown {
    return this.solo.core.snapshot.value.role;
  }
}

Deno.test("it asks every other voter, says that its log is lost, and asks who is silent again", () => {
  const node = new Recovering();
  assertEquals([...node.asked.keys()], [2, 3]);
  assert([...node.asked.values()].every(({ isLogLost }) => isLogLost));
  node.answer(2);
  const turn = node.wait();
  assertEquals(turn.messages.map(({ to, message }) => [to, message.type]), [[3, "ReadIndex"]]);
  assertEquals(node.value, { recovering: "asking" });
});

Deno.test("it asks the voters that it knew last, whoever they were when its snapshot was taken", () => {
  const node = new Recovering({ remembered: [1, 4, 5] });
  assertEquals([...node.asked.keys()], [4, 5]);
  node.answer(4, { term: 7 });
  assertEquals(node.value, { recovering: "asking" });
  node.answer(5);
  assertEquals([node.solo.term, node.value], [7, { recovering: "catchingUp" }]);
});

Deno.test("it asks also those whom it finds to be voters, before it votes", () => {
  const node = new Recovering();
  node.catchUp(2);
  const { solo } = node;
  node.answer(2, { term: 2, readIndex: 1 });
  const voters = encodeRun({
    ...{ group: 0, term: 2, firstIndex: 1, timeMs: 0, kind: "config" },
    payloads: [encodeConfig({ ...foundingConfig({ voters: [1, 2, 4] }), clusterVersion: 2 })],
  });
  solo.receive(solo.append({ from: 2, runs: [voters], leaderCommit: 1 }));
  while (solo.core.state.writes.length > 0) node.note(solo.turn((core) => core.durable()));
  assertEquals(node.value, { recovering: "asking" });
  assertEquals([...node.asked.keys()], [2, 3, 4]);
  // It may have had this one's vote, in a term of which the others have not heard.
  node.answer(4, { term: 9 });
  assertEquals([solo.term, node.value], [9, { recovering: "catchingUp" }]);
  node.catchUpAgain(9);
  assertEquals([node.value, hardStateOf(solo.core)], ["follower", { currentTerm: 9, votedFor: 1 }]);
});

Deno.test("who finds in its new log that it was removed waits for nothing any more", () => {
  const node = new Recovering();
  node.catchUp(2);
  const { solo } = node;
  const others = encodeRun({
    ...{ group: 0, term: 2, firstIndex: 1, timeMs: 0, kind: "config" },
    payloads: [encodeConfig({ ...foundingConfig({ voters: [2, 3] }), clusterVersion: 2 })],
  });
  solo.receive(solo.append({ from: 2, runs: [others], leaderCommit: 1 }));
  assertEquals([solo.core.role, solo.core.nextDeadlineMs], ["removed", Infinity]);
});

Deno.test("without a leader its explanation says that the others must elect one without it", () => {
  const node = new Recovering();
  const why = (): string => {
    const { snapshot, state } = node.solo.core;
    const surroundings = { links: [], lastLeader: undefined, upForMs: 0 };
    return causesOf(snapshot, state, surroundings).find(({ code }) => code === "log-lost")!
      .sentence;
  };
  assertStringIncludes(why(), "it waits for an answer of 2, 3");
  node.answer(2);
  node.answer(3);
  assertStringIncludes(why(), "2 other voters must elect a leader without it");
  node.solo.receive(node.solo.append({ from: 2 }));
  assertMatch(why(), /fetched it from the others$/);
});

Deno.test("before all were heard it answers no leader: that could confirm one it helped to depose", () => {
  const node = new Recovering();
  node.answer(2, { term: 3 });
  const turn = node.solo.receive(node.solo.append({ from: 2, terms: [3] }));
  assertEquals([turn.messages, turn.waiting, turn.runs], [[], [], []]);
  node.answer(3, { term: 5 });
  // The term of whoever it may have voted for.
  assertEquals([node.solo.term, node.value], [5, { recovering: "catchingUp" }]);
});

Deno.test("an answer of a lower term counts, one to another question does not", () => {
  const node = new Recovering();
  node.answer(2, { term: 7 });
  node.wait();
  node.solo.receive({
    type: "ReadIndexReply",
    ...{ group: 0, term: 7, from: 3, readId: 1, readIndex: 0 },
  });
  assertEquals(node.value, { recovering: "asking" });
  node.answer(3, { term: 4 });
  assertEquals([node.solo.term, node.value], [7, { recovering: "catchingUp" }]);
});

Deno.test("it neither votes nor campaigns, nor takes leadership over", () => {
  for (const step of ["asking", "catchingUp"]) {
    const node = new Recovering();
    if (step === "catchingUp") node.catchUp(2);
    const { solo } = node;
    solo.nowMs += 10 * DEFAULT_TIMING.electionTimeoutMsMax;
    const vote = solo.receive(solo.requestVote({ term: solo.term + 1, from: 3 }));
    const replies = [...vote.messages, ...vote.waiting].map(({ message }) => message)
      .filter(({ type }) => type === "RequestVoteReply");
    assertEquals(replies.map((reply) => "granted" in reply && reply.granted), [false]);
    solo.receive({ type: "TimeoutNow", group: 0, term: solo.term, from: 3 });
    solo.timeout();
    assertEquals([solo.core.role, node.value], ["recovering", { recovering: step }]);
  }
});

Deno.test("it follows once its log holds the read index durably, and its vote of that term is given away", () => {
  const node = new Recovering();
  node.catchUp(2);
  const { solo } = node;
  // An answer that was asked for before all were heard says nothing: this one was asked for since.
  node.answer(2, { term: 2, readIndex: 3 });
  const turn = solo.receive(solo.append({ from: 2, terms: [1, 1, 2], leaderCommit: 3 }));
  assertEquals(node.value, { recovering: "catchingUp" }, "the disk has not got it");
  assertEquals(turn.runs.length, 3);
  let durable = turn;
  while (node.value !== "follower") durable = solo.turn((core) => core.durable());
  assertEquals([node.value, hardStateOf(solo.core)], [
    "follower",
    { currentTerm: 2, votedFor: 1 },
  ]);
  assertEquals(durable.hardState, { currentTerm: 2, votedFor: 1 });
  solo.nowMs += 10 * DEFAULT_TIMING.electionTimeoutMsMax;
  const refused = solo.receive(solo.requestVote({ term: 2, from: 3 }));
  assertEquals(only("RequestVoteReply", refused).granted, false);
  const granted = solo.receive(solo.requestVote({ term: 3, from: 3 }));
  assertEquals(only("RequestVoteReply", granted).granted, true);
});

Deno.test("a read index of before all were heard is not believed", () => {
  const node = new Recovering();
  const early = node.asked.get(2)!;
  node.answer(2, { term: 2, readIndex: 1 });
  node.answer(3, { term: 2 });
  const { solo } = node;
  solo.receive({
    type: "ReadIndexReply",
    ...{ group: 0, term: 2, from: 2, readId: early.readId, readIndex: 1 },
  });
  solo.receive(solo.append({ from: 2, terms: [1, 2], leaderCommit: 2 }));
  while (solo.core.state.writes.length > 0) solo.turn((core) => core.durable());
  assertEquals([solo.core.state.durableIndex, solo.core.state.commitIndex], [2, 2]);
  assertEquals(node.value, { recovering: "catchingUp" });
});

Deno.test("a leader forgets what a follower had that says its log is lost, before it commits any more", () => {
  const solo = new SoloCore({ terms: [1, 1] });
  const led = solo.lead();
  solo.receive(solo.reply({ matchIndex: 2, from: 2 }), solo.reply({ matchIndex: 2, from: 3 }));
  const proposed = solo.turn((core) => void core.propose([new Uint8Array(1)]));
  solo.receive(solo.reply({ matchIndex: 4, from: 2 }));
  assertEquals([solo.core.state.commitIndex, matchesOf(solo.core)], [0, { 2: 4, 3: 2 }]);
  const lost = { type: "ReadIndex", group: 0, term: solo.term, from: 2, readId: 9 } as const;
  solo.receive({ ...lost, isLogLost: true });
  assertEquals(matchesOf(solo.core), { 2: 0, 3: 2 });
  // With its own disk the old acknowledgement would have made a majority.
  solo.persist(led);
  solo.persist(proposed);
  assertEquals(solo.core.state.commitIndex, 0);
  solo.receive(solo.reply({ matchIndex: 4, from: 3 }));
  assertEquals(solo.core.state.commitIndex, 4);
});

Deno.test("a follower that is only slow keeps what it has", () => {
  const solo = new SoloCore({ terms: [1] });
  solo.persist(solo.lead());
  solo.receive(solo.reply({ matchIndex: 2, from: 2 }));
  const read = { type: "ReadIndex", group: 0, term: solo.term, from: 2, readId: 9 } as const;
  solo.receive({ ...read, isLogLost: false });
  assertEquals(matchesOf(solo.core)[2], 2);
});

Deno.test("it asks a leader as soon as it knows it, before it answers it, and no more once it knows what it must hold", () => {
  const node = new Recovering();
  node.answer(2, { term: 2 });
  node.answer(3, { term: 2 });
  const { solo } = node;
  const first = node.note(solo.receive(solo.append({ from: 2, prevLogIndex: 7, prevLogTerm: 2 })));
  assertEquals(first.messages.map(({ to, message }) => [to, message.type]), [[2, "ReadIndex"]]);
  assertEquals(only("AppendEntriesReply", first).accepted, false);
  assertEquals(only("ReadIndex", node.wait()).isLogLost, true);
  node.answer(2, { term: 2, readIndex: 3 });
  solo.receive(solo.append({ from: 2 }));
  assertEquals(node.wait().messages, []);
  assertEquals(node.value, { recovering: "catchingUp" });
});

Deno.test("it remembers a bounded number of requests, and believes the newest", () => {
  const node = new Recovering();
  node.answer(2);
  const early = node.asked.get(3)!;
  for (let asked = 0; asked <= RECOVERY_REQUESTS_MAX; asked++) node.wait();
  assertEquals(node.solo.core.state.recovery?.asked.size, RECOVERY_REQUESTS_MAX);
  const late = node.asked.get(3)!;
  node.asked.set(3, early);
  node.answer(3);
  assertEquals(node.value, { recovering: "asking" });
  node.asked.set(3, late);
  node.answer(3);
  assertEquals(node.value, { recovering: "catchingUp" });
});

/** A leader of three in term 2; node 2 has acknowledged its three entries, durably, in round 0. */
function leadsThree(): SoloCore {
  const solo = new SoloCore({ terms: [1, 1] });
  solo.persist(solo.lead());
  solo.receive(solo.reply({ matchIndex: 3 }));
  return solo;
}

Deno.test("a follower that refuses again what it had acknowledged has lost it, and gets it again", () => {
  const solo = leadsThree();
  const refusal = { accepted: false, prevLogIndex: 3, conflictIndex: 2 };
  solo.receive(solo.reply(refusal));
  const asked = only("AppendEntries", messagesTo2(solo.elapse(DEFAULT_TIMING.heartbeatMs)));
  assertEquals([asked.round, matchesOf(solo.core)[2]], [1, 3]);
  // One that was under way for long proves nothing.
  assertEquals(solo.receive(solo.reply(refusal)).cutShort, []);
  const proof = solo.receive(solo.reply({ ...refusal, round: asked.round }));
  assertEquals(proof.cutShort, [{ node: 2, acknowledged: 3, holds: 1 }]);
  assertEquals(matchesOf(solo.core)[2], 0);
  const sent = only("AppendEntries", messagesTo2(proof));
  assertEquals([sent.prevLogIndex, sent.runs[0]?.firstIndex], [1, 2]);
  solo.receive(solo.reply({ matchIndex: 3, round: asked.round }));
  assertEquals(matchesOf(solo.core)[2], 3);
});

Deno.test("what a follower has acknowledged since it was suspected needs a proof of its own", () => {
  const solo = leadsThree();
  solo.receive(solo.reply({ accepted: false, prevLogIndex: 3, conflictIndex: 2 }));
  solo.persist(solo.turn((core) => void core.propose([new Uint8Array(1)])));
  solo.receive(solo.reply({ matchIndex: 4, round: 1 }));
  // It was sent before the fourth entry was taken, and comes late.
  const late = { accepted: false, prevLogIndex: 4, conflictIndex: 4 };
  const turn = solo.receive(solo.reply({ ...late, round: 1 }));
  assertEquals([turn.cutShort, matchesOf(solo.core)[2]], [[], 4]);
  assertEquals(solo.receive(solo.reply({ ...late, round: 2 })).cutShort.length, 1);
});

function messagesTo2(turn: Turn): Envelope[] {
  return [...turn.messages, ...turn.waiting].filter(({ to }) => to === 2);
}
