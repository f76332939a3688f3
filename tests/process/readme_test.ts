/**
 * The curl lines of the README, as a reader would paste them.
 *
 * @module
 */
import { assert, assertEquals, assertMatch } from "@std/assert";
import { persist, RealCluster } from "./real_cluster.ts";

/** The commands, with the addresses of a cluster in place of the default ones. */
function curlLines(readme: string, endpoints: readonly string[]): string[] {
  const lines = [...readme.matchAll(/^ {4}(?:\$ )?(curl .*)$|`(curl [^`]*)`/gm)]
    .map(([, block, inline]) => (block ?? inline)!);
  return lines.map((line) =>
    line.replace("…/", `${endpoints[0]}/`)
      .replace(/http:\/\/127\.0\.0\.1:800(\d)/g, (_, id) => endpoints[Number(id) - 1]!)
  );
}

/** The commands of the client on files, in order, run in `directory`. */
async function runFileCommands(
  readme: string,
  { directory, endpoints }: { readonly directory: string; readonly endpoints: readonly string[] },
): Promise<readonly string[]> {
  const kv = `${Deno.execPath()} run -A ${new URL("../../cli/kv.ts", import.meta.url).pathname}`;
  const lines = [...readme.matchAll(/^ {4}deno task kv ((?:backup|restore|export|load) .*)$/gm)]
    .map(([, words]) => words!);
  for (const line of lines) {
    const { success, stderr } = await new Deno.Command("sh", {
      args: ["-c", `${kv} ${line}`],
      cwd: directory,
      env: { STATECRAFT_ENDPOINTS: endpoints.join() },
    }).output();
    assert(success, `${line}\n${new TextDecoder().decode(stderr)}`);
  }
  return lines;
}

Deno.test("the commands for backup and restore work as printed", async () => {
  const readme = await Deno.readTextFile(new URL("../../README.md", import.meta.url));
  await using cluster = new RealCluster(1);
  cluster.startAll();
  await cluster.leader();
  const { directory, endpoints } = cluster;
  await persist(endpoints, "/v1/kv/config/a", { method: "PUT", body: "x" });
  const lines = await runFileCommands(readme, { directory, endpoints });
  const verbs = lines.map((line) => line.split(" ")[0]);
  assertEquals(verbs, ["backup", "restore", "restore", "restore", "export", "load"]);
  const restored = Array.from(Deno.readDirSync(`${directory}/new`), ({ name }) => name);
  assertEquals(restored.sort(), ["node-1", "node-2", "node-3"]);
  assertMatch(await Deno.readTextFile(`${directory}/config.ndjson`), /^\{"key":"config\/a"/);
});

Deno.test("every curl line of the README works as printed", async () => {
  const readme = await Deno.readTextFile(new URL("../../README.md", import.meta.url));
  await using cluster = new RealCluster(3);
  cluster.startAll();
  await cluster.leader();
  const lines = curlLines(readme, cluster.endpoints);
  assert(lines.length >= 6, lines.join("\n"));
  for (const line of lines) {
    const { success, stdout, stderr } = await new Deno.Command("sh", {
      args: ["-c", `${line} --silent --show-error --fail`],
    }).output();
    const answer = new TextDecoder().decode(stdout);
    assert(success, `${line}\n${new TextDecoder().decode(stderr)}`);
    const body = answer.slice(answer.lastIndexOf("\r\n\r\n") + 1).trim();
    if (line.includes("explain")) assertMatch(body, /What may happen next/);
    else if (line.includes("-X PUT")) assertMatch(body, /\{"revision":\d+,"version":\d+\}$/);
    else assertEquals(body, "hello", line);
  }
});
