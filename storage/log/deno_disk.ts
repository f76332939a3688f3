/**
 * The disk port on Deno's file system.
 *
 * @module
 */
import { statfsSync } from "node:fs";
import {
  checkPath,
  type Disk,
  DiskError,
  type DiskErrorCode,
  type DiskFile,
  type DiskLock,
} from "./disk.ts";

/** A program that was not given this permission must not be asked for it in the middle of its work. */
const MAY_ASK_FOR_SPACE =
  Deno.permissions.querySync({ name: "sys", kind: "statfs" as never }).state === "granted";
const DIRECTORY_MODE = 0o700;
const FILE_MODE = 0o600;

/** A directory of the real file system. */
export class DenoDisk implements Disk {
  readonly #root: string;
  readonly #makeRoom: (() => void) | undefined;
  /** The directories locked through this disk, by path. */
  readonly #locked = new Map<string, Deno.FsFile>();

  /**
   * @param root Path of the directory; it need not exist yet.
   * @param makeRoom Called when no file descriptor is left, to close some; then the call is tried
   * once more. Default: the call fails.
   */
  constructor(root: string, makeRoom?: () => void) {
    this.#root = root;
    this.#makeRoom = makeRoom;
  }

  makeDirectory(path: string): void {
    this.#attempt("create directory", path, () => {
      const full = this.#full(path);
      const missing: string[] = [];
      for (let at = full; !isDirectory(at); at = parentOf(at)) missing.push(at);
      // One by one from the top, each made durable in its parent before anything is put into it.
      for (const directory of missing.reverse()) {
        Deno.mkdirSync(directory, { mode: DIRECTORY_MODE });
        syncDirectory(parentOf(directory));
      }
    });
  }

  list(path: string): string[] {
    return this.#attempt("list", path, () => {
      const names = Array.from(Deno.readDirSync(this.#full(path)), (entry) => entry.name);
      return names.sort();
    });
  }

  exists(path: string): boolean {
    return this.#attempt("look up", path, () => {
      try {
        Deno.lstatSync(this.#full(path));
        return true;
      } catch (error) {
        if (error instanceof Deno.errors.NotFound) return false;
        if (error instanceof Deno.errors.NotADirectory) return false;
        throw error;
      }
    });
  }

  readFile(path: string): Uint8Array {
    return this.#attempt("read", path, () => Deno.readFileSync(this.#full(path)));
  }

  read(path: string, offset: number, length: number): Uint8Array {
    return this.#attempt("read", path, () => {
      const file = Deno.openSync(this.#full(path), { read: true });
      try {
        return readAt(file, offset, length);
      } finally {
        file.close();
      }
    });
  }

  freeBytes(): number | undefined {
    if (!MAY_ASK_FOR_SPACE) return undefined;
    return this.#attempt("look at the space of", "", () => {
      const { bavail, bsize } = statfsSync(this.#root);
      return bavail * bsize;
    });
  }

  sizeOf(path: string): number {
    return this.#attempt("look up", path, () => Deno.statSync(this.#full(path)).size);
  }

  open(path: string): DiskFile {
    return this.#attempt("open", path, () => {
      this.#checkPlaces();
      return new DenoFile(this.#full(path), path);
    });
  }

  rename(from: string, to: string): void {
    this.#attempt("rename", from, () => {
      this.#checkPlaces();
      Deno.renameSync(this.#full(from), this.#full(to));
    });
  }

  remove(path: string): void {
    this.#attempt("remove", path, () => {
      this.#checkPlaces();
      Deno.removeSync(this.#full(path));
    });
  }

  syncDirectory(path: string): void {
    this.#attempt("sync directory", path, () => {
      this.#checkPlaces();
      syncDirectory(this.#full(path));
    });
  }

  syncDirectoryData(path: string, done: (error: DiskError | undefined) => void): void {
    const directory = this.#attempt("sync directory", path, () => {
      this.#checkPlaces();
      return Deno.openSync(this.#full(path), { read: true });
    });
    directory.sync().then(
      () => done(undefined),
      (error: unknown) => done(toDiskError("sync directory", path, error)),
    ).finally(() => directory.close());
  }

  removeDirectory(path: string): void {
    this.#attempt("remove directory", path, () => {
      try {
        Deno.removeSync(this.#full(path));
      } catch (error) {
        const isNotThere = error instanceof Deno.errors.NotFound;
        if (!isNotThere && (error as { code?: unknown }).code !== "ENOTEMPTY") throw error;
      }
    });
  }

  placeOf(path: string): string | undefined {
    return this.#attempt("stat", path, () => {
      const { ino, birthtime } = Deno.statSync(this.#full(path));
      if (ino === null) return undefined;
      return birthtime === null ? `${ino}` : `${ino}.${birthtime.getTime()}`;
    });
  }

  lock(path: string): DiskLock | undefined {
    return this.#attempt("lock", path, () => {
      const directory = Deno.openSync(this.#full(path), { read: true });
      let held = false;
      try {
        held = directory.tryLockSync(true);
      } finally {
        if (!held) directory.close();
      }
      if (!held) return undefined;
      this.#locked.set(path, directory);
      const release = (): void => {
        this.#locked.delete(path);
        directory.close();
      };
      // The operating system drops the lock with the handle, also if the process is killed.
      return { release };
    });
  }

  /**
   * A locked directory that was moved keeps its lock, but its path may lead to another directory.
   * Files that are put there would be missing here, and would ruin what is there.
   */
  #checkPlaces(): void {
    for (const [path, directory] of this.#locked) {
      const [locked, found] = [directory.statSync(), Deno.statSync(this.#full(path))];
      if (locked.dev === found.dev && locked.ino === found.ino) continue;
      throw new Error("the directory was moved while in use, and another one has its path");
    }
  }

  /**
   * As `attempt`. To try again is safe, since a call that finds no descriptor has done nothing yet.
   */
  #attempt<T>(verb: string, path: string, run: () => T): T {
    try {
      return attempt(verb, path, run);
    } catch (error) {
      if (this.#makeRoom === undefined || (error as DiskError).code !== "too-many-files") {
        throw error;
      }
      this.#makeRoom();
      return attempt(verb, path, run);
    }
  }

  #full(path: string): string {
    checkPath(path);
    return path === "" ? this.#root : `${this.#root}/${path}`;
  }
}

