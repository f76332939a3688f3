/**
 * The HTTP listener of a node, which outlives a lack of file descriptors.
 *
 * Clients can open more connections than the process may hold. `Deno.serve` then ends with an error
 * (2.9.6), and this listener starts a new one. A graceful shutdown of the old one closes the idle
 * connections, which had used the descriptors up. A reserve of descriptors is held until then and
 * released first, so that the log and the peers find a descriptor meanwhile.
 *
 * @module
 */
import { LISTEN_RETRY_MS, SPARE_DESCRIPTORS } from "./limits.ts";
import type { HostPort } from "../wire/network.ts";

/** What a listener needs. */
export interface HttpServerOptions {
  /** Where to listen; port 0 picks one. */
  readonly at: HostPort;
  readonly handler: (request: Request) => Response | Promise<Response>;
  /** A file that exists: the reserve consists of descriptors of it. */
  readonly spareFile: string;
  /** Takes what an operator should know. */
  readonly log: (
    level: "debug" | "warn",
    event: string,
    fields: Record<string, string | number>,
  ) => void;
}

/** Serves HTTP until it is shut down. */
export class HttpServer {
  readonly #options: HttpServerOptions;
  readonly #spare: Deno.FsFile[] = [];
  #server: Deno.HttpServer<Deno.NetAddr>;
  #at: HostPort;
  #stopping = false;
  #sheds = 0;
  #restarting: Promise<void> | undefined;
  /** Former listeners, each until every request that it took is answered. */
  readonly #ending = new Set<Promise<void>>();

  /** @throws {Error} If the address cannot be listened on. */
  constructor(options: HttpServerOptions) {
    this.#options = options;
    this.#at = options.at;
    this.#server = this.#serve();
    this.#at = { hostname: options.at.hostname, port: this.#server.addr.port };
    this.#hold();
  }

  /** Where it really listens. */
  get address(): HostPort {
    return this.#server.addr;
  }

  /** How often it closed idle connections because no descriptor was left, and listened anew. */
  get sheds(): number {
    return this.#sheds;
  }

  /** Accepts no more, closes idle connections, and resolves once every request is answered. Idempotent. */
  async shutdown(): Promise<void> {
    this.#stopping = true;
    this.#release();
    await this.#restarting;
    await Promise.all([this.#server.shutdown(), ...this.#ending]);
  }

  /**
   * Gives the reserve back at once, closes idle connections and listens anew; requests under way
   * are answered.
   */
  shed(cause: string): void {
    if (this.#stopping || this.#restarting !== undefined) return;
    this.#release();
    this.#sheds++;
    this.#options.log("warn", "http-connections-shed", { cause, times: this.#sheds });
    this.#restarting = this.#listenAnew().finally(() => this.#restarting = undefined);
  }

  #serve(): Deno.HttpServer<Deno.NetAddr> {
    const { hostname, port } = this.#at;
    // The runtime writes an answer that was given up to stderr, unless it is told what else to do.
    const onError = (error: unknown): Response => {
      this.#options.log("debug", "http-answer-cut", { cause: String(error) });
      return new Response(null, { status: 500 });
    };
    const options = { hostname, port, onListen: () => {}, onError };
    const server = Deno.serve(options, this.#options.handler);
    server.finished.catch((error) => this.shed(`${error.message}`));
    return server;
  }

  /** Opens what is missing of the reserve, as far as descriptors are left. */
  #hold(): void {
    try {
      while (this.#spare.length < SPARE_DESCRIPTORS) {
        this.#spare.push(Deno.openSync(this.#options.spareFile));
      }
    } catch {
      // None left, or no such file: the listener then works without a reserve.
    }
  }

  #release(): void {
    for (const file of this.#spare.splice(0)) file.close();
  }

  async #listenAnew(): Promise<void> {
    // Not awaited here: a request may take longer than clients should find nobody listening.
    const ended: Promise<void> = this.#server.shutdown().catch(() => {})
      .then(() => void this.#ending.delete(ended));
    this.#ending.add(ended);
    while (true) {
      await new Promise((resolve) => setTimeout(resolve, LISTEN_RETRY_MS));
      if (this.#stopping) return;
      try {
        this.#server = this.#serve();
        this.#hold();
        return;
      } catch {
        // The old listener still holds the address, or no descriptor is free yet.
      }
    }
  }
}
