/**
 * `deno task load`: a load generator for a cluster on this machine, over HTTP or the clients' wire.
 *
 * p50 (p99) is the latency that half (99 %) of the successful requests did not exceed; see
 * load_run.ts for what a latency is in the closed and in the open loop. Errors are counted apart
 * and have no latency.
 *
 * @module
 */
import { durationSetting, numberSetting, readSettings, type Settings } from "../cli/settings.ts";
import { complain, EXIT, print, UsageError } from "../cli/usage.ts";
import { KEY_BYTES_MAX, VALUE_BYTES_MAX } from "../storage/kv/limits.ts";
import { type Sizes, statecraftGet, statecraftPut, type ValueContent } from "./load_requests.ts";
import type { RequestTemplate } from "./load_client.ts";
import {
  type LoadOptions,
  type LoadProgress,
  type LoadResult,
  runLoad,
  sendEachKey,
} from "./load_run.ts";
import { wireCallers } from "./load_wire.ts";

/** Longest run. */
const DURATION_MS_MAX = 10 * 60_000;
const CONNECTIONS_MAX = 10_000;
const RATE_MAX = 1_000_000;
const KEYS_MAX = 1_000_000;

const HELP = `Usage: deno task load [flags]

Sends requests to a cluster on this machine and measures how long they take.

  --endpoints LIST     comma list (default http://127.0.0.1:8001); --url is the same. Raft addresses,
                       tcp://127.0.0.1:7001,…, for the clients' wire
  --connections N      kept alive, one request at a time on each (default 64); on the wire: callers of
                       one Clerk
  --duration D         such as 10s, at most 10m (default 10s)
  --warmup D           not measured (default 1s)
  --rate N             open loop: this many requests per second (default: closed loop)
  --mix PUT:GET        weights (default 1:0)
  --keys N             different keys, drawn evenly (default 10000)
  --key-size BYTES     (default 16)
  --value-size BYTES   (default 100)
  --content KIND       of the values: letter, json or random (default letter)
  --consistency LEVEL  of the gets
  -o, --output FORMAT  table or json
  --help

Hosts other than the loopback are refused. Progress goes to stderr, once a second.
`;

const flags = {
  string: [
    ...["endpoints", "url", "connections", "duration", "warmup", "rate", "mix", "keys"],
    ...["key-size", "value-size", "content", "consistency", "output"],
  ],
  boolean: ["help"],
  alias: { output: "o" },
};

/** Where an endpoint listens; only this machine is a target. */
export function loopbackAddress(endpoint: string): { hostname: string; port: number } {
  // A scheme that URL does not know has other rules for what a host is.
  const url = URL.parse(endpoint.replace(/^tcp:/, "http:"));
  if (url === null || url.protocol !== "http:" || url.pathname !== "/") {
    throw new UsageError(
      `--endpoints takes http://HOST:PORT or tcp://HOST:PORT, not "${endpoint}"`,
    );
  }
  const hostname = url.hostname.replace(/^\[(.*)\]$/, "$1");
  if (hostname !== "localhost" && hostname !== "::1" && !/^127\.\d+\.\d+\.\d+$/.test(hostname)) {
    throw new UsageError(`--endpoints names ${hostname}: load goes to this machine only`);
  }
  return { hostname, port: Number(url.port || 80) };
}

