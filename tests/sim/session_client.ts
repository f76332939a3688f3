/**
 * A client that asks the Raft actors: reads and writes with a session, retried on other nodes with
 * the same sequence, and given up as unknown when their time is over.
 *
 * @module
 */
import type { KvAnswer, KvGroup } from "../../actors/group.ts";
import type { NodeId } from "../../machines/raft_types.ts";
import { type Command, encodeCommand } from "../../storage/kv/command.ts";
import type { Once } from "../../storage/kv/once.ts";
import { commandOf } from "../storage/kv/command_of.ts";
import type { SimCluster } from "./cluster.ts";
import type { Operation } from "./history.ts";
import { ATTEMPT_MS, CLIENT_DELAY_MS, SimClient } from "./sim_client.ts";
import type { Workload, WorkloadOptions } from "./workload.ts";

const encoder = new TextEncoder();
const decoder = new TextDecoder();

/** See the module. */
export class SessionClient extends SimClient {
  /** Counts the sessions: one that expired, or was never begun, is replaced. */
  #generation = 0;
  #sequence = 0;
  #target: NodeId;

  constructor(cluster: SimCluster, options: WorkloadOptions, number: number, workload: Workload) {
    super(cluster, options, number, workload);
    this.#target = cluster.dice.pick(cluster.ids);
  }

  protected override perform(operation: Operation): void {
    if (operation.type === "get") this.#read(operation);
    else this.#write(operation);
  }

  #write(operation: Operation): void {
    const { group } = this.options;
    const clientId = `${this.name}-${this.#generation}`;
    const sequence = ++this.#sequence;
    const once = { type: "session", clientId, sequence } as const;
    const payload = encodeCommand(requestOf(operation, once));
    this.workload.history.push(operation);
    let attempts = 0;
    const attempt = (): void => {
      if (this.isLate(operation)) return this.end(operation);
      attempts++;
      this.#ask({ type: "Propose", payload }, (answer) => {
        if (answer === undefined) return this.later(attempt);
        if (answer.status === "refused") {
          this.#follow(answer.leader);
          return this.later(attempt);
        }
        if (answer.status === "not-applied" || answer.status === "unknown") {
          return this.later(attempt);
        }
        if (answer.status === "session-expired") {
          // An earlier attempt may have been the one that took effect, long ago.
          this.#generation++;
          this.#sequence = 0;
          if (attempts === 1) this.workload.forget(operation);
          return this.end(operation);
        }
        operation.returnMs = this.cluster.loop.nowMs;
        if (answer.status === "ok" && answer.succeeded) {
          operation.result = { ok: true, revision: answer.revision };
          this.revisions.set(operation.key, answer.revision);
          this.cluster.tell({ type: "ack", group, once: `${clientId}#${sequence}` });
        } else if (answer.status === "ok") {
          operation.result = { ok: false, revision: answer.presentRevision };
          this.revisions.set(operation.key, answer.presentRevision);
        } else this.workload.forget(operation);
        this.end(operation);
      });
    };
    attempt();
  }

  #read(operation: Operation): void {
    // Reads go to any node: a follower asks the leader for a read index.
    this.#target = this.cluster.dice.pick(this.cluster.ids);
    const attempt = (): void => {
      if (this.isLate(operation)) return this.end(operation);
      const { group } = this.options;
      const committed = this.cluster.committed(group);
      const node = this.#target;
      this.#ask({ type: "ReadBarrier" }, (answer, host) => {
        if (answer?.status !== "ready") {
          this.#target = this.cluster.dice.pick(this.cluster.ids);
          return this.later(attempt);
        }
        const applied = host.machine.lastApplied;
        this.cluster.tell({ type: "read", node, group, committed, applied });
        const entry = host.machine.get(operation.key);
        operation.returnMs = this.cluster.loop.nowMs;
        operation.result = entry === undefined
          ? { value: undefined, revision: 0 }
          : { value: decoder.decode(entry.value), revision: entry.revision };
        this.revisions.set(operation.key, entry?.revision ?? 0);
        this.workload.history.push(operation);
        this.end(operation);
      });
    };
    attempt();
  }

  /** One attempt; `done` gets no answer if the node is down, or silent for ATTEMPT_MS. */
  #ask(
    message: Parameters<KvGroup["raft"]["ask"]>[0],
    done: (answer: KvAnswer | undefined, host: KvGroup) => void,
  ): void {
    const { loop, dice } = this.cluster;
    const node = this.cluster.node(this.#target);
    const { life } = node;
    const host = this.cluster.host(this.#target, this.options.group);
    let over = false;
    const finish = (answer: KvAnswer | undefined): void => {
      if (over) return;
      over = true;
      cancel();
      if (answer === undefined) this.#target = dice.pick(this.cluster.ids);
      done(answer, host!);
    };
    const cancel = loop.after(ATTEMPT_MS, () => finish(undefined));
    if (life === undefined || host === undefined) return;
    life.after(CLIENT_DELAY_MS, () => {
      host.raft.ask(message, { timeoutMs: 2 * ATTEMPT_MS }, (outcome) => {
        // The value is read in the node's own turn; the answer then travels.
        if (message.type === "ReadBarrier") finish(outcome.ok ? outcome.value : undefined);
        else {
          const answer = outcome.ok ? outcome.value : undefined;
          loop.after(CLIENT_DELAY_MS, () => finish(answer));
        }
      });
    });
  }

  #follow(leader: NodeId): void {
    this.#target = leader === 0 ? this.cluster.dice.pick(this.cluster.ids) : leader;
  }
}

function requestOf(operation: Operation, once: Once): Command {
  const { key, type } = operation;
  if (type === "delete") return commandOf({ type, key }, { once });
  const value = encoder.encode(operation.value);
  if (type === "append" || type === "put") return commandOf({ type, key, value }, { once });
  const { expected = 0 } = operation;
  const compare = { key, target: "revision", operator: "==", operand: expected } as const;
  return commandOf({ type: "put", key, value }, { compares: [compare], once });
}
