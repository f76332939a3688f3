/**
 * `deno task dev`: a local cluster of child processes.
 *
 * @module
 */
import type { ClusterStatus } from "../transport/http/gateway_port.ts";
import { checkNodeDirectory, IdentityMismatchError } from "../mod.ts";
import { bypassProxyOnLoopback } from "./http_client.ts";
import { hostPortSetting, memberListSetting, numberSetting, readSettings } from "./settings.ts";
import { complain, EXIT, print, UsageError } from "./usage.ts";

/** Most nodes that one machine is asked to run. */
const DEV_NODES_MAX = 9;
/** How long the cluster may take to elect its first leader. */
const DEV_START_MS_MAX = 60_000;
const POLL_MS = 50;
/** How long the others wait for one that stops, before they are told to. */
const STOP_TURN_MS = 1_000;

const HELP = `Usage: deno task dev [flags]

Starts a local cluster, prints its addresses once it has a leader, and stops it on Ctrl-C.

  --nodes N             1 to ${DEV_NODES_MAX} (default 3)
  --data DIR            one folder a node below it (default ./data)
  --base-raft-port P    node 1's Raft port, the next node's is one higher (default 7001)
  --base-http-port P    node 1's HTTP port (default 8001)
  --help
`;

const flags = {
  string: ["nodes", "data", "base-raft-port", "base-http-port"],
  boolean: ["help"],
} as const;

interface Member {
  readonly id: number;
  readonly http: string;
  readonly child: Deno.ChildProcess;
  /** The words after `deno task node` that start this member by hand. */
  readonly words: readonly string[];
  /**
   * Whether the child has said that it serves. Before that another process may answer at its
   * address.
   */
  serves: boolean;
}

/** The words of the command that runs one node with this Deno. */
export function nodeWords(
  args: readonly string[],
  script: string = new URL("./node.ts", import.meta.url).pathname,
): [program: string, ...words: string[]] {
  const permissions = [
    "--allow-net",
    "--allow-read",
    "--allow-write",
    "--allow-env",
    "--allow-sys=statfs",
  ];
  return [Deno.execPath(), "run", "--quiet", ...permissions, script, ...args];
}

/**
 * The command that runs one node, in a process group of its own. Ctrl-C in a terminal reaches the
 * whole group of the program that started the node. This program stops its nodes by a signal of its
 * own, and a node takes a second signal as a command to end at once.
 */
export function nodeCommand(
  args: readonly string[],
  options: {
    readonly stderr: "inherit" | "piped";
    /** With `--supervised`: the node speaks on stdout and stops when its stdin ends. */
    readonly supervised?: boolean;
    /** What runs the node; default this build's. */
    readonly script?: string;
  } = { stderr: "inherit" },
): Deno.Command {
  const [program, ...words] = nodeWords(args, options.script);
  return new Deno.Command(program, {
    args: options.supervised === true ? [...words, "--supervised"] : words,
    stdin: options.supervised === true ? "piped" : "null",
    stdout: options.supervised === true ? "piped" : "null",
    stderr: options.stderr,
    detached: true,
  });
}

function startMembers(args: readonly string[]): Member[] {
  const settings = readSettings(args, flags, (name) => Deno.env.get(name));
  if (settings.isOn("help")) {
    print(HELP);
    Deno.exit(EXIT.ok);
  }
  if (settings.words.length > 0) throw new UsageError(`unexpected word "${settings.words[0]}"`);
  const number = (flag: string, byDefault: number, max: number): number =>
    numberSetting(flag, settings.text(flag) ?? String(byDefault), { min: 1, max });
  const nodes = number("nodes", 3, DEV_NODES_MAX);
  const raftPort = number("base-raft-port", 7001, 65_535 - DEV_NODES_MAX);
  const httpPort = number("base-http-port", 8001, 65_535 - DEV_NODES_MAX);
  const data = settings.text("data") ?? "./data";
  const ids = Array.from({ length: nodes }, (_, offset) => offset + 1);
  const list = (address: (id: number) => string): string =>
    ids.map((id) => `${id}=${address(id)}`).join();
  const peers = list((id) => `127.0.0.1:${raftPort + id - 1}`);
  const httpPeers = list((id) => `http://127.0.0.1:${httpPort + id - 1}`);
  // Checked before any node starts, so that no node of another cluster joins a part of a new one.
  const members = memberListSetting("peers", peers, (value) => hostPortSetting("peers", value));
  for (const id of ids) {
    try {
      checkNodeDirectory({ id, dataDir: `${data}/node-${id}`, peers: members });
    } catch (error) {
      const where = `${data}/node-${id}, --nodes ${nodes}`;
      throw new UsageError(`${(error as Error).message} (${where})${nodesOf(error)}`);
    }
  }
  return ids.map((id) => {
    const port = httpPort + id - 1;
    const words = [
      ...["--id", String(id), "--peers", peers, "--http-peers", httpPeers],
      ...["--http", `127.0.0.1:${port}`, "--data", `${data}/node-${id}`],
    ];
    const child = nodeCommand(words, { stderr: "inherit", supervised: true }).spawn();
    return { id, http: `http://127.0.0.1:${port}`, child, words, serves: false };
  });
}