/** The run that the settings ask for, and what writes its keys first, if it reads any. */
export function loadOptionsOf(
  settings: Settings,
): {
  readonly keysFirst: RequestTemplate | undefined;
  readonly isWire: boolean;
  readonly run: LoadOptions;
} {
  if (settings.words.length > 0) throw new UsageError(`unexpected word "${settings.words[0]}"`);
  const number = (flag: string, byDefault: number, min: number, max: number): number =>
    numberSetting(flag, settings.text(flag) ?? String(byDefault), { min, max });
  const sizes: Sizes = {
    keys: number("keys", 10_000, 1, KEYS_MAX),
    keyBytes: number("key-size", 16, 1, KEY_BYTES_MAX),
    valueBytes: number("value-size", 100, 0, VALUE_BYTES_MAX),
    content: contentSetting(settings.text("content")),
  };
  if (sizes.keyBytes < String(sizes.keys - 1).length) {
    throw new UsageError(`--key-size ${sizes.keyBytes} is too small for ${sizes.keys} keys`);
  }
  const list = settings.text("endpoints") ?? settings.text("url") ?? "http://127.0.0.1:8001";
  const texts = list.split(",").map((endpoint) => endpoint.trim());
  const endpoints = texts.map(loopbackAddress);
  const isWire = texts[0]!.startsWith("tcp:");
  if (texts.some((text) => text.startsWith("tcp:") !== isWire)) {
    throw new UsageError("--endpoints are all http: or all tcp:");
  }
  const durationMs = durationSetting("duration", settings.text("duration") ?? "10s");
  const warmupMs = durationSetting("warmup", settings.text("warmup") ?? "1s");
  if (durationMs < 1 || durationMs + warmupMs > DURATION_MS_MAX) {
    throw new UsageError("--duration and --warmup take 10m at most");
  }
  const match = /^(\d{1,6}):(\d{1,6})$/.exec(settings.text("mix") ?? "1:0");
  const [puts, gets] = [Number(match?.[1]), Number(match?.[2])];
  if (match === null || puts + gets === 0) {
    throw new UsageError("--mix takes PUT:GET such as 1:9");
  }
  const rate = settings.text("rate");
  const put = statecraftPut(sizes);
  const get = statecraftGet(sizes, settings.text("consistency"));
  const run: LoadOptions = {
    endpoints,
    durationMs,
    warmupMs,
    connections: number("connections", 64, 1, CONNECTIONS_MAX),
    mix: [{ template: put, weight: puts }, { template: get, weight: gets }]
      .filter(({ weight }) => weight > 0),
    ...(rate === undefined ? {} : { ratePerSecond: number("rate", 0, 1, RATE_MAX) }),
  };
  return { keysFirst: gets === 0 ? undefined : put, isWire, run };
}

/** What values are like; a letter many times by default. */
export function contentSetting(text: string = "letter"): ValueContent {
  if (text === "letter" || text === "json" || text === "random") return text;
  throw new UsageError(`--content is letter, json or random, not "${text}"`);
}

/** A line while the run lasts. */
function progressText({ elapsedMs, opsPerSecond, p99Us, errors }: LoadProgress): string {
  return `${(elapsedMs / 1_000).toFixed(0).padStart(4)} s  ${opsPerSecond.toFixed(0).padStart(8)}` +
    ` ops/s  p99 ${(p99Us / 1_000).toFixed(2)} ms  ${errors} errors`;
}

/** The result as plain values. */
function summaryOf(result: LoadResult): Record<string, unknown> {
  const { latency } = result;
  const ms = (us: number): number => Math.round(us) / 1_000;
  return {
    opsPerSecond: Math.round(result.opsPerSecond),
    operations: result.operations,
    p50Ms: ms(latency.percentileUs(0.5)),
    p90Ms: ms(latency.percentileUs(0.9)),
    p99Ms: ms(latency.percentileUs(0.99)),
    p999Ms: ms(latency.percentileUs(0.999)),
    maxMs: ms(latency.maxUs),
    errors: Object.fromEntries(result.errors),
  };
}

async function main(): Promise<void> {
  try {
    const settings = readSettings(Deno.args, flags, (name) => Deno.env.get(name));
    if (settings.isOn("help")) return print(HELP);
    const output = settings.text("output") ?? "table";
    if (output !== "table" && output !== "json") {
      throw new UsageError(`--output is one of table, json, not "${output}"`);
    }
    const { keysFirst, isWire, run } = loadOptionsOf(settings);
    const callers = isWire ? wireCallers(run.endpoints) : undefined;
    const { open } = callers ?? {};
    if (keysFirst !== undefined) await sendEachKey(run.endpoints, keysFirst, open);
    const onProgress = (progress: LoadProgress): void => complain(progressText(progress));
    const way = open === undefined ? {} : { open };
    const summary = summaryOf(await runLoad({ ...run, ...way, onProgress }));
    await callers?.close();
    if (output === "json") return print(JSON.stringify(summary) + "\n");
    for (const [name, value] of Object.entries(summary)) {
      const shown = typeof value === "object" ? JSON.stringify(value) : String(value);
      print(`${name.padEnd(14)}${shown}\n`);
    }
  } catch (error) {
    complain(`statecraft load: ${(error as Error).message}`);
    Deno.exit(error instanceof UsageError ? EXIT.usage : EXIT.failure);
  }
}

if (import.meta.main) await main();
