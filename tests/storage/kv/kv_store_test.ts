import { assert, assertEquals, assertNotEquals, assertThrows } from "@std/assert";
import fc from "fast-check";
import { toBytes } from "../../../storage/byte_string.ts";
import { CLUSTER_VERSIONS } from "../../../machines/group_config.ts";
import { type Command, encodeCommand } from "../../../storage/kv/command.ts";
import { CommandError } from "../../../storage/kv/command_bytes.ts";
import type { CommandResult } from "../../../storage/kv/command_result.ts";
import type { KvItem, KvRange } from "../../../storage/kv/entry.ts";
import { KvStore } from "../../../storage/kv/kv_store.ts";
import type { Once } from "../../../storage/kv/once.ts";
import { keyOf, type Operation } from "../../../storage/kv/operations/operations.ts";
import { StateError } from "../../../storage/kv/state_bytes.ts";
import {
  EXPIRED_PER_ENTRY_MAX,
  IDEMPOTENCY_BYTES_MAX,
  IDEMPOTENCY_RECORD_BYTES,
  IDEMPOTENCY_RETENTION_MS,
  IDEMPOTENCY_RETENTION_MS_MIN,
  ROOM_PAUSE_MS,
  SESSION_IDLE_MS,
  SESSION_WINDOW,
  SHARED_VALUE_BYTES_MAX,
  VALUE_BYTES_MAX,
  VALUE_SLAB_BYTES,
} from "../../../storage/kv/limits.ts";
import { Wal } from "../../../storage/log/wal.ts";
import { encodeRun, forEachEntry } from "../../../storage/log/wal_record.ts";
import { packRequests, unpackRequests } from "../../../machines/request_batch.ts";
import { applyNothing, applyRequest } from "./apply.ts";
import { Client, compareOf, type Condition, done, loadState } from "./client.ts";
import { MemoryDisk } from "../../sim/memory_disk.ts";
import { commandOf } from "./command_of.ts";

Deno.test("put creates a key, then changes it and keeps when it was created", () => {
  const client = new Client();
  const put = (version: number) => ({ type: "put", version, created: version === 1 } as const);
  assertEquals(client.put("a", "1"), done(1, put(1)));
  assertEquals(client.put("b", "2"), done(2, put(1)));
  assertEquals(client.put("a", "3"), done(3, put(2)));
  const { created, revision, version } = client.store.get("a")!;
  assertEquals([created, revision, version, client.valueOf("a")], [1, 3, 2, "3"]);
  assertEquals([client.store.size, client.store.revision], [2, 3]);
});

Deno.test("delete removes a key; a missing one changes nothing", () => {
  const client = new Client();
  client.put("a", "1");
  assertEquals(client.delete("a"), done(2, { type: "delete", deleted: 1 }));
  assertEquals(client.delete("a"), done(2, { type: "delete", deleted: 0 }));
  assertEquals([client.store.get("a"), client.store.size, client.store.revision], [
    undefined,
    0,
    2,
  ]);
  assertEquals(client.put("a", "2"), done(3, { type: "put", version: 1, created: true }));
  assertEquals(client.store.get("a")!.created, 3);
});

Deno.test("S05: append adds to the value, and creates a missing key", () => {
  const client = new Client();
  const appended = (version: number, length: number) => (
    { type: "append", version, length, created: version === 1 } as const
  );
  assertEquals(client.append("a", "ab"), done(1, appended(1, 2)));
  assertEquals(client.append("a", "cd"), done(2, appended(2, 4)));
  assertEquals(client.append("a", ""), done(3, appended(3, 4)));
  assertEquals(client.valueOf("a"), "abcd");
});

Deno.test("append keeps the content type; put sets it anew", () => {
  const client = new Client();
  client.apply({ type: "put", key: "a", value: toBytes("1"), contentType: "text/plain" });
  client.append("a", "2");
  assertEquals(client.store.get("a")!.contentType, "text/plain");
  client.put("a", "3");
  assertEquals(client.store.get("a")!.contentType, undefined);
});

