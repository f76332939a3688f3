/**
 * The actor of snapshots by itself.
 *
 * @module
 */
import type { MachineSignal } from "../../actors/machine_actor.ts";
import type { RaftSignal } from "../../actors/raft_actor.ts";
import type { Delivery, LocalRef } from "../../actors/runtime/actor.ts";
import {
  SnapshotActor,
  type SnapshotActorOptions,
  type SnapshotSignal,
} from "../../actors/snapshot_actor.ts";
import type { RaftMessage, SnapshotRef } from "../../machines/raft_types.ts";
import { KvStore } from "../../storage/kv/kv_store.ts";
import { openSnapshot, SnapshotEncoder } from "../../storage/log/snapshot_file.ts";
import { SNAPSHOT_DIRECTORY, SnapshotStore } from "../../storage/log/snapshot_store.ts";
import { MemoryDisk, type MemoryDiskOptions } from "../sim/memory_disk.ts";
import { memoryLog, VirtualPorts } from "./virtual_ports.ts";

type Load = Extract<MachineSignal<never>, { type: "Load" }>;

/** The bytes of a snapshot, and what a leader says of it. */
export function snapshotOf(
  index: number,
): { readonly snapshot: SnapshotRef; readonly bytes: Uint8Array } {
  const encoder = new SnapshotEncoder();
  const meta = {
    ...{ clusterId: "c", group: 0, index, term: 1, timeMs: 0, clusterVersion: 1, members: [1, 2] },
    ...{ machineVersion: 1, stateHash: "0" },
  };
  const state = new Uint8Array(100).map((_, at) => at * index);
  const parts = [encoder.head(meta), encoder.chunk(state), encoder.end()];
  const bytes = new Uint8Array(parts.flatMap((part) => [...part]));
  const { digest } = openSnapshot("x", {
    read: (offset, length) => bytes.subarray(offset, offset + length),
    size: bytes.length,
  });
  return { snapshot: { index, term: 1, timeMs: 0, size: bytes.length, digest }, bytes };
}

/** The actor of a follower, whose mailbox and whose machine the test plays. */
export class SnapshotBench {
  readonly disk: MemoryDisk;
  /** What was sent to other nodes. */
  readonly sent: RaftMessage[] = [];
  /** What was logged. */
  readonly lines: readonly string[];
  /** What the Raft actor was told. */
  readonly toRaft: RaftSignal[] = [];
  /** What the machine was asked to load. */
  readonly loads: Load[] = [];
  /** What snapshots are taken of. */
  readonly machine = new KvStore();
  readonly ports = new VirtualPorts();
  #mailbox: SnapshotSignal[] = [];
  readonly #actor: SnapshotActor;

  /** On a disk whose syncs end at once, and whose operations fail as `fault` says. */
  constructor(fault: MemoryDiskOptions["fault"] = () => undefined) {
    this.disk = new MemoryDisk({ later: (run) => run(), fault });
    const self = {
      signal: (signal: SnapshotSignal) => void this.#mailbox.push(signal),
    } as unknown as LocalRef<never, never, SnapshotSignal>;
    const machineActor = {
      signal: (signal: MachineSignal<never>) => {
        if (signal.type === "Load") this.loads.push(signal);
      },
    } as unknown as SnapshotActorOptions["machineActor"];
    const { lines, log } = memoryLog();
    this.lines = lines;
    this.#actor = new SnapshotActor({
      group: 0,
      clusterId: "c",
      machine: this.machine,
      store: SnapshotStore.open(this.disk, { clusterId: "c", onBroken: () => {} }),
      factsAt: () => ({ term: 1, timeMs: 0, clusterVersion: 1, members: [1, 2] }),
      isSending: () => false,
      send: (_to, message) => void this.sent.push(message),
      toRaft: (signal) => void this.toRaft.push(signal),
      machineActor,
      ports: this.ports,
      log,
      self: () => self,
    });
  }

  /** A turn with these signals before those that wait; then turns until none waits. */
  turn(...signals: SnapshotSignal[]): void {
    let batch = [...signals, ...this.#mailbox.splice(0)];
    while (batch.length > 0) {
      this.#actor.receive(
        batch.map((message) => ({ message }) as unknown as Delivery<SnapshotSignal>),
      );
      batch = this.#mailbox.splice(0);
    }
  }

  /** The node stops. */
  stop(): void {
    this.#actor.onStop();
  }

  /** Names of the files that are there. */
  get files(): string[] {
    return this.disk.exists(SNAPSHOT_DIRECTORY) ? this.disk.list(SNAPSHOT_DIRECTORY) : [];
  }
}
