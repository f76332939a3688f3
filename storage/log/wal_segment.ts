/**
 * A segment of the write-ahead log: its file name and its header.
 *
 * | offset | bytes | field |
 * |---|---|---|
 * | 0 | 8 | magic, "STCRFWAL" |
 * | 8 | 4 | format version, 5; a segment of version 4 is read, and not written any more |
 * | 12 | 4 | node id |
 * | 16 | 8 | sequence; the first segment of a log has 1, and may be gone |
 * | 24 | 8 | position of the segment's first byte in the log |
 * | 32 | 1 | length of the cluster id |
 * | 33 | 64 | cluster id, ASCII, filled up with zeros |
 * | 97 | 3 | reserved, 0 |
 * | 100 | 4 | checkpoints that follow, one for each group that the log knew before this segment |
 * | 104 | 4 | checksum of the last append of the segment before, 0 in the first; in version 4 always 0 |
 * | 108 | 16 | reserved, 0 |
 * | 124 | 4 | CRC-32C of all that precedes |
 *
 * The checkpoints (see wal_record.ts) say what the earlier segments come to: the head of a segment. So
 * the earlier ones can be removed once a snapshot covers their entries, and nothing else of them, no
 * vote and no term, has to be looked for.
 *
 * A new version of the record layout, or of the requests that entries carry, is a new format version
 * too: a release that does not know it must refuse the segment at its start, not take its records for
 * a torn tail, nor fail when it applies them.
 *
 * @module
 */
import type { NodeId } from "../../machines/raft_types.ts";
import { toByteString, writeByteString } from "../byte_string.ts";
import { crc32c } from "../crc32c.ts";
import { CLUSTER_ID_CHARS_MAX, NODE_ID_MAX } from "./limits.ts";
import { WalVersionError } from "./wal_errors.ts";

/** Whose log it is. */
export interface WalIdentity {
  /** 1 to 64 of `[a-z0-9-]`. */
  readonly clusterId: string;
  /** The member's id. */
  readonly nodeId: NodeId;
}

/** What a segment says about itself. */
export interface SegmentHeader extends WalIdentity {
  /** The number in its name. */
  readonly sequence: number;
  /** Where its first byte is in the log. */
  readonly position: number;
  /** Checkpoints between the header and the first mark. */
  readonly checkpoints: number;
  /** Checksum of the last append of the segment before; undefined if its version has none. */
  readonly checksumBefore: number | undefined;
}

/** Directory of the segments. */
export const WAL_DIRECTORY = "wal";
/** Bytes of a segment before its first record. */
export const SEGMENT_HEADER_BYTES = 128;

const MAGIC = "STCRFWAL";
const FORMAT_VERSION = 5;
/** Its marks tell no checksum, and none of its records is packed. */
const FORMAT_VERSION_MIN = 4;
const VERSION_AT = 8;
const NODE_AT = 12;
const SEQUENCE_AT = 16;
const POSITION_AT = 24;
const CLUSTER_LENGTH_AT = 32;
const CLUSTER_AT = 33;
const CHECKPOINTS_AT = 100;
const CHECKSUM_AT = 104;
const CRC_AT = 124;
const SEQUENCE_DIGITS = 20;
const SEGMENT_NAME = /^\d{20}\.wal$/;
const CLUSTER_ID = /^[a-z0-9-]+$/;

/** Path of the segment with this sequence. */
export function segmentPath(sequence: number): string {
  return `${WAL_DIRECTORY}/${String(sequence).padStart(SEQUENCE_DIGITS, "0")}.wal`;
}

/** The sequence in a file name; `undefined` if it is not the name of a segment. */
export function sequenceOf(name: string): number | undefined {
  return SEGMENT_NAME.test(name) ? Number(name.slice(0, SEQUENCE_DIGITS)) : undefined;
}

/** @throws {RangeError} If the identity could not be written into a header. */
export function checkIdentity({ clusterId, nodeId }: WalIdentity): void {
  if (clusterId.length > CLUSTER_ID_CHARS_MAX || !CLUSTER_ID.test(clusterId)) {
    throw new RangeError(
      `Cannot use cluster id ${JSON.stringify(clusterId)}: it must be 1 to 64 of a-z, 0-9 and -`,
    );
  }
  if (!Number.isSafeInteger(nodeId) || nodeId < 1 || nodeId > NODE_ID_MAX) {
    throw new RangeError(`Cannot use node id ${nodeId}: it must be an integer from 1 to 2^31`);
  }
}

/** The header's bytes, of the newest version. */
export function encodeSegmentHeader(
  header: SegmentHeader & { readonly checksumBefore: number },
): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(SEGMENT_HEADER_BYTES);
  const view = new DataView(bytes.buffer);
  writeByteString(MAGIC, bytes, 0);
  view.setUint32(VERSION_AT, FORMAT_VERSION, true);
  view.setUint32(NODE_AT, header.nodeId, true);
  view.setBigUint64(SEQUENCE_AT, BigInt(header.sequence), true);
  view.setBigUint64(POSITION_AT, BigInt(header.position), true);
  bytes[CLUSTER_LENGTH_AT] = header.clusterId.length;
  writeByteString(header.clusterId, bytes, CLUSTER_AT);
  view.setUint32(CHECKPOINTS_AT, header.checkpoints, true);
  view.setUint32(CHECKSUM_AT, header.checksumBefore, true);
  view.setUint32(CRC_AT, crc32c(bytes, 0, CRC_AT), true);
  return bytes;
}

/**
 * The header at the start of a segment; `undefined` if it is cut short or damaged.
 *
 * @throws {WalVersionError} If it is of another version.
 */
export function decodeSegmentHeader(path: string, bytes: Uint8Array): SegmentHeader | undefined {
  if (bytes.length < SEGMENT_HEADER_BYTES) return undefined;
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  if (toByteString(bytes, 0, VERSION_AT) !== MAGIC) return undefined;
  if (view.getUint32(CRC_AT, true) !== crc32c(bytes, 0, CRC_AT)) return undefined;
  const version = view.getUint32(VERSION_AT, true);
  if (version > FORMAT_VERSION || version < FORMAT_VERSION_MIN) {
    throw new WalVersionError(path, version, FORMAT_VERSION);
  }
  return {
    nodeId: view.getUint32(NODE_AT, true),
    sequence: Number(view.getBigUint64(SEQUENCE_AT, true)),
    position: Number(view.getBigUint64(POSITION_AT, true)),
    checkpoints: view.getUint32(CHECKPOINTS_AT, true),
    checksumBefore: version > FORMAT_VERSION_MIN ? view.getUint32(CHECKSUM_AT, true) : undefined,
    clusterId: toByteString(bytes, CLUSTER_AT, CLUSTER_AT + bytes[CLUSTER_LENGTH_AT]!),
  };
}
