/**
 * What the codec costs, beside a general MessagePack library on the same fields.
 *
 * Run: `deno bench bench/codec_bench.ts`
 *
 * @module
 */
import { decode as decodeMsgpack, encode as encodeMsgpack } from "@msgpack/msgpack";
import type { RecordFormat } from "../machines/raft_types.ts";
import { createCodec } from "../transport/wire/codec.ts";
import { FrameReader } from "../transport/wire/frame_reader.ts";
import { FRAME_BYTES_MAX, FRAME_HEADER_BYTES } from "../transport/wire/limits.ts";
import type { WireMessage } from "../transport/wire/messages.ts";
import { plainRecords } from "../tests/transport/plain_records.ts";

const payloads = Array.from({ length: 64 }, () => new Uint8Array(100).fill(7));
const run = plainRecords.encodeRun({
  group: 0,
  term: 7,
  firstIndex: 1_001,
  timeMs: 0,
  kind: "command",
  payloads,
});
/** Splitting records is storage's cost, not the wire's. */
const opaque: RecordFormat = { ...plainRecords, decodeRuns: () => [run] };
const codec = createCodec(opaque);

const append: WireMessage = {
  type: "AppendEntries",
  group: 0,
  term: 7,
  from: 1,
  prevLogIndex: 1_000,
  prevLogTerm: 7,
  leaderCommit: 990,
  round: 12,
  runs: [run],
};
const reply: WireMessage = {
  type: "AppendEntriesReply",
  group: 0,
  term: 7,
  from: 2,
  accepted: true,
  matchIndex: 1_064,
  prevLogIndex: 1_000,
  conflictTerm: 0,
  conflictIndex: 0,
  round: 12,
};
const call: WireMessage = {
  type: "ActorCall",
  from: 1,
  callId: 77,
  group: 0,
  name: "kv",
  payload: { key: "greeting", value: new Uint8Array(100), revision: 123_456 },
};

const appendFrame = codec.encode(append);
const libraryFields = [16, 0, 7, 1, 1_000, 7, 990, 12, run.bytes];
const libraryBody = encodeMsgpack(libraryFields);

Deno.bench("encode AppendEntries 64 x 100 B", { group: "encode append", baseline: true }, () => {
  codec.encode(append);
});
Deno.bench("the library, one blob, no frame", { group: "encode append" }, () => {
  encodeMsgpack(libraryFields);
});
Deno.bench("decode AppendEntries 64 x 100 B", { group: "decode append", baseline: true }, () => {
  codec.decode(appendFrame.subarray(FRAME_HEADER_BYTES));
});
Deno.bench("the library, one blob, nothing checked", { group: "decode append" }, () => {
  decodeMsgpack(libraryBody);
});

for (const message of [reply, call]) {
  const body = codec.encode(message).subarray(FRAME_HEADER_BYTES);
  Deno.bench(`encode ${message.type}`, { group: message.type }, () => {
    codec.encode(message);
  });
  Deno.bench(`decode ${message.type}`, { group: message.type }, () => {
    codec.decode(body);
  });
}

const chunk = new Uint8Array(64 * 1024);
const replyFrame = codec.encode(reply);
const framesInChunk = Math.floor(chunk.length / replyFrame.length);
for (let i = 0; i < framesInChunk; i++) chunk.set(replyFrame, i * replyFrame.length);
const wholeFrames = chunk.subarray(0, framesInChunk * replyFrame.length);
const reader = new FrameReader(FRAME_BYTES_MAX, () => {});
Deno.bench(`read ${framesInChunk} frames of ${replyFrame.length} B`, { group: "frames" }, () => {
  reader.push(wholeFrames);
});
