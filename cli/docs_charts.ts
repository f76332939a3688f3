/**
 * `deno task docs:charts`: writes the charts into ARCHITECTURE.md, from the machines that run.
 *
 * With `--check` it writes nothing and fails if the document differs.
 *
 * @module
 */
import { chartDocument } from "../mod.ts";
import { complain, EXIT, print } from "./usage.ts";

const DOCUMENT = new URL("../ARCHITECTURE.md", import.meta.url);

function main(): void {
  const written = Deno.readTextFileSync(DOCUMENT);
  const current = chartDocument(written);
  if (Deno.args.includes("--check")) {
    if (written === current) return print("ARCHITECTURE.md shows the charts that run\n");
    complain("ARCHITECTURE.md differs from the charts; run deno task docs:charts");
    Deno.exit(EXIT.failure);
  }
  Deno.writeTextFileSync(DOCUMENT, current);
  print("ARCHITECTURE.md now shows the charts that run\n");
}

if (import.meta.main) main();
