import { assertEquals, assertStringIncludes } from "@std/assert";
import { adviceOn, exitCodeOf } from "../../cli/node.ts";
import { EXIT, NODE_EXIT } from "../../cli/usage.ts";
import {
  SnapshotError,
  SnapshotMissingError,
  WalUnknownRecordError,
  WalVersionError,
} from "../../mod.ts";

Deno.test("a snapshot of a newer release is no damage: the directory is for another build", () => {
  const codeOf = (kind: SnapshotError["kind"]): number =>
    exitCodeOf(new SnapshotError("path", "why", kind), EXIT.usage);
  assertEquals([codeOf("foreign"), codeOf("damaged")], [EXIT.usage, NODE_EXIT.damagedLog]);
});

Deno.test("a log of a newer release is no damage, one that no snapshot completes is", () => {
  const newer = [
    new WalVersionError("wal/1", 5, 4),
    new WalUnknownRecordError("wal/1", 168, "its kind is 7"),
  ];
  for (const error of newer) assertEquals(exitCodeOf(error, EXIT.usage), EXIT.usage);
  assertEquals(exitCodeOf(new SnapshotMissingError(0, 5), EXIT.usage), NODE_EXIT.damagedLog);
});

Deno.test("the advice on damage names what helps: the other members, or a backup if there are none", () => {
  const error = new SnapshotMissingError(0, 5);
  assertStringIncludes(adviceOn(error, { id: 1 }), "leave this member down");
  assertStringIncludes(adviceOn(error, { id: 1, single: true }), "restore a backup");
});
