/**
 * Is a history linearizable? The algorithm of Wing and Gong with Lowe's memory of configurations
 * ("Testing for linearizability", 2017), one key at a time since keys are independent registers.
 *
 * An operation takes effect at one moment between its invocation and its return; one whose outcome
 * is unknown at any moment after its invocation, or never. The search picks, again and again, an
 * operation that may have been the next to take effect, and steps a sequential register; it fails
 * if no order explains what the clients were told.
 *
 * @module
 */
import type { Operation } from "./history.ts";

/** The sequential register: a value and the revision of its last change. */
interface Register {
  readonly value: string | undefined;
  /** 0 without a value; undefined after a write whose revision nobody was told. */
  readonly revision: number | undefined;
  /** No revision that is given from now on is below; the present one neither, if it is unknown. */
  readonly floor: number;
}

/** Steps of the search on one key, after which it is given up as undecided. */
export const SEARCH_STEPS_MAX = 2_000_000;

/** The verdict on a history. */
export type Verdict =
  | { readonly verdict: "linearizable"; readonly keys: number; readonly operations: number }
  | {
    readonly verdict: "violation";
    readonly key: string;
    /** The shortest prefix of the key's history that no order explains, its last return last. */
    readonly window: readonly Operation[];
  }
  /** The search took too many steps on these keys; the others are fine. */
  | { readonly verdict: "undecided"; readonly keys: readonly string[] };

/** How much a check may cost, and what it calls to show its progress. */
export interface CheckOptions {
  readonly stepsMax?: number;
  readonly onProgress?: (done: number, keys: number) => void;
}

/** Checks a history. */
export function checkLinearizable(
  history: readonly Operation[],
  options: CheckOptions = {},
): Verdict {
  const stepsMax = options.stepsMax ?? SEARCH_STEPS_MAX;
  const byKey = new Map<string, Operation[]>();
  for (const operation of history) {
    const operations = byKey.get(operation.key) ?? [];
    operations.push(operation);
    byKey.set(operation.key, operations);
  }
  const undecided: string[] = [];
  let done = 0;
  for (const [key, operations] of byKey) {
    const result = search(operations, stepsMax);
    if (result === "violation") {
      return { verdict: "violation", key, window: failingWindow(operations, stepsMax) };
    }
    if (result === "undecided") undecided.push(key);
    options.onProgress?.(++done, byKey.size);
  }
  if (undecided.length > 0) return { verdict: "undecided", keys: undecided };
  return { verdict: "linearizable", keys: byKey.size, operations: history.length };
}

/** An invocation or a return on the time line. */
interface Mark {
  readonly operation: number;
  readonly isReturn: boolean;
  next: Mark | undefined;
  previous: Mark | undefined;
  /** Of an invocation: its return. */
  match: Mark | undefined;
}

/** A choice that the search can take back. */
interface Choice {
  readonly mark: Mark;
  readonly before: Register;
  /** Other registers that the operation could lead to. */
  readonly others: Register[];
}

/**
 * One key's operations without those that no order needs, which an outage makes many of: a read of
 * unknown outcome, and a write of unknown outcome whose value nobody was ever told. Where such a write
 * took effect, it was overwritten before anybody saw it, and an order without it explains the same;
 * only a refused compare-and-set may have been told its revision.
 */
function relevant(operations: readonly Operation[]): readonly Operation[] {
  const values: string[] = [];
  const revisions = new Set<number>([0]);
  for (const { result } of operations) {
    if (result === undefined) continue;
    if ("value" in result && result.value !== undefined) values.push(result.value);
    if (!("ok" in result) || result.ok) revisions.add(result.revision);
  }
  const isExplained = operations.every(({ result }) =>
    result === undefined || !("ok" in result) || result.ok || revisions.has(result.revision)
  );
  return operations.filter(({ type, value, returnMs }) => {
    if (returnMs !== undefined || type === "delete") return true;
    if (type === "get") return false;
    return !isExplained || values.some((told) => told.includes(value!));
  });
}

/** Searches for an order of one key's operations. */
function search(
  all: readonly Operation[],
  stepsMax: number,
): "linearizable" | "violation" | "undecided" {
  const operations = relevant(all);
  const head = timeline(operations);
  const linearized = new Uint32Array(Math.ceil(operations.length / 32));
  const visited = new Set<string>();
  const choices: Choice[] = [];
  let register: Register = { value: undefined, revision: 0, floor: 0 };
  let mark = head.next;
  let steps = 0;

  const take = (at: Mark, next: Register, before: Register, others: Register[]): boolean => {
    linearized[at.operation >>> 5]! |= 1 << (at.operation & 31);
    const configuration = `${linearized.join()}|${next.revision}|${next.floor}|${next.value}`;
    if (visited.has(configuration)) {
      linearized[at.operation >>> 5]! &= ~(1 << (at.operation & 31));
      return false;
    }
    visited.add(configuration);
    choices.push({ mark: at, before, others });
    register = next;
    lift(at);
    return true;
  };

  while (head.next !== undefined) {
    if (++steps > stepsMax) return "undecided";
    if (mark !== undefined && !mark.isReturn) {
      const others = nextRegisters(register, operations[mark.operation]!);
      let taken = false;
      while (!taken && others.length > 0) taken = take(mark, others.shift()!, register, others);
      mark = taken ? head.next : mark.next;
      continue;
    }
    // A return whose operation has not taken effect, or the end of the line with operations left
    // that nobody saw return: those may never take effect.
    if (mark === undefined && onlyUnknownLeft(head, operations)) return "linearizable";
    let resumed: Mark | undefined;
    while (resumed === undefined) {
      const last = choices.pop();
      if (last === undefined) return "violation";
      linearized[last.mark.operation >>> 5]! &= ~(1 << (last.mark.operation & 31));
      unlift(last.mark);
      register = last.before;
      let taken = false;
      while (!taken && last.others.length > 0) {
        taken = take(last.mark, last.others.shift()!, last.before, last.others);
      }
      resumed = taken ? head : last.mark;
    }
    mark = resumed.next;
  }
  return "linearizable";
}

