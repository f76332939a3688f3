/**
 * A client's way to the members over their own wire (transport/wire/client_codec.ts): one connection to each
 * member that is asked, over which requests travel side by side. What is asked in one turn leaves in one
 * write.
 *
 * Requests go to the leader as soon as an answer has named it; any other member does them as well.
 *
 * @module
 */
import { type CommandResult, commandResultOf } from "../storage/kv/command_result.ts";
import {
  CLIENT_VERSIONS,
  type ClientAnswer,
  clientAnswerOf,
  type ClientAsk,
  ClientCodec,
  clientWelcomeOf,
} from "../transport/wire/client_codec.ts";
import { FRAME_BYTES_MAX, FRAME_HEADER_BYTES } from "../transport/wire/limits.ts";
import { WireError } from "../transport/wire/messages.ts";
import { type SendBudget, SendQueue } from "../transport/wire/send_queue.ts";
import {
  type Connection,
  formatHostPort,
  type HostPort,
  type Network,
} from "../transport/wire/network.ts";
import { InvalidRequestError } from "./clerk_errors.ts";
import {
  type Attempt,
  attemptOf,
  attemptOfProblem,
  type AttemptOptions,
  type ClerkPorts,
  type ClerkRequest,
  type CommandLink,
  type Freshness,
  programPorts,
  type Reading,
  serverMsOf,
} from "./clerk_link.ts";
import { bytesOf } from "./clerk_types.ts";
import { CLERK_UNSENT_BYTES_MAX, CLIENT_FRAME_BYTES_MAX } from "./limits.ts";
import { type Deadline, Deadlines } from "./runtime/deadlines.ts";

/** How long a member may take to welcome a client, in milliseconds; requests wait for it. */
const WELCOME_MS_MAX = 2_000;
/** How often an unknown leader is looked for among the endpoints that are not connected. */
const PROBE_MS = 1_000;

/** What becomes of a request that was sent or waits to be. */
interface Pending {
  /** Whether it can have an effect. */
  readonly isWrite: boolean;
  /** Takes an answer; whether there is more to come. */
  readonly answer: (answer: ClientAnswer) => boolean;
  /** The attempt ends without an answer. */
  readonly fail: (attempt: Attempt<never>) => void;
}

/** Members over the clients' wire. */
export class WireLink implements CommandLink {
  readonly size: number;
  readonly #members: readonly WireMember[];
  readonly #deadlines: Deadlines;
  #leader = 0;
  #probedMs = -Infinity;
  readonly #ports: ClerkPorts;

  /** `endpoints`: where the members listen for each other. */
  constructor(
    endpoints: readonly HostPort[],
    { network, ports = programPorts }: {
      readonly network: Pick<Network, "dial">;
      readonly ports?: ClerkPorts;
    },
  ) {
    this.size = endpoints.length;
    this.#ports = ports;
    this.#deadlines = new Deadlines(ports);
    this.#members = endpoints.map((endpoint) =>
      new WireMember(endpoint, { network, deadlines: this.#deadlines })
    );
  }

  get leaderAt(): number | undefined {
    if (this.#leader === 0) return undefined;
    const at = this.#members.findIndex(({ node, isUp }) => isUp && node === this.#leader);
    return at < 0 ? undefined : at;
  }

  /** Members that are connected. */
  get up(): number {
    return this.#members.filter(({ isUp }) => isUp).length;
  }

  execute(
    at: number,
    payload: Uint8Array,
    { attemptMs, onCancel }: AttemptOptions,
  ): Promise<Attempt<CommandResult>> {
    const timeoutMs = Math.round(serverMsOf(attemptMs));
    return this.#ask<CommandResult>(at, { type: "Execute", timeoutMs, payload }, {
      ...{ isWrite: true, attemptMs, onCancel },
      read: (answer) => {
        if (answer.type !== "Executed") return undefined;
        const result = commandResultOf(answer.result);
        return result === undefined ? undefined : { type: "Answered", answer: result };
      },
    });
  }

