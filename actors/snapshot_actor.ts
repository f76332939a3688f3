/**
 * Takes, sends and receives the snapshots of one group, a slice a turn, so that no other work of the
 * event loop waits for them.
 *
 *     Take   freeze -> chunks -> file -> durable  -> Raft actor: SnapshotTaken
 *     Send   file -> InstallSnapshot              -> the follower
 *     Store  parts -> file -> machine -> durable  -> Raft actor: SnapshotReceived
 *
 * A received snapshot reaches the machine before it gets its name: one whose state cannot be loaded
 * replaces nothing, neither on disk nor in memory.
 *
 * A snapshot that cannot be written is no failure of the node: the log still holds what it would have
 * covered. It is dropped, and tried again once the log has grown further.
 *
 * @module
 */
import type { ConfigEntry } from "../machines/group_config.ts";
import type { ReceivedPart, SnapshotPart } from "../machines/group_state.ts";
import type { LogBase } from "../machines/raft_log.ts";
import type { LogIndex, NodeId, RaftMessage, SnapshotRef } from "../machines/raft_types.ts";
import { DiskError } from "../storage/log/disk.ts";
import {
  SnapshotError,
  type SnapshotMeta,
  type SnapshotReader,
} from "../storage/log/snapshot_file.ts";
import type {
  SnapshotStore,
  StoredSnapshot,
  UnfinishedSnapshot,
} from "../storage/log/snapshot_store.ts";
import { SNAPSHOT_DEMANDS_MAX, SNAPSHOT_REST_SHARE, SNAPSHOT_SLICE_BYTES } from "./limits.ts";
import type { MachineSignal } from "./machine_actor.ts";
import type { RaftSignal } from "./raft_actor.ts";
import { Actor, type Delivery, type LocalRef } from "./runtime/actor.ts";
import type { Log, Ports, TimerHandle } from "./runtime/ports.ts";
import { StateFile, type StateSource } from "./state_file.ts";

/** What the actor takes: from this node's own actors and disk only. */
export type SnapshotSignal =
  /** Take a snapshot of the machine as it is now. */
  | { readonly type: "Take" }
  /** Somebody wants a snapshot of what is applied by now, and to know when it is durable. */
  | Demand
  /** Send a part of a snapshot. */
  | { readonly type: "Send"; readonly part: SnapshotPart }
  /** Keep a part that a leader sent. */
  | { readonly type: "Store"; readonly part: ReceivedPart }
  /** What a leader has sent of its snapshot is not needed any more. */
  | { readonly type: "Abandon" }
  /** Look whether a snapshot is sound that a follower could not use. */
  | { readonly type: "Check"; readonly snapshot: SnapshotRef }
  /** Go on writing. */
  | { readonly type: "Continue" }
  /** Go on looking. */
  | { readonly type: "ContinueCheck" }
  /** The snapshot that was taken is durable, or cannot be. */
  | { readonly type: "Written"; readonly result: StoredSnapshot | Error }
  /** The machine holds the state of a snapshot that was received, or cannot. */
  | { readonly type: "Loaded"; readonly incoming: Incoming; readonly error: Error | undefined }
  /** A snapshot that was received is durable, or cannot be. */
  | { readonly type: "Kept"; readonly incoming: Incoming; readonly result: StoredSnapshot | Error };

/** A timer is no shorter: a rest below is none. */
const TIMER_MS_MIN = 1;

/** Somebody waits for a snapshot. */
export interface Demand {
  readonly type: "Demand";
  /** Gets it, or why there is none. */
  readonly answer: (result: StoredSnapshot | Error) => void;
}

/** What the actor needs. */
export interface SnapshotActorOptions extends StateSource {
  readonly store: SnapshotStore;
  /** Snapshots up to this index are on their way to a follower, so they are kept. */
  readonly isSending: (index: LogIndex) => boolean;
  readonly send: (to: NodeId, message: RaftMessage) => void;
  readonly toRaft: (signal: RaftSignal) => void;
  readonly machineActor: LocalRef<
    never,
    never,
    Extract<MachineSignal<never>, { type: "Load" | "Frozen" | "Snapshotted" }>
  >;
  readonly ports: Ports;
  readonly log: Log;
  readonly self: () => LocalRef<never, never, SnapshotSignal>;
}

/** Counters of a group's snapshots, for metrics. */
export interface SnapshotCounters {
  taken: number;
  failed: number;
  received: number;
  refused: number;
  partsSent: number;
  /** Milliseconds from the freeze of the newest one that was taken until it was durable. */
  lastTookMs: number;
  /** Bytes of state in the newest one that was taken. */
  lastStateBytes: number;
}

