/**
 * What the members of a group have agreed on besides the state of its machine, in entries of kind
 * "config": the cluster version, and the members themselves (thesis s4).
 *
 * Members are upgraded one by one, so builds of two versions share a cluster for a while. The newer one
 * may know kinds of entries and requests that the older one cannot read, and an entry that a member
 * cannot read is the end of that member. So nobody writes such an entry before the members have agreed
 * on the cluster version that it belongs to: a leader proposes one once every member says that its build
 * knows it. From then on a build that does not know it must not take part, and stops.
 *
 * The members are in these entries since cluster version {@linkcode MEMBERS_VERSION}. Until the first such
 * entry they are those that the cluster was founded with.
 *
 * | bytes of the payload | field |
 * |---|---|
 * | 4 | cluster version, big-endian |
 * | n | since MEMBERS_VERSION: JSON of {@linkcode StoredConfig} |
 *
 * @module
 */
import { type LogIndex, type Membership, NODE_ID_MAX, type NodeId } from "./raft_types.ts";

/** The cluster versions that this build knows, from the lowest to the highest. */
export const CLUSTER_VERSIONS = { min: 1, max: 2 } as const;
/** From this cluster version on the members are in the log, and may change. */
export const MEMBERS_VERSION = 2;

/** Highest cluster version that an entry may carry. */
const CLUSTER_VERSION_MAX = 2 ** 31;
const VERSION_BYTES = 4;

/** Members of a group, learners too. Thesis s6.1: more voters make every quorum slower. */
export const MEMBERS_MAX = 31;
/** Characters of an address of a member. */
export const ADDRESS_CHARS_MAX = 512;
/** Data directories that are remembered as removed: the newest. */
export const REMOVED_MAX = 64;

/** A member: where it is, and what is to become of it. */
export interface Member {
  readonly id: NodeId;
  /** Where the other members reach it, `HOST:PORT`. */
  readonly raft: string;
  /** Where clients reach it, a URL; empty if unknown. */
  readonly http: string;
  /** It is a learner for good: it is not promoted when it has caught up. */
  readonly staysLearner: boolean;
  /** A learner that takes this voter's place when it has caught up. */
  readonly replaces: NodeId | undefined;
  /** Its data directory, once a leader that changed the members had met it. */
  readonly directory?: string;
}

/** See the module. */
export interface GroupConfig extends Membership {
  /** The version that all members know; it never falls. */
  readonly clusterVersion: number;
  /** Every voter, outgoing voter and learner once, ascending by id. */
  readonly members: readonly Member[];
  /** Data directories that were removed with their members and must not come back; the newest last. */
  readonly removed: readonly string[];
}

/** A configuration and the entry that holds it; index 0 is that of the founding. */
export interface PlacedConfig {
  readonly index: LogIndex;
  readonly config: GroupConfig;
}

/** A configuration as JSON, in entries, snapshots and files. A later release may append fields. */
export interface StoredConfig {
  /** As of {@linkcode Membership}. */
  readonly voters: readonly NodeId[];
  /** As of {@linkcode Membership}. */
  readonly outgoing: readonly NodeId[];
  /** As of {@linkcode GroupConfig}, ascending by id; what is left out is false, or nobody. */
  readonly members: readonly {
    readonly id: NodeId;
    readonly raft: string;
    readonly http: string;
    readonly staysLearner?: boolean;
    readonly replaces?: NodeId;
    readonly learner?: boolean;
    readonly directory?: string;
  }[];
  /** As of {@linkcode GroupConfig}. */
  readonly removed: readonly string[];
}

/** A {@linkcode PlacedConfig} as JSON. */
export interface StoredMembers {
  readonly index: LogIndex;
  readonly clusterVersion: number;
  readonly config: StoredConfig;
}

/** What a config entry says: without members, they stay as they are. */
export interface ConfigEntry {
  readonly clusterVersion: number;
  readonly stored: StoredConfig | undefined;
}

/** What a cluster is founded with. Addresses that are not named are not known. */
export function foundingConfig(
  { voters, learners = [], members = [] }: {
    readonly voters: readonly NodeId[];
    readonly learners?: readonly NodeId[];
    readonly members?: readonly Pick<Member, "id" | "raft" | "http">[];
  },
): GroupConfig {
  const ids = [...voters, ...learners].sort((a, b) => a - b);
  return {
    clusterVersion: CLUSTER_VERSIONS.min,
    voters,
    outgoing: [],
    learners,
    members: ids.map((id) => ({
      ...{ id, raft: "", http: "" },
      ...members.find((member) => member.id === id),
      ...{ staysLearner: false, replaces: undefined },
    })),
    removed: [],
  };
}

/** The configuration as plain values. */
export function storedConfigOf(
  { voters, outgoing, learners, members, removed }: GroupConfig,
): StoredConfig {
  return {
    voters,
    outgoing,
    members: members.map(({ id, raft, http, staysLearner, replaces, directory }) => ({
      ...{ id, raft, http },
      ...(learners.includes(id) ? { learner: true } : {}),
      ...(staysLearner ? { staysLearner } : {}),
      ...(replaces === undefined ? {} : { replaces }),
      ...(directory === undefined ? {} : { directory }),
    })),
    removed,
  };
}

/**
 * Reads what {@linkcode storedConfigOf} made.
 *
 * @throws {RangeError} If it is none: an id or an address that cannot be, a list that names nobody, or a
 * voter that is no member.
 */
