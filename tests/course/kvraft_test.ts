/**
 * The key-value lab of MIT 6.5840, test by test and by name: what each checks, on virtual time.
 *
 * @module
 */
import { assert, assertEquals, assertGreater, assertLessOrEqual } from "@std/assert";
import type { Operation } from "../sim/history.ts";
import { checkLinearizable } from "../sim/linearizability.ts";
import { timelineText } from "../sim/timeline.ts";
import { courseTest, ELECTION_MS, type Lab } from "./lab.ts";
import { LabClerk } from "./lab_clerk.ts";

/** What the course's generic test varies. */
interface Mix {
  readonly clients: number;
  /** Between nodes, and between clients and nodes. */
  readonly network?: "reliable" | "unreliable";
  /** All nodes crash after each round. */
  readonly crashes?: boolean;
  readonly partitions?: boolean;
  /** own: each client uses its own key, whose value it therefore knows. */
  readonly keys?: "own" | "random";
}

/** Clients pause this long between operations, on average: it bounds the histories. */
const THINK_MS_MEAN = 25;
const ROUNDS = 3;
const ROUND_MS = 5_000;
/** An operation that was under way must be over this long after all is well. */
const COMPLETION_MS_MAX = 10_000;

courseTest({
  name: "TestBasic4A",
  title: "one client",
  nodes: 5,
  seeds: 2,
}, (lab) => generic(lab, { clients: 1 }));

courseTest({
  name: "TestSpeed4A",
  title: "operations do not wait for heartbeats, and cost one RPC a follower",
  nodes: 3,
  seeds: 1,
}, speed);

courseTest({
  name: "TestConcurrent4A",
  title: "many clients",
  nodes: 5,
  seeds: 2,
}, (lab) => generic(lab, { clients: 5 }));

courseTest({
  name: "TestUnreliable4A",
  title: "unreliable network, many clients",
  nodes: 5,
  seeds: 2,
}, (lab) => generic(lab, { clients: 5, network: "unreliable" }));

courseTest({
  name: "TestUnreliableOneKey4A",
  title: "concurrent appends to one key on an unreliable network, each once and in order",
  nodes: 3,
  seeds: 5,
}, (lab) => {
  lab.setReliable(false);
  const clerk = new LabClerk(lab, { name: "c" });
  put(lab, clerk, "k", "");
  const clients = [0, 1, 2, 3, 4];
  const upTo = 10;
  let done = 0;
  for (const me of clients) {
    const own = new LabClerk(lab, { name: `c${me}` });
    const next = (n: number): void => {
      if (n === upTo) return void done++;
      own.append("k", element(me, n), () => next(n + 1));
    };
    next(0);
  }
  assert(lab.cluster.runUntilTrue(60_000, () => done === clients.length), `${done} are done`);
  const value = get(lab, clerk, "k");
  for (const me of clients) checkAppends(value, me, upTo);
});

courseTest({
  name: "TestOnePartition4A",
  title:
    "progress in the majority, none in the minority with the old leader, completion after the heal",
  nodes: 5,
  seeds: 5,
}, (lab) => {
  const clerk = new LabClerk(lab, { name: "c" });
  put(lab, clerk, "1", "13");

  const leader = lab.checkOneLeader();
  const minority = [leader, lab.after(leader, 1)];
  const majority = [2, 3, 4].map((steps) => lab.after(leader, steps));
  lab.partition(majority, minority);
  const most = new LabClerk(lab, { name: "most", servers: majority });
  const writer = new LabClerk(lab, { name: "writer", servers: minority });
  const reader = new LabClerk(lab, { name: "reader", servers: minority });
  put(lab, most, "1", "14");
  assertEquals(get(lab, most, "1"), "14");

  let isWritten = false;
  let valueRead: string | undefined;
  writer.put("1", "15", () => void (isWritten = true));
  reader.get("1", (value) => void (valueRead = value));
  lab.sleep(ELECTION_MS);
  assert(!isWritten, "a write in the minority completed");
  assertEquals(valueRead, undefined, "a read in the minority completed");
  assertEquals(get(lab, most, "1"), "14");
  put(lab, most, "1", "16");
  assertEquals(get(lab, most, "1"), "16");

  lab.connect(...lab.ids);
  writer.reach(lab.ids);
  reader.reach(lab.ids);
  const isOver = (): boolean => isWritten && valueRead !== undefined;
  assert(lab.cluster.runUntilTrue(ELECTION_MS + 3_000, isOver), "no completion after the heal");
  assert(valueRead === "15" || valueRead === "16", `stale read: ${valueRead}`);
  assertEquals(get(lab, clerk, "1"), "15");
});