/** A snapshot that is being taken. */
interface Taking {
  readonly state: StateFile;
  readonly file: UnfinishedSnapshot;
  readonly startMs: number;
}

/** A snapshot that a leader sends. */
interface Incoming {
  readonly snapshot: SnapshotRef;
  readonly file: UnfinishedSnapshot;
}

/** Hosts the snapshots of one group. */
export class SnapshotActor extends Actor<never, never, SnapshotSignal> {
  readonly counters: SnapshotCounters = {
    ...{ taken: 0, failed: 0, received: 0, refused: 0, partsSent: 0 },
    ...{ lastTookMs: 0, lastStateBytes: 0 },
  };
  readonly #options: SnapshotActorOptions;
  #taking: Taking | undefined;
  /** When the next slice of it is due. */
  #rest: TimerHandle | undefined;
  #incoming: Incoming | undefined;
  /** Whether the disk had room for what a leader sent last. */
  #hadRoom = true;
  /** Who waits for a snapshot that covers the entry `index`. */
  #demands: { readonly index: LogIndex; readonly answer: Demand["answer"] }[] = [];
  #checking: { readonly stored: StoredSnapshot; readonly chunks: Iterator<Uint8Array> } | undefined;

  /** Hosts `options.store`'s snapshots of the group, which nothing else may change. */
  constructor(options: SnapshotActorOptions) {
    super();
    this.#options = options;
  }

  override receive(batch: readonly Delivery<SnapshotSignal>[]): void {
    for (const { message } of batch) {
      switch (message.type) {
        case "Take":
          this.#take();
          break;
        case "Demand":
          this.#demand(message);
          break;
        case "Send":
          this.#send(message.part);
          break;
        case "Store":
          this.#store(message.part);
          break;
        case "Abandon":
          this.#abandon();
          break;
        case "Check":
          this.#startCheck(message.snapshot);
          break;
        case "ContinueCheck":
          this.#goOnChecking();
          break;
        case "Continue":
          this.#write();
          break;
        case "Written":
          this.#written(message.result);
          break;
        case "Loaded":
          this.#loaded(message.incoming, message.error);
          break;
        case "Kept":
          this.#kept(message.incoming, message.result);
          break;
      }
    }
  }

  override onStop(): void {
    if (this.#rest !== undefined) this.#options.ports.timers.clear(this.#rest);
    this.#taking?.state.return();
    this.#taking?.file.discard();
    this.#incoming?.file.discard();
    this.#taking = undefined;
    this.#incoming = undefined;
    this.#answerDemands(new Error("the node stops"));
  }

  /** The chart decides when a snapshot is taken: one at a time, and none while one is received. */
  #demand({ answer }: Demand): void {
    const { machine } = this.#options;
    if (this.#demands.length >= SNAPSHOT_DEMANDS_MAX) {
      return answer(new Error(`${SNAPSHOT_DEMANDS_MAX} requests wait for a snapshot already`));
    }
    this.#demands.push({ index: machine.lastApplied, answer });
    this.#answerDemands(undefined);
  }

  /** Answers whom the newest snapshot is new enough for, and with a failure all others too. */
  #answerDemands(failure: Error | undefined): void {
    const { group, store, toRaft } = this.#options;
    const newest = store.newest(group);
    const demands = this.#demands;
    this.#demands = [];
    for (const demand of demands) {
      if (newest !== undefined && newest.index >= demand.index) demand.answer(newest);
      else if (failure !== undefined) demand.answer(failure);
      else this.#demands.push(demand);
    }
    // It is due for them, also if one that was under way already has just ended.
    if (this.#demands.length > 0) toRaft({ type: "SnapshotDue" });
  }

  #take(): void {
    const { group, machine, store, ports, machineActor, toRaft } = this.#options;
    if (this.#taking !== undefined) return;
    const isNews = machine.lastApplied > (store.newest(group)?.index ?? 0);
    const state = isNews ? StateFile.freeze(this.#options) : undefined;
    if (state === undefined) {
      toRaft({ type: "SnapshotFailed" });
      return this.#answerDemands(new Error("there is nothing to take a snapshot of yet"));
    }
    try {
      const file = store.create(state.meta);
      this.#taking = { state, file, startMs: ports.clock.monotonicMs() };
    } catch (error) {
      state.return();
      return this.#written(diskError(error));
    }
    machineActor.signal({ type: "Frozen" });
    this.#write();
  }

  /** Writes a slice of the snapshot that is being taken. */
  #write(): void {
    const { ports, self } = this.#options;
    const taking = this.#taking;
    if (taking === undefined) return;
    const { state, file } = taking;
    const startMs = ports.clock.monotonicMs();
    try {
      file.append(state.next().value!);
    } catch (error) {
      return this.#written(diskError(error));
    }
    if (state.isWhole) {
      return file.finish(state.digest, (result) => self().signal({ type: "Written", result }));
    }
    const goOn = (): void => self().signal({ type: "Continue" });
    const restMs = SNAPSHOT_REST_SHARE * (ports.clock.monotonicMs() - startMs);
    if (restMs < TIMER_MS_MIN) ports.scheduler.soon(goOn);
    else this.#rest = ports.timers.set(restMs, goOn);
  }

