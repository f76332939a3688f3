/**
 * One peer process: hosts the peer chart, performs its effects, and carries the messages of all
 * groups over its one connection.
 *
 * It is driven by the network and by one timer, not by a mailbox: a frame goes from the socket to
 * the mailbox of the actor it is for without a turn in between. Nothing is queued while there is
 * no connection: Raft sends again, and a call fails at once as not delivered.
 *
 * @module
 */
import { ChartHost } from "../machines/chart_host.ts";
import {
  backOffMs,
  DIAL_MS_MAX,
  GREETING_MS_MAX,
  IDLE_MS_MAX,
  type PeerContext,
  type PeerEffect,
  type PeerEvent,
  peerMachine,
  type PeerSnapshot,
  REFUSED_MS,
  startPeer,
  SUSPECT_MS_MAX,
} from "../machines/peer_machine.ts";
import type { NodeId, RaftMessage } from "../machines/raft_types.ts";
import type { ClientHello } from "../transport/wire/client_codec.ts";
import type { Codec } from "../transport/wire/codec.ts";
import { FRAME_BYTES_MAX, PACKED_FRAMES_VERSION } from "../transport/wire/limits.ts";
import { packFrame, unpackBody } from "../transport/wire/packed_frame.ts";
import { type CompressionTotals, Compressor } from "../storage/compression.ts";
import { isNoSpace } from "../storage/log/disk.ts";
import {
  type Connection,
  type ConnectionHandlers,
  formatHostPort,
  type HostPort,
  type Network,
} from "../transport/wire/network.ts";
import {
  type ActorWire,
  type Hello,
  type HelloReply,
  isActorWire,
  type RefusalReason,
  WireError,
  type WireMessage,
} from "../transport/wire/messages.ts";
import {
  type CompressionPolicy,
  TIMER_GRACE_MS,
  TIMER_LATE_MS_MAX,
  WARNED_FAILURES,
} from "./limits.ts";
import { helloOf } from "./knock.ts";
import type { LogOnce } from "./log_once.ts";
import type { Ports, TimerHandle } from "./runtime/ports.ts";
import { refusalText } from "./refusal_text.ts";
import { isOfLeader, type KnownDirectories, type Standing, standingOf } from "./standing.ts";

/** What the peers of a process share. */
export interface PeerHost extends KnownDirectories {
  readonly self: NodeId;
  readonly clusterId: string;
  /** Differs between two lives of this process. */
  readonly incarnation: number;
  /** The peer says that this node's own was. */
  readonly onRemoved: (peer: NodeId) => void;
  /** A client says hello: what handles its frames from then on, or undefined if it was turned away. */
  readonly acceptClient: (
    connection: Connection,
    hello: ClientHello,
  ) => ConnectionHandlers | undefined;
  /** A node that is no peer says hello; see PeersOptions. */
  readonly mayBeMember: (node: NodeId) => boolean;
  readonly network: Network;
  readonly ports: Ports;
  readonly logOnce: LogOnce;
  /** The versions of the protocol that this process speaks. */
  readonly versions: VersionRange;
  /** The highest cluster version that this build knows. */
  readonly clusterVersionMax: number;
  readonly compression: CompressionPolicy;
  /** A codec of one of them. */
  readonly createCodec: (version: number) => Codec;
  /** Gets the Raft messages of a peer. */
  readonly onRaft: (message: RaftMessage) => void;
  /** Gets what a peer's actor system says to ours. */
  readonly onActor: (from: NodeId, message: ActorWire) => void;
  readonly onLink: (peer: NodeId, link: "up" | "lost") => void;
  /** The chart or its host is broken: stop the process. */
  readonly onFault: (error: Error) => void;
}

/** What a peer's connection has carried and lost since the process started. */
export interface PeerCounters {
  /** Frames queued to the peer. */
  readonly sentFrames: number;
  /** Bytes of them. */
  readonly sentBytes: number;
  /** Frames that came from the peer. */
  readonly receivedFrames: number;
  /** Bytes of them. */
  readonly receivedBytes: number;
  /** Not sent: no connection, or its queue was full. */
  readonly droppedFrames: number;
  /** Not sent: the message cannot be encoded. */
  readonly unencodable: number;
  /** What compression did to the frames to the peer, over all connections. */
  readonly compression: CompressionTotals;
  /** Connections closed because of what the peer sent. */
  readonly violations: number;
  /** Times the link came up. */
  readonly linksUp: number;
}

