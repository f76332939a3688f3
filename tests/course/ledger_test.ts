/**
 * The table of tests/README.md against the tests: what it says to pass exists under that name, and
 * no course test is missing from it.
 *
 * @module
 */
import { assert, assertEquals } from "@std/assert";

const testsUrl = new URL("../", import.meta.url);

/** A row of the tables of named cases. */
interface Row {
  readonly name: string;
  readonly file: string;
  readonly status: string;
}

function rows(): Row[] {
  const found = Deno.readTextFileSync(new URL("README.md", testsUrl))
    .matchAll(/^\| ([Tt]est\w+) +\| (?:`([^`]+)`)? *\| (.+?) *\|$/gm);
  return [...found].map(([, name, file = "", status]) => ({ name: name!, file, status: status! }));
}

Deno.test("every named case of README.md passes somewhere, or says why it does not apply", () => {
  const texts = new Map<string, string>();
  const all = rows();
  assert(all.length > 150, `only ${all.length} rows were read`);
  for (const { name, file, status } of all) {
    if (file === "") {
      assert(status.startsWith("not applicable: "), `${name}: ${status}`);
      continue;
    }
    assert(status.startsWith("passes"), `${name}: ${status}`);
    const text = texts.get(file) ?? Deno.readTextFileSync(new URL(file, testsUrl));
    texts.set(file, text);
    // Other suites name their tests by the paper's sentences.
    if (file.startsWith("course/")) assert(text.includes(name), `${file} has no ${name}`);
  }
});

Deno.test("every scenario that README.md names is there", () => {
  const named = Deno.readTextFileSync(new URL("README.md", testsUrl)).matchAll(/`(\w+\.txt)`/g);
  const files = [...named].map(([, file]) => file!);
  assert(files.length > 5, `only ${files.length} names were read`);
  for (const file of files) {
    assert(Deno.statSync(new URL(`machines/scenarios/${file}`, testsUrl)).isFile, file);
  }
});

Deno.test("every course test is in README.md, once", () => {
  const listed = rows().map(({ name }) => name);
  assertEquals(listed.filter((name, at) => listed.indexOf(name) !== at), []);
  for (const file of ["raft_test.ts", "kvraft_test.ts", "etcd_test.ts", "etcd_snapshot_test.ts"]) {
    const text = Deno.readTextFileSync(new URL(`course/${file}`, testsUrl));
    for (const [name] of text.matchAll(/\bTest[A-Z]\w+/g)) {
      assert(listed.includes(name), `${name} of ${file} is not in README.md`);
    }
  }
});