  #written(result: StoredSnapshot | Error): void {
    const { group, store, toRaft, machineActor, isSending, log, ports } = this.#options;
    const taking = this.#taking;
    this.#taking = undefined;
    taking?.state.return();
    if (result instanceof Error) {
      taking?.file.discard();
      this.counters.failed++;
      log("warn", "snapshot-failed", { group, error: result.message });
      toRaft({ type: "SnapshotFailed" });
      return this.#answerDemands(result);
    }
    const tookMs = taking === undefined ? 0 : ports.clock.monotonicMs() - taking.startMs;
    const stateBytes = taking?.state.stateBytes ?? 0;
    this.counters.taken++;
    this.counters.lastTookMs = tookMs;
    this.counters.lastStateBytes = stateBytes;
    const { index, size } = result;
    log("info", "snapshot-taken", {
      group,
      index,
      stateBytes,
      bytes: size,
      ms: Math.round(tookMs),
    });
    store.removeOld(group, (snapshot) => isSending(snapshot.index));
    machineActor.signal({ type: "Snapshotted" });
    toRaft({ type: "SnapshotTaken", snapshot: refOf(result), before: this.#before(result) });
    this.#answerDemands(undefined);
  }

  /** What the snapshot before this one covers. */
  #before(newest: StoredSnapshot): LogBase | undefined {
    return this.#options.store.of(newest.group).findLast(({ index }) => index < newest.index);
  }

