/**
 * What a change of the members asks for, and the configuration that it leads to (thesis s4).
 *
 * Any change is one request, however many members it is about. If the voters change, the next
 * configuration is joint: it takes a majority of the voters before and of those after, and the leader
 * leaves it as soon as it is committed. Everything else takes one entry.
 *
 * A new member begins as a learner, which no quorum waits for. It becomes a voter when it has caught up
 * (membership.ts), and then takes the place of the voter that it replaces, in one step.
 *
 * @module
 */
import {
  ADDRESS_CHARS_MAX,
  type GroupConfig,
  isNodeId,
  type Member,
  MEMBERS_MAX,
  REMOVED_MAX,
} from "./group_config.ts";
import { halvesOf, isJoint, majority, type Voters } from "./quorum.ts";
import type { LogIndex, NodeId } from "./raft_types.ts";

/** A member that is to be added: as a learner that is promoted when it has caught up. */
export interface NewMember extends Pick<Member, "id" | "raft" | "http"> {
  /** It stays a learner; default false. */
  readonly staysLearner?: boolean;
}

/** A change of the members, in one step. What is left out is empty. */
export interface MembershipChange {
  readonly add?: readonly NewMember[];
  readonly remove?: readonly NodeId[];
  /** Learners that become voters, caught up or not. */
  readonly promote?: readonly NodeId[];
  /** Voters that become learners for good. */
  readonly demote?: readonly NodeId[];
  /**
   * Members whose disk is lost. With `by`, that one is added, and takes the place when it has caught up.
   * Else the member itself comes back with a new data directory, as a learner that is promoted again.
   */
  readonly replace?: readonly { readonly id: NodeId; readonly by?: NewMember }[];
  /** Members with another address. */
  readonly update?: readonly {
    readonly id: NodeId;
    readonly raft?: string;
    readonly http?: string;
  }[];
}

/** Why a change is not made: it has surely had no effect. */
export interface ChangeRefusal {
  /**
   * `invalid`: it makes no sense for these members. `quorum`: too few of the voters to be answer.
   * `in-use`: a disk that is said to be lost is not. `busy`: another change is under way, or this leader has committed nothing yet. `old-build`: a member
   * runs a build that does not know that members change.
   */
  readonly reason: "not-leader" | "busy" | "invalid" | "quorum" | "in-use" | "old-build";
  readonly detail: string;
}

/** One list of voters, and whether it can decide. */
export interface QuorumReport {
  /** Ascending. */
  readonly voters: readonly NodeId[];
  /** How many of them must answer. */
  readonly needed: number;
  /** Those that answer the leader now. */
  readonly alive: readonly NodeId[];
}

/** What a change does, before it is made. */
export interface ChangeReport {
  /** The voters as they are. */
  readonly before: QuorumReport;
  /** Both halves of the joint configuration; absent if the voters stay. */
  readonly between?: readonly QuorumReport[];
  /** The voters to be. */
  readonly after: QuorumReport;
  /** Members of the configuration to be that lack entries, and how many. */
  readonly behind: readonly { readonly id: NodeId; readonly entries: number }[];
  /** Members whose disks are said to be lost, and which answer; absent if there are none. */
  readonly inUse?: readonly NodeId[];
  /**
   * Voters to be taken out, or whose disks are said to be lost, and whose directories this leader never
   * met: it cannot say that they are gone. Who has met such a one refuses another in its place. Absent if there are none.
   */
  readonly unmet?: readonly NodeId[];
}

/** The change makes no sense for these members. */
export class ChangeError extends Error {
  /** Its class's name. */
  override readonly name = "ChangeError";
}

const LISTS = ["add", "remove", "promote", "demote", "replace", "update"] as const;

/**
 * Reads a change from plain values: JSON, or what a message carried. Fields that it does not know are
 * refused, since they were meant to do something.
 *
 * @throws {ChangeError} If it is none.
 */
