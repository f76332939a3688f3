/**
 * `kv member`: who the members are, and how they change. Each change is previewed on stderr before it is
 * made.
 *
 * @module
 */
import {
  type ChangeReport,
  type ClusterStatus,
  type MembersChanged,
  type MemberStatus,
  parseHostPort,
  type QuorumReport,
} from "../mod.ts";
import { askAll, ClientError, type ClientRequest, jsonIn, type Reach } from "./http_client.ts";
import type { Settings } from "./settings.ts";
import { table } from "./survey.ts";
import { checkWords, complain, EXIT, UsageError } from "./usage.ts";

const MEMBERS_PATH = "/v1/cluster/members";
const ID_MAX = 2 ** 31;

/** How a verb of `kv member` reaches the cluster and the terminal. */
export interface MemberTools {
  readonly settings: Settings;
  readonly reach: Reach;
  readonly send: (request: ClientRequest) => Promise<Response>;
  readonly show: (text: string) => void;
  /** `table` or a JSON format. */
  readonly output: string;
}

/** A change as the routes take it, and what an operator does after it. */
interface Asked {
  readonly change: Readonly<Record<string, unknown>>;
  readonly next?: string;
}

type Verb = (words: readonly string[], settings: Settings) => Asked;

const changes: Readonly<
  Record<string, { readonly words: readonly [number, number]; asked: Verb }>
> = {
  add: {
    words: [2, 3],
    asked: ([id, raft, http], settings) => ({
      change: {
        add: [{
          ...newMember(id!, raft!, http),
          ...(settings.isOn("learner") ? { learner: true } : {}),
        }],
      },
      next: `start it with --id ${id} and --join; it is promoted when it has caught up`,
    }),
  },
  remove: { words: [1, 31], asked: (ids) => ({ change: { remove: ids.map(idOf) } }) },
  promote: { words: [1, 31], asked: (ids) => ({ change: { promote: ids.map(idOf) } }) },
  demote: { words: [1, 31], asked: (ids) => ({ change: { demote: ids.map(idOf) } }) },
  replace: {
    words: [1, 4],
    asked: ([id, by, raft, http]) => {
      if (by === undefined) {
        return {
          change: { replace: [{ id: idOf(id!) }] },
          next: `start node ${id} with an empty data directory and --join`,
        };
      }
      if (raft === undefined) throw new UsageError("replace takes ID, or ID NEWID RAFT [HTTP]");
      return {
        change: { replace: [{ id: idOf(id!), by: newMember(by, raft, http) }] },
        next:
          `start node ${by} with --join; when it has caught up it takes the place of node ${id}`,
      };
    },
  },
  update: {
    words: [2, 3],
    asked: ([id, ...addresses]) => ({
      change: { update: [{ id: idOf(id!), ...addressesOf(addresses) }] },
      next: `restart node ${id} where it is now, with --listen or --http`,
    }),
  },
};

/**
 * Runs `kv member VERB …`.
 *
 * @throws {UsageError} If the words are none.
 * @throws {ClientError} If the cluster does not do it.
 */
export async function runMemberVerb(
  [name, ...words]: readonly string[],
  tools: MemberTools,
): Promise<void> {
  if (name === "list" && words.length === 0) return await list(tools);
  const verb = Object.hasOwn(changes, name!) ? changes[name!] : undefined;
  if (verb === undefined) {
    const names = ["list", ...Object.keys(changes)].join(", ");
    throw new UsageError(`member takes one of ${names}, not "${name}"`);
  }
  checkWords(`member ${name}`, words, verb.words);
  await change(verb.asked(words, tools.settings), tools);
}

async function change({ change, next }: Asked, tools: MemberTools): Promise<void> {
  const { settings, output, show } = tools;
  const preview = await previewed(change, tools);
  for (const line of previewOf(preview)) complain(line);
  const { objection } = preview;
  const isForced = settings.isOn("force");
  if (objection !== undefined) {
    complain(`Objection: ${objection}`);
    if (!isForced && !settings.isOn("dry-run")) {
      throw new ClientError(
        "nothing was changed; --force makes the change all the same",
        EXIT.preconditionFailed,
      );
    }
  }
  if (settings.isOn("dry-run")) {
    if (output !== "table") show(`${JSON.stringify(preview)}\n`);
    return;
  }
  const made = await post(change, { dryRun: false, force: isForced }, tools);
  if (output !== "table") show(`${JSON.stringify(made)}\n`);
  else show(`the members have changed; the voters are ${made.after.voters.join(", ")}\n`);
  if (next !== undefined) complain(`Next: ${next}`);
}

/** A preview changes nothing, so nothing is in doubt where no answer came. */
async function previewed(change: Asked["change"], tools: MemberTools): Promise<MembersChanged> {
  try {
    return await post(change, { dryRun: true, force: false }, tools);
  } catch (error) {
    if (!(error instanceof ClientError) || error.exitCode !== EXIT.outcomeUnknown) throw error;
    throw new ClientError("nobody has answered in time; nothing was changed", EXIT.unavailable);
  }
}

