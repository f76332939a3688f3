import { foundingConfig } from "../../machines/group_config.ts";
import {
  assert,
  assertEquals,
  assertLessOrEqual,
  assertRejects,
  assertStringIncludes,
} from "@std/assert";
import {
  type ActorRef,
  ActorStoppedError,
  CallTimeoutError,
  type LocalRef,
  type Outcome,
  UnreachableError,
} from "../../actors/runtime/actor.ts";
import { RETRY_PAUSE_MS } from "../../actors/leader_watch.ts";
import { Timeline } from "../../actors/timeline.ts";
import { WatchHub } from "../../actors/watch_hub.ts";
import { NodeClient } from "../../actors/node_client.ts";
import { Backups } from "../../actors/backups.ts";
import type { Demand } from "../../actors/snapshot_actor.ts";
import { BACKUPS_MAX } from "../../actors/limits.ts";
import type { KvAnswer } from "../../actors/group.ts";
import type { RaftRequest, Refused } from "../../actors/raft_request.ts";
import { DEFAULT_TIMING } from "../../machines/group_state.ts";
import type { LinkFact } from "../../machines/explain.ts";
import { RaftCore, type SpaceCondition } from "../../machines/raft_core.ts";
import { RaftLog } from "../../machines/raft_log.ts";
import { type Command, decodeCommand, encodeCommand } from "../../storage/kv/command.ts";
import type { CommandResult } from "../../storage/kv/command_result.ts";
import { KvStore } from "../../storage/kv/kv_store.ts";
import type { StoredSnapshot } from "../../storage/log/snapshot_store.ts";
import { recordFormat } from "../../storage/log/wal_record.ts";
import type {
  Backup,
  ClusterStatus,
  Consistency,
  HealthCheck,
  ReadOptions,
} from "../../transport/http/gateway_port.ts";
import { REQUEST_TIMEOUT_MS, REQUEST_TIMEOUT_MS_MAX } from "../../transport/http/limits.ts";
import { GatewayError, type Outcome as WriteOutcome } from "../../transport/http/problem.ts";
import { applyRequest } from "../storage/kv/apply.ts";
import { VirtualPorts } from "./virtual_ports.ts";
import { commandOf } from "../storage/kv/command_of.ts";

type Reaction = Outcome<KvAnswer> | "silent";

const OK: KvAnswer = {
  status: "ok",
  succeeded: true,
  revision: 1,
  results: [{ type: "put", version: 1, created: true }],
};
const NOT_DELIVERED = failed(new UnreachableError("node/2/raft/0", "not-delivered"));
const LOST = failed(new UnreachableError("node/2/raft/0", "unknown"));
/** A snapshot covers the entry of the write. */
const COVERED = answer({ status: "unknown" });
const STOPPED = failed(new ActorStoppedError("node/1/raft/0", "unknown"));

function failed(error: Error): Reaction {
  return { ok: false, error };
}

function answer(value: KvAnswer): Reaction {
  return { ok: true, value };
}

function refused(reason: Refused["reason"]): Reaction {
  return answer({ status: "refused", reason, leader: 0 });
}

function reading(consistency: Consistency): ReadOptions {
  return { consistency, timeoutMs: REQUEST_TIMEOUT_MS };
}

/** A gateway whose Raft actors react as the test says: the n-th ask as listed, then as the last. */
class Bench {
  readonly ports = new VirtualPorts();
  readonly store = new KvStore();
  readonly backups: Backups;
  /** Who waits for a snapshot. */
  readonly demands: Demand[] = [];
  readonly gateway: NodeClient;
  readonly core: RaftCore;
  /** Who was asked for what. */
  readonly asked: string[] = [];
  readonly payloads: Uint8Array[] = [];
  stopping = false;
  /** Nodes that have said that they stop. */
  readonly leaving = new Set<number>();
  links: readonly LinkFact[] = [];
  /** Whether the Raft actor takes what is in its mailbox. */
  takes = true;
  /** Whether the log holds what the machine has applied. */
  hasFacts = true;

