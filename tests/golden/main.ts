/**
 * `deno task golden NAME`: writes a directory of today's formats to `tests/golden/NAME`. Once a release
 * has it, it is never written again: a changed format gets another name.
 *
 * @module
 */
import { printLine } from "../../cli/usage.ts";
import type { MemoryDisk } from "../sim/memory_disk.ts";
import { makeDirectory } from "./golden.ts";

/** Writes all files of a memory disk below a directory. */
function writeFiles(disk: MemoryDisk, root: URL): void {
  for (const directory of ["", "wal", "snapshots"]) {
    for (const name of disk.list(directory)) {
      const path = directory === "" ? name : `${directory}/${name}`;
      if (name === "wal" || name === "snapshots") Deno.mkdirSync(new URL(path, root));
      else Deno.writeFileSync(new URL(path, root), disk.readFile(path));
    }
  }
}

const [name] = Deno.args;
if (name === undefined || !/^[a-z0-9][a-z0-9-]*$/.test(name)) {
  printLine("Usage: deno task golden NAME");
  Deno.exit(2);
}
const root = new URL(`${name}/`, import.meta.url);
// Fails if it is there.
Deno.mkdirSync(root);
const { disk, expected } = makeDirectory();
writeFiles(disk, root);
Deno.writeTextFileSync(new URL("expected.json", root), `${JSON.stringify(expected, null, 2)}\n`);
printLine(`wrote tests/golden/${name}`);
