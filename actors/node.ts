/**
 * One member process: what starts in which order, how it stops, and how it fails.
 *
 * Start: lock the data directory, replay the log, then WAL, machine and Raft actors, peers, and HTTP
 * last. Stop: HTTP accepts no more, leadership goes to another voter, requests drain, then the
 * actors in reverse order, the peers, the log and the lock. Fail stop: when the Raft, machine or
 * WAL actor throws, nothing more leaves the node and the process is to exit.
 *
 * @module
 */
import { createHash } from "node:crypto";
import { DEFAULT_TIMING, type RaftTiming } from "../machines/group_state.ts";
import type { Explanation, LinkFact } from "../machines/explain.ts";
import type { RaftCore } from "../machines/raft_core.ts";
import { describeRoleChange, type RoleChange } from "../machines/raft_step.ts";
import type { GroupId, NodeId } from "../machines/raft_types.ts";
import {
  checkDataDirectory,
  type DirectoryOwner,
  openDataDirectory,
} from "../storage/log/data_directory.ts";
import { DenoDisk } from "../storage/log/deno_disk.ts";
import type { Disk } from "../storage/log/disk.ts";
import { KvStore } from "../storage/kv/kv_store.ts";
import { StoredPeerIdentities } from "../storage/log/peer_identities.ts";
import { Wal } from "../storage/log/wal.ts";
import { recordFormat } from "../storage/log/wal_record.ts";
import { createCodec } from "../transport/wire/codec.ts";
import type { ClusterStatus, MemberStatus } from "../transport/http/gateway_port.ts";
import { createGateway } from "../transport/http/gateway.ts";
import { HttpServer } from "../transport/http/server.ts";
import { formatHostPort, type HostPort } from "../transport/wire/network.ts";
import { Histogram } from "../transport/http/prometheus.ts";
import { createTcpNetwork } from "../transport/wire/tcp.ts";
import { denoPorts } from "./deno_ports.ts";
import { GroupHost, type KvGroup, RAFT_ACTOR_NAME, spawnWal, type WalHost } from "./group.ts";
import { NodeClient } from "./node_client.ts";
import {
  COMMIT_BUCKETS_SECONDS,
  formatNodeMetrics,
  FSYNC_BUCKETS_SECONDS,
} from "./node_metrics.ts";
import type { PeerStatus } from "./peer_link.ts";
import { Peers, type PeersOptions } from "./peers.ts";
import type { Log } from "./runtime/ports.ts";
import { type RaftAnswer, raftAnswerOf, type RaftRequest } from "./raft_request.ts";
import { isLostDirectory, refusalText } from "./refusal_text.ts";
import { ActorSystem } from "./runtime/system.ts";

/** Version of the package. */
export const VERSION = "0.1.0";
/** The only group until sharding. */
export const DEFAULT_GROUP: GroupId = 0;
/** How long a stop may take to hand leadership over; then others elect by time-out. */
export const HANDOVER_MS_MAX = 1_500;
/** How long a stop waits for the requests in flight; then it goes on without them. */
export const DRAIN_MS_MAX = 2_000;
/** How often a node that stops looks whether it has answered what others asked it. */
const ANSWERED_POLL_MS = 5;
/** How long a stop may take to drain the actors' mailboxes. */
export const ACTOR_STOP_MS_MAX = 1_000;
/** Port of the Raft address, and of the HTTP address, of the node with id 0. */
const DEFAULT_RAFT_PORT_BASE = 7000;
const DEFAULT_HTTP_PORT_BASE = 8000;

/** What a member starts from. */
export interface NodeOptions {
  /** This member's id, 1 to 2^31. */
  readonly id: NodeId;
  /** Where the member keeps its data; created if missing, locked while in use. */
  readonly dataDir: string;
  /** Every voter's Raft address, this one's too. Default: ids 1 to 3 on 127.0.0.1:7001 to 7003. */
  readonly peers?: ReadonlyMap<NodeId, HostPort>;
  /** Where to listen for the other members, if not at this member's address in `peers`. */
  readonly listen?: HostPort;
  /** A cluster of one member; goes without `peers`. */
  readonly single?: boolean;
  /** Where to serve HTTP; default 127.0.0.1:(8000+id). Port 0 picks one. */
  readonly http?: HostPort;
  /** Where clients reach the members; default derived from `peers`. */
  readonly httpPeers?: ReadonlyMap<NodeId, string>;
  /** Bounds of the timeouts; default DEFAULT_TIMING. */
  readonly timing?: RaftTiming;
  /** Gets log lines; default none. */
  readonly log?: Log;
  /** Lines that `log` could not write, for the metrics; default none are. */
  readonly droppedLogLines?: () => number;
  /** Called when the member failed and stopped by itself; default: the error is thrown from a task. */
  readonly onFailed?: (error: Error) => void;
}

