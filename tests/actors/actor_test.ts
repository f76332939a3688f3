/**
 * Addresses, mailboxes and deadlines: the parts an actor system is made of.
 *
 * @module
 */
import { assert, assertEquals, assertThrows } from "@std/assert";
import fc from "fast-check";
import { formatAddress, parseAddress } from "../../actors/runtime/actor.ts";
import { Bag } from "../../actors/runtime/bag.ts";
import { type Deadline, Deadlines } from "../../actors/runtime/deadlines.ts";
import { denoPorts } from "../../actors/deno_ports.ts";
import { DEADLINE_RESOLUTION_MS, DEADLINE_SLOTS } from "../../actors/runtime/limits.ts";
import { Mailbox } from "../../actors/runtime/mailbox.ts";
import { VirtualPorts } from "./virtual_ports.ts";

Deno.test("address: prints as node/N/name/G and is read back", () => {
  const address = { node: 2, name: "raft", group: 0 };
  assertEquals(formatAddress(address), "node/2/raft/0");
  fc.assert(fc.property(
    fc.integer({ min: 1, max: 2 ** 31 }),
    fc.stringMatching(/^[a-z0-9-]{1,64}$/),
    fc.integer({ min: 0, max: 2 ** 32 - 1 }),
    (node, name, group) => {
      assertEquals(parseAddress(formatAddress({ node, name, group })), { node, name, group });
    },
  ));
});

Deno.test("address: what is none is refused", () => {
  for (const text of ["", "node/1/raft", "node/x/raft/0", "node/1/Raft/0", "node/1/raft/0/1"]) {
    assertThrows(() => parseAddress(text), SyntaxError, "Cannot parse an address");
  }
  for (const text of ["node/0/raft/0", "node/2147483649/raft/0", "node/1/raft/4294967296"]) {
    assertThrows(() => parseAddress(text), RangeError, "Cannot use the address");
  }
});

Deno.test("mailbox: behaves like a plain array", () => {
  const step = fc.oneof(
    fc.constant({ do: "push" as const }),
    fc.constant({ do: "drop" as const }),
    fc.nat(7).map((max) => ({ do: "take" as const, max: max + 1 })),
  );
  fc.assert(fc.property(fc.array(step, { maxLength: 300 }), (steps) => {
    const mailbox = new Mailbox<number>(1_000);
    const model: number[] = [];
    let next = 0;
    for (const each of steps) {
      if (each.do === "push") {
        mailbox.push(next);
        model.push(next++);
      } else if (each.do === "drop") assertEquals(mailbox.dropOldest(), model.shift());
      else assertEquals(mailbox.takeBatch(each.max), model.splice(0, each.max));
      assertEquals(mailbox.length, model.length);
      assertEquals(mailbox.waiting(), model);
    }
  }));
});

Deno.test("mailbox: is full at its capacity and remembers its high water", () => {
  const mailbox = new Mailbox<number>(2);
  mailbox.push(1);
  assertEquals(mailbox.full, false);
  mailbox.push(2);
  assertEquals(mailbox.full, true);
  mailbox.takeBatch(2);
  assertEquals([mailbox.length, mailbox.highWater], [0, 2]);
  for (const capacity of [0, -1, 1.5, NaN]) assertThrows(() => new Mailbox(capacity), RangeError);
});

Deno.test("bag: holds what was added and not deleted, each once", () => {
  const steps = fc.array(fc.record({ item: fc.nat(9), adds: fc.boolean() }));
  fc.assert(fc.property(steps, (steps) => {
    const items = Array.from({ length: 10 }, (_, name) => ({ name, place: -1 }));
    const bag = new Bag<typeof items[number]>();
    const model = new Set<number>();
    for (const { item: name, adds } of steps) {
      const item = items[name]!;
      if (!adds) assertEquals(bag.delete(item), model.delete(name));
      else if (!model.has(name)) {
        bag.add(item);
        model.add(name);
      }
      const held = bag.items().map(({ name }) => name).sort();
      assertEquals([bag.size, held], [model.size, [...model].sort()]);
    }
  }));
});

function deadlineOf(expire: () => void): Deadline {
  return { place: -1, tick: 0, expire };
}

