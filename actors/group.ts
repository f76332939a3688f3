/**
 * One Raft group of a process: its core, its store, and the actors that host them, over the
 * process's WAL and links. process.ts puts them together.
 *
 * @module
 */
import type { ReplicationBounds } from "../machines/bounds.ts";
import {
  CLUSTER_VERSIONS,
  ClusterVersionError,
  configAfter,
  type ConfigEntry,
  decodeConfig,
  type GroupConfig,
  MEMBERS_VERSION,
  type PlacedConfig,
  storedConfigOf,
} from "../machines/group_config.ts";
import type { RaftTiming } from "../machines/group_state.ts";
import { RaftCore } from "../machines/raft_core.ts";
import { peersOf } from "../machines/replication.ts";
import { type RoleChange, roleChangeOf, transitionOf } from "../machines/raft_step.ts";
import type { EntryRun, GroupId, LogIndex, NodeId, RaftMessage } from "../machines/raft_types.ts";
import type { StateMachine } from "../machines/state_machine.ts";
import type { CommandResult } from "../storage/kv/command_result.ts";
import type { KvStore } from "../storage/kv/kv_store.ts";
import type { RecoveredGroup } from "../storage/log/wal_replay.ts";
import { forEachEntry, recordFormat } from "../storage/log/wal_record.ts";
import type { SnapshotStore } from "../storage/log/snapshot_store.ts";
import type { Wal } from "../storage/log/wal.ts";
import { Backups } from "./backups.ts";
import {
  AuditActor,
  type AuditAnswer,
  auditAnswerOf,
  type AuditRequest,
  auditRequestOf,
  type AuditSignal,
} from "./audit_actor.ts";
import { recoverState } from "./group_recovery.ts";
import { MachineActor, type MachineSignal, type SnapshotTrigger } from "./machine_actor.ts";
import { RAFT_MAILBOX_CAPACITY, SNAPSHOT_AFTER_BYTES, SNAPSHOT_AFTER_ENTRIES } from "./limits.ts";
import { RaftActor, type RaftActorMessage, type RaftSignal } from "./raft_actor.ts";
import {
  type RaftAnswer,
  raftAnswerContract,
  type RaftRequest,
  raftRequestOf,
} from "./raft_request.ts";
import type { ActorRef, LocalRef } from "./runtime/actor.ts";
import type { Log } from "./runtime/ports.ts";
import type { ActorSystem } from "./runtime/system.ts";
import { configOf, refOf, SnapshotActor, type SnapshotSignal } from "./snapshot_actor.ts";
import type { SnapshotFacts, StateSource } from "./state_file.ts";
import { Timeline } from "./timeline.ts";
import { type DiskCondition, WalActor, type WalSignal } from "./wal_actor.ts";

/** Name of the actor that other nodes ask about a group. */
const RAFT_ACTOR_NAME = "raft";

/** Name of the actor that other nodes ask for hashes of the state. */
const AUDIT_ACTOR_NAME = "audit";

/** A failure of one of these actors stops the node: nothing they promised may be broken. */
export const FAIL_STOP = { policy: "stop-system" } as const;
/** The WAL serves every group; it is addressed as one of group 0's. */
const WAL_ADDRESS = { name: "wal", group: 0 } as const;

/** The WAL's actor and the way to it. */
export interface WalHost {
  readonly actor: WalActor;
  readonly ref: LocalRef<never, never, WalSignal>;
}

/** Spawns the actor that all groups of the process write through. */
export function spawnWal(
  system: ActorSystem,
  wal: Wal,
  options: {
    readonly onDiskCondition: (condition: DiskCondition) => void;
    readonly onFull: (isFull: boolean) => void;
    readonly packSyncMsMin?: number;
    readonly onSync?: (durationMs: number) => void;
  },
): WalHost {
  const actor = new WalActor({ wal, ports: system.ports, self: () => ref, ...options });
  const ref: WalHost["ref"] = system.spawn<never, never, WalSignal>({
    ...WAL_ADDRESS,
    supervision: FAIL_STOP,
    create: () => actor,
  });
  return { actor, ref };
}

