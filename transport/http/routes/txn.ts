/**
 * `POST /v1/txn`: compares that choose one of two lists of operations, which takes effect whole or not at
 * all, at one revision.
 *
 * @module
 */
import type { Context, Hono } from "hono";
import type { Command } from "../../../storage/kv/command.ts";
import type { Compare, CompareOperator } from "../../../storage/kv/compare.ts";
import type { KvItem } from "../../../storage/kv/entry.ts";
import {
  COMPARES_MAX,
  CONTENT_TYPE_CHARS_MAX,
  OPERATIONS_MAX,
  RANGE_LIMIT_MAX,
} from "../../../storage/kv/limits.ts";
import type { Operation, OperationResult } from "../../../storage/kv/operations/operations.ts";
import { intervalOf, type KeyInterval } from "../../../storage/kv/operations/interval.ts";
import { integerOf } from "../../../storage/kv/operations/integer.ts";
import { readJson } from "../body.ts";
import type { ItemPort } from "../gateway_port.ts";
import { LIST_LIMIT_DEFAULT, TXN_BODY_BYTES_MAX } from "../limits.ts";
import { GatewayError } from "../problem.ts";
import {
  bytesAs,
  bytesOfJson,
  type JsonEncoding,
  keyAs,
  keyOfJson,
  leaseOfJson,
} from "../values.ts";
import { encodingOf, onceOf, queryOf, writeParameters } from "./kv_request.ts";
import { execute, written } from "./write.ts";

type Fields = Readonly<Record<string, unknown>>;

const OPERATORS: readonly unknown[] = ["==", "!=", "<", ">"] satisfies CompareOperator[];
const NUMBERS: readonly unknown[] = ["revision", "version", "created", "lease"];

/** Adds the route. */
export function addTxnRoute(app: Hono, port: ItemPort): void {
  app.post("/v1/txn", async (c: Context) => {
    const encoding = encodingOf(queryOf(c.req.url, [...writeParameters, "encoding"]));
    const body = await readJson(c.req.raw, TXN_BODY_BYTES_MAX, port);
    const { compares, success, failure } = commandOf(body);
    const meaning = new TextEncoder().encode(JSON.stringify(body));
    const once = onceOf(c, { key: "", action: "txn", body: meaning });
    const executed = await execute(c, port, { compares, success, failure, once });
    const operations = executed.succeeded ? success : failure;
    // A faulty leader may answer for other operations.
    const isAnswer = executed.results.length === operations.length &&
      executed.results.every(({ type }, at) => type === operations[at]!.type);
    if (!isAnswer) {
      throw new GatewayError("outcome-unknown", "The leader did not answer for this transaction");
    }
    const { succeeded, revision, results } = executed;
    return written(executed, {
      ...{ succeeded, revision },
      results: results.map((result, at) => resultAs(encoding, result, operations[at]!)),
    });
  });
}

/** @throws {GatewayError} invalid-request, which names the part that is wrong. */
function commandOf(body: unknown): Command {
  const fields = fieldsOf(body, "The body", ["compare", "success", "failure"]);
  const compares = listOf(fields, "compare", compareOf);
  const success = listOf(fields, "success", operationOf);
  const failure = listOf(fields, "failure", operationOf);
  if (compares.length > COMPARES_MAX) throw invalid(`compare has more than ${COMPARES_MAX} items`);
  if (success.length + failure.length > OPERATIONS_MAX) {
    throw invalid(`success and failure have more than ${OPERATIONS_MAX} operations`);
  }
  if (success.length + failure.length === 0) {
    throw invalid('There is no operation: name some in "success" or "failure"');
  }
  return { compares, success, failure };
}

