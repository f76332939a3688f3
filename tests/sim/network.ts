/**
 * The simulator's network: connections as TCP makes them, between the processes of a simulated
 * cluster. Bytes arrive in order or not at all, cut anywhere; what is lost is sent again and holds
 * up what follows; a link that is cut keeps both ends open until one of them times out.
 *
 * The processes speak the shipping protocol over it: frames, hello, greeter and links are theirs.
 *
 * @module
 */
import type { NodeId, RaftMessage } from "../../machines/raft_types.ts";
import { recordFormat } from "../../storage/log/wal_record.ts";
import { createCodec } from "../../transport/wire/codec.ts";
import { FRAME_HEADER_BYTES } from "../../transport/wire/limits.ts";
import { unpackBody } from "../../transport/wire/packed_frame.ts";
import type { WireMessage } from "../../transport/wire/messages.ts";
import type {
  Connection,
  ConnectionHandlers,
  HostPort,
  Listener,
  Network,
} from "../../transport/wire/network.ts";
import { SimConnection } from "./connection.ts";
import type { EventLoop, ProcessLife } from "./event_loop.ts";
import type { Dice } from "./random.ts";

/** How bad the network is. */
export interface NetworkQuality {
  /** Share of writes whose packet is lost and sent again, 0 to 1. */
  loss: number;
  /** Share of Raft's messages that a link sends twice. */
  duplication: number;
  /** Least time under way. */
  delayMsMin: number;
  /** Mean of the exponential part on top. */
  delayMsMean: number;
}

/** A local network on a good day. */
export const GOOD_NETWORK: NetworkQuality = {
  loss: 0,
  duplication: 0,
  delayMsMin: 0.1,
  delayMsMean: 0.3,
};

/** Nodes from this id on are clients: they have no peers, and what they send is none of Raft's. */
export const CLIENT_NODE_MIN = 1_000;

/** What is drawn once for a run: bounds of the operating system that the product does not set. */
export interface NetworkTraits {
  /** Share of arrivals that are cut in two at any byte. */
  readonly cutShare: number;
  /** Most bytes that a sender's connection holds; beyond, what it sends is dropped. */
  readonly heldBytesMax: number;
}

/** Nothing is cut, and nothing dropped before the product's own bound. */
const PLAIN_TRAITS: NetworkTraits = { cutShare: 0, heldBytesMax: Infinity };

/** What the network did. */
export interface NetworkCounters {
  /** Connections that were opened. */
  opened: number;
  /** Connections that ended in a reset, for one end had crashed. */
  resets: number;
  /** Frames sent. */
  sent: number;
  bytes: number;
  /** Writes whose packet was lost and sent again. */
  lost: number;
  /** Arrivals that a cut held up. */
  heldUp: number;
  /** Arrivals cut in two. */
  cut: number;
  /** Frames dropped because their sender held too much. */
  dropped: number;
  duplicated: number;
  replayed: number;
}

/** A packet that was lost is sent again after this, then after twice as long, and so on. */
const RESEND_MS_MIN = 200;
const RESEND_MS_MAX = 1_600;
/** The first packet of a connection is sent again after this, then after twice as long. */
const REDIAL_MS_MIN = 1_000;
/** An arrival that is cut in two is this far apart at most. */
const CUT_MS_MAX = 5;

/** Old messages that are remembered to be sent again, one of so many. */
const OLD_FRAMES_MAX = 64;
const OLD_FRAMES_SHARE = 0.02;

/** A message of long ago. */
interface OldFrame {
  readonly from: NodeId;
  readonly to: NodeId;
  readonly frame: Uint8Array;
}

/** What becomes of a frame, for a play. */
export type Fate = "sent" | "duplicated" | "held" | "dropped" | "arrived";

/** A process that listens. */
interface SimListener {
  readonly node: NodeId;
  readonly life: ProcessLife;
  readonly accept: (connection: Connection) => ConnectionHandlers;
}

/** Connects the processes of a simulated cluster. */
export class SimNetwork {
  readonly counters: NetworkCounters = {
    opened: 0,
    resets: 0,
    sent: 0,
    bytes: 0,
    lost: 0,
    heldUp: 0,
    cut: 0,
    dropped: 0,
    duplicated: 0,
    replayed: 0,
  };
  quality: NetworkQuality = { ...GOOD_NETWORK };
  /** Extra delay of everything to or from a node. */
  readonly slowMs = new Map<NodeId, number>();
  /** How long a node keeps a message of Raft's back, so that others overtake it; for tests. */
  holdBackMs: ((message: WireMessage) => number) | undefined;
  /** Called with every frame that is sent; `message` decodes it. */
  onSend: (way: Way, frame: Uint8Array, message: () => WireMessage) => void = () => {};
  /** Called with what becomes of each frame; unset: nobody wants to know. */
  onFate: ((fate: Fate, way: Way, message: WireMessage) => void) | undefined;
  readonly loop: EventLoop;
  readonly dice: Dice;
  readonly traits: NetworkTraits;
  readonly #codec = createCodec(recordFormat);
  readonly #cut = new Set<string>();
  /** Hosts that lost their power and are still down: nobody there answers, not even with a reset. */
  readonly #dark = new Set<NodeId>();
  readonly #listeners = new Map<string, SimListener>();
  readonly #connections = new Map<ProcessLife, Set<SimConnection>>();
  readonly #old: OldFrame[] = [];