  constructor(...reactions: Reaction[]) {
    const core = new RaftCore({
      id: 1,
      group: 0,
      timing: DEFAULT_TIMING,
      records: recordFormat,
      random: () => 0,
      log: new RaftLog(),
      nowMs: 0,
      config: foundingConfig({ voters: [1, 2, 3] }),
      currentTerm: 0,
      votedFor: undefined,
    });
    // Node 2 leads.
    core.beginTurn(1);
    core.receive({
      type: "AppendEntries",
      group: 0,
      term: 1,
      from: 2,
      prevLogIndex: 0,
      prevLogTerm: 0,
      leaderCommit: 0,
      round: 0,
      runs: [],
    });
    core.endTurn();
    this.core = core;
    const facts = { term: 1, timeMs: 0, clusterVersion: 1, members: [1, 2, 3] };
    this.backups = new Backups({
      ...{ group: 0, clusterId: "bench", machine: this.store },
      factsAt: () => this.hasFacts ? facts : undefined,
    });
    this.gateway = new NodeClient({
      watches: new WatchHub(0),
      timeline: new Timeline({ life: () => 1, nowMs: () => 0 }),
      audit: { differences: [], isWrong: false },
      group: 0,
      core,
      store: this.store,
      backups: this.backups,
      snapshots: {
        signal: (demand: Demand) => void this.demands.push(demand),
      } as unknown as LocalRef<never, never, Demand>,
      ports: this.ports,
      raftOn: (node) => this.#ref(node, reactions),
      status: () => ({}) as ClusterStatus,
      metrics: () => "",
      httpAddressOf: () => undefined,
      links: () => this.links,
      isLeaving: (node) => this.leaving.has(node),
      isStopping: () => this.stopping,
    });
  }

  /** Lets virtual time pass until the request has ended. */
  async run<Value>(request: Promise<Value>): Promise<Value> {
    let over = false;
    const ended = request.finally(() => over = true);
    ended.catch(() => {});
    for (let passed = 0; !over; passed += RETRY_PAUSE_MS) {
      if (passed > 3 * REQUEST_TIMEOUT_MS) throw new Error("Cannot wait: the request hangs");
      for (let turns = 0; turns < 20; turns++) await Promise.resolve();
      if (!over) this.ports.advance(RETRY_PAUSE_MS);
    }
    return await ended;
  }

  async fails(request: Promise<unknown>, code: string, outcome: WriteOutcome): Promise<string> {
    const error = await assertRejects(() => this.run(request), GatewayError);
    assertEquals([error.code, error.outcome], [code as typeof error.code, outcome]);
    return error.message;
  }

  #ref(
    node: number,
    reactions: readonly Reaction[],
  ): ActorRef<RaftRequest, KvAnswer> {
    const ask: ActorRef<RaftRequest, KvAnswer>["ask"] = (message, { timeoutMs }, done) => {
      const reaction = reactions[Math.min(this.asked.length, reactions.length - 1)]!;
      this.asked.push(`${message.type} of ${node}`);
      if (message.type === "Propose") this.payloads.push(message.payload);
      // The actor takes what is in its mailbox in a turn of its own.
      this.ports.scheduler.soon(() => {
        if (this.takes) this.core.beginTurn(this.ports.clock.monotonicMs());
      });
      if (reaction !== "silent") return this.ports.scheduler.soon(() => done(reaction));
      const error = new CallTimeoutError(`node/${node}/raft/0`, timeoutMs);
      this.ports.timers.set(timeoutMs, () => done({ ok: false, error }));
    };
    return { ask } as unknown as ActorRef<RaftRequest, KvAnswer>;
  }
}

const OPERATION = { type: "put", key: "k", value: new Uint8Array([1]) } as const;
const PUT = commandOf(OPERATION);
const ONCE: Command = { ...PUT, once: { type: "idempotencyKey", key: "once", fingerprint: "f" } };

Deno.test("a write goes to the leader, whole", async () => {
  const bench = new Bench(answer(OK));
  const success = [{ ...OPERATION, contentType: "text/plain" }];
  const compare = { key: "k", target: "revision", operator: "==", operand: 7 } as const;
  const write: Command = { ...ONCE, success, compares: [compare] };
  assertEquals(await bench.run(bench.gateway.write(write, REQUEST_TIMEOUT_MS)), OK);
  assertEquals(bench.asked, ["Propose of 2"]);
  assertEquals<unknown>(decodeCommand(bench.payloads[0]!), write);
});

Deno.test("an answer that is none to a write leaves its outcome unknown", async () => {
  for (const odd of [answer({ status: "ready" }), refused("aborted")]) {
    const bench = new Bench(odd);
    await bench.fails(bench.gateway.write(PUT, REQUEST_TIMEOUT_MS), "outcome-unknown", "unknown");
  }
});

