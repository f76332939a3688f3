/**
 * A node's data directory: which process may use it, and which node it belongs to.
 *
 * | path | what |
 * |---|---|
 * | `identity.json` | `{"formatVersion":3,"clusterId":"…","nodeId":1,"directoryId":"…","members":[1,2,3],"logBegun":true,"place":"…"}` |
 * | `members.json` | the members as they were last, see members_file.ts |
 * | `peers.json` | `{"formatVersion":1,"peers":{"2":"…"}}`: the peers' directories, see peer_identities.ts |
 * | `wal/` | the write-ahead log |
 * | `durable` | how far the log was durable, see watermark.ts |
 * | `snapshots/` | snapshots, see snapshot_store.ts |
 *
 * The directory itself is locked while a process uses it, and so is the log's (wal.ts).
 *
 * The directory id is random. It tells this directory from every other, also from one that is put
 * in its place under the same node id.
 *
 * The members are those of the cluster that the directory was founded for, or with. They may change
 * since (machines/membership.ts): the log says who they are now. A start that names others than at the
 * founding or now is refused: it would lead alone, or with strangers, under the same cluster id, and
 * acknowledge writes that the cluster does not have. A start may also name nobody. A directory that
 * has promised nothing yet (no peer was met, no vote or entry stored) belongs to nobody: the next
 * start may correct a wrong flag of the first.
 *
 * A copy of a directory is not taken. Beside the original it would be a second voter of the same id,
 * and one that was restored from a backup has forgotten what the node has promised since. The place,
 * which is the number of a directory's inode and the time at which it was made, tells a copy from the
 * original. The log's directory has a place as well: a backup may be put back into a directory that
 * was emptied. Only an operator can say that the original is used no more and that the copy lacks
 * nothing. A backup that is written over the files in their place cannot be told.
 *
 * @module
 */
import {
  type DirectoryFile,
  IdentityDamagedError,
  isDirectoryId,
  readFields,
  replaceFields,
} from "./directory_file.ts";
import type { StoredMembers } from "../../machines/group_config.ts";
import type { NodeId } from "../../machines/raft_types.ts";
import type { Disk, DiskLock } from "./disk.ts";
import { IDENTITY_BYTES_MAX, NODE_ID_MAX, PEERS_BYTES_MAX } from "./limits.ts";
import { isStoredMembers, MEMBERS_FILE, readMembers } from "./members_file.ts";
import { SNAPSHOT_DIRECTORY } from "./snapshot_store.ts";
import { isPlace, isSamePlace } from "./place.ts";
import { lacksFirstHeader, replay } from "./wal_replay.ts";
import { WATERMARK_PATH } from "./watermark.ts";
import { checkIdentity, sequenceOf, WAL_DIRECTORY, type WalIdentity } from "./wal_segment.ts";

/** Another process uses the directory. */
export class DirectoryLockedError extends Error {
  /** Its class's name. */
  override readonly name = "DirectoryLockedError";

  /** See the class. */
  constructor() {
    super(
      "Cannot use the data directory: another process has locked it; stop that one first, or name " +
        "another directory",
    );
  }
}

/** The node, the cluster and the members that a directory belongs to. */
export interface DirectoryOwner extends WalIdentity {
  /** The members of its cluster, ascending. */
  readonly members: readonly NodeId[];
}

/** The directory belongs to another node, another cluster or other members. */
export class IdentityMismatchError extends Error {
  /** Its class's name. */
  override readonly name = "IdentityMismatchError";
  /** What it belongs to. */
  readonly stored: DirectoryOwner;

  /** See the class. */
  constructor(stored: DirectoryOwner, expected: DirectoryOwner) {
    super(`Cannot use the data directory: ${differenceOf(stored, expected)}`);
    this.stored = stored;
  }
}

function differenceOf(stored: DirectoryOwner, expected: DirectoryOwner): string {
  if (stored.nodeId !== expected.nodeId) {
    return `it belongs to node ${stored.nodeId}, not to node ${expected.nodeId}; ` +
      "start that node here, or give this one a directory of its own";
  }
  if (!sameMembers(stored.members, expected.members)) {
    return `its cluster has the members ${stored.members.join(", ")}, and this start names ` +
      `${expected.members.join(", ")}; start it with those members, or use another directory`;
  }
  return `it belongs to cluster ${JSON.stringify(stored.clusterId)}, not to ` +
    JSON.stringify(expected.clusterId);
}

