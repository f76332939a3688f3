/**
 * The write-ahead log: one for all groups of a process, so that one sync makes the records of all
 * of them durable.
 *
 * It is a chain of segments (`wal/<sequence>.wal`, see wal_segment.ts) of records (see
 * wal_record.ts). A position counts bytes over the life of the log, headers and marks included.
 * An entry at index i replaces every earlier entry of its group from i on: that is how the
 * truncation of a conflict is written.
 *
 * Each append begins with a mark, a record that says how far the log was durable when the mark was
 * written. At start the marks tell a torn tail from damage. A torn tail is what a crash leaves of
 * records that were never acknowledged; damage is to records that were. A bad record is a torn tail
 * only if no mark behind it says that the log had been durable beyond it. The last synced batch has
 * no mark behind it until the next append, or `close`.
 *
 * @module
 */
import type { GroupId } from "../../machines/raft_types.ts";
import type { Disk, DiskFile, DiskLock } from "./disk.ts";
import { SEGMENT_BYTES, WRITE_GATHER_BYTES_MAX } from "./limits.ts";
import { WalCorruptError, WalFailedError, WalLockedError } from "./wal_errors.ts";
import { RECORD_HEADER_BYTES, writeMark } from "./wal_record.ts";
import { lacksFirstHeader, type RecoveredGroup, type Replay, replay } from "./wal_replay.ts";
import {
  checkIdentity,
  encodeSegmentHeader,
  SEGMENT_HEADER_BYTES,
  segmentPath,
  WAL_DIRECTORY,
  type WalIdentity,
} from "./wal_segment.ts";

const GATHER_BYTES_MIN = 4096;

/** Whose log it is, and how large its segments become. */
export interface WalOptions extends WalIdentity {
  /** A segment of this size is followed by a new one. Default SEGMENT_BYTES. */
  readonly segmentBytes?: number;
  /**
   * Whether the log was begun before: then a first header that is not whole is damage, not a torn
   * tail.
   */
  readonly wasBegun?: boolean;
}

/** A log and what was in it. */
export interface OpenedWal {
  readonly wal: Wal;
  readonly groups: Map<GroupId, RecoveredGroup>;
  /** Why the end of the log was cut off, if a crash had torn it. */
  readonly tornTail: string | undefined;
}

interface Segment {
  readonly sequence: number;
  /** Position of its first byte. */
  readonly start: number;
  readonly file: DiskFile;
}

/**
 * The log, open for appending.
 *
 * After the first write or sync that fails, every call fails with the same
 * {@linkcode WalFailedError}: nothing is tried again.
 */
export class Wal {
  readonly #disk: Disk;
  readonly #options: WalOptions;
  readonly #lock: DiskLock;
  #gather = new Uint8Array(GATHER_BYTES_MIN);
  /** Open segments: those with bytes that are not durable, and the one that is written. */
  #segments: Segment[];
  #position: number;
  #durablePosition: number;
  #syncing = false;
  /** The name of the last segment may not be durable yet. */
  #nameIsNew = false;
  #failure: WalFailedError | undefined = undefined;

  /**
   * Opens the log, creating it if it is not there, and reads it back. What it returns is durable.
   * Blocks for as long as reading takes.
   *
   * @throws {WalError} If the log must not be used: corrupt, incomplete, or somebody else's.
   * @throws {DiskError} If the disk fails.
   * @throws {RangeError} If the identity is not well-formed.
   */
  static open(disk: Disk, options: WalOptions): OpenedWal {
    checkIdentity(options);
    disk.makeDirectory(WAL_DIRECTORY);
    // What is locked is what is written: a second writer would ruin the log.
    const lock = disk.lock(WAL_DIRECTORY);
    if (lock === undefined) throw new WalLockedError(WAL_DIRECTORY);
    try {
      const found = replay(disk, options);
      if (options.wasBegun === true && lacksFirstHeader(found)) {
        throw new WalCorruptError(segmentPath(1), 0, "its header was whole once");
      }
      cutTornTail(disk, found);
      const segment = openDurably(disk, options, found);
      const wal = new Wal(disk, { options, lock, segment });
      return { wal, groups: found.groups, tornTail: describeTornTail(found) };
    } catch (error) {
      lock.release();
      throw error;
    }
  }

