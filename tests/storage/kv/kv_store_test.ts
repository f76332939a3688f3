import { StateError } from "../../../storage/kv/frozen_state.ts";
import { assert, assertEquals, assertNotEquals, assertThrows } from "@std/assert";
import fc from "fast-check";
import { toBytes } from "../../../storage/byte_string.ts";
import {
  type Command,
  CommandError,
  type Condition,
  encodeRequest,
  type Once,
} from "../../../storage/kv/command.ts";
import type { CommandResult } from "../../../storage/kv/command_result.ts";
import type { KvItem, KvRange } from "../../../storage/kv/entry.ts";
import { KvStore, type KvStoreOptions } from "../../../storage/kv/kv_store.ts";
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
import { MemoryDisk } from "../../sim/memory_disk.ts";

/** A store that is told one command after the other. */
class Client {
  readonly store: KvStore;
  timeMs = 1_000_000;

  constructor(options: KvStoreOptions = {}) {
    this.store = new KvStore(options);
  }

  apply(command: Command, once?: Once): CommandResult {
    const payload = encodeRequest({ command, once });
    const result = applyRequest(this.store, payload, { timeMs: this.timeMs });
    payload.fill(0xee);
    return result;
  }

  put(key: string, value: string, condition?: Condition, once?: Once): CommandResult {
    return this.apply({ type: "put", key, value: toBytes(value), condition }, once);
  }

  append(key: string, value: string, condition?: Condition): CommandResult {
    return this.apply({ type: "append", key, value: toBytes(value), condition });
  }

  delete(key: string, condition?: Condition): CommandResult {
    return this.apply({ type: "delete", key, condition });
  }

  valueOf(key: string): string | undefined {
    const entry = this.store.get(key);
    return entry === undefined ? undefined : String.fromCharCode(...entry.value);
  }

  /** Lets log time pass without changing a key. */
  wait(ms: number): void {
    this.timeMs += ms;
    applyNothing(this.store, { timeMs: this.timeMs });
  }
}

const ok = { status: "ok", length: 1, created: false, deleted: 0 } as const;

Deno.test("put creates a key, then changes it and keeps when it was created", () => {
  const client = new Client();
  assertEquals(client.put("a", "1"), { ...ok, revision: 1, version: 1, created: true });
  assertEquals(client.put("b", "2"), { ...ok, revision: 2, version: 1, created: true });
  assertEquals(client.put("a", "3"), { ...ok, revision: 3, version: 2 });
  const { created, revision, version } = client.store.get("a")!;
  assertEquals([created, revision, version, client.valueOf("a")], [1, 3, 2, "3"]);
  assertEquals([client.store.size, client.store.revision], [2, 3]);
});

Deno.test("delete removes a key; a missing one changes nothing", () => {
  const client = new Client();
  client.put("a", "1");
  const gone = { status: "ok", version: 0, length: 0, created: false } as const;
  assertEquals(client.delete("a"), { ...gone, revision: 2, deleted: 1 });
  assertEquals(client.delete("a"), { ...gone, revision: 2, deleted: 0 });
  assertEquals([client.store.get("a"), client.store.size, client.store.revision], [
    undefined,
    0,
    2,
  ]);
  assertEquals(client.put("a", "2"), { ...ok, revision: 3, version: 1, created: true });
  assertEquals(client.store.get("a")!.created, 3);
});

Deno.test("S05: append adds to the value, and creates a missing key", () => {
  const client = new Client();
  assertEquals(client.append("a", "ab"), {
    ...ok,
    revision: 1,
    version: 1,
    length: 2,
    created: true,
  });
  assertEquals(client.append("a", "cd"), { ...ok, revision: 2, version: 2, length: 4 });
  assertEquals(client.append("a", ""), { ...ok, revision: 3, version: 3, length: 4 });
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
  assertEquals(client.append("a", ""), { ...ok, revision: 3, version: 3, length: VALUE_BYTES_MAX });
});

