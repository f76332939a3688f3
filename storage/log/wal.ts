/**
 * The write-ahead log: one for all groups of a process, so that one sync makes the records of all
 * of them durable.
 *
 * It is a chain of segments (`wal/<sequence>.wal`, see wal_segment.ts) of records (see
 * wal_record.ts). A position counts bytes over the life of the log, headers and marks included.
 * An entry at index i replaces every earlier entry of its group from i on: that is how the
 * truncation of a conflict is written.
 *
 * The log forgets: a checkpoint says that a snapshot covers a group's entries up to its base. Each
 * segment begins with the checkpoint of every group, so that the oldest segments can be removed once
 * all of their entries are covered, and no vote and no term goes with them.
 *
 * Each append begins with a mark, a record that says how far the log was durable when the mark was
 * written. At start the marks tell a torn tail from damage. A torn tail is what a crash leaves of
 * records that were never acknowledged; damage is to records that were. A bad record is a torn tail
 * only if no mark behind it says that the log had been durable beyond it. The last synced batch has
 * no mark behind it until the next append, or `close`. A mark also says the checksum of the append
 * before it: a write that the disk never made, or made elsewhere, can leave older records in its place
 * that are whole.
 *
 * Records that are appended together are compressed if they are many and shrink.
 *
 * @module
 */
import type { LogBase } from "../../machines/raft_log.ts";
import type { GroupId, LogIndex } from "../../machines/raft_types.ts";
import { type CompressionTotals, Compressor } from "../compression.ts";
import { joinBytes } from "../join_bytes.ts";
import { type Disk, DiskError, type DiskFile, type DiskLock } from "./disk.ts";
import {
  PACK_BLOCK_BYTES,
  PACK_BYTES_MIN,
  PACKED_BYTES_MAX,
  SEGMENT_BYTES,
  WRITE_GATHER_BYTES_MAX,
} from "./limits.ts";
import { replaceFile, UNFINISHED_SUFFIX, withFile } from "./replace_file.ts";
import { WalCorruptError, WalFailedError, WalFullError, WalLockedError } from "./wal_errors.ts";
import {
  type Checkpoint,
  CHECKPOINT_BYTES,
  checksumWithAll,
  encodeCheckpoint,
  encodePacked,
  forEachRecord,
  NO_RECORDS_CHECKSUM,
  RECORD_HEADER_BYTES,
  writeMark,
} from "./wal_record.ts";
import {
  checkedWatermark,
  dropEntriesAfter,
  lacksFirstHeader,
  type RecoveredGroup,
  type Replay,
  replay,
  type ReplayedSegment,
} from "./wal_replay.ts";
import { readWatermark, Watermark } from "./watermark.ts";
import {
  checkIdentity,
  encodeSegmentHeader,
  SEGMENT_HEADER_BYTES,
  segmentPath,
  WAL_DIRECTORY,
  type WalIdentity,
} from "./wal_segment.ts";

const GATHER_BYTES_MIN = 4096;
/** What a group of which there are no records comes to. */
const NOTHING: Checkpoint = {
  hardState: { currentTerm: 0, votedFor: undefined },
  base: { index: 0, term: 0 },
  lastIndex: 0,
};

/** Where a log begins. */
const FIRST_SEGMENT = {
  ...{ sequence: 1, position: 0, checksumBefore: NO_RECORDS_CHECKSUM },
  groups: new Map<GroupId, Checkpoint>(),
};

/** Whose log it is, and how large its segments become. */
export interface WalOptions extends WalIdentity {
  /** A segment of this size is followed by a new one. Default SEGMENT_BYTES. */
  readonly segmentBytes?: number;
  /**
   * Whether the log was begun before: then a first header that is not whole is damage, not a torn
   * tail.
   */
  readonly wasBegun?: boolean;
  /**
   * Records that are appended together are compressed from so many bytes on; Infinity for never. What is
   * compressed is read either way. Default PACK_BYTES_MIN.
   */
  readonly packBytesMin?: number;
  /** A clock, for the time that compression takes; without it none is told. */
  readonly nowMs?: () => number;
}

