/**
 * Message to frame and back: the only file that knows the wire.
 *
 * A frame is an unsigned big-endian 32-bit length and a MessagePack array `[tag, ...fields]`; the
 * fields are in the order in which {@linkcode createCodec}'s two switches name them. Entries travel
 * as one bin: the records that the leader wrote to its own log (ARCHITECTURE.md, "An entry is its
 * record").
 *
 * A connection speaks one version of the protocol, the highest that both sides know. Within a
 * version fields are only ever appended, and a node skips appended fields that it does not know, so
 * that members can be upgraded one by one. Hello and its reply are the same in every version. A frame
 * may be compressed on its way, see packed_frame.ts: the codec sees it as it was before.
 *
 * @module
 */
import {
  type AppendEntries,
  type EntryRun,
  type GroupId,
  type InstallSnapshot,
  type NodeId,
  type RaftMessage,
  type RecordFormat,
  type Term,
  TERM_MAX,
} from "../../machines/raft_types.ts";
import {
  GROUP_ID_MAX,
  NODE_ID_MAX,
  WIRE_NAME_LENGTH_MAX,
  WIRE_STRING_BYTES_MAX,
} from "./limits.ts";
import { badField, BodyCursor, FrameWriter } from "./msgpack.ts";
import {
  type ActorWire,
  type Hello,
  type HelloReply,
  isWireObject,
  type RefusalReason,
  WireError,
  type WireFailure,
  type WireMessage,
} from "./messages.ts";

/** Turns messages into frames and frames into messages; one for each connection. */
export interface Codec {
  /**
   * The complete frame, its length in front. The caller owns the bytes.
   *
   * @throws {WireError} If the message cannot be carried: a value that is not plain, a limit.
   */
  encode(message: WireMessage): Uint8Array;
  /**
   * The message of a frame's body, every field of it validated. Bytes in it are views of `body`,
   * which the caller gives away.
   *
   * @throws {WireError} If the body is anything but one whole, valid message.
   */
  decode(body: Uint8Array): WireMessage;
}

/** The message of a frame's body; undefined if it is none, for those who do not mind what is wrong. */
export function decodedOf(codec: Codec, body: Uint8Array): WireMessage | undefined {
  try {
    return codec.decode(body);
  } catch (error) {
    if (error instanceof WireError) return undefined;
    throw error;
  }
}

const TAGS = {
  Hello: 1,
  HelloReply: 2,
  Ping: 3,
  Pong: 4,
  AppendEntries: 16,
  AppendEntriesReply: 17,
  RequestVote: 18,
  RequestVoteReply: 19,
  PreVote: 20,
  PreVoteReply: 21,
  TimeoutNow: 22,
  ReadIndex: 23,
  ReadIndexReply: 24,
  InstallSnapshot: 25,
  InstallSnapshotReply: 26,
  ActorCast: 32,
  ActorCall: 33,
  ActorReply: 34,
  ActorFail: 35,
  ActorWatch: 36,
  ActorTerminated: 37,
} as const satisfies Record<WireMessage["type"], number>;

/** Elements of each message's array, the tag included. */
const LENGTHS = {
  Hello: 11,
  HelloReply: 7,
  Ping: 2,
  Pong: 2,
  AppendEntries: 9,
  AppendEntriesReply: 10,
  RequestVote: 7,
  RequestVoteReply: 5,
  PreVote: 6,
  PreVoteReply: 5,
  TimeoutNow: 4,
  ReadIndex: 6,
  ReadIndexReply: 6,
  InstallSnapshot: 11,
  InstallSnapshotReply: 7,
  ActorCast: 5,
  ActorCall: 6,
  ActorReply: 4,
  ActorFail: 6,
  ActorWatch: 4,
  ActorTerminated: 4,
} as const satisfies Record<WireMessage["type"], number>;

const TYPES = new Map<number, WireMessage["type"]>(
  Object.entries(TAGS).map(([type, tag]) => [tag, type as WireMessage["type"]]),
);

