/**
 * Hosts one group's member: everything that arrived is one turn of raft_core.ts, and what the turn
 * asks for is done here.
 *
 *     mailbox batch -> beginTurn, receive..., propose, read, endTurn -> outbox
 *       messages     -> peers, at once
 *       write        -> WAL actor -> Durable -> core.durable()
 *       commitIndex  -> machine actor -> answers
 *
 * What must wait for the disk waits in the core (machines/pending_writes.ts): this host only counts
 * its writes off, in their order.
 *
 * @module
 */
import type { ConfigEntry, PlacedConfig } from "../machines/group_config.ts";
import type { ChangeOutcome } from "../machines/membership.ts";
import type { CutShort, Outbox } from "../machines/group_state.ts";
import type { RaftCore, SpaceCondition } from "../machines/raft_core.ts";
import type { LogBase } from "../machines/raft_log.ts";
import type {
  GroupId,
  LogIndex,
  NodeId,
  RaftMessage,
  SnapshotRef,
  Term,
} from "../machines/raft_types.ts";
import { REQUEST_BYTES_MAX } from "../machines/request_batch.ts";
import type { StateMachine } from "../machines/state_machine.ts";
import { CommitTimes } from "./commit_times.ts";
import { TRANSFERS_WAITING_MAX } from "./limits.ts";
import type { MachineSignal } from "./machine_actor.ts";
import type { RaftAnswer, RaftRequest, Refused } from "./raft_request.ts";
import { Actor, type Delivery, type LocalRef } from "./runtime/actor.ts";
import type { Ports } from "./runtime/ports.ts";
import { LazyTimer } from "./runtime/timers.ts";
import type { SnapshotSignal } from "./snapshot_actor.ts";
import type { DiskCondition, WalSignal } from "./wal_actor.ts";

/** Pause that lets queued input be read before a timer that fired late is believed. */
export const LATE_TIMER_GRACE_MS = 5;

/** Requests wait no longer for the write under way once it has taken so long, a heartbeat. */
export const AWAITED_WRITE_MS_MAX = 50;
/** Bytes of requests that wait for the write under way; with more they wait no longer. */
export const HELD_BYTES_MAX = 256 * 1024;
/**
 * Bytes of requests proposed in one turn; the rest waits for the next, so that no burst keeps the
 * event loop from its heartbeats.
 */
export const PROPOSE_BYTES_MAX = 2 * 1024 * 1024;
/** Bytes of requests that wait here at all; a request that comes on top is refused as overloaded. */
export const WAITING_BYTES_MAX = 64 * 1024 * 1024;

/** Turns of the event loop for which a burst of requests is awaited while it still grows. */
export const BURST_TURNS_MAX = 2;

/** What the Raft actor takes from others: Raft's messages, and requests. */
export type RaftActorMessage = RaftMessage | RaftRequest;

/** What only this node's own disk, timer and event loop say to the Raft actor. */
export type RaftSignal =
  /** The oldest write that the disk was given is durable. */
  | { readonly type: "Durable" }
  /** What followed a burst of requests has been read, or more of it is to be proposed. */
  | { readonly type: "BurstRead" }
  | { readonly type: "TimerDue"; readonly lateMs: number }
  | { readonly type: "Disk"; readonly condition: DiskCondition }
  | { readonly type: "Space"; readonly condition: SpaceCondition }
  /** Every member's build knows this cluster version. */
  | { readonly type: "RaiseClusterVersion"; readonly version: number }
  /** As {@linkcode RaftCore.peerRenewed}. */
  | { readonly type: "PeerRenewed"; readonly peer: NodeId }
  /** The log has grown so far that a snapshot is worth its while. */
  | { readonly type: "SnapshotDue" }
  /** As {@linkcode RaftCore.snapshotTaken}. */
  | {
    readonly type: "SnapshotTaken";
    readonly snapshot: SnapshotRef;
    readonly before: LogBase | undefined;
  }
  | { readonly type: "SnapshotFailed" }
  /** As {@linkcode RaftCore.snapshotReceived}. */
  | {
    readonly type: "SnapshotReceived";
    readonly snapshot: SnapshotRef;
    readonly config: ConfigEntry;
  }
  | { readonly type: "SnapshotRefused" }
  /** As {@linkcode RaftCore.snapshotLost}. */
  | { readonly type: "SnapshotLost"; readonly snapshot: SnapshotRef | undefined };

