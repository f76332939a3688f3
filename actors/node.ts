/**
 * A member on Deno: options with their defaults, and the disk, the network, the clock and the HTTP
 * listener that a {@linkcode Process} stands on.
 *
 * @module
 */
import { createHash } from "node:crypto";
import { DEFAULT_TIMING, type RaftTiming } from "../machines/group_state.ts";
import type { Explanation } from "../machines/explain.ts";
import type { GroupId, NodeId } from "../machines/raft_types.ts";
import {
  checkDataDirectory,
  type DataDirectoryOptions,
  type DirectoryFacts,
  type DirectoryOwner,
  mayBeFoundedAnew,
  readDirectory,
} from "../storage/log/data_directory.ts";
import { DenoDisk } from "../storage/log/deno_disk.ts";
import type { ClusterStatus } from "../transport/http/gateway_port.ts";
import type { GatewayHandler } from "../transport/http/gateway.ts";
import { HttpServer } from "../transport/http/server.ts";
import { formatHostPort, type HostPort, parseHostPort } from "../transport/wire/network.ts";
import { createTcpNetwork, type TcpNetwork } from "../transport/wire/tcp.ts";
import { denoPorts } from "./deno_ports.ts";
import { BACKUP_EVERY_MS, BACKUPS_KEPT, COMPRESSION, type CompressionMode } from "./limits.ts";
import type { SnapshotTrigger } from "./machine_actor.ts";
import type { Clerk } from "./clerk.ts";
import { ForceInterruptedError, interruptedForce } from "./forced_paths.ts";
import { askForMembers, joinCluster } from "./join.ts";
import { type BuildVersions, Process } from "./process.ts";
import type { Log } from "./runtime/ports.ts";
import type { BackupSchedule } from "./scheduled_backups.ts";

/** Version of the package. */
export const VERSION = "0.1.0";
/** The only group until sharding. */
export const DEFAULT_GROUP: GroupId = 0;
/** How often a member that knows no leader asks those that it was to join through. */
const ASK_AGAIN_MS = 3_000;
/** Hexadecimal digits of a cluster id. */
const CLUSTER_ID_CHARS = 16;
/** Port of the Raft address, and of the HTTP address, of the node with id 0. */
const DEFAULT_RAFT_PORT_BASE = 7000;
const DEFAULT_HTTP_PORT_BASE = 8000;

/** Backups of a member's own state, in a directory beside its data. */
export interface BackupOptions {
  /** Pause between two of them: a second to 24 days. */
  readonly everyMs: number;
  /** Where they are kept; created if missing. Members may share it. */
  readonly directory: string;
  /** How many are kept, from 1 on: the newest. */
  readonly keep: number;
}

