/**
 * INV8, exactly once: a command of a session takes effect at one index at most (thesis s6.3).
 *
 * @module
 */
import type { Invariant, Observation } from "../observation.ts";

/** See the module. */
export class ExactlyOnce implements Invariant {
  readonly name = "INV8 exactly once";
  readonly #effects = new Map<string, number>();

  observe(observation: Observation): string | undefined {
    if (observation.type !== "apply") return undefined;
    const { group, node, index, effects } = observation;
    if (new Set(effects).size < effects.length) {
      return `node ${node} applied one of ${effects.join(", ")} twice within index ${index}`;
    }
    for (const once of effects) {
      const key = `${group}/${once}`;
      const first = this.#effects.get(key) ?? index;
      this.#effects.set(key, first);
      if (first !== index) {
        return `node ${node} applied ${once} at index ${index}, it had taken effect at ${first}`;
      }
    }
    return undefined;
  }
}
