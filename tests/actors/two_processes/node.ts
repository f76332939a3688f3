/**
 * What both processes start: an actor system, linked to the other's over TCP.
 *
 * @module
 */
import { denoPorts } from "../../../actors/deno_ports.ts";
import { Peers } from "../../../actors/peers.ts";
import { ActorSystem } from "../../../actors/runtime/system.ts";
import type { NodeId } from "../../../machines/raft_types.ts";
import { StoredPeerIdentities } from "../../../storage/log/peer_identities.ts";
import { createCodec } from "../../../transport/wire/codec.ts";
import { tcpNetwork } from "../../../transport/wire/tcp.ts";
import { MemoryDisk } from "../../sim/memory_disk.ts";
import { plainRecords } from "../../transport/plain_records.ts";

/** Starts node `self`, which knows one other node. */
export function startNode(options: {
  readonly self: NodeId;
  readonly port: number;
  readonly other: { readonly id: NodeId; readonly port: number };
  readonly onLink?: (peer: NodeId, link: "up" | "lost") => void;
}): { system: ActorSystem; peers: Peers } {
  const { self, port, other, onLink = () => {} } = options;
  const system = new ActorSystem({
    node: self,
    ports: denoPorts,
    log: () => {},
    onFailed: ({ error }) => {
      throw error;
    },
  });
  const peers = Peers.start({
    listen: { hostname: "127.0.0.1", port },
    self,
    clusterId: "two-processes",
    identities: StoredPeerIdentities.open(new MemoryDisk(), `directory-${self}`),
    peers: new Map([[other.id, { hostname: "127.0.0.1", port: other.port }]]),
    network: tcpNetwork,
    system,
    createCodec: () => createCodec(plainRecords),
    ports: denoPorts,
    log: () => {},
    onLink,
  });
  return { system, peers };
}
