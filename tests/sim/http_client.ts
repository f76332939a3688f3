/**
 * A client that speaks HTTP to the gateways: any node, with or without an idempotency key. It
 * believes what a problem document says of a write: one that was not applied is tried again or
 * forgotten, so that a document which is wrong shows in the history.
 *
 * @module
 */
import type { NodeId } from "../../machines/raft_types.ts";
import type { Operation } from "./history.ts";
import { ATTEMPT_MS, CLIENT_DELAY_MS, SimClient } from "./sim_client.ts";

const HOST = "node";
/** The node's deadline for a request is below the client's, so that its answer arrives. */
const SERVER_MS = ATTEMPT_MS - 100;
/** Share of writes that carry an idempotency key. */
const KEYED_SHARE = 0.7;
/** Share of reads that list all keys of the moment. */
const LISTED_SHARE = 0.1;
/** Consistencies that promise a linearizable answer. */
const CONSISTENCIES = ["linearizable", "lease", "follower"];

/** An answer, read to its end. */
interface Answer {
  readonly status: number;
  readonly etag: string | null;
  readonly text: string;
}

/** What a client makes of a connection that was refused. */
const NOBODY_LISTENS: Answer = { status: 503, etag: null, text: '{"outcome":"not-applied"}' };

/** What a write's answer says of it. */
type Outcome = "unknown" | "not-applied" | { readonly ok: boolean; readonly revision: number };

/** See the module. */
export class HttpClient extends SimClient {
  protected override perform(operation: Operation): void {
    if (operation.type !== "get") this.#write(operation);
    else if (this.cluster.dice.chance(LISTED_SHARE)) this.#list(operation);
    else this.#read(operation);
  }

  #read(operation: Operation): void {
    const consistency = this.cluster.dice.pick(CONSISTENCIES);
    const request = requestTo(`/v1/kv/${operation.key}?consistency=${consistency}`);
    this.#untilAnswered(operation, request, ({ status, etag, text }) => {
      if (status !== 200 && status !== 404) throw surprise(status, text);
      this.#saw(operation, status === 404 ? undefined : text, revisionIn(etag));
    });
  }

  /** One listing is a read of every key of the moment, of which some are not there. */
  #list(operation: Operation): void {
    const { prefix, count } = this.workload.keys;
    const request = requestTo(`/v1/kv?prefix=${prefix}`);
    this.#untilAnswered(operation, request, ({ status, text }) => {
      if (status !== 200) throw surprise(status, text);
      const { items } = JSON.parse(text) as {
        readonly items: readonly { key: string; value: string; revision: number }[];
      };
      for (let number = 0; number < count; number++) {
        const key = `${prefix}${number}`;
        const item = items.find((item) => item.key === key);
        this.#saw({ ...operation, key }, item?.value, item?.revision ?? 0);
      }
    });
  }

  #saw(operation: Operation, value: string | undefined, revision: number): void {
    operation.returnMs = this.cluster.loop.nowMs;
    operation.result = { value, revision };
    this.revisions.set(operation.key, revision);
    this.workload.history.push(operation);
  }

  /** Asks one node after the other until one answers the read, or its time is up. */
  #untilAnswered(
    operation: Operation,
    request: Request,
    take: (answer: Answer) => void,
  ): void {
    const attempt = (): void => {
      if (this.isLate(operation)) return this.end(operation);
      this.#send(request.clone(), (answer) => {
        if (answer === undefined || answer.status >= 429) return this.later(attempt);
        take(answer);
        this.end(operation);
      });
    };
    attempt();
  }

  #write(operation: Operation): void {
    const isKeyed = this.cluster.dice.chance(KEYED_SHARE);
    const once = isKeyed ? `${this.name}-${this.tokens}` : undefined;
    const request = requestOf(operation, once);
    let mayHaveHadEffect = false;
    this.workload.history.push(operation);
    const attempt = (): void => {
      if (this.isLate(operation)) {
        if (!mayHaveHadEffect) this.workload.forget(operation);
        return this.end(operation);
      }
      this.#send(request.clone(), (answer) => {
        const outcome = answer === undefined ? "unknown" : outcomeOf(answer);
        if (outcome === "unknown") {
          mayHaveHadEffect = true;
          // Without a key a second attempt could be a second effect.
          return once === undefined ? this.end(operation) : this.later(attempt);
        }
        if (outcome === "not-applied") return this.later(attempt);
        operation.returnMs = this.cluster.loop.nowMs;
        operation.result = outcome;
        this.revisions.set(operation.key, outcome.revision);
        if (outcome.ok && once !== undefined) {
          const { group } = this.options;
          this.cluster.tell({ type: "ack", group, once: `key ${once}` });
        }
        this.end(operation);
      });
    };
    attempt();
  }

  /** One attempt at any node; no answer if it crashes, or is silent for ATTEMPT_MS. */
  #send(request: Request, done: (answer: Answer | undefined) => void): void {
    const { loop, dice } = this.cluster;
    const node = this.cluster.node(dice.pick<NodeId>(this.cluster.ids));
    let isOver = false;
    let answered = (): void => {};
    const finish = (answer: Answer | undefined): void => {
      if (isOver) return;
      isOver = true;
      cancel();
      answered();
      done(answer);
    };
    const { life } = node;
    if (life === undefined) {
      loop.after(CLIENT_DELAY_MS, () => done(NOBODY_LISTENS));
      return;
    }
    const cancel = loop.after(ATTEMPT_MS, () => finish(undefined));
    life.after(CLIENT_DELAY_MS, () => {
      if (isOver) return;
      answered = this.cluster.awaitPromise();
      read(node.process!.gateway(this.options.group)(request)).then((answer) => {
        answered();
        loop.after(CLIENT_DELAY_MS, () => finish(answer));
      });
    });
  }
}

