/**
 * The cases of etcd-io/raft's suites that are about snapshots, by name and by meaning: its
 * raft_snap_test.go, and those of raft_test.go. tests/README.md says which do not apply.
 *
 * @module
 */
import { assert, assertEquals, assertGreater } from "@std/assert";
import { DEFAULT_TIMING } from "../../machines/group_state.ts";
import type { Progress } from "../../machines/progress.ts";
import type { NodeId, RaftMessage, SnapshotRef } from "../../machines/raft_types.ts";
import {
  FOUNDED,
  messagesTo,
  only,
  SoloCore,
  type SoloOptions,
  type Turn,
} from "../machines/solo_core.ts";
import { courseTest, ELECTION_MS } from "./lab.ts";

const { electionTimeoutMsMax, heartbeatMs } = DEFAULT_TIMING;

/** As in etcd's tests: what it covers ends at entry 11 of term 11. */
const SNAPSHOT: SnapshotRef = { index: 11, term: 11, timeMs: 0, size: 10, digest: "0".repeat(64) };

/** A core without a log, to which node 2 has sent that snapshot and nothing else. */
function restored(options: SoloOptions = {}): { readonly solo: SoloCore; readonly turn: Turn } {
  const solo = new SoloCore({ currentTerm: SNAPSHOT.term, ...options });
  solo.receive(part(solo));
  const turn = solo.turn((core) => core.snapshotReceived(SNAPSHOT, FOUNDED));
  solo.persist(turn);
  return { solo, turn };
}

/** The whole snapshot as node 2 sends it. */
function part(solo: SoloCore, snapshot = SNAPSHOT): RaftMessage {
  const bytes = new Uint8Array(snapshot.size);
  const header = { group: 0, term: solo.term, from: 2 } as const;
  return { type: "InstallSnapshot", ...header, snapshot, offset: 0, bytes };
}

/** A leader whose log begins behind that snapshot, and of which node 2 needs it. */
function sending(): { readonly solo: SoloCore; readonly turn: Turn; readonly progress: Progress } {
  const { solo } = restored();
  solo.persist(solo.lead());
  const turn = refuse(solo, 2);
  return { solo, turn, progress: solo.core.state.lead.progress.get(2)! };
}

/** A node has nothing of what the leader expects it to have. */
function refuse(solo: SoloCore, from: NodeId): Turn {
  const prevLogIndex = solo.core.state.lead.progress.get(from)!.nextIndex - 1;
  const refusal = { accepted: false, prevLogIndex, conflictTerm: 0, conflictIndex: 1 };
  return solo.receive(solo.reply({ ...refusal, from }));
}

function installReply(solo: SoloCore, fields: { installed?: boolean; offset?: number }): Turn {
  const { installed = false, offset = 0 } = fields;
  const header = { group: 0, term: solo.term, from: 2, lastIncludedIndex: SNAPSHOT.index } as const;
  return solo.receive({ type: "InstallSnapshotReply", ...header, installed, offset });
}

function runsTo(turn: Turn, to: NodeId): number {
  return messagesTo(turn, to)
    .reduce(
      (sum, message) => sum + (message.type === "AppendEntries" ? message.runs.length : 0),
      0,
    );
}

// raft_snap_test.go

Deno.test("TestSendingSnapshotSetPendingSnapshot, TestProvideSnap: a follower that lacks what the log has forgotten is sent the snapshot", () => {
  const { turn, progress } = sending();
  assertEquals(turn.snapshotParts.map(({ to, request }) => [to, request.snapshot.index]), [[
    2,
    11,
  ]]);
  assertEquals([progress.mode, progress.sending?.snapshot], ["snapshot", SNAPSHOT]);
});

Deno.test("TestPendingSnapshotPauseReplication, TestSendAppendForProgressSnapshot: entries wait until it is installed", () => {
  const { solo } = sending();
  const proposed = solo.turn((core) => void core.propose([new TextEncoder().encode("somedata")]));
  assertEquals([runsTo(proposed, 2), proposed.snapshotParts], [0, []]);
  const beat = solo.elapse(heartbeatMs);
  assertEquals([runsTo(beat, 2), beat.snapshotParts], [0, []]);
  assertEquals(messagesTo(beat, 2).length, 1, "a heartbeat");
});

Deno.test("TestSnapshotFailure: one that the follower could not install is sent again, and no entries", () => {
  const { solo, progress } = sending();
  assertEquals(installReply(solo, { offset: SNAPSHOT.size }).snapshotParts, []);
  const turn = installReply(solo, { offset: 0 });
  assertEquals(turn.snapshotParts.map(({ request: { offset } }) => offset), [0]);
  assertEquals([progress.matchIndex, runsTo(turn, 2)], [0, 0]);
});

Deno.test("TestSnapshotSucceed: replication goes on behind the snapshot", () => {
  const { solo, progress } = sending();
  const turn = installReply(solo, { installed: true });
  assertEquals([progress.sending, progress.matchIndex], [undefined, 11]);
  const { prevLogIndex, prevLogTerm, runs } = only(
    "AppendEntries",
    turn.messages.filter(({ to }) => to === 2),
  );
  assertEquals([prevLogIndex, prevLogTerm, runs[0]!.firstIndex], [11, 11, 12]);
});

for (const matchIndex of [11, 12]) {
  Deno.test(`TestSnapshotAbort: a follower that turns out to have entry ${matchIndex} needs no snapshot`, () => {
    const { solo, progress } = sending();
    const turn = solo.receive(solo.reply({ matchIndex, prevLogIndex: matchIndex }));
    assertEquals([progress.sending, progress.matchIndex], [undefined, matchIndex]);
    assertEquals(turn.snapshotParts, []);
    solo.receive(solo.reply({ matchIndex, prevLogIndex: matchIndex }));
    const proposed = solo.turn((core) => void core.propose([new Uint8Array(1)]));
    assert(runsTo(turn, 2) + runsTo(proposed, 2) > 0);
  });
}

