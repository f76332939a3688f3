/**
 * The simulator's disk: the disk port in memory, with a crash model and injectable faults.
 *
 * A crash may lose or tear whatever was not synced. What it does is decided by a choice function
 * given from outside, so that a test can enumerate every outcome and the simulator can draw one
 * from its seed.
 *
 * @module
 */
import {
  checkPath,
  type Disk,
  DiskError,
  type DiskFile,
  type DiskLock,
} from "../../storage/log/disk.ts";

/** One call of the port that changes something, told before it happens. */
export interface DiskOperation {
  readonly type:
    | "create"
    | "append"
    | "truncate"
    | "sync"
    | "syncData"
    | "rename"
    | "remove"
    | "syncDirectory"
    | "syncDirectoryData";
  readonly path: string;
  /** Length of what is appended. */
  readonly bytes?: number;
}

/** Picks a number from 0 to `count - 1`. */
export type Choose = (count: number) => number;

/** How a memory disk behaves; the defaults are a disk without faults. */
export interface MemoryDiskOptions {
  /** Unit in which unsynced bytes survive or get lost: a sector. Default 512. */
  readonly tornPartBytes?: number;
  /** Runs the completion of a `syncData` or `syncDirectoryData` later, to give it a latency. Default: a microtask. */
  readonly later?: (run: () => void) => void;
  /**
   * Called before each operation. A DiskError it returns makes the operation fail (an append
   * after half of its bytes); what it throws leaves the operation undone, as a power loss would.
   */
  readonly fault?: (operation: DiskOperation) => DiskError | undefined;
}

/** What a crash does to the unsynced end of a file. */
const TAIL_LOST = 0;
const TAIL_KEPT = 1;
const TAIL_CUT = 2;
const TAIL_OUTCOMES = 4;

const TORN_PART_BYTES = 512;

interface Inode {
  bytes: Uint8Array;
  size: number;
  /** Bytes from the start that survive a crash for certain. */
  syncedSize: number;
  /**
   * Where bytes begin and end that a sync has failed to make durable: they are read, later syncs take
   * them for durable, and a crash loses them (C5). Empty if no sync has failed.
   */
  phantom: { from: number; to: number };
  /** What an unsynced truncation cut off and a crash may bring back, from `syncedSize` on. */
  cutOff: Uint8Array | undefined;
  /** Syncs that run: the bytes that each will have made durable, and whether any were cut off since. */
  syncs: Set<{ size: number; wasCut: boolean }>;
}

/** A change of names that a crash may undo. */
interface NameChange {
  readonly directory: string;
  readonly set: readonly [path: string, inode: Inode] | undefined;
  readonly deleted: string | undefined;
}

/** A disk in memory. */
export class MemoryDisk implements Disk {
  readonly #options: MemoryDiskOptions;
  readonly #directories = new Set<string>([""]);
  readonly #locks = new Set<string>();
  #files = new Map<string, Inode>();
  #durableFiles = new Map<string, Inode>();
  #unsyncedNames: NameChange[] = [];
  /** Handles and completions of an earlier life do nothing. */
  #life = 0;
  /** What it says of the root's place; a test changes it to make the tree a copy. */
  place: string | undefined = "1";
  /** What it says of the space that is left. */
  free: number | undefined = undefined;
  /** What it says of every other directory's place. */
  innerPlace: string | undefined = "1";

  constructor(options: MemoryDiskOptions = {}) {
    this.#options = options;
  }

  makeDirectory(path: string): void {
    checkPath(path);
    for (let at = path; at !== ""; at = directoryOf(at)) this.#directories.add(at);
  }

