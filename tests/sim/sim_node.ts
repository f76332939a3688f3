/**
 * One simulated member: the shipping process on virtual time, a memory disk and the simulated
 * network.
 *
 * @module
 */
import type { StoredMembers } from "../../machines/group_config.ts";
import type { ReplicationBounds } from "../../machines/bounds.ts";
import type { KvGroup } from "../../actors/group.ts";
import type { CompressionPolicy } from "../../actors/limits.ts";
import type { SnapshotTrigger } from "../../actors/machine_actor.ts";
import { Process } from "../../actors/process.ts";
import type { Log } from "../../actors/runtime/ports.ts";
import type { ActorSystem } from "../../actors/runtime/system.ts";
import type { RaftTiming } from "../../machines/group_state.ts";
import type { GroupId, NodeId } from "../../machines/raft_types.ts";
import { DiskError } from "../../storage/log/disk.ts";
import { PROTOCOL_VERSIONS } from "../../transport/wire/limits.ts";
import type { HostPort } from "../../transport/wire/network.ts";
import { type EventLoop, ProcessLife } from "./event_loop.ts";
import { type DiskOperation, MemoryDisk } from "./memory_disk.ts";
import { SimNetwork } from "./network.ts";
import type { Dice } from "./random.ts";

/** How a node's disk behaves now. */
export interface DiskQuality {
  /** Mean duration of a sync. */
  syncMsMean: number;
  /** Added to every sync. */
  syncMsFixed: number;
  /** The next sync fails. */
  failNextSync: boolean;
  /** Appends fail for lack of space. */
  full: boolean;
}

/** A disk on a good day. */
export const GOOD_DISK: DiskQuality = {
  syncMsMean: 0.3,
  syncMsFixed: 0.05,
  failNextSync: false,
  full: false,
};

/** What a node needs of its cluster. */
export interface SimNodeOptions {
  readonly id: NodeId;
  readonly groups: readonly GroupId[];
  /** The members of the founding, by address. */
  readonly members: ReadonlyMap<NodeId, HostPort>;
  /** What it joins with, if it is no member of the founding. */
  readonly joined?: StoredMembers;
  /** The build of its first start; default 1. */
  readonly build?: number;
  readonly timing: RaftTiming;
  readonly bounds: ReplicationBounds;
  readonly loop: EventLoop;
  readonly dice: Dice;
  readonly tornPartBytes: number;
  /** Segments of the log are this large: small ones, so that one is begun often. */
  readonly segmentBytes: number;
  /** What is compressed; default as the product. */
  readonly compression?: CompressionPolicy;
  /** Whether its first build is the release before this one, as far as the protocol goes. */
  readonly isBehind?: boolean;
  /** When a group takes a snapshot; default as the product. */
  readonly snapshotAfter?: SnapshotTrigger;
  readonly network: SimNetwork;
  readonly log: Log;
  /** Called when the process ended by itself. */
  readonly onFailed: (error: Error) => void;
  /** Called with every operation of the disk, and whether it fails. */
  readonly onDisk: (operation: DiskOperation, failed: boolean) => void;
  /** Called after each event of the node's process. */
  readonly onRan: (id: NodeId) => void;
  /** Called after a group was assembled, before it handles anything. */
  readonly onGroup: (host: KvGroup) => void;
  /** Called when the node has a link to a peer, or has lost it. */
  readonly onLink: (id: NodeId, peer: NodeId, link: "up" | "lost") => void;
}

const CLUSTER_ID = "sim";

/** A member and its disk, which outlives its processes. */
export class SimNode {
  readonly id: NodeId;
  readonly disk: MemoryDisk;
  readonly diskQuality: DiskQuality = { ...GOOD_DISK };
  readonly clock = { rate: 1 };
  /** Counts the starts. */
  lives = 0;
  /** Counts the segments of logs that were begun. */
  segments = 0;
  /** Counts the snapshots that were taken, and those that a leader sent. */
  snapshotsTaken = 0;
  snapshotsInstalled = 0;
  /** The running process; undefined between a crash and a restart. */
  life: ProcessLife | undefined;
  process: Process | undefined;
  /** The build that the next start runs: it knows cluster versions up to this, and later protocols. */
  build: number;
  /** Counts the disks that were lost. */
  lostDisks = 0;
  /** Counts the times that it came back as another member with its id. */
  generation = 0;
  #hasLostDisk = false;
  /** The data directory that was on the first disk that it lost since it is this member. */
  lostDirectoryId = "";
  #joined: StoredMembers | undefined;
  /** Whether its log was damaged, and it has not restored it since. */
  isDamaged = false;
  /** Counts the logs that were lost, and restored from the others. */
  logsRestored = 0;
  readonly #options: SimNodeOptions;

  constructor(options: SimNodeOptions) {
    this.id = options.id;
    this.build = options.build ?? 1;
    this.#joined = options.joined;
    this.#options = options;
    const { dice } = options;
    this.disk = new MemoryDisk({
      tornPartBytes: options.tornPartBytes,
      later: (run) => {
        const latencyMs = this.diskQuality.syncMsFixed +
          dice.exponential(this.diskQuality.syncMsMean);
        this.life?.after(latencyMs, run);
      },
      fault: (operation) => {
        const error = this.#diskFault(operation);
        options.onDisk(operation, error !== undefined);
        return error;
      },
    });
  }

  /** Whether a process runs. */
  get running(): boolean {
    return this.life !== undefined;
  }

