/**
 * Actors of two real processes over TCP: calls, errors, and death watch when one is killed or stops.
 *
 * Needs `--allow-run`, which `deno task test` gives.
 *
 * @module
 */
import { assertEquals, assertMatch } from "@std/assert";

const { state } = await Deno.permissions.query({ name: "run" });
const ignore = state !== "granted";

function run(script: string, ...args: string[]): Deno.ChildProcess {
  const path = new URL(`./two_processes/${script}`, import.meta.url).pathname;
  return new Deno.Command(Deno.execPath(), {
    args: ["run", "--no-prompt", "--allow-net=127.0.0.1", path, ...args],
    stdin: "piped",
    stdout: "piped",
    stderr: "inherit",
  }).spawn();
}

async function* linesOf(child: Deno.ChildProcess): AsyncGenerator<string> {
  let rest = "";
  for await (const text of child.stdout.pipeThrough(new TextDecoderStream())) {
    const lines = (rest + text).split("\n");
    rest = lines.pop() ?? "";
    yield* lines;
  }
}

async function nextLine(lines: AsyncGenerator<string>): Promise<string> {
  const { value } = await lines.next();
  return value ?? "";
}

async function play(end: (pong: Deno.ChildProcess) => Promise<void>): Promise<number[]> {
  const pong = run("pong.ts");
  const pongLines = linesOf(pong);
  const listening = await nextLine(pongLines);
  assertMatch(listening, /^listening \d+$/);
  const ping = run("ping.ts", listening.slice("listening ".length));
  const pingLines = linesOf(ping);
  assertEquals(await nextLine(pingLines), "counted 1000");
  assertEquals(await nextLine(pingLines), "failed RangeError: Cannot count below zero");
  await end(pong);
  assertEquals(await nextLine(pingLines), "terminated node/1/pong/0");
  for await (const line of pingLines) assertEquals(line, undefined, "nothing more");
  await pongLines.return(undefined);
  await ping.stdin.close();
  return [(await pong.status).code, (await ping.status).code];
}

Deno.test({
  name: "two processes: a thousand calls, an error, and a graceful stop that is watched",
  ignore,
  fn: async () => {
    assertEquals(await play((pong) => pong.stdin.close()), [0, 0]);
  },
});

Deno.test({
  name: "two processes: a killed process is a death for who watches it",
  ignore,
  fn: async () => {
    const codes = await play(async (pong) => {
      pong.kill("SIGKILL");
      await pong.stdin.close().catch(() => {});
    });
    assertEquals(codes, [137, 0]);
  },
});
