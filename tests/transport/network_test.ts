/**
 * One conformance suite for every Network: Deno's TCP and the one in memory.
 *
 * @module
 */
import { assert, assertEquals, assertThrows } from "@std/assert";
import { denoPorts } from "../../actors/deno_ports.ts";
import {
  FRAME_BYTES_MAX,
  HELLO_FRAME_BYTES_MAX,
  WRITE_QUEUE_BYTES_MAX,
} from "../../transport/wire/limits.ts";
import type { CloseReason, Connection, Listener, Network } from "../../transport/wire/network.ts";
import { tcpNetwork } from "../../transport/wire/tcp.ts";
import { withFewDescriptors } from "../few_descriptors.ts";
import { MemoryNetwork } from "../sim/memory_network.ts";

const LOCAL = { hostname: "127.0.0.1", port: 0 };

function frame(body: Uint8Array): Uint8Array {
  const bytes = new Uint8Array(4 + body.length);
  new DataView(bytes.buffer).setUint32(0, body.length);
  bytes.set(body, 4);
  return bytes;
}

/** A connection that remembers what happened to it. */
class Side {
  connection: Connection | undefined;
  opened = 0;
  drained = 0;
  readonly frames: Uint8Array[] = [];
  readonly closes: CloseReason[] = [];
  onFrame: (body: Uint8Array) => void = () => {};
  readonly #waiting: { until: () => boolean; resolve: () => void }[] = [];

  readonly handlers = {
    onOpen: (): void => {
      this.opened++;
      this.#changed();
    },
    onFrame: (body: Uint8Array): void => {
      this.frames.push(body);
      this.onFrame(body);
      this.#changed();
    },
    onDrained: (): void => {
      this.drained++;
      this.#changed();
    },
    onClose: (reason: CloseReason): void => {
      this.closes.push(reason);
      this.#changed();
    },
  };

  until(condition: () => boolean): Promise<void> {
    return new Promise((resolve) => {
      this.#waiting.push({ until: condition, resolve });
      this.#changed();
    });
  }