/** The directory is a copy, or was brought from another file system. */
export class DirectoryCopiedError extends Error {
  /** Its class's name. */
  override readonly name = "DirectoryCopiedError";

  /** See the class. */
  constructor() {
    super(
      "Cannot use the data directory: it is a copy of another one, or was brought here from another " +
        "file system",
    );
  }
}

/** Somebody has removed the directory while this process used it. */
export class DirectoryGoneError extends Error {
  /** Its class's name. */
  override readonly name = "DirectoryGoneError";

  /** See the class. */
  constructor() {
    super(
      "Cannot use the data directory any more: it was removed, or moved away, while it was in use",
    );
  }
}

/** Whether the directory that a process uses is still at its place, as far as its identity tells. */
export function isDirectoryThere(disk: Disk): boolean {
  return disk.exists(IDENTITY_FILE.path);
}

/** The node that wants to use the directory. */
export interface DataDirectoryOptions extends WalIdentity {
  /** The members that this start names, ascending; undefined if it names none: the directory knows them. */
  readonly members: readonly NodeId[] | undefined;
  /** What a node joins with: the directory that it founds is of no founding member. */
  readonly joined?: StoredMembers;
  /**
   * `configured`: the operator named the cluster, so a directory of another one is refused.
   * `computed`: the id was made from the peers' addresses, which may have changed since the
   * directory was created; the stored id wins, and peers of another cluster are refused when they
   * say hello.
   */
  readonly clusterIdSource: "configured" | "computed";
  /** The id that the directory gets if this call creates it: random, 1 to 64 of `[a-z0-9-]`. */
  readonly newDirectoryId: string;
  /**
   * The operator says that a copy may be taken: the original is used no more, and the copy was made
   * after it was used last. Default: copies are refused.
   */
  readonly mayBeCopy?: boolean;
}

/** A directory in use by this process. */
export interface DataDirectory {
  /** Its identity; the cluster id is the stored one. */
  readonly identity: DirectoryOwner;
  /** Tells it from every other directory, and from one that took its place. */
  readonly directoryId: string;
  /** What the node has joined with; undefined if it is of the founding. */
  readonly joined: StoredMembers | undefined;
  /** Whether this call created it: the node has never voted or stored anything here. */
  readonly created: boolean;
  /** Whether its log was begun. If so, a log that is missing, or has no first header, is lost. */
  readonly logBegun: boolean;
  /** Whether the log was lost, and what it held is not all there again: see noteLogLost. */
  readonly isLogLost: boolean;
  /** All that had been acknowledged is in the log again, and the node may vote. */
  noteLogRestored(): void;
  /**
   * The log is there and durable, so the node may make promises. If the log is missing later, votes
   * and acknowledged writes are lost with it, and the node does not start.
   */
  noteLogBegun(): void;
  /** Lets other processes use it. */
  release(): void;
  /**
   * Removes a directory that this call created and whose node has promised nothing: a first start
   * that fails leaves nothing behind. The log must be closed.
   */
  discard(): void;
}

/**
 * The log is missing: there is not one segment of it. What the node had promised is lost with it; only
 * the other members can help.
 */
export class LogMissingError extends IdentityDamagedError {
  /** See the class. */
  constructor() {
    super("its log is missing");
  }
}

/** Where the peers' directories are remembered. */
export const PEERS_FILE: DirectoryFile = {
  path: "peers.json",
  formatVersion: 1,
  bytesMax: PEERS_BYTES_MAX,
};

/** What the name of a segment ends with that was put aside. */
const ASIDE = ".broken";

const IDENTITY_FILE: DirectoryFile = {
  path: "identity.json",
  formatVersion: 3,
  bytesMax: IDENTITY_BYTES_MAX,
};

/** What `identity.json` says. */
interface StoredIdentity {
  readonly identity: DirectoryOwner;
  readonly joined: StoredMembers | undefined;
  readonly directoryId: string;
  readonly logBegun: boolean;
  readonly isLogLost: boolean;
  /** Where the directory was when this was written; undefined if the file system cannot tell. */
  readonly place: string | undefined;
  /** Where the log's was, once it was begun. */
  readonly logPlace: string | undefined;
}

