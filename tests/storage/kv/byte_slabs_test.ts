import { assert, assertEquals } from "@std/assert";
import * as fc from "fast-check";
import { ByteSlabs } from "../../../storage/kv/byte_slabs.ts";

Deno.test("byte slabs: arrays are zero, as long as asked, and share no byte", () => {
  fc.assert(fc.property(fc.array(fc.nat(40), { maxLength: 60 }), (lengths) => {
    const slabs = new ByteSlabs(64, 32);
    const arrays = lengths.map((length, at) => {
      const bytes = slabs.allocate(length);
      assertEquals([...bytes], Array(length).fill(0));
      return bytes.fill(at + 1);
    });
    arrays.forEach((bytes, at) => assert(bytes.every((byte) => byte === at + 1)));
  }));
});

Deno.test("byte slabs: small arrays share a buffer of the size given, a larger one has its own", () => {
  const slabs = new ByteSlabs(64, 32);
  const [first, second, third] = [slabs.allocate(32), slabs.allocate(32), slabs.allocate(1)];
  assert(first.buffer === second.buffer && second.buffer !== third.buffer);
  assertEquals([first.buffer.byteLength, slabs.allocate(33).buffer.byteLength], [64, 33]);
  // One that had its own left the slab as it was.
  assert(slabs.allocate(1).buffer === third.buffer);
});
