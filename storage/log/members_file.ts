/**
 * `members.json`: the newest configuration that was in force here. The log and the snapshots say it as
 * well. This file is for the member that has lost them: it must know whom it may have voted for, and
 * whom to ask.
 *
 * @module
 */
import type { StoredMembers } from "../../machines/group_config.ts";
import {
  type DirectoryFile,
  IdentityDamagedError,
  readFields,
  replaceFields,
} from "./directory_file.ts";
import type { Disk } from "./disk.ts";
import { MEMBERS_BYTES_MAX } from "./limits.ts";

/** Where it is. */
export const MEMBERS_FILE: DirectoryFile = {
  path: "members.json",
  formatVersion: 1,
  bytesMax: MEMBERS_BYTES_MAX,
};

/**
 * What was in force last; undefined if the members never were in the log.
 *
 * @throws {IdentityDamagedError} If it is damaged.
 * @throws {DiskError} If the disk fails.
 */
export function readMembers(disk: Disk): StoredMembers | undefined {
  if (!disk.exists(MEMBERS_FILE.path)) return undefined;
  const { members } = readFields(disk, MEMBERS_FILE);
  if (!isStoredMembers(members)) {
    throw new IdentityDamagedError(`${MEMBERS_FILE.path} does not say who the members are`);
  }
  return members;
}

/**
 * Durable when it returns.
 *
 * @throws {DiskError} If the disk fails.
 */
export function writeMembers(disk: Disk, members: StoredMembers): void {
  replaceFields(disk, MEMBERS_FILE, { members });
}

/** Whether it has the fields; what the configuration says is for its reader to check. */
export function isStoredMembers(value: unknown): value is StoredMembers {
  if (typeof value !== "object" || value === null) return false;
  const { index, clusterVersion, config } = value as Readonly<Record<string, unknown>>;
  return Number.isSafeInteger(index) && (index as number) >= 0 &&
    Number.isSafeInteger(clusterVersion) && typeof config === "object" && config !== null;
}