  constructor(loop: EventLoop, dice: Dice, traits: NetworkTraits = PLAIN_TRAITS) {
    this.loop = loop;
    this.dice = dice;
    this.traits = traits;
  }

  /** The address of a node. */
  static addressOf(node: NodeId): HostPort {
    return { hostname: `node-${node}`, port: 7000 };
  }

  /** The network as a process of the node sees it. */
  of(node: NodeId, life: ProcessLife): Network {
    this.#dark.delete(node);
    return {
      listen: (at, accept) => this.#listen(at, { node, life, accept }),
      dial: (to, handlers) => this.#dial(node, life, to, handlers),
    };
  }

  /** A process has ended; `dark`: its host lost power and says nothing to the others. */
  ended(node: NodeId, life: ProcessLife, { dark }: { readonly dark: boolean }): void {
    if (dark) this.#dark.add(node);
    for (const [key, listener] of this.#listeners) {
      if (listener.life === life) this.#listeners.delete(key);
    }
    for (const connection of this.#connections.get(life) ?? []) connection.abandon({ dark });
    this.#connections.delete(life);
  }

  /** Cuts what `from` sends to `to`. */
  cut(from: NodeId, to: NodeId): void {
    this.#cut.add(`${from}>${to}`);
  }

  /** Cuts both directions between two nodes. */
  cutBoth(a: NodeId, b: NodeId): void {
    this.cut(a, b);
    this.cut(b, a);
  }

  /** Nodes reach those on their own side only. */
  partition(...sides: readonly (readonly NodeId[])[]): void {
    for (const side of sides) {
      for (const other of sides) {
        if (other !== side) { for (const a of side) for (const b of other) this.cut(a, b); }
      }
    }
  }

  /** Undoes every cut. */
  heal(): void {
    this.#cut.clear();
  }

  /** Resets the connections between two nodes, wherever in a frame they are. */
  reset(a: NodeId, b: NodeId): void {
    const isBetween = ({ way: { from, to } }: SimConnection): boolean =>
      (from === a && to === b) || (from === b && to === a);
    const all = [...this.#connections.values()].flatMap((own) => [...own]);
    for (const connection of all.filter(isBetween)) connection.reset();
  }

  /** Sends a message of long ago once more, over the link that is there now. */
  replayOld(): void {
    if (this.#old.length === 0) return;
    const { from, to, frame } = this.dice.pick(this.#old);
    const connection = this.#greetedConnection(from, to);
    if (connection === undefined) return;
    this.counters.replayed++;
    connection.sendNow(frame);
  }

  /**
   * Keeps no frame of a node's to be sent again: it has lost its log, and what it said before came on
   * connections that are gone.
   */
  forgetOld(node: NodeId): void {
    const kept = this.#old.filter(({ from }) => from !== node);
    this.#old.splice(0, this.#old.length, ...kept);
  }

  /** Sends a message as if `from` had; false if there is no link. */
  inject(from: NodeId, to: NodeId, message: RaftMessage): boolean {
    return this.#greetedConnection(from, to)?.sendNow(this.#codec.encode(message)) ?? false;
  }

  /** Whether bytes from one node reach the other now, or would be lost. */
  isCut(from: NodeId, to: NodeId): boolean {
    return this.#cut.has(`${from}>${to}`) || this.#dark.has(to);
  }

  /** How long bytes that are sent now are under way. */
  drawDelayMs(from: NodeId, to: NodeId): number {
    const { delayMsMin, delayMsMean, loss } = this.quality;
    const slowMs = (this.slowMs.get(from) ?? 0) + (this.slowMs.get(to) ?? 0);
    let delayMs = delayMsMin + slowMs + this.dice.exponential(delayMsMean);
    for (let times = 0; loss > 0 && this.dice.chance(loss); times++) {
      this.counters.lost++;
      delayMs += this.resendMs(times);
    }
    return delayMs;
  }

  /** Pause before what did not arrive is sent again, after so many times. */
  resendMs(times: number): number {
    return Math.min(RESEND_MS_MAX, RESEND_MS_MIN * 2 ** times);
  }

  /** How far apart the two parts of an arrival are; undefined if it is whole. */
  drawCutMs(): number | undefined {
    const { cutShare } = this.traits;
    if (cutShare === 0 || !this.dice.chance(cutShare)) return undefined;
    this.counters.cut++;
    return this.dice.between(0, CUT_MS_MAX);
  }

  /** Lets the connection send a frame: once, later, or twice. */
  sending(connection: SimConnection, frame: Uint8Array): void {
    const { way } = connection;
    if (isClients(way)) {
      this.counters.sent++;
      this.counters.bytes += frame.length;
      connection.sendNow(frame);
      return;
    }
    let decoded: WireMessage | undefined;
    const message = (): WireMessage => decoded ??= this.#decode(frame.subarray(FRAME_HEADER_BYTES));
    this.counters.sent++;
    this.counters.bytes += frame.length;
    this.onSend(way, frame, message);
    const mayHold = this.holdBackMs !== undefined && isRaft(message());
    const holdMs = mayHold ? this.holdBackMs!(message()) : 0;
    if (holdMs > 0) {
      this.onFate?.("held", way, message());
      this.loop.after(holdMs, () => connection.sendNow(frame));
      return;
    }
    this.onFate?.("sent", way, message());
    connection.sendNow(frame);
    const { duplication } = this.quality;
    if (duplication > 0 && isRaft(message()) && this.dice.chance(duplication)) {
      this.counters.duplicated++;
      this.onFate?.("duplicated", way, message());
      connection.sendNow(frame);
    }
    if (this.dice.chance(OLD_FRAMES_SHARE) && isRaft(message())) this.#remember(way, frame);
  }

  /** A frame found no room, or no connection. */
  dropped({ way }: SimConnection, frame: Uint8Array): void {
    this.counters.dropped++;
    if (isClients(way)) return;
    this.onFate?.("dropped", way, this.#decode(frame.subarray(FRAME_HEADER_BYTES)));
  }

  /** Tells the play which frame has arrived. */
  arrived({ from, to }: Way, body: Uint8Array): void {
    if (isClients({ from, to })) return;
    this.onFate?.("arrived", { from: to, to: from }, this.#decode(body));
  }

  #listen(at: HostPort, listener: SimListener): Listener {
    const key = keyOf(at);
    if (this.#listeners.has(key)) throw new Error(`Cannot listen on ${key}: it is taken`);
    this.#listeners.set(key, listener);
    return {
      address: at,
      close: () => {
        if (this.#listeners.get(key) === listener) this.#listeners.delete(key);
      },
    };
  }

  #dial(from: NodeId, life: ProcessLife, to: HostPort, handlers: ConnectionHandlers): Connection {
    const node = Number(to.hostname.slice("node-".length));
    const here = this.#connection(from, node, life, handlers);
    this.#knock(here, keyOf(to), 0);
    return here;
  }

  /** The first packet of a connection, sent again until it arrives or its sender has given up. */
  #knock(here: SimConnection, key: string, times: number): void {
    const { from, to } = here.way;
    this.loop.after(this.drawDelayMs(from, to), () => {
      if (here.isOver) return;
      if (this.isCut(from, to) || this.isCut(to, from)) {
        this.counters.heldUp++;
        this.loop.after(REDIAL_MS_MIN * 2 ** times, () => this.#knock(here, key, times + 1));
        return;
      }
      const listener = this.#listeners.get(key);
      const backMs = this.drawDelayMs(to, from);
      if (listener === undefined) {
        const refused = { code: "dial-failed", detail: "connection refused" } as const;
        this.loop.after(backMs, () => here.lose(refused));
        return;
      }
      const there = this.#connection(listener.node, from, listener.life, undefined);
      here.join(there);
      there.join(here);
      // The operating system has accepted it, whether or not the process is awake.
      there.accepted(listener.accept);
      this.counters.opened++;
      this.loop.after(backMs, () => here.opened());
    });
  }

  #connection(
    from: NodeId,
    to: NodeId,
    life: ProcessLife,
    handlers: ConnectionHandlers | undefined,
  ): SimConnection {
    const connection = new SimConnection({ network: this, way: { from, to }, life, handlers });
    let own = this.#connections.get(life);
    if (own === undefined) this.#connections.set(life, own = new Set());
    own.add(connection);
    return connection;
  }

  /** The open connection from one node to another over which Raft's messages have gone already. */
  #greetedConnection(from: NodeId, to: NodeId): SimConnection | undefined {
    for (const connections of this.#connections.values()) {
      for (const connection of connections) {
        const { way, isOver, framesSent } = connection;
        // The first frame each way is a hello or its reply.
        if (way.from === from && way.to === to && !isOver && framesSent > 1) return connection;
      }
    }
    return undefined;
  }

  /** Forgets a connection that is over. */
  forget(connection: SimConnection, life: ProcessLife): void {
    this.#connections.get(life)?.delete(connection);
  }

  #decode(body: Uint8Array): WireMessage {
    return this.#codec.decode(unpackBody(body.slice()));
  }

  #remember({ from, to }: Way, frame: Uint8Array): void {
    const old = { from, to, frame };
    if (this.#old.length < OLD_FRAMES_MAX) this.#old.push(old);
    else this.#old[this.dice.below(OLD_FRAMES_MAX)] = old;
  }
}

/** Whether it is between a client and a node. */
function isClients({ from, to }: Way): boolean {
  return from >= CLIENT_NODE_MIN || to >= CLIENT_NODE_MIN;
}

/** From which node to which. */
export interface Way {
  readonly from: NodeId;
  readonly to: NodeId;
}

/** Whether it is one of Raft's own messages, and not of the actors or the link. */
export function isRaft(message: WireMessage): message is RaftMessage {
  return "group" in message && "term" in message;
}

function keyOf({ hostname, port }: HostPort): string {
  return `${hostname}:${port}`;
}
