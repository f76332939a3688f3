/**
 * How far a peer is believed that comes with a certain data directory.
 *
 * A peer with the directory that this node remembers of it is believed in all, and one with another
 * directory in nothing: storage/log/peer_identities.ts says why. There is one case between. While this
 * node was away, the cluster may have taken a lost directory out and let the member come back with a new
 * one. This node will read so in the log, and forgets the old directory then. But the new one may lead, and
 * then it is the only one who sends the log: who refuses it has no leader until another one leads.
 *
 * So if a member says that the remembered directory was removed (actors/members.ts), the one that comes in
 * its place is heard as a leader, and as nothing else.
 *
 * Safety. Raft needs that a directory's promises are counted for that directory only: its votes, its
 * acknowledgements, its answers to read rounds. None of these is taken from the new directory, and it gets
 * no vote. What is taken are entries and snapshots. Whoever leads a term was elected in it by a quorum of
 * others, each of which judged for itself whom it knew; and a follower takes the entries of the leader of
 * its term whoever that is (s5.3). So a wrong word of a peer costs no promise.
 *
 * @module
 */
import type { NodeId, RaftMessage } from "../machines/raft_types.ts";
import type { PeerIdentities } from "../storage/log/peer_identities.ts";

/** See the module. */
export type Standing = "known" | "leader-only";

/** What a node knows of directories. */
export interface KnownDirectories {
  readonly identities: PeerIdentities;
  /** What the configuration in force says of a member's directory; undefined if nothing. */
  readonly directoryOf: (peer: NodeId) => string | undefined;
  /** Whether a directory was removed from the cluster, for good. */
  readonly isRemoved: (directoryId: string) => boolean;
  /** Whether a peer says that it was. */
  readonly isSaidRemoved: (directoryId: string) => boolean;
}

/**
 * How far the peer is believed; undefined if it is refused.
 *
 * @throws {Error} As {@linkcode PeerIdentities.recognise}.
 */
export function standingOf(
  directories: KnownDirectories,
  peer: NodeId,
  directoryId: string,
): Standing | undefined {
  const { identities, isRemoved, isSaidRemoved } = directories;
  if (isRemoved(directoryId)) return undefined;
  const known = knownDirectoryOf(directories, peer) ?? directoryId;
  if (known === directoryId && identities.recognise(peer, directoryId)) return "known";
  return isSaidRemoved(known) && !isSaidRemoved(directoryId) ? "leader-only" : undefined;
}

/**
 * The directory that a peer has, as far as this node can tell. A node that has never met the peer, since
 * it is a member for a short time only, goes by the configuration: it could not tell a lost
 * directory from the one in its place.
 */
function knownDirectoryOf(
  { identities, directoryOf }: KnownDirectories,
  peer: NodeId,
): string | undefined {
  return identities.of(peer) ?? directoryOf(peer);
}

/** The directory that the peer must have, as far as this node can tell; undefined if it may be any. */
export function directoryAskedOf(
  directories: KnownDirectories,
  peer: NodeId,
): string | undefined {
  const known = knownDirectoryOf(directories, peer);
  return known === undefined || directories.isSaidRemoved(known) ? undefined : known;
}

/** Whether only a leader sends such a message. */
export function isOfLeader({ type }: RaftMessage): boolean {
  return type === "AppendEntries" || type === "InstallSnapshot";
}