courseTest({
  name: "TestManyPartitionsOneClient4A",
  title: "partitions, one client",
  nodes: 5,
  seeds: 2,
}, (lab) => generic(lab, { clients: 1, partitions: true }));

courseTest({
  name: "TestManyPartitionsManyClients4A",
  title: "partitions, many clients",
  nodes: 5,
  seeds: 2,
}, (lab) => generic(lab, { clients: 5, partitions: true }));

courseTest({
  name: "TestPersistOneClient4A",
  title: "restarts, one client",
  nodes: 5,
  seeds: 2,
}, (lab) => generic(lab, { clients: 1, crashes: true }));

courseTest({
  name: "TestPersistConcurrent4A",
  title: "restarts, many clients",
  nodes: 5,
  seeds: 2,
}, (lab) => generic(lab, { clients: 5, crashes: true }));

courseTest({
  name: "TestPersistConcurrentUnreliable4A",
  title: "unreliable network, restarts, many clients",
  nodes: 5,
  seeds: 2,
}, (lab) => generic(lab, { clients: 5, network: "unreliable", crashes: true }));

courseTest({
  name: "TestPersistPartition4A",
  title: "restarts, partitions, many clients",
  nodes: 5,
  seeds: 2,
}, (lab) => generic(lab, { clients: 5, crashes: true, partitions: true }));

courseTest({
  name: "TestPersistPartitionUnreliable4A",
  title: "unreliable network, restarts, partitions, many clients",
  nodes: 5,
  seeds: 2,
}, (lab) => generic(lab, { clients: 5, network: "unreliable", crashes: true, partitions: true }));

courseTest({
  name: "TestPersistPartitionUnreliableLinearizable4A",
  title: "unreliable network, restarts, partitions, random keys, many clients on seven nodes",
  nodes: 7,
  seeds: 2,
}, (lab) =>
  generic(lab, {
    clients: 15,
    network: "unreliable",
    crashes: true,
    partitions: true,
    keys: "random",
  }));

/** The course's bound on the persisted state: a snapshot is due when so much was applied. */
const STATE_BYTES_MAX = 1_000;
const SNAPSHOT_AFTER = { bytes: STATE_BYTES_MAX, entries: Infinity };
/** "Logs were not trimmed" if one is larger. */
const LOG_BYTES_MAX = 8 * STATE_BYTES_MAX;
/** A link on which nothing is heard is given up by then. */
const LINK_LOST_MS = 5_000;
/** The course allows 500 bytes. Of ours, 400 are the head and the end. */
const SNAPSHOT_BYTES_MAX = 1_000;

courseTest({
  name: "TestSnapshotRPC4B",
  title: "a lagging node gets a snapshot, and takes part in a majority with it",
  nodes: 3,
  seeds: 3,
  snapshotAfter: SNAPSHOT_AFTER,
}, (lab) => {
  const clerk = new LabClerk(lab, { name: "all" });
  put(lab, clerk, "a", "A");
  lab.partition([1, 2], [3]);
  const most = new LabClerk(lab, { name: "most", servers: [1, 2] });
  // The link to the third is given up: what was sent on it does not come later.
  lab.sleep(LINK_LOST_MS);
  for (let n = 0; n < 50; n++) put(lab, most, `${n}`, `${n}`);
  lab.sleep(ELECTION_MS);
  put(lab, most, "b", "B");
  checkLogs(lab);

  // The lagging node is needed for a majority.
  lab.partition([1, 3], [2]);
  most.reach([1, 3]);
  put(lab, most, "c", "C");
  put(lab, most, "d", "D");
  for (const [key, value] of [["a", "A"], ["b", "B"], ["1", "1"], ["49", "49"]] as const) {
    assertEquals(get(lab, most, key), value);
  }
  assertGreater(lab.cluster.snapshots.installed, 0);

  lab.connect(...lab.ids);
  put(lab, clerk, "e", "E");
  for (const [key, value] of [["c", "C"], ["e", "E"], ["1", "1"]] as const) {
    assertEquals(get(lab, clerk, key), value);
  }
});

courseTest({
  name: "TestSnapshotSize4B",
  title: "snapshots of a small state are small, however much was written",
  nodes: 3,
  seeds: 1,
  snapshotAfter: SNAPSHOT_AFTER,
}, (lab) => {
  const clerk = new LabClerk(lab, { name: "c" });
  for (let n = 0; n < 200; n++) {
    for (const value of ["0", "1"]) {
      put(lab, clerk, "x", value);
      assertEquals(get(lab, clerk, "x"), value);
    }
  }
  checkLogs(lab);
  assertLessOrEqual(lab.snapshotBytes(), SNAPSHOT_BYTES_MAX);
  assertGreater(lab.cluster.snapshots.taken, 3 * 10);
});

