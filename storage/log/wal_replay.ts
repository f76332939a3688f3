/**
 * Reading a write-ahead log back at start: which bytes of it count, and what they say.
 *
 * @module
 */
import type { LogBase } from "../../machines/raft_log.ts";
import type { EntryRun, GroupId, HardState, LogIndex, Term } from "../../machines/raft_types.ts";
import type { Disk } from "./disk.ts";
import { RECOVERED_BLOCK_BYTES } from "./limits.ts";
import {
  WalCorruptError,
  WalIdentityError,
  WalMisplacedSegmentError,
  WalMissingSegmentError,
  WalUnknownRecordError,
} from "./wal_errors.ts";
import {
  type Checkpoint,
  CHECKPOINT_BYTES,
  checkpointAt,
  checksumWith,
  forEachUnpacked,
  hardStateAt,
  mayBeMark,
  NO_RECORDS_CHECKSUM,
  RECORD_HEADER_BYTES,
  RecordCursor,
  RecordError,
} from "./wal_record.ts";
import {
  decodeSegmentHeader,
  SEGMENT_HEADER_BYTES,
  segmentPath,
  sequenceOf,
  WAL_DIRECTORY,
  type WalIdentity,
} from "./wal_segment.ts";

/** What the log holds of one group: term 0 and no vote if it has no hard state of it. */
export interface RecoveredGroup extends Checkpoint {
  /** Consecutive entries from the one after the base on, in memory of their own. */
  readonly runs: readonly EntryRun[];
}

/** What replay needs of a disk. */
export type LogReader = Pick<Disk, "list" | "readFile">;

/** What is on disk, and from where it does not count. */
export interface Replay {
  readonly groups: Map<GroupId, RecoveredGroup>;
  /** Sequence of the last segment that is there; 0 if there is none. */
  readonly lastSequence: number;
  /** Position of the end of the records that count. */
  readonly endPosition: number;
  /** Positions below this are known to be durable. */
  readonly durablePosition: number;
  /** The segments that count, oldest first. */
  readonly segments: readonly ReplayedSegment[];
  /** What was read of the segments that are not known to be durable to their ends, by sequence. */
  readonly bytes: ReadonlyMap<number, Uint8Array>;
  /** Checksum of the last append, as far as it is there; undefined if there is no log. */
  readonly checksum: number | undefined;
  /** The torn tail to cut off, if there is one. */
  readonly tornAt: TornTail | undefined;
}

/** A segment that counts. */
export interface ReplayedSegment {
  readonly sequence: number;
  /** Position of its first byte. */
  readonly start: number;
  /** An earlier release began it; this one does not write to it. */
  readonly isOld: boolean;
  /** The highest index of each group whose entry is in it. */
  readonly highest: Map<GroupId, LogIndex>;
}

/** The entries of a group after `index` were replaced: no segment is needed for them any more. */
export function dropEntriesAfter(
  segments: readonly ReplayedSegment[],
  group: GroupId,
  index: LogIndex,
): void {
  for (const { highest } of segments) {
    if ((highest.get(group) ?? 0) > index) highest.set(group, index);
  }
}

/** Whether not even the first segment's header counts: there is no log, or not any more. */
export function lacksFirstHeader({ segments }: Pick<Replay, "segments">): boolean {
  return segments.length === 0;
}

/** What stands at `offset` of segment `sequence` and beyond does not count. */
export interface TornTail {
  readonly sequence: number;
  readonly offset: number;
  readonly reason: string;
}

/**
 * Reads all segments without changing anything.
 *
 * A record that cannot be read ends the log. If no mark behind it says that bytes beyond it had
 * been durable, it is the torn tail of a crash: to cut it off loses nothing that was acknowledged.
 * Otherwise durable bytes are damaged.
 *
 * @throws {WalError} A subclass saying why the log must not be used.
 */