/** What the Raft actor needs. */
export interface RaftActorOptions<Result> {
  readonly group: GroupId;
  readonly core: RaftCore;
  readonly ports: Ports;
  readonly send: (to: NodeId, message: RaftMessage) => void;
  readonly wal: LocalRef<never, never, WalSignal>;
  readonly machine: StateMachine<Result>;
  /** The cluster version that the group has agreed on. */
  readonly clusterVersion: () => number;
  readonly machineActor: LocalRef<never, never, MachineSignal<Result>>;
  readonly snapshots: LocalRef<never, never, SnapshotSignal>;
  readonly self: () => LocalRef<RaftActorMessage, RaftAnswer<Result>, RaftSignal>;
  /** Called once a log that was lost holds all that it must, and the vote that was given away is durable. */
  readonly onLogRestored?: () => void;
  /** Another configuration is in force, or the one in force is committed by now. */
  readonly onMembers?: (placed: PlacedConfig, isCommitted: boolean) => void;
  /** A follower has lost what it had acknowledged, and does not know. */
  readonly onCutShort?: (cut: CutShort) => void;
  /** Gets how long what a turn proposed took to be committed. */
  readonly onCommit?: (durationMs: number) => void;
}

type Call<Result> = Delivery<RaftActorMessage | RaftSignal, RaftAnswer<Result>>;

/** A transfer whose caller waits, and the term in which it was asked for. */
interface PendingTransfer<Result> {
  readonly to: NodeId;
  readonly term: Term;
  readonly request: Call<Result>;
}

/** A change of the members whose caller waits, and the term in which it was asked for. */
interface PendingChange<Result> {
  readonly request: Call<Result>;
  readonly outcome: Extract<ChangeOutcome, { readonly accepted: true }>;
  readonly term: Term;
}

/** Counters of a group, for metrics. */
export interface RaftCounters {
  proposals: number;
  proposalsRefused: number;
  reads: number;
  readsRefused: number;
}

