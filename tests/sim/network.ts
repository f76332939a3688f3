/**
 * The simulator's network: frames that are lost, late, doubled and out of order, and links that are
 * cut in one direction or both.
 *
 * What crosses it are the bytes of the shipping codec: encoded at the sender, decoded at the
 * receiver.
 *
 * @module
 */
import type { NodeId, RaftMessage } from "../../machines/raft_types.ts";
import { recordFormat } from "../../storage/log/wal_record.ts";
import { createCodec } from "../../transport/wire/codec.ts";
import { FRAME_HEADER_BYTES } from "../../transport/wire/limits.ts";
import type { WireMessage } from "../../transport/wire/messages.ts";
import type { EventLoop } from "./event_loop.ts";
import type { Dice } from "./random.ts";

/** How bad the network is. */
export interface NetworkQuality {
  /** Share of frames lost, 0 to 1. */
  loss: number;
  /** Share of frames delivered twice. */
  duplication: number;
  /** Least time under way. */
  delayMsMin: number;
  /** Mean of the exponential part on top; large values reorder. */
  delayMsMean: number;
}

/** A local network on a good day. */
export const GOOD_NETWORK: NetworkQuality = {
  loss: 0,
  duplication: 0,
  delayMsMin: 0.1,
  delayMsMean: 0.3,
};

/** What the network did. */
export interface NetworkCounters {
  sent: number;
  bytes: number;
  lost: number;
  cut: number;
  duplicated: number;
  replayed: number;
  refused: number;
}

/** A frame under way. One that was delivered may be delivered again, much later. */
interface SentFrame {
  readonly from: NodeId;
  readonly to: NodeId;
  /** The data directory of the sender as it sent it. */
  readonly sentFrom: string;
  readonly body: Uint8Array;
}

/** How many old frames are remembered to be replayed. */
const OLD_FRAMES_MAX = 64;

/** What the network needs of the nodes. */
export interface SimNetworkOptions {
  /** The data directory that a node has now. */
  readonly directoryOf: (node: NodeId) => string;
  /** Delivers to a node; false if it does not run, or does not take messages of that directory. */
  readonly deliver: (
    to: NodeId,
    message: WireMessage,
    sender: { readonly from: NodeId; readonly sentFrom: string },
  ) => boolean;
}

/** What became of a frame; one that is sent may still be cut under way. */
export type Fate = "sent" | "duplicated" | "lost" | "cut" | "arrived" | "refused";

/** Connects the nodes of a simulated cluster. */
export class SimNetwork {
  readonly counters: NetworkCounters = {
    sent: 0,
    bytes: 0,
    lost: 0,
    cut: 0,
    duplicated: 0,
    replayed: 0,
    refused: 0,
  };
  quality: NetworkQuality = { ...GOOD_NETWORK };
  /** Extra delay of everything to or from a node. */
  readonly slowMs = new Map<NodeId, number>();
  /** Extra delay of one message, drawn as it is sent; a test sets it to reorder some kinds only. */
  extraDelayMs: (message: WireMessage) => number = () => 0;
  /** Called with every frame that is sent. */
  onSend: (from: NodeId, to: NodeId, message: WireMessage, frame: Uint8Array) => void = () => {};
  /** Called with everything that becomes of a frame. */
  onFate: (fate: Fate, way: { from: NodeId; to: NodeId }, message: WireMessage) => void = () => {};
  readonly #loop: EventLoop;
  readonly #dice: Dice;
  readonly #codec = createCodec(recordFormat);
  readonly #cut = new Set<string>();
  readonly #old: SentFrame[] = [];
  readonly #options: SimNetworkOptions;

  constructor(loop: EventLoop, dice: Dice, options: SimNetworkOptions) {
    this.#loop = loop;
    this.#dice = dice;
    this.#options = options;
  }

