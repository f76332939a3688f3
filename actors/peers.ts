/**
 * All the peers of a process: one listener, one connection for each peer process, messages of
 * every group out and in.
 *
 * @module
 */
import { CLUSTER_VERSIONS } from "../machines/group_config.ts";
import { PROTOCOL_VERSIONS } from "../transport/wire/limits.ts";
import { COMPRESSION, type CompressionPolicy } from "./limits.ts";
import type { NodeId, RaftMessage } from "../machines/raft_types.ts";
import type { PeerIdentities } from "../storage/log/peer_identities.ts";
import type { Codec } from "../transport/wire/codec.ts";
import type { ClientHello } from "../transport/wire/client_codec.ts";
import type {
  Connection,
  ConnectionHandlers,
  HostPort,
  Network,
} from "../transport/wire/network.ts";
import type { ActorWire } from "../transport/wire/messages.ts";
import { Greeter, type GreeterCounters } from "./greeter.ts";
import { knock } from "./knock.ts";
import { LogOnce } from "./log_once.ts";
import { type PeerHost, PeerLink, type PeerStatus, type VersionRange } from "./peer_link.ts";
import type { Log, Ports } from "./runtime/ports.ts";
import type { RemoteLink } from "./runtime/remote.ts";
import type { ActorSystem } from "./runtime/system.ts";

/** What the peers of a process need. */
export interface PeersOptions {
  /** Where to listen, or where it listens. */
  readonly listen: HostPort;
  /** This node. */
  readonly self: NodeId;
  /** `^[a-z0-9-]{1,64}$`; nodes of another cluster are refused. */
  readonly clusterId: string;
  /** The data directories of this node and its peers; a peer that lost its own is refused. */
  readonly identities: PeerIdentities;
  /** Where every other node listens; an entry for this node is ignored. */
  readonly peers: ReadonlyMap<NodeId, HostPort>;
  /** What the configuration says of a peer's data directory; default nothing. */
  readonly directoryOf?: (peer: NodeId) => string | undefined;
  /** Whether a data directory was removed from the cluster, for good; default none was. */
  readonly isRemoved?: (directoryId: string) => boolean;
  /** Whether a peer says that it was; default nobody says so. */
  readonly isSaidRemoved?: (directoryId: string) => boolean;
  /** A peer says that this node's directory was removed; default: nobody hears of it. */
  readonly onRemoved?: (peer: NodeId) => void;
  /**
   * A node of this cluster that is no peer says hello. Whether it gets a link all the same: the members may
   * have changed while this node was away. Default: it does not.
   */
  readonly mayBeMember?: (node: NodeId) => boolean;
  /** Makes the connections. */
  readonly network: Network;
  /**
   * Gets the Raft messages of the peers; each message says its group. Default: they are dropped.
   */
  readonly onRaft?: (message: RaftMessage) => void;
  /** Gets the messages of the peers' actor systems, and sends its own through these links. */
  readonly system: ActorSystem;
  /** The versions of the protocol that this process speaks; default {@linkcode PROTOCOL_VERSIONS}. */
  readonly versions?: VersionRange;
  /** The highest cluster version that this build knows; default that of {@linkcode CLUSTER_VERSIONS}. */
  readonly clusterVersionMax?: number;
  /** Takes a client that has said hello; default none is served. */
  readonly acceptClient?: (
    connection: Connection,
    hello: ClientHello,
  ) => ConnectionHandlers | undefined;
  /** Makes the codec of one connection, which speaks one of them. */
  readonly createCodec: (version: number) => Codec;
  /** Which frames are compressed; default COMPRESSION.adaptive. */
  readonly compression?: CompressionPolicy;
  /** Clock, timers, chance and turns. */
  readonly ports: Ports;
  /** Takes log lines. */
  readonly log: Log;
  /** Called after the system was told. The peer's chart is in its new state by then. */
  readonly onLink?: (peer: NodeId, link: "up" | "lost") => void;
}

/** Every peer and the listener, for status pages. */
export interface PeersStatus {
  /** This node. */
  readonly self: NodeId;
  /** Differs from one start of the process to the next. */
  readonly incarnation: number;
  /** Where to listen, or where it listens. */
  readonly listen: HostPort;
  /** Connections whose hello has not come. */
  readonly ungreeted: number;
  /** What the listener did. */
  readonly greeter: GreeterCounters;
  /** Ascending by id. */
  readonly peers: readonly PeerStatus[];
}

const CLUSTER_ID = /^[a-z0-9-]{1,64}$/;
const INCARNATION_MAX = 2 ** 48;

/**
 * The links of a process to all its peers.
 *
 * @example
 * ```ts ignore
 * const peers = Peers.start({
 *   listen: { hostname: "127.0.0.1", port: 7001 },
 *   self: 1,
 *   clusterId: "example",
 *   identities,
 *   peers: new Map([[2, { hostname: "127.0.0.1", port: 7002 }]]),
 *   network: tcpNetwork,
 *   system,
 *   onRaft: (message) => group.receive(message),
 *   createCodec: () => createCodec(records),
 *   ports: denoPorts,
 *   log,
 * });
 * peers.send(2, { type: "TimeoutNow", group: 0, term: 7, from: 1 });
 * peers.stop();
 * ```
 */
