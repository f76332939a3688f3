/**
 * Reading a write-ahead log back at start: which bytes of it count, and what they say.
 *
 * @module
 */
import type { EntryRun, GroupId, HardState, LogIndex, Term } from "../../machines/raft_types.ts";
import type { Disk } from "./disk.ts";
import { RECOVERED_BLOCK_BYTES } from "./limits.ts";
import {
  WalCorruptError,
  WalIdentityError,
  WalMisplacedSegmentError,
  WalMissingSegmentError,
} from "./wal_errors.ts";
import {
  hardStateAt,
  mayBeMark,
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

/** What the log holds of one group. */
export interface RecoveredGroup {
  /** Term 0 and no vote if the log has no hard state of the group. */
  readonly hardState: HardState;
  /** Consecutive entries from index 1 on, in memory of their own. */
  readonly runs: readonly EntryRun[];
}

/** What is on disk, and from where it does not count. */
export interface Replay {
  readonly groups: Map<GroupId, RecoveredGroup>;
  /** Sequence of the last segment; 0 if there is none. */
  readonly lastSequence: number;
  /** Position of the end of the records that count. */
  readonly endPosition: number;
  /** Positions below this are known to be durable. */
  readonly durablePosition: number;
  /** Where each segment that counts begins, by sequence. */
  readonly starts: ReadonlyMap<number, number>;
  /** The torn tail to cut off, if there is one. */
  readonly tornAt: TornTail | undefined;
}

/** Whether not even the first segment's header counts: there is no log, or not any more. */
export function lacksFirstHeader({ starts }: Pick<Replay, "starts">): boolean {
  return starts.size === 0;
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
export function replay(disk: Disk, identity: WalIdentity): Replay {
  const lastSequence = checkSequences(disk);
  const reading = new Reading(disk, identity, lastSequence);
  for (let sequence = 1; sequence <= lastSequence; sequence++) {
    if (!reading.readSegment(sequence)) break;
  }
  return reading.finish();
}

/** Checks that the segments there are are all from 1 to the last, and returns the last. */
function checkSequences(disk: Disk): number {
  let last = 0;
  for (const name of disk.list(WAL_DIRECTORY)) {
    if (!name.endsWith(".wal")) continue;
    const path = `${WAL_DIRECTORY}/${name}`;
    const sequence = sequenceOf(name);
    if (sequence === undefined || sequence === 0) {
      throw new WalMisplacedSegmentError(path, "its name is not that of a segment");
    }
    if (sequence !== last + 1) throw new WalMissingSegmentError(segmentPath(last + 1));
    last = sequence;
  }
  return last;
}

class Reading {
  readonly #disk: Disk;
  readonly #identity: WalIdentity;
  readonly #lastSequence: number;
  readonly #groups = new Map<GroupId, GroupReading>();
  readonly #starts = new Map<number, number>();
  #position = 0;
  #durablePosition = 0;
  #tornAt: TornTail | undefined = undefined;

  constructor(disk: Disk, identity: WalIdentity, lastSequence: number) {
    this.#disk = disk;
    this.#identity = identity;
    this.#lastSequence = lastSequence;
  }

  /** Reads one segment; `false` if the log ends in it. */
  readSegment(sequence: number): boolean {
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
    if (header.position < this.#position) {
      throw new WalCorruptError(path, 0, "the segment before it is longer than it was");
    }
    if (header.position > this.#position) {
      return this.#endAt({ sequence, offset: 0, reason: "the segment before it is cut short" });
    }
    this.#starts.set(sequence, this.#position);
    return this.#readRecords(sequence, path, bytes);
  }

  finish(): Replay {
    const groups = new Map<GroupId, RecoveredGroup>();
    for (const [group, reading] of this.#groups) groups.set(group, reading.finish());
    return {
      groups,
      lastSequence: this.#lastSequence,
      endPosition: this.#position,
      durablePosition: this.#durablePosition,
      starts: this.#starts,
      tornAt: this.#tornAt,
    };
  }

  #readRecords(sequence: number, path: string, bytes: Uint8Array): boolean {
    const start = this.#position;
    const cursor = new RecordCursor(bytes, SEGMENT_HEADER_BYTES);
    for (;;) {
      this.#position = start + cursor.end;
      try {
        if (!cursor.next()) return true;
      } catch (error) {
        if (!(error instanceof RecordError)) throw error;
        return this.#endAt({ sequence, offset: error.offset, reason: error.reason });
      }
      if (cursor.kind === "mark") this.#takeMark(path, cursor, { sequence, start });
      else this.#take(path, bytes, cursor);
    }
  }

  /**
   * A crash tears records and loses them, but makes none. So a whole mark of another place was
   * moved there, or somebody else wrote it. What stands behind it may have been acknowledged.
   */
  #takeMark(
    path: string,
    cursor: RecordCursor,
    { sequence, start }: { readonly sequence: number; readonly start: number },
  ): void {
    try {
      checkMark(cursor, sequence, start);
    } catch (error) {
      if (!(error instanceof RecordError)) throw error;
      throw new WalCorruptError(path, cursor.start, error.reason);
    }
    this.#durablePosition = cursor.index;
  }

  #take(path: string, bytes: Uint8Array, cursor: RecordCursor): void {
    let group = this.#groups.get(cursor.group);
    if (group === undefined) this.#groups.set(cursor.group, group = new GroupReading());
    const reason = cursor.kind === "hardState"
      ? group.takeHardState(hardStateAt(cursor))
      : group.takeEntry(bytes, cursor);
    if (reason !== undefined) throw new WalCorruptError(path, cursor.start, reason);
  }

  /** The log ends here, if that is the work of a crash. */
  #endAt(tornAt: TornTail): false {
    const durable = this.#durableBehind(tornAt);
    if (durable > this.#position) {
      const path = segmentPath(tornAt.sequence);
      const reason = `${tornAt.reason}, although the log had been durable to position ${durable}`;
      throw new WalCorruptError(path, tornAt.offset, reason);
    }
    this.#tornAt = tornAt;
    return false;
  }

  /** The farthest position that a mark behind the bad record calls durable. */
  #durableBehind({ sequence, offset }: TornTail): number {
    let farthest = 0;
    for (let at = sequence; at <= this.#lastSequence; at++) {
      const path = segmentPath(at);
      const bytes = this.#disk.readFile(path);
      const start = at === sequence && offset > 0
        ? this.#starts.get(at)
        : decodeSegmentHeader(path, bytes)?.position;
      farthest = Math.max(farthest, farthestMark(bytes, at === sequence ? offset : 0, at, start));
    }
    return farthest;
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
  readonly #runs: EntryRun[] = [];
  #lastIndex: LogIndex = 0;
  #lastTerm: Term = 0;
  /** The run that still grows; nothing if `#ends` is empty. */
  #ends: number[] = [];
  #block = new Uint8Array(0);
  #blockSize = 0;

  /** Returns what is wrong with it, if anything. */
  takeHardState(hardState: HardState): string | undefined {
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
    if (index < 1 || index > this.#lastIndex + 1) {
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
    return { hardState: this.#hardState, runs: this.#runs };
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
    this.#lastTerm = run?.term ?? 0;
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