// raft_test.go

Deno.test("TestRestore: log, commit index and time are the snapshot's, and once is enough", () => {
  const { solo, turn } = restored();
  const { log, commitIndex, durableIndex, snapshot } = solo.core.state;
  assertEquals([log.base, log.lastIndex, log.lastTerm], [{ index: 11, term: 11 }, 11, 11]);
  assertEquals([commitIndex, durableIndex, snapshot], [11, 11, SNAPSHOT]);
  assertEquals(turn.forgotten, { base: { index: 11, term: 11 }, keepsRest: false });
  const again = solo.receive(part(solo));
  assertEquals([again.received, only("InstallSnapshotReply", again).installed], [[], true]);
});

Deno.test("TestRestore: nobody campaigns while what a leader sends is arriving", () => {
  const solo = new SoloCore({ currentTerm: 11 });
  for (let beat = 0; beat < 20; beat++) {
    solo.nowMs += electionTimeoutMsMax / 2;
    solo.receive(part(solo));
    assertEquals(solo.core.role, "follower");
  }
});

Deno.test("TestRestoreIgnoreSnapshot: one that covers nothing new changes nothing", () => {
  const solo = new SoloCore({ terms: [1, 1, 1] });
  solo.receive(solo.append({ prevLogIndex: 3, prevLogTerm: 1, leaderCommit: 1 }));
  const old = { ...SNAPSHOT, index: 1, term: 1 };
  const ignored = solo.receive(part(solo, old));
  assertEquals([ignored.received, solo.core.state.receiving], [[], undefined]);
  assertEquals([solo.core.state.commitIndex, solo.core.state.log.lastIndex], [1, 3]);
  // One that ends at an entry of the log says that it is committed, and the log stays.
  const next = { ...SNAPSHOT, index: 2, term: 1 };
  solo.receive(part(solo, next));
  solo.turn((core) => core.snapshotReceived(next, FOUNDED));
  assertEquals([solo.core.state.commitIndex, solo.core.state.log.lastIndex], [2, 3]);
});

Deno.test("TestRestoreFromSnapMsg: a follower takes a part from a leader that it did not know, and follows it", () => {
  const solo = new SoloCore({ currentTerm: 1 });
  const message = { ...part(solo), term: 2 } as RaftMessage;
  const turn = solo.receive(message);
  assertEquals([solo.term, solo.core.context.leaderId, turn.received.length], [2, 2, 1]);
});

for (const role of ["preCandidate", "candidate"] as const) {
  Deno.test(`TestRestoreFromSnapMsg: a ${role} that is sent a part of its term follows`, () => {
    const solo = new SoloCore({ currentTerm: 1 });
    if (role === "preCandidate") solo.timeout();
    else solo.persist(solo.campaign());
    assertEquals(solo.core.role, role);
    solo.receive(part(solo));
    assertEquals([solo.core.role, solo.core.context.leaderId], ["follower", 2]);
  });
}

Deno.test("TestIgnoreProvidingSnap: a follower that is not heard is sent one part, and no more", () => {
  const { solo } = sending();
  for (let beat = 0; beat < 40; beat++) {
    solo.nowMs += electionTimeoutMsMax / 2;
    // The other follower keeps the leader leading.
    const turn = solo.receive(solo.reply({ from: 3, matchIndex: 12, prevLogIndex: 12 }));
    assertEquals([solo.core.role, turn.snapshotParts], ["leader", []]);
  }
});

Deno.test("TestLearnerReceiveSnapshot: a learner is sent the snapshot, too", () => {
  const { solo } = restored({ voters: [1, 3], learners: [2] });
  solo.persist(solo.lead());
  const { snapshotParts } = refuse(solo, 2);
  assertEquals(snapshotParts.map(({ to, request }) => [to, request.snapshot.index]), [[2, 11]]);
});

Deno.test("TestLeaderTransferAfterSnapshot: a target that needs a snapshot is told to campaign once it has caught up", () => {
  const { solo } = sending();
  solo.receive(solo.reply({ from: 3, matchIndex: 12, prevLogIndex: 12 }));
  const begun = solo.turn((core) => core.transfer(2));
  const told = (turn: Turn): boolean =>
    messagesTo(turn, 2).some(({ type }) => type === "TimeoutNow");
  assertEquals([solo.core.context.transferee, told(begun)], [2, false]);
  assertEquals(told(installReply(solo, { installed: true })), false, "it lacks the last entry");
  assertEquals(told(solo.receive(solo.reply({ matchIndex: 12, prevLogIndex: 11 }))), true);
});

/** Between two commands that a node misses: the leader keeps entries for one that was away but a moment. */
const MISSED_MS = 50;

courseTest({
  name: "TestSlowNodeRestore",
  title: "a node that missed a hundred commands catches up by a snapshot",
  nodes: 3,
  seeds: 3,
  snapshotAfter: { bytes: Infinity, entries: 20 },
}, (lab) => {
  lab.one("first", 3);
  const slow = lab.after(lab.checkOneLeader(), 1);
  lab.disconnect(slow);
  for (let n = 0; n < 100; n++) {
    lab.one(`${n}`, 2);
    lab.sleep(MISSED_MS);
  }
  assertEquals(lab.cluster.snapshots.installed, 0);
  lab.connect(slow);
  lab.wait(lab.one("last", 2), 3);
  assertGreater(lab.cluster.snapshots.installed, 0);
  lab.sleep(ELECTION_MS);
  const commits = lab.ids.map((id) => lab.cluster.host(id)!.core.state.commitIndex);
  assertEquals(new Set(commits).size, 1);
});