/**
 * Checks, without changing anything, that a start with these options would be taken.
 *
 * @throws {IdentityMismatchError} As {@linkcode openDataDirectory}.
 * @throws {IdentityDamagedError} As there.
 * @throws {DiskError} If the disk fails.
 */
export function checkDataDirectory(
  disk: Disk,
  options: Omit<DataDirectoryOptions, "newDirectoryId">,
): void {
  if (!isFounded(disk)) return;
  const stored = readIdentity(disk);
  if (!isOwner(disk, stored.identity, options) && !hasPromisedNothing(disk, stored)) {
    throw mismatchOf(stored.identity, options);
  }
}

/** Whose a directory is, and whom it knows. */
export interface DirectoryFacts {
  readonly owner: DirectoryOwner;
  /** The members as they were last; undefined if they are as at the founding. */
  readonly latest: StoredMembers | undefined;
  /** Whether its log is missing, or was lost and is not all there again. */
  readonly isLogLost: boolean;
}

/**
 * Whose the directory is, without changing or locking anything; undefined if it is nobody's yet.
 *
 * @throws {IdentityDamagedError} If it cannot be told.
 * @throws {DiskError} If the disk fails.
 */
export function readDirectory(disk: Disk): DirectoryFacts | undefined {
  if (!isFounded(disk)) return undefined;
  const stored = readIdentity(disk);
  const { identity, joined } = stored;
  const isLogLost = stored.isLogLost || isLogMissing(disk, stored);
  return { owner: identity, latest: readMembers(disk) ?? joined, isLogLost };
}

/**
 * Whether a directory that has an owner may get another: it never met a peer, nor stored a vote or an entry.
 *
 * @throws {IdentityDamagedError} If its owner cannot be told.
 * @throws {WalError} If its log is damaged.
 * @throws {DiskError} If the disk fails.
 */
export function mayBeFoundedAnew(disk: Disk): boolean {
  return hasPromisedNothing(disk, readIdentity(disk));
}

function isFounded(disk: Disk): boolean {
  return disk.exists("") && disk.exists(IDENTITY_FILE.path);
}

/**
 * Locks the directory, creating it if it is missing, and checks whose it is.
 *
 * @throws {DirectoryLockedError} If another process uses it.
 * @throws {IdentityMismatchError} If it belongs to another node, to other members, or to another
 * cluster than the one configured, and has promised anything.
 * @throws {DirectoryCopiedError} If it is a copy, and has promised anything.
 * @throws {IdentityDamagedError} If it cannot be told whose it is.
 * @throws {DiskError} If the disk fails; `permission` if the directory may not be used.
 * @throws {RangeError} If the identity is not well-formed.
 */
export function openDataDirectory(disk: Disk, options: DataDirectoryOptions): DataDirectory {
  checkIdentity(options);
  if (!isDirectoryId(options.newDirectoryId)) {
    throw new RangeError(`Cannot use directory id ${JSON.stringify(options.newDirectoryId)}`);
  }
  const isNew = !disk.exists("");
  disk.makeDirectory("");
  const lock = disk.lock("");
  if (lock === undefined) throw new DirectoryLockedError();
  try {
    return openLocked(disk, options, { lock, isNew });
  } catch (error) {
    lock.release();
    throw error;
  }
}

function openLocked(
  disk: Disk,
  options: DataDirectoryOptions,
  { lock, isNew }: { readonly lock: DiskLock; readonly isNew: boolean },
): DataDirectory {
  const release = (): void => lock.release();
  if (!disk.exists(IDENTITY_FILE.path)) {
    const made = create(disk, options);
    const discard = (): void => {
      try {
        if (!disk.exists(PEERS_FILE.path)) removeAll(disk, made);
      } finally {
        release();
      }
      if (isNew) disk.removeDirectory("");
    };
    return { ...made, created: true, ...logNote(disk, made), release, discard };
  }
  let stored = readIdentity(disk);
  const isOurs = isOwner(disk, stored.identity, options);
  const { members } = options;
  // The wrong address also made a wrong cluster id, and peers would always refuse that.
  if (!isOurs || stored.identity.clusterId !== options.clusterId) {
    const isFree = members !== undefined && hasPromisedNothing(disk, stored);
    if (!isOurs && !isFree) {
      throw mismatchOf(stored.identity, options);
    }
    if (isFree) stored = foundAnew(disk, { ...options, members }, stored);
  }
  stored = checkPlaces(disk, stored, options);
  checkLogIsThere(disk, stored);
  // A crash may have come between the rename and its sync.
  disk.syncDirectory("");
  return { ...stored, created: false, ...logNote(disk, stored), release, discard: release };
}

