/**
 * How a process follows the members of its cluster: to whom it has links, at which addresses, whose
 * directories are welcome, and what it tells the others of itself.
 *
 * The configuration in force says who the members are. A member that was away may know an old one only,
 * whose members are gone by now: so those that meet tell each other the newest that they know to be
 * committed, and it is enough to reach one of them. What a peer says so is used for links only, never
 * for a quorum: a link over which votes and acknowledgements count needs the log (standing.ts).
 *
 * @module
 */
import {
  type GroupConfig,
  MEMBERS_MAX,
  MEMBERS_VERSION,
  type PlacedConfig,
  placedConfigOf,
  type StoredMembers,
  storedMembersOf,
} from "../machines/group_config.ts";
import { LEAVING_MS_MAX } from "../machines/leadership.ts";
import type { NodeId } from "../machines/raft_types.ts";
import { isNoSpace } from "../storage/log/disk.ts";
import type { PeerIdentities } from "../storage/log/peer_identities.ts";
import { isWireObject, type WireValue } from "../transport/wire/messages.ts";
import { type HostPort, parseHostPort } from "../transport/wire/network.ts";
import type { Peers } from "./peers.ts";
import { Actor, type Delivery } from "./runtime/actor.ts";

/** The cluster has removed this member, and its data directory with it. */
export class MemberRemovedError extends Error {
  /** Its class's name. */
  override readonly name = "MemberRemovedError";

  /** See the class. */
  constructor(node: NodeId) {
    super(
      `Node ${node} was removed from the cluster, and this data directory with it; to make it a ` +
        "member again, give it an empty directory and --join",
    );
  }
}

/** What members tell each other: the newest configuration that the sender knows to be committed. */
export interface MembersHint {
  readonly type: "Members";
  readonly placed: PlacedConfig;
}

/** Who the members are, as a member has said over HTTP. */
export interface SaidMembers {
  readonly placed: PlacedConfig;
  /** One that is not may be dropped: it is good enough to find links by, and for nothing else. */
  readonly isCommitted: boolean;
}

/** The hint that another node's value stands for; undefined if it stands for none. */
export function membersHintOf(value: WireValue): MembersHint | undefined {
  if (!isWireObject(value) || value["type"] !== "Members") return undefined;
  const { index, clusterVersion } = value;
  if (!Number.isSafeInteger(index) || !Number.isSafeInteger(clusterVersion)) return undefined;
  try {
    return { type: "Members", placed: placedConfigOf(value as unknown as StoredMembers) };
  } catch (error) {
    if (error instanceof RangeError) return undefined;
    throw error;
  }
}

/** What {@linkcode membersHintOf} reads. */
export function membersHintValue(placed: PlacedConfig): WireValue {
  return JSON.parse(JSON.stringify({ type: "Members", ...storedMembersOf(placed) }));
}

/** Takes the hints of other members. */
export class MembersActor extends Actor<MembersHint> {
  readonly #onHint: (placed: PlacedConfig) => void;

  constructor(onHint: (placed: PlacedConfig) => void) {
    super();
    this.#onHint = onHint;
  }

  override receive(batch: readonly Delivery<MembersHint>[]): void {
    for (const { message: { placed } } of batch) this.#onHint(placed);
  }
}

/** What following the members needs. */
export interface MembersOptions {
  readonly self: NodeId;
  /** What this node has joined with; its members count until the log says as much. */
  readonly joined: PlacedConfig | undefined;
  /** Addresses that this start was given; tried after those that the members have agreed on. */
  readonly given: ReadonlyMap<NodeId, HostPort>;
  readonly identities: PeerIdentities;
  readonly peers: () => Peers;
  readonly nowMs: () => number;
  /** A peer's directory was removed with it, and forgotten: what it had acknowledged counts no more. */
  readonly onRenewed: (peer: NodeId) => void;
  /** The disk has failed. */
  readonly onFault: (error: Error) => void;
  /** The configuration in force is another one: it is to be kept beside the log. */
  readonly onChanged: (placed: PlacedConfig, isCommitted: boolean) => void;
}

