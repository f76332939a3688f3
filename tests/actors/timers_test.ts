import { assertEquals } from "@std/assert";
import fc from "fast-check";
import { LazyTimer, TIMER_DELAY_MS_MAX } from "../../actors/runtime/timers.ts";
import { VirtualPorts } from "./virtual_ports.ts";

interface Watched {
  readonly ports: VirtualPorts;
  readonly timer: LazyTimer;
  /** When it was due, and by how much late. */
  readonly due: [atMs: number, lateMs: number][];
}

function watched(): Watched {
  const ports = new VirtualPorts();
  const due: Watched["due"] = [];
  const timer = new LazyTimer(
    ports,
    (lateMs) => due.push([ports.clock.monotonicMs(), lateMs]),
  );
  return { ports, timer, due };
}

Deno.test("it is due once, at its deadline", () => {
  const { ports, timer, due } = watched();
  timer.set(100);
  ports.advance(99);
  assertEquals(due, []);
  ports.advance(1_000);
  assertEquals(due, [[100, 0]]);
  assertEquals(ports.armedTimers, 0);
});

Deno.test("a deadline that moves later arms no other timer until the armed one has fired", () => {
  const { ports, timer, due } = watched();
  timer.set(100);
  for (let nowMs = 0; nowMs < 90; nowMs += 10) {
    ports.advance(10);
    timer.set(ports.clock.monotonicMs() + 100);
    assertEquals(ports.armedTimers, 1);
  }
  ports.advance(99);
  assertEquals(due, []);
  ports.advance(1);
  assertEquals(due, [[190, 0]]);
});

Deno.test("a deadline that moves earlier is kept", () => {
  const { ports, timer, due } = watched();
  timer.set(100);
  timer.set(30);
  ports.advance(200);
  assertEquals(due, [[30, 0]]);
});

Deno.test("a deadline in the past is due a millisecond later, never from within set", () => {
  const { ports, timer, due } = watched();
  ports.advance(50);
  timer.set(10);
  assertEquals(due, []);
  ports.advance(1);
  assertEquals(due, [[51, 41]]);
});

Deno.test("it says by how much the event loop's stall made it late", () => {
  const { ports, timer, due } = watched();
  timer.set(100);
  ports.stall(700);
  ports.fireDue();
  assertEquals(due, [[700, 600]]);
});

Deno.test("a deadline beyond what a timer takes is reached in several", () => {
  const { ports, timer, due } = watched();
  const deadlineMs = 2.5 * TIMER_DELAY_MS_MAX;
  timer.set(deadlineMs);
  ports.advance(deadlineMs - 1);
  assertEquals([due.length, ports.armedTimers], [0, 1]);
  ports.advance(1);
  assertEquals(due, [[deadlineMs, 0]]);
});

Deno.test("no deadline and a stopped timer are never due, and can be set again", () => {
  const { ports, timer, due } = watched();
  timer.set(100);
  timer.set(Infinity);
  ports.advance(1_000);
  timer.set(2_000);
  timer.stop();
  assertEquals(ports.armedTimers, 0);
  ports.advance(5_000);
  assertEquals(due, []);
  timer.set(7_000);
  ports.advance(1_000);
  assertEquals(due, [[7_000, 0]]);
});

Deno.test("whatever is set, it is due at the last deadline and at no other time", () => {
  const move = fc.record({ advanceMs: fc.nat(50), deadlineMs: fc.nat(200) });
  fc.assert(fc.property(fc.array(move, { minLength: 1 }), (moves) => {
    const { ports, timer, due } = watched();
    let expected: number | undefined;
    const seen: number[] = [];
    const pass = (untilMs: number): void => {
      if (expected === undefined || expected > untilMs) return;
      seen.push(expected);
      expected = undefined;
    };
    for (const { advanceMs, deadlineMs } of moves) {
      pass(ports.clock.monotonicMs() + advanceMs);
      ports.advance(advanceMs);
      const nowMs = ports.clock.monotonicMs();
      timer.set(nowMs + deadlineMs);
      expected = nowMs + Math.max(1, deadlineMs);
    }
    pass(Infinity);
    ports.advance(1_000);
    assertEquals(due.map(([atMs]) => atMs), seen);
  }));
});