/** What a member starts from. */
export interface NodeOptions {
  /** This member's id, 1 to 2^31. */
  readonly id: NodeId;
  /** Where the member keeps its data; created if missing, locked while in use. */
  readonly dataDir: string;
  /**
   * Says that the data directory may be a copy, or was brought from another file system; that nobody
   * uses the original any more; and that the copy was made after its last use. Default false: a copy
   * is refused.
   */
  readonly mayBeCopy?: boolean;
  /**
   * Every voter's Raft address, this one's too: founds a cluster of them. Default: ids 1 to 3 on
   * 127.0.0.1:7001 to 7003, or what the data directory says.
   */
  readonly peers?: ReadonlyMap<NodeId, HostPort>;
  /**
   * HTTP addresses of members of a running cluster, any of them: joins it through them, if the data
   * directory is of no cluster yet. Cannot be combined with `peers` or `single`.
   */
  readonly join?: readonly string[];
  /** Joins as a learner that is not promoted; default false. */
  readonly learner?: boolean;
  /**
   * Where to listen for the other members, and for clients on their wire; default this member's address in
   * `peers`, or 127.0.0.1:(7000+id) where none is named. A `single` one takes any free port, another at each
   * start, as long as it is alone.
   */
  readonly listen?: HostPort;
  /** Where the other members reach this one, if not where it listens. */
  readonly advertise?: HostPort;
  /** A cluster of one member; cannot be combined with `peers`. */
  readonly single?: boolean;
  /** Where to serve HTTP; default 127.0.0.1:(8000+id). Port 0 picks one. */
  readonly http?: HostPort;
  /** Where clients reach the members; default derived from `peers`. */
  readonly httpPeers?: ReadonlyMap<NodeId, string>;
  /** Bounds of the timeouts; default DEFAULT_TIMING. */
  readonly timing?: RaftTiming;
  /** When a snapshot is taken; default DEFAULT_SNAPSHOT_TRIGGER. */
  readonly snapshotAfter?: SnapshotTrigger;
  /**
   * What is compressed of the log, and of frames to the other members. Members may differ; what has been
   * compressed is read either way. Default adaptive, see COMPRESSION.
   */
  readonly compression?: CompressionMode;
  /** Less free space on the disk, in bytes, is too little for writes; default MIN_FREE_BYTES. */
  readonly minFreeBytes?: number;
  /** Backups that the member makes by itself; default none. */
  readonly backups?: BackupOptions;
  /** Gets log lines; default none. */
  readonly log?: Log;
  /** How many lines `log` could not write, for the metrics; default 0. */
  readonly droppedLogLines?: () => number;
  /** The versions that this build claims to support, to try upgrades out; default its own. */
  readonly build?: BuildVersions;
  /** Called when the member failed and stopped by itself; default: the error is thrown from a task. */
  readonly onFailed?: (error: Error) => void;
}

/**
 * Starts one member and resolves once it serves HTTP; there may be no leader yet.
 *
 * @throws {DirectoryLockedError} If another process uses the data directory.
 * @throws {IdentityMismatchError} If the directory belongs to another node, or to the cluster of other
 * members: a directory keeps the members that it was founded with, whatever addresses they have.
 * @throws {DirectoryCopiedError} If the directory is a copy, and `mayBeCopy` does not say that it may be.
 * @throws {WalError} If the log is damaged.
 * @throws {ClusterVersionError} If the cluster has agreed on a version that this build does not know.
 * @throws {ForceInterruptedError} If `--force-new-cluster` was interrupted here, and is to be finished.
 * @throws {JoinError} If it was to join a cluster that does not take it, or cannot be reached.
 * @throws {Error} If an address cannot be listened on. Nothing is left behind.
 */
export function startNode(options: NodeOptions): Promise<StatecraftNode> {
  return StatecraftNode.start(options);
}

/** A running member. */
export class StatecraftNode implements AsyncDisposable {
  /** The member's id. */
  readonly id: NodeId;
  readonly #process: Process;
  readonly #network: TcpNetwork;
  #asking: ReturnType<typeof setInterval> | undefined;
  #isStopped = false;

  /** See {@linkcode startNode}. */
  static async start(options: NodeOptions): Promise<StatecraftNode> {
    checkTiming(options.timing ?? DEFAULT_TIMING);
    return new StatecraftNode(options, await originOf(options));
  }

