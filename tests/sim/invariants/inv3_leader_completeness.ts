/**
 * INV3, leader completeness: a committed entry is present in the logs of the leaders of all
 * later terms (s5.4).
 *
 * With log matching it is enough that the last committed entry is present.
 *
 * @module
 */
import type { Invariant, Observation } from "../observation.ts";

/** See the module. */
export class LeaderCompleteness implements Invariant {
  readonly name = "INV3 leader completeness";
  readonly #committed = new Map<number, { readonly index: number; readonly term: number }>();

  observe(observation: Observation): string | undefined {
    if (observation.type === "commit") {
      const { group, index, term } = observation;
      if (index > (this.#committed.get(group)?.index ?? 0)) {
        this.#committed.set(group, { index, term });
      }
    } else if (observation.type === "leader") {
      const { group, node, term, termAt } = observation;
      const last = this.#committed.get(group);
      if (last === undefined || last.term > term) return undefined;
      if (termAt(last.index) !== last.term) {
        return `leader ${node} of term ${term} has not the committed entry ${last.index} of ` +
          `term ${last.term}`;
      }
    }
    return undefined;
  }
}
