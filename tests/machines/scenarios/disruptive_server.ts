/**
 * A server that hears no leader and campaigns again and again does not disturb the others (thesis
 * s4.2.3, s9.6).
 *
 * @module
 */
import { assertEquals } from "@std/assert";
import { DEFAULT_TIMING } from "../../../machines/group_state.ts";
import { CoreCluster } from "../core_cluster.ts";
import type { Plays } from "./plays.ts";

/** The plays of this scenario, by title. */
export const disruptiveServer: Plays = {
  "a server that hears nobody but is heard": () => {
    const cluster = new CoreCluster({ voters: [1, 2, 3] });
    cluster.elect(1);
    cluster.elapse(DEFAULT_TIMING.heartbeatMs);
    const { currentTerm } = cluster.core(1).context;
    cluster.transcript.length = 0;
    cluster.scene(
      "nothing reaches 3 any more; its pre-votes are refused for as long as 1 is heard",
    );
    cluster.isLost = ({ to }) => to === 3;
    cluster.elapse(3 * DEFAULT_TIMING.electionTimeoutMsMax);
    assertEquals([cluster.leader, cluster.core(3).context.currentTerm], [1, currentTerm]);
    cluster.scene(
      "without pre-votes it would have raised its term: such a request is not even answered",
    );
    for (const to of [1, 2]) {
      cluster.deliver({
        to,
        message: {
          type: "RequestVote",
          group: 0,
          term: currentTerm + 9,
          from: 3,
          lastLogIndex: 99,
          lastLogTerm: currentTerm + 8,
          transfer: false,
        },
      });
    }
    assertEquals(cluster.inFlight, []);
    assertEquals([1, 2].map((id) => cluster.core(id).context.currentTerm), [
      currentTerm,
      currentTerm,
    ]);
    cluster.scene("it hears again, and follows");
    cluster.heal();
    cluster.elapse(DEFAULT_TIMING.electionTimeoutMsMax);
    assertEquals([cluster.leader, cluster.core(3).context.leaderId], [1, 1]);
    assertEquals(cluster.core(1).context.currentTerm, currentTerm);
    return cluster;
  },
};
