import { assert, assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { EXIT } from "../../cli/usage.ts";
import { startNode } from "../../mod.ts";
import { GatewayError, problemResponse } from "../../transport/http/problem.ts";
import { type Kv, kvAt, refusedEndpoint, type Run } from "./run_kv.ts";

/** An endpoint where nobody listens. */
/** Steps on a node of one member. */
async function withNode(run: (kv: Kv, endpoint: string) => Promise<void>): Promise<void> {
  const dataDir = await Deno.makeTempDir();
  try {
    const http = { hostname: "127.0.0.1", port: 0 };
    await using node = await startNode({ id: 1, single: true, dataDir, http });
    await run(kvAt(node.httpAddress), node.httpAddress);
  } finally {
    await Deno.remove(dataDir, { recursive: true });
  }
}

function assertFailed({ code, stdout, stderr }: Run, expected: number, why: RegExp): void {
  assertMatch(stderr, /^statecraft kv: [^\n]+\n$/);
  assertMatch(stderr, why);
  assertEquals([code, stdout], [expected, ""], stderr);
}

Deno.test("the verbs do what they say", async (t) => {
  await withNode(async (kv, endpoint) => {
    await t.step("put prints what it did, get the value and nothing else", async () => {
      const put = await kv(["put", "greeting", "hello"]);
      assertEquals([put.code, put.stderr], [EXIT.ok, ""]);
      assertEquals(JSON.parse(put.stdout), { revision: 1, version: 1 });
      const get = await kv(["get", "greeting"]);
      assertEquals([get.code, get.stdout, get.stderr], [EXIT.ok, "hello", ""]);
      const json = await kv(["get", "greeting", "-o", "json"]);
      assertEquals(JSON.parse(json.stdout), {
        key: "greeting",
        value: "hello",
        revision: 1,
        created: 1,
        version: 1,
      });
    });
    await t.step("every byte passes through stdin and stdout", async () => {
      const bytes = Uint8Array.from({ length: 256 }, (_, byte) => byte);
      assertEquals((await kv(["put", "bytes", "-"], bytes)).code, EXIT.ok);
      assertEquals((await kv(["get", "bytes"])).bytes, bytes);
      const json = await kv(["get", "bytes", "--output=json"]);
      assertEquals(JSON.parse(json.stdout).value, { base64: bytes.toBase64() });
      assertEquals((await kv(["append", "bytes", "-"], bytes.slice(0, 3))).code, EXIT.ok);
      assertEquals((await kv(["get", "bytes"])).bytes.length, 259);
    });
    await t.step("keys are any text, also with a slash or a dash in front", async () => {
      for (const key of ["a/b c?&=%", "\u{1f600}", "+1", ".", "..", "/", "a//b/"]) {
        assertEquals((await kv(["put", key, key])).code, EXIT.ok);
        assertEquals((await kv(["get", key])).stdout, key);
      }
      assertEquals((await kv(["put", "--", "-dash", "-5"])).code, EXIT.ok);
      assertEquals((await kv(["get", "--", "-dash"])).stdout, "-5");
    });
    await t.step("incr, cas and txn", async () => {
      assertEquals(JSON.parse((await kv(["incr", "n"])).stdout).value, "1");
      assertEquals(JSON.parse((await kv(["incr", "n", "--", "-43"])).stdout).value, "-42");
      assertFailed(await kv(["incr", "n", "1.5"]), EXIT.usage, /whole number/);
      assertFailed(await kv(["incr", "greeting"]), EXIT.failure, /decimal text/);
      await kv(["put", "mood", "hello"]);
      const set = await kv(["cas", "mood", "hello", "-"], new TextEncoder().encode("hi"));
      assertEquals([set.code, set.stderr], [EXIT.ok, ""]);
      assertEquals((await kv(["get", "mood"])).stdout, "hi");
      assertFailed(await kv(["cas", "mood", "hello", "x"]), EXIT.preconditionFailed, /Another/);
      assertFailed(await kv(["cas", "none", "a", "x"]), EXIT.preconditionFailed, /not exist/);
      const body = '{"success":[{"put":{"key":"t/1","value":"x"}},{"range":{"prefix":"t/"}}]}';
      const txn = await kv(["txn"], new TextEncoder().encode(body));
      assertEquals(txn.code, EXIT.ok, txn.stderr);
      assertEquals(JSON.parse(txn.stdout).results[1].range.count, 1);
      const path = await Deno.makeTempFile();
      await Deno.writeTextFile(path, body);
      assertEquals(JSON.parse((await kv(["txn", path])).stdout).succeeded, true);
      await Deno.remove(path);
      assertFailed(await kv(["txn", path]), EXIT.usage, /cannot read/);
      const wrong = await kv(["txn"], new TextEncoder().encode("{}"));
      assertFailed(wrong, EXIT.usage, /There is no operation/);
    });
    await t.step("lease, and put with a time or a lease", async () => {
      const granted = JSON.parse((await kv(["lease", "grant", "60s"])).stdout);
      assertEquals(granted.ttlSeconds, 60);
      const { id } = granted;
      assertEquals(JSON.parse((await kv(["put", "leased", "x", "--lease", id])).stdout).lease, id);
      assertEquals(JSON.parse((await kv(["lease", "get", id])).stdout).keys, ["leased"]);
      assertEquals(JSON.parse((await kv(["lease", "list"])).stdout).leases.length, 1);
      assertEquals((await kv(["lease", "keepalive", id])).code, EXIT.ok);
      assertEquals(JSON.parse((await kv(["lease", "revoke", id])).stdout).deleted, 1);
      assertFailed(await kv(["lease", "get", id]), EXIT.notFound, /no such lease/);
      assertFailed(await kv(["put", "k", "x", "--lease", id]), EXIT.notFound, /no such lease/);
      assertFailed(await kv(["lease", "grant", "x"]), EXIT.usage, /lease grant takes a duration/);
      assertFailed(await kv(["lease", "renew", id]), EXIT.usage, /lease takes grant/);
      assertFailed(await kv(["lease", "get", "x"]), EXIT.usage, /lease's id/);
      assertEquals((await kv(["put", "brief", "x", "--ttl", "1s"])).code, EXIT.ok);
      const endMs = performance.now() + 30_000;
      while ((await kv(["get", "brief"])).code !== EXIT.notFound) {
        assert(performance.now() < endMs, "it is still there");
      }
    });
    await t.step("watch shows changes until it is interrupted", async () => {
      const { revision } = JSON.parse((await kv(["put", "seen", "1"])).stdout);
      await kv(["put", "seen", "2"]);
      await kv(["del", "seen"]);
      const script = new URL("../../cli/kv.ts", import.meta.url).pathname;
      const watching = (...flags: string[]): Deno.ChildProcess =>
        new Deno.Command(Deno.execPath(), {
          args: ["run", "--quiet", "-A", script, "watch", "--from", String(revision), ...flags],
          env: { STATECRAFT_ENDPOINTS: endpoint },
          ...{ stdin: "null", stdout: "piped", stderr: "piped" },
        }).spawn();
      const shown = async (lines: number, ...flags: string[]): Promise<string> => {
        const child = watching(...flags);
        let text = "";
        for await (const chunk of child.stdout.pipeThrough(new TextDecoderStream())) {
          text += chunk;
          if (text.split("\n").length > lines) child.kill("SIGINT");
        }
        const [{ code }, stderr] = await Promise.all([
          child.status,
          new Response(child.stderr).text(),
        ]);
        assertEquals([code, stderr], [EXIT.ok, ""]);
        return text;
      };
      assertEquals(
        await shown(3, "seen"),
        `put\tseen\t1\t(revision ${revision})\nput\tseen\t2\t(revision ${revision + 1})\n` +
          `delete\tseen\t(revision ${revision + 2})\n`,
      );
      const lines = (await shown(3, "--prefix", "see", "--prev", "-o", "ndjson")).trim().split(
        "\n",
      );
      assertEquals(lines.map((line) => JSON.parse(line).previous), [undefined, "1", "2"]);
      assertEquals(await shown(2, "seen", "-o", "raw"), "1\n2\n");
      assertFailed(await kv(["watch"]), EXIT.usage, /KEY or --prefix/);
      assertFailed(await kv(["watch", "a", "--prefix", "b"]), EXIT.usage, /KEY or --prefix/);
      assertFailed(await kv(["watch", "a", "--from", "x"]), EXIT.usage, /from/);
    });
    await t.step("del takes a prefix, or all keys if it is told so", async () => {
      await kv(["put", "d/1", "x"]);
      await kv(["put", "d/2", "x"]);
      assertEquals(JSON.parse((await kv(["del", "--prefix", "d/"])).stdout).deleted, 2);
      assertEquals(JSON.parse((await kv(["del", "--prefix", "d/"])).stdout).deleted, 0);
      assertFailed(await kv(["del"]), EXIT.usage, /--prefix P or --all/);
      assertFailed(await kv(["del", "--prefix", "d", "--all"]), EXIT.usage, /--prefix P or --all/);
      assertFailed(await kv(["del", "k", "--all"]), EXIT.usage, /not two of them/);
    });
    await t.step("what is not there is exit code 3", async () => {
      assertFailed(await kv(["get", "nothing"]), EXIT.notFound, /The key does not exist/);
      const deleted = await kv(["del", "nothing"]);
      assertEquals([deleted.code, JSON.parse(deleted.stdout).deleted], [EXIT.notFound, 0]);
      assertEquals((await kv(["del", "bytes"])).code, EXIT.ok);
    });
    await t.step("a condition that does not hold is exit code 4", async () => {
      const taken = await kv(["put", "greeting", "x", "--if-revision", "0"]);
      assertFailed(taken, EXIT.preconditionFailed, /The condition does not hold/);
      const stale = await kv(["del", "greeting", "--if-revision", "999"]);
      assertFailed(stale, EXIT.preconditionFailed, /The key is at "1"/);
      assertEquals((await kv(["put", "greeting", "x", "--if-revision", "1"])).code, EXIT.ok);
    });
    await t.step("list has every format, and the limit", async () => {
      for (const name of ["a", "b", "c"]) await kv(["put", `list-${name}`, name]);
      const raw = await kv(["list", "list-", "-o", "raw"]);
      assertEquals(raw.stdout, "list-a\nlist-b\nlist-c\n");
      const table = await kv(["list", "list-", "--limit", "1"]);
      assertMatch(table.stdout, /^list-a\ta\t\(revision \d+\)\n$/);
      const lines = (await kv(["list", "list-", "-o", "ndjson"])).stdout.trimEnd().split("\n");
      assertEquals(lines.map((line) => JSON.parse(line).value), ["a", "b", "c"]);
      const json = JSON.parse((await kv(["list", "list-", "-o", "json"])).stdout);
      assertEquals(json.items.length, 3);
    });
    await t.step("status and transfer", async () => {
      assertMatch(
        (await kv(["status"])).stdout,
        /^cluster [0-9a-f]+\nENDPOINT .*\nhttp:\S+ +1 +leader +1 +1 +\d+ +\d+ +\d+\nmembers, /,
      );
      assertEquals(JSON.parse((await kv(["status", "-o", "json"])).stdout).leader, 1);
      assertEquals(JSON.parse((await kv(["transfer", "1"])).stdout).leader, 1);
      assertFailed(await kv(["transfer", "2"]), EXIT.usage, /Node 2 is not a voter/);
    });
    await t.step("health and explain", async () => {
      assertMatch((await kv(["health"])).stdout, /\nhttp:\S+ +1 +yes\n$/);
      assertEquals(JSON.parse((await kv(["health", "-o", "json"])).stdout).leader, 1);
      assertMatch((await kv(["explain"])).stdout, /^http:\S+\nLeader of term 1: [^\n]+\n\n$/);
      assertMatch((await kv(["explain", "-o", "raw"])).stdout, /\n\nWhat may happen next:\n/);
      const line = JSON.parse((await kv(["explain", "-o", "ndjson"])).stdout);
      assertEquals(line.explanation.states.length > 0, true);
    });
    await t.step("snapshot takes one, and says when nothing is new", async () => {
      assertMatch(
        (await kv(["snapshot"])).stdout,
        /^http:\S+ {2}node 1: a snapshot was taken: up to entry \d+ of term 1, \d+ bytes\n$/,
      );
      const { isNew, index, stateHash } = JSON.parse((await kv(["snapshot", "-o", "json"])).stdout);
      const { appliedIndex, stateHash: present } = JSON.parse(
        (await kv(["status", "-o", "json"])).stdout,
      );
      assertEquals([isNew, index, stateHash], [false, appliedIndex, present]);
      assertMatch((await kv(["snapshot"])).stdout, /nothing was written since the last snapshot/);
    });
    await t.step("a value that is too large is exit code 1", async () => {
      const value = new Uint8Array(1024 * 1024 + 1);
      assertFailed(
        await kv(["put", "large", "-"], value),
        EXIT.failure,
        /The limit is 1048576 bytes/,
      );
    });
  });
});

/** An endpoint that accepts connections and never answers, as a node does that SIGSTOP holds. */
function hangingEndpoint(): { readonly endpoint: string } & Disposable {
  const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  return {
    endpoint: `http://127.0.0.1:${listener.addr.port}`,
    [Symbol.dispose]: () => listener.close(),
  };
}

Deno.test("X8: an endpoint that hangs leaves time for the next one", async () => {
  using hanging = hangingEndpoint();
  const dataDir = await Deno.makeTempDir();
  try {
    const http = { hostname: "127.0.0.1", port: 0 };
    await using node = await startNode({ id: 1, single: true, dataDir, http });
    const kv = kvAt(`${hanging.endpoint},${node.httpAddress}`);
    const put = await kv(["put", "a", "b", "--timeout", "3s"]);
    assertEquals([put.code, JSON.parse(put.stdout).revision], [EXIT.ok, 1], put.stderr);
    const get = async (): Promise<void> => {
      const { code, stdout, stderr } = await kv(["get", "a", "--timeout", "3s"]);
      assertEquals([code, stdout], [EXIT.ok, "b"], stderr);
    };
    const survey = async (verb: string): Promise<void> => {
      const { code, stdout, stderr } = await kv([verb, "--timeout", "3s"]);
      const expected = verb === "health"
        ? [EXIT.failure, "statecraft kv: 1 of 2 endpoints are not ready\n"]
        : [EXIT.ok, ""];
      assertEquals([code, stderr], expected, verb);
      assertMatch(stdout, /no answer within \d+ ms/);
      assertStringIncludes(stdout, node.httpAddress);
    };
    await Promise.all([get(), ...["status", "health", "explain"].map(survey)]);
  } finally {
    await Deno.remove(dataDir, { recursive: true });
  }
});

Deno.test("X8: status says where the endpoints differ, and a cluster without a leader is exit code 5", async () => {
  const answer = (fields: object): Deno.HttpServer<Deno.NetAddr> =>
    Deno.serve(
      { hostname: "127.0.0.1", port: 0, onListen: () => {} },
      () => Response.json({ clusterId: "c", role: "follower", term: 3, members: [], ...fields }),
    );
  const one = answer({ nodeId: 1, role: "leader", leader: 1, term: 2 });
  const two = answer({ nodeId: 2 });
  const member = { voter: true, raftAddress: "r", httpAddress: "h" };
  const three = answer({
    ...{ nodeId: 3, leader: 3, role: "leader", clusterId: "d" },
    members: [
      { ...member, id: 1, link: "connected", matchIndex: 7 },
      { ...member, id: 2, link: "down", matchIndex: 0 },
    ],
  });
  const stranger = Deno.serve(
    { hostname: "127.0.0.1", port: 0, onListen: () => {} },
    () => new Response("Welcome"),
  );
  const at = (...servers: Deno.HttpServer<Deno.NetAddr>[]): Kv =>
    kvAt(servers.map(({ addr }) => `http://127.0.0.1:${addr.port}`).join());
  try {
    const all = await at(one, two, three, stranger)(["status"]);
    assertEquals([all.code, all.stderr], [EXIT.ok, ""]);
    assertMatch(all.stdout, /^cluster d\n/);
    assertMatch(
      all.stdout,
      /differ in the cluster id: http:\S+ says c, http:\S+ says c, .* says d\n/,
    );
    assertMatch(all.stdout, /differ in the term: http:\S+ says 2, http:\S+ says 3, /);
    assertMatch(all.stdout, /differ in the leader: http:\S+ says 1, http:\S+ says none, /);
    assertMatch(all.stdout, /is no Statecraft node: 200 Welcome\n/);
    assertMatch(all.stdout, /\n1 +voter +connected +7 +r +h\n2 +voter +down +- +r +h\n/);
    // An old leader does not count: the highest term has none.
    for (const verb of ["status", "health"]) {
      const { code, stdout, stderr } = await at(one, two)([verb]);
      assertEquals(code, EXIT.unavailable, verb);
      assertMatch(stdout, /^(cluster c\n)?ENDPOINT /);
      assertMatch(stderr, /^statecraft kv: no leader in term 3; kv explain says why\n$/);
    }
    const alone = await kvAt(refusedEndpoint())(["status"]);
    assertEquals(alone.code, EXIT.unavailable);
    assertMatch(alone.stdout, /\nhttp:\S+ +tcp connect error: Connection refused/);
  } finally {
    await Promise.all([one, two, three, stranger].map((server) => server.shutdown()));
  }
});

Deno.test("X8: a proxy of the environment is not asked for loopback", async () => {
  await withNode(async (_kv, endpoint) => {
    const proxy = refusedEndpoint();
    const kv = kvAt(endpoint, { HTTP_PROXY: proxy, http_proxy: proxy, ALL_PROXY: proxy });
    const put = await kv(["put", "a", "b", "--timeout", "3s"]);
    assertEquals([put.code, put.stderr], [EXIT.ok, ""]);
    assertEquals((await kv(["status"])).code, EXIT.ok);
  });
});

Deno.test("a wrong command line is exit code 2 and reaches no server", async (t) => {
  const kv = kvAt(refusedEndpoint());
  const refused: [string[], RegExp][] = [
    [["frobnicate"], /unknown verb "frobnicate"; the verbs are put, get/],
    [["constructor"], /unknown verb "constructor"/],
    [["get"], /get takes 1 word;/],
    [["put", "key"], /put takes 2 words;/],
    [["get", ""], /a key has at least 1 byte/],
    [["get", "a", "--nope"], /unknown flag --nope/],
    [["get", "a", "--timeout", "5"], /--timeout takes a duration/],
    [["get", "a", "--endpoints", "localhost:1"], /--endpoints takes http:/],
    [["put", "a", "b", "--if-revision", "x"], /--if-revision takes a whole number/],
    [["list", "--limit", "0"], /--limit takes a whole number/],
    [["list", "-o", "xml"], /--output is one of/],
  ];
  for (const [args, why] of refused) {
    await t.step(args.join(" "), async () => assertFailed(await kv(args), EXIT.usage, why));
  }
  const nothing = await kv([]);
  assertEquals(nothing.code, EXIT.usage);
  const help = await kv(["--help"]);
  assertEquals(help.code, EXIT.ok);
  assertMatch(help.stdout, /^Usage: deno task kv VERB/);
});

Deno.test("no cluster is exit code 5, an unknown outcome 6", async () => {
  const nobody = kvAt(refusedEndpoint());
  const brief = ["--timeout", "300ms"];
  assertFailed(await nobody(["get", "a", ...brief]), EXIT.unavailable, /Connection refused/);
  assertFailed(await nobody(["put", "a", "b", ...brief]), EXIT.unavailable, /Connection refused/);
  const http = { hostname: "127.0.0.1", port: 0, onListen: () => {} };
  const server = Deno.serve(
    http,
    () => problemResponse(new GatewayError("outcome-unknown", "No quorum answered")),
  );
  try {
    // It is asked again until the time is up, which must be enough to be asked once.
    const asked = kvAt(`http://127.0.0.1:${server.addr.port}`);
    const run = await asked(["put", "a", "b", "--timeout", "3s"]);
    assertFailed(run, EXIT.outcomeUnknown, /No quorum answered/);
    assertStringIncludes(run.stderr, "It is not known whether the write was applied");
  } finally {
    await server.shutdown();
  }
});
