/**
 * The backups of one group that are being made: they are counted, and cut when the member stops.
 *
 * @module
 */
import { StateFile, type StateSource } from "./state_file.ts";

/** Counters of a group's backups, for metrics. */
export interface BackupCounters {
  /** Backups of which every byte was made. */
  whole: number;
  /** Backups that were given up before. */
  cut: number;
}

/** The backups of one group that are being made. */
export class Backups {
  readonly counters: BackupCounters = { whole: 0, cut: 0 };
  readonly #source: StateSource;
  readonly #running = new Set<StateFile>();

  /** Backs `source` up. */
  constructor(source: StateSource) {
    this.#source = source;
  }

  /** How many are being made. */
  get running(): number {
    return this.#running.size;
  }

  /** As {@linkcode StateFile.freeze}. */
  begin(): StateFile | undefined {
    const backup = StateFile.freeze(this.#source, (isWhole) => {
      this.#running.delete(backup!);
      if (isWhole) this.counters.whole++;
      else this.counters.cut++;
    });
    if (backup !== undefined) this.#running.add(backup);
    return backup;
  }

  /** Cuts those that are being made: the member stops. */
  stop(): void {
    for (const backup of this.#running) backup.return();
  }
}
