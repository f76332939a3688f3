/**
 * The actor system of one node: runs actors in turns, supervises them, and connects them with the
 * actors of other nodes.
 *
 * Scheduling: an actor with mail stands in one queue, first come, first served; one `soon` per
 * burst drains the queue, and mail cast meanwhile is handled in the same drain. Everything is
 * synchronous and ordered, so a run depends on the ports and on nothing else.
 *
 * @module
 */
import type { GroupId, NodeId, RaftMessage } from "../../machines/raft_types.ts";
import type {
  ActorCall,
  ActorFail,
  ActorReply,
  ActorWire,
  WireFailure,
  WireValue,
} from "../../transport/wire.ts";
import {
  type ActorContext,
  type ActorRef,
  ActorStoppedError,
  type Address,
  type CallOptions,
  CallTimeoutError,
  checkAddress,
  formatAddress,
  MailboxFullError,
  type Outcome,
  RemoteError,
  type StopReason,
  UnreachableError,
} from "./actor.ts";
import type { Actor } from "./actor.ts";
import { type ActorMetrics, type Caller, Cell, type SpawnOptions } from "./cell.ts";
import { type Deadline, Deadlines } from "./deadlines.ts";
import {
  BATCH_MESSAGES_MAX,
  CALL_TIMEOUT_MS_MAX,
  MAILBOX_CAPACITY,
  PENDING_CALLS_MAX,
  RESTART_BACK_OFF_MS_MAX,
  RESTART_BACK_OFF_MS_MIN,
  TURNS_PER_DRAIN_MAX,
} from "../limits.ts";
import type { Log, Ports, TimerHandle } from "./ports.ts";

/** Name of the actor that gets a group's Raft messages. */
export const RAFT_ACTOR_NAME = "raft";

/** The way to the systems of other nodes; actors/peers.ts is one. */
export interface RemoteLink {
  /** Hands the message over. False: there is no link, and the message surely does not arrive. */
  send(to: NodeId, message: ActorWire): boolean;
}

/** Why a system stopped by itself. */
export interface SystemFailure {
  /** What was thrown. */
  readonly error: Error;
  /** The actor that failed; undefined: a callback, or {@linkcode ActorSystem.fail}. */
  readonly address: Address | undefined;
}

/** How {@linkcode ActorSystem.stop} went. */
export interface StopResult {
  /** Whether every mailbox was drained before the deadline. */
  readonly drained: boolean;
  /** What `onStop` methods threw. */
  readonly errors: readonly Error[];
}

/** What a system needs. */
export interface SystemOptions {
  /** This node's id, 1 to 2^31. */
  readonly node: NodeId;
  /** Clock, timers, chance and turns. */
  readonly ports: Ports;
  /** Takes log lines. */
  readonly log: Log;
  /**
   * Called once, when an actor under "stop-system" threw or {@linkcode ActorSystem.fail} was
   * called; all actors have stopped by then. The process should exit.
   */
  readonly onFailed: (failure: SystemFailure) => void;
}

type Phase = "running" | "stopping" | "stopped";

/**
 * The actors of one node.
 *
 * @example
 * ```ts
 * import { Actor, type Delivery } from "./actor.ts";
 * import { denoPorts } from "../deno_ports.ts";
 * import { ActorSystem } from "./system.ts";
 *
 * class Greeter extends Actor<string, string> {
 *   override receive(batch: readonly Delivery<string, string>[]): void {
 *     for (const delivery of batch) delivery.reply(`Hello, ${delivery.message}`);
 *   }
 * }
 *
 * const system = new ActorSystem({
 *   node: 1,
 *   ports: denoPorts,
 *   log: () => {},
 *   onFailed: (failure) => {
 *     throw failure.error;
 *   },
 * });
 * const greeter = system.spawn({
 *   name: "greeter",
 *   group: 0,
 *   create: () => new Greeter(),
 *   supervision: { policy: "stop" },
 * });
 * console.assert(await greeter.call("world", { timeoutMs: 1_000 }) === "Hello, world");
 * await system.stop({ deadlineMs: 1_000 });
 * ```
 */
