/**
 * Payloads of entries into the command codec and the store.
 *
 * @module
 */
import { assert, assertEquals, assertInstanceOf, assertLessOrEqual } from "@std/assert";
import { type Command, decodeCommand, encodeCommand } from "../../storage/kv/command.ts";
import { CommandError } from "../../storage/kv/command_bytes.ts";
import type { Compare } from "../../storage/kv/compare.ts";
import { KvStore } from "../../storage/kv/kv_store.ts";
import {
  IDEMPOTENCY_RECORD_BYTES,
  INTEGER_MAX,
  INTEGER_MIN,
  VALUE_BYTES_MAX,
} from "../../storage/kv/limits.ts";
import type { Once } from "../../storage/kv/once.ts";
import { keyOf, type Operation } from "../../storage/kv/operations/operations.ts";
import { applyRequest } from "../storage/kv/apply.ts";
import type { Dice } from "../sim/random.ts";
import { count, type Fuzzer, type Tally } from "./fuzzer.ts";
import { mutate, randomBytes } from "./mutations.ts";

const ENTRIES_MAX = 60;
const RANDOM_PAYLOAD_BYTES_MAX = 80;
const LARGE_VALUE_BYTES = VALUE_BYTES_MAX - 10;
const IDLE_MS_MAX = 2 * 60 * 60 * 1000;

/**
 * Two replicas get the same entries, sound and damaged ones. A payload is the one encoding of a
 * request, or a CommandError that changed nothing; both replicas stay equal.
 */
export const requestFuzzer: Fuzzer = { name: "requests", tryOne: tryEntries };

function tryEntries(dice: Dice, tally: Tally): void {
  const bounds = { idempotencyBytesMax: 4 * (IDEMPOTENCY_RECORD_BYTES + 2), sessionsMax: 3 };
  const one = new KvStore({ ...bounds, seed: 1 });
  const other = new KvStore({ ...bounds, seed: 2 });
  let timeMs = 0;
  for (let left = 1 + dice.below(ENTRIES_MAX); left > 0; left--) {
    if (dice.chance(0.1)) timeMs += dice.below(IDLE_MS_MAX);
    const sound = encodeCommand(drawCommand(dice));
    const payload = dice.chance(0.1)
      ? randomBytes(dice, dice.below(RANDOM_PAYLOAD_BYTES_MAX))
      : dice.chance(0.4)
      ? mutate(dice, sound)
      : sound;
    if (isRequest(payload, tally)) {
      const results = [one, other].map((store) => {
        const bytes = payload.slice();
        const result = applyRequest(store, bytes, { timeMs });
        // The log may reuse its bytes: the store must keep none of them.
        bytes.fill(0xee);
        return result;
      });
      assert(results[0] !== undefined);
      assertEquals(results[0], results[1]);
      const isRefused = results[0].status === "ok" && !results[0].succeeded;
      count(tally, isRefused ? "failed compare" : results[0].status);
    } else refuses(one, timeMs, payload);
  }
  assertEquals(one.stateHash(), other.stateHash());
  let keys = 0;
  for (const { value } of one.range({ limit: Infinity })) {
    assertLessOrEqual(value.length, VALUE_BYTES_MAX);
    keys++;
  }
  assertEquals(keys, one.size);
}

function isRequest(payload: Uint8Array, tally: Tally): boolean {
  try {
    const command = decodeCommand(payload);
    assertEquals(encodeCommand(command), payload, "a command has two encodings");
    return true;
  } catch (error) {
    assertInstanceOf(error, CommandError);
    count(tally, error.code);
    return false;
  }
}

function refuses(store: KvStore, timeMs: number, payload: Uint8Array): void {
  const before = [store.stateHash(), store.lastApplied, store.logTimeMs];
  try {
    applyRequest(store, payload, { timeMs });
  } catch (error) {
    assertInstanceOf(error, CommandError);
    assertEquals([store.stateHash(), store.lastApplied, store.logTimeMs], before);
    return;
  }
  throw new Error("Cannot go on: the store applied what the codec refused");
}

function drawCommand(dice: Dice): Command {
  const once = drawOnce(dice);
  const isSingle = dice.chance(0.7);
  const success = drawOperations(dice, isSingle ? 1 : dice.below(4));
  const failure = isSingle ? [] : drawOperations(dice, 2);
  const compares = Array.from({ length: dice.below(isSingle ? 2 : 3) }, () => {
    const compare = drawCompare(dice);
    return isSingle ? { ...compare, key: keyOf(success[0]!) ?? compare.key } : compare;
  });
  return { compares, success, failure, once };
}

function drawKey(dice: Dice): string {
  return dice.pick(["a", "b", "\0", "\xff\xff", "k".repeat(1024), "__proto__"]);
}

function drawCompare(dice: Dice): Compare {
  const key = drawKey(dice);
  const operator = dice.pick(["==", "!=", "<", ">"] as const);
  const target = dice.pick(["revision", "version", "created", "value"] as const);
  return target === "value"
    ? { key, target, operator, operand: randomBytes(dice, dice.below(4)) }
    : { key, target, operator, operand: dice.pick([0, 1, 3, 200, 2 ** 53 - 1]) };
}

function drawOperations(dice: Dice, count: number): Operation[] {
  // No command holds two of the largest values.
  return Array.from({ length: count }, () => drawOperation(dice, count === 1 ? 0.03 : 0));
}

function drawOperation(dice: Dice, largeChance: number): Operation {
  const key = drawKey(dice);
  const value = dice.chance(largeChance)
    ? new Uint8Array(LARGE_VALUE_BYTES)
    : randomBytes(dice, dice.below(20));
  const range = { start: dice.pick(["", key]), end: dice.pick([undefined, drawKey(dice)]) };
  switch (dice.below(7)) {
    case 4:
      return { type: "increment", key, by: dice.pick([0n, -1n, INTEGER_MAX, INTEGER_MIN]) };
    case 5:
      return { type: "deleteRange", ...range };
    case 6: {
      const [reverse, keysOnly] = [dice.chance(0.5), dice.chance(0.5)];
      return { type: "range", ...range, limit: dice.below(4), reverse, keysOnly };
    }
    case 0:
      return { type: "put", key, value, contentType: dice.pick([undefined, "text/plain"]) };
    case 1:
      return { type: "append", key, value };
    case 2:
      return { type: "get", key };
    default:
      return { type: "delete", key };
  }
}

function drawOnce(dice: Dice): Once | undefined {
  switch (dice.below(4)) {
    case 0: {
      const key = dice.pick(["1", "2", "3", "4", "5", "6"]);
      return { type: "idempotencyKey", key, fingerprint: dice.pick(["f", "g"]) };
    }
    case 1: {
      const sequence = dice.chance(0.9) ? 1 + dice.below(5) : dice.pick([100, 2 ** 53 - 1]);
      return { type: "session", clientId: dice.pick(["c", "d", "e", "f"]), sequence };
    }
    default:
      return undefined;
  }
}
