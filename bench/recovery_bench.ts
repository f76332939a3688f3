/**
 * How long a start takes to read a log back: entries of one put of 100 B each, 64 to an append.
 *
 *     ENTRIES=1000000 deno bench --allow-all bench/recovery_bench.ts
 *
 * @module
 */
import { packRequests, unpackRequests } from "../machines/request_batch.ts";
import { encodeCommand } from "../storage/kv/command.ts";
import { KvStore } from "../storage/kv/kv_store.ts";
import { DenoDisk } from "../storage/log/deno_disk.ts";
import { Wal } from "../storage/log/wal.ts";
import { encodeRun, forEachEntry } from "../storage/log/wal_record.ts";

const ENTRIES = Number(Deno.env.get("ENTRIES") ?? 100_000);
const BATCH = 64;
const KEYS = 10_000;
const identity = { clusterId: "bench", nodeId: 1 };

function put(index: number): Uint8Array {
  const key = String(index % KEYS).padStart(16, "0");
  const value = crypto.getRandomValues(new Uint8Array(100));
  const success = [{ type: "put", key, value, contentType: undefined }] as const;
  const request = encodeCommand({ compares: [], success, failure: [], once: undefined });
  return packRequests([request]).payloads[0]!;
}

function written(): string {
  const directory = Deno.makeTempDirSync();
  const { wal } = Wal.open(new DenoDisk(directory), identity);
  for (let firstIndex = 1; firstIndex <= ENTRIES; firstIndex += BATCH) {
    const payloads = Array.from({ length: BATCH }, (_, at) => put(firstIndex + at));
    const place = { group: 0, term: 1, firstIndex, timeMs: 1, kind: "command" } as const;
    wal.append([encodeRun({ ...place, payloads }).bytes]);
  }
  wal.close();
  return directory;
}

const directory = written();

Deno.bench(`read a log of ${ENTRIES} entries back`, { n: 3, warmup: 0 }, (b) => {
  const disk = new DenoDisk(directory);
  b.start();
  const { wal } = Wal.open(disk, identity);
  b.end();
  wal.close();
});

Deno.bench(`read it back and apply all`, { n: 3, warmup: 0 }, (b) => {
  const disk = new DenoDisk(directory);
  const store = new KvStore();
  b.start();
  const { wal, groups } = Wal.open(disk, identity);
  for (const run of groups.get(0)!.runs) {
    forEachEntry(run, (index, timeMs, kind, payload) => {
      store.apply({ index, term: run.term, timeMs, kind, requests: unpackRequests(payload) });
    });
  }
  b.end();
  wal.close();
});
