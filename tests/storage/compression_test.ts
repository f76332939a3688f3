import { assertEquals, assertGreater, assertThrows } from "@std/assert";
import {
  compress,
  COMPRESSION_GAIN_PART,
  COMPRESSION_SKIPS_MAX,
  Compressor,
  decompress,
} from "../../storage/compression.ts";
import { Dice } from "../sim/random.ts";

const dice = new Dice(7);
const random = (length: number): Uint8Array => Uint8Array.from({ length }, () => dice.below(256));

Deno.test("what is compressed is what comes back, at each level and size", () => {
  for (const length of [1, 2, 100, 4_096, 100_000]) {
    for (const block of [new Uint8Array(length), random(length)]) {
      for (const level of [1, 3]) assertEquals(decompress(compress(block, level), length), block);
    }
  }
});

Deno.test("a block that is damaged, cut, or of another length is refused, and takes no more memory", () => {
  const packed = compress(new Uint8Array(1024 * 1024), 1);
  for (const length of [1, 1_000, 1024 * 1024 - 1]) {
    const { cause } = assertThrows(() => decompress(packed, length), RangeError);
    assertEquals((cause as { readonly code?: string }).code, "ERR_BUFFER_TOO_LARGE");
  }
  const reason = "it has 1048576 bytes, not 1048577";
  assertThrows(() => decompress(packed, 1024 * 1024 + 1), RangeError, reason);
  for (const bytes of [new Uint8Array(0), packed.slice(0, 20), random(50)]) {
    assertThrows(() => decompress(bytes, 1024 * 1024), RangeError);
  }
});

Deno.test("content that does not shrink is tried ever more rarely, and again at once when it shrinks", () => {
  let nowMs = 0;
  const compressor = new Compressor({ bytesMin: 100, nowMs: () => nowMs++ });
  let tries = 0;
  const gaps: number[] = [];
  let gap = 0;
  while (tries < 10) {
    assertEquals(compressor.compress(random(200)), undefined);
    if (compressor.totals.futile === tries) gap++;
    else {
      tries++;
      gaps.push(gap);
      gap = 0;
    }
  }
  const max = COMPRESSION_SKIPS_MAX;
  assertEquals(gaps, [0, 1, 3, 7, 15, 31, 63, max, max, max]);
  for (let at = 0; at < max; at++) {
    assertEquals(compressor.compress(new Uint8Array(200)), undefined);
  }
  for (let at = 0; at < 3; at++) {
    assertGreater(100, compressor.compress(new Uint8Array(200))!.length);
  }
  const { plainBytes, packedBytes, futile, durationMs } = compressor.totals;
  assertEquals([plainBytes, futile, durationMs], [600, 10, 13]);
  assertGreater(plainBytes, packedBytes);
  assertEquals(compressor.compress(new Uint8Array(99)), undefined, "below its minimum");
});

Deno.test("COMPRESSION_GAIN_PART: a block that shrinks by less is kept plain", () => {
  const length = 8_000;
  for (const [zeros, isKept] of [[length / COMPRESSION_GAIN_PART - 100, true], [1_200, false]]) {
    const block = random(length);
    block.fill(0, 0, zeros as number);
    const packed = new Compressor({ bytesMin: 0 }).compress(block);
    assertEquals(packed === undefined, isKept, `${zeros} zeros`);
  }
});

Deno.test("Infinity turns compression off", () => {
  const compressor = new Compressor({ bytesMin: Infinity });
  assertEquals(compressor.compress(new Uint8Array(1024 * 1024)), undefined);
  assertEquals(compressor.totals, { plainBytes: 0, packedBytes: 0, futile: 0, durationMs: 0 });
});
