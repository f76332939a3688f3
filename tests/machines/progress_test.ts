/**
 * What a leader knows of a follower: matchIndex never falls, nextIndex stays above it, and what is
 * in flight is bounded.
 *
 * @module
 */
import { INFLIGHT_BYTES_MAX, INFLIGHT_MESSAGES_MAX } from "../../machines/bounds.ts";
import { assert, assertEquals } from "@std/assert";
import fc from "fast-check";
import { Progress } from "../../machines/progress.ts";

const begin = (lastLogIndex = 10): Progress => new Progress({ lastLogIndex, nowMs: 0 });

Deno.test("progress: begins as Fig. 2 says, and owes a first message", () => {
  const progress = begin();
  assertEquals([progress.nextIndex, progress.matchIndex, progress.mode], [11, 0, "probe"]);
  assert(progress.beatDue);
});

Deno.test("progress: a probe is one message at a time, and moves nothing", () => {
  const progress = begin();
  assert(progress.maySend);
  progress.sentEntries(12, 100);
  assertEquals([progress.maySend, progress.nextIndex, progress.inflightMessages], [false, 11, 0]);
});

Deno.test("progress: an accepted probe turns to replicating, which runs ahead", () => {
  const progress = begin();
  progress.sentEntries(12, 100);
  assertEquals(progress.accepted(12), true);
  assertEquals([progress.mode, progress.nextIndex], ["replicate", 13]);
  progress.sentEntries(15, 10);
  progress.sentEntries(18, 10);
  assertEquals([progress.nextIndex, progress.inflightMessages], [19, 2]);
  progress.accepted(15);
  assertEquals([progress.matchIndex, progress.nextIndex, progress.inflightMessages], [15, 19, 1]);
});

Deno.test("progress: an answer that tells nothing new is no news, and takes nothing back", () => {
  const progress = begin();
  progress.accepted(12);
  assertEquals(progress.accepted(12), false);
  assertEquals(progress.accepted(5), false);
  assertEquals([progress.matchIndex, progress.nextIndex], [12, 13]);
});

Deno.test("progress: an accepted heartbeat resumes a lost probe without a match", () => {
  const progress = begin();
  progress.sentEntries(12, 100);
  assertEquals(progress.accepted(0), false);
  assertEquals([progress.maySend, progress.nextIndex, progress.matchIndex], [true, 11, 0]);
});

Deno.test("progress: a refusal probes again, never below what matched, with nothing in flight", () => {
  const progress = begin();
  progress.accepted(6);
  progress.sentEntries(20, 10);
  progress.refused(3);
  assertEquals([progress.mode, progress.nextIndex, progress.inflightMessages], ["probe", 7, 0]);
  assert(progress.maySend);
});

Deno.test("progress: at INFLIGHT_MESSAGES_MAX messages no more are sent until one is answered", () => {
  const progress = begin();
  progress.accepted(10);
  for (let sent = 1; sent <= INFLIGHT_MESSAGES_MAX; sent++) {
    assert(progress.maySend, `after ${sent - 1} messages`);
    progress.sentEntries(10 + sent, 1);
  }
  assertEquals(progress.maySend, false);
  progress.accepted(11);
  assertEquals(progress.maySend, true);
});

Deno.test("progress: at INFLIGHT_BYTES_MAX bytes no more are sent until some are answered", () => {
  const progress = begin();
  progress.accepted(10);
  progress.sentEntries(11, INFLIGHT_BYTES_MAX - 1);
  assert(progress.maySend);
  progress.sentEntries(12, 1);
  assertEquals(progress.maySend, false);
  progress.accepted(11);
  assertEquals(progress.maySend, true);
});

type Step =
  | { readonly type: "sent"; readonly count: number; readonly bytes: number }
  | { readonly type: "accepted" | "refused"; readonly index: number };

const step: fc.Arbitrary<Step> = fc.oneof(
  fc.record({
    type: fc.constant("sent" as const),
    count: fc.integer({ min: 1, max: 9 }),
    bytes: fc.integer({ min: 1, max: 1024 * 1024 }),
  }),
  fc.record({
    type: fc.constantFrom("accepted" as const, "refused" as const),
    index: fc.nat(60),
  }),
);

Deno.test("progress: in any order of answers, matchIndex never falls and nextIndex stays above it", () => {
  fc.assert(fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
    const progress = begin();
    for (const taken of steps) {
      const { matchIndex } = progress;
      if (taken.type === "sent") {
        if (progress.maySend) {
          progress.sentEntries(progress.nextIndex + taken.count - 1, taken.bytes);
        }
      } else if (taken.type === "accepted") {
        assertEquals(progress.accepted(taken.index), taken.index > matchIndex);
      } else progress.refused(taken.index);
      assert(progress.matchIndex >= matchIndex);
      assert(progress.nextIndex > progress.matchIndex);
      assert(progress.inflightMessages <= INFLIGHT_MESSAGES_MAX);
      if (progress.mode === "probe") assertEquals(progress.inflightMessages, 0);
    }
  }));
});

Deno.test("a follower that lost what had matched is asked once a heartbeat, not at network speed", () => {
  const progress = new Progress({ lastLogIndex: 9, nowMs: 0 });
  progress.accepted(9);
  progress.refused(3);
  assertEquals([progress.nextIndex, progress.maySend], [10, true]);
  progress.sentEntries(12, 100);
  progress.refused(3);
  assertEquals([progress.nextIndex, progress.maySend], [10, false]);
});
