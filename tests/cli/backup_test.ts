import { assert, assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { progressText } from "../../cli/progress.ts";
import { EXIT, NODE_EXIT } from "../../cli/usage.ts";
import { startNode } from "../../mod.ts";
import { type Kv, kvAt } from "./run_kv.ts";

const GOLDEN = new URL("../golden/format-1.backup", import.meta.url);

/** Steps in a directory of their own. */
async function withDirectory(run: (directory: string) => Promise<void>): Promise<void> {
  const directory = await Deno.makeTempDir();
  try {
    await run(directory);
  } finally {
    await Deno.remove(directory, { recursive: true });
  }
}

/** A server that answers `GET /v1/backup` with these pieces, and then as `end` says. */
function serving(pieces: readonly Uint8Array[], end: "whole" | "cut" | "silent"): {
  readonly kv: Kv;
  readonly [Symbol.asyncDispose]: () => Promise<void>;
} {
  const stop = new AbortController();
  const server = Deno.serve({
    ...{ hostname: "127.0.0.1", port: 0, onListen: () => {}, signal: stop.signal },
    handler: () => {
      let at = 0;
      const body = new ReadableStream({
        pull: (controller): Promise<void> | undefined => {
          const piece = pieces[at++];
          if (piece !== undefined) controller.enqueue(piece);
          else if (end === "whole") controller.close();
          else if (end === "cut") controller.error(new Error("planted"));
          else return new Promise<void>(() => {});
          return undefined;
        },
      }, { highWaterMark: 0 });
      return new Response(body, { headers: { "statecraft-revision": "103" } });
    },
    onError: () => new Response(null, { status: 500 }),
  });
  return {
    kv: kvAt(`http://127.0.0.1:${server.addr.port}`),
    [Symbol.asyncDispose]: async () => {
      stop.abort();
      await server.finished;
    },
  };
}

Deno.test("a backup of a node founds another one, which goes on behind it", async (t) => {
  await withDirectory(async (directory) => {
    const file = `${directory}/the.backup`;
    const http = { hostname: "127.0.0.1", port: 0 };
    {
      const dataDir = `${directory}/old`;
      await using node = await startNode({ id: 1, single: true, dataDir, http });
      const kv = kvAt(node.httpAddress);
      assertEquals((await kv(["put", "greeting", "hello"])).code, EXIT.ok);
      await t.step("backup prints what it wrote", async () => {
        const { code, stdout, stderr } = await kv(["backup", file]);
        assertEquals([code, stderr], [EXIT.ok, ""]);
        const { bytes, revision, clusterId, stateHash } = JSON.parse(stdout);
        assertEquals([bytes, revision], [(await Deno.stat(file)).size, 1]);
        assertEquals([clusterId, stateHash], [node.status().clusterId, node.status().stateHash]);
        assertEquals((await Deno.stat(file)).mode! & 0o777, 0o600);
      });
      await t.step("a file that is there is replaced only with --force", async () => {
        const refused = await kv(["backup", file]);
        assertEquals(refused.code, EXIT.usage);
        assertStringIncludes(refused.stderr, "the.backup is there already; --force replaces it");
        assertEquals((await kv(["backup", file, "--force"])).code, EXIT.ok);
      });
      await t.step(
        "two backups do not write one file, and what one has left is no hindrance",
        async () => {
          const fresh = `${directory}/shared.backup.new`;
          const other = await Deno.open(fresh, { write: true, create: true });
          assert(await other.tryLock(true));
          await other.write(new Uint8Array(1_000_000));
          const refused = await kv(["backup", `${directory}/shared.backup`]);
          assertEquals(refused.code, EXIT.usage);
          assertStringIncludes(refused.stderr, "another backup writes");
          assertEquals((await Deno.stat(fresh)).size, 1_000_000);
          other.close();
          assertEquals((await kv(["backup", `${directory}/shared.backup`])).code, EXIT.ok);
        },
      );
      await t.step("no file is made where none can be, nor under the name of stdout", async () => {
        const nowhere = await kv(["backup", `${directory}/no/where`]);
        assertEquals(nowhere.code, EXIT.usage);
        assertMatch(nowhere.stderr, /^statecraft kv: cannot write [^\n]*no\/where[^\n]*\n$/);
        assertEquals((await kv(["backup", "-"])).code, EXIT.usage);
      });
    }
    const kv = kvAt("http://127.0.0.1:1");
    const dataDir = `${directory}/new`;
    const words = ["restore", file, "--id", "1", "--data", dataDir];
    await t.step("restore needs to know the member and its cluster", async () => {
      for (
        const [args, why] of [
          [["restore", file, "--single"], /--id/],
          [words, /--peers/],
          [[...words, "--peers", "2=127.0.0.1:7002"], /does not name this node/],
          [[...words, "--single", "--revision-raise", "-1"], /--revision-raise/],
          [[...words.with(1, `${file}.none`), "--single"], /there is no file/],
          [[...words.with(1, directory), "--single"], /there is no file/],
        ] as const
      ) {
        const { code, stdout, stderr } = await kv(args);
        assertEquals([code, stdout], [EXIT.usage, ""], stderr);
        assertMatch(stderr, why);
      }
    });
    await t.step("a directory that cannot be made is a usage error", async () => {
      const { code, stderr } = await kv([...words.with(5, `${file}/new`), "--single"]);
      assertEquals(code, EXIT.usage, stderr);
      assertMatch(stderr, /\(--data [^\n]*the\.backup\/new\)\n$/);
    });
    await t.step("restore prints what it founded, and the node runs", async () => {
      const { code, stdout, stderr } = await kv([...words, "--single"]);
      assertEquals([code, stderr], [EXIT.ok, ""]);
      const { clusterId, members, revision, keys } = JSON.parse(stdout);
      assertEquals([members, revision, keys], [[1], 1_000_000_001, 1]);
      await using node = await startNode({ id: 1, single: true, dataDir, http });
      assertEquals(node.status().clusterId, clusterId);
      const restored = kvAt(node.httpAddress);
      assertEquals((await restored(["get", "greeting"])).stdout, "hello");
      const put = await restored(["put", "greeting", "again"]);
      assertEquals(JSON.parse(put.stdout), { revision: 1_000_000_002, version: 2 });
    });
    await t.step("a directory that is not empty is refused", async () => {
      const { code, stderr } = await kv([...words, "--single"]);
      assertEquals(code, EXIT.usage);
      assertMatch(stderr, /is not empty: there is \S+ in it \(--data .*new\)\n$/);
    });
  });
});

Deno.test("a backup that does not arrive whole leaves no file, and the one before it alone", async () => {
  const golden = await Deno.readFile(GOLDEN);
  const [start, rest] = [golden.subarray(0, 700), golden.subarray(700)];
  const damaged = rest.slice();
  damaged[100]! ^= 1;
  const cases = [
    { pieces: [start], end: "cut", code: EXIT.unavailable, why: /was cut off after \d+ bytes: / },
    { pieces: [start], end: "silent", code: EXIT.unavailable, why: /no answer within 2000 ms/ },
    { pieces: [start], end: "whole", code: EXIT.failure, why: /no whole backup: .* is damaged/ },
    { pieces: [start, damaged], end: "whole", code: EXIT.failure, why: /is damaged/ },
  ] as const;
  await withDirectory(async (directory) => {
    const file = `${directory}/the.backup`;
    await Deno.writeTextFile(file, "before");
    for (const { pieces, end, code, why } of cases) {
      await using server = serving(pieces, end);
      const run = await server.kv([
        "backup",
        file,
        "--force",
        "--timeout",
        end === "silent" ? "2s" : "30s",
      ]);
      assertEquals([run.code, run.stdout], [code, ""], run.stderr);
      assertMatch(run.stderr, why);
      assertMatch(run.stderr, /the\.backup was not written\n$/);
      assertEquals(Array.from(Deno.readDirSync(directory), ({ name }) => name), ["the.backup"]);
    }
    assertEquals(await Deno.readTextFile(file), "before");
    await using server = serving([start, rest], "whole");
    const whole = await server.kv(["backup", file, "--force"]);
    assertEquals([whole.code, JSON.parse(whole.stdout).revision], [EXIT.ok, 103]);
    assertEquals(await Deno.readFile(file), golden);
  });
});

Deno.test("restore refuses a damaged file with exit code 3, and leaves nothing", async () => {
  const golden = await Deno.readFile(GOLDEN);
  await withDirectory(async (directory) => {
    const file = `${directory}/the.backup`;
    const words = ["restore", file, "--id", "1", "--single", "--data", `${directory}/new`];
    for (
      const bytes of [golden.with(900, golden[900]! ^ 1), golden.slice(0, -1), golden.slice(9)]
    ) {
      await Deno.writeFile(file, bytes);
      const { code, stderr } = await kvAt("http://127.0.0.1:1")(words);
      assertEquals(code, NODE_EXIT.damagedLog, stderr);
      assertMatch(stderr, /^statecraft kv: Cannot use snapshot [^\n]*the\.backup: [^\n]+\n$/);
    }
    assertEquals(Array.from(Deno.readDirSync(directory), ({ name }) => name), ["the.backup"]);
  });
});

Deno.test("progress says how much, of how much, and how fast", () => {
  const half = progressText({ label: "restore", bytes: 5e6, of: 10e6, ms: 500 });
  assertEquals(half, "restore [##########          ]  50%  5.0 MB  10.0 MB/s");
  assertEquals(progressText({ label: "backup", bytes: 5e6, ms: 0 }), "backup  5.0 MB  0.0 MB/s");
  assert(progressText({ label: "x", bytes: 11, of: 10, ms: 1 }).includes("100%"));
});
