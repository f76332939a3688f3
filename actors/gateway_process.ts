/**
 * A gateway in front of the members, on Deno: its options with their defaults, and the listener.
 *
 * @module
 */
import { HttpServer } from "../transport/http/server.ts";
import { formatHostPort, type HostPort } from "../transport/wire/network.ts";
import { tcpNetwork } from "../transport/wire/tcp.ts";
import { denoPorts } from "./deno_ports.ts";
import { FrontGateway } from "./front_gateway.ts";
import { GATEWAY_STOP_MS_MAX } from "./limits.ts";
import { VERSION } from "./node.ts";
import type { Log } from "./runtime/ports.ts";

/** What a gateway starts from. */
export interface GatewayStartOptions {
  /** Raft addresses of members; one is enough, more survive its loss. */
  readonly members: readonly HostPort[];
  /** Where to serve HTTP. Port 0 picks one. */
  readonly http: HostPort;
  /** Gets log lines; default none. */
  readonly log?: Log;
}

/** A gateway that runs. */
export interface RunningGateway extends AsyncDisposable {
  /** Where it serves HTTP. */
  readonly httpAddress: string;
  /**
   * Answers what has come, and stops. What waits for news, or for a lock, is cut after
   * GATEWAY_STOP_MS_MAX. Idempotent.
   */
  stop(): Promise<void>;
}

/**
 * Starts a stateless HTTP gateway, which speaks the clients' wire to the members.
 *
 * @throws {RangeError} If no member is named.
 * @throws {Error} If the address cannot be listened on.
 */
export function startGateway(
  { members, http, log = () => {} }: GatewayStartOptions,
): RunningGateway {
  const gateway = new FrontGateway({
    ...{ members, log, network: tcpNetwork, ports: denoPorts, version: VERSION },
  });
  let server: HttpServer;
  try {
    server = new HttpServer({ at: http, handler: gateway.handler, spareFile: SPARE, log });
  } catch (error) {
    const { message } = error as Error;
    throw new Error(`Cannot serve HTTP on ${formatHostPort(http)}: ${message}`, { cause: error });
  }
  const httpAddress = `http://${formatHostPort(server.address)}`;
  log("info", "gateway-serves", { http: httpAddress, members: members.map(formatHostPort).join() });
  const stop = async (): Promise<void> => {
    const late = denoPorts.timers.set(GATEWAY_STOP_MS_MAX, () => gateway.close());
    await server.shutdown();
    denoPorts.timers.clear(late);
    gateway.close();
  };
  return { httpAddress, stop, [Symbol.asyncDispose]: stop };
}

/** A file that is there wherever the gateway runs; see HttpServerOptions. */
const SPARE = Deno.build.os === "windows" ? "C:\\Windows" : "/dev/null";
