/**
 * What all simulated clients do alike.
 *
 * @module
 */
import type { Operation } from "./history.ts";
import type { Dice } from "./random.ts";

/** One attempt waits this long for its answer before another node is asked. */
export const ATTEMPT_MS = 600;
/** Mean pause before the next attempt. */
export const RETRY_PAUSE_MS = 30;
/** One-way time between a client and a node. */
export const CLIENT_DELAY_MS = 0.2;

/** Two operations of five read, the others write in every way there is. */
export function drawOperation(
  dice: Dice,
  { client, key, text, nowMs, revisionOf }: {
    readonly client: string;
    readonly key: string;
    /** What a write writes: found nowhere else. */
    readonly text: string;
    readonly nowMs: number;
    /** The last revision that the client saw of a key, 0 if it saw none. */
    readonly revisionOf: (key: string) => number;
  },
): Operation {
  const base = { client, key, invokeMs: nowMs };
  const open = { returnMs: undefined, result: undefined };
  const draw = dice.next();
  if (draw < 0.4) return { ...base, type: "get", ...open };
  if (draw < 0.6) return { ...base, type: "put", value: text, ...open };
  if (draw < 0.85) return { ...base, type: "append", value: text, ...open };
  if (draw < 0.95) return { ...base, type: "cas", value: text, expected: revisionOf(key), ...open };
  return { ...base, type: "delete", ...open };
}
