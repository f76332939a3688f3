/**
 * A client of the course's key-value lab: it repeats each operation, at whatever node, until one
 * answers; a write keeps its session's sequence, so that it takes effect once.
 *
 * What is between a client and a node loses as much as what is between nodes.
 *
 * @module
 */
import { assert } from "@std/assert";
import type { KvAnswer, KvGroup } from "../../actors/group.ts";
import type { RaftRequest } from "../../actors/raft_request.ts";
import type { NodeId } from "../../machines/raft_types.ts";
import { encodeCommand } from "../../storage/kv/command.ts";
import type { Operation } from "../sim/history.ts";
import type { Lab } from "./lab.ts";
import { commandOf } from "../storage/kv/command_of.ts";

/** A node that has not answered by then is given up, and another is asked. */
const ATTEMPT_MS = 700;
/** Pause before another node is asked. */
const RETRY_PAUSE_MS = 20;
/** One way between a client and a node, on average. */
const CLIENT_DELAY_MS = 0.2;

const encoder = new TextEncoder();
const decoder = new TextDecoder();

/** What a node says to one attempt: a client's write, or the value that it read. */
type Reply =
  | { readonly type: "answer"; readonly answer: KvAnswer }
  | { readonly type: "value"; readonly value: string | undefined; readonly revision: number };

/** One client, which has one operation under way at a time. */
export class LabClerk {
  /** Attempts that it made beyond the first of each operation. */
  retries = 0;
  readonly #lab: Lab;
  readonly #name: string;
  readonly #history: Operation[];
  #servers: readonly NodeId[];
  #target: NodeId;
  #sequence = 0;

  /** Asks `servers`, all by default, and writes what it did into `history`. */
  constructor(
    lab: Lab,
    options: {
      readonly name: string;
      readonly history?: Operation[];
      readonly servers?: readonly NodeId[];
    },
  ) {
    this.#lab = lab;
    this.#name = options.name;
    this.#history = options.history ?? [];
    this.#servers = options.servers ?? lab.ids;
    this.#target = lab.dice.pick(this.#servers);
  }

  /** From now on only these are asked. */
  reach(servers: readonly NodeId[]): void {
    this.#servers = servers;
  }

  /** Sets a key; `done` once that took effect. */
  put(key: string, value: string, done: () => void): void {
    this.#write({ ...this.#begin(key), type: "put", value }, done);
  }

  /** Appends to a key; `done` once that took effect. */
  append(key: string, value: string, done: () => void): void {
    this.#write({ ...this.#begin(key), type: "append", value }, done);
  }

  /** Reads a key; "" if it is not there. */
  get(key: string, done: (value: string) => void): void {
    const operation: Operation = { ...this.#begin(key), type: "get" };
    this.#history.push(operation);
    this.#repeat({ type: "ReadBarrier" }, key, (reply) => {
      if (reply.type !== "value") return false;
      const { value, revision } = reply;
      operation.returnMs = this.#lab.cluster.loop.nowMs;
      operation.result = { value, revision };
      done(value ?? "");
      return true;
    });
  }

  #begin(key: string): Omit<Operation, "type"> {
    const invokeMs = this.#lab.cluster.loop.nowMs;
    return { client: this.#name, key, invokeMs, returnMs: undefined, result: undefined };
  }

  #write(operation: Operation, done: () => void): void {
    const { key, type, value = "" } = operation;
    assert(type === "put" || type === "append");
    const once = { type: "session", clientId: this.#name, sequence: ++this.#sequence } as const;
    const payload = encodeCommand(commandOf({ type, key, value: encoder.encode(value) }, { once }));
    this.#history.push(operation);
    this.#repeat({ type: "Propose", payload }, key, (reply) => {
      if (reply.type !== "answer" || isRefusal(reply.answer)) return false;
      const { answer } = reply;
      assert(answer.status === "ok", `${type} ${this.#name}#${once.sequence}: ${answer.status}`);
      this.#lab.cluster.tell({ type: "ack", group: 0, once: `${this.#name}#${once.sequence}` });
      operation.returnMs = this.#lab.cluster.loop.nowMs;
      operation.result = { ok: true, revision: answer.revision };
      done();
      return true;
    });
  }

  /** Asks until `settle` takes the answer. */
  #repeat(message: RaftRequest, key: string, settle: (reply: Reply) => boolean): void {
    const { loop } = this.#lab.cluster;
    let attempt = 0;
    const ask = (): void => {
      const current = ++attempt;
      if (current > 1) this.retries++;
      const again = (): void => {
        if (attempt !== current) return;
        this.#target = this.#lab.dice.pick(this.#servers);
        attempt++;
        loop.after(RETRY_PAUSE_MS, ask);
      };
      const cancel = loop.after(ATTEMPT_MS, again);
      this.#send(message, key, (reply) => {
        if (attempt !== current) return;
        cancel();
        if (settle(reply)) return void (attempt = Infinity);
        again();
        if (reply.type === "answer" && reply.answer.status === "refused") {
          this.#follow(reply.answer.leader);
        }
      });
    };
    ask();
  }

  #follow(leader: NodeId): void {
    if (this.#servers.includes(leader)) this.#target = leader;
  }

  /** One attempt at the target; the way there and the way back each may lose it. */
  #send(message: RaftRequest, key: string, done: (reply: Reply) => void): void {
    const { cluster, dice } = this.#lab;
    const { loop, network: { quality } } = cluster;
    const host = cluster.host(this.#target);
    const { life } = cluster.node(this.#target);
    const travel = (): number => dice.exponential(CLIENT_DELAY_MS);
    if (host === undefined || life === undefined || dice.chance(quality.loss)) return;
    life.after(travel(), () => {
      host.raft.ask(message, { timeoutMs: 4 * ATTEMPT_MS }, (outcome) => {
        if (!outcome.ok || dice.chance(quality.loss)) return;
        const answer = outcome.value;
        // A value is read in the node's own turn; then it travels.
        const reply: Reply = answer.status === "ready"
          ? { type: "value", ...readAt(host, key) }
          : { type: "answer", answer };
        loop.after(travel(), () => done(reply));
      });
    });
  }
}

/** Whether the answer says nothing of what the command did: it is to be repeated. */
function isRefusal({ status }: KvAnswer): boolean {
  return ["refused", "not-applied", "unknown"].includes(status);
}

function readAt(host: KvGroup, key: string): { value: string | undefined; revision: number } {
  const entry = host.machine.get(key);
  return entry === undefined
    ? { value: undefined, revision: 0 }
    : { value: decoder.decode(entry.value), revision: entry.revision };
}
