/**
 * Founds a member's data directory from a backup: offline, and for a new cluster.
 *
 * Every member of the new cluster restores the same file with the same members, and so comes to the
 * same state, term and log base. The cluster's id is a digest of all that: it is another one than that
 * of the cluster that was backed up, and than what another file or other members would give.
 *
 *     file -> machine, its revision raised -> snapshot -> log behind it -> identity
 *
 * The state is read whole before anything is written, and the identity is written last. So what a crash
 * leaves of a directory is refused by the next start.
 *
 * @module
 */
import { createHash } from "node:crypto";
import { CLUSTER_VERSIONS } from "../machines/group_config.ts";
import type { NodeId } from "../machines/raft_types.ts";
import { KvStore } from "../storage/kv/kv_store.ts";
import { StateError } from "../storage/kv/state_bytes.ts";
import { adoptDataDirectory, DirectoryLockedError } from "../storage/log/data_directory.ts";
import { DenoDisk, readAt } from "../storage/log/deno_disk.ts";
import type { Disk } from "../storage/log/disk.ts";
import {
  openSnapshot,
  SnapshotError,
  type SnapshotMeta,
  type SnapshotReader,
} from "../storage/log/snapshot_file.ts";
import {
  SNAPSHOT_DIRECTORY,
  SnapshotStore,
  type StoredSnapshot,
} from "../storage/log/snapshot_store.ts";
import { Wal } from "../storage/log/wal.ts";
import { encodeHardState } from "../storage/log/wal_record.ts";
import { WAL_DIRECTORY } from "../storage/log/wal_segment.ts";
import type { HostPort } from "../transport/wire/network.ts";
import { RESTORE_REVISION_RAISE } from "./limits.ts";
import { clusterIdOf, DEFAULT_GROUP, membersOf, type NodeOptions } from "./node.ts";
import { StateFile } from "./state_file.ts";

/** The directory, or the raise of the revision, cannot be what a restore asks for. */
export class RestoreError extends Error {
  /** Its class's name. */
  override readonly name = "RestoreError";

  /** See the class. */
  constructor(reason: string) {
    super(`Cannot restore: ${reason}`);
  }
}

/** What is told while a file is read: how many of its bytes were read. */
export type OnRead = (bytes: number, of: number) => void;

/** What a member is restored from. */
export interface RestoreOptions extends Pick<NodeOptions, "id" | "dataDir" | "peers" | "single"> {
  /** Path of a file that `GET /v1/backup` sent. */
  readonly file: string;
  /** What is added to the revision; the same for every member. Default RESTORE_REVISION_RAISE. */
  readonly revisionRaise?: number;
  /** Called as the file is read. */
  readonly onRead?: OnRead;
}

/** What a restore came to. */
export interface RestoreResult {
  /** The new cluster, the same for all members that are restored alike. */
  readonly clusterId: string;
  /** Its members, ascending. */
  readonly members: readonly NodeId[];
  /** Store revision, raised: the first write gets the next one. */
  readonly revision: number;
  /** How many keys there are. */
  readonly keys: number;
  /** Hash of the state, the same on all members. */
  readonly stateHash: string;
  /** What the file says of itself. */
  readonly backup: SnapshotMeta;
}

/**
 * Reads a backup whole, and checks its checksums and its digest.
 *
 * @throws {SnapshotError} If it is damaged, or of a format that this release does not know.
 * @throws {Error} If the file cannot be read.
 */
export function checkBackup(file: string, onRead?: OnRead): SnapshotMeta {
  return withReader(file, onRead, ({ meta, chunks }) => {
    for (const all = chunks(); all.next().done !== true;);
    return meta;
  });
}

/**
 * Founds the data directory of one member of a new cluster.
 *
 * @throws {SnapshotError} If the backup is damaged, or of a release that this one does not know.
 * @throws {RestoreError} If the directory is not empty, or revisions would run out.
 * @throws {DirectoryLockedError} If another process uses the directory.
 * @throws {DiskError} If the disk fails.
 * @throws {Error} If the file cannot be read. Whatever is thrown, nothing is left behind.
 */
export async function restoreNode(options: RestoreOptions): Promise<RestoreResult> {
  const { id, dataDir, file, revisionRaise = RESTORE_REVISION_RAISE, onRead } = options;
  const disk = new DenoDisk(dataDir);
  // Before the file is read, which may take long.
  checkEmpty(disk);
  const state = withReader(file, onRead, (reader) => readBackup(file, reader));
  return await restoreDirectory(disk, state, { id, members: membersOf(options), revisionRaise });
}

/** A backup that was read whole. */
export interface BackupState {
  readonly meta: SnapshotMeta;
  /** SHA-256 of the file. */
  readonly digest: string;
  readonly store: KvStore;
}

/**
 * Reads the state of a backup.
 *
 * @throws {SnapshotError} If it is damaged, or of a release that this one does not know.
 */