Deno.test("an append beyond the largest value changes nothing", () => {
  const client = new Client();
  const half = new Uint8Array(VALUE_BYTES_MAX / 2);
  client.apply({ type: "put", key: "a", value: half });
  client.apply({ type: "append", key: "a", value: half });
  assertEquals(client.append("a", "x"), { status: "too-large" });
  assertEquals(client.store.get("a")!.value.length, VALUE_BYTES_MAX);
  assertEquals(client.store.revision, 2);
  const appended = { type: "append", version: 3, length: VALUE_BYTES_MAX, created: false } as const;
  assertEquals(client.append("a", ""), done(3, appended));
});

Deno.test("a command whose compare does not hold changes nothing and says what is there", () => {
  const client = new Client();
  const failed = (presentRevision: number): CommandResult => (
    {
      status: "ok",
      succeeded: false,
      presentRevision,
      revision: client.store.revision,
      results: [],
    }
  );
  const commands = [
    (condition: Condition) => client.put("a", "x", condition),
    (condition: Condition) => client.append("a", "x", condition),
    (condition: Condition) => client.delete("a", condition),
  ];
  for (const command of commands) {
    assertEquals(command("present"), failed(0));
    assertEquals(command({ revision: 1 }), failed(0));
  }
  assertEquals(client.store.revision, 0);
  client.put("b", "1");
  client.put("a", "1", "absent");
  assertEquals(client.valueOf("a"), "1");
  for (const command of commands) {
    assertEquals(command("absent"), failed(2));
    assertEquals(command({ revision: 1 }), failed(2));
  }
  client.append("a", "2", { revision: 2 });
  assertEquals(client.valueOf("a"), "12");
  client.put("a", "3", "present");
  assertEquals(client.valueOf("a"), "3");
  client.delete("a", { revision: 4 });
  assertEquals([client.valueOf("a"), client.store.revision], [undefined, 5]);
});

Deno.test("range reads within all its bounds, in both directions", () => {
  const client = new Client();
  const keys = ["a", "a\0", "ab", "ab\xff", "ac", "b", "\xff", "\xff\xff"];
  for (const key of keys.toReversed()) client.put(key, key);
  const read = (range: Partial<KvRange>): string[] =>
    Array.from(client.store.range({ limit: 100, ...range }), (item) => item.key);
  assertEquals(read({}), keys);
  assertEquals(read({ reverse: true }), keys.toReversed());
  assertEquals(read({ prefix: "ab" }), ["ab", "ab\xff"]);
  assertEquals(read({ prefix: "\xff" }), ["\xff", "\xff\xff"]);
  assertEquals(read({ prefix: "a", start: "a\0", end: "ac" }), ["a\0", "ab", "ab\xff"]);
  assertEquals(read({ prefix: "a", start: "", end: "z", reverse: true })[0], "ac");
  assertEquals(read({ start: "b", end: "a" }), []);
  assertEquals(read({ start: "b", end: "a", reverse: true }), []);
  assertEquals(read({ limit: 2 }), keys.slice(0, 2));
  assertEquals(read({ limit: 0 }), []);
  assertEquals(read({ limit: 2, reverse: true, prefix: "a" }), ["ac", "ab\xff"]);
  for (const bounds of [{}, { prefix: "ab" }, { prefix: "\xff", start: "\xff\0" }, { end: "b" }]) {
    assertEquals(client.store.count(bounds), read(bounds).length);
  }
  const [item] = client.store.range({ prefix: "b", limit: 1 }) as Iterable<KvItem>;
  assertEquals([item!.key, item!.revision, String.fromCharCode(...item!.value)], ["b", 3, "b"]);
});

Deno.test("entries without a command move time and lastApplied only", () => {
  const store = new KvStore();
  applyNothing(store, { index: 1, timeMs: 50 });
  applyNothing(store, { index: 2, timeMs: 40, kind: "config" });
  assertEquals([store.lastApplied, store.logTimeMs, store.revision], [2, 50, 0]);
});

Deno.test("an entry is applied once and in its turn", () => {
  const { store } = new Client();
  assertThrows(() => applyNothing(store, { index: 2 }), RangeError, "entry 1 is next");
  applyNothing(store, { index: 1 });
  assertThrows(() => applyNothing(store, { index: 1 }), RangeError, "entry 2 is next");
});