/** One peer, for status pages and the dashboard. */
export interface PeerStatus {
  /** The other process. */
  readonly peer: NodeId;
  /** The chart's state: "connecting", "connected.healthy", … */
  readonly state: string;
  /** The chart's context. */
  readonly context: PeerContext;
  /** Round trip of the latest ping, in milliseconds; undefined before the first. */
  readonly rttMs: number | undefined;
  /** The peer's incarnation; undefined while there is no link. */
  readonly incarnation: number | undefined;
  /** The version of the protocol that the link speaks; undefined while there is no link. */
  readonly version: number | undefined;
  /** The highest cluster version that the peer's build knows; undefined while there is no link. */
  readonly clusterVersionMax: number | undefined;
  /** Host time at which the link came up or was lost; of the start if it never was up. */
  readonly sinceMs: number;
  /** What ended the last connection, or kept it from coming up; empty if nothing did yet. */
  readonly closeDetail: string;
  /** Bytes queued and not yet written. */
  readonly bufferedBytes: number;
  /** What went over the link so far. */
  readonly counters: PeerCounters;
}

/** Versions of the protocol, from the lowest to the highest. */
export interface VersionRange {
  /** The lowest. */
  readonly min: number;
  /** The highest. */
  readonly max: number;
}

/** The highest version that both speak; undefined if there is none. */
export function commonVersion(
  own: VersionRange,
  { versionMin, versionMax }: Pick<Hello, "versionMin" | "versionMax">,
): number | undefined {
  const highest = Math.min(own.max, versionMax);
  return highest >= Math.max(own.min, versionMin) ? highest : undefined;
}

/** What a peer says of itself in its hello, or in its reply. */
type Build = Pick<Hello, "incarnation" | "clusterVersionMax">;

interface Link {
  readonly connection: Connection;
  /** How far the peer is believed; undefined while it has not been greeted. */
  readonly standing: Standing | undefined;
  readonly codec: Codec;
  /** The version of the protocol that the codec speaks. */
  readonly version: number;
}

