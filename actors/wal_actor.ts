/**
 * Group commit (s5 "stable storage"), for every group of the process: one write for everything that
 * arrived in a turn, and one sync for everything that was written while the last sync ran.
 *
 * A disk without room is no failure: what it has no room for waits, and is written once it has.
 *
 * Safety: `onDurable` is called only for bytes that a successful sync covered, in the order of the
 * writes. The first failed write or sync throws, which stops the node: a page that could not be
 * written may look clean afterwards, so a second try that succeeds proves nothing.
 *
 * @module
 */
import type { Write } from "../machines/pending_writes.ts";
import type { GroupId } from "../machines/raft_types.ts";
import { encodeHardState } from "../storage/log/wal_record.ts";
import type { Wal } from "../storage/log/wal.ts";
import { WalFullError } from "../storage/log/wal_errors.ts";
import { Actor, type Delivery, type LocalRef } from "./runtime/actor.ts";
import type { Ports } from "./runtime/ports.ts";
import { LazyTimer } from "./runtime/timers.ts";

/** A sync that takes longer than this marks the disk as slow. */
export const DISK_SLOW_MS = 200;
/** A sync that takes longer marks the disk as stalled: this node's leadership ends (raft_machine.ts). */
export const DISK_STALLED_MS = 2_500;
/**
 * Syncs in a row that must be faster than a bound before the disk counts as better than it: below
 * DISK_STALLED_MS a stalled disk becomes slow, below DISK_SLOW_MS a slow one has recovered.
 */
export const DISK_RECOVERY_SYNCS = 8;

/**
 * While nothing is written, a slow or stalled disk is tried this often, so that its recovery is
 * seen.
 */
export const DISK_PROBE_MS = 100;

/** The disk's condition, in the chart's words. */
export type DiskCondition = "DiskSlow" | "DiskStalled" | "DiskRecovered";

/** What a group wants written, and what to call once it is durable. */
export interface WriteRequest {
  readonly type: "Write";
  readonly group: GroupId;
  readonly write: Write;
  readonly onDurable: () => void;
}

/** What the WAL actor takes: from this node's own groups, disk and timer only. */
export type WalSignal =
  | WriteRequest
  /** The running sync has made one file durable, and goes on with the next. */
  | { readonly type: "SyncStep" }
  /** The running sync ended. */
  | { readonly type: "SyncEnded"; readonly error: Error | undefined; readonly position: number }
  /** It is time to look at the running sync, or to try a slow or stalled disk. */
  | { readonly type: "CheckDisk" };

/** What the WAL actor needs. */
export interface WalActorOptions {
  readonly wal: Wal;
  readonly ports: Ports;
  /** The actor's own ref, known once it is spawned. */
  readonly self: () => LocalRef<never, never, WalSignal>;
  readonly onDiskCondition: (condition: DiskCondition) => void;
  /** Called when the disk has no room for what is to be written, and when it has room again. */
  readonly onFull: (isFull: boolean) => void;
  /** What is written is compressed only while a sync takes as long; default 0, always. */
  readonly packSyncMsMin?: number;
  /** Called after every sync with how long it took. */
  readonly onSync?: (durationMs: number) => void;
}

/** Hosts the process's write-ahead log. */
export class WalActor extends Actor<never, never, WalSignal> {
  readonly #options: WalActorOptions;
  readonly #timer: LazyTimer;
  #waiting: { readonly position: number; readonly onDurable: () => void }[] = [];
  #syncStartMs: number | undefined;
  /**
   * When the running sync's last step began, and how long its longest took: a sync of several files is no
   * sign of a slow disk.
   */
  #stepStartMs = 0;
  #longestStepMs = 0;
  /** Whether a sync is under way, even one whose end this actor will not hear of. */
  #syncRuns = false;
  #writtenPosition: number;
  #durablePosition: number;
  #condition: DiskCondition = "DiskRecovered";
  /** What the disk had no room for yet. */
  readonly #unwritten: WriteRequest[] = [];
  #isFull = false;
  /** Syncs in a row below DISK_SLOW_MS, and below DISK_STALLED_MS. */
  #fastSyncs = 0;
  #bearableSyncs = 0;
  #onIdle: (() => void) | undefined;