export function readBackup(path: string, { meta, digest, chunks }: SnapshotReader): BackupState {
  const store = new KvStore();
  const { group, clusterVersion, machineVersion, index, stateHash } = meta;
  if (clusterVersion > CLUSTER_VERSIONS.max || machineVersion > store.version) {
    throw new SnapshotError(path, "a newer release wrote it; use that release", "foreign");
  }
  if (group !== DEFAULT_GROUP) {
    throw new SnapshotError(path, `it is of group ${group}, which this release lacks`, "foreign");
  }
  try {
    for (const steps = store.load(chunks()); steps.next().done !== true;);
  } catch (error) {
    if (error instanceof StateError) throw new SnapshotError(path, error.message);
    throw error;
  }
  if (store.lastApplied !== index || store.stateHash() !== stateHash) {
    throw new SnapshotError(path, "its state is another one than its head says");
  }
  return { meta, digest, store };
}

/**
 * Writes the directory. `state.store` is raised, and must not be used again.
 *
 * @throws As {@linkcode restoreNode}.
 */
export async function restoreDirectory(
  disk: Disk,
  { meta: backup, digest, store }: BackupState,
  { id: nodeId, members: addresses, revisionRaise }: {
    readonly id: NodeId;
    readonly members: ReadonlyMap<NodeId, HostPort>;
    readonly revisionRaise: number;
  },
): Promise<RestoreResult> {
  try {
    store.raiseRevision(revisionRaise);
  } catch (error) {
    throw new RestoreError((error as Error).message);
  }
  const members = [...addresses.keys()].sort((a, b) => a - b);
  const { revision, size: keys } = store;
  const stateHash = store.stateHash();
  const clusterId = idOf([clusterIdOf(addresses), digest, revision]);
  // The members of the cluster that was backed up are none of the new one.
  const { config: _, ...rest } = backup;
  const meta = { ...rest, clusterId, members, machineVersion: store.version, stateHash };
  const isNew = !disk.exists("");
  disk.makeDirectory("");
  const lock = disk.lock("");
  if (lock === undefined) throw new DirectoryLockedError();
  try {
    checkEmpty(disk);
    try {
      await writeSnapshot(disk, meta, store);
      beginLog(disk, meta, nodeId);
      adoptDataDirectory(disk, { clusterId, nodeId, members, directoryId: crypto.randomUUID() });
    } catch (error) {
      removeAll(disk, isNew);
      throw error;
    }
  } finally {
    lock.release();
  }
  return { clusterId, members, revision, keys, stateHash, backup };
}

function withReader<Result>(
  path: string,
  onRead: OnRead = () => {},
  use: (reader: SnapshotReader) => Result,
): Result {
  using file = Deno.openSync(path, { read: true });
  const { size } = file.statSync();
  const read = (offset: number, length: number): Uint8Array => {
    const bytes = readAt(file, offset, length);
    onRead(offset + bytes.length, size);
    return bytes;
  };
  return use(openSnapshot(path, { read, size }));
}

function checkEmpty(disk: Disk): void {
  if (!disk.exists("")) return;
  const [name] = disk.list("");
  if (name === undefined) return;
  throw new RestoreError(`the data directory is not empty: there is ${name} in it`);
}

async function writeSnapshot(disk: Disk, meta: SnapshotMeta, store: KvStore): Promise<void> {
  const backup = new StateFile(meta, store.freeze());
  const unfinished = SnapshotStore.open(disk, { ...meta, onBroken: () => {} }).create(meta);
  try {
    for (let piece = backup.next(); piece.done !== true; piece = backup.next()) {
      unfinished.append(piece.value);
    }
  } catch (error) {
    unfinished.discard();
    throw error;
  }
  const result = await new Promise<StoredSnapshot | Error>((resolve) =>
    unfinished.finish(backup.digest, resolve)
  );
  if (result instanceof Error) throw result;
}

/** A log that begins behind the snapshot, in its term: no member has voted in it. */
function beginLog(
  disk: Disk,
  { clusterId, group, index, term }: SnapshotMeta,
  nodeId: NodeId,
): void {
  const { wal } = Wal.open(disk, { clusterId, nodeId });
  try {
    wal.append([encodeHardState(group, { currentTerm: term, votedFor: undefined })]);
    wal.forget(group, { index, term }, { keepsRest: false });
  } finally {
    // Makes it durable.
    wal.close();
  }
}

/** Removes what a restore that failed has written; what cannot be removed, a start refuses. */
function removeAll(disk: Disk, isNew: boolean): void {
  try {
    const directories = [WAL_DIRECTORY, SNAPSHOT_DIRECTORY];
    for (const name of disk.list("")) if (!directories.includes(name)) disk.remove(name);
    for (const directory of directories) {
      if (!disk.exists(directory)) continue;
      for (const name of disk.list(directory)) disk.remove(`${directory}/${name}`);
      disk.removeDirectory(directory);
    }
    if (isNew) disk.removeDirectory("");
  } catch {
    // The error that is thrown says what the disk does.
  }
}

function idOf(parts: readonly (string | number)[]): string {
  return createHash("sha256").update(JSON.stringify(parts)).digest("hex").slice(0, 16);
}
