/**
 * Figure 7 of the paper: the leader of term 8 comes to power among followers a to f, whose logs lack
 * entries, have entries too many, or both; each is brought to equal the leader's.
 *
 * @module
 */
import { assertEquals } from "@std/assert";
import { DEFAULT_TIMING } from "../../../machines/group_state.ts";
import type { HardState, NodeId, Term } from "../../../machines/raft_types.ts";
import { CoreCluster } from "../core_cluster.ts";
import type { Plays } from "./plays.ts";

const LEADER: readonly Term[] = [1, 1, 1, 4, 4, 5, 5, 6, 6, 6];

const followers: Readonly<Record<string, readonly Term[]>> = {
  a: [1, 1, 1, 4, 4, 5, 5, 6, 6],
  b: [1, 1, 1, 4],
  c: [1, 1, 1, 4, 4, 5, 5, 6, 6, 6, 6],
  d: [1, 1, 1, 4, 4, 5, 5, 6, 6, 6, 7, 7],
  e: [1, 1, 1, 4, 4, 4, 4],
  f: [1, 1, 1, 2, 2, 2, 3, 3, 3, 3, 3],
};

/** The plays of this scenario, by title. */
export const figure7: Plays = {
  "Figure 7: the leader of term 8 brings each follower's log to equal its own": () => {
    const letters = Object.keys(followers);
    const voters: NodeId[] = [1, ...letters.map((_, at) => at + 2)];
    const logs: Record<NodeId, readonly Term[]> = { 1: LEADER };
    letters.forEach((letter, at) => logs[at + 2] = followers[letter]!);
    const hardState: HardState = { currentTerm: 7, votedFor: undefined };
    const cluster = new CoreCluster({
      voters,
      logs,
      hardStates: Object.fromEntries(voters.map((id) => [id, hardState])),
    });
    cluster.scene("nodes 2 to 7 are the followers a to f; c and d have longer logs and refuse");
    cluster.elect(1);
    assertEquals(cluster.core(1).context.currentTerm, 8);
    cluster.elapse(2 * DEFAULT_TIMING.heartbeatMs);
    letters.forEach((letter, at) => {
      assertEquals(cluster.termsOf(at + 2), [...LEADER, 8], `follower ${letter}`);
      assertEquals(cluster.core(at + 2).state.commitIndex, 11, `follower ${letter}`);
    });
    return cluster;
  },
};
