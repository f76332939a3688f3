/**
 * etcd-io/raft's cases about configuration, by name: what each is about, in this project's words.
 *
 * @module
 */
import { assert, assertEquals } from "@std/assert";
import fc from "fast-check";
import {
  configOfStored,
  encodeConfig,
  foundingConfig,
  type GroupConfig,
  MEMBERS_MAX,
  storedConfigOf,
} from "../../machines/group_config.ts";
import { DEFAULT_TIMING } from "../../machines/group_state.ts";
import {
  ChangeError,
  configWith,
  leaveJoint,
  type MembershipChange,
} from "../../machines/membership_change.ts";
import type { NodeId, SnapshotRef } from "../../machines/raft_types.ts";
import { encodeRun } from "../../storage/log/wal_record.ts";
import { CoreCluster } from "../machines/core_cluster.ts";
import { only, SoloCore } from "../machines/solo_core.ts";

const { electionTimeoutMsMax, electionTimeoutMsMin, heartbeatMs } = DEFAULT_TIMING;
const SNAPSHOT: SnapshotRef = { index: 11, term: 11, timeMs: 0, size: 1, digest: "0".repeat(64) };

const newMember = (id: NodeId) => ({ id, raft: `host-${id}:1`, http: "" });

/** Node 1 leads these voters, and has committed an entry of its term. */
function founded(...voters: readonly NodeId[]): CoreCluster {
  const cluster = new CoreCluster({ voters, membersChange: true });
  cluster.elect(1);
  cluster.elapse(heartbeatMs);
  return cluster;
}

function take(cluster: CoreCluster, change: MembershipChange, force = false): void {
  const outcome = cluster.change(1, change, force);
  assert(outcome.accepted, JSON.stringify(outcome));
}

function votersOf(cluster: CoreCluster, id: NodeId): readonly NodeId[] {
  return cluster.core(id).context.voters;
}

/** A node that takes over a snapshot which names these members. */
function restored(id: NodeId, config: GroupConfig): SoloCore {
  const solo = new SoloCore({ id, voters: [1, 2, 3], currentTerm: 11 });
  solo.receive({
    ...{ type: "InstallSnapshot", group: 0, term: 11, from: 2, snapshot: SNAPSHOT, offset: 0 },
    bytes: new Uint8Array(1),
  });
  const stored = storedConfigOf(config);
  solo.persist(solo.turn((core) => core.snapshotReceived(SNAPSHOT, { clusterVersion: 2, stored })));
  return solo;
}

Deno.test("TestLearnerPromotion: a learner does not campaign; promoted, it can lead", () => {
  const cluster = founded(1, 2);
  take(cluster, { add: [{ ...newMember(3), staysLearner: true }] });
  cluster.settle();
  cluster.join(3, 1);
  cluster.elapse(200);
  cluster.partition([1, 2], [3]);
  cluster.elapse(3 * electionTimeoutMsMax);
  assertEquals(cluster.core(3).role, "follower");
  cluster.heal();
  cluster.elapse(200);
  take(cluster, { promote: [3] });
  cluster.elapse(200);
  cluster.turn(1, (core) => core.transfer(3));
  cluster.elapse(200);
  assertEquals(cluster.leader, 3);
});

Deno.test("TestRestoreWithLearner, TestRestoreLearner: a snapshot says who learns, and a learner takes it", () => {
  const solo = restored(3, foundingConfig({ voters: [1, 2], learners: [3] }));
  assertEquals([solo.core.context.voters, solo.core.context.learners], [[1, 2], [3]]);
  solo.timeout();
  assertEquals(solo.core.role, "follower");
});

Deno.test("TestRestoreWithVotersOutgoing: a snapshot may be of a joint configuration", () => {
  const joint = configWith(foundingConfig({ voters: [1, 2, 3] }), { remove: [2] }, () => undefined);
  const solo = restored(3, joint);
  assertEquals([solo.core.context.voters, solo.core.context.outgoing], [[1, 3], [1, 2, 3]]);
  assertEquals(solo.core.snapshot.value.members, "joint");
});

Deno.test("TestRestoreVoterToLearner: a snapshot can make a voter a learner", () => {
  const solo = restored(3, foundingConfig({ voters: [1, 2], learners: [3] }));
  assertEquals(solo.core.context.learners, [3]);
});

