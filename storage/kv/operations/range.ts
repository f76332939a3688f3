/**
 * Reads keys within bounds, at its place among the command's other operations, and counts them.
 *
 * Its bytes: the interval (interval.ts), the limit as a number, a byte whose bit 0 says descending order
 * and bit 1 keys without values.
 *
 * @module
 */
import { checkNumber, CommandError } from "../command_bytes.ts";
import type { KvItem } from "../entry.ts";
import {
  RANGE_LIMIT_MAX,
  RANGES_VERSION,
  RESULT_BYTES_MAX,
  RESULT_OVERHEAD_BYTES,
} from "../limits.ts";
import { numberSize, writeNumber } from "../numbers.ts";
import { entryOf, isEntry } from "./get.ts";
import { isCount, type OperationKind } from "./operation.ts";
import {
  checkInterval,
  intervalSize,
  type KeyInterval,
  readInterval,
  writeInterval,
} from "./interval.ts";

/** Reads keys within bounds. */
export interface RangeOperation extends KeyInterval {
  readonly type: "range";
  /** Most items to read, 0 to RANGE_LIMIT_MAX; with 0 it only counts. */
  readonly limit: number;
  /** Descending order. */
  readonly reverse: boolean;
  /** The items' values are empty. */
  readonly keysOnly: boolean;
}

/** What a range found. */
export interface RangeResult {
  readonly type: "range";
  /** In order. */
  readonly items: readonly KvItem[];
  /** Keys within the bounds, however many of them were read. */
  readonly count: number;
}

const NO_BYTES = new Uint8Array(0);
const FLAG_BYTES = 1;

/** See the module. */
export const rangeKind: OperationKind<RangeOperation, RangeResult> = {
  code: 7,
  since: RANGES_VERSION,
  check(operation): void {
    checkInterval(operation);
    checkNumber(operation.limit);
    checkLimit(operation.limit);
  },
  size: (operation) => intervalSize(operation) + numberSize(operation.limit) + FLAG_BYTES,
  write(operation, bytes, at): number {
    const end = writeNumber(operation.limit, bytes, writeInterval(operation, bytes, at));
    bytes[end] = +operation.reverse | (+operation.keysOnly << 1);
    return end + FLAG_BYTES;
  },
  read(reader): RangeOperation {
    const range = readInterval(reader);
    const limit = reader.number();
    checkLimit(limit);
    const flags = reader.byte();
    if (flags > 3) throw new CommandError("malformed", `a range of it has the flags ${flags}`);
    return { type: "range", ...range, limit, reverse: (flags & 1) > 0, keysOnly: (flags & 2) > 0 };
  },
  apply({ start, end, limit, reverse, keysOnly }, keys): RangeResult {
    const items: KvItem[] = [];
    let bytes = 0;
    for (const item of keys.range({ start, end, limit, reverse })) {
      const { key } = item;
      items.push({ key, ...entryOf(item), ...(keysOnly ? { value: NO_BYTES } : {}) });
      // What is more than a result may have is refused as a whole: nothing is gained by reading on.
      bytes += itemBytes(items.at(-1)!);
      if (bytes > RESULT_BYTES_MAX) break;
    }
    return { type: "range", items, count: keys.count({ start, end }) };
  },
  contentBytesMax: RESULT_BYTES_MAX,
  contentBytes: ({ items }) => items.reduce((sum, item) => sum + itemBytes(item), 0),
  writeResult({ items, count }, writer): void {
    writer.number(count);
    writer.number(items.length);
    for (const item of items) {
      writer.text(item.key);
      writer.entry(item);
      // No lease has id 0.
      writer.number(item.lease ?? 0);
    }
  },
  readResult(reader): RangeResult {
    const count = reader.number();
    const items: KvItem[] = [];
    for (let left = reader.number(); left > 0; left--) {
      const key = reader.text();
      const entry = reader.entry();
      const lease = reader.number();
      const value = entry.value.slice();
      items.push({ key, ...entry, value, ...(lease === 0 ? {} : { lease }) });
    }
    return { type: "range", items, count };
  },
  isResult: ({ items, count }) =>
    isCount(count) && Array.isArray(items) && items.length <= RANGE_LIMIT_MAX &&
    items.every((item) => isEntry(item) && typeof (item as KvItem).key === "string"),
};

function itemBytes({ key, value, contentType }: KvItem): number {
  return RESULT_OVERHEAD_BYTES + key.length + value.length +
    (contentType?.length ?? 0);
}

function checkLimit(limit: number): void {
  if (limit <= RANGE_LIMIT_MAX) return;
  throw new CommandError("number", `a range of it asks for ${limit} items`);
}
