/**
 * The cluster version of a group on its host: who raises it, what it gates, and who it stops.
 *
 * @module
 */
import { assert, assertEquals, assertThrows } from "@std/assert";
import { DEFAULT_TIMING } from "../../machines/group_state.ts";
import { ClusterVersionError } from "../../machines/group_config.ts";
import type { AppliedEntry, RequestRefusal, StateMachine } from "../../machines/state_machine.ts";
import type { CommandResult } from "../../storage/kv/command_result.ts";
import { KvStore } from "../../storage/kv/kv_store.ts";
import type { MemoryDisk } from "../sim/memory_disk.ts";
import { LoneGroup, promptDisk } from "./lone_group.ts";

/** A build whose requests all belong to cluster version 2. */
class NextStore extends KvStore implements StateMachine<CommandResult> {
  readonly applied: string[] = [];

  override readonly check = (
    ...[, clusterVersion]: Parameters<StateMachine["check"]>
  ): RequestRefusal | undefined => clusterVersion < 2 ? "too-new" : undefined;

  override apply(entry: AppliedEntry): ReturnType<KvStore["apply"]> {
    this.applied.push(entry.kind);
    return super.apply({ ...entry, requests: [] });
  }
}

type Member = LoneGroup<CommandResult, NextStore>;

/** A cluster of one member whose build knows cluster versions up to `clusterVersionMax`. */
function start(disk: MemoryDisk, clusterVersionMax: number): Member {
  return new LoneGroup<CommandResult, NextStore>(new NextStore(), { disk, clusterVersionMax })
    .lead();
}

/** The leader of two members, the other of which votes for it and then is silent. */
function leaderOfTwo(clusterVersionMax: number): Member {
  const options = { voters: [1, 2], clusterVersionMax };
  const member = new LoneGroup<CommandResult, NextStore>(new NextStore(), options);
  const { host } = member;
  while (host.core.role !== "leader") {
    member.pass(1);
    const { role, context: { currentTerm } } = host.core;
    const reply = { group: 0, from: 2, granted: true } as const;
    if (role === "preCandidate") {
      host.receive({ type: "PreVoteReply", ...reply, term: currentTerm + 1 });
    } else if (role === "candidate") {
      host.receive({ type: "RequestVoteReply", ...reply, term: currentTerm });
    }
  }
  return member;
}

function propose(member: Member): unknown {
  const answers = member.propose(1);
  member.ports.settle();
  return answers[0];
}

Deno.test("a request of a higher cluster version is refused until the members have agreed on it", () => {
  const member = start(promptDisk(), 2);
  const { host, ports } = member;
  const before = host.core.state.log.lastIndex;
  assertEquals(propose(member), { status: "refused", reason: "too-new", leader: 1 });
  assertEquals([host.core.state.log.lastIndex, host.clusterVersion], [before, 1]);
  host.raiseClusterVersion(() => undefined);
  ports.settle();
  assertEquals([host.core.state.log.lastIndex, host.clusterVersion], [before + 1, 2]);
  assertEquals(host.machine.applied.at(-1), "config");
  propose(member);
  assertEquals(host.core.state.log.lastIndex, before + 2);
});

Deno.test("it is raised once, to the highest that every build knows, and never falls", () => {
  const { host, ports } = start(promptDisk(), 3);
  for (let times = 0; times < 3; times++) {
    host.raiseClusterVersion(() => undefined);
    ports.settle();
  }
  assertEquals([host.clusterVersion, host.machine.applied.filter((kind) => kind === "config")], [
    3,
    ["config"],
  ]);
});

Deno.test("the same leader raises it again, once the last member runs a higher build", () => {
  const store = new NextStore();
  const { host, ports } = new LoneGroup<CommandResult, NextStore>(store, {
    learners: [2],
    clusterVersionMax: 3,
  }).lead();
  for (const version of [2, 3]) {
    host.raiseClusterVersion(() => version);
    ports.settle();
    assertEquals(host.clusterVersion, version);
  }
  assertEquals(host.core.context.currentTerm, 1);
});

Deno.test("while nothing is committed, a leader proposes a cluster version once", () => {
  const { host, ports } = leaderOfTwo(3);
  const before = host.core.state.log.lastIndex;
  for (const version of [2, 2, 3, 3]) {
    host.raiseClusterVersion(() => version);
    ports.settle();
  }
  assertEquals([host.core.state.log.lastIndex, host.clusterVersion], [before + 2, 1]);
});

Deno.test("a leader whose hand-over was given up raises the cluster version after it", () => {
  const member = leaderOfTwo(2);
  const { host, ports } = member;
  host.raft.cast({ type: "Transfer", to: 2 });
  ports.settle();
  assertEquals(host.core.context.transferee, 2);
  const before = host.core.state.log.lastIndex;
  host.raiseClusterVersion(() => 2);
  ports.settle();
  assertEquals(host.core.state.log.lastIndex, before);
  // The other is alive, and does not take over.
  for (let passed = 0; passed < DEFAULT_TIMING.electionTimeoutMsMax; passed++) {
    const { context: { currentTerm: term }, state: { log: { lastIndex }, lastRound } } = host.core;
    host.receive({
      ...{ type: "AppendEntriesReply", group: 0, term, from: 2, accepted: true },
      ...{ matchIndex: lastIndex - 1, prevLogIndex: 0, conflictTerm: 0, conflictIndex: 0 },
      round: lastRound,
    });
    member.pass(1);
  }
  assertEquals([host.core.role, host.core.context.transferee], ["leader", undefined]);
  host.raiseClusterVersion(() => 2);
  ports.settle();
  assertEquals(host.core.state.log.lastIndex, before + 1);
});

Deno.test("a log of a higher cluster version is refused, with what to do", () => {
  const disk = promptDisk();
  const { host, ports } = start(disk, 2);
  host.raiseClusterVersion(() => undefined);
  ports.settle();
  disk.crash(() => 0);
  const error = assertThrows(() => start(disk, 1), ClusterVersionError);
  assertEquals(
    error.message,
    "Cannot take part: the cluster has agreed on version 2, and this build knows versions up to " +
      "1; start this member with the build that the others run",
  );
  assertEquals(error.clusterVersion, 2);
  assertEquals(start(disk, 2).host.clusterVersion, 2);
});

Deno.test("a running build that cannot follow the cluster's version stops before it applies more", () => {
  const { host, ports, failures } = start(promptDisk(), 1);
  // What a leader of the next build would have sent.
  host.raft.signal({ type: "RaiseClusterVersion", version: 2 });
  ports.settle();
  assertEquals(failures.map(({ name }) => name), ["ClusterVersionError"]);
  assert(!host.machine.applied.includes("config"));
});