  private constructor(options: NodeOptions, { members, directory, listen }: Origin) {
    const { id, dataDir, timing = DEFAULT_TIMING, log = () => {} } = options;
    const schedule = scheduleOf(options);
    const httpPeers = new Map(options.httpPeers ?? derivedHttpPeers(members));
    let server: HttpServer | undefined;
    this.id = id;
    this.#network = createTcpNetwork(() => server?.shed("the peers need a file descriptor"));
    this.#process = Process.start({
      world: {
        ports: denoPorts,
        disk: new DenoDisk(dataDir, () => server?.shed("the log needs a file descriptor")),
        network: this.#network,
        serveHttp: (handler) => {
          server = listenHttp(options, handler, log);
          if (options.httpPeers?.has(id) !== true) {
            httpPeers.set(id, reachableUrl(server.address, options.advertise ?? listen));
          }
          return server;
        },
      },
      directory: {
        ...directory,
        newDirectoryId: crypto.randomUUID(),
        mayBeCopy: options.mayBeCopy === true,
      },
      members,
      listen,
      ...(options.advertise === undefined ? {} : { advertise: options.advertise }),
      groups: [DEFAULT_GROUP],
      timing,
      ...(options.snapshotAfter === undefined ? {} : { snapshotAfter: options.snapshotAfter }),
      compression: COMPRESSION[options.compression ?? "adaptive"],
      ...(options.minFreeBytes === undefined ? {} : { minFreeBytes: options.minFreeBytes }),
      ...(schedule === undefined ? {} : { backups: schedule }),
      version: VERSION,
      ...(options.build === undefined ? {} : { build: options.build }),
      httpAddressOf: (node) => httpPeers.get(node),
      log,
      ...(options.droppedLogLines === undefined
        ? {}
        : { droppedLogLines: options.droppedLogLines }),
      onFailed: (error) => {
        this.#isStopped = true;
        clearInterval(this.#asking);
        if (options.onFailed === undefined) throw error;
        options.onFailed(error);
      },
    });
    this.#askWhileLost(options.join ?? [], log);
  }

  /**
   * While this member knows no leader, it asks the others over HTTP who the members are, and those that it
   * was to join through: all that it knows may have moved, and it may be no member any more.
   */
  #askWhileLost(join: readonly string[], log: Log): void {
    const { clusterId, groups } = this.#process;
    const { client } = groups.get(DEFAULT_GROUP)!;
    const told = new Set<string>();
    let isAsking = false;
    const asking = setInterval(async () => {
      if (isAsking || client.leader() !== undefined) return;
      isAsking = true;
      const { members, configIndex, commitIndex } = this.#process.status();
      // Another member may know that what is in force here is committed.
      const beyond = Math.min(configIndex, commitIndex);
      const others = members.filter(({ self }) => !self);
      const known = others.map(({ httpAddress }) => httpAddress).filter((url) => url !== "");
      const said = await askForMembers([...join, ...known], {
        ...{ clusterId, beyond },
        onOtherCluster: (url, other) => {
          if (told.has(url)) return;
          told.add(url);
          log("error", "other-cluster", {
            ...{ url, cluster: other, own: clusterId },
            advice:
              "this data directory stays a member of its own cluster; to join that one, start " +
              "with --join and an empty directory",
          });
        },
      });
      isAsking = false;
      // A node that has stopped has given its directory back.
      if (said !== undefined && !this.#isStopped) this.#process.noteMembers(said);
    }, ASK_AGAIN_MS);
    // It keeps no process alive that has nothing else to do.
    Deno.unrefTimer(asking);
    this.#asking = asking;
  }

  /**
   * A client of the cluster that goes through this node, without a network.
   *
   * @example
   * ```ts
   * import { startNode } from "statecraft";
   *
   * const dataDir = await Deno.makeTempDir();
   * const http = { hostname: "127.0.0.1", port: 0 };
   * await using node = await startNode({ id: 1, single: true, dataDir, http });
   * await node.kv.put("greeting", "hello");
   * console.assert((await node.kv.get("greeting"))?.text() === "hello");
   * ```
   */
  get kv(): Clerk {
    return this.#process.kv;
  }

  /** Where this member serves HTTP. */
  get httpAddress(): string {
    return urlOf(this.#process.httpAddress!);
  }

  /** What `GET /v1/cluster` answers. */
  status(): ClusterStatus {
    return this.#process.status();
  }

  /** Why the member is in its role, and what holds each transition back. */
  explain(): Explanation {
    return this.#process.explain();
  }

  /** Stops in order; resolves when everything is closed, and its ports can be used again. Idempotent. */
  async stop(): Promise<void> {
    this.#isStopped = true;
    clearInterval(this.#asking);
    await this.#process.stop();
    await this.#network.portsFree();
  }

  /** As {@linkcode stop}. */
  [Symbol.asyncDispose](): Promise<void> {
    return this.stop();
  }
}

/** What a start stands on: the directory's members, those that it names, or those that it joins. */
interface Origin {
  /** The addresses that it was given, by member. */
  readonly members: ReadonlyMap<NodeId, HostPort>;
  readonly directory: Omit<DataDirectoryOptions, "newDirectoryId">;
  readonly listen: HostPort;
}

async function originOf(options: NodeOptions): Promise<Origin> {
  const { id, dataDir, join, peers, single, listen } = options;
  if (join !== undefined && (peers !== undefined || single === true)) {
    throw new RangeError(`Cannot start node ${id}: it is to join, and founds no cluster`);
  }
  const interrupted = interruptedForce(dataDir);
  if (interrupted !== undefined) throw new ForceInterruptedError(interrupted);
  const disk = new DenoDisk(dataDir);
  const facts = readDirectory(disk);
  // A first start without --join has founded another cluster here; the second may correct that.
  const isMistake = join !== undefined && facts?.latest === undefined && facts !== undefined &&
    mayBeFoundedAnew(disk);
  if (facts !== undefined && peers === undefined && single !== true && !isMistake) {
    return knownOrigin(options, facts);
  }
  if (join === undefined) {
    const members = membersOf(options);
    const directory = ownerOf(options, members);
    // A single member that others have joined stays where they look for it. Alone it takes any free port:
    // by now another program may have the one that it had.
    const wasJoined = single === true && facts !== undefined &&
      (facts.latest?.config.members.length ?? 0) > 1;
    const at = wasJoined ? knownOrigin(options, facts).listen : listenAddressOf(options, members);
    return { members: single === true ? new Map([[id, at]]) : members, directory, listen: at };
  }
  const at = listen ?? defaultRaftAddress(id);
  const { clusterId, members } = await joinCluster({
    ...{ id, urls: join, staysLearner: options.learner === true },
    raft: formatHostPort(options.advertise ?? at),
    http: options.http === undefined || options.http.port === 0 ? "" : urlOf(options.http),
    log: options.log ?? (() => {}),
  });
  const named = members.config.members.map(({ id }) => id);
  const directory = { nodeId: id, clusterId, members: named, joined: members } as const;
  return {
    members: new Map(),
    directory: { ...directory, clusterIdSource: "configured" },
    listen: at,
  };
}

/** A directory that is founded knows its cluster: the start need not name it. */
function knownOrigin(
  { id, listen }: NodeOptions,
  { owner: { clusterId, members }, latest }: DirectoryFacts,
): Origin {
  const agreed = latest?.config.members.find((member) => member.id === id)?.raft;
  const at = listen ?? (agreed === undefined ? undefined : parseHostPort(agreed));
  const alone = { ...defaultRaftAddress(id), port: 0 };
  const own = at ?? (members.length === 1 ? alone : defaultRaftAddress(id));
  const founding = new Map(
    latest === undefined ? members.map((member) => [member, defaultRaftAddress(member)]) : [],
  );
  if (founding.has(id)) founding.set(id, own);
  return {
    members: founding,
    directory: { nodeId: id, clusterId, members: undefined, clusterIdSource: "computed" },
    listen: own,
  };
}

function defaultRaftAddress(id: NodeId): HostPort {
  return { hostname: "127.0.0.1", port: DEFAULT_RAFT_PORT_BASE + id };
}

/** Serves HTTP where the options say; the error names the address. */
function listenHttp(options: NodeOptions, handler: GatewayHandler, log: Log): HttpServer {
  const at = options.http ?? { hostname: "127.0.0.1", port: DEFAULT_HTTP_PORT_BASE + options.id };
  try {
    return new HttpServer({ at, handler, spareFile: options.dataDir, log });
  } catch (error) {
    const { message } = error as Error;
    throw new Error(`Cannot serve HTTP on ${formatHostPort(at)}: ${message}`, { cause: error });
  }
}

/**
 * The URL of a node for which the options name none. Clients cannot use a wildcard address; they get
 * the host of the node's Raft address.
 */
function reachableUrl({ hostname, port }: HostPort, raftAddress: HostPort): string {
  const isWildcard = hostname === "0.0.0.0" || hostname === "::";
  return urlOf({ hostname: isWildcard ? raftAddress.hostname : hostname, port });
}

/**
 * The id of the cluster that these members form, the same on every one of them: a digest of their
 * ids and addresses.
 */
export function clusterIdOf(members: ReadonlyMap<NodeId, HostPort>): string {
  const text = [...members].sort(([a], [b]) => a - b)
    .map(([id, { hostname, port }]) => `${id}=${hostname}:${port}`).join();
  return createHash("sha256").update(text).digest("hex").slice(0, CLUSTER_ID_CHARS);
}

/**
 * The owner that the data directory must have for these options. Whoever founds a cluster alone draws its
 * id, for many start with the same address; a directory that has one keeps it.
 */
function ownerOf(
  { id }: Pick<NodeOptions, "id">,
  members: ReadonlyMap<NodeId, HostPort>,
): DirectoryOwner & { readonly clusterIdSource: "computed" } {
  return {
    nodeId: id,
    members: [...members.keys()].sort((a, b) => a - b),
    clusterId: members.size === 1
      ? crypto.randomUUID().replaceAll("-", "").slice(0, CLUSTER_ID_CHARS)
      : clusterIdOf(members),
    clusterIdSource: "computed",
  };
}

/**
 * Checks, without changing or locking anything, that the data directory is this member's and of
 * these members' cluster, as {@linkcode startNode} will.
 *
 * @throws {IdentityMismatchError} If it belongs to another node or to other members.
 * @throws {IdentityDamagedError} If the file that names its owner is damaged.
 */
export function checkNodeDirectory(
  options: Pick<NodeOptions, "id" | "dataDir" | "peers" | "single">,
): void {
  checkDataDirectory(new DenoDisk(options.dataDir), ownerOf(options, membersOf(options)));
}

/**
 * Whether a data directory belongs to a member already: then a start need not say of which cluster.
 *
 * @throws {IdentityDamagedError} If the file that names its owner is damaged.
 */
export function isFounded(dataDir: string): boolean {
  return readDirectory(new DenoDisk(dataDir)) !== undefined ||
    interruptedForce(dataDir) !== undefined;
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

/** @throws {RangeError} If a bound is not kept. */
function scheduleOf({ backups }: NodeOptions): BackupSchedule | undefined {
  if (backups === undefined) return undefined;
  const { everyMs, directory, keep } = backups;
  checkWithin("everyMs", everyMs, BACKUP_EVERY_MS);
  checkWithin("keep", keep, BACKUPS_KEPT);
  return { everyMs, keep, disk: new DenoDisk(directory), wallMs: Date.now };
}

function checkWithin(
  name: string,
  value: number,
  { min, max }: { readonly min: number; readonly max: number },
): void {
  if (Number.isInteger(value) && value >= min && value <= max) return;
  throw new RangeError(`Cannot make backups: ${name} is ${value}, not ${min} to ${max}`);
}

/** The members that a start with these options names. */
export function membersOf(
  { id, single, peers }: Pick<NodeOptions, "id" | "single" | "peers">,
): ReadonlyMap<NodeId, HostPort> {
  if (single === true && peers !== undefined) {
    throw new RangeError(`Cannot start node ${id}: it is single, and peers are named`);
  }
  if (single === true) {
    return new Map([[id, defaultRaftAddress(id)]]);
  }
  const members = peers ??
    new Map([1, 2, 3].map((id): [NodeId, HostPort] => [id, defaultRaftAddress(id)]));
  if (!members.has(id)) {
    throw new RangeError(`Cannot start node ${id}: it is not among the peers`);
  }
  return members;
}

/**
 * Where to listen. A single member has no peers, so it listens on any free port and takes none that
 * another program may need.
 */
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
