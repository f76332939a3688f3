import { assert, assertEquals, assertThrows } from "@std/assert";
import type { Delivery, LocalRef } from "../../actors/runtime/actor.ts";
import {
  APPLY_BYTES_MAX,
  MachineActor,
  type MachineSignal,
  type NotApplied,
} from "../../actors/machine_actor.ts";
import { RaftLog } from "../../machines/raft_log.ts";
import type { EntryKind } from "../../machines/raft_types.ts";
import { packRequests } from "../../machines/request_batch.ts";
import { encodeCommand } from "../../storage/kv/command.ts";
import type { CommandResult } from "../../storage/kv/command_result.ts";
import { KvStore } from "../../storage/kv/kv_store.ts";
import { encodeRun } from "../../storage/log/wal_record.ts";
import { VirtualPorts } from "./virtual_ports.ts";
import { commandOf } from "../storage/kv/command_of.ts";

type Signal = MachineSignal<CommandResult>;

class Bench {
  readonly ports = new VirtualPorts();
  readonly store = new KvStore();
  readonly log = new RaftLog();
  /** `name: outcome` of every answer, in order. */
  readonly answers: string[] = [];
  readonly actor: MachineActor<CommandResult>;
  readonly #mailbox: Signal[] = [];

  constructor() {
    const self = {
      signal: (signal: Signal) => void this.#mailbox.push(signal),
    } as unknown as LocalRef<never, never, Signal>;
    this.actor = new MachineActor({
      machine: this.store,
      entries: (from, through, bytesMax) => this.log.slice(from, through, bytesMax),
      scheduler: this.ports.scheduler,
      onConfig: () => {},
      onAudit: () => {},
      snapshotAfter: { bytes: Infinity, entries: Infinity },
      onSnapshotDue: () => {},
      self: () => self,
    });
  }

  /** Appends entries of `term`: an append of the name to the key "k", or a no-op for "". */
  append(term: number, ...names: string[]): void {
    for (const name of names) {
      const value = new TextEncoder().encode(name);
      const payload = encodeCommand(commandOf({ type: "append", key: "k", value }));
      const kind: EntryKind = name === "" ? "noop" : "command";
      this.log.append(encodeRun({
        group: 0,
        term,
        firstIndex: this.log.lastIndex + 1,
        timeMs: 1,
        kind,
        payloads: kind === "noop" ? [new Uint8Array(0)] : packRequests([payload]).payloads,
      }));
    }
  }

  expect(term: number, firstIndex: number, ...names: string[]): Signal {
    const answers = names.map((name) => ({
      reply: (outcome: CommandResult | NotApplied) => {
        const [result] = outcome.status === "ok" ? outcome.results : [];
        const length = result?.type === "append" ? ` ${result.length}` : "";
        this.answers.push(`${name}: ${outcome.status}${length}`);
      },
    }));
    return { type: "Expect", term, firstIndex, counts: names.map(() => 1), answers };
  }

  read(index: number, name: string): Signal {
    const answers = [{ reply: () => this.answers.push(`${name}: ready`) }];
    return { type: "AwaitApplied", index, answers };
  }

  turn(...messages: Signal[]): void {
    const batch = [...this.#mailbox.splice(0), ...messages].map((message) =>
      ({ message }) as unknown as Delivery<Signal>
    );
    this.actor.receive(batch);
  }

  get text(): string {
    return new TextDecoder().decode(this.store.get("k")?.value);
  }
}

const committed = (through: number): Signal => ({ type: "Committed", through });

Deno.test("S14: a proposal is answered with its result, also when it commits in the same turn", () => {
  const bench = new Bench();
  bench.append(1, "", "a", "b");
  bench.turn(bench.expect(1, 2, "a", "b"), committed(3));
  assertEquals(bench.answers, ["a: ok 1", "b: ok 2"]);
  assertEquals(bench.text, "ab");
});

Deno.test("nothing is applied or answered before it is committed", () => {
  const bench = new Bench();
  bench.append(1, "", "a", "b");
  bench.turn(bench.expect(1, 2, "a", "b"), committed(2));
  assertEquals([bench.answers, bench.text], [["a: ok 1"], "a"]);
  bench.turn(committed(3));
  assertEquals(bench.answers, ["a: ok 1", "b: ok 2"]);
});

Deno.test("a commit that is told again, or late, applies nothing twice", () => {
  const bench = new Bench();
  bench.append(1, "a", "b");
  bench.turn(committed(2));
  bench.turn(committed(1), committed(2));
  assertEquals([bench.text, bench.store.lastApplied], ["ab", 2]);
});

