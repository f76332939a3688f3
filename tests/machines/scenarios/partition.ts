/**
 * A leader is cut off with a minority: its writes are never committed, the majority goes on, and
 * after the partition heals its log is made equal (s5.3, thesis s6.2).
 *
 * @module
 */
import { assertEquals } from "@std/assert";
import { DEFAULT_TIMING } from "../../../machines/group_state.ts";
import { CoreCluster } from "../core_cluster.ts";
import type { Plays } from "./plays.ts";

/** The plays of this scenario, by title. */
export const partition: Plays = {
  "a partition that separates the leader, and its healing": () => {
    const cluster = new CoreCluster({ voters: [1, 2, 3, 4, 5] });
    cluster.elect(1);
    cluster.propose(1, "before");
    cluster.settle();
    cluster.transcript.length = 0;
    cluster.scene("1 and 2 are cut off; 1 still believes that it leads, and takes a write");
    cluster.partition([1, 2], [3, 4, 5]);
    cluster.propose(1, "lost");
    cluster.settle();
    assertEquals(cluster.committedTexts(1), ["before"]);
    cluster.scene("the majority elects 3, which takes another");
    cluster.elect(3);
    cluster.propose(3, "kept");
    cluster.settle();
    assertEquals(cluster.committedTexts(3), ["before", "kept"]);
    cluster.scene("no majority has answered 1 for an election timeout: it steps down");
    cluster.turn(1, (core) => core.elapse());
    assertEquals(cluster.core(1).role, "follower");
    cluster.scene("the partition heals; the next heartbeat finds 1 and 2 behind");
    cluster.heal();
    cluster.elapse(2 * DEFAULT_TIMING.heartbeatMs);
    for (const id of [1, 2, 3, 4, 5]) {
      assertEquals(cluster.committedTexts(id), ["before", "kept"], `node ${id}`);
      assertEquals(cluster.termsOf(id), cluster.termsOf(3), `node ${id}`);
    }
    return cluster;
  },
};
