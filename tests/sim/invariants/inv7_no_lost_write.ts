/**
 * INV7, no acknowledged write is lost: what a client was told to have taken effect had been applied
 * by then, and is in every converged state in the end.
 *
 * @module
 */
import type { Invariant, Observation } from "../observation.ts";

/** See the module. */
export class NoLostWrite implements Invariant {
  readonly name = "INV7 no acknowledged write lost";
  /** Index at which each write took effect. */
  readonly #effects = new Map<string, number>();
  readonly #highestAck = new Map<number, { readonly once: string; readonly index: number }>();

  observe(observation: Observation): string | undefined {
    if (observation.type === "apply") {
      const { group, index, effects } = observation;
      for (const once of effects) this.#effects.set(`${group}/${once}`, index);
    } else if (observation.type === "ack") {
      const { group, once } = observation;
      const index = this.#effects.get(`${group}/${once}`);
      if (index === undefined) return `write ${once} was acknowledged but took effect nowhere`;
      if (index > (this.#highestAck.get(group)?.index ?? 0)) {
        this.#highestAck.set(group, { once, index });
      }
    } else if (observation.type === "end") {
      const last = this.#highestAck.get(observation.group);
      if (last === undefined) return undefined;
      for (const { node, applied } of observation.nodes) {
        if (applied < last.index) {
          return `node ${node} ended at index ${applied}, before the acknowledged write ` +
            `${last.once} at ${last.index}`;
        }
      }
    }
    return undefined;
  }
}