Deno.test("TestStepConfig: a change is appended, and pending until it is committed", () => {
  const cluster = founded(1, 2);
  cluster.isHeld = () => true;
  const { lastIndex } = cluster.core(1).state.log;
  take(cluster, { add: [newMember(3)] });
  const { state } = cluster.core(1);
  assertEquals([state.log.lastIndex, state.configs.current.index], [lastIndex + 1, lastIndex + 1]);
});

Deno.test("TestStepIgnoreConfig: while a change is pending, a second one is refused", () => {
  const cluster = founded(1, 2);
  cluster.isHeld = () => true;
  take(cluster, { add: [newMember(3)] });
  const { lastIndex } = cluster.core(1).state.log;
  const second = cluster.change(1, { add: [newMember(4)] });
  assert(!second.accepted && second.reason === "busy");
  assertEquals(cluster.core(1).state.log.lastIndex, lastIndex);
});

Deno.test("TestNewLeaderPendingConfig: a new leader takes no change before what it found is committed", () => {
  const cluster = founded(1, 2, 3);
  cluster.isLost = ({ message }) => message.type === "AppendEntriesReply";
  take(cluster, { add: [newMember(4)] });
  cluster.settle();
  cluster.crash(1);
  cluster.campaign(2);
  cluster.settle(["PreVote", "PreVoteReply", "RequestVote", "RequestVoteReply"]);
  assertEquals(cluster.core(2).role, "leader");
  const early = cluster.change(2, { remove: [4] }, true);
  assert(!early.accepted && early.reason === "busy");
  cluster.heal();
  cluster.elapse(200);
  assert(cluster.change(2, { remove: [4] }).accepted);
});

Deno.test("TestAddNode, TestAddLearner, TestRemoveNode, TestRemoveLearner, TestRaftNodes", () => {
  const cluster = founded(1, 2);
  take(cluster, { add: [newMember(9), newMember(4)] });
  cluster.elapse(50);
  // Ids are ascending, in whatever order they were named.
  assertEquals(cluster.core(1).context.learners, [4, 9]);
  assertEquals([...cluster.core(1).state.leadership!.progress.keys()].sort(), [2, 4, 9]);
  take(cluster, { remove: [9] });
  cluster.elapse(50);
  assertEquals(cluster.core(1).context.learners, [4]);
  cluster.join(4, 1);
  cluster.elapse(500);
  assertEquals(votersOf(cluster, 1), [1, 2, 4]);
  take(cluster, { remove: [2] });
  cluster.elapse(200);
  assertEquals(votersOf(cluster, 1), [1, 4]);
  const last = cluster.change(1, { remove: [1, 4] });
  assert(!last.accepted && last.reason === "invalid");
});

Deno.test("TestAddNodeCheckQuorum: a leader that adds a node has time to hear from it", () => {
  const cluster = founded(1);
  cluster.elapse(2 * electionTimeoutMsMax);
  take(cluster, { add: [{ ...newMember(2), staysLearner: true }] });
  take(cluster, { promote: [2] }, true);
  cluster.elapse(electionTimeoutMsMin / 2);
  assertEquals(cluster.core(1).role, "leader");
  // And it steps down where nobody comes.
  cluster.elapse(2 * electionTimeoutMsMax);
  assert(cluster.core(1).role !== "leader");
});

Deno.test("TestCommitAfterRemoveNode: what waited for a node that is removed is committed without it", () => {
  const cluster = founded(1, 2);
  cluster.isLost = ({ to, message }) =>
    to === 2 && message.type === "AppendEntries" &&
    message.runs.some((run) => run.firstIndex > cluster.core(1).state.configs.current.index);
  take(cluster, { remove: [2] });
  cluster.propose(1, "waits");
  assertEquals(cluster.committedTexts(1), []);
  cluster.heal();
  cluster.elapse(200);
  assertEquals([votersOf(cluster, 1), cluster.committedTexts(1)], [[1], ["waits"]]);
});

Deno.test("TestLeaderTransferRemoveNode, TestLeaderTransferDemoteNode: while it hands over, a leader changes no members", () => {
  for (const change of [{ remove: [3] }, { demote: [3] }]) {
    const cluster = founded(1, 2, 3);
    cluster.isLost = ({ to }) => to === 3;
    cluster.propose(1, "ahead");
    cluster.turn(1, (core) => core.transfer(3));
    const refused = cluster.change(1, change, true);
    assert(!refused.accepted && refused.reason === "busy");
    // The transfer is given up in time, and then they change.
    cluster.elapse(2 * electionTimeoutMsMax);
    take(cluster, change, true);
  }
});

