import { assert, assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { nodeCommand } from "../../cli/dev.ts";
import { NODE_EXIT } from "../../cli/usage.ts";
import { freePorts } from "../../bench/local_cluster.ts";
import { eventually, persist, RealCluster, RealNode } from "./real_cluster.ts";

interface Run {
  readonly code: number;
  readonly stderr: string;
}

/** Runs a node that is expected to end by itself; ends it if it does not. */
async function runNode(args: readonly string[]): Promise<Run> {
  const child = nodeCommand(args, { stderr: "piped" }).spawn();
  let over = false;
  const timer = setTimeout(() => over || child.kill("SIGKILL"), 60_000);
  const [stderr, { code }] = await Promise.all([
    new Response(child.stderr).text(),
    child.status,
  ]);
  over = true;
  clearTimeout(timer);
  return { code, stderr };
}

/** Asserts exit code 2 and one line that says `why`. */
function assertRefused({ code, stderr }: Run, why: RegExp): void {
  assertMatch(stderr, /^statecraft node: [^\n]+\n$/);
  assertMatch(stderr, why);
  assertEquals(code, 2, stderr);
}

async function inDirectory(run: (directory: string) => Promise<void>): Promise<void> {
  const directory = await Deno.makeTempDir();
  try {
    await run(directory);
  } finally {
    await Deno.remove(directory, { recursive: true });
  }
}

Deno.test("a bad flag is one line on stderr, exit code 2, and nothing on disk", async (t) => {
  await inDirectory(async (directory) => {
    const one = ["--id", "1"];
    const bad: [string, string[], RegExp][] = [
      ["no id", [], /--id is required/],
      ["id 0", ["--id", "0"], /--id takes a whole number from 1 to 2147483648, not "0"/],
      ["id that is no number", ["--id", "x"], /--id takes a whole number/],
      ["empty id", ["--id="], /--id needs a value/],
      ["unknown flag", [...one, "--frobnicate"], /unknown flag --frobnicate/],
      ["flag of one letter", [...one, "-x"], /unknown flag -x/],
      ["word", [...one, "extra"], /unexpected word "extra"/],
      ["value on a switch", [...one, "--single=yes"], /--single takes no value/],
      ["flag as a value", [...one, "--http", "--single"], /--http needs a value/],
      ["peers that are no list", [...one, "--peers", "127.0.0.1:7001"], /--peers takes ID=ADDRESS/],
      ["peers without a port", [...one, "--peers", "1=localhost"], /--peers takes HOST:PORT/],
      ["peers with a port too high", [...one, "--peers", "1=h:70000"], /--peers takes HOST:PORT/],
      ["peers with port 0", [...one, "--peers", "1=h:0"], /--peers takes HOST:PORT/],
      ["a peer twice", [...one, "--peers", "1=h:1,1=h:2"], /--peers names node 1 twice/],
      ["an address twice", [...one, "--peers", "1=h:1,2=h:1"], /--peers has h:1 twice/],
      ["peers without this node", [...one, "--peers", "2=h:1"], /--peers does not name this node/],
      ["an id beyond the default peers", ["--id", "4"], /--peers or --join is required for node 4/],
      ["an id without an HTTP port", ["--id", "60000", "--single"], /--http is required/],
      ["HTTP without a port", [...one, "--http", "localhost"], /--http takes HOST:PORT/],
      ["HTTP peers that are no URL", [...one, "--http-peers", "1=h:1"], /--http-peers takes ID=/],
      ["timeout that is no range", [...one, "--election-timeout-ms", "300"], /takes MIN-MAX/],
      ["a backup to nowhere", [...one, "--backup-every", "1h"], /--backup-dir go together/],
      ["a backup never", [...one, "--backup-dir", "b"], /--backup-every and --backup-dir/],
      [
        "a backup all the time",
        [...one, "--backup-dir", "b", "--backup-every", "999ms"],
        /--backup-every takes 1s to 24 days/,
      ],
      [
        "a backup too rare",
        [...one, "--backup-dir", "b", "--backup-every", "600h"],
        /--backup-every takes 1s to 24 days/,
      ],
      [
        "no backup kept",
        [...one, "--backup-dir", "b", "--backup-every", "1h", "--backup-keep", "0"],
        /--backup-keep takes a whole number from 1 to 10000/,
      ],
      ["timeout upside down", [...one, "--election-timeout-ms", "600-300"], /MIN is above MAX/],
      [
        "heartbeat too long",
        [...one, "--heartbeat-ms", "101"],
        /more than a third of the shortest/,
      ],
      [
        "heartbeat 0",
        [...one, "--heartbeat-ms", "0"],
        /--heartbeat-ms takes a whole number from 1/,
      ],
      ["log level", [...one, "--log-level", "loud"], /--log-level is one of/],
      ["log format", [...one, "--log-format", "xml"], /--log-format is one of text, json/],
      [
        "config that is not there",
        [...one, "--config", `${directory}/none`],
        /cannot read --config/,
      ],
    ];
    const data = `${directory}/data`;
    for (const [name, args, why] of bad) {
      await t.step(name, async () => {
        assertRefused(await runNode([...args, "--data", data]), why);
      });
    }
    assertEquals(Array.from(Deno.readDirSync(directory)), []);
  });
});

Deno.test("a taken port is named in one line, and the directory can be used right after", async () => {
  await inDirectory(async (directory) => {
    using taken = Deno.listen({ hostname: "127.0.0.1", port: 0 });
    const { port } = taken.addr;
    const [free] = freePorts(1);
    const data = ["--id", "1", "--data", directory];
    const raft = await runNode([
      ...data,
      ...["--peers", `1=127.0.0.1:${port}`, "--http", `127.0.0.1:${free}`],
    ]);
    assertRefused(raft, new RegExp(`Cannot listen for peers on 127.0.0.1:${port}: `));
    const http = await runNode([
      ...data,
      ...["--peers", `1=127.0.0.1:${free}`, "--http", `127.0.0.1:${port}`],
    ]);
    assertRefused(http, new RegExp(`Cannot serve HTTP on 127.0.0.1:${port}: `));
    assertEquals(Array.from(Deno.readDirSync(directory)), [], "nothing is left behind");
  });
});

Deno.test("a data directory is used by one process, and by the node it belongs to", async () => {
  await using cluster = new RealCluster(3);
  cluster.startAll();
  await cluster.leader();
  const directory = `${cluster.directory}/node-1`;
  const args = (id: number): string[] => {
    const [raft, http] = freePorts(2);
    return [
      ...["--id", String(id), "--data", directory],
      ...["--peers", `${id}=127.0.0.1:${raft}`, "--http", `127.0.0.1:${http}`],
    ];
  };
  const locked = await runNode(args(1));
  assertRefused(locked, /another process has locked it/);
  assertStringIncludes(locked.stderr, `(--data ${directory})`);
  assert((await cluster.node(1).status()) !== undefined);
  await cluster.kill(1);
  assertRefused(await runNode(args(2)), /it belongs to node 1, not to node 2; /);
});

Deno.test("X1: a member is refused flags that contradict its directory, and is well afterwards", async () => {
  await using cluster = new RealCluster(3);
  cluster.startAll();
  const leader = await cluster.leader();
  const put = await fetch(`${leader.http}/v1/kv/k`, { method: "PUT", body: "v" });
  await put.body?.cancel();
  assertEquals(put.status, 201);
  await cluster.kill(1);
  const directory = `${cluster.directory}/node-1`;
  const identity = await Deno.readTextFile(`${directory}/identity.json`);
  const [raft, other, http] = freePorts(3);
  const base = ["--id", "1", "--data", directory, "--http", `127.0.0.1:${http}`];
  const pair = `1=127.0.0.1:${raft},2=127.0.0.1:${other}`;
  const four = [1, 2, 3, 4].map((id) => `${id}=127.0.0.1:${20_000 + id}`).join();
  for (const flags of [["--single"], ["--peers", pair], ["--peers", four]]) {
    const refused = await runNode([...base, ...flags]);
    assertRefused(
      refused,
      /its cluster has the members 1, 2, 3, and this start names .*; start it with/,
    );
    assertEquals(/; leave out --single\n$/.test(refused.stderr), flags[0] === "--single");
  }
  assertRefused(await runNode([...base, "--single", "--peers", pair]), /does not go with --peers/);
  assertEquals(await Deno.readTextFile(`${directory}/identity.json`), identity);
  cluster.start(1);
  await eventually("node 1", async () => (await cluster.node(1).status())?.leader);
  const read = await fetch(`${cluster.node(1).http}/v1/kv/k`);
  assertEquals([read.status, await read.text()], [200, "v"]);
});

Deno.test("a copy of a member's directory is refused, unless it is said to replace the original", async () => {
  await using cluster = new RealCluster(3);
  cluster.startAll();
  await cluster.leader();
  await persist(cluster.endpoints, "/v1/kv/k", { method: "PUT", body: "v" });
  await cluster.kill(1);
  const directory = `${cluster.directory}/node-1`;
  const { success } = await new Deno.Command("cp", {
    args: ["-a", directory, `${directory}-copy`],
  }).output();
  assert(success);
  const refused = await runNode(
    cluster.args(1).map((word) => word.replace(/node-1$/, "node-1-copy")),
  );
  assertRefused(refused, /it is a copy of another one, .*; if .*, start it once with --moved$/m);
  await Deno.remove(directory, { recursive: true });
  await Deno.rename(`${directory}-copy`, directory);
  assertRefused(await runNode(cluster.args(1)), /it is a copy of another one/);
  for (const flags of [["--moved"], []]) {
    const node = cluster.start(1, { flags });
    await eventually("node 1", async () => (await node.status())?.leader, () => node.stderr);
    assertEquals(await persist([node.http], "/v1/kv/k", {}), "v");
    await cluster.kill(1);
  }
});

Deno.test("X7: a typo in the first list is corrected by the next start", async () => {
  await inDirectory(async (directory) => {
    const [raft, http] = freePorts(2);
    const base = ["--id", "1", "--data", directory, "--http", `127.0.0.1:${http}`];
    // It starts, and meets nobody.
    const address = `http://127.0.0.1:${http}`;
    const typo = new RealNode(1, address, [
      ...base,
      ...["--peers", `1=127.0.0.1:${raft},22=127.0.0.1:1`],
    ]);
    await eventually("the wrong start", () => typo.status());
    await typo.kill();
    const right = new RealNode(1, address, [...base, "--peers", `1=127.0.0.1:${raft}`]);
    await eventually("a leader", async () => (await right.status())?.leader);
    right.signal("SIGTERM");
    assertEquals((await right.ended).code, 0);
  });
});

Deno.test("a directory that cannot be used is named in one line", async () => {
  await inDirectory(async (directory) => {
    const file = `${directory}/file`;
    await Deno.writeTextFile(file, "");
    const http = ["--http", `127.0.0.1:${freePorts(1)[0]}`];
    const run = await runNode(["--id", "1", "--single", ...http, "--data", `${file}/below`]);
    assertRefused(run, /Cannot create directory .*below\)$/m);
    const broken = `${directory}/broken`;
    await Deno.mkdir(broken);
    await Deno.writeTextFile(`${broken}/identity.json`, "{");
    const damaged = await runNode(["--id", "1", "--single", ...http, "--data", broken]);
    assertMatch(
      damaged.stderr,
      /^statecraft node: [^\n]*identity\.json is not JSON[^\n]*; bring it back as it was[^\n]*\n$/,
    );
    assertEquals(damaged.code, NODE_EXIT.damagedLog);
  });
});

