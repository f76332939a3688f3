/**
 * `deno task kv lock` and `kv elect`, as processes at a real node.
 *
 * @module
 */
import { assertEquals, assertMatch } from "@std/assert";
import { Clerk, startNode } from "../../mod.ts";
import { kvAt } from "./run_kv.ts";

const script = new URL("../../cli/kv.ts", import.meta.url).pathname;

Deno.test("kv lock and elect: held until the program is told to stop, shown, and waited for", async () => {
  const dataDir = await Deno.makeTempDir();
  try {
    const http = { hostname: "127.0.0.1", port: 0 };
    await using node = await startNode({ id: 1, single: true, dataDir, http });
    const { httpAddress } = node;
    const kv = kvAt(httpAddress);
    const nobody = await kv(["lock", "l", "--show"]);
    assertEquals([nobody.code, nobody.stdout], [3, ""], nobody.stderr);
    const holder = new Deno.Command(Deno.execPath(), {
      args: [
        "run",
        "--quiet",
        "--allow-net",
        "--allow-env",
        script,
        "elect",
        "l",
        "me",
        "--ttl",
        "5s",
      ],
      env: { STATECRAFT_ENDPOINTS: httpAddress },
      stdin: "null",
      stdout: "piped",
      stderr: "inherit",
    }).spawn();
    const reader = holder.stdout.pipeThrough(new TextDecoderStream()).getReader();
    const { fencingToken, key } = JSON.parse((await reader.read()).value!);
    assertMatch(key, /^_locks\/l\//);
    const elected = await kv(["elect", "l"]);
    assertEquals([elected.code, elected.stdout], [0, "me\n"], elected.stderr);
    const shown = JSON.parse((await kv(["lock", "l", "--show"])).stdout);
    assertEquals([shown.fencingToken, shown.value], [fencingToken, "me"]);
    const late = await kv(["lock", "l", "--wait", "100ms"]);
    assertEquals([late.code, late.stdout], [4, ""]);
    assertMatch(late.stderr, /held by another: 1 is ahead/);
    holder.kill("SIGINT");
    assertEquals((await holder.status).code, 0);
    await reader.cancel();
    await using clerk = new Clerk({ endpoints: [httpAddress] });
    // Released at once, not with the end of its lease.
    assertEquals(await clerk.holder("l"), undefined);
    for (const args of [["lock"], ["lock", "l", "--ttl", "x"], ["elect", "l", "a", "b"]]) {
      assertEquals((await kv(args)).code, 2, args.join(" "));
    }
    const tooShort = await kv(["lock", "l", "--ttl", "1ms"]);
    assertEquals(tooShort.code, 2, tooShort.stderr);
  } finally {
    await Deno.remove(dataDir, { recursive: true });
  }
});