/** A refusal's position is its number on the wire, 0 being welcome: append, never reorder. */
const REFUSALS: readonly Exclude<RefusalReason, "unknown-reason">[] = [
  "wrong-magic",
  "wrong-version",
  "wrong-cluster",
  "wrong-target",
  "unknown-node",
  "wrong-direction",
  "wrong-directory",
  "wrong-target-directory",
  "removed",
];

/** Highest number of a reason; it stands for every reason that this version does not know. */
const REFUSAL_MAX = 0x7f;

const NAME = /^[a-z0-9-]{1,64}$/;
const DIGEST = /^[0-9a-f]{64}$/;
const INTEGER_MAX = Number.MAX_SAFE_INTEGER;
/** Deepest value an actor message may hold: its own array is the first level. */
const PAYLOAD_DEPTH = 2;

/**
 * A codec whose AppendEntries carry the records of `records`.
 *
 * @example
 * ```ts
 * import { createCodec } from "statecraft/actors";
 *
 * const codec = createCodec({
 *   encodeRun: () => {
 *     throw new RangeError("Cannot encode entries: this codec only pings");
 *   },
 *   decodeRuns: () => [],
 *   lastTimeMs: () => 0,
 * });
 * const frame = codec.encode({ type: "Ping", id: 7 });
 * const message = codec.decode(frame.subarray(4)); // { type: "Ping", id: 7 }
 * console.assert(message.type === "Ping");
 * ```
 */
export function createCodec(records: RecordFormat): Codec {
  const writer = new FrameWriter();
  return {
    encode: (message) => encode(writer, message),
    decode: (body) => {
      const cursor = new BodyCursor(body);
      const length = cursor.array();
      const message = decode(cursor, records, length);
      for (let more = LENGTHS[message.type]; more < length; more++) cursor.value();
      cursor.end();
      return message;
    },
  };
}

function encode(w: FrameWriter, message: WireMessage): Uint8Array {
  w.begin();
  w.array(LENGTHS[message.type]);
  w.uint(TAGS[message.type]);
  switch (message.type) {
    case "Hello":
      w.string(message.magic);
      w.uint(message.versionMin);
      w.uint(message.versionMax);
      w.string(message.clusterId);
      w.uint(message.from);
      w.uint(message.to);
      w.uint(message.incarnation);
      w.string(message.directoryId);
      w.string(message.toDirectoryId ?? "");
      w.uint(message.clusterVersionMax);
      break;
    case "HelloReply":
      w.uint(message.from);
      w.uint(message.incarnation);
      w.uint(message.refusal === undefined ? 0 : refusalNumber(message.refusal));
      w.string(message.directoryId);
      w.uint(message.version);
      w.uint(message.clusterVersionMax);
      break;
    case "Ping":
    case "Pong":
      w.uint(message.id);
      break;
    case "ActorCast":
    case "ActorCall":
    case "ActorReply":
    case "ActorFail":
    case "ActorWatch":
    case "ActorTerminated":
      writeActorFields(w, message);
      break;
    default:
      return encodeRaft(w, message);
  }
  return w.end();
}