export class ActorSystem {
  /** The process it lives in. */
  readonly node: NodeId;
  /** Clock, timers, chance and turns. */
  readonly ports: Ports;
  readonly #log: Log;
  readonly #onFailed: (failure: SystemFailure) => void;
  readonly #deadlines: Deadlines;
  /** By name, then by group. */
  readonly #cells = new Map<string, Map<GroupId, Cell>>();
  /** The Raft actors by group: every frame of a peer is looked up here. */
  readonly #raft = new Map<GroupId, Cell>();
  /** In the order in which they were spawned. */
  #order: Cell[] = [];
  #queue: Cell[] = [];
  #queueHead = 0;
  #completions: Completion[] = [];
  #scheduled = false;
  #draining = false;
  #phase: Phase = "running";
  readonly #restartTimers = new Map<Cell, TimerHandle>();

  #link: RemoteLink | undefined;
  #nextCallId = 1;
  #pendingCalls = 0;
  readonly #callEnded = (call: PendingCall): void => {
    this.#pendingCalls--;
    this.#deadlines.clear(call);
    this.#completeLater(call);
  };
  #inboundCalls = 0;
  #undeliverable = 0;
  readonly #remoteCalls = new Map<number, { readonly call: PendingCall; readonly node: NodeId }>();
  /** Grows when a link is lost, so that an answer to a call of before is not sent to another life. */
  readonly #linkEpochs = new Map<NodeId, number>();
  /** Who watches what on other nodes. */
  readonly #remoteWatches = new Map<NodeId, Map<string, RemoteWatch>>();

  #stopTimer: TimerHandle | undefined;
  #stopDone: ((result: StopResult) => void)[] = [];
  #stopErrors: Error[] = [];
  #drained = true;

  /**
   * See the class.
   *
   * @throws {RangeError} If the node id is out of range.
   */
  constructor(options: SystemOptions) {
    checkAddress({ node: options.node, name: "system", group: 0 });
    this.node = options.node;
    this.ports = options.ports;
    this.#log = options.log;
    this.#onFailed = options.onFailed;
    this.#deadlines = new Deadlines(options.ports);
  }

  /**
   * Makes an actor and calls its `onStart`; what either throws is thrown here, and nothing is left.
   *
   * @throws {RangeError} If the address, the capacity or the batch limit is out of range.
   * @throws {Error} If there is such an actor already, or the system does not run.
   */
  spawn<Message, Reply = never>(options: SpawnOptions<Message, Reply>): ActorRef<Message, Reply> {
    const address = { node: this.node, name: options.name, group: options.group };
    checkAddress(address);
    if (this.#phase !== "running") {
      throw new Error(`Cannot spawn ${formatAddress(address)}: the system has stopped`);
    }
    if (this.#find(address) !== undefined) {
      throw new Error(`Cannot spawn ${formatAddress(address)}: there is such an actor`);
    }
    const batchMax = options.batchMax ?? BATCH_MESSAGES_MAX;
    if (!Number.isInteger(batchMax) || batchMax < 1) {
      throw new RangeError(`Cannot spawn ${formatAddress(address)}: batchMax is ${batchMax}`);
    }
    const cell = new Cell({
      address,
      create: options.create as unknown as () => Actor<unknown, unknown>,
      supervision: options.supervision,
      whenFull: options.whenFull ?? "refuse",
      capacity: options.capacity ?? MAILBOX_CAPACITY,
      batchMax,
    });
    this.#register(cell);
    try {
      cell.actor.onStart(this.#contextOf(cell));
    } catch (error) {
      this.#terminate(cell, "failed", error);
      throw error;
    }
    return this.ref(address);
  }

  /**
   * The way to an actor of any node. It need not exist yet, and may be another one later.
   *
   * @throws {RangeError} If the address is out of range.
   */
  ref<Message, Reply = never>(address: Address): ActorRef<Message, Reply> {
    checkAddress(address);
    const transport = address.node === this.node
      ? this.#localTransport(address)
      : this.#remoteTransport(address);
    const ask = (
      message: Message,
      options: CallOptions,
      done: (outcome: Outcome<Reply>) => void,
    ): void => {
      const call = this.#beginCall(address, options, done as (outcome: Outcome<unknown>) => void);
      if (call !== undefined) transport.ask(message, call);
    };
    return {
      address,
      cast: transport.cast,
      ask,
      call: (message, options) =>
        new Promise((resolve, reject) => {
          ask(message, options, (outcome) => {
            if (outcome.ok) resolve(outcome.value);
            else reject(outcome.error);
          });
        }),
    };
  }

  /** Sets the way to other nodes; without one they are unreachable. */
  connect(link: RemoteLink): void {
    this.#link = link;
  }

  /**
   * Takes a message of another node. A Raft message is cast to the actor
   * {@linkcode RAFT_ACTOR_NAME} of its group; what is for an actor that is not there is counted.
   */
  deliver(from: NodeId, wire: RaftMessage | ActorWire): void {
    switch (wire.type) {
      case "ActorCast":
        return this.#deliverCast(this.#cells.get(wire.name)?.get(wire.group), wire.payload);
      case "ActorCall":
        return this.#deliverCall(from, wire);
      case "ActorReply":
      case "ActorFail":
        return this.#deliverAnswer(from, wire);
      case "ActorWatch":
        return this.#deliverWatch(from, { node: this.node, name: wire.name, group: wire.group });
      case "ActorTerminated":
        return this.#remoteTerminated({ node: from, name: wire.name, group: wire.group });
      default:
        return this.#deliverCast(this.#raft.get(wire.group), wire);
    }
  }

  /** The link to a node is gone: its calls fail with outcome "unknown", its watches fire. */
  linkLost(node: NodeId): void {
    this.#linkEpochs.set(node, this.#linkEpoch(node) + 1);
    for (const [callId, { call, node: callee }] of this.#remoteCalls) {
      if (callee !== node) continue;
      this.#remoteCalls.delete(callId);
      call.settle({ ok: false, error: new UnreachableError(call.address, "unknown") });
    }
    for (const watch of [...this.#remoteWatches.get(node)?.values() ?? []]) {
      this.#remoteTerminated(watch.address);
    }
    for (const cell of this.#order) cell.remoteWatchers.delete(node);
  }

  /** Fail stop: every actor stops at once, no mailbox is drained, `onFailed` is called. Idempotent. */
  fail(error: Error, address?: Address): void {
    if (this.#phase === "stopped") return;
    this.#log("error", "system-failed", {
      actor: address === undefined ? undefined : formatAddress(address),
      error: `${error.name}: ${error.message}`,
    });
    this.#phase = "stopped";
    this.#drained = false;
    for (const cell of this.#order.toReversed()) this.#terminate(cell, "failed", error);
    this.#finishStop();
    this.#onFailed({ error, address });
  }

  /**
   * Stops the actors in the reverse order of their spawning, each once its mailbox is drained: it
   * takes no new mail from then on. After `deadlineMs` the rest stop as they are, and what waits
   * for them fails with outcome "not-delivered".
   *
   * @throws {RangeError} If `deadlineMs` is not within 1 and 2^31-1.
   */
  stop(options: { readonly deadlineMs: number }): Promise<StopResult> {
    return new Promise((resolve) => this.stopThen(options, resolve));
  }

  /** As {@linkcode ActorSystem.stop}, with a callback: for the simulator. */
  stopThen(
    options: { readonly deadlineMs: number },
    done: (result: StopResult) => void,
  ): void {
    if (this.#phase === "running") {
      this.#stopTimer = this.ports.timers.set(options.deadlineMs, () => this.#stopAtOnce());
      this.#phase = "stopping";
    }
    this.#stopDone.push(done);
    if (this.#phase === "stopped") this.#finishStop();
    this.#schedule();
  }

  /** What each actor has done, in the order of spawning. */
  metrics(): ActorMetrics[] {
    return this.#order.map((cell) => cell.metrics());
  }

  /** What the system as a whole holds. */
  status(): {
    readonly pendingCalls: number;
    readonly inboundCalls: number;
    /** Messages of other nodes for actors that are not here, or took no more. */
    readonly undeliverable: number;
  } {
    return {
      pendingCalls: this.#pendingCalls,
      inboundCalls: this.#inboundCalls,
      undeliverable: this.#undeliverable,
    };
  }

  #schedule(): void {
    if (this.#scheduled || this.#draining) return;
    this.#scheduled = true;
    this.ports.scheduler.soon(() => this.#drain());
  }

  #wake(cell: Cell): void {
    if (cell.queued || cell.phase === "paused" || cell.phase === "stopped") return;
    cell.queued = true;
    this.#queue.push(cell);
    this.#schedule();
  }

  #drain(): void {
    this.#scheduled = false;
    this.#draining = true;
    for (let turns = 0; turns < TURNS_PER_DRAIN_MAX; turns++) {
      if (this.#completions.length > 0) this.#complete();
      if (this.#phase === "stopping") this.#advanceStop();
      const cell = this.#takeQueued();
      if (cell !== undefined) this.#turn(cell);
      else if (this.#completions.length === 0) break;
    }
    this.#draining = false;
    const left = this.#queueHead < this.#queue.length || this.#completions.length > 0;
    if (left || this.#phase === "stopping") this.#schedule();
  }

  #takeQueued(): Cell | undefined {
    const cell = this.#queue[this.#queueHead];
    if (cell === undefined) return undefined;
    this.#queueHead++;
    if (this.#queueHead * 2 >= this.#queue.length) {
      this.#queue = this.#queue.slice(this.#queueHead);
      this.#queueHead = 0;
    }
    cell.queued = false;
    return cell;
  }

  #turn(cell: Cell): void {
    if (cell.phase !== "running" && cell.phase !== "closing") return;
    cell.turns++;
    try {
      const terminated = cell.terminated;
      cell.terminated = [];
      for (const address of terminated) cell.actor.onTerminated(address);
      if (cell.mailbox.length > 0) {
        const batch = cell.mailbox.takeBatch(cell.batchMax);
        cell.messages += batch.length;
        cell.actor.receive(batch);
      }
    } catch (error) {
      return this.#actorThrew(cell, error);
    }
    if (cell.hasWork) this.#wake(cell);
    else if (cell.phase === "closing") this.#terminate(cell, "stopped", undefined);
  }

  /** Calls back whose calls have an outcome: outside of any actor's turn, so that none is entered twice. */
  #complete(): void {
    const completions = this.#completions;
    this.#completions = [];
    for (const completion of completions) {
      try {
        completion.complete();
      } catch (error) {
        this.fail(asError(error));
      }
    }
  }

  #beginCall(
    address: Address,
    options: CallOptions,
    done: (outcome: Outcome<unknown>) => void,
  ): PendingCall | undefined {
    const { timeoutMs } = options;
    if (!(timeoutMs > 0 && timeoutMs <= CALL_TIMEOUT_MS_MAX)) {
      throw new RangeError(
        `Cannot call ${
          formatAddress(address)
        }: timeoutMs ${timeoutMs} is not within 0 and ${CALL_TIMEOUT_MS_MAX}`,
      );
    }
    const call = new PendingCall(this.#callEnded, address, timeoutMs, done);
    if (++this.#pendingCalls > PENDING_CALLS_MAX) {
      call.settle({ ok: false, error: new MailboxFullError(call.address) });
      return undefined;
    }
    this.#deadlines.set(call, timeoutMs);
    return call;
  }

  #completeLater(completion: Completion): void {
    this.#completions.push(completion);
    this.#schedule();
  }

  #localTransport(address: Address): Transport {
    let cached = this.#find(address);
    const cell = (): Cell | undefined => {
      if (cached === undefined || cached.phase === "stopped") cached = this.#find(address);
      return cached;
    };
    return {
      cast: (message) => {
        const target = cell();
        if (target === undefined || !target.pushCast(message)) return false;
        this.#wake(target);
        return true;
      },
      ask: (message, call) => {
        const target = cell();
        if (target === undefined) {
          const error = new ActorStoppedError(call.address, "not-delivered");
          return call.settle({ ok: false, error });
        }
        target.pushCall(message, call);
        this.#wake(target);
      },
    };
  }

  #remoteTransport(address: Address): Transport {
    const { node, group, name } = address;
    return {
      cast: (payload) =>
        this.#send(node, {
          type: "ActorCast",
          from: this.node,
          group,
          name,
          payload: payload as WireValue,
        }),
      ask: (payload, call) => {
        const callId = this.#nextCallId++;
        this.#remoteCalls.set(callId, { call, node });
        call.onSettled = () => this.#remoteCalls.delete(callId);
        const sent = this.#send(node, {
          type: "ActorCall",
          from: this.node,
          callId,
          group,
          name,
          payload: payload as WireValue,
        });
        if (!sent) {
          const error = new UnreachableError(call.address, "not-delivered");
          call.settle({ ok: false, error });
        }
      },
    };
  }

  #send(to: NodeId, message: ActorWire): boolean {
    return this.#link !== undefined && this.#link.send(to, message);
  }

  #deliverCast(cell: Cell | undefined, message: unknown): void {
    if (cell !== undefined && cell.pushCast(message)) this.#wake(cell);
    else this.#undeliverable++;
  }

  #deliverCall(from: NodeId, wire: ActorCall): void {
    const { callId, name, group } = wire;
    const key = formatAddress({ node: this.node, name, group });
    const epoch = this.#linkEpoch(from);
    this.#inboundCalls++;
    const caller: Caller = {
      settle: (outcome) => {
        this.#inboundCalls--;
        if (this.#linkEpoch(from) !== epoch) return;
        this.#answer(from, callId, outcome);
      },
    };
    const cell = this.#cells.get(name)?.get(group);
    if (this.#inboundCalls > PENDING_CALLS_MAX) {
      this.#undeliverable++;
      caller.settle({ ok: false, error: new MailboxFullError(key) });
    } else if (cell === undefined) {
      this.#undeliverable++;
      caller.settle({ ok: false, error: new ActorStoppedError(key, "not-delivered") });
    } else {
      cell.pushCall(wire.payload, caller);
      this.#wake(cell);
    }
  }

  /** An answer that cannot be sent is lost with its link, or is the caller's to time out. */
  #answer(to: NodeId, callId: number, outcome: Outcome<unknown>): void {
    const from = this.node;
    const sent = outcome.ok
      ? this.#send(to, { type: "ActorReply", from, callId, payload: outcome.value as WireValue })
      : this.#send(to, { type: "ActorFail", from, callId, error: toWire(outcome.error) });
    if (!sent) this.#undeliverable++;
  }

  #deliverAnswer(from: NodeId, wire: ActorReply | ActorFail): void {
    const pending = this.#remoteCalls.get(wire.callId);
    // Late, or not asked of this node.
    if (pending === undefined || pending.node !== from) return;
    pending.call.settle(
      wire.type === "ActorReply"
        ? { ok: true, value: wire.payload }
        : { ok: false, error: fromWire(wire.error, pending.call.address) },
    );
  }

  #linkEpoch(node: NodeId): number {
    return this.#linkEpochs.get(node) ?? 0;
  }

  #watch(watcher: Cell, address: Address): void {
    checkAddress(address);
    const key = formatAddress(address);
    if (watcher.watched.has(key)) return;
    watcher.watched.add(key);
    if (address.node !== this.node) return this.#watchRemote(watcher, address, key);
    const target = this.#find(address);
    if (target === undefined) this.#tell(watcher, address, key);
    else target.watchers.add(watcher);
  }

  #watchRemote(watcher: Cell, address: Address, key: string): void {
    const { node, name, group } = address;
    let watches = this.#remoteWatches.get(node);
    if (watches === undefined) this.#remoteWatches.set(node, watches = new Map());
    const watch = watches.get(key);
    if (watch !== undefined) {
      watch.watchers.add(watcher);
      return;
    }
    watches.set(key, { address, watchers: new Set([watcher]) });
    const sent = this.#send(node, { type: "ActorWatch", from: this.node, group, name });
    if (!sent) this.#remoteTerminated(address);
  }

  #deliverWatch(from: NodeId, address: Address): void {
    const target = this.#find(address);
    if (target !== undefined) target.remoteWatchers.add(from);
    else this.#tellRemote(from, address);
  }

  #remoteTerminated(address: Address): void {
    const key = formatAddress(address);
    const watches = this.#remoteWatches.get(address.node);
    const watch = watches?.get(key);
    if (watches === undefined || watch === undefined) return;
    watches.delete(key);
    if (watches.size === 0) this.#remoteWatches.delete(address.node);
    for (const watcher of watch.watchers) this.#tell(watcher, address, key);
  }

  #tell(watcher: Cell, address: Address, key: string): void {
    if (!watcher.watched.delete(key)) return;
    watcher.terminated.push(address);
    this.#wake(watcher);
  }

  #tellRemote(to: NodeId, address: Address): void {
    const { name, group } = address;
    this.#send(to, { type: "ActorTerminated", from: this.node, group, name });
  }

  #actorThrew(cell: Cell, thrown: unknown): void {
    const error = asError(thrown);
    this.#log("error", "actor-failed", {
      actor: cell.key,
      policy: cell.supervision.policy,
      error: `${error.name}: ${error.message}`,
    });
    if (cell.supervision.policy === "stop-system") return this.fail(error, cell.address);
    if (cell.supervision.policy === "stop" || cell.phase === "closing") {
      return this.#terminate(cell, "failed", error);
    }
    const { restartsMax, windowMs } = cell.supervision;
    const nowMs = this.ports.clock.monotonicMs();
    cell.restartsMs = cell.restartsMs.filter((atMs) => atMs > nowMs - windowMs);
    if (cell.restartsMs.length >= restartsMax) return this.fail(error, cell.address);
    const backOffMs = Math.min(
      RESTART_BACK_OFF_MS_MAX,
      RESTART_BACK_OFF_MS_MIN * 2 ** cell.restartsMs.length,
    );
    cell.restartsMs.push(nowMs);
    cell.phase = "paused";
    cell.failTaken(error);
    this.#stopInstance(cell, "restarted");
    this.#restartTimers.set(cell, this.ports.timers.set(backOffMs, () => this.#restart(cell)));
  }

  #restart(cell: Cell): void {
    this.#restartTimers.delete(cell);
    cell.restarts++;
    cell.phase = "running";
    try {
      cell.actor = cell.create();
      cell.alive = true;
      cell.actor.onStart(this.#contextOf(cell));
    } catch (error) {
      return this.#actorThrew(cell, error);
    }
    if (cell.hasWork) this.#wake(cell);
  }

  #stopInstance(cell: Cell, reason: StopReason): void {
    if (!cell.alive) return;
    cell.alive = false;
    try {
      cell.actor.onStop(reason);
    } catch (thrown) {
      const error = asError(thrown);
      this.#stopErrors.push(error);
      this.#log("error", "actor-stop-failed", {
        actor: cell.key,
        reason,
        error: `${error.name}: ${error.message}`,
      });
    }
  }

  #terminate(cell: Cell, reason: StopReason, cause: unknown): void {
    if (cell.phase === "stopped") return;
    cell.phase = "stopped";
    const timer = this.#restartTimers.get(cell);
    if (timer !== undefined) this.ports.timers.clear(timer);
    this.#restartTimers.delete(cell);
    this.#unregister(cell);
    this.#stopInstance(cell, reason);
    cell.failWaiting(cause);
    cell.failTaken(cause);
    this.#forgetWatches(cell);
    for (const watcher of cell.watchers) this.#tell(watcher, cell.address, cell.key);
    for (const node of cell.remoteWatchers) this.#tellRemote(node, cell.address);
  }

  #forgetWatches(watcher: Cell): void {
    for (const cell of this.#order) cell.watchers.delete(watcher);
    for (const watches of this.#remoteWatches.values()) {
      for (const watch of watches.values()) watch.watchers.delete(watcher);
    }
    watcher.watched.clear();
  }

  #advanceStop(): void {
    for (let cell = this.#order.at(-1); cell !== undefined; cell = this.#order.at(-1)) {
      // Between two instances nobody is there to handle what waits.
      if (cell.phase === "paused" || !cell.hasWork) this.#terminate(cell, "stopped", undefined);
      else {
        cell.phase = "closing";
        this.#wake(cell);
        return;
      }
    }
    this.#phase = "stopped";
    this.#finishStop();
  }

  #stopAtOnce(): void {
    this.#phase = "stopped";
    this.#drained = false;
    for (const cell of this.#order.toReversed()) this.#terminate(cell, "stopped", undefined);
    this.#finishStop();
  }

  #finishStop(): void {
    if (this.#stopTimer !== undefined) this.ports.timers.clear(this.#stopTimer);
    this.#stopTimer = undefined;
    for (const { call } of [...this.#remoteCalls.values()]) {
      call.settle({ ok: false, error: new UnreachableError(call.address, "unknown") });
    }
    const result = { drained: this.#drained, errors: this.#stopErrors };
    for (const done of this.#stopDone) this.#completeLater({ complete: () => done(result) });
    this.#stopDone = [];
  }

  #contextOf(cell: Cell): ActorContext {
    return {
      self: cell.address,
      watch: (address) => this.#watch(cell, address),
      stop: () => {
        if (!cell.accepts) return;
        cell.phase = "closing";
        this.#wake(cell);
      },
    };
  }

  #find(address: Address): Cell | undefined {
    return this.#cells.get(address.name)?.get(address.group);
  }

  #register(cell: Cell): void {
    const { name, group } = cell.address;
    let groups = this.#cells.get(name);
    if (groups === undefined) {
      groups = name === RAFT_ACTOR_NAME ? this.#raft : new Map();
      this.#cells.set(name, groups);
    }
    groups.set(group, cell);
    this.#order.push(cell);
  }

  #unregister(cell: Cell): void {
    this.#cells.get(cell.address.name)?.delete(cell.address.group);
    this.#order = this.#order.filter((other) => other !== cell);
  }
}

