/**
 * Real nodes as child processes on free ports and a temporary directory; every one of them is ended
 * by its process id.
 *
 * @module
 */
import { freePorts } from "../../bench/local_cluster.ts";
import { nodeCommand, nodeWords } from "../../cli/dev.ts";
import type { ClusterStatus } from "../../transport/http/gateway_port.ts";

/** How long anything may take before a test gives up: far beyond what a busy machine needs. */
export const PATIENCE_MS = 60_000;
const POLL_MS = 20;
const REQUEST_MS_MAX = 8_000;

/** How a process ended. */
export interface Ended {
  readonly code: number;
  readonly signal: Deno.Signal | null;
  readonly stderr: string;
}

/** How a node is started. */
export interface StartOptions {
  /** File descriptors that it may have open; default: as many as we may. */
  readonly descriptorsMax?: number;
  /** What runs it; default this build. */
  readonly script?: string;
  /** More flags. */
  readonly flags?: readonly string[];
  /**
   * How it comes to its cluster: `peers` names all nodes, the default; `single` founds one of its own;
   * `join` asks those that run; `known` leaves it to the directory.
   */
  readonly by?: "peers" | "single" | "join" | "known";
}

/** A running node. */
export class RealNode {
  readonly id: number;
  readonly http: string;
  readonly #child: Deno.ChildProcess;
  readonly #ended: Promise<Ended>;
  #stderr = "";

  constructor(id: number, http: string, args: readonly string[], options: StartOptions = {}) {
    const { descriptorsMax, script } = options;
    this.id = id;
    this.http = http;
    const command = descriptorsMax === undefined
      ? nodeCommand(args, { stderr: "piped", ...(script === undefined ? {} : { script }) })
      : new Deno.Command("sh", {
        args: ["-c", `ulimit -n ${descriptorsMax} && exec "$@"`, "sh", ...nodeWords(args)],
        stdin: "null",
        stdout: "null",
        stderr: "piped",
      });
    this.#child = command.spawn();
    this.#ended = this.#watch();
  }

  /** What the process has written to stderr so far. */
  get stderr(): string {
    return this.#stderr;
  }

  /** Resolves when the process has ended and all that it wrote was read. */
  get ended(): Promise<Ended> {
    return this.#ended;
  }

  /** Sends a signal; nothing happens if the process has ended. */
  signal(signal: Deno.Signal): void {
    try {
      this.#child.kill(signal);
    } catch (error) {
      if (!(error instanceof TypeError)) throw error;
    }
  }

  /** Ends the process at once and waits for that. */
  async kill(): Promise<Ended> {
    this.signal("SIGKILL");
    return await this.#ended;
  }

  /** The node's view of its cluster; undefined if it does not answer. */
  async status(): Promise<ClusterStatus | undefined> {
    try {
      const signal = AbortSignal.timeout(REQUEST_MS_MAX);
      const response = await fetch(`${this.http}/v1/cluster`, { signal });
      return await response.json();
    } catch {
      return undefined;
    }
  }

  async #watch(): Promise<Ended> {
    const decoder = new TextDecoder();
    for await (const chunk of this.#child.stderr) {
      this.#stderr += decoder.decode(chunk, { stream: true });
    }
    const { code, signal } = await this.#child.status;
    return { code, signal, stderr: this.#stderr };
  }
}

/** Members of one cluster, each a process that can be killed and started again. */
export class RealCluster implements AsyncDisposable {
  readonly directory: string;
  readonly ids: readonly number[];
  readonly #raftPorts: number[];
  readonly #httpPorts: readonly number[];
  readonly #nodes = new Map<number, RealNode>();

  /** A cluster of `size` nodes, none of which runs yet. */
  constructor(size: number) {
    this.directory = Deno.makeTempDirSync();
    this.ids = Array.from({ length: size }, (_, offset) => offset + 1);
    const ports = freePorts(2 * size);
    this.#raftPorts = ports.slice(0, size);
    this.#httpPorts = ports.slice(size);
  }

  /** Where every node is or would be reached. */
  get endpoints(): string[] {
    return this.#httpPorts.map((port) => `http://127.0.0.1:${port}`);
  }

