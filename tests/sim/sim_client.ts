/**
 * What all simulated clients do alike: one operation at a time, drawn from the same mixture, told to
 * the play, and a pause before the next.
 *
 * @module
 */
import type { SimCluster } from "./cluster.ts";
import type { Operation } from "./history.ts";
import { describeBegin, describeEnd } from "./play.ts";
import type { Workload, WorkloadOptions } from "./workload.ts";

/** One attempt waits this long for its answer before another node is asked. */
export const ATTEMPT_MS = 600;
/** Mean pause before the next attempt. */
const RETRY_PAUSE_MS = 30;
/** One-way time between a client and a node. */
export const CLIENT_DELAY_MS = 0.2;

/** One client; how it asks is its own. */
export abstract class SimClient {
  /** Whether an operation is under way. */
  busy = false;
  /** Last revision seen of each key, to compare-and-set against. */
  protected readonly revisions = new Map<string, number>();
  protected readonly cluster: SimCluster;
  protected readonly options: WorkloadOptions;
  protected readonly workload: Workload;
  protected readonly name: string;
  /** Counts the operations. */
  protected tokens = 0;

  constructor(cluster: SimCluster, options: WorkloadOptions, number: number, workload: Workload) {
    this.cluster = cluster;
    this.options = options;
    this.workload = workload;
    this.name = `c${number}`;
  }

  /** Waits, then begins the next operation. */
  think(): void {
    const { clients, operationsPerSecond } = this.options;
    const meanMs = 1000 * clients / operationsPerSecond;
    this.cluster.loop.after(this.cluster.dice.exponential(meanMs), () => {
      if (this.workload.running) this.#begin();
    });
  }

  /** Does an operation and calls `end`. */
  protected abstract perform(operation: Operation): void;

  protected isLate({ invokeMs }: Operation): boolean {
    return this.cluster.loop.nowMs >= invokeMs + this.options.deadlineMs;
  }

  /** Tries again after a pause. */
  protected later(attempt: () => void): void {
    this.cluster.loop.after(RETRY_PAUSE_MS * this.cluster.dice.between(0.5, 1.5), attempt);
  }

  protected end(operation: Operation): void {
    this.cluster.say(() => describeEnd(operation));
    this.busy = false;
    this.think();
  }

  #begin(): void {
    this.busy = true;
    const key = this.workload.nextKey();
    const operation = this.#draw(key, `${this.name}n${++this.tokens};`);
    this.cluster.say(() => describeBegin(operation));
    this.perform(operation);
  }

  /** Two operations of five read, the others write in every way there is; a text is found nowhere else. */
  #draw(key: string, text: string): Operation {
    const base = { client: this.name, key, invokeMs: this.cluster.loop.nowMs };
    const open = { returnMs: undefined, result: undefined };
    const draw = this.cluster.dice.next();
    if (draw < 0.4) return { ...base, type: "get", ...open };
    if (draw < 0.6) return { ...base, type: "put", value: text, ...open };
    if (draw < 0.85) return { ...base, type: "append", value: text, ...open };
    const expected = this.revisions.get(key) ?? 0;
    if (draw < 0.95) return { ...base, type: "cas", value: text, expected, ...open };
    return { ...base, type: "delete", ...open };
  }
}
