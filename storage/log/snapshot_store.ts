/**
 * The snapshots of a process: `snapshots/<group>-<index>-<term>.snap`, see snapshot_file.ts.
 *
 * A snapshot is written under another name (`.new`), synced, renamed, and its name synced. So a file
 * with the name of a snapshot was whole once. What a crash left under another name is removed at the
 * next start. A snapshot that turns out to be damaged is put aside (`.broken`), for whoever looks into
 * it, and the one before it is used.
 *
 * @module
 */
import type { GroupId, LogIndex, Term } from "../../machines/raft_types.ts";
import { type Disk, DiskError, type DiskFile } from "./disk.ts";
import { BROKEN_SNAPSHOTS_KEPT, SNAPSHOT_SYNC_BYTES, SNAPSHOTS_KEPT } from "./limits.ts";
import {
  openSnapshot,
  SnapshotError,
  type SnapshotMeta,
  type SnapshotReader,
} from "./snapshot_file.ts";

/** Directory of the snapshots; it is made with the first one. */
export const SNAPSHOT_DIRECTORY = "snapshots";

/** Which snapshot: what its name says. */
export interface SnapshotName {
  readonly group: GroupId;
  /** The last entry that it covers. */
  readonly index: LogIndex;
  readonly term: Term;
}

/** A snapshot that is there and durable. */
export interface StoredSnapshot extends SnapshotName {
  readonly path: string;
  /** Bytes of the file. */
  readonly size: number;
  /** SHA-256 of its content, 64 hexadecimal digits. */
  readonly digest: string;
  readonly meta: SnapshotMeta;
}

const BROKEN = ".broken";
const INDEX_DIGITS = 16;
const TERM_DIGITS = 15;
const NAME = /^(\d{1,10})-(\d{16})-(\d{15})\.snap$/;
const UNFINISHED = /\.new$/;

/** Path of a snapshot; names of one group sort by index. */
export function snapshotPath({ group, index, term }: SnapshotName): string {
  const [indexDigits, termDigits] = [
    String(index).padStart(INDEX_DIGITS, "0"),
    String(term).padStart(TERM_DIGITS, "0"),
  ];
  return `${SNAPSHOT_DIRECTORY}/${group}-${indexDigits}-${termDigits}.snap`;
}

/** What a file name says; undefined if it is not the name of a snapshot. */
export function snapshotNameOf(name: string): SnapshotName | undefined {
  const match = NAME.exec(name);
  if (match === null) return undefined;
  const [group, index, term] = match.slice(1).map(Number) as [number, number, number];
  return { group, index, term };
}

/** The snapshots of all groups of a process. Every call throws a DiskError if the disk fails. */
export class SnapshotStore {
  readonly #disk: Disk;
  readonly #clusterId: string;
  /** Oldest first. */
  readonly #stored = new Map<GroupId, StoredSnapshot[]>();

  /**
   * Finds the snapshots that are there. One whose head is damaged is put aside; `onBroken` is told.
   *
   * @throws {SnapshotError} If one belongs to another cluster, or is of a newer release.
   */
  static open(
    disk: Disk,
    { clusterId, onBroken }: {
      readonly clusterId: string;
      readonly onBroken: (error: SnapshotError) => void;
    },
  ): SnapshotStore {
    const store = new SnapshotStore(disk, clusterId);
    if (disk.exists(SNAPSHOT_DIRECTORY)) store.#find(onBroken);
    return store;
  }

  private constructor(disk: Disk, clusterId: string) {
    this.#disk = disk;
    this.#clusterId = clusterId;
  }

  /** The snapshots of a group that are there, oldest first. */
  of(group: GroupId): readonly StoredSnapshot[] {
    return this.#stored.get(group) ?? [];
  }

  /** The newest snapshot of a group. */
  newest(group: GroupId): StoredSnapshot | undefined {
    return this.of(group).at(-1);
  }

  /** Bytes of all snapshots. */
  get diskBytes(): number {
    let bytes = 0;
    for (const stored of this.#stored.values()) for (const { size } of stored) bytes += size;
    return bytes;
  }

  /** Begins to write a snapshot; what was written of it before is dropped. */
  create(name: SnapshotName): UnfinishedSnapshot {
    this.#disk.makeDirectory(SNAPSHOT_DIRECTORY);
    return new UnfinishedSnapshot(this.#disk, {
      name,
      clusterId: this.#clusterId,
      onStored: (stored) => this.#add(stored),
    });
  }

