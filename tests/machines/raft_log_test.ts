/**
 * The log in memory against a plain array: every operation gives what the array gives, and what was
 * handed out earlier never changes.
 *
 * @module
 */
import { assert, assertEquals, assertThrows } from "@std/assert";
import fc from "fast-check";
import { lastIndexOf, LOG_CHUNK_BYTES, RaftLog, runFrom } from "../../machines/raft_log.ts";
import type { EntryRun, LogIndex, Term } from "../../machines/raft_types.ts";

interface Entry {
  readonly term: Term;
  readonly bytes: Uint8Array;
}

/** What the log should hold: `entries[0]` is the entry after `base`. */
interface Model {
  base: { index: LogIndex; term: Term };
  entries: Entry[];
}

const lastIndex = (model: Model): LogIndex => model.base.index + model.entries.length;
const lastTerm = (model: Model): Term => model.entries.at(-1)?.term ?? model.base.term;

function termAt(model: Model, index: LogIndex): Term | undefined {
  if (index === model.base.index) return model.base.term;
  return model.entries[index - model.base.index - 1]?.term;
}

/** Bytes that no other entry has, so that mixing two up is seen. */
let stamp = 0;
function entryBytes(size: number): Uint8Array {
  stamp++;
  return Uint8Array.from({ length: size }, (_, at) => (stamp * 31 + at * 7) & 0xff);
}

function runOf(term: Term, firstIndex: LogIndex, payloads: readonly Uint8Array[]): EntryRun {
  const bytes = new Uint8Array(payloads.reduce((sum, { length }) => sum + length, 0));
  const ends: number[] = [];
  let end = 0;
  for (const payload of payloads) {
    bytes.set(payload, end);
    ends.push(end += payload.length);
  }
  return { term, firstIndex, ends, bytes };
}

/** A run's entries one by one, its invariants checked. */
function entriesOf(run: EntryRun): Entry[] {
  assert(run.ends.length > 0, "a run is never empty");
  assertEquals(run.ends.at(-1), run.bytes.length);
  return run.ends.map((end, at) => {
    const start = at === 0 ? 0 : run.ends[at - 1]!;
    assert(end > start, "ends ascend strictly");
    return { term: run.term, bytes: run.bytes.subarray(start, end) };
  });
}

function textOf(entries: readonly Entry[]): string {
  return entries.map(({ term, bytes }) => `${term}:${bytes.join(",")}`).join(" ");
}

/** What slice should give: as many entries as fit, but one at least. */
function sliceOf(model: Model, from: LogIndex, through: LogIndex, bytesMax: number): Entry[] {
  const first = from - model.base.index - 1;
  if (first < 0) return [];
  const all = model.entries.slice(first, Math.max(first, through - model.base.index));
  const taken: Entry[] = [];
  let bytes = 0;
  for (const entry of all) {
    if (taken.length > 0 && bytes + entry.bytes.length > bytesMax) break;
    taken.push(entry);
    bytes += entry.bytes.length;
    if (bytes >= bytesMax) break;
  }
  return taken;
}

const sizes = fc.oneof(
  { weight: 20, arbitrary: fc.integer({ min: 1, max: 40 }) },
  { weight: 1, arbitrary: fc.constantFrom(LOG_CHUNK_BYTES - 1, LOG_CHUNK_BYTES + 1) },
);

type Operation =
  | { readonly type: "append"; readonly termStep: number; readonly sizes: readonly number[] }
  | { readonly type: "truncate"; readonly at: number }
  | { readonly type: "compact"; readonly at: number }
  | { readonly type: "slice"; readonly from: number; readonly count: number; readonly max: number };

const operation: fc.Arbitrary<Operation> = fc.oneof(
  {
    weight: 4,
    arbitrary: fc.record({
      type: fc.constant("append" as const),
      termStep: fc.constantFrom(0, 0, 0, 1, 2),
      sizes: fc.array(sizes, { minLength: 1, maxLength: 5 }),
    }),
  },
  {
    weight: 2,
    arbitrary: fc.record({ type: fc.constant("truncate" as const), at: fc.nat(30) }),
  },
  { weight: 1, arbitrary: fc.record({ type: fc.constant("compact" as const), at: fc.nat(5) }) },
  {
    weight: 4,
    arbitrary: fc.record({
      type: fc.constant("slice" as const),
      from: fc.nat(40),
      count: fc.nat(10),
      max: fc.integer({ min: 1, max: 120 }),
    }),
  },
);

function assertAlike(log: RaftLog, model: Model): void {
  assertEquals(log.base, model.base);
  assertEquals(log.lastIndex, lastIndex(model));
  assertEquals(log.lastTerm, lastTerm(model));
  assertEquals(log.byteLength, model.entries.reduce((sum, { bytes }) => sum + bytes.length, 0));
  for (let index = model.base.index - 2; index <= lastIndex(model) + 2; index++) {
    assertEquals(log.termAt(index), termAt(model, index), `term at ${index}`);
    const after = model.entries.slice(Math.max(0, index - model.base.index));
    const bytes = after.reduce((sum, entry) => sum + entry.bytes.length, 0);
    assertEquals(log.bytesAfter(index), bytes, `bytes after ${index}`);
  }
  for (let term = 0; term <= lastTerm(model) + 1; term++) {
    const first = model.entries.findIndex((entry) => entry.term === term);
    const last = model.entries.findLastIndex((entry) => entry.term === term);
    const expectedLast = last >= 0
      ? model.base.index + 1 + last
      : term === model.base.term
      ? model.base.index
      : undefined;
    assertEquals(
      log.firstIndexOfTerm(term),
      first < 0 ? undefined : model.base.index + 1 + first,
      `first of term ${term}`,
    );
    assertEquals(log.lastIndexOfTerm(term), expectedLast, `last of term ${term}`);
  }
}

