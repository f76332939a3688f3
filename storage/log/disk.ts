/**
 * The disk port: what storage asks of a file system, so that the same code runs on the real disk
 * (deno_disk.ts) and on the simulator's (tests/sim/memory_disk.ts).
 *
 * Paths are relative to a root, with `/` between names of `[a-z0-9._-]`; `""` is the root itself.
 * Calls block, except {@linkcode DiskFile.syncData}. What was not synced
 * may be lost in a crash: appended bytes, and names in a directory that was not synced.
 *
 * @module
 */

/** What went wrong, as far as callers need to tell cases apart. */
export type DiskErrorCode =
  | "no-space"
  | "io"
  | "permission"
  | "not-found"
  | "exists"
  | "too-many-files"
  | "closed"
  | "invalid-path";

/** A file operation that failed. */
export class DiskError extends Error {
  /** Its class's name. */
  override readonly name = "DiskError";
  /** What kind of failure it is. */
  readonly code: DiskErrorCode;
  /** The path as it was given, relative to the root. */
  readonly path: string;

  /** See the class. */
  constructor(
    message: string,
    { code, path, cause }: { code: DiskErrorCode; path: string; cause?: unknown },
  ) {
    super(message, cause === undefined ? undefined : { cause });
    this.code = code;
    this.path = path;
  }
}

/** A directory tree. Every call throws a {@linkcode DiskError} if it fails. */
export interface Disk {
  /** Creates a directory (mode 0700) and those above it, durably; does nothing if it is there. */
  makeDirectory(path: string): void;
  /** Names in a directory, ascending. */
  list(path: string): string[];
  exists(path: string): boolean;
  readFile(path: string): Uint8Array;
  /** Reads `length` bytes from `offset` on; fewer where the file ends. */
  read(path: string, offset: number, length: number): Uint8Array;
  /** Bytes in a file, durable or not. */
  sizeOf(path: string): number;
  /** Bytes that may still be written to the file system; undefined where nobody can tell. */
  freeBytes(): number | undefined;
  /** Opens a file for appending; creates it (mode 0600) if it is missing. */
  open(path: string): DiskFile;
  /** Renames a file within the tree, replacing what is at `to`; durable after `syncDirectory`. */
  rename(from: string, to: string): void;
  /** Removes a file; durable after `syncDirectory`. */
  remove(path: string): void;
  /** Blocks until the creations, renames and removals in a directory are durable. */
  syncDirectory(path: string): void;
  /**
   * Does the same off the event loop for what precedes the call, and calls `done` in a later turn.
   */
  syncDirectoryData(path: string, done: (error: DiskError | undefined) => void): void;
  /**
   * What a copy of a directory has not in common with it, and what stays when it is renamed: the
   * number of its inode and, after a dot, the time at which it was made, where the file system knows
   * it; for another directory may get the number of one that was removed. Undefined where a file
   * system has no numbers.
   */
  placeOf(path: string): string | undefined;
  /** Removes a directory if it is there and empty; durable after the one above it is synced. */
  removeDirectory(path: string): void;
  /**
   * Locks a directory itself, not a name in it: a process that reaches the same directory by
   * another name, or after files in it were removed, finds it locked. `undefined` if another holder
   * has it.
   */
  lock(path: string): DiskLock | undefined;
}

/** A file open for appending. Every call throws a {@linkcode DiskError} if it fails. */
export interface DiskFile {
  /** Bytes in the file, durable or not. */
  readonly size: number;
  /** Writes all of `bytes` at the end. If it throws, any part of them may have been written. */
  append(bytes: Uint8Array): void;
  /** Cuts the file to `size` bytes; durable after a sync. */
  truncate(size: number): void;
  /** Blocks until all is durable: for start-up, rotation and shutdown only. */
  sync(): void;
  /**
   * Makes durable what was written before the call, off the event loop; later appends do not wait
   * for it. Calls `done` in a later turn.
   */
  syncData(done: (error: DiskError | undefined) => void): void;
  close(): void;
}

/** A lock that is held until it is released or the process ends. */
export interface DiskLock {
  release(): void;
}

const NAME = /^[a-z0-9._-]+$/;

/**
 * Checks a path before it reaches a file system.
 *
 * @throws {DiskError} `invalid-path` if a name in it could leave the root or mean different things
 * on different systems.
 */
export function checkPath(path: string): void {
  if (path === "") return;
  for (const name of path.split("/")) {
    if (!NAME.test(name) || name === "." || name === "..") {
      throw new DiskError(`Cannot use path ${JSON.stringify(path)}: a name in it is not allowed`, {
        code: "invalid-path",
        path,
      });
    }
  }
}

/** Whether the disk is full: nothing has changed, and there may be room later. */
export function isNoSpace(error: unknown): boolean {
  return error instanceof DiskError && error.code === "no-space";
}
