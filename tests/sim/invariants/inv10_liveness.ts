/**
 * INV10, liveness: after the faults are healed a quorum elects one leader, answers every request,
 * and its nodes converge to one state.
 *
 * @module
 */
import type { Invariant, Observation } from "../observation.ts";

/** See the module. */
export class Liveness implements Invariant {
  readonly name = "INV10 liveness";

  observe(observation: Observation): string | undefined {
    if (observation.type !== "end") return undefined;
    const { leaders, unanswered, nodes } = observation;
    if (leaders.length !== 1) return `there are ${leaders.length} leaders after the heal`;
    if (unanswered > 0) return `${unanswered} requests were not answered after the heal`;
    const [first] = nodes;
    for (const { node, applied, stateHash } of nodes) {
      if (applied !== first!.applied || stateHash !== first!.stateHash) {
        return `node ${node} is at index ${applied} with state ${stateHash}, ` +
          `node ${first!.node} at ${first!.applied} with ${first!.stateHash}`;
      }
    }
    return undefined;
  }
}
