/**
 * The links of a process as its status and its explanation show them.
 *
 * @module
 */
import type { LinkFact } from "../machines/explain.ts";
import type { RaftCore } from "../machines/raft_core.ts";
import type { NodeId } from "../machines/raft_types.ts";
import type { MemberStatus } from "../transport/http/gateway_port.ts";
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
  { self, addressOf, httpAddressOf, peers, core, clusterVersionMax }: {
    readonly self: NodeId;
    /** Where its peers reach a member, `HOST:PORT`. */
    readonly addressOf: (node: NodeId) => string;
    readonly httpAddressOf: (node: NodeId) => string | undefined;
    readonly peers: readonly PeerStatus[];
    readonly core: RaftCore;
    /** What this build knows. */
    readonly clusterVersionMax: number;
  },
): MemberStatus[] {
  const { context, state } = core;
  const { config: { members } } = state.configs.current;
  const links = new Map(peers.map((status) => [status.peer, status]));
  return members.map(({ id, staysLearner, replaces }) => {
    const progress = state.leadership?.progress.get(id);
    const versionMax = id === self ? clusterVersionMax : links.get(id)?.clusterVersionMax;
    const link = links.get(id);
    const refusal = link === undefined ? undefined : refusalOf(link);
    return {
      id,
      voter: context.voters.includes(id),
      ...(staysLearner ? { staysLearner } : {}),
      ...(replaces === undefined ? {} : { replaces }),
      raftAddress: addressOf(id),
      httpAddress: httpAddressOf(id) ?? "",
      self: id === self,
      link: id === self ? "self" : link !== undefined && isConnected(link) ? "connected" : "down",
      ...(progress === undefined ? {} : { matchIndex: progress.matchIndex }),
      ...(progress?.wasHeard === true
        ? { lastHeardMs: Math.round(state.nowMs - progress.lastContactMs) }
        : {}),
      ...(versionMax === undefined ? {} : { clusterVersionMax: versionMax }),
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