async function read(response: Response | Promise<Response>): Promise<Answer> {
  const answer = await response;
  const { status, headers } = answer;
  return { status, etag: headers.get("etag"), text: await answer.text() };
}

function outcomeOf({ status, text }: Answer): Outcome {
  const { outcome, revision } = JSON.parse(text) as {
    readonly outcome?: "unknown" | "not-applied";
    readonly revision: number;
  };
  if (status < 300) return { ok: true, revision };
  if (status === 412) return { ok: false, revision };
  if (outcome === undefined || status < 429) throw surprise(status, text);
  return outcome;
}

function requestOf({ type, key, value, expected }: Operation, once: string | undefined): Request {
  const path = `/v1/kv/${key}`;
  const headers: Record<string, string> = {};
  if (once !== undefined) headers["idempotency-key"] = `"${once}"`;
  if (type === "delete") return requestTo(path, { method: "DELETE", headers });
  if (type === "append") {
    return requestTo(`${path}/append`, { method: "POST", headers, body: value! });
  }
  if (type === "cas" && expected === 0) headers["if-none-match"] = "*";
  else if (type === "cas") headers["if-match"] = `"${expected}"`;
  return requestTo(path, { method: "PUT", headers, body: value! });
}

function requestTo(
  path: string,
  { method = "GET", headers = {}, body }: {
    readonly method?: string;
    readonly headers?: Readonly<Record<string, string>>;
    readonly body?: string;
  } = {},
): Request {
  return new Request(`http://${HOST}${path}`, {
    method,
    headers: { host: HOST, "statecraft-timeout-ms": String(SERVER_MS), ...headers },
    ...(body === undefined ? {} : { body }),
  });
}

function revisionIn(etag: string | null): number {
  return Number(/^"(\d+)"$/.exec(etag ?? "")?.[1] ?? 0);
}

function surprise(status: number, text: string): Error {
  return new Error(`a client did not expect the answer ${status}: ${text}`);
}
