import { assert, assertEquals } from "@std/assert";
import { httpReference } from "../../cli/docs_http.ts";
import { openApiDocument } from "../../mod.ts";

Deno.test("HTTP.md is what deno task docs:http makes of the document that nodes serve", async () => {
  const child = new Deno.Command(Deno.execPath(), {
    args: ["fmt", "--ext", "md", "--line-width", "100", "-"],
    stdin: "piped",
    stdout: "piped",
    stderr: "null",
  }).spawn();
  const writer = child.stdin.getWriter();
  await writer.write(new TextEncoder().encode(httpReference()));
  await writer.close();
  const { stdout } = await child.output();
  const written = await Deno.readTextFile(new URL("../../HTTP.md", import.meta.url));
  assertEquals(new TextDecoder().decode(stdout), written);
});

Deno.test("HTTP.md has every route, and each of its links leads somewhere", () => {
  const text = httpReference();
  const { paths } = openApiDocument("1.2.3") as { paths: Record<string, Record<string, unknown>> };
  for (const [path, operations] of Object.entries(paths)) {
    for (const method of Object.keys(operations)) {
      if (method === "parameters") continue;
      assert(
        text.includes(`### ${method.toUpperCase()} ${path}\n`),
        `${method} ${path} is missing`,
      );
    }
  }
  const anchors = [...text.matchAll(/^### (\w+)$/gm)].map(([, name]) => name!.toLowerCase());
  const links = [...text.matchAll(/\]\(#([^)]+)\)/g)].map(([, anchor]) => anchor!);
  assert(links.length > 30, `${links.length} links`);
  for (const link of links) assert(anchors.includes(link), `#${link} leads nowhere`);
});
