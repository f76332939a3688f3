/**
 * Log compaction and InstallSnapshot (s7, Fig. 13), sentence by sentence, on one core: what it takes,
 * sends, keeps and forgets. Whole clusters do it in the simulator.
 *
 * @module
 */
import { assert, assertEquals, assertThrows } from "@std/assert";
import { DEFAULT_TIMING } from "../../machines/group_state.ts";
import type { InstallSnapshot, NodeId, SnapshotRef, Term } from "../../machines/raft_types.ts";
import { FOUNDED, only, SoloCore, type Turn } from "./solo_core.ts";

const SIZE = 10;
const ELECTION_MS = DEFAULT_TIMING.electionTimeoutMsMax;

function snapshotTo(index: number, term: Term, digest = `${index}`): SnapshotRef {
  return { index, term, timeMs: index, size: SIZE, digest: digest.padEnd(64, "0") };
}

/** A part of a leader's snapshot, from node 2 and at the beginning unless said. */
function part(
  solo: SoloCore,
  snapshot: SnapshotRef,
  fields: { readonly offset?: number; readonly length?: number; readonly from?: NodeId } = {},
): InstallSnapshot {
  const { offset = 0, length = SIZE - offset, from = 2 } = fields;
  return {
    type: "InstallSnapshot",
    group: 0,
    term: solo.term,
    from,
    snapshot,
    offset,
    bytes: new Uint8Array(length),
  };
}

/** A leader of three with entries of these terms that all committed, and a snapshot to `index`. */
function compactedLeader(index: number): { solo: SoloCore; snapshot: SnapshotRef } {
  const solo = new SoloCore({ terms: [1, 1, 1, 1], bounds: { trailingBytes: 1 } });
  solo.persist(solo.lead());
  const { lastIndex } = solo.core.state.log;
  solo.receive(solo.reply({ matchIndex: lastIndex, from: 3 }));
  assertEquals(solo.core.state.commitIndex, lastIndex);
  const snapshot = snapshotTo(index, solo.core.state.log.termAt(index)!);
  assertEquals(solo.turn((core) => core.snapshotDue()).takesSnapshot, true);
  solo.turn((core) => core.snapshotTaken(snapshot, undefined));
  return { solo, snapshot };
}

/** The node needs an entry that only the snapshot covers. */
function needsSnapshot(solo: SoloCore, from: NodeId): Turn {
  const { nextIndex } = solo.core.state.leadership!.progress.get(from)!;
  const prevLogIndex = nextIndex - 1;
  const refusal = { accepted: false, prevLogIndex, conflictTerm: 0, conflictIndex: 1, from };
  return solo.receive(solo.reply(refusal));
}

Deno.test("a snapshot is taken one at a time, and again once one has failed", () => {
  const solo = new SoloCore({ terms: [1] });
  const due = (): boolean => solo.turn((core) => core.snapshotDue()).takesSnapshot;
  assertEquals([due(), due()], [true, false]);
  solo.turn((core) => core.snapshotFailed());
  assertEquals([due(), due()], [true, false]);
});

Deno.test("the log forgets what a snapshot covers, but what followers may still need", () => {
  const solo = new SoloCore({ terms: [1, 1, 1, 1] });
  const { log } = solo.core.state;
  solo.receive(solo.append({ prevLogIndex: 4, prevLogTerm: 1, leaderCommit: 4 }));
  const kept = solo.turn((core) => core.snapshotTaken(snapshotTo(3, 1), undefined));
  // All of it is less than the trailing bytes, and on disk there is no older snapshot to fall back on.
  assertEquals([log.base, kept.write], [{ index: 0, term: 0 }, undefined]);
  const small = new SoloCore({ terms: [1, 1, 1, 1], bounds: { trailingBytes: 1 } });
  const turn = small.turn((core) => core.snapshotTaken(snapshotTo(3, 1), { index: 2, term: 1 }));
  assertEquals(small.core.state.log.base, { index: 3, term: 1 });
  // The disk keeps what the snapshot before this one needs.
  assertEquals(turn.forgotten, { base: { index: 2, term: 1 }, keepsRest: true });
});

