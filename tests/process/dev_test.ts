import { assertEquals, assertMatch } from "@std/assert";
import { nodeCommand } from "../../cli/dev.ts";
import { openDataDirectory } from "../../storage/log/data_directory.ts";
import { DenoDisk } from "../../storage/log/deno_disk.ts";
import { StoredPeerIdentities } from "../../storage/log/peer_identities.ts";
import { eventually } from "./real_cluster.ts";

const NODES = 3;

/** The first of some ports in a row that nobody listens on now. */
function freePortRange(count: number): number {
  for (let first = 21_000; first < 32_000; first += count) {
    const listeners: Deno.Listener[] = [];
    try {
      for (let at = 0; at < count; at++) {
        listeners.push(Deno.listen({ hostname: "127.0.0.1", port: first + at }));
      }
      return first;
    } catch (error) {
      if (!(error instanceof Deno.errors.AddrInUse)) throw error;
    } finally {
      for (const listener of listeners) listener.close();
    }
  }
  throw new Error("Cannot find free ports");
}

Deno.test("dev prints a working cluster, and Ctrl-C in its terminal stops every node in order", async () => {
  const directory = await Deno.makeTempDir();
  const first = freePortRange(2 * NODES);
  const script = new URL("../../cli/dev.ts", import.meta.url).pathname;
  const permissions = ["net", "read", "write", "env", "run"].map((name) => `--allow-${name}`);
  const dev = new Deno.Command(Deno.execPath(), {
    args: [
      ...["run", "--quiet", ...permissions, script, "--nodes", String(NODES)],
      ...["--data", directory, "--base-raft-port", String(first)],
      ...["--base-http-port", String(first + NODES)],
    ],
    stdout: "piped",
    stderr: "piped",
    // A process group of its own, as a shell gives to a command.
    detached: true,
  }).spawn();
  let stdout = "";
  let stderr = "";
  const read = async (
    stream: ReadableStream<Uint8Array<ArrayBuffer>>,
    add: (text: string) => void,
  ): Promise<void> => {
    for await (const text of stream.pipeThrough(new TextDecoderStream())) add(text);
  };
  const reading = [
    read(dev.stdout, (text) => stdout += text),
    read(dev.stderr, (text) => stderr += text),
  ];
  try {
    await eventually("the cluster", () => /Ctrl-C/.test(stdout) ? true : undefined, () => stderr);
    assertMatch(stdout, /^leader elected: node \d in term \d+, /);
    const [, address] = /node 2 {2}(http:\S+)/.exec(stdout)!;
    const put = await fetch(`${address}/v1/kv/greeting`, { method: "PUT", body: "hello" });
    await put.body?.cancel();
    assertEquals(put.status, 201);
    // What a terminal does: every process of the group gets the signal.
    Deno.kill(-dev.pid, "SIGINT");
    const { code } = await dev.status;
    await Promise.all(reading);
    assertEquals(code, 0, stderr);
    assertEquals([...stderr.matchAll(/ node \d {2}stopped$/gm)].length, NODES, stderr);
  } finally {
    try {
      // Not SIGKILL: it is the one that ends its nodes.
      dev.kill("SIGTERM");
    } catch {
      // It has ended, as it should.
    }
    await Promise.all([dev.status, ...reading]);
    await Deno.remove(directory, { recursive: true });
  }
});

interface Dev {
  readonly child: Deno.ChildProcess;
  readonly stdout: () => string;
  readonly stderr: () => string;
  /** Ends once dev and every node that writes to its stderr have ended. */
  readonly ended: Promise<unknown>;
}

function startDev(directory: string, { raftPort, httpPort }: {
  readonly raftPort: number;
  readonly httpPort: number;
}): Dev {
  const script = new URL("../../cli/dev.ts", import.meta.url).pathname;
  const permissions = ["net", "read", "write", "env", "run"].map((name) => `--allow-${name}`);
  const child = new Deno.Command(Deno.execPath(), {
    args: [
      ...["run", "--quiet", ...permissions, script, "--nodes", String(NODES)],
      ...["--data", directory, "--base-raft-port", String(raftPort)],
      ...["--base-http-port", String(httpPort)],
    ],
    stdout: "piped",
    stderr: "piped",
  }).spawn();
  let [stdout, stderr] = ["", ""];
  const read = async (
    stream: ReadableStream<Uint8Array<ArrayBuffer>>,
    add: (text: string) => void,
  ): Promise<void> => {
    for await (const text of stream.pipeThrough(new TextDecoderStream())) add(text);
  };
  const ended = Promise.all([
    child.status,
    read(child.stdout, (text) => stdout += text),
    read(child.stderr, (text) => stderr += text),
  ]);
  return { child, stdout: () => stdout, stderr: () => stderr, ended };
}