Deno.test("deadlines: none early, none later than the resolution, one timer for all", () => {
  const delays = fc.array(
    fc.integer({ min: 1, max: 3 * DEADLINE_SLOTS * DEADLINE_RESOLUTION_MS }),
    {
      minLength: 1,
      maxLength: 40,
    },
  );
  fc.assert(
    fc.property(delays, fc.nat(1_000), (delaysMs, startMs) => {
      const ports = new VirtualPorts();
      ports.advance(startMs);
      const deadlines = new Deadlines(ports);
      const late: number[] = [];
      for (const delayMs of delaysMs) {
        const dueMs = ports.clock.monotonicMs() + delayMs;
        deadlines.set(deadlineOf(() => late.push(ports.clock.monotonicMs() - dueMs)), delayMs);
        assertEquals(ports.armedTimers, 1);
      }
      ports.advance(3 * DEADLINE_SLOTS * DEADLINE_RESOLUTION_MS + 100);
      assertEquals(late.length, delaysMs.length);
      assert(late.every((ms) => ms >= 0 && ms <= DEADLINE_RESOLUTION_MS), String(late));
      assertEquals([deadlines.size, ports.armedTimers], [0, 0]);
    }),
    { numRuns: 50 },
  );
});

Deno.test("deadlines: one that is cleared does not expire, and no timer is left", () => {
  const ports = new VirtualPorts();
  const deadlines = new Deadlines(ports);
  const expired: string[] = [];
  const first = deadlineOf(() => expired.push("first"));
  deadlines.set(first, 50);
  deadlines.set(deadlineOf(() => expired.push("second")), 60);
  deadlines.clear(first);
  deadlines.clear(first);
  ports.advance(100);
  assertEquals(expired, ["second"]);
  const third = deadlineOf(() => expired.push("third"));
  deadlines.clear(third);
  deadlines.set(third, 50);
  deadlines.clear(third);
  assertEquals(ports.armedTimers, 0);
});

Deno.test("deadlines: one set by another's expiry does not hold up those before it", () => {
  const ports = new VirtualPorts();
  const deadlines = new Deadlines(ports);
  const expired: string[] = [];
  const first = deadlineOf(() => {
    expired.push("first");
    deadlines.set(deadlineOf(() => expired.push("third")), 1_000);
  });
  deadlines.set(first, 10);
  deadlines.set(deadlineOf(() => expired.push("second")), 50);
  ports.advance(60);
  assertEquals(expired, ["first", "second"]);
  ports.advance(2_000);
  assertEquals(expired, ["first", "second", "third"]);
});

Deno.test("deadlines: after a stall of several rounds all that is due expires at once", () => {
  const ports = new VirtualPorts();
  const deadlines = new Deadlines(ports);
  let expired = 0;
  for (let i = 1; i <= 100; i++) deadlines.set(deadlineOf(() => expired++), i * 100);
  ports.stall(5 * DEADLINE_SLOTS * DEADLINE_RESOLUTION_MS);
  ports.advance(1);
  assertEquals([expired, deadlines.size, ports.armedTimers], [100, 0, 0]);
});

Deno.test("deno ports: time goes forward, chance is below one, a delay out of range is refused", async () => {
  const { clock, random, scheduler, timers } = denoPorts;
  const startMs = clock.monotonicMs();
  const order: string[] = [];
  await new Promise<void>((resolve) => {
    timers.clear(timers.set(1, () => order.push("cleared")));
    scheduler.soon(() => order.push("soon"));
    timers.set(1, () => {
      order.push("timer");
      resolve();
    });
    order.push("here");
  });
  assertEquals(order.toSorted(), ["here", "soon", "timer"]);
  assertEquals(order[0], "here");
  assert(clock.monotonicMs() >= startMs);
  const draws = Array.from({ length: 100 }, () => random.next());
  assert(draws.every((draw) => draw >= 0 && draw < 1));
  for (const delayMs of [0, -1, NaN, 2 ** 31, Infinity]) {
    assertThrows(() => timers.set(delayMs, () => {}), RangeError, "Cannot set a timer");
  }
});
