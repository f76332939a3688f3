import { assert, assertEquals } from "@std/assert";
import fc from "fast-check";
import { toBytes } from "../../../storage/byte_string.ts";
import { type Command, encodeCommand } from "../../../storage/kv/command.ts";
import type { CommandResult } from "../../../storage/kv/command_result.ts";
import type { Compare, CompareOperator } from "../../../storage/kv/compare.ts";
import {
  IDEMPOTENCY_RETENTION_MS,
  RESULT_BYTES_MAX,
  RESULT_OVERHEAD_BYTES,
  SESSION_RESULT_BYTES_MAX,
  SESSION_WINDOW,
  VALUE_BYTES_MAX,
} from "../../../storage/kv/limits.ts";
import type { Once } from "../../../storage/kv/once.ts";
import type { Operation } from "../../../storage/kv/operations/operations.ts";
import type { KvEntry } from "../../../storage/kv/entry.ts";
import { KvStore } from "../../../storage/kv/kv_store.ts";
import { Client, compareOf, done, loadState } from "./client.ts";
import { commandOf } from "./command_of.ts";

const put = (key: string, value: string): Operation => (
  { type: "put", key, value: toBytes(value) }
);
const get = (key: string): Operation => ({ type: "get", key });
const remove = (key: string): Operation => ({ type: "delete", key });
const append = (key: string, value: Uint8Array): Operation => ({ type: "append", key, value });

const onces: readonly Once[] = [
  { type: "idempotencyKey", key: "i", fingerprint: "f" },
  { type: "session", clientId: "c", sequence: 1 },
];

function all(...success: Operation[]): Command {
  return { compares: [], success, failure: [] };
}

Deno.test("a revision changes a key once, however often its command did", () => {
  const store = new KvStore();
  const execute = (...success: Operation[]): string[] => {
    const requests = [encodeCommand(all(...success))];
    const index = store.lastApplied + 1;
    const { changes } = store.apply({ index, term: 1, timeMs: 0, kind: "command", requests });
    return changes.map(({ key, entry, previous, revision }) => {
      const text = (value: KvEntry | undefined): string =>
        value === undefined ? "none" : new TextDecoder().decode(value.value);
      return `${revision} ${key}: ${text(previous)} -> ${text(entry)}`;
    });
  };
  assertEquals(execute(put("b", "1"), put("a", "1")), ["1 b: none -> 1", "1 a: none -> 1"]);
  assertEquals(
    execute(put("a", "2"), append("b", toBytes("2")), put("a", "3"), append("b", toBytes("3"))),
    ["2 a: 1 -> 3", "2 b: 1 -> 123"],
  );
  assertEquals(execute(remove("a"), put("a", "4"), remove("b")), [
    "3 a: 3 -> 4",
    "3 b: 123 -> none",
  ]);
  // What was there neither before nor after is no change, though the revision is a new one.
  assertEquals(execute(put("c", "1"), remove("c")), []);
  assertEquals([store.revision, execute(put("c", "2"))], [4, ["5 c: none -> 2"]]);
});

Deno.test("operations see what those before them did, and all of them have one revision", () => {
  const client = new Client();
  client.put("old", "1");
  const entry = {
    value: toBytes("ab"),
    contentType: undefined,
    created: 2,
    revision: 2,
    version: 2,
  };
  assertEquals(
    client.execute(all(
      put("a", "a"),
      append("a", toBytes("b")),
      get("a"),
      remove("old"),
      get("old"),
      remove("old"),
      put("old", "2"),
    )),
    done(
      2,
      { type: "put", version: 1, created: true },
      { type: "append", version: 2, length: 2, created: false },
      { type: "get", entry },
      { type: "delete", deleted: 1 },
      { type: "get", entry: undefined },
      { type: "delete", deleted: 0 },
      { type: "put", version: 1, created: true },
    ),
  );
  assertEquals(client.store.get("old")!.created, 2);
  assertEquals([client.store.revision, client.store.size], [2, 2]);
});

Deno.test("a command that changes nothing has no revision", () => {
  const client = new Client();
  client.put("a", "1");
  assertEquals(
    client.execute(all(get("b"), remove("b"))),
    done(1, { type: "get", entry: undefined }, { type: "delete", deleted: 0 }),
  );
  assertEquals(client.execute(all()), done(1));
});

Deno.test("compares see the store as it was, and choose the list that is executed", () => {
  const client = new Client();
  client.put("a", "1");
  const command: Command = {
    compares: [compareOf("a", { revision: 1 }), compareOf("b", "absent")],
    success: [put("a", "2"), put("b", "2")],
    failure: [get("b"), put("c", "3")],
  };
  const created = { type: "put", version: 1, created: true } as const;
  assertEquals(
    client.execute(command),
    done(2, { ...created, version: 2, created: false }, created),
  );
  const entry = {
    value: toBytes("2"),
    contentType: undefined,
    created: 2,
    revision: 2,
    version: 1,
  };
  assertEquals(client.execute(command), {
    ...{ status: "ok", succeeded: false, presentRevision: 2, revision: 3 },
    results: [{ type: "get", entry }, created],
  });
  assertEquals(["a", "b", "c"].map((key) => client.valueOf(key)), ["2", "2", "3"]);
});

