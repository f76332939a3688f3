/**
 * Leadership transfer (thesis s3.10): it succeeds, is aborted, or is refused.
 *
 * @module
 */
import { assert, assertEquals } from "@std/assert";
import { DEFAULT_TIMING } from "../../../machines/group_state.ts";
import { CoreCluster } from "../core_cluster.ts";
import type { Plays } from "./plays.ts";

/** Node 1 leads voters 2 and 3 and learner 4. */
function led(): CoreCluster {
  const cluster = new CoreCluster({ voters: [1, 2, 3], learners: [4] });
  cluster.elect(1);
  cluster.propose(1, "before");
  cluster.elapse(2 * DEFAULT_TIMING.heartbeatMs);
  cluster.transcript.length = 0;
  return cluster;
}

/** The plays of this scenario, by title. */
export const transfer: Plays = {
  "a transfer to a follower that is behind": () => {
    const cluster = led();
    cluster.scene("2 misses a write; then 1 is asked to hand over to 2");
    cluster.isLost = ({ to }) => to === 2;
    cluster.propose(1, "missed");
    cluster.settle();
    cluster.heal();
    cluster.turn(1, (core) => core.transfer(2));
    assertEquals(cluster.propose(1, "refused"), { accepted: false, reason: "transferring" });
    cluster.scene("the next heartbeat finds what 2 lacks; TimeoutNow follows when it has it");
    cluster.elapse(2 * DEFAULT_TIMING.heartbeatMs);
    assertEquals(cluster.leader, 2);
    assertEquals(cluster.core(1).role, "follower");
    cluster.propose(2, "after");
    cluster.elapse(2 * DEFAULT_TIMING.heartbeatMs);
    for (const id of [1, 2, 3, 4]) {
      assertEquals(cluster.committedTexts(id), ["before", "missed", "after"], `node ${id}`);
    }
    return cluster;
  },
  "a transfer to a node that is down is aborted, and the leader resumes": () => {
    const cluster = led();
    cluster.crash(2);
    cluster.turn(1, (core) => core.transfer(2));
    cluster.elapse(DEFAULT_TIMING.electionTimeoutMsMax + DEFAULT_TIMING.heartbeatMs);
    assertEquals(cluster.node(1).transfers, ["aborted"]);
    assertEquals(cluster.leader, 1);
    cluster.scene("1 takes writes again");
    assert(cluster.propose(1, "after").accepted);
    cluster.settle();
    assertEquals(cluster.committedTexts(1), ["before", "after"]);
    return cluster;
  },
  "transfers to itself, to a learner and to nobody are refused": () => {
    const cluster = led();
    for (const to of [1, 4, 9]) {
      cluster.scene(`to ${to}`);
      cluster.turn(1, (core) => core.transfer(to));
    }
    cluster.settle();
    assertEquals(cluster.node(1).transfers, ["refused", "refused", "refused"]);
    assertEquals(cluster.leader, 1);
    assert(cluster.propose(1, "after").accepted);
    return cluster;
  },
  "a second transfer is refused while the first is under way, and the first succeeds": () => {
    const cluster = led();
    cluster.turn(1, (core) => core.transfer(2));
    cluster.turn(1, (core) => core.transfer(3));
    assertEquals(cluster.node(1).transfers, ["refused"]);
    cluster.settle();
    assertEquals(cluster.leader, 2);
    return cluster;
  },
};
