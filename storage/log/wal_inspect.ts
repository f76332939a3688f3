/**
 * Looking at a write-ahead log without opening it: what its segments hold, and where it is damaged, if
 * it is. Nothing is changed or locked, so a node may be writing the log meanwhile.
 *
 * @module
 */
import type { GroupId, LogIndex, Term } from "../../machines/raft_types.ts";
import { INSPECTION_TRIES } from "./limits.ts";
import { WalError, WalUnknownRecordError } from "./wal_errors.ts";
import {
  type Checkpoint,
  checkpointAt,
  forEachUnpacked,
  hardStateAt,
  RecordCursor,
  RecordError,
  type RecordKind,
} from "./wal_record.ts";
import { checkedWatermark, type Replay, replay } from "./wal_replay.ts";
import { watermarkIn } from "./watermark.ts";
import {
  decodeSegmentHeader,
  SEGMENT_HEADER_BYTES,
  type SegmentHeader,
  segmentPath,
  sequenceOf,
  WAL_DIRECTORY,
} from "./wal_segment.ts";

/** The files of a log. */
export interface LogFiles {
  /** Their names, in any order. */
  list(): readonly string[];
  /** What is in one; undefined if it is gone: a node removes segments that it needs no more. */
  read(name: string): Uint8Array | undefined;
  /** What is in the file beside the log that says how far it was durable; undefined if it is not there. */
  readWatermark(): Uint8Array | undefined;
}

/** A segment whose header can be read. */
export interface SegmentFinding extends SegmentHeader {
  /** What was found. */
  readonly type: "segment";
  /** Relative to the data directory. */
  readonly path: string;
  /** Bytes of the file. */
  readonly bytes: number;
}

/** A record that is whole. Which fields it has, its kind says. */
export interface RecordFinding {
  /** What was found. */
  readonly type: "record";
  /** Its segment. */
  readonly path: string;
  /** Where it begins in its segment; of a record that is packed, where the one begins that holds it. */
  readonly offset: number;
  /** The same place in the log. */
  readonly position: number;
  /** Whether it is packed in the packed record before it. */
  readonly isPacked: boolean;
  /** What it is. */
  readonly kind: RecordKind;
  /** Bytes of it, with its header. */
  readonly bytes: number;
  /** All but marks and packed records. */
  readonly group?: GroupId;
  /** All but marks and packed records; of a hard state and a checkpoint currentTerm. */
  readonly term?: Term;
  /** Entries. */
  readonly index?: LogIndex;
  /** Entries: their log time. */
  readonly timeMs?: number;
  /** Hard states and checkpoints; 0 for no vote. */
  readonly votedFor?: number;
  /** Marks: up to here the log was durable when the mark was written. */
  readonly durablePosition?: number;
  /** Packed records: bytes of the records in it. */
  readonly unpackedBytes?: number;
  /** Checkpoints: the last entry that a snapshot covers, or 0. */
  readonly baseIndex?: LogIndex;
  /** Checkpoints: that entry's term. */
  readonly baseTerm?: Term;
  /** Checkpoints: the last entry of the log. */
  readonly lastIndex?: LogIndex;
}

/** From here on a segment cannot be read. Whether that is damage, the verdict says. */
export interface UnreadableFinding {
  /** What was found. */
  readonly type: "unreadable";
  /** The segment. */
  readonly path: string;
  /** Where in the segment, in bytes. */
  readonly offset: number;
  /** What is wrong there. */
  readonly reason: string;
}

/** What an inspection finds, in the order of the log. */
export type LogFinding = SegmentFinding | RecordFinding | UnreadableFinding;

/** What the records of a group come to. */
export interface GroupFinding {
  /** Its currentTerm. */
  readonly term: Term;
  /** 0 for no vote. */
  readonly votedFor: number;
  /** The last entry that a snapshot covers, or 0: the log begins after it. */
  readonly baseIndex: LogIndex;
  /** That entry's term. */
  readonly baseTerm: Term;
  /** The log's last entry. */
  readonly lastIndex: LogIndex;
}

/** What a log comes to, as a start would read it. */
export interface LogVerdict {
  /** Segments that are there. */
  readonly segments: number;
  /** Why a start would refuse it; undefined if it would not. */
  readonly error: WalError | undefined;
  /** What a start would cut off: what a crash tore, or what a node is writing just now. */
  readonly tornTail: Omit<UnreadableFinding, "type"> | undefined;
  /** What each group comes to; none if the log is refused. */
  readonly groups: ReadonlyMap<GroupId, GroupFinding>;
}

/**
 * Finds segments and records one by one, then returns the verdict. It reads a segment at a time; the
 * verdict takes memory for the entries that the log still needs.
 *
 * @throws {WalVersionError} If a segment is of a format that this release does not know.
 * @throws {WalUnknownRecordError} If a later release wrote a record; all findings come before.
 */
