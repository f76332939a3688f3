/**
 * Settings from flags, from `STATECRAFT_…` in the environment, and from a JSON file; flags win over
 * the environment, which wins over the file.
 *
 * @module
 */
import { parseArgs } from "@std/cli/parse-args";
import { parseHostPort } from "../mod.ts";
import { UsageError } from "./usage.ts";

/** The flags of a command. */
export interface FlagTable {
  /** Flags that take a value. */
  readonly string: readonly string[];
  /** Flags that do not. */
  readonly boolean: readonly string[];
  /** One-letter names by flag. */
  readonly alias?: Readonly<Record<string, string>>;
}

/** Words and settings of a command line; every value is text, as it was given. */
export interface Settings {
  readonly words: readonly string[];
  /** Flags that the command line itself has. */
  readonly given: readonly string[];
  text(flag: string): string | undefined;
  isOn(flag: string): boolean;
}

/**
 * Reads a command line.
 *
 * @throws {UsageError} If a flag is unknown or lacks its value, or the file cannot be used.
 */
export function readSettings(
  args: readonly string[],
  table: FlagTable,
  environment: (name: string) => string | undefined,
): Settings {
  checkValues(args, table);
  const parsed = parseArgs([...args], {
    string: [...table.string],
    boolean: [...table.boolean],
    ...(table.alias === undefined ? {} : { alias: { ...table.alias } }),
    unknown: (arg, key) => {
      if (key === undefined) return true;
      const flag = arg.startsWith("-") ? arg : `--${key}`;
      throw new UsageError(`unknown flag ${flag}${suggestion(flag, table)}`);
    },
  });
  const fromFlags = parsed as Record<string, unknown>;
  const envName = (flag: string): string => `STATECRAFT_${flag.toUpperCase().replaceAll("-", "_")}`;
  const configPath = fromFlags["config"] ?? environment(envName("config"));
  const file = table.string.includes("config") && typeof configPath === "string"
    ? readConfig(configPath, table)
    : {};
  const text = (flag: string): string | undefined =>
    (fromFlags[flag] as string | undefined) ?? environment(envName(flag)) ?? file[flag];
  return {
    words: parsed._.map(String),
    given: [...table.string, ...table.boolean].filter((flag) =>
      fromFlags[flag] !== undefined && fromFlags[flag] !== false
    ),
    text,
    isOn: (flag) => fromFlags[flag] === true || isTrue(environment(envName(flag)) ?? file[flag]),
  };
}

/** The flags that the unknown one may be the beginning of, or one letter away from. */
function suggestion(flag: string, { string, boolean }: FlagTable): string {
  const name = flag.replace(/^-+/, "").replace(/=.*$/s, "");
  const likely = [...string, ...boolean].filter((known) =>
    (name.length > 1 && known.startsWith(name)) || isNear(name, known)
  );
  return likely.length === 0 ? "" : `; is it --${likely.join(" or --")}?`;
}

/** Whether one letter more, less or other makes one of the other. */
function isNear(one: string, other: string): boolean {
  if (Math.abs(one.length - other.length) > 1 || one.length < 3) return false;
  let at = 0;
  while (at < one.length && one[at] === other[at]) at++;
  const [short, long] = one.length < other.length ? [one, other] : [other, one];
  return short.slice(short.length === long.length ? at + 1 : at) === long.slice(at + 1);
}

/**
 * Refuses what parsers understand differently: a switch with a value, a flag whose value is missing
 * or looks like the next flag.
 */
function checkValues(args: readonly string[], table: FlagTable): void {
  const aliases = Object.entries(table.alias ?? {});
  for (let at = 0; at < args.length && args[at] !== "--"; at++) {
    const match = /^--?([^=]+)(=(.*))?$/s.exec(args[at]!);
    if (match === null) continue;
    const [, name, given, value] = match;
    const flag = args[at]!.startsWith("--")
      ? name!
      : aliases.find(([, letter]) => letter === name)?.[0];
    if (flag === undefined) continue;
    if (table.boolean.includes(flag)) {
      if (given !== undefined) throw new UsageError(`--${flag} takes no value`);
    } else if (table.string.includes(flag)) {
      const word = given === undefined ? args[++at] : value;
      const isMissing = word === undefined || word === "" ||
        (given === undefined && word.length > 1 && word.startsWith("-"));
      if (isMissing) throw new UsageError(`--${flag} needs a value`);
    }
  }
}