  /** Cuts what `from` sends to `to`. */
  cut(from: NodeId, to: NodeId): void {
    this.#cut.add(`${from}>${to}`);
  }

  /** Whether two nodes could hold a connection: neither direction is cut. */
  connects(a: NodeId, b: NodeId): boolean {
    return !this.#cut.has(`${a}>${b}`) && !this.#cut.has(`${b}>${a}`);
  }

  /** Cuts both directions between two nodes. */
  cutBoth(a: NodeId, b: NodeId): void {
    this.cut(a, b);
    this.cut(b, a);
  }

  /** Cuts everything between nodes of different sides. */
  partition(...sides: readonly (readonly NodeId[])[]): void {
    for (const side of sides) {
      for (const other of sides) {
        if (side === other) continue;
        for (const a of side) for (const b of other) this.cut(a, b);
      }
    }
  }

  /** Mends every link and forgets every slowness; quality stays. */
  heal(): void {
    this.#cut.clear();
    this.slowMs.clear();
  }

  /** Sends a message on its way. */
  send(from: NodeId, to: NodeId, message: WireMessage): void {
    const frame = this.#codec.encode(message);
    this.counters.sent++;
    this.counters.bytes += frame.length;
    this.onSend(from, to, message, frame);
    if (this.#cut.has(`${from}>${to}`)) {
      this.counters.cut++;
      return this.onFate("cut", { from, to }, message);
    }
    const { quality } = this;
    if (quality.loss > 0 && this.#dice.chance(quality.loss)) {
      this.counters.lost++;
      return this.onFate("lost", { from, to }, message);
    }
    this.onFate("sent", { from, to }, message);
    const body = frame.subarray(FRAME_HEADER_BYTES);
    const extraMs = this.extraDelayMs(message);
    const sent: SentFrame = { from, to, sentFrom: this.#options.directoryOf(from), body };
    this.#plan(sent, extraMs);
    if (quality.duplication > 0 && this.#dice.chance(quality.duplication)) {
      this.counters.duplicated++;
      this.onFate("duplicated", { from, to }, message);
      this.#plan(sent, extraMs);
    }
    this.#remember(sent);
  }

  /** Delivers a frame of long ago once more (a packet that was lost in the network and came back). */
  replayOld(): void {
    if (this.#old.length === 0) return;
    this.counters.replayed++;
    this.#arrive(this.#dice.pick(this.#old));
  }

  /** Delivers a message as if `from` had sent it. */
  inject(from: NodeId, to: NodeId, message: RaftMessage): void {
    const body = this.#codec.encode(message).slice(FRAME_HEADER_BYTES);
    this.#arrive({ from, to, sentFrom: this.#options.directoryOf(from), body });
  }

  #plan(sent: SentFrame, extraMs: number): void {
    const { from, to } = sent;
    const { delayMsMin, delayMsMean } = this.quality;
    const slowMs = (this.slowMs.get(from) ?? 0) + (this.slowMs.get(to) ?? 0);
    const delayMs = delayMsMin + slowMs + extraMs + this.#dice.exponential(delayMsMean);
    this.#loop.after(delayMs, () => this.#arrive(sent));
  }

  #arrive({ from, to, sentFrom, body }: SentFrame): void {
    const message = this.#codec.decode(body.slice());
    // The link may have been cut while the frame was under way.
    if (this.#cut.has(`${from}>${to}`)) {
      this.counters.cut++;
      return this.onFate("cut", { from, to }, message);
    }
    this.onFate("arrived", { from, to }, message);
    if (this.#options.deliver(to, message, { from, sentFrom })) return;
    this.counters.refused++;
    this.onFate("refused", { from, to }, message);
  }

  #remember(frame: SentFrame): void {
    if (this.#old.length < OLD_FRAMES_MAX) this.#old.push(frame);
    else if (this.#dice.chance(0.01)) this.#old[this.#dice.below(OLD_FRAMES_MAX)] = frame;
  }
}
