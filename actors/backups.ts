/**
 * Backups of one group: its state as it is at one moment, as the bytes of a snapshot file, made a slice
 * at a time while the machine goes on.
 *
 * A frozen view keeps what the machine has replaced since. So it is released when the last byte was
 * made, when nobody wants the rest, and when the member stops.
 *
 * @module
 */
import type { GroupId, LogIndex } from "../machines/raft_types.ts";
import type { FrozenState, StateMachine } from "../machines/state_machine.ts";
import { joinBytes } from "../storage/join_bytes.ts";
import { SnapshotEncoder, type SnapshotMeta } from "../storage/log/snapshot_file.ts";
import { SNAPSHOT_SLICE_BYTES } from "./limits.ts";
import type { SnapshotFacts } from "./snapshot_actor.ts";

/** What backups are made of. */
export interface BackupSource {
  readonly group: GroupId;
  readonly clusterId: string;
  readonly machine: Pick<StateMachine, "freeze" | "lastApplied" | "version">;
  /** What belongs to the entry at `index`; undefined if this member cannot tell now. */
  readonly factsAt: (index: LogIndex) => SnapshotFacts | undefined;
}

/** Counters of a group's backups, for metrics. */
export interface BackupCounters {
  /** Backups of which every byte was made. */
  whole: number;
  /** Backups that were given up before. */
  cut: number;
}

/** The backups of one group that are being made. */
export class Backups {
  readonly counters: BackupCounters = { whole: 0, cut: 0 };
  readonly #source: BackupSource;
  readonly #running = new Set<Backup>();

  /** Backs `source` up. */
  constructor(source: BackupSource) {
    this.#source = source;
  }

  /** How many are being made. */
  get running(): number {
    return this.#running.size;
  }

  /** Freezes the state as it is now; undefined if this member is just taking over a leader's snapshot. */
  begin(): Backup | undefined {
    const { group, clusterId, machine, factsAt } = this.#source;
    const { lastApplied: index, version: machineVersion } = machine;
    const facts = factsAt(index);
    if (facts === undefined) return undefined;
    const frozen = machine.freeze();
    const { stateHash } = frozen;
    const meta = { clusterId, group, index, ...facts, machineVersion, stateHash };
    const backup = new Backup(meta, frozen, (isWhole) => {
      this.#running.delete(backup);
      if (isWhole) this.counters.whole++;
      else this.counters.cut++;
    });
    this.#running.add(backup);
    return backup;
  }

  /** Cuts those that are being made: the member stops. */
  stop(): void {
    for (const backup of this.#running) backup.return();
  }
}

/** The pieces of one snapshot file, each made when it is asked for. */
export class Backup implements Iterator<Uint8Array, undefined> {
  readonly meta: SnapshotMeta;
  readonly #frozen: FrozenState;
  readonly #onEnd: (isWhole: boolean) => void;
  readonly #encoder = new SnapshotEncoder();
  #chunks: Iterator<Uint8Array> | undefined;
  #state: "running" | "whole" | "cut" = "running";

  /** See {@linkcode Backups.begin}; `onEnd` hears once whether every byte was made. */
  constructor(meta: SnapshotMeta, frozen: FrozenState, onEnd: (isWhole: boolean) => void) {
    this.meta = meta;
    this.#frozen = frozen;
    this.#onEnd = onEnd;
  }

  /** SHA-256 of the file, 64 hexadecimal digits, once its last piece was made; empty before. */
  get digest(): string {
    return this.#encoder.digest;
  }

  /**
   * The bytes of the next SNAPSHOT_SLICE_BYTES of the state, or so.
   *
   * @throws {Error} If it was cut: what was read of it is no whole file.
   */
  next(): IteratorResult<Uint8Array, undefined> {
    if (this.#state === "cut") throw new Error("Cannot go on with a backup: it was cut");
    if (this.#state === "whole") return { done: true, value: undefined };
    if (this.#chunks === undefined) {
      this.#chunks = this.#frozen.chunks()[Symbol.iterator]();
      return { done: false, value: this.#encoder.head(this.meta) };
    }
    const pieces: Uint8Array[] = [];
    for (let stateBytes = 0; stateBytes < SNAPSHOT_SLICE_BYTES;) {
      const { done, value } = this.#chunks.next();
      if (done === true) {
        pieces.push(this.#encoder.end());
        this.#end("whole");
        break;
      }
      stateBytes += value.length;
      pieces.push(this.#encoder.chunk(value));
    }
    const bytes = pieces.reduce((sum, piece) => sum + piece.length, 0);
    return { done: false, value: joinBytes(pieces, bytes) };
  }

  /** Gives up what was not made yet. Idempotent; does nothing once every byte was made. */
  return(): IteratorResult<Uint8Array, undefined> {
    this.#end("cut");
    return { done: true, value: undefined };
  }

  #end(state: "whole" | "cut"): void {
    if (this.#state !== "running") return;
    this.#state = state;
    this.#frozen.release();
    this.#onEnd(state === "whole");
  }
}
