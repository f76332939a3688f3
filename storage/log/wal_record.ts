/**
 * The records of the write-ahead log: the bytes of an entry, encoded once by the leader that
 * proposed it and the same on its disk, on the wire and on every follower's disk.
 *
 * All integers are little-endian; a 64-bit field holds an integer from 0 to 2^53-1.
 *
 * | offset | bytes | field | noop, command, config | hardState | mark | checkpoint | packed |
 * |---|---|---|---|---|---|---|---|
 * | 0 | 4 | crc | CRC-32C of all that follows, to the end of the payload | same | same | same | same |
 * | 4 | 4 | length | bytes of the payload | 0 | 0 | 24 | bytes of the payload |
 * | 8 | 1 | version | 1 | 1 | 1 | 1 | 1 |
 * | 9 | 1 | kind | 1, 2, 3 | 4 | 5 | 6 | 7 |
 * | 10 | 2 | reserved | 0 | 0 | 0 | 0 | 0 |
 * | 12 | 4 | group | group id | group id | checksum of the append before | group id | 0 |
 * | 16 | 8 | term | the entry's term | currentTerm | sequence of the segment | currentTerm | 0 |
 * | 24 | 8 | index | the entry's index | votedFor, 0 for nobody | how far the log was durable | votedFor | bytes unpacked |
 * | 32 | 8 | timeMs | leader-stamped log time | 0 | position of this record | 0 | 0 |
 * | 40 | length | payload | | | | base index, base term, last index: 8 bytes each | records, with zstd |
 *
 * A checkpoint says what all before it comes to: the hard state, and a log that begins after the base
 * and ends at the last index. Entries up to the base are covered by a snapshot.
 *
 * A packed record stands for the records in it, which are of the other kinds but marks.
 *
 * Marks and packed records belong to one log and never travel; see wal.ts for what marks say.
 *
 * @module
 */
import type {
  EntryKind,
  EntryRun,
  GroupId,
  HardState,
  RecordFormat,
} from "../../machines/raft_types.ts";
import { crc32c } from "../crc32c.ts";
import { decompress } from "../compression.ts";
import { ENTRY_PAYLOAD_BYTES_MAX, PACKED_BYTES_MAX } from "./limits.ts";

/** What a record holds. */
export type RecordKind = EntryKind | "hardState" | "mark" | "checkpoint" | "packed";

/** What is wrong with a record. */
export type RecordErrorCode =
  | "truncated"
  | "version"
  | "length"
  | "checksum"
  | "kind"
  | "reserved"
  | "group"
  | "number"
  | "order"
  | "packed";

/** Bytes that are not the records they should be. */
export class RecordError extends Error {
  override readonly name = "RecordError";
  readonly code: RecordErrorCode;
  /** Where the record begins in the bytes that were read. */
  readonly offset: number;
  /** What is wrong, without the place. */
  readonly reason: string;
  /**
   * Whether the record's checksum is right: then nothing has damaged it, and what it says is not known
   * here.
   */
  readonly isWhole: boolean;

  constructor(
    code: RecordErrorCode,
    offset: number,
    reason: string,
    { isWhole = false }: { readonly isWhole?: boolean } = {},
  ) {
    super(`Cannot read record at byte ${offset}: ${reason}`);
    this.code = code;
    this.offset = offset;
    this.reason = reason;
    this.isWhole = isWhole;
  }
}

/** Bytes of a record before its payload. */
export const RECORD_HEADER_BYTES = 40;

const RECORD_VERSION = 1;
const LENGTH_AT = 4;
const VERSION_AT = 8;
const KIND_AT = 9;
const RESERVED_AT = 10;
const GROUP_AT = 12;
const TERM_AT = 16;
const INDEX_AT = 24;
const TIME_AT = 32;
const BASE_INDEX_AT = RECORD_HEADER_BYTES;
const BASE_TERM_AT = BASE_INDEX_AT + 8;
const LAST_INDEX_AT = BASE_TERM_AT + 8;

