/**
 * What a store promises, written a second time and as plainly as can be: to compare it with.
 *
 * @module
 */
import { toByteString } from "../../../storage/byte_string.ts";
import type { Command } from "../../../storage/kv/command.ts";
import { type CommandResult, packResult } from "../../../storage/kv/command_result.ts";
import type { Compare } from "../../../storage/kv/compare.ts";
import type { KvEntry } from "../../../storage/kv/entry.ts";
import type { KvChange } from "../../../storage/kv/key_space.ts";
import {
  EXPIRED_PER_ENTRY_MAX,
  IDEMPOTENCY_BYTES_MAX,
  IDEMPOTENCY_RECORD_BYTES,
  IDEMPOTENCY_RETENTION_MS,
  IDEMPOTENCY_RETENTION_MS_MIN,
  RECORD_RESULT_BYTES,
  RESULT_BYTES_MAX,
  RESULT_OVERHEAD_BYTES,
  SESSION_IDLE_MS,
  SESSION_RESULT_BYTES_MAX,
  SESSION_WINDOW,
  SESSIONS_MAX,
  VALUE_BYTES_MAX,
} from "../../../storage/kv/limits.ts";
import { joinBytes } from "../../../storage/join_bytes.ts";
import type { OnceTablesOptions } from "../../../storage/kv/once_tables.ts";
import type { Once } from "../../../storage/kv/once.ts";
import type { OperationFailure } from "../../../storage/kv/operations/operation.ts";
import type { Operation, OperationResult } from "../../../storage/kv/operations/operations.ts";

interface Kept {
  usedMs: number;
  result: CommandResult;
  readonly fingerprint: string;
  /** Bytes that it counts for. */
  readonly bytes: number;
}
interface Lease {
  readonly ttlMs: number;
  readonly deadlineMs: number;
  readonly isOfKey: boolean;
}
interface Session {
  usedMs: number;
  highest: number;
  readonly results: Map<number, CommandResult>;
}

/** A store without an encoding, an order of its own, a hash or any thought of speed. */
export class StoreModel {
  entries = new Map<string, KvEntry>();
  revision = 0;
  nowMs = 0;
  /** Both in the order of the use by which they age. */
  readonly keys = new Map<string, Kept>();
  readonly sessions = new Map<string, Session>();
  leases = new Map<number, Lease>();
  lastLease = 0;
  #granted = 0;
  readonly #limits: Required<OnceTablesOptions>;

