/**
 * The Raft lab of MIT 6.5840, test by test and by name: what each checks, on virtual time.
 *
 * Indexes are compared relatively, since a term here begins with a no-op.
 *
 * @module
 */
import {
  assert,
  assertEquals,
  assertGreater,
  assertGreaterOrEqual,
  assertLessOrEqual,
} from "@std/assert";
import type { NodeId } from "../../machines/raft_types.ts";
import { courseTest, ELECTION_MS, type Lab } from "./lab.ts";

/** The course takes a snapshot every ten commands. */
const SNAPSHOT_AFTER = { bytes: Infinity, entries: 10 };
const SNAPSHOT_ROUNDS = 30;
/** What is applied between two snapshots, what the taking of one takes, and what nobody has committed. */
const LOG_ENTRIES_MAX = 4 * SNAPSHOT_AFTER.entries;
/**
 * The course allows 2,000 bytes. A log on disk has more: a mark with each write, whole segments, and the
 * entries since the snapshot before the newest.
 */
const LOG_BYTES_MAX = 8_000;

courseTest({
  name: "TestInitialElection3A",
  title: "a leader is elected, and stays while nothing fails",
  nodes: 3,
  seeds: 5,
}, (lab) => {
  const leader = lab.checkOneLeader();
  lab.sleep(50);
  const term = lab.checkTerms();
  assertGreaterOrEqual(term, 1);
  lab.sleep(2 * ELECTION_MS);
  assertEquals(lab.checkTerms(), term);
  assertEquals(lab.checkOneLeader(), leader);
});

courseTest({
  name: "TestReElection3A",
  title: "a new leader for a lost one, none without a majority, one when it is back",
  nodes: 3,
  seeds: 5,
}, (lab) => {
  const first = lab.checkOneLeader();
  lab.disconnect(first);
  const second = lab.checkOneLeader();
  assert(second !== first);

  // The old leader does not disturb the new one, and follows it.
  lab.connect(first);
  assertEquals(lab.checkOneLeader(), second);
  assertEquals(lab.cluster.host(first)!.core.role, "follower");

  lab.disconnect(second, lab.after(second, 1));
  lab.sleep(2 * ELECTION_MS);
  lab.checkNoLeader();

  lab.connect(lab.after(second, 1));
  lab.checkOneLeader();
  lab.connect(second);
  lab.checkOneLeader();
});

courseTest({
  name: "TestManyElections3A",
  title: "four of seven have a leader, whichever three are cut off",
  nodes: 7,
  seeds: 4,
}, (lab) => {
  lab.checkOneLeader();
  for (let round = 1; round < 10; round++) {
    const away = [lab.dice.pick(lab.ids), lab.dice.pick(lab.ids), lab.dice.pick(lab.ids)];
    lab.disconnect(...away);
    lab.checkOneLeader();
    lab.connect(...away);
  }
  lab.checkOneLeader();
});

courseTest({
  name: "TestBasicAgree3B",
  title: "commands commit one by one, at consecutive indexes, on all nodes",
  nodes: 3,
  seeds: 5,
}, (lab) => {
  lab.checkOneLeader();
  // A term's no-op comes first.
  for (let index = 2; index <= 4; index++) {
    assertEquals(lab.committed(index).count, 0, "committed before it was started");
    assertEquals(lab.one(`command ${index}`, 3, "once"), index);
  }
});

courseTest({
  name: "TestRPCBytes3B",
  title: "each command is sent to each peer just once",
  nodes: 3,
  seeds: 5,
}, (lab) => {
  const { network } = lab.cluster;
  let index = lab.one("99", 3, "once");
  const before = network.counters.bytes;
  const runsSent = new Map<string, number>();
  const { onSend } = network;
  network.onSend = (way, frame, decode) => {
    onSend(way, frame, decode);
    const message = decode();
    for (const run of message.type === "AppendEntries" ? message.runs : []) {
      const key = `${way.to}/${run.firstIndex}`;
      runsSent.set(key, (runsSent.get(key) ?? 0) + run.ends.length);
    }
  };
  const commandBytes = 5_000;
  for (let n = 0; n < 10; n++) {
    assertEquals(lab.one(`${n}`.padEnd(commandBytes, "x"), 3, "once"), ++index);
  }
  assertEquals([...runsSent.values()], Array.from({ length: 20 }, () => 1));
  // The course allows three times the commands and 50,000 bytes; two peers need but twice.
  const bytes = network.counters.bytes - before;
  assertLessOrEqual(bytes, 2 * 10 * commandBytes + 10_000);
});

