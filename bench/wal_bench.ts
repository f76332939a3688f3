/**
 * Checksum, records and group commit on the real disk.
 *
 * A writer appends an entry of 100 B and waits until it is durable; a group's iteration is one
 * entry of each writer.
 *
 * @module
 */
import { crc32c } from "../storage/crc32c.ts";
import { DenoDisk } from "../storage/log/deno_disk.ts";
import { Wal } from "../storage/log/wal.ts";
import { decodeRuns, encodeRun, forEachEntry } from "../storage/log/wal_record.ts";
import { MemoryDisk } from "../tests/sim/memory_disk.ts";

const PAYLOAD = new Uint8Array(100).fill(7);
const ENTRIES = 64;
const REPLAYED = 1_000_000;
const IDENTITY = { clusterId: "bench", nodeId: 1 };

const checksummed = new Uint8Array(64 * 1024).fill(7);
Deno.bench({ name: "crc32c of 64 KiB", group: "crc32c" }, () => {
  crc32c(checksummed);
});
Deno.bench({ name: "crc32c of 136 B", group: "crc32c" }, () => {
  crc32c(checksummed, 0, 136);
});

const batch = {
  group: 0,
  term: 1,
  firstIndex: 1,
  timeMs: 1,
  kind: "command" as const,
  payloads: Array.from({ length: ENTRIES }, () => PAYLOAD),
};
const run = encodeRun(batch);
Deno.bench({ name: "encode", group: "records of 64 x 100 B" }, () => {
  encodeRun(batch);
});
Deno.bench({ name: "decode", group: "records of 64 x 100 B" }, () => {
  decodeRuns(run.bytes, 0);
});
Deno.bench({ name: "visit", group: "records of 64 x 100 B" }, () => {
  forEachEntry(run, () => {});
});

for (const writers of [1, 64, 512]) {
  const root = Deno.makeTempDirSync();
  const { wal } = Wal.open(new DenoDisk(root), IDENTITY);
  const payloads = Array.from({ length: writers }, () => PAYLOAD);
  let firstIndex = 1;
  const name = `${writers} writers`;
  Deno.bench({ name, group: "group commit", n: 200, warmup: 20 }, async () => {
    wal.append([encodeRun({ ...batch, firstIndex, payloads }).bytes]);
    firstIndex += writers;
    await new Promise<void>((resolve, reject) => {
      wal.sync((error) => error === undefined ? resolve() : reject(error));
    });
  });
  globalThis.addEventListener("unload", () => {
    wal.close();
    Deno.removeSync(root, { recursive: true });
  });
}

const full = new MemoryDisk();
{
  const { wal } = Wal.open(full, IDENTITY);
  for (let firstIndex = 1; firstIndex <= REPLAYED; firstIndex += ENTRIES) {
    wal.append([encodeRun({ ...batch, firstIndex }).bytes]);
  }
  wal.close();
}
Deno.bench({ name: "replay of 10^6 x 100 B", group: "recovery", n: 2, warmup: 1 }, () => {
  Wal.open(full, IDENTITY);
});
