import { assertEquals, assertMatch } from "@std/assert";
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
      /^statecraft dev: .*has the members 1, 2, 3, and this start names 1, 2, 3, 4, 5; .*node-1, --nodes 5\)\n$/,
    );
    assertEquals([...Deno.readDirSync(directory)].length, 3);
  } finally {
    await Deno.remove(directory, { recursive: true });
  }
});
