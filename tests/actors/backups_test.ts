import { assert, assertEquals, assertGreater, assertThrows } from "@std/assert";
import { Backups } from "../../actors/backups.ts";
import { SNAPSHOT_SLICE_BYTES } from "../../actors/limits.ts";
import { encodeCommand } from "../../storage/kv/command.ts";
import { KvStore } from "../../storage/kv/kv_store.ts";
import { STATE_CHUNK_BYTES } from "../../storage/kv/state_bytes.ts";
import { openSnapshot } from "../../storage/log/snapshot_file.ts";
import { joinBytes } from "../../storage/join_bytes.ts";
import { applyRequest } from "../storage/kv/apply.ts";
import { commandOf } from "../storage/kv/command_of.ts";

const VALUE_BYTES = 1_000;

/** A store that tells how many views of it are not released yet. */
class CountedStore extends KvStore {
  views = 0;

  override freeze(): ReturnType<KvStore["freeze"]> {
    const frozen = super.freeze();
    let isHeld = true;
    this.views++;
    const release = (): void => {
      if (isHeld) this.views--;
      isHeld = false;
      frozen.release();
    };
    return { ...frozen, release };
  }
}

function filled(keys: number): CountedStore {
  const store = new CountedStore();
  for (let at = 0; at < keys; at++) put(store, `k${at}`, at);
  return store;
}

function put(store: KvStore, key: string, fill: number): void {
  const value = new Uint8Array(VALUE_BYTES).fill(fill);
  applyRequest(store, encodeCommand(commandOf({ type: "put", key, value })));
}

function backupsOf(machine: KvStore): Backups {
  const facts = { term: 3, timeMs: 7, clusterVersion: 1, members: [1, 2] };
  const factsAt = (index: number): typeof facts | undefined =>
    index === machine.lastApplied ? facts : undefined;
  return new Backups({ group: 0, clusterId: "c", machine, factsAt });
}

Deno.test("a backup is the snapshot file of the moment when it began, whatever is written since", () => {
  const store = filled(2_000);
  const backups = backupsOf(store);
  const [hash, index] = [store.stateHash(), store.lastApplied];
  const backup = backups.begin()!;
  const pieces: Uint8Array[] = [];
  for (let next = backup.next(); next.done !== true; next = backup.next()) {
    pieces.push(next.value);
    put(store, `k${pieces.length}`, 255);
  }
  const bytes = joinBytes(pieces, pieces.reduce((sum, { length }) => sum + length, 0));
  const read = (offset: number, length: number): Uint8Array =>
    bytes.subarray(offset, offset + length);
  const { meta, digest, chunks } = openSnapshot("x", { read, size: bytes.length });
  assertEquals(digest, backup.digest);
  assertEquals(meta, {
    ...{ clusterId: "c", group: 0, index, term: 3, timeMs: 7, clusterVersion: 1, members: [1, 2] },
    ...{ machineVersion: store.version, stateHash: hash },
  });
  const restored = new KvStore();
  for (const steps = restored.load(chunks()); steps.next().done !== true;);
  assertEquals(restored.stateHash(), hash);
  assertEquals([store.views, backups.running], [0, 0]);
  assertEquals(backups.counters, { whole: 1, cut: 0 });
});

Deno.test("a piece holds a slice of the state, however well it can be compressed", () => {
  const backup = backupsOf(filled(2_000)).begin()!;
  let pieces = 0;
  while (backup.next().done !== true) pieces++;
  const stateBytes = 2_000 * VALUE_BYTES;
  assertGreater(pieces, stateBytes / (SNAPSHOT_SLICE_BYTES + 2 * STATE_CHUNK_BYTES));
});

Deno.test("the frozen view is released when a backup is given up, or the member stops", () => {
  const store = filled(500);
  const backups = backupsOf(store);
  const unread = backups.begin()!;
  const begun = backups.begin()!;
  begun.next();
  assertEquals([store.views, backups.running], [2, 2]);
  unread.return();
  unread.return();
  assertEquals([store.views, backups.running], [1, 1]);
  backups.stop();
  assertEquals([store.views, backups.running], [0, 0]);
  assertEquals(backups.counters, { whole: 0, cut: 2 });
  for (const cut of [unread, begun]) assertThrows(() => cut.next(), Error, "it was cut");
});

Deno.test("without what belongs to the last entry there is no backup, and no view is kept", () => {
  const store = filled(1);
  const backups = new Backups({
    ...{ group: 0, clusterId: "c", machine: store },
    factsAt: () => undefined,
  });
  assertEquals(backups.begin(), undefined);
  assertEquals(store.views, 0);
});

Deno.test("a backup that ended is not cut by a stop", () => {
  const backups = backupsOf(filled(1));
  const backup = backups.begin()!;
  while (backup.next().done !== true);
  backup.return();
  backups.stop();
  assert(backup.next().done);
  assertEquals(backups.counters, { whole: 1, cut: 0 });
});
