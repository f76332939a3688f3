/**
 * Opening a log whose last process was killed.
 *
 * @module
 */
import { WATERMARK_PATH } from "../../storage/log/watermark.ts";
import type { Disk } from "../../storage/log/disk.ts";
import { type OpenedWal, Wal, type WalOptions } from "../../storage/log/wal.ts";
import { MemoryDisk } from "../sim/memory_disk.ts";

/**
 * As `Wal.open`, by a process that comes after one that was killed and left no lock behind, and after a
 * loss of power that took what the watermark said: what the log's own marks tell, it must tell alone.
 */
export function openWal(disk: Disk, options: WalOptions): OpenedWal {
  if (disk instanceof MemoryDisk) {
    disk.dropLocks();
    disk.erase(WATERMARK_PATH);
  }
  return Wal.open(disk, options);
}