export function changeOf(value: unknown): MembershipChange {
  const fields = fieldsOf(value, "the change", LISTS);
  return {
    add: listOf(fields, "add", newMemberOf),
    remove: listOf(fields, "remove", idOf),
    promote: listOf(fields, "promote", idOf),
    demote: listOf(fields, "demote", idOf),
    replace: listOf(fields, "replace", (each, name) => {
      const { id, by } = fieldsOf(each, name, ["id", "by"]);
      return {
        id: idOf(id, `${name}.id`),
        ...(by === undefined || by === null ? {} : { by: newMemberOf(by, `${name}.by`) }),
      };
    }),
    update: listOf(fields, "update", (each, name) => {
      const { id, raft, http } = fieldsOf(each, name, ["id", "raft", "http"]);
      if (raft === undefined && http === undefined) {
        throw new ChangeError(`${name} names no address`);
      }
      return {
        id: idOf(id, `${name}.id`),
        ...(raft === undefined ? {} : { raft: textOf(raft, `${name}.raft`) }),
        ...(http === undefined ? {} : { http: textOf(http, `${name}.http`) }),
      };
    }),
  };
}

function newMemberOf(value: unknown, name: string): NewMember {
  const { id, raft, http, staysLearner = false } = fieldsOf(
    value,
    name,
    ["id", "raft", "http", "staysLearner"],
  );
  if (typeof staysLearner !== "boolean") {
    throw new ChangeError(`${name}.staysLearner must be true or false`);
  }
  const address = textOf(raft, `${name}.raft`);
  if (address === "") throw new ChangeError(`${name}.raft must be HOST:PORT`);
  return {
    id: idOf(id, `${name}.id`),
    raft: address,
    http: textOf(http ?? "", `${name}.http`),
    staysLearner,
  };
}

function listOf<Item>(
  fields: Readonly<Record<string, unknown>>,
  name: string,
  itemOf: (value: unknown, name: string) => Item,
): readonly Item[] {
  const list = fields[name] === undefined ? [] : fields[name];
  if (!Array.isArray(list) || list.length > MEMBERS_MAX) {
    throw new ChangeError(`${name} must be a list of at most ${MEMBERS_MAX}`);
  }
  return list.map((item, at) => itemOf(item, `${name}[${at}]`));
}

function fieldsOf(
  value: unknown,
  name: string,
  known: readonly string[],
): Readonly<Record<string, unknown>> {
  if (typeof value !== "object" || value === null || Array.isArray(value)) {
    throw new ChangeError(`${name} must be an object`);
  }
  const unknown = Object.keys(value).find((field) => !known.includes(field));
  if (unknown === undefined) return value as Readonly<Record<string, unknown>>;
  throw new ChangeError(
    `${name} has the unknown field ${JSON.stringify(unknown)}; it takes ${known.join(", ")}`,
  );
}

function idOf(value: unknown, name: string): NodeId {
  if (isNodeId(value)) return value;
  throw new ChangeError(`${name} must be an id, a whole number from 1 to 2^31`);
}

function textOf(value: unknown, name: string): string {
  if (typeof value === "string" && value.length <= ADDRESS_CHARS_MAX) return value;
  throw new ChangeError(`${name} must be text of at most ${ADDRESS_CHARS_MAX} characters`);
}

/** What is being changed. */
interface Draft {
  readonly members: Map<NodeId, Member>;
  readonly voters: Set<NodeId>;
  readonly learners: Set<NodeId>;
  /** Directories that must not come back. */
  readonly gone: string[];
}

/**
 * The configuration that the change leads to: joint if the voters change.
 *
 * @throws {ChangeError} If the change makes no sense for these members.
 */
export function configWith(
  config: GroupConfig,
  change: MembershipChange,
  directoryOf: (id: NodeId) => string | undefined,
): GroupConfig {
  const present = withDirectories(config, directoryOf).members;
  const draft: Draft = {
    members: new Map(present.map((member) => [member.id, member])),
    voters: new Set(config.voters),
    learners: new Set(config.learners),
    gone: [],
  };
  checkNamedOnce(change);
  for (const { id, ...address } of change.update ?? []) update(draft, id, address);
  for (const member of change.add ?? []) add(draft, member, undefined);
  for (const { id, by } of change.replace ?? []) {
    if (by === undefined) renew(draft, id);
    else add(draft, by, known(draft, id).id);
  }
  for (const id of change.demote ?? []) demote(draft, id);
  for (const id of change.promote ?? []) promote(draft, id);
  for (const id of change.remove ?? []) remove(draft, id);
  check(draft);
  const voters = ascending(draft.voters);
  const staysSame = voters.length === config.voters.length &&
    voters.every((id) => config.voters.includes(id));
  const outgoing = staysSame ? [] : config.voters;
  const ids = ascending(new Set([...voters, ...outgoing, ...draft.learners]));
  const before = new Map(present.map((member) => [member.id, member]));
  const { gone } = draft;
  return {
    clusterVersion: config.clusterVersion,
    voters,
    outgoing,
    learners: ascending(draft.learners),
    members: ids.map((id) => draft.members.get(id) ?? before.get(id)!),
    removed: [...config.removed.filter((id) => !gone.includes(id)), ...gone].slice(-REMOVED_MAX),
  };
}