/**
 * Starts one member and resolves once it serves HTTP; there may be no leader yet.
 *
 * @throws {DirectoryLockedError} If another process uses the data directory.
 * @throws {IdentityMismatchError} If the directory belongs to another node, or to the cluster of other
 * members: a directory keeps the members that it was founded with, whatever addresses they have.
 * @throws {WalError} If the log is damaged.
 * @throws {Error} If an address cannot be listened on. Nothing is left behind.
 */
export function startNode(options: NodeOptions): Promise<StatecraftNode> {
  return StatecraftNode.start(options);
}

/** A running member. */
export class StatecraftNode implements AsyncDisposable {
  /** The member's id. */
  readonly id: NodeId;
  readonly #log: Log;
  readonly #members: ReadonlyMap<NodeId, HostPort>;
  readonly #httpPeers: Map<NodeId, string>;
  readonly #undo: (() => void)[] = [];
  readonly #fsync = new Histogram(FSYNC_BUCKETS_SECONDS);
  readonly #commit = new Histogram(COMMIT_BUCKETS_SECONDS);
  readonly #system: ActorSystem;
  readonly #clusterId: string;
  readonly #wal: Wal;
  readonly #tornTail: string | undefined;
  readonly #walActor: WalHost;
  readonly #group: KvGroup;
  readonly #peers: Peers;
  readonly #gateway: NodeClient;
  readonly #droppedLogLines: () => number;
  #server: HttpServer | undefined;
  #leaderChanges = 0;
  #stopping: Promise<void> | undefined;
  #failed = false;
  /** Whether the start succeeded: from then on the directory is kept. */
  #served = false;

  /** See {@linkcode startNode}. */
  static start(options: NodeOptions): Promise<StatecraftNode> {
    const undo: (() => void)[] = [];
    try {
      const node = new StatecraftNode(options, undo);
      node.#serve(options);
      return Promise.resolve(node);
    } catch (error) {
      for (const step of undo.reverse()) step();
      return Promise.reject(error);
    }
  }

