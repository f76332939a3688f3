/**
 * The programs of RECIPES.md, each run as a reader would, on a cluster of its own processes.
 *
 * @module
 */
import { assert, assertEquals } from "@std/assert";
import { Clerk } from "../../mod.ts";
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

async function recipesOfDocument(): Promise<Recipe[]> {
  return recipesIn(await Deno.readTextFile(new URL("RECIPES.md", root)));
}

async function runs({ code, prints }: Recipe, { endpoints }: RealCluster): Promise<void> {
  const file = await Deno.makeTempFile({ suffix: ".ts" });
  try {
    await Deno.writeTextFile(file, code);
    const { success, stdout, stderr } = await new Deno.Command(Deno.execPath(), {
      args: [
        ...["run", "--quiet", "--allow-net", "--allow-env"],
        ...["--config", new URL("deno.json", root).pathname, file],
      ],
      env: { STATECRAFT_ENDPOINTS: endpoints.join(), NO_COLOR: "1" },
    }).output();
    const text = (bytes: Uint8Array): string => new TextDecoder().decode(bytes);
    assert(success, text(stderr));
    assertEquals(text(stdout).trimEnd().split("\n"), prints);
  } finally {
    await Deno.remove(file);
  }
}

Deno.test("every recipe does what it says", async (t) => {
  const recipes = await recipesOfDocument();
  assert(recipes.length >= 6);
  await using cluster = new RealCluster(3);
  cluster.startAll();
  await cluster.leader();
  for (const recipe of recipes) {
    await t.step(recipe.title, async () => {
      assert(recipe.prints.length > 0, "it says nothing of what it prints");
      await runs(recipe, cluster);
    });
  }
});

Deno.test("a configuration is followed whose last change no member keeps any more", async () => {
  const recipe = (await recipesOfDocument()).find(({ title }) =>
    title.startsWith("Configuration")
  )!;
  const first = 'await kv.put("config/level", "info");\n';
  const again = "settings.clear();";
  assert(recipe.code.includes(first) && recipe.code.includes(again));
  await using cluster = new RealCluster(3);
  cluster.startAll();
  await cluster.leader();
  {
    await using kv = new Clerk({ endpoints: cluster.endpoints });
    await kv.put("config/level", "info");
    for (const key of ["one", "two"]) await kv.put(key, "");
  }
  await cluster.agree();
  // A member that starts has the changes since its snapshot.
  for (const endpoint of cluster.endpoints) {
    const response = await fetch(`${endpoint}/v1/snapshot`, { method: "POST" });
    assertEquals(response.status, 200, await response.text());
  }
  for (const id of cluster.ids) await cluster.kill(id);
  cluster.startAll();
  await cluster.leader();
  const code = recipe.code.replace(first, "").replace(again, `${again} console.log("reads");`);
  // Once: who asks for what is not kept would read again and again, and never follow.
  await runs({ ...recipe, code, prints: ["reads", "info", "debug"] }, cluster);
});