Deno.test("X14: a dev that is killed leaves no node behind, and says how to kill and revive one", async () => {
  const directory = await Deno.makeTempDir();
  const first = freePortRange(2 * NODES);
  const dev = startDev(directory, { raftPort: first, httpPort: first + NODES });
  const pids: number[] = [];
  try {
    await eventually(
      "the cluster",
      () => /Ctrl-C/.test(dev.stdout()) ? true : undefined,
      dev.stderr,
    );
    for (const [, pid] of dev.stdout().matchAll(/ {2}process (\d+)$/gm)) pids.push(Number(pid));
    assertEquals(pids.length, NODES);
    // What it says about one member is true.
    const [, victim] = /^kill {5}kill -9 (\d+)$/m.exec(dev.stdout())!;
    const [, words] = /^revive {3}deno task node (.*)$/m.exec(dev.stdout())!;
    const id = Number(/--id (\d+)/.exec(words!)![1]);
    assertMatch(dev.stdout(), new RegExp(`^leader elected: node ${id} `));
    Deno.kill(Number(victim), "SIGKILL");
    await eventually(
      "the end of the victim",
      () => new RegExp(`node ${id} ended by SIGKILL`).test(dev.stderr()) ? true : undefined,
      dev.stderr,
    );
    const revived = nodeCommand(words!.split(" "), { stderr: "piped" }).spawn();
    const output = new Response(revived.stderr).text();
    try {
      await eventually("the revived node", async () => {
        const response = await fetch(`http://127.0.0.1:${first + NODES + id - 1}/readyz`)
          .catch(() => undefined);
        await response?.body?.cancel();
        return response?.ok === true ? true : undefined;
      }, dev.stderr);
    } finally {
      revived.kill("SIGTERM");
      const [{ code }, text] = await Promise.all([revived.status, output]);
      assertEquals(code, 0, text);
    }
    dev.child.kill("SIGKILL");
    // Their stderr is the pipe that is read here.
    await eventually(
      "the end of the nodes",
      () =>
        [...dev.stderr().matchAll(/ node \d {2}stopped$/gm)].length === NODES - 1
          ? true
          : undefined,
      dev.stderr,
    );
  } finally {
    for (const pid of pids) {
      try {
        Deno.kill(pid, "SIGKILL");
      } catch {
        // It has ended, as it should.
      }
    }
    await dev.ended;
    await Deno.remove(directory, { recursive: true });
  }
});

Deno.test("X14: dev does not take a stranger's answer for its node's", async () => {
  const directory = await Deno.makeTempDir();
  const first = freePortRange(2 * NODES);
  const httpPort = first + NODES;
  const stranger = Deno.serve(
    { hostname: "127.0.0.1", port: httpPort, onListen: () => {} },
    () => Response.json({ clusterId: "c", nodeId: 1, leader: 1, term: 7, members: [] }),
  );
  try {
    const dev = startDev(directory, { raftPort: first, httpPort });
    let code: number | undefined;
    dev.child.status.then((status) => code = status.code);
    try {
      await eventually(
        "the end of dev",
        () => code !== undefined || dev.stdout() !== "" ? true : undefined,
        dev.stderr,
      );
      assertEquals([code, dev.stdout()], [1, ""], dev.stderr());
    } finally {
      if (code === undefined) dev.child.kill("SIGTERM");
      await dev.ended;
    }
    assertMatch(dev.stderr(), /Cannot serve HTTP on 127\.0\.0\.1:\d+: /);
    assertMatch(dev.stderr(), /statecraft dev: a node ended; its line above says why/);
  } finally {
    await stranger.shutdown();
    await Deno.remove(directory, { recursive: true });
  }
});

Deno.test("X1: dev refuses another number of nodes on old data, before anything starts", async () => {
  const directory = await Deno.makeTempDir();
  try {
    for (const id of [1, 2, 3]) {
      const disk = new DenoDisk(`${directory}/node-${id}`);
      const members = [1, 2, 3];
      const data = openDataDirectory(disk, {
        nodeId: id,
        members,
        clusterId: "c",
        clusterIdSource: "computed",
        newDirectoryId: `d-${id}`,
      });
      StoredPeerIdentities.open(disk, data.directoryId).recognise(id === 1 ? 2 : 1, "d");
      data.release();
    }
    const script = new URL("../../cli/dev.ts", import.meta.url).pathname;
    const permissions = ["net", "read", "write", "env", "run"].map((name) => `--allow-${name}`);
    const args = ["run", "--quiet", ...permissions, script, "--data", directory, "--nodes", "5"];
    const { code, stdout, stderr } = await new Deno.Command(Deno.execPath(), { args }).output();
    assertEquals([code, new TextDecoder().decode(stdout)], [2, ""]);
    assertMatch(
      new TextDecoder().decode(stderr),
      /^statecraft dev: .*has the members 1, 2, 3, and this start names 1, 2, 3, 4, 5; .*node-1, --nodes 5\); use --nodes 3\n$/,
    );
    assertEquals([...Deno.readDirSync(directory)].length, 3);
  } finally {
    await Deno.remove(directory, { recursive: true });
  }
});
