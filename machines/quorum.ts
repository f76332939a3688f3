/**
 * Majority arithmetic, in one place so that learners, even-sized clusters and joint configurations are
 * right everywhere.
 *
 * @module
 */
import type { Membership, NodeId } from "./raft_types.ts";

/** The lists of voters that each have to agree: one, or two while the voters change (thesis s4.3). */
export type Voters = Pick<Membership, "voters" | "outgoing">;

/** How many of `voters` voters are a majority: more than half. */
export function majority(voters: number): number {
  return Math.floor(voters / 2) + 1;
}

/** Whether the configuration is joint: two majorities are needed. */
export function isJoint({ outgoing }: Pick<Voters, "outgoing">): boolean {
  return outgoing.length > 0;
}

/** Everybody who has a vote, ascending. */
export function allVoters({ voters, outgoing }: Voters): readonly NodeId[] {
  if (outgoing.length === 0) return voters;
  return [...new Set([...voters, ...outgoing])].sort((a, b) => a - b);
}

/** The lists of which each must have a majority. */
export function halvesOf({ voters, outgoing }: Voters): readonly (readonly NodeId[])[] {
  return outgoing.length === 0 ? [voters] : [voters, outgoing];
}

/** Whether the granting nodes include a majority of the voters, of both halves if there are two. */
export function isQuorum(granted: readonly NodeId[], { voters, outgoing }: Voters): boolean {
  return isMajority(granted, voters) &&
    (outgoing.length === 0 || isMajority(granted, outgoing));
}

/**
 * The highest value that a majority of the voters has reached (s5.3: "a majority of matchIndex[i] >=
 * N"), of both halves if there are two.
 */
export function quorumValue(
  { voters, outgoing }: Voters,
  valueOf: (voter: NodeId) => number,
): number {
  const reached = reachedByMajority(voters, valueOf);
  return outgoing.length === 0 ? reached : Math.min(reached, reachedByMajority(outgoing, valueOf));
}

function isMajority(granted: readonly NodeId[], voters: readonly NodeId[]): boolean {
  let count = 0;
  for (const voter of voters) if (granted.includes(voter)) count++;
  return voters.length > 0 && count >= majority(voters.length);
}

function reachedByMajority(
  voters: readonly NodeId[],
  valueOf: (voter: NodeId) => number,
): number {
  if (voters.length === 0) return 0;
  const descending = voters.map(valueOf).sort((a, b) => b - a);
  return descending[majority(voters.length) - 1]!;
}
