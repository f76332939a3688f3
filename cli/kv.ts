/**
 * `deno task kv`: the client.
 *
 * @module
 */
import { backup, restore } from "./backup.ts";
import {
  bypassProxyOnLoopback,
  ClientError,
  type ClientRequest,
  openStream,
  type Reach,
  send,
} from "./http_client.ts";
import { completionOf } from "./completion.ts";
import { flagsOf, switches, valueFlags, verbHelp, wholeHelp } from "./kv_help.ts";
import { runLeaseVerb } from "./leases.ts";
import { holdLock, showHolder } from "./locks.ts";
import { runMemberVerb } from "./members.ts";
import { exportKeys, loadKeys, scanKeys } from "./ndjson.ts";
import { durationSetting, numberSetting, readSettings, type Settings } from "./settings.ts";
import { takeSnapshots } from "./snapshot_verb.ts";
import { printExplanations, printHealth, printStatus, printVersions } from "./survey.ts";
import { escapeBytes, escapeCell, escapeText } from "./terminal_text.ts";
import {
  compareAndSet,
  deletePrefix,
  increment,
  type JsonBytes,
  transaction,
} from "./transactions.ts";
import { watchKeys } from "./watch.ts";
import { checkWords, complain, EXIT, print, printBytes, UsageError } from "./usage.ts";

const flags = {
  string: Object.keys(valueFlags),
  boolean: Object.keys(switches),
  alias: { output: "o" },
} as const;

const DEFAULT_ENDPOINTS = "http://127.0.0.1:8001,http://127.0.0.1:8002,http://127.0.0.1:8003";

/** Sends one request with the settings' endpoints and time. */
type Send = (request: ClientRequest) => Promise<Response>;

type Verb = (
  words: readonly string[],
  settings: Settings,
  send: Send,
  reach: Reach,
) => Promise<void>;

/** A verb that asks every endpoint. */
function surveyVerb(survey: typeof printStatus): Verb {
  return (_words, settings, _send, reach) => survey(reach, outputOf(settings, "table"), show);
}

const verbs: Readonly<Record<string, { readonly words: readonly [number, number]; run: Verb }>> = {
  put: { words: [2, 2], run: put },
  get: { words: [1, 1], run: get },
  del: { words: [0, 1], run: remove },
  append: { words: [2, 2], run: append },
  incr: {
    words: [1, 2],
    run: async ([key, by = "1"], _settings, send) => {
      refuseStep(key!);
      show(await increment(pathOf(key!), by, send));
    },
  },
  cas: {
    words: [3, 3],
    run: async ([key, expected, value], _settings, send) => {
      const change = { expected: await jsonOf(expected!), value: await jsonOf(value!) };
      show(await compareAndSet(key!.toWellFormed(), change, send));
    },
  },
  txn: { words: [0, 1], run: transact },
  lease: {
    words: [1, 2],
    run: async (words, _settings, send) => show(await runLeaseVerb(words, send)),
  },
  lock: { words: [1, 1], run: lock },
  elect: { words: [1, 2], run: elect },
  list: { words: [0, 1], run: list },
  watch: { words: [0, 1], run: watch },
  status: { words: [0, 0], run: surveyVerb(printStatus) },
  health: { words: [0, 0], run: surveyVerb(printHealth) },
  explain: { words: [0, 0], run: surveyVerb(printExplanations) },
  transfer: { words: [1, 1], run: transfer },
  member: {
    words: [1, 32],
    run: (words, settings, send, reach) =>
      runMemberVerb(words, { settings, send, reach, show, output: outputOf(settings, "table") }),
  },
  snapshot: { words: [0, 0], run: surveyVerb(takeSnapshots) },
  backup: {
    words: [1, 1],
    run: ([file], settings, _send, reach) => backup(file!, settings, reach),
  },
  export: {
    words: [0, 0],
    run: (_words, settings, _send, reach) => {
      const open = (request: ClientRequest): Promise<Response> => openStream(request, reach);
      const query = readQuery(settings);
      return exportKeys(settings.text("prefix") ?? "", { query, open, show });
    },
  },
  load: { words: [0, 1], run: load },
  restore: { words: [1, 1], run: ([file], settings) => restore(file!, settings) },
  version: { words: [0, 0], run: surveyVerb(printVersions) },
  completion: {
    words: [1, 1],
    run: ([shell]) => Promise.resolve(print(completionOf(shell!))),
  },
};

