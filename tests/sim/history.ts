/**
 * What clients did and saw, as the linearizability checker reads it.
 *
 * Written one operation a line (NDJSON), so that other tools can check it too:
 *
 * | field | meaning |
 * |---|---|
 * | `client` | who; one client has one operation under way at a time |
 * | `key` | which register; operations on different keys are independent |
 * | `type` | `get`, `put`, `append`, `cas`, `delete` |
 * | `value` | put, append, cas: the text written |
 * | `expected` | cas: the revision that the key must have, 0 for "must not exist" |
 * | `invokeMs`, `returnMs` | when it began and ended; `returnMs` is null if the outcome is unknown |
 * | `result` | get: `{"value", "revision"}`, value null if there is none; writes: `{"ok", "revision"}`: ok false if the condition did not hold; null if unknown |
 *
 * Operations that surely had no effect and told the client nothing are not in the history.
 *
 * @module
 */

/** One client operation. */
export interface Operation {
  readonly client: string;
  readonly key: string;
  readonly type: "get" | "put" | "append" | "cas" | "delete";
  readonly value?: string;
  readonly expected?: number;
  readonly invokeMs: number;
  /** undefined: the outcome is unknown; it may take effect at any later time, or never. */
  returnMs: number | undefined;
  result: OperationResult | undefined;
}

/** What the client was told. */
export type OperationResult =
  /** Of a get: revision 0 and no value if the key does not exist. */
  | { readonly value: string | undefined; readonly revision: number }
  /** Of a write: the key's revision after it; if refused, the revision that was found. */
  | { readonly ok: boolean; readonly revision: number };

/** The history as NDJSON. */
export function historyToNdjson(history: readonly Operation[]): string {
  return history.map((operation) =>
    JSON.stringify({
      ...operation,
      returnMs: operation.returnMs ?? null,
      result: operation.result === undefined ? null : {
        ...operation.result,
        ...("ok" in operation.result ? {} : { value: operation.result.value ?? null }),
      },
    }) + "\n"
  ).join("");
}

/**
 * Reads what {@linkcode historyToNdjson} wrote.
 *
 * @throws {SyntaxError} If a line is no operation.
 */
export function historyFromNdjson(text: string): Operation[] {
  return text.split("\n").filter((line) => line !== "").map((line, at) => {
    const { returnMs, result, ...operation } = JSON.parse(line);
    const types = ["get", "put", "append", "cas", "delete"];
    if (!types.includes(operation.type) || typeof operation.key !== "string") {
      throw new SyntaxError(`Cannot read history: line ${at + 1} is no operation`);
    }
    return {
      ...operation,
      returnMs: returnMs ?? undefined,
      result: result === null
        ? undefined
        : "ok" in result
        ? result
        : { ...result, value: result.value ?? undefined },
    };
  });
}
