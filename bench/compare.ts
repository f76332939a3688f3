/**
 * `deno task compare`: Statecraft beside etcd on this machine, the same generator against both in
 * turn.
 *
 * Three nodes each, in temporary directories on loopback, fsync on for both, requests to the
 * leader. etcd is reached through its JSON gateway, the HTTP it offers. Every round measures each
 * scenario on one and then on the other; the table has medians over the rounds, so that a drift of
 * the machine meets both. Without an `etcd` binary only Statecraft is measured. The generator is
 * `wrk` if there is one, since it takes the least from servers on the same machine, and else ours. On the
 * clients' wire it is always ours, in this process; etcd is measured through its JSON gateway then, too.
 *
 * @module
 */
import { numberSetting, readSettings } from "../cli/settings.ts";
import { complain, print, UsageError } from "../cli/usage.ts";
import type { RequestTemplate } from "./load_client.ts";
import { etcdGet, etcdPut, type Sizes, statecraftGet, statecraftPut } from "./load_requests.ts";
import { runLoad, sendEachKey } from "./load_run.ts";
import { wireCallers } from "./load_wire.ts";
import {
  ask,
  freePorts,
  leaderOf,
  type LocalCluster,
  NODES,
  runMeasurement,
  startStatecraft,
} from "./local_cluster.ts";
import { hasWrk, runWrk, type WrkResult } from "./wrk.ts";

const FSYNCS = 300;
const WARMUP_MS = 500;
/** Bounds of the whole: about two minutes by default. */
const ROUNDS_MAX = 20;
const SECONDS_MAX = 30;

const SIZES: Sizes = { keys: 10_000, keyBytes: 16, valueBytes: 100 };

const HELP = `Usage: deno task compare [flags]

Measures three nodes of Statecraft and three of etcd on this machine, in turn.

  --rounds N     medians over this many (default 3)
  --seconds N    of each measurement (default 3)
  --generator G  wrk, or own (default: wrk if it is installed)
  --help
`;

/** What is measured on both. */
interface Scenario {
  readonly name: string;
  readonly connections: number;
  readonly template: "put" | "get";
  /** Statecraft by the callers of one Clerk on the clients' wire; default over HTTP, as the other. */
  readonly isWire?: boolean;
}

const scenarios: readonly Scenario[] = [
  ...[1, 16, 64, 256].map((connections): Scenario => ({
    name: `put, ${connections} connections`,
    connections,
    template: "put",
  })),
  { name: "get, linearizable, 64 connections", connections: 64, template: "get" },
  ...[1, 64, 256, 1_000].map((connections): Scenario => ({
    ...{ name: `put, ${connections} callers on the wire`, connections, template: "put" },
    isWire: true,
  })),
  { name: "get, 64 callers on the wire", connections: 64, template: "get", isWire: true },
];

/** What both generators measure. */
type Measured = WrkResult;

/** How to measure. */
interface CompareOptions {
  readonly rounds: number;
  readonly seconds: number;
  readonly useWrk: boolean;
  /** For temporary files. */
  readonly directory: string;
}

/** A cluster under test. */
interface Contender extends LocalCluster {
  /** Where clients on their wire reach it, if they do. */
  readonly wire?: readonly { readonly hostname: string; readonly port: number }[];
  readonly requests: Readonly<Record<Scenario["template"], RequestTemplate>>;
}

/** Undefined if there is no `etcd` on the path. */
function startEtcd(directory: string, ports: readonly number[]): Contender | undefined {
  const peers = ports.slice(0, NODES).map((port) => `http://127.0.0.1:${port}`);
  const endpoints = ports.slice(NODES).map((port) => `http://127.0.0.1:${port}`);
  const cluster = peers.map((peer, at) => `node${at + 1}=${peer}`).join();
  try {
    const children = endpoints.map((endpoint, at) =>
      new Deno.Command("etcd", {
        args: [
          ...["--name", `node${at + 1}`, "--data-dir", `${directory}/etcd-${at + 1}`],
          ...["--listen-client-urls", endpoint, "--advertise-client-urls", endpoint],
          ...["--listen-peer-urls", peers[at]!, "--initial-advertise-peer-urls", peers[at]!],
          ...["--initial-cluster", cluster, "--log-level", "error", "--logger", "zap"],
        ],
        stdin: "null",
        stdout: "null",
        stderr: "null",
      }).spawn()
    );
    return {
      name: "etcd",
      children,
      requests: { put: etcdPut(SIZES), get: etcdGet(SIZES) },
      leader: async () => {
        for (const endpoint of endpoints) {
          const init = { method: "POST", body: "{}" };
          const status = await ask(`${endpoint}/v3/maintenance/status`, init);
          const header = status?.["header"] as { member_id?: string } | undefined;
          if (status?.["leader"] !== undefined && status["leader"] === header?.member_id) {
            return endpoint;
          }
        }
        return undefined;
      },
    };
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return undefined;
    throw error;
  }
}

async function measure(
  contender: Contender,
  { connections, template: name, isWire = false }: Scenario,
  { seconds, useWrk, directory }: CompareOptions,
): Promise<Measured> {
  if (isWire && contender.wire !== undefined) {
    return await measureWire(contender.wire, contender.requests[name], { connections, seconds });
  }
  const endpoint = await leaderOf(contender);
  const template = contender.requests[name];
  if (useWrk) return await runWrk({ endpoint, connections, seconds, template, directory });
  return await runLoad({
    endpoints: [endpoint],
    connections,
    durationMs: 1_000 * seconds,
    warmupMs: WARMUP_MS,
    mix: [{ template, weight: 1 }],
  });
}