/** A whole number within bounds. */
export function numberSetting(
  flag: string,
  text: string,
  bounds: { readonly min: number; readonly max: number },
): number {
  const value = Number(text);
  if (!/^\d+$/.test(text) || value < bounds.min || value > bounds.max) {
    throw new UsageError(
      `--${flag} takes a whole number from ${bounds.min} to ${bounds.max}, not "${text}"`,
    );
  }
  return value;
}

/** `HOST:PORT`, or `[V6]:PORT`. */
export function hostPortSetting(
  flag: string,
  text: string,
): { hostname: string; port: number } {
  const address = parseHostPort(text);
  if (address === undefined) throw new UsageError(`--${flag} takes HOST:PORT, not "${text}"`);
  return address;
}

/** `http://HOST:PORT` of a node. */
export function urlSetting(flag: string, text: string, form = "http://HOST:PORT"): string {
  const url = URL.parse(text);
  if (url === null || !["http:", "https:"].includes(url.protocol) || url.pathname !== "/") {
    throw new UsageError(`--${flag} takes ${form}, not "${text}"`);
  }
  return url.origin;
}

/** `ID=VALUE,ID=VALUE`. */
export function memberListSetting<Value>(
  flag: string,
  text: string,
  parse: (value: string) => Value,
): Map<number, Value> {
  const members = new Map<number, Value>();
  for (const part of text.split(",")) {
    const match = /^\s*(\d+)=(.+?)\s*$/.exec(part);
    if (match === null) {
      throw new UsageError(`--${flag} takes ID=ADDRESS,ID=ADDRESS, not "${part}"`);
    }
    const id = numberSetting(flag, match[1]!, { min: 1, max: 2 ** 31 });
    if (members.has(id)) throw new UsageError(`--${flag} names node ${id} twice`);
    members.set(id, parse(match[2]!));
  }
  return members;
}

/** The members of the cluster that node `id` is or will be of, if `--peers` or `--single` names them. */
export function membersSetting(settings: Settings, id: number): {
  readonly peers: Map<number, { hostname: string; port: number }> | undefined;
  readonly single: boolean;
} {
  const text = settings.text("peers");
  const peers = text === undefined ? undefined : peersSetting(text);
  if (peers !== undefined && !peers.has(id)) {
    throw new UsageError(`--peers does not name this node, ${id}`);
  }
  const single = settings.isOn("single");
  if (peers !== undefined && single) {
    throw new UsageError("--single founds a cluster of one member, so it does not go with --peers");
  }
  return { peers, single };
}

/** Addresses that can be dialled, each of one node. */
function peersSetting(text: string): Map<number, { hostname: string; port: number }> {
  const seen = new Set<string>();
  return memberListSetting("peers", text, (value) => {
    const address = hostPortSetting("peers", value);
    if (address.port === 0) {
      throw new UsageError(`--peers takes HOST:PORT, and nobody can dial "${value}"`);
    }
    if (seen.has(value)) throw new UsageError(`--peers has ${value} twice`);
    seen.add(value);
    return address;
  });
}

/** A duration such as `5s`, `250ms`, `2m` or `1h`, in milliseconds. */
export function durationSetting(flag: string, text: string): number {
  return durationOf(`--${flag}`, text);
}

/** As {@linkcode durationSetting}, of a word that `name` names. */
export function durationOf(name: string, text: string): number {
  const match = /^(\d{1,12})(ms|s|m|h|d)$/.exec(text);
  if (match === null) {
    throw new UsageError(
      `${name} takes a duration such as 500ms, 30s, 5m, 2h or 1d, not "${text}"`,
    );
  }
  const units = { ms: 1, s: 1_000, m: 60_000, h: 3_600_000, d: 86_400_000 } as const;
  return Number(match[1]) * units[match[2] as keyof typeof units];
}

function isTrue(text: string | undefined): boolean {
  return text === "true" || text === "1";
}

function readConfig(path: string, table: FlagTable): Record<string, string> {
  let content: unknown;
  try {
    content = JSON.parse(Deno.readTextFileSync(path));
  } catch (error) {
    throw new UsageError(`cannot read --config ${path}: ${(error as Error).message}`);
  }
  if (typeof content !== "object" || content === null || Array.isArray(content)) {
    throw new UsageError(`cannot use --config ${path}: it is not a JSON object`);
  }
  const settings: Record<string, string> = {};
  for (const [name, value] of Object.entries(content)) {
    if (!table.string.includes(name) && !table.boolean.includes(name)) {
      throw new UsageError(`cannot use --config ${path}: unknown setting "${name}"`);
    }
    if (!["string", "number", "boolean"].includes(typeof value)) {
      throw new UsageError(`cannot use --config ${path}: "${name}" is not text, number or boolean`);
    }
    settings[name] = String(value);
  }
  return settings;
}
