/**
 * Leases end at their log time, and their keys with them.
 *
 * @module
 */
import { assert, assertEquals } from "@std/assert";
import { toBytes } from "../../../storage/byte_string.ts";
import { encodeCommand } from "../../../storage/kv/command.ts";
import type { CommandResult } from "../../../storage/kv/command_result.ts";
import {
  ENDED_KEYS_PER_ENTRY_MAX,
  LEASE_KEYS_MAX,
  LEASE_TTL_MS_MAX,
  LEASE_TTL_MS_MIN,
  LEASES_MAX,
} from "../../../storage/kv/limits.ts";
import { KvStore } from "../../../storage/kv/kv_store.ts";
import type { Operation } from "../../../storage/kv/operations/operations.ts";
import { Client, loadState } from "./client.ts";
import { commandOf } from "./command_of.ts";

const grant = (ttlMs: number, isOfKey = false): Operation => (
  { type: "leaseGrant", ttlMs, isOfKey }
);
const put = (key: string, lease: number): Operation => (
  { type: "putLeased", key, value: toBytes("x"), lease }
);

function all(client: Client, ...success: Operation[]): CommandResult {
  return client.execute({ compares: [], success, failure: [] });
}

Deno.test("a lease ends at its log time: its keys go in one revision, and nothing sooner", () => {
  const client = new Client();
  const { store } = client;
  all(client, grant(1_000), put("b", 0), put("a", 0));
  client.put("c", "stays");
  assertEquals(store.nextDeadlineMs(), client.timeMs + 1_000);
  client.wait(999);
  assertEquals([store.size, store.revision], [3, 2]);
  client.timeMs += 1;
  const entry = { index: store.lastApplied + 1, term: 1, timeMs: client.timeMs, requests: [] };
  const { changes } = store.apply({ ...entry, kind: "noop" } as never);
  assertEquals(changes.map(({ key, entry, revision }) => [key, entry, revision]), [
    ["a", undefined, 3],
    ["b", undefined, 3],
  ]);
  assertEquals([store.size, store.revision, store.leaseCount], [1, 3, 0]);
  assertEquals(store.lease(1), undefined);
});

Deno.test("a keepalive moves the deadline, also over a frozen state and a time that does not move", () => {
  const client = new Client();
  all(client, grant(1_000), put("a", 0));
  client.wait(600);
  assertEquals(all(client, { type: "leaseKeepAlive", lease: 1 }).status, "ok");
  const view = client.store.freeze();
  const twin = new KvStore();
  loadState(twin, view.chunks());
  view.release();
  assertEquals(twin.stateHash(), client.store.stateHash());
  assertEquals(twin.lease(1), client.store.lease(1));
  client.wait(999);
  assertEquals(client.valueOf("a"), "x");
  client.wait(1);
  assertEquals(client.valueOf("a"), undefined);
  assertEquals(all(client, { type: "leaseKeepAlive", lease: 1 }), { status: "no-lease" });
  // An id is used once, whatever has ended.
  const granted = all(client, grant(1_000));
  assert(granted.status === "ok");
  assertEquals(granted.results, [{ type: "leaseGrant", lease: 2 }]);
});

Deno.test("a command that cannot be done leaves leases as they were", () => {
  const [client, twin] = [new Client(), new Client()];
  for (const each of [client, twin]) all(each, grant(60_000), put("a", 0), put("b", 0));
  const commands: Operation[][] = [
    [grant(1_000), put("c", 0), put("d", 99)],
    [{ type: "leaseRevoke", lease: 1 }, put("e", 1)],
    [{ type: "leaseKeepAlive", lease: 1 }, { type: "leaseRevoke", lease: 7 }],
    [{ type: "delete", key: "a" }, { type: "put", key: "b", value: toBytes("") }, put("f", 8)],
  ];
  for (const operations of commands) {
    assertEquals(all(client, ...operations), { status: "no-lease" });
    all(twin);
  }
  assertEquals(client.store.stateHash(), twin.store.stateHash());
  assertEquals(client.store.lease(1), twin.store.lease(1));
  assertEquals(client.store.lease(1)!.keys, ["a", "b"]);
});

Deno.test("a lease of a key goes with the key, and takes nobody else's place", () => {
  const client = new Client();
  all(client, grant(1_000, true), put("a", 0));
  assertEquals(client.store.leaseCount, 1);
  all(client, grant(5_000, true), put("a", 0));
  assertEquals(client.store.leasesAfter(0, 9).map(({ id }) => id), [2]);
  client.put("a", "y");
  assertEquals([client.store.leaseCount, client.store.nextDeadlineMs()], [0, Infinity]);
  all(client, grant(1_000, true));
  assertEquals(client.store.leaseCount, 0);
});

Deno.test("LEASES_MAX and LEASE_KEYS_MAX: one more is refused", () => {
  const client = new Client();
  const { store } = client;
  const requestsOf = (count: number, operation: (n: number) => Operation): Uint8Array[] =>
    Array.from({ length: count }, (_, n) => encodeCommand(commandOf(operation(n))));
  const step = 10_000;
  const run = (operation: (n: number) => Operation, total: number): void => {
    for (let from = 0; from < total; from += step) {
      const requests = requestsOf(step, (n) => operation(from + n));
      const index = store.lastApplied + 1;
      store.apply({ index, term: 1, timeMs: client.timeMs, kind: "command", requests });
    }
  };
  run(() => grant(60_000), LEASES_MAX);
  assertEquals(all(client, grant(60_000)), { status: "too-many-leases" });
  run((n) => put(`k${n}`, 1), LEASE_KEYS_MAX);
  assertEquals(all(client, put("one more", 1)), { status: "too-large" });
  assertEquals(all(client, put("k0", 1)).status, "ok");
  assertEquals(all(client, put("one more", 2)).status, "ok");
  // The lease with many keys ends as a whole; what is more than an entry may do is done by the next.
  client.wait(60_000);
  assertEquals([store.size, store.leaseCount], [1, LEASES_MAX - 1]);
  // They are there to be cleared away, and not for who asks.
  assertEquals([store.leasesAfter(0, 10), store.lease(5)], [[], undefined]);
  assertEquals(store.nextDeadlineMs(), client.timeMs);
  client.wait(0);
  assertEquals([store.size, store.leaseCount], [0, LEASES_MAX - 1 - ENDED_KEYS_PER_ENTRY_MAX + 1]);
});

Deno.test("LEASE_TTL_MS_MIN and LEASE_TTL_MS_MAX: other times are no command", () => {
  for (const ttlMs of [LEASE_TTL_MS_MIN, LEASE_TTL_MS_MAX]) encodeCommand(commandOf(grant(ttlMs)));
  for (const ttlMs of [LEASE_TTL_MS_MIN - 1, LEASE_TTL_MS_MAX + 1, 0.5, -1]) {
    let error: unknown;
    try {
      encodeCommand(commandOf(grant(ttlMs)));
    } catch (thrown) {
      error = thrown;
    }
    assertEquals((error as { code: string }).code, "number", String(ttlMs));
  }
});
