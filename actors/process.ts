/**
 * One member process: the groups it hosts and what they share, on ports that stand for the world.
 * actors/node.ts gives it Deno's; the simulator gives it a clock, a disk and a network of its own.
 *
 * Start: lock the data directory, replay the log, then WAL, machine and Raft actors, peers, and HTTP
 * last. Stop: HTTP accepts no more, leadership goes to another voter, requests drain, then the
 * actors in reverse order, the peers, the log and the lock. Fail stop: when the Raft, machine or
 * WAL actor throws, nothing more leaves the process, and it must exit.
 *
 * @module
 */
import type { ReplicationBounds } from "../machines/bounds.ts";
import {
  CLUSTER_VERSIONS,
  ClusterVersionError,
  foundingConfig,
  type GroupConfig,
  type PlacedConfig,
  placedConfigOf,
  type StoredMembers,
} from "../machines/group_config.ts";
import type { Explanation } from "../machines/explain.ts";
import type { RaftTiming } from "../machines/group_state.ts";
import { allVoters, isJoint } from "../machines/quorum.ts";
import type { SpaceCondition } from "../machines/raft_core.ts";
import { describeRoleChange, type RoleChange } from "../machines/raft_step.ts";
import type { GroupId, NodeId } from "../machines/raft_types.ts";
import {
  type DataDirectory,
  type DataDirectoryOptions,
  DirectoryGoneError,
  isDirectoryThere,
  LogMissingError,
  openDataDirectory,
  putLogAside,
  readDirectory,
} from "../storage/log/data_directory.ts";
import type { Disk } from "../storage/log/disk.ts";
import { Clerk } from "./clerk.ts";
import { LocalLink } from "./clerk_local.ts";
import { ClientConnections } from "./client_connections.ts";
import type { KvChange } from "../storage/kv/key_space.ts";
import { KvStore } from "../storage/kv/kv_store.ts";
import { readMembers } from "../storage/log/members_file.ts";
import { type PeerIdentities, StoredPeerIdentities } from "../storage/log/peer_identities.ts";
import { SnapshotStore } from "../storage/log/snapshot_store.ts";
import { type OpenedWal, Wal } from "../storage/log/wal.ts";
import {
  SnapshotMissingError,
  WalCorruptError,
  WalMisplacedSegmentError,
  WalMissingSegmentError,
} from "../storage/log/wal_errors.ts";
import { recordFormat } from "../storage/log/wal_record.ts";
import { createGateway, type GatewayHandler } from "../transport/http/gateway.ts";
import type { ClusterStatus } from "../transport/http/gateway_port.ts";
import { Histogram } from "../transport/http/prometheus.ts";
import { createCodec } from "../transport/wire/codec.ts";
import { formatHostPort, type HostPort, type Network } from "../transport/wire/network.ts";
import { GroupHost, type KvGroup, spawnWal, type WalHost } from "./group.ts";
import {
  ACTOR_STOP_MS_MAX,
  COMPRESSION,
  type CompressionPolicy,
  DRAIN_MS_MAX,
  HANDOVER_MS_MAX,
  MIN_FREE_BYTES,
  SPACE_HANDOVER_MS,
} from "./limits.ts";
import type { SnapshotTrigger } from "./machine_actor.ts";
import { NodeClient } from "./node_client.ts";
import {
  COMMIT_BUCKETS_SECONDS,
  formatNodeMetrics,
  FSYNC_BUCKETS_SECONDS,
} from "./node_metrics.ts";
import { LeaveTaking } from "./leave.ts";
import { MemberRemovedError, type SaidMembers } from "./members.ts";
import { OwnMembership } from "./own_membership.ts";
import { Peers, type PeersOptions } from "./peers.ts";
import { linkFacts, memberStatuses } from "./process_status.ts";
import type { VersionRange } from "./peer_link.ts";
import type { Log, Ports, TimerHandle } from "./runtime/ports.ts";
import { ActorSystem } from "./runtime/system.ts";
import { type BackupSchedule, ScheduledBackups } from "./scheduled_backups.ts";
import { SpaceWatch } from "./space_watch.ts";
import { WatchHub } from "./watch_hub.ts";

/** How often a leader compares the cluster versions that the members' builds know. */
const VERSIONS_MS = 1_000;
/** A member that is removed ends after this long. */
const REMOVED_MS = 200;
/** How often a process that stops looks whether it has answered what others asked it. */
const ANSWERED_POLL_MS = 5;

