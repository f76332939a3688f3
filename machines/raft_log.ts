/**
 * The log in memory (Fig. 2 "log[]"): record bytes in chunks, each chunk within one term.
 *
 * An entry costs one number beside its bytes, so a long log is a few large objects for the
 * garbage collector and not one object per entry.
 *
 * | operation | cost |
 * |---|---|
 * | append | O(bytes) copy |
 * | termAt, firstIndexOfTerm, lastIndexOfTerm | O(log chunks) |
 * | slice | O(entries returned), bytes are views |
 * | truncateAfter | O(chunks dropped + entries of one chunk) |
 * | compactUpTo, reset | O(chunks dropped + entries of one chunk) |
 *
 * @module
 */
import type { EntryRun, LogIndex, Term } from "./raft_types.ts";

/** Entries are copied into chunks of this size, each filled to its end; larger entries get their own. */
export const LOG_CHUNK_BYTES = 64 * 1024;

/** Where the log begins: the last entry that a snapshot replaced, or 0, 0. */
export interface LogBase {
  readonly index: LogIndex;
  readonly term: Term;
}

/** Invariant: `ends` is ascending, `used` is its last element, chunks are never empty. */
interface Chunk {
  readonly term: Term;
  readonly firstIndex: LogIndex;
  readonly ends: number[];
  readonly bytes: Uint8Array;
  used: number;
}

/**
 * Entries `base.index + 1` to `lastIndex`. Invariant (s5.3, log matching): indexes have no gap and
 * terms never decrease.
 */
export class RaftLog {
  #chunks: Chunk[] = [];
  #base: LogBase;
  #byteLength = 0;

  /** An empty log that begins after `base`. */
  constructor(base: LogBase = { index: 0, term: 0 }) {
    this.#base = base;
  }

  /** The entry before the first: what a snapshot covers. */
  get base(): LogBase {
    return this.#base;
  }

  /** Index of the last entry, or the base's. */
  get lastIndex(): LogIndex {
    const last = this.#chunks.at(-1);
    return last === undefined ? this.#base.index : lastIndexOf(last);
  }

  /** Term of the last entry, or the base's. */
  get lastTerm(): Term {
    return this.#chunks.at(-1)?.term ?? this.#base.term;
  }

  /** Record bytes held. */
  get byteLength(): number {
    return this.#byteLength;
  }