  get(
    at: number,
    key: string,
    { attemptMs, onCancel, consistency = "linearizable", minRevision = 0 }:
      & AttemptOptions
      & Freshness,
  ): Promise<Attempt<Reading>> {
    const timeoutMs = Math.round(serverMsOf(attemptMs));
    const ask = { type: "Get", timeoutMs, consistency, minRevision, key } as const;
    return this.#ask<Reading>(at, ask, {
      ...{ isWrite: false, attemptMs, onCancel },
      read: (answer) => {
        if (answer.type !== "Got") return undefined;
        const { entry, revision, leader, term } = answer;
        const servedBy = this.#members[at]!.node ?? 0;
        return { type: "Answered", answer: { entry, revision, servedBy, leader, term } };
      },
    });
  }

  async fetch(
    at: number,
    { method, path, headers, body, isStreamed = false, signal }: ClerkRequest,
    { attemptMs, onCancel, passes = false }: AttemptOptions,
  ): Promise<Attempt<Response>> {
    // A gateway passes HEAD on as well.
    const isWrite = !["GET", "HEAD"].includes(method);
    const member = this.#members[at]!;
    const timeout = String(Math.round(serverMsOf(attemptMs)));
    let begun: FetchedBody | undefined;
    const answered = await this.#ask<Response>(at, {
      ...{ type: "Fetch", method, target: path },
      headers: { ...headers, "statecraft-timeout-ms": timeout },
      body: body === undefined ? new Uint8Array(0) : bytesOf(body),
    }, {
      ...{ isWrite, attemptMs, onCancel },
      read: (answer, id) => {
        if (answer.type !== "Fetched") return undefined;
        begun = new FetchedBody(answer, {
          pull: () => member.send({ type: "Pull", id }),
          cancel: () => member.forget(id),
        });
        return { type: "Answered", answer: begun.response };
      },
      more: (answer) => begun?.take(answer) ?? false,
      lost: (why) => begun?.break(why),
    });
    if (answered.type !== "Answered" || !(answered.answer instanceof Response)) return answered;
    if (isStreamed) {
      signal?.addEventListener("abort", () => begun?.giveUp("it was aborted"));
      return await attemptOf(answered.answer, { isWrite, isStreamed, passes });
    }
    // The rest of the body has the attempt's time as well.
    onCancel(() => begun?.giveUp("it was aborted"));
    const late: Deadline = {
      ...{ place: -1, tick: 0 },
      expire: () => begun?.giveUp(`no answer within ${attemptMs} ms`),
    };
    this.#deadlines.set(late, attemptMs);
    try {
      return await attemptOf(answered.answer, { isWrite, isStreamed });
    } catch (error) {
      return {
        type: isWrite ? "Lost" : "Failed",
        why: `${member.name}: ${(error as Error).message}`,
      };
    } finally {
      this.#deadlines.clear(late);
    }
  }

  close(): void {
    for (const member of this.#members) member.close("this client is closed");
  }

  #ask<Answer>(
    at: number,
    ask: AskBody,
    { isWrite, attemptMs, onCancel, read, more = () => false, lost = () => {} }: AttemptOptions & {
      readonly isWrite: boolean;
      /** The attempt that an answer of the right kind stands for. */
      readonly read: (answer: ClientAnswer, id: number) => Attempt<Answer> | undefined;
      /** Takes what comes after it; whether more comes. */
      readonly more?: (answer: ClientAnswer) => boolean;
      readonly lost?: (why: string) => void;
    },
  ): Promise<Attempt<Answer>> {
    const member = this.#members[at]!;
    return new Promise((resolve) => {
      let isAnswered = false;
      const settle = (attempt: Attempt<Answer>): void => {
        if (isAnswered) return;
        isAnswered = true;
        this.#deadlines.clear(late);
        resolve(attempt);
      };
      const failed = (why: string): Attempt<never> => ({
        type: isWrite ? "Lost" : "Failed",
        why: `${member.name}: ${why}`,
      });
      const late: Deadline = {
        ...{ place: -1, tick: 0 },
        expire: () => giveUp(`no answer within ${attemptMs} ms`),
      };
      this.#deadlines.set(late, attemptMs);
      const id = member.ask(ask, {
        isWrite,
        answer: (answer) => {
          if (isAnswered) return more(answer);
          if ("leader" in answer) this.#noteLeader(answer.leader);
          if (answer.type === "Failed") {
            const { problem } = answer;
            settle(attemptOfProblem(problem.status, problem, isWrite));
            return false;
          }
          const attempt = read(answer, id);
          settle(attempt ?? failed(`it answered with ${answer.type}`));
          return answer.type === "Fetched" && !answer.isLast;
        },
        fail: (attempt) => {
          if (isAnswered) lost(attempt.type === "Answered" ? "" : attempt.why);
          else settle(attempt);
        },
      });
      // What was not sent surely had no effect.
      const giveUp = (why: string): void => {
        const wasSent = member.forget(id);
        settle(wasSent ? failed(why) : { type: "Failed", why: `${member.name}: ${why}` });
      };
      onCancel(() => giveUp("it was aborted"));
    });
  }

  /** Looks for a leader that is none of those that are connected. */
  #noteLeader(leader: number): void {
    if (leader === this.#leader) return;
    this.#leader = leader;
    const isKnown = leader === 0 || this.#members.some(({ node }) => node === leader);
    const nowMs = this.#ports.clock.monotonicMs();
    if (isKnown || nowMs - this.#probedMs < PROBE_MS) return;
    this.#probedMs = nowMs;
    for (const member of this.#members) member.connect();
  }
}

/** A request without its id. */
type AskBody = ClientAsk extends infer Ask ? Ask extends ClientAsk ? Omit<Ask, "id"> : never
  : never;

/** One member, and the connection to it if there is one. */
class WireMember {
  readonly name: string;
  readonly #endpoint: HostPort;
  readonly #network: Pick<Network, "dial">;
  readonly #deadlines: Deadlines;
  readonly #codec = new ClientCodec();
  #connection: Connection | undefined;
  #queue: SendQueue | undefined;
  readonly #unsentBudget: SendBudget = { bytes: 0, bytesMax: CLERK_UNSENT_BYTES_MAX };
  #isWelcome = false;
  #node: number | undefined;
  #nextId = 1;
  readonly #pending = new Map<number, Pending>();
  /** Requests that wait for the welcome. */
  #unsent = new Map<number, Uint8Array>();
  readonly #late: Deadline = {
    ...{ place: -1, tick: 0 },
    expire: () => this.close(`no welcome within ${WELCOME_MS_MAX} ms`),
  };

  constructor(
    endpoint: HostPort,
    { network, deadlines }: {
      readonly network: Pick<Network, "dial">;
      readonly deadlines: Deadlines;
    },
  ) {
    this.name = formatHostPort(endpoint);
    this.#endpoint = endpoint;
    this.#network = network;
    this.#deadlines = deadlines;
  }

  /** The member's id, once it has said so. */
  get node(): number | undefined {
    return this.#node;
  }

  get isUp(): boolean {
    return this.#isWelcome;
  }

  /** Dials, unless that has been done. */
  connect(): void {
    if (this.#connection !== undefined) return;
    this.#deadlines.set(this.#late, WELCOME_MS_MAX);
    const mine = this.#connection = this.#network.dial(this.#endpoint, {
      onOpen: () => {
        const { min: versionMin, max: versionMax } = CLIENT_VERSIONS;
        mine.send(this.#codec.hello({ type: "ClientHello", versionMin, versionMax }));
      },
      onFrame: (body) => this.#receive(body),
      onDrained: () => this.#queue?.drained(),
      onClose: ({ detail }) => this.#lost(detail),
    });
    this.#queue = new SendQueue(mine, this.#unsentBudget);
  }

  /** Sends a request, or has it wait for the connection; its id. */
  ask(ask: AskBody, pending: Pending): number {
    const id = this.#nextId++;
    let frame: Uint8Array;
    try {
      frame = this.#frameOf({ ...ask, id } as ClientAsk);
    } catch (error) {
      if (!(error instanceof WireError)) throw error;
      const facts = { code: "invalid-request", status: 400 };
      const answer = new InvalidRequestError(error.message, facts);
      queueMicrotask(() => pending.fail({ type: "Answered", answer }));
      return id;
    }
    this.#pending.set(id, pending);
    this.connect();
    if (!this.#isWelcome) this.#unsent.set(id, frame);
    else if (!this.#queue!.send(frame)) {
      this.#pending.delete(id);
      const why = `${this.name}: too much waits to be sent`;
      queueMicrotask(() => pending.fail({ type: "Failed", why }));
    }
    return id;
  }

  send(ask: Extract<ClientAsk, { readonly type: "Pull" | "Cancel" }>): void {
    if (this.#pending.has(ask.id)) this.#queue?.send(this.#codec.ask(ask));
  }

  /** @throws {WireError} If the member would close the connection over it. */
  #frameOf(ask: ClientAsk): Uint8Array {
    const frame = this.#codec.ask(ask);
    if (frame.length <= CLIENT_FRAME_BYTES_MAX + FRAME_HEADER_BYTES) return frame;
    throw new WireError(
      "frame-too-large",
      `Cannot send: a request has ${CLIENT_FRAME_BYTES_MAX} bytes at most`,
    );
  }

  /** Nobody waits for the answer any more. Answers whether the request may have been sent. */
  forget(id: number): boolean {
    const wasSent = !this.#unsent.delete(id);
    if (wasSent) this.send({ type: "Cancel", id });
    this.#pending.delete(id);
    return wasSent;
  }

  close(why: string): void {
    this.#connection?.close();
    this.#lost(why);
  }

  #receive(body: Uint8Array): void {
    try {
      if (this.#isWelcome) this.#answered(clientAnswerOf(body));
      else this.#welcomed(body);
    } catch (error) {
      if (!(error instanceof WireError)) throw error;
      this.close(error.message);
    }
  }

  #welcomed(body: Uint8Array): void {
    const { refusal, version, node } = clientWelcomeOf(body);
    if (refusal !== "") return this.close(refusal);
    if (version < CLIENT_VERSIONS.min || version > CLIENT_VERSIONS.max) {
      return this.close(`it speaks version ${version}`);
    }
    this.#deadlines.clear(this.#late);
    this.#node = node;
    this.#isWelcome = true;
    const connection = this.#connection!;
    connection.setFrameLimit(FRAME_BYTES_MAX);
    const unsent = this.#unsent;
    this.#unsent = new Map();
    for (const [id, frame] of unsent) {
      if (this.#queue!.send(frame)) continue;
      this.#pending.get(id)?.fail({
        type: "Failed",
        why: `${this.name}: too much waits to be sent`,
      });
      this.#pending.delete(id);
    }
  }

  #answered(answer: ClientAnswer): void {
    const pending = this.#pending.get(answer.id);
    if (pending !== undefined && !pending.answer(answer)) this.#pending.delete(answer.id);
  }

  #lost(why: string): void {
    if (this.#connection === undefined) return;
    this.#deadlines.clear(this.#late);
    this.#connection = undefined;
    this.#queue?.close();
    this.#queue = undefined;
    this.#isWelcome = false;
    const [pending, unsent] = [[...this.#pending], this.#unsent];
    this.#pending.clear();
    this.#unsent = new Map();
    for (const [id, { isWrite, fail }] of pending) {
      // What was not sent surely had no effect.
      const type = isWrite && !unsent.has(id) ? "Lost" : "Failed";
      fail({ type, why: `${this.name}: ${why}` });
    }
  }
}

/** The body of an answer that comes in pieces. */
class FetchedBody {
  readonly response: Response;
  readonly #cancel: () => void;
  #controller: ReadableStreamDefaultController<Uint8Array> | undefined;
  #isOver = false;

  constructor(
    { status, headers, body, isLast }: Extract<ClientAnswer, { readonly type: "Fetched" }>,
    { pull, cancel }: { readonly pull: () => void; readonly cancel: () => void },
  ) {
    const isEmpty = status === 204 || status === 304 || (isLast && body.length === 0);
    this.#cancel = cancel;
    this.#isOver = isLast;
    if (isLast) {
      const whole = isEmpty ? null : body as Uint8Array<ArrayBuffer>;
      this.response = new Response(whole, { status, headers });
      return;
    }
    const stream = new ReadableStream<Uint8Array>({
      start: (controller) => {
        this.#controller = controller;
        if (body.length > 0) controller.enqueue(body);
      },
      // One piece is asked for whenever one was read.
      pull: () => {
        if (!this.#isOver) pull();
      },
      cancel: () => {
        this.#isOver = true;
        cancel();
      },
    });
    this.response = new Response(isEmpty ? null : stream, { status, headers });
  }

  /** Takes a piece; whether more comes. */
  take(answer: ClientAnswer): boolean {
    if (this.#isOver) return false;
    if (answer.type === "Broken") this.break(answer.why);
    if (answer.type !== "Piece") return !this.#isOver;
    if (answer.body.length > 0) this.#controller!.enqueue(answer.body);
    if (!answer.isLast) return true;
    this.#isOver = true;
    this.#controller!.close();
    return false;
  }

  /** The rest is not wanted, and the member is told so: it would wait for ever to be asked for it. */
  giveUp(why: string): void {
    if (this.#isOver) return;
    this.break(why);
    this.#cancel();
  }

  /** The rest does not come. */
  break(why: string): void {
    if (this.#isOver) return;
    this.#isOver = true;
    this.#controller!.error(new Error(why));
  }
}