/** Bytes of a checkpoint. */
export const CHECKPOINT_BYTES = LAST_INDEX_AT + 8;

const KINDS = ["noop", "command", "config", "hardState", "mark", "checkpoint", "packed"] as const;
const KIND_CODE = {
  ...{ noop: 1, command: 2, config: 3 } as const,
  ...{ hardState: 4, mark: 5, checkpoint: 6, packed: 7 } as const,
};
/** Bytes of the payload of each kind that has always as many. */
const FIXED_LENGTHS: Partial<Record<RecordKind, number>> = {
  ...{ hardState: 0, mark: 0, checkpoint: 24 },
};
const KIND_CODE_MAX = KINDS.length;

const GROUP_MAX = 2 ** 32 - 1;
const TWO_TO_32 = 2 ** 32;
/** Upper half of 2^53-1. */
const HIGH_HALF_MAX = 2 ** 21 - 1;

/**
 * Reads records one after the other into its own fields, so that reading makes no object per
 * record.
 */
export class RecordCursor {
  kind: RecordKind = "noop";
  /** Its checksum. */
  crc = 0;
  group: GroupId = 0;
  term = 0;
  index = 0;
  timeMs = 0;
  /** Offset of the record. */
  start = 0;
  /** Offset just after the record. */
  end: number;
  readonly #bytes: Uint8Array;
  readonly #view: DataView;

  /** @param at Offset of the first record. */
  constructor(bytes: Uint8Array, at: number = 0) {
    this.#bytes = bytes;
    this.#view = viewOf(bytes);
    this.end = at;
  }

  /**
   * Reads the record that begins where the last one ended; `false` at the end of the bytes.
   *
   * @throws {RecordError} If it is cut short, damaged or not of this version.
   */
  next(): boolean {
    const bytes = this.#bytes;
    const view = this.#view;
    const at = this.end;
    if (at === bytes.length) return false;
    if (bytes.length - at < RECORD_HEADER_BYTES) {
      throw new RecordError("truncated", at, "the bytes end within its header");
    }
    const length = view.getUint32(at + LENGTH_AT, true);
    if (length > ENTRY_PAYLOAD_BYTES_MAX) {
      throw new RecordError("length", at, `its payload would have ${length} bytes`);
    }
    const end = at + RECORD_HEADER_BYTES + length;
    if (end > bytes.length) {
      throw new RecordError("truncated", at, "the bytes end within its payload");
    }
    const crc = view.getUint32(at, true);
    if (crc !== crc32c(bytes, at + LENGTH_AT, end)) {
      throw new RecordError("checksum", at, "its checksum does not match");
    }
    const version = bytes[at + VERSION_AT]!;
    if (version !== RECORD_VERSION) throw unknownRecord("version", at, `its version is ${version}`);
    const kindCode = bytes[at + KIND_AT]!;
    if (kindCode < 1 || kindCode > KIND_CODE_MAX) {
      throw unknownRecord("kind", at, `its kind is ${kindCode}`);
    }
    const kind = KINDS[kindCode - 1]!;
    if (length !== (FIXED_LENGTHS[kind] ?? length)) {
      throw unknownRecord("length", at, `it is a ${kind} with a payload of ${length} bytes`);
    }
    if (view.getUint16(at + RESERVED_AT, true) !== 0) {
      throw unknownRecord("reserved", at, "its reserved bytes are not zero");
    }
    this.start = at;
    this.end = end;
    this.kind = kind;
    this.crc = crc;
    this.group = view.getUint32(at + GROUP_AT, true);
    this.term = readInteger(view, at + TERM_AT, at);
    this.index = readInteger(view, at + INDEX_AT, at);
    this.timeMs = readInteger(view, at + TIME_AT, at);
    return true;
  }
}

/**
 * Encodes `payloads` as consecutive entries of one term, in one buffer.
 *
 * @throws {RangeError} If there is no payload, one is longer than ENTRY_PAYLOAD_BYTES_MAX, or a
 * number is not an integer of its field's range.
 */
