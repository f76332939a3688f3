/**
 * Increments, ranges and deletes of ranges in commands.
 *
 * @module
 */
import { assertEquals } from "@std/assert";
import { toBytes } from "../../../storage/byte_string.ts";
import { type Command, encodeCommand } from "../../../storage/kv/command.ts";
import type { CommandResult } from "../../../storage/kv/command_result.ts";
import {
  INTEGER_MAX,
  INTEGER_MIN,
  RANGE_DELETE_KEYS_MAX,
  RESULT_BYTES_MAX,
  VALUE_BYTES_MAX,
} from "../../../storage/kv/limits.ts";
import type { Operation } from "../../../storage/kv/operations/operations.ts";
import { Client, done } from "./client.ts";
import { commandOf } from "./command_of.ts";

const increment = (key: string, by: bigint): Operation => ({ type: "increment", key, by });
const deleteRange = (start: string, end?: string): Operation => (
  { type: "deleteRange", start, end }
);
const range = (start: string, end?: string, more: Partial<Operation> = {}): Operation => ({
  ...{ type: "range", start, end, limit: 10, reverse: false, keysOnly: false },
  ...more as object,
});

function all(...success: Operation[]): Command {
  return { compares: [], success, failure: [] };
}

function keysRead(result: CommandResult): unknown {
  if (result.status !== "ok") return result.status;
  return result.results.map((one) => one.type === "range" ? one.items.map(({ key }) => key) : one);
}

Deno.test("increment: a missing key counts as 0, and the value is the number's decimal text", () => {
  const client = new Client();
  const by = (n: bigint): CommandResult => client.apply(increment("n", n));
  const told = (revision: number, value: string): CommandResult =>
    done(revision, { type: "increment", value, version: revision, created: revision === 1 });
  assertEquals(by(5n), told(1, "5"));
  assertEquals(by(-7n), told(2, "-2"));
  assertEquals(by(0n), told(3, "-2"));
  assertEquals(client.valueOf("n"), "-2");
  assertEquals(client.apply(increment("min", INTEGER_MIN)).status, "ok");
  assertEquals(client.apply(increment("min", -1n)), { status: "overflow" });
  assertEquals(client.apply(increment("max", INTEGER_MAX)).status, "ok");
  assertEquals(client.apply(increment("max", 1n)), { status: "overflow" });
  assertEquals(client.valueOf("max"), String(INTEGER_MAX));
  assertEquals(client.store.revision, 5);
});

Deno.test("increment: what is not the one text of a 64-bit integer is left as it is", () => {
  const texts = ["", "x", " 1", "1 ", "01", "-0", "+1", "1.0", "1e3", "-", "9223372036854775808"];
  for (const text of [...texts, "9".repeat(VALUE_BYTES_MAX)]) {
    const client = new Client();
    client.put("k", text);
    assertEquals(client.apply(increment("k", 1n)), { status: "not-integer" }, text.slice(0, 30));
    const { value } = client.store.get("k")!;
    assertEquals([value.length, client.store.revision], [text.length, 1]);
  }
});

Deno.test("increment: a content type stays, and a command of which one overflows changes nothing", () => {
  const client = new Client();
  client.apply({ type: "put", key: "k", value: toBytes("41"), contentType: "text/plain" });
  client.apply(increment("k", 1n));
  assertEquals(client.store.get("k")!.contentType, "text/plain");
  const command = all(increment("k", 1n), increment("k", INTEGER_MAX), increment("k", 1n));
  assertEquals(client.execute(command), { status: "overflow" });
  assertEquals(client.valueOf("k"), "42");
});

Deno.test("increment: a repeat with its idempotency key adds nothing, also if it could not be done", () => {
  const client = new Client();
  const once = { type: "idempotencyKey", key: "i", fingerprint: "f" } as const;
  const first = client.apply(increment("n", 1n), once);
  assertEquals(
    client.apply(increment("n", 1n), once),
    { ...first, replayed: true } as CommandResult,
  );
  client.put("x", "x");
  const failing = { ...once, key: "j" };
  assertEquals(client.apply(increment("x", 1n), failing), { status: "not-integer" });
  client.delete("x");
  assertEquals(client.apply(increment("x", 1n), failing), {
    ...{ status: "not-integer", replayed: true },
  });
});

