/**
 * Entries for a store, one at a time.
 *
 * @module
 */
import type { EntryKind, LogIndex } from "../../../machines/raft_types.ts";
import type { CommandResult } from "../../../storage/kv/command_result.ts";
import type { KvStore } from "../../../storage/kv/kv_store.ts";

/** Applies a request as the next entry, or as the entry at `index`, and returns its result. */
export function applyRequest(
  store: KvStore,
  payload: Uint8Array,
  { timeMs = 0, index = store.lastApplied + 1 }: {
    readonly timeMs?: number;
    readonly index?: LogIndex;
  } = {},
): CommandResult {
  const entry = { index, term: 1, timeMs, kind: "command", requests: [payload] } as const;
  return store.apply(entry).results[0]!;
}

/** Applies an entry without requests. */
export function applyNothing(
  store: KvStore,
  { timeMs = 0, index = store.lastApplied + 1, kind = "noop" }: {
    readonly timeMs?: number;
    readonly index?: LogIndex;
    readonly kind?: Exclude<EntryKind, "command">;
  } = {},
): void {
  store.apply({ index, term: 1, timeMs, kind, requests: [] });
}