function encodeRaft(w: FrameWriter, message: RaftMessage): Uint8Array {
  w.uint(message.group);
  w.uint(message.term);
  w.uint(message.from);
  switch (message.type) {
    case "AppendEntries":
      w.uint(message.prevLogIndex);
      w.uint(message.prevLogTerm);
      w.uint(message.leaderCommit);
      w.uint(message.round);
      return w.endWithBin(message.runs);
    case "AppendEntriesReply":
      w.boolean(message.accepted);
      w.uint(message.matchIndex);
      w.uint(message.prevLogIndex);
      w.uint(message.conflictTerm);
      w.uint(message.conflictIndex);
      w.uint(message.round);
      break;
    case "RequestVote":
      w.uint(message.lastLogIndex);
      w.uint(message.lastLogTerm);
      w.boolean(message.transfer);
      break;
    case "PreVote":
      w.uint(message.lastLogIndex);
      w.uint(message.lastLogTerm);
      break;
    case "RequestVoteReply":
    case "PreVoteReply":
      w.boolean(message.granted);
      break;
    case "ReadIndex":
      w.uint(message.readId);
      w.boolean(message.isLogLost);
      break;
    case "ReadIndexReply":
      w.uint(message.readId);
      w.uint(message.readIndex);
      break;
    case "InstallSnapshot":
      w.uint(message.snapshot.index);
      w.uint(message.snapshot.term);
      w.uint(message.snapshot.timeMs);
      w.uint(message.snapshot.size);
      w.string(message.snapshot.digest);
      w.uint(message.offset);
      return w.endWithBin([message]);
    case "InstallSnapshotReply":
      w.uint(message.lastIncludedIndex);
      w.boolean(message.installed);
      w.uint(message.offset);
      break;
    case "TimeoutNow":
      break;
  }
  return w.end();
}

function writeActorFields(w: FrameWriter, message: ActorWire): void {
  w.uint(message.from);
  switch (message.type) {
    case "ActorReply":
      w.uint(message.callId);
      w.value(message.payload, PAYLOAD_DEPTH);
      return;
    case "ActorFail":
      w.uint(message.callId);
      w.string(message.error.name);
      w.string(message.error.message);
      w.value(message.error.fields, PAYLOAD_DEPTH);
      return;
    case "ActorCall":
      w.uint(message.callId);
      break;
  }
  w.uint(message.group);
  w.string(message.name);
  if (message.type === "ActorCast" || message.type === "ActorCall") {
    w.value(message.payload, PAYLOAD_DEPTH);
  }
}

function decode(c: BodyCursor, records: RecordFormat, length: number): WireMessage {
  const tag = c.uint("tag", 0x7f);
  const type = TYPES.get(tag);
  if (type === undefined) {
    throw new WireError("unknown-tag", `Cannot decode a frame: tag ${tag} is not in use`);
  }
  if (length < LENGTHS[type]) throw badField(type, `an array of ${LENGTHS[type]}`);
  switch (type) {
    case "Hello":
      return decodeHello(c);
    case "HelloReply":
      return decodeHelloReply(c);
    case "Ping":
    case "Pong":
      return { type, id: c.uint("id", INTEGER_MAX) };
    case "ActorCast":
    case "ActorCall":
    case "ActorReply":
    case "ActorFail":
    case "ActorWatch":
    case "ActorTerminated":
      return decodeActor(c, type);
    default:
      return decodeRaft(c, type, records);
  }
}

/** The node that answers checks magic, versions and cluster, and says what is wrong with them. */
function decodeHello(c: BodyCursor): Hello {
  return {
    type: "Hello",
    magic: c.string("magic", WIRE_NAME_LENGTH_MAX),
    versionMin: c.uint("versionMin", GROUP_ID_MAX),
    versionMax: c.uint("versionMax", GROUP_ID_MAX),
    clusterId: c.string("clusterId", WIRE_NAME_LENGTH_MAX),
    from: node(c),
    to: c.uint("to", NODE_ID_MAX, 1),
    incarnation: c.uint("incarnation", INTEGER_MAX),
    directoryId: nameOf(c, "directoryId"),
    toDirectoryId: optionalNameOf(c, "toDirectoryId"),
    clusterVersionMax: c.uint("clusterVersionMax", GROUP_ID_MAX),
  };
}

function refusalNumber(refusal: RefusalReason): number {
  const at = REFUSALS.findIndex((reason) => reason === refusal);
  return at < 0 ? REFUSAL_MAX : at + 1;
}

/**
 * A reason that this version does not know, because a later one has appended it, refuses like any
 * other.
 */
function refusalOf(number: number): RefusalReason | undefined {
  return number === 0 ? undefined : REFUSALS[number - 1] ?? "unknown-reason";
}