async function put([key, value]: readonly string[], settings: Settings, send: Send): Promise<void> {
  const body = await valueOf(value!);
  const headers = conditionOf(settings);
  const query = new URLSearchParams();
  for (const name of ["ttl", "lease"]) {
    const text = settings.text(name);
    if (text !== undefined) query.set(name, text);
  }
  await printJson(await send({ method: "PUT", path: pathOf(key!, query), headers, body }));
}

async function get([key]: readonly string[], settings: Settings, send: Send): Promise<void> {
  const isJson = outputOf(settings, "raw") === "json";
  if (isStep(key!)) return await getItem(key!, { isJson, settings, send });
  const query = new URLSearchParams({
    ...readQuery(settings),
    ...(isJson ? { meta: "true" } : {}),
  });
  const response = await send({ method: "GET", path: pathOf(key!, query) });
  const value = await response.bytes();
  if (!isJson) return showValue(value);
  show(
    JSON.stringify({
      key,
      value: bytesToJson(value),
      revision: Number(response.headers.get("etag")?.replaceAll('"', "")),
      created: Number(response.headers.get("statecraft-created")),
      version: Number(response.headers.get("statecraft-version")),
    }) + "\n",
  );
}

/** Gets a key that only the query can name. That route answers with the whole item. */
async function getItem(
  key: string,
  { isJson, settings, send }: {
    readonly isJson: boolean;
    readonly settings: Settings;
    readonly send: Send;
  },
): Promise<void> {
  const encoding: Record<string, string> = isJson ? {} : { encoding: "base64" };
  const query = new URLSearchParams({ ...readQuery(settings), ...encoding });
  const response = await send({ method: "GET", path: pathOf(key, query) });
  if (isJson) return await printJson(response);
  showValue(Uint8Array.fromBase64((await response.json()).value));
}

async function remove([key]: readonly string[], settings: Settings, send: Send): Promise<void> {
  const prefix = settings.text("prefix");
  if (key === undefined) {
    if ((prefix === undefined) !== settings.isOn("all")) {
      throw new UsageError("del takes a KEY, --prefix P or --all");
    }
    return show(await deletePrefix(prefix, send));
  }
  if (prefix !== undefined || settings.isOn("all")) {
    throw new UsageError("del takes a KEY, or --prefix, or --all, not two of them");
  }
  const headers = conditionOf(settings);
  const response = await send({ method: "DELETE", path: pathOf(key!), headers });
  const result = await response.json();
  show(JSON.stringify(result) + "\n");
  if (result.deleted === 0) throw new ClientError("The key does not exist", EXIT.notFound);
}

async function append(
  [key, value]: readonly string[],
  settings: Settings,
  send: Send,
): Promise<void> {
  refuseStep(key!);
  const body = await valueOf(value!);
  const headers = { "content-type": "application/octet-stream", ...conditionOf(settings) };
  await printJson(await send({ method: "POST", path: `${pathOf(key!)}/append`, headers, body }));
}

async function list(
  [prefix = ""]: readonly string[],
  settings: Settings,
  send: Send,
  reach: Reach,
): Promise<void> {
  const output = outputOf(settings, "table");
  const limitText = settings.text("limit");
  let left = limitText === undefined
    ? Infinity
    : numberSetting("limit", limitText, { min: 1, max: 1_000_000_000 });
  if (output !== "json") {
    const limit: Record<string, string> = left === Infinity ? {} : { limit: String(left) };
    const query = { ...readQuery(settings), ...limit };
    const open = (request: ClientRequest): Promise<Response> => openStream(request, reach);
    for await (const item of scanKeys(prefix, { query, open })) show(lineOf(item, output));
    return;
  }
  let cursor: string | undefined;
  do {
    const query = new URLSearchParams({
      ...readQuery(settings),
      limit: String(Math.min(left, 1_000)),
      ...(cursor === undefined ? {} : { cursor }),
    });
    const path = `/v1/kv?${query}&prefix=${encodeURIComponent(prefix)}`;
    const page = await (await send({ method: "GET", path })).json();
    show(JSON.stringify(page) + "\n");
    left -= page.items.length;
    cursor = page.next;
  } while (cursor !== undefined && left > 0);
}

async function watch(
  [key]: readonly string[],
  settings: Settings,
  _send: Send,
  reach: Reach,
): Promise<void> {
  const [prefix, from] = [settings.text("prefix"), settings.text("from")];
  if ((key === undefined) === (prefix === undefined)) {
    throw new UsageError("watch takes a KEY or --prefix P");
  }
  const stop = new AbortController();
  Deno.addSignalListener("SIGINT", () => stop.abort());
  const most = { min: 0, max: Number.MAX_SAFE_INTEGER };
  await watchKeys({
    ...(key === undefined ? {} : { key: key.toWellFormed() }),
    ...(prefix === undefined ? {} : { prefix: prefix.toWellFormed() }),
    ...(from === undefined ? {} : { from: numberSetting("from", from, most) }),
    withPrevious: settings.isOn("prev"),
    signal: stop.signal,
  }, {
    ...{ reach, output: outputOf(settings, "table"), show },
    isTerminal: Deno.stdout.isTerminal(),
  });
  Deno.exit(EXIT.ok);
}

