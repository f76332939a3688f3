import { assert, assertEquals, assertMatch, assertRejects } from "@std/assert";
import { BACKUP_EVERY_MS, BACKUPS_KEPT } from "../../actors/limits.ts";
import { checkTiming, clusterIdOf, type NodeOptions } from "../../actors/node.ts";
import { readDirectory } from "../../storage/log/data_directory.ts";
import { DenoDisk } from "../../storage/log/deno_disk.ts";
import { startNode, type StatecraftNode } from "../../mod.ts";

const LOOPBACK = { hostname: "127.0.0.1", port: 0 };

async function inDirectory(run: (options: NodeOptions) => Promise<void>): Promise<void> {
  const dataDir = await Deno.makeTempDir();
  try {
    await run({ id: 1, single: true, dataDir, http: LOOPBACK });
  } finally {
    await Deno.remove(dataDir, { recursive: true });
  }
}

async function put(node: StatecraftNode, key: string, value: string): Promise<number> {
  const url = `${node.httpAddress}/v1/kv/${key}`;
  const response = await fetch(url, { method: "PUT", body: value });
  await response.body?.cancel();
  return response.status;
}

async function get(node: StatecraftNode, key: string): Promise<string> {
  return await (await fetch(`${node.httpAddress}/v1/kv/${key}`)).text();
}

Deno.test("what was acknowledged is there after a restart, with its revisions", async () => {
  await inDirectory(async (options) => {
    {
      await using node = await startNode(options);
      assertEquals(await put(node, "a", "one"), 201);
      assertEquals(await put(node, "a", "two"), 200);
      assertEquals(node.status().revision, 2);
    }
    await using node = await startNode(options);
    assertEquals(await get(node, "a"), "two");
    assertEquals(node.status().revision, 2);
  });
});

Deno.test("a member that is alone starts though another program has the Raft port that it had", async () => {
  await inDirectory(async (options) => {
    const first = await startNode(options);
    assertEquals(await put(first, "a", "one"), 201);
    const { raftAddress } = first.status().members[0]!;
    const disk = new DenoDisk(options.dataDir);
    const known = (): string | undefined => readDirectory(disk)?.latest?.config.members[0]?.raft;
    while (known() !== raftAddress) await new Promise((done) => setTimeout(done, 10));
    await first.stop();
    const port = Number(raftAddress.split(":").at(-1));
    const other = Deno.listen({ hostname: "127.0.0.1", port });
    try {
      await using node = await startNode(options);
      assertEquals(await get(node, "a"), "one");
    } finally {
      other.close();
    }
  });
});

Deno.test("two nodes of one member run side by side, each where it says", async () => {
  await inDirectory(async (first) => {
    await inDirectory(async (second) => {
      await using one = await startNode(first);
      await using other = await startNode(second);
      assertEquals(await put(one, "a", "one"), 201);
      assertEquals(await put(other, "a", "other"), 201);
      assertEquals(await get(one, "a"), "one");
      for (const node of [one, other]) {
        const { members, clusterId, leader } = node.status();
        assertEquals(members.map(({ httpAddress, link, voter }) => [httpAddress, link, voter]), [
          [node.httpAddress, "self", true],
        ]);
        assertMatch(clusterId, /^[0-9a-f]{16}$/);
        assertEquals(leader, 1);
      }
    });
  });
});

Deno.test("a start that fails rejects and leaves nothing behind", async () => {
  await inDirectory(async (options) => {
    {
      using taken = Deno.listen(LOOPBACK);
      const http = { ...LOOPBACK, port: taken.addr.port };
      await assertRejects(
        () => startNode({ ...options, http }),
        Error,
        `Cannot serve HTTP on 127.0.0.1:${http.port}: `,
      );
      const peers = new Map([[1, http]]);
      await assertRejects(
        () => startNode({ ...options, single: false, peers }),
        Error,
        `Cannot listen for peers on 127.0.0.1:${http.port}: `,
      );
    }
    await using node = await startNode(options);
    await assertRejects(() => startNode(options), Error, "another process has locked it");
    assertEquals(await put(node, "a", "still here"), 201);
  });
});