courseTest({
  name: "TestFollowerFailure3B",
  title: "agreement goes on without one follower, and not without both",
  nodes: 3,
  seeds: 5,
}, (lab) => {
  lab.one("101", 3, "once");
  const first = lab.checkOneLeader();
  lab.disconnect(lab.after(first, 1));
  lab.one("102", 2, "once");
  lab.sleep(ELECTION_MS);
  lab.one("103", 2, "once");

  const leader = lab.checkOneLeader();
  lab.disconnect(lab.after(leader, 1), lab.after(leader, 2));
  lab.mustStart(leader, "104");
  lab.sleep(2 * ELECTION_MS);
  lab.checkNoAgreement("104");
});

courseTest({
  name: "TestLeaderFailure3B",
  title: "agreement goes on without the first leader, and not without the second too",
  nodes: 3,
  seeds: 5,
}, (lab) => {
  lab.one("101", 3, "once");
  lab.disconnect(lab.checkOneLeader());
  lab.one("102", 2, "once");
  lab.sleep(ELECTION_MS);
  lab.one("103", 2, "once");

  lab.disconnect(lab.checkOneLeader());
  for (const id of lab.ids) lab.start(id, "104");
  lab.sleep(2 * ELECTION_MS);
  lab.checkNoAgreement("104");
});

courseTest({
  name: "TestFailAgree3B",
  title: "a follower that was away takes part again",
  nodes: 3,
  seeds: 5,
}, (lab) => {
  lab.one("101", 3, "once");
  const away = lab.after(lab.checkOneLeader(), 1);
  lab.disconnect(away);
  lab.one("102", 2, "once");
  lab.one("103", 2, "once");
  lab.sleep(ELECTION_MS);
  lab.one("104", 2, "once");
  lab.one("105", 2, "once");

  lab.connect(away);
  lab.one("106", 3);
  lab.sleep(ELECTION_MS);
  lab.one("107", 3);
});

courseTest({
  name: "TestFailNoAgree3B",
  title: "no agreement while three of five are away, and agreement again afterwards",
  nodes: 5,
  seeds: 5,
}, (lab) => {
  lab.one("10", 5, "once");
  const leader = lab.checkOneLeader();
  const away = [1, 2, 3].map((steps) => lab.after(leader, steps));
  lab.disconnect(...away);
  const lost = lab.mustStart(leader, "20");
  lab.sleep(2 * ELECTION_MS);
  assertEquals(lab.committed(lost.index).count, 0, "committed without a majority");

  lab.connect(...away);
  // Those who were away may have elected one of theirs, which forgets the command, or not.
  const next = lab.mustStart(lab.checkOneLeader(), "30");
  assertGreaterOrEqual(next.index, lost.index);
  lab.one("1000", 5);
});

courseTest({
  name: "TestConcurrentStarts3B",
  title: "commands started at the same time all commit, each once",
  nodes: 3,
  seeds: 5,
}, (lab) => {
  const leader = lab.checkOneLeader();
  const texts = ["100", "101", "102", "103", "104"];
  const ok: string[] = [];
  for (const text of texts) {
    lab.propose(leader, text, (answer) => {
      if (answer?.status === "ok") ok.push(text);
    });
  }
  const before = lab.cluster.host(leader)!.core.state.log.lastIndex;
  assert(lab.cluster.runUntilTrue(ELECTION_MS, () => ok.length === texts.length));
  const { lastIndex } = lab.cluster.host(leader)!.core.state.log;
  lab.wait(lastIndex, 3);
  for (const id of lab.ids) {
    const found = Array.from(
      { length: lastIndex - before },
      (_, offset) => lab.textsAt(id, before + 1 + offset),
    );
    assertEquals(found.flat().sort(), texts);
  }
});