/** The identity with the places as they are now; a copy that may not be taken is refused. */
function checkPlaces(
  disk: Disk,
  stored: StoredIdentity,
  { mayBeCopy = false }: Pick<DataDirectoryOptions, "mayBeCopy">,
): StoredIdentity {
  const place = disk.placeOf("") ?? stored.place;
  const logPlace = placeOfLog(disk, stored) ?? stored.logPlace;
  if (place === stored.place && logPlace === stored.logPlace) return stored;
  const isCopy = !isSamePlace(stored.place, place) || !isSamePlace(stored.logPlace, logPlace);
  if (isCopy && !mayBeCopy && !hasPromisedNothing(disk, stored)) throw new DirectoryCopiedError();
  const here = { ...stored, place, logPlace };
  store(disk, here);
  return here;
}

/**
 * Undefined before the log was begun, and while it is lost: its directory may be made anew, and nothing
 * in it is relied on.
 */
function placeOfLog(
  disk: Disk,
  { logBegun, isLogLost }: Pick<StoredIdentity, "logBegun" | "isLogLost">,
): string | undefined {
  const counts = logBegun && !isLogLost && disk.exists(WAL_DIRECTORY);
  return counts ? disk.placeOf(WAL_DIRECTORY) : undefined;
}

function logNote(
  disk: Disk,
  stored: StoredIdentity,
): Pick<DataDirectory, "noteLogBegun" | "noteLogRestored"> {
  let now = stored;
  const note = (changed: Partial<StoredIdentity>): void => {
    now = { ...now, ...changed };
    store(disk, now = { ...now, logPlace: placeOfLog(disk, now) ?? now.logPlace });
  };
  return {
    noteLogBegun: () => {
      if (!now.logBegun) note({ logBegun: true });
    },
    noteLogRestored: () => note({ isLogLost: false }),
  };
}

/**
 * The log of a directory cannot be used. Notes that, and then puts aside what is there of it
 * (`.broken`), so that the next start begins another log, and the node recovers (machines/recovery.ts).
 * Whatever the crash, either the old log is there, or the note that it was lost.
 *
 * @throws {DirectoryLockedError} If another process uses the directory.
 * @throws {DiskError} If the disk fails.
 */
export function putLogAside(disk: Disk): void {
  const lock = disk.lock("");
  if (lock === undefined) throw new DirectoryLockedError();
  try {
    const stored = readIdentity(disk);
    store(disk, { ...stored, isLogLost: true });
    if (disk.exists(WATERMARK_PATH)) disk.remove(WATERMARK_PATH);
    if (!disk.exists(WAL_DIRECTORY)) return;
    const names = disk.list(WAL_DIRECTORY);
    // Of an earlier loss that is over. What a crash in here has left belongs to this one.
    const old = stored.isLogLost ? [] : names.filter((name) => name.endsWith(ASIDE));
    for (const name of old) disk.remove(`${WAL_DIRECTORY}/${name}`);
    for (const name of names) {
      if (sequenceOf(name) === undefined) continue;
      disk.rename(`${WAL_DIRECTORY}/${name}`, `${WAL_DIRECTORY}/${name}${ASIDE}`);
    }
    disk.syncDirectory(WAL_DIRECTORY);
  } finally {
    lock.release();
  }
}

function mismatchOf(
  stored: DirectoryOwner,
  { members = stored.members, ...wanted }: Omit<DataDirectoryOptions, "newDirectoryId">,
): IdentityMismatchError {
  return new IdentityMismatchError(stored, { ...wanted, members });
}

