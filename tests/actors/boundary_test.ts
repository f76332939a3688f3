/**
 * X2, the actor boundary: whatever a peer sends to the actors of a running leader, nothing stops,
 * changes role, hangs or acknowledges.
 *
 * `BOUNDARY_VALUES=1000000 deno test -A tests/actors/boundary_test.ts` tries as many random values.
 *
 * @module
 */
import { assert, assertEquals } from "@std/assert";
import type { MachineSignal } from "../../actors/machine_actor.ts";
import type { RaftSignal } from "../../actors/raft_actor.ts";
import { raftAnswerContract, raftRequestOf } from "../../actors/raft_request.ts";
import type { AuditSignal } from "../../actors/audit_actor.ts";
import type { SnapshotSignal } from "../../actors/snapshot_actor.ts";
import type { WalSignal } from "../../actors/wal_actor.ts";
import { OPERATIONS_MAX } from "../../storage/kv/limits.ts";
import { KvStore } from "../../storage/kv/kv_store.ts";
import type { ActorWire, WireValue } from "../../transport/wire/messages.ts";
import { drawWireValue } from "../fuzz/messages.ts";
import { SimCluster } from "../sim/cluster.ts";
import { Dice } from "../sim/random.ts";

const VALUES = Number(Deno.env.get("BOUNDARY_VALUES") ?? 20_000);
const NAMES = ["raft", "machine", "wal", "snapshots", "audit", "system", "gateway"];
/** Random values go to the actors in portions, so that their mailboxes are emptied between. */
const PORTION = 500;

/** A snapshot that nobody has taken. */
const FORGED = { index: 2 ** 40, term: 9, timeMs: 0, size: 1, digest: "0".repeat(64) };

/** Every signal as a peer could spell it: a type that is missing here does not compile. */
const SIGNALS: Readonly<
  Record<
    | RaftSignal["type"]
    | MachineSignal<unknown>["type"]
    | WalSignal["type"]
    | SnapshotSignal["type"]
    | AuditSignal["type"],
    readonly WireValue[]
  >
> = {
  Durable: [{ type: "Durable" }],
  BurstRead: [{ type: "BurstRead" }],
  TimerDue: [{ type: "TimerDue", lateMs: 0 }, { type: "TimerDue", lateMs: 1e9 }],
  Disk: ["DiskStalled", "DiskSlow", "DiskRecovered"].map((condition) => ({
    type: "Disk",
    condition,
  })),
  Space: [{ type: "Space", condition: "SpaceNone" }],
  RaiseClusterVersion: [{ type: "RaiseClusterVersion", version: 2 ** 31 }],
  PeerRenewed: [{ type: "PeerRenewed", peer: 2 }],
  Expect: [{ type: "Expect", term: 1, firstIndex: 1, answers: [] }],
  Committed: [{ type: "Committed", through: 2 ** 53 - 1 }],
  AwaitApplied: [{ type: "AwaitApplied", index: 0, answers: [] }],
  Continue: [{ type: "Continue" }],
  Load: [{ type: "Load", meta: {}, chunks: [] }],
  Frozen: [{ type: "Frozen" }],
  Snapshotted: [{ type: "Snapshotted" }],
  SnapshotDue: [{ type: "SnapshotDue" }],
  SnapshotTaken: [{ type: "SnapshotTaken", snapshot: FORGED, before: { index: 1, term: 1 } }],
  SnapshotFailed: [{ type: "SnapshotFailed" }],
  SnapshotReceived: [{ type: "SnapshotReceived", snapshot: FORGED }],
  SnapshotRefused: [{ type: "SnapshotRefused" }],
  SnapshotLost: [{ type: "SnapshotLost", snapshot: FORGED }],
  Applied: [{ type: "Applied", index: 16, hash: "0123456789abcdef" }],
  Ask: [{ type: "Ask" }],
  Heard: [{ type: "Heard", from: 2, answer: { hashes: [] } }],
  Take: [{ type: "Take" }],
  Demand: [{ type: "Demand" }],
  Abandon: [{ type: "Abandon" }],
  Check: [{ type: "Check", snapshot: FORGED }],
  ContinueCheck: [{ type: "ContinueCheck" }],
  Send: [{ type: "Send", part: { to: 2, request: { snapshot: FORGED, offset: 0 }, length: 1 } }],
  Store: [{ type: "Store", part: { snapshot: FORGED, offset: 0, bytes: new Uint8Array(1) } }],
  Written: [{ type: "Written", result: FORGED }],
  Loaded: [{ type: "Loaded" }],
  Kept: [{ type: "Kept", result: FORGED }],
  Write: [{ type: "Write", group: 0, write: { runs: [] } }],
  SyncEnded: [{ type: "SyncEnded", position: 2 ** 53 - 1 }],
  SyncStep: [{ type: "SyncStep" }],
  CheckDisk: [{ type: "CheckDisk" }],
};

/** Raft's own messages have their frames; as an actor's message they are refused too. */
const MISPLACED: readonly WireValue[] = [
  { type: "AppendEntries", group: 0, term: 9, from: 2, prevLogIndex: 0, prevLogTerm: 0, runs: [] },
  { type: "TimeoutNow", group: 0, term: 9, from: 2 },
  { type: "RequestVoteReply", group: 0, term: 9, from: 2, granted: true },
];

const TYPES = [...Object.keys(SIGNALS), "Propose", "ReadBarrier", "Transfer", "AppendEntries"];
const FIELDS = ["payload", "to", "through", "index", "term", "position", "lateMs", "condition"];

