/**
 * INV12, fresh reads: a linearizable read is served only with all applied that any node knew to be
 * committed when it was asked for (thesis s6.4). INV9 sees a stale read only if a client notices.
 *
 * @module
 */
import type { Invariant, Observation } from "../observation.ts";

/** See the module. */
export class FreshReads implements Invariant {
  readonly name = "INV12 fresh reads";

  observe(observation: Observation): string | undefined {
    if (observation.type !== "read") return undefined;
    const { node, committed, applied } = observation;
    if (applied >= committed) return undefined;
    return `node ${node} serves a read at index ${applied}, and ${committed} was committed before`;
  }
}