function compareOf(value: unknown, name: string): Compare {
  const target = fieldsOf(value, name, undefined)["target"];
  const isNumber = NUMBERS.includes(target);
  if (!isNumber && target !== "value") {
    throw invalid(`${name}.target is one of value, version, created, revision, lease`);
  }
  const operandName = String(target);
  const fields = fieldsOf(value, name, ["key", "target", "op", operandName]);
  const key = keyOfJson(fields["key"], `${name}.key`);
  const operator = fields["op"];
  if (!OPERATORS.includes(operator)) throw invalid(`${name}.op is one of ==, !=, <, >`);
  const operand = fields[operandName];
  const base = { key, operator: operator as CompareOperator };
  if (target === "value") {
    return { ...base, target, operand: bytesOfJson(operand, `${name}.${operandName}`) };
  }
  // No lease has id 0, which stands for a key without one.
  if (target === "lease" && operand !== 0 && operand !== "0") {
    return { ...base, target, operand: leaseOfJson(operand, `${name}.lease`) };
  }
  if (target === "lease") return { ...base, target, operand: 0 };
  if (!Number.isSafeInteger(operand) || (operand as number) < 0) {
    throw invalid(`${name}.${operandName} is a whole number from 0 to 2^53-1`);
  }
  return { ...base, target: target as "revision", operand: operand as number };
}

function operationOf(value: unknown, name: string): Operation {
  const fields = fieldsOf(value, name, Object.keys(READERS));
  const names = Object.keys(fields);
  const [verb] = names;
  if (verb === undefined || names.length > 1) {
    throw invalid(`${name} has one of ${Object.keys(READERS).join(", ")}`);
  }
  return READERS[verb]!(fields[verb], `${name}.${verb}`);
}

const READERS: Readonly<Record<string, (value: unknown, name: string) => Operation>> = {
  put(value, name): Operation {
    const fields = fieldsOf(value, name, ["key", "value", "contentType", "lease"]);
    const { contentType, lease } = fields;
    const isType = contentType === undefined ||
      (typeof contentType === "string" && contentType.length >= 1 &&
        contentType.length <= CONTENT_TYPE_CHARS_MAX && /^[\x20-\x7e]+$/.test(contentType));
    if (!isType) {
      throw invalid(`${name}.contentType has 1 to ${CONTENT_TYPE_CHARS_MAX} printable characters`);
    }
    const put = {
      ...keyed(fields, name),
      value: bytesOfJson(fields["value"], `${name}.value`),
      contentType: contentType as string | undefined,
    };
    if (lease === undefined) return { type: "put", ...put };
    return { type: "putLeased", ...put, lease: leaseOfJson(lease, `${name}.lease`) };
  },
  append(value, name): Operation {
    const fields = fieldsOf(value, name, ["key", "value"]);
    const added = bytesOfJson(fields["value"], `${name}.value`);
    return { type: "append", ...keyed(fields, name), value: added };
  },
  get: (value, name) => ({ type: "get", ...keyed(fieldsOf(value, name, ["key"]), name) }),
  delete(value, name): Operation {
    const fields = fieldsOf(value, name, ["key", "prefix", "start", "end", "all"]);
    if ("key" in fields) return { type: "delete", ...keyed(fieldsOf(value, name, ["key"]), name) };
    const interval = intervalOfFields(fields, name);
    const isAll = interval.start === "" && interval.end === undefined;
    // An empty bound is none, so it must not delete every key by mistake.
    if (isAll !== flagOf(fields, "all", name)) {
      throw invalid(`${name} names a key, or bounds, or says "all": true of every key`);
    }
    return { type: "deleteRange", ...interval };
  },
  range(value, name): Operation {
    const bounds = ["prefix", "start", "end"];
    const options = ["limit", "reverse", "keys_only", "count_only"];
    const fields = fieldsOf(value, name, [...bounds, ...options]);
    const limit = fields["limit"] ?? LIST_LIMIT_DEFAULT;
    if (
      !Number.isSafeInteger(limit) || (limit as number) < 1 || limit as number > RANGE_LIMIT_MAX
    ) {
      throw invalid(`${name}.limit is a number from 1 to ${RANGE_LIMIT_MAX}`);
    }
    return {
      type: "range",
      ...intervalOfFields(fields, name),
      limit: flagOf(fields, "count_only", name) ? 0 : limit as number,
      reverse: flagOf(fields, "reverse", name),
      keysOnly: flagOf(fields, "keys_only", name),
    };
  },
  increment(value, name): Operation {
    const fields = fieldsOf(value, name, ["key", "by"]);
    return { type: "increment", ...keyed(fields, name), by: incrementOf(fields["by"], name) };
  },
};

