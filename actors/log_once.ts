/**
 * A log that says the same thing about the same node once, however often it happens.
 *
 * @module
 */
import type { NodeId } from "../machines/raft_types.ts";
import { LOGGED_CAUSES_MAX } from "./limits.ts";
import type { Log, LogLevel } from "./runtime/ports.ts";

/** Logs each cause once per node until the node is forgotten, LOGGED_CAUSES_MAX causes in all. */
export class LogOnce {
  readonly #log: Log;
  readonly #causes = new Map<NodeId, Set<string>>();
  #size = 0;

  constructor(log: Log) {
    this.#log = log;
  }

  log(
    level: LogLevel,
    event: string,
    fields: { readonly node: NodeId; readonly cause: string; readonly detail: string },
  ): void {
    const key = `${event} ${fields.cause}`;
    let causes = this.#causes.get(fields.node);
    if (causes?.has(key) || this.#size >= LOGGED_CAUSES_MAX) return;
    if (causes === undefined) this.#causes.set(fields.node, causes = new Set());
    causes.add(key);
    this.#size++;
    this.#log(level, event, fields);
  }

  /** The node is well again: whatever happens to it next is logged again. */
  forget(node: NodeId): void {
    this.#size -= this.#causes.get(node)?.size ?? 0;
    this.#causes.delete(node);
  }
}
