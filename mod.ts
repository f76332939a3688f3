/**
 * Statecraft: a replicated key-value store for Deno whose consensus protocol is an executable
 * statechart.
 *
 * @example Start a cluster of one member and use it over HTTP
 * ```ts
 * import { startNode } from "statecraft";
 *
 * const dataDir = await Deno.makeTempDir();
 * await using node = await startNode({
 *   id: 1,
 *   single: true,
 *   dataDir,
 *   http: { hostname: "127.0.0.1", port: 0 },
 * });
 * const url = `${node.httpAddress}/v1/kv/greeting`;
 * await (await fetch(url, { method: "PUT", body: "hello" })).body?.cancel();
 * console.assert(await (await fetch(url)).text() === "hello");
 * ```
 *
 * @module
 */
export {
  clusterIdOf,
  type NodeOptions,
  startNode,
  type StatecraftNode,
  VERSION,
} from "./actors/node.ts";
export {
  Actor,
  type ActorContext,
  type ActorRef,
  ActorStoppedError,
  type Address,
  CallError,
  type CallOptions,
  CallTimeoutError,
  type Delivery,
  type DeliveryOutcome,
  formatAddress,
  MailboxFullError,
  type Outcome,
  parseAddress,
  RemoteError,
  type StopReason,
  UnreachableError,
} from "./actors/actor.ts";
export { denoPorts } from "./actors/deno_ports.ts";
export { Peers, type PeersOptions } from "./actors/peers.ts";
export type { Clock, Log, LogLevel, Ports, Random, Scheduler, Timers } from "./actors/ports.ts";
export { ActorSystem, type StopResult, type SystemFailure } from "./actors/system.ts";
export { chartDocument } from "./machines/chart_document.ts";
