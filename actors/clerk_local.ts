/**
 * A client's way to a node in the same program: no connection, and nothing is encoded but the commands.
 *
 * @module
 */
import type { CommandResult } from "../storage/kv/command_result.ts";
import { problemOf } from "../transport/http/problem.ts";
import type { ClientHost } from "./client_connections.ts";
import {
  type Attempt,
  attemptOf,
  attemptOfProblem,
  type AttemptOptions,
  type ClerkRequest,
  type CommandLink,
  type Freshness,
  type Reading,
  serverMsOf,
} from "./clerk_link.ts";

/** The host of the requests' URLs, which nobody looks up. */
const HOST = "local";

/** See the module. */
export class LocalLink implements CommandLink {
  readonly size = 1;
  readonly #host: Pick<ClientHost, "port" | "gateway">;

  /** Takes what the connections of clients take. */
  constructor(host: Pick<ClientHost, "port" | "gateway">) {
    this.#host = host;
  }

  execute(
    _at: number,
    payload: Uint8Array,
    { attemptMs, mayRepeat }: AttemptOptions & { readonly mayRepeat: boolean },
  ): Promise<Attempt<CommandResult>> {
    const timeoutMs = serverMsOf(attemptMs);
    return attempted(true, () => this.#host.port.execute(payload, { mayRepeat, timeoutMs }));
  }

  get(
    _at: number,
    key: string,
    { attemptMs, consistency = "linearizable", minRevision }: AttemptOptions & Freshness,
  ): Promise<Attempt<Reading>> {
    return attempted(false, async () => {
      const { entry, context } = await this.#host.port.get(key, {
        ...{ consistency, timeoutMs: serverMsOf(attemptMs) },
        ...(minRevision === undefined ? {} : { minRevision }),
      });
      const { leaderId: leader = 0, ...where } = context;
      // The store's own bytes must not be changed by whoever gets them.
      const own = entry && { ...entry, lease: entry.lease, value: entry.value.slice() };
      return { ...where, leader, entry: own };
    });
  }

  async fetch(
    _at: number,
    { method, path, headers, body, isStreamed = false, signal }: ClerkRequest,
    { attemptMs, onCancel }: AttemptOptions,
  ): Promise<Attempt<Response>> {
    const isWrite = method !== "GET";
    const attempt = new AbortController();
    onCancel(() => attempt.abort());
    const own = new Headers(headers);
    own.set("host", HOST);
    own.set("statecraft-timeout-ms", String(Math.round(serverMsOf(attemptMs))));
    const request = new Request(`http://${HOST}${path}`, {
      method,
      headers: own,
      signal: isStreamed && signal !== undefined
        ? AbortSignal.any([attempt.signal, signal])
        : attempt.signal,
      ...(body === undefined ? {} : { body }),
    });
    try {
      return await attemptOf(await this.#host.gateway(request), { isWrite, isStreamed });
    } catch (error) {
      return { type: isWrite ? "Lost" : "Failed", why: (error as Error).message };
    }
  }

  close(): void {
    // The node goes on without its client.
  }
}

async function attempted<Answer>(
  isWrite: boolean,
  ask: () => Promise<Answer>,
): Promise<Attempt<Answer>> {
  try {
    return { type: "Answered", answer: await ask() };
  } catch (error) {
    const problem = problemOf(error);
    return attemptOfProblem(problem.status, problem, isWrite);
  }
}