courseTest({
  name: "TestRejoin3B",
  title: "a partitioned leader comes back with entries that nobody wants",
  nodes: 3,
  seeds: 5,
}, (lab) => {
  lab.one("101", 3);
  const first = lab.checkOneLeader();
  lab.disconnect(first);
  for (const text of ["lost 102", "lost 103", "lost 104"]) lab.mustStart(first, text);
  lab.one("103", 2);

  const second = lab.checkOneLeader();
  lab.disconnect(second);
  lab.connect(first);
  lab.one("104", 2);

  lab.connect(second);
  lab.one("105", 3);
  lab.checkNoAgreement("lost 102", "lost 103", "lost 104");
});

courseTest({
  name: "TestBackup3B",
  title: "a leader backs up quickly over followers' incorrect logs",
  nodes: 5,
  seeds: 3,
}, (lab) => {
  const lots = 50;
  const startLots = (node: NodeId, name: string): void => {
    for (let n = 0; n < lots; n++) lab.mustStart(node, `${name} ${n}`);
  };
  const commitLots = (name: string): void => {
    for (let n = 0; n < lots; n++) lab.one(`${name} ${n}`, 3);
  };
  lab.one("first", 5);
  const first = lab.checkOneLeader();
  const rest = [2, 3, 4].map((steps) => lab.after(first, steps));
  lab.disconnect(...rest);
  startLots(first, "lost with two");
  lab.sleep(ELECTION_MS / 2);
  lab.disconnect(first, lab.after(first, 1));

  lab.connect(...rest);
  commitLots("kept by three");
  const second = lab.checkOneLeader();
  const other = second === rest[0] ? lab.after(second, 1) : rest[0]!;
  lab.disconnect(other);
  startLots(second, "lost again");
  lab.sleep(ELECTION_MS / 2);

  lab.disconnect(...lab.ids);
  const refusals = lab.refusals;
  lab.connect(first, lab.after(first, 1), other);
  commitLots("kept by the rest");

  lab.connect(...lab.ids);
  const last = lab.one("last", 5);
  lab.wait(last, 5);
  // Four followers with one conflicting term each: a refusal or two per follower, not one per entry.
  assertLessOrEqual(lab.refusals - refusals, 12);
  lab.checkNoAgreement("lost with two 0", "lost again 0");
});

courseTest({
  name: "TestCount3B",
  title: "not too many RPCs to elect, to agree, and when idle",
  nodes: 3,
  seeds: 5,
}, (lab) => {
  const leader = lab.checkOneLeader();
  assertLessOrEqual(lab.rpcs, 30);
  assertGreaterOrEqual(lab.rpcs, 1);

  const before = lab.rpcs;
  const commands = 10;
  const { index } = lab.mustStart(leader, "1");
  for (let n = 1; n <= commands + 1; n++) {
    assertEquals(lab.mustStart(leader, `${n} of many`).index, index + n);
  }
  lab.wait(index + commands + 1, 3);
  assertLessOrEqual(lab.rpcs - before, (commands + 1 + 3) * 3);

  const idle = lab.rpcs;
  lab.sleep(ELECTION_MS);
  assertLessOrEqual(lab.rpcs - idle, 3 * 20);
});