/** A log and what was in it. */
export interface OpenedWal {
  readonly wal: Wal;
  readonly groups: Map<GroupId, RecoveredGroup>;
  /** Why the end of the log was cut off, if a crash had torn it. */
  readonly tornTail: string | undefined;
}

/** A segment that is there. */
interface Segment extends ReplayedSegment {
  /** Open while bytes of it are not durable, and while it is the last. */
  file: DiskFile | undefined;
}

/** What the records of a group come to so far. */
type Tally = { -readonly [Field in keyof Checkpoint]: Checkpoint[Field] };

/** A base of a group that is written, and from where on it is durable. */
interface PendingBase {
  readonly group: GroupId;
  readonly index: LogIndex;
  readonly position: number;
}

/**
 * The log, open for appending.
 *
 * After the first write or sync that fails, every call fails with the same
 * {@linkcode WalFailedError}: nothing is tried again. A disk that has no room is not such a failure:
 * nothing was written, and the call may be tried again.
 */
export class Wal {
  readonly #disk: Disk;
  readonly #options: WalOptions;
  readonly #lock: DiskLock;
  readonly #watermark: Watermark;
  readonly #compressor: Compressor;
  /** Whether what is appended is compressed where that helps. */
  packs = true;
  #gather = new Uint8Array(GATHER_BYTES_MIN);
  /** Checksum of the last append. */
  #checksum: number;
  /** All segments that are there, oldest first; the last is written. */
  #segments: Segment[];
  /** What the records of each group come to. */
  readonly #groups: Map<GroupId, Tally>;
  /** Bases that are not durable yet, oldest first. */
  #pendingBases: PendingBase[] = [];
  /** The durable base of each group: entries up to it are not needed any more. */
  readonly #durableBases: Map<GroupId, LogIndex>;
  #removing = false;
  /** What has last replaced entries ends here: until it is durable, those that it replaced may come back. */
  #replacedPosition = 0;
  #position: number;
  #durablePosition: number;
  #syncing = false;
  /** The name of the last segment may not be durable yet. */
  #nameIsNew = false;
  #failure: WalFailedError | undefined = undefined;

  /**
   * Opens the log, creating it if it is not there, and reads it back. What it returns is durable; only
   * if a sync had failed and the disk has since become too full for a copy of a segment, a part of it
   * may not be. Blocks for as long as reading takes.
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
    let watermark: Watermark | undefined;
    try {
      const found = replay(disk, options);
      if (options.wasBegun === true && lacksFirstHeader(found)) {
        throw new WalCorruptError(segmentPath(1), 0, "its header was whole once");
      }
      const durablePosition = Math.max(
        found.durablePosition,
        checkedWatermark(readWatermark(disk), found),
      );
      cutTornTail(disk, found);
      watermark = new Watermark(disk);
      const segments = openDurably(disk, options, { ...found, durablePosition });
      const { groups, checksum = NO_RECORDS_CHECKSUM } = found;
      const wal = new Wal(disk, { options, lock, watermark, segments, groups, checksum });
      return { wal, groups, tornTail: describeTornTail(found) };
    } catch (error) {
      watermark?.close();
      lock.release();
      throw error;
    }
  }

  private constructor(
    disk: Disk,
    { options, lock, watermark, segments, groups, checksum }: {
      readonly options: WalOptions;
      readonly lock: DiskLock;
      readonly watermark: Watermark;
      readonly segments: Segment[];
      readonly groups: ReadonlyMap<GroupId, RecoveredGroup>;
      readonly checksum: number;
    },
  ) {
    this.#disk = disk;
    this.#options = options;
    this.#lock = lock;
    this.#watermark = watermark;
    this.#checksum = checksum;
    const { packBytesMin: bytesMin = PACK_BYTES_MIN, nowMs } = options;
    this.#compressor = new Compressor({ bytesMin, ...(nowMs === undefined ? {} : { nowMs }) });
    this.#segments = segments;
    const last = segments.at(-1)!;
    this.#position = last.start + last.file!.size;
    this.#durablePosition = this.#position;
    // A loss of power may have left it behind the log, which is durable now.
    watermark.note(this.#position);
    this.#groups = new Map([...groups].map(([group, found]) => [group, tallyOf(found)]));
    this.#durableBases = new Map([...groups].map(([group, { base }]) => [group, base.index]));
  }

  /** End of the log. */
  get position(): number {
    return this.#position;
  }

