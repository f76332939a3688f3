import { assert, assertEquals } from "@std/assert";
import { FRAME_HEADER_BYTES } from "../../transport/wire/limits.ts";
import type { CloseReason, Connection } from "../../transport/wire/network.ts";
import { createCodec } from "../../transport/wire/codec.ts";
import { recordFormat } from "../../storage/log/wal_record.ts";
import { EventLoop, ProcessLife } from "./event_loop.ts";
import { GOOD_NETWORK, type NetworkTraits, SimNetwork } from "./network.ts";
import { Dice } from "./random.ts";

const codec = createCodec(recordFormat);

/** Two processes and a connection that the second has dialled. */
class World {
  readonly loop = new EventLoop();
  readonly network: SimNetwork;
  readonly lives: readonly ProcessLife[];
  /** What the first has received, by the pings' numbers. */
  readonly received: number[] = [];
  readonly closed: CloseReason[] = [];
  readonly dialler: Connection;
  accepted: Connection | undefined;
  isOpen = false;

  constructor(seed: number, traits?: NetworkTraits) {
    const dice = new Dice(seed);
    this.network = new SimNetwork(this.loop, dice, traits);
    this.lives = [1, 2].map(() => new ProcessLife(this.loop, dice, { rate: 1 }, () => {}));
    this.network.of(1, this.lives[0]!).listen(SimNetwork.addressOf(1), (connection) => {
      this.accepted = connection;
      return {
        onFrame: (body) => {
          const message = codec.decode(body);
          assert(message.type === "Ping");
          this.received.push(message.id);
        },
        onClose: (reason) => void this.closed.push(reason),
      };
    });
    this.dialler = this.network.of(2, this.lives[1]!).dial(SimNetwork.addressOf(1), {
      onOpen: () => this.isOpen = true,
      onFrame: () => {},
      onClose: (reason) => void this.closed.push(reason),
    });
  }

  run(ms: number): void {
    const untilMs = this.loop.nowMs + ms;
    while (this.loop.step(untilMs));
  }

  ping(id: number): boolean {
    return this.dialler.send(codec.encode({ type: "Ping", id }));
  }
}

const upTo = (count: number): number[] => Array.from({ length: count }, (_, at) => at);

Deno.test("a stream is whole and in order, however it is cut, lost and delayed", () => {
  let cut = 0;
  let lost = 0;
  for (let seed = 0; seed < 20; seed++) {
    const world = new World(seed, { cutShare: 0.5, heldBytesMax: Infinity });
    world.run(10);
    assert(world.isOpen);
    world.network.quality = { ...GOOD_NETWORK, loss: 0.3, delayMsMean: 30 };
    for (const id of upTo(200)) {
      assert(world.ping(id));
      if (id % 3 === 0) world.run(2);
    }
    world.run(60_000);
    assertEquals(world.received, upTo(200));
    cut += world.network.counters.cut;
    lost += world.network.counters.lost;
  }
  assert(cut > 100 && lost > 100, `${cut} cuts, ${lost} losses`);
});

Deno.test("a cut holds bytes up, and the heal lets them through", () => {
  const world = new World(1);
  world.run(10);
  world.network.cut(2, 1);
  for (const id of upTo(5)) world.ping(id);
  world.run(5_000);
  assertEquals([world.received, world.closed, world.dialler.bufferedBytes > 0], [[], [], true]);
  world.network.heal();
  world.run(5_000);
  assertEquals([world.received, world.dialler.bufferedBytes], [upTo(5), 0]);
});

Deno.test("a connection that holds too much takes no more", () => {
  const frame = codec.encode({ type: "Ping", id: 0 });
  const world = new World(1, { cutShare: 0, heldBytesMax: 3 * frame.length });
  world.run(10);
  world.network.cut(2, 1);
  assertEquals(upTo(5).map((id) => world.ping(id)), [true, true, true, false, false]);
  world.network.heal();
  world.run(5_000);
  assertEquals(world.received, upTo(3));
});

Deno.test("a killed process's connections end; a host without power says nothing until it is back", () => {
  for (const dark of [false, true]) {
    const world = new World(1);
    world.run(10);
    const [first] = world.lives;
    first!.end();
    world.network.ended(1, first!, { dark });
    world.run(5_000);
    assertEquals(world.closed.map(({ code }) => code), dark ? [] : ["peer-closed"]);
    if (!dark) continue;
    world.ping(1);
    world.run(5_000);
    assertEquals(world.closed, []);
    world.network.of(1, new ProcessLife(world.loop, new Dice(1), { rate: 1 }, () => {}));
    world.run(5_000);
    assertEquals(world.closed.map(({ code }) => code), ["connection-lost"]);
    assertEquals(world.network.counters.resets, 1);
  }
});

Deno.test("a paused process reads everything in order when it wakes", () => {
  const world = new World(1);
  world.run(10);
  world.lives[0]!.pause(3_000);
  for (const id of upTo(20)) {
    world.ping(id);
    world.run(100);
  }
  assertEquals(world.received, []);
  for (const id of upTo(20)) {
    world.ping(20 + id);
    world.run(100);
  }
  assertEquals(world.received, upTo(40));
});

Deno.test("a dial that nobody takes fails; over a cut link it hangs until it is healed", () => {
  const world = new World(1);
  const closed: CloseReason[] = [];
  let isOpen = false;
  const handlers = {
    onOpen: () => isOpen = true,
    onFrame: () => {},
    onClose: (reason: CloseReason) => void closed.push(reason),
  };
  const network = world.network.of(2, world.lives[1]!);
  network.dial(SimNetwork.addressOf(3), handlers);
  world.run(100);
  assertEquals(closed.map(({ code }) => code), ["dial-failed"]);
  world.network.cut(1, 2);
  network.dial(SimNetwork.addressOf(1), handlers);
  world.run(3_000);
  assertEquals([isOpen, closed.length], [false, 1]);
  world.network.heal();
  world.run(10_000);
  assertEquals([isOpen, closed.length], [true, 1]);
});

Deno.test("what is no frame ends the connection", () => {
  const world = new World(1);
  world.run(10);
  world.dialler.send(new Uint8Array(FRAME_HEADER_BYTES));
  world.run(100);
  assertEquals(world.closed.map(({ code }) => code), ["protocol-error", "peer-closed"]);
});