  private constructor(options: NodeOptions, undo: (() => void)[]) {
    const { id, timing = DEFAULT_TIMING, log = () => {} } = options;
    checkTiming(timing);
    this.id = id;
    this.#log = log;
    this.#undo = undo;
    this.#droppedLogLines = options.droppedLogLines ?? (() => 0);
    this.#members = membersOf(options);
    this.#httpPeers = new Map(options.httpPeers ?? derivedHttpPeers(this.#members));

    const disk: Disk = new DenoDisk(
      options.dataDir,
      () => this.#server?.shed("the log needs a file descriptor"),
    );
    const directory = openDataDirectory(disk, {
      ...ownerOf(options, this.#members),
      newDirectoryId: crypto.randomUUID(),
    });
    undo.push(() => this.#served ? directory.release() : directory.discard());
    this.#clusterId = directory.identity.clusterId;
    const opened = Wal.open(disk, {
      clusterId: this.#clusterId,
      nodeId: id,
      wasBegun: directory.logBegun,
    });
    this.#wal = opened.wal;
    undo.push(() => opened.wal.close());
    directory.noteLogBegun();
    this.#tornTail = opened.tornTail;
    const identities = StoredPeerIdentities.open(disk, directory.directoryId);

    this.#system = new ActorSystem({
      node: id,
      ports: denoPorts,
      log,
      onFailed: ({ error }) => this.#fail(error, options.onFailed),
    });
    this.#walActor = spawnWal(this.#system, this.#wal, {
      onDiskCondition: (condition) => {
        log("warn", "disk-condition", { condition });
        this.#group.raft.signal({ type: "Disk", condition });
      },
      onSync: (durationMs) => this.#fsync.observe(durationMs / 1000),
    });
    this.#group = new GroupHost({
      group: DEFAULT_GROUP,
      machine: new KvStore(),
      id,
      membership: { voters: [...this.#members.keys()].sort((a, b) => a - b), learners: [] },
      timing,
      system: this.#system,
      wal: this.#walActor.ref,
      recovered: opened.groups.get(DEFAULT_GROUP),
      send: (to, message) => void this.#peers.send(to, message),
      onRoleChange: (change) => this.#logRole(change),
      onCommit: (durationMs) => this.#commit.observe(durationMs / 1000),
    });
    undo.push(() => void this.#system.stop({ deadlineMs: ACTOR_STOP_MS_MAX }));
    this.#peers = startPeers({
      listen: listenAddressOf(options, this.#members),
      self: id,
      clusterId: this.#clusterId,
      identities,
      peers: this.#members,
      network: createTcpNetwork(() => this.#server?.shed("the peers need a file descriptor")),
      system: this.#system,
      onRaft: (message) => {
        if (message.group === DEFAULT_GROUP) this.#group.receive(message);
      },
      createCodec: () => createCodec(recordFormat),
      ports: denoPorts,
      log,
    });
    undo.push(() => this.#peers.stop());
    this.#gateway = new NodeClient({
      group: DEFAULT_GROUP,
      core: this.#core,
      store: this.#group.machine,
      ports: denoPorts,
      raftOn: (node) =>
        this.#system.ref<RaftRequest, RaftAnswer>(
          { node, name: RAFT_ACTOR_NAME, group: DEFAULT_GROUP },
          raftAnswerOf,
        ),
      status: () => this.status(),
      metrics: () => this.#metrics(),
      httpAddressOf: (node) => this.#httpPeers.get(node),
      links: () => this.#links(),
      isStopping: () => this.#stopping !== undefined,
    });
  }

  get #core(): RaftCore {
    return this.#group.core;
  }

  /** Where this member serves HTTP. */
  get httpAddress(): string {
    return urlOf(this.#server!.address);
  }

  /** What `GET /v1/cluster` answers. */
  status(): ClusterStatus {
    const { context, role, state } = this.#core;
    return {
      clusterId: this.#clusterId,
      nodeId: this.id,
      group: DEFAULT_GROUP,
      role,
      term: context.currentTerm,
      leader: context.leaderId,
      commitIndex: state.commitIndex,
      appliedIndex: this.#group.machine.lastApplied,
      lastLogIndex: state.log.lastIndex,
      revision: this.#group.machine.revision,
      stateHash: this.#group.machine.stateHash(),
      members: this.#memberStatuses(),
    };
  }

  /** Why the member is in its role, and what holds each transition back. */
  explain(): Explanation {
    return this.#gateway.explain();
  }

  /** Stops in order; resolves when everything is closed. Idempotent. */
  stop(): Promise<void> {
    return this.#stopping ??= this.#stop();
  }

  /** As {@linkcode stop}. */
  [Symbol.asyncDispose](): Promise<void> {
    return this.stop();
  }

  #serve(options: NodeOptions): void {
    const { hostname, port } = options.http ??
      { hostname: "127.0.0.1", port: DEFAULT_HTTP_PORT_BASE + this.id };
    const { state, context } = this.#core;
    const handler = createGateway(this.#gateway, {
      version: VERSION,
      nowMs: () => denoPorts.clock.monotonicMs(),
      onDefect: (error) => this.#log("error", "gateway-defect", { error: String(error) }),
    });
    try {
      this.#server = new HttpServer({
        at: { hostname, port },
        handler,
        spareFile: options.dataDir,
        log: this.#log,
      });
    } catch (error) {
      const { message } = error as Error;
      throw new Error(`Cannot serve HTTP on ${formatHostPort({ hostname, port })}: ${message}`, {
        cause: error,
      });
    }
    this.#served = true;
    if (options.httpPeers?.has(this.id) !== true) {
      this.#httpPeers.set(this.id, this.#reachableHttpAddress());
    }
    // Only now: a start that fails says so in one line, not after others.
    if (this.#tornTail !== undefined) {
      this.#log("warn", "log-tail-cut", { reason: this.#tornTail });
    }
    const { lastIndex: entries } = state.log;
    this.#log("info", "log-replayed", { entries, term: context.currentTerm });
    this.#log("info", "serving", { http: this.httpAddress, cluster: this.#clusterId });
  }

  /** Where clients reach this node, if nobody said: a wildcard address is none that they could use. */
  #reachableHttpAddress(): string {
    const { hostname, port } = this.#server!.address;
    const isWildcard = hostname === "0.0.0.0" || hostname === "::";
    return isWildcard ? urlOf({ ...this.#members.get(this.id)!, port }) : this.httpAddress;
  }

  async #stop(): Promise<void> {
    this.#log("info", "stopping", { role: this.#core.role });
    const drained = this.#server?.shutdown() ?? Promise.resolve();
    if (!this.#failed) await this.#handOver();
    this.#gateway.stopping();
    // What does not end by then ends with the process: a server that drains cannot be aborted, its
    // signal throws BadResource (Deno 2.9.6).
    await within(Promise.all([drained, this.#answerPeers()]), DRAIN_MS_MAX);
    if (!this.#failed) await this.#system.stop({ deadlineMs: ACTOR_STOP_MS_MAX });
    await new Promise<void>((resolve) => this.#walActor.actor.whenIdle(resolve));
    // The peers, the log and the lock, in reverse order of their opening.
    for (const step of this.#undo.reverse()) step();
    this.#undo.length = 0;
    this.#log("info", "stopped", {});
  }

  /**
   * Waits for what other nodes have asked this one: writes that it took while it led are answered
   * once it hears from the next leader that they are committed, or never will be.
   */
  async #answerPeers(): Promise<void> {
    const untilMs = performance.now() + DRAIN_MS_MAX;
    while (this.#system.status().inboundCalls > 0 && performance.now() < untilMs) {
      await new Promise((resolve) => setTimeout(resolve, ANSWERED_POLL_MS));
    }
  }

  /** Gives leadership to the voter that has most of the log and answers. */
  async #handOver(): Promise<void> {
    if (this.#core.role !== "leader") return;
    const { voters } = this.#core.context;
    const progress = this.#core.state.leadership?.progress;
    const connected = this.#peers.status().peers
      .filter(({ peer, state }) => voters.includes(peer) && state.startsWith("connected"))
      .map(({ peer }) => peer)
      .sort((a, b) => (progress?.get(b)?.matchIndex ?? 0) - (progress?.get(a)?.matchIndex ?? 0));
    const [to] = connected;
    if (to === undefined) return;
    try {
      await this.#group.raft.call({ type: "Transfer", to }, { timeoutMs: HANDOVER_MS_MAX });
    } catch (error) {
      // The member may be on its way down as well; the others elect a leader all the same.
      this.#log("info", "hand-over-failed", { to, error: String(error) });
    }
  }

  #fail(error: Error, onFailed: NodeOptions["onFailed"]): void {
    if (this.#failed) return;
    this.#failed = true;
    this.#log("error", "node-failed", describeFailure(error));
    if (onFailed === undefined) throw error;
    onFailed(error);
  }

  #logRole(change: RoleChange): void {
    if (change.leaderId !== undefined) this.#leaderChanges++;
    const { event, fields } = describeRoleChange(change);
    this.#log("info", event, fields);
    this.#gateway?.leaderChanged();
  }

  #links(): LinkFact[] {
    const nowMs = denoPorts.clock.monotonicMs();
    return this.#peers.status().peers.map((status) => {
      const isUp = status.state.startsWith("connected");
      const refusal = isUp ? undefined : refusalOf(status);
      const isDirectoryLost = !isUp && isLostDirectory(status.context.refusal);
      return {
        peer: status.peer,
        isUp,
        forMs: nowMs - status.sinceMs,
        detail: status.closeDetail,
        ...(refusal === undefined ? {} : { refusal }),
        isDirectoryLost,
      };
    });
  }

  #memberStatuses(): MemberStatus[] {
    const { context, state } = this.#core;
    const links = new Map(this.#peers.status().peers.map((status) => [status.peer, status]));
    return [...this.#members].map(([id, { hostname, port }]) => {
      const matchIndex = state.leadership?.progress.get(id)?.matchIndex;
      const link = links.get(id);
      const isConnected = link?.state.startsWith("connected") === true;
      const refusal = link === undefined || isConnected ? undefined : refusalOf(link);
      return {
        id,
        voter: context.voters.includes(id),
        raftAddress: formatHostPort({ hostname, port }),
        httpAddress: this.#httpPeers.get(id) ?? "",
        self: id === this.id,
        link: id === this.id ? "self" : isConnected ? "connected" : "down",
        ...(matchIndex === undefined ? {} : { matchIndex }),
        ...(refusal === undefined ? {} : { refusal }),
      };
    });
  }

  #metrics(): string {
    return formatNodeMetrics({
      core: this.#core,
      store: this.#group.machine,
      counters: this.#group.raftActor.counters,
      gatewayCounters: this.#gateway.counters,
      peers: this.#peers.status(),
      actors: this.#system.metrics(),
      leaderChanges: this.#leaderChanges,
      fsync: this.#fsync,
      commit: this.#commit,
      version: VERSION,
      system: this.#system.status(),
      walBytes: this.#wal.position,
      httpSheds: this.#server?.restarts ?? 0,
      droppedLogLines: this.#droppedLogLines(),
    });
  }
}

