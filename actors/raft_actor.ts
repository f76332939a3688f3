/**
 * Hosts one group's member: everything that arrived is one turn of raft_core.ts, and what the turn
 * asks for is done here.
 *
 *     mailbox batch -> beginTurn, receive..., propose, read, endTurn -> outbox
 *       messages     -> peers, at once
 *       write        -> WAL actor -> Durable -> core.durable()
 *       commitIndex  -> KV actor -> answers
 *
 * What must wait for the disk waits in the core (machines/pending_writes.ts): this host only counts
 * its writes off, in their order.
 *
 * @module
 */
import type { Outbox } from "../machines/group_state.ts";
import type { RaftCore } from "../machines/raft_core.ts";
import type { GroupId, LogIndex, NodeId, RaftMessage, Term } from "../machines/raft_types.ts";
import { decodeRequest } from "../storage/command.ts";
import type { KvSignal } from "./kv_actor.ts";
import type { RaftAnswer, RaftRequest, Refused } from "./raft_request.ts";
import { Actor, type Delivery, type LocalRef } from "./runtime/actor.ts";
import type { Ports } from "./runtime/ports.ts";
import { LazyTimer } from "./runtime/timers.ts";
import type { DiskCondition, WalSignal } from "./wal_actor.ts";

/** Pause that lets queued input be read before a timer that fired late is believed. */
export const LATE_TIMER_GRACE_MS = 5;

/** Bytes of commands that wait for the write under way; with more they wait no longer. */
export const HELD_BYTES_MAX = 256 * 1024;

/** Turns of the event loop for which a burst of commands is awaited while it still grows. */
export const BURST_TURNS_MAX = 2;

/** What the Raft actor takes from others: Raft's messages, and requests. */
export type RaftActorMessage = RaftMessage | RaftRequest;

/** What only this node's own disk, timer and event loop say to the Raft actor. */
export type RaftSignal =
  /** The oldest write that the disk was given is durable. */
  | { readonly type: "Durable" }
  /** What followed a burst of commands has been read. */
  | { readonly type: "BurstRead" }
  | { readonly type: "TimerDue"; readonly lateMs: number }
  | { readonly type: "Disk"; readonly condition: DiskCondition };

/** What the Raft actor needs. */
export interface RaftActorOptions {
  readonly group: GroupId;
  readonly core: RaftCore;
  readonly ports: Ports;
  readonly send: (to: NodeId, message: RaftMessage) => void;
  readonly wal: LocalRef<never, never, WalSignal>;
  readonly kv: LocalRef<never, never, KvSignal>;
  readonly self: () => LocalRef<RaftActorMessage, RaftAnswer, RaftSignal>;
}

type Request = Delivery<RaftActorMessage | RaftSignal, RaftAnswer>;

/** A transfer whose caller waits, and the term in which it was asked for. */
interface PendingTransfer {
  readonly to: NodeId;
  readonly term: Term;
  readonly request: Request;
}

/** Counters of a group, for metrics. */
export interface RaftCounters {
  proposals: number;
  proposalsRefused: number;
  reads: number;
  readsRefused: number;
}

/** Hosts one group's core. */
export class RaftActor extends Actor<RaftActorMessage, RaftAnswer, RaftSignal> {
  readonly counters: RaftCounters = {
    proposals: 0,
    proposalsRefused: 0,
    reads: 0,
    readsRefused: 0,
  };
  readonly #options: RaftActorOptions;
  readonly #core: RaftCore;
  readonly #timer: LazyTimer;
  /** Tells this actor that the oldest write is durable; the same for every write. */
  readonly #onDurable: () => void;
  readonly #reads: Map<number, Request> = new Map();
  #lastReadId = 0;
  /** Commands that wait for the write under way. */
  #held: Request[] = [];
  #heldPayloads: Uint8Array[] = [];
  #heldBytes = 0;
  /** The burst that the held commands are: how many they were a turn ago, and for how many turns. */
  #burst = { commands: 0, turns: 0 };
  #transfers: PendingTransfer[] = [];
  #handedCommit: LogIndex = 0;
  /** While a late timer gives grace: until when; else 0. */
  #graceEndsMs = 0;

