/**
 * The programs of RECIPES.md, each run as a reader would, on a cluster of its own processes.
 *
 * @module
 */
import { assert, assertEquals } from "@std/assert";
import { RealCluster } from "./real_cluster.ts";

const root = new URL("../../", import.meta.url);

/** A program of the document, and what it says that it prints. */
interface Recipe {
  readonly title: string;
  readonly code: string;
  readonly prints: readonly string[];
}

function recipesIn(text: string): Recipe[] {
  return text.split(/^## /m).slice(1).flatMap((section) => {
    const title = section.slice(0, section.indexOf("\n"));
    return [...section.matchAll(/^```ts\n(.*?)^```$/gms)].map(([, code]) => ({
      title,
      code: code!,
      prints: [...code!.matchAll(/^\/\/ prints (.*)$/gm)].map(([, line]) => line!),
    }));
  });
}

Deno.test("every recipe does what it says", async (t) => {
  const recipes = recipesIn(await Deno.readTextFile(new URL("RECIPES.md", root)));
  assert(recipes.length >= 6);
  await using cluster = new RealCluster(3);
  cluster.startAll();
  await cluster.leader();
  for (const { title, code, prints } of recipes) {
    await t.step(title, async () => {
      assert(prints.length > 0, "it says nothing of what it prints");
      const file = await Deno.makeTempFile({ suffix: ".ts" });
      try {
        await Deno.writeTextFile(file, code);
        const { success, stdout, stderr } = await new Deno.Command(Deno.execPath(), {
          args: [
            ...["run", "--quiet", "--allow-net", "--allow-env"],
            ...["--config", new URL("deno.json", root).pathname, file],
          ],
          env: { STATECRAFT_ENDPOINTS: cluster.endpoints.join(), NO_COLOR: "1" },
        }).output();
        const text = (bytes: Uint8Array): string => new TextDecoder().decode(bytes);
        assert(success, text(stderr));
        assertEquals(text(stdout).trimEnd().split("\n"), prints);
      } finally {
        await Deno.remove(file);
      }
    });
  }
});