/** The members as a process follows them. */
export class Members {
  readonly #options: MembersOptions;
  #current: PlacedConfig;
  /** The newest that is known to be committed: here, or by a peer. */
  #committed: PlacedConfig | undefined;
  #hint: PlacedConfig | undefined;
  /** What a peer has in force that may be dropped yet: a way to find links, which shuts out no hint. */
  #rumour: PlacedConfig | undefined;
  /** Links to those who are no members any more, and when they go. */
  readonly #unwanted = new Map<NodeId, number>();
  /** Those that said hello though no configuration known here names them. */
  readonly #strangers = new Set<NodeId>();

  /** Begins with what is in force at the start; the links are there for the members that it names. */
  constructor(current: PlacedConfig, options: MembersOptions) {
    this.#current = current;
    this.#options = options;
  }

  /** What is in force. */
  get current(): PlacedConfig {
    return this.#current;
  }

  /** Where a member is, as far as it is known, the likeliest first. */
  addressesOf(node: NodeId): readonly HostPort[] {
    const found: HostPort[] = [];
    for (const config of this.#sources()) {
      const member = config.members.find(({ id }) => id === node);
      const address = member === undefined ? undefined : parseHostPort(member.raft);
      if (address !== undefined) found.push(address);
    }
    const given = this.#options.given.get(node);
    if (given !== undefined) found.push(given);
    return found.filter((address, at) => found.findIndex((each) => isSame(each, address)) === at);
  }

  /** Where clients reach a member; undefined if nobody has said. */
  httpAddressOf(node: NodeId): string | undefined {
    for (const { members } of this.#sources()) {
      const http = members.find(({ id }) => id === node)?.http;
      if (http !== undefined && http !== "") return http;
    }
    return undefined;
  }

