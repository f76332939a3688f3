import { assertEquals } from "@std/assert";
import fc from "fast-check";
import { crc32c } from "../../storage/crc32c.ts";

Deno.test("crc32c: known vectors (RFC 3720, B.4)", () => {
  const ascending = Uint8Array.from({ length: 32 }, (_, i) => i);
  assertEquals(crc32c(new Uint8Array(0)), 0);
  assertEquals(crc32c(new Uint8Array(32)), 0x8a9136aa);
  assertEquals(crc32c(new Uint8Array(32).fill(0xff)), 0x62a8ab43);
  assertEquals(crc32c(ascending), 0x46dd794e);
  assertEquals(crc32c(ascending.toReversed()), 0x113fdb5c);
  assertEquals(crc32c(new TextEncoder().encode("123456789")), 0xe3069283);
});

Deno.test("crc32c: agrees with the definition, at any offset and in any parts", () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 200 }), fc.nat(200), fc.nat(200), (bytes, a, b) => {
      const [start, end] = [a % (bytes.length + 1), b % (bytes.length + 1)].sort((x, y) => x - y);
      const expected = bitwise(bytes.subarray(start, end));
      assertEquals(crc32c(bytes, start, end), expected);
      const middle = (start! + end!) >>> 1;
      assertEquals(crc32c(bytes, middle, end, crc32c(bytes, start, middle)), expected);
    }),
  );
});

function bitwise(bytes: Uint8Array): number {
  let crc = 0xffffffff;
  for (const byte of bytes) {
    crc ^= byte;
    for (let bit = 0; bit < 8; bit++) crc = (crc >>> 1) ^ (crc & 1 ? 0x82f63b78 : 0);
  }
  return ~crc >>> 0;
}