/** Whether a directory of `stored` is the one that this start wants. */
function isOwner(
  disk: Disk,
  stored: DirectoryOwner,
  { clusterId, clusterIdSource, nodeId, members }:
    & WalIdentity
    & Pick<DataDirectoryOptions, "clusterIdSource" | "members">,
): boolean {
  const sameCluster = clusterIdSource === "computed" || stored.clusterId === clusterId;
  if (!sameCluster || stored.nodeId !== nodeId) return false;
  if (members === undefined || sameMembers(stored.members, members)) return true;
  const now = readMembers(disk)?.config.members.map(({ id }) => id);
  return now !== undefined && sameMembers(now, members);
}

function sameMembers(one: readonly NodeId[], other: readonly NodeId[]): boolean {
  return one.length === other.length && one.every((id) => other.includes(id));
}

/**
 * Whether no peer was met and no vote, term or entry was stored, so that nobody relies on the node.
 */
function hasPromisedNothing(
  disk: Disk,
  { identity, logBegun, isLogLost }: StoredIdentity,
): boolean {
  if (isLogLost || disk.exists(PEERS_FILE.path)) return false;
  if (!disk.exists(WAL_DIRECTORY)) return !logBegun;
  const log = replay(disk, identity);
  return log.groups.size === 0 && !(logBegun && lacksFirstHeader(log));
}

/** Its log names the wrong owner. The directory's id stays: a peer may have noted it already. */
function foundAnew(
  disk: Disk,
  options: DirectoryOwner & Pick<DataDirectoryOptions, "joined">,
  stored: StoredIdentity,
): StoredIdentity {
  removeLog(disk, stored);
  if (disk.exists(MEMBERS_FILE.path)) disk.remove(MEMBERS_FILE.path);
  return found(disk, options, stored);
}

function removeAll(disk: Disk, made: StoredIdentity): void {
  removeLog(disk, made);
  disk.removeDirectory(WAL_DIRECTORY);
  if (disk.exists(MEMBERS_FILE.path)) disk.remove(MEMBERS_FILE.path);
  // A crash must not leave a log whose owner is not known.
  disk.syncDirectory("");
  disk.remove(IDENTITY_FILE.path);
}

/** Removes a log that holds nothing, from its end, so that a crash in between leaves no hole. */
function removeLog(disk: Disk, stored: StoredIdentity): void {
  // First what says that there was one.
  if (disk.exists(WATERMARK_PATH)) disk.remove(WATERMARK_PATH);
  if (!disk.exists(WAL_DIRECTORY)) return;
  // Or a crash in between would leave a directory that seems to have lost it.
  if (readIdentity(disk).logBegun) store(disk, { ...stored, logBegun: false });
  for (const name of disk.list(WAL_DIRECTORY).reverse()) {
    if (sequenceOf(name) === undefined) continue;
    disk.remove(`${WAL_DIRECTORY}/${name}`);
    disk.syncDirectory(WAL_DIRECTORY);
  }
}

function create(disk: Disk, options: DataDirectoryOptions): StoredIdentity {
  const own = [
    WAL_DIRECTORY,
    SNAPSHOT_DIRECTORY,
    PEERS_FILE.path,
    MEMBERS_FILE.path,
    WATERMARK_PATH,
  ];
  for (const path of own) {
    if (disk.exists(path)) {
      throw new IdentityDamagedError(`there is ${path} in it, but no identity`);
    }
  }
  const { members } = options;
  if (members === undefined) {
    throw new RangeError("Cannot found a data directory: the start names no members");
  }
  return found(disk, { ...options, members }, {
    directoryId: options.newDirectoryId,
    place: disk.placeOf(""),
  });
}

/**
 * Makes a directory belong to `owner` whose log and snapshots are there already, and durable. This is
 * the last step of a restore: until it is done a start refuses the directory.
 *
 * @throws {DiskError} If the disk fails.
 * @throws {RangeError} If the identity is not well-formed.
 */
