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
import type { ActorWire } from "../../transport/wire/messages.ts";
import {
  type Actor,
  type ActorContext,
  type ActorRef,
  ActorStoppedError,
  type Address,
  type CallOptions,
  checkAddress,
  formatAddress,
  type LocalRef,
  type Outcome,
  type StopReason,
} from "./actor.ts";
import { Calls, type Completion, type PendingCall } from "./calls.ts";
import { type ActorMetrics, Cell, type RemoteContract, type SpawnOptions } from "./cell.ts";
import {
  BATCH_MESSAGES_MAX,
  MAILBOX_CAPACITY,
  RESTART_BACK_OFF_MS_MAX,
  RESTART_BACK_OFF_MS_MIN,
  TURNS_PER_DRAIN_MAX,
} from "./limits.ts";
import type { Log, Ports, TimerHandle } from "./ports.ts";
import {
  type AnswerContract,
  RemoteActors,
  type RemoteCounters,
  type RemoteLink,
} from "./remote.ts";
import { asError } from "./wire_failure.ts";

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

/** What a system holds and has turned away. */
export interface SystemStatus extends RemoteCounters {
  /** Calls of this node without an outcome. */
  readonly pendingCalls: number;
  /** Calls of other nodes without an answer. */
  readonly inboundCalls: number;
}

/** What a system needs. */
export interface SystemOptions {
  /** This node's id, 1 to 2^31. */
  readonly node: number;
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
 * import { Actor, ActorSystem, type Delivery, denoPorts } from "statecraft/actors";
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
  readonly node: number;
  /** Clock, timers, chance and turns. */
  readonly ports: Ports;
  readonly #log: Log;
  readonly #onFailed: (failure: SystemFailure) => void;
  readonly #calls: Calls;
  readonly #remote: RemoteActors;
  /** By name, then by group. */
  readonly #cells = new Map<string, Map<number, Cell>>();
  /** In the order in which they were spawned. */
  #order: Cell[] = [];
  #queue: Cell[] = [];
  #queueHead = 0;
  #completions: Completion[] = [];
  #scheduled = false;
  #draining = false;
  #phase: Phase = "running";
  readonly #restartTimers = new Map<Cell, TimerHandle>();

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
    this.#calls = new Calls(options.ports, (completion) => this.#completeLater(completion));
    this.#remote = new RemoteActors({
      node: options.node,
      find: (name, group) => this.#cells.get(name)?.get(group),
      wake: (cell) => this.#wake(cell),
      tell: (watcher, address, key) => this.#tell(watcher, address, key),
      onContractFailed: (cell, error) =>
        this.#log("error", "remote-contract-failed", { actor: cell.key, error: textOf(error) }),
    });
  }

  /**
   * Makes an actor and calls its `onStart`; what either throws is thrown here, and nothing is left.
   *
   * @throws {RangeError} If the address, the capacity or the batch limit is out of range.
   * @throws {Error} If there is such an actor already, or the system does not run.
   */
  spawn<Message, Reply = never, Signal = never>(
    options: SpawnOptions<Message, Reply, Signal>,
  ): LocalRef<Message, Reply, Signal> {
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
      remote: options.remote as RemoteContract<unknown> | undefined,
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
    const ref = this.ref<Message, Reply>(address);
    return {
      ...ref,
      signal: (signal) => {
        if (cell.pushSignal(signal)) this.#wake(cell);
      },
    };
  }

  /**
   * The way to an actor of any node. It need not exist yet, and may be another one later.
   *
   * @param answer Checks what an actor of another node answered; without it a reply is whatever
   * {@linkcode WireValue} came. An answer that it does not know fails the call with a RemoteError.
   * @throws {RangeError} If the address is out of range.
   */
  ref<Message, Reply = never>(
    address: Address,
    answer?: AnswerContract<Reply>,
  ): ActorRef<Message, Reply> {
    checkAddress(address);
    const transport = address.node === this.node
      ? this.#localTransport(address)
      : this.#remoteTransport(address, answer);
    const ask = (
      message: Message,
      options: CallOptions,
      done: (outcome: Outcome<Reply>) => void,
    ): void => {
      const call = this.#calls.begin(address, options, done as (outcome: Outcome<unknown>) => void);
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
    this.#remote.connect(link);
  }

  /** Takes what another node's system sent; the link has checked that it is from that node. */
  deliver(from: number, wire: ActorWire): void {
    this.#remote.deliver(from, wire);
  }

  /** The link to a node is gone: its calls fail with outcome "unknown", its watches fire. */
  linkLost(node: number): void {
    this.#remote.linkLost(node);
    for (const cell of this.#order) cell.remoteWatchers.delete(node);
  }

  /** Fail stop: every actor stops at once, no mailbox is drained, `onFailed` is called. Idempotent. */
  fail(error: Error, address?: Address): void {
    if (this.#phase === "stopped") return;
    this.#log("error", "system-failed", {
      actor: address === undefined ? undefined : formatAddress(address),
      error: textOf(error),
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

  /** What the system as a whole holds and has turned away. */
  status(): SystemStatus {
    const { pending: pendingCalls } = this.#calls;
    const { inboundCalls, counters } = this.#remote;
    return { pendingCalls, inboundCalls, ...counters };
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

  /** Runs the callbacks of calls that have an outcome, outside of any actor's turn, so that no actor is
   * entered twice. */
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

  #remoteTransport(address: Address, answer: AnswerContract<unknown> | undefined): Transport {
    return {
      cast: (message) => this.#remote.cast(address, message),
      ask: (message, call) => this.#remote.ask(address, message, { call, answer }),
    };
  }

  #watch(watcher: Cell, address: Address): void {
    checkAddress(address);
    const key = formatAddress(address);
    if (watcher.watched.has(key)) return;
    watcher.watched.add(key);
    if (address.node !== this.node) return this.#remote.watch(watcher, address, key);
    const target = this.#find(address);
    if (target === undefined) this.#tell(watcher, address, key);
    else target.watchers.add(watcher);
  }

  #tell(watcher: Cell, address: Address, key: string): void {
    if (!watcher.watched.delete(key)) return;
    watcher.terminated.push(address);
    this.#wake(watcher);
  }

  #actorThrew(cell: Cell, thrown: unknown): void {
    const error = asError(thrown);
    this.#log("error", "actor-failed", {
      actor: cell.key,
      policy: cell.supervision.policy,
      error: textOf(error),
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
        error: textOf(error),
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
    for (const node of cell.remoteWatchers) this.#remote.tell(node, cell.address);
  }

  #forgetWatches(watcher: Cell): void {
    for (const cell of this.#order) cell.watchers.delete(watcher);
    this.#remote.forgetWatcher(watcher);
    watcher.watched.clear();
  }

  #advanceStop(): void {
    for (let cell = this.#order.at(-1); cell !== undefined; cell = this.#order.at(-1)) {
      // Between two instances no actor is there to handle what waits.
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
    this.#remote.stop();
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
    if (groups === undefined) this.#cells.set(name, groups = new Map());
    groups.set(group, cell);
    this.#order.push(cell);
  }

  #unregister(cell: Cell): void {
    this.#cells.get(cell.address.name)?.delete(cell.address.group);
    this.#order = this.#order.filter((other) => other !== cell);
  }
}

/** How the messages of a ref travel. */
interface Transport {
  cast(message: unknown): boolean;
  ask(message: unknown, call: PendingCall): void;
}

function textOf(error: Error): string {
  return `${error.name}: ${error.message}`;
}