/** One peer, from `start` to `stop`. */
export class PeerLink {
  readonly peer: NodeId;
  /** Where the peer may listen, tried in turn. */
  #addresses: readonly HostPort[];
  #dials = 0;
  readonly #host: PeerHost;
  readonly #chart: ChartHost<typeof peerMachine>;
  #link: Link | undefined;
  /** Greeted by the greeter, not yet adopted by the chart. */
  #accepted: (Link & Build) | undefined;
  #up = false;
  #suspect = false;
  #build: Build | undefined;
  #timer: TimerHandle | undefined;
  #heard = false;
  #pingId = 0;
  #pingSentMs = 0;
  #rttMs: number | undefined;
  #closeDetail = "";
  #sinceMs: number;
  readonly #compressor: Compressor;
  readonly #counters = {
    sentFrames: 0,
    sentBytes: 0,
    receivedFrames: 0,
    receivedBytes: 0,
    droppedFrames: 0,
    unencodable: 0,
    violations: 0,
    linksUp: 0,
  };

  constructor(peer: NodeId, addresses: readonly HostPort[], host: PeerHost) {
    this.peer = peer;
    this.#addresses = addresses;
    this.#host = host;
    const { frameBytesMin: bytesMin } = host.compression;
    this.#compressor = new Compressor({ bytesMin, nowMs: () => this.#nowMs() });
    this.#sinceMs = this.#nowMs();
    this.#chart = new ChartHost(peerMachine, startPeer({ dials: host.self > peer }), {
      onStep: ({ to }) => void (this.#suspect = to.matches({ connected: "suspect" })),
      perform: (effect) => this.#perform(effect as PeerEffect),
    });
  }

  /** Dials, or waits for the peer to dial. */
  start(): void {
    this.#step({ type: "Start" });
  }

  /** The next dial goes to the first of these. A connection that is up stays. */
  relocate(addresses: readonly HostPort[]): void {
    const text = (list: readonly HostPort[]): string => list.map(formatHostPort).join();
    if (addresses.length === 0 || text(addresses) === text(this.#addresses)) return;
    this.#addresses = addresses;
    this.#dials = 0;
  }

  /** Where the peer may listen, the likeliest first. */
  get addresses(): readonly HostPort[] {
    return this.#addresses;
  }

  /** Closes the connection for good. Idempotent. */
  stop(): void {
    this.#step({ type: "Stop" });
  }

  /** Hands a message to the connection. False: it is dropped, for there is none or its queue is full. */
  send(message: RaftMessage | ActorWire): boolean {
    if (this.#up && this.#sendFrame(message)) return true;
    this.#counters.droppedFrames++;
    return false;
  }

  /**
   * Takes a connection whose hello was found valid, in place of any other: the peer would not have
   * dialled if it still had one. Returns what handles its frames from now on.
   */
  accept(connection: Connection, hello: Hello, standing: Standing): ConnectionHandlers {
    connection.setFrameLimit(FRAME_BYTES_MAX);
    const { versions } = this.#host;
    const version = commonVersion(versions, hello) ?? versions.min;
    const codec = this.#host.createCodec(version);
    const { incarnation, clusterVersionMax } = hello;
    this.#accepted = { connection, standing, codec, version, incarnation, clusterVersionMax };
    this.#step({ type: "Accepted" });
    return this.#handlers;
  }

  /** A hello in the peer's name was refused; a later one that is welcome forgets it. */
  refuse(reason: RefusalReason): void {
    this.#step({ type: "Refused", reason });
  }

  status(): PeerStatus {
    return {
      peer: this.peer,
      state: stateName(this.#chart.snapshot),
      context: this.#chart.snapshot.context,
      rttMs: this.#rttMs,
      incarnation: this.#build?.incarnation,
      version: this.#up ? this.#link?.version : undefined,
      clusterVersionMax: this.#up ? this.#build?.clusterVersionMax : undefined,
      sinceMs: this.#sinceMs,
      closeDetail: this.#closeDetail,
      bufferedBytes: this.#link?.connection.bufferedBytes ?? 0,
      counters: { ...this.#counters, compression: this.#compressor.totals },
    };
  }

  /** Shared by all connections, since a connection that was closed calls no handler any more. */
  readonly #handlers: ConnectionHandlers = {
    onOpen: () => this.#step({ type: "Opened" }),
    onFrame: (body) => this.#receive(body),
    onClose: (reason) => {
      this.#closeDetail = `${reason.code}: ${reason.detail}`;
      this.#link = undefined;
      this.#step({ type: "Closed" });
    },
  };

  #receive(body: Uint8Array): void {
    this.#counters.receivedFrames++;
    this.#counters.receivedBytes += body.length;
    this.#heard = true;
    if (this.#suspect) this.#step({ type: "Heard" });
    let message: WireMessage;
    try {
      const { codec, version } = this.#link!;
      // Who has not been greeted may not make this node unpack anything.
      const mayBePacked = this.#up && version >= PACKED_FRAMES_VERSION;
      message = codec.decode(mayBePacked ? unpackBody(body) : body);
    } catch (error) {
      if (!(error instanceof WireError)) throw error;
      return this.#violated(error.code, error.message);
    }
    if (this.#up) this.#receiveMessage(message);
    else if (message.type === "HelloReply" && message.from === this.peer) {
      this.#receiveReply(message);
    } else this.#violated("no-hello-reply", `${message.type} in answer to the hello`);
  }

  #receiveReply(reply: HelloReply): void {
    if (reply.refusal !== undefined) {
      this.#refusedWith(reply.refusal);
      if (reply.refusal === "removed") this.#host.onRemoved(this.peer);
      return;
    }
    let standing: Standing | undefined;
    try {
      standing = standingOf(this.#host, this.peer, reply.directoryId);
    } catch (error) {
      if (isNoSpace(error)) return this.#closeFor("no-space", (error as Error).message);
      return this.#host.onFault(error instanceof Error ? error : new Error(String(error)));
    }
    // A sound peer has refused already, for the hello said which directory we remember of it.
    if (standing === undefined) return this.#refusedWith("wrong-target-directory");
    const { versions } = this.#host;
    const { version } = reply;
    if (version < versions.min || version > versions.max) {
      return this.#violated("wrong-version", `the reply chose version ${version}`);
    }
    this.#build = reply;
    const { connection } = this.#link!;
    this.#link = { connection, standing, version, codec: this.#host.createCodec(version) };
    connection.setFrameLimit(FRAME_BYTES_MAX);
    this.#step({ type: "Welcomed" });
  }

  #refusedWith(reason: RefusalReason): void {
    const { remote } = this.#link!.connection;
    const text = refusalText({ reason, dials: true, peer: this.peer });
    this.#logOnce(
      text === undefined ? "warn" : "error",
      "hello-refused-by-peer",
      reason,
      text ?? remote,
    );
    this.#step({ type: "Refused", reason });
  }

  #receiveMessage(message: WireMessage): void {
    switch (message.type) {
      case "Ping":
        this.#sendFrame({ type: "Pong", id: message.id });
        return;
      case "Pong":
        if (message.id === this.#pingId) this.#rttMs = this.#nowMs() - this.#pingSentMs;
        return;
      case "Hello":
      case "HelloReply":
        return this.#violated("second-hello", `${message.type} on a greeted connection`);
      default:
        if (message.from !== this.peer) {
          this.#violated("spoofed-from", `${message.type} from node ${message.from}`);
        } else if (isActorWire(message)) this.#host.onActor(this.peer, message);
        else if (this.#link?.standing === "known" || isOfLeader(message)) {
          this.#host.onRaft(message);
        }
    }
  }

  /** Closes the connection because of what came over it: nothing after that can be trusted. */
  #violated(cause: string, detail: string): void {
    this.#counters.violations++;
    this.#logOnce("warn", "peer-violation", cause, detail);
    this.#closeFor(cause, detail);
  }

  #closeFor(cause: string, detail: string): void {
    this.#closeDetail = `${cause}: ${detail}`;
    this.#closeLink();
    this.#step({ type: "Closed" });
  }

  #sendFrame(message: WireMessage, codec = this.#link?.codec): boolean {
    const link = this.#link;
    if (link === undefined || codec === undefined) return false;
    let frame: Uint8Array;
    try {
      frame = codec.encode(message);
    } catch (error) {
      if (!(error instanceof WireError)) throw error;
      this.#counters.unencodable++;
      this.#logOnce(
        "error",
        "message-unencodable",
        error.code,
        `${message.type}: ${error.message}`,
      );
      return false;
    }
    frame = this.#packed(message, frame, link);
    if (!link.connection.send(frame)) return false;
    this.#counters.sentFrames++;
    this.#counters.sentBytes += frame.length;
    return true;
  }

  /** The frame as it is sent. A part of a snapshot is compressed already. */
  #packed(
    { type }: WireMessage,
    frame: Uint8Array,
    { version, connection: { bufferedBytes } }: Link,
  ): Uint8Array {
    const { frameWaitBytesMin } = this.#host.compression;
    const isTried = type !== "InstallSnapshot" && version >= PACKED_FRAMES_VERSION &&
      bufferedBytes >= frameWaitBytesMin;
    return isTried ? packFrame(frame, this.#compressor) ?? frame : frame;
  }

  #step(event: PeerEvent): void {
    try {
      this.#chart.take(event);
    } catch (error) {
      this.#host.onFault(error instanceof Error ? error : new Error(String(error)));
    }
  }

  #perform(effect: PeerEffect): void {
    switch (effect) {
      case "dial":
        return this.#dial();
      case "closeConnection":
        return this.#closeLink();
      case "adoptConnection":
        return this.#adopt();
      case "sendHello":
        return this.#sendHello();
      case "sendPing":
        return this.#sendPing();
      case "armDialTimer":
        return this.#arm(DIAL_MS_MAX, this.#timedOut);
      case "armGreetingTimer":
        return this.#arm(GREETING_MS_MAX, this.#timedOut);
      case "armIdleTimer":
        return this.#armIdle();
      case "armSuspectTimer":
        return this.#arm(SUSPECT_MS_MAX, this.#timedOut);
      case "armBackOffTimer":
        return this.#backOff(this.#chart.snapshot.context.failures);
      case "armRefusedTimer":
        return this.#arm(REFUSED_MS, this.#timedOut);
      case "clearTimer":
        return this.#clearTimer();
      case "announceUp":
        return this.#announceUp();
      case "announceLost":
        return this.#announceLost();
    }
  }

  #backOff(failures: number): void {
    if (failures >= WARNED_FAILURES) {
      this.#logOnce("warn", "peer-unreachable", "no-connection", this.#closeDetail);
    }
    this.#arm(backOffMs(failures, this.#host.ports.random.next()), this.#timedOut);
  }

  #dial(): void {
    const { versions } = this.#host;
    const address = this.#addresses[this.#dials++ % this.#addresses.length]!;
    this.#link = {
      connection: this.#host.network.dial(address, this.#handlers),
      standing: undefined,
      codec: this.#host.createCodec(versions.min),
      version: versions.min,
    };
  }

  #adopt(): void {
    this.#link = this.#accepted;
    this.#build = this.#accepted;
    this.#accepted = undefined;
    const { self, incarnation, identities, clusterVersionMax } = this.#host;
    // Before both sides know the version, they speak the lowest.
    const greeting = this.#host.createCodec(this.#host.versions.min);
    this.#sendFrame({
      type: "HelloReply",
      from: self,
      incarnation,
      refusal: undefined,
      directoryId: identities.own,
      version: this.#link!.version,
      clusterVersionMax,
    }, greeting);
  }

  #sendHello(): void {
    this.#sendFrame(helloOf(this.#host, this.peer));
  }

  #sendPing(): void {
    this.#pingSentMs = this.#nowMs();
    this.#sendFrame({ type: "Ping", id: ++this.#pingId });
  }

  #announceUp(): void {
    this.#up = true;
    this.#sinceMs = this.#nowMs();
    this.#counters.linksUp++;
    this.#host.logOnce.forget(this.peer);
    this.#host.onLink(this.peer, "up");
    if (this.#link?.standing === "leader-only") {
      const detail = `node ${this.peer} has another data directory than this node remembers, and ` +
        "another member says that the cluster has agreed to that: until this node reads so in the " +
        "log, it takes entries of that node, and nothing else";
      this.#logOnce("warn", "peer-half-known", "directory-replaced", detail);
    }
  }

  #announceLost(): void {
    this.#up = false;
    this.#sinceMs = this.#nowMs();
    this.#build = undefined;
    this.#rttMs = undefined;
    this.#host.onLink(this.peer, "lost");
  }

  #closeLink(): void {
    this.#link?.connection.close();
    this.#link = undefined;
  }

  readonly #timedOut = (): void => {
    this.#closeDetail = `timed out while ${stateName(this.#chart.snapshot)}`;
    this.#step({ type: "TimedOut" });
  };

  /**
   * While frames come, the chart has nothing to decide: a ping measures the round trip, and the timer
   * starts again.
   */
  #armIdle(): void {
    this.#heard = false;
    this.#arm(IDLE_MS_MAX, () => {
      if (!this.#heard) return this.#step({ type: "Idle" });
      this.#sendPing();
      this.#armIdle();
    });
  }

  #arm(delayMs: number, due: () => void): void {
    this.#clearTimer();
    const dueMs = this.#nowMs() + delayMs;
    this.#setTimer(delayMs, () => {
      // If this process stalled, frames of the peer wait in the socket. They are read before the
      // peer is judged.
      if (this.#nowMs() - dueMs > TIMER_LATE_MS_MAX) this.#setTimer(TIMER_GRACE_MS, due);
      else due();
    });
  }

  #setTimer(delayMs: number, due: () => void): void {
    this.#timer = this.#host.ports.timers.set(delayMs, () => {
      this.#timer = undefined;
      due();
    });
  }

  #clearTimer(): void {
    if (this.#timer !== undefined) this.#host.ports.timers.clear(this.#timer);
    this.#timer = undefined;
  }

  #nowMs(): number {
    return this.#host.ports.clock.monotonicMs();
  }

  #logOnce(level: "warn" | "error", event: string, cause: string, detail: string): void {
    this.#host.logOnce.log(level, event, { node: this.peer, cause, detail });
  }
}

function stateName(snapshot: PeerSnapshot): string {
  const { value } = snapshot;
  return typeof value === "string" ? value : Object.entries(value).flat().join(".");
}