  private constructor(
    disk: Disk,
    { options, lock, segment }: {
      readonly options: WalOptions;
      readonly lock: DiskLock;
      readonly segment: Segment;
    },
  ) {
    this.#disk = disk;
    this.#options = options;
    this.#lock = lock;
    this.#segments = [segment];
    this.#position = segment.start + segment.file.size;
    this.#durablePosition = this.#position;
  }

  /** End of the log. */
  get position(): number {
    return this.#position;
  }

  /** What precedes this position is durable. */
  get durablePosition(): number {
    return this.#durablePosition;
  }

  /** Why the log cannot be used any more. */
  get failure(): WalFailedError | undefined {
    return this.#failure;
  }

  /**
   * Writes chunks of whole records, also while a sync runs, and returns the position after them.
   * They are durable once `durablePosition` has reached it.
   *
   * @throws {WalFailedError} If a write failed, now or before.
   */
  append(chunks: readonly Uint8Array[]): number {
    this.#checkUsable();
    try {
      const segment = this.#segmentToWrite();
      this.#position += this.#write(segment, chunks);
    } catch (error) {
      throw this.#fail(error);
    }
    return this.#position;
  }

  /**
   * Makes durable what was appended before the call; `done` is called in a later turn with the
   * position up to which the log is durable. One sync at a time.
   *
   * @throws {WalFailedError} If the log has failed before; then `done` is not called.
   * @throws {Error} If a sync is running.
   */
  sync(done: (error: WalFailedError | undefined, durablePosition: number) => void): void {
    this.#checkUsable();
    if (this.#syncing) throw new Error("Cannot sync the log: a sync is running");
    this.#syncing = true;
    const target = this.#position;
    const nameIsNew = this.#nameIsNew;
    this.#syncSegments([...this.#segments], nameIsNew, (error) => {
      this.#syncing = false;
      if (nameIsNew) this.#nameIsNew = false;
      if (error !== undefined) this.#fail(error);
      if (this.#failure === undefined) {
        this.#durablePosition = target;
        this.#closeDurableSegments();
      }
      done(this.#failure, this.#durablePosition);
    });
  }

