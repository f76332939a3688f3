/**
 * INV6, monotony: a node's term never falls, it votes for one candidate in a term (both across
 * restarts), and within a life its commit index never falls (Fig. 2).
 *
 * @module
 */
import type { Invariant, Observation } from "../observation.ts";

/** See the module. */
export class Monotone implements Invariant {
  readonly name = "INV6 monotone term, vote and commit";
  readonly #last = new Map<string, { life: number; term: number; commitIndex: number }>();
  readonly #votes = new Map<string, number>();

  observe(observation: Observation): string | undefined {
    if (observation.type === "state") {
      const { group, node, life, term, commitIndex } = observation;
      const key = `${group}/${node}`;
      const last = this.#last.get(key);
      this.#last.set(key, { life, term, commitIndex });
      if (last === undefined || last.life !== life) return undefined;
      if (term < last.term) return `node ${node} went from term ${last.term} to ${term}`;
      if (commitIndex < last.commitIndex) {
        return `node ${node} went from commit ${last.commitIndex} to ${commitIndex}`;
      }
    } else if (observation.type === "vote") {
      const { group, node, term, candidate, generation } = observation;
      const key = `${group}/${node}/${generation}/${term}`;
      const first = this.#votes.get(key) ?? candidate;
      this.#votes.set(key, first);
      if (first !== candidate) {
        return `node ${node} voted for ${first} and for ${candidate} in term ${term}`;
      }
    }
    return undefined;
  }
}