Deno.test("a compare holds as its operator says, and of a missing key as of zeros without a value", () => {
  const client = new Client();
  client.put("other", "x");
  client.put("a", "m");
  client.put("a", "mm");
  const operators: CompareOperator[] = ["==", "!=", "<", ">"];
  const held = (compare: Omit<Compare, "operator">): CompareOperator[] =>
    operators.filter((operator) => {
      const command = { ...all(), compares: [{ ...compare, operator } as Compare] };
      return (client.execute(command) as { succeeded: boolean }).succeeded;
    });
  const numbers = { created: 2, revision: 3, version: 2 };
  for (const [target, actual] of Object.entries(numbers)) {
    const numbered = (key: string, operand: number): CompareOperator[] =>
      held({ key, target: target as keyof typeof numbers, operand });
    assertEquals(numbered("a", actual), ["=="]);
    assertEquals(numbered("a", actual + 1), ["!=", "<"]);
    assertEquals(numbered("a", actual - 1), ["!=", ">"]);
    assertEquals([numbered("none", 0), numbered("none", 1)], [["=="], ["!=", "<"]]);
  }
  const valued = (key: string, operand: string): CompareOperator[] =>
    held({ key, target: "value", operand: toBytes(operand) });
  assertEquals(valued("a", "mm"), ["=="]);
  for (const smaller of ["", "m", "ml", "mlz"]) assertEquals(valued("a", smaller), ["!=", ">"]);
  for (const greater of ["mma", "mn", "z", "\xff"]) assertEquals(valued("a", greater), ["!=", "<"]);
  assertEquals(valued("none", ""), []);
});

Deno.test("a command of which one operation cannot be done leaves no trace", () => {
  const [client, twin] = [new Client(), new Client()];
  for (const { store } of [client, twin]) {
    const requests = [put("a", "1"), append("full", new Uint8Array(VALUE_BYTES_MAX))].map((one) =>
      encodeCommand(commandOf(one))
    );
    store.apply({ index: 1, term: 1, timeMs: 0, kind: "command", requests });
  }
  const command = all(
    ...[put("a", "2"), put("b", "2"), remove("a"), put("a", "3"), remove("b"), remove("full")],
    ...[append("full", new Uint8Array(VALUE_BYTES_MAX)), append("full", toBytes("x"))],
  );
  const requests = [commandOf(put("c", "1")), command, commandOf(put("d", "1"))];
  const { results, changes } = client.store.apply({
    ...{ index: 2, term: 1, timeMs: 0, kind: "command" },
    requests: requests.map(encodeCommand),
  });
  const created = { type: "put", version: 1, created: true } as const;
  assertEquals(results, [done(3, created), { status: "too-large" }, done(4, created)]);
  assertEquals(changes.map(({ key, revision }) => [key, revision]), [["c", 3], ["d", 4]]);
  twin.store.apply({
    ...{ index: 2, term: 1, timeMs: 0, kind: "command" },
    requests: [requests[0]!, requests[2]!].map(encodeCommand),
  });
  assertEquals(client.store.stateHash(), twin.store.stateHash());
  assertEquals([client.valueOf("a"), client.valueOf("b"), client.store.size], ["1", undefined, 4]);
});

Deno.test("whatever its operations are, a command takes effect as they do one by one, or not at all", () => {
  // Three of them are too large for one value, and four fit one command.
  const third = new Uint8Array(VALUE_BYTES_MAX / 3 + 1);
  const operation = fc.record({
    type: fc.constantFrom("get", "delete", "put", "append"),
    key: fc.constantFrom("a", "b"),
    size: fc.constantFrom("small", "large"),
  });
  const script = fc.array(fc.array(operation, { maxLength: 4 }), { minLength: 1, maxLength: 8 });
  const outcomes = new Set<string>();
  fc.assert(
    fc.property(script, (commands) => {
      const [client, model] = [new Client(), new Client()];
      for (const drawn of commands) {
        const operations = drawn.map(({ type, key, size }) => (
          { type, key, value: size === "small" ? toBytes("x") : third } as Operation
        ));
        const before = lengths(model);
        const result = client.execute(all(...operations));
        const steps = operations.map((one) => model.apply(one));
        outcomes.add(result.status);
        if (result.status === "ok") {
          assertEquals(
            result.results.map(({ type }) => type),
            operations.map(({ type }) => type),
          );
          assertEquals([steps.every(({ status }) => status === "ok"), lengths(client)], [
            true,
            lengths(model),
          ]);
        } else {
          assertEquals([steps.every(({ status }) => status === "ok"), lengths(client)], [
            false,
            before,
          ]);
          // The model goes on from where the store is.
          for (const name of ["a", "b", "c"]) model.delete(name);
          for (const { key, value } of client.store.range({ limit: 3 })) {
            model.apply({ type: "put", key, value });
          }
        }
      }
    }),
    { numRuns: 100, seed: 1 },
  );
  assertEquals(outcomes, new Set(["ok", "too-large"]));
});

