/**
 * The remote half of an actor system: messages, calls, answers and watches between this node's
 * actors and those of other nodes.
 *
 * What another node sends reaches an actor only through the `remote` contract that the actor was
 * spawned with. A value that stands for no message there is refused and counted, so a faulty or
 * hostile peer can ask for what the actor offers and for nothing else. It cannot forge the signals
 * that say what this node's own disk, clock and log did.
 *
 * @module
 */
import type {
  ActorCall,
  ActorCast,
  ActorFail,
  ActorReply,
  ActorWire,
  WireValue,
} from "../../transport/wire/messages.ts";
import { PENDING_CALLS_MAX } from "./limits.ts";
import {
  ActorStoppedError,
  type Address,
  formatAddress,
  MailboxFullError,
  MessageRefusedError,
  type Outcome,
  RemoteError,
  UnreachableError,
} from "./actor.ts";
import type { PendingCall } from "./calls.ts";
import type { Caller, Cell } from "./cell.ts";
import { asError, fromWire, toWire } from "./wire_failure.ts";

/** The way to the systems of other nodes; actors/peers.ts is one. */
export interface RemoteLink {
  /** Hands the message over. False: there is no link, and the message surely does not arrive. */
  send(to: number, message: ActorWire): boolean;
}

/** Turns the value that a remote call was answered with into a reply, or into undefined if it is none. */
export type AnswerContract<Reply> = (value: WireValue) => Reply | undefined;

/** What this half needs of the other. */
export interface RemoteHost {
  /** This node's id. */
  readonly node: number;
  /** The actor at an address of this node. */
  readonly find: (name: string, group: number) => Cell | undefined;
  /** The actor has mail. */
  readonly wake: (cell: Cell) => void;
  /** What the actor watches is gone. */
  readonly tell: (watcher: Cell, address: Address, key: string) => void;
  /** A `remote` contract threw: a defect of this node, whatever the value was. */
  readonly onContractFailed: (cell: Cell, error: Error) => void;
}

/** What arrived and could not be handed over, since the system started. */
export interface RemoteCounters {
  /** Messages for actors that are not here, or took no more. */
  readonly undeliverable: number;
  /** Messages that their actor's `remote` contract does not know, or for an actor without one. */
  readonly refused: number;
}

interface RemoteWatch {
  readonly address: Address;
  readonly watchers: Set<Cell>;
}

interface RemoteCall {
  readonly call: PendingCall;
  readonly node: number;
  readonly answer: AnswerContract<unknown> | undefined;
}

/** See the module. */
export class RemoteActors {
  readonly #host: RemoteHost;
  #link: RemoteLink | undefined;
  #nextCallId = 1;
  readonly #calls = new Map<number, RemoteCall>();
  #inboundCalls = 0;
  #undeliverable = 0;
  #refused = 0;
  /**
   * Grows when a link is lost, so that the answer to an earlier call is not sent to a restarted
   * process.
   */
  readonly #linkEpochs = new Map<number, number>();
  /** Which actors of this node watch which actors of other nodes. */
  readonly #watches = new Map<number, Map<string, RemoteWatch>>();

  /** Without a link other nodes are unreachable. */
  constructor(host: RemoteHost) {
    this.#host = host;
  }

  /** Calls of other nodes that have no answer yet. */
  get inboundCalls(): number {
    return this.#inboundCalls;
  }

