/**
 * Incoming connections until their hello: few at a time, 4 KiB and two seconds each, and refused
 * with a reason before anything changes.
 *
 * @module
 */
import { GREETING_MS_MAX } from "../machines/peer_machine.ts";
import type { NodeId } from "../machines/raft_types.ts";
import { isNoSpace } from "../storage/log/disk.ts";
import { clientHelloOf } from "../transport/wire/client_codec.ts";
import { type Codec, decodedOf } from "../transport/wire/codec.ts";
import { PROTOCOL_MAGIC } from "../transport/wire/limits.ts";
import type {
  Connection,
  ConnectionHandlers,
  HostPort,
  Listener,
} from "../transport/wire/network.ts";
import type { Hello, RefusalReason } from "../transport/wire/messages.ts";
import { UNGREETED_CONNECTIONS_MAX } from "./limits.ts";
import { commonVersion, type PeerHost, type PeerLink } from "./peer_link.ts";
import type { TimerHandle } from "./runtime/ports.ts";
import { refusalText } from "./refusal_text.ts";
import { type Standing, standingOf } from "./standing.ts";

/** Connections that did not become a peer's. */
export interface GreeterCounters {
  /** Closed unanswered: too many were waiting to be greeted. */
  readonly turnedAway: number;
  /** Closed unanswered: no hello in time. */
  readonly silent: number;
  /** Closed unanswered: the first frame was no hello. */
  readonly garbage: number;
  /** Answered with a reason. */
  readonly refused: number;
}

/** The links of a process, for its greeter. */
interface Links {
  readonly links: ReadonlyMap<NodeId, PeerLink>;
  /** Makes one to a node that dials. */
  readonly addLink: (peer: NodeId) => void;
}

/** Stands in log lines for a sender that has not said who it is. */
const NOBODY: NodeId = 0;

/** Takes incoming connections, checks their hellos, and gives each to the link of its peer. */
export class Greeter {
  readonly #host: PeerHost;
  readonly #peers: ReadonlyMap<NodeId, PeerLink>;
  readonly #addLink: (peer: NodeId) => void;
  readonly #listener: Listener;
  readonly #ungreeted = new Map<Connection, TimerHandle>();
  readonly #counters = { turnedAway: 0, silent: 0, garbage: 0, refused: 0 };

  /** @throws {Error} If the address cannot be listened on. */
  constructor(listen: HostPort, host: PeerHost, { links, addLink }: Links) {
    this.#host = host;
    this.#peers = links;
    this.#addLink = addLink;
    this.#listener = host.network.listen(listen, (connection) => this.#accept(connection));
  }

  /** Where it really listens. */
  get address(): HostPort {
    return this.#listener.address;
  }

  /** Connections whose hello has not come. */
  get ungreeted(): number {
    return this.#ungreeted.size;
  }

  get counters(): GreeterCounters {
    return { ...this.#counters };
  }

  /** Accepts no more and closes what is not greeted. Idempotent. */
  stop(): void {
    this.#listener.close();
    for (const connection of [...this.#ungreeted.keys()]) {
      this.#forget(connection);
      connection.close();
    }
  }

  #accept(connection: Connection): ConnectionHandlers {
    let owner: ConnectionHandlers = {
      onFrame: (body) => {
        owner = this.#greet(connection, body) ?? owner;
      },
      onClose: () => this.#forget(connection),
    };
    if (this.#ungreeted.size >= UNGREETED_CONNECTIONS_MAX) this.#turnAwayOldest();
    const timer = this.#host.ports.timers.set(GREETING_MS_MAX, () => {
      this.#counters.silent++;
      this.#ungreeted.delete(connection);
      this.#log("no-hello", connection, NOBODY);
      connection.close();
    });
    this.#ungreeted.set(connection, timer);
    return {
      onFrame: (body) => owner.onFrame(body),
      onDrained: () => owner.onDrained?.(),
      onClose: (reason) => owner.onClose(reason),
    };
  }