  accept(connection: Connection): Side["handlers"] {
    this.connection = connection;
    queueMicrotask(() => this.#changed());
    return this.handlers;
  }

  #changed(): void {
    for (const waiter of this.#waiting) if (waiter.until()) waiter.resolve();
  }
}

interface Pair {
  readonly network: Network;
  readonly listener: Listener;
  readonly dialler: Side;
  readonly acceptor: Side;
}

async function withPair(network: Network, run: (pair: Pair) => Promise<void>): Promise<void> {
  const dialler = new Side();
  const acceptor = new Side();
  const listener = network.listen(LOCAL, (connection) => acceptor.accept(connection));
  dialler.connection = network.dial(listener.address, dialler.handlers);
  try {
    await dialler.until(() => dialler.opened === 1);
    await acceptor.until(() => acceptor.connection !== undefined);
    await run({ network, listener, dialler, acceptor });
  } finally {
    dialler.connection.close();
    acceptor.connection?.close();
    listener.close();
    await turns();
  }
}

/** Long enough for what is on its way to arrive. */
async function turns(): Promise<void> {
  for (let i = 0; i < 20; i++) {
    await new Promise<void>((resolve) => denoPorts.scheduler.soon(resolve));
  }
}

const NETWORKS: readonly { name: string; create: () => Network }[] = [
  { name: "tcp", create: () => tcpNetwork },
  { name: "memory", create: () => new MemoryNetwork(denoPorts.scheduler) },
];

for (const { name, create } of NETWORKS) {
  Deno.test(`${name}: frames arrive whole and in order, both ways`, async () => {
    await withPair(create(), async ({ dialler, acceptor }) => {
      for (let i = 1; i <= 500; i++) {
        assert(dialler.connection!.send(frame(new Uint8Array(i).fill(i))));
        assert(acceptor.connection!.send(frame(new Uint8Array([i % 256]))));
      }
      await acceptor.until(() => acceptor.frames.length === 500);
      await dialler.until(() => dialler.frames.length === 500);
      acceptor.frames.forEach((body, i) => assertEquals(body, new Uint8Array(i + 1).fill(i + 1)));
      dialler.frames.forEach((body, i) => assertEquals(body, new Uint8Array([(i + 1) % 256])));
      await turns();
      assertEquals(dialler.connection!.bufferedBytes, 0);
    });
  });

  Deno.test(`${name}: the largest frame passes once the limit is raised`, async () => {
    await withPair(create(), async ({ dialler, acceptor }) => {
      acceptor.connection!.setFrameLimit(FRAME_BYTES_MAX);
      assert(dialler.connection!.send(frame(new Uint8Array(FRAME_BYTES_MAX).fill(3))));
      await acceptor.until(() => acceptor.frames.length === 1);
      assertEquals(acceptor.frames[0]!.length, FRAME_BYTES_MAX);
    });
  });

  Deno.test(`${name}: a frame over the limit closes both ends`, async () => {
    await withPair(create(), async ({ dialler, acceptor }) => {
      dialler.connection!.send(frame(new Uint8Array(HELLO_FRAME_BYTES_MAX + 1)));
      await acceptor.until(() => acceptor.closes.length === 1);
      await dialler.until(() => dialler.closes.length === 1);
      assertEquals(acceptor.closes[0]!.code, "protocol-error");
      assertEquals(acceptor.frames, []);
      assertEquals(dialler.connection!.send(frame(new Uint8Array(1))), false);
    });
  });

  Deno.test(`${name}: a length of 0 closes the connection`, async () => {
    await withPair(create(), async ({ dialler, acceptor }) => {
      dialler.connection!.send(new Uint8Array(4));
      await acceptor.until(() => acceptor.closes.length === 1);
      assertEquals(acceptor.closes[0]!.code, "protocol-error");
    });
  });

  Deno.test(`${name}: the owner who closes hears nothing more, the other once`, async () => {
    await withPair(create(), async ({ dialler, acceptor }) => {
      acceptor.connection!.send(frame(new Uint8Array([1])));
      dialler.connection!.close();
      dialler.connection!.close();
      await acceptor.until(() => acceptor.closes.length === 1);
      await turns();
      assertEquals([dialler.frames, dialler.closes], [[], []]);
      assertEquals(acceptor.closes.length, 1);
      assertEquals(dialler.connection!.send(frame(new Uint8Array(1))), false);
    });
  });

  Deno.test(`${name}: end writes what is queued and then closes`, async () => {
    await withPair(create(), async ({ dialler, acceptor }) => {
      acceptor.connection!.send(frame(new Uint8Array([9])));
      acceptor.connection!.end();
      assertEquals(acceptor.connection!.send(frame(new Uint8Array([8]))), false);
      await dialler.until(() => dialler.closes.length === 1);
      assertEquals(dialler.frames, [new Uint8Array([9])]);
      assertEquals(acceptor.closes, []);
    });
  });

  Deno.test(`${name}: a handler may close in mid-chunk`, async () => {
    await withPair(create(), async ({ dialler, acceptor }) => {
      acceptor.onFrame = () => acceptor.connection!.close();
      for (let i = 0; i < 3; i++) dialler.connection!.send(frame(new Uint8Array([i])));
      await dialler.until(() => dialler.closes.length === 1);
      assertEquals(acceptor.frames.length, 1);
    });
  });

  Deno.test(`${name}: a full write queue drops frames and says so`, async () => {
    await withPair(create(), async ({ dialler, acceptor }) => {
      acceptor.connection!.setFrameLimit(FRAME_BYTES_MAX);
      const large = frame(new Uint8Array(FRAME_BYTES_MAX));
      let queued = 0;
      while (dialler.connection!.send(large)) queued++;
      assertEquals(queued, Math.floor(WRITE_QUEUE_BYTES_MAX / large.length));
      assert(dialler.connection!.bufferedBytes <= WRITE_QUEUE_BYTES_MAX);
      await acceptor.until(() => acceptor.frames.length === queued);
      await turns();
      assert(dialler.connection!.send(frame(new Uint8Array([1]))), "room again");
      await acceptor.until(() => acceptor.frames.length === queued + 1);
    });
  });

  Deno.test(`${name}: who sends hears when all of it was taken, once for a burst`, async () => {
    await withPair(create(), async ({ dialler, acceptor }) => {
      assertEquals(dialler.drained, 0);
      for (let at = 0; at < 10; at++) dialler.connection!.send(frame(new Uint8Array(1_000)));
      await dialler.until(() => dialler.drained > 0);
      assertEquals([dialler.connection!.bufferedBytes, dialler.drained], [0, 1]);
      await acceptor.until(() => acceptor.frames.length === 10);
      dialler.connection!.send(frame(new Uint8Array(1)));
      await dialler.until(() => dialler.drained === 2);
      assertEquals(acceptor.drained, 0);
    });
  });

  Deno.test(`${name}: dialling where nobody listens fails once`, async () => {
    const network = create();
    const listener = network.listen(LOCAL, () => new Side().handlers);
    listener.close();
    listener.close();
    await turns();
    const side = new Side();
    const connection = network.dial(listener.address, side.handlers);
    assertEquals(connection.send(frame(new Uint8Array(1))), false);
    await side.until(() => side.closes.length === 1);
    assertEquals(side.closes[0]!.code, "dial-failed");
    assertEquals(side.opened, 0);
  });

  Deno.test(`${name}: a dial that is given up calls nobody`, async () => {
    const network = create();
    const accepted = new Side();
    const listener = network.listen(LOCAL, (connection) => accepted.accept(connection));
    const side = new Side();
    network.dial(listener.address, side.handlers).close();
    await turns();
    assertEquals([side.opened, side.closes], [0, []]);
    accepted.connection?.close();
    listener.close();
    await turns();
  });

  Deno.test(`${name}: an address can be listened on once, and again after close`, async () => {
    const network = create();
    const first = network.listen(LOCAL, () => new Side().handlers);
    assertThrows(() => network.listen(first.address, () => new Side().handlers), Error);
    first.close();
    await turns();
    network.listen(first.address, () => new Side().handlers).close();
  });
}

Deno.test(
  "X3: tcp that finds no file descriptor left asks for room, and accepts later",
  { ignore: Deno.build.os === "windows" },
  async () => {
    const script = `
      import { createTcpNetwork } from "${new URL("../../transport/wire/tcp.ts", import.meta.url)}";
      let calls = 0;
      const network = createTcpNetwork(() => { calls++; free(4); });
      const quiet = { onFrame() {}, onClose() {} };
      let accepted;
      const isAccepted = new Promise((resolve) => accepted = resolve);
      const listener = network.listen({ hostname: "127.0.0.1", port: 0 }, () => (accepted(), quiet));
      fill();
      free(1);
      network.dial(listener.address, quiet);
      await isAccepted;
      const whenAccepting = calls;
      fill();
      const reason = await new Promise((resolve) =>
        network.dial(listener.address, { ...quiet, onClose: resolve })
      );
      console.log(JSON.stringify({ whenAccepting, calls, code: reason.code }));
      Deno.exit();
    `;
    assertEquals(await withFewDescriptors(script), {
      whenAccepting: 1,
      calls: 2,
      code: "dial-failed",
    });
  },
);