Deno.test("what is forgotten is written before the entries of its turn, so a turn with both is a defect", () => {
  const solo = new SoloCore({ terms: [1, 1], bounds: { trailingBytes: 1 } });
  assertThrows(
    () =>
      solo.turn((core) => {
        core.receive(solo.append({ prevLogIndex: 2, prevLogTerm: 1, terms: [1] }));
        core.snapshotTaken(snapshotTo(2, 1), { index: 1, term: 1 });
      }),
    Error,
    "the turn has written some",
  );
});

Deno.test("D5: a follower below the log's base gets the snapshot, and heartbeats that it can accept", () => {
  const { solo, snapshot } = compactedLeader(4);
  const turn = needsSnapshot(solo, 2);
  assertEquals(
    turn.snapshotParts.map(({ to, request, length }) => [to, request.snapshot, length]),
    [
      [2, snapshot, SIZE],
    ],
  );
  const beat = solo.elapse(DEFAULT_TIMING.heartbeatMs);
  const heartbeat = beat.messages.find(({ to }) => to === 2)!.message;
  assert(heartbeat.type === "AppendEntries");
  assertEquals([heartbeat.prevLogIndex, heartbeat.prevLogTerm, heartbeat.runs], [0, 0, []]);
});

Deno.test("D1: parts go one at a time, from where the follower says it is", () => {
  const small = new SoloCore({
    terms: [1, 1, 1, 1],
    bounds: { trailingBytes: 1, snapshotPartBytesMax: 4 },
  });
  small.persist(small.lead());
  small.receive(small.reply({ matchIndex: 5, from: 3 }));
  small.turn((core) => core.snapshotTaken(snapshotTo(4, 1), undefined));
  const reply = (offset: number, installed = false): Turn =>
    small.receive({
      type: "InstallSnapshotReply",
      group: 0,
      term: small.term,
      from: 2,
      lastIncludedIndex: 4,
      installed,
      offset,
    });
  const partsOf = (turn: Turn): number[][] =>
    turn.snapshotParts.map(({ request: { offset }, length }) => [offset, length]);
  assertEquals(partsOf(needsSnapshot(small, 2)), [[0, 4]]);
  assertEquals(partsOf(small.turn(() => {})), []);
  assertEquals(partsOf(reply(4)), [[4, 4]]);
  // The answer to a part that was sent twice does not send the next one twice.
  assertEquals(partsOf(reply(4)), []);
  // A follower that has lost what it had says so.
  assertEquals(partsOf(reply(0)), [[0, 4]]);
  assertEquals(partsOf(reply(8)), [[8, 2]]);
  // All is there, and is being installed: it is asked again in a while.
  assertEquals(partsOf(reply(10)), []);
  const turn = reply(0, true);
  assertEquals(small.core.state.leadership!.progress.get(2)!.matchIndex, 4);
  const entries = only("AppendEntries", turn.messages.filter(({ to }) => to === 2));
  assertEquals([entries.prevLogIndex, entries.runs[0]!.firstIndex], [4, 5]);
});

Deno.test("a part that was lost is sent again, once the follower is heard and a timeout has passed", () => {
  const { solo } = compactedLeader(4);
  needsSnapshot(solo, 2);
  solo.nowMs += ELECTION_MS;
  assertEquals(solo.turn(() => {}).snapshotParts, [], "nothing was heard of it");
  const heard = (): number => solo.receive(solo.reply({ matchIndex: 0 })).snapshotParts.length;
  assertEquals([heard(), heard()], [1, 0]);
});

