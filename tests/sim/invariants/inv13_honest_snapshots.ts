/**
 * INV13, honest snapshots: where a log begins behind a snapshot, the last entry that it covers is
 * committed, and in the term that the snapshot says (s7). What state the snapshot holds, INV4 compares.
 *
 * @module
 */
import type { Invariant, Observation } from "../observation.ts";

/** See the module. */
export class HonestSnapshots implements Invariant {
  readonly name = "INV13 honest snapshots";

  observe(observation: Observation): string | undefined {
    if (observation.type !== "snapshot") return undefined;
    const { node, index, term, committedTerm } = observation;
    if (term === committedTerm) return undefined;
    return `node ${node} has a snapshot to entry ${index} of term ${term}, and ` +
      (committedTerm === undefined
        ? "nobody knows that entry to be committed"
        : `the one that is committed has term ${committedTerm}`);
  }
}
