/**
 * `deno task roll --from REF`: rolls a cluster of real processes, member by member and under load, from an
 * earlier commit to this checkout, and back as far as that is allowed.
 *
 * @module
 */
import { parseArgs } from "@std/cli/parse-args";
import { CLUSTER_VERSIONS } from "../../machines/group_config.ts";
import { complain, printLine } from "../../cli/usage.ts";
import { eventually, persist, RealCluster, type RealNode } from "./real_cluster.ts";

/**
 * Where the roll begins if nobody says so: the last build that knows cluster version 1 only. The first
 * tagged release takes its place.
 */
export const PREVIOUS_RELEASE = "0a67572";

const CLIENTS = 4;

/** What a roll has shown. */
export interface Rolled {
  /** Cluster version before and after. */
  readonly versions: readonly [before: number, after: number];
  /** Writes that were acknowledged, each of which is there. */
  readonly acknowledged: number;
  /** What the earlier build says when it is to take part again in the end. */
  readonly refusal: string;
}

/** The checkout's repository; undefined if the commit is not in one, as in an archive. */
export async function repositoryOf(ref: string): Promise<string | undefined> {
  const directory = new URL("../../", import.meta.url).pathname;
  try {
    await git(directory, "cat-file", "-e", `${ref}^{commit}`);
    return directory;
  } catch {
    return undefined;
  }
}

/** Checks the commit out beside this one, rolls from there, and removes it again. */
export async function rollFrom(ref: string, onStep: (step: string) => void): Promise<Rolled> {
  const repository = await repositoryOf(ref);
  if (repository === undefined) throw new Error(`Cannot roll: there is no commit ${ref} here`);
  const place = await Deno.makeTempDir();
  const worktree = `${place}/earlier`;
  try {
    await git(repository, "worktree", "add", "--quiet", "--detach", worktree, ref);
    return await roll(`${worktree}/cli/node.ts`, onStep);
  } finally {
    await git(repository, "worktree", "remove", "--force", worktree).catch(() => {});
    await Deno.remove(place, { recursive: true });
  }
}

async function roll(earlier: string, onStep: (step: string) => void): Promise<Rolled> {
  await using cluster = new RealCluster(3);
  for (const id of cluster.ids) cluster.start(id, { script: earlier });
  await cluster.leader();
  const before = await agreedVersion(cluster);
  onStep(`three members of the earlier build, cluster version ${before}`);
  const stop = new AbortController();
  const clients = Array.from({ length: CLIENTS }, (_, at) => load(stop.signal, cluster, at));
  const [first] = cluster.ids;
  await restart(cluster, first!, undefined);
  onStep(`node ${first} runs this build`);
  await restart(cluster, first!, earlier);
  onStep(`node ${first} runs the earlier build again`);
  for (const id of cluster.ids) {
    await restart(cluster, id, undefined);
    onStep(`node ${id} runs this build`);
  }
  await eventually(`cluster version ${CLUSTER_VERSIONS.max}`, async () => {
    return await agreedVersion(cluster) === CLUSTER_VERSIONS.max || undefined;
  });
  onStep(`the cluster agrees on version ${CLUSTER_VERSIONS.max}`);
  const refusal = before === CLUSTER_VERSIONS.max ? "" : await refusalOf(cluster, first!, earlier);
  stop.abort();
  const counts = await Promise.all(clients);
  await cluster.agree();
  for (const [client, count] of counts.entries()) {
    const value = await persist(cluster.endpoints, `/v1/kv/client-${client}`, {});
    const expected = Array.from({ length: count }, (_, at) => `${at};`).join("");
    if (value !== expected) {
      throw new Error(`client ${client} lost an acknowledged write: ${value}`);
    }
  }
  return {
    versions: [before, CLUSTER_VERSIONS.max],
    acknowledged: counts.reduce((sum, count) => sum + count, 0),
    refusal,
  };
}

/** The version that all members say. */
async function agreedVersion(cluster: RealCluster): Promise<number> {
  return await eventually("one cluster version", async () => {
    const all = await Promise.all(cluster.nodes.map((node) => node.status()));
    const versions = new Set(all.map((status) => status?.clusterVersion));
    const [version] = versions;
    return versions.size === 1 ? version : undefined;
  });
}

/** Stops a member in order, and starts it with another build; undefined: this one. */
async function restart(
  cluster: RealCluster,
  id: number,
  script: string | undefined,
): Promise<void> {
  const node = cluster.node(id);
  node.signal("SIGTERM");
  const { code, stderr } = await node.ended;
  if (code !== 0) throw new Error(`node ${id} ended with ${code}: ${stderr}`);
  await knowsLeader(cluster.start(id, script === undefined ? {} : { script }));
}

async function knowsLeader(node: RealNode): Promise<void> {
  await eventually(
    `node ${node.id} back`,
    async () => (await node.status())?.leader,
    () => node.stderr,
  );
}

/** What the earlier build says on a directory of the cluster; the member runs this build afterwards. */
async function refusalOf(cluster: RealCluster, id: number, earlier: string): Promise<string> {
  await cluster.kill(id);
  const { code, stderr } = await cluster.start(id, { script: earlier }).ended;
  if (code !== 2) throw new Error(`the earlier build ended with ${code}: ${stderr}`);
  await cluster.kill(id);
  await knowsLeader(cluster.start(id));
  return stderr;
}

/** Appends distinct tokens until it is told to stop; answers how many were acknowledged. */
async function load(stop: AbortSignal, cluster: RealCluster, client: number): Promise<number> {
  for (let count = 0;; count++) {
    if (stop.aborted) return count;
    await persist(cluster.endpoints, `/v1/kv/client-${client}/append`, {
      method: "POST",
      headers: { "idempotency-key": `c${client}-${count}` },
      body: `${count};`,
    });
  }
}

async function git(directory: string, ...args: readonly string[]): Promise<void> {
  const command = new Deno.Command("git", {
    args: ["-C", directory, ...args],
    stdout: "null",
    stderr: "piped",
  });
  const { success, stderr } = await command.output();
  if (!success) throw new Error(`git ${args.join(" ")}: ${new TextDecoder().decode(stderr)}`);
}

if (import.meta.main) {
  const from = String(parseArgs(Deno.args, { string: ["from"] })["from"] ?? PREVIOUS_RELEASE);
  const { versions: [before, after], acknowledged, refusal } = await rollFrom(from, complain);
  printLine(
    `rolled from ${from} to this checkout: cluster version ${before} to ${after}, ` +
      `${acknowledged} acknowledged writes, lost 0`,
  );
  if (refusal !== "") {
    printLine(`the earlier build then says: ${refusal.trim().split("\n").at(-1)}`);
  }
}
