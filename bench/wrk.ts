/**
 * `wrk` as load generator: takes about a quarter of the processor time per request that the one in
 * load_run.ts takes, which matters where the servers under test have the same two cores.
 *
 * @module
 */
import type { RequestTemplate } from "./load_client.ts";

/** What a run measured. */
export interface WrkResult {
  readonly opsPerSecond: number;
  readonly latency: { readonly percentileUs: (fraction: number) => number };
  /** Failed requests by kind. */
  readonly errors: ReadonlyMap<string, number>;
}

/** What a run does; one thread, closed loop. */
export interface WrkOptions {
  readonly endpoint: { readonly hostname: string; readonly port: number };
  readonly connections: number;
  readonly seconds: number;
  readonly template: RequestTemplate;
  /** Where to put the script. */
  readonly directory: string;
}

/** The percentiles that the script prints. */
const PERCENTILES = [50, 99];

/** Whether there is a `wrk` on the path. */
export async function hasWrk(): Promise<boolean> {
  try {
    // wrk prints its usage and fails.
    await new Deno.Command("wrk", { args: ["-v"], stdout: "null", stderr: "null" }).output();
    return true;
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return false;
    throw error;
  }
}

/** @throws {Error} If `wrk` fails or prints what this does not understand. */
export async function runWrk(options: WrkOptions): Promise<WrkResult> {
  const { endpoint, connections, seconds, template, directory } = options;
  const script = `${directory}/wrk.lua`;
  await Deno.writeTextFile(script, scriptOf(template));
  const url = `http://${endpoint.hostname}:${endpoint.port}`;
  const args = ["-t1", `-c${connections}`, `-d${seconds}s`, "-s", script, url];
  const { success, stdout, stderr } = await new Deno.Command("wrk", { args }).output();
  const text = new TextDecoder();
  const line = /^measured (.*)$/m.exec(text.decode(stdout))?.[1];
  if (!success || line === undefined) {
    throw new Error(`Cannot measure with wrk: ${text.decode(stderr).trim() || "no result"}`);
  }
  return resultOf(line.split(" ").map(Number));
}

/** Sends the template with its keys in random order, and prints what was measured as one line. */
function scriptOf({ bytes, keyAt, keys }: RequestTemplate): string {
  const text = (part: Uint8Array): string =>
    `"${Array.from(part, (byte) => `\\${String(byte).padStart(3, "0")}`).join("")}"`;
  const before = text(bytes.subarray(0, keyAt));
  const after = text(bytes.subarray(keyAt + keys[0]!.length));
  const percentiles = PERCENTILES.map((percent) => `latency:percentile(${percent})`).join(", ");
  return `local keys = {${keys.map(text).join(",")}}
math.randomseed(os.time())
request = function() return ${before} .. keys[math.random(#keys)] .. ${after} end
done = function(summary, latency)
  local e = summary.errors
  print("\\nmeasured " .. table.concat({ summary.requests, summary.duration, ${percentiles},
    e.status, e.connect + e.read + e.write + e.timeout }, " "))
end
`;
}

function resultOf(numbers: readonly number[]): WrkResult {
  const [requests, durationUs, ...rest] = numbers as [number, number, ...number[]];
  const latencies = new Map(PERCENTILES.map((percent, at) => [percent / 100, rest[at]!]));
  const [refused, broken] = rest.slice(PERCENTILES.length) as [number, number];
  const errors = new Map<string, number>();
  if (refused > 0) errors.set("http error", refused);
  if (broken > 0) errors.set("connection error", broken);
  return {
    opsPerSecond: (requests - refused) / (durationUs / 1_000_000),
    latency: { percentileUs: (fraction) => latencies.get(fraction)! },
    errors,
  };
}