/** What an increment adds: a whole number, as text if JSON's numbers cannot hold it; 1 if it is not said. */
export function incrementOf(by: unknown, name: string): bigint {
  const isNumber = by === undefined || Number.isSafeInteger(by);
  const integer = isNumber
    ? BigInt(by as number | undefined ?? 1)
    : typeof by === "string"
    ? integerOf(by)
    : undefined;
  if (integer !== undefined) return integer;
  throw invalid(`${name}.by is a whole number, or a string of one of 64 bits`);
}

function keyed(fields: Fields, name: string): { readonly key: string } {
  return { key: keyOfJson(fields["key"], `${name}.key`) };
}

function intervalOfFields(
  { prefix, start, end }: Fields,
  name: string,
): KeyInterval {
  if (prefix !== undefined && (start !== undefined || end !== undefined)) {
    throw invalid(`${name}.prefix does not go with start and end`);
  }
  const bound = (value: unknown, which: string): string | undefined =>
    value === undefined || value === "" ? undefined : keyOfJson(value, `${name}.${which}`);
  return intervalOf({
    prefix: bound(prefix, "prefix"),
    start: bound(start, "start"),
    end: bound(end, "end"),
  });
}

function resultAs(
  encoding: JsonEncoding,
  result: OperationResult,
  operation: Operation,
): Record<string, unknown> {
  const itemAs = (item: KvItem, keysOnly = false): Record<string, unknown> => ({
    key: keyAs(encoding, item.key),
    ...(keysOnly ? {} : { value: bytesAs(encoding, item.value), contentType: item.contentType }),
    ...{ revision: item.revision, created: item.created, version: item.version },
    ...(item.lease === undefined ? {} : { lease: String(item.lease) }),
  });
  switch (result.type) {
    case "put":
    case "append":
    case "increment":
    case "leaseGrant":
    case "leaseKeepAlive":
    case "leaseRevoke": {
      const { type, ...facts } = result;
      return { [type]: facts };
    }
    case "putLeased": {
      const { version, created, lease } = result;
      return { put: { version, created, lease: String(lease) } };
    }
    case "delete":
    case "deleteRange":
      return { delete: { deleted: result.deleted } };
    case "get": {
      const { entry } = result;
      if (entry === undefined || operation.type !== "get") return { get: null };
      return { get: itemAs({ key: operation.key, ...entry }) };
    }
    case "range": {
      const keysOnly = operation.type === "range" && operation.keysOnly;
      const items = result.items.map((item) => itemAs(item, keysOnly));
      return { range: { items, count: result.count } };
    }
  }
}

function listOf<Item>(
  fields: Fields,
  name: string,
  itemOf: (value: unknown, name: string) => Item,
): Item[] {
  const list = fields[name] ?? [];
  if (!Array.isArray(list)) throw invalid(`${name} is a list`);
  return list.map((item, at) => itemOf(item, `${name}[${at}]`));
}

/** The fields of an object, of which only those that are known may be there. */
function fieldsOf(value: unknown, name: string, known: readonly string[] | undefined): Fields {
  if (typeof value !== "object" || value === null || Array.isArray(value)) {
    throw invalid(`${name} is an object`);
  }
  const unknown = known && Object.keys(value).find((field) => !known.includes(field));
  if (unknown === undefined) return value as Fields;
  const has = known!.length === 0 ? "" : `; it has ${known!.join(", ")}`;
  throw invalid(`${name} has the unknown field ${JSON.stringify(unknown)}${has}`);
}

function flagOf(fields: Fields, flag: string, name: string): boolean {
  const value = fields[flag] ?? false;
  if (typeof value === "boolean") return value;
  throw invalid(`${name}.${flag} is true or false`);
}

function invalid(detail: string): GatewayError {
  return new GatewayError("invalid-request", detail);
}
