/**
 * Which data directory each peer has, remembered for good: a member whose directory was lost must
 * not come back under its old id.
 *
 * Raft counts on promises that outlive a process: a vote, and every entry that a follower said to
 * be durable. They live in the member's directory. A member that comes back with an empty one has
 * forgotten them, and would vote for a candidate that lacks an entry it had acknowledged: the entry
 * was committed, and is gone. (Dissertation s3.8: a server that lost its state must not rejoin
 * under its old identity.)
 *
 * So every directory gets a random id when it is created; both sides of a hello name theirs; and a
 * node remembers the id of every peer it has greeted, durably, before it takes any message from it.
 * A peer that comes with another one is refused.
 *
 * Why that is enough. To a node that has greeted the lost directory, the member is one that crashed
 * for ever: nothing that the new directory says reaches it. If all peers have, the cluster is one in
 * which that member never came back, and Raft needs nobody back to be safe. In full: an entry is
 * committed once a majority M holds it, a leader is elected by a majority Q, and they share a
 * member. Its vote was taken from the directory from which its acceptance was taken, which holds
 * the entry and so refuses a candidate that lacks it; if that directory is lost there is no such
 * vote, and Q is another majority. As long as no more than a minority is lost there is one. The
 * lost do greet each other anew, and are no majority.
 *
 * Why it must be durable first. A node that took an acceptance, crashed, and had forgotten whose it
 * was would welcome the new directory, and be the peer that cannot tell.
 *
 * The limits:
 *
 * - A peer that had never greeted the old directory cannot tell: to it the new one is what the old
 *   one would have been. If these two and others like them are a majority, they may elect a leader
 *   without what the old directory held. It is the first boot of a cluster over again, and takes a
 *   member that has never been up together with the lost one. To ask for all peers at the first
 *   boot would close it, and was not chosen: a cluster could not be started while one member is
 *   down, which is what it is there to survive.
 * - A directory that goes back in time, such as a backup, keeps its id and is not recognised. Only
 *   the directory as it was may be brought back.
 * - Hellos are not authenticated yet: whoever reaches the port can claim an id, and the first to
 *   claim it is remembered for good. To forget a peer that should not have been met, stop the node
 *   and take it out of `peers.json`; it is on whoever does that to know that no promise is lost.
 *
 * @module
 */
import type { NodeId } from "../../machines/raft_types.ts";
import { PEERS_FILE } from "./data_directory.ts";
import { IdentityDamagedError, isDirectoryId, readFields, replaceFile } from "./directory_file.ts";
import type { Disk } from "./disk.ts";

/** This node's directory, and those of its peers. */
export interface PeerIdentities {
  /** Id of this node's own directory. */
  readonly own: string;
  /** Id of the directory that the peer had when it was first greeted; undefined before that. */
  of(peer: NodeId): string | undefined;
  /**
   * Whether the peer may be believed: its directory is the one it had when it was first greeted.
   * The first one is remembered for good; only then this returns.
   *
   * @throws {Error} If it cannot be remembered. Nothing of the peer may be taken then, and the
   * process is to stop: after a failed sync nobody knows what the disk holds.
   */
  recognise(peer: NodeId, directoryId: string): boolean;
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

  of(peer: NodeId): string | undefined {
    return this.#known.get(peer);
  }

  recognise(peer: NodeId, directoryId: string): boolean {
    const known = this.#known.get(peer);
    if (known !== undefined) return known === directoryId;
    this.#remember(peer, directoryId);
    return true;
  }

  #remember(peer: NodeId, directoryId: string): void {
    if (this.#failure !== undefined) throw this.#failure;
    const known = new Map(this.#known).set(peer, directoryId);
    try {
      replaceFile(this.#disk, PEERS_FILE, { peers: Object.fromEntries(known) });
    } catch (error) {
      this.#failure = error;
      throw error;
    }
    // Only now: what is not durable has not been remembered.
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