courseTest({
  name: "TestPersist13C",
  title: "what was agreed on survives crashes of all, of leaders, of a follower",
  nodes: 3,
  seeds: 5,
}, (lab) => {
  lab.one("11", 3);
  lab.shutDown(...lab.ids);
  lab.restart(...lab.ids);
  lab.one("12", 3);

  const first = lab.checkOneLeader();
  lab.shutDown(first);
  lab.restart(first);
  lab.one("13", 3);

  const second = lab.checkOneLeader();
  lab.shutDown(second);
  const index = lab.one("14", 2);
  lab.restart(second);
  lab.wait(index, 3);

  const follower = lab.after(lab.checkOneLeader(), 1);
  lab.shutDown(follower);
  lab.one("15", 2);
  lab.restart(follower);
  lab.one("16", 3);
  assertEquals(commandsOf(lab), ["11", "12", "13", "14", "15", "16"]);
});

courseTest({
  name: "TestPersist23C",
  title: "five nodes go down in turns, and agreement is kept",
  nodes: 5,
  seeds: 4,
}, (lab) => {
  const agreed: string[] = [];
  const one = (servers: number): void => {
    agreed.push(`${agreed.length}`);
    lab.one(agreed.at(-1)!, servers);
  };
  for (let round = 0; round < 5; round++) {
    one(5);
    const leader = lab.checkOneLeader();
    const [a, b, c, d] = [1, 2, 3, 4].map((steps) => lab.after(leader, steps));
    lab.shutDown(a!, b!);
    one(3);
    lab.shutDown(leader, c!, d!);
    lab.restart(a!, b!);
    lab.sleep(ELECTION_MS);
    lab.restart(c!);
    one(3);
    lab.restart(d!, leader);
  }
  one(5);
  assertEquals(withoutRepeats(commandsOf(lab)), agreed);
});

courseTest({
  name: "TestPersist33C",
  title: "partitioned leader and one follower crash, the leader restarts",
  nodes: 3,
  seeds: 5,
}, (lab) => {
  lab.one("101", 3);
  const leader = lab.checkOneLeader();
  lab.disconnect(lab.after(leader, 2));
  lab.one("102", 2);
  lab.shutDown(leader, lab.after(leader, 1));
  lab.connect(lab.after(leader, 2));
  lab.restart(leader);
  lab.one("103", 2);
  lab.restart(lab.after(leader, 1));
  lab.one("104", 3);
  assertEquals(withoutRepeats(commandsOf(lab)), ["101", "102", "103", "104"]);
});

courseTest({
  name: "TestFigure83C",
  title: "leaders crash after starting a command, mostly before it commits",
  nodes: 5,
  seeds: 3,
}, (lab) => {
  lab.one("first", 1);
  for (let round = 0; round < 1_000; round++) {
    const leader = startEverywhere(lab, `${round}`);
    sleepABit(lab);
    if (leader !== undefined) lab.shutDown(leader);
    if (lab.ids.filter((id) => lab.isUp(id)).length < 3) lab.restart(lab.dice.pick(lab.ids));
  }
  lab.restart(...lab.ids);
  lab.one("last", 5);
});

courseTest({
  name: "TestUnreliableAgree3C",
  title: "agreement on an unreliable network, five commands at a time",
  nodes: 5,
  seeds: 2,
}, (lab) => {
  lab.setReliable(false);
  for (let round = 1; round < 50; round++) {
    lab.all([0, 1, 2, 3, 4].map((n) => `${round}.${n}`), 1);
  }
  lab.setReliable(true);
  lab.one("last", 5);
});

courseTest({
  name: "TestFigure8Unreliable3C",
  title: "leaders are cut off after starting a command, on an unreliable network that reorders",
  nodes: 5,
  seeds: 2,
}, (lab) => {
  lab.setReliable(false);
  lab.one("first", 1);
  for (let round = 0; round < 1_000; round++) {
    if (round === 200) lab.setLongReordering(true);
    const leader = startEverywhere(lab, `${round}`);
    sleepABit(lab);
    if (leader !== undefined && lab.dice.chance(0.5)) lab.disconnect(leader);
    if (lab.connected.length < 3) lab.connect(lab.dice.pick(lab.ids));
  }
  lab.connect(...lab.ids);
  lab.one("last", 5);
});