/** Hosts one group's core. */
export class RaftActor<Result> extends Actor<RaftActorMessage, RaftAnswer<Result>, RaftSignal> {
  readonly counters: RaftCounters = {
    proposals: 0,
    proposalsRefused: 0,
    reads: 0,
    readsRefused: 0,
  };
  readonly #options: RaftActorOptions<Result>;
  readonly #core: RaftCore;
  readonly #timer: LazyTimer;
  /** Tells this actor that the oldest write is durable; the same for every write. */
  readonly #onDurable: () => void;
  readonly #reads: Map<number, Call<Result>> = new Map();
  #lastReadId = 0;
  /** Whether the log was lost, and nobody was told yet that it is there again. */
  #wasLogLost: boolean;
  /** Requests that wait for the write under way, and their calls. */
  #held: Call<Result>[] = [];
  #heldRequests: Uint8Array[] = [];
  #heldBytes = 0;
  /** The burst that the held requests are: how many they were a turn ago, and for how many turns. */
  #burst = { requests: 0, turns: 0 };
  #transfers: PendingTransfer<Result>[] = [];
  #changes: PendingChange<Result>[] = [];
  /** What the host has been told of the members. */
  #told: { readonly placed: PlacedConfig | undefined; readonly isCommitted: boolean } = {
    placed: undefined,
    isCommitted: false,
  };
  #handedCommit: LogIndex = 0;
  readonly #commitTimes: CommitTimes;
  /** The entry that lets time pass, if one is on its way to the state machine. */
  #timePassesAt: LogIndex = 0;
  /** While a late timer gives grace: until when; else 0. */
  #graceEndsMs = 0;

  /** Hosts `options.core`, which nothing else may touch. */
  constructor(options: RaftActorOptions<Result>) {
    super();
    this.#options = options;
    this.#core = options.core;
    this.#wasLogLost = options.core.role === "recovering";
    this.#commitTimes = new CommitTimes(options.onCommit ?? (() => {}));
    this.#timer = new LazyTimer(
      options.ports,
      (lateMs) => options.self().signal({ type: "TimerDue", lateMs }),
    );
    this.#onDurable = () => options.self().signal({ type: "Durable" });
  }

  override onStart(): void {
    this.#timer.set(this.#core.nextDeadlineMs);
  }

  override onStop(): void {
    this.#timer.stop();
  }

  override receive(batch: readonly Call<Result>[]): void {
    const core = this.#core;
    core.beginTurn(this.#options.ports.clock.monotonicMs());
    const readIds: number[] = [];
    for (const delivery of batch) {
      const { message } = delivery;
      switch (message.type) {
        case "Propose":
          this.#hold(delivery, message.payload);
          break;
        case "ReadBarrier":
          this.#reads.set(++this.#lastReadId, delivery);
          readIds.push(this.#lastReadId);
          break;
        case "Transfer":
          this.#transfer(delivery, message.to);
          break;
        case "ChangeMembers":
          this.#changeMembers(delivery, message);
          break;
        case "PeerRenewed":
          core.peerRenewed(message.peer);
          break;
        case "Durable":
          core.durable();
          break;
        case "BurstRead":
          break;
        case "TimerDue":
          this.#timerDue(message.lateMs);
          break;
        case "Disk":
          core.disk(message.condition);
          break;
        case "Space":
          core.space(message.condition);
          break;
        case "RaiseClusterVersion":
          core.raiseClusterVersion(message.version);
          break;
        case "SnapshotDue":
          core.snapshotDue();
          break;
        case "SnapshotTaken":
          this.#beginAnotherTurn();
          core.snapshotTaken(message.snapshot, message.before);
          break;
        case "SnapshotFailed":
          core.snapshotFailed();
          break;
        case "SnapshotReceived":
          this.#beginAnotherTurn();
          core.snapshotReceived(message.snapshot, message.config);
          break;
        case "SnapshotRefused":
          core.snapshotRefused();
          break;
        case "SnapshotLost":
          core.snapshotLost(message.snapshot);
          break;
        default:
          core.receive(message);
      }
    }
    this.#proposeHeld();
    const machineDueMs = this.#letTimePass();
    if (readIds.length > 0) {
      this.counters.reads += readIds.length;
      core.read(readIds);
    }
    this.#perform(core.endTurn());
    this.#noteLogRestored();
    // A message that was read meanwhile has moved the deadline. The next late timer waits again.
    if (core.nextDeadlineMs > core.state.nowMs) this.#graceEndsMs = 0;
    const dueMs = Math.min(core.nextDeadlineMs, machineDueMs, this.#heldUntilMs() ?? Infinity);
    this.#timer.set(Math.max(dueMs, this.#graceEndsMs));
  }

  #noteLogRestored(): void {
    if (!this.#wasLogLost) return;
    const { role, state, context } = this.#core;
    if (role === "recovering" || !state.isDurable(context)) return;
    this.#wasLogLost = false;
    this.#options.onLogRestored?.();
  }

  /** What the log forgets is written before the entries of the turn, so they get a turn of their own. */
  #beginAnotherTurn(): void {
    this.#perform(this.#core.endTurn());
    this.#core.beginTurn(this.#options.ports.clock.monotonicMs());
  }

  /**
   * While this node leads: lets time pass for a state machine that is due, once for each of its
   * deadlines. Returns when it is due next.
   */
  #letTimePass(): number {
    const { core, machine } = this.#options;
    const { leadership, nowMs, log } = core.state;
    if (leadership === undefined) {
      // The entry may be lost with the leadership; then its index may never be reached.
      this.#timePassesAt = 0;
      return Infinity;
    }
    const deadlineMs = machine.nextDeadlineMs();
    if (deadlineMs === Infinity || machine.lastApplied < this.#timePassesAt) return Infinity;
    const leftMs = deadlineMs - leadership.logTimeAt(nowMs);
    if (leftMs > 0) return nowMs + leftMs;
    core.machineDue();
    this.#timePassesAt = log.lastIndex;
    return Infinity;
  }

  /** Asks for a transfer; many may wait for the same one, and some for a leader that is gone. */
  #transfer(request: Call<Result>, to: NodeId): void {
    if (this.#transfers.length >= TRANSFERS_WAITING_MAX) {
      return request.reply(this.#refused("transferring"));
    }
    this.#transfers.push({ to, term: this.#core.context.currentTerm, request });
    this.#core.transfer(to);
  }

  /** Takes a request to be proposed, unless it surely cannot be. */
  #hold(call: Call<Result>, request: Uint8Array): void {
    const { length } = request;
    const refusal = length > REQUEST_BYTES_MAX
      ? "invalid"
      : this.#heldBytes + length > WAITING_BYTES_MAX
      ? "overloaded"
      : this.#options.machine.check(request, this.#options.clusterVersion());
    if (refusal !== undefined) {
      this.counters.proposals++;
      this.counters.proposalsRefused++;
      return call.reply(this.#refused(refusal));
    }
    this.#held.push(call);
    this.#heldRequests.push(request);
    this.#heldBytes += length;
  }

  /**
   * Proposes the requests that are held, PROPOSE_BYTES_MAX of them at a time.
   *
   * While a write of this node is under way, requests wait for its end. They could not be synced
   * earlier anyway. Waiting together they share entries, one message to each follower, and one sync
   * on every disk. They do not wait for a write that takes longer than AWAITED_WRITE_MS_MAX: this
   * disk may hang, and the others commit without it. A burst is also not cut in two by the event
   * loop: as long as each turn brings more requests, they wait, for BURST_TURNS_MAX turns at most. A
   * lone client never waits: nothing is being written when it asks, and one request is no burst.
   *
   * A node that does not lead refuses at once. It also refuses the requests that it held while it
   * led, so that clients ask another node. So does one without space, whose write may not end soon.
   */
  #proposeHeld(): void {
    if (this.#held.length === 0) return;
    const leads = this.#core.role === "leader";
    const hasSpace = this.#core.snapshot.value.space === "enough";
    const mayWait = leads && hasSpace && this.#heldBytes < HELD_BYTES_MAX;
    if (mayWait && (this.#heldUntilMs() !== undefined || this.#burstGrows())) return;
    this.#burst = { requests: 0, turns: 0 };
    const [calls, requests] = leads ? this.#takeHeld(PROPOSE_BYTES_MAX) : this.#takeHeld(Infinity);
    const outcome = this.#core.propose(requests);
    this.counters.proposals += calls.length;
    let taken = 0;
    if (outcome.accepted) {
      const { term, firstIndex, counts } = outcome;
      taken = counts.reduce((sum, count) => sum + count, 0);
      this.#commitTimes.propose(firstIndex + counts.length - 1, this.#core.state.nowMs);
      const answers = taken === calls.length ? calls : calls.slice(0, taken);
      this.#options.machineActor.signal({ type: "Expect", term, firstIndex, counts, answers });
    }
    this.counters.proposalsRefused += calls.length - taken;
    const reason = outcome.accepted ? "overloaded" : outcome.reason;
    for (let at = taken; at < calls.length; at++) calls[at]!.reply(this.#refused(reason));
    if (this.#heldBytes >= HELD_BYTES_MAX) this.#lookAgain();
  }

  /**
   * Takes the oldest requests that are held: at most `bytesMax` bytes of them, but at least one.
   */
  #takeHeld(bytesMax: number): [calls: Call<Result>[], requests: Uint8Array[]] {
    let count = 0;
    let bytes = 0;
    while (count < this.#held.length && (count === 0 || bytes < bytesMax)) {
      bytes += this.#heldRequests[count++]!.length;
    }
    const [calls, requests] = [this.#held, this.#heldRequests];
    const isAll = count === calls.length;
    this.#held = isAll ? [] : calls.slice(count);
    this.#heldRequests = isAll ? [] : requests.slice(count);
    this.#heldBytes -= bytes;
    return isAll ? [calls, requests] : [calls.slice(0, count), requests.slice(0, count)];
  }

  /** How long requests that are held wait for the write under way; undefined if they do not. */
  #heldUntilMs(): number | undefined {
    const { writes: { oldestMs }, nowMs } = this.#core.state;
    if (this.#held.length === 0 || oldestMs === undefined) return undefined;
    const untilMs = oldestMs + AWAITED_WRITE_MS_MAX;
    return untilMs > nowMs ? untilMs : undefined;
  }

  /** Whether the last turn brought more requests of a burst. If so, it asks for another turn. */
  #burstGrows(): boolean {
    const { requests, turns } = this.#burst;
    const { length } = this.#held;
    if (length === 1 || length === requests || turns === BURST_TURNS_MAX) return false;
    this.#burst = { requests: length, turns: turns + 1 };
    this.#lookAgain();
    return true;
  }

  /** Asks for another turn, after the IO that is ready. */
  #lookAgain(): void {
    const { ports, self } = this.#options;
    ports.scheduler.soon(() => self().signal({ type: "BurstRead" }));
  }

  #perform(outbox: Outbox): void {
    const { group, send, wal, snapshots } = this.#options;
    for (const { to, message } of outbox.messages) send(to, message);
    for (const part of outbox.snapshotParts) snapshots.signal({ type: "Send", part });
    if (outbox.abandonsReceived) snapshots.signal({ type: "Abandon" });
    for (const part of outbox.received) snapshots.signal({ type: "Store", part });
    if (outbox.takesSnapshot) snapshots.signal({ type: "Take" });
    const { doubted } = outbox;
    if (doubted !== undefined) snapshots.signal({ type: "Check", snapshot: doubted });
    for (const cut of outbox.cutShort) this.#options.onCutShort?.(cut);
    const { write } = outbox;
    if (write !== undefined) {
      wal.signal({ type: "Write", group, write, onDurable: this.#onDurable });
    }
    const { commitIndex, leadership, nowMs } = this.#core.state;
    if (leadership === undefined) this.#commitTimes.forget();
    if (commitIndex > this.#handedCommit) {
      this.#handedCommit = commitIndex;
      this.#commitTimes.commit(commitIndex, nowMs);
      this.#options.machineActor.signal({ type: "Committed", through: commitIndex });
    }
    for (const { readIndex, readIds } of outbox.readsReady) {
      this.#options.machineActor.signal({
        type: "AwaitApplied",
        index: readIndex,
        answers: this.#takeReads(readIds),
      });
    }
    this.counters.readsRefused += outbox.readsRefused.length;
    for (const read of this.#takeReads(outbox.readsRefused)) {
      read.reply(this.#refused("not-leader"));
    }
    this.#settleTransfers(outbox.transfer);
    this.#settleChanges();
    this.#tellMembers();
  }

  /**
   * After a stall of the event loop the timer fires before the heartbeats that arrived meanwhile
   * are read. So a late timer waits once, for LATE_TIMER_GRACE_MS, until they have been read.
   */
  #timerDue(lateMs: number): void {
    const { nowMs, timing } = this.#core.state;
    const gaveGrace = this.#graceEndsMs > 0;
    if (lateMs > timing.heartbeatMs / 2 && !gaveGrace) {
      this.#graceEndsMs = nowMs + LATE_TIMER_GRACE_MS;
      return;
    }
    this.#graceEndsMs = 0;
    this.#core.elapse();
  }

  #takeReads(readIds: readonly number[]): Call<Result>[] {
    const reads: Call<Result>[] = [];
    for (const readId of readIds) {
      const read = this.#reads.get(readId);
      if (read === undefined) continue;
      this.#reads.delete(readId);
      reads.push(read);
    }
    return reads;
  }

  #settleTransfers(outcome: Outbox["transfer"]): void {
    if (this.#transfers.length === 0) return;
    const { leaderId, currentTerm } = this.#core.context;
    const open: PendingTransfer<Result>[] = [];
    for (const transfer of this.#transfers) {
      const isOver = leaderId !== undefined && currentTerm > transfer.term;
      if (isOver && leaderId === transfer.to) {
        transfer.request.reply({ status: "transferred", leader: leaderId, term: currentTerm });
      } else if (isOver || outcome === "aborted") {
        transfer.request.reply(this.#refused("aborted"));
      } else if (outcome === "refused" && transfer.to !== this.#core.context.transferee) {
        transfer.request.reply(this.#refused("not-leader"));
      } else open.push(transfer);
    }
    this.#transfers = open;
  }

  /** Changes the members; the answer comes once the change is done. */
  #changeMembers(
    request: Call<Result>,
    { change, force, dryRun }: Extract<RaftRequest, { type: "ChangeMembers" }>,
  ): void {
    const core = this.#core;
    const outcome = dryRun ? core.previewChange(change) : core.changeMembers(change, { force });
    if (!outcome.accepted && (outcome.reason === "busy" || outcome.reason === "not-leader")) {
      return request.reply(this.#refused(outcome.reason));
    }
    if (dryRun || !outcome.accepted) return request.reply({ status: "members", ...outcome });
    this.#changes.push({ request, outcome, term: core.context.currentTerm });
  }

  /** "Answered after the new configuration is committed", the joint one left behind. */
  #settleChanges(): void {
    if (this.#changes.length === 0) return;
    const { context, state: { configs: { current }, commitIndex, log }, role } = this.#core;
    const isDone = context.outgoing.length === 0 && current.index <= commitIndex;
    this.#changes = this.#changes.filter(({ request, outcome, term }) => {
      const leads = role === "leader" && context.currentTerm === term;
      // In one turn another leader may have replaced the entry, and committed a change of its own.
      const isKept = log.termAt(outcome.index) === term;
      if (isDone && isKept && current.index >= outcome.index) {
        request.reply({ status: "members", ...outcome });
      } else if (leads) return true;
      // Another leader goes on with the change, or drops it.
      else request.reply({ status: "unknown" });
      return false;
    });
  }

  /** Tells the host of the configuration in force, and of its commitment. */
  #tellMembers(): void {
    const { state: { configs: { current }, commitIndex } } = this.#core;
    const isCommitted = current.index <= commitIndex;
    const { placed, isCommitted: wasCommitted } = this.#told;
    if (placed === current && isCommitted === wasCommitted) return;
    this.#told = { placed: current, isCommitted };
    this.#options.onMembers?.(current, isCommitted);
  }

  #refused(reason: Refused["reason"]): Refused {
    return { status: "refused", reason, leader: this.#core.context.leaderId ?? 0 };
  }
}