/** What failed, and what an operator does next. */
function describeFailure(error: Error): Record<string, string> {
  if (error.name === "WalFailedError") {
    const next = "mend the disk, then start the member again: what it acknowledged is on it";
    return { error: error.message, next };
  }
  return { error: error.stack ?? String(error), next: "report this line: it is a defect" };
}

/**
 * The id of the cluster that these members form, the same on every one of them: a digest of their
 * ids and addresses.
 */
export function clusterIdOf(members: ReadonlyMap<NodeId, HostPort>): string {
  const text = [...members].sort(([a], [b]) => a - b)
    .map(([id, { hostname, port }]) => `${id}=${hostname}:${port}`).join();
  return createHash("sha256").update(text).digest("hex").slice(0, 16);
}

/** Whose directory a start with these options wants. */
function ownerOf(
  { id }: Pick<NodeOptions, "id">,
  members: ReadonlyMap<NodeId, HostPort>,
): DirectoryOwner & { readonly clusterIdSource: "computed" } {
  return {
    nodeId: id,
    members: [...members.keys()].sort((a, b) => a - b),
    clusterId: clusterIdOf(members),
    clusterIdSource: "computed",
  };
}

/**
 * Checks, without changing or locking anything, that the data directory is this member's and of
 * these members' cluster, as {@linkcode startNode} will.
 *
 * @throws {IdentityMismatchError} If it belongs to another node or to other members.
 * @throws {IdentityDamagedError} If it cannot be told whose it is.
 */
