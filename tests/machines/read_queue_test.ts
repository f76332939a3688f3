/**
 * Reads on their way through a round: none is lost, none is answered twice, round numbers only grow.
 *
 * @module
 */
import { assertEquals } from "@std/assert";
import fc from "fast-check";
import { ForwardedReads, ReadRounds } from "../../machines/read_queue.ts";

Deno.test("read_queue: a round takes all that waits, and the next read waits for the next round", () => {
  const queue = new ReadRounds();
  assertEquals(queue.hasWaiting, false);
  queue.waiting.push(1, 2);
  queue.waitingForwarded.push({ from: 2, readId: 7 });
  assertEquals(queue.hasWaiting, true);
  const round = queue.begin(1, 5);
  assertEquals(round, {
    round: 1,
    readIndex: 5,
    readIds: [1, 2],
    forwarded: [{ from: 2, readId: 7 }],
    acknowledged: [],
  });
  assertEquals(queue.hasWaiting, false);
  queue.waiting.push(3);
  assertEquals(round.readIds, [1, 2]);
});

Deno.test("read_queue: a follower's request alone is waiting", () => {
  const queue = new ReadRounds();
  queue.waitingForwarded.push({ from: 2, readId: 7 });
  assertEquals(queue.hasWaiting, true);
});

Deno.test("read_queue: takeAll gives back running and waiting reads, once", () => {
  const queue = new ReadRounds();
  queue.waiting.push(1);
  queue.begin(1, 5);
  queue.waiting.push(2);
  queue.waitingForwarded.push({ from: 3, readId: 1 });
  assertEquals(queue.takeAll(), [1, 2]);
  assertEquals(queue.takeAll(), []);
  assertEquals([queue.hasWaiting, queue.running], [false, undefined]);
});

Deno.test("read_queue: takeAll gives back forwarded reads, once", () => {
  const forwarded = new ForwardedReads(8);
  forwarded.batches.set(++forwarded.lastReadId, { readIds: [3, 4], sentMs: 0 });
  assertEquals([forwarded.takeAll(), forwarded.takeAll()], [[3, 4], []]);
  assertEquals(forwarded.lastReadId, 9);
});

Deno.test("read_queue: every read leaves once", () => {
  const action = fc.constantFrom("read", "begin", "confirm", "takeAll");
  fc.assert(fc.property(fc.array(action, { maxLength: 60 }), (actions) => {
    const queue = new ReadRounds();
    const left: number[] = [];
    let lastId = 0;
    let lastRound = 0;
    for (const taken of actions) {
      if (taken === "read") queue.waiting.push(++lastId);
      else if (taken === "begin" && queue.running === undefined) {
        queue.begin(++lastRound, 1);
      } else if (taken === "confirm" && queue.running !== undefined) {
        left.push(...queue.running.readIds);
        queue.running = undefined;
      } else if (taken === "takeAll") left.push(...queue.takeAll());
    }
    left.push(...queue.takeAll());
    assertEquals([...left].sort((a, b) => a - b), Array.from({ length: lastId }, (_, i) => i + 1));
  }));
});