courseTest({
  name: "TestReliableChurn3C",
  title: "nodes come and go under concurrent clients, whose committed commands are all kept",
  nodes: 5,
  seeds: 4,
}, (lab) => churn(lab));

courseTest({
  name: "TestUnreliableChurn3C",
  title: "the same on an unreliable network",
  nodes: 5,
  seeds: 4,
}, (lab) => {
  lab.setReliable(false);
  churn(lab);
});

for (
  const [name, title, seeds, mix] of [
    ["TestSnapshotBasic3D", "logs are cut behind snapshots while all nodes are up", 3, {}],
    ["TestSnapshotInstall3D", "a follower that was cut off gets a snapshot", 2, { away: "cut" }],
    ["TestSnapshotInstallUnreliable3D", "the same on an unreliable network", 2, {
      away: "cut",
      isUnreliable: true,
    }],
    ["TestSnapshotInstallCrash3D", "a follower that was down gets a snapshot", 2, {
      away: "down",
    }],
    ["TestSnapshotInstallUnCrash3D", "the same on an unreliable network", 2, {
      away: "down",
      isUnreliable: true,
    }],
  ] as const
) {
  const test = { name, title, seeds, nodes: 3, snapshotAfter: SNAPSHOT_AFTER };
  courseTest(test, (lab) => snapshots(lab, mix));
}

courseTest({
  name: "TestSnapshotAllCrash3D",
  title: "all nodes crash and start from their snapshots, and go on where they were",
  nodes: 3,
  seeds: 3,
  snapshotAfter: SNAPSHOT_AFTER,
}, (lab) => {
  lab.one("first", 3);
  for (let round = 0; round < 5; round++) {
    for (let n = aFewCommands(lab); n > 0; n--) lab.one(`${round}.${n}`, 3);
    const before = lab.one(`${round} before`, 3);
    lab.shutDown(...lab.ids);
    lab.restart(...lab.ids);
    assertGreater(lab.one(`${round} after`, 3), before);
  }
  assertGreater(lab.cluster.snapshots.taken, 3 * 3);
});

courseTest({
  name: "TestSnapshotInit3D",
  title: "a snapshot survives crashes, also where little follows it",
  nodes: 3,
  seeds: 3,
  snapshotAfter: SNAPSHOT_AFTER,
}, (lab) => {
  lab.one("first", 3);
  for (let n = 0; n <= SNAPSHOT_AFTER.entries; n++) lab.one(`${n}`, 3);
  lab.sleep(ELECTION_MS);
  assertEquals(lab.cluster.snapshots.taken, 3);
  let last = 0;
  for (const text of ["one more", "and another"]) {
    lab.shutDown(...lab.ids);
    lab.restart(...lab.ids);
    const index = lab.one(text, 3);
    assertGreater(index, last);
    last = index;
  }
  const { lastApplied, revision } = lab.cluster.host(1)!.machine;
  assertGreaterOrEqual(lastApplied, last);
  // Nothing was applied twice or left out: every command is one change.
  assertGreaterOrEqual(revision, 1 + SNAPSHOT_AFTER.entries + 1 + 2);
});

/** Rounds in which a node is away, if any, while commands make snapshots due; then it is back. */
function snapshots(
  lab: Lab,
  { away, isUnreliable = false }: {
    readonly away?: "cut" | "down";
    readonly isUnreliable?: boolean;
  },
): void {
  if (isUnreliable) lab.setReliable(false);
  lab.one("first", 3);
  let leader = lab.checkOneLeader();
  for (let round = 0; round < SNAPSHOT_ROUNDS; round++) {
    const other = lab.after(leader, 1);
    const [victim, sender] = round % 3 === 1 ? [leader, other] : [other, leader];
    if (away === "cut") lab.disconnect(victim);
    if (away === "down") lab.shutDown(victim);
    if (away !== undefined) lab.one(`${round} without one`, 2);
    for (let n = aFewCommands(lab); n > 0; n--) lab.start(sender, `${round}.${n}`);
    lab.one(`${round} caught up`, away === undefined ? 3 : 2);
    const { diskBytes, entries } = lab.logSizes();
    assertLessOrEqual(diskBytes, LOG_BYTES_MAX);
    assertLessOrEqual(entries, LOG_ENTRIES_MAX);
    if (away === "cut") lab.connect(victim);
    if (away === "down") lab.restart(victim);
    if (away === undefined) continue;
    lab.one(`${round} with all`, 3);
    leader = lab.checkOneLeader();
  }
  const { taken, installed } = lab.cluster.snapshots;
  assertGreater(taken, SNAPSHOT_ROUNDS);
  // Nobody needs one while all are up, but a follower that is slow may be sent one.
  if (away === undefined) assertLessOrEqual(installed, taken / 10);
  else assertGreater(installed, 0);
}

