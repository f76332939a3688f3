/**
 * `deno task wal inspect DIR`: what is in a write-ahead log, record by record, and whether a node could
 * start from it. Nothing is changed, and a node may be writing it.
 *
 * @module
 */
import {
  inspectLog,
  type LogFiles,
  type LogFinding,
  type LogVerdict,
  type RecordFinding,
  WalUnknownRecordError,
  WalVersionError,
} from "../mod.ts";
import {
  counted,
  type InspectOptions,
  printJsonLine,
  printRow,
  printText,
  runInspection,
} from "./inspect_command.ts";
import { UsageError } from "./usage.ts";

const HELP = `Usage: deno task wal inspect DIR [flags]

Shows the records of a node's write-ahead log, and whether a node could start from it. It only reads,
so the node may be running. DIR is a node's data directory, or its wal directory.

  --limit N             print the first N records only (default all; 0: what it comes to)
  -o, --output FORMAT   table or ndjson (default table)
  --help

The table has, for each record: where it begins in its segment and in the log, its group, kind, term,
index and bytes. A mark says how far the log was durable when it was written. The records in a packed
one follow it; in place of their own places they have dots. What a crash tore off the end, or a running
node is writing, is no damage. The file durable beside the log says how far the log was durable: one
that ends before that is damaged. It is read if DIR is a data directory.

Exit codes: 0 sound, 1 failure, 2 usage (no log there, or one of a newer release), 3 damaged.
`;

const SEGMENT_NAME = /^\d{20}\.wal$/;
const COLUMNS = ["offset", "position", "group", "kind", "term", "index", "bytes", "detail"];
const WIDTHS = [9, 12, 5, -10, 6, 9, 8, -1];
const EMPTY = "-";
const PACKED = "..";

function inspect({ path, output, limit }: InspectOptions): boolean {
  const findings = inspectLog(filesOf(path));
  let records = 0;
  let bytes = 0;
  if (output === "table" && limit > 0) printRow(COLUMNS, WIDTHS);
  for (;;) {
    const { done, value } = findings.next();
    if (done === true) {
      if (output === "ndjson") printJsonLine(summaryOf(value, { records, bytes }));
      else printSummary(value, { records, bytes });
      return value.error === undefined;
    }
    if (value.type === "segment") bytes += value.bytes;
    if (value.type === "record" && ++records > limit) continue;
    if (limit === 0) continue;
    if (output === "ndjson") printJsonLine(value);
    else printFinding(value);
  }
}

/** The segments in a data directory, or in the directory of a log itself. */
function filesOf(path: string): LogFiles {
  const names = (directory: string): string[] =>
    Array.from(Deno.readDirSync(directory), ({ name }) => name);
  const isLog = names(path).some((name) => SEGMENT_NAME.test(name));
  const directory = isLog ? path : `${path}/wal`;
  if (!isLog && !names(path).includes("wal")) {
    throw new UsageError(`there is no log in ${path}`);
  }
  const read = (file: string): Uint8Array | undefined => {
    try {
      return Deno.readFileSync(file);
    } catch (error) {
      if (error instanceof Deno.errors.NotFound) return undefined;
      throw error;
    }
  };
  return {
    list: () => names(directory),
    read: (name) => read(`${directory}/${name}`),
    // Beside a log that was copied by itself another log's may stand.
    readWatermark: () => isLog ? undefined : read(`${path}/durable`),
  };
}

function printFinding(finding: LogFinding): void {
  if (finding.type === "record") return printRecord(finding);
  if (finding.type === "unreadable") {
    const { path, offset, reason } = finding;
    return printText(`${path}: nothing can be read from byte ${offset} on: ${reason}`);
  }
  const { path, bytes, clusterId, nodeId, position, checkpoints } = finding;
  printText(
    `${path}: node ${nodeId} of cluster ${clusterId}, from position ${position} on, ` +
      `${counted(bytes, "byte")}, ${counted(checkpoints, "checkpoint")}`,
  );
}

function printRecord(record: RecordFinding): void {
  const { offset, position, isPacked, group, kind, term, index, bytes } = record;
  const place = isPacked ? [PACKED, PACKED] : [offset, position];
  const cells = [...place, group ?? EMPTY, kind, term ?? EMPTY, index ?? EMPTY, bytes];
  printRow([...cells, detailOf(record)], WIDTHS);
}

function detailOf(record: RecordFinding): string {
  const { kind, timeMs, votedFor, durablePosition, unpackedBytes } = record;
  const { baseIndex, baseTerm, lastIndex } = record;
  const vote = `vote ${votedFor === 0 ? "none" : votedFor}`;
  switch (kind) {
    case "mark":
      return `durable to ${durablePosition}`;
    case "packed":
      return `${unpackedBytes} bytes unpacked`;
    case "hardState":
      return vote;
    case "checkpoint":
      return `${vote}, base ${baseIndex} of term ${baseTerm}, last ${lastIndex}`;
    default:
      return `time ${timeMs} ms`;
  }
}

interface Counts {
  readonly records: number;
  readonly bytes: number;
}

function summaryOf({ segments, groups, tornTail, error }: LogVerdict, counts: Counts): object {
  return {
    ...{ type: "summary", sound: error === undefined, segments, ...counts },
    groups: [...groups].map(([group, finding]) => ({ group, ...finding })),
    ...(tornTail === undefined ? {} : { tornTail }),
    ...(error === undefined ? {} : { damage: damageOf(error) }),
  };
}

function damageOf(error: NonNullable<LogVerdict["error"]>): object {
  const { name, path, message } = error;
  const { offset } = error as { readonly offset?: number };
  return { name, path, ...(offset === undefined ? {} : { offset }), message };
}

function printSummary({ segments, groups, tornTail, error }: LogVerdict, counts: Counts): void {
  const { records, bytes } = counts;
  printText(
    `${counted(segments, "segment")}, ${counted(records, "record")}, ${counted(bytes, "byte")}`,
  );
  for (const [group, { term, votedFor, baseIndex, lastIndex }] of groups) {
    const vote = votedFor === 0 ? "none" : votedFor;
    printText(
      `group ${group}: term ${term}, vote ${vote}, entries ${baseIndex + 1} to ${lastIndex}`,
    );
  }
  if (error !== undefined) return printText(`damaged: ${error.message}`);
  if (tornTail === undefined) return printText("sound");
  const { path, offset, reason } = tornTail;
  printText(
    `sound; ${path} ends at byte ${offset} (${reason}): a crash tore what follows, or a node is ` +
      "writing it",
  );
}

if (import.meta.main) {
  const isUsage = (error: unknown): boolean =>
    error instanceof WalVersionError || error instanceof WalUnknownRecordError;
  runInspection({ name: "wal", help: HELP, switches: [], inspect, isUsage }, Deno.args);
}
