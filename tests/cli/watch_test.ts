/**
 * `deno task kv watch`: how changes are shown.
 *
 * @module
 */
import { assertEquals, assertRejects } from "@std/assert";
import { ClientError } from "../../cli/http_client.ts";
import { watchKeys } from "../../cli/watch.ts";

async function shown(output: string, isTerminal: boolean): Promise<string[]> {
  const facts = { revision: 1, created: 1, version: 1 };
  const change = { type: "put", key: btoa("k\n"), value: btoa("x\nput\tfake\x1b[2J"), ...facts };
  let polls = 0;
  const listen = { hostname: "127.0.0.1", port: 0, onListen: (): void => {} };
  await using server = Deno.serve(
    listen,
    () =>
      polls++ === 0
        ? Response.json({ events: [change], from: 2 })
        : Response.json({ title: "T", detail: "D", code: "compacted" }, { status: 410 }),
  );
  const reach = { endpoints: [`http://127.0.0.1:${server.addr.port}`], timeoutMs: 5_000 };
  const lines: string[] = [];
  const show = (text: string): void => void lines.push(text);
  await assertRejects(
    () => watchKeys({ prefix: "", from: 1 }, { reach, output, show, isTerminal }),
    ClientError,
  );
  return lines;
}

Deno.test("kv watch: on a terminal a change is one line, whatever bytes it has", async () => {
  const table = ["put\tk\\x0a\tx\\x0aput\\x09fake\\x1b[2J\t(revision 1)\n"];
  assertEquals(await shown("table", true), table);
  assertEquals(await shown("raw", true), ["x\\x0aput\\x09fake\\x1b[2J\n"]);
  assertEquals(await shown("raw", false), ["x\nput\tfake\x1b[2J\n"]);
});