Deno.test("a payload that is no request stops the store before anything changes", () => {
  const client = new Client();
  client.put("a", "1");
  const before = client.store.stateHash();
  const garbage = toBytes("garbage");
  const apply = (): unknown => applyRequest(client.store, garbage, { timeMs: 2_000_000 });
  assertThrows(apply, CommandError);
  assertEquals([client.store.lastApplied, client.store.stateHash()], [1, before]);
});

Deno.test("values do not share memory with what they came in", () => {
  const client = new Client();
  const batch = new Uint8Array(64 * 1024);
  const payload = encodeCommand(commandOf({ type: "put", key: "k", value: toBytes("value") }));
  batch.set(payload, 100);
  applyRequest(client.store, batch.subarray(100, 100 + payload.length));
  const appended = encodeCommand(commandOf({ type: "append", key: "n", value: toBytes("x") }));
  batch.set(appended, 1000);
  applyRequest(client.store, batch.subarray(1000, 1000 + appended.length));
  batch.fill(0xee);
  assertEquals([client.valueOf("k"), client.valueOf("n")], ["value", "x"]);
  // What a value may keep alive besides itself is bounded, and a large one shares with nobody.
  const put = (index: number, value: Uint8Array): number => {
    const large = encodeCommand(commandOf({ type: "put", key: "l", value }));
    applyRequest(client.store, large, { index });
    return client.store.get("l")!.value.buffer.byteLength;
  };
  assertEquals(client.store.get("k")!.value.buffer.byteLength, VALUE_SLAB_BYTES);
  assertEquals(put(3, new Uint8Array(SHARED_VALUE_BYTES_MAX)), VALUE_SLAB_BYTES);
  assertEquals(put(4, new Uint8Array(SHARED_VALUE_BYTES_MAX + 1)), SHARED_VALUE_BYTES_MAX + 1);
});

Deno.test("S04: a store rebuilt from its log has the values, not the keys", () => {
  const disk = new MemoryDisk();
  const options = { clusterId: "c", nodeId: 1 };
  const { wal } = Wal.open(disk, options);
  const requests = ["one two\n", " ", "\0\xff"].map((value, n) =>
    encodeCommand(commandOf({ type: "put", key: `key ${n}`, value: toBytes(value) }))
  );
  const { payloads } = packRequests(requests);
  const timeMs = 5;
  const { bytes } = encodeRun({
    group: 0,
    term: 1,
    firstIndex: 1,
    timeMs,
    kind: "command",
    payloads,
  });
  wal.append([bytes]);
  wal.close();
  const client = new Client();
  for (const run of Wal.open(disk, options).groups.get(0)!.runs) {
    forEachEntry(run, (index, timeMs, kind, payload) => {
      const requests = unpackRequests(payload);
      client.store.apply({ index, term: run.term, timeMs, kind, requests });
    });
  }
  assertEquals([0, 1, 2].map((n) => client.valueOf(`key ${n}`)), ["one two\n", " ", "\0\xff"]);
});

Deno.test("an idempotency key returns its first result, whatever happened since", () => {
  const client = new Client();
  const once: Once = { type: "idempotencyKey", key: "i", fingerprint: "f" };
  const first = client.put("a", "1", undefined, once);
  client.put("a", "2");
  assertEquals(
    client.put("a", "1", undefined, once),
    { ...first, replayed: true } as CommandResult,
  );
  assertEquals([client.valueOf("a"), client.store.revision], ["2", 2]);
  const other = { ...once, fingerprint: "g" };
  assertEquals(client.put("a", "9", undefined, other), { status: "idempotency-mismatch" });
  const failing: Once = { type: "idempotencyKey", key: "j", fingerprint: "f" };
  const failed = client.put("a", "9", "absent", failing);
  assertEquals("succeeded" in failed && failed.succeeded, false);
  client.delete("a");
  assertEquals(
    client.put("a", "9", "absent", failing),
    { ...failed, replayed: true } as CommandResult,
  );
});

