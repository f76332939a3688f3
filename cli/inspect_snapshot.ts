/**
 * `deno task snapshot inspect FILE`: what a snapshot, or a backup, says about itself, its chunks, and
 * whether it is sound. Nothing is changed.
 *
 * @module
 */
import { openSnapshot, readAt, SnapshotError, type SnapshotReader } from "../mod.ts";
import {
  counted,
  type InspectOptions,
  printJsonLine,
  printRow,
  printText,
  runInspection,
} from "./inspect_command.ts";

const HELP = `Usage: deno task snapshot inspect FILE [flags]

Shows what a snapshot or a backup says about itself, and its chunks, and reads all of it to see whether
it is sound.

  --quick               do not look at what the chunks hold, nor at the digest
  --limit N             print the first N chunks only (default all; 0: what they come to)
  -o, --output FORMAT   table or ndjson (default table)
  --help

Exit codes: 0 sound, 1 failure, 2 usage (no such file, or one of a newer release), 3 damaged.
`;

const COLUMNS = ["chunk", "offset", "stored", "state", "ratio"];
const WIDTHS = [8, 12, 10, 10, 6];

/** What the chunks come to. */
interface Totals {
  chunks: number;
  storedBytes: number;
  stateBytes: number;
  /** Where the damage is, and what it is. */
  damage: { readonly offset: number; readonly message: string } | undefined;
}

function inspect(options: InspectOptions): boolean {
  const { path, output } = options;
  using file = Deno.openSync(path, { read: true });
  const { size, isFile } = file.statSync();
  if (!isFile) throw new Deno.errors.IsADirectory(`${path} is no file`);
  let reader: SnapshotReader;
  try {
    reader = openSnapshot(path, { read: (offset, length) => readAt(file, offset, length), size });
  } catch (error) {
    if (!(error instanceof SnapshotError) || error.kind === "foreign") throw error;
    const damage = { offset: 0, message: error.message };
    if (output === "ndjson") printJsonLine({ type: "summary", sound: false, bytes: size, damage });
    else printText(`damaged: ${damage.message}`);
    return false;
  }
  const { meta, digest } = reader;
  if (output === "ndjson") printJsonLine({ type: "snapshot", bytes: size, digest, ...meta });
  else {
    for (const [name, value] of Object.entries({ bytes: size, ...meta, digest })) {
      printText(`${name.padEnd(16)}${Array.isArray(value) ? value.join(", ") : value}`);
    }
  }
  const totals = walk(reader, options);
  const { chunks, storedBytes, stateBytes, damage } = totals;
  const checked = !options.isOn("quick");
  const sound = damage === undefined;
  if (output === "ndjson") {
    printJsonLine({
      ...{ type: "summary", sound, checked, bytes: size, chunks, storedBytes, stateBytes },
      ...(damage === undefined ? {} : { damage }),
    });
    return sound;
  }
  printText(
    `${counted(chunks, "chunk")}, ${counted(stateBytes, "byte")} of state in ${storedBytes}` +
      (storedBytes > 0 ? ` (${(stateBytes / storedBytes).toFixed(2)}x)` : ""),
  );
  if (damage !== undefined) printText(`damaged: ${damage.message}`);
  else printText(checked ? "sound" : "not checked: neither what the chunks hold, nor the digest");
  return sound;
}

/** Goes through the chunks, and reads them unless told not to. */
function walk(reader: SnapshotReader, { output, limit, isOn }: InspectOptions): Totals {
  const totals: Totals = { chunks: 0, storedBytes: 0, stateBytes: 0, damage: undefined };
  const states = isOn("quick") ? undefined : reader.chunks();
  let offset = 0;
  try {
    for (const frame of reader.frames()) {
      const { storedBytes, stateBytes } = frame;
      ({ offset } = frame);
      states?.next();
      totals.chunks++;
      totals.storedBytes += storedBytes;
      totals.stateBytes += stateBytes;
      if (totals.chunks > limit) continue;
      if (output === "ndjson") {
        printJsonLine({ type: "chunk", chunk: totals.chunks, ...frame });
      } else {
        if (totals.chunks === 1) printRow(COLUMNS, WIDTHS);
        const ratio = (stateBytes / storedBytes).toFixed(2);
        printRow([totals.chunks, offset, storedBytes, stateBytes, `${ratio}x`], WIDTHS);
      }
    }
    // The end: whether all chunks are those that the digest was made of.
    states?.next();
  } catch (error) {
    if (!(error instanceof SnapshotError)) throw error;
    totals.damage = { offset, message: error.message };
  }
  return totals;
}

if (import.meta.main) {
  const isUsage = (error: unknown): boolean => error instanceof SnapshotError;
  runInspection({ name: "snapshot", help: HELP, switches: ["quick"], inspect, isUsage }, Deno.args);
}
