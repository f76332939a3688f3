/**
 * Why a write-ahead log cannot be opened or used.
 *
 * @module
 */
import type { GroupId, LogIndex } from "../../machines/raft_types.ts";

/** A log on disk that must not be used as it is; the subclasses say why. */
export class WalError extends Error {
  /** Its class's name. */
  override readonly name: string = "WalError";
  /** The segment's path, relative to the root of the disk. */
  readonly path: string;

  /** See the class. */
  constructor(path: string, reason: string) {
    super(`Cannot open log segment ${JSON.stringify(path)}: ${reason}`);
    this.path = path;
  }
}

/**
 * Records that were durable are damaged or missing. The node must not start with what is left: with a
 * shortened log it could take part in electing a leader that lacks committed entries. If there are
 * others, it puts the log aside and recovers (machines/recovery.ts).
 */
export class WalCorruptError extends WalError {
  /** Its class's name. */
  override readonly name = "WalCorruptError";
  /** Where in the segment the damage begins, in bytes. */
  readonly offset: number;

  /** See the class. */
  constructor(path: string, offset: number, reason: string) {
    const where = offset === 0 ? "" : ` in the record at byte ${offset}`;
    super(path, `corrupt${where}: ${reason}`);
    this.offset = offset;
  }
}

/** A segment between, or before, those that are there is missing. */
export class WalMissingSegmentError extends WalError {
  /** Its class's name. */
  override readonly name = "WalMissingSegmentError";

  /** See the class. */
  constructor(path: string) {
    super(path, "it is missing, but later segments are there");
  }
}

/** A file is not the segment that its name says: copied, renamed or exchanged. */
export class WalMisplacedSegmentError extends WalError {
  /** Its class's name. */
  override readonly name = "WalMisplacedSegmentError";
}

/** The segment was written by another node or in another cluster. */
export class WalIdentityError extends WalError {
  /** Its class's name. */
  override readonly name = "WalIdentityError";
}

/** The segment was written by another version of this program. */
export class WalVersionError extends WalError {
  /** Its class's name. */
  override readonly name = "WalVersionError";
  /** The version that was found. */
  readonly version: number;

  /** See the class. */
  constructor(path: string, version: number, known: number) {
    super(
      path,
      `its format version ${version} is not known; ` +
        (version < known ? "no release has ever written it: start anew" : "use a newer release"),
    );
    this.version = version;
  }
}

/** A record is whole, and says what this release does not know: a later release wrote it. */
export class WalUnknownRecordError extends WalError {
  /** Its class's name. */
  override readonly name = "WalUnknownRecordError";
  /** Where in the segment the record begins, in bytes. */
  readonly offset: number;

  /** See the class. */
  constructor(path: string, offset: number, reason: string) {
    super(
      path,
      `the record at byte ${offset} is whole, but its format is not known (${reason}); ` +
        "use a newer release",
    );
    this.offset = offset;
  }
}

/** Entries were forgotten because a snapshot covered them, and no sound one is there any more. */
export class SnapshotMissingError extends Error {
  /** Its class's name. */
  override readonly name = "SnapshotMissingError";

  /** See the class; the group's log begins after `base`. */
  constructor(group: GroupId, base: LogIndex) {
    super(
      `Cannot start group ${group}: its log begins after entry ${base}, and no snapshot that ` +
        "reaches this entry is sound",
    );
  }
}

/** Another process writes the log. */
export class WalLockedError extends WalError {
  /** Its class's name. */
  override readonly name = "WalLockedError";

  /** See the class. */
  constructor(path: string) {
    super(path, "another process has locked it");
  }
}

/** The disk has no room for what was to be written: nothing was, and it may be tried again. */
export class WalFullError extends Error {
  /** Its class's name. */
  override readonly name = "WalFullError";

  /** See the class. */
  constructor(cause: Error) {
    super(`Cannot write the log: ${cause.message}`, { cause });
  }
}

/**
 * A write or a sync failed. What was written since the last successful sync cannot be trusted, and
 * a later sync does not help: the kernel may have dropped the data and still report success
 * (Rebello et al., ATC 2020). The process must stop and start again from what is on disk.
 */
export class WalFailedError extends Error {
  /** Its class's name. */
  override readonly name = "WalFailedError";

  /** See the class. */
  constructor(cause: Error) {
    super(`Cannot use the log any more: ${cause.message}`, { cause });
  }
}
