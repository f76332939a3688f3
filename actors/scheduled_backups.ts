/**
 * Backups that a member makes by itself, again and again: of its own state, which may lag behind the
 * leader's, into a directory beside the data. The oldest make room for the newest.
 *
 * A backup that fails stops nothing: it is a warning, a count, and another try a minute later. When the
 * next one is due, the names of the files tell, so that a member that is often started again neither
 * fills the directory nor never comes to it.
 *
 * @module
 */
import { type Disk, DiskError, type DiskFile } from "../storage/log/disk.ts";
import { SNAPSHOT_SYNC_BYTES } from "../storage/log/limits.ts";
import { openSnapshot, SnapshotError } from "../storage/log/snapshot_file.ts";
import type { Backups } from "./backups.ts";
import { BACKUP_RETRY_MS, SNAPSHOT_SLICE_BYTES } from "./limits.ts";
import type { Log, Ports, TimerHandle } from "./runtime/ports.ts";
import type { StateFile } from "./state_file.ts";

/** When and where to. */
export interface BackupSchedule {
  readonly everyMs: number;
  /** So many are kept. */
  readonly keep: number;
  /** The directory of the backups; made with the first one. */
  readonly disk: Disk;
  /** Milliseconds since 1970: a file's name says when it was made. */
  readonly wallMs: () => number;
}

/** What the scheduled backups need. */
export interface ScheduledBackupsOptions extends BackupSchedule {
  readonly backups: Pick<Backups, "begin">;
  /** Begins the files' names: 1 to 64 of `[a-z0-9-]`, and no other member's. */
  readonly owner: string;
  /** Store revision. */
  readonly revision: () => number;
  readonly ports: Ports;
  readonly log: Log;
}

/** Counters, for metrics. */
export interface ScheduledCounters {
  taken: number;
  failed: number;
  /** When the newest was made, in milliseconds since 1970; 0 if none was. */
  newestMs: number;
}

/** A backup that is there. */
interface StoredBackup {
  readonly file: string;
  readonly wallMs: number;
}

const REVISION_DIGITS = 16;
const UNFINISHED = ".new";
const NAME_END = /^(\d{16})-(\d{4})(\d{2})(\d{2})t(\d{2})(\d{2})(\d{2})z\.backup$/;

/** Makes backups from `start` until `stop`. */
export class ScheduledBackups {
  readonly counters: ScheduledCounters = { taken: 0, failed: 0, newestMs: 0 };
  readonly #options: ScheduledBackupsOptions;
  #timer: TimerHandle | undefined;
  #running: Promise<void> | undefined;
  #isStopped = false;

  /** Nothing happens before `start`. */
  constructor(options: ScheduledBackupsOptions) {
    this.#options = options;
  }

  /** The first is due so long after the newest that is there, or soon if there is none. */
  start(): void {
    this.#wait(Math.max(1, this.#dueInMs()));
  }