Deno.test("what surely had no effect is tried again until it has one", async () => {
  const none = [NOT_DELIVERED, refused("not-leader"), answer({ status: "not-applied" })];
  const bench = new Bench(...none, refused("transferring"), answer(OK));
  assertEquals(await bench.run(bench.gateway.write(PUT, REQUEST_TIMEOUT_MS)), OK);
  assertEquals(bench.asked.length, 5);
});

Deno.test("nothing is forwarded to a leader that has said that it stops", async () => {
  const bench = new Bench(answer({ status: "refused", reason: "overloaded", leader: 0 }));
  bench.leaving.add(2);
  await bench.fails(bench.gateway.write(PUT, REQUEST_TIMEOUT_MS), "unavailable", "not-applied");
  assertEquals(bench.asked, []);
});

Deno.test("without a leader a write is unavailable once its time is up, and not applied", async () => {
  for (const reaction of [refused("not-leader"), NOT_DELIVERED]) {
    const bench = new Bench(reaction);
    await bench.fails(bench.gateway.write(PUT, REQUEST_TIMEOUT_MS), "unavailable", "not-applied");
    // The pause between the attempts is kept (S20), and the deadline too.
    assert(bench.asked.length > 1);
    assert(bench.asked.length <= REQUEST_TIMEOUT_MS / RETRY_PAUSE_MS);
    assert(bench.ports.clock.monotonicMs() <= REQUEST_TIMEOUT_MS + RETRY_PAUSE_MS);
  }
});

Deno.test("a lost answer leaves the outcome unknown, and only a write with a key is repeated", async () => {
  for (const reaction of [LOST, STOPPED, COVERED, "silent"] as const) {
    const plain = new Bench(reaction, answer(OK));
    await plain.fails(plain.gateway.write(PUT, REQUEST_TIMEOUT_MS), "outcome-unknown", "unknown");
    assertEquals(plain.asked.length, 1);
  }
  for (const reaction of [LOST, COVERED]) {
    const keyed = new Bench(reaction, refused("not-leader"), answer({ ...OK, replayed: true }));
    assertEquals(await keyed.run(keyed.gateway.write(ONCE, REQUEST_TIMEOUT_MS)), {
      ...OK,
      replayed: true,
    });
    assertEquals(new Set(keyed.payloads.map((payload) => payload.join())).size, 1);
  }
});

Deno.test("once an answer was lost, no later refusal makes the outcome known", async () => {
  const expired = answer({ status: "session-expired" });
  const later = [
    ...[refused("not-leader"), NOT_DELIVERED, refused("overloaded"), refused("invalid")],
    expired,
  ];
  for (const reaction of later) {
    const bench = new Bench(LOST, reaction);
    await bench.fails(bench.gateway.write(ONCE, REQUEST_TIMEOUT_MS), "outcome-unknown", "unknown");
    assert(bench.asked.length > 1);
  }
  // At once, that is no doubt: the client takes another session.
  const once = new Bench(expired);
  assertEquals(await once.run(once.gateway.write(ONCE, REQUEST_TIMEOUT_MS)), {
    status: "session-expired",
  });
});

Deno.test("an overloaded leader and one that cannot read the request answer at once", async () => {
  const overloaded = new Bench(refused("overloaded"));
  await overloaded.fails(
    overloaded.gateway.write(PUT, REQUEST_TIMEOUT_MS),
    "overloaded",
    "not-applied",
  );
  const invalid = new Bench(refused("invalid"));
  await invalid.fails(
    invalid.gateway.write(PUT, REQUEST_TIMEOUT_MS),
    "invalid-request",
    "not-applied",
  );
  assertEquals([overloaded.asked.length, invalid.asked.length], [1, 1]);
});

Deno.test("a result that is no success is passed on and not tried again", async () => {
  const results: CommandResult[] = [
    { status: "ok", succeeded: false, presentRevision: 3, revision: 4, results: [] },
    { status: "too-large" },
    { status: "idempotency-mismatch" },
  ];
  for (const result of results) {
    const bench = new Bench(answer(result));
    assertEquals(await bench.run(bench.gateway.write(PUT, REQUEST_TIMEOUT_MS)), result);
    assertEquals(bench.asked.length, 1);
  }
});