function decodeHelloReply(c: BodyCursor): HelloReply {
  const from = node(c);
  const incarnation = c.uint("incarnation", INTEGER_MAX);
  const refusal = c.uint("refusal", REFUSAL_MAX);
  const directoryId = nameOf(c, "directoryId");
  const version = c.uint("version", GROUP_ID_MAX);
  const clusterVersionMax = c.uint("clusterVersionMax", GROUP_ID_MAX);
  return {
    ...{ type: "HelloReply", from, incarnation, refusal: refusalOf(refusal) },
    ...{ directoryId, version, clusterVersionMax },
  };
}

function decodeRaft(
  c: BodyCursor,
  type: RaftMessage["type"],
  records: RecordFormat,
): RaftMessage {
  const group = c.uint("group", GROUP_ID_MAX);
  const term = c.uint("term", TERM_MAX);
  const from = node(c);
  switch (type) {
    case "AppendEntries":
      return decodeAppendEntries(c, { group, term, from, records });
    case "AppendEntriesReply":
      return {
        type,
        group,
        term,
        from,
        accepted: c.boolean("accepted"),
        matchIndex: index(c, "matchIndex"),
        prevLogIndex: index(c, "prevLogIndex"),
        conflictTerm: c.uint("conflictTerm", TERM_MAX),
        conflictIndex: index(c, "conflictIndex"),
        round: index(c, "round"),
      };
    case "RequestVote":
      return {
        type,
        group,
        term,
        from,
        lastLogIndex: index(c, "lastLogIndex"),
        lastLogTerm: c.uint("lastLogTerm", TERM_MAX),
        transfer: c.boolean("transfer"),
      };
    case "PreVote":
      return {
        type,
        group,
        term,
        from,
        lastLogIndex: index(c, "lastLogIndex"),
        lastLogTerm: c.uint("lastLogTerm", TERM_MAX),
      };
    case "RequestVoteReply":
    case "PreVoteReply":
      return { type, group, term, from, granted: c.boolean("granted") };
    case "TimeoutNow":
      return { type, group, term, from };
    case "ReadIndex":
      return {
        ...{ type, group, term, from },
        readId: index(c, "readId"),
        isLogLost: c.boolean("isLogLost"),
      };
    case "ReadIndexReply":
      return {
        type,
        group,
        term,
        from,
        readId: index(c, "readId"),
        readIndex: index(c, "readIndex"),
      };
    case "InstallSnapshot":
      return decodeInstallSnapshot(c, { group, term, from });
    case "InstallSnapshotReply":
      return {
        type,
        group,
        term,
        from,
        lastIncludedIndex: index(c, "lastIncludedIndex"),
        installed: c.boolean("installed"),
        offset: index(c, "offset"),
      };
  }
}

/** The part lies within the file, and the snapshot covers entries of terms up to the sender's. */
function decodeInstallSnapshot(
  c: BodyCursor,
  rpc: { group: GroupId; term: Term; from: NodeId },
): InstallSnapshot {
  const snapshot = {
    index: c.uint("lastIncludedIndex", INTEGER_MAX, 1),
    term: c.uint("lastIncludedTerm", rpc.term),
    timeMs: index(c, "timeMs"),
    size: index(c, "size"),
    digest: c.string("digest", WIRE_NAME_LENGTH_MAX),
  };
  if (!DIGEST.test(snapshot.digest)) throw badField("digest", String(DIGEST));
  const offset = c.uint("offset", snapshot.size);
  const bytes = c.bin("bytes");
  if (bytes.length > snapshot.size - offset) throw badField("bytes", "within the snapshot");
  return { type: "InstallSnapshot", ...rpc, snapshot, offset, bytes };
}