/** When a node takes snapshots unless it is told otherwise. */
export const DEFAULT_SNAPSHOT_TRIGGER: SnapshotTrigger = {
  bytes: SNAPSHOT_AFTER_BYTES,
  entries: SNAPSHOT_AFTER_ENTRIES,
};

/** What a group needs of its process. */
export interface GroupHostOptions<Result, Machine extends StateMachine<Result>> {
  readonly group: GroupId;
  /** Gets what each entry changed, in order; default nobody does. */
  readonly onChanges?: (changes: readonly unknown[]) => void;
  /** The machine has loaded another state. */
  readonly onLoaded?: () => void;
  /** What the group replicates; nothing else may change it. */
  readonly machine: Machine;
  readonly id: NodeId;
  /** What the cluster was founded with, or joined with; what the log says comes after it. */
  readonly config: GroupConfig;
  /** As of GroupOptions. */
  readonly memberSince?: LogIndex;
  readonly directoryOf?: (id: NodeId) => string | undefined;
  readonly timing: RaftTiming;
  /** Default DEFAULT_BOUNDS. */
  readonly bounds?: ReplicationBounds;
  readonly system: ActorSystem;
  readonly clusterId: string;
  readonly wal: WalHost["ref"];
  /** The log was lost, and what it held is not all there again (machines/recovery.ts); default false. */
  readonly isLogLost?: boolean;
  /** As of RaftCoreOptions. */
  readonly remembered?: PlacedConfig | undefined;
  readonly onLogRestored?: () => void;
  /** What the WAL held of this group. */
  readonly recovered: RecoveredGroup | undefined;
  readonly snapshots: SnapshotStore;
  /** Default {@linkcode DEFAULT_SNAPSHOT_TRIGGER}. */
  readonly snapshotAfter?: SnapshotTrigger;
  readonly log: Log;
  readonly send: (to: NodeId, message: RaftMessage) => void;
  /** The highest cluster version that this build knows; default that of {@linkcode CLUSTER_VERSIONS}. */
  readonly clusterVersionMax?: number;
  /** Differs between two lives of this node; not asked before it runs. Default 0. */
  readonly incarnation?: () => number;
  readonly onRoleChange?: (change: RoleChange) => void;
  /** As of RaftActorOptions. */
  readonly onMembers?: (placed: PlacedConfig, isCommitted: boolean) => void;
  /** Gets how long what a turn of the leader proposed took to be committed. */
  readonly onCommit?: (durationMs: number) => void;
}

/** One group, running from construction until its system stops. */
export class GroupHost<Result, Machine extends StateMachine<Result>> {
  readonly group: GroupId;
  readonly core: RaftCore;
  readonly machine: Machine;
  readonly raftActor: RaftActor<Result>;
  readonly snapshotActor: SnapshotActor;
  readonly auditActor: AuditActor;
  readonly backups: Backups;
  /** What its chart has done. */
  readonly timeline: Timeline;
  /** Takes, sends and receives its snapshots. */
  readonly snapshots: LocalRef<never, never, SnapshotSignal>;
  /** The Raft actor, for requests of this node. */
  readonly raft: LocalRef<RaftActorMessage, RaftAnswer<Result>, RaftSignal>;
  readonly #system: ActorSystem;
  readonly #clusterVersionMax: number;
  #clusterVersion: number = CLUSTER_VERSIONS.min;