  /**
   * Makes everything durable, leaves a mark that says so, and closes the files; blocks. A failed
   * log is only closed.
   *
   * @throws {Error} If a sync is running.
   * @throws {WalFailedError} If a write or sync fails; the files are closed all the same.
   */
  close(): void {
    if (this.#syncing) throw new Error("Cannot close the log: a sync is running");
    try {
      if (this.#failure === undefined) this.#seal();
    } catch (error) {
      throw this.#fail(error);
    } finally {
      for (const { file } of this.#segments) file.close();
      this.#segments = [];
      this.#lock.release();
      this.#failure ??= new WalFailedError(new Error("it is closed"));
    }
  }

  #checkUsable(): void {
    if (this.#failure !== undefined) throw this.#failure;
  }

  #fail(error: unknown): WalFailedError {
    const cause = error instanceof Error ? error : new Error(String(error));
    return this.#failure ??= new WalFailedError(cause);
  }

  /**
   * The segment that takes the next append; a new one if the last is full. A full segment whose
   * name is not durable yet takes more: a crash could otherwise keep a later name and lose an
   * earlier one.
   */
  #segmentToWrite(): Segment {
    const last = this.#segments.at(-1)!;
    const isFull = last.file.size >= (this.#options.segmentBytes ?? SEGMENT_BYTES);
    if (!isFull || this.#nameIsNew) return last;
    const segment = createSegment(this.#disk, this.#options, last.sequence + 1, this.#position);
    this.#segments.push(segment);
    this.#nameIsNew = true;
    this.#position += SEGMENT_HEADER_BYTES;
    return segment;
  }

  /** Writes a mark and the chunks, in one write if they are small, and returns their size. */
  #write({ sequence, file }: Segment, chunks: readonly Uint8Array[]): number {
    let size = RECORD_HEADER_BYTES;
    for (const chunk of chunks) size += chunk.length;
    if (size > this.#gather.length && size <= WRITE_GATHER_BYTES_MAX) {
      this.#gather = new Uint8Array(Math.min(2 * size, WRITE_GATHER_BYTES_MAX));
    }
    const gather = this.#gather;
    const mark = { sequence, position: this.#position, durablePosition: this.#durablePosition };
    writeMark(gather, 0, mark);
    if (size > gather.length) {
      file.append(gather.subarray(0, RECORD_HEADER_BYTES));
      for (const chunk of chunks) file.append(chunk);
      return size;
    }
    let at = RECORD_HEADER_BYTES;
    for (const chunk of chunks) {
      gather.set(chunk, at);
      at += chunk.length;
    }
    file.append(gather.subarray(0, size));
    return size;
  }

  /** Syncs one segment after the other, in order of their sequences, and then their names. */
  #syncSegments(
    segments: Segment[],
    nameIsNew: boolean,
    done: (error: Error | undefined) => void,
  ): void {
    const next = (at: number): void => {
      segments[at]!.file.syncData((error) => {
        if (error !== undefined) done(error);
        else if (at + 1 < segments.length) next(at + 1);
        else if (nameIsNew) this.#syncName(done);
        else done(undefined);
      });
    };
    next(0);
  }

  /** The name of a segment must be durable before a record in it may count as durable. */
  #syncName(done: (error: Error | undefined) => void): void {
    try {
      this.#disk.syncDirectoryData(WAL_DIRECTORY, done);
    } catch (error) {
      done(error as Error);
    }
  }

  #closeDurableSegments(): void {
    while (this.#segments.length > 1 && this.#segments[1]!.start <= this.#durablePosition) {
      this.#segments.shift()!.file.close();
    }
  }

  #seal(): void {
    for (const { file } of this.#segments) file.sync();
    if (this.#nameIsNew) this.#disk.syncDirectory(WAL_DIRECTORY);
    this.#nameIsNew = false;
    this.#durablePosition = this.#position;
    const last = this.#segments.at(-1)!;
    this.#position += this.#write(last, []);
    last.file.sync();
  }
}

function describeTornTail({ tornAt }: Replay): string | undefined {
  if (tornAt === undefined) return undefined;
  const { sequence, offset, reason } = tornAt;
  return `${segmentPath(sequence)} at byte ${offset}: ${reason}`;
}

/** Removes what a crash left behind the last good record, so that it can never be read again. */
function cutTornTail(disk: Disk, { tornAt, lastSequence }: Replay): void {
  if (tornAt === undefined) return;
  const { sequence, offset } = tornAt;
  const firstRemoved = offset < SEGMENT_HEADER_BYTES ? sequence : sequence + 1;
  // From the end, each removal durable before the next: a crash in between leaves no hole.
  for (let at = lastSequence; at >= firstRemoved; at--) {
    disk.remove(segmentPath(at));
    disk.syncDirectory(WAL_DIRECTORY);
  }
  if (firstRemoved === sequence) return;
  const file = disk.open(segmentPath(sequence));
  try {
    // Made durable with the rest of this segment, before anything is appended to it.
    file.truncate(offset);
  } finally {
    file.close();
  }
}

/**
 * Opens the last segment, creating the first, and syncs all that may not be durable: the process
 * could have been killed, and what it wrote be in the kernel's memory only.
 */
function openDurably(disk: Disk, options: WalOptions, found: Replay): Segment {
  const { starts, endPosition, durablePosition } = found;
  disk.syncDirectory(WAL_DIRECTORY);
  for (let sequence = 1; sequence < starts.size; sequence++) {
    if (starts.get(sequence + 1)! > durablePosition) syncSegment(disk, sequence);
  }
  const last = starts.size === 0 ? createSegment(disk, options, 1, endPosition) : {
    sequence: starts.size,
    start: starts.get(starts.size)!,
    file: disk.open(segmentPath(starts.size)),
  };
  try {
    last.file.sync();
    if (starts.size === 0) disk.syncDirectory(WAL_DIRECTORY);
  } catch (error) {
    last.file.close();
    throw error;
  }
  return last;
}

function syncSegment(disk: Disk, sequence: number): void {
  const file = disk.open(segmentPath(sequence));
  try {
    file.sync();
  } finally {
    file.close();
  }
}

/** A new segment with its header; both its name and its header become durable with the first sync. */
function createSegment(
  disk: Disk,
  identity: WalIdentity,
  sequence: number,
  position: number,
): Segment {
  const file = disk.open(segmentPath(sequence));
  try {
    file.append(encodeSegmentHeader({ ...identity, sequence, position }));
  } catch (error) {
    file.close();
    throw error;
  }
  return { sequence, start: position, file };
}
