/**
 * The corruption alarm: a state that was changed behind Raft's back is told at once, and who is alone
 * with it is not ready any more.
 *
 * @module
 */
import { assert, assertEquals, assertGreater } from "@std/assert";
import { auditAnswerOf, auditRequestOf } from "../../actors/audit_actor.ts";
import { AUDIT_ENTRIES, AUDIT_HASHES_KEPT, AUDIT_MS } from "../../actors/limits.ts";
import type { NodeId } from "../../machines/raft_types.ts";
import { SimCluster } from "../sim/cluster.ts";
import { DEFAULT_WORKLOAD, Workload } from "../sim/workload.ts";

/** A cluster under load, and what its nodes say. */
class Audited {
  readonly cluster: SimCluster;

  constructor(nodes: number) {
    this.cluster = new SimCluster({ seed: 5, nodes, transcript: true });
    this.cluster.startAll();
    new Workload(this.cluster, { ...DEFAULT_WORKLOAD, group: 0, operationsPerSecond: 100 }).start();
  }

  /** The peers that a node's error lines name. */
  alarms(id: NodeId): string[] {
    return this.cluster.transcript.flatMap((line) =>
      line.includes(`error node ${id}  state-differs`) ? /peer=(\d)/.exec(line)![1]! : []
    );
  }

  isReady(id: NodeId): boolean {
    const [hosted] = this.cluster.node(id).process!.groups.values();
    return hosted!.client.readiness().find(({ name }) => name === "state")!.ok;
  }
}

Deno.test("equal states are compared all the time, and nobody is alarmed", async () => {
  const audited = new Audited(3);
  const { cluster } = audited;
  await cluster.play(10 * AUDIT_MS);
  for (const id of cluster.ids) {
    const { compared, differences } = cluster.host(id)!.auditActor;
    assertGreater(compared, 5, `node ${id}`);
    assertEquals([differences, audited.alarms(id), audited.isReady(id)], [[], [], true]);
  }
});

Deno.test("a state that was changed is an error on every node, and the one that is alone is not ready", async () => {
  const audited = new Audited(3);
  const { cluster } = audited;
  await cluster.play(3 * AUDIT_MS);
  const leader = cluster.leader()!;
  const wrong = cluster.ids.find((id) => id !== leader)!;
  const others = cluster.ids.filter((id) => id !== wrong);
  // Only the alarm sees the other hash: the simulator would rightly call another state a violation.
  const alarm = cluster.host(wrong)!.auditActor;
  const receive = alarm.receive.bind(alarm);
  alarm.receive = (batch) => {
    for (const { message } of batch) {
      if (message.type === "Applied") Object.assign(message, { hash: "00000000000000bb" });
    }
    receive(batch);
  };
  const isTold = (): boolean => cluster.ids.every((id) => audited.alarms(id).length > 0);
  assert(await cluster.playUntilTrue(5 * AUDIT_MS, isTold));
  await cluster.play(3 * AUDIT_MS);
  assertEquals(audited.alarms(wrong).sort(), others.map(String));
  for (const id of others) {
    assertEquals([audited.alarms(id), audited.isReady(id)], [[`${wrong}`], true]);
  }
  assertEquals(audited.isReady(wrong), false);
});

Deno.test("what another node sends is a question or an answer of the alarm, or it is refused", () => {
  assertEquals(auditRequestOf({ type: "Hashes", more: 1 }), { type: "Hashes" });
  for (const value of [1, "Hashes", [], { type: "Applied", index: 1, hash: "a" }]) {
    assertEquals(auditRequestOf(value), undefined);
  }
  const hash = "0123456789abcdef";
  const answer = { hashes: [{ index: AUDIT_ENTRIES, hash }] };
  assertEquals(auditAnswerOf(answer), answer);
  for (
    const hashes of [
      1,
      [1],
      [{ index: 1.5, hash }],
      [{ index: 1, hash: "x" }],
      [{ index: 1 }],
      Array.from({ length: AUDIT_HASHES_KEPT + 1 }, () => ({ index: 1, hash })),
    ]
  ) {
    assertEquals(auditAnswerOf({ hashes }), undefined);
  }
});
