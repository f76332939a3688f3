/**
 * The frame reader under every way in which TCP may cut a stream.
 *
 * @module
 */
import { assert, assertEquals, assertLessOrEqual, assertThrows } from "@std/assert";
import fc from "fast-check";
import { FrameReader } from "../../transport/wire/frame_reader.ts";
import {
  FRAME_BUFFER_BYTES_MIN,
  FRAME_BYTES_MAX,
  HELLO_FRAME_BYTES_MAX,
} from "../../transport/wire/limits.ts";
import { WireError } from "../../transport/wire/messages.ts";

function frame(body: Uint8Array): Uint8Array {
  const bytes = new Uint8Array(4 + body.length);
  new DataView(bytes.buffer).setUint32(0, body.length);
  bytes.set(body, 4);
  return bytes;
}

function concat(parts: readonly Uint8Array[]): Uint8Array {
  return new Uint8Array(parts.flatMap((part) => [...part]));
}

function header(length: number): Uint8Array {
  return frame(new Uint8Array(0)).map((_, i) => Math.floor(length / 0x100 ** (3 - i)) % 0x100);
}

function collect(limitBytes = FRAME_BYTES_MAX): { reader: FrameReader; bodies: Uint8Array[] } {
  const bodies: Uint8Array[] = [];
  return { reader: new FrameReader(limitBytes, (body) => bodies.push(body)), bodies };
}

Deno.test("frame reader: any stream cut anywhere gives the same frames", () => {
  const bodies = fc.array(fc.uint8Array({ minLength: 1, maxLength: 400 }), { maxLength: 10 });
  const cuts = fc.array(fc.nat(4_000), { maxLength: 30 });
  fc.assert(fc.property(bodies, cuts, (expected, cutsAt) => {
    const stream = concat(expected.map(frame));
    const { reader, bodies: got } = collect();
    let at = 0;
    for (const cut of [...cutsAt.sort((a, b) => a - b), stream.length]) {
      // One buffer is read into again and again: nothing handed over may be a view of it.
      const chunk = stream.slice(at, Math.max(at, cut));
      at = Math.max(at, Math.min(cut, stream.length));
      reader.push(chunk);
      chunk.fill(0xee);
    }
    assertEquals(got, expected);
    assertEquals(reader.bufferedBytes, 0);
  }));
});

Deno.test("S17: a message of many segments arrives whole, byte by byte and two in one segment", () => {
  const large = new Uint8Array(5_000).map((_, i) => i % 251);
  const small = new Uint8Array([1, 2, 3]);
  const { reader, bodies } = collect();
  for (const byte of frame(large)) reader.push(new Uint8Array([byte]));
  reader.push(concat([frame(small), frame(small)]));
  assertEquals(bodies, [large, small, small]);
});

Deno.test("S18: a length is checked before anything is allocated", () => {
  for (const length of [FRAME_BYTES_MAX + 1, 2 ** 31, 2 ** 32 - 1]) {
    const { reader } = collect();
    const error = assertThrows(() => reader.push(header(length)), WireError);
    assertEquals(error.code, "frame-too-large");
    assertLessOrEqual(reader.bufferedBytes, 4);
  }
});

Deno.test("frame reader: a length of 0 is refused", () => {
  const { reader } = collect();
  assertEquals(assertThrows(() => reader.push(header(0)), WireError).code, "frame-empty");
});

Deno.test("frame reader: a frame that never completes holds little more than what has come", () => {
  const { reader, bodies } = collect();
  reader.push(header(FRAME_BYTES_MAX));
  assertLessOrEqual(reader.bufferedBytes, FRAME_BUFFER_BYTES_MIN + 4);
  let sent = 0;
  for (; sent < 100_000; sent += 1_000) reader.push(new Uint8Array(1_000));
  assertLessOrEqual(reader.bufferedBytes, 2 * sent + FRAME_BUFFER_BYTES_MIN);
  assertEquals(bodies, []);
});

Deno.test("frame reader: the largest frame passes, whole and in pieces", () => {
  const largest = new Uint8Array(FRAME_BYTES_MAX).fill(7);
  const stream = frame(largest);
  const { reader, bodies } = collect();
  reader.push(stream);
  for (let at = 0; at < stream.length; at += 65_536) reader.push(stream.subarray(at, at + 65_536));
  assertEquals(bodies.map((body) => body.length), [FRAME_BYTES_MAX, FRAME_BYTES_MAX]);
  assert(bodies.every((body) => body.every((byte) => byte === 7)));
  assert(
    bodies.every((body) => body.buffer.byteLength === FRAME_BYTES_MAX),
    "no spare memory kept",
  );
});

Deno.test("frame reader: the limit rises in mid-chunk, for the frames after the one that raised it", () => {
  const got: number[] = [];
  const reader: FrameReader = new FrameReader(HELLO_FRAME_BYTES_MAX, (body) => {
    got.push(body.length);
    reader.setLimit(FRAME_BYTES_MAX);
  });
  const large = new Uint8Array(HELLO_FRAME_BYTES_MAX + 1);
  assertThrows(() => collect(HELLO_FRAME_BYTES_MAX).reader.push(frame(large)), WireError);
  reader.push(concat([frame(new Uint8Array(10)), frame(large)]));
  assertEquals(got, [10, HELLO_FRAME_BYTES_MAX + 1]);
});

Deno.test("frame reader: after stop nothing is handed over, also not of the chunk at hand", () => {
  const got: Uint8Array[] = [];
  const reader: FrameReader = new FrameReader(FRAME_BYTES_MAX, (body) => {
    got.push(body);
    reader.stop();
  });
  reader.push(concat([frame(new Uint8Array([1])), frame(new Uint8Array([2]))]));
  reader.push(frame(new Uint8Array([3])));
  assertEquals(got, [new Uint8Array([1])]);
});
