/**
 * Reads on their way through a round: none is lost, none is answered twice, round numbers only grow.
 *
 * @module
 */
import { assert, assertEquals } from "@std/assert";
import fc from "fast-check";
import { ReadQueue } from "../../machines/read_queue.ts";

Deno.test("read_queue: a round takes all that waits, and the next read waits for the next round", () => {
  const queue = new ReadQueue();
  assertEquals(queue.hasWaiting, false);
  queue.waiting.push(1, 2);
  queue.waitingForwarded.push({ from: 2, readId: 7 });
  assertEquals(queue.hasWaiting, true);
  const round = queue.begin(5);
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
  const queue = new ReadQueue();
  queue.waitingForwarded.push({ from: 2, readId: 7 });
  assertEquals(queue.hasWaiting, true);
});

Deno.test("read_queue: takeAll gives back running, waiting and forwarded reads, once", () => {
  const queue = new ReadQueue();
  queue.waiting.push(1);
  queue.begin(5);
  queue.waiting.push(2);
  queue.waitingForwarded.push({ from: 3, readId: 1 });
  queue.forwarded.set(9, { readIds: [3, 4], sentMs: 0 });
  assertEquals(queue.takeAll(), [1, 2, 3, 4]);
  assertEquals(queue.takeAll(), []);
  assertEquals([queue.hasWaiting, queue.running, queue.forwarded.size], [false, undefined, 0]);
});

Deno.test("read_queue: every read leaves once, and round numbers are never used again", () => {
  const action = fc.constantFrom("read", "begin", "confirm", "takeAll");
  fc.assert(fc.property(fc.array(action, { maxLength: 60 }), (actions) => {
    const queue = new ReadQueue();
    const left: number[] = [];
    let lastId = 0;
    let lastRound = 0;
    for (const taken of actions) {
      if (taken === "read") queue.waiting.push(++lastId);
      else if (taken === "begin" && queue.running === undefined) {
        const { round } = queue.begin(1);
        assert(round > lastRound);
        lastRound = round;
      } else if (taken === "confirm" && queue.running !== undefined) {
        left.push(...queue.running.readIds);
        queue.running = undefined;
      } else if (taken === "takeAll") left.push(...queue.takeAll());
    }
    left.push(...queue.takeAll());
    assertEquals([...left].sort((a, b) => a - b), Array.from({ length: lastId }, (_, i) => i + 1));
  }));
});
