/**
 * A stateless HTTP gateway in front of the members: it takes HTTP off them, as many processes as one likes.
 * Single keys and transactions it serves by itself, as commands on the clients' wire; the rest it has a
 * member answer. It finds the leader as a client does, by the same chart.
 *
 * @module
 */
import { type Command, encodeCommand } from "../storage/kv/command.ts";
import type { CommandResult } from "../storage/kv/command_result.ts";
import type { KvItem } from "../storage/kv/entry.ts";
import { readBody } from "../transport/http/body.ts";
import { createFrontGateway, type GatewayHandler } from "../transport/http/gateway.ts";
import type { ItemPort, ReadContext, ReadOptions } from "../transport/http/gateway_port.ts";
import {
  LOCK_WAIT_MS_MAX,
  REQUEST_TIMEOUT_MS_MAX,
  TXN_BODY_BYTES_MAX,
} from "../transport/http/limits.ts";
import { durationOf, TIMEOUT_HEADER, timeoutOfText } from "../transport/http/routes/kv_request.ts";
import { GatewayError, isProblemCode } from "../transport/http/problem.ts";
import { formatMetrics } from "../transport/http/prometheus.ts";
import { unmeasured } from "../transport/http/stream.ts";
import { targetOf } from "../transport/http/target.ts";
import type { HostPort, Network } from "../transport/wire/network.ts";
import { ClerkError } from "./clerk_errors.ts";
import type { CallLimits, ClerkRequest } from "./clerk_link.ts";
import { ClerkRequests } from "./clerk_requests.ts";
import { ClerkSessions } from "./clerk_sessions.ts";
import { WireLink } from "./clerk_wire.ts";
import { type Deadline, Deadlines } from "./runtime/deadlines.ts";
import type { Log, Ports } from "./runtime/ports.ts";

/** What a gateway needs. */
export interface FrontGatewayOptions {
  /** Where the members listen for each other, and for clients. */
  readonly members: readonly HostPort[];
  readonly network: Pick<Network, "dial">;
  readonly ports: Ports;
  readonly version: string;
  readonly log: Log;
}

/** Headers that are about the connection to the gateway, or that it has judged itself. */
const OWN_HEADERS = ["host", "connection", "content-length", "origin", "transfer-encoding", "te"];

/** See the module. */
export class FrontGateway implements ItemPort {
  /** Answers HTTP requests. */
  readonly handler: GatewayHandler;
  readonly #link: WireLink;
  readonly #requests: ClerkRequests;
  readonly #sessions: ClerkSessions;
  readonly #deadlines: Deadlines;

