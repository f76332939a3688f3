/**
 * Clusters that a measurement starts as processes on this machine, in a temporary directory.
 *
 * @module
 */
import { nodeCommand } from "../cli/dev.ts";
import { complain, EXIT, UsageError } from "../cli/usage.ts";

/** Members of a cluster under test. */
export const NODES = 3;
const START_MS_MAX = 60_000;

/** A cluster of processes. */
export interface LocalCluster {
  readonly name: string;
  readonly children: readonly Deno.ChildProcess[];
  /** Where the leader answers HTTP; undefined while there is none. */
  readonly leader: () => Promise<string | undefined>;
}

/** A cluster of Statecraft, whose members can be started one by one. */
export interface StatecraftCluster extends LocalCluster {
  /** Where each member answers HTTP. */
  readonly endpoints: readonly string[];
  /** Each member's data directory. */
  readonly directories: readonly string[];
  /** Starts a member again, in place of the one before. */
  restart(at: number): Deno.ChildProcess;
}

/** Starts three members; `ports` are their Raft and then their HTTP ports. */
export function startStatecraft(
  directory: string,
  ports: readonly number[],
  { flags = ["--log-level", "error"], stderr = "inherit" }: {
    readonly flags?: readonly string[];
    readonly stderr?: "inherit" | "piped";
  } = {},
): StatecraftCluster {
  const list = (value: (at: number) => string): string =>
    Array.from({ length: NODES }, (_, at) => `${at + 1}=${value(at)}`).join();
  const endpoints = ports.slice(NODES).map((port) => `http://127.0.0.1:${port}`);
  const directories = endpoints.map((_, at) => `${directory}/statecraft-${at + 1}`);
  const start = (endpoint: string, at: number): Deno.ChildProcess =>
    nodeCommand([
      ...["--id", String(at + 1), "--data", directories[at]!],
      ...["--peers", list((at) => `127.0.0.1:${ports[at]}`)],
      ...["--http", endpoint.slice("http://".length), "--http-peers", list((at) => endpoints[at]!)],
      ...flags,
    ], { stderr }).spawn();
  const children = endpoints.map(start);
  return {
    name: "statecraft",
    ...{ children, endpoints, directories },
    restart: (at) => children[at] = start(endpoints[at]!, at),
    leader: async () => {
      for (const endpoint of endpoints) {
        const status = await ask(`${endpoint}/v1/cluster`, {});
        const id = status?.["leader"];
        if (typeof id === "number") return endpoints[id - 1];
      }
      return undefined;
    },
  };
}

/** What a member says, if it is JSON and comes in time. */
export async function ask(
  url: string,
  init: RequestInit,
): Promise<Record<string, unknown> | undefined> {
  try {
    const response = await fetch(url, { ...init, signal: AbortSignal.timeout(1_000) });
    return await response.json();
  } catch {
    return undefined;
  }
}

/** The address of the leader, once there is one. */
export async function leaderOf(
  { name, leader }: LocalCluster,
): Promise<{ hostname: string; port: number }> {
  const deadlineMs = performance.now() + START_MS_MAX;
  while (performance.now() < deadlineMs) {
    const endpoint = await leader();
    if (endpoint !== undefined) {
      const { hostname, port } = new URL(endpoint);
      return { hostname, port: Number(port) };
    }
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  throw new Error(`Cannot measure ${name}: it has no leader after ${START_MS_MAX} ms`);
}

/** Ports that nobody listens on now. */
export function freePorts(count: number): number[] {
  const listeners = Array.from(
    { length: count },
    () => Deno.listen({ hostname: "127.0.0.1", port: 0 }),
  );
  const ports = listeners.map(({ addr }) => addr.port);
  for (const listener of listeners) listener.close();
  return ports;
}

/** Ends processes at once. */
export async function stopAll(children: readonly Deno.ChildProcess[]): Promise<void> {
  for (const child of children) {
    try {
      child.kill("SIGKILL");
    } catch {
      // It has ended already.
    }
  }
  await Promise.all(children.map((child) => child.status));
}

/** Where a measurement keeps its files, and the processes that it has started. */
export interface Workplace {
  readonly directory: string;
  readonly children: Deno.ChildProcess[];
}

/**
 * Runs a measurement and ends this process: whatever happens, its processes are ended and its files
 * removed. Nodes are in process groups of their own, and would outlive this one.
 */
export async function runMeasurement(
  name: string,
  measure: (workplace: Workplace) => Promise<void>,
): Promise<never> {
  const directory = await Deno.makeTempDir();
  const children: Deno.ChildProcess[] = [];
  const end = async (code: number): Promise<never> => {
    await stopAll(children);
    await Deno.remove(directory, { recursive: true });
    Deno.exit(code);
  };
  for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) {
    Deno.addSignalListener(signal, () => void end(EXIT.failure));
  }
  try {
    await measure({ directory, children });
    return await end(EXIT.ok);
  } catch (error) {
    complain(`statecraft ${name}: ${(error as Error).message}`);
    return await end(error instanceof UsageError ? EXIT.usage : EXIT.failure);
  }
}