Deno.test("a follower that had it all and begins again makes the leader doubt its snapshot", () => {
  const { solo, snapshot } = compactedLeader(4);
  needsSnapshot(solo, 2);
  const reply = (offset: number): Turn =>
    solo.receive({
      type: "InstallSnapshotReply",
      group: 0,
      term: solo.term,
      from: 2,
      lastIncludedIndex: 4,
      installed: false,
      offset,
    });
  assertEquals(reply(SIZE).doubted, undefined);
  assertEquals(reply(0).doubted, snapshot);
  // Without any snapshot that covers the log's base, one is taken at once.
  assertEquals(solo.turn((core) => core.snapshotLost(undefined)).takesSnapshot, true);
});

Deno.test("a log that a follower is sent a snapshot for keeps the entries behind that snapshot", () => {
  const { solo } = compactedLeader(4);
  needsSnapshot(solo, 2);
  const proposed = solo.turn((core) => void core.propose([new Uint8Array(10)]));
  solo.persist(proposed);
  solo.receive(solo.reply({ matchIndex: 6, from: 3 }));
  solo.turn((core) => core.snapshotTaken(snapshotTo(6, solo.term), undefined));
  assertEquals(solo.core.state.log.base.index, 4);
  const bounded = new SoloCore({ terms: [1, 1], bounds: { trailingBytes: 1, awaitedBytesMax: 1 } });
  bounded.persist(bounded.lead());
  bounded.receive(bounded.reply({ matchIndex: 3, from: 3 }));
  bounded.turn((core) => core.snapshotTaken(snapshotTo(1, 1), undefined));
  needsSnapshot(bounded, 2);
  bounded.turn((core) => core.snapshotTaken(snapshotTo(3, bounded.term), undefined));
  assertEquals(bounded.core.state.log.base.index, 2, "AWAITED_BYTES_MAX");
});

Deno.test("Fig. 13: a follower keeps parts in order, and says how far it is", () => {
  const solo = new SoloCore({ terms: [1] });
  const snapshot = snapshotTo(9, 1);
  const answer = (turn: Turn): [installed: boolean, offset: number] => {
    const { installed, offset } = only("InstallSnapshotReply", turn);
    return [installed, offset];
  };
  const send = (offset: number, length: number): Turn =>
    solo.receive(part(solo, snapshot, { offset, length }));
  const first = send(0, 4);
  assertEquals([answer(first), first.received.length], [[false, 4], 1]);
  assertEquals(solo.core.snapshot.value.snapshot, "receiving");
  const again = send(0, 4);
  assertEquals([answer(again), again.received.length], [[false, 4], 0]);
  const tooFar = send(8, 2);
  assertEquals([answer(tooFar), tooFar.received.length], [[false, 4], 0]);
  const rest = send(4, 6);
  assertEquals([answer(rest), rest.received.length], [[false, 10], 1]);
  // A part of no bytes asks, and changes nothing.
  assertEquals(answer(send(10, 0)), [false, 10]);
});

Deno.test("D2: a part of another snapshot begins anew, one that covers nothing new is installed already", () => {
  const solo = new SoloCore({ terms: [1, 1, 1] });
  solo.receive(solo.append({ prevLogIndex: 3, prevLogTerm: 1, leaderCommit: 3 }));
  solo.receive(part(solo, snapshotTo(9, 1), { length: 4 }));
  const other = solo.receive(part(solo, snapshotTo(12, 1), { length: 5 }));
  assertEquals(only("InstallSnapshotReply", other).offset, 5);
  const older = solo.receive(part(solo, snapshotTo(3, 1)));
  assertEquals([older.received, only("InstallSnapshotReply", older).installed], [[], true]);
  assertEquals(solo.core.state.receiving!.snapshot.index, 12);
});

