/**
 * Watches on a store: each change is handed to those who watch its key, in the order of revisions, every one
 * once. A watcher that does not keep up reads the log of changes later, or is cut off, and slows nobody.
 *
 * What is applied is committed, so a follower serves watches as well as a leader; it may be a little
 * behind.
 *
 * @module
 */
import { changeBytes, ChangeLog } from "../storage/kv/change_log.ts";
import type { KvChange } from "../storage/kv/key_space.ts";
import type { KeyInterval } from "../storage/kv/operations/interval.ts";
import type { WatchNews, WatchSource } from "../transport/http/gateway_port.ts";
import { WATCH_UNREAD_BYTES_MAX, WATCHES_MAX } from "./limits.ts";

/** Counters, for metrics. */
export interface WatchCounters {
  /** Changes that were handed to watchers. */
  delivered: number;
  /** Watches that were refused since there were WATCHES_MAX. */
  refused: number;
}

/**
 * One watcher. As long as it keeps up it has a short queue of its own; else it reads from the log of changes,
 * page by page, until it has caught up, or the log does not have them any more.
 */
export class Watch implements WatchSource {
  readonly #interval: KeyInterval;
  readonly #log: ChangeLog;
  readonly #onEnd: (watch: Watch) => void;
  /** Whether the log had all that it wanted when it began. */
  readonly #beganInTime: boolean;
  /** Changes that nobody has read; undefined while it reads from the log. */
  #unread: KvChange[] | undefined;
  #unreadBytes = 0;
  /** Where it reads from the log. */
  #next: number;
  /** What it is told last; nothing comes after that. */
  #last: WatchNews | undefined;
  #isOver = false;
  #wake: (() => void) | undefined;

  /** `from`: it has been told of all changes before that revision. */
  constructor(
    { interval, from, log, onEnd }: {
      readonly interval: KeyInterval;
      readonly from: number;
      readonly log: ChangeLog;
      readonly onEnd: (watch: Watch) => void;
    },
  ) {
    this.#interval = interval;
    this.#next = from;
    this.#log = log;
    // Who begins with what is new is behind nothing.
    this.#unread = from > log.revision ? [] : undefined;
    this.#beganInTime = from >= log.firstRevision;
    this.#onEnd = onEnd;
  }

  /** The only key that it is about; undefined if it is about more. */
  get key(): string | undefined {
    const { start, end } = this.#interval;
    return end === `${start}\0` ? start : undefined;
  }

