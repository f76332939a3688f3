/**
 * What a script can show and expect of a node, by name.
 *
 * @module
 */
import { activePaths } from "../../../machines/chart.ts";
import type { Progress } from "../../../machines/progress.ts";
import type { NodeId } from "../../../machines/raft_types.ts";
import type { CoreCluster } from "../core_cluster.ts";

type Fact = (cluster: CoreCluster, id: NodeId) => string;

/** What survives a crash, so it can be asked of a node that is down too. */
const lasting: Readonly<Record<string, Fact>> = {
  /** Whether the node runs. */
  up: (cluster, id) => cluster.node(id).running ? "yes" : "no",
  /** Terms of the entries that its disk holds, from index 1 on. */
  disk: (cluster, id) =>
    listed(cluster.node(id).disk.runs.flatMap(({ term, ends }) => ends.map(() => term))),
};

/** What only a running node has. */
const running: Readonly<Record<string, Fact>> = {
  role: (cluster, id) => cluster.core(id).role,
  /** The chart's active states, leaves only. */
  chart: (cluster, id) => {
    const paths = activePaths(cluster.core(id).snapshot.value);
    return listed(
      paths.filter((path) => !paths.some((other) => other.startsWith(`${path}.`))),
    );
  },
  term: (cluster, id) => String(cluster.core(id).context.currentTerm),
  vote: (cluster, id) => String(cluster.core(id).context.votedFor ?? "none"),
  leader: (cluster, id) => String(cluster.core(id).context.leaderId ?? "none"),
  /** Who granted this node its vote or pre-vote. */
  votes: (cluster, id) => listed(cluster.core(id).context.votesGranted),
  /** Terms of the log's entries from index 1 on. */
  log: (cluster, id) => listed(cluster.termsOf(id)),
  commit: (cluster, id) => String(cluster.core(id).state.commitIndex),
  /** Up to where the node may count its own entries as durable. */
  durable: (cluster, id) => String(cluster.core(id).state.durableIndex),
  /** Committed commands. */
  commands: (cluster, id) => listed(cluster.committedTexts(id)),
  /** Writes whose sync has not ended. */
  writes: (cluster, id) => String(cluster.node(id).unsynced.length),
  /** A leader's matchIndex of each other member. */
  match: (cluster, id) => progressOf(cluster, id, ({ matchIndex }) => matchIndex),
  /** How a leader sends to each other member. */
  mode: (cluster, id) => progressOf(cluster, id, ({ mode }) => mode),
};

const SHOWN = ["role", "term", "vote", "leader", "log", "commit", "durable"];

/** The names of all facts. */
export const factNames: readonly string[] = [...Object.keys(lasting), ...Object.keys(running)];

/** What `show` shows unless it is told what. */
export function shownFacts(cluster: CoreCluster, id: NodeId): readonly string[] {
  return cluster.node(id).running ? SHOWN : Object.keys(lasting);
}

/**
 * The value of a fact; several values stand with commas between them, and "none" is no value.
 *
 * @throws {Error} If there is no such fact, or it cannot be asked of this node now.
 */
export function factOf(cluster: CoreCluster, id: NodeId, name: string): string {
  const fact = lookUp(lasting, name) ?? lookUp(running, name);
  if (fact === undefined) {
    throw new Error(`there is no fact "${name}"; there are ${factNames.join(", ")}`);
  }
  if (!cluster.node(id).running && lookUp(lasting, name) === undefined) {
    throw new Error(`node ${id} is down, so it has no ${name}`);
  }
  return fact(cluster, id);
}

function lookUp(facts: Readonly<Record<string, Fact>>, name: string): Fact | undefined {
  return Object.hasOwn(facts, name) ? facts[name] : undefined;
}

function progressOf(
  cluster: CoreCluster,
  id: NodeId,
  valueOf: (progress: Progress) => string | number,
): string {
  const { leadership } = cluster.core(id).state;
  if (leadership === undefined) throw new Error(`node ${id} does not lead`);
  return listed([...leadership.progress].map(([peer, progress]) => `${peer}:${valueOf(progress)}`));
}

function listed(values: readonly (string | number)[]): string {
  return values.length === 0 ? "none" : values.join(",");
}