/** Half as many commands as make a snapshot due, to one and a half times as many. */
function aFewCommands(lab: Lab): number {
  return SNAPSHOT_AFTER.entries / 2 + lab.dice.below(SNAPSHOT_AFTER.entries);
}

/** Commands that a node applied, in order; they are the same on all nodes (INV4). */
function commandsOf(lab: Lab): string[] {
  const [id] = lab.connected;
  const { lastApplied } = lab.cluster.host(id!)!.machine;
  return Array.from({ length: lastApplied }, (_, offset) => lab.textsAt(id!, offset + 1)).flat();
}

/** A command that was started anew may have been committed before. */
function withoutRepeats(texts: readonly string[]): string[] {
  return [...new Set(texts)];
}

/** Starts a command at every node that believes to lead; the last of them that is connected. */
function startEverywhere(lab: Lab, text: string): NodeId | undefined {
  let leader: NodeId | undefined;
  for (const id of lab.ids) {
    if (lab.start(id, `${text} at ${id}`) !== undefined && lab.isConnected(id)) leader = id;
  }
  return leader;
}

/** Mostly too short to commit, sometimes long enough. */
function sleepABit(lab: Lab): void {
  lab.sleep(lab.dice.chance(0.1) ? lab.dice.between(0, ELECTION_MS / 2) : lab.dice.between(0, 13));
}

/** Clients start commands at every node, while nodes are cut off, killed and brought back. */
function churn(lab: Lab): void {
  const { dice, cluster } = lab;
  const kept: string[] = [];
  let isStopped = false;
  const client = (me: number, count: number): void => {
    if (isStopped) return;
    const text = `c${me} ${count}`;
    let isOver = false;
    const next = (delayMs: number): void => {
      if (isOver) return;
      isOver = true;
      cluster.loop.after(delayMs, () => client(me, count + 1));
    };
    let refused = 0;
    for (const id of lab.ids) {
      lab.propose(id, text, (answer) => {
        if (answer?.status === "ok") {
          kept.push(text);
          next(10);
        }
        if (answer === undefined || answer.status === "refused") refused++;
        if (refused === lab.ids.length) next(79 + me * 17);
      });
    }
    // Somebody took it: perhaps it is committed within this time, perhaps not.
    cluster.loop.after(380, () => next(0));
  };
  for (let me = 0; me < 3; me++) client(me, 0);
  for (let round = 0; round < 20; round++) {
    if (dice.chance(0.2)) lab.disconnect(dice.pick(lab.ids));
    if (dice.chance(0.5)) {
      const id = dice.pick(lab.ids);
      lab.restart(id);
      lab.connect(id);
    }
    if (dice.chance(0.2)) lab.shutDown(dice.pick(lab.ids));
    lab.sleep(ELECTION_MS * 0.7);
  }
  lab.sleep(ELECTION_MS);
  lab.setReliable(true);
  lab.restart(...lab.ids);
  lab.connect(...lab.ids);
  isStopped = true;
  lab.sleep(ELECTION_MS);
  lab.one("last", 5);
  const found = new Set(commandsOf(lab));
  assert(kept.length > 20, `only ${kept.length} commands were committed`);
  assertEquals(kept.filter((text) => !found.has(text)), []);
}
