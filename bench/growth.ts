/**
 * `deno task growth`: whether disk and memory stay bounded under endless load, and what snapshots cost
 * those who write meanwhile.
 *
 * Three members in a temporary directory take puts without a pause. Every second the bytes of each data
 * directory and the resident memory of each process are noted; the result is a curve (SVG) and a line
 * of JSON. A put counts as one beside a snapshot if it was answered while the leader took one, as its
 * log says.
 *
 * @module
 */
import { linesOf } from "../mod.ts";
import { durationSetting, numberSetting, readSettings, type Settings } from "../cli/settings.ts";
import { complain, print, UsageError } from "../cli/usage.ts";
import { type Chart, chartsToSvg } from "./line_chart.ts";
import { LatencyHistogram } from "./load_histogram.ts";
import { contentSetting } from "./load.ts";
import { statecraftPut } from "./load_requests.ts";
import { runLoad, sendEachKey } from "./load_run.ts";
import {
  freePorts,
  leaderOf,
  NODES,
  runMeasurement,
  startStatecraft,
  stopAll,
  type Workplace,
} from "./local_cluster.ts";

/** Longest run. */
const DURATION_MS_MAX = 24 * 60 * 60_000;
const SAMPLE_MS = 1_000;
const MEBIBYTE = 1024 * 1024;

const HELP = `Usage: deno task growth [flags]

Writes to three members on this machine without a pause, and shows how disk and memory grow.

  --duration D         such as 30m (default 2m)
  --connections N      (default 16)
  --rate N             this many puts a second (default: as many as there can be)
  --keys N             different keys (default 50000)
  --value-size BYTES   (default 2048)
  --content KIND       of the values: json, random or letter (default json)
  --snapshot-bytes N   as for a node (default 67108864)
  --compression MODE   as for a node (default adaptive)
  --lose-log           in the middle a follower loses its log and its snapshots, and comes back: how
                       many puts there are beside that
  --svg FILE           where to draw the curve (default: nowhere)
  --help
`;

const flags = {
  string: [
    ...["duration", "connections", "rate", "keys", "value-size", "content"],
    ...["snapshot-bytes", "compression", "svg"],
  ],
  boolean: ["help", "lose-log"],
};

/** One member, at one moment. */
interface Sample {
  readonly seconds: number;
  readonly diskBytes: number;
  readonly residentBytes: number;
}

/** When a snapshot was taken, in milliseconds since this process began. */
interface Taking {
  readonly node: number;
  readonly fromMs: number;
  readonly throughMs: number;
}

async function sampleOf(directory: string, endpoint: string, seconds: number): Promise<Sample> {
  let diskBytes = 0;
  for (const part of ["", "/wal", "/snapshots"]) {
    try {
      for (const { name, isFile } of Deno.readDirSync(directory + part)) {
        if (isFile) diskBytes += Deno.statSync(`${directory}${part}/${name}`).size;
      }
    } catch (error) {
      // A file was removed under the listing, or there is no snapshot yet.
      if (!(error instanceof Deno.errors.NotFound)) throw error;
    }
  }
  const metrics = await metricsOf(endpoint);
  const residentBytes = Number(/^process_resident_memory_bytes (\d+)$/m.exec(metrics)![1]);
  return { seconds, diskBytes, residentBytes };
}

async function metricsOf(endpoint: string): Promise<string> {
  return await (await fetch(`${endpoint}/metrics`)).text();
}

/** When a follower lost its log, and when it had it back; 0 for not yet. */
interface Loss {
  fromMs: number;
  throughMs: number;
}

/** Reads a member's log until it ends. */
async function watch(
  node: number,
  child: Deno.ChildProcess,
  { takings, loss }: { readonly takings: Taking[]; readonly loss: Loss },
): Promise<void> {
  for await (const line of linesOf(child.stderr)) {
    const { time, level, event, ms } = JSON.parse(new TextDecoder().decode(line));
    if (level === "error") complain(`node ${node}: ${event}`);
    const throughMs = Date.parse(time) - performance.timeOrigin;
    if (event === "log-restored") loss.throughMs = throughMs;
    if (event !== "snapshot-taken") continue;
    takings.push({ node, fromMs: throughMs - ms, throughMs });
  }
}