Deno.test("a range is read in order, within its bounds and its limit, and counted as a whole", () => {
  const client = new Client();
  for (const key of ["a", "b", "b\0", "c", "\xff"]) client.put(key, key);
  const read = (...operations: Operation[]): unknown =>
    keysRead(client.execute(all(...operations)));
  assertEquals(read(range("")), [["a", "b", "b\0", "c", "\xff"]]);
  assertEquals(read(range("b", "c")), [["b", "b\0"]]);
  assertEquals(read(range("c", "b")), [[]]);
  assertEquals(read(range("", undefined, { reverse: true, limit: 2 })), [["\xff", "c"]]);
  const result = client.execute(all(range("b", undefined, { limit: 1, keysOnly: true })));
  const entry = { contentType: undefined, created: 2, revision: 2, version: 1 };
  const items = [{ key: "b", value: new Uint8Array(0), ...entry }];
  assertEquals(result, done(5, { type: "range", items, count: 4 }));
  assertEquals(client.execute(all(range("", undefined, { limit: 0 }))), {
    ...done(5, { type: "range", items: [], count: 5 }),
  });
});

Deno.test("ranges see what the operations before them did, and deletes have one revision", () => {
  const client = new Client();
  for (const key of ["a", "b", "c"]) client.put(key, key);
  const result = client.execute(all(
    deleteRange("b", "c"),
    commandOf({ type: "put", key: "bb", value: toBytes("1") }).success[0]!,
    range("", undefined, { keysOnly: true }),
    deleteRange("b"),
    deleteRange("b"),
  ));
  assertEquals(keysRead(result), [
    { type: "deleteRange", deleted: 1 },
    { type: "put", version: 1, created: true },
    ["a", "bb", "c"],
    { type: "deleteRange", deleted: 2 },
    { type: "deleteRange", deleted: 0 },
  ]);
  assertEquals([client.store.revision, client.store.size], [4, 1]);
});

Deno.test("RESULT_BYTES_MAX: a range that reads more is refused, and its command changes nothing", () => {
  const client = new Client();
  const value = "v".repeat(VALUE_BYTES_MAX);
  client.put("a", value);
  client.put("b", value.slice(0, RESULT_BYTES_MAX - VALUE_BYTES_MAX - 500));
  assertEquals(keysRead(client.execute(all(range("")))), [["a", "b"]]);
  client.put("c", "x".repeat(500));
  const command = all(increment("n", 1n), range(""));
  assertEquals(client.execute(command), { status: "too-large" });
  assertEquals(client.valueOf("n"), undefined);
  client.put("text", "x");
  const readsOn = all(range(""), range(""), increment("text", 1n));
  assertEquals(client.execute(readsOn), { status: "too-large" }, "it ends where it is too much");
});

Deno.test("RANGE_DELETE_KEYS_MAX: so many keys are deleted at once, and one more are not", () => {
  const client = new Client();
  for (let index = 1, n = 0; n <= RANGE_DELETE_KEYS_MAX; index++) {
    const requests: Uint8Array[] = [];
    for (; n <= RANGE_DELETE_KEYS_MAX && requests.length < 1_000; n++) {
      const key = String(n).padStart(7, "0");
      requests.push(encodeCommand(commandOf({ type: "put", key, value: toBytes("") })));
    }
    client.store.apply({ index, term: 1, timeMs: 0, kind: "command", requests });
  }
  const hash = client.store.stateHash();
  assertEquals(client.apply(deleteRange("")), { status: "too-large" });
  assertEquals(client.store.size, RANGE_DELETE_KEYS_MAX + 1);
  assertEquals(client.store.stateHash() === hash, false, "an entry was applied");
  const first = String(1).padStart(7, "0");
  assertEquals(
    keysRead(client.apply(deleteRange(first))),
    [{ type: "deleteRange", deleted: RANGE_DELETE_KEYS_MAX }],
  );
  assertEquals(client.store.size, 1);
});

Deno.test("increments and ranges are too new before the cluster has agreed on them", () => {
  const { store } = new Client();
  const check = (command: Command, clusterVersion: number): unknown =>
    store.check(encodeCommand(command), clusterVersion);
  for (const operation of [increment("k", 1n), deleteRange(""), range("")]) {
    assertEquals([check(all(operation), 1), check(all(operation), 2)], ["too-new", undefined]);
    assertEquals(check({ ...all(), failure: [operation] }, 1), "too-new");
  }
  assertEquals(check(all({ type: "get", key: "k" }), 1), undefined);
});