export function replay(disk: LogReader, identity: WalIdentity): Replay {
  const sequences = listSequences(disk);
  const reading = new Reading(disk, identity, sequences);
  for (const sequence of sequences) if (!reading.readSegment(sequence)) break;
  return reading.finish();
}

/**
 * How far the log was durable, by what is told beside it. A torn tail was never durable.
 *
 * @throws {WalCorruptError} If the log ends before that.
 */
export function checkedWatermark(
  durable: number,
  { endPosition, lastSequence, tornAt }: Replay,
): number {
  if (durable <= endPosition) return durable;
  const { sequence, offset, reason } = tornAt ??
    { sequence: Math.max(1, lastSequence), offset: 0, reason: "it is cut short" };
  throw new WalCorruptError(
    segmentPath(sequence),
    offset,
    `${reason}, although the log had been durable to position ${durable}, and ends at ${endPosition}`,
  );
}

/** The sequences of the segments that are there, which have no gap. The oldest may have been removed. */
function listSequences(disk: LogReader): number[] {
  const sequences: number[] = [];
  for (const name of disk.list(WAL_DIRECTORY)) {
    if (!name.endsWith(".wal")) continue;
    const path = `${WAL_DIRECTORY}/${name}`;
    const sequence = sequenceOf(name);
    if (sequence === undefined || sequence === 0) {
      throw new WalMisplacedSegmentError(path, "its name is not that of a segment");
    }
    const last = sequences.at(-1);
    if (last !== undefined && sequence !== last + 1) {
      throw new WalMissingSegmentError(segmentPath(last + 1));
    }
    sequences.push(sequence);
  }
  return sequences;
}

class Reading {
  readonly #disk: LogReader;
  readonly #identity: WalIdentity;
  readonly #sequences: readonly number[];
  readonly #groups = new Map<GroupId, GroupReading>();
  readonly #segments: ReplayedSegment[] = [];
  readonly #bytes = new Map<number, Uint8Array>();
  #position = 0;
  #durablePosition = 0;
  /** Checksum of the append that is being read; undefined before the first. */
  #checksum: number | undefined = undefined;
  #tornAt: TornTail | undefined = undefined;

  constructor(disk: LogReader, identity: WalIdentity, sequences: readonly number[]) {
    this.#disk = disk;
    this.#identity = identity;
    this.#sequences = sequences;
  }

  /** Reads one segment; `false` if the log ends in it. */
  readSegment(sequence: number): boolean {
    this.#dropDurableBytes();
    const path = segmentPath(sequence);
    const bytes = this.#disk.readFile(path);
    const header = decodeSegmentHeader(path, bytes);
    if (header === undefined) {
      return this.#endAt({ sequence, offset: 0, reason: "its header is damaged" });
    }
    if (
      header.nodeId !== this.#identity.nodeId || header.clusterId !== this.#identity.clusterId
    ) {
      throw new WalIdentityError(
        path,
        `it belongs to node ${header.nodeId} of cluster ${JSON.stringify(header.clusterId)}`,
      );
    }
    if (header.sequence !== sequence) {
      throw new WalMisplacedSegmentError(path, `it is segment ${header.sequence}`);
    }
    const isFirst = this.#segments.length === 0;
    if (isFirst) this.#position = header.position;
    if (isFirst && sequence === 1 && (header.position !== 0 || header.checkpoints !== 0)) {
      throw new WalMisplacedSegmentError(path, "it is not the first of a log");
    }
    if (header.position < this.#position) {
      throw new WalCorruptError(path, 0, "the segment before it is longer than it was");
    }
    if (header.position > this.#position) {
      return this.#endAt({ sequence, offset: 0, reason: "the segment before it is cut short" });
    }
    const head = SEGMENT_HEADER_BYTES + header.checkpoints * CHECKPOINT_BYTES;
    if (head > bytes.length) {
      return this.#endAt({ sequence, offset: 0, reason: "its checkpoints are cut short" });
    }
    this.#takeChecksum(path, 0, header.checksumBefore);
    const isOld = header.checksumBefore === undefined;
    const segment = { sequence, start: this.#position, isOld, highest: new Map() };
    return this.#readRecords(segment, { path, bytes, head });
  }

  finish(): Replay {
    const groups = new Map<GroupId, RecoveredGroup>();
    for (const [group, reading] of this.#groups) {
      if (reading.isIncomplete) {
        const before = (this.#sequences[0] ?? 1) - 1;
        throw new WalMissingSegmentError(segmentPath(Math.max(1, before)));
      }
      groups.set(group, reading.finish());
    }
    return {
      groups,
      lastSequence: this.#sequences.at(-1) ?? 0,
      endPosition: this.#position,
      durablePosition: this.#durablePosition,
      segments: this.#segments,
      bytes: this.#bytes,
      checksum: this.#checksum,
      tornAt: this.#tornAt,
    };
  }

  /** There are a few that are not durable at most, whatever the log's size. */
  #dropDurableBytes(): void {
    this.#segments.forEach(({ sequence }, at) => {
      const end = this.#segments[at + 1]?.start ?? this.#position;
      if (end <= this.#durablePosition) this.#bytes.delete(sequence);
    });
  }