export function encodeRun(entries: Parameters<RecordFormat["encodeRun"]>[0]): EntryRun {
  const { group, term, firstIndex, timeMs, kind, payloads } = entries;
  if (payloads.length === 0) throw new RangeError("Cannot encode a run: it has no entries");
  checkGroup(group);
  checkInteger("term", term, 1);
  checkInteger("index", firstIndex, 1);
  checkInteger("index", firstIndex + (payloads.length - 1), 1);
  checkInteger("timeMs", timeMs, 0);
  const ends = new Array<number>(payloads.length);
  let size = 0;
  for (let i = 0; i < payloads.length; i++) {
    const { length } = payloads[i]!;
    if (length > ENTRY_PAYLOAD_BYTES_MAX) {
      throw new RangeError(
        `Cannot encode an entry: its payload has ${length} bytes, more than ${ENTRY_PAYLOAD_BYTES_MAX}`,
      );
    }
    size += RECORD_HEADER_BYTES + length;
    ends[i] = size;
  }
  const bytes = new Uint8Array(size);
  const view = viewOf(bytes);
  const kindCode = KIND_CODE[kind];
  for (let i = 0, at = 0; i < payloads.length; i++) {
    bytes.set(payloads[i]!, at + RECORD_HEADER_BYTES);
    writeRecord(bytes, view, at, ends[i]!, kindCode, group, term, firstIndex + i, timeMs);
    at = ends[i]!;
  }
  return { term, firstIndex, ends, bytes };
}

/**
 * Splits contiguous entries into runs of one term each; the runs are views of `bytes`.
 *
 * @throws {RecordError} If the bytes are not whole, undamaged entries of `group` with consecutive
 * indexes and terms that never decrease.
 */
export function decodeRuns(bytes: Uint8Array, group: GroupId): EntryRun[] {
  const runs: EntryRun[] = [];
  const cursor = new RecordCursor(bytes);
  let ends: number[] = [];
  let runStart = 0;
  let term = 0;
  let firstIndex = 0;
  let nextIndex = 0;
  while (cursor.next()) {
    const { start, index } = cursor;
    if (KIND_CODE[cursor.kind] >= KIND_CODE.hardState) {
      throw new RecordError("kind", start, `it is a ${cursor.kind}, not an entry`);
    }
    if (cursor.group !== group) {
      throw new RecordError("group", start, `it is of group ${cursor.group}, not ${group}`);
    }
    if (index < 1 || (start > 0 && index !== nextIndex)) {
      throw new RecordError("order", start, `its index is ${index}, not ${nextIndex}`);
    }
    if (cursor.term < 1 || cursor.term < term) {
      throw new RecordError("order", start, `its term is ${cursor.term}, after ${term}`);
    }
    if (cursor.term !== term) {
      if (start > 0) runs.push({ term, firstIndex, ends, bytes: bytes.subarray(runStart, start) });
      ends = [];
      runStart = start;
      term = cursor.term;
      firstIndex = index;
    }
    ends.push(cursor.end - runStart);
    nextIndex = index + 1;
  }
  if (ends.length > 0) runs.push({ term, firstIndex, ends, bytes: bytes.subarray(runStart) });
  return runs;
}

/** The log time stamped on the run's last entry. */
export function lastTimeMs(run: EntryRun): number {
  const at = run.ends.length > 1 ? run.ends[run.ends.length - 2]! : 0;
  return readInteger(viewOf(run.bytes), at + TIME_AT, at);
}

/** The run's config entries; the payloads are views of its bytes. */
export function configsIn(
  { bytes, ends, firstIndex }: EntryRun,
): { readonly index: number; readonly payload: Uint8Array }[] {
  const found: { index: number; payload: Uint8Array }[] = [];
  for (let i = 0, at = 0; i < ends.length; at = ends[i++]!) {
    if (bytes[at + KIND_AT] !== KIND_CODE.config) continue;
    found.push({
      index: firstIndex + i,
      payload: bytes.subarray(at + RECORD_HEADER_BYTES, ends[i]!),
    });
  }
  return found;
}