/** What a change of the disk's space means for the operator. */
const SPACE_NEXT: Readonly<Record<SpaceCondition, string | undefined>> = {
  SpaceEnough: undefined,
  SpaceLow: "as leader this node refuses writes (507) until there is more; free some space",
  SpaceNone: "what this node is told waits until there is room; free some space",
};

/** What a process serves HTTP with. */
export interface HttpService {
  /** Where it really listens. */
  readonly address: HostPort;
  /** How often it closed idle connections because no file descriptor was left. */
  readonly sheds: number;
  /** Accepts no more, and resolves once every request is answered. Idempotent. */
  shutdown(): Promise<void>;
}

/** The world as a process sees it. */
export interface ProcessWorld {
  /** Clock, timers, chance and turns. */
  readonly ports: Ports;
  /** The data directory. */
  readonly disk: Disk;
  /** The way to the other members. */
  readonly network: Network;
  /**
   * Begins to serve HTTP with this handler; without it nobody listens, and requests come through
   * {@linkcode Process.gateway}.
   *
   * @throws {Error} If that cannot be; the start fails.
   */
  readonly serveHttp?: (handler: GatewayHandler) => HttpService;
}

/** The versions that a build supports. A test may name those of another build, to try upgrades out. */
export interface BuildVersions {
  /** The versions of the wire protocol that it speaks. */
  readonly protocol: VersionRange;
  /** The highest cluster version that it knows. */
  readonly clusterVersionMax: number;
}

/** What a process starts from. */
export interface ProcessOptions {
  readonly world: ProcessWorld;
  /** The node and the cluster that the data directory must belong to. */
  readonly directory: DataDirectoryOptions;
  /**
   * Raft addresses that this start was given, by member. At the founding the members have them; later
   * they are tried where the ones that the members have agreed on do not answer.
   */
  readonly members: ReadonlyMap<NodeId, HostPort>;
  /** Where to listen for the other members. */
  readonly listen: HostPort;
  /** Where the others reach this one; default where it listens. */
  readonly advertise?: HostPort;
  /** The groups to host, at least one; the first is the one that HTTP serves. */
  readonly groups: readonly GroupId[];
  readonly timing: RaftTiming;
  /** Default DEFAULT_BOUNDS. */
  readonly bounds?: ReplicationBounds;
  /** Bytes after which a segment of the log ends; default SEGMENT_BYTES. */
  readonly segmentBytes?: number;
  /** What is compressed of the log and of frames to peers; default COMPRESSION.adaptive. */
  readonly compression?: CompressionPolicy;
  /** When a group takes a snapshot; default DEFAULT_SNAPSHOT_TRIGGER. */
  readonly snapshotAfter?: SnapshotTrigger;
  /** Less free space is too little for writes; default MIN_FREE_BYTES. */
  readonly minFreeBytes?: number;
  /** Backups of the first group that it makes by itself; default none. */
  readonly backups?: BackupSchedule;
  /** Version of the package. */
  readonly version: string;
  /** The versions that this build supports; default PROTOCOL_VERSIONS and CLUSTER_VERSIONS. */
  readonly build?: BuildVersions;
  /** Where clients reach a member, an URL; undefined if unknown. */
  readonly httpAddressOf: (node: NodeId) => string | undefined;
  readonly log: Log;
  /** Lines that `log` could not write. */
  readonly droppedLogLines?: () => number;
  /** Called once, when the process has failed: nothing leaves it any more, and it must end. */
  readonly onFailed: (error: Error) => void;
  /** Called with each group once it is assembled, before it handles anything. */
  readonly onGroup?: (group: KvGroup) => void;
  /** Called when the link to a peer is up or lost. */
  readonly onLink?: PeersOptions["onLink"];
}

/** A group and what serves it here. */
interface HostedGroup {
  readonly host: KvGroup;
  readonly client: NodeClient;
  readonly watches: WatchHub;
  readonly commit: Histogram;
  leaderChanges: number;
  /** Made when it is first asked for. */
  gateway: GatewayHandler | undefined;
}

