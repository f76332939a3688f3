/**
 * The configurations that a member's log holds: the newest is in force from the moment at which it is
 * in the log, committed or not (thesis s4.1), and ceases to be when its entry is dropped.
 *
 * @module
 */
import {
  configAfter,
  type ConfigEntry,
  decodeConfig,
  type GroupConfig,
  type PlacedConfig,
} from "./group_config.ts";
import type { EntryRun, LogIndex, RecordFormat } from "./raft_types.ts";

/** The configurations of one log. */
export class ConfigHistory {
  readonly #records: Pick<RecordFormat, "configsIn">;
  /** Ascending by index, never empty. The first is in force where the log begins. */
  #placed: PlacedConfig[];

  /** `first` is in force before the log's first entry, or as of the snapshot that covers it. */
  constructor(records: Pick<RecordFormat, "configsIn">, first: PlacedConfig) {
    this.#records = records;
    this.#placed = [first];
  }

  /** What is in force. */
  get current(): PlacedConfig {
    return this.#placed.at(-1)!;
  }

  /** What was in force once the log ended at `index`. */
  at(index: LogIndex): GroupConfig {
    const found = this.#placed.findLast((placed) => placed.index <= index);
    return (found ?? this.#placed[0]!).config;
  }

  /** Entries were appended. */
  append(run: EntryRun): void {
    for (const { index, payload } of this.#records.configsIn(run)) {
      if (index <= this.#placed[0]!.index) continue;
      const entry = entryOf(payload);
      if (entry === undefined) continue;
      this.#placed.push({ index, config: configAfter(this.current.config, entry) });
    }
  }

  /** Entries after `index` were dropped. */
  truncateAfter(index: LogIndex): void {
    this.#placed = this.#placed.filter((placed, at) => at === 0 || placed.index <= index);
  }

  /** Nobody asks for earlier ones than that of `index` any more. */
  forgetBefore(index: LogIndex): void {
    const from = this.#placed.findLastIndex((placed) => placed.index <= index);
    if (from > 0) this.#placed = this.#placed.slice(from);
  }

  /**
   * A snapshot covers the log up to `index`, and says what was in force there; entries behind it stay
   * in force if they are kept.
   */
  reset(index: LogIndex, entry: ConfigEntry, { keepsRest }: { readonly keepsRest: boolean }): void {
    const first = { index, config: configAfter(this.at(index), entry) };
    const rest = keepsRest ? this.#placed.filter((placed) => placed.index > index) : [];
    this.#placed = [first, ...rest];
  }
}

/** Undefined if this build cannot read it: if it is ever committed, this member stops where it applies it. */
function entryOf(payload: Uint8Array): ConfigEntry | undefined {
  try {
    return decodeConfig(payload);
  } catch (error) {
    if (error instanceof RangeError) return undefined;
    throw error;
  }
}