/** The format of this file, for the core, which knows it only as a port. */
export const recordFormat: RecordFormat = { encodeRun, decodeRuns, lastTimeMs, configsIn };

/**
 * Calls `visit` for each entry of a run in order. `payload` is a view of the run's bytes; the
 * bytes were checked when they became a run and are not checked again.
 */
export function forEachEntry(
  run: EntryRun,
  visit: (index: number, timeMs: number, kind: EntryKind, payload: Uint8Array) => void,
): void {
  const { bytes, ends, firstIndex } = run;
  const view = viewOf(bytes);
  for (let i = 0, at = 0; i < ends.length; i++) {
    const end = ends[i]!;
    visit(
      firstIndex + i,
      readInteger(view, at + TIME_AT, at),
      KINDS[bytes[at + KIND_AT]! - 1] as EntryKind,
      bytes.subarray(at + RECORD_HEADER_BYTES, end),
    );
    at = end;
  }
}

/**
 * Encodes a group's hard state as one record.
 *
 * @throws {RangeError} If a number is not an integer of its field's range.
 */
export function encodeHardState(
  group: GroupId,
  { currentTerm, votedFor }: HardState,
): Uint8Array<ArrayBuffer> {
  checkGroup(group);
  checkInteger("term", currentTerm, 0);
  if (votedFor !== undefined) checkInteger("votedFor", votedFor, 1);
  const bytes = new Uint8Array(RECORD_HEADER_BYTES);
  const view = viewOf(bytes);
  const kindCode = KIND_CODE.hardState;
  writeRecord(bytes, view, 0, bytes.length, kindCode, group, currentTerm, votedFor ?? 0, 0);
  return bytes;
}

/** The hard state in the record the cursor has just read. */
export function hardStateAt(cursor: RecordCursor): HardState {
  return {
    currentTerm: cursor.term,
    votedFor: cursor.index === 0 ? undefined : cursor.index,
  };
}

/** What the records of a group before some place come to. */
export interface Checkpoint {
  readonly hardState: HardState;
  /** The last entry that a snapshot covers, or 0, 0: the log begins after it. */
  readonly base: { readonly index: number; readonly term: number };
  /** The log's last entry; the base's index if it holds none. */
  readonly lastIndex: number;
}

/**
 * Encodes a group's checkpoint as one record.
 *
 * @throws {RangeError} If a number is not an integer of its field's range.
 */
export function encodeCheckpoint(
  group: GroupId,
  { hardState: { currentTerm, votedFor }, base, lastIndex }: Checkpoint,
): Uint8Array<ArrayBuffer> {
  checkGroup(group);
  checkInteger("term", currentTerm, 0);
  if (votedFor !== undefined) checkInteger("votedFor", votedFor, 1);
  checkInteger("base index", base.index, 0);
  checkInteger("base term", base.term, 0);
  checkInteger("last index", lastIndex, base.index);
  const bytes = new Uint8Array(CHECKPOINT_BYTES);
  const view = viewOf(bytes);
  writeInteger(view, BASE_INDEX_AT, base.index);
  writeInteger(view, BASE_TERM_AT, base.term);
  writeInteger(view, LAST_INDEX_AT, lastIndex);
  const kindCode = KIND_CODE.checkpoint;
  writeRecord(bytes, view, 0, bytes.length, kindCode, group, currentTerm, votedFor ?? 0, 0);
  return bytes;
}

/**
 * The checkpoint in the record the cursor has just read.
 *
 * @throws {RecordError} If its log would end before its base.
 */
export function checkpointAt(bytes: Uint8Array, cursor: RecordCursor): Checkpoint {
  const { start } = cursor;
  const view = viewOf(bytes);
  const base = {
    index: readInteger(view, start + BASE_INDEX_AT, start),
    term: readInteger(view, start + BASE_TERM_AT, start),
  };
  const lastIndex = readInteger(view, start + LAST_INDEX_AT, start);
  if (lastIndex < base.index) {
    throw new RecordError("order", start, `its log ends at ${lastIndex}, before ${base.index}`);
  }
  return { hardState: hardStateAt(cursor), base, lastIndex };
}