  #readRecords(
    segment: ReplayedSegment,
    { path, bytes, head }: {
      readonly path: string;
      readonly bytes: Uint8Array;
      /** Where the checkpoints at the head end: without all of them the segment does not count. */
      readonly head: number;
    },
  ): boolean {
    const { sequence, start } = segment;
    const isFirst = this.#segments.length === 0;
    const cursor = new RecordCursor(bytes, SEGMENT_HEADER_BYTES);
    for (;;) {
      const isInHead = cursor.end < head;
      if (!isInHead) {
        if (this.#segments.at(-1) !== segment) {
          this.#segments.push(segment);
          this.#bytes.set(sequence, bytes);
        }
        this.#position = start + cursor.end;
      }
      try {
        if (!cursor.next()) return true;
        if (isInHead && cursor.kind !== "checkpoint") {
          throw new RecordError("kind", cursor.start, `it is a ${cursor.kind}, not a checkpoint`);
        }
      } catch (error) {
        if (!(error instanceof RecordError)) throw error;
        const { reason, offset } = error;
        // A crash tears records, and makes none: to cut off a whole one would lose what it says.
        if (error.isWhole) throw new WalUnknownRecordError(path, offset, reason);
        return this.#endAt({ sequence, offset: isInHead ? 0 : offset, reason }, offset);
      }
      if (isInHead) {
        if (isFirst) this.#take(path, bytes, cursor, segment);
        else this.#compare(path, bytes, cursor);
        continue;
      }
      if (cursor.kind === "mark") this.#takeMark(path, cursor, segment);
      else {
        this.#checksum = checksumWith(this.#checksum ?? NO_RECORDS_CHECKSUM, cursor.crc);
        if (cursor.kind === "packed") this.#takePacked(path, bytes, cursor, segment);
        else this.#take(path, bytes, cursor, segment);
      }
    }
  }

  /**
   * A write that went elsewhere, or that the disk never made, may leave what stood there before: records
   * that are whole, and of this place. What is written behind them tells that they are others.
   */
  #takeChecksum(path: string, offset: number, checksum: number | undefined): void {
    this.#checksum ??= checksum;
    if (checksum === undefined || checksum === this.#checksum) return;
    throw new WalCorruptError(path, offset, "what precedes it is not what was written there");
  }

  /** What a segment's head says must be what the segments before it came to. */
  #compare(path: string, bytes: Uint8Array, cursor: RecordCursor): void {
    const checkpoint = soundly(path, cursor, () => checkpointAt(bytes, cursor));
    if (this.#groups.get(cursor.group)?.isAt(checkpoint) === true) return;
    throw new WalCorruptError(
      path,
      cursor.start,
      "its checkpoint is not what precedes it comes to",
    );
  }

  /**
   * A crash tears records and loses them, but makes none. So a whole mark of another place was
   * moved there, or somebody else wrote it. What stands behind it may have been acknowledged.
   */
  #takeMark(
    path: string,
    cursor: RecordCursor,
    { sequence, start, isOld }: ReplayedSegment,
  ): void {
    soundly(path, cursor, () => checkMark(cursor, sequence, start));
    this.#takeChecksum(path, cursor.start, isOld ? undefined : cursor.group);
    this.#durablePosition = Math.max(this.#durablePosition, cursor.index);
    this.#checksum = checksumWith(NO_RECORDS_CHECKSUM, cursor.crc);
  }

  #takePacked(
    path: string,
    bytes: Uint8Array,
    cursor: RecordCursor,
    segment: ReplayedSegment,
  ): void {
    soundly(path, cursor, () => {
      forEachUnpacked(
        bytes,
        cursor,
        (unpacked, inner) => this.#take(path, unpacked, inner, segment, cursor.start),
      );
    });
  }

  /** Takes a record, which may have been packed in the one that stands at `offset`. */
  #take(
    path: string,
    bytes: Uint8Array,
    cursor: RecordCursor,
    segment: ReplayedSegment,
    offset: number = cursor.start,
  ): void {
    let group = this.#groups.get(cursor.group);
    if (group === undefined) this.#groups.set(cursor.group, group = new GroupReading());
    const taken = group;
    const reason = soundly(path, cursor, () => this.#takeRecord(taken, bytes, cursor, segment));
    if (reason !== undefined) throw new WalCorruptError(path, offset, reason);
  }

  /** Returns what is wrong with the record, if anything. */
  #takeRecord(
    group: GroupReading,
    bytes: Uint8Array,
    cursor: RecordCursor,
    { highest }: ReplayedSegment,
  ): string | undefined {
    switch (cursor.kind) {
      case "hardState":
        return group.takeHardState(hardStateAt(cursor));
      case "checkpoint": {
        const checkpoint = checkpointAt(bytes, cursor);
        dropEntriesAfter(this.#segments, cursor.group, checkpoint.lastIndex);
        return group.takeCheckpoint(checkpoint);
      }
      default:
        if (cursor.index <= group.lastIndex) {
          dropEntriesAfter(this.#segments, cursor.group, cursor.index - 1);
        }
        highest.set(cursor.group, cursor.index);
        return group.takeEntry(bytes, cursor);
    }
  }

  /** The log ends here, if that is the work of a crash. */
  #endAt(tornAt: TornTail, damagedAt: number = tornAt.offset): false {
    const { sequence, reason: cause } = tornAt;
    // Those before it were removed only once its head was durable: no crash has torn that.
    if (this.#segments.length === 0 && sequence > 1) {
      const reason = `${cause}, although it is the oldest segment, whose head had been durable`;
      throw new WalCorruptError(segmentPath(sequence), damagedAt, reason);
    }
    const durable = this.#durableBehind(tornAt);
    if (durable > this.#position) {
      const path = segmentPath(tornAt.sequence);
      const reason = `${tornAt.reason}, although the log had been durable to position ${durable}`;
      throw new WalCorruptError(path, damagedAt, reason);
    }
    this.#tornAt = tornAt;
    return false;
  }

  /** The farthest position that a mark behind the bad record calls durable. */
  #durableBehind({ sequence, offset }: TornTail): number {
    let farthest = 0;
    const last = this.#sequences.at(-1) ?? 0;
    for (let at = sequence; at <= last; at++) {
      const path = segmentPath(at);
      const bytes = this.#disk.readFile(path);
      const start = at === sequence && offset > 0
        ? this.#segments.at(-1)?.start
        : decodeSegmentHeader(path, bytes)?.position;
      farthest = Math.max(farthest, farthestMark(bytes, at === sequence ? offset : 0, at, start));
    }
    return farthest;
  }
}

