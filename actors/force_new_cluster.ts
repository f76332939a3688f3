/**
 * The last resort after a majority of the members is lost for good: one surviving data directory alone
 * becomes a new cluster, with a new id.
 *
 * All that the directory holds counts from then on, also entries that nobody knows to be committed.
 * Entries that only the lost members had are gone, though they may have been acknowledged: this breaks the
 * promise that Raft keeps, and so it is done only when an operator says so. The old directory is kept
 * beside the new one. The new id keeps the members of the old cluster away for good, should any of them
 * come back.
 *
 *     make DIR.new-cluster-of-OLDID -> rename DIR to DIR.was-OLDID -> rename the new one to DIR
 *
 * Whatever the crash, running the same command again finishes it: before the first rename the old
 * directory is there, and the new one is made anew. Between the renames both are there, and DIR is not:
 * every other start is refused then, or it would found an empty cluster in its place (forced_paths.ts).
 *
 * @module
 */
import { ConfigHistory } from "../machines/config_history.ts";
import { configAfter, foundingConfig, placedConfigOf } from "../machines/group_config.ts";
import type { LogIndex, NodeId, Term } from "../machines/raft_types.ts";
import { unpackRequests } from "../machines/request_batch.ts";
import { KvStore } from "../storage/kv/kv_store.ts";
import {
  DirectoryLockedError,
  type DirectoryOwner,
  isRestoredOnly,
  readDirectory,
} from "../storage/log/data_directory.ts";
import { DenoDisk } from "../storage/log/deno_disk.ts";
import { SnapshotStore } from "../storage/log/snapshot_store.ts";
import { forEachEntry, recordFormat } from "../storage/log/wal_record.ts";
import { replay } from "../storage/log/wal_replay.ts";
import {
  directoryAbove,
  forcedPaths,
  ForceNewClusterError,
  interruptedForce,
  keptBefore,
} from "./forced_paths.ts";
import { recoverState } from "./group_recovery.ts";
import { RESTORE_REVISION_RAISE } from "./limits.ts";
import { DEFAULT_GROUP, membersOf } from "./node.ts";
import { restoreDirectory } from "./restore.ts";
import { configOf } from "./snapshot_actor.ts";

/** What a surviving directory holds. */
export interface Survivor {
  /** The cluster that it belonged to. */
  readonly clusterId: string;
  /** The members of that cluster, as far as it knows. */
  readonly members: readonly NodeId[];
  /** The last entry that it holds. Later ones are lost, if there were any. */
  readonly lastIndex: LogIndex;
  /** That entry's term. */
  readonly lastTerm: Term;
  /** Entries up to here are surely committed. Later ones may not be, and count all the same. */
  readonly committed: LogIndex;
  /** How many keys there are. */
  readonly keys: number;
}

/** The new cluster. */
export interface ForcedCluster extends Survivor {
  /** Id of the new cluster. */
  readonly newClusterId: string;
  /** Where the old directory is kept. */
  readonly keptAt: string;
}

/** Whose directory it is. */
export interface ForceOptions {
  /** The member. */
  readonly id: NodeId;
  /** Its data directory. */
  readonly dataDir: string;
}

/** A survivor with what it is made of. */
interface Loaded {
  readonly survivor: Survivor;
  readonly store: KvStore;
  readonly timeMs: number;
  readonly clusterVersion: number;
}

/**
 * What the directory holds; nothing is changed.
 *
 * @throws {ForceNewClusterError} If it is not this node's, or its log was lost.
 * @throws {WalError} If its log is damaged: restore a backup instead.
 * @throws {DiskError} If the disk fails.
 */
export function inspectSurvivor(options: ForceOptions): Survivor {
  return load(options).survivor;
}

/**
 * Makes the directory a cluster of its own, or finishes what was interrupted. No process may use it.
 *
 * @throws {DirectoryLockedError} If another process uses it.
 * @throws {Error} As {@linkcode inspectSurvivor}, and if it cannot be renamed; the directory is then as
 * it was.
 */
export async function forceNewCluster(options: ForceOptions): Promise<ForcedCluster> {
  const interrupted = interruptedForce(options.dataDir);
  if (interrupted !== undefined) {
    const { survivor } = load(options);
    const { clusterId: newClusterId } = readDirectory(new DenoDisk(interrupted.made))!.owner;
    renameBeside(interrupted.made, interrupted.path);
    return { ...survivor, newClusterId, keptAt: interrupted.kept };
  }
  const disk = new DenoDisk(options.dataDir);
  const lock = disk.exists("") ? disk.lock("") : undefined;
  if (lock === undefined && disk.exists("")) throw new DirectoryLockedError();
  try {
    const loaded = load(options);
    const { survivor } = loaded;
    const { path, made, kept } = forcedPaths(options.dataDir, survivor.clusterId);
    // A flag that stays in a unit file would make another cluster at each start, without those who joined.
    const [earlier] = keptBefore(options.dataDir);
    if (earlier !== undefined) {
      throw new ForceNewClusterError(
        `that was done before, and the old directory is kept in ${earlier}. Start the node without ` +
          "--force-new-cluster; if it has lost its majority once more, move that away first",
      );
    }
    removeUnused(made);
    const newClusterId = await makeCluster(made, loaded, options.id);
    try {
      renameBeside(path, kept);
    } catch (error) {
      removeUnused(made);
      throw new ForceNewClusterError(
        `${path} cannot be renamed (${
          (error as Error).message
        }). If it is a mount point, stop all that ` +
          "use it, mount it elsewhere, and name a directory below it",
      );
    }
    renameBeside(made, path);
    return { ...survivor, newClusterId, keptAt: kept };
  } finally {
    lock?.release();
  }
}

