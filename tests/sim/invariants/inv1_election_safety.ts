/**
 * INV1, election safety: at most one leader can be elected in a given term (s5.2).
 *
 * @module
 */
import type { Invariant, Observation } from "../observation.ts";

/** See the module. */
export class ElectionSafety implements Invariant {
  readonly name = "INV1 election safety";
  readonly #leaders = new Map<string, number>();

  observe(observation: Observation): string | undefined {
    if (observation.type !== "leader") return undefined;
    const { group, term, node } = observation;
    const key = `${group}/${term}`;
    const other = this.#leaders.get(key) ?? node;
    this.#leaders.set(key, node);
    return other === node ? undefined : `nodes ${other} and ${node} both lead term ${term}`;
  }
}