Deno.test("raft_log: does what a plain array does, and keeps what it handed out", () => {
  fc.assert(
    fc.property(fc.array(operation, { maxLength: 30 }), (operations) => {
      const log = new RaftLog();
      const model: Model = { base: { index: 0, term: 0 }, entries: [] };
      const handedOut: { readonly runs: readonly EntryRun[]; readonly text: string }[] = [];
      for (const step of operations) {
        if (step.type === "append") {
          const term = Math.max(1, lastTerm(model) + step.termStep);
          const payloads = step.sizes.map(entryBytes);
          const run = runOf(term, lastIndex(model) + 1, payloads);
          log.append(run);
          // The log has copied: what happens to the caller's bytes is none of its business.
          run.bytes.fill(0xee);
          model.entries.push(...payloads.map((bytes) => ({ term, bytes })));
        } else if (step.type === "truncate") {
          const index = model.base.index + step.at;
          log.truncateAfter(index);
          model.entries.length = Math.min(model.entries.length, step.at);
        } else if (step.type === "compact") {
          const at = Math.min(step.at, model.entries.length);
          const index = model.base.index + at;
          const term = termAt(model, index)!;
          log.compactUpTo(index);
          model.base = { index, term };
          model.entries.splice(0, at);
        } else {
          const from = model.base.index + step.from - 1;
          const through = from + step.count;
          const expected = textOf(sliceOf(model, from, through, step.max));
          const runs = log.slice(from, through, step.max);
          assertEquals(textOf(runs.flatMap(entriesOf)), expected, `slice ${from} to ${through}`);
          runs.forEach((run, at) =>
            assertEquals(run.firstIndex, at === 0 ? from : lastIndexOf(runs[at - 1]!) + 1)
          );
          handedOut.push({ runs, text: expected });
        }
        assertAlike(log, model);
        for (const { runs, text } of handedOut) {
          assertEquals(textOf(runs.flatMap(entriesOf)), text, "a view has changed");
        }
      }
    }),
    { numRuns: 250 },
  );
});

Deno.test("raft_log: a run that does not follow is refused, and nothing changes", () => {
  const log = new RaftLog();
  log.append(runOf(3, 1, [entryBytes(4), entryBytes(4)]));
  for (
    const run of [
      runOf(3, 2, [entryBytes(1)]),
      runOf(3, 4, [entryBytes(1)]),
      runOf(2, 3, [entryBytes(1)]),
    ]
  ) assertThrows(() => log.append(run), RangeError, "Cannot append entries");
  assertEquals([log.lastIndex, log.lastTerm, log.byteLength], [2, 3, 8]);
});

Deno.test("raft_log: compacting beyond the end, or below the base, is refused", () => {
  const log = new RaftLog({ index: 10, term: 2 });
  log.append(runOf(2, 11, [entryBytes(3)]));
  assertThrows(() => log.compactUpTo(12), RangeError, "Cannot compact log");
  assertThrows(() => log.compactUpTo(9), RangeError, "Cannot compact log");
  log.compactUpTo(10);
  assertEquals([log.base.index, log.lastIndex], [10, 11]);
});

Deno.test("raft_log: truncating below the base leaves the base", () => {
  const log = new RaftLog({ index: 10, term: 2 });
  log.append(runOf(3, 11, [entryBytes(3)]));
  log.truncateAfter(4);
  assertEquals([log.lastIndex, log.lastTerm, log.byteLength], [10, 2, 0]);
});

Deno.test("raft_log: an entry larger than a chunk, and than the slice, still goes, alone", () => {
  const log = new RaftLog();
  log.append(runOf(1, 1, [entryBytes(LOG_CHUNK_BYTES * 2)]));
  log.append(runOf(1, 2, [entryBytes(5)]));
  assertEquals(log.slice(1, 2, 10).map(({ ends }) => ends), [[LOG_CHUNK_BYTES * 2]]);
  assertEquals(log.slice(2, 2, 1).map(({ ends }) => ends), [[5]]);
});

Deno.test("raft_log: runFrom gives the entries from an index on, as the log would", () => {
  const payloads = [3, 1, 4, 1, 5].map(entryBytes);
  const run = runOf(2, 7, payloads);
  assertEquals(runFrom(run, 7), run);
  assertEquals(runFrom(run, 3), run);
  for (let from = 8; from <= 11; from++) {
    const rest = runFrom(run, from);
    assertEquals([rest.firstIndex, lastIndexOf(rest)], [from, 11]);
    assertEquals(
      textOf(entriesOf(rest)),
      textOf(payloads.slice(from - 7).map((bytes) => ({ term: 2, bytes }))),
    );
  }
});
