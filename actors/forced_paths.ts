/**
 * Where `--force-new-cluster` keeps the old directory, and makes the new one; and whether it was
 * interrupted between the two renames that put the one in the place of the other.
 *
 * @module
 */
import { readDirectory } from "../storage/log/data_directory.ts";
import { DenoDisk } from "../storage/log/deno_disk.ts";
import { DiskError } from "../storage/log/disk.ts";

/** Stands before the old cluster's id in the name of what is being made. */
const MADE = ".new-cluster-of-";
/** And in that of what is kept. */
const KEPT = ".was-";

/** The directory cannot become a cluster of its own. */
export class ForceNewClusterError extends Error {
  /** Its class's name. */
  override readonly name = "ForceNewClusterError";

  /** See the class. */
  constructor(reason: string) {
    super(`Cannot force a new cluster: ${reason}`);
  }
}

/** A start found what an interrupted `--force-new-cluster` has left. */
export class ForceInterruptedError extends Error {
  /** Its class's name. */
  override readonly name = "ForceInterruptedError";

  /** See the class. */
  constructor({ path, made, kept }: ForcedPaths) {
    super(
      `Cannot use ${path}: --force-new-cluster was interrupted. Run it once more with ` +
        `--force-new-cluster --yes to finish it; or, to go back, remove ${made} and rename ${kept} ` +
        `to ${path}`,
    );
  }
}

/** The directories that take part. */
export interface ForcedPaths {
  /** The member's data directory. */
  readonly path: string;
  /** Where the new one is made. */
  readonly made: string;
  /** Where the old one is kept. */
  readonly kept: string;
}

/** The directories, for a member of this cluster. */
export function forcedPaths(dataDir: string, clusterId: string): ForcedPaths {
  const path = dataDir.replace(/\/+$/, "");
  return { path, made: `${path}${MADE}${clusterId}`, kept: `${path}${KEPT}${clusterId}` };
}

/**
 * What was interrupted: the old directory was put away, the new one is whole, and not in its place yet.
 *
 * @throws {DiskError} If the disk fails.
 * @throws {IdentityDamagedError} If it cannot be told whose they are.
 */
export function interruptedForce(dataDir: string): ForcedPaths | undefined {
  const disk = new DenoDisk(dataDir);
  if (disk.exists("") && disk.list("").length > 0) return undefined;
  return namesBeside(dataDir, MADE)
    .map((clusterId) => forcedPaths(dataDir, clusterId))
    .find(({ made, kept }) => isDirectoryOfMember(made) && isDirectoryOfMember(kept));
}

/** Where old directories of this member are kept. */
export function keptBefore(dataDir: string): string[] {
  return namesBeside(dataDir, KEPT).map((clusterId) => forcedPaths(dataDir, clusterId).kept);
}

/**
 * What follows `mark` in the names beside a directory that begin with its own name and `mark`. A directory
 * above that may not be listed, or is none, must keep no node from its start.
 */
function namesBeside(dataDir: string, mark: string): string[] {
  const { path } = forcedPaths(dataDir, "");
  const above = directoryAbove(path);
  // A program that was not given this permission must not be asked for it.
  if (Deno.permissions.querySync({ name: "read", path: above }).state !== "granted") return [];
  const prefix = `${path.slice(path.lastIndexOf("/") + 1)}${mark}`;
  try {
    return new DenoDisk(above).list("").filter((name) => name.startsWith(prefix))
      .map((name) => name.slice(prefix.length));
  } catch (error) {
    if (error instanceof DiskError) return [];
    throw error;
  }
}

/** The directory that a path's last name is in. */
export function directoryAbove(path: string): string {
  const slash = path.lastIndexOf("/");
  return slash < 0 ? "." : path.slice(0, slash) || "/";
}

function isDirectoryOfMember(path: string): boolean {
  return readDirectory(new DenoDisk(path)) !== undefined;
}