  /** Connects to nobody yet. */
  constructor({ members, network, ports, version, log }: FrontGatewayOptions) {
    this.#deadlines = new Deadlines(ports);
    this.#link = new WireLink(members, { network, ports });
    const timeoutMs = REQUEST_TIMEOUT_MS_MAX;
    this.#requests = new ClerkRequests({ link: this.#link, timeoutMs, ports });
    this.#sessions = new ClerkSessions(async (once) => {
      const nothing = { compares: [], success: [], failure: [], once };
      await this.#propose(encodeCommand(nothing), { timeoutMs });
    });
    this.handler = createFrontGateway(this, {
      version,
      nowMs: () => ports.clock.monotonicMs(),
      onDefect: (error) => log("error", "gateway-defect", { error: String(error) }),
      elsewhere: (request, isHead) => this.#pass(request, isHead),
      metrics: () => this.#metrics(),
    });
  }

  /** Aborts what is under way, and closes the connections to the members. */
  close(): void {
    this.#requests.close();
  }

  /**
   * See {@linkcode ItemPort.write}. A write that no idempotency key protects gets a place in a session of
   * the gateway's, so that it may be repeated when an answer is lost.
   */
  async write(command: Command, timeoutMs: number): Promise<CommandResult> {
    const { once } = command;
    return await asGateway(
      once === undefined
        ? this.#writeOnce(command, { timeoutMs })
        : this.#propose(encodeCommand(command), { timeoutMs }),
    );
  }

  async #writeOnce(command: Command, limits: CallLimits): Promise<CommandResult> {
    const step = this.#requests.stepsOf(limits);
    for (;;) {
      const left = step();
      const place = this.#sessions.take() ??
        await this.#requests.within(this.#sessions.wait(), left, (late) => late.release());
      try {
        const payload = encodeCommand({ ...command, once: place.once });
        const result = await this.#propose(payload, step());
        if (result.status !== "session-expired") return result;
        // It surely was not applied in the session that had ended (clerk_requests.ts).
        place.expired();
      } finally {
        place.release();
      }
    }
  }

  /** See {@linkcode ItemPort.get}. */
  async get(
    key: string,
    { consistency, minRevision, timeoutMs }: ReadOptions,
  ): Promise<{ readonly entry: KvItem | undefined; readonly context: ReadContext }> {
    const freshness = { consistency, ...(minRevision === undefined ? {} : { minRevision }) };
    const { entry, leader, ...where } = await asGateway(
      this.#requests.run({
        ...{ isWrite: false, mayRepeat: true, timeoutMs },
        attempt: (at, call) => this.#link.get(at, key, { ...call, ...freshness }),
      }),
    );
    return {
      entry: entry && { key, ...entry },
      context: { ...where, leaderId: leader === 0 ? undefined : leader },
    };
  }

  /** See {@linkcode ItemPort.expireAfter}. */
  expireAfter(delayMs: number, expire: () => void): () => void {
    const deadline: Deadline = { place: -1, tick: 0, expire };
    this.#deadlines.set(deadline, delayMs);
    return () => this.#deadlines.clear(deadline);
  }

  async #propose(payload: Uint8Array, limits: CallLimits): Promise<CommandResult> {
    try {
      return await this.#requests.run<CommandResult>({
        ...limits,
        ...{ isWrite: true, mayRepeat: true },
        attempt: async (at, call) => {
          const came = await this.#link.execute(at, payload, call);
          const isExpired = came.type === "Answered" && !(came.answer instanceof ClerkError) &&
            came.answer.status === "session-expired";
          if (!isExpired) return came;
          const message = "The gateway's session has ended";
          return { type: "Answered", answer: new ClerkError(message, { code: "session-expired" }) };
        },
      });
    } catch (error) {
      if (error instanceof ClerkError && error.code === "session-expired") {
        return { status: "session-expired" };
      }
      throw error;
    }
  }

  /** Has a member answer, whose answer goes to the client as it comes. */
  async #pass(request: Request, isHead: boolean): Promise<Response> {
    const { url } = request;
    const method = isHead ? "HEAD" : request.method;
    const headers: Record<string, string> = {};
    for (const [name, value] of request.headers) {
      if (!OWN_HEADERS.includes(name)) headers[name] = value;
    }
    const hasBody = method !== "GET" && method !== "HEAD";
    const body = hasBody ? await readBody(request, TXN_BODY_BYTES_MAX, this) : undefined;
    const isRead = method === "GET" || method === "HEAD";
    const timeoutMs = timeoutOfText(request.headers.get(TIMEOUT_HEADER)) ?? PASS_TIMEOUT_MS;
    // Only the answer of a lock waits for what others do: all others begin at once.
    const waitMs = method === "POST" && new URL(url).pathname.startsWith("/v1/locks/")
      ? waitMsOf(body!)
      : 0;
    const passed = {
      ...{ path: targetOf(request), headers, isStreamed: true },
      method: method as ClerkRequest["method"],
      ...(body === undefined ? {} : { body: body as Uint8Array<ArrayBuffer> }),
    };
    const response = await asGateway(
      this.#requests.run({
        isWrite: !isRead,
        mayRepeat: isRead || request.headers.has("idempotency-key"),
        timeoutMs: waitMs + timeoutMs,
        ...(waitMs > 0 ? { attemptMs: waitMs + timeoutMs } : {}),
        attempt: (at, call) => this.#link.fetch(at, passed, { ...call, passes: true }),
      }),
    );
    if (!isHead || response.headers.has("content-length")) return response;
    // Else the runtime says that there are no bytes.
    return new Response(unmeasured(), { status: response.status, headers: response.headers });
  }

  #metrics(): string {
    return formatMetrics([{
      name: "statecraft_gateway_members_up",
      help: "Members that the gateway has a connection to; it makes them as it needs them",
      type: "gauge",
      samples: [{ labels: {}, value: this.#link.up }],
    }]);
  }
}

/** How long a request that a member answers may take if it does not say so, in milliseconds. */
const PASS_TIMEOUT_MS = 10_000;

/** How long a request for a lock may wait; a member says what is wrong with one that is none. */
function waitMsOf(body: Uint8Array): number {
  try {
    const { wait } = JSON.parse(new TextDecoder().decode(body)) as { readonly wait?: unknown };
    if (typeof wait !== "string") return 0;
    return durationOf(wait, "wait", { min: 0, max: LOCK_WAIT_MS_MAX });
  } catch {
    return 0;
  }
}

/** The errors of a client as those of a gateway. */
async function asGateway<Value>(asked: Promise<Value>): Promise<Value> {
  try {
    return await asked;
  } catch (error) {
    if (!(error instanceof ClerkError)) throw error;
    const code = error.outcome === "unknown"
      ? "outcome-unknown"
      : isProblemCode(error.code)
      ? error.code
      : "unavailable";
    throw new GatewayError(code, error.message);
  }
}