Deno.test("options that cannot be used are refused", async () => {
  await inDirectory(async (options) => {
    const timing = { electionTimeoutMsMin: 100, electionTimeoutMsMax: 200, heartbeatMs: 34 };
    await assertRejects(() => startNode({ ...options, timing }), RangeError, "at most a third");
    const peers = new Map([[2, LOOPBACK]]);
    await assertRejects(
      () => startNode({ ...options, single: false, peers }),
      RangeError,
      "Cannot start node 1: it is not among the peers",
    );
    const backups = { everyMs: 1_000, directory: `${options.dataDir}-backups`, keep: 1 };
    for (
      const bad of [
        { everyMs: BACKUP_EVERY_MS.min - 1 },
        { everyMs: BACKUP_EVERY_MS.max + 1 },
        { everyMs: 1_000.5 },
        { keep: BACKUPS_KEPT.min - 1 },
        { keep: BACKUPS_KEPT.max + 1 },
      ]
    ) {
      const refused = (): Promise<unknown> =>
        startNode({ ...options, backups: { ...backups, ...bad } });
      await assertRejects(refused, RangeError, "Cannot make backups: ");
    }
  });
  checkTiming({ electionTimeoutMsMin: 102, electionTimeoutMsMax: 102, heartbeatMs: 34 });
  for (const heartbeatMs of [0, -1, NaN, Infinity]) {
    const timing = { electionTimeoutMsMin: 300, electionTimeoutMsMax: 600, heartbeatMs };
    assertEquals(isRefused(() => checkTiming(timing)), true, String(heartbeatMs));
  }
});

function isRefused(check: () => void): boolean {
  try {
    check();
    return false;
  } catch (error) {
    return error instanceof RangeError;
  }
}

Deno.test("stopping twice is stopping once, also with a request that never ends", async () => {
  await inDirectory(async (options) => {
    const lines: string[] = [];
    const node = await startNode({ ...options, log: (_level, event) => void lines.push(event) });
    assertEquals(await put(node, "a", "x"), 201);
    const { hostname, port } = new URL(node.httpAddress);
    using connection = await Deno.connect({ hostname, port: Number(port) });
    const head = "PUT /v1/kv/half HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n";
    await connection.write(new TextEncoder().encode(`${head}half`));
    await Promise.all([node.stop(), node.stop()]);
    await node.stop();
    assertEquals(lines.filter((event) => event === "stopped").length, 1);
    assertEquals(lines.filter((event) => event === "node-failed"), []);
    await using again = await startNode(options);
    assertEquals(await get(again, "a"), "x");
  });
});

Deno.test("S13: reads of every kind leave the replicated state as it was", async () => {
  await inDirectory(async (options) => {
    await using node = await startNode(options);
    assertEquals(await put(node, "a", "x"), 201);
    const before = node.status();
    for (const consistency of ["linearizable", "lease", "follower", "stale"]) {
      for (const path of ["a", "missing", "?prefix=a", "?count_only"]) {
        const at = path.startsWith("?") ? path : `/${path}?`;
        const url = `${node.httpAddress}/v1/kv${at}&consistency=${consistency}`;
        const headers = { "idempotency-key": "read-1" };
        const response = await fetch(url.replace("?&", "?"), { headers });
        await response.body?.cancel();
        assertEquals(response.status, path === "missing" ? 404 : 200);
      }
    }
    const { stateHash, lastLogIndex, appliedIndex } = node.status();
    assertEquals([stateHash, lastLogIndex, appliedIndex], [
      before.stateHash,
      before.lastLogIndex,
      before.appliedIndex,
    ]);
  });
});

