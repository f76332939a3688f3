/**
 * INV11, honest acceptance: what a follower says to hold is on its disk, and is the leader's
 * (Fig. 2, "matchIndex"). The leader counts such answers, so a wrong one may commit what is nowhere.
 *
 * @module
 */
import type { Invariant, Observation } from "../observation.ts";

/** See the module. */
export class HonestAcceptance implements Invariant {
  readonly name = "INV11 honest acceptance";

  observe(observation: Observation): string | undefined {
    if (observation.type !== "acceptance") return undefined;
    const { node, leader, matchIndex, durableIndex, ownTerm, leaderTerm } = observation;
    if (matchIndex > durableIndex) {
      return `node ${node} claims entries to ${matchIndex}, its disk has them to ${durableIndex}`;
    }
    if (ownTerm !== leaderTerm) {
      return `node ${node} claims the log of node ${leader} to ${matchIndex}: its entry has term ` +
        `${ownTerm}, the leader's ${leaderTerm}`;
    }
    return undefined;
  }
}
