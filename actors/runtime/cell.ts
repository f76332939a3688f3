/**
 * What the system knows of one actor: its instance, its mailbox, the calls that wait for it and the
 * actors that watch it.
 *
 * @module
 */
import type { WireValue } from "../../transport/wire/messages.ts";
import {
  type Actor,
  ActorStoppedError,
  type Address,
  type Delivery,
  formatAddress,
  MailboxFullError,
  type Outcome,
} from "./actor.ts";
import { Bag, type BagItem } from "./bag.ts";
import { Mailbox, type WhenFull } from "./mailbox.ts";

/** What happens to an actor that throws. Its open calls fail with ActorStoppedError in each case. */
export type Supervision =
  /** Fail stop: every actor stops, `onFailed` is called; for actors that keep promises (Raft, WAL). */
  | { readonly policy: "stop-system" }
  /** It stops, and the actors that watch it are told. */
  | { readonly policy: "stop" }
  /**
   * A new instance takes over the mailbox after a back-off; the actors that watch are not told.
   * After
   * `restartsMax` restarts within `windowMs` the whole system stops instead.
   */
  | { readonly policy: "restart"; readonly restartsMax: number; readonly windowMs: number };

/** Turns what another node sent into a message, or into undefined if it is none. */
export type RemoteContract<Message> = (value: WireValue) => Message | undefined;

/** How to run an actor. */
export interface SpawnOptions<Message, Reply, Signal = never> {
  /** `^[a-z0-9-]{1,64}$`. */
  readonly name: string;
  /** The group it works for. */
  readonly group: number;
  /** Makes an instance: now, and for each restart. */
  readonly create: () => Actor<Message, Reply, Signal>;
  /**
   * What the actor takes from other nodes: the message that a value stands for. If it stands for
   * none, undefined: the value is refused and counted. Values come from the network: trust nothing
   * in them. An actor without this contract takes nothing from other nodes.
   */
  readonly remote?: RemoteContract<Message>;
  /** What happens when it throws. */
  readonly supervision: Supervision;
  /** Messages the mailbox holds; MAILBOX_CAPACITY if not given. */
  readonly capacity?: number;
  /** "refuse" if not given. */
  readonly whenFull?: WhenFull;
  /** Messages of one turn; BATCH_MESSAGES_MAX if not given. */
  readonly batchMax?: number;
}

/** What an actor has done since it was spawned, restarts included. */
export interface ActorMetrics {
  /** The actor, as text. */
  readonly address: string;
  /** Batches handled. */
  readonly turns: number;
  /** Messages handled. */
  readonly messages: number;
  /** Messages lost or refused because the mailbox was full. */
  readonly dropped: number;
  /** Instances that took the place of one that threw. */
  readonly restarts: number;
  /** Messages in the mailbox now. */
  readonly waiting: number;
  /** The most messages that ever waited. */
  readonly waitingMax: number;
}

/** Takes the outcome of a call; only the first outcome counts. */
export interface Caller {
  settle(outcome: Outcome<unknown>): void;
}

/** A message whose answer nobody waits for. */
export class CastDelivery implements Delivery<unknown, unknown> {
  readonly message: unknown;

  constructor(message: unknown) {
    this.message = message;
  }

  reply(): void {}
  fail(): void {}
}

/** A signal: a cast that no mailbox policy drops. */
class SignalDelivery extends CastDelivery {}

/** A message whose caller waits. */
export class CallDelivery implements Delivery<unknown, unknown>, BagItem {
  readonly message: unknown;
  place = -1;
  readonly #open: Bag<CallDelivery>;
  #caller: Caller | undefined;

  constructor(message: unknown, caller: Caller, open: Bag<CallDelivery>) {
    this.message = message;
    this.#caller = caller;
    this.#open = open;
    open.add(this);
  }

  reply(value: unknown): void {
    this.#settle({ ok: true, value });
  }

  fail(error: Error): void {
    this.#settle({ ok: false, error });
  }

  #settle(outcome: Outcome<unknown>): void {
    const caller = this.#caller;
    if (caller === undefined) return;
    this.#caller = undefined;
    this.#open.delete(this);
    caller.settle(outcome);
  }
}

/** running <-> paused (between two instances), then closing (drains its mailbox), then stopped. */
type Phase = "running" | "paused" | "closing" | "stopped";