export function* inspectLog(files: LogFiles): Generator<LogFinding, LogVerdict> {
  // Before the segments: what a node makes durable meanwhile is in them.
  const durable = watermarkIn(files.readWatermark() ?? new Uint8Array(0));
  const names = segmentsOf(files);
  let identity: SegmentHeader | undefined;
  for (const name of names) {
    const bytes = files.read(name);
    if (bytes === undefined) continue;
    const path = `${WAL_DIRECTORY}/${name}`;
    const header = decodeSegmentHeader(path, bytes);
    identity ??= header;
    if (header === undefined) {
      yield { type: "unreadable", path, offset: 0, reason: "its header is damaged, or cut short" };
    } else {
      yield { type: "segment", path, bytes: bytes.length, ...header };
      yield* recordsOf(path, bytes, header.position);
    }
  }
  return judge(files, durable, identity ?? { clusterId: "", nodeId: 0 });
}

/** Names of segments, oldest first. */
function segmentsOf(files: LogFiles): string[] {
  return files.list().filter((name) => sequenceOf(name) !== undefined).sort();
}

function* recordsOf(
  path: string,
  bytes: Uint8Array,
  start: number,
): Generator<RecordFinding | UnreadableFinding, void> {
  const cursor = new RecordCursor(bytes, SEGMENT_HEADER_BYTES);
  for (;;) {
    const findings: RecordFinding[] = [];
    try {
      if (!cursor.next()) return;
      const place = { path, offset: cursor.start, position: start + cursor.start };
      findings.push(findingOf(bytes, cursor, { ...place, isPacked: false }));
      if (cursor.kind === "packed") {
        forEachUnpacked(bytes, cursor, (unpacked, inner) => {
          findings.push(findingOf(unpacked, inner, { ...place, isPacked: true }));
        });
      }
    } catch (error) {
      if (!(error instanceof RecordError)) throw error;
      const { offset, reason } = error;
      yield { type: "unreadable", path, offset, reason };
      return;
    }
    yield* findings;
  }
}

function findingOf(
  bytes: Uint8Array,
  cursor: RecordCursor,
  at: Pick<RecordFinding, "path" | "offset" | "position" | "isPacked">,
): RecordFinding {
  const { kind, group, term, index, timeMs } = cursor;
  const place = { type: "record", ...at, kind, bytes: cursor.end - cursor.start } as const;
  switch (kind) {
    case "mark":
      return { ...place, durablePosition: index };
    case "packed":
      return { ...place, unpackedBytes: index };
    case "hardState": {
      const { currentTerm, votedFor = 0 } = hardStateAt(cursor);
      return { ...place, group, term: currentTerm, votedFor };
    }
    case "checkpoint":
      return { ...place, group, ...groupFinding(checkpointAt(bytes, cursor)) };
    default:
      return { ...place, group, term, index, timeMs };
  }
}

function groupFinding({ hardState, base, lastIndex }: Checkpoint): GroupFinding {
  const { currentTerm, votedFor = 0 } = hardState;
  return { term: currentTerm, votedFor, baseIndex: base.index, baseTerm: base.term, lastIndex };
}

/** A node removed a segment between the listing and the reading. */
class SegmentGoneError extends Error {
  override readonly name = "SegmentGoneError";

  constructor(path: string) {
    super(`Cannot inspect the log: ${path} was listed, and it was removed meanwhile`);
  }
}

/** Reads the log as a start does. */
function judge(
  files: LogFiles,
  durable: number,
  identity: Parameters<typeof replay>[1],
): LogVerdict {
  for (let tries = 1;; tries++) {
    const names = [...files.list()].sort();
    const segments = names.filter((name) => sequenceOf(name) !== undefined).length;
    let newest: { readonly path: string; readonly bytes: Uint8Array } | undefined;
    const readFile = (path: string): Uint8Array => {
      // Replay reads a segment that ends within a record once more. If it has grown meanwhile, what a node
      // wrote behind its end would call that end damaged.
      if (newest?.path === path) return newest.bytes;
      const bytes = files.read(path.slice(WAL_DIRECTORY.length + 1));
      if (bytes === undefined) throw new SegmentGoneError(path);
      newest = { path, bytes };
      return bytes;
    };
    try {
      const found = replay({ list: () => names, readFile }, identity);
      checkedWatermark(durable, found);
      const groups = new Map<GroupId, GroupFinding>();
      for (const [group, recovered] of found.groups) groups.set(group, groupFinding(recovered));
      return { segments, error: undefined, tornTail: tornTailOf(found), groups };
    } catch (error) {
      if (error instanceof SegmentGoneError && tries < INSPECTION_TRIES) continue;
      if (!(error instanceof WalError) || error instanceof WalUnknownRecordError) throw error;
      return { segments, error, tornTail: undefined, groups: new Map() };
    }
  }
}

function tornTailOf({ tornAt }: Replay): LogVerdict["tornTail"] {
  if (tornAt === undefined) return undefined;
  const { sequence, offset, reason } = tornAt;
  return { path: segmentPath(sequence), offset, reason };
}