  list(path: string): string[] {
    checkPath(path);
    this.#checkDirectory(path);
    const names: string[] = [];
    for (const child of [...this.#files.keys(), ...this.#directories]) {
      if (child !== "" && directoryOf(child) === path) names.push(nameOf(child));
    }
    return names.sort();
  }

  exists(path: string): boolean {
    checkPath(path);
    return this.#files.has(path) || this.#directories.has(path);
  }

  readFile(path: string): Uint8Array {
    const inode = this.#inode(path);
    return inode.bytes.slice(0, inode.size);
  }

  read(path: string, offset: number, length: number): Uint8Array {
    const inode = this.#inode(path);
    return inode.bytes.slice(Math.min(offset, inode.size), Math.min(offset + length, inode.size));
  }

  freeBytes(): number | undefined {
    return this.free;
  }

  sizeOf(path: string): number {
    return this.#inode(path).size;
  }

  open(path: string): DiskFile {
    return new MemoryFile(this, path, this.#openInode(path));
  }

  rename(from: string, to: string): void {
    checkPath(to);
    const inode = this.#inode(from);
    this.perform({ type: "rename", path: from });
    this.#files.delete(from);
    this.#files.set(to, inode);
    this.#unsyncedNames.push({ directory: directoryOf(to), set: [to, inode], deleted: from });
  }

  remove(path: string): void {
    this.#inode(path);
    this.perform({ type: "remove", path });
    this.#files.delete(path);
    this.#unsyncedNames.push({ directory: directoryOf(path), set: undefined, deleted: path });
  }

  syncDirectory(path: string): void {
    checkPath(path);
    this.#checkDirectory(path);
    this.perform({ type: "syncDirectory", path });
    this.#makeNamesDurable(path, this.#unsyncedNames);
  }

  syncDirectoryData(path: string, done: (error: DiskError | undefined) => void): void {
    checkPath(path);
    this.#checkDirectory(path);
    const before = [...this.#unsyncedNames];
    const life = this.#life;
    this.later(() => {
      if (life !== this.#life) return;
      let failure: DiskError | undefined;
      try {
        this.perform({ type: "syncDirectoryData", path });
      } catch (error) {
        if (!(error instanceof DiskError)) throw error;
        failure = error;
      }
      if (failure === undefined) this.#makeNamesDurable(path, before);
      done(failure);
    });
  }

  removeDirectory(path: string): void {
    checkPath(path);
    if (path === "" || !this.#directories.has(path) || this.list(path).length > 0) return;
    this.#directories.delete(path);
  }

  placeOf(path: string): string | undefined {
    checkPath(path);
    this.#checkDirectory(path);
    return path === "" ? this.place : this.innerPlace;
  }

  lock(path: string): DiskLock | undefined {
    checkPath(path);
    this.#checkDirectory(path);
    if (this.#locks.has(path)) return undefined;
    this.#locks.add(path);
    const life = this.#life;
    const release = (): void => void (life === this.#life && this.#locks.delete(path));
    return { release };
  }

  /** The process that held the locks was killed; its writes are in the kernel's memory. */
  dropLocks(): void {
    this.#locks.clear();
  }

  /** The machine stops: handles die, locks are dropped, and what was not synced is up to `choose`. */
  crash(choose: Choose): void {
    this.#life++;
    this.#locks.clear();
    const partBytes = this.#options.tornPartBytes ?? TORN_PART_BYTES;
    for (const change of this.#unsyncedNames) {
      if (choose(2) === 1) applyNameChange(this.#durableFiles, change);
    }
    this.#unsyncedNames = [];
    this.#files = new Map(this.#durableFiles);
    for (const inode of new Set(this.#files.values())) tear(inode, partBytes, choose);
  }

  /** The disk is lost, and an empty one is in its place. Handles die and locks are dropped. */
  wipe(): void {
    this.#life++;
    this.#locks.clear();
    this.#directories.clear();
    this.#directories.add("");
    this.#files = new Map();
    this.#durableFiles = new Map();
    this.#unsyncedNames = [];
  }

  /** Inverts one bit of a file, also for later crashes: decay of the medium. */
  flipBit(path: string, bit: number): void {
    const inode = this.#inode(path);
    inode.bytes[bit >>> 3]! ^= 1 << (bit & 7);
  }

  /** Replaces a file by `bytes`, durably: what an operator or another disk's fault could do. */
  replace(path: string, bytes: Uint8Array): void {
    checkPath(path);
    const inode: Inode = {
      phantom: { from: Infinity, to: 0 },
      bytes: bytes.slice(),
      size: bytes.length,
      syncedSize: bytes.length,
      cutOff: undefined,
      syncs: new Set<{ size: number; wasCut: boolean }>(),
    };
    this.#files.set(path, inode);
    this.#durableFiles.set(path, inode);
  }

  /** Removes a file durably, although a process may have it open. */
  erase(path: string): void {
    this.#files.delete(path);
    this.#durableFiles.delete(path);
  }

  /** Current life; a crash begins the next. Internal to this file. */
  get life(): number {
    return this.#life;
  }

  /** Announces an operation and throws the fault planned for it. Internal to this file. */
  perform(operation: DiskOperation): void {
    const error = this.#options.fault?.(operation);
    if (error !== undefined) throw error;
  }

  /** Runs the completion of a sync after its latency. Internal to this file. */
  later(run: () => void): void {
    (this.#options.later ?? queueMicrotask)(run);
  }

  #makeNamesDurable(directory: string, changes: readonly NameChange[]): void {
    const ripe = new Set(changes.filter((change) => change.directory === directory));
    this.#unsyncedNames = this.#unsyncedNames.filter((change) => {
      if (!ripe.has(change)) return true;
      applyNameChange(this.#durableFiles, change);
      return false;
    });
  }

  #openInode(path: string): Inode {
    checkPath(path);
    const existing = this.#files.get(path);
    if (existing !== undefined) return existing;
    this.#checkDirectory(directoryOf(path));
    this.perform({ type: "create", path });
    const inode: Inode = {
      phantom: { from: Infinity, to: 0 },
      bytes: new Uint8Array(0),
      size: 0,
      syncedSize: 0,
      cutOff: undefined,
      syncs: new Set<{ size: number; wasCut: boolean }>(),
    };
    this.#files.set(path, inode);
    this.#unsyncedNames.push({
      directory: directoryOf(path),
      set: [path, inode],
      deleted: undefined,
    });
    return inode;
  }

  #inode(path: string): Inode {
    checkPath(path);
    const inode = this.#files.get(path);
    if (inode === undefined) throw notFound(path);
    return inode;
  }

  #checkDirectory(path: string): void {
    if (!this.#directories.has(path)) throw notFound(path);
  }
}

class MemoryFile implements DiskFile {
  readonly #disk: MemoryDisk;
  readonly #path: string;
  readonly #inode: Inode;
  readonly #life: number;
  #closed = false;

  constructor(disk: MemoryDisk, path: string, inode: Inode) {
    this.#disk = disk;
    this.#path = path;
    this.#inode = inode;
    this.#life = disk.life;
  }

  get size(): number {
    return this.#inode.size;
  }

  append(bytes: Uint8Array): void {
    this.#checkOpen();
    try {
      this.#disk.perform({ type: "append", path: this.#path, bytes: bytes.length });
    } catch (error) {
      if (error instanceof DiskError) write(this.#inode, bytes.subarray(0, bytes.length >>> 1));
      throw error;
    }
    write(this.#inode, bytes);
  }

  truncate(size: number): void {
    this.#checkOpen();
    this.#disk.perform({ type: "truncate", path: this.#path });
    const inode = this.#inode;
    if (size < inode.syncedSize) {
      const earlier = inode.cutOff ?? new Uint8Array(0);
      const cutOff = new Uint8Array(inode.syncedSize - size + earlier.length);
      cutOff.set(inode.bytes.subarray(size, inode.syncedSize));
      cutOff.set(earlier, inode.syncedSize - size);
      inode.cutOff = cutOff;
      inode.syncedSize = size;
    }
    for (const sync of inode.syncs) {
      sync.size = Math.min(sync.size, size);
      sync.wasCut = true;
    }
    inode.bytes.fill(0, size, inode.size);
    inode.size = size;
    inode.phantom.to = Math.min(inode.phantom.to, size);
  }

  sync(): void {
    this.#checkOpen();
    try {
      this.#disk.perform({ type: "sync", path: this.#path });
    } catch (error) {
      if (error instanceof DiskError) failSync(this.#inode, this.#inode.size);
      throw error;
    }
    this.#inode.syncedSize = this.#inode.size;
    this.#inode.cutOff = undefined;
  }

  syncData(done: (error: DiskError | undefined) => void): void {
    this.#checkOpen();
    const inode = this.#inode;
    const sync = { size: inode.size, wasCut: false };
    inode.syncs.add(sync);
    this.#disk.later(() => {
      if (this.#life !== this.#disk.life) return;
      inode.syncs.delete(sync);
      let failure: DiskError | undefined;
      try {
        this.#disk.perform({ type: "syncData", path: this.#path });
      } catch (error) {
        if (!(error instanceof DiskError)) throw error;
        failure = error;
        failSync(inode, sync.size);
      }
      if (failure === undefined) {
        inode.syncedSize = Math.max(inode.syncedSize, sync.size);
        // What was cut off while the sync ran may still come back.
        if (!sync.wasCut) inode.cutOff = undefined;
      }
      done(failure);
    });
  }

  close(): void {
    this.#checkOpen();
    this.#closed = true;
  }

  #checkOpen(): void {
    if (!this.#closed && this.#life === this.#disk.life) return;
    throw new DiskError(`Cannot use ${JSON.stringify(this.#path)}: the file is closed`, {
      code: "closed",
      path: this.#path,
    });
  }
}

function write(inode: Inode, bytes: Uint8Array): void {
  const size = inode.size + bytes.length;
  if (size > inode.bytes.length) {
    const grown = new Uint8Array(Math.max(size, inode.bytes.length * 2));
    grown.set(inode.bytes.subarray(0, inode.size));
    inode.bytes = grown;
  }
  inode.bytes.set(bytes, inode.size);
  inode.size = size;
}

/** A sync of the first `size` bytes has failed: nobody will write those that were not durable. */
function failSync({ phantom, syncedSize }: Inode, size: number): void {
  if (size <= syncedSize) return;
  phantom.from = Math.min(phantom.from, syncedSize);
  phantom.to = Math.max(phantom.to, size);
}

/** Decides what is left of a file after a crash. */
function tear(inode: Inode, partBytes: number, choose: Choose): void {
  const { phantom } = inode;
  if (phantom.from < phantom.to) {
    inode.bytes.fill(0, phantom.from, Math.min(phantom.to, inode.size));
  }
  inode.phantom = { from: Infinity, to: 0 };
  const { cutOff, syncedSize } = inode;
  if (cutOff !== undefined && choose(2) === 0) {
    const before = new Uint8Array(syncedSize + cutOff.length);
    before.set(inode.bytes.subarray(0, syncedSize));
    before.set(cutOff, syncedSize);
    inode.bytes = before;
    inode.size = before.length;
  } else if (inode.size > syncedSize) tearTail(inode, partBytes, choose);
  inode.cutOff = undefined;
  inode.syncedSize = inode.size;
}

function tearTail(inode: Inode, partBytes: number, choose: Choose): void {
  const { syncedSize, size } = inode;
  const outcome = choose(TAIL_OUTCOMES);
  if (outcome === TAIL_KEPT) return;
  // The file system may have grown the file before the bytes reached it: parts read as zeros.
  const firstPart = Math.floor(syncedSize / partBytes);
  const parts = Math.ceil(size / partBytes) - firstPart;
  if (outcome === TAIL_LOST) inode.size = syncedSize;
  else if (outcome === TAIL_CUT) {
    inode.size = Math.max(syncedSize, (firstPart + choose(parts)) * partBytes);
  } else {
    for (let part = 0; part < parts; part++) {
      const start = Math.max(syncedSize, (firstPart + part) * partBytes);
      const end = Math.min(size, (firstPart + part + 1) * partBytes);
      if (choose(2) === 0) inode.bytes.fill(0, start, end);
    }
  }
  inode.bytes.fill(0, inode.size);
}

function applyNameChange(files: Map<string, Inode>, change: NameChange): void {
  if (change.deleted !== undefined) files.delete(change.deleted);
  if (change.set !== undefined) files.set(change.set[0], change.set[1]);
}

function directoryOf(path: string): string {
  const slash = path.lastIndexOf("/");
  return slash < 0 ? "" : path.slice(0, slash);
}

function nameOf(path: string): string {
  return path.slice(path.lastIndexOf("/") + 1);
}

function notFound(path: string): DiskError {
  return new DiskError(`Cannot find ${JSON.stringify(path)}: no such file or directory`, {
    code: "not-found",
    path,
  });
}