/** One actor as the system keeps it. */
export class Cell {
  readonly address: Address;
  readonly key: string;
  readonly create: () => Actor<unknown, unknown>;
  readonly remote: RemoteContract<unknown> | undefined;
  readonly supervision: Supervision;
  readonly whenFull: WhenFull;
  readonly batchMax: number;
  readonly mailbox: Mailbox<CastDelivery | CallDelivery>;
  /** Calls without an answer: in the mailbox, or taken from it. */
  readonly open = new Bag<CallDelivery>();
  /** Actors of this node to be told when this one is gone. */
  readonly watchers = new Set<Cell>();
  /** Nodes to be told. */
  readonly remoteWatchers = new Set<number>();
  /** Keys of what this actor watches. */
  readonly watched = new Set<string>();
  actor: Actor<unknown, unknown>;
  /** Whether `actor` has not been stopped; false between two instances. */
  alive = true;
  phase: Phase = "running";
  /** Whether it stands in the queue of actors with something to do. */
  queued = false;
  /** Watched actors that are gone, not yet told to the actor. */
  terminated: Address[] = [];
  /** When it was restarted, within the window of its supervision. */
  restartsMs: number[] = [];
  restarts = 0;
  turns = 0;
  messages = 0;
  dropped = 0;

  constructor(options: {
    readonly address: Address;
    readonly create: () => Actor<unknown, unknown>;
    readonly remote: RemoteContract<unknown> | undefined;
    readonly supervision: Supervision;
    readonly whenFull: WhenFull;
    readonly capacity: number;
    readonly batchMax: number;
  }) {
    this.address = options.address;
    this.key = formatAddress(options.address);
    this.create = options.create;
    this.remote = options.remote;
    this.supervision = options.supervision;
    this.whenFull = options.whenFull;
    this.batchMax = options.batchMax;
    this.mailbox = new Mailbox(options.capacity);
    this.actor = options.create();
  }

  get accepts(): boolean {
    return this.phase === "running" || this.phase === "paused";
  }

  get hasWork(): boolean {
    return this.mailbox.length > 0 || this.terminated.length > 0;
  }

  /** Queues a cast; returns what `cast` returns. */
  pushCast(message: unknown): boolean {
    if (!this.accepts) return false;
    if (this.mailbox.full && !this.#makeRoom()) return this.whenFull === "drop-newest";
    this.mailbox.push(new CastDelivery(message));
    return true;
  }

  /** Queues a signal, whether or not the mailbox is full. */
  pushSignal(signal: unknown): boolean {
    if (!this.accepts && this.phase !== "closing") return false;
    this.mailbox.push(new SignalDelivery(signal));
    return true;
  }

  /** Queues a call, or settles it at once. */
  pushCall(message: unknown, caller: Caller): void {
    if (!this.accepts) {
      caller.settle({ ok: false, error: new ActorStoppedError(this.key, "not-delivered") });
    } else if (this.mailbox.full && !this.#makeRoom()) {
      caller.settle({ ok: false, error: new MailboxFullError(this.key) });
    } else {
      this.mailbox.push(new CallDelivery(message, caller, this.open));
    }
  }

  /** Fails the calls that were taken from the mailbox: whether they took effect is not known. */
  failTaken(cause: unknown): void {
    const waiting = new Set<unknown>(this.mailbox.waiting());
    for (const call of this.open.items()) {
      if (!waiting.has(call)) call.fail(new ActorStoppedError(this.key, "unknown", { cause }));
    }
  }

  /** Empties the mailbox: what waits will never be handled. */
  failWaiting(cause: unknown): void {
    for (const delivery of this.mailbox.takeBatch(this.mailbox.length)) {
      delivery.fail(new ActorStoppedError(this.key, "not-delivered", { cause }));
    }
  }

  metrics(): ActorMetrics {
    return {
      address: this.key,
      turns: this.turns,
      messages: this.messages,
      dropped: this.dropped,
      restarts: this.restarts,
      waiting: this.mailbox.length,
      waitingMax: this.mailbox.highWater,
    };
  }

  #makeRoom(): boolean {
    this.dropped++;
    if (this.whenFull !== "drop-oldest" || this.mailbox.oldest instanceof SignalDelivery) {
      return false;
    }
    this.mailbox.dropOldest()?.fail(new MailboxFullError(this.key));
    return true;
  }
}
