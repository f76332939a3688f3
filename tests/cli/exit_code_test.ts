import { assertEquals } from "@std/assert";
import { exitCodeOf } from "../../cli/node.ts";
import { EXIT, NODE_EXIT } from "../../cli/usage.ts";
import { SnapshotError } from "../../mod.ts";

Deno.test("a snapshot of a newer release is no damage: the directory is for another build", () => {
  const codeOf = (kind: SnapshotError["kind"]): number =>
    exitCodeOf(new SnapshotError("path", "why", kind), EXIT.usage);
  assertEquals([codeOf("foreign"), codeOf("damaged")], [EXIT.usage, NODE_EXIT.damagedLog]);
});
