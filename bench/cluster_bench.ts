/**
 * What a replicated put costs without disk, sockets and HTTP: three members in one process, from
 * the Raft actor's mailbox through log, replication, commit and apply to the answer.
 *
 * An iteration is one put of each caller; all three members' work is in it.
 *
 * Run: `deno bench bench/cluster_bench.ts`
 *
 * @module
 */
import { foundingConfig } from "../machines/group_config.ts";
import { denoPorts } from "../actors/deno_ports.ts";
import { GroupHost, type KvGroup, spawnWal } from "../actors/group.ts";
import { ActorSystem } from "../actors/runtime/system.ts";
import type { RaftTiming } from "../machines/group_state.ts";
import type { NodeId, RaftMessage } from "../machines/raft_types.ts";
import { encodeCommand } from "../storage/kv/command.ts";
import { KvStore } from "../storage/kv/kv_store.ts";
import { SnapshotStore } from "../storage/log/snapshot_store.ts";
import { Wal } from "../storage/log/wal.ts";
import { recordFormat } from "../storage/log/wal_record.ts";
import { MemoryDisk } from "../tests/sim/memory_disk.ts";
import { type Codec, createCodec } from "../transport/wire/codec.ts";
import { FRAME_HEADER_BYTES } from "../transport/wire/limits.ts";
import type { WireMessage } from "../transport/wire/messages.ts";
import { commandOf } from "../tests/storage/kv/command_of.ts";

const VOTERS: readonly NodeId[] = [1, 2, 3];
const TIMEOUT_MS = 5_000;
const KEYS = 1_000;
const ELECTION_WAITS_MAX = 1_000;
/** Long enough for `deno bench` to keep the event loop busy between two benches. */
const TIMING: RaftTiming = {
  electionTimeoutMsMin: 2_000,
  electionTimeoutMsMax: 3_000,
  heartbeatMs: 50,
};

const payloads = Array.from({ length: KEYS }, (_, at) =>
  encodeCommand(commandOf({
    type: "put",
    key: String(at).padStart(16, "0"),
    value: new Uint8Array(100),
  })));

/** Three members, linked by codecs and turns of the event loop. */
function startCluster(): Map<NodeId, { system: ActorSystem; host: KvGroup }> {
  const members = new Map<NodeId, { system: ActorSystem; host: KvGroup }>();
  for (const id of VOTERS) {
    const system = new ActorSystem({
      node: id,
      ports: denoPorts,
      log: () => {},
      onFailed: ({ error }) => {
        throw error;
      },
    });
    const codecs = new Map<NodeId, Codec>(VOTERS.map((to) => [to, createCodec(recordFormat)]));
    const send = (to: NodeId, message: WireMessage): boolean => {
      const codec = codecs.get(to)!;
      const frame = codec.encode(message);
      denoPorts.scheduler.soon(() => {
        const message = codec.decode(frame.subarray(FRAME_HEADER_BYTES));
        members.get(to)!.host.receive(message as RaftMessage);
      });
      return true;
    };
    const disk = new MemoryDisk();
    const { wal } = Wal.open(disk, { clusterId: "bench", nodeId: id });
    const walHost = spawnWal(system, wal, { onDiskCondition: () => {}, onFull: () => {} });
    const host: KvGroup = new GroupHost({
      group: 0,
      machine: new KvStore(),
      id,
      config: foundingConfig({ voters: VOTERS }),
      timing: TIMING,
      system,
      wal: walHost.ref,
      recovered: undefined,
      clusterId: "bench",
      snapshots: SnapshotStore.open(disk, { clusterId: "bench", onBroken: () => {} }),
      log: () => {},
      send,
    });
    members.set(id, { system, host });
  }
  return members;
}

/** The member that leads, once there is one. */
async function leaderOf(cluster: ReturnType<typeof startCluster>): Promise<KvGroup> {
  for (let wait = 0; wait < ELECTION_WAITS_MAX; wait++) {
    for (const { host } of cluster.values()) {
      const { core } = host;
      const isReady = core.role === "leader" &&
        core.state.log.termAt(core.state.commitIndex) === core.context.currentTerm;
      if (isReady) return host;
    }
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
  throw new Error("Cannot bench: nobody leads");
}

const members = startCluster();
let next = 0;

for (const callers of [1, 64, 512]) {
  const name = `${callers} callers`;
  Deno.bench({ name, group: "puts on three members", n: 200, warmup: 20 }, async () => {
    const leader = await leaderOf(members);
    const puts = Array.from({ length: callers }, () => {
      const payload = payloads[next++ % KEYS]!;
      return leader.raft.call({ type: "Propose", payload }, { timeoutMs: TIMEOUT_MS });
    });
    for (const { status } of await Promise.all(puts)) {
      if (status !== "ok") throw new Error(`Cannot bench: a put was answered ${status}`);
    }
  });
}

Deno.bench({ name: "64 readers", group: "linearizable reads", n: 200, warmup: 20 }, async () => {
  const leader = await leaderOf(members);
  const reads = Array.from(
    { length: 64 },
    () => leader.raft.call({ type: "ReadBarrier" }, { timeoutMs: TIMEOUT_MS }),
  );
  for (const { status } of await Promise.all(reads)) {
    if (status !== "ready") throw new Error(`Cannot bench: a read was answered ${status}`);
  }
});