/** A record that is whole is no torn one: it contradicts itself, or a later release wrote it. */
function soundly<Result>(path: string, { start }: RecordCursor, read: () => Result): Result {
  try {
    return read();
  } catch (error) {
    if (!(error instanceof RecordError)) throw error;
    if (error.isWhole) throw new WalUnknownRecordError(path, start, error.reason);
    throw new WalCorruptError(path, start, error.reason);
  }
}

/**
 * Searches damaged bytes for marks. A mark must be of this segment and stand at the place that it
 * names. Otherwise a client could keep a node from starting with a value that looks like a mark.
 * With the header gone (`start` unknown) the place cannot be checked.
 */
function farthestMark(
  bytes: Uint8Array,
  from: number,
  sequence: number,
  start: number | undefined,
): number {
  let farthest = 0;
  for (let at = from; at <= bytes.length - RECORD_HEADER_BYTES; at++) {
    if (!mayBeMark(bytes, at)) continue;
    try {
      const cursor = new RecordCursor(bytes, at);
      cursor.next();
      checkMark(cursor, sequence, start ?? cursor.timeMs - at);
      farthest = Math.max(farthest, cursor.index);
    } catch (error) {
      if (!(error instanceof RecordError)) throw error;
    }
  }
  return farthest;
}

function checkMark(mark: RecordCursor, sequence: number, segmentStart: number): void {
  if (mark.term !== sequence || mark.timeMs !== segmentStart + mark.start) {
    throw new RecordError("order", mark.start, "it is a mark of another place");
  }
  if (mark.index > mark.timeMs) {
    throw new RecordError("order", mark.start, "it is a mark that tells of the future");
  }
}