Deno.test("S12: no read but a stale one is answered before this node's barrier is", async () => {
  for (const consistency of ["linearizable", "lease", "follower"] as const) {
    const bench = new Bench(refused("not-leader"), LOST, answer({ status: "ready" }));
    const { context } = await bench.run(bench.gateway.get("k", reading(consistency)));
    assertEquals(bench.asked, Array(3).fill("ReadBarrier of 1"));
    assertEquals([context.servedBy, context.leaderId], [1, 2]);

    const never = new Bench(refused("not-leader"));
    const requests = [
      (): Promise<unknown> => never.gateway.get("k", reading(consistency)),
      (): Promise<unknown> =>
        never.gateway.list({ limit: 1 }, { ...reading(consistency), bytesMax: 1 }),
      (): Promise<unknown> => never.gateway.count({}, reading(consistency)),
    ];
    for (const request of requests) await never.fails(request(), "unavailable", "not-applied");
  }
  const silent = new Bench("silent");
  await silent.fails(
    silent.gateway.get("k", reading("linearizable")),
    "unavailable",
    "not-applied",
  );
  const stale = new Bench("silent");
  assertEquals((await stale.run(stale.gateway.get("k", reading("stale")))).entry, undefined);
  assertEquals(stale.asked, []);
});

Deno.test("reads share a barrier until the Raft actor's next turn, and not after", async () => {
  const bench = new Bench(LOST, answer({ status: "ready" }));
  const early = [
    bench.gateway.get("a", reading("linearizable")),
    bench.gateway.count({}, reading("lease")),
  ];
  assertEquals(bench.asked.length, 1);
  // The turn takes the barrier: its round may begin, so whoever comes now needs the next one.
  bench.ports.advance(1);
  const late = bench.gateway.get("c", reading("linearizable"));
  assertEquals(bench.asked.length, 2);
  // The first barrier was lost: those who share it ask again, together.
  await bench.run(Promise.all([...early, late]));
  assertEquals([bench.asked.length, bench.gateway.counters.reads], [3, 3]);
});

Deno.test("a barrier that failed without a turn fails nobody who comes later", async () => {
  const bench = new Bench(STOPPED, answer({ status: "ready" }));
  bench.takes = false;
  const first = bench.gateway.get("a", reading("linearizable"));
  bench.ports.advance(1);
  for (let turns = 0; turns < 20; turns++) await Promise.resolve();
  const later = bench.gateway.get("b", reading("linearizable"));
  assertEquals(bench.asked.length, 2);
  await bench.run(Promise.all([first, later]));
});

Deno.test("a read does not join a barrier whose time ends when its own does not", async () => {
  const bench = new Bench("silent", answer({ status: "ready" }));
  bench.takes = false;
  const first = bench.gateway.get("a", reading("linearizable"));
  bench.ports.advance(RETRY_PAUSE_MS);
  const near = bench.gateway.count({}, reading("linearizable"));
  assertEquals(bench.asked.length, 1);
  bench.ports.advance(1);
  const late = bench.gateway.get("b", reading("linearizable"));
  assertEquals(bench.asked.length, 2);
  await bench.run(late);
  await Promise.allSettled([bench.run(first), bench.run(near)]);
});

Deno.test("a read sees what was applied while it waited", async () => {
  const bench = new Bench(answer({ status: "ready" }));
  const pending = bench.gateway.get("k", reading("linearizable"));
  const command = commandOf({ type: "put", key: "k", value: new Uint8Array([7]) });
  applyRequest(bench.store, encodeCommand(command));
  const { entry, context } = await bench.run(pending);
  assertEquals([[...entry!.value], context.revision], [[7], 1]);
});

Deno.test("a listing ends at its limit or its bytes, and says if there is more", async () => {
  const bench = new Bench(answer({ status: "ready" }));
  for (let at = 1; at <= 5; at++) {
    const command = commandOf({ type: "put", key: `k${at}`, value: new Uint8Array(10) });
    applyRequest(bench.store, encodeCommand(command));
  }
  const list = async (limit: number, bytesMax: number): Promise<[string[], boolean]> => {
    const options = { ...reading("stale"), bytesMax };
    const { items, more } = await bench.run(bench.gateway.list({ limit }, options));
    return [items.map(({ key }) => key), more];
  };
  assertEquals(await list(5, 50), [["k1", "k2", "k3", "k4", "k5"], false]);
  assertEquals(await list(4, 50), [["k1", "k2", "k3", "k4"], true]);
  assertEquals(await list(5, 49), [["k1", "k2", "k3", "k4"], true]);
  assertEquals(await list(5, 10), [["k1"], true]);
  // At least one, however large: a page that ends with nothing would never go on.
  assertEquals(await list(5, 1), [["k1"], true]);
  assertEquals((await bench.run(bench.gateway.count({ start: "k2" }, reading("stale")))).count, 4);
});

