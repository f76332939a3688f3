/**
 * Files that are replaced whole or not at all.
 *
 * @module
 */
import type { Disk, DiskFile } from "./disk.ts";

/** What is written of a file before it takes the place of the one that it replaces. */
export const UNFINISHED_SUFFIX = ".new";

/**
 * Puts a file with these bytes in the place of what is there. After a crash either the old file or the
 * new one is there, whole. Once this has returned it is the new one.
 *
 * @throws {DiskError} If the disk fails; then either may be there, and beside it what was written.
 */
export function replaceFile(disk: Disk, path: string, bytes: Uint8Array): void {
  const fresh = `${path}${UNFINISHED_SUFFIX}`;
  withFile(disk, fresh, (file) => {
    file.truncate(0);
    file.append(bytes);
    file.sync();
  });
  disk.rename(fresh, path);
  disk.syncDirectory(path.slice(0, Math.max(0, path.lastIndexOf("/"))));
}

/** Opens a file for what `use` does with it. */
export function withFile(disk: Disk, path: string, use: (file: DiskFile) => void): void {
  const file = disk.open(path);
  try {
    use(file);
  } finally {
    file.close();
  }
}