/** Gathers the entries of one group into runs. */
class GroupReading {
  #hardState: HardState = { currentTerm: 0, votedFor: undefined };
  #base: LogBase = { index: 0, term: 0 };
  /** Entries up to here are not in the segments that are there; a snapshot must cover them. */
  #missingThrough: LogIndex = 0;
  #isNew = true;
  #runs: EntryRun[] = [];
  #lastIndex: LogIndex = 0;
  #lastTerm: Term = 0;
  /** The run that still grows; nothing if `#ends` is empty. */
  #ends: number[] = [];
  #block = new Uint8Array(0);
  #blockSize = 0;

  /** Index of the last entry. */
  get lastIndex(): LogIndex {
    return this.#lastIndex;
  }

  /** Whether entries are missing that no snapshot covers. */
  get isIncomplete(): boolean {
    return this.#missingThrough > this.#base.index;
  }

  /** Whether the records so far come to this. */
  isAt({ hardState, base, lastIndex }: Checkpoint): boolean {
    return hardState.currentTerm === this.#hardState.currentTerm &&
      hardState.votedFor === this.#hardState.votedFor && base.index === this.#base.index &&
      base.term === this.#base.term && lastIndex === this.#lastIndex;
  }

  /** Returns what is wrong with it, if anything. */
  takeCheckpoint({ hardState, base, lastIndex }: Checkpoint): string | undefined {
    const isFirst = this.#isNew;
    const wrong = this.takeHardState(hardState);
    if (wrong !== undefined) return wrong;
    if (base.index < this.#base.index) {
      return `the base falls from ${this.#base.index} to ${base.index}`;
    }
    if (isFirst) {
      // The segments before the first that is there were removed: this is what they came to.
      this.#lastIndex = this.#missingThrough = lastIndex;
      this.#base = base;
      this.#lastTerm = base.term;
      return undefined;
    }
    if (lastIndex < this.#lastIndex) this.#truncateAfter(lastIndex);
    else if (lastIndex > this.#lastIndex) {
      // Only a snapshot from the leader reaches beyond the log, and then nothing is left of the log.
      if (base.index !== lastIndex) {
        return `its log ends at ${lastIndex}, not at ${this.#lastIndex}`;
      }
      this.#truncateAfter(0);
      this.#lastIndex = lastIndex;
    }
    this.#compact(base);
    return undefined;
  }

  /** Returns what is wrong with it, if anything. */
  takeHardState(hardState: HardState): string | undefined {
    this.#isNew = false;
    if (hardState.currentTerm < this.#hardState.currentTerm) {
      return `currentTerm falls from ${this.#hardState.currentTerm} to ${hardState.currentTerm}`;
    }
    this.#hardState = hardState;
    return undefined;
  }

  /**
   * Takes an entry in place of all from its index on (s5.3: a conflicting entry deletes all that
   * follow it). Returns what is wrong with it, if anything.
   */
  takeEntry(bytes: Uint8Array, { start, end, term, index }: RecordCursor): string | undefined {
    this.#isNew = false;
    if (index <= this.#base.index || index > this.#lastIndex + 1) {
      return `entry ${index} follows entry ${this.#lastIndex}`;
    }
    if (index <= this.#lastIndex) this.#truncateAfter(index - 1);
    if (term < 1 || term < this.#lastTerm) return `term ${term} follows term ${this.#lastTerm}`;
    const length = end - start;
    if (term !== this.#lastTerm || this.#blockSize + length > RECOVERED_BLOCK_BYTES) this.#seal();
    this.#reserve(this.#blockSize + length);
    this.#block.set(bytes.subarray(start, end), this.#blockSize);
    this.#blockSize += length;
    this.#ends.push(this.#blockSize);
    this.#lastIndex = index;
    this.#lastTerm = term;
    return undefined;
  }

  finish(): RecoveredGroup {
    this.#seal();
    return {
      hardState: this.#hardState,
      base: this.#base,
      lastIndex: this.#lastIndex,
      runs: this.#runs,
    };
  }

  /** Drops the entries up to the base, which a snapshot covers. */
  #compact(base: LogBase): void {
    this.#seal();
    const kept = this.#runs.filter((run) => run.firstIndex + run.ends.length - 1 > base.index);
    const [first, ...rest] = kept;
    this.#runs = first === undefined ? [] : [ownRunFrom(first, base.index + 1), ...rest];
    this.#base = base;
    if (this.#runs.length === 0) this.#lastTerm = base.term;
  }

  #truncateAfter(index: LogIndex): void {
    this.#seal();
    while (this.#runs.length > 0 && this.#runs.at(-1)!.firstIndex > index) this.#runs.pop();
    const run = this.#runs.pop();
    if (run !== undefined) {
      const ends = run.ends.slice(0, index - run.firstIndex + 1);
      this.#runs.push({ ...run, ends, bytes: run.bytes.slice(0, ends.at(-1)) });
    }
    this.#lastIndex = index;
    this.#lastTerm = run?.term ?? this.#base.term;
    this.#missingThrough = Math.min(this.#missingThrough, index);
  }

  #seal(): void {
    if (this.#ends.length === 0) return;
    this.#runs.push({
      term: this.#lastTerm,
      firstIndex: this.#lastIndex - this.#ends.length + 1,
      ends: this.#ends,
      bytes: this.#block.slice(0, this.#blockSize),
    });
    this.#ends = [];
    this.#blockSize = 0;
  }

  #reserve(size: number): void {
    if (size <= this.#block.length) return;
    const grown = new Uint8Array(Math.max(size, Math.min(2 * size, RECOVERED_BLOCK_BYTES)));
    grown.set(this.#block.subarray(0, this.#blockSize));
    this.#block = grown;
  }
}

/** The entries of a run from `from` on, in memory of their own. */
function ownRunFrom(run: EntryRun, from: LogIndex): EntryRun {
  if (from <= run.firstIndex) return run;
  const dropped = from - run.firstIndex;
  const start = run.ends[dropped - 1]!;
  const ends = run.ends.slice(dropped).map((end) => end - start);
  return { term: run.term, firstIndex: from, ends, bytes: run.bytes.slice(start) };
}
