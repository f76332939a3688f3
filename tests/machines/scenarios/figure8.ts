/**
 * Figure 8 of the paper: why an entry of an earlier term is never committed by counting (s5.4.2).
 *
 * S1 to S5 are nodes 1 to 5. A command as large as a whole message keeps S1's entries of term 2 and
 * of term 4 in messages of their own, as in the figure.
 *
 * @module
 */
import { APPEND_BYTES_MAX } from "../../../machines/bounds.ts";
import { assert, assertEquals } from "@std/assert";
import { DEFAULT_TIMING } from "../../../machines/group_state.ts";

import type { NodeId } from "../../../machines/raft_types.ts";
import { CoreCluster } from "../core_cluster.ts";
import type { Plays } from "./plays.ts";

/** Figure 8 (a) to (c): S1 leads term 4, and its entry of term 2 is on S1, S2 and S3. */
function untilC(): CoreCluster {
  const ids: readonly NodeId[] = [1, 2, 3, 4, 5];
  const cluster = new CoreCluster({
    voters: ids,
    logs: Object.fromEntries(ids.map((id) => [id, [1]])),
  });
  cluster.scene("(a) S1 leads term 2 and replicates its entries at 2 and 3 to S2 only");
  cluster.isLost = ({ to, message }) =>
    message.type === "AppendEntries" && message.from === 1 && to !== 2;
  cluster.elect(1);
  cluster.propose(1, "x".repeat(APPEND_BYTES_MAX));
  cluster.settle();
  assertEquals(ids.map((id) => cluster.termsOf(id)), [[1, 2, 2], [1, 2, 2], [1], [1], [1]]);

  cluster.scene("(b) S1 crashes; S5 is elected for term 3 by S3 and S4, and takes another entry");
  cluster.crash(1);
  cluster.isLost = ({ message }) => message.type === "AppendEntries" && message.from === 5;
  cluster.elect(5);
  assertEquals(cluster.core(5).context.currentTerm, 3);
  assertEquals(cluster.termsOf(5), [1, 3]);

  cluster.scene(
    "(c) S5 crashes; S1 restarts, leads term 4, and goes on to replicate: 2 reaches S3",
  );
  cluster.crash(5);
  cluster.restart(1);
  // Its first pre-vote tells it that term 3 has been.
  campaignInVain(cluster, 1);
  // Of S1's entries only the first goes through.
  cluster.isLost = ({ to, message }) =>
    message.type === "AppendEntries" &&
    (to === 4 || message.runs.some(({ firstIndex }) => firstIndex > 2));
  cluster.elect(1);
  cluster.elapse(DEFAULT_TIMING.heartbeatMs);
  assertEquals(cluster.core(1).context.currentTerm, 4);
  assertEquals(ids.map((id) => cluster.termsOf(id)), [[1, 2, 2, 4], [1, 2, 2], [1, 2], [1], [
    1,
    3,
  ]]);
  const onMajority = [2, 3].every((id) =>
    cluster.core(1).state.lead.progress.get(id)!.matchIndex >= 2
  );
  assert(onMajority, "S1 knows that its entry of term 2 is on a majority");
  for (const id of [1, 2, 3, 4]) {
    assertEquals(cluster.core(id).state.commitIndex, 0, `not committed at S${id}`);
  }
  return cluster;
}

function campaignInVain(cluster: CoreCluster, id: NodeId): void {
  cluster.nowMs += DEFAULT_TIMING.electionTimeoutMsMax;
  cluster.timeout(id);
  cluster.settle();
  assert(cluster.core(id).role !== "leader");
}

/** The plays of this scenario, by title. */
export const figure8: Plays = {
  "Figure 8 (d): an entry of an earlier term that a majority has can still be overwritten": () => {
    const cluster = untilC();
    cluster.scene("(d) S1 crashes; S5 is elected for term 5 and overwrites the entry of term 2");
    cluster.crash(1);
    cluster.restart(5);
    cluster.heal();
    // Its first pre-vote tells it that term 4 has been.
    campaignInVain(cluster, 5);
    cluster.elect(5);
    cluster.elapse(2 * DEFAULT_TIMING.heartbeatMs);
    cluster.scene("S1 returns and is brought to equal S5");
    cluster.restart(1);
    cluster.elapse(2 * DEFAULT_TIMING.heartbeatMs);
    for (const id of [1, 2, 3, 4, 5]) {
      assertEquals(cluster.termsOf(id), [1, 3, 5], `S${id}`);
      assertEquals(cluster.core(id).state.commitIndex, 3, `S${id}`);
    }
    return cluster;
  },
  "Figure 8 (e): once an entry of the leader's own term is on a majority, all before it are safe":
    () => {
      const cluster = untilC();
      cluster.scene(
        "(e) the entry of term 4 reaches S2 and S3, and everything before it is committed",
      );
      cluster.isLost = ({ to }) => to === 4;
      cluster.elapse(2 * DEFAULT_TIMING.heartbeatMs);
      assertEquals(cluster.core(1).state.commitIndex, 4);
      cluster.scene("S1 crashes; S5 cannot win, whoever can has the entries");
      cluster.crash(1);
      cluster.restart(5);
      cluster.heal();
      campaignInVain(cluster, 5);
      campaignInVain(cluster, 5);
      cluster.elect(3);
      cluster.elapse(2 * DEFAULT_TIMING.heartbeatMs);
      for (const id of [2, 3, 4, 5]) {
        assertEquals(cluster.termsOf(id).slice(0, 4), [1, 2, 2, 4], `S${id}`);
      }
      return cluster;
    },
};