export class Peers implements RemoteLink {
  readonly #host: PeerHost;
  readonly #peers = new Map<NodeId, PeerLink>();
  readonly #greeter: Greeter;
  #stopped = false;

  /**
   * Listens, dials the peers with a smaller id, and connects the system to them.
   *
   * @throws {RangeError} If the cluster id does not match `^[a-z0-9-]{1,64}$`.
   * @throws {Error} If the address cannot be listened on; nothing is left behind.
   */
  static start(options: PeersOptions): Peers {
    return new Peers(options);
  }

  private constructor(options: PeersOptions) {
    const { self, clusterId, identities, network, system, ports, createCodec, onLink } = options;
    const { onRaft = () => {} } = options;
    if (!CLUSTER_ID.test(clusterId)) {
      throw new RangeError(`Cannot start peers: cluster id ${JSON.stringify(clusterId)}`);
    }
    this.#host = {
      self,
      clusterId,
      identities,
      directoryOf: options.directoryOf ?? (() => undefined),
      isRemoved: options.isRemoved ?? (() => false),
      isSaidRemoved: options.isSaidRemoved ?? (() => false),
      onRemoved: options.onRemoved ?? (() => {}),
      acceptClient: options.acceptClient ?? ((connection) => void connection.close()),
      mayBeMember: options.mayBeMember ?? (() => false),
      incarnation: 1 + Math.floor(ports.random.next() * INCARNATION_MAX),
      network,
      ports,
      versions: options.versions ?? PROTOCOL_VERSIONS,
      clusterVersionMax: options.clusterVersionMax ?? CLUSTER_VERSIONS.max,
      compression: options.compression ?? COMPRESSION.adaptive,
      createCodec,
      logOnce: new LogOnce(options.log),
      onRaft,
      onActor: (from, message) => system.deliver(from, message),
      onLink: (peer, link) => {
        options.log("info", link === "up" ? "link-up" : "link-lost", { node: peer });
        if (link === "lost") system.linkLost(peer);
        onLink?.(peer, link);
      },
      onFault: (error) => system.fail(error),
    };
    this.#greeter = new Greeter(options.listen, this.#host, {
      links: this.#peers,
      // Where it listens is not known yet, and no matter: the one with the higher id dials.
      addLink: (peer) => this.add(peer, []),
    });
    system.connect(this);
    for (const [peer, address] of options.peers) {
      if (peer !== self) this.add(peer, [address]);
    }
  }

  /** Differs between two lives of this process. */
  get incarnation(): number {
    return this.#host.incarnation;
  }

  /** Where it really listens. */
  get address(): HostPort {
    return this.#greeter.address;
  }

  /**
   * Hands a message to the connection of its receiver. False: it surely does not arrive (no such
   * peer, no link, queue full, not encodable). True means only that it was queued.
   */
  send(to: NodeId, message: RaftMessage | ActorWire): boolean {
    return this.#peers.get(to)?.send(message) ?? false;
  }

  /** Whether there is a link to a peer, up or not. */
  has(peer: NodeId): boolean {
    return this.#peers.has(peer);
  }

  /** A peer may listen at these addresses, which are tried in turn, and at no other. */
  relocate(peer: NodeId, addresses: readonly HostPort[]): void {
    this.#peers.get(peer)?.relocate(addresses);
  }

  /**
   * Adds a peer while the process runs, with the addresses that it may listen at.
   *
   * @throws {RangeError} If it is this node, or known already.
   */
  add(peer: NodeId, addresses: readonly HostPort[]): void {
    if (peer === this.#host.self || this.#peers.has(peer)) {
      throw new RangeError(`Cannot add peer ${peer}: it is this node, or known already`);
    }
    if (this.#stopped) return;
    const link = new PeerLink(peer, addresses, this.#host);
    this.#peers.set(peer, link);
    link.start();
  }

  /** Asks the peers that would have to dial, and do not, whether this node was removed. */
  knock(): void {
    for (const link of this.#peers.values()) {
      const [address] = link.addresses;
      const dials = this.#host.self > link.peer;
      if (dials || address === undefined || link.status().state.startsWith("connected")) continue;
      knock(this.#host, link.peer, address);
    }
  }

  /** Closes the connection to a peer and refuses it from now on. Idempotent. */
  remove(peer: NodeId): void {
    this.#peers.get(peer)?.stop();
    this.#peers.delete(peer);
  }

  /** Closes everything; links that were up are announced as lost. Idempotent. */
  stop(): void {
    this.#stopped = true;
    this.#greeter.stop();
    for (const peer of [...this.#peers.keys()]) this.remove(peer);
  }

  /** Every peer and the listener as they are now. */
  status(): PeersStatus {
    return {
      self: this.#host.self,
      incarnation: this.#host.incarnation,
      listen: this.#greeter.address,
      ungreeted: this.#greeter.ungreeted,
      greeter: this.#greeter.counters,
      peers: [...this.#peers.values()]
        .map((peer) => peer.status())
        .sort((a, b) => a.peer - b.peer),
    };
  }
}
