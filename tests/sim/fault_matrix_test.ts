import { assert } from "@std/assert";
import { matrix } from "./fault_matrix.ts";

for (const { row, title, play, shownBy = [] } of matrix) {
  Deno.test(`${row}: ${title}`, () => {
    assert(play !== undefined || shownBy.length > 0, "the row is shown nowhere");
    for (const pointer of shownBy) {
      const at = pointer.indexOf(": ");
      const [file, name] = [pointer.slice(0, at), pointer.slice(at + 2)];
      const text = Deno.readTextFileSync(new URL(`../../${file}`, import.meta.url));
      assert(text.includes(name), `${file} has no test named "${name}"`);
    }
    if (play !== undefined) assert(play() > 0);
  });
}