Deno.test("a repeated command returns its first results, whatever happened since", () => {
  for (const once of onces) {
    const client = new Client();
    client.put("a", "1");
    const command: Command = {
      compares: [compareOf("b", "present")],
      success: [],
      failure: [get("a"), put("b", "2"), get("none"), remove("a"), append("b", toBytes("3"))],
      once,
    };
    const first = client.execute(command);
    assert(first.status === "ok" && first.results.length === 5);
    client.put("b", "9");
    client.put("a", "9");
    const again = { ...first, replayed: true } as CommandResult;
    assertEquals(client.execute(command), again);
    // Also on a member that begins with a snapshot.
    const restored = new Client();
    loadState(restored.store, client.store.freeze().chunks());
    assertEquals([restored.execute(command), client.execute(command)], [again, again]);
    assertEquals(restored.store.stateHash(), client.store.stateHash());
  }
});

Deno.test("a command that could not be done is remembered as such", () => {
  for (const once of onces) {
    const client = new Client();
    client.put("a", "1");
    const command = { ...all(append("a", new Uint8Array(VALUE_BYTES_MAX)), put("b", "1")), once };
    assertEquals(client.execute(command), { status: "too-large" });
    client.delete("a");
    assertEquals(client.execute(command), { status: "too-large", replayed: true });
    assertEquals(client.store.size, 0);
  }
});

Deno.test("RESULT_BYTES_MAX: a command may read so much and no more, and then changes nothing", () => {
  const client = new Client();
  const values = RESULT_BYTES_MAX / VALUE_BYTES_MAX;
  const gets = Array.from({ length: values }, (_, at) => get(`k${at}`));
  const spare = (values + 1) * RESULT_OVERHEAD_BYTES;
  const fill = (at: number, length: number): void =>
    void client.apply({ type: "put", key: `k${at}`, value: new Uint8Array(length) });
  for (let at = 0; at < values; at++) fill(at, VALUE_BYTES_MAX);
  fill(0, VALUE_BYTES_MAX - spare);
  const { revision } = client.store;
  assertEquals(client.execute(all(put("a", "1"), ...gets)).status, "ok");
  fill(0, VALUE_BYTES_MAX - spare + 1);
  assertEquals(client.execute(all(put("a", "2"), ...gets)), { status: "too-large" });
  assertEquals([client.valueOf("a"), client.store.revision], ["1", revision + 2]);
});

Deno.test("what results hold counts where they are kept, and a command that needs no room is taken", () => {
  assert(SESSION_RESULT_BYTES_MAX > RESULT_BYTES_MAX);
  // Room for the largest get, and for a small one not besides it.
  const bytesMax = VALUE_BYTES_MAX + 2 * 1024;
  const sequence = (n: number): Once => ({ type: "session", clientId: "c", sequence: n });
  const key = (n: number): Once => ({ type: "idempotencyKey", key: `i${n}`, fingerprint: "f" });
  const tables = [
    { once: sequence, options: { sessionResultBytesMax: bytesMax }, last: SESSION_WINDOW + 1 },
    { once: key, options: { idempotencyBytesMax: bytesMax }, last: 3 },
  ];
  for (const { once, options, last } of tables) {
    const client = new Client(options);
    const reading = (n: number): Command => commandOf(get("a"), { once: once(n) });
    const check = (command: Command): unknown => client.store.check(encodeCommand(command), 1);
    client.put("a", "x".repeat(2 * 1024));
    assertEquals(check(reading(1)), undefined);
    assertEquals(client.execute(reading(1)).status, "ok");
    assertEquals([check(reading(1)), check(reading(2))], [undefined, "overloaded"]);
    assertEquals(client.execute(reading(2)), { status: "overloaded" });
    assert("replayed" in client.execute(reading(1)));
    assertEquals(client.apply(put("b", "1"), once(2)).status, "ok");
    assertEquals(client.apply(put("b", "1"), once(last)).status, "ok");
    // What a session's window leaves behind makes room at once, and a key when it is old enough.
    client.wait(IDEMPOTENCY_RETENTION_MS);
    assertEquals(client.execute(reading(last + 1)).status, "ok");
    loadState(client.store, client.store.freeze().chunks());
    assertEquals(check(reading(last + 2)), "overloaded");
  }
});

/** The keys with the lengths of their values, which is all that the test's commands differ in. */
function lengths({ store }: Client): [string, number][] {
  return Array.from(store.range({ limit: 10 }), ({ key, value }) => [key, value.length]);
}