courseTest({
  name: "TestSpeed4B",
  title: "operations are as quick while snapshots are taken",
  nodes: 3,
  seeds: 1,
  snapshotAfter: SNAPSHOT_AFTER,
}, (lab) => {
  speed(lab);
  assertGreater(lab.cluster.snapshots.taken, 3 * 10);
});

for (
  const [name, title, mix, nodes] of [
    ["TestSnapshotRecover4B", "restarts, one client", { clients: 1, crashes: true }, 5],
    ["TestSnapshotRecoverManyClients4B", "restarts, many clients", {
      clients: 20,
      crashes: true,
    }, 5],
    ["TestSnapshotUnreliable4B", "unreliable network, many clients", {
      clients: 5,
      network: "unreliable",
    }, 5],
    ["TestSnapshotUnreliableRecover4B", "unreliable network, restarts, many clients", {
      clients: 5,
      network: "unreliable",
      crashes: true,
    }, 5],
    [
      "TestSnapshotUnreliableRecoverConcurrentPartition4B",
      "unreliable network, restarts, partitions, many clients",
      { clients: 5, network: "unreliable", crashes: true, partitions: true },
      5,
    ],
    [
      "TestSnapshotUnreliableRecoverConcurrentPartitionLinearizable4B",
      "unreliable network, restarts, partitions, random keys, many clients on seven nodes",
      { clients: 15, network: "unreliable", crashes: true, partitions: true, keys: "random" },
      7,
    ],
  ] as const
) {
  const seeds = mix.clients > 15 ? 1 : 2;
  courseTest({ name, title, nodes, seeds, snapshotAfter: SNAPSHOT_AFTER }, (lab) => {
    generic(lab, mix);
    lab.sleep(ELECTION_MS);
    checkLogs(lab);
    assertGreater(lab.cluster.snapshots.taken, nodes);
  });
}

/** All logs were cut behind snapshots. */
function checkLogs(lab: Lab): void {
  assertLessOrEqual(lab.logSizes().diskBytes, LOG_BYTES_MAX);
}

/** Share of operations, one after the other, that are not followed by the next within COMMIT_NOTICE_MS. */
const NOTICED_SHARE_MAX = 0.15;

/** A thousand appends, one after the other. */
function speed(lab: Lab): void {
  const clerk = new LabClerk(lab, { name: "c" });
  // The first operation finds out who leads.
  put(lab, clerk, "x", "");
  const { rpcs, refusals } = lab;
  const { retries } = clerk;
  const startMs = lab.cluster.loop.nowMs;
  const operations = 1_000;
  for (let n = 0; n < operations; n++) append(lab, clerk, "x", element(0, n));
  const tookMs = lab.cluster.loop.nowMs - startMs;
  checkAppends(get(lab, clerk, "x"), 0, operations);
  assertEquals(clerk.retries, retries);
  // The course asks for three operations a heartbeat of 100 ms.
  assertLessOrEqual(tookMs, operations * 100 / 3);
  const heartbeats = 2 * (tookMs / 50 + 1);
  // A message that overtakes another is refused, and both are sent again.
  const resent = 2 * (lab.refusals - refusals);
  // What takes longer than COMMIT_NOTICE_MS until the next is followed by a word that it is committed.
  const notices = 2 * operations * NOTICED_SHARE_MAX;
  assertLessOrEqual(lab.rpcs - rpcs, 2 * operations + notices + heartbeats + resent + 4);
}