  /** Hosts `options.core`, which nothing else may touch. */
  constructor(options: RaftActorOptions) {
    super();
    this.#options = options;
    this.#core = options.core;
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

  override receive(batch: readonly Request[]): void {
    const core = this.#core;
    core.beginTurn(this.#options.ports.clock.monotonicMs());
    const readIds: number[] = [];
    for (const delivery of batch) {
      const { message } = delivery;
      switch (message.type) {
        case "Propose":
          if (!isRequest(message.payload)) {
            delivery.reply(this.#refused("invalid"));
            break;
          }
          this.#held.push(delivery);
          this.#heldPayloads.push(message.payload);
          this.#heldBytes += message.payload.length;
          break;
        case "ReadBarrier":
          this.#reads.set(++this.#lastReadId, delivery);
          readIds.push(this.#lastReadId);
          break;
        case "Transfer":
          this.#transfers.push({
            to: message.to,
            term: core.context.currentTerm,
            request: delivery,
          });
          core.transfer(message.to);
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
        default:
          core.receive(message);
      }
    }
    this.#proposeHeld();
    if (readIds.length > 0) {
      this.counters.reads += readIds.length;
      core.read(readIds);
    }
    this.#perform(core.endTurn());
    // What was read meanwhile moved the deadline: the next late timer gets its own grace.
    if (core.nextDeadlineMs > core.state.nowMs) this.#graceEndsMs = 0;
    this.#timer.set(Math.max(core.nextDeadlineMs, this.#graceEndsMs));
  }

  /**
   * Proposes what was held. While a write of this node is on its way to disk, commands wait for its
   * end: they would share the next sync anyhow, and so they share one message to each follower and
   * one sync there too. Nor is a burst cut where the event loop happened to look: as long as a turn
   * brings more of it, it is awaited. A lone client never waits, since nothing is being written
   * when it asks, and one command is no burst. Who does not lead refuses at once, what was held
   * while it led too: the clients shall ask elsewhere.
   */
  #proposeHeld(): void {
    const proposals = this.#held;
    if (proposals.length === 0) return;
    const mayWait = this.#core.role === "leader" && this.#heldBytes < HELD_BYTES_MAX;
    if (mayWait && (this.#core.state.writes.length > 0 || this.#burstGrows())) return;
    this.#burst = { commands: 0, turns: 0 };
    const outcome = this.#core.propose(this.#heldPayloads);
    this.#held = [];
    this.#heldPayloads = [];
    this.#heldBytes = 0;
    this.counters.proposals += proposals.length;
    if (outcome.accepted) {
      const { term, firstIndex } = outcome;
      this.#options.kv.signal({ type: "Expect", term, firstIndex, answers: proposals });
    } else {
      this.counters.proposalsRefused += proposals.length;
      for (const proposal of proposals) proposal.reply(this.#refused(outcome.reason));
    }
  }

  /** Whether the last turn brought more of a burst; then another turn is asked for. */
  #burstGrows(): boolean {
    const { commands, turns } = this.#burst;
    const { length } = this.#held;
    if (length === 1 || length === commands || turns === BURST_TURNS_MAX) return false;
    this.#burst = { commands: length, turns: turns + 1 };
    const { ports, self } = this.#options;
    ports.scheduler.soon(() => self().signal({ type: "BurstRead" }));
    return true;
  }

  #perform(outbox: Outbox): void {
    const { group, send, wal } = this.#options;
    for (const { to, message } of outbox.messages) send(to, message);
    const { write } = outbox;
    if (write !== undefined) {
      wal.signal({ type: "Write", group, write, onDurable: this.#onDurable });
    }
    const { commitIndex } = this.#core.state;
    if (commitIndex > this.#handedCommit) {
      this.#handedCommit = commitIndex;
      this.#options.kv.signal({ type: "Committed", through: commitIndex });
    }
    for (const { readIndex, readIds } of outbox.readsReady) {
      this.#options.kv.signal({
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
  }

  /**
   * After a stall of the event loop the timer fires before the heartbeats that arrived meanwhile
   * are read. Once, they get the chance.
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

  #takeReads(readIds: readonly number[]): Request[] {
    const reads: Request[] = [];
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
    const open: PendingTransfer[] = [];
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

  #refused(reason: Refused["reason"]): Refused {
    return { status: "refused", reason, leader: this.#core.context.leaderId ?? 0 };
  }
}

/** What cannot be decoded must never be committed: every replica would fail on it, for ever. */
function isRequest(payload: Uint8Array): boolean {
  try {
    decodeRequest(payload);
    return true;
  } catch {
    return false;
  }
}
