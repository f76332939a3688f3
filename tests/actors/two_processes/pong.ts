/**
 * Node 1 of two processes: an actor `pong` that answers node 2's `ping`.
 *
 * Prints `listening PORT`, then serves until its standard input ends.
 *
 * @module
 */
import { Actor, type Delivery } from "../../../actors/runtime/actor.ts";
import type { WireValue } from "../../../transport/wire/messages.ts";
import { startNode } from "./node.ts";

interface Ping {
  readonly count: number;
  readonly bytes: Uint8Array;
}

/** What another process may say to `pong`; anything else is refused. */
function pingOf(value: WireValue): Ping | undefined {
  if (typeof value !== "object" || !("count" in value) || !("bytes" in value)) return undefined;
  const { count, bytes } = value;
  return typeof count === "number" && bytes instanceof Uint8Array ? { count, bytes } : undefined;
}

class Pong extends Actor<Ping, Ping> {
  override receive(batch: readonly Delivery<Ping, Ping>[]): void {
    for (const delivery of batch) {
      const { count, bytes } = delivery.message;
      if (count < 0) delivery.fail(new RangeError("Cannot count below zero"));
      else delivery.reply({ count: count + 1, bytes: bytes.toReversed() });
    }
  }
}

const { system, peers } = startNode({ self: 1, port: 0, other: { id: 2, port: 1 } });
system.spawn<Ping, Ping>({
  name: "pong",
  group: 0,
  create: () => new Pong(),
  supervision: { policy: "stop-system" },
  remote: pingOf,
});
await Deno.stdout.write(new TextEncoder().encode(`listening ${peers.address.port}\n`));
await Deno.stdin.read(new Uint8Array(1));
await system.stop({ deadlineMs: 1_000 });
peers.stop();
