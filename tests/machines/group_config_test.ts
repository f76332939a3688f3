import { assertEquals, assertThrows } from "@std/assert";
import { decodeConfig, encodeConfig } from "../../machines/group_config.ts";

Deno.test("a configuration is read as it was written, and what is appended to it is read over", () => {
  for (const clusterVersion of [1, 2, 255, 2 ** 31]) {
    const bytes = encodeConfig({ clusterVersion });
    assertEquals(decodeConfig(bytes), { clusterVersion });
    assertEquals(decodeConfig(new Uint8Array([...bytes, 9, 9])), { clusterVersion });
    const within = new Uint8Array([7, ...bytes, 7]).subarray(1, 1 + bytes.length);
    assertEquals(decodeConfig(within), { clusterVersion });
  }
});

Deno.test("what is no configuration is refused", () => {
  for (const bytes of [[], [0, 0, 1], [0, 0, 0, 0], [0x80, 0, 0, 1]]) {
    assertThrows(() => decodeConfig(new Uint8Array(bytes)), RangeError);
  }
});
