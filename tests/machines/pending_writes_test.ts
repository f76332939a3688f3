import { assertEquals } from "@std/assert";
import type { Envelope } from "../../machines/raft_types.ts";
import { PendingWrites } from "../../machines/pending_writes.ts";

/** More than the arguments that a call may have. */
const ANSWERS = 300_000;

Deno.test("hundreds of thousands of answers may wait for one write of a stalled disk", () => {
  // Found by the simulator (seed 500643): they were spread onto the stack, and the node stopped.
  const answer: Envelope = {
    to: 1,
    message: { type: "RequestVoteReply", group: 0, term: 1, from: 2, granted: true },
  };
  const writes = new PendingWrites();
  assertEquals(writes.wait([answer]), false, "nothing is under way");
  writes.push({ hardState: { currentTerm: 1, votedFor: 1 }, runs: [] }, [], 0);
  assertEquals(writes.wait(Array(ANSWERS).fill(answer)), true);
  assertEquals(writes.shift().messages.length, ANSWERS);
});