/** Writes the new cluster's directory; returns its id. */
async function makeCluster(
  made: string,
  { survivor: { clusterId, lastIndex, lastTerm }, store, timeMs, clusterVersion }: Loaded,
  id: NodeId,
): Promise<string> {
  const restored = await restoreDirectory(
    new DenoDisk(made),
    {
      store,
      digest: crypto.randomUUID(),
      meta: {
        ...{ clusterId, group: DEFAULT_GROUP, index: lastIndex, term: lastTerm, timeMs },
        ...{ clusterVersion, members: [id] },
        ...{ machineVersion: store.version, stateHash: store.stateHash() },
      },
    },
    { id, members: membersOf({ id, single: true }), revisionRaise: RESTORE_REVISION_RAISE },
  );
  return restored.clusterId;
}

/** Removes what an earlier attempt has made, if no node was ever started there. */
function removeUnused(made: string): void {
  if (!exists(made)) return;
  if (!isRestoredOnly(new DenoDisk(made))) {
    throw new ForceNewClusterError(`there is ${made} already; move it away first`);
  }
  Deno.removeSync(made, { recursive: true });
}

/** Renames a directory beside itself, durably. */
function renameBeside(from: string, to: string): void {
  Deno.renameSync(from, to);
  new DenoDisk(directoryAbove(to)).syncDirectory("");
}

function exists(path: string): boolean {
  return new DenoDisk(path).exists("");
}

function load({ id, dataDir }: ForceOptions): Loaded {
  const disk = new DenoDisk(interruptedForce(dataDir)?.kept ?? dataDir);
  const facts = readDirectory(disk);
  if (facts === undefined) {
    throw new ForceNewClusterError(`${dataDir} is the data directory of no member`);
  }
  const { owner, latest, isLogLost } = facts;
  if (owner.nodeId !== id) {
    throw new ForceNewClusterError(`${dataDir} belongs to node ${owner.nodeId}, not to ${id}`);
  }
  if (isLogLost) {
    throw new ForceNewClusterError(
      "its log was lost, and it has not fetched all of it from the others; take the directory of " +
        "another member, or restore a backup",
    );
  }
  const founded = latest === undefined
    ? foundingConfig({ voters: owner.members })
    : placedConfigOf(latest).config;
  const { store, snapshot, log, lastTimeMs } = stateOf(disk, owner);
  const base = snapshot === undefined ? founded : configAfter(founded, configOf(snapshot.meta));
  const committed = snapshot?.index ?? 0;
  const configs = new ConfigHistory(recordFormat, { index: committed, config: base });
  for (const run of log.slice(log.base.index + 1, log.lastIndex)) configs.append(run);
  const { config } = configs.current;
  const survivor = {
    clusterId: owner.clusterId,
    members: config.members.map((member) => member.id),
    ...{ lastIndex: log.lastIndex, lastTerm: log.lastTerm, committed, keys: store.size },
  };
  return { survivor, store, timeMs: lastTimeMs, clusterVersion: config.clusterVersion };
}

/** The machine with every entry of the log applied, committed or not. */
function stateOf(
  disk: DenoDisk,
  { clusterId, nodeId }: DirectoryOwner,
): ReturnType<typeof recoverState> & { readonly store: KvStore; readonly lastTimeMs: number } {
  const store = new KvStore();
  const recovered = recoverState({
    group: DEFAULT_GROUP,
    machine: store,
    store: SnapshotStore.open(disk, { clusterId, onBroken: () => {} }),
    recovered: replay(disk, { clusterId, nodeId }).groups.get(DEFAULT_GROUP),
    onBroken: () => {},
  });
  const { log, snapshot } = recovered;
  let lastTimeMs = snapshot?.meta.timeMs ?? 0;
  for (const run of log.slice(store.lastApplied + 1, log.lastIndex)) {
    const { term } = run;
    forEachEntry(run, (index, timeMs, kind, payload) => {
      const requests = kind === "command" ? unpackRequests(payload) : [];
      store.apply({ index, term, timeMs, kind, requests });
      lastTimeMs = Math.max(lastTimeMs, timeMs);
    });
  }
  return { ...recovered, store, lastTimeMs };
}