  constructor(options: OnceTablesOptions) {
    this.#limits = {
      sessionsMax: SESSIONS_MAX,
      sessionResultBytesMax: SESSION_RESULT_BYTES_MAX,
      idempotencyBytesMax: IDEMPOTENCY_BYTES_MAX,
      ...options,
    };
  }

  apply(
    timeMs: number,
    commands: readonly Command[],
  ): { results: CommandResult[]; changes: KvChange[] } {
    this.nowMs = Math.max(this.nowMs, timeMs);
    forgetSome(this.keys, this.nowMs - IDEMPOTENCY_RETENTION_MS);
    forgetSome(this.sessions, this.nowMs - SESSION_IDLE_MS);
    const changes: KvChange[] = [];
    const ended = [...this.leases].filter(([, { deadlineMs }]) => deadlineMs <= this.nowMs)
      .sort(([a, one], [b, other]) => one.deadlineMs - other.deadlineMs || a - b);
    for (const [id] of ended) {
      const revision = this.revision + 1;
      const made = this.#endLease(id).map(([key, previous]) => (
        { key, entry: undefined, previous, revision }
      ));
      if (made.length > 0) this.revision = revision;
      changes.push(...made);
    }
    const results = commands.map((command) => {
      const { once } = command;
      if (once === undefined) return this.#execute(command, changes);
      return once.type === "session"
        ? this.#inSession(once, command, changes)
        : this.#withKey(once, command, changes);
    });
    return { results, changes };
  }

  #withKey(
    { key, fingerprint }: Extract<Once, { type: "idempotencyKey" }>,
    command: Command,
    changes: KvChange[],
  ): CommandResult {
    const known = this.keys.get(key);
    if (known !== undefined && this.nowMs - known.usedMs < IDEMPOTENCY_RETENTION_MS) {
      if (known.fingerprint !== fingerprint) return { status: "idempotency-mismatch" };
      return { ...known.result, replayed: true } as CommandResult;
    }
    this.keys.delete(key);
    const base = IDEMPOTENCY_RECORD_BYTES + key.length + fingerprint.length;
    const used = (): number => [...this.keys.values()].reduce((sum, { bytes }) => sum + bytes, 0);
    while (used() + base + bytesAhead(command) > this.#limits.idempotencyBytesMax) {
      const oldest = [...this.keys][0];
      const isFree = oldest !== undefined &&
        this.nowMs - oldest[1].usedMs >= IDEMPOTENCY_RETENTION_MS_MIN;
      if (!isFree) return { status: "overloaded" };
      this.keys.delete(oldest[0]);
    }
    const result = this.#execute(command, changes);
    const bytes = base + bytesKept(result);
    this.keys.set(key, { usedMs: this.nowMs, fingerprint, result, bytes });
    return result;
  }

  #inSession(
    { clientId, sequence }: Extract<Once, { type: "session" }>,
    command: Command,
    changes: KvChange[],
  ): CommandResult {
    const isLive = this.nowMs - (this.sessions.get(clientId)?.usedMs ?? -Infinity) <
      SESSION_IDLE_MS;
    if (!isLive) this.sessions.delete(clientId);
    let session = this.sessions.get(clientId);
    if (session === undefined) {
      if (sequence !== 1) return { status: "session-expired" };
      if (this.sessions.size >= this.#limits.sessionsMax) return { status: "overloaded" };
      if (!this.#hasResultRoom(command)) return { status: "overloaded" };
      session = { usedMs: this.nowMs, highest: 0, results: new Map() };
    } else {
      session.usedMs = this.nowMs;
    }
    // It is the latest use now.
    this.sessions.delete(clientId);
    this.sessions.set(clientId, session);
    const known = session.results.get(sequence);
    if (known !== undefined) return { ...known, replayed: true } as CommandResult;
    if (sequence <= session.highest - SESSION_WINDOW) return { status: "session-expired" };
    if (!this.#hasResultRoom(command)) return { status: "overloaded" };
    const result = this.#execute(command, changes);
    session.highest = Math.max(session.highest, sequence);
    session.results.set(sequence, result);
    for (const old of [...session.results.keys()]) {
      if (old <= session.highest - SESSION_WINDOW) session.results.delete(old);
    }
    return result;
  }

  #hasResultRoom(command: Command): boolean {
    let used = 0;
    for (const { results } of this.sessions.values()) {
      for (const result of results.values()) used += bytesKept(result);
    }
    const ahead = bytesAhead(command);
    return ahead === 0 || used + ahead <= this.#limits.sessionResultBytesMax;
  }

  #execute({ compares, success, failure }: Command, changes: KvChange[]): CommandResult {
    const failed = compares.find((one) => !this.#holds(one));
    const before = new Map(this.entries);
    const leasesBefore = new Map(this.leases);
    const lastBefore = this.lastLease;
    const undo = (): void => {
      this.entries = before;
      this.leases = leasesBefore;
      this.lastLease = lastBefore;
    };
    this.#granted = 0;
    const revision = this.revision + 1;
    const made: KvChange[] = [];
    const results: OperationResult[] = [];
    const presentRevision = failed === undefined ? 0 : before.get(failed.key)?.revision ?? 0;
    let bytes = 0;
    for (const one of failed === undefined ? success : failure) {
      const previous = new Map(this.entries);
      const result = this.#operate(one, revision);
      bytes += RESULT_OVERHEAD_BYTES;
      if (typeof result === "string") {
        undo();
        return { status: result };
      }
      if (result.type === "get" && result.entry !== undefined) bytes += contentOf(result.entry);
      if (result.type === "range") {
        for (const item of result.items) {
          bytes += RESULT_OVERHEAD_BYTES + item.key.length + contentOf(item);
        }
      }
      results.push(result);
      if (bytes > RESULT_BYTES_MAX) {
        undo();
        return { status: "too-large" };
      }
      for (const key of [...new Set([...previous.keys(), ...this.entries.keys()])].sort()) {
        const [old, entry] = [previous.get(key), this.entries.get(key)];
        if (entry !== old) made.push({ key, entry, previous: old, revision });
      }
    }
    // A lease of a key goes with it, unless it never had one that is there still.
    for (const [id, { isOfKey }] of this.leases) {
      if (isOfKey && this.#keysOf(id).length === 0) this.leases.delete(id);
    }
    if (made.length > 0) this.revision = revision;
    // A revision changes a key once, however often the command did.
    for (const key of new Set(made.map((one) => one.key))) {
      const [previous, entry] = [before.get(key), this.entries.get(key)];
      if (previous !== entry) changes.push({ key, entry, previous, revision });
    }
    const done = { status: "ok", revision: this.revision, results } as const;
    return failed === undefined
      ? { ...done, succeeded: true }
      : { ...done, succeeded: false, presentRevision };
  }

  #keysOf(id: number): string[] {
    return [...this.entries].flatMap(([key, { lease }]) => lease === id ? [key] : []).sort();
  }

  #endLease(id: number): [key: string, entry: KvEntry][] {
    const keys = this.#keysOf(id);
    const gone = keys.map((key): [string, KvEntry] => [key, this.entries.get(key)!]);
    for (const key of keys) this.entries.delete(key);
    this.leases.delete(id);
    return gone;
  }

  /** The keys within bounds, in order. */
  #within({ start, end }: { readonly start: string; readonly end: string | undefined }): string[] {
    return [...this.entries.keys()].filter((key) =>
      key >= start && (end === undefined || key < end)
    )
      .sort();
  }

  #operate(one: Operation, revision: number): OperationResult | OperationFailure {
    if (one.type === "deleteRange") {
      const keys = this.#within(one);
      for (const key of keys) this.entries.delete(key);
      return { type: "deleteRange", deleted: keys.length };
    }
    if (one.type === "range") {
      const keys = this.#within(one);
      const read = (one.reverse ? keys.toReversed() : keys).slice(0, one.limit);
      const items = read.map((key) => {
        const entry = this.entries.get(key)!;
        return { key, ...entry, ...(one.keysOnly ? { value: new Uint8Array() } : {}) };
      });
      return { type: "range", items, count: keys.length };
    }
    if (one.type === "leaseGrant") {
      const { ttlMs, isOfKey } = one;
      this.#granted = ++this.lastLease;
      this.leases.set(this.#granted, { ttlMs, deadlineMs: this.nowMs + ttlMs, isOfKey });
      return { type: "leaseGrant", lease: this.#granted };
    }
    if (one.type === "leaseKeepAlive" || one.type === "leaseRevoke") {
      const lease = this.leases.get(one.lease);
      if (lease === undefined) return "no-lease";
      const { ttlMs } = lease;
      if (one.type === "leaseRevoke") {
        return { type: "leaseRevoke", deleted: this.#endLease(one.lease).length };
      }
      this.leases.set(one.lease, { ...lease, deadlineMs: this.nowMs + ttlMs });
      return { type: "leaseKeepAlive", ttlMs };
    }
    const old = this.entries.get(one.key);
    const attached = old?.lease === undefined ? {} : { lease: old.lease };
    const version = 1 + (old?.version ?? 0);
    const numbers = { created: old?.created ?? revision, revision, version };
    switch (one.type) {
      case "get":
        return { type: "get", entry: old };
      case "delete":
        return { type: "delete", deleted: this.entries.delete(one.key) ? 1 : 0 };
      case "put":
        this.entries.set(one.key, {
          ...{ value: one.value.slice(), contentType: one.contentType },
          ...numbers,
        });
        return { type: "put", version, created: old === undefined };
      case "putLeased": {
        const lease = one.lease === 0 ? this.#granted : one.lease;
        if (!this.leases.has(lease)) return "no-lease";
        const { value, contentType } = one;
        this.entries.set(one.key, { value: value.slice(), contentType, ...numbers, lease });
        return { type: "putLeased", version, created: old === undefined, lease };
      }
      case "append": {
        const parts = [old?.value ?? new Uint8Array(), one.value] as const;
        const value = joinBytes(parts, parts[0].length + parts[1].length);
        if (old !== undefined && value.length > VALUE_BYTES_MAX) return "too-large";
        const { contentType } = old ?? { contentType: undefined };
        this.entries.set(one.key, { value, contentType, ...numbers, ...attached });
        return { type: "append", version, length: value.length, created: old === undefined };
      }
      case "increment": {
        const text = old === undefined ? "0" : toByteString(old.value);
        const isInteger = /^-?\d{1,19}$/.test(text) && String(BigInt(text)) === text &&
          BigInt.asIntN(64, BigInt(text)) === BigInt(text);
        if (!isInteger) return "not-integer";
        const sum = BigInt(text) + one.by;
        if (BigInt.asIntN(64, sum) !== sum) return "overflow";
        const value = new TextEncoder().encode(String(sum));
        const { contentType } = old ?? { contentType: undefined };
        this.entries.set(one.key, { value, contentType, ...numbers, ...attached });
        return { type: "increment", value: String(sum), version, created: old === undefined };
      }
    }
  }

  #holds(compare: Compare): boolean {
    const entry = this.entries.get(compare.key);
    let order: number;
    if (compare.target === "value") {
      if (entry === undefined) return false;
      const [one, other] = [toByteString(entry.value), toByteString(compare.operand)];
      order = one < other ? -1 : Number(one > other);
    } else {
      order = Math.sign((entry?.[compare.target] ?? 0) - compare.operand);
    }
    return { "==": order === 0, "!=": order !== 0, "<": order < 0, ">": order > 0 }[
      compare.operator
    ];
  }
}

function contentOf({ value, contentType }: KvEntry): number {
  return value.length + (contentType ?? "").length;
}

function forgetSome(table: Map<string, { readonly usedMs: number }>, atMost: number): void {
  const expired = [...table].slice(0, EXPIRED_PER_ENTRY_MAX)
    .filter(([, { usedMs }]) => usedMs <= atMost);
  for (const [key] of expired) table.delete(key);
}

function bytesKept(result: CommandResult): number {
  return Math.max(0, packResult(result).length - RECORD_RESULT_BYTES);
}

/** Most bytes that the command's result may count for. */
function bytesAhead({ success, failure }: Command): number {
  const [one, other] = [success, failure].map((list) => {
    const gets = list.filter(({ type }) => type === "get").length;
    const ranges = list.filter(({ type }) => type === "range").length;
    return Math.min(
      RESULT_OVERHEAD_BYTES * list.length + gets * (VALUE_BYTES_MAX + 128) +
        ranges * RESULT_BYTES_MAX,
      RESULT_BYTES_MAX,
    );
  }) as [number, number];
  return Math.max(0, RESULT_OVERHEAD_BYTES + Math.max(one, other) - RECORD_RESULT_BYTES);
}
