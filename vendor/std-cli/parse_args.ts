/**
 * A stand-in for `jsr:@std/cli/parse-args` over `node:util`, for machines that cannot reach JSR.
 * Only declared options are supported: `string`, `boolean`, `alias`, `default`, `unknown`.
 *
 * @module
 */
import { parseArgs as nodeParseArgs } from "node:util";

/** The options of {@linkcode parseArgs} that this project uses. */
export interface ParseOptions {
  string?: readonly string[];
  boolean?: readonly string[];
  alias?: Record<string, string>;
  default?: Record<string, unknown>;
  /** Called for every undeclared option; return false to leave it out of the result. */
  unknown?: (arg: string, key?: string, value?: unknown) => unknown;
}

/** Parsed options by name, with the positional words in `_`. */
export type Args = { _: string[] } & Record<string, unknown>;

/** Parses command line words the way `@std/cli` does for declared options. */
export function parseArgs(args: readonly string[], options: ParseOptions = {}): Args {
  const aliases = options.alias ?? {};
  const declared: Record<string, { type: "string" | "boolean"; short?: string }> = {};
  for (const name of options.string ?? []) declared[name] = { type: "string" };
  for (const name of options.boolean ?? []) declared[name] = { type: "boolean" };
  for (const [name, short] of Object.entries(aliases)) {
    if (declared[name] !== undefined && short.length === 1) declared[name].short = short;
  }
  const { tokens } = nodeParseArgs({
    args: [...args],
    options: declared,
    strict: false,
    allowNegative: false,
    allowPositionals: true,
    tokens: true,
  });
  const parsed: Args = { _: [], ...(options.default ?? {}) };
  for (const name of options.boolean ?? []) parsed[name] ??= false;
  for (const token of tokens) {
    if (token.kind === "positional") parsed._.push(token.value);
    if (token.kind !== "option") continue;
    const value = token.value ?? (declared[token.name]?.type === "string" ? "" : true);
    if (declared[token.name] === undefined && options.unknown !== undefined) {
      if (options.unknown(token.rawName, token.name, value) === false) continue;
    }
    parsed[token.name] = value;
    const alias = aliases[token.name];
    if (alias !== undefined) parsed[alias] = value;
  }
  return parsed;
}