/** The configuration with the data directories of those members that this node has met. */
export function withDirectories(
  config: GroupConfig,
  directoryOf: (id: NodeId) => string | undefined,
): GroupConfig {
  const members = config.members.map((member) => withDirectory(member, config, directoryOf));
  return { ...config, members };
}

/**
 * The next leader may never have met the directory, and can take it out of the cluster all the same; all
 * those who have met it will hear that it is gone.
 */
function withDirectory(
  member: Member,
  { removed }: GroupConfig,
  directoryOf: (id: NodeId) => string | undefined,
): Member {
  const directory = member.directory ?? directoryOf(member.id);
  return directory === undefined || removed.includes(directory) ? member : { ...member, directory };
}

/** The configuration that follows a joint one: without those who have left. */
export function leaveJoint(config: GroupConfig): GroupConfig {
  const { voters, learners, members } = config;
  const stays = ({ id }: Member): boolean => voters.includes(id) || learners.includes(id);
  return { ...config, outgoing: [], members: members.filter(stays) };
}

/** Whether the change asks for nothing. */
export function isEmptyChange(change: MembershipChange): boolean {
  return Object.values(change).every((list) => list.length === 0);
}

/** What the change from one configuration to the next means for the quorums, and whom it concerns. */
export function reportOf(
  { before, change, next }: {
    readonly before: GroupConfig;
    readonly change: MembershipChange;
    readonly next: GroupConfig;
  },
  { isAlive, entriesBehind, directoryOf }: {
    readonly isAlive: (id: NodeId) => boolean;
    readonly entriesBehind: (id: NodeId) => LogIndex;
    readonly directoryOf: (id: NodeId) => string | undefined;
  },
): ChangeReport {
  const reportsOf = (voters: Voters): QuorumReport[] =>
    halvesOf(voters).map((half) => ({
      voters: half,
      needed: majority(half.length),
      alive: half.filter(isAlive),
    }));
  const after = isJoint(next) ? leaveJoint(next) : next;
  const inUse = (change.replace ?? [])
    .flatMap(({ id, by }) => by === undefined && isAlive(id) ? [id] : []);
  const directories = new Map(
    withDirectories(before, directoryOf).members.map(({ id, directory }) => [id, directory]),
  );
  const leaving = [...change.remove ?? [], ...(change.replace ?? []).map(({ id }) => id)];
  const unmet = leaving.filter((id) =>
    before.voters.includes(id) && directories.get(id) === undefined && !isAlive(id)
  );
  return {
    before: reportsOf(before)[0]!,
    ...(isJoint(next) ? { between: reportsOf(next) } : {}),
    after: reportsOf(after)[0]!,
    behind: after.members.map(({ id }) => ({ id, entries: entriesBehind(id) }))
      .filter(({ entries }) => entries > 0),
    ...(inUse.length === 0 ? {} : { inUse }),
    ...(unmet.length === 0 ? {} : { unmet }),
  };
}

/**
 * Why the change must not be made without force: too few of those who must agree answer now, so it could
 * not be committed, or none after it; or a member that answers would lose a directory that it still has,
 * as when a replacement is asked for twice. Undefined if it may.
 */
export function objectionTo(
  { between = [], after, inUse }: ChangeReport,
): ChangeRefusal | undefined {
  if (inUse !== undefined) {
    const detail =
      `Node ${inUse.join(", ")} answers, so its disk is not lost: a replacement would ` +
      "take out the directory that it has now (if it has just stopped, try again in a second)";
    return { reason: "in-use", detail };
  }
  const weak = [...between, after].find(({ alive, needed }) => alive.length < needed);
  if (weak === undefined) return undefined;
  const { alive, needed, voters } = weak;
  const they = alive.length === 1
    ? `only node ${alive[0]} does`
    : `only nodes ${alive.join(" and ")} do`;
  const detail = `${needed} of the voters ${voters.join(", ")} must answer, and ` +
    `${alive.length === 0 ? "none does" : they}`;
  return { reason: "quorum", detail };
}

