/**
 * INV14, whole watches: a watcher is told of every change once, in the order of revisions, and none is
 * missing, whichever nodes it follows one after the other; unless it was told that some are not kept.
 *
 * @module
 */
import type { Invariant, Observation } from "../observation.ts";

/** See the module. */
export class WholeWatches implements Invariant {
  readonly name = "INV14 whole watches";
  /** What each revision of a group changed, whoever applied it first. */
  readonly #changes = new Map<string, string>();
  /** The revision that each watcher is told of next. */
  readonly #next = new Map<string, number>();

  observe(observation: Observation): string | undefined {
    switch (observation.type) {
      case "changes": {
        const { group, revision, keys } = observation;
        const key = `${group}/${revision}`;
        if (!this.#changes.has(key)) this.#changes.set(key, keys);
        return undefined;
      }
      case "watchBegins":
        this.#next.set(observation.watcher, observation.from);
        return undefined;
      case "watched":
        return this.#watched(observation);
      default:
        return undefined;
    }
  }

  #watched(
    { watcher, group, revision, keys }: Extract<Observation, { readonly type: "watched" }>,
  ): string | undefined {
    const next = this.#next.get(watcher)!;
    if (revision !== next) return `${watcher} is told of revision ${revision}, after ${next - 1}`;
    this.#next.set(watcher, revision + 1);
    const made = this.#changes.get(`${group}/${revision}`);
    if (made === keys) return undefined;
    return `${watcher} is told that revision ${revision} changed ${keys}, and it changed ${made}`;
  }
}
