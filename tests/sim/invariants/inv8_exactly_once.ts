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
    const { group, node, once, index, tookEffect } = observation;
    if (once === undefined || !tookEffect) return undefined;
    const key = `${group}/${once}`;
    const first = this.#effects.get(key) ?? index;
    this.#effects.set(key, first);
    return first === index
      ? undefined
      : `node ${node} applied ${once} at index ${index}, it had taken effect at ${first}`;
  }
}