Deno.test("a node on its way down does not keep a request waiting", async () => {
  const bench = new Bench(refused("not-leader"));
  bench.stopping = true;
  await bench.fails(bench.gateway.write(PUT, REQUEST_TIMEOUT_MS), "unavailable", "not-applied");
  assertEquals(bench.asked.length, 1);
  assertEquals(bench.gateway.readiness().map(({ name, ok }) => [name, ok]), [
    ["node", false],
    ["leader", true],
    ["links", true],
    ["disk", true],
    ["state", true],
  ]);
});

Deno.test("a request that waits for a leader is answered when the node goes down", async () => {
  const bench = new Bench(refused("not-leader"));
  const { core, gateway, ports } = bench;
  core.beginTurn(ports.clock.monotonicMs() + 1_000);
  core.elapse();
  core.endTurn();
  assertEquals(core.context.leaderId, undefined);
  const longest = gateway.write(PUT, REQUEST_TIMEOUT_MS_MAX);
  ports.advance(1);
  for (let turns = 0; turns < 20; turns++) await Promise.resolve();
  bench.stopping = true;
  gateway.stopping();
  await bench.fails(longest, "unavailable", "not-applied");
  assert(ports.clock.monotonicMs() < REQUEST_TIMEOUT_MS);
});

Deno.test("a transfer is checked, asked of the leader, and says how it ended", async () => {
  const bench = new Bench(
    refused("not-leader"),
    answer({
      status: "transferred",
      leader: 3,
      term: 9,
    }),
  );
  assertEquals(await bench.run(bench.gateway.transfer(3, REQUEST_TIMEOUT_MS)), {
    leader: 3,
    term: 9,
  });
  assertEquals(bench.asked, ["Transfer of 2", "Transfer of 2"]);
  assertEquals(await bench.run(bench.gateway.transfer(2, REQUEST_TIMEOUT_MS)), {
    leader: 2,
    term: 1,
  });
  assertEquals(bench.asked.length, 2);
  await bench.fails(
    bench.gateway.transfer(9, REQUEST_TIMEOUT_MS),
    "invalid-request",
    "not-applied",
  );
  const aborted = new Bench(refused("aborted"));
  await aborted.fails(aborted.gateway.transfer(3, REQUEST_TIMEOUT_MS), "conflict", "not-applied");
  const leaderless = new Bench(refused("not-leader"));
  const { ports, gateway } = leaderless;
  const startMs = ports.clock.monotonicMs();
  await leaderless.fails(gateway.transfer(3, 500), "unavailable", "not-applied");
  assertLessOrEqual(ports.clock.monotonicMs() - startMs, 500);
});

Deno.test("links are a reason not to be ready only if no leader is known and no quorum is reached", () => {
  const bench = new Bench();
  const { core, gateway } = bench;
  const isLinksOk = (up: number): boolean => {
    const fact = { forMs: 1, detail: "", isDirectoryLost: false };
    bench.links = [2, 3].map((peer, at) => ({ ...fact, peer, isUp: at < up }));
    return gateway.readiness().find(({ name }) => name === "links")!.ok;
  };
  assertEquals([2, 1, 0].map(isLinksOk), [true, true, true], "node 2 leads");
  core.beginTurn(bench.ports.clock.monotonicMs() + 1_000);
  core.elapse();
  core.endTurn();
  assertEquals(core.context.leaderId, undefined);
  assertEquals([2, 1, 0].map(isLinksOk), [true, true, false]);
});

Deno.test("readiness says that the disk has too little space, which is no reason not to be ready", () => {
  const { core, gateway } = new Bench();
  const diskWith = (condition: SpaceCondition): HealthCheck => {
    core.beginTurn(1);
    core.space(condition);
    core.endTurn();
    return gateway.readiness().find(({ name }) => name === "disk")!;
  };
  const low = diskWith("SpaceLow");
  assertEquals(low.ok, true);
  assertStringIncludes(low.message, "healthy; The disk of node 1 has little space left");
  assertStringIncludes(diskWith("SpaceNone").message, "healthy; The disk of node 1 is full");
  assertEquals(diskWith("SpaceEnough").message, "healthy");
});

