/**
 * What the tests of the write-ahead log share: a way to write records down, and to compare what a
 * log recovered with what it was told.
 *
 * @module
 */
import type { GroupId, HardState } from "../../machines/raft_types.ts";
import type { OpenedWal, WalOptions } from "../../storage/log/wal.ts";
import { encodeHardState, encodeRun, forEachEntry } from "../../storage/log/wal_record.ts";

/** A record, as a test writes it down. */
export type Written =
  | { readonly type: "entry"; group: GroupId; term: number; index: number; text: string }
  | { readonly type: "hardState"; group: GroupId; hardState: HardState };

/** What a log holds, comparable: per group its hard state and its entries. */
export type WalContent = Record<string, { hardState: HardState; entries: string[] }>;

/** Small segments, so that short scripts have several. */
export const walOptions: WalOptions = { clusterId: "c-1", nodeId: 1, segmentBytes: 400 };

/** An entry whose text names it. */
export function entry(group: GroupId, term: number, index: number): Written {
  return { type: "entry", group, term, index, text: `${group}/${term}/${index}` };
}

/** A group's hard state. */
export function hardState(group: GroupId, currentTerm: number, votedFor?: number): Written {
  return { type: "hardState", group, hardState: { currentTerm, votedFor } };
}

/** The record's bytes. */
export function encode(written: Written): Uint8Array {
  if (written.type === "hardState") return encodeHardState(written.group, written.hardState);
  return encodeRun({
    group: written.group,
    term: written.term,
    firstIndex: written.index,
    timeMs: 1000 + written.index,
    kind: "command",
    payloads: [new TextEncoder().encode(written.text)],
  }).bytes;
}

/** What a log that was told these records must hold. */
export function contentAfter(records: readonly Written[]): WalContent {
  const content: WalContent = {};
  for (const written of records) {
    const group = content[written.group] ??= {
      hardState: { currentTerm: 0, votedFor: undefined },
      entries: [],
    };
    if (written.type === "hardState") group.hardState = written.hardState;
    else group.entries.splice(written.index - 1, Infinity, written.text);
  }
  return content;
}

/** What a log recovered. */
export function contentOf({ groups }: Pick<OpenedWal, "groups">): WalContent {
  const content: WalContent = {};
  for (const [group, { hardState, runs }] of groups) {
    const entries: string[] = [];
    for (const run of runs) {
      forEachEntry(run, (index, timeMs, _kind, payload) => {
        if (index !== entries.length + 1 || timeMs !== 1000 + index) {
          throw new Error(`entry ${index} at ${timeMs} ms follows ${entries.length} entries`);
        }
        entries.push(new TextDecoder().decode(payload));
      });
    }
    content[group] = { hardState, entries };
  }
  return content;
}
