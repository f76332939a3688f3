/**
 * The node as it ships, watched from outside: what it asks the operating system for, and what
 * reaches the chart.
 *
 * @module
 */
import { assert, assertEquals } from "@std/assert";
import { startNode, type StatecraftNode } from "../../actors/node.ts";
import { DISK_SLOW_MS } from "../../actors/wal_actor.ts";
import { KvStore } from "../../storage/kv/kv_store.ts";
import { LoneGroup } from "./lone_group.ts";

/** How long a test may wait for the node; far beyond what a busy machine needs. */
const PATIENCE_MS = 30_000;

/** Replaces what the runtime syncs files with, counts the calls, and may hold them up. */
class SyncSpy implements Disposable {
  readonly calls = { sync: 0, syncSync: 0, syncData: 0 };
  delayMs = 0;
  readonly #prototype = Deno.FsFile.prototype;
  readonly #originals = {
    sync: this.#prototype.sync,
    syncSync: this.#prototype.syncSync,
    syncData: this.#prototype.syncData,
  };

  constructor() {
    const { calls } = this;
    const { sync, syncSync, syncData } = this.#originals;
    const delay = (): Promise<void> => new Promise((resolve) => setTimeout(resolve, this.delayMs));
    this.#prototype.sync = async function (): Promise<void> {
      calls.sync++;
      await sync.call(this);
    };
    this.#prototype.syncSync = function (): void {
      calls.syncSync++;
      syncSync.call(this);
    };
    this.#prototype.syncData = async function (): Promise<void> {
      calls.syncData++;
      await delay();
      await syncData.call(this);
    };
  }

  [Symbol.dispose](): void {
    Object.assign(this.#prototype, this.#originals);
  }
}

async function withNode(
  run: (node: StatecraftNode, spy: SyncSpy) => Promise<void>,
): Promise<SyncSpy> {
  using spy = new SyncSpy();
  const dataDir = await Deno.makeTempDir();
  try {
    const http = { hostname: "127.0.0.1", port: 0 };
    await using node = await startNode({ id: 1, single: true, dataDir, http });
    assert(spy.calls.syncSync > 0, "the log and its directory are durable before the node serves");
    await put(node, "first");
    await run(node, spy);
  } finally {
    await Deno.remove(dataDir, { recursive: true });
  }
  return spy;
}

async function put(node: StatecraftNode, key: string): Promise<void> {
  const url = `${node.httpAddress}/v1/kv/${key}`;
  const response = await fetch(url, { method: "PUT", body: "x" });
  await response.body?.cancel();
  assertEquals(response.status, 201);
}

Deno.test("X20: an acknowledged write was synced by the operating system, and so is the end", async () => {
  let atEnd = 0;
  const { calls } = await withNode(async (node, spy) => {
    for (let at = 0; at < 3; at++) {
      const before = spy.calls.syncData;
      await put(node, `key-${at}`);
      assert(spy.calls.syncData > before, "acknowledged without a sync");
    }
    atEnd = spy.calls.syncSync;
  });
  assert(calls.syncSync > atEnd, "an orderly stop leaves a log that is durable");
});

Deno.test("X20: the disk's condition reaches the chart", async () => {
  await withNode(async (node, spy) => {
    const disk = async (): Promise<string> => {
      const response = await fetch(`${node.httpAddress}/v1/raft/chart`);
      const { active } = await response.json() as { active: string[] };
      return active.find((path) => path.startsWith("disk."))!;
    };
    assertEquals(await disk(), "disk.healthy");
    spy.delayMs = 2 * DISK_SLOW_MS;
    await put(node, "slow");
    const deadlineMs = performance.now() + PATIENCE_MS;
    while (await disk() !== "disk.slow" && performance.now() < deadlineMs);
    assertEquals(await disk(), "disk.slow");
  });
});

Deno.test("X20: the assembled group starts with the term and the vote that its log holds", () => {
  const recovered = {
    hardState: { currentTerm: 7, votedFor: 3 },
    base: { index: 0, term: 0 },
    lastIndex: 0,
    runs: [],
  };
  const { core } = new LoneGroup(new KvStore(), { voters: [1, 2, 3], recovered }).host;
  assertEquals([core.context.currentTerm, core.context.votedFor], [7, 3]);
});