  /** Gives up the one that is being made; resolves once nothing of it is left. */
  async stop(): Promise<void> {
    this.#isStopped = true;
    if (this.#timer !== undefined) this.#options.ports.timers.clear(this.#timer);
    await this.#running;
  }

  #wait(ms: number): void {
    this.#timer = this.#options.ports.timers.set(ms, () => {
      this.#running = this.#make().then((nextMs) => {
        this.#running = undefined;
        if (!this.#isStopped) this.#wait(nextMs);
      });
    });
  }

  #dueInMs(): number {
    const { everyMs, wallMs, log } = this.#options;
    try {
      const stored = this.#stored();
      if (stored.length === 0) return 0;
      const newestMs = Math.max(...stored.map((backup) => backup.wallMs));
      this.counters.newestMs = newestMs;
      // A clock that was set back must not put it off for long.
      return Math.min(everyMs, newestMs + everyMs - wallMs());
    } catch (error) {
      log("warn", "backup-failed", { error: (error as Error).message });
      return BACKUP_RETRY_MS;
    }
  }

  /** Makes one; returns after how long the next one is due. */
  async #make(): Promise<number> {
    const { backups, everyMs, log, revision: revisionNow } = this.#options;
    const retryMs = Math.min(everyMs, BACKUP_RETRY_MS);
    const revision = revisionNow();
    const backup = backups.begin();
    // Neither is a failure: a member that has just been started, or that takes a snapshot over.
    if (backup === undefined) return retryMs;
    if (backup.meta.index === 0) {
      backup.return();
      return retryMs;
    }
    try {
      const { file, bytes } = await this.#write(backup, revision);
      this.counters.taken++;
      log("info", "backup-made", { file, revision, bytes });
      return everyMs;
    } catch (error) {
      if (this.#isStopped) return everyMs;
      this.counters.failed++;
      log("warn", "backup-failed", { error: (error as Error).message });
      return retryMs;
    } finally {
      backup.return();
    }
  }

  async #write(
    backup: StateFile,
    revision: number,
  ): Promise<{ readonly file: string; readonly bytes: number }> {
    const { disk, wallMs } = this.#options;
    const madeMs = wallMs();
    const file = this.#nameOf(revision, madeMs);
    const fresh = file + UNFINISHED;
    disk.makeDirectory("");
    for (const name of disk.list("")) if (this.#isUnfinished(name)) this.#removeIfThere(name);
    try {
      const bytes = await this.#writeAll(backup, fresh);
      await this.#check(fresh, bytes, backup.digest);
      disk.rename(fresh, file);
      await synced((done) => disk.syncDirectoryData("", done));
      this.counters.newestMs = madeMs;
      this.#removeOld();
      return { file, bytes };
    } catch (error) {
      this.#removeIfThere(fresh);
      throw error;
    }
  }

  /** Writes a slice a turn. Each part is synced by itself, so that no long sync holds up the log's. */
  async #writeAll(backup: StateFile, path: string): Promise<number> {
    const file = this.#options.disk.open(path);
    try {
      file.truncate(0);
      let unsynced = 0;
      for (let piece = backup.next(); piece.done !== true; piece = backup.next()) {
        file.append(piece.value);
        unsynced += piece.value.length;
        if (unsynced >= SNAPSHOT_SYNC_BYTES) {
          await syncedData(file);
          unsynced = 0;
        } else await this.#turn();
      }
      await syncedData(file);
      return file.size;
    } finally {
      file.close();
    }
  }

  /** Reads it back whole, a slice a turn. */
  async #check(path: string, size: number, digest: string): Promise<void> {
    const { disk } = this.#options;
    const read = (offset: number, length: number): Uint8Array => disk.read(path, offset, length);
    const reader = openSnapshot(path, { read, size });
    if (reader.digest !== digest) throw new SnapshotError(path, "it is not what was written");
    let bytes = 0;
    for (const chunk of reader.chunks()) {
      bytes += chunk.length;
      if (bytes < SNAPSHOT_SLICE_BYTES) continue;
      bytes = 0;
      await this.#turn();
    }
  }

  #removeOld(): void {
    const { disk, keep } = this.#options;
    for (const { file } of this.#stored().slice(0, -keep)) disk.remove(file);
  }

  /** This member's backups, oldest first: by revision, and then by time. */
  #stored(): StoredBackup[] {
    const { disk } = this.#options;
    return disk.exists("") ? disk.list("").flatMap((file) => this.#storedAs(file) ?? []) : [];
  }

  /** What the name of one of this member's backups says; undefined if it is none. */
  #storedAs(file: string): StoredBackup | undefined {
    const { owner } = this.#options;
    const match = file.startsWith(`${owner}-`) ? NAME_END.exec(file.slice(owner.length + 1)) : null;
    if (match === null) return undefined;
    const [year, month, day, hour, minute, second] = match.slice(2).map(Number);
    return { file, wallMs: Date.UTC(year!, month! - 1, day!, hour!, minute!, second!) };
  }

  /** What a crash has left of one. */
  #isUnfinished(name: string): boolean {
    return name.endsWith(UNFINISHED) &&
      this.#storedAs(name.slice(0, -UNFINISHED.length)) !== undefined;
  }

  /** What cannot be removed now is tried again before the next one. */
  #removeIfThere(file: string): void {
    const { disk } = this.#options;
    try {
      if (disk.exists(file)) disk.remove(file);
    } catch (error) {
      if (!(error instanceof DiskError)) throw error;
    }
  }

  #nameOf(revision: number, wallMs: number): string {
    const time = new Date(wallMs).toISOString().replace(/\.\d+Z$/, "z").replace(/[-:]/g, "");
    const digits = String(revision).padStart(REVISION_DIGITS, "0");
    return `${this.#options.owner}-${digits}-${time.toLowerCase()}.backup`;
  }

  /** Lets other work of the event loop go first. */
  async #turn(): Promise<void> {
    const { scheduler } = this.#options.ports;
    await new Promise<void>((resolve) => scheduler.soon(resolve));
    if (this.#isStopped) throw new Error("the member stops");
  }
}

function syncedData(file: DiskFile): Promise<void> {
  return synced((done) => file.syncData(done));
}

function synced(sync: (done: (error: Error | undefined) => void) => void): Promise<void> {
  return new Promise((resolve, reject) =>
    sync((error) => error === undefined ? resolve() : reject(error))
  );
}