/** A random value, mostly one that looks like a message of some actor. */
function drawNearMessage(dice: Dice): WireValue {
  if (dice.chance(0.2)) return drawWireValue(dice);
  const fields = FIELDS.filter(() => dice.chance(0.4));
  return {
    type: dice.pick(TYPES),
    ...Object.fromEntries(fields.map((field) => [field, drawWireValue(dice)])),
  };
}

/** A cluster whose leader has committed something, and what is seen of it. */
function led(): { cluster: SimCluster; leader: number; look: () => unknown } {
  const cluster = new SimCluster({ seed: 7, nodes: 3 });
  cluster.startAll();
  assert(cluster.runUntilTrue(10_000, () => cluster.leader() !== undefined));
  cluster.run(500);
  const leader = cluster.leader()!;
  const look = (): unknown => {
    const { core, machine: store } = cluster.host(leader)!;
    const { commitIndex, durableIndex, log } = core.state;
    const { currentTerm, leaderId } = core.context;
    const { running } = cluster.node(leader);
    return [running, core.role, currentTerm, leaderId, commitIndex, durableIndex, log.lastIndex]
      .concat(
        store.revision,
      );
  };
  return { cluster, leader, look };
}

function send(cluster: SimCluster, to: number, wire: ActorWire): void {
  cluster.node(to).system!.deliver(wire.from, wire);
}

Deno.test("X2: no forged signal or misplaced Raft message reaches an actor of a leader", () => {
  const { cluster, leader, look } = led();
  const from = cluster.ids.find((id) => id !== leader)!;
  const before = look();
  let sent = 0;
  for (const name of NAMES) {
    for (const payload of [...Object.values(SIGNALS).flat(), ...MISPLACED]) {
      send(cluster, leader, { type: "ActorCast", from, group: 0, name, payload });
      send(cluster, leader, { type: "ActorCall", from, group: 0, name, callId: ++sent, payload });
    }
  }
  cluster.run(2_000);
  assertEquals(look(), before);
  const { refused, undeliverable, inboundCalls } = cluster.node(leader).system!.status();
  // Two of the names are no actors; everything to the others is refused and answered.
  assertEquals([refused + undeliverable, inboundCalls], [2 * sent, 0]);
  assertEquals(refused, (2 * sent * 5) / NAMES.length);
});

Deno.test(`X2: ${VALUES} random values to every actor leave a leader as it is`, () => {
  const { cluster, leader, look } = led();
  const from = cluster.ids.find((id) => id !== leader)!;
  const dice = new Dice(20_261_126);
  const before = look();
  for (let tried = 0; tried < VALUES; tried++) {
    const payload = drawNearMessage(dice);
    // A value that is a valid request is no attack: the actor offers that.
    if (raftRequestOf(payload) !== undefined) continue;
    const name = dice.pick(NAMES);
    send(
      cluster,
      leader,
      dice.chance(0.5)
        ? { type: "ActorCast", from, group: 0, name, payload }
        : { type: "ActorCall", from, group: 0, name, callId: tried, payload },
    );
    if (tried % PORTION === 0) cluster.run(10);
  }
  cluster.run(1_000);
  assertEquals(look(), before);
});

const ENTRY = {
  value: new Uint8Array(1),
  contentType: undefined,
  created: 1,
  revision: 1,
  version: 1,
};
const DELETED = { type: "delete", deleted: 1 };
const EXECUTED = { status: "ok", succeeded: true, revision: 1, results: [] };

Deno.test("X2: random values are no answers of a Raft actor, and never throw", () => {
  const dice = new Dice(1);
  const raftAnswerOf = raftAnswerContract(new KvStore());
  for (let tried = 0; tried < VALUES; tried++) {
    const value = drawNearMessage(dice);
    for (const parsed of [raftRequestOf(value), raftAnswerOf(value)]) {
      assert(parsed === undefined || typeof parsed === "object");
    }
  }
  for (
    const value of [
      { ...EXECUTED, results: [DELETED, { type: "get", entry: ENTRY }, { type: "get" }] },
      { ...EXECUTED, succeeded: false, presentRevision: 0, replayed: true },
      { ...EXECUTED, results: Array(OPERATIONS_MAX).fill(DELETED) },
    ]
  ) assertEquals<unknown>(raftAnswerOf(value), value);
  for (
    const value of [
      { ...EXECUTED, revision: -1 },
      { ...EXECUTED, succeeded: undefined },
      { ...EXECUTED, succeeded: false },
      { ...EXECUTED, replayed: false },
      { ...EXECUTED, results: {} },
      { ...EXECUTED, results: ["put"] },
      { ...EXECUTED, results: [{ type: "put", version: 1 }] },
      { ...EXECUTED, results: [{ type: "append", version: 1, created: true, length: -1 }] },
      { ...EXECUTED, results: [{ type: "delete", deleted: "1" }] },
      { ...EXECUTED, results: [{ type: "get", entry: { ...ENTRY, value: "1" } }] },
      { ...EXECUTED, results: [{ type: "get", entry: { ...ENTRY, revision: 0.5 } }] },
      { ...EXECUTED, results: [{ type: "toString" }] },
      { ...EXECUTED, results: Array(OPERATIONS_MAX + 1).fill(DELETED) },
      { status: "refused", reason: "because", leader: 1 },
      { status: "transferred", leader: 1 },
      { status: "toString" },
      { status: "__proto__" },
    ]
  ) assertEquals(raftAnswerOf(value), undefined, JSON.stringify(value));
});
