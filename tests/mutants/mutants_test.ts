import { assertEquals } from "@std/assert";
import { mutants } from "./mutants.ts";

Deno.test("every mutant is a change of text that occurs once in the product", async () => {
  const root = new URL("../../", import.meta.url);
  for (const { name, file, find, replace } of mutants) {
    const text = await Deno.readTextFile(new URL(file, root));
    assertEquals([name, text.split(find).length - 1], [name, 1]);
    assertEquals([name, text.replace(find, () => replace) === text], [name, false]);
  }
  assertEquals(new Set(mutants.map(({ name }) => name)).size, mutants.length);
});