Deno.test("an idempotency key is free again after its retention in log time, not before", () => {
  const client = new Client();
  const once: Once = { type: "idempotencyKey", key: "i", fingerprint: "f" };
  const append = (): CommandResult =>
    client.apply({ type: "append", key: "a", value: toBytes("x") }, once);
  append();
  client.wait(IDEMPOTENCY_RETENTION_MS - 1);
  append();
  assertEquals(client.valueOf("a"), "x");
  client.timeMs += 1;
  append();
  assertEquals(client.valueOf("a"), "xx");
  append();
  assertEquals(client.valueOf("a"), "xx", "the second use is remembered in its turn");
});

Deno.test("X19: a full table of idempotency keys forgets those beyond the least retention, and no other", () => {
  const client = new Client({ idempotencyBytesMax: 3 * (IDEMPOTENCY_RECORD_BYTES + 3) });
  const once = (n: number): Once => ({ type: "idempotencyKey", key: `i${n}`, fingerprint: "f" });
  const put = (n: number): CommandResult => client.put(`k${n}`, "v", undefined, once(n));
  const check = (n: number): unknown =>
    client.store.check(
      encodeCommand(commandOf({ type: "delete", key: "k" }, { once: once(n) })),
      1,
    );
  for (const n of [0, 1, 2]) assertEquals(put(n).status, "ok");
  assertEquals([check(2), check(3)], [undefined, "overloaded"]);
  assertEquals(put(3), { status: "overloaded" });
  assertEquals(client.store.get("k3"), undefined);
  client.wait(IDEMPOTENCY_RETENTION_MS_MIN - 1);
  assertEquals(put(3), { status: "overloaded" });
  for (const n of [0, 1, 2]) assert("replayed" in put(n));
  client.wait(1);
  assertEquals(check(3), undefined);
  assertEquals(put(3).status, "ok");
  assertEquals(client.valueOf("k3"), "v");
  // The oldest made room, and no other: its key is free again.
  for (const n of [1, 2, 3]) assert("replayed" in put(n));
  assert(!("replayed" in put(0)));
});

Deno.test("X19: a full table asks for time to pass, since what it refuses makes no entry", () => {
  const idempotencyKey = (n: number): Once => (
    { type: "idempotencyKey", key: `i${n}`, fingerprint: "f" }
  );
  const session = (n: number): Once => ({ type: "session", clientId: `c${n}`, sequence: 1 });
  const tables = [
    {
      once: idempotencyKey,
      options: { idempotencyBytesMax: 2 * (IDEMPOTENCY_RECORD_BYTES + 3) },
      ageMs: IDEMPOTENCY_RETENTION_MS_MIN,
    },
    { once: session, options: { sessionsMax: 2 }, ageMs: SESSION_IDLE_MS },
  ];
  for (const { once, options, ageMs } of tables) {
    const client = new Client(options);
    const { store } = client;
    const operation: Operation = { type: "delete", key: "k" };
    const command = commandOf(operation, { once: once(9) });
    const check = (): unknown => store.check(encodeCommand(command), CLUSTER_VERSIONS.max);
    assertEquals(store.nextDeadlineMs(), Infinity);
    const firstMs = client.timeMs;
    for (const n of [1, 2]) client.apply(operation, once(n));
    assertEquals(check(), "overloaded");
    assertEquals(store.nextDeadlineMs(), firstMs + ageMs);
    // While entries come, they let time pass: nothing is asked for.
    client.wait(ageMs - 1);
    assertEquals([check(), store.nextDeadlineMs()], ["overloaded", client.timeMs + ROOM_PAUSE_MS]);
    client.wait(ROOM_PAUSE_MS);
    assertEquals([check(), store.nextDeadlineMs()], [undefined, Infinity]);
  }
});

Deno.test("a table that is full of expired sessions is no reason to refuse: the next entry makes room", () => {
  const sessionsMax = 2 * EXPIRED_PER_ENTRY_MAX;
  const client = new Client({ sessionsMax });
  const { store } = client;
  const begin = (clientId: string): Uint8Array => {
    const once = { type: "session", clientId, sequence: 1 } as const;
    return encodeCommand(commandOf({ type: "delete", key: "k" }, { once }));
  };
  for (let n = 0; n < sessionsMax; n++) applyRequest(store, begin(`old${n}`));
  // One entry forgets half of the expired sessions, and begins as many.
  const requests = Array.from({ length: sessionsMax }, (_, n) => begin(`new${n}`));
  const index = store.lastApplied + 1;
  const entry = { index, term: 1, timeMs: SESSION_IDLE_MS, kind: "command", requests } as const;
  const begun = store.apply(entry).results.filter(({ status }) => status === "ok");
  assertEquals(begun.length, EXPIRED_PER_ENTRY_MAX);
  assertEquals([store.check(begin("late"), 1), store.nextDeadlineMs()], [undefined, Infinity]);
  assertEquals(applyRequest(store, begin("late"), { timeMs: SESSION_IDLE_MS }).status, "ok");
  assertEquals(store.check(begin("later"), 1), undefined);
});