/** One that is promoted and demoted in one change would end as whatever is done last. */
function checkNamedOnce({ promote = [], demote = [], remove = [] }: MembershipChange): void {
  const seen = new Set<NodeId>();
  for (const id of [...promote, ...demote, ...remove]) {
    if (seen.has(id)) {
      throw new ChangeError(
        `Node ${id} is named twice; a change promotes, demotes or removes a member, once`,
      );
    }
    seen.add(id);
  }
}

function known({ members }: Draft, id: NodeId): Member {
  const member = members.get(id);
  if (member === undefined) {
    const ids = ascending(members.keys()).join(", ");
    throw new ChangeError(`Node ${id} is no member; the members are ${ids}`);
  }
  return member;
}

function add(draft: Draft, member: NewMember, replaces: NodeId | undefined): void {
  const { id, raft, http, staysLearner = false } = member;
  if (!isNodeId(id)) throw new ChangeError("An id is a whole number from 1 to 2^31");
  if (draft.members.has(id)) throw new ChangeError(`Node ${id} is a member already`);
  if (replaces !== undefined && staysLearner) {
    throw new ChangeError(`Node ${id} is to replace node ${replaces}, so it cannot stay a learner`);
  }
  draft.members.set(id, { id, raft, http, staysLearner, replaces });
  draft.learners.add(id);
}

/** A learner that waits for the place of a member that is gone, or has come back, waits for none. */
function forgetReplacement(draft: Draft, id: NodeId): void {
  for (const member of draft.members.values()) {
    if (member.replaces === id) draft.members.set(member.id, { ...member, replaces: undefined });
  }
}

function remove(draft: Draft, id: NodeId): void {
  const { directory } = known(draft, id);
  draft.members.delete(id);
  draft.voters.delete(id);
  draft.learners.delete(id);
  if (directory !== undefined) draft.gone.push(directory);
  forgetReplacement(draft, id);
}

function renew(draft: Draft, id: NodeId): void {
  const { directory, ...member } = known(draft, id);
  draft.voters.delete(id);
  draft.learners.add(id);
  if (directory !== undefined) draft.gone.push(directory);
  draft.members.set(id, { ...member, replaces: undefined });
  forgetReplacement(draft, id);
}

function promote(draft: Draft, id: NodeId): void {
  const member = known(draft, id);
  if (!draft.learners.delete(id)) throw new ChangeError(`Node ${id} is a voter already`);
  draft.voters.add(id);
  draft.members.set(id, { ...member, staysLearner: false, replaces: undefined });
  if (member.replaces !== undefined) remove(draft, member.replaces);
}

function demote(draft: Draft, id: NodeId): void {
  const member = known(draft, id);
  if (!draft.voters.delete(id)) throw new ChangeError(`Node ${id} is a learner already`);
  draft.learners.add(id);
  draft.members.set(id, { ...member, staysLearner: true });
}

function update(
  draft: Draft,
  id: NodeId,
  { raft, http }: { readonly raft?: string; readonly http?: string },
): void {
  const member = known(draft, id);
  draft.members.set(id, { ...member, raft: raft ?? member.raft, http: http ?? member.http });
}

function check({ members, voters }: Draft): void {
  if (voters.size === 0) {
    throw new ChangeError(
      "The last voter cannot go: add another one first, or stop the node to end the cluster",
    );
  }
  if (members.size > MEMBERS_MAX) {
    throw new ChangeError(`A cluster has ${MEMBERS_MAX} members at most, not ${members.size}`);
  }
  const byAddress = new Map<string, NodeId>();
  for (const { id, raft, http } of members.values()) {
    if (raft.length > ADDRESS_CHARS_MAX || http.length > ADDRESS_CHARS_MAX) {
      throw new ChangeError(
        `An address of node ${id} has more than ${ADDRESS_CHARS_MAX} characters`,
      );
    }
    const other = byAddress.get(raft);
    if (other !== undefined && raft !== "") {
      throw new ChangeError(`Nodes ${other} and ${id} cannot have one address, ${raft}`);
    }
    byAddress.set(raft, id);
  }
}

function ascending(ids: Iterable<NodeId>): NodeId[] {
  return [...ids].sort((a, b) => a - b);
}