export function checkNodeDirectory(
  options: Pick<NodeOptions, "id" | "dataDir" | "peers" | "single">,
): void {
  checkDataDirectory(new DenoDisk(options.dataDir), ownerOf(options, membersOf(options)));
}

/** @throws {RangeError} If the bounds do not leave room for lost heartbeats. */
export function checkTiming(timing: RaftTiming): void {
  const { electionTimeoutMsMin: min, electionTimeoutMsMax: max, heartbeatMs } = timing;
  const valid = [min, max, heartbeatMs].every((ms) => Number.isFinite(ms) && ms >= 1);
  if (!valid || max < min || heartbeatMs > min / 3) {
    throw new RangeError(
      `Cannot use timing: election timeout ${min}-${max} ms, heartbeat ${heartbeatMs} ms; ` +
        "the heartbeat must be at most a third of the shortest election timeout",
    );
  }
}

function membersOf(
  { id, single, peers }: Pick<NodeOptions, "id" | "single" | "peers">,
): ReadonlyMap<NodeId, HostPort> {
  if (single === true && peers !== undefined) {
    throw new RangeError(`Cannot start node ${id}: it is single, and peers are named`);
  }
  if (single === true) {
    return new Map([[id, { hostname: "127.0.0.1", port: DEFAULT_RAFT_PORT_BASE + id }]]);
  }
  const members = peers ??
    new Map([1, 2, 3].map((id): [NodeId, HostPort] => [
      id,
      { hostname: "127.0.0.1", port: DEFAULT_RAFT_PORT_BASE + id },
    ]));
  if (!members.has(id)) {
    throw new RangeError(`Cannot start node ${id}: it is not among the peers`);
  }
  return members;
}

/** As `Peers.start`; the error names the address. */
function startPeers(options: PeersOptions): Peers {
  try {
    return Peers.start(options);
  } catch (error) {
    const { message } = error as Error;
    throw new Error(`Cannot listen for peers on ${formatHostPort(options.listen)}: ${message}`, {
      cause: error,
    });
  }
}

/** Why there is no link to a peer, if one of the two refused the other. */
function refusalOf({ peer, context: { refusal, dials } }: PeerStatus): string | undefined {
  if (refusal === undefined) return undefined;
  return refusalText({ reason: refusal, dials, peer }) ?? refusal;
}

/** A single member has nobody to listen for: it takes no port that another could want. */
function listenAddressOf(options: NodeOptions, members: ReadonlyMap<NodeId, HostPort>): HostPort {
  if (options.listen !== undefined) return options.listen;
  const address = members.get(options.id)!;
  return options.single === true ? { ...address, port: 0 } : address;
}

function derivedHttpPeers(members: ReadonlyMap<NodeId, HostPort>): [NodeId, string][] {
  return [...members].map(([id, { hostname }]) => [
    id,
    urlOf({ hostname, port: DEFAULT_HTTP_PORT_BASE + id }),
  ]);
}

function urlOf(address: HostPort): string {
  return `http://${formatHostPort(address)}`;
}

/** Waits for the promise, but no longer than `ms`. */
async function within(promise: Promise<unknown>, ms: number): Promise<void> {
  let timer: ReturnType<typeof setTimeout> | undefined;
  const timeout = new Promise<void>((resolve) => timer = setTimeout(resolve, ms));
  await Promise.race([promise, timeout]);
  clearTimeout(timer);
}
