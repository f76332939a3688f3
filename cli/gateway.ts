/**
 * `deno task gateway`: a stateless HTTP gateway in front of the members.
 *
 * @module
 */
import { type HostPort, parseHostPort, startGateway, VERSION } from "../mod.ts";
import { LineWriter } from "./line_writer.ts";
import { createLog, type LogFormat } from "./log_writer.ts";
import type { LogLevel } from "../mod.ts";
import { askAll, bypassProxyOnLoopback, jsonIn } from "./http_client.ts";
import { hostPortSetting, readSettings } from "./settings.ts";
import { EXIT, print, UsageError } from "./usage.ts";

const HELP = `Usage: deno task gateway --endpoints LIST [flags]

Serves the HTTP interface for a cluster, and speaks the members' own wire to them, so that HTTP costs
them nothing. It keeps no state: run as many as there are processors to spare.

  --endpoints LIST      members: Raft addresses such as tcp://127.0.0.1:7001,…; or HTTP addresses such as
                        http://127.0.0.1:8001, of whom the members are asked at the start
                        (default http://127.0.0.1:8001,…:8002,…:8003)
  --http HOST:PORT      where to serve (default 127.0.0.1:8080)
  --log-level LEVEL     debug, info, warn or error (default info)
  --log-format FORMAT   text or json (default text)
  --supervised          print the HTTP address on stdout once it is served
  --help, --version

Every flag can be set as STATECRAFT_<FLAG> in the environment, such as STATECRAFT_ENDPOINTS.
`;

const flags = {
  string: ["endpoints", "http", "log-level", "log-format"],
  boolean: ["supervised", "help", "version"],
} as const;

const DEFAULT_ENDPOINTS = "http://127.0.0.1:8001,http://127.0.0.1:8002,http://127.0.0.1:8003";
const DEFAULT_HTTP = "127.0.0.1:8080";
/** How long the members may take to say who they are. */
const ASK_MS = 5_000;
/** How long a stop may take: what is being answered is answered. */
const STOP_MS_MAX = 5_000;

/** Where the members listen for each other, of whatever the endpoints are. */
async function membersAt(text: string): Promise<readonly HostPort[]> {
  const endpoints = text.split(",").map((endpoint) => endpoint.trim().replace(/\/$/, ""));
  if (endpoints.every((endpoint) => endpoint.startsWith("tcp://"))) {
    return endpoints.map((endpoint) =>
      hostPortSetting("endpoints", endpoint.slice("tcp://".length))
    );
  }
  for (const endpoint of endpoints) {
    if (/^https?:$/.test(URL.parse(endpoint)?.protocol ?? "")) continue;
    throw new UsageError(
      `--endpoints takes tcp://HOST:PORT, or http://HOST:PORT, of all members, not "${endpoint}"`,
    );
  }
  const answers = await askAll(
    { path: "/v1/cluster", accept: "application/json" },
    { endpoints, timeoutMs: ASK_MS },
  );
  const known = new Set<string>();
  for (const answer of answers) {
    if (answer.failure !== undefined || answer.status !== 200) continue;
    const { members } = (jsonIn(answer.body) ?? {}) as {
      readonly members?: readonly { readonly raftAddress?: unknown }[];
    };
    for (const { raftAddress } of members ?? []) {
      if (typeof raftAddress === "string" && raftAddress !== "") known.add(raftAddress);
    }
  }
  const addresses = [...known].map(parseHostPort).filter((address) => address !== undefined);
  if (addresses.length > 0) return addresses;
  const why = answers.map(({ endpoint, failure = "is no Statecraft node" }) =>
    `${endpoint}: ${failure}`
  );
  throw new Error(`no member answers: ${why.join("; ")}`);
}

async function main(): Promise<void> {
  const lines = new LineWriter(Deno.stderr, () => "");
  const end = async (code: number): Promise<never> => {
    await lines.flush();
    return Deno.exit(code);
  };
  try {
    const settings = readSettings(Deno.args, flags, (name) => Deno.env.get(name));
    if (settings.isOn("help")) return print(HELP);
    if (settings.isOn("version")) return print(`statecraft ${VERSION}\n`);
    if (settings.words.length > 0) throw new UsageError(`unexpected word "${settings.words[0]}"`);
    const http = hostPortSetting("http", settings.text("http") ?? DEFAULT_HTTP);
    bypassProxyOnLoopback(Deno.env);
    const members = await membersAt(settings.text("endpoints") ?? DEFAULT_ENDPOINTS);
    const { log } = createLog({
      node: 0,
      level: (settings.text("log-level") ?? "info") as LogLevel,
      format: (settings.text("log-format") ?? "text") as LogFormat,
    });
    const gateway = startGateway({ members, http, log });
    if (settings.isOn("supervised")) print(`${gateway.httpAddress}\n`);
    let isStopping = false;
    const stop = (): void => {
      if (isStopping) return void end(EXIT.failure);
      isStopping = true;
      setTimeout(() => end(EXIT.failure), STOP_MS_MAX);
      gateway.stop().then(() => end(EXIT.ok));
    };
    Deno.addSignalListener("SIGTERM", stop);
    Deno.addSignalListener("SIGINT", stop);
  } catch (error) {
    lines.write(`statecraft gateway: ${(error as Error).message}`);
    await end(error instanceof UsageError ? EXIT.usage : EXIT.unavailable);
  }
}

if (import.meta.main) await main();
