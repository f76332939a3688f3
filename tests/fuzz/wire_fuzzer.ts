/**
 * Frames into the codec, and streams into the frame reader.
 *
 * @module
 */
import { assertEquals, assertInstanceOf, assertLessOrEqual } from "@std/assert";
import { recordFormat } from "../../storage/log/wal_record.ts";
import { createCodec } from "../../transport/wire/codec.ts";
import { FrameReader } from "../../transport/wire/frame_reader.ts";
import {
  FRAME_BUFFER_BYTES_MIN,
  FRAME_HEADER_BYTES,
  HELLO_FRAME_BYTES_MAX,
} from "../../transport/wire/limits.ts";
import { WireError, type WireMessage } from "../../transport/wire/messages.ts";
import type { Dice } from "../sim/random.ts";
import { count, type Fuzzer, type Tally } from "./fuzzer.ts";
import { drawWireMessage } from "./messages.ts";
import { joined, mutate, randomBytes } from "./mutations.ts";

const codec = createCodec(recordFormat);
const RANDOM_BODY_BYTES_MAX = 200;
const FRAMES_MAX = 5;
const CHUNK_BYTES_MAX = 300;

/** A body is a whole valid message, which encodes to one equal to it, or a WireError. */
export const codecFuzzer: Fuzzer = { name: "codec", tryOne: tryBody };

/** Whatever the chunks, the bodies are those of the stream, up to its first bad length. */
export const frameReaderFuzzer: Fuzzer = { name: "frames", tryOne: tryStream };

function tryBody(dice: Dice, tally: Tally): void {
  const body = drawBody(dice);
  const before = body.slice();
  let message: WireMessage;
  try {
    message = codec.decode(body);
  } catch (error) {
    assertInstanceOf(error, WireError);
    return count(tally, error.code);
  } finally {
    assertEquals(body, before, "decoding changed the frame");
  }
  count(tally, "decoded");
  const again = codec.decode(codec.encode(message).subarray(FRAME_HEADER_BYTES));
  assertEquals(again, message, "a decoded message does not survive the wire");
}

function drawBody(dice: Dice): Uint8Array {
  if (dice.chance(0.1)) return randomBytes(dice, dice.below(RANDOM_BODY_BYTES_MAX));
  return mutate(dice, drawFrame(dice).subarray(FRAME_HEADER_BYTES));
}

/** A frame of a sound or nearly sound message. */
function drawFrame(dice: Dice): Uint8Array {
  for (;;) {
    try {
      return codec.encode(drawWireMessage(dice));
    } catch (error) {
      // Some drawn messages cannot be carried; the next one can.
      assertInstanceOf(error, WireError);
    }
  }
}

function tryStream(dice: Dice, tally: Tally): void {
  const frames = Array.from({ length: 1 + dice.below(FRAMES_MAX) }, () => drawFrame(dice));
  const sound = joined(...frames);
  const stream = dice.chance(0.5) ? sound : mutate(dice, sound);
  const expected = cut(stream);
  const bodies: Uint8Array[] = [];
  const reader = new FrameReader(HELLO_FRAME_BYTES_MAX, (body) => bodies.push(body));
  let code: string | undefined;
  try {
    for (let at = 0; at < stream.length;) {
      const end = Math.min(stream.length, at + 1 + dice.below(CHUNK_BYTES_MAX));
      const chunk = stream.slice(at, end);
      reader.push(chunk);
      // The caller reuses its buffer: nothing handed over may still look into it.
      chunk.fill(0xee);
      at = end;
      assertLessOrEqual(reader.bufferedBytes, Math.max(FRAME_BUFFER_BYTES_MIN, 2 * at) + 4);
      assertLessOrEqual(reader.bufferedBytes, HELLO_FRAME_BYTES_MAX + FRAME_HEADER_BYTES);
    }
  } catch (error) {
    assertInstanceOf(error, WireError);
    code = error.code;
  }
  assertEquals(code, expected.code);
  assertEquals(bodies, expected.bodies);
  count(tally, code ?? "whole");
}

/** The stream cut in the plainest way. */
function cut(stream: Uint8Array): { bodies: Uint8Array[]; code: string | undefined } {
  const view = new DataView(stream.buffer, stream.byteOffset, stream.byteLength);
  const bodies: Uint8Array[] = [];
  for (let at = 0; at + FRAME_HEADER_BYTES <= stream.length;) {
    const length = view.getUint32(at);
    if (length === 0) return { bodies, code: "frame-empty" };
    if (length > HELLO_FRAME_BYTES_MAX) return { bodies, code: "frame-too-large" };
    at += FRAME_HEADER_BYTES;
    if (at + length > stream.length) break;
    bodies.push(stream.slice(at, at + length));
    at += length;
  }
  return { bodies, code: undefined };
}
