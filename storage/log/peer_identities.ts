/**
 * Which data directory each peer has, remembered for good: a member whose directory was lost must
 * not come back under its old id.
 *
 * Raft relies on promises that outlive a process: a vote, and every entry that a follower said to
 * be durable. They are in the member's directory. A member that comes back with an empty directory
 * has forgotten them. It would vote for a candidate that lacks an entry that it had acknowledged,
 * and a committed entry would be lost. (Dissertation s3.8: a server that lost its state must not
 * rejoin under its old identity.)
 *
 * So every directory gets a random id when it is created, and both sides of a hello name theirs. A
 * node remembers the id of every peer that it has greeted, durably, before it takes any message
 * from that peer. It refuses a peer that comes with another id.
 *
 * Why that is enough. A node that has greeted the lost directory refuses the new one, so to this
 * node the member has crashed and does not come back. Raft is safe if a member never comes back. In
 * full: a majority M holds a committed entry, a majority Q elects a later leader, and M and Q share
 * a member. The acceptance and the vote of that member came from the same directory. It holds the
 * entry, so it refuses a candidate that lacks the entry. If that directory is lost, it does not
 * vote, and Q is a majority without it. There is such a majority as long as only a minority is
 * lost. Members that lost their directories do greet each other anew, but they are no majority.
 *
 * Why the id must be durable first. A node could take an acceptance, crash, and forget which
 * directory it came from. It would then welcome the new directory.
 *
 * The limits:
 *
 * - A peer that has never greeted the old directory goes by the configuration, which names the
 *   directories that its leaders have met (actors/standing.ts): all of them once the members are in the
 *   log. Before that, and until a new member's first change after its joining, it cannot tell the new
 *   directory from the old one. If a majority consists of such peers and the new directory, it may elect
 *   a leader without what the old directory held.
 * - A majority of the members that a cluster was founded with, each on an empty disk and started with the
 *   list of the founding again, founds it again: none of them has anything to remember, and by then the
 *   cluster may consist of others, whom the list does not name. So a member is started with `--join`
 *   once the cluster is there; with a directory that knows its cluster that changes nothing.
 * - A directory that was removed with its member is forgotten, and is never welcome again: its id is in
 *   the configuration. It is forgotten only when the configuration without that member is committed. Then
 *   no quorum counts what the directory promised. Who has not read so yet hears the directory in its place
 *   as a leader only (actors/standing.ts).
 * - A directory that goes back in time, such as a backup, keeps its id and is not recognised. Only
 *   the directory as it was may be brought back.
 * - Hellos are not authenticated yet. Every process that reaches the port can claim an id, and the
 *   first one is remembered for good. To forget a peer that should not have been met, stop the node
 *   and remove the peer from `peers.json`. The operator must know that no promise is lost.
 *
 * @module
 */
import type { NodeId } from "../../machines/raft_types.ts";
import { PEERS_FILE } from "./data_directory.ts";
import {
  IdentityDamagedError,
  isDirectoryId,
  readFields,
  replaceFields,
} from "./directory_file.ts";
import { type Disk, isNoSpace } from "./disk.ts";

/** This node's directory, and those of its peers. */
export interface PeerIdentities {
  /** Id of this node's own directory. */
  readonly own: string;
  /** Id of the directory that the peer had when it was first greeted; undefined before that. */
  of(peer: NodeId): string | undefined;
  /** The peers whose directories are remembered. */
  readonly peers: readonly NodeId[];
  /**
   * Whether the peer has the directory that it had when it was first greeted. The first directory
   * is remembered durably before this returns.
   *
   * @throws {DiskError} `no-space` if the disk is full: the node must take nothing from the peer now.
   * @throws {Error} If it cannot be remembered. The node must take nothing from the peer then, and
   * must stop: after a failed sync nobody knows what the disk holds.
   */
  recognise(peer: NodeId, directoryId: string): boolean;
  /**
   * The peer's directory was removed with it (machines/membership.ts), durably for the whole cluster:
   * the next one that it comes with is remembered instead.
   *
   * @throws {Error} As {@linkcode recognise}.
   */
  forget(peer: NodeId): void;
}

/** The identities in a data directory. */
export class StoredPeerIdentities implements PeerIdentities {
  readonly own: string;
  readonly #disk: Disk;
  #known: ReadonlyMap<NodeId, string>;
  #failure: unknown = undefined;

  /**
   * Reads what was remembered; what it returns is durable.
   *
   * @throws {IdentityDamagedError} If it is damaged.
   * @throws {DiskError} If the disk fails.
   */
  static open(disk: Disk, own: string): StoredPeerIdentities {
    return new StoredPeerIdentities(disk, own, readKnown(disk));
  }

  private constructor(disk: Disk, own: string, known: ReadonlyMap<NodeId, string>) {
    this.#disk = disk;
    this.own = own;
    this.#known = known;
  }

  get peers(): readonly NodeId[] {
    return [...this.#known.keys()];
  }

  of(peer: NodeId): string | undefined {
    return this.#known.get(peer);
  }

  recognise(peer: NodeId, directoryId: string): boolean {
    const known = this.#known.get(peer);
    if (known !== undefined) return known === directoryId;
    this.#store(new Map(this.#known).set(peer, directoryId));
    return true;
  }

  forget(peer: NodeId): void {
    this.#store(new Map([...this.#known].filter(([id]) => id !== peer)));
  }

  #store(known: ReadonlyMap<NodeId, string>): void {
    if (this.#failure !== undefined) throw this.#failure;
    try {
      replaceFields(this.#disk, PEERS_FILE, { peers: Object.fromEntries(known) });
    } catch (error) {
      // A full disk has replaced nothing, and may have room later.
      if (!isNoSpace(error)) this.#failure = error;
      throw error;
    }
    // Only now, because it was not durable before.
    this.#known = known;
  }
}

function readKnown(disk: Disk): ReadonlyMap<NodeId, string> {
  const known = new Map<NodeId, string>();
  const { path } = PEERS_FILE;
  if (!disk.exists(path)) return known;
  const { peers } = readFields(disk, PEERS_FILE);
  if (typeof peers !== "object" || peers === null || Array.isArray(peers)) {
    throw new IdentityDamagedError(`${path} lacks the peers`);
  }
  for (const [id, directoryId] of Object.entries(peers)) {
    if (!/^[1-9]\d*$/.test(id) || !isDirectoryId(directoryId)) {
      throw new IdentityDamagedError(`${path} has no valid directory for peer ${id}`);
    }
    known.set(Number(id), directoryId);
  }
  // A crash may have come between the rename and its sync.
  disk.syncDirectory("");
  return known;
}