Deno.test("IDEMPOTENCY_BYTES_MAX holds what its comment says", () => {
  const record = IDEMPOTENCY_RECORD_BYTES + 36 + 43;
  const seconds = IDEMPOTENCY_BYTES_MAX / record / 15_000;
  assert(seconds >= IDEMPOTENCY_RETENTION_MS_MIN / 1_000, `${seconds} s`);
  assert(IDEMPOTENCY_BYTES_MAX / record / 1_500 >= IDEMPOTENCY_RETENTION_MS / 1_000);
});

Deno.test("concurrent sequences of a session are each applied once, within the window", () => {
  const client = new Client();
  const put = (sequence: number): CommandResult => sessionAppend(client, "c", sequence);
  const results = new Map<number, CommandResult>();
  for (const sequence of [1, 3, 2, 5, 4]) results.set(sequence, put(sequence));
  for (const [sequence, result] of results) {
    assertEquals(put(sequence), { ...result, replayed: true } as CommandResult);
  }
  assertEquals(client.valueOf("a"), "c1c3c2c5c4");
  put(SESSION_WINDOW + 2);
  assertEquals(put(2), { status: "session-expired" });
  assert("replayed" in put(3));
  assertEquals(put(6).status, "ok", "not yet applied, but still in the window");
  put(1000);
  for (const sequence of [3, SESSION_WINDOW + 2, 1000 - SESSION_WINDOW]) {
    assertEquals(put(sequence), { status: "session-expired" });
  }
  assertEquals(put(1001 - SESSION_WINDOW).status, "ok");
});

Deno.test("an unknown session begins with sequence 1 and no other", () => {
  const client = new Client();
  assertEquals(sessionAppend(client, "c", 2), { status: "session-expired" });
  assertEquals(client.store.revision, 0);
  assertEquals(sessionAppend(client, "c", 1).status, "ok");
  assertEquals(sessionAppend(client, "c", 2).status, "ok");
});

Deno.test("a session unused for the idle time expires; each use, also a repeat, prolongs it", () => {
  const client = new Client();
  sessionAppend(client, "c", 1);
  for (let use = 0; use < 3; use++) {
    client.wait(SESSION_IDLE_MS - 1);
    assert("replayed" in sessionAppend(client, "c", 1));
  }
  client.timeMs += SESSION_IDLE_MS;
  assertEquals(sessionAppend(client, "c", 2), { status: "session-expired" });
  assertEquals(client.valueOf("a"), "c1");
});

Deno.test("a full table of sessions refuses new ones and forgets no live one", () => {
  const client = new Client({ sessionsMax: 2 });
  assertEquals(sessionAppend(client, "c", 1).status, "ok");
  assertEquals(sessionAppend(client, "d", 1).status, "ok");
  assertEquals(sessionAppend(client, "e", 1), { status: "overloaded" });
  assertEquals(sessionAppend(client, "c", 2).status, "ok");
  client.wait(SESSION_IDLE_MS);
  assertEquals(sessionAppend(client, "e", 1).status, "ok");
  assertEquals(client.valueOf("a"), "c1d1c2e1");
});