export function adoptDataDirectory(
  disk: Disk,
  { clusterId, nodeId, members, directoryId }: DirectoryOwner & { readonly directoryId: string },
): void {
  const identity = { clusterId, nodeId, members };
  checkIdentity(identity);
  const [place, logPlace] = [disk.placeOf(""), disk.placeOf(WAL_DIRECTORY)];
  const flags = { logBegun: true, isLogLost: false, joined: undefined };
  store(disk, { identity, directoryId, ...flags, place, logPlace });
}

/**
 * Whether there is nothing but what a restore makes, or has begun to make: no node was ever started here,
 * and nobody else has put anything into it.
 *
 * @throws {DiskError} If the disk fails.
 */
export function isRestoredOnly(disk: Disk): boolean {
  const made = [WAL_DIRECTORY, SNAPSHOT_DIRECTORY, IDENTITY_FILE.path];
  return disk.list("").every((name) => made.some((each) => name.startsWith(each)));
}

/** Makes the directory belong to `owner`; its log is still to be begun. */
function found(
  disk: Disk,
  { clusterId, nodeId, members, joined }:
    & DirectoryOwner
    & Pick<DataDirectoryOptions, "joined">,
  { directoryId, place }: Pick<StoredIdentity, "directoryId" | "place">,
): StoredIdentity {
  const identity = { clusterId, nodeId, members };
  const founded = {
    ...{ identity, directoryId, joined, logBegun: false, isLogLost: false },
    ...{ place, logPlace: undefined },
  };
  store(disk, founded);
  return founded;
}

function store(
  disk: Disk,
  { identity, directoryId, joined, logBegun, isLogLost, ...places }: StoredIdentity,
): void {
  const { clusterId, nodeId, members } = identity;
  replaceFields(disk, IDENTITY_FILE, {
    ...{ clusterId, nodeId, directoryId, members, logBegun },
    ...(isLogLost ? { isLogLost } : {}),
    ...(joined === undefined ? {} : { joined }),
    ...places,
  });
}

/**
 * A node promises nothing before its log is there. So if the directory says that the log was begun,
 * or knows peers, and has no log, then the log is lost, and the promises in it. Peers would not
 * notice: they know the directory by its id.
 */
function checkLogIsThere(disk: Disk, stored: StoredIdentity): void {
  if (!stored.isLogLost && isLogMissing(disk, stored)) throw new LogMissingError();
}

function isLogMissing(disk: Disk, { logBegun }: StoredIdentity): boolean {
  if (!logBegun && !disk.exists(PEERS_FILE.path)) return false;
  return !disk.exists(WAL_DIRECTORY) ||
    !disk.list(WAL_DIRECTORY).some((name) => sequenceOf(name) !== undefined);
}

function readIdentity(disk: Disk): StoredIdentity {
  const { path } = IDENTITY_FILE;
  const fields = readFields(disk, IDENTITY_FILE);
  const { clusterId, nodeId, directoryId, members, logBegun, place, logPlace } = fields;
  const { isLogLost = false, joined } = fields;
  if (typeof clusterId !== "string" || typeof nodeId !== "number" || !isDirectoryId(directoryId)) {
    throw new IdentityDamagedError(`${path} lacks an id`);
  }
  if (typeof logBegun !== "boolean" || typeof isLogLost !== "boolean") {
    throw new IdentityDamagedError(`${path} does not say whether the log was begun, or lost`);
  }
  if (!isPlace(place) || !isPlace(logPlace)) {
    throw new IdentityDamagedError(`${path} names no place`);
  }
  if (joined !== undefined && !isStoredMembers(joined)) {
    throw new IdentityDamagedError(`${path} does not say what it has joined with`);
  }
  if (!isMemberList(members) || !members.includes(nodeId)) {
    throw new IdentityDamagedError(`${path} lacks the members`);
  }
  const identity = { clusterId, nodeId, members };
  try {
    checkIdentity(identity);
  } catch (error) {
    throw new IdentityDamagedError(`${path} is not valid: ${(error as Error).message}`);
  }
  return { identity, directoryId, joined, logBegun, isLogLost, place, logPlace };
}

function isMemberList(value: unknown): value is NodeId[] {
  return Array.isArray(value) && value.length > 0 && new Set(value).size === value.length &&
    value.every((id) => Number.isSafeInteger(id) && id >= 1 && id <= NODE_ID_MAX);
}