  /** Reads a snapshot that is there; its chunks throw a SnapshotError where it is damaged. */
  open({ path, size }: StoredSnapshot): SnapshotReader {
    return openSnapshot(path, {
      read: (offset, length) => this.#disk.read(path, offset, length),
      size,
    });
  }

  /** A part of a snapshot's file; empty if the snapshot is not there any more. */
  read({ path }: StoredSnapshot, offset: number, length: number): Uint8Array {
    if (!this.#disk.exists(path)) return new Uint8Array(0);
    return this.#disk.read(path, offset, length);
  }

  /** Puts a damaged snapshot aside: it is not used any more. */
  putAside({ group, path }: StoredSnapshot): void {
    this.#stored.set(group, this.of(group).filter((stored) => stored.path !== path));
    this.#keepBroken(path);
  }

  /**
   * Removes a group's snapshots but the SNAPSHOTS_KEPT newest, and those that `isInUse` names, and all
   * damaged ones but the BROKEN_SNAPSHOTS_KEPT newest. It is called when a new one is durable: until
   * then a damaged one may be all that is left of the state. What the disk does not remove stays for the
   * next time.
   */
  removeOld(group: GroupId, isInUse: (snapshot: StoredSnapshot) => boolean): void {
    this.#removeBroken(group);
    const stored = this.of(group);
    const kept = stored.filter((snapshot, at) =>
      at >= stored.length - SNAPSHOTS_KEPT || isInUse(snapshot)
    );
    // Not durable by itself: what comes back after a crash is removed the next time.
    const left = stored.filter((snapshot) =>
      kept.includes(snapshot) || !this.#remove(snapshot.path)
    );
    this.#stored.set(group, left);
  }

  #find(onBroken: (error: SnapshotError) => void): void {
    for (const file of this.#disk.list(SNAPSHOT_DIRECTORY)) {
      const path = `${SNAPSHOT_DIRECTORY}/${file}`;
      const name = snapshotNameOf(file);
      if (name !== undefined) this.#findOne(name, path, onBroken);
      else if (UNFINISHED.test(file)) this.#disk.remove(path);
    }
  }

  #findOne(name: SnapshotName, path: string, onBroken: (error: SnapshotError) => void): void {
    try {
      this.#add(storedAt(this.#disk, path, { name, clusterId: this.#clusterId }));
    } catch (error) {
      if (!(error instanceof SnapshotError) || error.kind === "foreign") throw error;
      this.#keepBroken(path);
      onBroken(error);
    }
  }

  /** Under a name that a start does not take for a snapshot's. */
  #keepBroken(path: string): void {
    this.#disk.rename(path, `${path}${BROKEN}`);
    this.#disk.syncDirectory(SNAPSHOT_DIRECTORY);
  }

  #add(snapshot: StoredSnapshot): void {
    const others = this.of(snapshot.group).filter(({ path }) => path !== snapshot.path);
    const stored = [...others, snapshot].sort((a, b) => a.index - b.index || a.term - b.term);
    this.#stored.set(snapshot.group, stored);
  }

  #removeBroken(group: GroupId): void {
    const broken = this.#disk.list(SNAPSHOT_DIRECTORY)
      .filter((file) => file.startsWith(`${group}-`) && file.endsWith(BROKEN))
      .sort();
    for (const file of broken.slice(0, -BROKEN_SNAPSHOTS_KEPT)) {
      this.#remove(`${SNAPSHOT_DIRECTORY}/${file}`);
    }
  }

  /** Whether it could be removed: one that could not costs space, and is tried again the next time. */
  #remove(path: string): boolean {
    try {
      this.#disk.remove(path);
    } catch (error) {
      if (!(error instanceof DiskError)) throw error;
      return false;
    }
    return true;
  }
}

/** A snapshot that is being written, or received. */
export class UnfinishedSnapshot {
  readonly #disk: Disk;
  readonly #name: SnapshotName;
  readonly #path: string;
  readonly #clusterId: string;
  readonly #onStored: (stored: StoredSnapshot) => void;
  readonly #file: DiskFile;
  #unsyncedBytes = 0;
  #syncing = false;
  #whenSynced: (() => void) | undefined;
  #failure: DiskError | undefined;
  #isOpen = true;