  /** Hosts `options.wal`, which nothing else may write. */
  constructor(options: WalActorOptions) {
    super();
    this.#options = options;
    this.#writtenPosition = this.#durablePosition = options.wal.durablePosition;
    this.#packIfSlow(0);
    this.#timer = new LazyTimer(options.ports, () => options.self().signal({ type: "CheckDisk" }));
  }

  override receive(batch: readonly Delivery<WalSignal>[]): void {
    for (const { message } of batch) {
      if (message.type === "Write") this.#unwritten.push(message);
      else if (message.type === "SyncEnded") this.#syncEnded(message);
      else if (message.type === "SyncStep") this.#syncWentOn();
      else this.#checkDisk();
    }
    this.#write();
    this.#release();
    this.#startSync();
  }

  /**
   * Writes what is to be written, as far as the disk has room. The rest is tried again, in the same
   * order, until there is room: nobody was promised anything by it, and whoever waits for it waits on.
   */
  #write(): void {
    if (this.#unwritten.length === 0) return;
    try {
      this.#writeAll();
      this.#becomeFull(false);
    } catch (error) {
      if (!(error instanceof WalFullError)) throw error;
      this.#becomeFull(true);
      this.#timer.set(this.#options.ports.clock.monotonicMs() + DISK_PROBE_MS);
    }
  }

  #writeAll(): void {
    const { wal } = this.#options;
    let chunks: Uint8Array[] = [];
    let taken = 0;
    const flush = (): void => {
      if (chunks.length > 0) this.#writtenPosition = wal.append(chunks);
      chunks = [];
      for (const { onDurable } of this.#unwritten.splice(0, taken)) {
        this.#waiting.push({ position: this.#writtenPosition, onDurable });
      }
      taken = 0;
    };
    for (const { group, write: { hardState, forgotten, runs } } of [...this.#unwritten]) {
      if (forgotten !== undefined) {
        // In order: what the log forgets depends on what it holds by then.
        flush();
        this.#writtenPosition = wal.forget(group, forgotten.base, forgotten);
      }
      if (hardState !== undefined) chunks.push(encodeHardState(group, hardState));
      for (const run of runs) chunks.push(run.bytes);
      taken++;
    }
    flush();
  }

  #becomeFull(isFull: boolean): void {
    if (isFull === this.#isFull) return;
    this.#isFull = isFull;
    this.#options.onFull(isFull);
  }

  override onStop(): void {
    this.#timer.stop();
  }

  #startSync(): void {
    if (this.#syncStartMs !== undefined || this.#writtenPosition <= this.#durablePosition) return;
    const { wal, ports, self } = this.#options;
    this.#syncStartMs = this.#stepStartMs = ports.clock.monotonicMs();
    this.#longestStepMs = 0;
    this.#timer.set(this.#syncStartMs + DISK_SLOW_MS);
    this.#syncRuns = true;
    wal.sync((error, position) => {
      this.#syncRuns = false;
      self().signal({ type: "SyncEnded", error, position });
      this.#onIdle?.();
    }, () => self().signal({ type: "SyncStep" }));
  }

