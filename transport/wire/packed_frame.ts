/**
 * Frames that are compressed on their way: a body of `[5, bytes, bin]` stands for the body of `bytes`
 * bytes that zstd makes of the bin. Connections of version 2 and above carry them.
 *
 * @module
 */
import { type Compressor, decompress } from "../../storage/compression.ts";
import { FRAME_BYTES_MAX, FRAME_HEADER_BYTES } from "./limits.ts";
import { WireError } from "./messages.ts";
import { BodyCursor, FrameWriter } from "./msgpack.ts";

/** The tag of a packed frame; codec.ts has those of the messages. */
const PACKED_TAG = 5;
const PACKED_LENGTH = 3;
/** How a packed body begins: an array of three whose first element is the tag. */
const PACKED_START = [0x90 | PACKED_LENGTH, PACKED_TAG] as const;

const writer = new FrameWriter();

/** The frame packed; undefined if it is to be sent as it is. */
export function packFrame(
  frame: Uint8Array,
  compressor: Pick<Compressor, "compress">,
): Uint8Array | undefined {
  const body = frame.subarray(FRAME_HEADER_BYTES);
  const packed = compressor.compress(body);
  if (packed === undefined) return undefined;
  writer.begin();
  writer.array(PACKED_LENGTH);
  writer.uint(PACKED_TAG);
  writer.uint(body.length);
  return writer.endWithBin([{ bytes: packed }]);
}

/**
 * The body that a packed one stands for; any other is returned as it is.
 *
 * @throws {WireError} If it cannot be unpacked.
 */
export function unpackBody(body: Uint8Array): Uint8Array {
  if (body[0] !== PACKED_START[0] || body[1] !== PACKED_START[1]) return body;
  const cursor = new BodyCursor(body);
  cursor.array();
  cursor.uint("tag", PACKED_TAG);
  const length = cursor.uint("bytes", FRAME_BYTES_MAX);
  const packed = cursor.bin("packed");
  cursor.end();
  if (length === 0) throw new WireError("bad-field", "Cannot unpack a frame: its length is 0");
  try {
    return decompress(packed, length);
  } catch (error) {
    if (!(error instanceof RangeError)) throw error;
    throw new WireError("bad-field", `Cannot unpack a frame: ${error.message}`);
  }
}
