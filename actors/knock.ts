/**
 * A knock at a peer that would have to dial: the only question is whether this node was removed.
 *
 * The node with the larger id dials, and nobody dials a member that was removed. One that was away then
 * would wait for ever. So a member that knows no leader says hello to the others itself: who knows that
 * its directory was removed says so, and anybody else turns it away.
 *
 * @module
 */
import { GREETING_MS_MAX } from "../machines/peer_machine.ts";
import type { NodeId } from "../machines/raft_types.ts";
import { decodedOf } from "../transport/wire/codec.ts";
import { PROTOCOL_MAGIC } from "../transport/wire/limits.ts";
import type { Hello } from "../transport/wire/messages.ts";
import type { HostPort } from "../transport/wire/network.ts";
import type { PeerHost } from "./peer_link.ts";
import { directoryAskedOf } from "./standing.ts";

/** The hello of this node to a peer. */
export function helloOf(host: PeerHost, to: NodeId): Hello {
  const { self, clusterId, incarnation, identities, versions, clusterVersionMax } = host;
  return {
    type: "Hello",
    magic: PROTOCOL_MAGIC,
    versionMin: versions.min,
    versionMax: versions.max,
    clusterId,
    from: self,
    to,
    incarnation,
    directoryId: identities.own,
    toDirectoryId: directoryAskedOf(host, to),
    clusterVersionMax,
  };
}

/** Says hello, and tells the host if the answer is that this node was removed. */
export function knock(host: PeerHost, peer: NodeId, address: HostPort): void {
  const { network, ports, versions, createCodec, onRemoved } = host;
  const codec = createCodec(versions.min);
  const end = (): void => {
    ports.timers.clear(timer);
    connection.close();
  };
  const connection = network.dial(address, {
    onOpen: () => void connection.send(codec.encode(helloOf(host, peer))),
    onFrame: (body) => {
      end();
      const message = decodedOf(codec, body);
      if (message?.type === "HelloReply" && message.refusal === "removed") onRemoved(peer);
    },
    onClose: () => ports.timers.clear(timer),
  });
  const timer = ports.timers.set(GREETING_MS_MAX, end);
}
