/**
 * How a new node becomes a member of a cluster that runs: it asks any member over HTTP to add it as a
 * learner, and gets to know the cluster and its members. From then on it catches up like every follower,
 * and the leader promotes it.
 *
 * Nothing is written before the cluster has agreed. A node that dies half way is a learner, which no
 * quorum waits for; started again with the same `--join` it goes on.
 *
 * @module
 */
import { placedConfigOf, type StoredConfig, type StoredMembers } from "../machines/group_config.ts";
import type { LogIndex, NodeId } from "../machines/raft_types.ts";
import type { ClusterStatus, MemberStatus } from "../transport/http/gateway_port.ts";
import { reasonOf } from "./clerk_link.ts";
import type { SaidMembers } from "./members.ts";
import type { Log } from "./runtime/ports.ts";

/** How long a node tries to join, in milliseconds. */
export const JOIN_MS_MAX = 60_000;
/** How long one member is waited for. */
export const JOIN_REQUEST_MS_MAX = 10_000;
/** Pause before the members are asked again. */
export const JOIN_PAUSE_MS = 500;

/** The cluster does not take the node, or none of its members could be reached. */
export class JoinError extends Error {
  /** Its class's name. */
  override readonly name = "JoinError";
}

/** What a node joins with. */
export interface JoinOptions {
  readonly id: NodeId;
  /** HTTP addresses of members, any of them. */
  readonly urls: readonly string[];
  /** Where the members will reach this one, `HOST:PORT`. */
  readonly raft: string;
  /** Where clients will reach it, an URL; empty if that is not known yet. */
  readonly http: string;
  /** It stays a learner. */
  readonly staysLearner: boolean;
  readonly log: Log;
  /** Default {@linkcode JOIN_MS_MAX}. */
  readonly timeoutMs?: number;
}

/** The cluster that a node has joined. */
export interface Joined {
  readonly clusterId: string;
  readonly members: StoredMembers;
}

/** How far a node has come. */
interface Attempt {
  /**
   * The cluster was asked to add it, so a refusal may only say that it has: the member that was asked
   * last may be behind.
   */
  hasAsked: boolean;
}

/** A member that cannot be asked, or cannot answer now: another one may. */
class AskError extends Error {}

/**
 * Joins; resolves once the cluster has agreed.
 *
 * @throws {JoinError} If the cluster refuses it, or no member answers in time.
 */
export async function joinCluster(options: JoinOptions): Promise<Joined> {
  const { urls, log, timeoutMs = JOIN_MS_MAX } = options;
  const untilMs = performance.now() + timeoutMs;
  const attempt: Attempt = { hasAsked: false };
  let last = "";
  while (performance.now() < untilMs) {
    for (const url of urls) {
      try {
        return await joinThrough(url, options, attempt);
      } catch (error) {
        if (!(error instanceof AskError)) throw error;
        if (error.message !== last) log("warn", "join-waits", { url, error: error.message });
        last = error.message;
      }
    }
    await new Promise((resolve) => setTimeout(resolve, JOIN_PAUSE_MS));
  }
  throw new JoinError(`Cannot join through ${urls.join(", ")}: ${last}`);
}

/**
 * Who the members of this cluster are, if any of these knows more than is known up to entry `beyond`;
 * undefined if none does. Nothing is thrown: it is asked again.
 *
 * A member that knows no leader may hold a configuration that will be dropped. It counts only if no other
 * member knows a committed one.
 */
export async function askForMembers(
  urls: readonly string[],
  { clusterId, beyond, onOtherCluster }: {
    readonly clusterId: string;
    readonly beyond: LogIndex;
    /** One of them is of another cluster. */
    readonly onOtherCluster: (url: string, clusterId: string) => void;
  },
): Promise<SaidMembers | undefined> {
  let rumour: SaidMembers | undefined;
  for (const url of urls) {
    try {
      const status = await statusOf(url);
      const { configIndex, commitIndex } = status;
      if (status.clusterId !== clusterId) {
        onOtherCluster(url, status.clusterId);
        continue;
      }
      if (configIndex <= beyond) continue;
      const placed = placedConfigOf(membersOf(status));
      const isCommitted = configIndex <= commitIndex;
      if (isCommitted) return { placed, isCommitted };
      rumour ??= { placed, isCommitted };
    } catch (error) {
      const isOfAnswer = [AskError, JoinError, RangeError].some((kind) => error instanceof kind);
      if (!isOfAnswer) throw error;
    }
  }
  return rumour;
}