/** A running member. */
export class Process {
  /** The member's id. */
  readonly id: NodeId;
  /** The cluster that its directory was founded for. */
  readonly clusterId: string;
  /** The ids of the data directories of this member and of the peers that it has met. */
  readonly identities: PeerIdentities;
  /** The actors. */
  readonly system: ActorSystem;
  /** A client of the cluster, through this node. */
  readonly kv: Clerk;
  readonly #options: ProcessOptions;
  readonly #undo: (() => void)[];
  readonly #fsync = new Histogram(FSYNC_BUCKETS_SECONDS);
  readonly #wal: Wal;
  readonly #leave: LeaveTaking;
  readonly #walActor: WalHost;
  readonly #snapshots: SnapshotStore;
  readonly #space: SpaceWatch;
  #scheduled: ScheduledBackups | undefined;
  /** When leadership was last handed over for want of space. */
  #relievedMs = -Infinity;
  readonly #groups = new Map<GroupId, HostedGroup>();
  readonly #peers: Peers;
  readonly #clients: ClientConnections;
  readonly #membership: OwnMembership;
  /** What this node has joined with. */
  readonly #joined: PlacedConfig | undefined;
  /** If its log was lost: who the members were last. */
  readonly #remembered: PlacedConfig | undefined;
  #http: HttpService | undefined;
  #versionTimer: TimerHandle | undefined;
  #stopping: Promise<void> | undefined;
  #failed = false;
  /** Whether the start succeeded: from then on the directory is kept. */
  #serves = false;

  /**
   * Starts a member; there may be no leader yet.
   *
   * @throws {DirectoryLockedError} If another process uses the data directory.
   * @throws {IdentityMismatchError} If the directory belongs to another node or cluster.
   * @throws {DirectoryCopiedError} If the directory is a copy that may not be taken.
   * @throws {WalError} If the log is damaged.
   * @throws {Error} If an address cannot be listened on. Nothing is left behind.
   */
  static start(options: ProcessOptions): Process {
    try {
      return Process.#startOnce(options);
    } catch (error) {
      if (!isLogLoss(error) || isAlone(options)) throw error;
      const next =
        "nothing: what is left of it is put aside (wal/*.broken), and this member fetches " +
        "it from the others, and does not vote until it has";
      options.log("error", "log-lost", { reason: (error as Error).message, next });
      putLogAside(options.world.disk);
      return Process.#startOnce(options);
    }
  }