  #send({ to, request, length }: SnapshotPart): void {
    const { group, store, send, toRaft, log } = this.#options;
    const { snapshot, offset } = request;
    const stored = store.of(group).find(({ digest }) => digest === snapshot.digest);
    let bytes: Uint8Array | undefined;
    try {
      bytes = stored === undefined ? undefined : store.read(stored, offset, length);
    } catch (error) {
      // The part is sent again in a while, if the snapshot can be read then.
      log("warn", "snapshot-unread", { group, error: diskError(error).message });
      return this.#startCheck(snapshot);
    }
    if (bytes?.length === length) {
      this.counters.partsSent++;
      return send(to, { ...request, bytes });
    }
    const newest = store.newest(group);
    toRaft({ type: "SnapshotLost", snapshot: newest && refOf(newest) });
  }

  #startCheck({ digest }: SnapshotRef): void {
    const { group, store } = this.#options;
    const stored = store.of(group).find((snapshot) => snapshot.digest === digest);
    if (stored === undefined || this.#checking !== undefined) return;
    this.#checking = { stored, chunks: checked(store, stored) };
    this.#goOnChecking();
  }

  /**
   * Reads a slice of the snapshot that a follower could not use; one that is damaged, or that the disk
   * cannot read, is put aside.
   */
  #goOnChecking(): void {
    const { group, store, toRaft, log, ports, self } = this.#options;
    if (this.#checking === undefined) return;
    const { stored, chunks } = this.#checking;
    try {
      for (let bytes = 0; bytes < SNAPSHOT_SLICE_BYTES;) {
        const { done, value } = chunks.next();
        if (done === true) return void (this.#checking = undefined);
        bytes += value.length;
      }
    } catch (error) {
      const { message, code } = error instanceof SnapshotError
        ? { message: error.message, code: "io" }
        : diskError(error);
      this.#checking = undefined;
      log("error", "snapshot-broken", { group, error: message });
      // It says nothing of the snapshot that no file could be opened.
      if (code !== "io") return;
      store.putAside(stored);
      const newest = store.newest(group);
      return toRaft({ type: "SnapshotLost", snapshot: newest && refOf(newest) });
    }
    ports.scheduler.soon(() => self().signal({ type: "ContinueCheck" }));
  }

  #store({ snapshot, offset, bytes }: ReceivedPart): void {
    const { group, store, machine } = this.#options;
    try {
      if (offset === 0) {
        this.#incoming?.file.discard();
        const { index, term } = snapshot;
        this.#incoming = undefined;
        this.#incoming = { snapshot, file: store.create({ group, index, term }) };
      }
      const incoming = this.#incoming;
      // A part that follows none was kept by an earlier attempt that was refused meanwhile.
      if (incoming?.snapshot.digest !== snapshot.digest) return;
      const { file } = incoming;
      if (file.size !== offset) return;
      file.append(bytes);
      if (file.size < snapshot.size) return;
      const reader = this.#check(file.open());
      const isLoaded = machine.lastApplied >= snapshot.index;
      if (isLoaded) this.#loaded(incoming, undefined);
      else this.#load(incoming, reader);
    } catch (error) {
      this.#refused(error instanceof SnapshotError ? error : diskError(error));
    }
  }

  #load(incoming: Incoming, { meta, chunks }: SnapshotReader): void {
    const { machineActor, self } = this.#options;
    machineActor.signal({
      type: "Load",
      meta,
      chunks,
      done: (error) => self().signal({ type: "Loaded", incoming, error }),
    });
  }

  /** @throws {SnapshotError} If it is not the snapshot that the leader announced. */
  #check(reader: SnapshotReader): SnapshotReader {
    const { group, clusterId } = this.#options;
    const { meta, digest } = reader;
    const { index, term, digest: announced } = this.#incoming!.snapshot;
    const isIt = digest === announced && meta.index === index && meta.term === term &&
      meta.group === group && meta.clusterId === clusterId;
    if (!isIt) throw new SnapshotError("of the leader", "it is not the one that was announced");
    return reader;
  }

  #loaded(incoming: Incoming, error: Error | undefined): void {
    const { self } = this.#options;
    // Another has begun to arrive meanwhile: this one says nothing of that, and its file is gone.
    if (incoming !== this.#incoming) return;
    if (error !== undefined) return this.#refused(error);
    const { file, snapshot: { digest } } = incoming;
    file.finish(digest, (result) => self().signal({ type: "Kept", incoming, result }));
  }

  #kept(incoming: Incoming, result: StoredSnapshot | Error): void {
    const { group, store, toRaft, isSending, log, machineActor } = this.#options;
    const isNewest = incoming === this.#incoming;
    if (result instanceof Error) return isNewest ? this.#refused(result) : undefined;
    if (isNewest) this.#incoming = undefined;
    this.counters.received++;
    this.#hadRoom = true;
    const { index, size: bytes } = result;
    log("info", "snapshot-installed", { group, index, bytes });
    store.removeOld(group, (snapshot) => isSending(snapshot.index));
    machineActor.signal({ type: "Frozen" });
    machineActor.signal({ type: "Snapshotted" });
    toRaft({
      type: "SnapshotReceived",
      snapshot: refOf(result),
      config: configOf(result.meta),
    });
    this.#answerDemands(undefined);
  }

  /** One that has arrived whole is on its way into the machine, and ends by itself. */
  #abandon(): void {
    if (this.#incoming === undefined) return;
    const { file, snapshot } = this.#incoming;
    if (file.size === snapshot.size) return;
    file.discard();
    this.#incoming = undefined;
    this.#answerDemands(undefined);
  }

  /** Drops what has arrived: a leader has to send it again. */
  #refused(error: Error): void {
    const { group, toRaft, log } = this.#options;
    this.#incoming?.file.discard();
    this.#incoming = undefined;
    this.counters.refused++;
    const hasRoom = !(error instanceof DiskError && error.code === "no-space");
    // A leader sends it again and again until there is room: that is told once.
    if (hasRoom || this.#hadRoom) {
      log(hasRoom ? "error" : "warn", "snapshot-refused", { group, error: error.message });
    }
    this.#hadRoom = hasRoom;
    toRaft({ type: "SnapshotRefused" });
    this.#answerDemands(undefined);
  }
}

function* checked(store: SnapshotStore, stored: StoredSnapshot): Generator<Uint8Array, void> {
  yield* store.open(stored).chunks();
}

/** A stored snapshot as Raft speaks of it. */
/** What the group had agreed on as of a snapshot. */
export function configOf({ clusterVersion, config }: SnapshotMeta): ConfigEntry {
  return { clusterVersion, stored: config };
}

export function refOf({ index, term, size, digest, meta }: StoredSnapshot): SnapshotRef {
  return { index, term, timeMs: meta.timeMs, size, digest };
}

/** What the disk failed with; anything else is a defect and stops the node. */
function diskError(error: unknown): DiskError {
  if (error instanceof DiskError) return error;
  throw error;
}
