/**
 * Opening a log whose last process was killed.
 *
 * @module
 */
import type { Disk } from "../../storage/log/disk.ts";
import { type OpenedWal, Wal, type WalOptions } from "../../storage/log/wal.ts";
import { MemoryDisk } from "../sim/memory_disk.ts";

/** As `Wal.open`, by a process that comes after one that was killed and left no lock behind. */
export function openWal(disk: Disk, options: WalOptions): OpenedWal {
  if (disk instanceof MemoryDisk) disk.dropLocks();
  return Wal.open(disk, options);
}