Deno.test("what expired is absent at once, although it is forgotten a few at a time", () => {
  const count = 8 * EXPIRED_PER_ENTRY_MAX;
  const client = new Client();
  const once = (n: number): Once => ({ type: "idempotencyKey", key: `i${n}`, fingerprint: "f" });
  for (let n = 0; n < count; n++) {
    client.put("a", "1", undefined, once(n));
    sessionAppend(client, `c${n}`, 1);
  }
  client.timeMs += SESSION_IDLE_MS;
  assert(!("replayed" in client.put("a", "2", undefined, once(count - 1))));
  assertEquals(sessionAppend(client, `c${count - 1}`, 2), { status: "session-expired" });
  assert(!("replayed" in sessionAppend(client, `c${count - 2}`, 1)), "the session begins anew");
  assert("replayed" in sessionAppend(client, `c${count - 2}`, 1));
  for (let n = 0; n < 8; n++) client.wait(0);
  assert("replayed" in client.put("a", "2", undefined, once(count - 1)));
});

Deno.test("an entry whose log time lies in the past does not turn time back", () => {
  const client = new Client();
  sessionAppend(client, "c", 1);
  client.wait(SESSION_IDLE_MS);
  client.timeMs -= SESSION_IDLE_MS;
  assertEquals(sessionAppend(client, "c", 2), { status: "session-expired" });
  assertEquals(client.store.logTimeMs, client.timeMs + SESSION_IDLE_MS);
});

const smallText = fc.constantFrom("a", "b", "c", "d");
const anyOnce = fc.option(
  fc.oneof(
    fc.record({
      type: fc.constant("idempotencyKey" as const),
      key: smallText,
      fingerprint: fc.constantFrom("f", "g"),
    }),
    fc.record({
      type: fc.constant("session" as const),
      clientId: smallText,
      sequence: fc.integer({ min: 1, max: 80 }),
    }),
  ),
  { nil: undefined },
);
const anyOperation: fc.Arbitrary<Operation> = fc.record({
  type: fc.constantFrom("put", "append", "delete", "get", "increment", "deleteRange", "range"),
  key: fc.nat(200).map((n) => `k${n}`),
  value: fc.uint8Array({ maxLength: 5 }),
  by: fc.bigInt(-9n, 9n),
  start: fc.nat(200).map((n) => `k${n}`),
  end: fc.nat(200).map((n) => `k${n}`),
  ...{ limit: fc.nat(3), reverse: fc.boolean(), keysOnly: fc.boolean() },
}) as fc.Arbitrary<Operation>;
const anyCondition = fc.constantFrom<Condition>("absent", "present", { revision: 3 });
const fewOperations = fc.array(anyOperation, { maxLength: 4 });
const anyCommand: fc.Arbitrary<Command> = fc.record({
  compares: fc.array(fc.tuple(anyOperation, anyCondition), { maxLength: 2 }).map((compares) =>
    compares.map(([operation, condition]) => compareOf(keyOf(operation) ?? "k0", condition))
  ),
  success: fewOperations,
  failure: fewOperations,
  once: anyOnce,
});
const history = fc.array(
  fc.record({ command: anyCommand, passedMs: fc.constantFrom(0, 1, 200_000) }),
  { minLength: 1, maxLength: 150, size: "max" },
);

Deno.test("replicas with the same history have the same hash and results, whatever their towers", () => {
  fc.assert(
    fc.property(history, fc.integer(), fc.nat(1000), (entries, seed, missing) => {
      const [one, two] = [new Client({ seed }), new Client({ seed: seed ^ 0x5555 })];
      const third = new Client();
      for (let at = 0; at < entries.length; at++) {
        const { command, passedMs } = entries[at]!;
        for (const client of [one, two, third]) client.timeMs += passedMs;
        assertEquals(one.execute(command), two.execute(command));
        assertEquals(one.store.stateHash(), two.store.stateHash());
        if (at === missing % entries.length) {
          third.apply({ type: "put", key: "only here", value: toBytes("x") });
        } else third.execute(command);
      }
      assertNotEquals(one.store.stateHash(), third.store.stateHash());
    }),
    { numRuns: 60 },
  );
});

