/**
 * A node's data directory: who may use it, and whose it is.
 *
 * | path | what |
 * |---|---|
 * | `lock` | locked while a process uses the directory |
 * | `identity.json` | `{"formatVersion":2,"clusterId":"…","nodeId":1,"directoryId":"…"}` |
 * | `peers.json` | `{"formatVersion":1,"peers":{"2":"…"}}`: the peers' directories, see peer_identities.ts |
 * | `wal/` | the write-ahead log |
 *
 * The directory id is random and tells this directory from every other, also from one that takes
 * its place under the same node id.
 *
 * @module
 */
import {
  type DirectoryFile,
  IdentityDamagedError,
  isDirectoryId,
  readFields,
  replaceFile,
} from "./directory_file.ts";
import type { Disk, DiskLock } from "./disk.ts";
import { IDENTITY_BYTES_MAX, PEERS_BYTES_MAX } from "./limits.ts";
import { checkIdentity, sequenceOf, WAL_DIRECTORY, type WalIdentity } from "./wal_segment.ts";

/** Another process uses the directory. */
export class DirectoryLockedError extends Error {
  override readonly name = "DirectoryLockedError";

  constructor() {
    super("Cannot use the data directory: another process has locked it");
  }
}

/** The directory belongs to another node or another cluster. */
export class IdentityMismatchError extends Error {
  override readonly name = "IdentityMismatchError";
  /** Whose it is. */
  readonly stored: WalIdentity;

  constructor(stored: WalIdentity, expected: WalIdentity) {
    const name = ({ nodeId, clusterId }: WalIdentity): string =>
      `node ${nodeId} of cluster ${JSON.stringify(clusterId)}`;
    super(`Cannot use the data directory: it belongs to ${name(stored)}, not ${name(expected)}`);
    this.stored = stored;
  }
}

/** Who wants to use the directory. */
export interface DataDirectoryOptions extends WalIdentity {
  /**
   * `configured`: the operator named the cluster, so a directory of another one is refused.
   * `computed`: the id was made from the peers' addresses, which may have changed since the
   * directory was created; the stored id wins, and peers of another cluster are refused when they
   * say hello.
   */
  readonly clusterIdSource: "configured" | "computed";
  /** The id that the directory gets if this call creates it: random, 1 to 64 of `[a-z0-9-]`. */
  readonly newDirectoryId: string;
}

/** A directory in use by this process. */
export interface DataDirectory {
  /** Its identity; the cluster id is the stored one. */
  readonly identity: WalIdentity;
  /** Tells it from every other directory, and from one that took its place. */
  readonly directoryId: string;
  /** Whether this call created it: the node has never voted or stored anything here. */
  readonly created: boolean;
  /** Lets other processes use it. */
  release(): void;
}

/** Where the peers' directories are remembered. */
export const PEERS_FILE: DirectoryFile = {
  path: "peers.json",
  formatVersion: 1,
  bytesMax: PEERS_BYTES_MAX,
};

const IDENTITY_FILE: DirectoryFile = {
  path: "identity.json",
  formatVersion: 2,
  bytesMax: IDENTITY_BYTES_MAX,
};
const LOCK_PATH = "lock";

/** What `identity.json` says. */
interface StoredIdentity {
  readonly identity: WalIdentity;
  readonly directoryId: string;
}

/**
 * Locks the directory, creating it if it is missing, and checks whose it is.
 *
 * @throws {DirectoryLockedError} If another process uses it.
 * @throws {IdentityMismatchError} If it belongs to another node, or to another cluster than the
 * one configured.
 * @throws {IdentityDamagedError} If it cannot be told whose it is.
 * @throws {DiskError} If the disk fails; `permission` if the directory may not be used.
 * @throws {RangeError} If the identity is not well-formed.
 */
export function openDataDirectory(disk: Disk, options: DataDirectoryOptions): DataDirectory {
  checkIdentity(options);
  if (!isDirectoryId(options.newDirectoryId)) {
    throw new RangeError(`Cannot use directory id ${JSON.stringify(options.newDirectoryId)}`);
  }
  disk.makeDirectory("");
  const lock = disk.lock(LOCK_PATH);
  if (lock === undefined) throw new DirectoryLockedError();
  try {
    return openLocked(disk, options, lock);
  } catch (error) {
    lock.release();
    throw error;
  }
}

function openLocked(disk: Disk, options: DataDirectoryOptions, lock: DiskLock): DataDirectory {
  const release = (): void => lock.release();
  const { clusterId, nodeId } = options;
  if (!disk.exists(IDENTITY_FILE.path)) return { ...create(disk, options), created: true, release };
  const { identity, directoryId } = readIdentity(disk);
  const otherCluster = options.clusterIdSource === "configured" && identity.clusterId !== clusterId;
  if (identity.nodeId !== nodeId || otherCluster) {
    throw new IdentityMismatchError(identity, { clusterId, nodeId });
  }
  checkLogIsThere(disk);
  // A crash may have come between the rename and its sync.
  disk.syncDirectory("");
  return { identity, directoryId, created: false, release };
}

function create(disk: Disk, options: DataDirectoryOptions): StoredIdentity {
  const { clusterId, nodeId, newDirectoryId: directoryId } = options;
  for (const path of [WAL_DIRECTORY, PEERS_FILE.path]) {
    if (disk.exists(path)) {
      throw new IdentityDamagedError(`there is ${path} in it, but no identity`);
    }
  }
  replaceFile(disk, IDENTITY_FILE, { clusterId, nodeId, directoryId });
  return { identity: { clusterId, nodeId }, directoryId };
}

/**
 * A node greets its peers only once its log is there, so a directory that knows peers and has no
 * log has lost it, and the promises in it. Its id alone would be welcome.
 */
function checkLogIsThere(disk: Disk): void {
  if (!disk.exists(PEERS_FILE.path)) return;
  const isThere = disk.exists(WAL_DIRECTORY) &&
    disk.list(WAL_DIRECTORY).some((name) => sequenceOf(name) !== undefined);
  if (!isThere) {
    throw new IdentityDamagedError("its log is missing: bring the old directory back as it was");
  }
}

function readIdentity(disk: Disk): StoredIdentity {
  const { path } = IDENTITY_FILE;
  const { clusterId, nodeId, directoryId } = readFields(disk, IDENTITY_FILE);
  if (typeof clusterId !== "string" || typeof nodeId !== "number" || !isDirectoryId(directoryId)) {
    throw new IdentityDamagedError(`${path} lacks an id`);
  }
  const identity = { clusterId, nodeId };
  try {
    checkIdentity(identity);
  } catch (error) {
    throw new IdentityDamagedError(`${path} is not valid: ${(error as Error).message}`);
  }
  return { identity, directoryId };
}
