/**
 * Actors: an object with a mailbox, which gets its messages in batches, one turn at a time.
 * system.ts runs them.
 *
 * @module
 */
import { GROUP_ID_MAX, NODE_ID_MAX } from "../../transport/wire/limits.ts";
import type { WireValue } from "../../transport/wire/messages.ts";

/** Where an actor lives; printed as `node/2/raft/0`: node 2's actor `raft` of group 0. */
export interface Address {
  /** Id of the process it lives in, 1 to 2^31. */
  readonly node: number;
  /** What it is for, `^[a-z0-9-]{1,64}$`. */
  readonly name: string;
  /** Tells actors of one name apart, 0 to 2^32-1. */
  readonly group: number;
}

/** A message and the way to answer it. */
export interface Delivery<Message, Reply = never> {
  /** What was sent. */
  readonly message: Message;
  /**
   * Answers the call, in this turn or later. Only the first answer counts. It does nothing
   * for a cast, for a call that has timed out, or if the caller is gone.
   */
  reply(value: Reply): void;
  /** As {@linkcode Delivery.reply}, with the error that the caller gets. */
  fail(error: Error): void;
}

/** Why {@linkcode Actor.onStop} is called. */
export type StopReason =
  /** The actor or the system stops in order; the mailbox is empty. */
  | "stopped"
  /** This instance threw; another one takes its place. */
  | "restarted"
  /** The actor or the system failed: release timers and handles, and promise nothing any more. */
  | "failed";

/** What an actor may ask of the system that runs it. */
export interface ActorContext {
  /** The actor's own address. */
  readonly self: Address;
  /**
   * Has `onTerminated(address)` called exactly once: when that actor stops for good, when the link
   * to its node is lost, or soon if there is no such actor or link. To watch twice has no further
   * effect.
   */
  watch(address: Address): void;
  /** Stops this actor once its mailbox is empty. */
  stop(): void;
}

/**
 * Something with a mailbox. Subclasses keep their state in `#private` fields and change it only
 * in these methods, which are synchronous: nothing else runs between their first and last line.
 *
 * What a method throws is treated as the actor's declared {@linkcode Supervision} says.
 *
 * @example
 * ```ts
 * import { Actor, type Delivery } from "statecraft/actors";
 *
 * class Counter extends Actor<number, number> {
 *   #sum = 0;
 *   override receive(batch: readonly Delivery<number, number>[]): void {
 *     for (const delivery of batch) {
 *       this.#sum += delivery.message;
 *       delivery.reply(this.#sum);
 *     }
 *   }
 * }
 * console.assert(new Counter() instanceof Actor);
 * ```
 */
export abstract class Actor<Message, Reply = never, Signal = never> {
  /** Handles what has arrived, in order: the whole mailbox up to the batch limit, never empty. */
  abstract receive(batch: readonly Delivery<Message | Signal, Reply>[]): void;
  /** Before the first message of this instance; from within `spawn`, or later when restarted. */
  onStart(_context: ActorContext): void {}
  /** After the last message of this instance. */
  onStop(_reason: StopReason): void {}
  /** A watched actor is gone; see {@linkcode ActorContext.watch}. */
  onTerminated(_address: Address): void {}
}

/** How a call ended. */
export type Outcome<Reply> =
  | { readonly ok: true; readonly value: Reply }
  | { readonly ok: false; readonly error: Error };

/** Within what time a call wants its answer. */
export interface CallOptions {
  /** More than 0, at most CALL_TIMEOUT_MS_MAX; noticed up to DEADLINE_RESOLUTION_MS late. */
  readonly timeoutMs: number;
}

/**
 * The way to an actor, of this node or another. Messages from one sender to one actor arrive in
 * order or not at all; within a node a message is handed over as it is and must not be changed
 * any more, between nodes it is a {@linkcode WireValue}.
 */
export interface ActorRef<Message, Reply = never> {
  /** Where its messages go. */
  readonly address: Address;
  /**
   * Sends without waiting. False: surely not delivered (mailbox full under "refuse", actor stopped,
   * no link). True: the message is in the mailbox of an actor of this node, or was handed to the
   * link of another node.
   */
  cast(message: Message): boolean;
  /**
   * Sends and calls `done` exactly once, never from within this call.
   *
   * @throws {RangeError} If `timeoutMs` is out of range.
   */
  ask(message: Message, options: CallOptions, done: (outcome: Outcome<Reply>) => void): void;
  /**
   * As {@linkcode ActorRef.ask}, as a promise.
   *
   * @throws {MailboxFullError} If the mailbox took no more; not delivered.
   * @throws {MessageRefusedError} If the actor of another node takes no such message from here.
   * @throws {ActorStoppedError} If the actor stopped or failed before it answered.
   * @throws {CallTimeoutError} If no answer came in time; outcome unknown.
   * @throws {UnreachableError} If the other node could not be reached, or was lost.
   * @throws {RemoteError} If an actor of another node answered with an error of a class of its own.
   * @throws {RangeError} If `timeoutMs` is out of range.
   */
  call(message: Message, options: CallOptions): Promise<Reply>;
}

