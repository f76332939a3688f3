/**
 * Two candidates of one term, no winner, and the election after it (s5.2).
 *
 * @module
 */
import { assertEquals } from "@std/assert";
import { DEFAULT_TIMING } from "../../../machines/group_state.ts";
import { CoreCluster } from "../core_cluster.ts";
import type { Plays } from "./plays.ts";

/** The plays of this scenario, by title. */
export const splitVote: Plays = {
  "a split vote is resolved in the next term": () => {
    const cluster = new CoreCluster({ voters: [1, 2, 3, 4] });
    cluster.nowMs = DEFAULT_TIMING.electionTimeoutMsMax;
    cluster.scene("two of four time out together, and each is promised three votes");
    cluster.timeout(1);
    cluster.timeout(2);
    cluster.settleTypes(["PreVote", "PreVoteReply"]);
    cluster.scene("3 hears 1 first, 4 hears 2 first");
    cluster.deliverBetween(1, 3);
    cluster.deliverBetween(2, 4);
    cluster.settle();
    assertEquals([1, 2].map((id) => cluster.core(id).role), ["candidate", "candidate"]);
    assertEquals(cluster.leader, undefined);
    cluster.scene("whoever times out first now wins the next term");
    cluster.elect(2);
    assertEquals(cluster.leader, 2);
    assertEquals(cluster.core(2).context.currentTerm, 2);
    return cluster;
  },
};
