/**
 * Members that change while real processes are under faults: a disk is lost and replaced, a member leaves
 * and a new one takes its id.
 *
 * @module
 */
import { CLUSTER_VERSIONS } from "../../machines/group_config.ts";
import { DEFAULT_TIMING } from "../../machines/group_state.ts";
import type { ClusterStatus, MemberStatus } from "../../transport/http/gateway_port.ts";
import { eventually, type RealCluster } from "../process/real_cluster.ts";

const PATH = "/v1/cluster/members";
const REQUEST_MS_MAX = 5_000;

/** A node's disk is lost; the cluster takes it out, and the node joins with a new one. */
export async function replaceDisk(
  cluster: RealCluster,
  id: number,
  meanwhile: () => Promise<void>,
): Promise<void> {
  await cluster.wipe(id);
  // Before that it counts as a member that answers.
  await new Promise((resolve) => setTimeout(resolve, DEFAULT_TIMING.electionTimeoutMsMax));
  await changed(cluster, `${PATH}/${id}/replace`, "POST", ({ members }) => {
    const member = members.find((each) => each.id === id);
    return member !== undefined && !member.voter;
  });
  await joins(cluster, id, meanwhile);
}

/** A member leaves, ends by itself, and a new node with its id joins. */
export async function leaveAndReturn(
  cluster: RealCluster,
  id: number,
  meanwhile: () => Promise<void>,
): Promise<void> {
  const isAbsent = ({ members }: ClusterStatus): boolean => !members.some((each) => each.id === id);
  await changed(cluster, `${PATH}/${id}`, "DELETE", isAbsent);
  await cluster.leave(id);
  await cluster.wipe(id);
  await joins(cluster, id, meanwhile);
}

async function joins(
  cluster: RealCluster,
  id: number,
  meanwhile: () => Promise<void>,
): Promise<void> {
  cluster.start(id, { by: "join" });
  await meanwhile();
  await eventually(`node ${id} as a voter`, async () => {
    return (await memberOf(cluster, id))?.voter || undefined;
  }, () => cluster.nodes.map(({ id, stderr }) => `${id}: ${stderr.slice(-1_500)}`).join("\n"));
}

/** Asks for a change until the members are as they should be: an answer may be lost. */
async function changed(
  cluster: RealCluster,
  path: string,
  method: string,
  isDone: (status: ClusterStatus) => boolean,
): Promise<void> {
  let last = "";
  await eventually(`${method} ${path}`, async () => {
    const status = await viewOf(cluster);
    last = `seen: ${JSON.stringify(status)}`;
    if (status === undefined || status.clusterVersion < CLUSTER_VERSIONS.max) return undefined;
    if (isDone(status)) return true;
    try {
      const [node] = cluster.nodes;
      const signal = AbortSignal.timeout(REQUEST_MS_MAX);
      last = await (await fetch(node!.http + path, { method, signal })).text();
    } catch (error) {
      last = String(error);
    }
    return undefined;
  }, () => `${last}\n${cluster.nodes.map(({ id, stderr }) => `${id}: ${stderr}`).join("\n")}`);
}

async function memberOf(cluster: RealCluster, id: number): Promise<MemberStatus | undefined> {
  return (await viewOf(cluster))?.members.find((member) => member.id === id);
}

/** What the leader of the highest term says, if one does, and says what is committed. */
async function viewOf(cluster: RealCluster): Promise<ClusterStatus | undefined> {
  const all = await Promise.all(cluster.nodes.map((node) => node.status()));
  const term = Math.max(...all.map((status) => status?.term ?? 0));
  const view = all.find((status) => status?.role === "leader" && status.term === term);
  return view === undefined || view.configIndex > view.commitIndex ? undefined : view;
}