Deno.test("a command whose condition does not hold changes nothing and says what is there", () => {
  const client = new Client();
  const failed = (revision: number) => ({ status: "precondition-failed", revision });
  const commands = [
    (condition: Condition) => client.put("a", "x", condition),
    (condition: Condition) => client.append("a", "x", condition),
    (condition: Condition) => client.delete("a", condition),
  ];
  for (const command of commands) {
    assertEquals(command("present"), failed(0) as CommandResult);
    assertEquals(command({ revision: 1 }), failed(0) as CommandResult);
    assertEquals(command({ revision: 0 }), failed(0) as CommandResult);
  }
  assertEquals(client.store.revision, 0);
  assertEquals(client.put("a", "1", "absent").status, "ok");
  for (const command of commands) {
    assertEquals(command("absent"), failed(1) as CommandResult);
    assertEquals(command({ revision: 2 }), failed(1) as CommandResult);
  }
  assertEquals(client.append("a", "2", { revision: 1 }).status, "ok");
  assertEquals(client.put("a", "3", "present").status, "ok");
  assertEquals(client.delete("a", { revision: 3 }).status, "ok");
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
  const payload = encodeRequest({ command: { type: "put", key: "k", value: toBytes("value") } });
  batch.set(payload, 100);
  applyRequest(client.store, batch.subarray(100, 100 + payload.length));
  const appended = encodeRequest({ command: { type: "append", key: "n", value: toBytes("x") } });
  batch.set(appended, 1000);
  applyRequest(client.store, batch.subarray(1000, 1000 + appended.length));
  batch.fill(0xee);
  assertEquals([client.valueOf("k"), client.valueOf("n")], ["value", "x"]);
  // What a value may keep alive besides itself is bounded, and a large one shares with nobody.
  const put = (index: number, value: Uint8Array): number => {
    const large = encodeRequest({ command: { type: "put", key: "l", value } });
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
    encodeRequest({ command: { type: "put", key: `key ${n}`, value: toBytes(value) } })
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
  assertEquals(failed, { status: "precondition-failed", revision: 2 });
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
      encodeRequest({ command: { type: "delete", key: "k" }, once: once(n) }),
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
    const command: Command = { type: "delete", key: "k" };
    const check = (): unknown => store.check(encodeRequest({ command, once: once(9) }));
    assertEquals(store.nextDeadlineMs(), Infinity);
    const firstMs = client.timeMs;
    for (const n of [1, 2]) client.apply(command, once(n));
    assertEquals(check(), "overloaded");
    assertEquals(store.nextDeadlineMs(), firstMs + ageMs);
    // While entries come, they let time pass: nothing is asked for.
    client.wait(ageMs - 1);
    assertEquals([check(), store.nextDeadlineMs()], ["overloaded", client.timeMs + ROOM_PAUSE_MS]);
    client.wait(ROOM_PAUSE_MS);
    assertEquals([check(), store.nextDeadlineMs()], [undefined, Infinity]);
  }
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
const anyCommand: fc.Arbitrary<Command> = fc.record({
  type: fc.constantFrom("put", "append", "delete"),
  key: fc.nat(200).map((n) => `k${n}`),
  value: fc.uint8Array({ maxLength: 5 }),
  condition: fc.option(fc.constantFrom<Condition>("absent", "present", { revision: 3 }), {
    nil: undefined,
  }),
}) as fc.Arbitrary<Command>;
const history = fc.array(
  fc.record({ command: anyCommand, once: anyOnce, passedMs: fc.constantFrom(0, 1, 200_000) }),
  { minLength: 1, maxLength: 150, size: "max" },
);

Deno.test("replicas with the same history have the same hash and results, whatever their towers", () => {
  fc.assert(
    fc.property(history, fc.integer(), fc.nat(1000), (entries, seed, missing) => {
      const [one, two] = [new Client({ seed }), new Client({ seed: seed ^ 0x5555 })];
      const third = new Client();
      for (let at = 0; at < entries.length; at++) {
        const { command, once, passedMs } = entries[at]!;
        for (const client of [one, two, third]) client.timeMs += passedMs;
        assertEquals(one.apply(command, once), two.apply(command, once));
        assertEquals(one.store.stateHash(), two.store.stateHash());
        if (at === missing % entries.length) {
          third.apply({ type: "put", key: "only here", value: toBytes("x") });
        } else third.apply(command, once);
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
      const run = ({ command, once, passedMs }: (typeof before)[number]): CommandResult => {
        client.timeMs += passedMs;
        return client.apply(command, once);
      };
      before.forEach(run);
      const hash = client.store.stateHash();
      const frozen = client.store.freeze();
      const results = after.map(run);
      assertEquals([frozen.stateHash, frozen.lastApplied], [hash, before.length]);
      const restored = new Client();
      restored.store.load(frozen.chunks());
      frozen.release();
      assertEquals(restored.store.stateHash(), hash);
      assertEquals(restored.store.revision + 0, restored.store.revision);
      // What is restored goes on as the original did.
      restored.timeMs = client.timeMs - after.reduce((sum, { passedMs }) => sum + passedMs, 0);
      after.forEach(({ command, once, passedMs }, at) => {
        restored.timeMs += passedMs;
        assertEquals(restored.apply(command, once), results[at]);
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
  const chunks = [...client.store.freeze().chunks()];
  assertEquals(chunks.length, 3);
  const whole = new Uint8Array(chunks.flatMap((chunk) => [...chunk]));
  const load = (bytes: Uint8Array): void => new KvStore().load([bytes]);
  load(whole);
  for (let size = 0; size < whole.length; size++) {
    assertThrows(() => load(whole.subarray(0, size)), StateError);
  }
  for (let at = 0; at < whole.length; at++) {
    const changed = whole.slice();
    changed[at]! ^= 0x15;
    let refused = false;
    try {
      load(changed);
    } catch (error) {
      assert(error instanceof StateError, `byte ${at}: ${error}`);
      refused = true;
    }
    // The order of uses is the only part that the hash does not hold.
    if (!refused) assert(isOfUse(whole, at), `byte ${at} was changed and nobody noticed`);
  }
  assertThrows(() => load(new Uint8Array([...whole, 1])), StateError, "follow its end");
});

/** Whether a byte belongs to the number of a use, of which there are two. */
function isOfUse(whole: Uint8Array, at: number): boolean {
  const view = new DataView(whole.buffer);
  for (let start = at - 7; start <= at; start++) {
    if (start < 0 || start + 8 > whole.length) continue;
    const value = view.getFloat64(start, true);
    if (value >= 1 && value <= 4 && Number.isInteger(value)) return true;
  }
  return false;
}
