import { assert, assertEquals } from "@std/assert";
import { CLUSTER_VERSIONS } from "../../../machines/group_config.ts";
import { type Command, decodeCommand, encodeCommand } from "../../../storage/kv/command.ts";
import type { CommandResult } from "../../../storage/kv/command_result.ts";
import type { Compare } from "../../../storage/kv/compare.ts";
import type { KvItem, KvRange } from "../../../storage/kv/entry.ts";
import { KvStore, type KvStoreOptions } from "../../../storage/kv/kv_store.ts";
import type { Once } from "../../../storage/kv/once.ts";
import {
  IDEMPOTENCY_RETENTION_MS,
  IDEMPOTENCY_RETENTION_MS_MIN,
  INTEGER_MAX,
  INTEGER_MIN,
  SESSION_IDLE_MS,
  SESSION_WINDOW,
  VALUE_BYTES_MAX,
} from "../../../storage/kv/limits.ts";
import { keyOf, type Operation } from "../../../storage/kv/operations/operations.ts";
import { Dice } from "../../sim/random.ts";
import { loadState } from "./client.ts";
import { StoreModel } from "./store_model.ts";

/** What a run draws from: few enough of everything that it collides. */
const KEYS = ["a", "a\0", "b", "ab", "\xff", "\x80\x7f", "__proto__", "k".repeat(1024)];
const TYPES = [undefined, undefined, "text/plain", "x".repeat(128)];
const OPERATIONS = [
  ...["put", "append", "append", "delete", "get", "increment", "increment", "deleteRange", "range"],
  ...["leaseGrant", "leaseKeepAlive", "leaseRevoke", "putLeased", "putLeased", "putLeased"],
] as const;
const LARGE_OPERATIONS = ["append", "append", "append", "append", "get", "put", "range"] as const;
const NUMBERS = [0n, 1n, -1n, 7n, INTEGER_MAX, INTEGER_MIN, INTEGER_MAX - 1n];
const OPERATORS = ["==", "!=", "<", ">"] as const;
const TIMES = [
  ...[0, 0, 0, 0, 1, 1_000, -5_000, IDEMPOTENCY_RETENTION_MS_MIN - 1, IDEMPOTENCY_RETENTION_MS_MIN],
  ...[IDEMPOTENCY_RETENTION_MS - 1, IDEMPOTENCY_RETENTION_MS, SESSION_IDLE_MS - 1, SESSION_IDLE_MS],
];
const FIRST_SEED = 1;
const SEEDS = 3;
/** Thirds of the largest value that fit one command. */
const LARGE_MAX = 4;

class Draws {
  readonly #dice: Dice;
  readonly #keys: readonly string[];
  /** A third of the largest value; undefined: nothing becomes too large. */
  readonly #large: Uint8Array | undefined;
  /** Large values that the command at hand has room for. */
  #largeLeft = 0;
  #nowMs = 0;

  constructor(seed: number, large: boolean) {
    this.#dice = new Dice(seed);
    this.#keys = large ? KEYS.slice(0, 2) : KEYS;
    this.#large = large ? new Uint8Array(Math.ceil(VALUE_BYTES_MAX / 3)) : undefined;
  }

  get dice(): Dice {
    return this.#dice;
  }

  timeMs(): number {
    if (this.#dice.chance(0.9)) return this.#nowMs;
    this.#nowMs = Math.max(0, this.#nowMs + this.#dice.pick(TIMES));
    return this.#nowMs;
  }

  command(model: StoreModel): Command {
    const dice = this.#dice;
    this.#largeLeft = LARGE_MAX;
    const compares = this.#list(dice.pick([0, 0, 1, 1, 2, 5]), () => this.#compare(model));
    const success = this.#list(dice.pick([0, 1, 1, 1, 2, 5]), () => this.#operation(model));
    const failure = this.#list(dice.pick([0, 0, 1, 4]), () => this.#operation(model));
    const key = success[0] === undefined ? undefined : keyOf(success[0]);
    if (dice.chance(0.3) && key !== undefined && compares[0] !== undefined) {
      compares[0] = { ...compares[0], key };
    }
    return { compares, success, failure, once: this.#once(model) };
  }

  range(): KvRange {
    const dice = this.#dice;
    const bound = (): string | undefined => dice.chance(0.5) ? undefined : dice.pick(KEYS);
    const prefix = dice.chance(0.7) ? undefined : dice.pick(["", "a", "\xff", "k"]);
    return {
      ...{ start: bound(), end: bound(), prefix },
      ...{ limit: dice.below(10), reverse: dice.chance(0.5) },
    };
  }

  #list<Item>(count: number, draw: () => Item): Item[] {
    return Array.from({ length: count }, draw);
  }

  #value(): Uint8Array {
    if (this.#large !== undefined && this.#largeLeft > 0 && this.#dice.chance(0.7)) {
      this.#largeLeft--;
      return this.#large;
    }
    return Uint8Array.from(
      { length: this.#dice.below(4) },
      () => this.#dice.pick([0, 49, 97, 255]),
    );
  }

  #lease(model: StoreModel): number {
    const ids = [...model.leases.keys()];
    return ids.length > 0 && this.#dice.chance(0.8)
      ? this.#dice.pick(ids)
      : this.#dice.below(model.lastLease + 2);
  }

