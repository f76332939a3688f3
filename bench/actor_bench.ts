/**
 * What a message costs: cast, ask and call within a system, and a call over loopback TCP.
 *
 * Run: `deno bench --allow-net bench/actor_bench.ts`
 *
 * @module
 */
import { Actor, type Delivery } from "../actors/runtime/actor.ts";
import { denoPorts } from "../actors/deno_ports.ts";
import { Peers } from "../actors/peers.ts";
import { ActorSystem } from "../actors/runtime/system.ts";
import type { NodeId } from "../machines/raft_types.ts";
import { StoredPeerIdentities } from "../storage/log/peer_identities.ts";
import { createCodec } from "../transport/wire/codec.ts";
import type { HostPort } from "../transport/wire/network.ts";
import { tcpNetwork } from "../transport/wire/tcp.ts";
import { MemoryDisk } from "../tests/sim/memory_disk.ts";
import { plainRecords } from "../tests/transport/plain_records.ts";

const BURST = 1_000;
const timeoutMs = 5_000;

class Echo extends Actor<number, number> {
  override receive(batch: readonly Delivery<number, number>[]): void {
    for (const delivery of batch) delivery.reply(delivery.message);
  }
}

function startSystem(node: NodeId): ActorSystem {
  const system = new ActorSystem({
    node,
    ports: denoPorts,
    log: () => {},
    onFailed: ({ error }) => {
      throw error;
    },
  });
  system.spawn<number, number>({
    name: "echo",
    group: 0,
    create: () => new Echo(),
    supervision: { policy: "stop-system" },
    remote: (value) => typeof value === "number" ? value : undefined,
  });
  return system;
}

function startPeers(system: ActorSystem, peers: ReadonlyMap<NodeId, HostPort>): Promise<Peers> {
  const up = Promise.withResolvers<Peers>();
  const started: Peers = Peers.start({
    listen: { hostname: "127.0.0.1", port: 0 },
    self: system.node,
    clusterId: "bench",
    identities: StoredPeerIdentities.open(new MemoryDisk(), `directory-${system.node}`),
    peers,
    network: tcpNetwork,
    system,
    createCodec: () => createCodec(plainRecords),
    ports: denoPorts,
    log: () => {},
    onLink: () => up.resolve(started),
  });
  return system.node === 1 ? Promise.resolve(started) : up.promise;
}

const one = startSystem(1);
const two = startSystem(2);
const peersOfOne = await startPeers(one, new Map([[2, { hostname: "127.0.0.1", port: 1 }]]));
await startPeers(two, new Map([[1, peersOfOne.address]]));

const local = one.ref<number, number>({ node: 1, name: "echo", group: 0 });
const remote = two.ref<number, number>({ node: 1, name: "echo", group: 0 });

function turn(): Promise<void> {
  return new Promise((resolve) => denoPorts.scheduler.soon(resolve));
}

function askBurst(ref: typeof local): Promise<void> {
  return new Promise((resolve) => {
    let left = BURST;
    for (let i = 0; i < BURST; i++) {
      ref.ask(i, { timeoutMs }, () => {
        if (--left === 0) resolve();
      });
    }
  });
}

Deno.bench("event loop turn, for comparison", { group: "one" }, turn);
Deno.bench("call, one at a time", { group: "one" }, async () => {
  await local.call(1, { timeoutMs });
});
Deno.bench("call over TCP, one at a time", { group: "one" }, async () => {
  await remote.call(1, { timeoutMs });
});
Deno.bench(`cast, batch of ${BURST}`, { group: "many", baseline: true }, async () => {
  for (let i = 0; i < BURST; i++) local.cast(i);
  await turn();
});
Deno.bench(`ask, batch of ${BURST}`, { group: "many" }, () => askBurst(local));
Deno.bench(`call, batch of ${BURST}`, { group: "many" }, async () => {
  const calls: Promise<number>[] = [];
  for (let i = 0; i < BURST; i++) calls.push(local.call(i, { timeoutMs }));
  await Promise.all(calls);
});
Deno.bench(`ask over TCP, batch of ${BURST}`, { group: "many" }, () => askBurst(remote));
