/**
 * INV2, log matching: if two logs contain an entry with the same index and term, then the logs are
 * identical in all entries up through that index (s5.3).
 *
 * By induction it is enough that equal (index, term) means equal bytes and equal term before it.
 *
 * @module
 */
import type { Invariant, Observation } from "../observation.ts";

/** See the module. */
export class LogMatching implements Invariant {
  readonly name = "INV2 log matching";
  readonly #seen = new Map<string, { readonly prevTerm: number; readonly checksum: number }>();

  observe(observation: Observation): string | undefined {
    if (observation.type !== "append") return undefined;
    const { group, node, index, term, prevTerm, checksum } = observation;
    const key = `${group}/${index}/${term}`;
    const first = this.#seen.get(key);
    if (first === undefined) {
      this.#seen.set(key, { prevTerm, checksum });
      return undefined;
    }
    if (first.checksum !== checksum) {
      return `node ${node} has other bytes at index ${index}, term ${term}`;
    }
    if (first.prevTerm !== prevTerm) {
      return `node ${node} has term ${prevTerm} before index ${index}, term ${term}, ` +
        `where another has ${first.prevTerm}`;
    }
    return undefined;
  }
}
