/**
 * A group's state as it is at one moment, as the bytes of a snapshot file, made a slice at a time while
 * the machine goes on. Snapshots and backups are made of it.
 *
 * A frozen view keeps what the machine has replaced since. So it is released when the last byte was
 * made, and when nobody wants the rest.
 *
 * @module
 */
import type { StoredConfig } from "../machines/group_config.ts";
import type { GroupId, LogIndex, NodeId, Term } from "../machines/raft_types.ts";
import type { FrozenState, StateMachine } from "../machines/state_machine.ts";
import { joinBytes } from "../storage/join_bytes.ts";
import { SnapshotEncoder, type SnapshotMeta } from "../storage/log/snapshot_file.ts";
import { SNAPSHOT_SLICE_BYTES } from "./limits.ts";

/** What a member knows besides the machine's state. */
export interface SnapshotFacts {
  readonly term: Term;
  readonly timeMs: number;
  readonly clusterVersion: number;
  readonly members: readonly NodeId[];
  /** Absent where the log names no members yet. */
  readonly config?: StoredConfig;
}

/** What files are made of. */
export interface StateSource {
  readonly group: GroupId;
  readonly clusterId: string;
  readonly machine: Pick<StateMachine, "freeze" | "lastApplied" | "version">;
  /** What belongs to the entry at `index`; undefined if this member cannot tell now. */
  readonly factsAt: (index: LogIndex) => SnapshotFacts | undefined;
}

/** The pieces of one snapshot file, each made when it is asked for. */
export class StateFile implements Iterator<Uint8Array, undefined> {
  readonly meta: SnapshotMeta;
  /** Bytes of the state that were made. */
  stateBytes = 0;
  readonly #frozen: FrozenState;
  readonly #onEnd: (isWhole: boolean) => void;
  readonly #encoder = new SnapshotEncoder();
  #chunks: Iterator<Uint8Array> | undefined;
  #state: "running" | "whole" | "cut" = "running";

  /**
   * Freezes the state as it is now; `onEnd` hears once whether every byte was made. Undefined if this
   * member is just taking over a leader's snapshot.
   */
  static freeze(
    { group, clusterId, machine, factsAt }: StateSource,
    onEnd: (isWhole: boolean) => void = () => {},
  ): StateFile | undefined {
    const { lastApplied: index, version: machineVersion } = machine;
    const facts = factsAt(index);
    if (facts === undefined) return undefined;
    const frozen = machine.freeze();
    const { stateHash } = frozen;
    const meta = { clusterId, group, index, ...facts, machineVersion, stateHash };
    return new StateFile(meta, frozen, onEnd);
  }

  /** As {@linkcode StateFile.freeze}, of a state that was frozen. */
  constructor(
    meta: SnapshotMeta,
    frozen: FrozenState,
    onEnd: (isWhole: boolean) => void = () => {},
  ) {
    this.meta = meta;
    this.#frozen = frozen;
    this.#onEnd = onEnd;
  }

  /** Whether the last piece was made. */
  get isWhole(): boolean {
    return this.#state === "whole";
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
    if (this.#state === "cut") throw new Error("Cannot go on with the file of a state: it was cut");
    if (this.#state === "whole") return { done: true, value: undefined };
    if (this.#chunks === undefined) {
      this.#chunks = this.#frozen.chunks()[Symbol.iterator]();
      return { done: false, value: this.#encoder.head(this.meta) };
    }
    const pieces: Uint8Array[] = [];
    const through = this.stateBytes + SNAPSHOT_SLICE_BYTES;
    while (this.stateBytes < through) {
      const { done, value } = this.#chunks.next();
      if (done === true) {
        pieces.push(this.#encoder.end());
        this.#end("whole");
        break;
      }
      this.stateBytes += value.length;
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