Deno.test("a proposal whose place another leader's entry took was not applied", () => {
  const bench = new Bench();
  bench.append(1, "");
  bench.turn(bench.expect(1, 2, "a", "b"));
  bench.append(3, "", "other");
  bench.turn(committed(3));
  assertEquals(bench.answers, ["a: not-applied", "b: not-applied"]);
  assertEquals(bench.text, "other");
});

Deno.test("Fig. 8: a proposal that its leader lost is answered by what is committed in the end", () => {
  const bench = new Bench();
  bench.append(1, "");
  bench.turn(bench.expect(1, 2, "a"));
  // Leadership was lost. The entry may still be on another node, so its outcome is unknown.
  assertEquals(bench.answers, []);
  bench.append(1, "a");
  bench.turn(committed(2));
  assertEquals(bench.answers, ["a: ok 1"]);
});

Deno.test("after leadership flaps every proposal gets the answer of its own term", () => {
  const bench = new Bench();
  bench.turn(bench.expect(1, 1, "a1", "b1", "c1"));
  bench.turn(bench.expect(3, 2, "b3", "c3"));
  bench.turn(bench.expect(5, 2, "b5"));
  bench.append(1, "a");
  bench.append(3, "b");
  bench.append(5, "");
  bench.turn(committed(3));
  assertEquals(bench.answers.toSorted(), [
    "a1: ok 1",
    "b1: not-applied",
    "b3: ok 2",
    "b5: not-applied",
    "c1: not-applied",
    "c3: not-applied",
  ]);
});

Deno.test("proposals of one leadership in many batches are answered one by one", () => {
  const bench = new Bench();
  const names = Array.from({ length: 3_000 }, (_, at) => `n${at}`);
  names.forEach((name, at) => bench.turn(bench.expect(1, at + 1, name)));
  bench.append(1, ...names);
  for (let through = 0; through < names.length; through += 7) bench.turn(committed(through));
  bench.turn(committed(names.length));
  assertEquals(bench.answers.map((answer) => answer.split(":")[0]), names);
  assert(bench.answers.every((answer) => answer.includes(": ok")));
});

Deno.test("a read is released once its index is applied, and not before", () => {
  const bench = new Bench();
  bench.append(1, "a", "b");
  bench.turn(bench.read(0, "r0"), bench.read(2, "r2"), committed(1));
  assertEquals(bench.answers, ["r0: ready"]);
  bench.turn(bench.read(1, "r1"));
  assertEquals(bench.answers, ["r0: ready", "r1: ready"]);
  bench.turn(committed(2));
  assertEquals(bench.answers, ["r0: ready", "r1: ready", "r2: ready"]);
});

Deno.test("S09: much is applied in parts, in order, with the event loop in between", () => {
  const bench = new Bench();
  const name = "x".repeat(1_000);
  const count = Math.ceil(3 * APPLY_BYTES_MAX / 1_000);
  bench.append(1, ...Array.from({ length: count }, () => name));
  bench.turn(bench.read(count, "all"), committed(count));
  const parts = [bench.store.lastApplied];
  while (bench.store.lastApplied < count) {
    assertEquals(bench.answers, []);
    // Another message in between applies nothing out of turn.
    bench.turn(bench.read(count, "late"));
    assertEquals(bench.store.lastApplied, parts.at(-1));
    bench.ports.turn();
    bench.turn();
    parts.push(bench.store.lastApplied);
    assert(parts.at(-1)! > parts.at(-2)!, "no progress");
  }
  assert(parts.length >= 3);
  assertEquals(bench.answers.length, parts.length);
  assertEquals(bench.store.get("k")?.value.length, 1_000 * count);
});

Deno.test("the requests of one entry take effect in their order and are answered one by one", () => {
  const bench = new Bench();
  const requests = ["a", "b", "c"].map((name) =>
    encodeCommand(commandOf({ type: "append", key: "k", value: new TextEncoder().encode(name) }))
  );
  const { payloads, counts } = packRequests(requests);
  assertEquals(counts, [3]);
  const run = { group: 0, term: 1, firstIndex: 1, timeMs: 1, kind: "command", payloads } as const;
  bench.log.append(encodeRun(run));
  const { answers } = bench.expect(1, 1, "a", "b", "c") as Extract<Signal, { type: "Expect" }>;
  bench.turn({ type: "Expect", term: 1, firstIndex: 1, counts, answers }, committed(1));
  assertEquals(bench.answers, ["a: ok 1", "b: ok 2", "c: ok 3"]);
  assertEquals([bench.text, bench.store.lastApplied], ["abc", 1]);
});

Deno.test("a committed entry that the log does not hold stops the node, and is not waited for", () => {
  const bench = new Bench();
  assertThrows(() => bench.turn(committed(1)), Error, "the log does not hold it");
});