async function joinThrough(url: string, options: JoinOptions, attempt: Attempt): Promise<Joined> {
  const { id, raft, http, staysLearner, log } = options;
  let status = await statusOf(url);
  if (!status.members.some((member) => member.id === id)) {
    log("info", "joining", { cluster: status.clusterId, through: url });
    const change = { add: [{ id, raft, http, learner: staysLearner }] };
    try {
      await ask(url, "/v1/cluster/members", { method: "POST", body: JSON.stringify(change) });
    } catch (error) {
      throw attempt.hasAsked ? new AskError((error as Error).message) : error;
    } finally {
      attempt.hasAsked = true;
    }
    status = await statusOf(url);
  }
  const own = status.members.find((member) => member.id === id);
  // The member that was asked may be behind the one that has agreed.
  if (own === undefined) throw new AskError(`${url} does not know yet that node ${id} is a member`);
  // Until it is committed, another leader may drop it, and the node would be of a cluster without it.
  if (status.configIndex > status.commitIndex) {
    throw new AskError(`${url} does not know yet whether all agree that node ${id} is a member`);
  }
  if (own.voter || status.outgoing?.includes(id) === true) {
    throw new JoinError(
      `Cannot join: node ${id} is a voter of the cluster already, with another data directory. ` +
        `Start it with that directory. If its disk is lost, run "kv member replace ${id}" first`,
    );
  }
  return { clusterId: status.clusterId, members: membersOf(status) };
}

function membersOf(
  { members, configIndex: index, clusterVersion, outgoing = [] }: ClusterStatus,
): StoredMembers {
  const config: StoredConfig = {
    voters: members.filter(({ voter }) => voter).map(({ id }) => id),
    outgoing,
    members: members.map(({ id, voter, raftAddress, httpAddress, staysLearner, replaces }) => ({
      ...{ id, raft: raftAddress, http: httpAddress },
      ...(voter || outgoing.includes(id) ? {} : { learner: true }),
      ...(staysLearner === undefined ? {} : { staysLearner }),
      ...(replaces === undefined ? {} : { replaces }),
    })),
    removed: [],
  };
  return { index, clusterVersion, config };
}

async function statusOf(url: string): Promise<ClusterStatus> {
  const status = await ask(url, "/v1/cluster", {}) as Partial<ClusterStatus> | null;
  const isStatus = typeof status?.clusterId === "string" && Array.isArray(status.members) &&
    status.members.every(isMember) && Number.isSafeInteger(status.configIndex) &&
    Number.isSafeInteger(status.commitIndex) &&
    Number.isSafeInteger(status.clusterVersion);
  if (!isStatus) throw new AskError(`${url} does not answer as a member does`);
  return status as ClusterStatus;
}

function isMember(value: unknown): value is MemberStatus {
  const { id, raftAddress, httpAddress, voter } = (value ?? {}) as Partial<MemberStatus>;
  return Number.isSafeInteger(id) && typeof raftAddress === "string" &&
    typeof httpAddress === "string" && typeof voter === "boolean";
}

/** @throws {JoinError} If the member says that this will never be. */
async function ask(url: string, path: string, init: RequestInit): Promise<unknown> {
  let response: Response;
  let body: unknown;
  try {
    response = await fetch(new URL(path, url), {
      ...init,
      ...(init.body === undefined ? {} : { headers: { "content-type": "application/json" } }),
      signal: AbortSignal.timeout(JOIN_REQUEST_MS_MAX),
    });
    const text = await response.text();
    body = text === "" ? null : JSON.parse(text);
  } catch (error) {
    throw new AskError(`${url}: ${reasonOf(error as Error, JOIN_REQUEST_MS_MAX)}`);
  }
  if (response.ok) return body;
  const { detail = `status ${response.status}`, retryable = false } = (body ?? {}) as {
    readonly detail?: string;
    readonly retryable?: boolean;
  };
  if (retryable || response.status >= 500) throw new AskError(`${url}: ${detail}`);
  throw new JoinError(`Cannot join: ${detail}`);
}