function summaryOf(samples: readonly Sample[]): Record<string, number> {
  const mebibytes = (of: (sample: Sample) => number, part: readonly Sample[]): number =>
    Math.round(Math.max(...part.map(of)) / MEBIBYTE);
  const half = samples.slice(0, samples.length >> 1);
  const rest = samples.slice(samples.length >> 1);
  return {
    diskMaxFirstHalfMiB: mebibytes(({ diskBytes }) => diskBytes, half),
    diskMaxSecondHalfMiB: mebibytes(({ diskBytes }) => diskBytes, rest),
    residentMaxFirstHalfMiB: mebibytes(({ residentBytes }) => residentBytes, half),
    residentMaxSecondHalfMiB: mebibytes(({ residentBytes }) => residentBytes, rest),
  };
}

function latencyOf(histogram: LatencyHistogram): Record<string, number> {
  const ms = (us: number): number => Math.round(us / 10) / 100;
  return {
    puts: histogram.count,
    p50Ms: ms(histogram.percentileUs(0.5)),
    p99Ms: ms(histogram.percentileUs(0.99)),
    p999Ms: ms(histogram.percentileUs(0.999)),
    maxMs: ms(histogram.maxUs),
  };
}

/** Puts apart: those beside a snapshot of the leader, and the others. */
function apart(
  answers: readonly (readonly [nowMs: number, us: number])[],
  takings: readonly Taking[],
): { readonly beside: LatencyHistogram; readonly without: LatencyHistogram } {
  const [beside, without] = [new LatencyHistogram(), new LatencyHistogram()];
  const ordered = takings.toSorted((a, b) => a.fromMs - b.fromMs);
  let at = 0;
  for (const [nowMs, us] of answers) {
    while (at < ordered.length && ordered[at]!.throughMs < nowMs - us / 1000) at++;
    const isBeside = at < ordered.length && ordered[at]!.fromMs <= nowMs;
    (isBeside ? beside : without).record(us);
  }
  return { beside, without };
}

/** By how much the leader's log and its frames have shrunk where they were compressed, and how much was. */
function compressionIn(metrics: string): Record<string, unknown> {
  const sum = (name: string, of: string): number =>
    [...metrics.matchAll(
      RegExp(`^statecraft_compression_${name}_total\\{of="${of}".* (\\S+)$`, "gm"),
    )]
      .reduce((total, [, value]) => total + Number(value), 0);
  const facts = (of: string): Record<string, number> => ({
    mebibytes: Math.round(sum("plain_bytes", of) / MEBIBYTE),
    ratio: Math.round(100 * sum("plain_bytes", of) / sum("packed_bytes", of)) / 100 || 1,
    seconds: Math.round(100 * sum("seconds", of)) / 100,
  });
  return { log: facts("log"), frames: facts("frames") };
}

/** Puts a second in as long a time before the loss of a log, and until that was restored. */
function besideLoss(
  answers: readonly (readonly [nowMs: number, us: number])[],
  { fromMs, throughMs }: Loss,
): Record<string, unknown> {
  if (throughMs === 0) return { restored: false };
  const seconds = (throughMs - fromMs) / 1_000;
  const between = (from: number, through: number): number =>
    answers.filter(([nowMs]) => nowMs >= from && nowMs < through).length;
  const before = between(fromMs - 10_000, fromMs) / 10;
  const during = between(fromMs, throughMs) / seconds;
  return {
    ...{ restored: true, seconds, putsPerSecondBefore: Math.round(before) },
    ...{
      putsPerSecondDuring: Math.round(during),
      share: Math.round(1_000 * during / before) / 1_000,
    },
  };
}

function chartOf(
  title: string,
  series: readonly Sample[][],
  of: (sample: Sample) => number,
): Chart {
  return {
    title,
    unit: "MiB",
    lines: series.map((samples, at) => ({
      name: `node ${at + 1}`,
      points: samples.map((sample) => [sample.seconds / 60, of(sample) / MEBIBYTE] as const),
    })),
  };
}

