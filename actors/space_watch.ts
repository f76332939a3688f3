/**
 * Looks how much space the disk has left, so that clients are refused before the log cannot grow: what
 * is under way still finds room, and so do votes and terms. And whether the directory is still there: a
 * log that somebody has removed takes writes as before, and they are gone when the process ends.
 *
 * @module
 */
import type { SpaceCondition } from "../machines/raft_core.ts";
import { DiskError } from "../storage/log/disk.ts";
import { SPACE_CHECK_MS, SPACE_ENOUGH_SHARE } from "./limits.ts";
import type { Ports, TimerHandle } from "./runtime/ports.ts";

/** What the watch needs. */
export interface SpaceWatchOptions {
  readonly ports: Ports;
  /** Bytes that may still be written; undefined where nobody can tell. */
  readonly freeBytes: () => number | undefined;
  /** Less is too little. */
  readonly minFreeBytes: number;
  /** Whether the directory is still where it was. */
  readonly isThere: () => boolean;
  /** Called once it is not: what is written from now on would be lost with the process. */
  readonly onGone: () => void;
  /** Called with every change. */
  readonly onChange: (condition: SpaceCondition, freeBytes: number | undefined) => void;
}

/** Watches one disk, from construction until it is stopped. */
export class SpaceWatch {
  readonly #options: SpaceWatchOptions;
  #timer: TimerHandle | undefined;
  #isFull = false;
  #isLow = false;
  #freeBytes: number | undefined;
  #condition: SpaceCondition = "SpaceEnough";

  /** Looks for the first time when it is told to start. */
  constructor(options: SpaceWatchOptions) {
    this.#options = options;
  }

  /** Bytes that were free when it looked last. */
  get freeBytes(): number | undefined {
    return this.#freeBytes;
  }

  /** Looks now, and again and again. */
  start(): void {
    this.#look();
    this.#timer = this.#options.ports.timers.set(SPACE_CHECK_MS, () => this.start());
  }

  /** Looks no more. */
  stop(): void {
    if (this.#timer !== undefined) this.#options.ports.timers.clear(this.#timer);
  }

  /** The log had no room for something, or has written it. */
  noteFull(isFull: boolean): void {
    this.#isFull = isFull;
    this.#look();
  }

  #look(): void {
    const { freeBytes, minFreeBytes, isThere, onGone } = this.#options;
    if (!isThere()) return onGone();
    try {
      this.#freeBytes = freeBytes();
    } catch (error) {
      // A file system that cannot say how much is free may still take what is written.
      if (!(error instanceof DiskError)) throw error;
      this.#freeBytes = undefined;
    }
    const free = this.#freeBytes ?? Infinity;
    // Hysteresis: a node that refuses takes requests again only once there is a good deal more.
    this.#isLow = free < (this.#isLow ? SPACE_ENOUGH_SHARE * minFreeBytes : minFreeBytes);
    const condition = this.#isFull ? "SpaceNone" : this.#isLow ? "SpaceLow" : "SpaceEnough";
    if (condition === this.#condition) return;
    this.#condition = condition;
    this.#options.onChange(condition, this.#freeBytes);
  }
}
