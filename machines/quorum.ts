/**
 * Majority arithmetic, in one place so that learners and even-sized clusters are right everywhere.
 *
 * @module
 */
import type { LogIndex, NodeId } from "./raft_types.ts";

/** How many of `voters` voters are a majority: more than half. */
export function majority(voters: number): number {
  return Math.floor(voters / 2) + 1;
}

/** Whether the granting nodes include a majority of the voters. Others do not count. */
export function isQuorum(granted: readonly NodeId[], voters: readonly NodeId[]): boolean {
  let count = 0;
  for (const voter of voters) if (granted.includes(voter)) count++;
  return voters.length > 0 && count >= majority(voters.length);
}

/** The highest index that a majority of the voters has reached (s5.3: "a majority of matchIndex[i] >= N"). */
export function quorumIndex(
  voters: readonly NodeId[],
  matchIndexOf: (voter: NodeId) => LogIndex,
): LogIndex {
  if (voters.length === 0) return 0;
  const descending = voters.map(matchIndexOf).sort((a, b) => b - a);
  return descending[majority(voters.length) - 1]!;
}