/**
 * Calls `visit` for each record of bytes that were encoded here: they are not checked again.
 */
export function forEachRecord(
  bytes: Uint8Array,
  visit: (kind: RecordKind, group: GroupId, term: number, index: number) => void,
): void {
  const view = viewOf(bytes);
  for (let at = 0; at < bytes.length;) {
    visit(
      KINDS[bytes[at + KIND_AT]! - 1]!,
      view.getUint32(at + GROUP_AT, true),
      readInteger(view, at + TERM_AT, at),
      readInteger(view, at + INDEX_AT, at),
    );
    at += RECORD_HEADER_BYTES + view.getUint32(at + LENGTH_AT, true);
  }
}

/**
 * Encodes records, compressed, as one.
 *
 * @param packed What zstd made of them.
 * @param unpackedBytes How many bytes they had.
 * @throws {RangeError} If either is too long.
 */
export function encodePacked(packed: Uint8Array, unpackedBytes: number): Uint8Array<ArrayBuffer> {
  if (packed.length > ENTRY_PAYLOAD_BYTES_MAX || unpackedBytes > PACKED_BYTES_MAX) {
    throw new RangeError(`Cannot pack records: they have ${unpackedBytes} bytes`);
  }
  const bytes = new Uint8Array(RECORD_HEADER_BYTES + packed.length);
  bytes.set(packed, RECORD_HEADER_BYTES);
  writeRecord(bytes, viewOf(bytes), 0, bytes.length, KIND_CODE.packed, 0, 0, unpackedBytes, 0);
  return bytes;
}

/** @throws {RecordError} If it cannot be unpacked. */
function unpackedAt(bytes: Uint8Array, { start, end, index }: RecordCursor): Uint8Array {
  if (index < 1 || index > PACKED_BYTES_MAX) {
    throw new RecordError("length", start, `unpacked it would have ${index} bytes`);
  }
  try {
    return decompress(bytes.subarray(start + RECORD_HEADER_BYTES, end), index);
  } catch (error) {
    if (!(error instanceof RangeError)) throw error;
    throw new RecordError("packed", start, "it cannot be unpacked");
  }
}

/**
 * Calls `visit` for each record in the packed record that the cursor has just read, with the unpacked
 * bytes and a cursor at it.
 *
 * @throws {RecordError} If they are not whole records that may be packed.
 */
export function forEachUnpacked(
  bytes: Uint8Array,
  packed: RecordCursor,
  visit: (unpacked: Uint8Array, record: RecordCursor) => void,
): void {
  const unpacked = unpackedAt(bytes, packed);
  const cursor = new RecordCursor(unpacked);
  for (;;) {
    try {
      if (!cursor.next()) return;
    } catch (error) {
      if (!(error instanceof RecordError)) throw error;
      // The packed record is whole, so this is how it was written.
      const { code, reason, isWhole } = error;
      throw new RecordError(code, packed.start, `of a record in it, ${reason}`, { isWhole });
    }
    if (cursor.kind === "mark" || cursor.kind === "packed") {
      throw new RecordError("packed", packed.start, `a ${cursor.kind} is packed in it`);
    }
    visit(unpacked, cursor);
  }
}

/** What the checksum of an append begins with. */
export const NO_RECORDS_CHECKSUM = 0;

const scratch = new DataView(new ArrayBuffer(4));
const scratchBytes = new Uint8Array(scratch.buffer);

/** The checksum of an append that goes on with a record: it is made of those of its records, in order. */
export function checksumWith(checksum: number, recordChecksum: number): number {
  scratch.setUint32(0, recordChecksum, true);
  return crc32c(scratchBytes, 0, scratchBytes.length, checksum);
}

