import { assert, assertEquals } from "@std/assert";
import fc from "fast-check";
import {
  isByteString,
  prefixEnd,
  sliceByChars,
  toBytes,
  toByteString,
  writeByteString,
} from "../../storage/byte_string.ts";

Deno.test("byte strings hold any bytes and come back the same", () => {
  fc.assert(fc.property(fc.uint8Array({ maxLength: 300 }), (bytes) => {
    const text = toByteString(bytes);
    assertEquals(sliceByChars.call(bytes, 0, bytes.length), text);
    assertEquals(text.length, bytes.length);
    assert(isByteString(text));
    assertEquals([...toBytes(text)], [...bytes]);
  }));
  assertEquals(toByteString(new Uint8Array([1, 0x80, 0x9f, 0xff, 2]), 1, 4), "\x80\x9f\xff");
  assert(!isByteString("a\u0100"));
  const target = new Uint8Array(4);
  assertEquals(writeByteString("\xfe\x01", target, 1), 3);
  assertEquals([...target], [0, 0xfe, 1, 0]);
});

Deno.test("byte strings do not keep or see the buffer they were read from", () => {
  const bytes = new Uint8Array(40).fill(97);
  const text = toByteString(bytes, 0, 32);
  bytes.fill(0);
  assertEquals(text, "a".repeat(32));
});

Deno.test("byte strings are ordered bytewise, also where UTF-16 order differs", () => {
  const encode = (text: string): Uint8Array => new TextEncoder().encode(text);
  const astral = toByteString(encode("\u{10000}"));
  const high = toByteString(encode("\uffff"));
  assert(high < astral, "UTF-8 byte order, not UTF-16 order");
  fc.assert(fc.property(fc.uint8Array(), fc.uint8Array(), (a, b) => {
    const byBytes = compareBytes(a, b);
    const [x, y] = [toByteString(a), toByteString(b)];
    assertEquals(x < y ? -1 : x > y ? 1 : 0, byBytes);
  }));
});

Deno.test("prefixEnd is the least byte string beyond all with the prefix", () => {
  assertEquals(prefixEnd(""), undefined);
  assertEquals(prefixEnd("\xff\xff"), undefined);
  assertEquals(prefixEnd("a"), "b");
  assertEquals(prefixEnd("a\xff"), "b");
  const byte = fc.uint8Array({ maxLength: 4 }).map((bytes) => toByteString(bytes));
  fc.assert(fc.property(byte, byte, (prefix, key) => {
    const end = prefixEnd(prefix);
    const inside = key >= prefix && (end === undefined || key < end);
    assertEquals(inside, key.startsWith(prefix));
  }));
});

function compareBytes(a: Uint8Array, b: Uint8Array): number {
  for (let i = 0; i < Math.min(a.length, b.length); i++) {
    if (a[i] !== b[i]) return a[i]! < b[i]! ? -1 : 1;
  }
  return Math.sign(a.length - b.length);
}
