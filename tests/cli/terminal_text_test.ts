import { assertEquals } from "@std/assert";
import { escapeBytes, escapeCell, escapeText } from "../../cli/terminal_text.ts";

Deno.test("X8: control characters of others never reach a terminal", () => {
  assertEquals(escapeText("a\x1b[2Jb\r\x07\x00\x7f\x9bc"), "a\\x1b[2Jb\\x0d\\x07\\x00\\x7f\\x9bc");
  assertEquals(escapeText("two\tcells\nof ü"), "two\tcells\nof ü");
  assertEquals(escapeCell("two\tcells\n"), "two\\x09cells\\x0a");
  assertEquals(escapeBytes(new TextEncoder().encode("ü\x1b")), "ü\\x1b");
  assertEquals(escapeBytes(Uint8Array.of(0x61, 0xff, 0x1b, 0x9b)), "a\\xff\\x1b\\x9b");
});

Deno.test("X8: no byte of any value is a control byte for a terminal", () => {
  const bytes = Uint8Array.from({ length: 256 }, (_, byte) => byte);
  for (const value of [bytes, ...Array.from(bytes, (byte) => Uint8Array.of(byte))]) {
    const shown = new TextEncoder().encode(escapeBytes(value).replace(/[\t\n]/g, ""));
    assertEquals(shown.filter((byte) => byte < 0x20 || byte >= 0x7f), new Uint8Array());
  }
});