  /**
   * Starts as follower, with what was recovered.
   *
   * @throws {ClusterVersionError} If the log or the snapshot was written by members of a version that
   * this build does not know.
   * @throws {SnapshotMissingError} If entries were forgotten and no sound snapshot covers them.
   */
  constructor(options: GroupHostOptions<Result, Machine>) {
    const { group, machine, id, timing, system, wal, recovered, send } = options;
    const { onRoleChange, onCommit } = options;
    const { ports } = system;
    this.group = group;
    this.timeline = new Timeline({
      life: options.incarnation ?? (() => 0),
      nowMs: () => ports.clock.monotonicMs(),
    });
    this.#system = system;
    this.machine = machine;
    this.#clusterVersionMax = options.clusterVersionMax ?? CLUSTER_VERSIONS.max;
    for (const run of recovered?.runs ?? []) this.#checkVersions(run);
    const store = options.snapshots;
    const { snapshot, log, hardState, hardStateIsNew, newBase } = recoverState({
      group,
      machine,
      store,
      recovered,
      onBroken: (error) => options.log("error", "snapshot-broken", { error: error.message }),
    });
    if (snapshot !== undefined) this.#agree(snapshot.meta);
    if (hardStateIsNew || newBase !== undefined) {
      // Brings the log in line with the snapshot before anything else is written. A full disk may keep
      // it waiting: until it is done, every start finds the same.
      const write = {
        hardState: hardStateIsNew ? hardState : undefined,
        forgotten: newBase && { base: newBase, keepsRest: false },
        runs: [],
      };
      wal.signal({ type: "Write", group, write, onDurable: () => {} });
    }
    this.core = new RaftCore({
      id,
      group,
      timing,
      ...(options.bounds === undefined ? {} : { bounds: options.bounds }),
      records: recordFormat,
      random: () => ports.random.next(),
      log,
      nowMs: ports.clock.monotonicMs(),
      config: snapshot === undefined
        ? options.config
        : configAfter(options.config, configOf(snapshot.meta)),
      ...(options.memberSince === undefined ? {} : { memberSince: options.memberSince }),
      ...(options.directoryOf === undefined ? {} : { directoryOf: options.directoryOf }),
      ...hardState,
      ...(snapshot === undefined ? {} : { snapshot: refOf(snapshot) }),
      isLogLost: options.isLogLost === true,
      remembered: options.remembered,
      onStep: (step) => {
        const transition = transitionOf(step);
        if (transition === undefined) return;
        this.timeline.note(transition);
        const change = roleChangeOf(step);
        if (change !== undefined) onRoleChange?.(change);
      },
    });
    type Signal = MachineSignal<Result>;
    const machineActor: LocalRef<never, never, Signal> = system.spawn<never, never, Signal>({
      name: "machine",
      group,
      supervision: FAIL_STOP,
      create: () =>
        new MachineActor({
          machine,
          entries: (from, through, bytesMax) => log.slice(from, through, bytesMax),
          scheduler: ports.scheduler,
          ...(options.onChanges === undefined ? {} : { onChanges: options.onChanges }),
          ...(options.onLoaded === undefined ? {} : { onLoaded: options.onLoaded }),
          onConfig: (config) => this.#agree(config),
          onAudit: (index, hash) => audit.signal({ type: "Applied", index, hash }),
          snapshotAfter: options.snapshotAfter ?? DEFAULT_SNAPSHOT_TRIGGER,
          onSnapshotDue: () => this.raft.signal({ type: "SnapshotDue" }),
          self: () => machineActor,
        }),
    });
    this.auditActor = new AuditActor({
      id,
      group,
      voters: () => this.core.context.voters,
      auditOn: (node) => system.ref({ node, name: AUDIT_ACTOR_NAME, group }, auditAnswerOf),
      ports,
      log: options.log,
      self: () => audit,
    });
    const audit: LocalRef<AuditRequest, AuditAnswer, AuditSignal> = system.spawn<
      AuditRequest,
      AuditAnswer,
      AuditSignal
    >({
      name: AUDIT_ACTOR_NAME,
      group,
      supervision: FAIL_STOP,
      create: () => this.auditActor,
      remote: auditRequestOf,
    });
    const source: StateSource = {
      group,
      clusterId: options.clusterId,
      machine,
      factsAt: (index) => this.#factsAt(index),
    };
    this.backups = new Backups(source);
    this.snapshotActor = new SnapshotActor({
      ...source,
      store,
      isSending: (index) => this.#isSending(index),
      send,
      toRaft: (signal) => this.raft.signal(signal),
      machineActor,
      ports,
      log: options.log,
      self: () => this.snapshots,
    });
    this.snapshots = system.spawn<
      never,
      never,
      SnapshotSignal
    >({
      name: "snapshots",
      group,
      supervision: FAIL_STOP,
      create: () => this.snapshotActor,
    });
    this.raftActor = new RaftActor({
      group,
      core: this.core,
      ports,
      send,
      wal,
      machine,
      machineActor,
      snapshots: this.snapshots,
      clusterVersion: () => this.#clusterVersion,
      self: () => this.raft,
      onCutShort: ({ node, acknowledged, holds }) =>
        options.log("error", "log-shortened", {
          ...{ node, lost: acknowledged - holds, acknowledged },
          next: "look at that member's disk; it is sent again what it lost",
        }),
      ...(options.onLogRestored === undefined ? {} : { onLogRestored: options.onLogRestored }),
      ...(onCommit === undefined ? {} : { onCommit }),
      ...(options.onMembers === undefined ? {} : { onMembers: options.onMembers }),
    });
    this.raft = system.spawn<RaftActorMessage, RaftAnswer<Result>, RaftSignal>({
      name: RAFT_ACTOR_NAME,
      group,
      supervision: FAIL_STOP,
      capacity: RAFT_MAILBOX_CAPACITY,
      create: () => this.raftActor,
      remote: raftRequestOf,
    });
  }

