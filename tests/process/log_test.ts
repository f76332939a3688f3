/**
 * A member and the readers of its log.
 *
 * @module
 */
import { assertEquals, assertMatch } from "@std/assert";
import { nodeWords } from "../../cli/dev.ts";
import { EXIT } from "../../cli/usage.ts";
import { freePorts } from "../../bench/local_cluster.ts";
import { persist } from "./real_cluster.ts";

const WRITES = 300;
/** A start that fails is given up for hung after this. */
const START_MS_MAX = 30_000;

interface Kept {
  readonly http: string;
  readonly child: Deno.ChildProcess;
}

/** Runs a node of one member whose stderr is what a shell makes of `redirect`, after `before`. */
async function withNode(
  redirect: string,
  run: (node: Kept) => Promise<void>,
  before = "",
): Promise<void> {
  const directory = await Deno.makeTempDir();
  const [port] = freePorts(1) as [number];
  const words = nodeWords([
    ...["--id", "1", "--single", "--data", `${directory}/node`, "--http", `127.0.0.1:${port}`],
    ...["--log-level", "debug"],
  ]);
  const child = new Deno.Command("sh", {
    args: ["-c", `${before}exec "$@" ${redirect}`, "sh", ...words],
    stdin: "null",
    stdout: "null",
    stderr: "piped",
  }).spawn();
  try {
    await run({ http: `http://127.0.0.1:${port}`, child });
    child.kill("SIGTERM");
    assertEquals((await child.status).code, 0, "an orderly stop");
  } finally {
    try {
      child.kill("SIGKILL");
    } catch {
      // It has ended.
    }
    await child.status;
    if (!child.stderr.locked) await child.stderr.cancel().catch(() => {});
    await Deno.remove(directory, { recursive: true });
  }
}

/** Shell words that open descriptor 3 to a pipe which nobody reads, and fill it. */
function fullPipe(directory: string): string {
  return `mkfifo "${directory}/log" && exec 3<>"${directory}/log" && ` +
    "head -c 65536 /dev/zero >&3 && ";
}

async function serves(http: string): Promise<void> {
  await Promise.all(
    Array.from(
      { length: WRITES },
      (_, at) => persist([http], `/v1/kv/k${at}`, { method: "PUT", body: "x" }),
    ),
  );
  assertEquals(await persist([http], "/v1/kv/k0", {}), "x");
}

Deno.test("X4: a member lives on when the reader of its log is gone", async () => {
  await withNode("", async ({ http, child }) => {
    await persist([http], "/v1/kv/before", { method: "PUT", body: "x" });
    await child.stderr.cancel();
    await serves(http);
  });
});

Deno.test("X4: a member lives on when its log's disk is full, and counts what it dropped", async () => {
  await withNode("2>/dev/full", async ({ http }) => {
    await serves(http);
    const metrics = await (await fetch(`${http}/metrics`)).text();
    assertMatch(metrics, /^statecraft_log_lines_dropped_total [1-9]/m);
  });
});

Deno.test("X4: a member lives on when nobody reads the pipe of its log, which is full", async () => {
  const directory = await Deno.makeTempDir();
  try {
    await withNode("2>&3", async ({ http }) => await serves(http), fullPipe(directory));
  } finally {
    await Deno.remove(directory, { recursive: true });
  }
});

Deno.test("X4: a start that fails ends, though nobody reads the full pipe of its log", async () => {
  const directory = await Deno.makeTempDir();
  const child = new Deno.Command("sh", {
    args: ["-c", `${fullPipe(directory)}exec "$@" 2>&3`, "sh", ...nodeWords([])],
    stdin: "null",
    stdout: "null",
    stderr: "null",
  }).spawn();
  const killer = setTimeout(() => child.kill("SIGKILL"), START_MS_MAX);
  try {
    assertEquals((await child.status).code, EXIT.usage);
  } finally {
    clearTimeout(killer);
    await Deno.remove(directory, { recursive: true });
  }
});
