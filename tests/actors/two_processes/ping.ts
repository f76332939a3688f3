/**
 * Node 2 of two processes: calls node 1's actor `pong` and watches it until it is gone.
 *
 * `deno run --allow-net ping.ts PORT` prints one line for each thing that happens.
 *
 * @module
 */
import {
  Actor,
  type ActorContext,
  type Address,
  formatAddress,
} from "../../../actors/runtime/actor.ts";
import { startNode } from "./node.ts";

const CALLS = 1_000;
const PONG: Address = { node: 1, name: "pong", group: 0 };

class Watcher extends Actor<never> {
  readonly #terminated: (address: Address) => void;

  constructor(terminated: (address: Address) => void) {
    super();
    this.#terminated = terminated;
  }

  override onStart(context: ActorContext): void {
    context.watch(PONG);
  }
  override receive(): void {}
  override onTerminated(address: Address): void {
    this.#terminated(address);
  }
}

async function print(line: string): Promise<void> {
  await Deno.stdout.write(new TextEncoder().encode(`${line}\n`));
}

const linked = Promise.withResolvers<void>();
const { system, peers } = startNode({
  self: 2,
  port: 0,
  other: { id: 1, port: Number(Deno.args[0]) },
  onLink: (_peer, link) => link === "up" && linked.resolve(),
});
await linked.promise;
const terminated = Promise.withResolvers<Address>();
system.spawn<never>({
  name: "watcher",
  group: 0,
  create: () => new Watcher(terminated.resolve),
  supervision: { policy: "stop-system" },
});

interface Ping {
  readonly count: number;
  readonly bytes: Uint8Array;
}
const pong = system.ref<Ping, Ping>(PONG);
let count = 0;
while (count < CALLS) {
  const answer = await pong.call({ count, bytes: new Uint8Array([1, 2, 3]) }, { timeoutMs: 5_000 });
  if (answer.bytes[0] !== 3) throw new Error("Cannot play: the bytes came back unchanged");
  count = answer.count;
}
await print(`counted ${count}`);
try {
  await pong.call({ count: -1, bytes: new Uint8Array() }, { timeoutMs: 5_000 });
} catch (error) {
  if (!(error instanceof Error)) throw error;
  await print(`failed ${error.name}: ${error.message}`);
}
await print(`terminated ${formatAddress(await terminated.promise)}`);
await system.stop({ deadlineMs: 1_000 });
peers.stop();