/** What the register may be after the operation; empty if it cannot have taken effect now. */
function nextRegisters(register: Register, operation: Operation): Register[] {
  const { value, floor } = register;
  const { type, result } = operation;
  if (type === "get") {
    if (result === undefined) return [register];
    if (!("value" in result) || result.value !== value) return [];
    return seen(register, result.revision);
  }
  const told = result !== undefined && "ok" in result ? result : undefined;
  const mayGrow = told === undefined || told.revision > floor;
  const written = (text: string): Register => ({
    value: text,
    revision: told?.revision,
    floor: told?.revision ?? floor + 1,
  });
  if (type === "put") return mayGrow ? [written(operation.value!)] : [];
  if (type === "append") return mayGrow ? [written((value ?? "") + operation.value!)] : [];
  if (type === "delete") {
    return [{ value: undefined, revision: 0, floor: value === undefined ? floor : floor + 1 }];
  }
  return casRegisters(register, operation, told, mayGrow ? [written(operation.value!)] : []);
}

function casRegisters(
  register: Register,
  operation: Operation,
  told: { readonly ok: boolean; readonly revision: number } | undefined,
  written: Register[],
): Register[] {
  const { value, revision, floor } = register;
  const expected = operation.expected ?? 0;
  const isUnknown = revision === undefined;
  const mayHold = expected === 0
    ? value === undefined
    : isUnknown
    ? expected >= floor
    : revision === expected;
  const mayFail = expected === 0 ? value !== undefined : isUnknown || revision !== expected;
  if (told === undefined) return [...(mayHold ? written : []), ...(mayFail ? [register] : [])];
  if (told.ok) return mayHold && told.revision > expected ? written : [];
  return mayFail ? seen(register, told.revision) : [];
}

/** The register after somebody was told its revision; none if it cannot be that. */
function seen({ value, revision, floor }: Register, told: number): Register[] {
  const isPossible = revision === undefined ? told >= floor : told === revision;
  return isPossible ? [{ value, revision: told, floor: Math.max(floor, told) }] : [];
}

/** Marks in order of time behind a head that stands for the beginning. */
function timeline(operations: readonly Operation[]): Mark {
  const marks: { readonly atMs: number; readonly mark: Mark }[] = [];
  operations.forEach(({ invokeMs, returnMs }, operation) => {
    const end: Mark = { operation, isReturn: true, ...unlinked() };
    const start: Mark = { operation, isReturn: false, ...unlinked(), match: end };
    marks.push({ atMs: invokeMs, mark: start });
    // Unknown outcomes never return: nothing forces them to have taken effect.
    if (returnMs !== undefined) marks.push({ atMs: returnMs, mark: end });
  });
  // At the same moment invocations come first: then the operations overlap.
  marks.sort((a, b) => a.atMs - b.atMs || Number(a.mark.isReturn) - Number(b.mark.isReturn));
  const head: Mark = { operation: -1, isReturn: false, ...unlinked() };
  let last = head;
  for (const { mark } of marks) {
    last.next = mark;
    mark.previous = last;
    last = mark;
  }
  return head;
}

function unlinked(): Pick<Mark, "next" | "previous" | "match"> {
  return { next: undefined, previous: undefined, match: undefined };
}

function lift(mark: Mark): void {
  for (const one of [mark, mark.match!]) {
    if (one.previous === undefined) continue;
    one.previous.next = one.next;
    if (one.next !== undefined) one.next.previous = one.previous;
  }
}

function unlift(mark: Mark): void {
  for (const one of [mark.match!, mark]) {
    if (one.previous === undefined) continue;
    one.previous.next = one;
    if (one.next !== undefined) one.next.previous = one;
  }
}

function onlyUnknownLeft(head: Mark, operations: readonly Operation[]): boolean {
  for (let mark = head.next; mark !== undefined; mark = mark.next) {
    if (operations[mark.operation]!.returnMs !== undefined) return false;
  }
  return true;
}

/** The shortest prefix, by time of return, that cannot be explained. */
function failingWindow(operations: readonly Operation[], stepsMax: number): Operation[] {
  const returns = operations.flatMap(({ returnMs }) => returnMs === undefined ? [] : [returnMs])
    .sort((a, b) => a - b);
  // A prefix treats what returns later as unknown, so that it fails only for what it contains.
  const prefix = (untilMs: number): Operation[] =>
    operations.filter(({ invokeMs }) => invokeMs <= untilMs).map((operation) =>
      operation.returnMs !== undefined && operation.returnMs <= untilMs
        ? operation
        : { ...operation, returnMs: undefined, result: undefined }
    );
  let low = 0;
  let high = returns.length - 1;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (search(prefix(returns[middle]!), stepsMax) === "violation") high = middle;
    else low = middle + 1;
  }
  return prefix(returns[low]!).sort((a, b) => a.invokeMs - b.invokeMs);
}
