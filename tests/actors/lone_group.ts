/**
 * One member's part of a group: the shipped host, its actors and its log, on virtual time and without
 * links.
 *
 * @module
 */
import { foundingConfig } from "../../machines/group_config.ts";
import { assert, assertEquals } from "@std/assert";
import { GroupHost, spawnWal } from "../../actors/group.ts";
import type { SnapshotTrigger } from "../../actors/machine_actor.ts";
import type { RaftAnswer } from "../../actors/raft_request.ts";
import { ActorSystem } from "../../actors/runtime/system.ts";
import type { ReplicationBounds } from "../../machines/bounds.ts";
import { DEFAULT_TIMING } from "../../machines/group_state.ts";
import type { Envelope, NodeId } from "../../machines/raft_types.ts";
import type { StateMachine } from "../../machines/state_machine.ts";
import { SnapshotStore } from "../../storage/log/snapshot_store.ts";
import type { RecoveredGroup } from "../../storage/log/wal_replay.ts";
import { MemoryDisk } from "../sim/memory_disk.ts";
import { openWal } from "../storage/open_wal.ts";
import { memoryLog, VirtualPorts } from "./virtual_ports.ts";

const LEADS_MS_MAX = 5_000;

/** What may differ from a cluster of one member whose log is empty. */
export interface LoneGroupOptions {
  /** Default: one whose syncs end at once. */
  readonly disk?: MemoryDisk;
  /** Default: this member alone, which is 1. */
  readonly voters?: readonly NodeId[];
  /** Default: none. */
  readonly learners?: readonly NodeId[];
  /** In place of what the disk holds. */
  readonly recovered?: RecoveredGroup;
  readonly clusterVersionMax?: number;
  readonly snapshotAfter?: SnapshotTrigger;
  readonly segmentBytes?: number;
  readonly packBytesMin?: number;
  readonly bounds?: ReplicationBounds;
  readonly isLogLost?: boolean;
  readonly onLogRestored?: () => void;
}

/** A disk whose syncs end at once. */
export function promptDisk(): MemoryDisk {
  return new MemoryDisk({ later: (run) => run() });
}

/** Member 1, and the machine that it replicates. */
export class LoneGroup<Result, Machine extends StateMachine<Result>> {
  readonly ports = new VirtualPorts();
  readonly host: GroupHost<Result, Machine>;
  /** What stopped the member. */
  readonly failures: Error[] = [];
  /** Every message that left it. */
  readonly sent: Envelope[] = [];
  /** Snapshots whose head was damaged at the start. */
  readonly broken: Error[] = [];

  constructor(machine: Machine, options: LoneGroupOptions = {}) {
    const { disk = promptDisk(), voters = [1], learners = [] } = options;
    const { clusterVersionMax, snapshotAfter } = options;
    const { ports, failures } = this;
    const system = new ActorSystem({
      node: 1,
      ports,
      log: memoryLog().log,
      onFailed: ({ error }) => void failures.push(error),
    });
    const opened = openWal(disk, {
      clusterId: "lone",
      nodeId: 1,
      ...(options.segmentBytes === undefined ? {} : { segmentBytes: options.segmentBytes }),
      ...(options.packBytesMin === undefined ? {} : { packBytesMin: options.packBytesMin }),
    });
    const { log } = memoryLog();
    this.host = new GroupHost<Result, Machine>({
      group: 0,
      machine,
      id: 1,
      config: foundingConfig({ voters, learners }),
      timing: DEFAULT_TIMING,
      system,
      wal: spawnWal(system, opened.wal, { onDiskCondition: () => {}, onFull: () => {} }).ref,
      recovered: options.recovered ?? opened.groups.get(0),
      clusterId: "lone",
      snapshots: SnapshotStore.open(disk, {
        clusterId: "lone",
        onBroken: (error) => void this.broken.push(error),
      }),
      ...(snapshotAfter === undefined ? {} : { snapshotAfter }),
      ...(options.bounds === undefined ? {} : { bounds: options.bounds }),
      log,
      send: (to, message) => void this.sent.push({ to, message }),
      isLogLost: options.isLogLost === true,
      ...(options.onLogRestored === undefined ? {} : { onLogRestored: options.onLogRestored }),
      ...(clusterVersionMax === undefined ? {} : { clusterVersionMax }),
    });
  }

  /** Lets time pass until the member leads. */
  lead(): this {
    for (let passed = 0; this.host.core.role !== "leader"; passed++) {
      assert(passed < LEADS_MS_MAX, "it does not lead");
      this.pass(1);
    }
    assertEquals(this.failures, []);
    return this;
  }

  /** Lets so many milliseconds pass, one by one. */
  pass(ms: number): void {
    for (let passed = 0; passed < ms; passed++) {
      this.ports.advance(1);
      this.ports.settle();
    }
  }

  /** Proposes a request; its answer comes into the array returned. */
  propose(...request: number[]): RaftAnswer<Result>[] {
    const answers: RaftAnswer<Result>[] = [];
    const payload = new Uint8Array(request);
    this.host.raft.ask({ type: "Propose", payload }, { timeoutMs: 5_000 }, (outcome) => {
      if (outcome.ok) answers.push(outcome.value);
    });
    return answers;
  }
}