Deno.test("campaign_learner_must_vote: who does not know yet that it was promoted votes all the same", () => {
  // The learner's log still says that it learns; the candidate counts it as a voter.
  const solo = new SoloCore({ id: 3, voters: [1, 2], learners: [3], terms: [1], currentTerm: 1 });
  solo.elapse(electionTimeoutMsMax);
  const turn = solo.receive(solo.requestVote({ from: 2, lastLogIndex: 2, lastLogTerm: 1 }));
  assertEquals(only("RequestVoteReply", turn).granted, true);
});

Deno.test("confchange_v1_add_single, confchange_v2_add_double_auto: one or two at once, and the joint configuration is left by itself", () => {
  for (const ids of [[2], [2, 3]]) {
    const cluster = founded(1);
    take(cluster, { add: ids.map(newMember) });
    cluster.settle();
    for (const id of ids) cluster.join(id, 1);
    cluster.elapse(1_000);
    for (const id of [1, ...ids]) assertEquals(votersOf(cluster, id), [1, ...ids]);
    assertEquals(cluster.core(1).context.outgoing, []);
  }
});

Deno.test("confchange_v2_replace_leader, confchange_v1_remove_leader_stepdown: a leader can replace itself, and calls a successor", () => {
  const cluster = founded(1, 2, 3);
  take(cluster, { add: [{ ...newMember(4), staysLearner: true }] });
  cluster.settle();
  cluster.join(4, 1);
  cluster.elapse(300);
  take(cluster, { remove: [1], promote: [4] });
  assertEquals(cluster.core(1).role, "leader");
  cluster.elapse(300);
  assertEquals(cluster.core(1).role, "removed");
  const { leader } = cluster;
  assert(leader !== undefined && leader !== 1);
  assertEquals(votersOf(cluster, leader), [2, 3, 4]);
});

Deno.test("probe_and_replicate of a joint configuration: the log goes to both halves", () => {
  const solo = new SoloCore({ voters: [1, 2, 3], terms: [1] });
  solo.persist(solo.lead());
  const config = {
    ...foundingConfig({ voters: [1, 4, 5] }),
    clusterVersion: 2,
    outgoing: [1, 2, 3],
  };
  const members = [1, 2, 3, 4, 5].map((id) => ({
    ...newMember(id),
    ...{ staysLearner: false, replaces: undefined },
  }));
  const run = encodeRun({
    ...{ group: 0, term: solo.term, firstIndex: solo.core.state.log.lastIndex + 1, timeMs: 0 },
    ...{ kind: "config", payloads: [encodeConfig({ ...config, members })] },
  });
  solo.turn((core) => {
    (core.state as unknown as { append(run: unknown): void }).append(run);
    core.read([]);
  });
  assertEquals([...solo.core.state.leadership!.progress.keys()].sort(), [2, 3, 4, 5]);
});

const id = fc.integer({ min: 1, max: 7 });
const ids = fc.uniqueArray(id, { maxLength: 3 });
const change: fc.Arbitrary<MembershipChange> = fc.record({
  add: ids.map((all) => all.map(newMember)),
  remove: ids,
  promote: ids,
  demote: ids,
  replace: ids.map((all) => all.map((each) => ({ id: each }))),
});

Deno.test("confchange/quick_test: whatever is asked for, what comes of it is a configuration", () => {
  fc.assert(fc.property(fc.array(change, { maxLength: 6 }), (changes) => {
    let config = { ...foundingConfig({ voters: [1, 2, 3] }), clusterVersion: 2 };
    for (const each of changes) {
      let next: GroupConfig;
      try {
        next = configWith(config, each, (node) => `d-${node}`);
      } catch (error) {
        assert(error instanceof ChangeError);
        continue;
      }
      const changed = next.voters.join() !== config.voters.join();
      assertEquals(next.outgoing, changed ? config.voters : []);
      assert(next.voters.length > 0 && next.members.length <= MEMBERS_MAX);
      assert(next.learners.every((learner) => !next.voters.includes(learner)));
      // TestRestore: what was written is read as it was.
      assertEquals(configOfStored(storedConfigOf(next), 2), next);
      const after = leaveJoint(next);
      assertEquals(configOfStored(storedConfigOf(after), 2), after);
      assertEquals(
        after.members.map((member) => member.id),
        [...after.voters, ...after.learners].sort((a, b) => a - b),
      );
      config = after;
    }
  }));
});
