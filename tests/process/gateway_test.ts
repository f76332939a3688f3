/**
 * `deno task gateway` as a process, in front of real nodes.
 */
import { assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { RealCluster } from "./real_cluster.ts";

const script = new URL("../../cli/gateway.ts", import.meta.url).pathname;

function command(args: readonly string[]): Deno.Command {
  return new Deno.Command(Deno.execPath(), {
    args: ["run", "--quiet", "--allow-net", "--allow-read", "--allow-env", script, ...args],
    stdout: "piped",
    stderr: "piped",
    env: { NO_COLOR: "1" },
  });
}

Deno.test("gateway: learns the members from one, serves through a kill of the leader, stops in order", async () => {
  await using cluster = new RealCluster(3);
  cluster.startAll();
  const leader = await cluster.leader();
  const asked = cluster.endpoints[leader.id % 3]!;
  const args = ["--endpoints", asked, "--http", "127.0.0.1:0", "--supervised"];
  const child = command(args).spawn();
  const reader = child.stdout.getReader();
  try {
    const address = new TextDecoder().decode((await reader.read()).value).trim();
    assertMatch(address, /^http:\/\/127\.0\.0\.1:\d+$/);
    const put = async (value: string): Promise<number> => {
      const init = { method: "PUT", body: value, headers: { "statecraft-timeout-ms": "20000" } };
      const response = await fetch(`${address}/v1/kv/a`, init);
      await response.body?.cancel();
      return response.status;
    };
    assertEquals(await put("1"), 201);
    await cluster.kill(leader.id);
    assertEquals(await put("2"), 200);
    assertEquals(await (await fetch(`${address}/v1/kv/a`)).text(), "2");
    child.kill("SIGTERM");
    assertEquals((await child.status).code, 0);
  } finally {
    await reader.cancel();
    await child.stderr.cancel();
    try {
      child.kill("SIGKILL");
    } catch {
      // It has ended.
    }
  }
});

Deno.test("gateway: a wrong command line is 2, no member 5, each with one line", async () => {
  const decode = (bytes: Uint8Array): string => new TextDecoder().decode(bytes);
  const cases: [string[], number, RegExp][] = [
    [["--endpoints", "localhost"], 2, /--endpoints takes tcp:/],
    [["--http", "x"], 2, /--http takes HOST:PORT/],
    [["--endpoints", "http://127.0.0.1:9"], 5, /no member answers: http:\/\/127\.0\.0\.1:9: /],
    [["extra"], 2, /unexpected word/],
  ];
  for (const [args, code, why] of cases) {
    const output = await command(args).output();
    assertEquals(output.code, code, args.join(" "));
    assertMatch(decode(output.stderr), why);
    assertEquals(decode(output.stderr).trim().split("\n").length, 1);
  }
  const help = await command(["--help"]).output();
  assertEquals(help.code, 0);
  assertStringIncludes(decode(help.stdout), "Usage: deno task gateway");
});
