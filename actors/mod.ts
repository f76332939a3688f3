/**
 * The actor runtime that Statecraft stands on: bounded mailboxes, supervision, death watch, and
 * refs to actors of other processes. It knows nothing of Raft.
 *
 * @example Two nodes, each with an actor that the other may call
 * ```ts
 * import {
 *   Actor,
 *   ActorSystem,
 *   createCodec,
 *   type Delivery,
 *   denoPorts,
 *   Peers,
 *   recordFormat,
 *   tcpNetwork,
 * } from "statecraft/actors";
 *
 * class Echo extends Actor<string, string> {
 *   override receive(batch: readonly Delivery<string, string>[]): void {
 *     for (const delivery of batch) delivery.reply(`${delivery.message}!`);
 *   }
 * }
 *
 * // The peers' data directories. This program has none, so it accepts every peer.
 * const identities = {
 *   own: "none",
 *   peers: [],
 *   of: () => undefined,
 *   recognise: () => true,
 *   forget: () => {},
 * };
 * const addresses = new Map([1, 2].map((id) => [id, { hostname: "127.0.0.1", port: 26_990 + id }]));
 *
 * function start(node: number) {
 *   const system = new ActorSystem({
 *     node,
 *     ports: denoPorts,
 *     log: () => {},
 *     onFailed: ({ error }) => {
 *       throw error;
 *     },
 *   });
 *   system.spawn<string, string>({
 *     name: "echo",
 *     group: 0,
 *     create: () => new Echo(),
 *     supervision: { policy: "restart", restartsMax: 3, windowMs: 10_000 },
 *     // What another node sends is a message only if this says so.
 *     remote: (value) => typeof value === "string" ? value : undefined,
 *   });
 *   const peers = Peers.start({
 *     self: node,
 *     listen: addresses.get(node)!,
 *     peers: addresses,
 *     clusterId: "example",
 *     identities,
 *     network: tcpNetwork,
 *     system,
 *     createCodec: () => createCodec(recordFormat),
 *     ports: denoPorts,
 *     log: () => {},
 *   });
 *   return { system, peers };
 * }
 *
 * const [one, two] = [start(1), start(2)];
 * while (!one.peers.status().peers.every(({ state }) => state.startsWith("connected"))) {
 *   await new Promise((resolve) => setTimeout(resolve, 10));
 * }
 * const echo = one.system.ref<string, string>({ node: 2, name: "echo", group: 0 });
 * console.assert(await echo.call("hello", { timeoutMs: 1_000 }) === "hello!");
 * for (const { system, peers } of [one, two]) {
 *   await system.stop({ deadlineMs: 1_000 });
 *   peers.stop();
 * }
 * ```
 *
 * @module
 */
// The actor runtime.
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
  type LocalRef,
  MailboxFullError,
  MessageRefusedError,
  type Outcome,
  parseAddress,
  RemoteError,
  type StopReason,
  UnreachableError,
} from "./runtime/actor.ts";
export type { ActorMetrics, RemoteContract, SpawnOptions, Supervision } from "./runtime/cell.ts";
export type { AnswerContract, RemoteCounters, RemoteLink } from "./runtime/remote.ts";
export type { WhenFull } from "./runtime/mailbox.ts";
export { denoPorts } from "./deno_ports.ts";
export type {
  Clock,
  Log,
  LogLevel,
  Ports,
  Random,
  Scheduler,
  TimerHandle,
  Timers,
} from "./runtime/ports.ts";
export {
  ActorSystem,
  type StopResult,
  type SystemFailure,
  type SystemOptions,
  type SystemStatus,
} from "./runtime/system.ts";

// Links between processes.
export type { GreeterCounters } from "./greeter.ts";
export type { CompressionTotals } from "../storage/compression.ts";
export type { PeerCounters, PeerStatus, VersionRange } from "./peer_link.ts";
export type { CompressionPolicy } from "./limits.ts";
export { Peers, type PeersOptions, type PeersStatus } from "./peers.ts";
export type { PeerContext } from "../machines/peer_machine.ts";
export type * from "../machines/raft_types.ts";
export type { PeerIdentities } from "../storage/log/peer_identities.ts";
export { recordFormat } from "../storage/log/wal_record.ts";
export { type Codec, createCodec } from "../transport/wire/codec.ts";
export type {
  CloseReason,
  Connection,
  ConnectionHandlers,
  HostPort,
  Listener,
  Network,
} from "../transport/wire/network.ts";
export type { ClientHello } from "../transport/wire/client_codec.ts";
export { tcpNetwork } from "../transport/wire/tcp.ts";
export type * from "../transport/wire/messages.ts";
