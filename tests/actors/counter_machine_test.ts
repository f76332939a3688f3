/**
 * Another state machine than the store runs on the same host of Raft: the interface between them is
 * general.
 *
 * @module
 */
import { assertEquals } from "@std/assert";
import { isResult, raftAnswerContract } from "../../actors/raft_request.ts";
import type {
  Applied,
  AppliedEntry,
  FrozenState,
  RequestRefusal,
  StateMachine,
} from "../../machines/state_machine.ts";
import type { WireValue } from "../../transport/wire/messages.ts";
import type { MemoryDisk } from "../sim/memory_disk.ts";
import { LoneGroup, promptDisk } from "./lone_group.ts";

interface Count {
  readonly count: number;
}

/** Adds each request's only byte to a number, which is halved once it was left alone for a while. */
class CounterMachine implements StateMachine<Count, Count> {
  readonly version = 1;
  lastApplied = 0;
  count = 0;
  #changedMs = 0;

  check(request: Uint8Array): RequestRefusal | undefined {
    return request.length === 1 ? undefined : "invalid";
  }

  apply({ index, timeMs, requests }: AppliedEntry): Applied<Count, Count> {
    this.lastApplied = index;
    if (timeMs >= this.nextDeadlineMs()) {
      this.count = Math.floor(this.count / 2);
      this.#changedMs = timeMs;
    }
    const results = requests.map(([by]) => {
      this.count += by!;
      this.#changedMs = timeMs;
      return { count: this.count };
    });
    return { results, changes: results };
  }

  resultOf(value: unknown): Count | undefined {
    const count = (value as Partial<Count> | null)?.count;
    return typeof count === "number" ? { count } : undefined;
  }

  nextDeadlineMs(): number {
    return this.count === 0 ? Infinity : this.#changedMs + 1_000;
  }

  freeze(): FrozenState {
    const { lastApplied, count } = this;
    const stateHash = this.stateHash();
    const chunks = (): Uint8Array[] => [new Uint8Array([lastApplied, count])];
    return { lastApplied, stateHash, chunks, release: () => {} };
  }

  *load(chunks: Iterable<Uint8Array>): Generator<void, void> {
    for (const [lastApplied, count] of chunks) {
      yield;
      [this.lastApplied, this.count] = [lastApplied!, count!];
    }
  }

  stateHash(): string {
    return this.count.toString(16).padStart(16, "0");
  }
}

/** A cluster of one member that leads. Only the machine is new. */
function start(disk: MemoryDisk = promptDisk()): LoneGroup<Count, CounterMachine> {
  return new LoneGroup<Count, CounterMachine>(new CounterMachine(), { disk }).lead();
}

Deno.test("a counter is replicated by the same host: proposed, applied, answered, recovered", () => {
  const disk = promptDisk();
  const member = start(disk);
  const [one, two, none] = [member.propose(5), member.propose(7), member.propose(1, 2)];
  member.ports.settle();
  assertEquals([one, two], [[{ count: 5 }], [{ count: 12 }]]);
  assertEquals(none, [{ status: "refused", reason: "invalid", leader: 1 }]);
  assertEquals(member.host.machine.count, 12);
  const again = start(disk);
  assertEquals(again.host.machine.count, 12);
});

Deno.test("what a leader on another node answers is read by the machine, or is Raft's own", () => {
  const read = raftAnswerContract(new CounterMachine());
  const answers: [WireValue, boolean | undefined][] = [
    [{ count: 3 }, true],
    [{ count: "3" }, undefined],
    [{ status: "ready" }, false],
    [{ status: "refused", reason: "invalid", leader: 1 }, false],
    [{ status: "refused", reason: "because", leader: 1, count: 3 }, undefined],
  ];
  for (const [value, isOfMachine] of answers) {
    const answer = read(value);
    assertEquals(answer && isResult(answer), isOfMachine, JSON.stringify(value));
  }
});

Deno.test("a machine whose deadline has come is given an entry that lets time pass, once", () => {
  const member = start();
  const { host, ports } = member;
  member.propose(8);
  ports.settle();
  const { lastIndex } = host.core.state.log;
  member.pass(900);
  assertEquals([host.machine.count, host.core.state.log.lastIndex], [8, lastIndex]);
  member.pass(200);
  assertEquals([host.machine.count, host.core.state.log.lastIndex], [4, lastIndex + 1]);
  member.pass(4_000);
  assertEquals([host.machine.count, host.core.state.log.lastIndex], [0, lastIndex + 4]);
});