async function lock(
  [name]: readonly string[],
  settings: Settings,
  _send: Send,
  reach: Reach,
): Promise<void> {
  if (settings.isOn("show")) {
    return await showHolder(name!.toWellFormed(), { ...{ reach, show }, isValueOnly: false });
  }
  await hold(name!, undefined, { settings, reach });
}

async function elect(
  [name, value]: readonly string[],
  settings: Settings,
  _send: Send,
  reach: Reach,
): Promise<void> {
  if (value !== undefined) return await hold(name!, value, { settings, reach });
  const isValueOnly = outputOf(settings, "table") !== "json";
  await showHolder(name!.toWellFormed(), { ...{ reach, show }, isValueOnly });
}

async function hold(
  name: string,
  value: string | undefined,
  { settings, reach }: { readonly settings: Settings; readonly reach: Reach },
): Promise<void> {
  const stop = new AbortController();
  for (const signal of ["SIGINT", "SIGTERM"] as const) {
    Deno.addSignalListener(signal, () => stop.abort());
  }
  const [ttl, wait] = [settings.text("ttl"), settings.text("wait")];
  await holdLock(name.toWellFormed(), {
    ...(ttl === undefined ? {} : { ttlMs: durationSetting("ttl", ttl) }),
    ...(wait === undefined ? {} : { waitMs: durationSetting("wait", wait) }),
    ...(value === undefined ? {} : { value: value.toWellFormed() }),
    signal: stop.signal,
  }, { reach, show });
  Deno.exit(EXIT.ok);
}

async function transact([file]: readonly string[], _settings: Settings, send: Send): Promise<void> {
  const isStdin = file === undefined || file === "-";
  show(await transaction(isStdin ? await valueOf("-") : await readWhole(file), send));
}

async function load([file]: readonly string[], _settings: Settings, send: Send): Promise<void> {
  const loaded = file === undefined || file === "-"
    ? await loadKeys(Deno.stdin.readable, { send })
    : await loadFile(file, send);
  show(JSON.stringify({ loaded }) + "\n");
}

async function readWhole(path: string): Promise<Uint8Array<ArrayBuffer>> {
  using file = await openFile(path);
  return await new Response(file.readable).bytes();
}

async function openFile(path: string): Promise<Deno.FsFile> {
  try {
    return await Deno.open(path);
  } catch (error) {
    throw new UsageError(`cannot read ${path}: ${(error as Error).message}`);
  }
}

async function loadFile(path: string, send: Send): Promise<number> {
  const file = await openFile(path);
  const { size: of } = await file.stat();
  return await loadKeys(file.readable, { send, of });
}

async function transfer([node]: readonly string[], _settings: Settings, send: Send): Promise<void> {
  const to = numberSetting("NODE", node!, { min: 1, max: 2 ** 31 });
  const headers = { "content-type": "application/json" };
  const body = JSON.stringify({ to });
  await printJson(await send({ method: "POST", path: "/v1/cluster/transfer", headers, body }));
}

/**
 * The path and query of a key. A key that a URL would take for a step ("." or "..") goes into the
 * query.
 */
function pathOf(key: string, query = new URLSearchParams()): string {
  if (key === "") throw new UsageError("a key has at least 1 byte");
  const text = key.toWellFormed();
  if (!isStep(key)) return withQuery(`/v1/kv/${encodeURIComponent(text)}`, query);
  return withQuery("/v1/kv", new URLSearchParams({ ...Object.fromEntries(query), key: text }));
}

function refuseStep(key: string): void {
  if (isStep(key)) throw new UsageError(`a URL cannot name the key "${key}" and a verb`);
}

function isStep(key: string): boolean {
  return key === "." || key === "..";
}

function withQuery(path: string, query: URLSearchParams): string {
  return query.size === 0 ? path : `${path}?${query}`;
}

async function valueOf(word: string): Promise<Uint8Array<ArrayBuffer>> {
  if (word !== "-") return new TextEncoder().encode(word);
  return await new Response(Deno.stdin.readable).bytes();
}

/** A value as JSON carries it. */
async function jsonOf(word: string): Promise<JsonBytes> {
  return word === "-" ? bytesToJson(await valueOf(word)) : word.toWellFormed();
}

