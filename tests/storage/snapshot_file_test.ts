/**
 * A snapshot file that is damaged in any way: what is read of it is what was written, up to a typed
 * error. Every bit of it: `FLIPPED_BITS=8 deno test -A tests/storage/snapshot_file_test.ts`.
 *
 * @module
 */
import { assert, assertEquals, assertGreater, assertThrows } from "@std/assert";
import { TERM_MAX } from "../../machines/raft_types.ts";
import { Buffer } from "node:buffer";
import { zstdCompressSync } from "node:zlib";
import { crc32c } from "../../storage/crc32c.ts";
import {
  SNAPSHOT_CHUNK_BYTES_MAX,
  SNAPSHOT_INDEX_MAX,
  SNAPSHOT_META_BYTES_MAX,
  SNAPSHOT_TIME_MS_MAX,
  SNAPSHOT_ZSTD_LEVEL,
} from "../../storage/log/limits.ts";
import { SnapshotEncoder, SnapshotError } from "../../storage/log/snapshot_file.ts";
import {
  CHUNK_HEAD_BYTES,
  END_BYTES,
  imageOf,
  joined,
  metaOf,
  open,
  placesOf,
  readAll,
  statesOf,
} from "./snapshot_image.ts";

/** About 64 KiB: chunks that are stored as they are, and chunks that are compressed. */
const whole = imageOf(statesOf({ count: 16, bytes: 4_400 }));
const { head, chunks } = placesOf(whole.bytes);
/** Bits of each byte that are flipped; of the head, of what frames the chunks, and of the end, all. */
const BITS = Number(Deno.env.get("FLIPPED_BITS") ?? 1);

/** What was given before the error is what was written: no damaged byte reaches a machine. */
function checkPrefix(bytes: Uint8Array, what: string, image = whole): SnapshotError {
  const { states, error } = readAll(bytes);
  assert(error !== undefined, `${what}: it was read as if it were sound`);
  assertEquals(error.kind, "damaged", what);
  for (let at = 0; at < states.length; at++) {
    assert(isEqual(states[at]!, image.states[at]), `${what}: chunk ${at} is another one`);
  }
  return error;
}

function isEqual(one: Uint8Array, other: Uint8Array | undefined): boolean {
  return other !== undefined && Buffer.compare(one, other) === 0;
}

/** A copy whose checksums and digest fit what it says: as a faulty program could write it. */
function resealed(
  bytes: Uint8Array,
  change: (view: DataView, copy: Uint8Array) => void,
): Uint8Array {
  const copy = bytes.slice();
  const view = new DataView(copy.buffer);
  change(view, copy);
  view.setUint32(head - 4, crc32c(copy, 0, head - 4), true);
  return copy;
}

Deno.test("a snapshot comes back as it was written, whether its chunks shrink or not", () => {
  assertGreater(whole.bytes.length, 60 * 1024);
  const { states, error } = readAll(whole.bytes);
  assertEquals([error, states.length], [undefined, whole.states.length]);
  states.forEach((state, at) => assert(isEqual(state, whole.states[at])));
  const { meta, digest } = open(whole.bytes);
  assertEquals([meta, digest], [whole.meta, whole.digest]);
  const stored = chunks.map((at) => new DataView(whole.bytes.buffer).getUint32(at, true));
  assert(stored.some((length) => length === 4_400) && stored.some((length) => length < 4_400));
  assertEquals(readAll(imageOf([]).bytes), { states: [], error: undefined });
});

Deno.test("B8: every byte of a snapshot flipped, and every bit of what frames it: a typed error, and no wrong byte before it", () => {
  const bytes = whole.bytes.slice();
  const framing = new Set<number>();
  const frame = (from: number, length: number): void => {
    for (let at = from; at < from + length; at++) framing.add(at);
  };
  frame(0, head);
  for (const at of chunks) frame(at, CHUNK_HEAD_BYTES);
  frame(bytes.length - END_BYTES, END_BYTES);
  let flipped = 0;
  for (let at = 0; at < bytes.length; at++) {
    const bits = framing.has(at) ? 8 : BITS;
    for (let nth = 0; nth < bits; nth++) {
      const bit = (at + nth) % 8;
      bytes[at]! ^= 1 << bit;
      checkPrefix(bytes, `bit ${bit} of byte ${at}`);
      bytes[at]! ^= 1 << bit;
      flipped++;
    }
  }
  assertEquals(flipped, bytes.length * BITS + framing.size * (8 - BITS));
});

