/**
 * A snapshot as a file: a group's state after one entry of its log (s7). What is written, sent to
 * a follower, and kept as a backup is the same bytes.
 *
 * | bytes | field |
 * |---|---|
 * | 8 | magic, "STCRFSNP" |
 * | 4 | format version, 1 |
 * | 4 | length of the meta |
 * | n | meta: JSON, see {@linkcode SnapshotMeta} |
 * | 4 | CRC-32C of all that precedes |
 * | any number of chunks | see below |
 * | 12 | end: a chunk of no bytes |
 * | 32 | SHA-256 of all that precedes |
 *
 * | bytes | field of a chunk |
 * |---|---|
 * | 4 | bytes stored |
 * | 4 | bytes of the state; if as many are stored, they are stored as they are, else with zstd |
 * | 4 | CRC-32C of the two numbers and the bytes stored |
 * | n | what is stored |
 *
 * All integers are little-endian. Each chunk is compressed by itself, so that writing and reading
 * need the memory of one chunk, and stop the event loop for no longer than one takes.
 *
 * The CRCs find damage where it is. The digest over all finds what they cannot: chunks that are
 * whole and are missing, or belong to another snapshot.
 *
 * @module
 */
import { createHash, type Hash } from "node:crypto";
import type { StoredConfig } from "../../machines/group_config.ts";
import type { GroupId, LogIndex, NodeId, Term } from "../../machines/raft_types.ts";
import { toByteString, writeByteString } from "../byte_string.ts";
import { compress, decompress } from "../compression.ts";
import { crc32c } from "../crc32c.ts";
import {
  SNAPSHOT_CHUNK_BYTES_MAX,
  SNAPSHOT_INDEX_MAX,
  SNAPSHOT_META_BYTES_MAX,
  SNAPSHOT_TIME_MS_MAX,
  SNAPSHOT_ZSTD_LEVEL,
  TERM_MAX,
} from "./limits.ts";

/** What a snapshot says about itself. A later release may append fields; they are read over. */
export interface SnapshotMeta {
  /** The cluster whose state it is. */
  readonly clusterId: string;
  /** The Raft group whose state it is. */
  readonly group: GroupId;
  /** The last entry that it covers. */
  readonly index: LogIndex;
  /** That entry's term. */
  readonly term: Term;
  /** That entry's log time: a leader's goes on from it. */
  readonly timeMs: number;
  /** What the group had agreed on by then (machines/group_config.ts). */
  readonly clusterVersion: number;
  /** The voters, ascending. */
  readonly members: readonly NodeId[];
  /** The members by then; absent where the log had none yet (machines/group_config.ts). */
  readonly config?: StoredConfig;
  /** Version of the requests and of the state that the machine wrote. */
  readonly machineVersion: number;
  /** Hash of the state, as the machine's. */
  readonly stateHash: string;
}

/** Reads `length` bytes of a file from `offset` on; fewer where it ends. */
export type ReadBytes = (offset: number, length: number) => Uint8Array;

/** Bytes that are no whole snapshot of a format that this release reads. */
export class SnapshotError extends Error {
  /** Its class's name. */
  override readonly name = "SnapshotError";
  /**
   * Damaged: an earlier snapshot, or a peer, helps. Foreign: somebody put it there who knows another
   * cluster or a newer release, and only an operator can say what it is for.
   */
  readonly kind: "damaged" | "foreign";

  /** See the class. */
  constructor(path: string, reason: string, kind: "damaged" | "foreign" = "damaged") {
    super(`Cannot use snapshot ${path}: ${reason}`);
    this.kind = kind;
  }
}

const MAGIC = "STCRFSNP";
const FORMAT_VERSION = 1;
const VERSION_AT = 8;
const META_LENGTH_AT = 12;
const META_AT = 16;
const CRC_BYTES = 4;
const CHUNK_HEAD_BYTES = 12;
const CHUNK_CRC_AT = 8;
const DIGEST_BYTES = 32;
/**
 * What the numbers of a meta may be. The log goes on from the index, the term and the time: a backup
 * that somebody forged must not found a cluster that can count no further.
 */
const NUMBERS_MAX = {
  group: Number.MAX_SAFE_INTEGER,
  index: SNAPSHOT_INDEX_MAX,
  term: TERM_MAX,
  timeMs: SNAPSHOT_TIME_MS_MAX,
  clusterVersion: Number.MAX_SAFE_INTEGER,
  machineVersion: Number.MAX_SAFE_INTEGER,
};
/** Bytes of the shortest file: no meta, no chunk. */
const FILE_BYTES_MIN = META_AT + CRC_BYTES + CHUNK_HEAD_BYTES + DIGEST_BYTES;

/** Makes the bytes of one snapshot, piece by piece and in order: a head, chunks, an end. */
export class SnapshotEncoder {
  readonly #hash: Hash = createHash("sha256");
  readonly #compresses: boolean;
  #digest = "";