  /** Bytes of the segments that are there. */
  get diskBytes(): number {
    return this.#position - this.#segments[0]!.start;
  }

  /** What compression has done since the log was opened. */
  get compression(): CompressionTotals {
    return this.#compressor.totals;
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
   * @throws {WalFullError} If the disk has no room for them. Nothing was written.
   * @throws {WalFailedError} If a write failed, now or before.
   */
  append(chunks: readonly Uint8Array[]): number {
    const { highest } = this.#append(chunks);
    for (const chunk of chunks) this.#note(chunk, highest);
    return this.#position;
  }

  /**
   * A durable snapshot covers the entries of a group up to the base, so the log may forget them. If it
   * holds the entry at the base and `keepsRest`, it keeps those behind it; otherwise it holds none
   * from now on. Returns the position at which that will be durable. Segments that nobody needs any
   * more are removed, one at a time, after a sync that reaches it.
   *
   * @throws {WalFullError} If the disk has no room for it. Nothing was written.
   * @throws {WalFailedError} If a write failed, now or before.
   * @throws {RangeError} If the base falls.
   */
  forget(group: GroupId, base: LogBase, { keepsRest }: { readonly keepsRest: boolean }): number {
    const tally = this.#tallyOf(group);
    if (base.index < tally.base.index) {
      throw new RangeError(
        `Cannot forget entries of group ${group}: the base falls from ${tally.base.index} to ` +
          `${base.index}`,
      );
    }
    const lastIndex = keepsRest ? Math.max(base.index, tally.lastIndex) : base.index;
    const checkpoint = { hardState: tally.hardState, base, lastIndex };
    this.#append([encodeCheckpoint(group, checkpoint)]);
    Object.assign(tally, checkpoint);
    dropEntriesAfter(this.#segments, group, lastIndex);
    this.#pendingBases.push({ group, index: base.index, position: this.#position });
    return this.#position;
  }

  /**
   * Makes durable what was appended before the call; `done` is called in a later turn with the
   * position up to which the log is durable. One sync at a time. A segment that was begun makes it
   * several of the disk's; `onStep` is called between them.
   *
   * @throws {WalFailedError} If the log has failed before; then `done` is not called.
   * @throws {Error} If a sync is running.
   */
  sync(
    done: (error: WalFailedError | undefined, durablePosition: number) => void,
    onStep: () => void = () => {},
  ): void {
    this.#checkUsable();
    if (this.#syncing) throw new Error("Cannot sync the log: a sync is running");
    this.#syncing = true;
    const target = this.#position;
    const nameIsNew = this.#nameIsNew;
    this.#syncSegments(this.#openFiles(), { nameIsNew, onStep }, (error) => {
      this.#syncing = false;
      if (nameIsNew) this.#nameIsNew = false;
      if (error !== undefined) this.#fail(error);
      if (this.#failure === undefined) {
        try {
          this.#noteDurable(target);
        } catch (error) {
          this.#fail(error);
        }
      }
      if (this.#failure === undefined) {
        this.#closeDurableSegments();
        this.#noteDurableBases();
        this.#removeNeedless();
      }
      done(this.#failure, this.#durablePosition);
    });
  }

  /**
   * Makes everything durable, leaves a mark that says so, and closes the files; blocks. A segment that an
   * earlier release began gets no mark, and a failed log is only closed.
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
      for (const file of this.#openFiles()) file.close();
      this.#watermark.close();
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
    const isFull = last.file!.size >= (this.#options.segmentBytes ?? SEGMENT_BYTES);
    if (!last.isOld && (!isFull || this.#nameIsNew)) return last;
    const segment = createSegment(this.#disk, this.#options, {
      sequence: last.sequence + 1,
      position: this.#position,
      checksumBefore: this.#checksum,
      groups: this.#groups,
    });
    this.#segments.push(segment);
    this.#nameIsNew = true;
    this.#position += segment.file!.size;
    return segment;
  }

  /** Remembers what the records of a chunk do to their groups; `highest` is their segment's. */
  #note(chunk: Uint8Array, highest: Map<GroupId, LogIndex>): void {
    forEachRecord(chunk, (kind, group, term, index) => {
      const tally = this.#tallyOf(group);
      if (kind === "hardState") {
        tally.hardState = { currentTerm: term, votedFor: index === 0 ? undefined : index };
        return;
      }
      if (index <= tally.lastIndex) {
        dropEntriesAfter(this.#segments, group, index - 1);
        this.#replacedPosition = this.#position;
      }
      tally.lastIndex = index;
      highest.set(group, index);
    });
  }

  #tallyOf(group: GroupId): Tally {
    let tally = this.#groups.get(group);
    if (tally === undefined) this.#groups.set(group, tally = tallyOf(NOTHING));
    return tally;
  }

  #append(chunks: readonly Uint8Array[]): Segment {
    this.#checkUsable();
    try {
      const segment = this.#segmentToWrite();
      this.#position += this.#writeWhole(segment, chunks);
      return segment;
    } catch (error) {
      if (isNoSpace(error)) throw new WalFullError(error);
      throw this.#fail(error);
    }
  }