/** Up to `length` bytes of a file from `offset` on; fewer where it ends. */
export function readAt(file: Deno.FsFile, offset: number, length: number): Uint8Array {
  file.seekSync(offset, Deno.SeekMode.Start);
  const bytes = new Uint8Array(length);
  let filled = 0;
  while (filled < length) {
    const count = file.readSync(bytes.subarray(filled));
    if (count === null) break;
    filled += count;
  }
  return bytes.subarray(0, filled);
}

class DenoFile implements DiskFile {
  readonly #path: string;
  readonly #writer: Deno.FsFile;
  /** A second handle: a write waits for a running sync of the same handle. */
  readonly #syncer: Deno.FsFile;
  #size: number;

  constructor(fullPath: string, path: string) {
    this.#path = path;
    this.#writer = Deno.openSync(fullPath, { create: true, append: true, mode: FILE_MODE });
    try {
      this.#size = this.#writer.statSync().size;
      this.#syncer = Deno.openSync(fullPath, { append: true });
    } catch (error) {
      this.#writer.close();
      throw error;
    }
  }

  get size(): number {
    return this.#size;
  }

  append(bytes: Uint8Array): void {
    attempt("append to", this.#path, () => {
      let written = 0;
      while (written < bytes.length) {
        const rest = written === 0 ? bytes : bytes.subarray(written);
        const count = this.#writer.writeSync(rest);
        if (count === 0) throw new Error("the file takes no more bytes");
        written += count;
        this.#size += count;
      }
    });
  }

  truncate(size: number): void {
    attempt("truncate", this.#path, () => this.#writer.truncateSync(size));
    this.#size = size;
  }

  sync(): void {
    attempt("sync", this.#path, () => this.#syncer.syncSync());
  }

  syncData(done: (error: DiskError | undefined) => void): void {
    this.#syncer.syncData().then(
      () => done(undefined),
      (error: unknown) => done(toDiskError("sync", this.#path, error)),
    );
  }

  close(): void {
    this.#writer.close();
    this.#syncer.close();
  }
}

function attempt<T>(verb: string, path: string, run: () => T): T {
  try {
    return run();
  } catch (error) {
    throw toDiskError(verb, path, error);
  }
}

function toDiskError(verb: string, path: string, error: unknown): DiskError {
  if (error instanceof DiskError) return error;
  const reason = error instanceof Error ? error.message : String(error);
  return new DiskError(`Cannot ${verb} ${JSON.stringify(path)}: ${reason}`, {
    code: codeOf(error),
    path,
    cause: error,
  });
}

function codeOf(error: unknown): DiskErrorCode {
  if (error instanceof Deno.errors.NotFound) return "not-found";
  if (error instanceof Deno.errors.AlreadyExists) return "exists";
  if (
    error instanceof Deno.errors.PermissionDenied || error instanceof Deno.errors.NotCapable
  ) return "permission";
  if (error instanceof Deno.errors.BadResource) return "closed";
  switch ((error as { code?: unknown } | undefined)?.code) {
    case "ENOSPC":
    case "EDQUOT":
      return "no-space";
    case "ENOTDIR":
    case "ENAMETOOLONG":
    case "ELOOP":
      return "invalid-path";
    case "EROFS":
      return "permission";
    case "EMFILE":
    case "ENFILE":
      return "too-many-files";
    default:
      return "io";
  }
}

function isDirectory(fullPath: string): boolean {
  try {
    if (Deno.statSync(fullPath).isDirectory) return true;
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return false;
    throw error;
  }
  throw new Deno.errors.AlreadyExists(`${fullPath} is not a directory`);
}

function parentOf(fullPath: string): string {
  const slash = fullPath.lastIndexOf("/");
  if (slash < 0) return ".";
  return slash === 0 ? "/" : fullPath.slice(0, slash);
}

function syncDirectory(fullPath: string): void {
  const directory = Deno.openSync(fullPath, { read: true });
  try {
    directory.syncSync();
  } finally {
    directory.close();
  }
}