async function measure(
  settings: Settings,
  { directory, children }: Workplace,
): Promise<void> {
  const number = (flag: string, byDefault: number, max: number): number =>
    numberSetting(flag, settings.text(flag) ?? String(byDefault), { min: 1, max });
  const durationMs = durationSetting("duration", settings.text("duration") ?? "2m");
  if (durationMs > DURATION_MS_MAX) throw new UsageError("--duration takes 24h at most");
  const connections = number("connections", 16, 1_000);
  const rate = settings.text("rate") === undefined ? undefined : number("rate", 0, 1_000_000);
  const put = statecraftPut({
    keys: number("keys", 50_000, 1_000_000),
    keyBytes: 16,
    valueBytes: number("value-size", 2_048, MEBIBYTE),
    content: contentSetting(settings.text("content") ?? "json"),
  });
  const cluster = startStatecraft(directory, freePorts(2 * NODES), {
    flags: [
      ...["--log-format", "json", "--log-level", "info"],
      ...["--snapshot-bytes", settings.text("snapshot-bytes") ?? String(64 * MEBIBYTE)],
      ...["--compression", settings.text("compression") ?? "adaptive"],
    ],
    stderr: "piped",
  });
  children.push(...cluster.children);
  const takings: Taking[] = [];
  const loss: Loss = { fromMs: 0, throughMs: 0 };
  const watches = cluster.children.map((child, at) => watch(at + 1, child, { takings, loss }));
  const endpoint = await leaderOf(cluster);
  const leader = 1 + cluster.endpoints.findIndex((each) => each.endsWith(`:${endpoint.port}`));
  await sendEachKey([endpoint], put);
  const startMs = performance.now();
  const series: Sample[][] = cluster.children.map(() => []);
  const sampling = setInterval(() => {
    const seconds = (performance.now() - startMs) / 1_000;
    cluster.endpoints.forEach((each, at) => {
      sampleOf(cluster.directories[at]!, each, seconds).then(
        (sample) => series[at]!.push(sample),
        (error) => complain(`statecraft growth: node ${at + 1}: ${error.message}`),
      );
    });
  }, SAMPLE_MS);
  const answers: [number, number][] = [];
  const loseLog = async (): Promise<void> => {
    const at = leader === NODES ? 0 : NODES - 1;
    await stopAll([cluster.children[at]!]);
    for (const part of ["wal", "snapshots"]) {
      await Deno.remove(`${cluster.directories[at]}/${part}`, { recursive: true });
    }
    loss.fromMs = performance.now();
    const child = cluster.restart(at);
    children.push(child);
    watches.push(watch(at + 1, child, { takings, loss }));
  };
  if (settings.isOn("lose-log")) setTimeout(() => void loseLog(), durationMs / 2);
  const result = await runLoad({
    ...{ endpoints: [endpoint], connections, durationMs, warmupMs: 0 },
    mix: [{ template: put, weight: 1 }],
    ...(rate === undefined ? {} : { ratePerSecond: rate }),
    onAnswer: (nowMs, us) => answers.push([nowMs, us]),
    onProgress: ({ elapsedMs, opsPerSecond, p99Us }) => {
      if (Math.round(elapsedMs / 1_000) % 10 !== 0) return;
      const now = series.flatMap((samples) => samples.at(-1) ?? []);
      complain(
        `${(elapsedMs / 1_000).toFixed(0)} s, ${opsPerSecond.toFixed(0)} puts/s, ` +
          `p99 ${(p99Us / 1_000).toFixed(1)} ms, MiB on disk ` +
          now.map(({ diskBytes }) => Math.round(diskBytes / MEBIBYTE)).join("/") +
          ", in memory " +
          now.map(({ residentBytes }) => Math.round(residentBytes / MEBIBYTE)).join("/"),
      );
    },
  });
  clearInterval(sampling);
  const compression = compressionIn(await metricsOf(cluster.endpoints[leader - 1]!));
  await stopAll(children);
  await Promise.all(watches);
  const { beside, without } = apart(answers, takings.filter(({ node }) => node === leader));
  const svg = settings.text("svg");
  if (svg !== undefined) {
    Deno.writeTextFileSync(
      svg,
      chartsToSvg("minutes", [
        chartOf("Bytes of each data directory", series, ({ diskBytes }) => diskBytes),
        chartOf("Resident memory of each member", series, ({ residentBytes }) => residentBytes),
      ]),
    );
  }
  print(
    JSON.stringify({
      ...{ seconds: durationMs / 1_000, putsPerSecond: Math.round(result.opsPerSecond) },
      errors: Object.fromEntries(result.errors),
      ...{ snapshots: takings.length, compression },
      ...(settings.isOn("lose-log") ? { logLost: besideLoss(answers, loss) } : {}),
      members: series.map(summaryOf),
      besideSnapshots: latencyOf(beside),
      withoutSnapshots: latencyOf(without),
    }) + "\n",
  );
}

if (import.meta.main) {
  await runMeasurement("growth", async (workplace) => {
    const settings = readSettings(Deno.args, flags, (name) => Deno.env.get(name));
    if (settings.isOn("help")) print(HELP);
    else await measure(settings, workplace);
  });
}