  /** `compresses`: false stores every chunk as it is. */
  constructor(compresses = true) {
    this.#compresses = compresses;
  }

  /** @throws {RangeError} If the meta is too long. */
  head(meta: SnapshotMeta): Uint8Array {
    const text = new TextEncoder().encode(JSON.stringify(meta));
    if (text.length > SNAPSHOT_META_BYTES_MAX) {
      throw new RangeError(`Cannot write a snapshot: its meta has ${text.length} bytes`);
    }
    const bytes = new Uint8Array(META_AT + text.length + CRC_BYTES);
    const view = new DataView(bytes.buffer);
    writeByteString(MAGIC, bytes, 0);
    view.setUint32(VERSION_AT, FORMAT_VERSION, true);
    view.setUint32(META_LENGTH_AT, text.length, true);
    bytes.set(text, META_AT);
    const crcAt = META_AT + text.length;
    view.setUint32(crcAt, crc32c(bytes, 0, crcAt), true);
    return this.#made(bytes);
  }

  /** @throws {RangeError} If the chunk is empty or too long. */
  chunk(state: Uint8Array): Uint8Array {
    if (state.length === 0 || state.length > SNAPSHOT_CHUNK_BYTES_MAX) {
      throw new RangeError(
        `Cannot write a snapshot: a chunk of its state has ${state.length} bytes`,
      );
    }
    const packed = this.#compresses ? compress(state, SNAPSHOT_ZSTD_LEVEL) : state;
    return this.#made(framed(packed.length < state.length ? packed : state, state.length));
  }

  /** The last piece. */
  end(): Uint8Array {
    const end = this.#made(framed(new Uint8Array(0), 0));
    const bytes = new Uint8Array(end.length + DIGEST_BYTES);
    bytes.set(end);
    const digest = this.#hash.digest();
    this.#digest = digest.toString("hex");
    bytes.set(digest, end.length);
    return bytes;
  }

  /** SHA-256 of the content, 64 hexadecimal digits, once it has its end; empty before. */
  get digest(): string {
    return this.#digest;
  }

  #made(bytes: Uint8Array): Uint8Array {
    this.#hash.update(bytes);
    return bytes;
  }
}

/** A snapshot that is there, to be read. */
export interface SnapshotReader {
  /** What it says about itself. */
  readonly meta: SnapshotMeta;
  /** SHA-256 of its content, 64 hexadecimal digits, as the file says. */
  readonly digest: string;
  /**
   * The chunks of its state, each read when it is asked for.
   *
   * @throws {SnapshotError} Where it is damaged; once the last chunk was read, if the whole is not
   * what its digest says.
   */
  chunks(): Generator<Uint8Array, void>;
  /**
   * Where its chunks are, as their heads say; what they hold is not looked at.
   *
   * @throws {SnapshotError} Where a head cannot be one.
   */
  frames(): Generator<SnapshotFrame, void>;
}

/** A chunk in its file. */
export interface SnapshotFrame {
  /** Where its head begins. */
  readonly offset: number;
  /** Bytes that are stored, without the head. */
  readonly storedBytes: number;
  /** Bytes of the state. */
  readonly stateBytes: number;
}

/**
 * Reads the head of a snapshot file of `size` bytes.
 *
 * @throws {SnapshotError} If it is damaged, cut short or of another version.
 */
export function openSnapshot(
  path: string,
  { read, size }: { readonly read: ReadBytes; readonly size: number },
): SnapshotReader {
  if (size < FILE_BYTES_MIN) throw new SnapshotError(path, `it is cut short: ${size} bytes`);
  const start = read(0, META_AT);
  const view = viewOf(start);
  if (start.length < META_AT || toByteString(start, 0, VERSION_AT) !== MAGIC) {
    throw new SnapshotError(path, "it does not begin as a snapshot does");
  }
  const metaLength = view.getUint32(META_LENGTH_AT, true);
  if (metaLength > Math.min(SNAPSHOT_META_BYTES_MAX, size - FILE_BYTES_MIN)) {
    throw new SnapshotError(path, `its meta has ${metaLength} bytes`);
  }
  const headBytes = META_AT + metaLength + CRC_BYTES;
  const head = read(0, headBytes);
  const crcAt = headBytes - CRC_BYTES;
  if (head.length < headBytes || viewOf(head).getUint32(crcAt, true) !== crc32c(head, 0, crcAt)) {
    throw new SnapshotError(path, "its head is damaged");
  }
  // Only now: the version of a damaged head says nothing.
  const version = view.getUint32(VERSION_AT, true);
  if (version !== FORMAT_VERSION) {
    const reason = `its format version ${version} is not known; use a newer release`;
    throw new SnapshotError(path, reason, "foreign");
  }
  const meta = metaOf(path, head.subarray(META_AT, crcAt));
  const digest = toHex(read(size - DIGEST_BYTES, DIGEST_BYTES));
  return {
    meta,
    digest,
    chunks: () => readChunks(path, { read, size, head, digest }),
    frames: () => readFrames(path, read, head.length),
  };
}

