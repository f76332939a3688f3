/**
 * The clients of a simulated cluster, their keys and their history.
 *
 * @module
 */
import type { GroupId } from "../../machines/raft_types.ts";
import { ClerkClient } from "./clerk_client.ts";
import type { SimCluster } from "./cluster.ts";
import { HttpClient } from "./http_client.ts";
import type { Operation } from "./history.ts";
import { SessionClient } from "./session_client.ts";
import type { SimClient } from "./sim_client.ts";

/** How clients behave. */
export interface WorkloadOptions {
  readonly group: GroupId;
  readonly clients: number;
  /** How many of them speak HTTP; those that are neither ask the Raft actors, with sessions. */
  readonly httpClients: number;
  /** How many are Clerks, on the clients' wire, which serves the first group. */
  readonly clerks: number;
  /** Operations a second of all clients together, if answers are prompt. */
  readonly operationsPerSecond: number;
  /** Keys in use at a time. */
  readonly keys: number;
  /** After so many operations a key is used no more, which keeps the checker's histories short. */
  readonly operationsPerKey: number;
  /** When an operation is given up. */
  readonly deadlineMs: number;
}

/** A usual workload. */
export const DEFAULT_WORKLOAD: WorkloadOptions = {
  group: 0,
  clients: 5,
  httpClients: 2,
  clerks: 1,
  operationsPerSecond: 50,
  keys: 3,
  operationsPerKey: 60,
  deadlineMs: 4_000,
};

/** All clients of a run. */
export class Workload {
  readonly history: Operation[] = [];
  readonly #cluster: SimCluster;
  readonly #options: WorkloadOptions;
  readonly #clients: readonly SimClient[];
  #keyUses = 0;
  #stopped = false;

  constructor(cluster: SimCluster, options: WorkloadOptions = DEFAULT_WORKLOAD) {
    this.#cluster = cluster;
    this.#options = options;
    const clerks = options.group === DEFAULT_WORKLOAD.group ? options.clerks : 0;
    this.#clients = Array.from(
      { length: options.clients },
      (_, number) =>
        number < options.httpClients
          ? new HttpClient(cluster, options, number, this)
          : number < options.httpClients + clerks
          ? new ClerkClient(cluster, options, number, this)
          : new SessionClient(cluster, options, number, this),
    );
  }

  /** Lets every client begin. */
  start(): void {
    for (const client of this.#clients) client.think();
  }

  /** No client begins another operation. */
  stop(): void {
    this.#stopped = true;
  }

  /** Whether clients may begin operations. */
  get running(): boolean {
    return !this.#stopped;
  }

  /** Operations under way. */
  get underWay(): number {
    return this.#clients.filter((client) => client.busy).length;
  }

  /** What the keys of the moment begin with, and how many there are. */
  get keys(): { readonly prefix: string; readonly count: number } {
    const { keys, operationsPerKey } = this.#options;
    const round = Math.floor(this.#keyUses / (keys * operationsPerKey));
    return { prefix: `k${round}.`, count: keys };
  }

  /** The key for the next operation. */
  nextKey(): string {
    const { prefix, count } = this.keys;
    this.#keyUses++;
    return `${prefix}${this.#cluster.dice.below(count)}`;
  }

  /** An operation surely had no effect and told its client nothing: it is not in the history. */
  forget(operation: Operation): void {
    this.history.splice(this.history.lastIndexOf(operation), 1);
  }
}