Deno.test("B8: a snapshot cut to every shorter length, or lengthened, is refused", () => {
  // With all bits asked for, every length of the large one, too.
  const images = [imageOf(statesOf({ count: 8, bytes: 900 })), ...BITS === 8 ? [whole] : []];
  for (const image of images) {
    for (let length = 0; length < image.bytes.length; length++) {
      checkPrefix(image.bytes.subarray(0, length), `${length} bytes`, image);
    }
    // All its chunks are there, and its digest is not.
    const { message } = checkPrefix(image.bytes.subarray(0, -1), "a byte less", image);
    assertEquals(
      message.endsWith(`it is cut short: ${image.bytes.length - 1} bytes`),
      true,
      message,
    );
  }
  for (const more of [1, END_BYTES, 4_096]) {
    for (const fill of [0, 255]) {
      const longer = joined([whole.bytes, new Uint8Array(more).fill(fill)]);
      checkPrefix(longer, `${more} bytes more`);
    }
  }
  // Its own end once more: all that is read is whole, and yet it is not the file that was written.
  const twice = joined([whole.bytes, whole.bytes.subarray(-END_BYTES)]);
  assertEquals(checkPrefix(twice, "twice its end").message.endsWith("bytes follow its end"), true);
});

Deno.test("B8: parts that read as zeros are found, of every size that a disk loses", () => {
  for (const size of [512, 4_096]) {
    for (let at = 0; at < whole.bytes.length; at += size) {
      const holed = whole.bytes.slice();
      holed.fill(0, at, at + size);
      checkPrefix(holed, `${size} bytes from ${at} on`);
    }
  }
});

Deno.test("whole chunks that are swapped, missing, repeated or of another snapshot do not have the digest", () => {
  const { bytes } = whole;
  const ends = [...chunks.slice(1), bytes.length - END_BYTES];
  const frames = chunks.map((at, nth) => bytes.subarray(at, ends[nth]));
  const other = imageOf(statesOf({ count: 16, bytes: 4_400, seed: 2 }));
  const otherPlaces = placesOf(other.bytes);
  const foreign = other.bytes.subarray(otherPlaces.chunks[0]!, otherPlaces.chunks[1]);
  const rebuilt = (parts: readonly Uint8Array[]): Uint8Array =>
    joined([bytes.subarray(0, head), ...parts, bytes.subarray(-END_BYTES)]);
  assertEquals(rebuilt(frames), bytes);
  let tried = 0;
  const refuse = (parts: readonly Uint8Array[]): void => {
    const { error } = readAll(rebuilt(parts));
    assert(error?.message.includes("digest") === true, `${error?.message}`);
    tried++;
  };
  for (let nth = 0; nth < frames.length; nth++) {
    refuse(frames.toSpliced(nth, 1));
    refuse(frames.toSpliced(nth, 0, frames[nth]!));
    refuse(frames.with(nth, foreign));
    for (let later = nth + 1; later < frames.length; later++) {
      refuse(frames.with(nth, frames[later]!).with(later, frames[nth]!));
    }
  }
  assertEquals(tried, 3 * 16 + 16 * 15 / 2);
  // The chunks of one under the head of another, which says another index.
  const later = imageOf(whole.states, { index: 8 });
  const exchanged = joined([later.bytes.subarray(0, head), bytes.subarray(head)]);
  assert(readAll(exchanged).error?.message.includes("digest"));
});

Deno.test("a snapshot of a newer format is no damage, and says which release it needs", () => {
  const newer = resealed(whole.bytes, (view) => view.setUint32(8, 2, true));
  const error = assertThrows(() => open(newer), SnapshotError, "format version 2 is not known");
  assertEquals(error.kind, "foreign");
  // The version of a head that is damaged says nothing.
  const damaged = whole.bytes.slice();
  damaged[8] = 2;
  assertEquals(assertThrows(() => open(damaged), SnapshotError).kind, "damaged");
});

