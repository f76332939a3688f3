import { COMMIT_NOTICE_MS } from "../../machines/bounds.ts";
import { encodeConfig, foundingConfig } from "../../machines/group_config.ts";
import { TRANSFERS_WAITING_MAX } from "../../actors/limits.ts";
import { assert, assertEquals } from "@std/assert";
import type { Delivery, LocalRef } from "../../actors/runtime/actor.ts";
import type { MachineSignal } from "../../actors/machine_actor.ts";
import {
  AWAITED_WRITE_MS_MAX,
  BURST_TURNS_MAX,
  HELD_BYTES_MAX,
  LATE_TIMER_GRACE_MS,
  PROPOSE_BYTES_MAX,
  RaftActor,
  type RaftActorMessage,
  type RaftSignal,
  WAITING_BYTES_MAX,
} from "../../actors/raft_actor.ts";
import type { KvAnswer } from "../../actors/group.ts";
import type { SnapshotSignal } from "../../actors/snapshot_actor.ts";
import type { WalSignal, WriteRequest } from "../../actors/wal_actor.ts";
import { DEFAULT_TIMING } from "../../machines/group_state.ts";
import { RaftCore } from "../../machines/raft_core.ts";
import { RaftLog } from "../../machines/raft_log.ts";
import { REQUEST_BYTES_MAX, unpackRequests } from "../../machines/request_batch.ts";
import type { Envelope, RaftMessage } from "../../machines/raft_types.ts";
import { encodeCommand } from "../../storage/kv/command.ts";
import type { CommandResult } from "../../storage/kv/command_result.ts";
import { KvStore } from "../../storage/kv/kv_store.ts";
import { VALUE_BYTES_MAX } from "../../storage/kv/limits.ts";
import { encodeRun, forEachEntry, recordFormat } from "../../storage/log/wal_record.ts";
import { VirtualPorts } from "./virtual_ports.ts";
import { commandOf } from "../storage/kv/command_of.ts";

const { electionTimeoutMsMin, electionTimeoutMsMax, heartbeatMs } = DEFAULT_TIMING;
const COMMAND = encodeCommand(commandOf({ type: "put", key: "k", value: new Uint8Array(1) }));

type Arrival = RaftActorMessage | RaftSignal;

/** Node 1's Raft actor of three, or of one; the others, the disk and the store are the test. */
class Bench {
  readonly ports = new VirtualPorts();
  readonly core: RaftCore;
  readonly actor: RaftActor<CommandResult>;
  /** Messages to other nodes since the last look. */
  sent: Envelope[] = [];
  /** Writes handed to the disk and not yet durable. */
  readonly writes: WriteRequest[] = [];
  readonly toMachine: MachineSignal<CommandResult>[] = [];
  readonly #mailbox: Delivery<Arrival, KvAnswer>[] = [];

  constructor(voters: readonly number[] = [1, 2, 3], machine = new KvStore()) {
    const { ports } = this;
    this.core = new RaftCore({
      id: 1,
      group: 0,
      timing: DEFAULT_TIMING,
      records: recordFormat,
      random: () => 0.5,
      log: new RaftLog(),
      nowMs: ports.clock.monotonicMs(),
      config: foundingConfig({ voters }),
      currentTerm: 0,
      votedFor: undefined,
    });
    const self = {
      signal: (signal: RaftSignal) => void this.#mailbox.push(delivery(signal)),
    } as unknown as LocalRef<RaftActorMessage, KvAnswer, RaftSignal>;
    const wal = {
      signal: (signal: WalSignal) => {
        if (signal.type === "Write") this.writes.push(signal);
      },
    } as unknown as LocalRef<never, never, WalSignal>;
    const machineActor = {
      signal: (signal: MachineSignal<CommandResult>) => void this.toMachine.push(signal),
    } as unknown as LocalRef<never, never, MachineSignal<CommandResult>>;
    this.actor = new RaftActor({
      group: 0,
      core: this.core,
      ports,
      send: (to, message) => void this.sent.push({ to, message }),
      wal,
      machine,
      clusterVersion: () => 1,
      machineActor,
      snapshots: { signal: () => {} } as unknown as LocalRef<never, never, SnapshotSignal>,
      self: () => self,
    });
    this.actor.onStart();
  }