async function post(
  change: Asked["change"],
  { dryRun, force }: { readonly dryRun: boolean; readonly force: boolean },
  { send }: MemberTools,
): Promise<MembersChanged> {
  const query = new URLSearchParams({ dryRun: String(dryRun), force: String(force) });
  const response = await send({
    method: "POST",
    isOnce: !dryRun,
    path: `${MEMBERS_PATH}?${query}`,
    headers: { "content-type": "application/json" },
    body: JSON.stringify(change),
  });
  return await response.json();
}

function previewOf(
  { before, between, after, behind, inUse = [], unmet = [] }: ChangeReport,
): string[] {
  const lines = [`Now:     ${quorumText(before)}`];
  if (between !== undefined) {
    lines.push(`Between: ${between.map(quorumText).join("; and ")}`);
  }
  lines.push(`After:   ${quorumText(after)}`);
  if (behind.length > 0) {
    const list = behind.map(({ id, entries }) => `node ${id} by ${entries} entries`).join(", ");
    lines.push(`Behind:  ${list}`);
  }
  if (inUse.length > 0) lines.push(`In use:  the disk of node ${inUse.join(", ")}, which answers`);
  if (unmet.length > 0) {
    lines.push(
      `Unmet:   the disk of node ${
        unmet.join(", ")
      }, which this leader never saw. Members that have ` +
        "refuse another one under that id: let one of them lead first (kv transfer), or use a new id",
    );
  }
  return lines;
}

function quorumText({ voters, needed, alive }: QuorumReport): string {
  const silent = voters.filter((voter) => !alive.includes(voter));
  return `voters ${
    voters.join(", ")
  }; ${needed} of ${voters.length} must answer, ${alive.length} do` +
    (silent.length === 0 ? "" : `; silent: ${silent.join(", ")}`);
}

/** Asks all, and believes the highest term, its leader first: a leader knows what the others lack. */
async function list({ reach, output, show }: MemberTools): Promise<void> {
  const answers = await askAll({ path: "/v1/cluster", accept: "application/json" }, reach);
  const views = answers.flatMap((answer) => {
    if (answer.failure !== undefined || answer.status !== 200) return [];
    const body = jsonIn(answer.body) as ClusterStatus | undefined;
    return Array.isArray(body?.members) ? [body] : [];
  }).sort((one, other) =>
    other.term - one.term || Number(other.role === "leader") - Number(one.role === "leader")
  );
  const [best] = views;
  if (best === undefined) throw new ClientError("no endpoint answers", EXIT.unavailable);
  if (output !== "table") {
    const { members, configIndex, outgoing, leader, term, clusterVersion } = best;
    show(`${JSON.stringify({ members, configIndex, outgoing, leader, term, clusterVersion })}\n`);
    return;
  }
  show(table(["ID", "MEMBER", "ROLE", "LINK", "BEHIND", "HEARD", "BUILD", "RAFT", "HTTP"], [
    ...best.members.map((member) => [
      String(member.id),
      kindOf(member, best),
      member.id === best.leader ? "leader" : "-",
      member.link,
      member.matchIndex === undefined ? "-" : String(best.lastLogIndex - member.matchIndex),
      member.lastHeardMs === undefined ? "-" : `${member.lastHeardMs} ms`,
      member.clusterVersionMax === undefined ? "-" : String(member.clusterVersionMax),
      member.raftAddress,
      member.httpAddress,
    ]),
  ]));
  if (best.outgoing !== undefined) {
    show(`the voters are changing; before they were ${best.outgoing.join(", ")}\n`);
  }
}

function kindOf(
  { id, voter, staysLearner, replaces }: MemberStatus,
  { outgoing }: ClusterStatus,
): string {
  if (voter) return "voter";
  if (outgoing?.includes(id) === true) return "outgoing";
  if (replaces !== undefined) return `replaces ${replaces}`;
  return staysLearner === true ? "learner" : "catching up";
}

function newMember(id: string, raft: string, http = ""): Readonly<Record<string, unknown>> {
  return { id: idOf(id), raft: raftOf(raft), http: http === "" ? "" : httpOf(http) };
}

/** `raft=HOST:PORT` and `http=URL`; flags could be meant for a node, in the environment. */
function addressesOf(words: readonly string[]): Readonly<Record<string, string>> {
  const found: Record<string, string> = {};
  for (const word of words) {
    const [, name, value] = /^(raft|http)=(.+)$/.exec(word) ?? [];
    if (name === undefined || found[name] !== undefined) {
      throw new UsageError(`update takes raft=HOST:PORT, http=URL, or both, not "${word}"`);
    }
    found[name] = name === "raft" ? raftOf(value!) : httpOf(value!);
  }
  return found;
}

function raftOf(text: string): string {
  if (parseHostPort(text) !== undefined) return text;
  throw new UsageError(`a Raft address is HOST:PORT, not "${text}"`);
}

function httpOf(text: string): string {
  const url = URL.parse(text);
  if (url !== null && ["http:", "https:"].includes(url.protocol)) return url.origin;
  throw new UsageError(`an HTTP address is http://HOST:PORT, not "${text}"`);
}

function idOf(text: string): number {
  const id = Number(text);
  if (/^\d+$/.test(text) && id >= 1 && id <= ID_MAX) return id;
  throw new UsageError(`a member's id is a whole number from 1 to 2^31, not "${text}"`);
}