Deno.test("the hash tells states apart that differ in one place only", () => {
  const hashes = new Set<string>();
  const variants: ((client: Client) => void)[] = [
    (client) => client.put("a", "1"),
    (client) => client.put("a", "2"),
    (client) => client.put("b", "1"),
    (client) => client.delete("a"),
    (client) => client.apply({ type: "put", key: "a", value: toBytes("1"), contentType: "t" }),
    (client) =>
      client.put("a", "1", undefined, { type: "idempotencyKey", key: "k", fingerprint: "f" }),
    (client) =>
      client.put("a", "1", undefined, { type: "idempotencyKey", key: "k", fingerprint: "g" }),
    (client) => client.put("a", "1", undefined, { type: "session", clientId: "k", sequence: 1 }),
  ];
  for (const variant of variants) {
    const client = new Client();
    variant(client);
    assertEquals(client.store.stateHash(), client.store.stateHash());
    assert(/^[0-9a-f]{16}$/.test(client.store.stateHash()));
    hashes.add(client.store.stateHash());
  }
  assertEquals(hashes.size, variants.length);
});

Deno.test("forgetting leaves the hash of a store that never knew", () => {
  const [used, unused] = [new Client(), new Client()];
  const once: Once = { type: "idempotencyKey", key: "i", fingerprint: "f" };
  used.put("a", "1", undefined, once);
  unused.put("a", "1");
  sessionAppend(used, "c", 1);
  unused.append("a", "c1");
  sessionAppend(used, "c", 90);
  unused.append("a", "c90");
  assertNotEquals(used.store.stateHash(), unused.store.stateHash());
  for (const client of [used, unused]) client.wait(SESSION_IDLE_MS);
  assertEquals(used.store.stateHash(), unused.store.stateHash());
});

function sessionAppend(client: Client, clientId: string, sequence: number): CommandResult {
  const value = toBytes(`${clientId}${sequence}`);
  const once: Once = { type: "session", clientId, sequence };
  return client.apply({ type: "append", key: "a", value }, once);
}

Deno.test("freeze and load: a state comes back whole, whatever happens after it was frozen", () => {
  fc.assert(
    fc.property(history, history, (before, after) => {
      const client = new Client();
      const run = ({ command, passedMs }: (typeof before)[number]): CommandResult => {
        client.timeMs += passedMs;
        return client.execute(command);
      };
      before.forEach(run);
      const hash = client.store.stateHash();
      const frozen = client.store.freeze();
      const results = after.map(run);
      assertEquals([frozen.stateHash, frozen.lastApplied], [hash, before.length]);
      const restored = new Client();
      loadState(restored.store, frozen.chunks());
      frozen.release();
      assertEquals(restored.store.stateHash(), hash);
      assertEquals(restored.store.revision + 0, restored.store.revision);
      // What is restored goes on as the original did.
      restored.timeMs = client.timeMs - after.reduce((sum, { passedMs }) => sum + passedMs, 0);
      after.forEach(({ command, passedMs }, at) => {
        restored.timeMs += passedMs;
        assertEquals(restored.execute(command), results[at]);
      });
      assertEquals(restored.store.stateHash(), client.store.stateHash());
    }),
    { numRuns: 100 },
  );
});

Deno.test("load: chunks that are cut short, changed or of another version are refused", () => {
  const client = new Client();
  client.put("a", "1", undefined, { type: "idempotencyKey", key: "i", fingerprint: "f" });
  sessionAppend(client, "c", 1);
  client.execute({
    compares: [compareOf("a", "absent")],
    success: [],
    failure: [{ type: "get", key: "a" }, { type: "get", key: "b" }],
    once: { type: "session", clientId: "c", sequence: 2 },
  });
  const chunks = [...client.store.freeze().chunks()];
  assertEquals(chunks.length, 3);
  const whole = new Uint8Array(chunks.flatMap((chunk) => [...chunk]));
  const load = (bytes: Uint8Array): void => loadState(new KvStore(), [bytes]);
  load(whole);
  for (let size = 0; size < whole.length; size++) {
    assertThrows(() => load(whole.subarray(0, size)), StateError);
  }
  const unnoticed: number[] = [];
  for (let at = 0; at < whole.length; at++) {
    const changed = whole.slice();
    changed[at]! ^= 0x15;
    try {
      load(changed);
      unnoticed.push(at);
    } catch (error) {
      assert(error instanceof StateError, `byte ${at}: ${error}`);
    }
  }
  // The order of the two uses is the only part that the hash does not hold.
  assertEquals(unnoticed.length, 2, `bytes ${unnoticed} were changed and nobody noticed`);
  assertThrows(() => load(new Uint8Array([...whole, 1])), StateError, "follow its end");
});
