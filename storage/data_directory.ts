/**
 * A node's data directory: who may use it, and whose it is.
 *
 * | path | what |
 * |---|---|
 * | `lock` | locked while a process uses the directory |
 * | `identity.json` | `{"formatVersion":1,"clusterId":"…","nodeId":1}` |
 * | `wal/` | the write-ahead log |
 *
 * @module
 */
import type { Disk, DiskLock } from "./disk.ts";
import { IDENTITY_BYTES_MAX } from "./limits.ts";
import { checkIdentity, WAL_DIRECTORY, type WalIdentity } from "./wal_segment.ts";

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

/**
 * The identity is unreadable, of a later release, or missing beside a log. The node must not start:
 * without it nobody knows whose votes the log holds.
 */
export class IdentityDamagedError extends Error {
  override readonly name = "IdentityDamagedError";

  constructor(reason: string) {
    super(`Cannot use the data directory: ${reason}`);
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
}

/** A directory in use by this process. */
export interface DataDirectory {
  /** Its identity; the cluster id is the stored one. */
  readonly identity: WalIdentity;
  /** Whether this call created it: the node has never voted or stored anything here. */
  readonly created: boolean;
  /** Lets other processes use it. */
  release(): void;
}

const FORMAT_VERSION = 1;
const LOCK_PATH = "lock";
const IDENTITY_PATH = "identity.json";
const FRESH_IDENTITY_PATH = "identity.json.new";

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
  if (!disk.exists(IDENTITY_PATH)) {
    if (disk.exists(WAL_DIRECTORY)) {
      throw new IdentityDamagedError("there is a log in it, but no identity");
    }
    const identity = { clusterId, nodeId };
    writeIdentity(disk, identity);
    return { identity, created: true, release };
  }
  const identity = readIdentity(disk);
  const otherCluster = options.clusterIdSource === "configured" && identity.clusterId !== clusterId;
  if (identity.nodeId !== nodeId || otherCluster) {
    throw new IdentityMismatchError(identity, { clusterId, nodeId });
  }
  // A crash may have come between the rename and its sync.
  disk.syncDirectory("");
  return { identity, created: false, release };
}

/** Writes the identity so that after a crash it is there whole or not at all. */
function writeIdentity(disk: Disk, identity: WalIdentity): void {
  const text = JSON.stringify({ formatVersion: FORMAT_VERSION, ...identity }) + "\n";
  const file = disk.open(FRESH_IDENTITY_PATH);
  try {
    file.truncate(0);
    file.append(new TextEncoder().encode(text));
    file.sync();
  } finally {
    file.close();
  }
  disk.rename(FRESH_IDENTITY_PATH, IDENTITY_PATH);
  disk.syncDirectory("");
}

function readIdentity(disk: Disk): WalIdentity {
  const bytes = disk.readFile(IDENTITY_PATH);
  if (bytes.length > IDENTITY_BYTES_MAX) {
    throw new IdentityDamagedError(`${IDENTITY_PATH} has ${bytes.length} bytes`);
  }
  let parsed: unknown;
  try {
    parsed = JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(bytes));
  } catch {
    throw new IdentityDamagedError(`${IDENTITY_PATH} is not JSON`);
  }
  if (typeof parsed !== "object" || parsed === null) {
    throw new IdentityDamagedError(`${IDENTITY_PATH} is not an object`);
  }
  const { formatVersion, clusterId, nodeId } = parsed as Record<string, unknown>;
  if (formatVersion !== FORMAT_VERSION) {
    throw new IdentityDamagedError(
      `${IDENTITY_PATH} has format version ${JSON.stringify(formatVersion)}, not ${FORMAT_VERSION}`,
    );
  }
  if (typeof clusterId !== "string" || typeof nodeId !== "number") {
    throw new IdentityDamagedError(`${IDENTITY_PATH} lacks an id`);
  }
  const identity = { clusterId, nodeId };
  try {
    checkIdentity(identity);
  } catch (error) {
    throw new IdentityDamagedError(`${IDENTITY_PATH} is not valid: ${(error as Error).message}`);
  }
  return identity;
}