  /** The term of the entry at `index`, or of the base; undefined if the log does not hold it. */
  termAt(index: LogIndex): Term | undefined {
    if (index === this.#base.index) return this.#base.term;
    if (index > this.lastIndex || index < this.#base.index) return undefined;
    return this.#chunks[this.#chunkAt(index)]!.term;
  }

  /**
   * Appends entries at the end; the bytes are copied.
   *
   * @throws {RangeError} If the run does not start at lastIndex + 1 or its term is below lastTerm.
   */
  append(run: EntryRun): void {
    if (run.firstIndex !== this.lastIndex + 1 || run.term < this.lastTerm) {
      throw new RangeError(
        `Cannot append entries: run (index ${run.firstIndex}, term ${run.term}) does not follow ` +
          `(index ${this.lastIndex}, term ${this.lastTerm})`,
      );
    }
    this.#byteLength += run.bytes.length;
    const last = this.#chunks.at(-1);
    const rest = last?.term === run.term ? fill(last, run) : run;
    if (rest === undefined) return;
    const bytes = new Uint8Array(Math.max(LOG_CHUNK_BYTES, rest.bytes.length));
    const { term, firstIndex } = rest;
    const chunk: Chunk = { term, firstIndex, ends: [], bytes, used: 0 };
    this.#chunks.push(chunk);
    fill(chunk, rest);
  }

  /** Drops every entry after `index` (s5.3: "delete the existing entry and all that follow it"). */
  truncateAfter(index: LogIndex): void {
    while (this.#chunks.length > 0 && this.#chunks.at(-1)!.firstIndex > index) {
      this.#byteLength -= this.#chunks.pop()!.used;
    }
    const last = this.#chunks.at(-1);
    if (last === undefined || lastIndexOf(last) <= index) return;
    last.ends.length = index - last.firstIndex + 1;
    const used = last.ends.at(-1)!;
    this.#byteLength -= last.used - used;
    // A slice handed out earlier may still view the dropped bytes, so they are never overwritten:
    // the chunk is closed by replacing it with one of exactly its size.
    this.#chunks[this.#chunks.length - 1] = { ...last, bytes: last.bytes.subarray(0, used), used };
  }

  /** Drops every entry up to and including `index`, whose term becomes the base's (s7). */
  compactUpTo(index: LogIndex): void {
    const term = this.termAt(index);
    if (term === undefined) {
      throw new RangeError(`Cannot compact log: no entry at index ${index}`);
    }
    let keepFrom = 0;
    while (keepFrom < this.#chunks.length && lastIndexOf(this.#chunks[keepFrom]!) <= index) {
      this.#byteLength -= this.#chunks[keepFrom]!.used;
      keepFrom++;
    }
    this.#chunks = this.#chunks.slice(keepFrom);
    this.#base = { index, term };
    const first = this.#chunks[0];
    if (first === undefined || first.firstIndex > index) return;
    const kept = viewOf(first, index + 1, lastIndexOf(first));
    this.#byteLength -= first.used - kept.bytes.length;
    this.#chunks[0] = { ...kept, ends: [...kept.ends], used: kept.bytes.length };
  }

  /**
   * Entries `from` to `through` as views, at most `bytesMax` bytes of them but at least one entry.
   * Empty if there is none at `from`. `bytesMax` is above 0.
   */
  slice(from: LogIndex, through: LogIndex, bytesMax = Infinity): EntryRun[] {
    const runs: EntryRun[] = [];
    const last = Math.min(through, this.lastIndex);
    if (from > last || from <= this.#base.index) return runs;
    let left = bytesMax;
    for (let at = this.#chunkAt(from), index = from; index <= last && left > 0; at++) {
      const chunk = this.#chunks[at]!;
      let end = Math.min(last, lastIndexOf(chunk));
      const start = startOf(chunk, index);
      if (chunk.ends[end - chunk.firstIndex]! - start > left) {
        end = lastWithin(chunk, index, start + left);
        if (end < index) {
          if (runs.length > 0) break;
          end = index;
        }
        left = 0;
      }
      const run = viewOf(chunk, index, end);
      runs.push(run);
      left -= run.bytes.length;
      index = end + 1;
    }
    return runs;
  }

  /** Drops everything: the log begins after `base`, which a snapshot covers. */
  reset(base: LogBase): void {
    this.#chunks = [];
    this.#byteLength = 0;
    this.#base = base;
  }

  /** The highest index behind which there are at least `bytes` bytes of entries; else the base's. */
  indexBefore(bytes: number): LogIndex {
    let left = bytes;
    for (let at = this.#chunks.length - 1; at >= 0; at--) {
      const chunk = this.#chunks[at]!;
      if (chunk.used >= left) return lastWithin(chunk, chunk.firstIndex, chunk.used - left);
      left -= chunk.used;
    }
    return this.#base.index;
  }

  /** Record bytes of the entries after `index`; O(chunks after it). */
  bytesAfter(index: LogIndex): number {
    let bytes = 0;
    for (let at = this.#chunks.length - 1; at >= 0; at--) {
      const chunk = this.#chunks[at]!;
      if (lastIndexOf(chunk) <= index) break;
      bytes += chunk.used - (index < chunk.firstIndex ? 0 : startOf(chunk, index + 1));
    }
    return bytes;
  }

  /** The lowest index whose entry has `term`; undefined if the log holds none (fast backtracking, s5.3). */
  firstIndexOfTerm(term: Term): LogIndex | undefined {
    const chunk = this.#chunks[this.#firstChunkOfTerm(term)];
    return chunk?.term === term ? chunk.firstIndex : undefined;
  }

  /** The highest index whose entry has `term`; undefined if the log holds none. */
  lastIndexOfTerm(term: Term): LogIndex | undefined {
    const chunk = this.#chunks[this.#firstChunkOfTerm(term + 1) - 1];
    if (chunk === undefined) return this.#base.term === term ? this.#base.index : undefined;
    return chunk.term === term ? lastIndexOf(chunk) : undefined;
  }

  /** Position of the chunk that holds `index`, which must be in the log. */
  #chunkAt(index: LogIndex): number {
    let low = 0;
    let high = this.#chunks.length - 1;
    while (low < high) {
      const middle = (low + high + 1) >>> 1;
      if (this.#chunks[middle]!.firstIndex <= index) low = middle;
      else high = middle - 1;
    }
    return low;
  }

  /** Position of the first chunk whose term is at least `term`. */
  #firstChunkOfTerm(term: Term): number {
    let low = 0;
    let high = this.#chunks.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (this.#chunks[middle]!.term < term) low = middle + 1;
      else high = middle;
    }
    return low;
  }
}

/** Copies as many entries of a run as a chunk has room for; what is left of the run, if anything is. */
function fill(chunk: Chunk, run: EntryRun): EntryRun | undefined {
  const room = chunk.bytes.length - chunk.used;
  if (run.bytes.length <= room) {
    chunk.bytes.set(run.bytes, chunk.used);
    for (const end of run.ends) chunk.ends.push(chunk.used + end);
    chunk.used += run.bytes.length;
    return undefined;
  }
  const through = lastWithin(run, run.firstIndex, room);
  if (through < run.firstIndex) return run;
  const whole = { ...run, used: run.bytes.length };
  fill(chunk, viewOf(whole, run.firstIndex, through));
  return viewOf(whole, through + 1, lastIndexOf(run));
}

/** The part of a run from `from` on; the run itself if it starts there. */
export function runFrom(run: EntryRun, from: LogIndex): EntryRun {
  if (from <= run.firstIndex) return run;
  return viewOf({ ...run, used: run.bytes.length }, from, lastIndexOf(run));
}

/** Index of the last entry of a run. */
export function lastIndexOf(run: Pick<EntryRun, "firstIndex" | "ends">): LogIndex {
  return run.firstIndex + run.ends.length - 1;
}

function startOf(chunk: Pick<EntryRun, "firstIndex" | "ends">, index: LogIndex): number {
  return index === chunk.firstIndex ? 0 : chunk.ends[index - chunk.firstIndex - 1]!;
}

/** The last index of the chunk, from `from - 1` on, that ends at or before byte `limit`. */
function lastWithin(
  chunk: Pick<EntryRun, "firstIndex" | "ends">,
  from: LogIndex,
  limit: number,
): LogIndex {
  let low = from - chunk.firstIndex - 1;
  let high = chunk.ends.length - 1;
  while (low < high) {
    const middle = (low + high + 1) >>> 1;
    if (chunk.ends[middle]! <= limit) low = middle;
    else high = middle - 1;
  }
  return chunk.firstIndex + low;
}

function viewOf(
  chunk: EntryRun & { readonly used: number },
  from: LogIndex,
  through: LogIndex,
): EntryRun {
  const start = startOf(chunk, from);
  const ends = chunk.ends.slice(from - chunk.firstIndex, through - chunk.firstIndex + 1);
  if (start > 0) { for (let i = 0; i < ends.length; i++) ends[i] = ends[i]! - start; }
  return {
    term: chunk.term,
    firstIndex: from,
    ends,
    bytes: chunk.bytes.subarray(start, chunk.ends[through - chunk.firstIndex]!),
  };
}
