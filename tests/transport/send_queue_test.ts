import { assertEquals } from "@std/assert";
import fc from "fast-check";
import { SEND_WINDOW_BYTES } from "../../transport/wire/limits.ts";
import type { Connection } from "../../transport/wire/network.ts";
import { type SendBudget, SendQueue } from "../../transport/wire/send_queue.ts";

/** A connection that keeps what it is sent until it is told to write. */
function slowConnection(): Connection & {
  readonly sent: Uint8Array[];
  write(bytes: number): void;
} {
  const sent: Uint8Array[] = [];
  let buffered = 0;
  return {
    ...{ remote: "test", sent, setFrameLimit: () => {}, close: () => {}, end: () => {} },
    get bufferedBytes(): number {
      return buffered;
    },
    send: (frame) => {
      sent.push(frame);
      buffered += frame.length;
      return true;
    },
    write: (bytes) => void (buffered = Math.max(0, buffered - bytes)),
  };
}

Deno.test("send queue: every frame once, in order, whatever is written when; the budget counts what waits", () => {
  const step = fc.oneof(
    fc.record({ send: fc.integer({ min: 1, max: SEND_WINDOW_BYTES }) }),
    fc.record({ write: fc.integer({ min: 1, max: 2 * SEND_WINDOW_BYTES }) }),
  );
  fc.assert(fc.property(fc.array(step, { maxLength: 40 }), (steps) => {
    const connection = slowConnection();
    const budget: SendBudget = { bytes: 0, bytesMax: 4 * SEND_WINDOW_BYTES };
    const queue = new SendQueue(connection, budget);
    const taken: Uint8Array[] = [];
    const drain = (): void => {
      if (connection.bufferedBytes === 0) queue.drained();
    };
    for (const each of steps) {
      if ("send" in each) {
        const frame = new Uint8Array(each.send);
        if (queue.send(frame)) taken.push(frame);
      } else {
        connection.write(each.write);
        drain();
      }
      assertEquals(budget.bytes, queue.bytes);
      assertEquals(connection.bufferedBytes < 2 * SEND_WINDOW_BYTES, true);
      assertEquals(budget.bytes <= budget.bytesMax, true);
    }
    while (queue.bytes > 0) {
      connection.write(Infinity);
      drain();
    }
    assertEquals(connection.sent.length, taken.length);
    assertEquals(connection.sent.every((frame, at) => frame === taken[at]), true);
  }));
});

Deno.test("send queue: a frame waits behind those that wait, though the window has room by now", () => {
  const connection = slowConnection();
  const queue = new SendQueue(connection, { bytes: 0, bytesMax: 4 * SEND_WINDOW_BYTES });
  const frames: Uint8Array[] = [SEND_WINDOW_BYTES, 10, 10].map((size) => new Uint8Array(size));
  for (const frame of frames.slice(0, 2)) queue.send(frame);
  connection.write(SEND_WINDOW_BYTES / 2);
  queue.send(frames[2]!);
  assertEquals(connection.sent.length, 1);
  queue.drained();
  assertEquals(connection.sent.map((frame) => frames.indexOf(frame)), [0, 1, 2]);
});

Deno.test("send queue: a frame without room is refused, and a queue that is closed gives its room back", () => {
  const budget: SendBudget = { bytes: 0, bytesMax: SEND_WINDOW_BYTES };
  const [one, other] = [slowConnection(), slowConnection()];
  const [first, second] = [new SendQueue(one, budget), new SendQueue(other, budget)];
  const frame = new Uint8Array(SEND_WINDOW_BYTES);
  assertEquals([first.send(frame), first.send(frame), first.send(frame)], [true, true, false]);
  // Another connection has its own window, and the same budget.
  assertEquals([second.send(frame), second.send(frame)], [true, false]);
  first.close();
  first.close();
  assertEquals([budget.bytes, first.bytes, second.send(frame)], [0, 0, true]);
});
