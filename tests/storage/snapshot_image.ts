/**
 * What the tests of snapshot files share: a snapshot as bytes, its chunks as they are framed, and what
 * reading it comes to.
 *
 * @module
 */
import type { SnapshotMeta } from "../../storage/log/snapshot_file.ts";
import {
  openSnapshot,
  SnapshotEncoder,
  SnapshotError,
  type SnapshotReader,
} from "../../storage/log/snapshot_file.ts";
import { Dice } from "../sim/random.ts";

/** Whose snapshots they are. */
export const CLUSTER_ID = "c-1";

/** Bytes of a chunk before what is stored. */
export const CHUNK_HEAD_BYTES = 12;
/** Bytes of the end: a chunk of no bytes, and the digest. */
export const END_BYTES = CHUNK_HEAD_BYTES + 32;

/** A whole snapshot. */
export interface SnapshotImage {
  readonly bytes: Uint8Array;
  readonly meta: SnapshotMeta;
  /** What its chunks hold. */
  readonly states: readonly Uint8Array[];
  readonly digest: string;
}

/** A meta of group 0. */
export function metaOf(fields: Partial<SnapshotMeta> = {}): SnapshotMeta {
  return {
    ...{ clusterId: CLUSTER_ID, group: 0, index: 7, term: 2, timeMs: 1_000, clusterVersion: 1 },
    ...{ members: [1, 2, 3], machineVersion: 1, stateHash: "00ff" },
    ...fields,
  };
}

/** The snapshot of these chunks. */
export function imageOf(
  states: readonly Uint8Array[],
  fields: Partial<SnapshotMeta> = {},
): SnapshotImage {
  const meta = metaOf(fields);
  const encoder = new SnapshotEncoder();
  const parts = [encoder.head(meta), ...states.map((state) => encoder.chunk(state)), encoder.end()];
  return { bytes: joined(parts), meta, states, digest: encoder.digest };
}

/** Chunks of a state: some shrink, some do not; `seed` makes other ones. */
export function statesOf(
  { count, bytes, seed = 1 }: {
    readonly count: number;
    /** Of each. */
    readonly bytes: number;
    readonly seed?: number;
  },
): Uint8Array[] {
  const dice = new Dice(seed);
  return Array.from({ length: count }, (_, chunk) => {
    // Of every eight the second has sixteen values only, and shrinks: unpacking takes longer than all else.
    const alphabet = chunk % 8 === 1 ? 16 : 256;
    const state = new Uint8Array(bytes);
    for (let at = 0; at < bytes; at++) state[at] = dice.below(alphabet);
    return state;
  });
}

/** The places of a snapshot's parts: the head, each chunk, the end. */
export function placesOf(bytes: Uint8Array): { readonly head: number; readonly chunks: number[] } {
  const view = new DataView(bytes.buffer, bytes.byteOffset);
  const head = 16 + view.getUint32(12, true) + 4;
  const chunks: number[] = [];
  for (let at = head; view.getUint32(at + 4, true) > 0;) {
    chunks.push(at);
    at += CHUNK_HEAD_BYTES + view.getUint32(at, true);
  }
  return { head, chunks };
}

/** Opens bytes as a snapshot. */
export function open(bytes: Uint8Array): SnapshotReader {
  const read = (offset: number, length: number): Uint8Array =>
    bytes.subarray(offset, offset + length);
  return openSnapshot("x.snap", { read, size: bytes.length });
}

/** What reading came to: the chunks that were given, and the error that ended it. */
export interface ReadOutcome {
  readonly states: readonly Uint8Array[];
  readonly error: SnapshotError | undefined;
}

/** Reads a snapshot to its end, or to the error that ends it. */
export function readAll(bytes: Uint8Array): ReadOutcome {
  const states: Uint8Array[] = [];
  try {
    for (const state of open(bytes).chunks()) states.push(state);
  } catch (error) {
    if (!(error instanceof SnapshotError)) throw error;
    return { states, error };
  }
  return { states, error: undefined };
}

/** The parts as one piece. */
export function joined(parts: readonly Uint8Array[]): Uint8Array {
  const bytes = new Uint8Array(parts.reduce((sum, { length }) => sum + length, 0));
  let at = 0;
  for (const part of parts) {
    bytes.set(part, at);
    at += part.length;
  }
  return bytes;
}
