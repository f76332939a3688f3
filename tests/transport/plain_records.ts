/**
 * A RecordFormat for tests of the transport: `[u32 length, u32 index, u32 term, payload]`.
 *
 * @module
 */
import type { EntryRun, RecordFormat } from "../../machines/raft_types.ts";

const HEADER_BYTES = 12;

/** Splits on the header alone; anything that does not add up is a RangeError. */
export const plainRecords: RecordFormat = {
  encodeRun,
  decodeRuns,
  lastTimeMs: () => 0,
  configsIn: () => [],
};

function encodeRun(entries: Parameters<RecordFormat["encodeRun"]>[0]): EntryRun {
  const { term, firstIndex, payloads } = entries;
  const ends: number[] = [];
  let length = 0;
  for (const payload of payloads) ends.push(length += HEADER_BYTES + payload.length);
  const bytes = new Uint8Array(length);
  const view = new DataView(bytes.buffer);
  payloads.forEach((payload, i) => {
    const at = i === 0 ? 0 : ends[i - 1]!;
    view.setUint32(at, payload.length);
    view.setUint32(at + 4, firstIndex + i);
    view.setUint32(at + 8, term);
    bytes.set(payload, at + HEADER_BYTES);
  });
  return { term, firstIndex, ends, bytes };
}

function decodeRuns(bytes: Uint8Array): EntryRun[] {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const runs: { term: number; firstIndex: number; start: number; ends: number[] }[] = [];
  for (let at = 0; at < bytes.length;) {
    const end = at + HEADER_BYTES + view.getUint32(at);
    if (end > bytes.length) throw new RangeError("Cannot split records: the last is torn");
    const firstIndex = view.getUint32(at + 4);
    const term = view.getUint32(at + 8);
    if (runs.at(-1)?.term !== term) runs.push({ term, firstIndex, start: at, ends: [] });
    const run = runs.at(-1)!;
    run.ends.push(end - run.start);
    at = end;
  }
  return runs.map(({ term, firstIndex, start, ends }) => ({
    term,
    firstIndex,
    ends,
    bytes: bytes.subarray(start, start + ends.at(-1)!),
  }));
}
