/**
 * One measured run of the load generator: many connections, one mix of requests, one histogram.
 *
 * Closed loop: each connection sends its next request when the last was answered, and latency is
 * from sending to the end of the answer. Open loop: requests are due at a fixed rate whether or not
 * the server keeps up, and latency is counted from when a request was due, so that a stall shows
 * in every request that it delayed. Timers make the open loop up to about 1 ms late.
 *
 * @module
 */
import { LoadConnection, type RequestTemplate } from "./load_client.ts";
import { LatencyHistogram } from "./load_histogram.ts";

/** Pause before a lost connection is dialled again. */
const RECONNECT_PAUSE_MS = 100;
/** Requests that may be due and unsent in the open loop; more are counted as errors. */
const BACKLOG_MAX = 100_000;

/** Connections that write the keys before a run that reads. */
const EACH_KEY_CONNECTIONS = 64;

/** What a run does. */
export interface LoadOptions {
  /** Connections are spread over these in turn. */
  readonly endpoints: readonly { readonly hostname: string; readonly port: number }[];
  readonly connections: number;
  readonly durationMs: number;
  /** Time at the start that is not counted. */
  readonly warmupMs: number;
  /** Opens a connection, or what stands for one; default HTTP at one of the endpoints. */
  readonly open?: (at: number) => Promise<LoadLine>;
  /** Requests per second for the open loop; absent: closed loop. */
  readonly ratePerSecond?: number;
  /** What is sent, each as often as its weight says. */
  readonly mix: readonly { readonly template: RequestTemplate; readonly weight: number }[];
  /** Called with each request that was answered well: when, and how long it took. */
  readonly onAnswer?: (nowMs: number, us: number) => void;
  /** Called about every second. */
  readonly onProgress?: (progress: LoadProgress) => void;
}

/** A way on which one request is under way at a time. */
export type LoadLine = Pick<LoadConnection, "request" | "close">;

/** How far a run is. */
export interface LoadProgress {
  readonly elapsedMs: number;
  /** Answers per second since the last call. */
  readonly opsPerSecond: number;
  readonly p99Us: number;
  readonly errors: number;
}

/** What a run measured. */
export interface LoadResult {
  readonly opsPerSecond: number;
  readonly operations: number;
  readonly latency: LatencyHistogram;
  /** Failed requests by kind, such as "http 503". */
  readonly errors: ReadonlyMap<string, number>;
}

/** Runs and resolves when every connection is closed. */
export async function runLoad(options: LoadOptions): Promise<LoadResult> {
  return await new LoadRun(options).run();
}

/**
 * Sends the template once with each of its keys, before a run that reads them.
 *
 * @throws {Error} If a request fails.
 */
export async function sendEachKey(
  endpoints: LoadOptions["endpoints"],
  template: RequestTemplate,
  open: LoadOptions["open"] = (at) => LoadConnection.open(endpoints[at % endpoints.length]!),
): Promise<void> {
  let next = 0;
  const workers = Array.from({ length: EACH_KEY_CONNECTIONS }, async (_, at) => {
    const connection = await open(at);
    try {
      for (let key = next++; key < template.keys.length; key = next++) {
        const status = await connection.request(template, key);
        if (status >= 400) throw new Error(`Cannot write key ${key}: http ${status}`);
      }
    } finally {
      connection.close();
    }
  });
  await Promise.all(workers);
}

class LoadRun {
  readonly #options: LoadOptions;
  readonly #errors = new Map<string, number>();
  readonly #latency = new LatencyHistogram();
  #recent = new LatencyHistogram();
  #startMs = 0;
  #countFromMs = 0;
  #endMs = 0;
  /** Open loop: when due requests were due, and the connections that wait for one. */
  readonly #due: number[] = [];
  readonly #idle: (() => void)[] = [];

  constructor(options: LoadOptions) {
    this.#options = options;
  }