export function configOfStored(value: unknown, clusterVersion: number): GroupConfig {
  const { voters, outgoing, members, removed } = fieldsOf(value);
  if (!Array.isArray(members) || members.length === 0 || members.length > MEMBERS_MAX) {
    throw new RangeError("Cannot read a configuration: it names no members, or too many");
  }
  const read = members.map(memberOf);
  const ids = read.map(({ id }) => id);
  if (ids.some((id, at) => at > 0 && id <= ids[at - 1]!)) {
    throw new RangeError("Cannot read a configuration: its members are not in order");
  }
  const isOfMembers = (list: unknown): list is NodeId[] =>
    Array.isArray(list) && list.every((id, at) => ids.includes(id) && !list.includes(id, at + 1));
  if (!isOfMembers(voters) || voters.length === 0 || !isOfMembers(outgoing)) {
    throw new RangeError("Cannot read a configuration: its voters are not among its members");
  }
  const learners = members.filter(({ learner }) => learner === true).map(({ id }) => id as NodeId);
  if (
    learners.some((id) => voters.includes(id)) ||
    ids.some((id) => ![...voters, ...outgoing, ...learners].includes(id))
  ) {
    throw new RangeError("Cannot read a configuration: a member must be a voter or a learner");
  }
  const isList = Array.isArray(removed) && removed.length <= REMOVED_MAX &&
    removed.every((id) => typeof id === "string" && id.length <= ADDRESS_CHARS_MAX);
  if (!isList) throw new RangeError("Cannot read a configuration: it lacks the removed members");
  return { clusterVersion, voters, outgoing, learners, members: read, removed };
}

/** As {@linkcode storedConfigOf}, with the entry that holds it. */
export function storedMembersOf({ index, config }: PlacedConfig): StoredMembers {
  return { index, clusterVersion: config.clusterVersion, config: storedConfigOf(config) };
}

/**
 * Reads what {@linkcode storedMembersOf} made.
 *
 * @throws {RangeError} As {@linkcode configOfStored}.
 */
export function placedConfigOf({ index, clusterVersion, config }: StoredMembers): PlacedConfig {
  return { index, config: configOfStored(config, clusterVersion) };
}

function memberOf(value: unknown): Member {
  const { id, raft, http, staysLearner = false, replaces, directory } = fieldsOf(value);
  const isSound = isNodeId(id) && isAddress(raft) && isAddress(http) &&
    typeof staysLearner === "boolean" && (replaces === undefined || isNodeId(replaces)) &&
    (directory === undefined || isAddress(directory));
  if (!isSound) throw new RangeError("Cannot read a configuration: a member lacks its fields");
  return {
    ...{ id, raft, http, staysLearner, replaces },
    ...(directory === undefined ? {} : { directory }),
  };
}

/** Whether it can be a node's id. */
export function isNodeId(value: unknown): value is NodeId {
  return typeof value === "number" && Number.isSafeInteger(value) && value >= 1 &&
    value <= NODE_ID_MAX;
}

function isAddress(value: unknown): value is string {
  return typeof value === "string" && value.length <= ADDRESS_CHARS_MAX;
}

function fieldsOf(value: unknown): Readonly<Record<string, unknown>> {
  if (typeof value === "object" && value !== null && !Array.isArray(value)) {
    return value as Readonly<Record<string, unknown>>;
  }
  throw new RangeError("Cannot read a configuration: it is no object");
}

/** The payload of a config entry. */
export function encodeConfig(config: GroupConfig): Uint8Array {
  const { clusterVersion } = config;
  const text = clusterVersion < MEMBERS_VERSION ? "" : JSON.stringify(storedConfigOf(config));
  const json = new TextEncoder().encode(text);
  const bytes = new Uint8Array(VERSION_BYTES + json.length);
  new DataView(bytes.buffer).setUint32(0, clusterVersion);
  bytes.set(json, VERSION_BYTES);
  return bytes;
}

/**
 * Reads what {@linkcode encodeConfig} wrote. What a later version has appended is read over: whoever
 * must understand it is told by the cluster version.
 *
 * @throws {RangeError} If the payload is too short, or no configuration.
 */
export function decodeConfig(payload: Uint8Array): ConfigEntry {
  const { buffer, byteOffset, length } = payload;
  const clusterVersion = length < VERSION_BYTES
    ? 0
    : new DataView(buffer, byteOffset, length).getUint32(0);
  if (clusterVersion < 1 || clusterVersion > CLUSTER_VERSION_MAX) {
    throw new RangeError(`Cannot read a configuration of ${length} bytes`);
  }
  if (clusterVersion < MEMBERS_VERSION || length === VERSION_BYTES) {
    return { clusterVersion, stored: undefined };
  }
  try {
    const stored = JSON.parse(new TextDecoder().decode(payload.subarray(VERSION_BYTES)));
    configOfStored(stored, clusterVersion);
    return { clusterVersion, stored };
  } catch (error) {
    throw new RangeError(`Cannot read a configuration of ${length} bytes`, { cause: error });
  }
}

/** The configuration that an entry makes of the one before it. */
export function configAfter(
  before: GroupConfig,
  { clusterVersion, stored }: ConfigEntry,
): GroupConfig {
  const version = Math.max(before.clusterVersion, clusterVersion);
  return stored === undefined
    ? { ...before, clusterVersion: version }
    : configOfStored(stored, version);
}

/** The cluster has agreed on a version that this build does not know. */
export class ClusterVersionError extends Error {
  /** Its class's name. */
  override readonly name = "ClusterVersionError";
  /** What the cluster has agreed on. */
  readonly clusterVersion: number;

  /** See the class; `knownMax` is the highest that this build knows. */
  constructor(clusterVersion: number, knownMax: number) {
    super(
      `Cannot take part: the cluster has agreed on version ${clusterVersion}, and this build knows ` +
        `versions up to ${knownMax}; start this member with the build that the others run`,
    );
    this.clusterVersion = clusterVersion;
  }
}
