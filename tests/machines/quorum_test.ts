/**
 * Majority arithmetic: two majorities always meet, and learners never count.
 *
 * @module
 */
import { assert, assertEquals } from "@std/assert";
import fc from "fast-check";
import { isQuorum, majority, quorumValue, type Voters } from "../../machines/quorum.ts";

const stable = (voters: readonly number[]): Voters => ({ voters, outgoing: [] });

Deno.test("quorum: a majority is more than half", () => {
  assertEquals([1, 2, 3, 4, 5, 6, 7].map(majority), [1, 2, 2, 3, 3, 4, 4]);
});

Deno.test("quorum: nobody is no quorum, not even of no voters", () => {
  assertEquals(isQuorum([], stable([])), false);
  assertEquals(isQuorum([1, 2], stable([])), false);
  assertEquals(isQuorum([], stable([1])), false);
  assertEquals(quorumValue(stable([]), () => 7), 0);
});

Deno.test("quorum: who is no voter does not count, and nobody counts twice", () => {
  assertEquals(isQuorum([1, 4, 5, 6], stable([1, 2, 3])), false);
  assertEquals(isQuorum([1, 1, 1], stable([1, 2, 3])), false);
  assertEquals(isQuorum([3, 4, 1], stable([1, 2, 3])), true);
});

const voters = fc.uniqueArray(fc.integer({ min: 1, max: 9 }), { minLength: 1, maxLength: 9 });

Deno.test("quorum: two quorums of the same voters share a voter", () => {
  fc.assert(fc.property(
    voters.chain((ids) => fc.tuple(fc.constant(ids), fc.subarray(ids), fc.subarray(ids))),
    ([ids, one, other]) => {
      if (isQuorum(one, stable(ids)) && isQuorum(other, stable(ids))) {
        assert(one.some((id) => other.includes(id)));
      }
    },
  ));
});

Deno.test("quorum: quorumValue is the highest index that a quorum has reached", () => {
  fc.assert(fc.property(
    voters.chain((ids) =>
      fc.tuple(fc.constant(ids), fc.array(fc.nat(20), { minLength: 9, maxLength: 9 }))
    ),
    ([ids, matches]) => {
      const matchOf = (id: number): number => matches[id - 1]!;
      const reached = (index: number): boolean =>
        isQuorum(ids.filter((id) => matchOf(id) >= index), stable(ids));
      const index = quorumValue(stable(ids), matchOf);
      assert(reached(index));
      assert(!reached(index + 1));
    },
  ));
});
