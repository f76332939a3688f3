/**
 * What every endpoint says of the cluster: `kv status`, `kv health`, `kv explain` and `kv version`.
 *
 * The view of a single node does not show what an operator looks for, such as a second leader, a
 * node of another cluster or a node that hangs. So every endpoint is asked, and each has a row.
 *
 * @module
 */
import { type Explanation, explanationToText, VERSION } from "../mod.ts";
import type { ClusterStatus } from "../transport/http/gateway_port.ts";
import { type Answer, askAll, ClientError, jsonIn, type Reach } from "./http_client.ts";
import { EXIT } from "./usage.ts";

/** Prints text that others wrote. */
type Show = (text: string) => void;

/** One endpoint's view of the cluster, or why there is none. */
type View =
  & { readonly endpoint: string }
  & (
    | { readonly status: ClusterStatus; readonly failure?: never }
    | { readonly status?: never; readonly failure: string }
  );

/**
 * Prints who leads and how far every member is.
 *
 * @throws {ClientError} If no endpoint knows a leader.
 */
export async function printStatus(reach: Reach, output: string, show: Show): Promise<void> {
  const views = await viewsOf(reach);
  const best = bestView(views);
  const differences = differencesOf(views);
  if (output === "ndjson") {
    for (const view of views) show(JSON.stringify(view) + "\n");
  } else if (output !== "table") {
    show(JSON.stringify({ ...best, endpoints: views, differences }) + "\n");
  } else {
    if (best !== undefined) show(`cluster ${best.clusterId}\n`);
    show(table(["ENDPOINT", "NODE", "ROLE", "TERM", "LEADER", "COMMIT", "APPLIED", "REVISION"], [
      ...views.map(({ endpoint, status, failure }) =>
        status === undefined ? [endpoint, failure] : [
          endpoint,
          String(status.nodeId),
          status.role,
          String(status.term),
          String(status.leader ?? "none"),
          String(status.commitIndex),
          String(status.appliedIndex),
          String(status.revision),
        ]
      ),
    ]));
    for (const difference of differences) show(`${difference}\n`);
    if (best !== undefined) showMembers(best, show);
    for (const line of refusalsOf(views)) show(`${line}\n`);
  }
  requireLeader(best);
}

/**
 * Prints which endpoints are ready for requests, and what the others lack.
 *
 * @throws {ClientError} If no endpoint knows a leader, or an endpoint is not ready.
 */
export async function printHealth(reach: Reach, output: string, show: Show): Promise<void> {
  const [views, answers] = await Promise.all([
    viewsOf(reach),
    askAll({ path: "/readyz?verbose", accept: "text/plain" }, reach),
  ]);
  const rows = answers.map((answer, at) => ({
    endpoint: answer.endpoint,
    nodeId: views[at]!.status?.nodeId,
    ready: answer.failure === undefined && answer.status === 200,
    checks: checksOf(answer),
  }));
  const differences = differencesOf(views);
  if (output === "ndjson") {
    for (const row of rows) show(JSON.stringify(row) + "\n");
  } else if (output !== "table") {
    const leader = bestView(views)?.leader;
    show(JSON.stringify({ leader, endpoints: rows, differences }) + "\n");
  } else {
    show(table(["ENDPOINT", "NODE", "READY", "WHY NOT"], [
      ...rows.map(({ endpoint, nodeId, ready, checks }) => [
        endpoint,
        String(nodeId ?? "-"),
        ready ? "yes" : "no",
        checks.filter((check) => !check.startsWith("[+]")).join("; "),
      ]),
    ]));
    for (const difference of differences) show(`${difference}\n`);
  }
  requireLeader(bestView(views));
  const unready = rows.filter(({ ready }) => !ready).length;
  if (unready > 0) {
    throw new ClientError(`${unready} of ${rows.length} endpoints are not ready`, EXIT.failure);
  }
}

/**
 * Prints why every node is in its role. `raw` and the JSON formats also tell what may happen next.
 *
 * @throws {ClientError} If no endpoint answers.
 */
export async function printExplanations(reach: Reach, output: string, show: Show): Promise<void> {
  const accept = output === "raw" ? "text/plain" : "application/json";
  const answers = await askAll({ path: "/v1/raft/explain", accept }, reach);
  for (const answer of answers) {
    const { endpoint } = answer;
    const failure = answer.failure ?? (answer.status === 200 ? undefined : oneLine(answer.body));
    const body = answer.failure === undefined ? answer.body : "";
    if (output === "raw" || output === "table") {
      show(
        `${endpoint}\n${(failure ?? (output === "raw" ? body : reasonsOf(body))).trimEnd()}\n\n`,
      );
    } else {
      const explanation = failure === undefined ? jsonIn(body) : undefined;
      show(JSON.stringify({ endpoint, failure, explanation }) + "\n");
    }
  }
  if (answers.every((answer) => answer.failure !== undefined)) {
    throw new ClientError("no endpoint answers", EXIT.unavailable);
  }
}