/** Rounds of clients under faults; then what they wrote must be there, and what they saw in order. */
function generic(lab: Lab, mix: Mix): void {
  const { cluster, dice } = lab;
  const history: Operation[] = [];
  lab.setReliable(mix.network !== "unreliable");
  const checker = new LabClerk(lab, { name: "checker", history });
  for (let round = 0; round < ROUNDS; round++) {
    const crowd = new Crowd(lab, { mix, round, history });
    if (mix.partitions === true) {
      lab.sleep(1_000);
      const endMs = cluster.loop.nowMs + ROUND_MS;
      while (cluster.loop.nowMs < endMs) {
        const side = lab.ids.filter(() => dice.chance(0.5));
        lab.partition(side, lab.ids.filter((id) => !side.includes(id)));
        lab.sleep(ELECTION_MS + dice.between(0, 200));
      }
    } else lab.sleep(ROUND_MS);
    crowd.stop();
    if (mix.partitions === true) {
      lab.connect(...lab.ids);
      lab.sleep(ELECTION_MS);
    }
    if (mix.crashes === true) {
      lab.shutDown(...lab.ids);
      lab.sleep(ELECTION_MS);
      lab.restart(...lab.ids);
    }
    assert(
      cluster.runUntilTrue(COMPLETION_MS_MAX, () => crowd.underWay === 0),
      `${crowd.underWay} operations did not complete`,
    );
    assertGreater(crowd.operations, 0);
    crowd.appends.forEach((count, me) => {
      const value = get(lab, checker, `${me}`);
      if (mix.keys !== "random") checkAppends(value, me, count, round);
    });
  }
  const verdict = checkLinearizable(history);
  assertEquals(
    verdict.verdict,
    "linearizable",
    verdict.verdict === "violation" ? timelineText(verdict.window) : verdict.verdict,
  );
}

/** The clients of one round. */
class Crowd {
  /** Writes that each client did. */
  readonly appends: number[];
  operations = 0;
  underWay = 0;
  readonly #lab: Lab;
  readonly #mix: Mix;
  readonly #round: number;
  #isStopped = false;

  constructor(
    lab: Lab,
    options: { readonly mix: Mix; readonly round: number; readonly history: Operation[] },
  ) {
    const { mix, round, history } = options;
    this.#lab = lab;
    this.#mix = mix;
    this.#round = round;
    this.appends = Array.from({ length: mix.clients }, () => 0);
    for (let me = 0; me < mix.clients; me++) {
      const clerk = new LabClerk(lab, { name: `r${round}c${me}`, history });
      if (mix.keys === "random") this.#next(me, clerk, "");
      else {
        this.underWay++;
        clerk.put(`${me}`, "", () => this.#done(me, clerk, ""));
      }
    }
  }

  /** Nobody begins another operation. */
  stop(): void {
    this.#isStopped = true;
  }

  #next(me: number, clerk: LabClerk, value: string): void {
    const { cluster, dice } = this.#lab;
    cluster.loop.after(dice.exponential(THINK_MS_MEAN), () => {
      if (!this.#isStopped) this.#operate(me, clerk, value);
    });
  }

  #operate(me: number, clerk: LabClerk, value: string): void {
    const { dice } = this.#lab;
    const isOwn = this.#mix.keys !== "random";
    const key = `${isOwn ? me : dice.below(this.#mix.clients)}`;
    const text = element(me, this.appends[me]!, this.#round);
    this.underWay++;
    if (dice.chance(0.5)) {
      this.appends[me]!++;
      clerk.append(key, text, () => this.#done(me, clerk, value + text));
    } else if (!isOwn && dice.chance(0.1)) {
      this.appends[me]!++;
      clerk.put(key, text, () => this.#done(me, clerk, value));
    } else {
      clerk.get(key, (found) => {
        if (isOwn) assertEquals(found, value, `client ${me} read another value than its own`);
        this.#done(me, clerk, value);
      });
    }
  }

  #done(me: number, clerk: LabClerk, value: string): void {
    this.underWay--;
    this.operations++;
    this.#next(me, clerk, value);
  }
}

/** One append, as it can be found in a value. */
function element(me: number, count: number, round = 0): string {
  return `x ${round} ${me} ${count} y`;
}

/** Each append of a client is in the value, once, in the order in which it was made. */
function checkAppends(value: string, me: number, count: number, round = 0): void {
  const found = value.split(/(?<=y)(?=x)/).filter((text) => text.startsWith(`x ${round} ${me} `));
  assertEquals(found, Array.from({ length: count }, (_, n) => element(me, n, round)));
}

function put(lab: Lab, clerk: LabClerk, key: string, value: string): void {
  complete(lab, (done) => clerk.put(key, value, () => done("")));
}

function append(lab: Lab, clerk: LabClerk, key: string, value: string): void {
  complete(lab, (done) => clerk.append(key, value, () => done("")));
}

function get(lab: Lab, clerk: LabClerk, key: string): string {
  return complete(lab, (done) => clerk.get(key, done));
}

/** Lets time pass until an operation is over. */
function complete(lab: Lab, begin: (done: (value: string) => void) => void): string {
  let result: string | undefined;
  begin((value) => void (result = value));
  const isOver = lab.cluster.runUntilTrue(COMPLETION_MS_MAX, () => result !== undefined);
  assert(isOver, "an operation did not complete");
  return result!;
}
