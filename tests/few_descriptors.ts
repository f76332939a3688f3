/**
 * Runs a script in a process that may have few file descriptors open.
 *
 * @module
 */
import { assert } from "@std/assert";

const DESCRIPTORS = 64;

/** Begins every script: `spare` holds files, `fill` opens them until no descriptor is left. */
const PRELUDE = `
const spare = [];
const fill = () => { try { for (;;) spare.push(Deno.openSync("/dev/null")); } catch {} };
const free = (count) => { for (const file of spare.splice(0, count)) file.close(); };
`;

/** The JSON that the script prints; it may import files of the project by their whole URL. */
export async function withFewDescriptors(
  script: string,
  args: readonly string[] = [],
): Promise<unknown> {
  const child = new Deno.Command("sh", {
    args: ["-c", `ulimit -n ${DESCRIPTORS} && exec "$@"`, "sh", Deno.execPath(), "run", "--quiet"]
      .concat(["--no-config", "--allow-all", "-", ...args]),
    stdin: "piped",
    stdout: "piped",
    stderr: "piped",
  }).spawn();
  const writer = child.stdin.getWriter();
  await writer.write(new TextEncoder().encode(PRELUDE + script));
  await writer.close();
  const { stdout, stderr } = await child.output();
  const text = new TextDecoder().decode(stdout);
  assert(text !== "", new TextDecoder().decode(stderr));
  return JSON.parse(text);
}
