/**
 * What the two inspections share: their command line, their exit codes, and how rows are printed.
 *
 * @module
 */
import { numberSetting, readSettings } from "./settings.ts";
import { escapeCell } from "./terminal_text.ts";
import { complain, EXIT, NODE_EXIT, print, UsageError } from "./usage.ts";

/** Exit codes of an inspection: sound, damaged, a wrong command line or a newer release's file. */
export const INSPECT_EXIT = { sound: EXIT.ok, damaged: NODE_EXIT.damagedLog, usage: EXIT.usage };

const COLUMN_GAP = "  ";

/** Rows are written in pieces of this many characters: a write for each takes longer than all else. */
const PIECE_CHARS = 64 * 1024;
let piece = "";

/** How it is to be printed. */
export interface InspectOptions {
  readonly path: string;
  readonly output: "table" | "ndjson";
  /** Rows of the longest table that are printed. */
  readonly limit: number;
  isOn(flag: string): boolean;
}

/** An inspection: prints what it finds, and says whether that is sound. */
export interface InspectCommand {
  /** As in `deno task NAME inspect`. */
  readonly name: string;
  readonly help: string;
  /** Flags besides the common ones. */
  readonly switches: readonly string[];
  readonly inspect: (options: InspectOptions) => boolean;
  /** Whether this error says that the path is not what the command inspects. */
  readonly isUsage: (error: unknown) => boolean;
}

/** Runs an inspection, and ends the process with its code. */
export function runInspection(command: InspectCommand, args: readonly string[]): never {
  try {
    const table = {
      string: ["output", "limit"],
      boolean: ["help", ...command.switches],
      alias: { output: "o" },
    };
    const settings = readSettings(args, table, (name) => Deno.env.get(name));
    if (settings.isOn("help")) {
      print(command.help);
      Deno.exit(EXIT.ok);
    }
    const [verb, path, ...rest] = settings.words;
    if (verb !== "inspect" || path === undefined || rest.length > 0) {
      throw new UsageError(`usage: deno task ${command.name} inspect PATH; see --help`);
    }
    const output = settings.text("output") ?? "table";
    if (output !== "table" && output !== "ndjson") {
      throw new UsageError(`--output is table or ndjson, not "${output}"`);
    }
    const max = Number.MAX_SAFE_INTEGER;
    const limitText = settings.text("limit");
    const limit = limitText === undefined
      ? Infinity
      : numberSetting("limit", limitText, { min: 0, max });
    const isSound = command.inspect({ path, output, limit, isOn: settings.isOn });
    flush();
    Deno.exit(isSound ? INSPECT_EXIT.sound : INSPECT_EXIT.damaged);
  } catch (error) {
    flush();
    complain(`statecraft ${command.name}: ${(error as Error).message}`);
    const isUsage = error instanceof UsageError || error instanceof Deno.errors.NotFound ||
      error instanceof Deno.errors.IsADirectory || error instanceof Deno.errors.NotADirectory ||
      command.isUsage(error);
    Deno.exit(isUsage ? EXIT.usage : EXIT.failure);
  }
}

/**
 * Prints a row of a table: its cells are padded to the widths of their columns, to the left, or to the
 * right where the width is negative.
 */
export function printRow(cells: readonly (string | number)[], widths: readonly number[]): void {
  const padded = cells.map((cell, at) => {
    const width = widths[at] ?? 0;
    const text = escapeCell(String(cell));
    return width < 0 ? text.padEnd(-width) : text.padStart(width);
  });
  write(`${padded.join(COLUMN_GAP).trimEnd()}\n`);
}

/** Prints one object as a line of JSON. */
export function printJsonLine(row: object): void {
  write(`${JSON.stringify(row)}\n`);
}

/** Prints one line of text, of which others may have written a part. */
export function printText(text: string): void {
  write(`${escapeCell(text)}\n`);
}

function write(line: string): void {
  piece += line;
  if (piece.length >= PIECE_CHARS) flush();
}

function flush(): void {
  const text = piece;
  piece = "";
  print(text);
}

/** `1 chunk`, `2 chunks`. */
export function counted(count: number, noun: string): string {
  return `${count} ${noun}${count === 1 ? "" : "s"}`;
}