Deno.test("Fig. 13, 6: a log that has the snapshot's last entry keeps what follows it", () => {
  const solo = new SoloCore({ terms: [1, 1, 1, 1] });
  solo.receive(part(solo, snapshotTo(3, 1)));
  const turn = solo.turn((core) => core.snapshotReceived(snapshotTo(3, 1), FOUNDED));
  const { log, commitIndex, durableIndex } = solo.core.state;
  assertEquals([log.base.index, log.lastIndex, commitIndex, durableIndex], [3, 4, 3, 4]);
  assertEquals(turn.forgotten, { base: { index: 3, term: 1 }, keepsRest: true });
});

Deno.test("Fig. 13, 7: another log is discarded whole, and what was on its way to the disk counts no more", () => {
  // What is written ends before the snapshot's last entry, at its index, or behind it.
  for (const terms of [[2], [2, 2], [2, 2, 2]]) {
    const solo = new SoloCore({ terms: [1, 1], currentTerm: 3 });
    const pending = solo.receive(solo.append({ prevLogIndex: 2, prevLogTerm: 1, terms }));
    solo.receive(part(solo, snapshotTo(4, 3)));
    const turn = solo.turn((core) => core.snapshotReceived(snapshotTo(4, 3), FOUNDED));
    assertEquals(turn.forgotten, { base: { index: 4, term: 3 }, keepsRest: false });
    const answered = only("InstallSnapshotReply", turn.waiting);
    assertEquals([answered.installed, answered.lastIncludedIndex], [true, 4]);
    solo.persist(pending);
    solo.persist(turn);
    const { log, durableIndex, commitIndex } = solo.core.state;
    assertEquals([log.lastIndex, log.lastTerm, durableIndex, commitIndex], [4, 3, 4, 4]);
    // D3: entries that follow are ordered behind it.
    solo.receive(solo.append({ prevLogIndex: 4, prevLogTerm: 3, terms: [3] }));
    assertEquals(solo.core.state.log.lastIndex, 5);
  }
});

Deno.test("a snapshot that entries have overtaken is left, and another one may be taken", () => {
  const solo = new SoloCore({ terms: [1] });
  solo.receive(part(solo, snapshotTo(3, 1), { length: 4 }));
  const turn = solo.receive(
    solo.append({ prevLogIndex: 1, prevLogTerm: 1, terms: [1, 1], leaderCommit: 3, from: 2 }),
  );
  assertEquals([turn.abandonsReceived, solo.core.snapshot.value.snapshot], [true, "none"]);
  assertEquals(solo.turn((core) => core.snapshotDue()).takesSnapshot, true);
});

Deno.test("one that could not be installed is asked for again, from its beginning", () => {
  const solo = new SoloCore({ terms: [1] });
  solo.receive(part(solo, snapshotTo(3, 1)));
  solo.turn((core) => core.snapshotRefused());
  assertEquals(solo.core.snapshot.value.snapshot, "none");
  const asked = solo.receive(part(solo, snapshotTo(3, 1), { offset: SIZE, length: 0 }));
  assertEquals(only("InstallSnapshotReply", asked).offset, 0);
});

Deno.test("a leader's snapshot keeps an election away, as its entries do", () => {
  const solo = new SoloCore({ terms: [1] });
  solo.nowMs += DEFAULT_TIMING.electionTimeoutMsMin - 1;
  solo.receive(part(solo, snapshotTo(3, 1), { length: 1 }));
  assertEquals(solo.core.context.leaderId, 2);
  solo.elapse(DEFAULT_TIMING.electionTimeoutMsMin - 1);
  assertEquals(solo.core.role, "follower");
});

Deno.test("log time goes on from the snapshot's where no entry is left", () => {
  const solo = new SoloCore({ terms: [1], voters: [1, 2, 3] });
  const snapshot = { ...snapshotTo(7, 1), timeMs: 5_000 };
  solo.receive(part(solo, snapshot));
  solo.persist(solo.turn((core) => core.snapshotReceived(snapshot, FOUNDED)));
  assertEquals(solo.core.state.lastLogTimeMs, 5_000);
});