/** The flag that fits the data, if the number of nodes is all that does not. */
function nodesOf(error: unknown): string {
  if (!(error instanceof IdentityMismatchError)) return "";
  const { members } = error.stored;
  const isDevs = members.length > 0 && members.every((id, at) => id === at + 1);
  return isDevs ? `; use --nodes ${members.length}` : "";
}

/** Notes when a child serves, and reads on, so that its stdout never fills up. */
async function watchStdout(member: Member): Promise<void> {
  for await (const _chunk of member.child.stdout) member.serves = true;
}

/**
 * Polls until a member knows the leader. Only a child that serves is asked: it has bound its
 * address, so no other process answers there.
 */
async function untilLeader(
  members: readonly Member[],
  ended: () => boolean,
): Promise<ClusterStatus> {
  const deadlineMs = performance.now() + DEV_START_MS_MAX;
  while (performance.now() < deadlineMs && !ended()) {
    for (const { id, http } of members.filter(({ serves }) => serves)) {
      try {
        const response = await fetch(`${http}/v1/cluster`, { signal: AbortSignal.timeout(1_000) });
        const status = await response.json() as ClusterStatus;
        if (status.nodeId === id && status.leader !== undefined && !ended()) return status;
      } catch {
        // Not up yet.
      }
    }
    await new Promise((resolve) => setTimeout(resolve, POLL_MS));
  }
  throw new Error(ended() ? "a node ended; its line above says why" : "no leader was elected");
}

/** A word as a shell reads it. */
function quoted(word: string): string {
  return /^[\w./:=,-]+$/.test(word) ? word : `'${word.replaceAll("'", "'\\''")}'`;
}

/** One after the other, so that a leader hands over to a member that stays, while there is one. */
async function stopAll(members: readonly Member[]): Promise<void> {
  for (const { child } of members) {
    try {
      child.kill("SIGTERM");
    } catch {
      // It has ended already.
    }
    let timer: ReturnType<typeof setTimeout> | undefined;
    const isLate = new Promise<void>((resolve) => timer = setTimeout(resolve, STOP_TURN_MS));
    await Promise.race([child.status, isLate]);
    clearTimeout(timer);
  }
  await Promise.all(members.map(({ child }) => child.status));
}

async function main(): Promise<void> {
  const startMs = performance.now();
  let members: readonly Member[];
  try {
    members = startMembers(Deno.args);
  } catch (error) {
    complain(`statecraft dev: ${(error as Error).message}`);
    Deno.exit(EXIT.usage);
  }
  let ended = 0;
  let stopping = false;
  bypassProxyOnLoopback(Deno.env);
  for (const member of members) {
    const { id, child } = member;
    watchStdout(member);
    child.status.then(({ code, signal }) => {
      ended++;
      const how = signal === null ? `with code ${code}` : `by ${signal}`;
      if (!stopping) complain(`statecraft dev: node ${id} ended ${how}`);
    });
  }
  const stop = async (exitCode: number): Promise<void> => {
    if (stopping) return;
    stopping = true;
    await stopAll(members);
    Deno.exit(exitCode);
  };
  // The nodes are in process groups of their own: a terminal that closes does not reach them.
  for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) {
    Deno.addSignalListener(signal, () => stop(EXIT.ok));
  }
  try {
    const { leader, term } = await untilLeader(members, () => ended > 0);
    const seconds = ((performance.now() - startMs) / 1000).toFixed(1);
    print(`leader elected: node ${leader} in term ${term}, ${seconds} s after the start\n`);
    for (const { id, http, child } of members) {
      print(`  node ${id}  ${http}  process ${child.pid}\n`);
    }
    print(`chart    ${members[0]!.http}/v1/raft/chart?format=mermaid\n`);
    print(`explain  ${members[0]!.http}/v1/raft/explain\n`);
    print(`try      curl -X PUT --data-binary hello ${members[0]!.http}/v1/kv/greeting\n`);
    const victim = members.find(({ id }) => id === leader) ?? members[0]!;
    print(`kill     kill -9 ${victim.child.pid}\n`);
    print(`revive   deno task node ${victim.words.map(quoted).join(" ")}\n`);
    print("Ctrl-C stops the cluster\n");
  } catch (error) {
    complain(`statecraft dev: ${(error as Error).message}`);
    await stop(EXIT.failure);
  }
}

if (import.meta.main) await main();