/** A callback that is due outside of any actor's turn. */
interface Completion {
  complete(): void;
}

interface RemoteWatch {
  readonly address: Address;
  readonly watchers: Set<Cell>;
}

/** How the messages of a ref travel. */
interface Transport {
  cast(message: unknown): boolean;
  ask(message: unknown, call: PendingCall): void;
}

/** A call that waits for its outcome, on the caller's side. */
class PendingCall implements Caller, Deadline, Completion {
  onSettled: (() => void) | undefined;
  place = -1;
  tick = 0;
  readonly #ended: (call: PendingCall) => void;
  readonly #callee: Address;
  readonly #timeoutMs: number;
  readonly #done: (outcome: Outcome<unknown>) => void;
  #outcome: Outcome<unknown> | undefined;

  constructor(
    ended: (call: PendingCall) => void,
    callee: Address,
    timeoutMs: number,
    done: (outcome: Outcome<unknown>) => void,
  ) {
    this.#ended = ended;
    this.#callee = callee;
    this.#timeoutMs = timeoutMs;
    this.#done = done;
  }

  /** As text, which only failures need. */
  get address(): string {
    return formatAddress(this.#callee);
  }

  settle(outcome: Outcome<unknown>): void {
    if (this.#outcome !== undefined) return;
    this.#outcome = outcome;
    this.onSettled?.();
    this.#ended(this);
  }

  expire(): void {
    this.settle({ ok: false, error: new CallTimeoutError(this.address, this.#timeoutMs) });
  }

  complete(): void {
    this.#done(this.#outcome!);
  }
}

function asError(thrown: unknown): Error {
  return thrown instanceof Error ? thrown : new Error(`Not an error was thrown: ${thrown}`);
}

/** An error as its class's name, its text and those of its fields that are plain values. */
function toWire(error: Error): WireFailure {
  const fields: { [key: string]: WireValue } = {};
  for (const [key, value] of Object.entries(error)) {
    if (key !== "name" && isScalar(value)) fields[key] = value;
  }
  return {
    name: error.name.toWellFormed(),
    message: error.message.toWellFormed(),
    fields: error instanceof RemoteError ? { ...error.fields, ...fields } : fields,
  };
}

/** An error of the runtime itself comes back as its own class; any other as a RemoteError. */
function fromWire(failure: WireFailure, address: string): Error {
  const outcome = failure.fields["outcome"] === "not-delivered" ? "not-delivered" : "unknown";
  if (failure.name === "MailboxFullError") return new MailboxFullError(address);
  if (failure.name === "ActorStoppedError") return new ActorStoppedError(address, outcome);
  return new RemoteError(failure.name, failure.message, failure.fields);
}

function isScalar(value: unknown): value is boolean | number | string | Uint8Array {
  if (typeof value === "number") return Number.isFinite(value);
  if (typeof value === "string") return value.isWellFormed();
  return typeof value === "boolean" || value instanceof Uint8Array;
}
