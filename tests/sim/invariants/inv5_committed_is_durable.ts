/**
 * INV5, committed is durable: an entry that a node takes for committed is on the disks of a
 * majority of the voters, and what a node said to be durable is there after a crash (s3.8 of the
 * thesis).
 *
 * @module
 */
import type { Invariant, Observation } from "../observation.ts";

/** See the module. */
export class CommittedIsDurable implements Invariant {
  readonly name = "INV5 committed is durable";
  readonly #committed = new Map<number, number>();

  observe(observation: Observation): string | undefined {
    if (observation.type === "commit") {
      const { group, index, durableOn, configs } = observation;
      // A follower that hears of it may have another configuration in force by then.
      if (configs.length === 0) return undefined;
      if (index <= (this.#committed.get(group) ?? 0)) return undefined;
      this.#committed.set(group, index);
      const isDurable = (voters: readonly number[]): boolean =>
        2 * voters.filter((voter) => durableOn.includes(voter)).length > voters.length;
      if (!configs.some((halves) => halves.every(isDurable))) {
        return `entry ${index} is committed but durable only on ${durableOn.join(", ") || "none"}`;
      }
    } else if (observation.type === "recovery") {
      const { node, lastIndex, term, termAt, promised } = observation;
      if (term < promised.term) {
        return `node ${node} had entered term ${promised.term} and came back in term ${term}`;
      }
      if (lastIndex < promised.index) {
        return `node ${node} had promised entry ${promised.index} and came back with ${lastIndex}`;
      }
      if (promised.index > 0 && termAt(promised.index)! < promised.entryTerm) {
        return `node ${node} came back with an older entry at index ${promised.index}`;
      }
    }
    return undefined;
  }
}