  /** On a fast disk compression costs more time than it saves. */
  #packIfSlow(syncMs: number): void {
    const { wal, packSyncMsMin = 0 } = this.#options;
    wal.packs = syncMs >= packSyncMsMin;
  }

  #noteStep(): void {
    const nowMs = this.#options.ports.clock.monotonicMs();
    this.#longestStepMs = Math.max(this.#longestStepMs, nowMs - this.#stepStartMs);
    this.#stepStartMs = nowMs;
  }

  #syncWentOn(): void {
    this.#noteStep();
    this.#timer.set(this.#stepStartMs + DISK_SLOW_MS);
  }

  /** Calls `done` once no sync runs, so that the log can be closed; for use after the actor stopped. */
  whenIdle(done: () => void): void {
    if (this.#syncRuns) this.#onIdle = done;
    else done();
  }

  #syncEnded(ended: { readonly error: Error | undefined; readonly position: number }): void {
    if (ended.error !== undefined) throw ended.error;
    this.#durablePosition = ended.position;
    this.#noteStep();
    const durationMs = this.#options.ports.clock.monotonicMs() - (this.#syncStartMs ?? 0);
    this.#syncStartMs = undefined;
    this.#options.onSync?.(durationMs);
    this.#packIfSlow(this.#longestStepMs);
    this.#judge(this.#longestStepMs);
    const isWell = this.#condition === "DiskRecovered" && !this.#isFull;
    this.#timer.set(isWell ? Infinity : this.#options.ports.clock.monotonicMs() + DISK_PROBE_MS);
  }

  /** Tells the groups whose bytes are durable, in the order of their writes. */
  #release(): void {
    let count = 0;
    while (
      count < this.#waiting.length && this.#waiting[count]!.position <= this.#durablePosition
    ) count++;
    if (count === 0) return;
    for (const { onDurable } of this.#waiting.splice(0, count)) onDurable();
  }

  /**
   * Judges the disk by how long the running sync has taken. If none runs, tries a slow or stalled
   * disk.
   */
  #checkDisk(): void {
    if (this.#syncStartMs === undefined) return this.#probe();
    const runningMs = this.#options.ports.clock.monotonicMs() - this.#stepStartMs;
    this.#worsen(runningMs);
    if (runningMs < DISK_STALLED_MS) this.#timer.set(this.#stepStartMs + DISK_STALLED_MS);
  }

  /**
   * Writes a mark, to be synced. A member whose disk has stalled does not campaign. If only its log
   * is up-to-date, no other member can win and nothing is written. Without this mark no sync would
   * ever show that the disk is well again.
   */
  #probe(): void {
    if (this.#condition === "DiskRecovered" || this.#isFull) return;
    try {
      this.#writtenPosition = this.#options.wal.append([]);
    } catch (error) {
      if (!(error instanceof WalFullError)) throw error;
    }
  }

  /**
   * Hysteresis: one long sync makes the disk slow or stalled, and only several shorter ones in a
   * row make it better. A disk that is always slow can lead, so one longer sync must not leave it
   * stalled.
   */
  #judge(durationMs: number): void {
    if (this.#worsen(durationMs) || this.#condition === "DiskRecovered") return;
    this.#bearableSyncs++;
    this.#fastSyncs = durationMs >= DISK_SLOW_MS ? 0 : this.#fastSyncs + 1;
    if (this.#fastSyncs >= DISK_RECOVERY_SYNCS) this.#become("DiskRecovered");
    else if (this.#condition === "DiskStalled" && this.#bearableSyncs >= DISK_RECOVERY_SYNCS) {
      this.#become("DiskSlow");
    }
  }

  /**
   * Judges the disk by a sync that took, or has run, this long. Returns whether the disk became
   * worse.
   */
  #worsen(durationMs: number): boolean {
    const isStalled = durationMs >= DISK_STALLED_MS;
    const isSlow = durationMs >= DISK_SLOW_MS && this.#condition === "DiskRecovered";
    if (!isStalled && !isSlow) return false;
    this.#become(isStalled ? "DiskStalled" : "DiskSlow");
    return true;
  }

  #become(condition: DiskCondition): void {
    this.#fastSyncs = 0;
    this.#bearableSyncs = 0;
    if (condition === this.#condition) return;
    this.#condition = condition;
    this.#options.onDiskCondition(condition);
  }
}