function decodeAppendEntries(
  c: BodyCursor,
  rpc: { group: GroupId; term: Term; from: NodeId; records: RecordFormat },
): AppendEntries {
  const { group, term, from, records } = rpc;
  const prevLogIndex = index(c, "prevLogIndex");
  const prevLogTerm = c.uint("prevLogTerm", TERM_MAX);
  const leaderCommit = index(c, "leaderCommit");
  const round = index(c, "round");
  const blob = c.bin("entries");
  const runs = blob.length === 0 ? [] : decodeRuns(records, blob, group);
  checkRuns(runs, { prevLogIndex, prevLogTerm, term });
  return {
    type: "AppendEntries",
    group,
    term,
    from,
    prevLogIndex,
    prevLogTerm,
    leaderCommit,
    round,
    runs,
  };
}

function decodeRuns(records: RecordFormat, blob: Uint8Array, group: GroupId): EntryRun[] {
  try {
    return records.decodeRuns(blob, group);
  } catch (cause) {
    const reason = cause instanceof Error ? cause.message : String(cause);
    throw new WireError("bad-records", `Cannot decode a frame: ${reason}`, { cause });
  }
}

/**
 * The entries follow prevLogIndex without a gap, in terms that never fall and are at most the
 * sender's.
 */
function checkRuns(
  runs: readonly EntryRun[],
  message: { prevLogIndex: number; prevLogTerm: Term; term: Term },
): void {
  if (message.prevLogTerm > message.term) throw badField("prevLogTerm", "at most the term");
  let nextIndex = message.prevLogIndex + 1;
  let termMin = message.prevLogTerm;
  for (const run of runs) {
    if (run.firstIndex !== nextIndex) throw badField("entries", "what follows prevLogIndex");
    if (run.term < termMin || run.term > message.term) {
      throw badField("entries", "in terms from prevLogTerm to the message's");
    }
    nextIndex += run.ends.length;
    termMin = run.term;
  }
  if (nextIndex - 1 > INTEGER_MAX) throw badField("entries", "within the largest index");
}

function decodeActor(c: BodyCursor, type: ActorWire["type"]): ActorWire {
  const from = node(c);
  switch (type) {
    case "ActorReply":
      return { type, from, callId: index(c, "callId"), payload: c.value(PAYLOAD_DEPTH) };
    case "ActorFail":
      return { type, from, callId: index(c, "callId"), error: decodeFailure(c) };
    case "ActorCall": {
      const callId = index(c, "callId");
      const to = actor(c);
      return { type, from, callId, ...to, payload: c.value(PAYLOAD_DEPTH) };
    }
    case "ActorCast": {
      const to = actor(c);
      return { type, from, ...to, payload: c.value(PAYLOAD_DEPTH) };
    }
    case "ActorWatch":
    case "ActorTerminated":
      return { type, from, ...actor(c) };
  }
}

function decodeFailure(c: BodyCursor): WireFailure {
  const name = c.string("error name", WIRE_STRING_BYTES_MAX);
  const message = c.string("error message", WIRE_STRING_BYTES_MAX);
  const fields = c.value(PAYLOAD_DEPTH);
  if (!isWireObject(fields)) throw badField("error fields", "a map");
  return { name, message, fields };
}

function actor(c: BodyCursor): { group: GroupId; name: string } {
  const group = c.uint("group", GROUP_ID_MAX);
  return { group, name: nameOf(c, "name") };
}

function nameOf(c: BodyCursor, field: string): string {
  const name = c.string(field, WIRE_NAME_LENGTH_MAX);
  if (!NAME.test(name)) throw badField(field, String(NAME));
  return name;
}

/** A name, or nothing, which travels as the empty string. */
function optionalNameOf(c: BodyCursor, field: string): string | undefined {
  const name = c.string(field, WIRE_NAME_LENGTH_MAX);
  if (name !== "" && !NAME.test(name)) throw badField(field, `${NAME} or empty`);
  return name === "" ? undefined : name;
}

function node(c: BodyCursor): NodeId {
  return c.uint("from", NODE_ID_MAX, 1);
}

function index(c: BodyCursor, field: string): number {
  return c.uint(field, INTEGER_MAX);
}