Deno.test("every metric has a family, a number, and no key in its labels", async () => {
  await inDirectory(async (options) => {
    await using node = await startNode(options);
    assertEquals(await put(node, "the-secret-key", "x"), 201);
    const text = await (await fetch(`${node.httpAddress}/metrics`)).text();
    assert(!text.includes("the-secret-key"));
    const families = new Set<string>();
    let samples = 0;
    for (const line of text.trimEnd().split("\n")) {
      const help = /^# (?:HELP|TYPE) (\S+) \S/.exec(line)?.[1];
      if (help !== undefined) {
        families.add(help);
        continue;
      }
      const match = /^([a-z_]+)(?:\{(?:[a-zA-Z0-9]+="[^"]*",?)+\})? (\S+)$/.exec(line);
      assert(match !== null, line);
      const family = match[1]!.replace(/_(bucket|sum|count)$/, "");
      assert(families.has(match[1]!) || families.has(family), line);
      assert(Number.isFinite(Number(match[2])), line);
      samples++;
    }
    assert(samples > 20);
    assertMatch(text, /^etcd_server_is_leader\{group="0"\} 1$/m);
    assertMatch(text, /^statecraft_raft_role\{group="0",state="leader"\} 1$/m);
    assertMatch(text, /^statecraft_raft_role\{group="0",state="recovering"\} 0$/m);
    assertMatch(text, /^statecraft_disk_condition\{group="0",state="stalled"\} 0$/m);
    assertMatch(text, /^statecraft_disk_space\{group="0",state="enough"\} 1$/m);
    assertMatch(text, /^etcd_debugging_mvcc_keys_total\{group="0"\} 1$/m);
    assertMatch(text, /^statecraft_build_info\{version="[^"]+",deno="[^"]+",v8="[^"]+"\} 1$/m);
    assertMatch(text, /^statecraft_commit_duration_seconds_count\{group="0"\} [1-9]/m);
    assertMatch(text, /^statecraft_messages_refused_total\{cause="contract"\} 0$/m);
    assertMatch(text, /^statecraft_http_connections_shed_total 0$/m);
    assertMatch(
      text,
      /^statecraft_http_requests_total\{method="PUT",route="\/v1\/kv\/\{key\}",status="201"\} 1$/m,
    );
  });
});

Deno.test("the bytes of the log on disk are a metric, after a restart too", async () => {
  await inDirectory(async (options) => {
    for (let start = 1; start <= 2; start++) {
      await using node = await startNode(options);
      // What does not shrink.
      const value = crypto.getRandomValues(new Uint8Array(10_000)).toBase64();
      await put(node, "k", value);
      const text = await (await fetch(`${node.httpAddress}/metrics`)).text();
      const shown = Number(/^statecraft_wal_bytes (\d+)$/m.exec(text)![1]);
      let onDisk = 0;
      for await (const { name, isFile } of Deno.readDir(`${options.dataDir}/wal`)) {
        if (isFile && name.endsWith(".wal")) {
          onDisk += (await Deno.stat(`${options.dataDir}/wal/${name}`)).size;
        }
      }
      assert(shown > start * 10_000, String(shown));
      assertEquals(shown, onDisk);
    }
  });
});

Deno.test("who founds a cluster alone draws its id, and keeps it", async () => {
  const ids: string[] = [];
  for (let founding = 0; founding < 2; founding++) {
    await inDirectory(async (options) => {
      for (let start = 0; start < 2; start++) {
        await using node = await startNode(options);
        await put(node, "k", "v");
        ids.push(node.status().clusterId);
      }
    });
  }
  assertEquals([ids[0], ids[2]], [ids[1], ids[3]]);
  assert(ids[0] !== ids[2]);
  for (const id of ids) assertMatch(id, /^[0-9a-f]{16}$/);
});

Deno.test("the cluster's id depends on who is in it, and not on the order", () => {
  type Member = [number, { hostname: string; port: number }];
  const a: Member = [1, { hostname: "h", port: 1 }];
  const b: Member = [2, { hostname: "h", port: 2 }];
  const c: Member = [3, { hostname: "h", port: 2 }];
  assertEquals(clusterIdOf(new Map([a, b])), clusterIdOf(new Map([b, a])));
  assert(clusterIdOf(new Map([a, b])) !== clusterIdOf(new Map([a, c])));
});

Deno.test("stopping ends watches, and tells them from where to go on", async () => {
  await inDirectory(async (options) => {
    const node = await startNode(options);
    await put(node, "k", "v");
    const response = await fetch(`${node.httpAddress}/v1/watch?prefix=`);
    const text = response.text();
    await put(node, "k", "w");
    await node.stop();
    const [, ended] = /event: ended\ndata: (.*)\n/.exec(await text)!;
    assertEquals(JSON.parse(ended!), { from: node.status().revision + 1 });
  });
});
