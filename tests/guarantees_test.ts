import { assert } from "@std/assert";

const root = new URL("../", import.meta.url);

Deno.test("every guarantee names what shows it, and that exists", async () => {
  const document = await Deno.readTextFile(new URL("GUARANTEES.md", root));
  const pointers = [
    ...document.replaceAll(/\s+/g, " ").matchAll(/`(tests\/[^`]*?\.ts): ([^`]*)`/g),
  ];
  assert(pointers.length >= 20, String(pointers.length));
  for (const [, file, name] of pointers) {
    const text = await Deno.readTextFile(new URL(file!, root));
    assert(name!.length > 0 && text.includes(name!), `${file} has nothing named "${name}"`);
  }
});
