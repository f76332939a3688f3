/**
 * ARCHITECTURE.md shows the charts that run; `deno task docs:charts` redraws them.
 *
 * @module
 */
import { assert } from "@std/assert";
import { chartDocument } from "../../machines/chart_document.ts";

Deno.test("ARCHITECTURE.md shows the charts that run", () => {
  const document = Deno.readTextFileSync(new URL("../../ARCHITECTURE.md", import.meta.url));
  assert(chartDocument(document) === document, "it differs; run deno task docs:charts");
});