  get counters(): RemoteCounters {
    return { undeliverable: this.#undeliverable, refused: this.#refused };
  }

  /** Sets the way to other nodes. */
  connect(link: RemoteLink): void {
    this.#link = link;
  }

  /** Sends a message; false if it surely does not arrive. */
  cast({ node, group, name }: Address, payload: unknown): boolean {
    return this.#send(node, {
      type: "ActorCast",
      ...this.#to(group, name),
      payload: payload as WireValue,
    });
  }

  /** Sends a call; its answer is taken as `answer` says. */
  ask(
    { node, group, name }: Address,
    payload: unknown,
    { call, answer }: {
      readonly call: PendingCall;
      readonly answer: AnswerContract<unknown> | undefined;
    },
  ): void {
    const callId = this.#nextCallId++;
    this.#calls.set(callId, { call, node, answer });
    call.onSettled = () => this.#calls.delete(callId);
    const to = this.#to(group, name);
    const sent = this.#send(node, {
      type: "ActorCall",
      callId,
      ...to,
      payload: payload as WireValue,
    });
    if (!sent) {
      call.settle({ ok: false, error: new UnreachableError(call.address, "not-delivered") });
    }
  }

  /** Takes a message that another node sent. */
  deliver(from: number, wire: ActorWire): void {
    switch (wire.type) {
      case "ActorCast":
        return this.#deliverCast(wire);
      case "ActorCall":
        return this.#deliverCall(from, wire);
      case "ActorReply":
      case "ActorFail":
        return this.#deliverAnswer(from, wire);
      case "ActorWatch":
        return this.#deliverWatch(from, {
          node: this.#host.node,
          name: wire.name,
          group: wire.group,
        });
      case "ActorTerminated":
        return this.#terminated({ node: from, name: wire.name, group: wire.group });
    }
  }

  /** The link to a node is gone: calls to it have an unknown outcome, watches of its actors fire. */
  linkLost(node: number): void {
    this.#linkEpochs.set(node, this.#linkEpoch(node) + 1);
    for (const [callId, { call, node: callee }] of this.#calls) {
      if (callee !== node) continue;
      this.#calls.delete(callId);
      call.settle({ ok: false, error: new UnreachableError(call.address, "unknown") });
    }
    for (const watch of [...this.#watches.get(node)?.values() ?? []]) {
      this.#terminated(watch.address);
    }
  }

  /** Ends every call to another node: this system stops. */
  stop(): void {
    for (const { call } of [...this.#calls.values()]) {
      call.settle({ ok: false, error: new UnreachableError(call.address, "unknown") });
    }
  }

  /** Has the watcher told once the actor of another node is gone. */
  watch(watcher: Cell, address: Address, key: string): void {
    const { node, name, group } = address;
    let watches = this.#watches.get(node);
    if (watches === undefined) this.#watches.set(node, watches = new Map());
    const watch = watches.get(key);
    if (watch !== undefined) {
      watch.watchers.add(watcher);
      return;
    }
    watches.set(key, { address, watchers: new Set([watcher]) });
    const sent = this.#send(node, { type: "ActorWatch", ...this.#to(group, name) });
    if (!sent) this.#terminated(address);
  }

  /** The watcher is gone. */
  forgetWatcher(watcher: Cell): void {
    for (const watches of this.#watches.values()) {
      for (const watch of watches.values()) watch.watchers.delete(watcher);
    }
  }

  /** Tells another node that one of this node's actors is gone. */
  tell(to: number, { group, name }: Address): void {
    this.#send(to, { type: "ActorTerminated", ...this.#to(group, name) });
  }

  #to(group: number, name: string): { from: number; group: number; name: string } {
    return { from: this.#host.node, group, name };
  }

  #send(to: number, message: ActorWire): boolean {
    return this.#link !== undefined && this.#link.send(to, message);
  }

  #deliverCast({ name, group, payload }: ActorCast): void {
    const cell = this.#host.find(name, group);
    if (cell === undefined) {
      this.#undeliverable++;
      return;
    }
    const message = this.#messageOf(cell, payload);
    if (message === undefined) this.#refused++;
    else if (cell.pushCast(message)) this.#host.wake(cell);
    else this.#undeliverable++;
  }

  #deliverCall(from: number, wire: ActorCall): void {
    const { callId, name, group } = wire;
    const key = formatAddress({ node: this.#host.node, name, group });
    const epoch = this.#linkEpoch(from);
    this.#inboundCalls++;
    const caller: Caller = {
      settle: (outcome) => {
        this.#inboundCalls--;
        if (this.#linkEpoch(from) !== epoch) return;
        this.#answer(from, callId, outcome);
      },
    };
    const cell = this.#host.find(name, group);
    if (this.#inboundCalls > PENDING_CALLS_MAX) {
      this.#undeliverable++;
      return caller.settle({ ok: false, error: new MailboxFullError(key) });
    }
    if (cell === undefined) {
      this.#undeliverable++;
      return caller.settle({ ok: false, error: new ActorStoppedError(key, "not-delivered") });
    }
    const message = this.#messageOf(cell, wire.payload);
    if (message === undefined) {
      this.#refused++;
      return caller.settle({ ok: false, error: new MessageRefusedError(key) });
    }
    cell.pushCall(message, caller);
    this.#host.wake(cell);
  }

  /** The message that the value stands for; undefined if for none. */
  #messageOf(cell: Cell, payload: WireValue): unknown {
    try {
      return cell.remote?.(payload);
    } catch (error) {
      this.#host.onContractFailed(cell, asError(error));
      return undefined;
    }
  }

  /**
   * Sends an answer. If it cannot be sent, the caller's call ends with the link or by its timeout.
   */
  #answer(to: number, callId: number, outcome: Outcome<unknown>): void {
    const from = this.#host.node;
    const sent = outcome.ok
      ? this.#send(to, { type: "ActorReply", from, callId, payload: outcome.value as WireValue })
      : this.#send(to, { type: "ActorFail", from, callId, error: toWire(outcome.error) });
    if (!sent) this.#undeliverable++;
  }

  #deliverAnswer(from: number, wire: ActorReply | ActorFail): void {
    const pending = this.#calls.get(wire.callId);
    // Late, or not asked of this node.
    if (pending === undefined || pending.node !== from) return;
    const { call, answer } = pending;
    if (wire.type === "ActorFail") {
      return call.settle({ ok: false, error: fromWire(wire.error, call.address) });
    }
    const value = answer === undefined ? wire.payload : readAnswer(answer, wire.payload);
    if (answer === undefined || value !== undefined) return call.settle({ ok: true, value });
    this.#refused++;
    const text = `Cannot call ${call.address}: its answer is none that this node knows`;
    call.settle({ ok: false, error: new RemoteError("AnswerRefusedError", text, {}) });
  }

  #linkEpoch(node: number): number {
    return this.#linkEpochs.get(node) ?? 0;
  }

  #deliverWatch(from: number, address: Address): void {
    const target = this.#host.find(address.name, address.group);
    if (target?.remote !== undefined) target.remoteWatchers.add(from);
    else this.tell(from, address);
  }

  #terminated(address: Address): void {
    const key = formatAddress(address);
    const watches = this.#watches.get(address.node);
    const watch = watches?.get(key);
    if (watches === undefined || watch === undefined) return;
    watches.delete(key);
    if (watches.size === 0) this.#watches.delete(address.node);
    for (const watcher of watch.watchers) this.#host.tell(watcher, address, key);
  }
}

/** The reply that the payload stands for; undefined if the contract throws. */
function readAnswer(answer: AnswerContract<unknown>, payload: WireValue): unknown {
  try {
    return answer(payload);
  } catch {
    return undefined;
  }
}