async function measureWire(
  endpoints: NonNullable<Contender["wire"]>,
  template: RequestTemplate,
  { connections, seconds }: { readonly connections: number; readonly seconds: number },
): Promise<Measured> {
  const { open, close } = wireCallers(endpoints);
  try {
    return await runLoad({
      ...{ endpoints, connections, open, durationMs: 1_000 * seconds, warmupMs: WARMUP_MS },
      mix: [{ template, weight: 1 }],
    });
  } finally {
    await close();
  }
}

/** Durations of appending 136 B and syncing, ascending, in microseconds. */
async function fsyncsUs(directory: string): Promise<number[]> {
  const record = new Uint8Array(136).fill(7);
  const durations: number[] = [];
  using file = await Deno.open(`${directory}/fsync`, { create: true, write: true });
  for (let count = 0; count < FSYNCS; count++) {
    const startMs = performance.now();
    file.writeSync(record);
    await file.syncData();
    durations.push((performance.now() - startMs) * 1_000);
  }
  return durations.sort((a, b) => a - b);
}

function median(values: readonly number[]): number {
  const sorted = values.toSorted((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 === 1 ? sorted[middle]! : (sorted[middle - 1]! + sorted[middle]!) / 2;
}

/** All rounds: results by contender and scenario. */
async function compare(
  contenders: readonly Contender[],
  options: CompareOptions,
): Promise<Map<string, Measured[]>> {
  for (const contender of contenders) {
    await sendEachKey([await leaderOf(contender)], contender.requests.put);
  }
  const results = new Map<string, Measured[]>();
  for (let round = 1; round <= options.rounds; round++) {
    for (const scenario of scenarios) {
      const inTurn = round % 2 === 1 ? contenders : contenders.toReversed();
      for (const contender of inTurn) {
        const result = await measure(contender, scenario, options);
        const key = `${contender.name} ${scenario.name}`;
        results.set(key, [...results.get(key) ?? [], result]);
        const errors = [...result.errors].map(([kind, count]) => `, ${count} x ${kind}`).join("");
        complain(
          `round ${round}: ${scenario.name}: ${contender.name} ` +
            `${result.opsPerSecond.toFixed(0)} ops/s${errors}`,
        );
      }
    }
  }
  return results;
}

function printTable(
  contenders: readonly Contender[],
  results: ReadonlyMap<string, readonly Measured[]>,
): void {
  const columns = contenders.map(({ name }) => `${name} ops/s   p50 ms   p99 ms  `).join("");
  print(`${"".padEnd(36)}${columns}ratio\n`);
  for (const { name } of scenarios) {
    let line = name.padEnd(36);
    const rates: number[] = [];
    for (const contender of contenders) {
      const runs = results.get(`${contender.name} ${name}`)!;
      const rate = median(runs.map(({ opsPerSecond }) => opsPerSecond));
      const ms = (fraction: number): string =>
        (median(runs.map(({ latency }) => latency.percentileUs(fraction))) / 1_000).toFixed(2);
      rates.push(rate);
      line += rate.toFixed(0).padStart(contender.name.length + 6) + ms(0.5).padStart(9) +
        ms(0.99).padStart(9) + "  ";
    }
    print(line + (rates.length === 2 ? `${(rates[0]! / rates[1]!).toFixed(2)}x` : "-") + "\n");
  }
}

async function choosesWrk(generator: string | undefined): Promise<boolean> {
  if (generator === "own") return false;
  if (generator !== undefined && generator !== "wrk") {
    throw new UsageError(`--generator is wrk or own, not ${generator}`);
  }
  const found = await hasWrk();
  if (generator === "wrk" && !found) throw new UsageError("there is no wrk on the path");
  return found;
}

const flags = { string: ["rounds", "seconds", "generator"], boolean: ["help"] };

if (import.meta.main) {
  await runMeasurement("compare", async ({ directory, children }) => {
    const settings = readSettings(Deno.args, flags, (name) => Deno.env.get(name));
    const number = (flag: string, byDefault: number, max: number): number =>
      numberSetting(flag, settings.text(flag) ?? String(byDefault), { min: 1, max });
    const rounds = number("rounds", 3, ROUNDS_MAX);
    const seconds = number("seconds", 3, SECONDS_MAX);
    const useWrk = await choosesWrk(settings.text("generator"));
    if (settings.isOn("help")) print(HELP);
    else {
      const fsyncs = await fsyncsUs(directory);
      const at = (fraction: number): string => fsyncs[Math.floor(fraction * FSYNCS)]!.toFixed(0);
      print(`append of 136 B and fsync on this disk: p50 ${at(0.5)} us, p99 ${at(0.99)} us\n`);
      print(`generator: ${useWrk ? "wrk" : "own"}, ${rounds} rounds of ${seconds} s\n`);
      const ports = freePorts(4 * NODES);
      const ours = {
        ...startStatecraft(directory, ports.slice(0, 2 * NODES)),
        requests: { put: statecraftPut(SIZES), get: statecraftGet(SIZES, undefined) },
        wire: ports.slice(0, NODES).map((port) => ({ hostname: "127.0.0.1", port })),
      };
      children.push(...ours.children);
      const theirs = startEtcd(directory, ports.slice(2 * NODES));
      if (theirs === undefined) complain("there is no etcd on the path: measuring statecraft only");
      else children.push(...theirs.children);
      const contenders = theirs === undefined ? [ours] : [ours, theirs];
      const options = { rounds, seconds, useWrk, directory };
      printTable(contenders, await compare(contenders, options));
    }
  });
}
