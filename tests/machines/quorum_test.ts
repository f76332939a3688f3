/**
 * Majority arithmetic: two majorities always meet, and learners never count.
 *
 * @module
 */
import { assert, assertEquals } from "@std/assert";
import fc from "fast-check";
import { isQuorum, majority, quorumIndex } from "../../machines/quorum.ts";

Deno.test("quorum: a majority is more than half", () => {
  assertEquals([1, 2, 3, 4, 5, 6, 7].map(majority), [1, 2, 2, 3, 3, 4, 4]);
});

Deno.test("quorum: nobody is no quorum, not even of no voters", () => {
  assertEquals(isQuorum([], []), false);
  assertEquals(isQuorum([1, 2], []), false);
  assertEquals(isQuorum([], [1]), false);
  assertEquals(quorumIndex([], () => 7), 0);
});

Deno.test("quorum: who is no voter does not count, and nobody counts twice", () => {
  assertEquals(isQuorum([1, 4, 5, 6], [1, 2, 3]), false);
  assertEquals(isQuorum([1, 1, 1], [1, 2, 3]), false);
  assertEquals(isQuorum([3, 4, 1], [1, 2, 3]), true);
});

const voters = fc.uniqueArray(fc.integer({ min: 1, max: 9 }), { minLength: 1, maxLength: 9 });

Deno.test("quorum: two quorums of the same voters share a voter", () => {
  fc.assert(fc.property(
    voters.chain((ids) => fc.tuple(fc.constant(ids), fc.subarray(ids), fc.subarray(ids))),
    ([ids, one, other]) => {
      if (isQuorum(one, ids) && isQuorum(other, ids)) {
        assert(one.some((id) => other.includes(id)));
      }
    },
  ));
});

Deno.test("quorum: quorumIndex is the highest index that a quorum has reached", () => {
  fc.assert(fc.property(
    voters.chain((ids) =>
      fc.tuple(fc.constant(ids), fc.array(fc.nat(20), { minLength: 9, maxLength: 9 }))
    ),
    ([ids, matches]) => {
      const matchOf = (id: number): number => matches[id - 1]!;
      const reached = (index: number): boolean =>
        isQuorum(ids.filter((id) => matchOf(id) >= index), ids);
      const index = quorumIndex(ids, matchOf);
      assert(reached(index));
      assert(!reached(index + 1));
    },
  ));
});