  /** Running nodes. */
  get nodes(): RealNode[] {
    return [...this.#nodes.values()];
  }

  /** The Raft port of a node. */
  raftPort(id: number): number {
    return this.#raftPorts[id - 1]!;
  }

  /** A node that runs. */
  node(id: number): RealNode {
    return this.#nodes.get(id)!;
  }

  /** The command line of a node. */
  args(id: number, by: StartOptions["by"] = "peers"): string[] {
    const list = (values: readonly (number | string)[]): string =>
      values.map((value, offset) => `${offset + 1}=${value}`).join();
    const own = ["--id", String(id), "--data", `${this.directory}/node-${id}`];
    const http = ["--http", this.endpoints[id - 1]!.slice("http://".length)];
    if (by === "peers") {
      return [
        ...own,
        ...["--peers", list(this.#raftPorts.map((port) => `127.0.0.1:${port}`))],
        ...http,
        ...["--http-peers", list(this.endpoints)],
      ];
    }
    const running = this.nodes.filter((node) => node.id !== id).map(({ http }) => http);
    return [
      ...own,
      ...http,
      ...["--listen", `127.0.0.1:${this.raftPort(id)}`],
      ...(by === "single" ? ["--single"] : by === "join" ? ["--join", running.join()] : []),
    ];
  }

  /** Has a node listen elsewhere from its next start on. */
  moveRaftPort(id: number): number {
    const [port] = freePorts(1);
    this.#raftPorts[id - 1] = port!;
    return port!;
  }

  /** Ends a node at once, and takes its disk away. */
  async wipe(id: number): Promise<void> {
    await this.kill(id);
    await Deno.remove(`${this.directory}/node-${id}`, { recursive: true });
  }

  /** A node has ended, or is about to, by itself or by a signal. */
  async leave(id: number): Promise<Ended> {
    const node = this.node(id);
    this.#nodes.delete(id);
    return await node.ended;
  }

  /** Starts a node that does not run. */
  start(id: number, options: StartOptions = {}): RealNode {
    const words = [...this.args(id, options.by), ...options.flags ?? []];
    const node = new RealNode(id, this.endpoints[id - 1]!, words, options);
    this.#nodes.set(id, node);
    return node;
  }

  /** Starts every node that does not run. */
  startAll(): void {
    for (const id of this.ids) if (!this.#nodes.has(id)) this.start(id);
  }

  /** Ends a node at once, as a power switch would. */
  async kill(id: number): Promise<void> {
    const node = this.#nodes.get(id);
    this.#nodes.delete(id);
    await node?.kill();
  }

  /** A node that leads in the highest term that any node knows, once there is one. */
  async leader(): Promise<RealNode> {
    return await eventually("a leader", async () => {
      const answers = await Promise.all(
        this.nodes.map(async (node) => ({ node, status: await node.status() })),
      );
      const term = Math.max(...answers.map(({ status }) => status?.term ?? 0));
      return answers.find(({ status }) => status?.role === "leader" && status.term === term)?.node;
    }, () => this.#stories());
  }

  /** Resolves once every node has applied the same log, and throws if they came to differ. */
  async agree(): Promise<void> {
    await eventually("agreement", async () => {
      const all = await Promise.all(this.nodes.map((node) => node.status()));
      const [first] = all;
      const isSame = all.every((status) =>
        status !== undefined && status.appliedIndex === first?.appliedIndex &&
        status.lastLogIndex === status.appliedIndex
      );
      if (!isSame) return undefined;
      const hashes = new Set(all.map((status) => status?.stateHash));
      if (hashes.size > 1) throw new Error(`Cannot agree: state hashes ${[...hashes].join(", ")}`);
      return true;
    }, () => this.#stories());
  }

  /** Ends what runs and removes what was written. */
  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all(this.nodes.map((node) => node.kill()));
    await Deno.remove(this.directory, { recursive: true });
  }

  #stories(): string {
    return this.nodes.map(({ id, stderr }) => `node ${id}:\n${stderr.slice(-2_000)}`).join("\n");
  }
}

/** Polls until there is a value; throws after {@linkcode PATIENCE_MS}, with what `story` knows. */
export async function eventually<Value>(
  what: string,
  probe: () => Promise<Value | undefined> | Value | undefined,
  story: () => string = () => "",
): Promise<Value> {
  const deadlineMs = performance.now() + PATIENCE_MS;
  for (;;) {
    const value = await probe();
    if (value !== undefined) return value;
    if (performance.now() > deadlineMs) {
      throw new Error(`Cannot see ${what} within ${PATIENCE_MS} ms\n${story()}`);
    }
    await new Promise((resolve) => setTimeout(resolve, POLL_MS));
  }
}

/** A request that is repeated until a node answers it with success; the answer's text. */
export async function persist(
  endpoints: readonly string[],
  path: string,
  init: RequestInit & { readonly onAttempt?: (startMs: number) => void },
): Promise<string> {
  let turn = Math.abs(hash(path));
  return await eventually(`an answer to ${init.method ?? "GET"} ${path}`, async () => {
    const endpoint = endpoints[turn++ % endpoints.length]!;
    const startMs = performance.now();
    try {
      const signal = AbortSignal.timeout(REQUEST_MS_MAX);
      const response = await fetch(endpoint + path, { ...init, signal });
      const text = await response.text();
      if (response.ok) {
        init.onAttempt?.(startMs);
        return text;
      }
      if (response.status < 429) throw new Refused(`${response.status} ${text}`);
      return undefined;
    } catch (error) {
      if (error instanceof Refused) throw error;
      return undefined;
    }
  });
}

/** An answer that no repetition changes. */
class Refused extends Error {
  override readonly name = "Refused";
}

function hash(text: string): number {
  let sum = 0;
  for (const unit of text) sum = (sum * 31 + unit.codePointAt(0)!) | 0;
  return sum;
}