  /**
   * Writes all of it or nothing. A full disk may take a part of it. That was never acknowledged, and is
   * cut off again: what is written next must stand behind the last whole record.
   */
  #writeWhole(segment: Segment, chunks: readonly Uint8Array[]): number {
    const file = segment.file!;
    const { size } = file;
    try {
      return this.#write(segment, chunks);
    } catch (error) {
      if (isNoSpace(error)) this.#undo(() => file.truncate(size));
      throw error;
    }
  }

  /** Writes a mark and the chunks, in one write if they are small, and returns their size. */
  #write({ sequence, file }: Segment, records: readonly Uint8Array[]): number {
    const chunks = this.#pack(records);
    const size = RECORD_HEADER_BYTES + lengthOf(chunks);
    if (size > this.#gather.length && size <= WRITE_GATHER_BYTES_MAX) {
      this.#gather = new Uint8Array(Math.min(2 * size, WRITE_GATHER_BYTES_MAX));
    }
    const gather = this.#gather;
    writeMark(gather, 0, {
      ...{ sequence, position: this.#position, durablePosition: this.#durablePosition },
      checksumBefore: this.#checksum,
    });
    const mark = gather.subarray(0, RECORD_HEADER_BYTES);
    if (size > gather.length) {
      file!.append(mark);
      for (const chunk of chunks) file!.append(chunk);
    } else {
      let at = RECORD_HEADER_BYTES;
      for (const chunk of chunks) {
        gather.set(chunk, at);
        at += chunk.length;
      }
      file!.append(gather.subarray(0, size));
    }
    this.#checksum = [mark, ...chunks].reduce(checksumWithAll, NO_RECORDS_CHECKSUM);
    return size;
  }

  /**
   * Takes back what a full disk has taken a part of.
   *
   * @throws {WalFailedError} If it cannot: what is written next would stand behind a part of a record.
   */
  #undo(undo: () => void): void {
    try {
      undo();
    } catch (error) {
      throw this.#fail(error);
    }
  }

  /** Packs records, a block of them at a time, where that helps. */
  #pack(chunks: readonly Uint8Array[]): readonly Uint8Array[] {
    if (!this.packs || lengthOf(chunks) < this.#compressor.bytesMin) return chunks;
    return blocksOf(chunks).flatMap((block) => {
      const bytes = block.length === 1 ? block[0]! : joinBytes(block, lengthOf(block));
      if (bytes.length > PACKED_BYTES_MAX) return block;
      const packed = this.#compressor.compress(bytes);
      return packed === undefined ? block : [encodePacked(packed, bytes.length)];
    });
  }

  /** Syncs one segment after the other, in order of their sequences, and then their names. */
  #syncSegments(
    files: readonly DiskFile[],
    { nameIsNew, onStep }: { readonly nameIsNew: boolean; readonly onStep: () => void },
    done: (error: Error | undefined) => void,
  ): void {
    const next = (at: number): void => {
      files[at]!.syncData((error) => {
        const isLast = at + 1 === files.length;
        if (error !== undefined || (isLast && !nameIsNew)) return done(error);
        onStep();
        if (isLast) this.#syncName(done);
        else next(at + 1);
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

  #noteDurable(position: number): void {
    if (position === this.#durablePosition) return;
    this.#durablePosition = position;
    this.#watermark.note(position);
  }

  #openFiles(): DiskFile[] {
    return this.#segments.flatMap(({ file }) => file === undefined ? [] : [file]);
  }

  #closeDurableSegments(): void {
    this.#segments.forEach((segment, at) => {
      const next = this.#segments[at + 1];
      if (next === undefined || next.start > this.#durablePosition) return;
      segment.file?.close();
      segment.file = undefined;
    });
  }

  #noteDurableBases(): void {
    const isDurable = ({ position }: PendingBase): boolean => position <= this.#durablePosition;
    for (const { group, index } of this.#pendingBases.filter(isDurable)) {
      this.#durableBases.set(group, index);
    }
    this.#pendingBases = this.#pendingBases.filter((base) => !isDurable(base));
  }

  /**
   * Removes the oldest segment if it holds no entry that is needed. What else is in it, the head of the
   * next one says. One removal is durable before the next begins, so that a crash leaves no hole.
   */
  #removeNeedless(): void {
    const [oldest, next] = this.#segments;
    if (this.#removing || next === undefined || oldest!.file !== undefined) return;
    // The head of the next one must be durable before it stands for this one. No sync ends within it.
    if (next.start >= this.#durablePosition) return;
    if (this.#replacedPosition > this.#durablePosition) return;
    const isNeeded = [...oldest!.highest].some(([group, index]) =>
      index > (this.#durableBases.get(group) ?? 0)
    );
    if (isNeeded) return;
    this.#removing = true;
    const removed = (error: Error | undefined): void => {
      this.#removing = false;
      if (error !== undefined) this.#fail(error);
      if (this.#failure === undefined) this.#removeNeedless();
    };
    try {
      this.#disk.remove(segmentPath(oldest!.sequence));
      this.#segments.shift();
      this.#disk.syncDirectoryData(WAL_DIRECTORY, removed);
    } catch (error) {
      // Whoever waits for the sync that has just ended must hear of it.
      removed(error as Error);
    }
  }

  #seal(): void {
    for (const file of this.#openFiles()) file.sync();
    if (this.#nameIsNew) this.#disk.syncDirectory(WAL_DIRECTORY);
    this.#nameIsNew = false;
    this.#noteDurable(this.#position);
    const last = this.#segments.at(-1)!;
    if (last.isOld) return;
    try {
      this.#position += this.#writeWhole(last, []);
    } catch (error) {
      // Without the mark the next start takes the end of the log as it does after a crash.
      if (!isNoSpace(error)) throw error;
    }
    last.file!.sync();
    // Also the mark: the next start finds nothing that it has to write anew.
    this.#noteDurable(this.#position);
  }
}

/** @throws {Error} If it stays: the next try would append a second head to it. */
function removeWhole(disk: Disk, path: string): void {
  try {
    disk.remove(path);
  } catch (cause) {
    // Not a DiskError, whose code could say that there is no space, as if nothing had been written.
    throw new Error(`Cannot remove ${path}, of which a full disk has taken a part`, { cause });
  }
}

/** Chunks in blocks of about PACK_BLOCK_BYTES, of at least one chunk each. */
function blocksOf(chunks: readonly Uint8Array[]): Uint8Array[][] {
  const blocks: Uint8Array[][] = [];
  let size = Infinity;
  for (const chunk of chunks) {
    size += chunk.length;
    if (size <= PACK_BLOCK_BYTES) blocks.at(-1)!.push(chunk);
    else {
      blocks.push([chunk]);
      size = chunk.length;
    }
  }
  return blocks;
}

function lengthOf(chunks: readonly Uint8Array[]): number {
  return chunks.reduce((sum, { length }) => sum + length, 0);
}

function isNoSpace(error: unknown): error is DiskError {
  return error instanceof DiskError && error.code === "no-space";
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
  // Made durable with the rest of this segment, before anything is appended to it.
  withFile(disk, segmentPath(sequence), (segment) => segment.truncate(offset));
}

/**
 * Opens the last segment, creating the first, and makes all durable that may not be: the process could
 * have been killed, and what it wrote be in the kernel's memory only.
 */
function openDurably(disk: Disk, options: WalOptions, found: Replay): Segment[] {
  const { segments, bytes, durablePosition, endPosition } = found;
  for (const name of disk.list(WAL_DIRECTORY)) {
    if (name.endsWith(UNFINISHED_SUFFIX)) disk.remove(`${WAL_DIRECTORY}/${name}`);
  }
  disk.syncDirectory(WAL_DIRECTORY);
  segments.forEach(({ sequence, start }, at) => {
    const end = segments[at + 1]?.start ?? endPosition;
    if (end <= durablePosition) return;
    rewriteSegment(disk, segmentPath(sequence), bytes.get(sequence)!.subarray(0, end - start));
  });
  const isNew = segments.length === 0;
  const last: Segment = isNew
    ? createSegment(disk, options, FIRST_SEGMENT)
    : { ...segments.at(-1)!, file: disk.open(segmentPath(segments.at(-1)!.sequence)) };
  try {
    last.file!.sync();
    if (isNew) disk.syncDirectory(WAL_DIRECTORY);
  } catch (error) {
    last.file!.close();
    throw error;
  }
  return [...segments.slice(0, -1).map((segment) => ({ ...segment, file: undefined })), last];
}

/**
 * Puts a copy in the place of a segment that no sync has made durable, for all that is known. If a sync
 * of it failed in an earlier process, the kernel may show bytes that the disk never got, and call them
 * clean: to sync them once more would prove nothing. The copy's bytes are new to the kernel. They are
 * those that were checked: to read them once more could show what is on the disk instead. On a disk that
 * is too full for a copy the segment is synced where it is.
 */
function rewriteSegment(disk: Disk, path: string, bytes: Uint8Array): void {
  try {
    replaceFile(disk, path, bytes);
  } catch (error) {
    if (!isNoSpace(error)) throw error;
    const copyPath = `${path}${UNFINISHED_SUFFIX}`;
    if (disk.exists(copyPath)) disk.remove(copyPath);
    withFile(disk, path, (segment) => segment.sync());
    disk.syncDirectory(WAL_DIRECTORY);
  }
}

/** A new segment with its head; both its name and its head become durable with the first sync. */
function createSegment(
  disk: Disk,
  identity: WalIdentity,
  { sequence, position, checksumBefore, groups }: {
    readonly sequence: number;
    readonly position: number;
    readonly checksumBefore: number;
    readonly groups: ReadonlyMap<GroupId, Checkpoint>;
  },
): Segment {
  const header = encodeSegmentHeader({
    ...identity,
    sequence,
    position,
    checksumBefore,
    checkpoints: groups.size,
  });
  const checkpoints = [...groups].map(([group, checkpoint]) => encodeCheckpoint(group, checkpoint));
  const head = [header, ...checkpoints];
  const file = disk.open(segmentPath(sequence));
  try {
    file.append(joinBytes(head, SEGMENT_HEADER_BYTES + groups.size * CHECKPOINT_BYTES));
  } catch (error) {
    file.close();
    // A full disk may have taken a part of the head, and the log goes on without it.
    if (isNoSpace(error)) removeWhole(disk, segmentPath(sequence));
    throw error;
  }
  return { sequence, start: position, isOld: false, highest: new Map(), file };
}

function tallyOf({ hardState, base, lastIndex }: Checkpoint): Tally {
  return { hardState, base, lastIndex };
}
