/**
 * A client that is the shipping Clerk, on the clients' wire, over the simulated network: its chart, its
 * links and its places in sessions under the same faults as the nodes. It believes what an error says of a
 * write, so that one which is wrong shows in the history.
 *
 * @module
 */
import { WireLink } from "../../actors/clerk_wire.ts";
import {
  Clerk,
  ClerkError,
  OutcomeUnknownError,
  PreconditionFailedError,
  UnavailableError,
} from "../../actors/clerk.ts";
import type { SimCluster } from "./cluster.ts";
import { ProcessLife } from "./event_loop.ts";
import type { Operation } from "./history.ts";
import { CLIENT_NODE_MIN, SimNetwork } from "./network.ts";
import { SimClient } from "./sim_client.ts";
import type { Workload, WorkloadOptions } from "./workload.ts";

/** See the module. */
export class ClerkClient extends SimClient {
  readonly #kv: Clerk;

  constructor(cluster: SimCluster, options: WorkloadOptions, number: number, workload: Workload) {
    super(cluster, options, number, workload);
    const life = new ProcessLife(cluster.loop, cluster.dice, { rate: 1 }, () => {});
    const { ports } = life;
    this.#kv = new Clerk({
      link: new WireLink(cluster.ids.map((id) => SimNetwork.addressOf(id)), {
        network: cluster.network.of(CLIENT_NODE_MIN + number, life),
        ports,
      }),
      ports,
      timeoutMs: options.deadlineMs,
    });
  }

  protected override perform(operation: Operation): void {
    const answered = this.cluster.awaitPromise();
    const isRead = operation.type === "get";
    if (!isRead) this.workload.history.push(operation);
    const work = isRead ? this.#read(operation) : this.#write(operation);
    work.catch((error) => {
      if (!(error instanceof ClerkError)) this.cluster.failures.push({ node: 0, error });
    }).finally(() => {
      answered();
      this.end(operation);
    });
  }

  async #read(operation: Operation): Promise<void> {
    const entry = await this.#kv.get(operation.key);
    operation.returnMs = this.cluster.loop.nowMs;
    operation.result = { value: entry?.text(), revision: entry?.revision ?? 0 };
    this.revisions.set(operation.key, entry?.revision ?? 0);
    this.workload.history.push(operation);
  }

  async #write(operation: Operation): Promise<void> {
    try {
      this.#wrote(operation, { ok: true, revision: await this.#ask(operation) });
    } catch (error) {
      if (error instanceof PreconditionFailedError) {
        this.#wrote(operation, { ok: false, revision: error.revision });
      } else if (error instanceof UnavailableError) this.workload.forget(operation);
      else if (!(error instanceof OutcomeUnknownError)) throw surprise(error);
    }
  }

  #wrote(operation: Operation, result: { readonly ok: boolean; readonly revision: number }): void {
    operation.returnMs = this.cluster.loop.nowMs;
    operation.result = result;
    this.revisions.set(operation.key, result.revision);
  }

  /** The revision that the write has made. */
  async #ask({ type, key, value = "", expected }: Operation): Promise<number> {
    switch (type) {
      case "put":
        return (await this.#kv.put(key, value)).revision;
      case "append":
        return (await this.#kv.append(key, value)).revision;
      case "cas": {
        const condition = expected === 0 ? { ifAbsent: true } : { ifRevision: expected! };
        return (await this.#kv.put(key, value, condition)).revision;
      }
      default:
        return (await this.#kv.transact({ success: [{ delete: { key } }] })).revision;
    }
  }
}

/** Not an error of the Clerk's, so that the run fails. */
function surprise(error: unknown): Error {
  return new Error(`a Clerk did not expect ${error}`);
}
