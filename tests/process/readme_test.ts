/**
 * The curl lines of the README, as a reader would paste them.
 *
 * @module
 */
import { assert, assertEquals, assertMatch } from "@std/assert";
import { RealCluster } from "./real_cluster.ts";

/** The commands, with the addresses of a cluster in place of the default ones. */
function curlLines(readme: string, endpoints: readonly string[]): string[] {
  const lines = [...readme.matchAll(/^ {4}(?:\$ )?(curl .*)$|`(curl [^`]*)`/gm)]
    .map(([, block, inline]) => (block ?? inline)!);
  return lines.map((line) =>
    line.replace("…/", `${endpoints[0]}/`)
      .replace(/http:\/\/127\.0\.0\.1:800(\d)/g, (_, id) => endpoints[Number(id) - 1]!)
  );
}

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