Deno.test("a meta that lacks a field, has a wrong one, or is no JSON, is refused; fields that follow are read over", () => {
  const wrong: readonly (readonly [string, unknown])[] = [
    ["clusterId", 7],
    ["stateHash", undefined],
    ["members", "1,2,3"],
    ["members", ["1"]],
    ...["group", "index", "term", "timeMs", "clusterVersion", "machineVersion"].flatMap((
      name,
    ): (readonly [string, unknown])[] => [[name, undefined], [name, -1], [name, 1.5], [name, "1"]]),
  ];
  for (const [name, value] of wrong) {
    const { bytes } = imageOf(whole.states, { [name]: value });
    const error = assertThrows(() => open(bytes), SnapshotError, "its meta");
    assertEquals(error.kind, "damaged", `${name} ${value}`);
  }
  const largest = { index: SNAPSHOT_INDEX_MAX, term: TERM_MAX, timeMs: SNAPSHOT_TIME_MS_MAX };
  assertEquals(open(imageOf(whole.states, largest).bytes).meta.index, SNAPSHOT_INDEX_MAX);
  for (const [name, max] of Object.entries(largest)) {
    const { bytes } = imageOf(whole.states, { [name]: max + 1 });
    assertThrows(() => open(bytes), SnapshotError, "its meta", name);
  }
  const garbled = resealed(whole.bytes, (_view, copy) => copy.fill(0xff, 16, 20));
  assertThrows(() => open(garbled), SnapshotError, "its meta is not JSON");
  const later = imageOf(whole.states, { later: true } as Parameters<typeof imageOf>[1]);
  assertEquals(open(later.bytes).meta.index, whole.meta.index);
});

Deno.test("SNAPSHOT_META_BYTES_MAX and SNAPSHOT_CHUNK_BYTES_MAX: the largest are written and read, larger ones are neither", () => {
  const bare = JSON.stringify(metaOf({ stateHash: "" })).length;
  const largest = metaOf({ stateHash: "0".repeat(SNAPSHOT_META_BYTES_MAX - bare) });
  const state = new Uint8Array(SNAPSHOT_CHUNK_BYTES_MAX);
  const { bytes } = imageOf([state], largest);
  const { states, error } = readAll(bytes);
  assertEquals([error, states[0]?.length], [undefined, SNAPSHOT_CHUNK_BYTES_MAX]);
  const encoder = new SnapshotEncoder();
  const tooLong = metaOf({ stateHash: `${largest.stateHash}0` });
  assertThrows(() => encoder.head(tooLong), RangeError, `${SNAPSHOT_META_BYTES_MAX + 1} bytes`);
  for (const length of [0, SNAPSHOT_CHUNK_BYTES_MAX + 1]) {
    assertThrows(() => encoder.chunk(new Uint8Array(length)), RangeError, `${length} bytes`);
  }
  const claims = bytes.slice();
  new DataView(claims.buffer).setUint32(12, SNAPSHOT_META_BYTES_MAX + 1, true);
  assertThrows(() => open(claims), SnapshotError, `${SNAPSHOT_META_BYTES_MAX + 1} bytes`);
});

Deno.test("a chunk that claims more than it may hold, or unpacks to another length, takes no more memory than that", () => {
  const { bytes } = whole;
  const at = chunks[1]!;
  const packed = zstdCompressSync(new Uint8Array(1024 * 1024), {
    params: { 100: SNAPSHOT_ZSTD_LEVEL },
  });
  const chunkOf = (length: number, stored: Uint8Array): Uint8Array => {
    const frame = new Uint8Array(CHUNK_HEAD_BYTES + stored.length);
    const view = new DataView(frame.buffer);
    view.setUint32(0, stored.length, true);
    view.setUint32(4, length, true);
    frame.set(stored, CHUNK_HEAD_BYTES);
    const crc = crc32c(stored, 0, stored.length, crc32c(frame, 0, 8));
    view.setUint32(8, crc, true);
    return frame;
  };
  const withChunk = (frame: Uint8Array): string => {
    const parts = [bytes.subarray(0, at), frame, bytes.subarray(-END_BYTES)];
    const { states, error } = readAll(joined(parts));
    assertEquals(states.length, 1);
    return error!.message;
  };
  for (
    const [length, reason] of [
      [SNAPSHOT_CHUNK_BYTES_MAX + 1, "is damaged"],
      [2 ** 32 - 1, "is damaged"],
      [packed.length - 1, "is damaged"],
      // A bomb: it says 1000 bytes, and holds a mebibyte.
      [1_000, "cannot be unpacked"],
      [1024 * 1024 + 1, "has 1048576 bytes, not 1048577"],
    ] as const
  ) assert(withChunk(chunkOf(length, packed)).includes(reason), `${length}`);
  const garbage = chunkOf(1_000, new Uint8Array(100).fill(7));
  assert(withChunk(garbage).includes("cannot be unpacked"));
});