  static #startOnce(options: ProcessOptions): Process {
    const undo: (() => void)[] = [];
    try {
      return new Process(options, undo);
    } catch (error) {
      // Why the start failed matters more than a step that could not be undone.
      undoAll(undo);
      throw error;
    }
  }

  private constructor(options: ProcessOptions, undo: (() => void)[]) {
    const { world: { disk, network, ports, serveHttp }, directory: owner, log } = options;
    const { compression = COMPRESSION.adaptive } = options;
    this.#options = options;
    this.#undo = undo;
    this.id = owner.nodeId;
    const directory = openDataDirectory(disk, owner);
    undo.push(() => this.#serves ? directory.release() : directory.discard());
    this.clusterId = directory.identity.clusterId;
    const opened = Wal.open(disk, {
      clusterId: this.clusterId,
      nodeId: this.id,
      wasBegun: directory.logBegun && !directory.isLogLost,
      ...(options.segmentBytes === undefined ? {} : { segmentBytes: options.segmentBytes }),
      packBytesMin: compression.logBytesMin,
      nowMs: () => ports.clock.monotonicMs(),
    });
    this.#wal = opened.wal;
    undo.push(() => opened.wal.close());
    directory.noteLogBegun();
    this.#snapshots = SnapshotStore.open(disk, {
      clusterId: this.clusterId,
      onBroken: (error) => log("error", "snapshot-broken", { error: error.message }),
    });
    this.identities = StoredPeerIdentities.open(disk, directory.directoryId);

    this.system = new ActorSystem({
      node: this.id,
      ports,
      log,
      onFailed: ({ error }) => this.#fail(error),
    });
    // Noted before the first actor is spawned, since a later group may refuse to start.
    undo.push(() => void this.system.stop({ deadlineMs: ACTOR_STOP_MS_MAX }));
    this.#space = new SpaceWatch({
      ports,
      freeBytes: () => disk.freeBytes(),
      isThere: () => isDirectoryThere(disk),
      onGone: () => this.system.fail(new DirectoryGoneError()),
      minFreeBytes: options.minFreeBytes ?? MIN_FREE_BYTES,
      onChange: (condition, freeBytes) => this.#spaceChanged(condition, freeBytes),
    });
    this.#walActor = spawnWal(this.system, this.#wal, {
      onDiskCondition: (condition) => {
        log("warn", "disk-condition", { condition });
        for (const { host } of this.#groups.values()) host.raft.signal({ type: "Disk", condition });
      },
      onFull: (isFull) => this.#space.noteFull(isFull),
      packSyncMsMin: compression.logSyncMsMin,
      onSync: (durationMs) => this.#fsync.observe(durationMs / 1000),
    });
    this.#leave = new LeaveTaking(this.system, ports);
    this.#joined = directory.joined && placedConfigOf(directory.joined);
    this.#remembered = directory.isLogLost ? newerOf(readMembers(disk), this.#joined) : undefined;
    for (const group of options.groups) {
      this.#groups.set(group, this.#assemble(group, { opened, directory }));
    }
    const [leading] = this.#groups.values();
    this.#membership = new OwnMembership({
      self: this.id,
      host: leading!.host,
      joined: this.#remembered ?? this.#joined,
      given: options.members,
      identities: this.identities,
      peers: () => this.#peers,
      system: this.system,
      disk,
      ownAddresses: () => ({
        raft: formatHostPort(this.#ownAddress()),
        http: options.httpAddressOf(this.id),
      }),
      nowMs: () => ports.clock.monotonicMs(),
      onRenewed: (peer) => {
        for (const { host } of this.#groups.values()) {
          host.raft.signal({ type: "PeerRenewed", peer });
        }
      },
      log,
    });
    const { members } = this.#membership;
    const clientHost = {
      clusterId: this.clusterId,
      port: leading!.client,
      gateway: this.gateway(),
      onDefect: (error: unknown) => log("error", "client-defect", { error: String(error) }),
    };
    this.#clients = new ClientConnections(clientHost);
    this.kv = new Clerk({ link: new LocalLink(clientHost), ports });
    this.#peers = startPeers({
      acceptClient: (connection, hello) => this.#clients.accept(connection, hello),
      listen: options.listen,
      self: this.id,
      clusterId: this.clusterId,
      identities: this.identities,
      // The members are, as soon as they are tended.
      peers: new Map(),
      directoryOf: (peer) => members.directoryOf(peer),
      isRemoved: (directoryId) => members.isRemoved(directoryId),
      isSaidRemoved: (directoryId) => members.isSaidRemoved(directoryId),
      onRemoved: () => this.system.fail(new MemberRemovedError(this.id)),
      mayBeMember: (node) => members.noteStranger(node),
      network,
      system: this.system,
      onRaft: (message) => this.#groups.get(message.group)?.host.receive(message),
      createCodec: () => createCodec(recordFormat),
      compression,
      ports,
      log,
      ...(options.build === undefined ? {} : {
        versions: options.build.protocol,
        clusterVersionMax: options.build.clusterVersionMax,
      }),
      onLink: (peer, link) => {
        if (link === "up") {
          this.#membership.tell(peer);
          this.#compareVersions();
        }
        if (link === "lost") this.#leave.linkLost(peer);
        options.onLink?.(peer, link);
      },
    });
    undo.push(() => this.#peers.stop());
    undo.push(() => this.#clients.stop());
    members.tend();
    this.#space.start();
    undo.push(() => this.#space.stop());
    this.#compareVersionsSoon();
    undo.push(() => ports.timers.clear(this.#versionTimer!));
    this.#http = serveHttp?.(this.gateway());
    undo.push(() => void this.#http?.shutdown().catch(() => {}));
    this.#announce(opened);
    this.#scheduled = this.#schedule();
    this.#scheduled?.start();
    this.#serves = true;
  }

  /** Where it serves HTTP; undefined if it does not. */
  get httpAddress(): HostPort | undefined {
    return this.#http?.address;
  }

  /** The groups that it hosts. */
  get groups(): ReadonlyMap<GroupId, { readonly host: KvGroup; readonly client: NodeClient }> {
    return this.#groups;
  }

  /** What answers HTTP requests to a group; default the first. */
  gateway(group: GroupId = this.#options.groups[0]!): GatewayHandler {
    const hosted = this.#hosted(group);
    const { world: { ports }, version, log } = this.#options;
    return hosted.gateway ??= createGateway(hosted.client, {
      version,
      nowMs: () => ports.clock.monotonicMs(),
      onDefect: (error) => log("error", "gateway-defect", { error: String(error) }),
    });
  }

  /** What `GET /v1/cluster` answers for a group; default the first. */
  status(group: GroupId = this.#options.groups[0]!): ClusterStatus {
    const { host: { core, machine } } = this.#hosted(group);
    const { context, role, state } = core;
    return {
      clusterId: this.clusterId,
      clusterVersion: this.#hosted(group).host.clusterVersion,
      nodeId: this.id,
      group,
      role,
      term: context.currentTerm,
      leader: context.leaderId,
      commitIndex: state.commitIndex,
      appliedIndex: machine.lastApplied,
      lastLogIndex: state.log.lastIndex,
      revision: machine.revision,
      stateHash: machine.stateHash(),
      members: memberStatuses({
        self: this.id,
        addressOf: (node) => {
          const [address] = this.#addressesOf(node);
          return address === undefined ? "" : formatHostPort(address);
        },
        httpAddressOf: (node) => this.#httpAddressOf(node),
        peers: this.#peers.status().peers,
        core,
        clusterVersionMax: this.#options.build?.clusterVersionMax ?? CLUSTER_VERSIONS.max,
      }),
      configIndex: state.configs.current.index,
      ...(isJoint(context) ? { outgoing: context.outgoing } : {}),
    };
  }

  /** Somebody who is asked for it says that these are the members: they are used for links only. */
  noteMembers({ placed, isCommitted }: SaidMembers): void {
    const { members } = this.#membership;
    if (isCommitted) members.noteHint(placed);
    else members.noteRumour(placed);
  }

  /** Why the member is in its role in a group, and what holds each transition back. */
  explain(group: GroupId = this.#options.groups[0]!): Explanation {
    return this.#hosted(group).client.explain();
  }

  /**
   * Stops in order; resolves when everything is closed. Idempotent.
   *
   * @throws {Error} If the end of the log could not be written. Even then everything is closed, and
   * all acknowledged writes are durable.
   */
  stop(): Promise<void> {
    return this.#stopping ??= this.#stop();
  }

  #hosted(group: GroupId): HostedGroup {
    const hosted = this.#groups.get(group);
    if (hosted === undefined) throw new RangeError(`Cannot serve group ${group}: it is not here`);
    return hosted;
  }

  #assemble(
    group: GroupId,
    { opened, directory }: { readonly opened: OpenedWal; readonly directory: DataDirectory },
  ): HostedGroup {
    const { timing, bounds, build, onGroup, snapshotAfter } = this.#options;
    const { ports } = this.#options.world;
    const { isLogLost } = directory;
    const remembered = this.#remembered;
    const commit = new Histogram(COMMIT_BUCKETS_SECONDS);
    const host: KvGroup = new GroupHost({
      group,
      onChanges: (changes) => watches.changed(changes as readonly KvChange[]),
      onLoaded: () => watches.reset(host.machine.revision),
      machine: new KvStore(),
      id: this.id,
      // Who has lost its log asks those whom it knew last.
      config: remembered?.config ?? this.#joined?.config ??
        this.#foundingConfig(directory.identity.members),
      ...(this.#joined === undefined ? {} : { memberSince: this.#joined.index }),
      directoryOf: (node) => node === this.id ? directory.directoryId : this.identities.of(node),
      onMembers: (placed, isCommitted) => {
        if (group === this.#options.groups[0]) this.#membership.members.follow(placed, isCommitted);
      },
      timing,
      ...(bounds === undefined ? {} : { bounds }),
      system: this.system,
      clusterId: this.clusterId,
      wal: this.#walActor.ref,
      recovered: opened.groups.get(group),
      isLogLost,
      remembered,
      onLogRestored: () => this.#logRestored(group, directory),
      snapshots: this.#snapshots,
      ...(snapshotAfter === undefined ? {} : { snapshotAfter }),
      log: this.#options.log,
      ...(build === undefined ? {} : { clusterVersionMax: build.clusterVersionMax }),
      send: (to, message) => void this.#peers.send(to, message),
      incarnation: () => this.#peers.incarnation,
      onRoleChange: (change) => this.#roleChanged(group, change),
      onCommit: (durationMs) => commit.observe(durationMs / 1000),
    });
    // Nothing is applied before the constructor has ended.
    const watches = new WatchHub(host.machine.revision);
    onGroup?.(host);
    const client = new NodeClient({
      group,
      core: host.core,
      store: host.machine,
      watches,
      timeline: host.timeline,
      backups: host.backups,
      snapshots: host.snapshots,
      ports,
      raftOn: (node) => host.raftOn(node),
      audit: host.auditActor,
      status: () => this.status(group),
      metrics: () => this.#metrics(group),
      httpAddressOf: (node) => this.#httpAddressOf(node),
      links: () => linkFacts(this.#peers.status().peers, ports.clock.monotonicMs()),
      isLeaving: (node) => this.#leave.isLeaving(node),
      isStopping: () => this.#stopping !== undefined,
    });
    return { host, client, watches, commit, leaderChanges: 0, gateway: undefined };
  }

  /** The members of the founding, with the addresses that this start was given. */
  #foundingConfig(voters: readonly NodeId[]): GroupConfig {
    const { members, httpAddressOf } = this.#options;
    return foundingConfig({
      voters,
      members: voters.map((id) => {
        const address = members.get(id);
        return {
          id,
          raft: address === undefined || address.port === 0 ? "" : formatHostPort(address),
          http: httpAddressOf(id) ?? "",
        };
      }),
    });
  }

  /** Where a member is, this one too, the likeliest first. */
  #addressesOf(node: NodeId): readonly HostPort[] {
    return node === this.id ? [this.#ownAddress()] : this.#membership.members.addressesOf(node);
  }

  /** Where the others reach this node. */
  #ownAddress(): HostPort {
    const { advertise, listen, members } = this.#options;
    if (advertise !== undefined) return advertise;
    if (listen.port === 0) return { ...listen, port: this.#peers.address.port };
    return members.get(this.id) ?? listen;
  }

  /** Where clients reach a member: it knows best of itself. */
  #httpAddressOf(node: NodeId): string | undefined {
    const given = this.#options.httpAddressOf(node);
    return node === this.id ? given : this.#membership.members.httpAddressOf(node) ?? given;
  }

  #schedule(): ScheduledBackups | undefined {
    const { backups: schedule, groups: [group], log, world: { ports } } = this.#options;
    if (schedule === undefined) return undefined;
    const { host: { backups, machine } } = this.#hosted(group!);
    const owner = `${this.clusterId}-${this.id}`;
    const revision = (): number => machine.revision;
    return new ScheduledBackups({ ...schedule, backups, owner, revision, ports, log });
  }

  /** Logs a start that has succeeded. A start that fails logs nothing before its error. */
  #announce({ tornTail }: OpenedWal): void {
    const { log } = this.#options;
    if (tornTail !== undefined) log("warn", "log-tail-cut", { reason: tornTail });
    for (const { host: { core, group } } of this.#groups.values()) {
      const { lastIndex: entries } = core.state.log;
      const term = core.context.currentTerm;
      log("info", "log-replayed", { ...this.#labelOf(group), entries, term });
    }
    const at = this.httpAddress;
    const http = at === undefined ? undefined : `http://${formatHostPort(at)}`;
    log("info", "serving", { http, cluster: this.clusterId });
  }

  async #stop(): Promise<void> {
    const { log } = this.#options;
    for (const { host: { core, group } } of this.#groups.values()) {
      log("info", "stopping", { ...this.#labelOf(group), role: core.role });
    }
    const drained = this.#http?.shutdown().catch((error) => {
      log("warn", "http-stop-failed", { error: String(error) });
    });
    const groups = [...this.#groups.values()];
    this.#clients.drain();
    if (!this.#failed) await Promise.all(groups.map(({ host }) => this.#handOver(host)));
    for (const { client } of groups) client.stopping();
    for (const { host } of groups) host.backups.stop();
    // A request that is not answered by then ends with the process. A server that drains cannot be
    // aborted: its signal throws BadResource (Deno 2.9.6).
    const kv = this.kv[Symbol.asyncDispose]().catch(() => {});
    const ended = [drained, kv, this.#answerPeers(), this.#scheduled?.stop()];
    await this.#within(DRAIN_MS_MAX, Promise.all(ended));
    if (!this.#failed) await this.system.stop({ deadlineMs: ACTOR_STOP_MS_MAX });
    await new Promise<void>((resolve) => this.#walActor.actor.whenIdle(resolve));
    // Closes the peers, the log and the lock.
    const failure = undoAll(this.#undo);
    log("info", "stopped", {});
    if (failure !== undefined) throw failure;
  }

  /**
   * Takes leave of the other nodes and answers their calls. It took their writes while it led, and answers
   * them once it hears from the next leader whether they are committed.
   */
  async #answerPeers(): Promise<void> {
    if (this.#failed) return;
    const { clock } = this.#options.world.ports;
    await this.#leave.tell(this.#connected());
    const untilMs = clock.monotonicMs() + DRAIN_MS_MAX;
    while (this.system.status().inboundCalls > 0 && clock.monotonicMs() < untilMs) {
      await this.#pause(ANSWERED_POLL_MS);
    }
    await this.#leave.tell(this.#connected());
  }

  /** The peers that there is a link to. */
  #connected(): NodeId[] {
    return this.#peers.status().peers.filter(({ state }) => state.startsWith("connected"))
      .map(({ peer }) => peer);
  }

  /** Hands leadership to the connected voter that has most of the log. */
  async #handOver({ core, raft, group }: KvGroup): Promise<void> {
    if (core.role !== "leader") return;
    const { voters } = core.context;
    const connected = this.#connected().filter((peer) => voters.includes(peer));
    const to = core.state.leadership?.holdsMost(connected);
    if (to === undefined) return;
    try {
      await raft.call({ type: "Transfer", to }, { timeoutMs: HANDOVER_MS_MAX });
    } catch (error) {
      // That member may be stopping, too. Then the others elect a leader.
      const { log } = this.#options;
      log("info", "hand-over-failed", { ...this.#labelOf(group), to, error: String(error) });
    }
  }

  /** The log of a group is whole again; the mark goes once all are. */
  #logRestored(group: GroupId, directory: DataDirectory): void {
    const { log } = this.#options;
    const { lastIndex: entries } = this.#hosted(group).host.core.state.log;
    log("info", "log-restored", { ...this.#labelOf(group), entries });
    const isWhole = [...this.#groups.values()].every(({ host: { core } }) =>
      core.role !== "recovering" && core.state.isDurable(core.context)
    );
    if (isWhole) directory.noteLogRestored();
  }

  #spaceChanged(condition: SpaceCondition, freeBytes: number | undefined): void {
    const { log } = this.#options;
    const next = SPACE_NEXT[condition];
    log(next === undefined ? "info" : "warn", "disk-space", {
      ...{ condition, freeBytes },
      ...(next === undefined ? {} : { next }),
    });
    for (const { host } of this.#groups.values()) {
      host.raft.signal({ type: "Space", condition });
      // A snapshot lets the log forget, which gives space back.
      if (condition === "SpaceLow") host.raft.signal({ type: "SnapshotDue" });
    }
    if (condition !== "SpaceEnough") this.#relieve();
  }

  /** This disk takes no writes: another member leads better, if there is one whose disk does. */
  #relieve(): void {
    const nowMs = this.#options.world.ports.clock.monotonicMs();
    if (this.#stopping !== undefined || nowMs - this.#relievedMs < SPACE_HANDOVER_MS) return;
    const led = [...this.#groups.values()].filter(({ host }) => host.core.role === "leader");
    if (led.length === 0) return;
    this.#relievedMs = nowMs;
    for (const { host } of led) void this.#handOver(host);
  }

  #fail(error: Error): void {
    if (this.#failed) return;
    this.#failed = true;
    this.#options.log("error", "node-failed", describeFailure(error));
    this.#options.onFailed(error);
  }

  #roleChanged(group: GroupId, change: RoleChange): void {
    const { event, fields } = describeRoleChange(change);
    this.#options.log("info", event, { ...this.#labelOf(group), ...fields });
    if (change.to === "removed") this.#endSoon();
    if (change.to === "leader") this.#compareVersions();
    const hosted = this.#groups.get(group);
    if (hosted === undefined) return;
    if (change.leaderId !== undefined) hosted.leaderChanges++;
    hosted.client.leaderChanged();
  }

  /** This node was removed. Whoever asked for that gets the answer before it ends. */
  #endSoon(): void {
    const { ports } = this.#options.world;
    const timer = ports.timers.set(REMOVED_MS, () => {
      this.system.fail(new MemberRemovedError(this.id));
    });
    this.#undo.push(() => ports.timers.clear(timer));
  }

  /** Whether all builds know a higher cluster version than the agreed one; then a leader raises it. */
  #compareVersions(): void {
    const peers = new Map(this.#peers.status().peers.map((status) => [status.peer, status]));
    for (const { host } of this.#groups.values()) {
      host.raiseClusterVersion((node) => peers.get(node)?.clusterVersionMax);
    }
  }

  /** Every VERSIONS_MS, and besides whenever somebody leads or a link is up: nobody has to wait then. */
  #compareVersionsSoon(): void {
    this.#versionTimer = this.#options.world.ports.timers.set(VERSIONS_MS, () => {
      this.#compareVersions();
      this.#membership.tend();
      this.#compareVersionsSoon();
    });
  }

  /** The group, for log lines; left out if the process hosts only one. */
  #labelOf(group: GroupId): { readonly group?: GroupId } {
    return this.#options.groups.length > 1 ? { group } : {};
  }

  #metrics(group: GroupId): string {
    const { host, client, watches, leaderChanges, commit } = this.#hosted(group);
    return formatNodeMetrics({
      core: host.core,
      store: host.machine,
      counters: host.raftActor.counters,
      gatewayCounters: client.counters,
      watches,
      clients: this.#clients,
      peers: this.#peers.status(),
      actors: this.system.metrics(),
      leaderChanges,
      clusterVersion: host.clusterVersion,
      fsync: this.#fsync,
      commit,
      version: this.#options.version,
      system: this.system.status(),
      walBytes: this.#wal.diskBytes,
      logCompression: this.#wal.compression,
      freeBytes: this.#space.freeBytes,
      snapshots: host.snapshotActor.counters,
      differences: host.auditActor.differences.length,
      compared: host.auditActor.compared,
      snapshotBytes: this.#snapshots.diskBytes,
      backups: host.backups.counters,
      scheduledBackups: this.#scheduled?.counters,
      httpSheds: this.#http?.sheds ?? 0,
      droppedLogLines: this.#options.droppedLogLines?.() ?? 0,
    });
  }

  #pause(ms: number): Promise<void> {
    return new Promise((resolve) => this.#options.world.ports.timers.set(ms, resolve));
  }

  /** Waits for the promise, but no longer than `ms`. */
  async #within(ms: number, promise: Promise<unknown>): Promise<void> {
    const { timers } = this.#options.world.ports;
    await new Promise<void>((resolve) => {
      const timer = timers.set(ms, resolve);
      const done = (): void => {
        timers.clear(timer);
        resolve();
      };
      promise.then(done, done);
    });
  }
}

/** The newest configuration that is kept beside the log: a new member reads of older ones first. */
function newerOf(
  latest: StoredMembers | undefined,
  joined: PlacedConfig | undefined,
): PlacedConfig | undefined {
  const isOlder = latest === undefined || (joined !== undefined && joined.index > latest.index);
  return isOlder ? joined : placedConfigOf(latest);
}

/**
 * Whether the member is the only voter: without it nobody leads, and only a leader has what its log has
 * lost. Learners do not help.
 */
function isAlone({ directory: { nodeId }, world: { disk }, members }: ProcessOptions): boolean {
  const { owner, latest } = readDirectory(disk) ?? {};
  const voters = latest === undefined
    ? owner?.members ?? [...members.keys()]
    : allVoters(placedConfigOf(latest).config);
  return voters.every((voter) => voter === nodeId);
}

/** Whether what the log held is lost, so that only the other members can help. */
function isLogLoss(error: unknown): boolean {
  return [
    ...[WalCorruptError, WalMissingSegmentError, WalMisplacedSegmentError],
    ...[SnapshotMissingError, LogMissingError],
  ].some((kind) => error instanceof kind);
}

/** Undoes every step, in reverse order, even if some fail; returns the first failure. */
function undoAll(steps: (() => void)[]): Error | undefined {
  let failure: Error | undefined;
  for (const step of steps.splice(0).reverse()) {
    try {
      step();
    } catch (error) {
      failure ??= error as Error;
    }
  }
  return failure;
}

/** What failed, and what an operator does next. */
function describeFailure(error: Error): Record<string, string> {
  if (error.name === "WalFailedError") {
    const next = "mend the disk, then start the member again: what it acknowledged is on it";
    return { error: error.message, next };
  }
  if (error instanceof ClusterVersionError || error instanceof MemberRemovedError) {
    return { error: error.message };
  }
  if (error instanceof DirectoryGoneError) {
    return {
      error: error.message,
      next: "bring it back to its place, then start the member again",
    };
  }
  return { error: error.stack ?? String(error), next: "report this line: it is a defect" };
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