Deno.test("a member that lost its log alone does not start, also if it is the only one", async () => {
  await inDirectory(async (directory) => {
    const [port] = freePorts(1);
    const http = `http://127.0.0.1:${port}`;
    const args = ["--id", "1", "--single", "--http", `127.0.0.1:${port}`, "--data", directory];
    const node = new RealNode(1, http, args);
    await persist([http], "/v1/kv/k", { method: "PUT", body: "v" });
    node.signal("SIGTERM");
    assertEquals((await node.ended).code, 0);
    await Deno.remove(`${directory}/wal`, { recursive: true });
    const run = await runNode(args);
    assertEquals(run.code, NODE_EXIT.damagedLog);
    assertMatch(run.stderr, /^statecraft node: [^\n]*its log is missing[^\n]*\n$/);
  });
});

Deno.test("--help and --version answer and start nothing", async () => {
  const script = new URL("../../cli/node.ts", import.meta.url).pathname;
  const ask = async (flag: string): Promise<[number, string]> => {
    const args = ["run", "--quiet", "--allow-env", "--allow-read", script, flag];
    const { code, stdout } = await new Deno.Command(Deno.execPath(), { args }).output();
    return [code, new TextDecoder().decode(stdout)];
  };
  const [helpCode, help] = await ask("--help");
  assertEquals(helpCode, 0);
  assertMatch(help, /^Usage: deno task node --id N/);
  const [versionCode, version] = await ask("--version");
  assertEquals(versionCode, 0);
  assertMatch(version, /^statecraft \d+\.\d+\.\d+\n$/);
});