  /** A peer says hello at once. If the newest went, those who keep silent could keep peers out. */
  #turnAwayOldest(): void {
    const [oldest] = this.#ungreeted.keys();
    if (oldest === undefined) return;
    this.#counters.turnedAway++;
    this.#log("too-many-ungreeted", oldest, NOBODY);
    this.#forget(oldest);
    oldest.close();
  }

  /** The handlers of the peer that dialled; undefined if the connection was refused. */
  #greet(connection: Connection, body: Uint8Array): ConnectionHandlers | undefined {
    this.#forget(connection);
    const codec = this.#host.createCodec(this.#host.versions.min);
    const hello = decodedOf(codec, body);
    const client = hello === undefined ? clientHelloOf(body) : undefined;
    if (client !== undefined) return this.#host.acceptClient(connection, client);
    if (hello?.type !== "Hello") {
      this.#counters.garbage++;
      this.#log("garbage", connection, NOBODY);
      connection.close();
      return undefined;
    }
    let judgement: RefusalReason | { readonly standing: Standing };
    try {
      judgement = this.#judge(hello);
    } catch (error) {
      connection.close();
      // The peer dials again, and there may be room by then.
      if (isNoSpace(error)) this.#log("no-space", connection, hello.from);
      else this.#host.onFault(error instanceof Error ? error : new Error(String(error)));
      return undefined;
    }
    if (typeof judgement === "object") {
      if (!this.#peers.has(hello.from)) this.#addLink(hello.from);
      const peer = this.#peers.get(hello.from);
      if (peer !== undefined) return peer.accept(connection, hello, judgement.standing);
      judgement = "unknown-node";
    }
    this.#refuse(connection, { hello, refusal: judgement, codec });
    return undefined;
  }

  #refuse(
    connection: Connection,
    { hello, refusal, codec }: { hello: Hello; refusal: RefusalReason; codec: Codec },
  ): void {
    this.#counters.refused++;
    const text = refusalText({ reason: refusal, dials: false, peer: hello.from });
    if (text === undefined) this.#log(refusal, connection, hello.from);
    else {
      this.#host.logOnce.log("error", "connection-refused", {
        node: hello.from,
        cause: refusal,
        detail: text,
      });
      this.#peers.get(hello.from)?.refuse(refusal);
    }
    const { self: from, incarnation, identities, clusterVersionMax } = this.#host;
    connection.send(codec.encode({
      type: "HelloReply",
      from,
      incarnation,
      refusal,
      directoryId: identities.own,
      version: 0,
      clusterVersionMax,
    }));
    connection.end();
  }

  /** @throws {Error} If the peer's directory cannot be written down. */
  #judge(hello: Hello): RefusalReason | { readonly standing: Standing } {
    const { self, clusterId, identities, versions } = this.#host;
    if (hello.magic !== PROTOCOL_MAGIC) return "wrong-magic";
    if (commonVersion(versions, hello) === undefined) return "wrong-version";
    if (hello.clusterId !== clusterId) return "wrong-cluster";
    if (hello.to !== self) return "wrong-target";
    if (this.#host.isRemoved(hello.directoryId)) return "removed";
    const isPeer = this.#peers.has(hello.from);
    if (!isPeer && hello.from <= self) return "unknown-node";
    if (hello.from < self) return "wrong-direction";
    const { directoryId, toDirectoryId = identities.own } = hello;
    if (toDirectoryId !== identities.own) return "wrong-target-directory";
    if (!isPeer && !this.#host.mayBeMember(hello.from)) return "unknown-node";
    const standing = standingOf(this.#host, hello.from, directoryId);
    return standing === undefined ? "wrong-directory" : { standing };
  }

  #forget(connection: Connection): void {
    const timer = this.#ungreeted.get(connection);
    if (timer === undefined) return;
    this.#host.ports.timers.clear(timer);
    this.#ungreeted.delete(connection);
  }

  #log(cause: string, connection: Connection, node: NodeId): void {
    this.#host.logOnce.log("warn", "connection-refused", {
      node,
      cause,
      detail: connection.remote,
    });
  }
}
