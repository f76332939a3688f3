/**
 * INV4, state machine safety: no two nodes apply different entries at the same index (s5.4.3),
 * each applies every index once and in order, and equal history makes equal state.
 *
 * @module
 */
import type { Invariant, Observation } from "../observation.ts";

/** See the module. */
export class StateMachineSafety implements Invariant {
  readonly name = "INV4 state machine safety";
  readonly #entries = new Map<string, number>();
  readonly #hashes = new Map<string, string>();

  observe(observation: Observation): string | undefined {
    if (observation.type === "apply") {
      const { group, node, index, checksum } = observation;
      const key = `${group}/${index}`;
      const first = this.#entries.get(key) ?? checksum;
      this.#entries.set(key, first);
      if (first !== checksum) return `node ${node} applied another entry at index ${index}`;
    } else if (observation.type === "store") {
      const { group, node, index, stateHash } = observation;
      const key = `${group}/${index}`;
      const first = this.#hashes.get(key) ?? stateHash;
      this.#hashes.set(key, first);
      if (first !== stateHash) {
        return `node ${node} has state ${stateHash} at index ${index}, another had ${first}`;
      }
    }
    return undefined;
  }
}
