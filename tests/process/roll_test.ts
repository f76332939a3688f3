/**
 * A cluster is rolled from an earlier build to this one, and back where that is allowed.
 *
 * @module
 */
import { assert, assertEquals, assertMatch } from "@std/assert";
import { CLUSTER_VERSIONS } from "../../machines/group_config.ts";
import { PREVIOUS_RELEASE, repositoryOf, rollFrom } from "./roll.ts";

const hasPrevious = await repositoryOf(PREVIOUS_RELEASE) !== undefined;

Deno.test({
  name: "members of an earlier build and of this one run together, and lose no acknowledged write",
  // An archive or a shallow checkout does not hold the earlier build.
  ignore: !hasPrevious,
  fn: async () => {
    const { versions, acknowledged, refusal } = await rollFrom(PREVIOUS_RELEASE, () => {});
    assertEquals(versions, [1, CLUSTER_VERSIONS.max]);
    assert(acknowledged > 0);
    assertMatch(
      refusal,
      /the cluster has agreed on version 2, and this build knows versions up to 1/,
    );
  },
});