/** Prints the version of this client, and of every endpoint's node as far as it answers. */
export async function printVersions(reach: Reach, output: string, show: Show): Promise<void> {
  const answers = await askAll({ path: "/version", accept: "application/json" }, reach);
  const rows = answers.map((answer) => {
    const { endpoint } = answer;
    if (answer.failure !== undefined) return { endpoint, failure: answer.failure };
    const { version } = (jsonIn(answer.body) ?? {}) as { readonly version?: unknown };
    if (typeof version === "string") return { endpoint, version };
    return { endpoint, failure: `is no Statecraft node: ${answer.status} ${oneLine(answer.body)}` };
  });
  if (output === "ndjson") {
    for (const row of [{ client: VERSION }, ...rows]) show(JSON.stringify(row) + "\n");
  } else if (output !== "table") {
    show(JSON.stringify({ client: VERSION, endpoints: rows }) + "\n");
  } else {
    show(`client ${VERSION}\n`);
    show(table(
      ["ENDPOINT", "VERSION"],
      rows.map(({ endpoint, version, failure }) => [endpoint, version ?? failure!]),
    ));
  }
}

async function viewsOf(reach: Reach): Promise<readonly View[]> {
  const answers = await askAll({ path: "/v1/cluster", accept: "application/json" }, reach);
  return answers.map((answer): View => {
    const { endpoint } = answer;
    if (answer.failure !== undefined) return { endpoint, failure: answer.failure };
    const status = answer.status === 200 ? jsonIn(answer.body) : undefined;
    if (isClusterStatus(status)) return { endpoint, status };
    return { endpoint, failure: `is no Statecraft node: ${answer.status} ${oneLine(answer.body)}` };
  });
}

/**
 * The view to believe: one of the highest term, if possible the leader's, else of a node that knows
 * the leader.
 */
function bestView(views: readonly View[]): ClusterStatus | undefined {
  const statuses = views.flatMap(({ status }) => status ?? []);
  const rank = ({ role, leader }: ClusterStatus): number =>
    role === "leader" ? 2 : leader === undefined ? 0 : 1;
  return statuses.sort((one, other) => other.term - one.term || rank(other) - rank(one))[0];
}

/** What the nodes do not agree on, a line each. */
function differencesOf(views: readonly View[]): string[] {
  const subjects: [string, (status: ClusterStatus) => unknown][] = [
    ["cluster id", ({ clusterId }) => clusterId],
    ["term", ({ term }) => term],
    ["leader", ({ leader }) => leader ?? "none"],
  ];
  return subjects.flatMap(([subject, of]) => {
    const seen = views.flatMap(({ endpoint, status }) =>
      status === undefined ? [] : [{ endpoint, value: String(of(status)) }]
    );
    if (new Set(seen.map(({ value }) => value)).size < 2) return [];
    const said = seen.map(({ endpoint, value }) => `${endpoint} says ${value}`);
    return [`the nodes differ in the ${subject}: ${said.join(", ")}`];
  });
}

function requireLeader(best: ClusterStatus | undefined): void {
  if (best === undefined) throw new ClientError("no endpoint answers", EXIT.unavailable);
  if (best.leader !== undefined) return;
  throw new ClientError(`no leader in term ${best.term}; kv explain says why`, EXIT.unavailable);
}

function showMembers({ nodeId, members, leader }: ClusterStatus, show: Show): void {
  show(`members, as node ${nodeId} sees them\n`);
  show(table(["ID", "ROLE", "LINK", "MATCH", "RAFT", "HTTP"], [
    ...members.map((member) => [
      String(member.id),
      member.id === leader ? "leader" : member.voter ? "voter" : "learner",
      member.link,
      // 0 means that the member has not answered this leader yet.
      String(member.matchIndex || "-"),
      member.raftAddress,
      member.httpAddress,
    ]),
  ]));
}

/** Why links are missing, as the nodes at both ends say it. */
function refusalsOf(views: readonly View[]): ReadonlySet<string> {
  const members = views.flatMap(({ status }) => status?.members ?? []);
  return new Set(
    members.flatMap(({ id, refusal }) =>
      refusal === undefined ? [] : `no link to node ${id}: ${refusal}`
    ),
  );
}

/** Columns as wide as their cells; a row may end early, with a last cell of any width. */
export function table(head: readonly string[], rows: readonly (readonly string[])[]): string {
  const widths = head.map((title, column) =>
    Math.max(
      title.length,
      ...rows.map((row) => column === row.length - 1 ? 0 : row[column]?.length ?? 0),
    )
  );
  return [head, ...rows]
    .map((row) => row.map((cell, column) => cell.padEnd(widths[column]!)).join("  ").trimEnd())
    .join("\n") + "\n";
}

function checksOf(answer: Answer): readonly string[] {
  if (answer.failure !== undefined) return [answer.failure];
  return answer.body.trimEnd().split("\n");
}

function isClusterStatus(value: unknown): value is ClusterStatus {
  const { clusterId, nodeId, term, members } = (value ?? {}) as Partial<ClusterStatus>;
  return typeof clusterId === "string" && typeof nodeId === "number" && typeof term === "number" &&
    Array.isArray(members);
}

/** Why a node is in its role, without what may happen next: that is long, and seldom asked for. */
function reasonsOf(body: string): string {
  const { summary, causes } = (jsonIn(body) ?? {}) as Partial<Explanation>;
  if (typeof summary !== "string" || !Array.isArray(causes)) return oneLine(body);
  return explanationToText({ states: [], summary, causes, possibilities: [] });
}

/** The start of what may be any page. */
function oneLine(body: string): string {
  return body.replace(/\s+/g, " ").slice(0, 80);
}
