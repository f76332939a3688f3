/**
 * Members of a cluster of real processes come, go, and are replaced.
 *
 * @module
 */
import { assert, assertEquals } from "@std/assert";
import { live } from "./member_life.ts";

Deno.test("a cluster lives through all that its members do, and loses no acknowledged write", async () => {
  const { steps, lost } = await live({ stepMs: 500 });
  assertEquals(lost, 0);
  assertEquals(steps.length, 8);
  for (const { name, acknowledged } of steps) assert(acknowledged > 0, name);
});