  /** One turn with what waits in the mailbox and these. */
  turn(...arrived: (Arrival | Delivery<Arrival, KvAnswer>)[]): void {
    const deliveries = arrived.map((it) => "message" in it ? it : delivery(it));
    const batch = [...this.#mailbox.splice(0), ...deliveries];
    if (batch.length > 0) this.actor.receive(batch);
  }

  /** Turns until the mailbox is empty. */
  settle(): void {
    while (this.#mailbox.length > 0) this.turn();
  }

  /** The oldest write is durable. */
  sync(): void {
    this.writes.shift()!.onDurable();
    this.settle();
  }

  syncAll(): void {
    while (this.writes.length > 0) this.sync();
  }

  /** Time passes, with a turn whenever the timer is due. */
  advance(ms: number): void {
    for (let passed = 0; passed < ms; passed++) {
      this.ports.advance(1);
      this.settle();
    }
  }

  /** What was sent, by type; forgets it. */
  taken(): string[] {
    const types = this.sent.map(({ to, message }) => `${message.type} to ${to}`);
    this.sent = [];
    return types;
  }

  message<Type extends RaftMessage["type"]>(
    type: Type,
    fields: Omit<Extract<RaftMessage, { type: Type }>, "type" | "group">,
  ): RaftMessage {
    return { type, group: 0, ...fields } as unknown as RaftMessage;
  }

  /** Wins the election of the next term with node 2's votes. */
  lead(): void {
    this.advance(electionTimeoutMsMax + 1);
    const term = this.core.context.currentTerm + 1;
    this.turn(this.message("PreVoteReply", { term, from: 2, granted: true }));
    this.syncAll();
    this.turn(this.message("RequestVoteReply", { term, from: 2, granted: true }));
    assertEquals(this.core.role, "leader");
    this.syncAll();
    this.acknowledge(2);
    this.taken();
    this.toMachine.length = 0;
  }

  /** A follower has everything that the leader has, and confirms its latest round. */
  acknowledge(from: number): void {
    this.turn(this.message("AppendEntriesReply", {
      term: this.core.context.currentTerm,
      from,
      accepted: true,
      matchIndex: this.core.state.log.lastIndex,
      prevLogIndex: 0,
      conflictTerm: 0,
      conflictIndex: 0,
      round: this.core.state.lastRound,
    }));
  }
}

function delivery(message: Arrival): Delivery<Arrival, KvAnswer> {
  return { message, reply: () => {}, fail: () => {} };
}

/** A request that keeps its answers. */
function request(message: Arrival): {
  readonly delivery: Delivery<Arrival, KvAnswer>;
  readonly answers: KvAnswer[];
} {
  const answers: KvAnswer[] = [];
  const reply = (answer: KvAnswer): void => void answers.push(answer);
  return { delivery: { message, reply, fail: () => {} }, answers };
}

/** How many requests each entry of a write holds. */
function requestsOf({ write }: WriteRequest): number[] {
  const counts: number[] = [];
  for (const run of write.runs) {
    forEachEntry(run, (_index, _timeMs, kind, payload) => {
      if (kind === "command") counts.push(unpackRequests(payload).length);
    });
  }
  return counts;
}

const propose = { type: "Propose", payload: COMMAND } as const;

Deno.test("a candidate asks for votes, and votes for itself, only once its vote is durable", () => {
  const bench = new Bench();
  bench.advance(electionTimeoutMsMax + 1);
  assertEquals(bench.taken(), ["PreVote to 2", "PreVote to 3"]);
  bench.turn(bench.message("PreVoteReply", { term: 1, from: 2, granted: true }));
  assertEquals(bench.core.role, "candidate");
  assertEquals(bench.writes.map(({ write }) => write.hardState), [{ currentTerm: 1, votedFor: 1 }]);
  const before = bench.taken();
  assertEquals(before.filter((type) => !type.startsWith("RequestVote ")), []);
  assertEquals(bench.core.context.votesGranted, []);
  bench.sync();
  assertEquals(bench.core.context.votesGranted, [1]);
  assertEquals(before.concat(bench.taken()), ["RequestVote to 2", "RequestVote to 3"]);
});

Deno.test("a vote leaves after the sync that makes it true, not before", () => {
  const bench = new Bench();
  bench.ports.advance(electionTimeoutMsMin);
  bench.turn(bench.message("RequestVote", {
    term: 5,
    from: 2,
    lastLogIndex: 0,
    lastLogTerm: 0,
    transfer: true,
  }));
  assertEquals(bench.taken(), []);
  bench.sync();
  const [vote] = bench.sent;
  assertEquals(vote?.to, 2);
  assertEquals(vote?.message.type === "RequestVoteReply" && vote.message.granted, true);
});

Deno.test("a follower's answer waits for its own write, and a later empty one behind it", () => {
  const bench = new Bench();
  const append = (prevLogIndex: number, count: number): RaftMessage =>
    bench.message("AppendEntries", {
      term: 1,
      from: 2,
      prevLogIndex,
      prevLogTerm: prevLogIndex === 0 ? 0 : 1,
      leaderCommit: 0,
      round: 0,
      runs: count === 0 ? [] : [encodeRun({
        group: 0,
        term: 1,
        firstIndex: prevLogIndex + 1,
        timeMs: 1,
        kind: "command",
        payloads: Array.from({ length: count }, () => COMMAND),
      })],
    });
  bench.turn(append(0, 2));
  bench.turn(append(2, 1));
  // The heartbeat writes nothing, but the term that it answers in is not durable yet.
  bench.turn(append(3, 0));
  assertEquals([bench.writes.length, bench.taken()], [2, []]);
  const matched = (): number[] => {
    const indexes = bench.sent.map(({ message }) =>
      message.type === "AppendEntriesReply" && message.accepted ? message.matchIndex : -1
    );
    bench.sent = [];
    return indexes;
  };
  bench.sync();
  assertEquals(matched(), [2]);
  bench.sync();
  // The heartbeat came when nothing was durable, and claims nothing.
  assertEquals(matched(), [3, 0]);
  // Once the term is durable a heartbeat's answer waits for no write, and claims what is durable.
  bench.turn(append(3, 1));
  bench.turn(append(4, 0));
  assertEquals([bench.writes.length, matched()], [1, [3]]);
  bench.sync();
  assertEquals(matched(), [4]);
});

Deno.test("a leader counts itself only when its disk has the entry", () => {
  const bench = new Bench([1]);
  bench.advance(electionTimeoutMsMax + 1);
  bench.syncAll();
  assertEquals(bench.core.role, "leader");
  const commitIndex = bench.core.state.commitIndex;
  bench.turn(propose);
  assertEquals(bench.core.state.commitIndex, commitIndex);
  bench.sync();
  assertEquals(bench.core.state.commitIndex, commitIndex + 1);
});

Deno.test("proposals of a turn are one write, and S14: expected before they can be committed", () => {
  const bench = new Bench([1]);
  bench.advance(electionTimeoutMsMax + 1);
  bench.syncAll();
  bench.toMachine.length = 0;
  bench.turn(propose, propose, propose);
  bench.advance(1);
  assertEquals(bench.writes.length, 1);
  assertEquals(requestsOf(bench.writes[0]!), [3]);
  bench.sync();
  assertEquals(bench.toMachine.map(({ type }) => type), ["Expect", "Committed"]);
  const [expect] = bench.toMachine;
  assert(expect?.type === "Expect");
  assertEquals([expect.term, expect.answers.length], [bench.core.context.currentTerm, 3]);
  assertEquals(expect.counts, [3]);
});

Deno.test("a proposal that cannot be taken is refused at once and names the leader", () => {
  const bench = new Bench();
  const early = request(propose);
  bench.turn(early.delivery);
  assertEquals(early.answers, [{ status: "refused", reason: "not-leader", leader: 0 }]);
  bench.lead();
  const garbage = request({ type: "Propose", payload: new Uint8Array([9, 9]) });
  const good = request(propose);
  const huge = request({ type: "Propose", payload: new Uint8Array(REQUEST_BYTES_MAX + 1) });
  bench.turn(garbage.delivery, huge.delivery, good.delivery);
  for (const { answers } of [garbage, huge]) {
    assertEquals(answers, [{ status: "refused", reason: "invalid", leader: 1 }]);
  }
  assertEquals(good.answers, []);
  const { proposals, proposalsRefused } = bench.actor.counters;
  assertEquals([proposals, proposalsRefused], [4, 3]);
});

Deno.test("S12: a read waits for a majority that confirms the leader, and none that leaves it", () => {
  const bench = new Bench();
  bench.lead();
  const read = request({ type: "ReadBarrier" });
  bench.turn(read.delivery);
  assertEquals(bench.toMachine.filter(({ type }) => type === "AwaitApplied"), []);
  assertEquals(bench.taken(), ["AppendEntries to 2", "AppendEntries to 3"]);
  bench.acknowledge(3);
  const [ready] = bench.toMachine.filter(({ type }) => type === "AwaitApplied");
  assert(ready?.type === "AwaitApplied");
  assertEquals([ready.index, ready.answers.length], [bench.core.state.commitIndex, 1]);

  const second = request({ type: "ReadBarrier" });
  bench.turn(second.delivery);
  // Nobody answers: the leader steps down and refuses what it cannot confirm.
  bench.advance(2 * electionTimeoutMsMax);
  assert(bench.core.role !== "leader");
  assertEquals(second.answers, [{ status: "refused", reason: "not-leader", leader: 0 }]);
});

Deno.test("S13: reads write nothing and append nothing", () => {
  const bench = new Bench();
  bench.lead();
  const { lastIndex } = bench.core.state.log;
  for (let count = 0; count < 20; count++) {
    bench.turn({ type: "ReadBarrier" });
    bench.acknowledge(2);
  }
  assertEquals([bench.core.state.log.lastIndex, bench.writes.length], [lastIndex, 0]);
});

Deno.test("a timer that fired late gives what has arrived the chance to be read, once", () => {
  const bench = new Bench();
  bench.turn(heartbeat(bench));
  bench.syncAll();
  bench.taken();
  // The event loop stalls; the timer comes first, then the heartbeat that waited in the socket.
  bench.ports.stall(3 * electionTimeoutMsMax);
  bench.ports.fireDue();
  bench.turn();
  assertEquals(bench.core.role, "follower");
  bench.turn(heartbeat(bench));
  bench.advance(LATE_TIMER_GRACE_MS + electionTimeoutMsMin - 1);
  assertEquals(bench.core.role, "follower");
  assertEquals(bench.taken().filter((type) => type.startsWith("PreVote")), []);

  const unheard = new Bench();
  unheard.ports.stall(3 * electionTimeoutMsMax);
  unheard.ports.fireDue();
  unheard.turn();
  assertEquals(unheard.core.role, "follower");
  unheard.advance(LATE_TIMER_GRACE_MS + 1);
  assertEquals(unheard.core.role, "preCandidate");
});

Deno.test("a timer that fired in time is believed", () => {
  const bench = new Bench();
  bench.turn(heartbeat(bench));
  bench.syncAll();
  bench.advance(electionTimeoutMsMax + 1);
  assertEquals(bench.core.role, "preCandidate");
});

Deno.test("a leader beats at least every heartbeat interval", () => {
  const bench = new Bench();
  bench.lead();
  // The entry of the election is committed, and the others are told so.
  bench.acknowledge(2);
  bench.advance(COMMIT_NOTICE_MS);
  bench.taken();
  for (let beat = 0; beat < 3; beat++) {
    bench.advance(heartbeatMs);
    assertEquals(bench.taken(), ["AppendEntries to 2", "AppendEntries to 3"]);
    bench.acknowledge(2);
    bench.taken();
  }
});

Deno.test("a transfer is answered when the target leads", () => {
  const bench = new Bench();
  bench.lead();
  const transfer = request({ type: "Transfer", to: 2 });
  bench.turn(transfer.delivery);
  assertEquals(bench.taken(), ["TimeoutNow to 2"]);
  assertEquals(transfer.answers, []);
  const term = bench.core.context.currentTerm + 1;
  bench.turn(bench.message("RequestVote", {
    term,
    from: 2,
    lastLogIndex: bench.core.state.log.lastIndex,
    lastLogTerm: term - 1,
    transfer: true,
  }));
  bench.syncAll();
  bench.turn(heartbeat(bench, term));
  assertEquals(transfer.answers, [{ status: "transferred", leader: 2, term }]);
});

Deno.test("a transfer that nobody can or does take is refused or aborted, and proposals go on", () => {
  const bench = new Bench();
  const early = request({ type: "Transfer", to: 2 });
  bench.turn(early.delivery);
  assertEquals(early.answers, [{ status: "refused", reason: "not-leader", leader: 0 }]);
  bench.lead();
  for (const to of [1, 9]) {
    const impossible = request({ type: "Transfer", to });
    bench.turn(impossible.delivery);
    assertEquals(impossible.answers, [{ status: "refused", reason: "not-leader", leader: 1 }]);
  }
  const silent = request({ type: "Transfer", to: 3 });
  bench.turn(silent.delivery);
  const meanwhile = request(propose);
  bench.turn(meanwhile.delivery);
  assertEquals(meanwhile.answers, [{ status: "refused", reason: "transferring", leader: 1 }]);
  for (let passed = 0; passed <= electionTimeoutMsMax; passed += heartbeatMs) {
    bench.advance(heartbeatMs);
    bench.acknowledge(2);
  }
  assertEquals(silent.answers, [{ status: "refused", reason: "aborted", leader: 1 }]);
  const after = request(propose);
  bench.turn(after.delivery);
  assertEquals(after.answers, []);
});

Deno.test("requests for a transfer that wait at a node are bounded, and all are answered in the end", () => {
  const bench = new Bench();
  bench.lead();
  const waiting = Array.from(
    { length: TRANSFERS_WAITING_MAX },
    () => request({ type: "Transfer", to: 3 }),
  );
  bench.turn(...waiting.map(({ delivery }) => delivery));
  assert(waiting.every(({ answers }) => answers.length === 0));
  const more = request({ type: "Transfer", to: 3 });
  bench.turn(more.delivery);
  assertEquals(more.answers, [{ status: "refused", reason: "transferring", leader: 1 }]);
  for (let passed = 0; passed <= electionTimeoutMsMax; passed += heartbeatMs) {
    bench.advance(heartbeatMs);
    bench.acknowledge(2);
  }
  assertEquals(new Set(waiting.map(({ answers }) => answers.length)), new Set([1]));
});

Deno.test("a stalled disk ends leadership", () => {
  const bench = new Bench();
  bench.lead();
  bench.turn({ type: "Disk", condition: "DiskStalled" });
  assert(bench.core.role !== "leader");
  const refused = request(propose);
  bench.turn(refused.delivery);
  assertEquals(refused.answers.map(({ status }) => status), ["refused"]);
});

Deno.test("stopped, it sets no more timers", () => {
  const bench = new Bench();
  bench.actor.onStop();
  assertEquals(bench.ports.armedTimers, 0);
});

function heartbeat(bench: Bench, term = 1): RaftMessage {
  return bench.message("AppendEntries", {
    term,
    from: 2,
    prevLogIndex: 0,
    prevLogTerm: 0,
    leaderCommit: 0,
    round: 0,
    runs: [],
  });
}

Deno.test("commands that arrive during a write are one write and one message when it ends", () => {
  const bench = new Bench();
  bench.lead();
  bench.syncAll();
  bench.acknowledge(2);
  bench.acknowledge(3);
  bench.taken();
  bench.turn(propose);
  assertEquals(bench.writes.length, 1);
  assertEquals(bench.taken(), ["AppendEntries to 2", "AppendEntries to 3"]);
  bench.turn(propose, propose);
  bench.turn(propose);
  assertEquals(bench.writes.length, 1);
  assertEquals(bench.taken(), []);
  bench.sync();
  bench.advance(1);
  assertEquals(bench.writes.length, 1);
  assertEquals(requestsOf(bench.writes[0]!), [3]);
  assertEquals(bench.taken(), ["AppendEntries to 2", "AppendEntries to 3"]);
});

Deno.test("AWAITED_WRITE_MS_MAX: commands do not wait for a disk that hangs: the others commit without it", () => {
  const bench = new Bench();
  bench.lead();
  bench.turn(propose);
  const held = request(propose);
  bench.turn(held.delivery);
  const isProposed = (): boolean => bench.writes.length === 2;
  for (let ms = 1; ms < AWAITED_WRITE_MS_MAX; ms++) {
    bench.advance(1);
    assertEquals(isProposed(), false, `after ${ms} ms`);
  }
  bench.advance(1);
  assertEquals(isProposed(), true);
  // None of the writes has ended: no later command waits at all.
  bench.turn(propose);
  assertEquals(bench.writes.length, 3);
  const { lastIndex } = bench.core.state.log;
  for (const from of [2, 3]) bench.acknowledge(from);
  assertEquals(bench.core.state.commitIndex, lastIndex);
  assertEquals(bench.core.state.durableIndex < lastIndex, true);
});

Deno.test("commands that a leader held are refused once it leads no more, and so are later ones", () => {
  const bench = new Bench();
  bench.lead();
  bench.syncAll();
  bench.turn(propose);
  const held = request(propose);
  bench.turn(held.delivery);
  assertEquals([bench.writes.length, held.answers], [1, []]);
  bench.turn({ type: "Disk", condition: "DiskStalled" });
  assertEquals(bench.core.role, "follower");
  const refusal = { status: "refused", reason: "not-leader", leader: 0 } as const;
  assertEquals(held.answers, [refusal]);
  // The write is still under way, and nobody waits for it.
  const [later, last] = [request(propose), request(propose)];
  bench.turn(later.delivery, last.delivery);
  assertEquals([bench.writes.length, later.answers, last.answers], [1, [refusal], [refusal]]);
});

Deno.test("BURST_TURNS_MAX: a burst is awaited while it grows and no longer, one command never", () => {
  const bench = new Bench([1]);
  bench.advance(electionTimeoutMsMax + 1);
  bench.syncAll();
  const written = (): number[] => bench.writes.flatMap(requestsOf);
  bench.turn(propose);
  assertEquals(written(), [1]);
  bench.syncAll();
  // The turn after the burst brings nothing more.
  bench.turn(propose, propose);
  assertEquals(written(), []);
  bench.advance(1);
  assertEquals(written(), [2]);
  bench.syncAll();
  // Each turn brings more, but there is an end to it.
  for (let turn = 0; turn <= BURST_TURNS_MAX; turn++) {
    assertEquals(written(), []);
    bench.turn(propose, propose);
  }
  assertEquals(written(), [2 * (BURST_TURNS_MAX + 1)]);
});

Deno.test("HELD_BYTES_MAX: with more bytes, commands wait for no write", () => {
  const bench = new Bench();
  bench.lead();
  bench.syncAll();
  bench.turn(propose);
  const value = new Uint8Array(HELD_BYTES_MAX);
  const payload = encodeCommand(commandOf({ type: "put", key: "k", value }));
  bench.turn({ type: "Propose", payload });
  assertEquals(bench.writes.length, 2);
});

Deno.test("X10: a burst is proposed in parts of PROPOSE_BYTES_MAX, the rest in later turns, in order", () => {
  const bench = new Bench([1]);
  bench.advance(electionTimeoutMsMax + 1);
  bench.syncAll();
  const value = new Uint8Array(VALUE_BYTES_MAX / 2);
  const payload = encodeCommand(commandOf({ type: "put", key: "k", value }));
  const inTurn = Math.ceil(PROPOSE_BYTES_MAX / payload.length);
  bench.turn(...Array.from({ length: 3 * inTurn }, () => ({ type: "Propose", payload } as const)));
  assertEquals(bench.writes.flatMap(requestsOf).length, inTurn);
  bench.ports.settle();
  bench.settle();
  bench.ports.settle();
  bench.settle();
  assertEquals(bench.writes.flatMap(requestsOf).length, 3 * inTurn);
});

Deno.test("WAITING_BYTES_MAX: requests that come on top of what waits are refused at once", () => {
  const bench = new Bench([1]);
  bench.advance(electionTimeoutMsMax + 1);
  bench.syncAll();
  const value = new Uint8Array(VALUE_BYTES_MAX);
  const payload = encodeCommand(commandOf({ type: "put", key: "k", value }));
  const fitting = Math.floor(WAITING_BYTES_MAX / payload.length);
  const calls = Array.from({ length: fitting + 3 }, () => request({ type: "Propose", payload }));
  bench.turn(...calls.map((call) => call.delivery));
  const refused = calls.filter(({ answers }) => answers.length > 0);
  assertEquals(refused.length, 3);
  assertEquals(refused[0]!.answers, [{ status: "refused", reason: "overloaded", leader: 1 }]);
});

Deno.test("a change that another leader dropped is not called done, though a later one is", () => {
  for (const isKept of [true, false]) {
    const bench = new Bench();
    bench.lead();
    bench.core.raiseClusterVersion(2);
    bench.acknowledge(2);
    bench.syncAll();
    bench.acknowledge(2);
    const { configs: { current: { config } }, log } = bench.core.state;
    assertEquals(config.clusterVersion, 2);
    const change = request({
      type: "ChangeMembers",
      change: { update: [{ id: 2, http: "http://n2:1" }] },
      ...{ force: false, dryRun: false },
    });
    bench.turn(change.delivery);
    bench.syncAll();
    assertEquals(change.answers, []);
    // Another leader was elected, perhaps without the entry, and has committed a configuration.
    const index = log.lastIndex;
    const term = bench.core.context.currentTerm + 1;
    const firstIndex = isKept ? index + 1 : index;
    const payloads = [encodeConfig(config)];
    bench.turn(bench.message("AppendEntries", {
      ...{ term, from: 2, round: 1, leaderCommit: firstIndex, prevLogIndex: firstIndex - 1 },
      prevLogTerm: log.termAt(firstIndex - 1)!,
      runs: [encodeRun({ group: 0, term, firstIndex, timeMs: 0, kind: "config", payloads })],
    }));
    assertEquals(change.answers.map(({ status }) => status), [isKept ? "members" : "unknown"]);
  }
});

Deno.test("time passes under a later leadership, though the entry for it was lost with the first", () => {
  const machine = new DueMachine();
  const bench = new Bench([1, 2, 3], machine);
  const { log } = bench.core.state;
  bench.lead();
  for (let count = 0; count < 2; count++) {
    bench.turn({ type: "Propose", payload: COMMAND });
    bench.syncAll();
  }
  machine.deadlineMs = 0;
  bench.turn({ type: "BurstRead" });
  assertEquals(log.lastIndex, 4);
  // Node 2 leads and replaces all but the first entry; then node 1 leads again.
  const run = encodeRun({
    group: 0,
    term: 2,
    firstIndex: 2,
    timeMs: 1,
    kind: "noop",
    payloads: [new Uint8Array(0)],
  });
  const replaced = { prevLogIndex: 1, prevLogTerm: 1, leaderCommit: 2, round: 0, runs: [run] };
  bench.turn(bench.message("AppendEntries", { term: 2, from: 2, ...replaced }));
  bench.syncAll();
  assertEquals(log.lastIndex, 2);
  machine.reached = 2;
  bench.lead();
  machine.reached = 3;
  bench.turn({ type: "BurstRead" });
  assertEquals(log.lastIndex, 4, "the empty entry of its term, and one for time");
});

/** A store whose deadline and progress the test sets. */
class DueMachine extends KvStore {
  deadlineMs = Infinity;
  reached = 1;

  override get lastApplied(): number {
    return this.reached;
  }

  override nextDeadlineMs(): number {
    return this.deadlineMs;
  }
}
