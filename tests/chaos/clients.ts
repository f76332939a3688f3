/**
 * Concurrent HTTP clients that record what they did and saw.
 *
 * Every write carries an idempotency key, so it is repeated, on any node, until it is answered or
 * its time is up. A write that was only ever answered with 503 or 429, or whose connection was
 * refused, surely was not applied and is left out of the history: if that claim were wrong, a later
 * read would see a value that nobody wrote.
 *
 * @module
 */
import type { Operation, OperationResult } from "../sim/history.ts";
import type { Dice } from "../sim/random.ts";

/** An operation is given up after this. */
const OPERATION_MS_MAX = 6_000;
/** One attempt may take this long. */
const ATTEMPT_MS_MAX = 2_500;
const RETRY_PAUSE_MS = 40;
/** A client waits up to this between two operations. */
const THINK_MS_MAX = 20;
/** Keys in use at a time, and operations until others take their place. */
const KEYS = 4;
const OPERATIONS_PER_KEY = 60;

/** How an attempt ended. */
type Attempt =
  | { readonly kind: "told"; readonly result: OperationResult | undefined }
  | { readonly kind: "not-applied" }
  | { readonly kind: "unknown" };

/** All clients of a run. */
export class ChaosClients {
  readonly history: Operation[] = [];
  readonly #endpoints: readonly string[];
  readonly #dice: Dice;
  readonly #run = crypto.randomUUID().slice(0, 8);
  readonly #revisions = new Map<string, number>();
  readonly #tasks: Promise<void>[];
  #keyUses = 0;
  #tokens = 0;
  #stopped = false;
  /** Answers that no client should ever get. */
  readonly surprises: string[] = [];

  constructor(endpoints: readonly string[], dice: Dice, count: number) {
    this.#endpoints = endpoints;
    this.#dice = dice;
    this.#tasks = Array.from({ length: count }, (_, number) => this.#client(`c${number}`));
  }

  /** Lets the operations under way end, and begins no more. */
  async stop(): Promise<void> {
    this.#stopped = true;
    await Promise.all(this.#tasks);
  }

  async #client(client: string): Promise<void> {
    while (!this.#stopped) {
      await this.#operate(client);
      await sleep(this.#dice.between(0, THINK_MS_MAX));
    }
  }

  async #operate(client: string): Promise<void> {
    const draw = this.#dice.next();
    const key = this.#nextKey();
    const value = `${client}n${++this.#tokens};`;
    const base = { client, key, invokeMs: performance.now() };
    const open = { returnMs: undefined, result: undefined };
    const operation: Operation = draw < 0.4
      ? { ...base, type: "get", ...open }
      : draw < 0.6
      ? { ...base, type: "put", value, ...open }
      : draw < 0.85
      ? { ...base, type: "append", value, ...open }
      : draw < 0.95
      ? { ...base, type: "cas", value, expected: this.#revisions.get(key) ?? 0, ...open }
      : { ...base, type: "delete", ...open };
    const idempotencyKey = `${this.#run}-${this.#tokens}`;
    let mayHaveBeenApplied = false;
    while (performance.now() - operation.invokeMs < OPERATION_MS_MAX) {
      const attempt = await this.#attempt(operation, idempotencyKey);
      if (attempt.kind === "told") {
        if (attempt.result === undefined) return;
        operation.returnMs = performance.now();
        operation.result = attempt.result;
        this.#revisions.set(key, attempt.result.revision);
        this.history.push(operation);
        return;
      }
      if (attempt.kind === "unknown") mayHaveBeenApplied = true;
      await sleep(RETRY_PAUSE_MS);
    }
    if (mayHaveBeenApplied && operation.type !== "get") this.history.push(operation);
  }

  async #attempt(operation: Operation, idempotencyKey: string): Promise<Attempt> {
    const { type, key, value } = operation;
    const url = `${this.#dice.pick(this.#endpoints)}/v1/kv/${key}`;
    const signal = AbortSignal.timeout(ATTEMPT_MS_MAX);
    const headers = new Headers({ "content-type": "application/octet-stream" });
    try {
      if (type === "get") return await this.#read(await fetch(url, { signal }));
      headers.set("idempotency-key", `"${idempotencyKey}"`);
      if (operation.expected === 0) headers.set("if-none-match", "*");
      else if (operation.expected !== undefined) {
        headers.set("if-match", `"${operation.expected}"`);
      }
      const body = type === "delete" ? {} : { body: new TextEncoder().encode(value) };
      const method = type === "append" ? "POST" : type === "delete" ? "DELETE" : "PUT";
      const path = type === "append" ? `${url}/append` : url;
      return await this.#written(await fetch(path, { method, headers, signal, ...body }));
    } catch (error) {
      const refused = /refused/i.test((error as Error).message);
      return { kind: refused ? "not-applied" : "unknown" };
    }
  }

  async #read(response: Response): Promise<Attempt> {
    const text = await response.text();
    if (response.status === 404) {
      return { kind: "told", result: { value: undefined, revision: 0 } };
    }
    if (response.status === 200) {
      const revision = Number(response.headers.get("etag")?.replaceAll('"', ""));
      return { kind: "told", result: { value: text, revision } };
    }
    return this.#notTold(response.status, text);
  }

  async #written(response: Response): Promise<Attempt> {
    const text = await response.text();
    if (response.status === 200 || response.status === 201) {
      const { revision } = JSON.parse(text);
      return { kind: "told", result: { ok: true, revision } };
    }
    if (response.status === 412) {
      const revision = Number(
        /The key is at "(\d+)"/.exec(text)?.[1] ?? /\\"(\d+)\\"/.exec(text)?.[1] ?? 0,
      );
      return { kind: "told", result: { ok: false, revision } };
    }
    return this.#notTold(response.status, text);
  }

  #notTold(status: number, text: string): Attempt {
    if (status === 503 || status === 429) return { kind: "not-applied" };
    if (status !== 504) this.surprises.push(`${status} ${text}`);
    return { kind: "unknown" };
  }

  #nextKey(): string {
    const round = Math.floor(this.#keyUses++ / (KEYS * OPERATIONS_PER_KEY));
    return `${this.#run}.${round}.${this.#dice.below(KEYS)}`;
  }
}

function sleep(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}