Deno.test("readiness and explanation say who led last and when, and which links are down", () => {
  const bench = new Bench();
  const { core, gateway, ports } = bench;
  const leaderText = (): string =>
    gateway.readiness().find(({ name }) => name === "leader")!.message;
  const turn = (run: () => void): void => {
    core.beginTurn(ports.clock.monotonicMs());
    run();
    core.endTurn();
    gateway.leaderChanged();
  };
  turn(() => {});
  assertEquals(leaderText(), "Node 2 leads term 1");
  const down = { isUp: false, detail: "connection-lost", isDirectoryLost: false };
  bench.links = [2, 3].map((peer) => ({ peer, forMs: 1_500, ...down }));
  ports.advance(2_000);
  turn(() => core.elapse());
  assertEquals(core.role, "preCandidate");
  const heardMs = ports.clock.monotonicMs() - core.state.leaderContactMs;
  assertStringIncludes(
    leaderText(),
    `node 2 was last heard as leader of term 1, ${(heardMs / 1_000).toFixed(1)} s ago`,
  );
  assertStringIncludes(leaderText(), "without a link: 2, 3");
  const links = gateway.readiness().find(({ name }) => name === "links")!;
  assertStringIncludes(links.message, "0 of 2 are up; The link to node 2 has been down for 1.5 s");
  assertEquals(gateway.explain().causes.map(({ code }) => code), [
    "no-leader",
    "no-quorum",
    "link-down",
    "link-down",
  ]);
  ports.advance(1_000);
  assertStringIncludes(leaderText(), `${((heardMs + 1_000) / 1_000).toFixed(1)} s ago`);
});

Deno.test("a backup is of what a linearizable read would see, and few are made at once", async () => {
  const bench = new Bench(answer({ status: "ready" }));
  const begin = (): Promise<Backup> => bench.run(bench.gateway.backup(REQUEST_TIMEOUT_MS));
  applyRequest(bench.store, encodeCommand(PUT));
  const first = await begin();
  assertEquals(bench.asked, ["ReadBarrier of 1"]);
  assertEquals([first.clusterId, first.revision], ["bench", 1]);
  for (let begun = 1; begun < BACKUPS_MAX; begun++) await begin();
  const another = bench.gateway.backup(REQUEST_TIMEOUT_MS);
  await bench.fails(another, "overloaded", "not-applied");
  first.pieces.return!();
  await begin();
  assertEquals(bench.backups.running, BACKUPS_MAX);
});

Deno.test("a node that cannot back its state up now says so", async () => {
  const lost = new Bench("silent");
  await lost.fails(lost.gateway.backup(REQUEST_TIMEOUT_MS), "unavailable", "not-applied");
  const loading = new Bench(answer({ status: "ready" }));
  loading.hasFacts = false;
  const backup = loading.gateway.backup(REQUEST_TIMEOUT_MS);
  assertStringIncludes(await loading.fails(backup, "unavailable", "not-applied"), "taking over");
  assertEquals(loading.backups.running, 0);
});

Deno.test("a snapshot that was asked for: its facts, why there is none, and no endless wait", async () => {
  const bench = new Bench("silent");
  const stored = { index: 7, term: 2, size: 900, meta: { stateHash: "ab" } };
  const taken = bench.run(bench.gateway.snapshot(REQUEST_TIMEOUT_MS));
  bench.demands.shift()!.answer(stored as unknown as StoredSnapshot);
  assertEquals(await taken, {
    ...{ nodeId: 1, index: 7, term: 2, bytes: 900, stateHash: "ab", isNew: true },
  });
  const failed = bench.run(bench.gateway.snapshot(REQUEST_TIMEOUT_MS));
  bench.demands.shift()!.answer(new Error("the node stops"));
  await assertRejects(() => failed, GatewayError, "No snapshot was taken: the node stops");
  const late = bench.run(bench.gateway.snapshot(REQUEST_TIMEOUT_MS));
  const error = await assertRejects(() => late, GatewayError, "it is not durable yet");
  assertEquals(error.code, "unavailable");
  bench.demands.shift()!.answer(stored as unknown as StoredSnapshot);
});