  #operation(model: StoreModel): Operation {
    const key = this.#dice.pick(this.#keys);
    const types = this.#large === undefined ? OPERATIONS : LARGE_OPERATIONS;
    switch (this.#dice.pick(types)) {
      case "put":
        return { type: "put", key, value: this.#value(), contentType: this.#dice.pick(TYPES) };
      case "append":
        return { type: "append", key, value: this.#value() };
      case "delete":
        return { type: "delete", key };
      case "get":
        return { type: "get", key };
      case "leaseGrant": {
        const ttlMs = this.#dice.pick([500, 1_000, 1_001, 60_000, 600_000]);
        return { type: "leaseGrant", ttlMs, isOfKey: this.#dice.chance(0.3) };
      }
      case "leaseKeepAlive":
        return { type: "leaseKeepAlive", lease: this.#lease(model) };
      case "leaseRevoke":
        return { type: "leaseRevoke", lease: this.#lease(model) };
      case "putLeased": {
        const lease = this.#dice.chance(0.4) ? 0 : this.#lease(model);
        return { type: "putLeased", key, value: this.#value(), contentType: undefined, lease };
      }
      case "increment":
        return { type: "increment", key, by: this.#dice.pick(NUMBERS) };
      case "deleteRange":
        return { type: "deleteRange", ...this.#bounds() };
      case "range": {
        const [reverse, keysOnly] = [this.#dice.chance(0.5), this.#dice.chance(0.5)];
        return { type: "range", ...this.#bounds(), limit: this.#dice.below(5), reverse, keysOnly };
      }
    }
  }

  #bounds(): { start: string; end: string | undefined } {
    const end = this.#dice.chance(0.3) ? undefined : this.#dice.pick(this.#keys);
    return { start: this.#dice.pick(["", ...this.#keys]), end };
  }

  #compare(model: StoreModel): Compare {
    const dice = this.#dice;
    const key = dice.pick(this.#keys);
    const operator = dice.pick(OPERATORS);
    const entry = model.entries.get(key);
    const target = dice.pick(["revision", "version", "created", "value", "lease"] as const);
    if (target === "value") {
      const near = entry === undefined || entry.value.length > 9 ? this.#value() : entry.value;
      const operand = dice.chance(0.6) ? near : dice.chance(0.5) ? near.slice(1) : this.#value();
      return { key, target, operator, operand };
    }
    const operand = Math.max(0, (entry?.[target] ?? 0) + dice.pick([-1, 0, 0, 0, 1]));
    return { key, target, operator, operand: dice.chance(0.02) ? 2 ** 53 - 1 : operand };
  }

  #once(model: StoreModel): Once | undefined {
    const dice = this.#dice;
    if (dice.chance(0.3)) return undefined;
    if (dice.chance(0.5)) {
      const key = `${dice.below(40)}`.padEnd(dice.pick([2, 64]), "k");
      return { type: "idempotencyKey", key, fingerprint: dice.pick(["f", "f", "g".repeat(64)]) };
    }
    const clientId = `client ${dice.below(30)}`;
    const highest = model.sessions.get(clientId)?.highest ?? 0;
    const steps = [1, 1, 1, 1, 0, 2, -1, -SESSION_WINDOW, 1 - SESSION_WINDOW, SESSION_WINDOW];
    const sequence = dice.chance(0.002)
      ? 2 ** 53 - 1
      : Math.min(2 ** 53 - 1, Math.max(1, highest + dice.pick(steps)));
    return { type: "session", clientId, sequence };
  }
}

interface Run {
  readonly seed: number;
  readonly commands: number;
  readonly options?: KvStoreOptions;
  readonly large?: boolean;
}

/** Compares a store with the model, and a second that begins again from frozen states. */
function run({ seed, commands, options = {}, large = false }: Run): Map<string, number> {
  const draws = new Draws(seed, large);
  const { dice } = draws;
  const model = new StoreModel(options);
  const store = new KvStore({ ...options, seed });
  let follower = new KvStore(options);
  let frozen: { index: number; view: ReturnType<KvStore["freeze"]> } | undefined;
  let since: Parameters<KvStore["apply"]>[0][] = [];
  const counts = new Map<string, number>();
  const kept: { result: CommandResult; copy: CommandResult }[] = [];
  for (let done = 0, index = 1; done < commands; index++) {
    const drawn = Array.from(
      { length: dice.pick([0, 1, 1, 2, 20]) },
      () => draws.command(model),
    );
    done += drawn.length;
    const timeMs = draws.timeMs();
    const requests = drawn.map(encodeCommand);
    for (const [at, command] of drawn.entries()) {
      assertEquals(decodeCommand(requests[at]!), command);
    }
    const entry = { index, term: 1, timeMs, kind: "command", requests } as const;
    const copy = { ...entry, requests: requests.map((bytes) => bytes.slice()) };
    const refused = drawn.map((_, at) => store.check(requests[at]!, CLUSTER_VERSIONS.max));
    const expected = model.apply(timeMs, drawn);
    const applied = store.apply(entry);
    for (const bytes of requests) bytes.fill(0xee);
    try {
      assertEquals(applied.results, expected.results);
      assertEquals(applied.changes.map(plain), expected.changes.map(plain));
    } catch (error) {
      throw new Error(`seed ${seed}, entry ${index}: ${(error as Error).message}`);
    }
    for (const [at, result] of applied.results.entries()) {
      const name = result.status === "ok"
        ? `${result.succeeded}${result.replayed ? " again" : ""}`
        : result.status;
      counts.set(name, 1 + (counts.get(name) ?? 0));
      if (at === 0 && refused[0] === "overloaded" && timeMs < model.nowMs) {
        assert(["overloaded", "session-expired"].includes(result.status), result.status);
      }
      if (dice.chance(0.01)) kept.push({ result, copy: structuredClone(expected.results[at]!) });
    }
    while (kept.length > 50) {
      const { result, copy } = kept.shift()!;
      assertEquals(result, copy, "a result changed later");
    }
    follower.apply(copy);
    assertEquals([store.revision, store.size, store.logTimeMs], [
      model.revision,
      model.entries.size,
      model.nowMs,
    ]);
    assertEquals(follower.stateHash(), store.stateHash());
    since.push({ ...copy, requests: copy.requests.map((bytes) => bytes.slice()) });
    if (dice.chance(0.02)) compareReads(store, model, draws);
    if (dice.chance(large ? 0.3 : 0.01)) {
      if (frozen !== undefined) {
        // A member that begins with the frozen state and applies what follows.
        const { view } = frozen;
        follower = new KvStore({ ...options, seed: index });
        loadState(follower, view.chunks());
        assertEquals([follower.lastApplied, follower.stateHash()], [
          frozen.index,
          view.stateHash,
        ]);
        view.release();
        for (const later of since) if (later.index > frozen.index) follower.apply(later);
        assertEquals(follower.stateHash(), store.stateHash());
      }
      frozen = { index, view: store.freeze() };
      since = [];
    }
  }
  frozen?.view.release();
  return counts;
}

function plain(
  { key, entry, previous, revision }: ReturnType<KvStore["apply"]>["changes"][number],
): unknown {
  const bare = (one: typeof entry): unknown =>
    one === undefined ? undefined : {
      value: one.value,
      type: one.contentType,
      numbers: [one.created, one.revision, one.version, one.lease],
    };
  return { key, entry: bare(entry), previous: bare(previous), revision };
}

function compareReads(store: KvStore, model: StoreModel, draws: Draws): void {
  const range = draws.range();
  const { start = "", end, prefix = "", limit, reverse } = range;
  const sorted = [...model.entries.keys()].sort((one, other) => one < other ? -1 : 1)
    .filter((key) => key >= start && (end === undefined || key < end) && key.startsWith(prefix));
  assertEquals(store.count(range), sorted.length);
  if (reverse) sorted.reverse();
  const items = [...store.range(range)];
  assertEquals(items.map(({ key }) => key), sorted.slice(0, limit));
  for (const item of items) {
    assertEquals(bare(item), bare({ key: item.key, ...model.entries.get(item.key)! }));
  }
  for (const key of KEYS) assertEquals(store.get(key) === undefined, !model.entries.has(key));
  assertEquals(
    store.leasesAfter(0, Infinity).map(({ id }) => id),
    [...model.leases.keys()].sort((a, b) => a - b),
  );
  for (const [id, lease] of model.leases) {
    const keys = [...model.entries].flatMap(([key, entry]) => entry.lease === id ? [key] : []);
    assertEquals(store.lease(id), { lease: { id, ...lease }, keys: keys.sort() });
  }
}

function bare({ key, value, contentType, created, revision, version, lease }: KvItem): KvItem {
  return { key, value, contentType, created, revision, version, lease };
}

Deno.test("a store does what a plain model of it does, also one that begins with a frozen state", () => {
  const outcomes = new Map<string, number>();
  for (let seed = FIRST_SEED; seed < FIRST_SEED + SEEDS; seed++) {
    const runs: Run[] = [
      { seed, commands: 1_000 },
      { seed, commands: 1_000, options: { sessionsMax: 5 } },
      { seed, commands: 1_000, options: { idempotencyBytesMax: 3_000 } },
      { seed, commands: 1_000, options: { sessionResultBytesMax: 4_000, sessionsMax: 20 } },
      { seed, commands: 60, large: true },
    ];
    for (const one of runs) {
      for (const [name, count] of run(one)) outcomes.set(name, count + (outcomes.get(name) ?? 0));
    }
  }
  const missing = [
    ...["true", "false", "true again", "false again", "too-large", "no-lease"],
    ...["not-integer", "overflow"],
    ...["idempotency-mismatch", "session-expired", "overloaded"],
  ].filter((name) => !outcomes.has(name));
  assertEquals(missing, []);
});
