/**
 * A store that is told one command after the other.
 *
 * @module
 */
import { toBytes } from "../../../storage/byte_string.ts";
import { type Command, encodeCommand } from "../../../storage/kv/command.ts";
import type { CommandResult } from "../../../storage/kv/command_result.ts";
import type { Compare } from "../../../storage/kv/compare.ts";
import { KvStore, type KvStoreOptions } from "../../../storage/kv/kv_store.ts";
import type { Once } from "../../../storage/kv/once.ts";
import {
  keyOf,
  type Operation,
  type OperationResult,
} from "../../../storage/kv/operations/operations.ts";
import { applyNothing, applyRequest } from "./apply.ts";
import { commandOf } from "./command_of.ts";

/** What the gateway lets a client ask of a key. */
export type Condition = "absent" | "present" | { readonly revision: number };

/** The compare that a condition on a key is. */
export function compareOf(key: string, condition: Condition): Compare {
  const target = "revision";
  if (condition === "absent") return { key, target, operator: "==", operand: 0 };
  if (condition === "present") return { key, target, operator: "!=", operand: 0 };
  return { key, target, operator: "==", operand: condition.revision };
}

/** The result of a command whose compares held. */
export function done(revision: number, ...results: OperationResult[]): CommandResult {
  return { status: "ok", succeeded: true, revision, results };
}

/** One client, and its store. */
export class Client {
  readonly store: KvStore;
  timeMs = 1_000_000;

  constructor(options: KvStoreOptions = {}) {
    this.store = new KvStore(options);
  }

  execute(command: Command): CommandResult {
    const payload = encodeCommand(command);
    const result = applyRequest(this.store, payload, { timeMs: this.timeMs });
    // The log may reuse its bytes: neither the store nor a result may keep any of them.
    payload.fill(0xee);
    return result;
  }

  apply(operation: Operation, once?: Once, condition?: Condition): CommandResult {
    const compares = condition === undefined ? [] : [compareOf(keyOf(operation)!, condition)];
    return this.execute(commandOf(operation, { compares, once }));
  }

  put(key: string, value: string, condition?: Condition, once?: Once): CommandResult {
    return this.apply({ type: "put", key, value: toBytes(value) }, once, condition);
  }

  append(key: string, value: string, condition?: Condition): CommandResult {
    return this.apply({ type: "append", key, value: toBytes(value) }, undefined, condition);
  }

  delete(key: string, condition?: Condition): CommandResult {
    return this.apply({ type: "delete", key }, undefined, condition);
  }

  valueOf(key: string): string | undefined {
    const entry = this.store.get(key);
    return entry === undefined ? undefined : String.fromCharCode(...entry.value);
  }

  /** Lets log time pass without changing a key. */
  wait(ms: number): void {
    this.timeMs += ms;
    applyNothing(this.store, { timeMs: this.timeMs });
  }
}

/** Loads a state to its end. */
export function loadState(store: KvStore, chunks: Iterable<Uint8Array>): void {
  const steps = store.load(chunks);
  while (steps.next().done !== true);
}