  async run(): Promise<LoadResult> {
    const { connections, durationMs, warmupMs, ratePerSecond } = this.#options;
    this.#startMs = performance.now();
    this.#countFromMs = this.#startMs + warmupMs;
    this.#endMs = this.#countFromMs + durationMs;
    const progress = this.#report();
    const workers = Array.from({ length: connections }, (_, at) => this.#work(at));
    if (ratePerSecond !== undefined) await this.#pace(ratePerSecond);
    await Promise.all(workers);
    clearInterval(progress);
    const operations = this.#latency.count;
    return {
      operations,
      opsPerSecond: operations / (durationMs / 1_000),
      latency: this.#latency,
      errors: this.#errors,
    };
  }

  /** One connection's life, dialled again when it is lost. */
  async #work(at: number): Promise<void> {
    const { endpoints, open } = this.#options;
    const address = endpoints[at % endpoints.length]!;
    while (performance.now() < this.#endMs) {
      let connection: LoadLine | undefined;
      try {
        connection = await (open?.(at) ?? LoadConnection.open(address));
        await this.#send(connection);
      } catch (error) {
        this.#failed(connection === undefined ? "connect failed" : (error as Error).message);
        await new Promise((resolve) => setTimeout(resolve, RECONNECT_PAUSE_MS));
      } finally {
        connection?.close();
      }
    }
  }

  async #send(connection: LoadLine): Promise<void> {
    const { ratePerSecond, onAnswer } = this.#options;
    for (;;) {
      let fromMs = performance.now();
      if (ratePerSecond !== undefined) {
        while (this.#due.length === 0 && performance.now() < this.#endMs) {
          await new Promise<void>((resolve) => this.#idle.push(resolve));
        }
        fromMs = this.#due.shift() ?? Infinity;
      }
      if (fromMs >= this.#endMs) return;
      const template = this.#draw();
      const key = Math.floor(Math.random() * template.keys.length);
      const status = await connection.request(template, key);
      const nowMs = performance.now();
      if (nowMs > this.#endMs || nowMs < this.#countFromMs) continue;
      if (status >= 400) this.#failed(`http ${status}`);
      else {
        const us = (nowMs - fromMs) * 1_000;
        this.#latency.record(us);
        this.#recent.record(us);
        onAnswer?.(nowMs, us);
      }
    }
  }

  /** Open loop: makes requests due, and wakes connections for them. */
  async #pace(ratePerSecond: number): Promise<void> {
    for (let made = 0;;) {
      const nowMs = performance.now();
      if (nowMs >= this.#endMs) break;
      const owed = Math.floor((nowMs - this.#startMs) * ratePerSecond / 1_000);
      for (; made < owed; made++) {
        if (this.#due.length >= BACKLOG_MAX) this.#failed("backlog full");
        else this.#due.push(this.#startMs + made * 1_000 / ratePerSecond);
        this.#idle.pop()?.();
      }
      await new Promise((resolve) => setTimeout(resolve, 1));
    }
    for (const wake of this.#idle.splice(0)) wake();
  }

  #draw(): RequestTemplate {
    const { mix } = this.#options;
    let left = Math.random() * mix.reduce((sum, { weight }) => sum + weight, 0);
    for (const { template, weight } of mix) {
      left -= weight;
      if (left < 0) return template;
    }
    return mix.at(-1)!.template;
  }

  #failed(kind: string): void {
    this.#errors.set(kind, (this.#errors.get(kind) ?? 0) + 1);
  }

  #report(): ReturnType<typeof setInterval> | undefined {
    const { onProgress } = this.#options;
    if (onProgress === undefined) return undefined;
    let lastMs = this.#startMs;
    return setInterval(() => {
      const nowMs = performance.now();
      const recent = this.#recent;
      this.#recent = new LatencyHistogram();
      onProgress({
        elapsedMs: nowMs - this.#startMs,
        opsPerSecond: recent.count / ((nowMs - lastMs) / 1_000),
        p99Us: recent.percentileUs(0.99),
        errors: [...this.#errors.values()].reduce((sum, count) => sum + count, 0),
      });
      lastMs = nowMs;
    }, 1_000);
  }
}