function* readFrames(path: string, read: ReadBytes, from: number): Generator<SnapshotFrame, void> {
  for (let offset = from;;) {
    const { storedLength, length } = chunkHeadAt(path, read, offset);
    if (length === 0) return;
    yield { offset, storedBytes: storedLength, stateBytes: length };
    offset += CHUNK_HEAD_BYTES + storedLength;
  }
}

/** @throws {SnapshotError} If it cannot be the head of a chunk. */
function chunkHeadAt(path: string, read: ReadBytes, at: number): {
  readonly chunkHead: Uint8Array;
  readonly storedLength: number;
  readonly length: number;
} {
  const chunkHead = read(at, CHUNK_HEAD_BYTES);
  if (chunkHead.length < CHUNK_HEAD_BYTES) throw new SnapshotError(path, "it is cut short");
  const view = viewOf(chunkHead);
  const [storedLength, length] = [view.getUint32(0, true), view.getUint32(4, true)];
  if (length > SNAPSHOT_CHUNK_BYTES_MAX || storedLength > length) {
    throw new SnapshotError(path, `a chunk at byte ${at} is damaged`);
  }
  return { chunkHead, storedLength, length };
}

function* readChunks(
  path: string,
  { read, size, head, digest }: {
    readonly read: ReadBytes;
    readonly size: number;
    readonly head: Uint8Array;
    readonly digest: string;
  },
): Generator<Uint8Array, void> {
  const hash = createHash("sha256").update(head);
  for (let at = head.length;;) {
    const { chunkHead, storedLength, length } = chunkHeadAt(path, read, at);
    const stored = read(at + CHUNK_HEAD_BYTES, storedLength);
    const crc = crc32c(stored, 0, stored.length, crc32c(chunkHead, 0, CHUNK_CRC_AT));
    if (stored.length < storedLength || viewOf(chunkHead).getUint32(CHUNK_CRC_AT, true) !== crc) {
      throw new SnapshotError(path, `a chunk at byte ${at} is damaged`);
    }
    hash.update(chunkHead).update(stored);
    at += CHUNK_HEAD_BYTES + storedLength;
    if (length === 0) {
      const left = size - at;
      if (left < DIGEST_BYTES) throw new SnapshotError(path, `it is cut short: ${size} bytes`);
      if (left > DIGEST_BYTES) throw new SnapshotError(path, "bytes follow its end");
      if (hash.digest("hex") !== digest) {
        throw new SnapshotError(path, "its chunks are not those that its digest was made of");
      }
      return;
    }
    yield storedLength === length ? stored : unpack(path, stored, length);
  }
}

function unpack(path: string, stored: Uint8Array, length: number): Uint8Array {
  try {
    return decompress(stored, length);
  } catch (cause) {
    throw new SnapshotError(path, `a chunk cannot be unpacked: ${(cause as Error).message}`);
  }
}

function framed(stored: Uint8Array, length: number): Uint8Array {
  const bytes = new Uint8Array(CHUNK_HEAD_BYTES + stored.length);
  const view = viewOf(bytes);
  view.setUint32(0, stored.length, true);
  view.setUint32(4, length, true);
  bytes.set(stored, CHUNK_HEAD_BYTES);
  const crc = crc32c(stored, 0, stored.length, crc32c(bytes, 0, CHUNK_CRC_AT));
  view.setUint32(CHUNK_CRC_AT, crc, true);
  return bytes;
}

function metaOf(path: string, text: Uint8Array): SnapshotMeta {
  let parsed: unknown;
  try {
    parsed = JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(text));
  } catch {
    throw new SnapshotError(path, "its meta is not JSON");
  }
  if (!isMeta(parsed)) throw new SnapshotError(path, "its meta lacks a field, or has a wrong one");
  return parsed;
}

function isMeta(value: unknown): value is SnapshotMeta {
  if (typeof value !== "object" || value === null) return false;
  const meta = value as Readonly<Record<string, unknown>>;
  const { clusterId, stateHash, members } = meta;
  return typeof clusterId === "string" && typeof stateHash === "string" &&
    Object.entries(NUMBERS_MAX).every(([name, max]) => isCount(meta[name], max)) &&
    Array.isArray(members) && members.every((id) => Number.isSafeInteger(id)) &&
    (meta["config"] === undefined ||
      (typeof meta["config"] === "object" && meta["config"] !== null));
}

function isCount(value: unknown, max: number): boolean {
  return Number.isSafeInteger(value) && (value as number) >= 0 && (value as number) <= max;
}

function toHex(bytes: Uint8Array): string {
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

function viewOf({ buffer, byteOffset, byteLength }: Uint8Array): DataView {
  return new DataView(buffer, byteOffset, byteLength);
}
