/**
 * Every scenario's play equals its golden transcript.
 *
 * After a wanted change: `deno test -A tests/machines/scenarios -- --update`, and read the
 * difference as you would code.
 *
 * @module
 */
import { assertEquals, assertMatch } from "@std/assert";
import { scenarios } from "./scenarios.ts";

for (const plays of Object.values(scenarios)) {
  for (const [title, run] of Object.entries(plays)) {
    Deno.test(title, async (t) => await t.assertSnapshot(run().play));
  }
}

/** What `deno task play` prints. */
async function play(
  ...words: string[]
): Promise<{ code: number; stdout: string; stderr: string }> {
  const script = new URL("../play.ts", import.meta.url).pathname;
  const { code, stdout, stderr } = await new Deno.Command(Deno.execPath(), {
    args: ["run", "--quiet", script, ...words],
  }).output();
  const text = (bytes: Uint8Array): string => new TextDecoder().decode(bytes);
  return { code, stdout: text(stdout), stderr: text(stderr) };
}

Deno.test("deno task play prints a scenario, and without a name the names", async () => {
  const figure8 = await play("figure8");
  assertEquals([figure8.code, figure8.stderr], [0, ""]);
  for (const [title, run] of Object.entries(scenarios["figure8"]!)) {
    assertEquals(figure8.stdout.includes(`${title}\n${run().play}`), true, title);
  }
  const names = await play();
  assertEquals(names.code, 0);
  for (const name of Object.keys(scenarios)) {
    assertMatch(names.stdout, new RegExp(`^${name} `, "m"));
  }
  for (const name of ["figure9", "constructor"]) {
    const unknown = await play(name);
    assertEquals([unknown.code, unknown.stdout], [2, ""]);
    assertMatch(unknown.stderr, /^statecraft play: unknown scenario ".*"; there are figure7, /);
  }
});