  /** Revision from which it would go on: it has been told of all changes before. */
  get from(): number {
    const unread = this.#unread;
    if (unread === undefined) return this.#next;
    return unread[0]?.revision ?? Math.max(this.#next, this.#log.revision + 1);
  }

  /** Whether a key is among those that it watches. */
  covers(key: string): boolean {
    const { start, end } = this.#interval;
    return key >= start && (end === undefined || key < end);
  }

  /**
   * What is new; undefined if nothing is, and then `onNews` is called once when something is. Nothing is
   * lost if the watch ends while a page of the log without a change of its keys is read: it reads on.
   */
  take(onNews: () => void): WatchNews | undefined {
    if (this.#isOver) return undefined;
    const changes = this.#unread === undefined ? this.#readOn() : this.#takeUnread();
    if (changes.length > 0) return { type: "changes", changes };
    if (this.#last !== undefined) {
      const last = this.#last;
      this.end();
      // It may have been told of more since that was said.
      return last.type === "ended" ? { ...last, from: Math.max(last.from, this.#next) } : last;
    }
    this.#wake = onNews;
    return undefined;
  }

  /** Nobody reads it any more. Idempotent. */
  end(): void {
    if (this.#isOver) return;
    this.#isOver = true;
    this.#unread = undefined;
    this.#wake = undefined;
    this.#onEnd(this);
  }

  /** A change of a key that it covers. */
  hand(change: KvChange): void {
    const unread = this.#unread;
    // What comes after the last thing that it is told would leave a gap.
    if (this.#last !== undefined) return;
    if (unread === undefined || change.revision < this.#next) return;
    unread.push(change);
    this.#unreadBytes += changeBytes(change);
    if (this.#unreadBytes <= WATCH_UNREAD_BYTES_MAX) return;
    this.#next = unread[0]!.revision;
    this.#unread = undefined;
    this.#unreadBytes = 0;
  }

  /** Wakes the reader, if there is news for it. */
  wake(): void {
    const wake = this.#wake;
    this.#wake = undefined;
    wake?.();
  }

  /** Tells it one last thing. */
  finish(last: WatchNews): void {
    if (this.#isOver || this.#last !== undefined) return;
    this.#last = last;
    this.wake();
  }

  #takeUnread(): readonly KvChange[] {
    const unread = this.#unread!;
    if (unread.length === 0) return unread;
    this.#next = unread.at(-1)!.revision + 1;
    this.#unread = [];
    this.#unreadBytes = 0;
    return unread;
  }

  /** The next changes of its keys that the log has; none once it has caught up, or cannot any more. */
  #readOn(): readonly KvChange[] {
    for (;;) {
      if (this.#last !== undefined) return [];
      const page = this.#log.page(this.#next, WATCH_UNREAD_BYTES_MAX);
      if (page === undefined) {
        const { firstRevision } = this.#log;
        this.finish(
          this.#beganInTime
            ? { type: "lagged", from: this.#next, firstRevision }
            : { type: "compacted", firstRevision },
        );
        return [];
      }
      const last = page.at(-1);
      if (last === undefined) {
        this.#unread = [];
        return [];
      }
      this.#next = last.revision + 1;
      const mine = page.filter(({ key }) => this.covers(key));
      if (mine.length > 0) return mine;
    }
  }
}

/** All watchers of one group on this node. */
export class WatchHub {
  readonly counters: WatchCounters = { delivered: 0, refused: 0 };
  readonly #log: ChangeLog;
  readonly #ofKey = new Map<string, Set<Watch>>();
  readonly #ofRange = new Set<Watch>();
  #size = 0;
  #isOver = false;

  /** Begins at the revision of the store. */
  constructor(revision: number, logBytesMax?: number) {
    this.#log = new ChangeLog(revision, logBytesMax);
  }

  /** How many watchers there are. */
  get size(): number {
    return this.#size;
  }

  /** Revision of the newest change. */
  get revision(): number {
    return this.#log.revision;
  }

  /** Bytes of the changes that are kept. */
  get logBytes(): number {
    return this.#log.bytes;
  }

  /**
   * Watches the keys of an interval: from a revision on, or what is new from now on. Undefined if there are
   * WATCHES_MAX watchers.
   */
  watch(interval: KeyInterval, from?: number): Watch | undefined {
    if (this.#size >= WATCHES_MAX) {
      this.counters.refused++;
      return undefined;
    }
    const watch = new Watch({
      interval,
      from: from ?? this.#log.revision + 1,
      log: this.#log,
      onEnd: (ended) => this.#remove(ended),
    });
    this.#add(watch);
    if (this.#isOver) watch.finish({ type: "ended", from: watch.from });
    return watch;
  }

  /** The store has changed. */
  changed(changes: readonly KvChange[]): void {
    if (changes.length === 0) return;
    this.#log.add(changes);
    if (this.#size === 0) return;
    const woken = new Set<Watch>();
    const hand = (watch: Watch, change: KvChange): void => {
      watch.hand(change);
      woken.add(watch);
      this.counters.delivered++;
    };
    for (const change of changes) {
      for (const watch of this.#ofKey.get(change.key) ?? []) hand(watch, change);
      for (const watch of this.#ofRange) if (watch.covers(change.key)) hand(watch, change);
    }
    // Not before all is there: what one entry changed is read together.
    for (const watch of woken) watch.wake();
  }

  /** The store has loaded another state: what led there is not known. */
  reset(revision: number): void {
    // Before the log forgets: what a watcher has not been told is not known any more.
    const all = this.#all().map((watch): [Watch, number] => [watch, watch.from]);
    this.#log.reset(revision);
    for (const [watch, from] of all) watch.finish({ type: "ended", from });
  }

  /** The node stops: every watch ends, and so does each that is asked for later. */
  end(): void {
    this.#isOver = true;
    for (const watch of this.#all()) watch.finish({ type: "ended", from: watch.from });
  }

  #all(): Watch[] {
    return [...this.#ofRange, ...[...this.#ofKey.values()].flatMap((watches) => [...watches])];
  }

  #add(watch: Watch): void {
    this.#size++;
    const { key } = watch;
    if (key === undefined) return void this.#ofRange.add(watch);
    const others = this.#ofKey.get(key);
    if (others === undefined) this.#ofKey.set(key, new Set([watch]));
    else others.add(watch);
  }

  #remove(watch: Watch): void {
    this.#size--;
    const { key } = watch;
    if (key === undefined) return void this.#ofRange.delete(watch);
    const others = this.#ofKey.get(key);
    others?.delete(watch);
    if (others?.size === 0) this.#ofKey.delete(key);
  }
}