/** The checksum of an append that goes on with records that were encoded here. */
export function checksumWithAll(checksum: number, bytes: Uint8Array): number {
  const view = viewOf(bytes);
  for (let at = 0; at < bytes.length;) {
    checksum = checksumWith(checksum, view.getUint32(at, true));
    at += RECORD_HEADER_BYTES + view.getUint32(at + LENGTH_AT, true);
  }
  return checksum;
}

/** Where a mark stands, and what it says. */
export interface Mark {
  /** Of its segment. */
  readonly sequence: number;
  /** Its own. */
  readonly position: number;
  /** The log was durable up to here when it was written. */
  readonly durablePosition: number;
  /** Checksum of the append before it. */
  readonly checksumBefore: number;
}

/** Writes a mark into `bytes` at `at`. */
export function writeMark(bytes: Uint8Array, at: number, mark: Mark): void {
  const { sequence, position, durablePosition, checksumBefore } = mark;
  const { mark: kind } = KIND_CODE;
  const end = at + RECORD_HEADER_BYTES;
  const view = viewOf(bytes);
  writeRecord(bytes, view, at, end, kind, checksumBefore, sequence, durablePosition, position);
}

/**
 * Whether the bytes at `at` look like a mark, by their fixed bytes alone: for searching through
 * damaged bytes. The search then computes the checksum of one header and no more, so that a
 * client's value cannot make a start take hours.
 */
export function mayBeMark(bytes: Uint8Array, at: number): boolean {
  return bytes[at + KIND_AT] === KIND_CODE.mark && bytes[at + VERSION_AT] === RECORD_VERSION &&
    bytes[at + LENGTH_AT] === 0 && bytes[at + LENGTH_AT + 1] === 0 &&
    bytes[at + LENGTH_AT + 2] === 0 && bytes[at + LENGTH_AT + 3] === 0 &&
    bytes.length - at >= RECORD_HEADER_BYTES;
}

/** A record whose checksum is right, and that says what is not known here. */
function unknownRecord(code: RecordErrorCode, at: number, reason: string): RecordError {
  return new RecordError(code, at, reason, { isWhole: true });
}

/** Writes the header and the checksum around a payload that is in place. */
function writeRecord(
  bytes: Uint8Array,
  view: DataView,
  at: number,
  end: number,
  kindCode: number,
  group: GroupId,
  term: number,
  index: number,
  timeMs: number,
): void {
  view.setUint32(at + LENGTH_AT, end - at - RECORD_HEADER_BYTES, true);
  bytes[at + VERSION_AT] = RECORD_VERSION;
  bytes[at + KIND_AT] = kindCode;
  view.setUint16(at + RESERVED_AT, 0, true);
  view.setUint32(at + GROUP_AT, group, true);
  writeInteger(view, at + TERM_AT, term);
  writeInteger(view, at + INDEX_AT, index);
  writeInteger(view, at + TIME_AT, timeMs);
  view.setUint32(at, crc32c(bytes, at + LENGTH_AT, end), true);
}

function viewOf(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

function writeInteger(view: DataView, at: number, value: number): void {
  // `>>> 0` is exactly the value modulo 2^32, so both halves are exact up to 2^53-1.
  const low = value >>> 0;
  view.setUint32(at, low, true);
  view.setUint32(at + 4, (value - low) / TWO_TO_32, true);
}

function readInteger(view: DataView, at: number, recordAt: number): number {
  const high = view.getUint32(at + 4, true);
  if (high > HIGH_HALF_MAX) {
    throw unknownRecord("number", recordAt, "a number in it is above 2^53-1");
  }
  return high * TWO_TO_32 + view.getUint32(at, true);
}

function checkInteger(what: string, value: number, min: number): void {
  if (Number.isSafeInteger(value) && value >= min) return;
  throw new RangeError(`Cannot encode a record: ${what} is ${value}`);
}

function checkGroup(group: GroupId): void {
  checkInteger("group", group, 0);
  if (group > GROUP_MAX) throw new RangeError(`Cannot encode a record: group is ${group}`);
}
