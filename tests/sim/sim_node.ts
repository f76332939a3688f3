/**
 * One simulated member: the shipping actors, log and store over virtual time, a memory disk and the
 * simulated network.
 *
 * @module
 */
import type { ReplicationBounds } from "../../machines/bounds.ts";
import type { Log } from "../../actors/runtime/ports.ts";
import { GroupHost, type KvGroup, spawnWal } from "../../actors/group.ts";
import { ActorSystem } from "../../actors/runtime/system.ts";
import type { RaftTiming } from "../../machines/group_state.ts";
import { describeRoleChange } from "../../machines/raft_step.ts";
import type { GroupId, Membership, NodeId } from "../../machines/raft_types.ts";
import { openDataDirectory } from "../../storage/log/data_directory.ts";
import { DiskError } from "../../storage/log/disk.ts";
import { KvStore } from "../../storage/kv/kv_store.ts";
import { type PeerIdentities, StoredPeerIdentities } from "../../storage/log/peer_identities.ts";
import { Wal } from "../../storage/log/wal.ts";
import type { ActorWire, WireMessage } from "../../transport/wire/messages.ts";
import { type EventLoop, ProcessLife } from "./event_loop.ts";
import { type DiskOperation, MemoryDisk } from "./memory_disk.ts";
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
  readonly membership: Membership;
  readonly timing: RaftTiming;
  readonly bounds: ReplicationBounds;
  readonly loop: EventLoop;
  readonly dice: Dice;
  readonly tornPartBytes: number;
  /** Segments of the log are this large: small ones, so that one is begun often. */
  readonly segmentBytes: number;
  readonly send: (to: NodeId, message: WireMessage) => void;
  readonly log: Log;
  /** Called when the process ended by itself. */
  readonly onFailed: (error: Error) => void;
  /** Called with every operation of the disk, and whether it fails. */
  readonly onDisk: (operation: DiskOperation, failed: boolean) => void;
  /** Called after each event of the node's process. */
  readonly onRan: (id: NodeId) => void;
  /** Called after a group was assembled, before it handles anything. */
  readonly onGroup: (host: KvGroup) => void;
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
  /** The running process; undefined between a crash and a restart. */
  life: ProcessLife | undefined;
  system: ActorSystem | undefined;
  /** Whose directory is whose, as the running process knows it. */
  identities: PeerIdentities | undefined;
  /** Counts the disks that were lost. */
  lostDisks = 0;
  groups: Map<GroupId, KvGroup> = new Map();
  readonly #options: SimNodeOptions;

  constructor(options: SimNodeOptions) {
    this.id = options.id;
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
    return this.lostDisks > 0;
  }

  /** Starts a process on the disk as it is. */
  start(): void {
    const { id, groups, membership, timing, loop, dice, send, log, onFailed, onGroup, onRan } =
      this.#options;
    const { segmentBytes, bounds } = this.#options;
    const life = new ProcessLife(loop, dice, this.clock, () => onRan(id));
    this.life = life;
    this.lives++;
    const directory = openDataDirectory(this.disk, {
      nodeId: id,
      clusterId: CLUSTER_ID,
      members: membership.voters,
      clusterIdSource: "configured",
      newDirectoryId: this.directoryId,
    });
    const { directoryId, logBegun: wasBegun } = directory;
    const identity = { clusterId: CLUSTER_ID, nodeId: id };
    const opened = Wal.open(this.disk, { ...identity, segmentBytes, wasBegun });
    directory.noteLogBegun();
    this.identities = StoredPeerIdentities.open(this.disk, directoryId);
    const system = new ActorSystem({
      node: id,
      ports: life.ports,
      log,
      onFailed: ({ error }) => onFailed(error),
    });
    this.system = system;
    system.connect({ send: (to, message) => (send(to, message), true) });
    const wal = spawnWal(system, opened.wal, {
      onDiskCondition: (condition) => {
        for (const host of this.groups.values()) host.raft.signal({ type: "Disk", condition });
      },
    });
    this.groups = new Map();
    for (const group of groups) {
      const host: KvGroup = new GroupHost({
        group,
        machine: new KvStore(),
        id,
        membership,
        timing,
        bounds,
        system,
        wal: wal.ref,
        recovered: opened.groups.get(group),
        send,
        onRoleChange: (change) => {
          const { event, fields } = describeRoleChange(change);
          log("info", event, { ...(groups.length > 1 ? { group } : {}), ...fields });
        },
      });
      this.groups.set(group, host);
      onGroup(host);
    }
  }

  /** The process ends at once; `keepCache`: it was killed, and the kernel still writes its pages. */
  crash(options: { readonly keepCache: boolean }): void {
    if (this.life === undefined) return;
    this.life.end();
    this.life = undefined;
    const { dice } = this.#options;
    // Choice 1 keeps every unsynced change: see MemoryDisk.
    this.disk.crash(options.keepCache ? () => 1 : (count) => dice.below(count));
    this.system = undefined;
    this.identities = undefined;
    this.groups = new Map();
  }

  /** The process ends, if one runs, and its disk is lost with all that was on it. */
  wipe(): void {
    this.crash({ keepCache: false });
    this.disk.wipe();
    this.lostDisks++;
  }

  /** What the running process answers to a hello; if it cannot remember the peer, it fails. */
  recognises(peer: NodeId, directoryId: string): boolean {
    try {
      return this.identities?.recognise(peer, directoryId) ?? false;
    } catch (error) {
      this.system?.fail(error as Error);
      return false;
    }
  }

  /** Takes a message off the network; it waits while the process is paused. False: nobody is there. */
  deliver(from: NodeId, message: WireMessage): boolean {
    const { life, system } = this;
    if (life === undefined || system === undefined) return false;
    const take = (): void => {
      if ("group" in message && "term" in message) this.groups.get(message.group)?.receive(message);
      else system.deliver(from, message as ActorWire);
    };
    if (life.paused) life.after(0, take);
    else take();
    return true;
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
