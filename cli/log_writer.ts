/**
 * Log lines, as text or as JSON.
 *
 * @module
 */
import type { Log, LogLevel } from "../actors/runtime/ports.ts";
import { type LineSink, LineWriter } from "./line_writer.ts";

/** How lines look. */
export type LogFormat = "text" | "json";

/** What is logged, and how. */
export interface LogOptions {
  /** Lines of this level and above. */
  readonly level: LogLevel;
  readonly format: LogFormat;
  /** The node that every line names. */
  readonly node: number;
  /** Default: stderr. */
  readonly sink?: LineSink;
}

/** A log and what became of it. */
export interface LogWriter {
  /** Never blocks or throws. */
  readonly log: Log;
  /** Writes the lines; also takes lines that are no log lines. */
  readonly lines: LineWriter;
}

const levels: readonly LogLevel[] = ["debug", "info", "warn", "error"];

/** A log that writes lines of `level` and above, each naming the node. */
export function createLog(
  { level: lowest, format, node, sink = Deno.stderr }: LogOptions,
): LogWriter {
  const lineOf = (...[level, event, fields]: Parameters<Log>): string => {
    const time = new Date().toISOString();
    return format === "json"
      ? JSON.stringify({ time, level, node, event, ...fields })
      : `${time} ${level.padEnd(5)} node ${node}  ${event}${formatFields(fields)}`;
  };
  const lines = new LineWriter(sink, (count) => lineOf("warn", "log-lines-dropped", { count }));
  const log: Log = (level, event, fields) => {
    if (levels.indexOf(level) < levels.indexOf(lowest)) return;
    lines.write(lineOf(level, event, fields));
  };
  return { log, lines };
}

function formatFields(fields: Parameters<Log>[2]): string {
  let text = "";
  for (const [name, value] of Object.entries(fields)) {
    if (value === undefined) continue;
    const shown = typeof value === "string" && /^$|[\s"=]/.test(value)
      ? JSON.stringify(value)
      : value;
    text += ` ${name}=${shown}`;
  }
  return text;
}