/**
 * The way to an actor for the code that spawned it: it can also send signals, which no other node
 * and no mailbox limit can reach.
 */
export interface LocalRef<Message, Reply = never, Signal = never> extends ActorRef<Message, Reply> {
  /**
   * Puts a signal of this node itself (a timer is due, a sync has ended) behind what waits in the
   * mailbox, even if the mailbox is full: without the signal the actor would never go on. Signals
   * need no limit of their own, because each ends something that is under way, and that is limited.
   * An actor that has stopped takes none.
   */
  signal(signal: Signal): void;
}

/** Whether a message that was not answered may have been handled. */
export type DeliveryOutcome =
  /** It was not and never will be. */
  | "not-delivered"
  /** It may have been, or may still be. */
  | "unknown";

/** A call that got no answer from its actor. */
export abstract class CallError extends Error {
  /** Its class's name. */
  abstract override readonly name: string;
  /** The actor, as text. */
  readonly address: string;
  /** Whether the message may have been handled. */
  readonly outcome: DeliveryOutcome;

  /** See the class. */
  constructor(message: string, address: string, outcome: DeliveryOutcome, options?: ErrorOptions) {
    super(message, options);
    this.address = address;
    this.outcome = outcome;
  }
}

/** The mailbox was full, or the message made room for a newer one. */
export class MailboxFullError extends CallError {
  /** Its class's name. */
  override readonly name = "MailboxFullError";

  /** See the class. */
  constructor(address: string) {
    super(`Cannot call ${address}: its mailbox is full`, address, "not-delivered");
  }
}

/** The actor takes no such message from another node. */
export class MessageRefusedError extends CallError {
  /** Its class's name. */
  override readonly name = "MessageRefusedError";

  /** See the class. */
  constructor(address: string) {
    super(
      `Cannot call ${address}: it takes no such message from another node`,
      address,
      "not-delivered",
    );
  }
}

/** The actor does not run, or stopped or failed before it answered. */
export class ActorStoppedError extends CallError {
  /** Its class's name. */
  override readonly name = "ActorStoppedError";

  /** See the class. */
  constructor(address: string, outcome: DeliveryOutcome, options?: ErrorOptions) {
    super(`Cannot call ${address}: the actor has stopped`, address, outcome, options);
  }
}

/** No answer came in time. */
export class CallTimeoutError extends CallError {
  /** Its class's name. */
  override readonly name = "CallTimeoutError";
  /** How long the call waited, in milliseconds. */
  readonly timeoutMs: number;

  /** See the class. */
  constructor(address: string, timeoutMs: number) {
    super(`Cannot call ${address}: no answer within ${timeoutMs} ms`, address, "unknown");
    this.timeoutMs = timeoutMs;
  }
}

/** There is no link to the actor's node, or it was lost before the answer came. */
export class UnreachableError extends CallError {
  /** Its class's name. */
  override readonly name = "UnreachableError";

  /** See the class. */
  constructor(address: string, outcome: DeliveryOutcome) {
    super(
      outcome === "unknown"
        ? `Cannot call ${address}: the link was lost before the answer came`
        : `Cannot call ${address}: there is no link to its node`,
      address,
      outcome,
    );
  }
}

/** An error of another node's actor: `name` is that of its class there. */
export class RemoteError extends Error {
  /** The plain fields of the original. */
  readonly fields: { readonly [key: string]: WireValue };

  /** See the class. */
  constructor(name: string, message: string, fields: { readonly [key: string]: WireValue }) {
    super(message);
    this.name = name;
    this.fields = fields;
  }
}

const NAME = /^[a-z0-9-]{1,64}$/;
const ADDRESS = /^node\/(\d{1,10})\/([a-z0-9-]{1,64})\/(\d{1,10})$/;

/** The address as text: `node/2/raft/0`. */
export function formatAddress(address: Address): string {
  return `node/${address.node}/${address.name}/${address.group}`;
}

/**
 * The address that {@linkcode formatAddress} printed.
 *
 * @throws {SyntaxError} If the text is no address.
 */
export function parseAddress(text: string): Address {
  const match = ADDRESS.exec(text);
  if (match === null) {
    throw new SyntaxError(`Cannot parse an address: ${JSON.stringify(text)} is not node/N/name/G`);
  }
  const address = { node: Number(match[1]), name: match[2]!, group: Number(match[3]) };
  checkAddress(address);
  return address;
}

/** @throws {RangeError} If a part of the address is out of range. */
export function checkAddress(address: Address): void {
  const { node, name, group } = address;
  const valid = Number.isInteger(node) && node >= 1 && node <= NODE_ID_MAX &&
    Number.isInteger(group) && group >= 0 && group <= GROUP_ID_MAX && NAME.test(name);
  if (!valid) throw new RangeError(`Cannot use the address ${formatAddress(address)}`);
}