  /**
   * Whether the newest configuration that this node knows to be committed, though it may only have been
   * told so, does not name it, and the one in force neither. One that is not committed may be dropped, and
   * one that is older than its joining says nothing.
   */
  get isAbsent(): boolean {
    const { self, joined } = this.#options;
    const [committed, hint] = [this.#committed, this.#hint];
    const newest = (hint?.index ?? 0) > (committed?.index ?? 0) ? hint : committed;
    if (newest === undefined || newest.index < (joined?.index ?? 0)) return false;
    const inForce = this.#current.index > newest.index ? this.#current : newest;
    return [newest, inForce].every(({ config }) => !config.members.some(({ id }) => id === self));
  }

  /** Everybody whom this node should have a link to. */
  wanted(): Set<NodeId> {
    const ids = this.#sources().flatMap(({ members }) => members.map(({ id }) => id));
    return new Set(ids.filter((id) => id !== this.#options.self));
  }

  /** The data directory of a member, if a leader has written down that it met it. */
  directoryOf(node: NodeId): string | undefined {
    return this.#current.config.members.find(({ id }) => id === node)?.directory;
  }

  /** Whether a directory was removed from the cluster, for good. */
  isRemoved(directoryId: string): boolean {
    return this.#committed?.config.removed.includes(directoryId) === true;
  }

  /** Whether a peer says that a directory was; what that is good for, standing.ts says. */
  isSaidRemoved(directoryId: string): boolean {
    return this.#hint?.config.removed.includes(directoryId) === true;
  }

  /** What this node can tell a peer that it meets; undefined before the members are in the log. */
  get toTell(): PlacedConfig | undefined {
    const committed = this.#committed;
    return committed === undefined || committed.config.clusterVersion < MEMBERS_VERSION
      ? undefined
      : committed;
  }

  /** Another configuration is in force, or the one in force is committed by now. */
  follow(placed: PlacedConfig, isCommitted: boolean): void {
    this.#current = placed;
    this.#options.onChanged(placed, isCommitted);
    // A joint one may be followed by the one before it: nobody is gone yet.
    const isFinal = isCommitted && placed.config.outgoing.length === 0;
    if (isFinal && placed.index >= (this.#committed?.index ?? 0)) this.#committed = placed;
    this.tend();
  }

  /** A peer knows this configuration to be committed. */
  noteHint(placed: PlacedConfig): void {
    // What is in force here may be the very same, and not known to be committed.
    const isKnown = placed.index <= (this.#committed?.index ?? 0) ||
      placed.index < this.#current.index;
    if (isKnown) return;
    const { index = 0, config } = this.#hint ?? {};
    // What was asked for over HTTP names no removed directories; a peer does.
    const isSupplement = placed.index === index && config?.removed.length === 0 &&
      placed.config.removed.length > 0;
    if (placed.index <= index && !isSupplement) return;
    this.#hint = placed;
    this.#rumour = undefined;
    this.tend();
  }

  /** A peer has this configuration in force, and does not know it to be committed. */
  noteRumour(placed: PlacedConfig): void {
    this.#rumour = placed;
    this.tend();
  }

  /**
   * A node of this cluster says hello that is no member as far as this node knows. It may have become one
   * while this node was away, and without this node there may be no majority that could say so (thesis s4.2.1:
   * whoever asks for a vote or sends entries is heard, member or not). It gets a link for a while,
   * unless there are too many such, or this node's log says nothing of the members. Its disk may have been lost
   * then. Those who have met the lost one refuse it, but a stranger could not tell.
   */
  noteStranger(node: NodeId): boolean {
    const { index, config } = this.#current;
    if (index === 0 || config.clusterVersion < MEMBERS_VERSION) return false;
    if (!this.#strangers.has(node) && this.#strangers.size >= MEMBERS_MAX) return false;
    this.#strangers.add(node);
    return true;
  }

  /** Makes the links those that are wanted, and drops those that have not been wanted for a while. */
  tend(): void {
    const { peers, nowMs } = this.#options;
    const links = peers();
    if (this.#committed !== undefined) this.#forgetRemoved(this.#committed.config);
    const wanted = this.wanted();
    for (const id of wanted) {
      this.#unwanted.delete(id);
      this.#strangers.delete(id);
      const addresses = this.addressesOf(id);
      if (links.has(id)) links.relocate(id, addresses);
      else if (addresses.length > 0) links.add(id, addresses);
    }
    for (const { peer } of links.status().peers) {
      if (wanted.has(peer)) continue;
      // The leader may still have to tell it that it was removed.
      const goesMs = this.#unwanted.get(peer) ?? nowMs() + LEAVING_MS_MAX;
      this.#unwanted.set(peer, goesMs);
      if (nowMs() < goesMs) continue;
      this.#unwanted.delete(peer);
      links.remove(peer);
      // No configuration has named it here, so nobody has counted what it promised.
      if (this.#strangers.delete(peer)) this.#forget(peer);
    }
    // One that was refused for its directory has no link.
    for (const id of this.#strangers) if (!links.has(id)) this.#strangers.delete(id);
  }

  /** What says who is a member, and where: the first counts most. */
  #sources(): GroupConfig[] {
    return this.#placedSources().map(({ config }) => config);
  }

  #placedSources(): PlacedConfig[] {
    const { joined } = this.#options;
    const sources = [this.#current];
    // A log that is read from its beginning says who the members once were.
    if (joined !== undefined && joined.index > this.#current.index) sources.unshift(joined);
    for (const said of [this.#rumour, this.#hint]) {
      if (said !== undefined && said.index > this.#current.index) sources.unshift(said);
    }
    return sources;
  }

  #forgetRemoved({ removed, members }: GroupConfig): void {
    const { identities, peers, onRenewed, self } = this.#options;
    for (const id of identities.peers) {
      const directory = identities.of(id);
      if (id === self || directory === undefined || !removed.includes(directory)) continue;
      const isMember = members.some((member) => member.id === id);
      // The leader may still have to tell it that it was removed.
      if (!isMember && peers().has(id)) continue;
      // Nobody counts what it says any more, whatever the disk does.
      peers().remove(id);
      if (this.#forget(id) && isMember) onRenewed(id);
    }
  }

  /** Whether the directory of a peer is forgotten. */
  #forget(peer: NodeId): boolean {
    const { identities, onFault } = this.#options;
    try {
      identities.forget(peer);
      return true;
    } catch (error) {
      // Without room it is tried again later. Until then it is refused as before.
      if (!isNoSpace(error)) onFault(error as Error);
      return false;
    }
  }
}

function isSame(one: HostPort, other: HostPort): boolean {
  return one.hostname === other.hostname && one.port === other.port;
}