  /** The cluster version that the members have agreed on, as far as this one has applied the log. */
  get clusterVersion(): number {
    return this.#clusterVersion;
  }

  /**
   * While this member leads: lets the group agree on the highest cluster version that every member's
   * build knows. `knownBy` answers what the build of another member knows, undefined if that is not
   * known now: a member that cannot be asked may run any build.
   */
  raiseClusterVersion(knownBy: (node: NodeId) => number | undefined): void {
    const { context, role, state: { configs: { current } } } = this.core;
    if (role !== "leader") return;
    const others = peersOf(context);
    const version = Math.min(this.#clusterVersionMax, ...others.map((id) => knownBy(id) ?? 0));
    // Once: while a quorum is missing, the log would otherwise grow by one entry a try.
    if (version <= current.config.clusterVersion) return;
    this.raft.signal({ type: "RaiseClusterVersion", version });
  }

  /** What a snapshot says of the entry at `index`, which was applied; undefined if the log lacks it. */
  #factsAt(index: LogIndex): SnapshotFacts | undefined {
    const { state } = this.core;
    const term = state.log.termAt(index);
    // Of an entry beyond the committed ones the log may hold another one than the machine has applied: a
    // leader's snapshot, which the machine holds already, is about to replace the log.
    if (term === undefined || index > state.commitIndex) return undefined;
    const run = state.log.slice(index, index)[0];
    const timeMs = run === undefined ? state.lastLogTimeMs : recordFormat.lastTimeMs(run);
    const config = state.configs.at(index);
    return {
      ...{ term, timeMs, clusterVersion: this.#clusterVersion, members: config.voters },
      ...(config.clusterVersion < MEMBERS_VERSION ? {} : { config: storedConfigOf(config) }),
    };
  }

  #isSending(index: LogIndex): boolean {
    const peers = this.core.state.leadership?.progress.values() ?? [];
    return [...peers].some(({ sending }) => sending?.snapshot.index === index);
  }

  #agree(config: Pick<ConfigEntry, "clusterVersion">): void {
    this.#checkKnown(config);
    this.#clusterVersion = Math.max(this.#clusterVersion, config.clusterVersion);
  }

  #checkKnown({ clusterVersion }: Pick<ConfigEntry, "clusterVersion">): void {
    if (clusterVersion <= this.#clusterVersionMax) return;
    throw new ClusterVersionError(clusterVersion, this.#clusterVersionMax);
  }

  /** Nobody can tell yet whether an entry of the log is committed, so any of them counts. */
  #checkVersions(run: EntryRun): void {
    forEachEntry(run, (_index, _timeMs, kind, payload) => {
      if (kind === "config") this.#checkKnown(decodeConfig(payload));
    });
  }

  /** The Raft actor of this group on any node, this one too. */
  raftOn(node: NodeId): ActorRef<RaftRequest, RaftAnswer<Result>> {
    return this.#system.ref(
      { node, name: RAFT_ACTOR_NAME, group: this.group },
      raftAnswerContract(this.machine),
    );
  }

  /** Takes a Raft message of a peer; one that finds no room is lost, and the peer sends it again. */
  receive(message: RaftMessage): void {
    this.raft.cast(message);
  }
}

/** A group that replicates the key-value store. */
export type KvGroup = GroupHost<CommandResult, KvStore>;

/** What the Raft actor of such a group answers. */
export type KvAnswer = RaftAnswer<CommandResult>;
