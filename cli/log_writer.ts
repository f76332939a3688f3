/**
 * Log lines on stderr, as text or as JSON.
 *
 * @module
 */
import type { Log, LogLevel } from "../actors/runtime/ports.ts";
import { writeAll } from "./usage.ts";

/** How lines look. */
export type LogFormat = "text" | "json";

const levels: readonly LogLevel[] = ["debug", "info", "warn", "error"];

/** A log that writes lines of `level` and above, each naming the node. */
export function createLog(
  options: { readonly level: LogLevel; readonly format: LogFormat; readonly node: number },
): Log {
  const encoder = new TextEncoder();
  return (level, event, fields) => {
    if (levels.indexOf(level) < levels.indexOf(options.level)) return;
    const time = new Date().toISOString();
    const line = options.format === "json"
      ? JSON.stringify({ time, level, node: options.node, event, ...fields })
      : `${time} ${level.padEnd(5)} node ${options.node}  ${event}${formatFields(fields)}`;
    writeAll(Deno.stderr, encoder.encode(`${line}\n`));
  };
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
