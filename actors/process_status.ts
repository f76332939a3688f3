/**
 * The links of a process as its status and its explanation show them.
 *
 * @module
 */
import type { LinkFact } from "../machines/explain.ts";
import type { RaftCore } from "../machines/raft_core.ts";
import type { NodeId } from "../machines/raft_types.ts";
import type { MemberStatus } from "../transport/http/gateway_port.ts";
import { formatHostPort, type HostPort } from "../transport/wire/network.ts";
import type { PeerStatus } from "./peer_link.ts";
import { isLostDirectory, refusalText } from "./refusal_text.ts";

/** What an explanation says of each link. */
export function linkFacts(peers: readonly PeerStatus[], nowMs: number): LinkFact[] {
  return peers.map((status) => {
    const isUp = isConnected(status);
    const refusal = refusalOf(status);
    return {
      peer: status.peer,
      isUp,
      forMs: nowMs - status.sinceMs,
      detail: status.closeDetail,
      ...(refusal === undefined ? {} : { refusal }),
      isDirectoryLost: !isUp && isLostDirectory(status.context.refusal),
    };
  });
}

/** All members, as this one sees them. */
export function memberStatuses(
  { self, members, httpAddressOf, peers, core }: {
    readonly self: NodeId;
    readonly members: ReadonlyMap<NodeId, HostPort>;
    readonly httpAddressOf: (node: NodeId) => string | undefined;
    readonly peers: readonly PeerStatus[];
    readonly core: RaftCore;
  },
): MemberStatus[] {
  const { context, state } = core;
  const links = new Map(peers.map((status) => [status.peer, status]));
  return [...members].map(([id, { hostname, port }]) => {
    const matchIndex = state.leadership?.progress.get(id)?.matchIndex;
    const link = links.get(id);
    const refusal = link === undefined ? undefined : refusalOf(link);
    return {
      id,
      voter: context.voters.includes(id),
      raftAddress: formatHostPort({ hostname, port }),
      httpAddress: httpAddressOf(id) ?? "",
      self: id === self,
      link: id === self ? "self" : link !== undefined && isConnected(link) ? "connected" : "down",
      ...(matchIndex === undefined ? {} : { matchIndex }),
      ...(refusal === undefined ? {} : { refusal }),
    };
  });
}

function isConnected({ state }: PeerStatus): boolean {
  return state.startsWith("connected");
}

/** Why there is no link to a peer, if one of the two refused the other. */
function refusalOf(status: PeerStatus): string | undefined {
  const { peer, context: { refusal, dials } } = status;
  if (refusal === undefined || isConnected(status)) return undefined;
  return refusalText({ reason: refusal, dials, peer }) ?? refusal;
}