function conditionOf(settings: Settings): Record<string, string> {
  const text = settings.text("if-revision");
  if (text === undefined) return {};
  const revision = numberSetting("if-revision", text, { min: 0, max: Number.MAX_SAFE_INTEGER });
  return revision === 0 ? { "if-none-match": "*" } : { "if-match": `"${revision}"` };
}

function readQuery(settings: Settings): Record<string, string> {
  const consistency = settings.text("consistency");
  return consistency === undefined ? {} : { consistency };
}

function outputOf(settings: Settings, byDefault: string): string {
  const output = settings.text("output") ?? byDefault;
  if (!["table", "json", "ndjson", "raw"].includes(output)) {
    throw new UsageError(`--output is one of table, json, ndjson, raw, not "${output}"`);
  }
  return output;
}

function lineOf(item: Record<string, unknown>, output: string): string {
  if (output === "ndjson") return JSON.stringify(item) + "\n";
  const cell = (bytes: unknown): string => {
    if (typeof bytes !== "string") return `base64:${(bytes as { base64: string }).base64}`;
    return Deno.stdout.isTerminal() ? escapeCell(bytes) : bytes;
  };
  if (output === "raw") return `${cell(item["key"])}\n`;
  return `${cell(item["key"])}\t${cell(item["value"])}\t(revision ${item["revision"]})\n`;
}

async function printJson(response: Response): Promise<void> {
  show(await response.text());
}

/** Prints text that others wrote; a terminal sees no control byte of theirs. */
function show(text: string): void {
  print(Deno.stdout.isTerminal() ? escapeText(text) : text);
}

/**
 * Prints a value: its bytes as they are, or for a terminal what can be shown of them and a line's
 * end.
 */
function showValue(value: Uint8Array): void {
  if (Deno.stdout.isTerminal()) print(`${escapeBytes(value)}\n`);
  else printBytes(value);
}

/** As the gateway lists values: text where it is UTF-8, base64 where not. */
function bytesToJson(bytes: Uint8Array): JsonBytes {
  try {
    return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch {
    return { base64: bytes.toBase64() };
  }
}

async function main(): Promise<void> {
  let endpointsText: string | undefined;
  try {
    const settings = readSettings(Deno.args, flags, (name) => Deno.env.get(name));
    const [name, ...words] = settings.words;
    if (name === undefined) {
      print(wholeHelp());
      Deno.exit(settings.isOn("help") ? EXIT.ok : EXIT.usage);
    }
    const verb = Object.hasOwn(verbs, name) ? verbs[name] : undefined;
    if (verb === undefined) {
      throw new UsageError(
        `unknown verb "${name}"; the verbs are ${Object.keys(verbs).join(", ")}`,
      );
    }
    if (settings.isOn("help")) {
      print(verbHelp(name));
      Deno.exit(EXIT.ok);
    }
    checkWords(name, words, verb.words);
    // What is ignored may be a condition that the caller relies on.
    const stranger = settings.given.find((flag) => !flagsOf(name).includes(flag));
    if (stranger !== undefined) {
      throw new UsageError(`${name} takes no --${stranger}; see kv ${name} --help`);
    }
    endpointsText = settings.text("endpoints");
    const endpoints = (endpointsText ?? DEFAULT_ENDPOINTS).split(",")
      .map((endpoint) => endpoint.trim().replace(/\/$/, ""));
    for (const endpoint of endpoints) {
      if (!/^https?:$/.test(URL.parse(endpoint)?.protocol ?? "")) {
        throw new UsageError(`--endpoints takes http://HOST:PORT, not "${endpoint}"`);
      }
    }
    const timeoutMs = durationSetting("timeout", settings.text("timeout") ?? "5s");
    const reach = { endpoints, timeoutMs };
    bypassProxyOnLoopback(Deno.env);
    await verb.run(words, settings, (request) => send(request, reach), reach);
  } catch (error) {
    const isUnset = error instanceof ClientError && error.exitCode === EXIT.unavailable &&
      endpointsText === undefined && /refused/i.test(error.message);
    const advice = isUnset
      ? "; start a cluster with deno task dev, or name its members with --endpoints"
      : "";
    const line = `statecraft kv: ${(error as Error).message}${advice}`;
    complain(Deno.stderr.isTerminal() ? escapeText(line) : line);
    if (error instanceof UsageError) Deno.exit(EXIT.usage);
    Deno.exit(error instanceof ClientError ? error.exitCode : EXIT.failure);
  }
}

if (import.meta.main) await main();