  /** Id of the data directory on the disk that is there now, also before it is created. */
  get directoryId(): string {
    return `node-${this.id}-disk-${this.lostDisks + 1}`;
  }

  /** Whether the node has lost a disk: its peers are right to refuse it for good. */
  get isLost(): boolean {
    return this.#hasLostDisk;
  }

  /** The actors of the running process. */
  get system(): ActorSystem | undefined {
    return this.process?.system;
  }

  /** The groups of the running process; empty if none runs. */
  get groups(): readonly KvGroup[] {
    return [...this.process?.groups.values() ?? []].map(({ host }) => host);
  }

  /** Starts a process on the disk as it is. */
  start(): void {
    const { id, groups, members, timing, bounds, segmentBytes, loop, dice, network, log } =
      this.#options;
    const { onFailed, onGroup, onRan, onLink, snapshotAfter, compression } = this.#options;
    const protocolMax = PROTOCOL_VERSIONS.max - (this.#options.isBehind === true ? 1 : 0);
    const life = new ProcessLife(loop, dice, this.clock, () => onRan(id));
    this.life = life;
    this.lives++;
    this.process = Process.start({
      world: { ports: life.ports, disk: this.disk, network: network.of(id, life) },
      directory: {
        nodeId: id,
        clusterId: CLUSTER_ID,
        ...(this.#joined === undefined ? { members: [...members.keys()] } : {
          members: this.#joined.config.members.map((member) => member.id),
          joined: this.#joined,
        }),
        clusterIdSource: "configured",
        newDirectoryId: this.directoryId,
      },
      members: this.#joined === undefined ? members : new Map(),
      listen: SimNetwork.addressOf(id),
      groups,
      timing,
      bounds,
      segmentBytes,
      ...(compression === undefined ? {} : { compression }),
      ...(snapshotAfter === undefined ? {} : { snapshotAfter }),
      version: "simulated",
      build: {
        protocol: { min: PROTOCOL_VERSIONS.min, max: protocolMax + this.build - 1 },
        clusterVersionMax: this.build,
      },
      httpAddressOf: () => undefined,
      log: (level, event, fields) => {
        if (event === "snapshot-taken") this.snapshotsTaken++;
        if (event === "snapshot-installed") this.snapshotsInstalled++;
        if (event === "log-restored") {
          this.logsRestored++;
          this.isDamaged = false;
        }
        log(level, event, fields);
      },
      onFailed,
      onGroup,
      onLink: (peer, link) => onLink(id, peer, link),
    });
  }

  /** The process ends at once; `keepCache`: it was killed, and the kernel still writes its pages. */
  crash({ keepCache }: { readonly keepCache: boolean }): void {
    const { life } = this;
    if (life === undefined) return;
    const { dice, network } = this.#options;
    life.end();
    network.ended(this.id, life, { dark: !keepCache });
    this.life = undefined;
    this.process = undefined;
    // Choice 1 keeps every unsynced change: see MemoryDisk.
    this.disk.crash(keepCache ? () => 1 : (count) => dice.below(count));
  }

  /** The process ends, if one runs, and its disk is lost with all that was on it. */
  wipe(): void {
    if (!this.#hasLostDisk) this.lostDirectoryId = this.directoryId;
    this.crash({ keepCache: false });
    this.disk.wipe();
    this.lostDisks++;
    this.#hasLostDisk = true;
  }

  /** The cluster has taken its lost disk out, and has met the one that it has now. */
  stay(): void {
    this.#hasLostDisk = false;
    this.generation++;
  }

  /** The cluster has taken its lost disk out: it begins anew on an empty one. */
  rejoin(joined: StoredMembers): void {
    this.wipe();
    this.#hasLostDisk = false;
    this.#joined = joined;
    this.generation++;
  }

  /**
   * The process ends, if one runs, and then its log decays: a bit is flipped, a segment is missing or
   * cut short, or all are gone.
   */
  damageLog(): string {
    this.crash({ keepCache: true });
    const { dice } = this.#options;
    const segments = this.disk.list("wal").filter((name) => name.endsWith(".wal"));
    if (segments.length === 0) return "there is none";
    const name = dice.pick(segments);
    const path = `wal/${name}`;
    const size = this.disk.sizeOf(path);
    this.isDamaged = true;
    switch (dice.below(4)) {
      case 0:
        for (const each of segments) this.disk.erase(`wal/${each}`);
        return "all segments are gone";
      case 1:
        this.disk.erase(path);
        return `${name} is gone`;
      case 2: {
        const left = dice.below(size);
        this.disk.replace(path, this.disk.read(path, 0, left));
        return `${name} is cut to ${left} of ${size} bytes`;
      }
      default: {
        const bit = dice.below(8 * size);
        this.disk.flipBit(path, bit);
        return `bit ${bit} of ${name} is flipped`;
      }
    }
  }

  /** What goes wrong with an operation of the disk; undefined if nothing does. */
  #diskFault({ type, path }: DiskOperation): DiskError | undefined {
    const { diskQuality } = this;
    if (type === "create" && path.startsWith("wal/")) this.segments++;
    if (diskQuality.full && (type === "append" || type === "create")) {
      return new DiskError("Cannot write: no space is left", { code: "no-space", path });
    }
    if (!diskQuality.failNextSync || type !== "syncData") return undefined;
    diskQuality.failNextSync = false;
    return new DiskError("Cannot sync: input/output error", { code: "io", path });
  }
}