  /** See {@linkcode SnapshotStore.create}. */
  constructor(
    disk: Disk,
    { name, clusterId, onStored }: {
      readonly name: SnapshotName;
      readonly clusterId: string;
      readonly onStored: (stored: StoredSnapshot) => void;
    },
  ) {
    this.#disk = disk;
    this.#name = name;
    this.#path = snapshotPath(name);
    this.#clusterId = clusterId;
    this.#onStored = onStored;
    this.#file = disk.open(this.#newPath);
    try {
      this.#file.truncate(0);
    } catch (error) {
      this.discard();
      throw error;
    }
  }

  /** Bytes written so far. */
  get size(): number {
    return this.#file.size;
  }

  /** Writes the next bytes of the file. They become durable little by little, off the event loop. */
  append(bytes: Uint8Array): void {
    if (this.#failure !== undefined) throw this.#failure;
    this.#file.append(bytes);
    this.#unsyncedBytes += bytes.length;
    if (this.#unsyncedBytes >= SNAPSHOT_SYNC_BYTES && !this.#syncing) this.#sync();
  }

  /** Reads what was written; its chunks throw a SnapshotError where it is damaged. */
  open(): SnapshotReader {
    return openSnapshot(this.#path, {
      read: (offset, length) => this.#disk.read(this.#newPath, offset, length),
      size: this.#file.size,
    });
  }

  /**
   * Makes it durable and gives it its name, off the event loop; calls `done` in a later turn. If it
   * fails, or its content does not have this digest, nothing is left of it.
   */
  finish(digest: string, done: (result: StoredSnapshot | DiskError | SnapshotError) => void): void {
    let written = this.#newPath;
    const attempt = (step: () => void): void => {
      try {
        step();
      } catch (error) {
        if (!(error instanceof DiskError || error instanceof SnapshotError)) throw error;
        this.#drop(written);
        done(error);
      }
    };
    const named = (error: DiskError | undefined): void =>
      attempt(() => {
        if (error !== undefined) throw error;
        const wanted = { name: this.#name, clusterId: this.#clusterId };
        const stored = storedAt(this.#disk, this.#path, wanted);
        this.#onStored(stored);
        done(stored);
      });
    const synced = (): void =>
      attempt(() => {
        if (this.#failure !== undefined) throw this.#failure;
        if (this.open().digest !== digest) {
          throw new SnapshotError(this.#path, "it is not the one that was to be written");
        }
        this.#close();
        this.#disk.rename(written, this.#path);
        written = this.#path;
        this.#disk.syncDirectoryData(SNAPSHOT_DIRECTORY, named);
      });
    this.#whenSynced = synced;
    if (!this.#syncing) attempt(() => this.#sync());
  }

  /**
   * Drops what was written. Idempotent; does nothing once it has its name. What cannot be removed now is
   * removed at the next start.
   */
  discard(): void {
    this.#drop(this.#newPath);
  }

  #drop(path: string): void {
    this.#whenSynced = undefined;
    try {
      this.#close();
      if (this.#disk.exists(path)) this.#disk.remove(path);
    } catch (error) {
      if (!(error instanceof DiskError)) throw error;
    }
  }

  get #newPath(): string {
    return `${this.#path}.new`;
  }

  #close(): void {
    const wasOpen = this.#isOpen;
    this.#isOpen = false;
    if (wasOpen) this.#file.close();
  }

  #sync(): void {
    this.#syncing = true;
    this.#unsyncedBytes = 0;
    this.#file.syncData((error) => {
      this.#syncing = false;
      this.#failure ??= error;
      if (this.#whenSynced === undefined) return;
      if (this.#unsyncedBytes > 0 && this.#failure === undefined) this.#sync();
      else this.#whenSynced();
    });
  }
}

/** @throws {SnapshotError} If the head of the file does not say what its name says. */
function storedAt(
  disk: Disk,
  path: string,
  { name, clusterId }: { readonly name: SnapshotName; readonly clusterId: string },
): StoredSnapshot {
  const size = disk.sizeOf(path);
  const read = (offset: number, length: number): Uint8Array => disk.read(path, offset, length);
  const { meta, digest } = openSnapshot(path, { read, size });
  const { group, index, term } = name;
  if (meta.group !== group || meta.index !== index || meta.term !== term) {
    throw new SnapshotError(path, "it is another one than its name says");
  }
  if (meta.clusterId !== clusterId) {
    const reason = `it belongs to cluster ${JSON.stringify(meta.clusterId)}`;
    throw new SnapshotError(path, reason, "foreign");
  }
  return { group, index, term, path, size, digest, meta };
}
