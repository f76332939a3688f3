/**
 * Messages drawn at random, near enough to sound ones that they pass the first checks.
 *
 * @module
 */
import type { EntryRun, NodeId, RaftMessage, Term } from "../../machines/raft_types.ts";
import { encodeRun } from "../../storage/log/wal_record.ts";
import type { WireMessage, WireValue } from "../../transport/wire/messages.ts";
import type { Dice } from "../sim/random.ts";
import { randomBytes } from "./mutations.ts";

/** What the numbers of a Raft message are drawn near to. */
export interface MessageSurroundings {
  readonly from: readonly NodeId[];
  readonly terms: readonly Term[];
  readonly indexes: readonly number[];
}

const EDGE_INTEGERS = [0, 1, 2, 2 ** 31, 2 ** 32 - 1, 2 ** 32, 2 ** 48, 2 ** 53 - 1];
const ENTRIES_MAX = 4;
const PAYLOAD_BYTES_MAX = 40;
const VALUE_DEPTH_MAX = 4;

const raftTypes = [
  ...["AppendEntries", "AppendEntries", "AppendEntries", "AppendEntriesReply"],
  ...["AppendEntriesReply", "RequestVote", "RequestVoteReply", "PreVote", "PreVoteReply"],
  ...["TimeoutNow", "ReadIndex", "ReadIndexReply", "InstallSnapshot", "InstallSnapshotReply"],
] as readonly RaftMessage["type"][];

/** A Raft message of group 0, its numbers mostly from the surroundings. */
export function drawRaftMessage(dice: Dice, near: MessageSurroundings): RaftMessage {
  const index = (): number => dice.chance(0.9) ? dice.pick(near.indexes) : dice.pick(EDGE_INTEGERS);
  const term = (): Term => dice.chance(0.95) ? dice.pick(near.terms) : Math.min(2 ** 48, index());
  const header = { group: 0, term: term(), from: dice.pick(near.from) };
  const type = dice.pick(raftTypes);
  switch (type) {
    case "AppendEntries": {
      const prevLogIndex = index();
      const prevLogTerm = term();
      return {
        ...header,
        type,
        prevLogIndex,
        prevLogTerm,
        leaderCommit: index(),
        round: index(),
        runs: drawRuns(dice, { prevLogIndex, prevLogTerm, term: header.term }),
      };
    }
    case "AppendEntriesReply":
      return {
        ...header,
        type,
        accepted: dice.chance(0.5),
        matchIndex: index(),
        prevLogIndex: index(),
        conflictTerm: term(),
        conflictIndex: index(),
        round: index(),
      };
    case "RequestVote":
      return {
        ...header,
        type,
        lastLogIndex: index(),
        lastLogTerm: term(),
        transfer: dice.chance(0.3),
      };
    case "PreVote":
      return { ...header, type, lastLogIndex: index(), lastLogTerm: term() };
    case "RequestVoteReply":
    case "PreVoteReply":
      return { ...header, type, granted: dice.chance(0.6) };
    case "TimeoutNow":
      return { ...header, type };
    case "ReadIndex":
      return { ...header, type, readId: index(), isLogLost: dice.chance(0.2) };
    case "ReadIndexReply":
      return { ...header, type, readId: index(), readIndex: index() };
    case "InstallSnapshot": {
      const size = dice.below(100);
      const offset = dice.below(size + 1);
      return {
        ...header,
        type,
        snapshot: {
          index: 1 + index() % 2 ** 52,
          term: Math.min(term(), header.term),
          timeMs: index(),
          size,
          digest: dice.pick(["0", "f"]).repeat(64),
        },
        offset,
        bytes: randomBytes(dice, dice.below(size - offset + 1)),
      };
    }
    case "InstallSnapshotReply":
      return {
        ...header,
        type,
        lastIncludedIndex: index(),
        installed: dice.chance(0.3),
        offset: index(),
      };
  }
}

/** Entries that follow prevLogIndex in terms up to the message's, where that is possible. */
function drawRuns(
  dice: Dice,
  after: { readonly prevLogIndex: number; readonly prevLogTerm: Term; readonly term: Term },
): EntryRun[] {
  const runs: EntryRun[] = [];
  let firstIndex = after.prevLogIndex + 1;
  let term = Math.max(1, after.prevLogTerm);
  while (dice.chance(0.5) && runs.length < ENTRIES_MAX) {
    term += dice.below(Math.max(1, Math.min(3, after.term - term + 1)));
    const payloads = Array.from(
      { length: 1 + dice.below(ENTRIES_MAX) },
      () => randomBytes(dice, dice.below(PAYLOAD_BYTES_MAX)),
    );
    if (!Number.isSafeInteger(firstIndex + payloads.length)) break;
    const kind = dice.pick(["noop", "command", "config"] as const);
    const timeMs = dice.below(1_000);
    // Runs of one term come back from the wire as one: draw each run in a term of its own.
    if (runs.at(-1)?.term === term) term++;
    runs.push(encodeRun({ group: 0, term, firstIndex, timeMs, kind, payloads }));
    firstIndex += payloads.length;
  }
  return runs;
}

/** Any message that a connection may carry. */
export function drawWireMessage(dice: Dice): WireMessage {
  const near = { from: [1, 2, 2 ** 31], terms: [1, 2, 3, 300], indexes: [0, 1, 2, 70_000] };
  const from = dice.pick(near.from);
  const id = dice.pick(EDGE_INTEGERS);
  const to = { group: dice.below(3), name: dice.pick(["raft", "kv-0", "a"]) };
  switch (dice.below(10)) {
    case 0:
      return {
        type: "Hello",
        magic: "STCF",
        versionMin: 1,
        versionMax: 1 + dice.below(2),
        clusterId: "c-1",
        from,
        to: 1,
        incarnation: id,
        directoryId: dice.pick(["d-1", "d-2"]),
        toDirectoryId: dice.pick([undefined, "d-1"]),
        clusterVersionMax: dice.below(3),
      };
    case 1:
      return {
        type: "HelloReply",
        from,
        incarnation: id,
        refusal: dice.pick([undefined, "wrong-cluster", "unknown-node", "wrong-directory"]),
        directoryId: "d-3",
        version: dice.below(3),
        clusterVersionMax: dice.below(3),
      };
    case 2:
      return { type: dice.pick(["Ping", "Pong"]), id };
    case 3:
      return { type: "ActorCast", from, ...to, payload: drawValue(dice, 1) };
    case 4:
      return { type: "ActorCall", from, callId: id, ...to, payload: drawValue(dice, 1) };
    case 5:
      return { type: "ActorReply", from, callId: id, payload: drawValue(dice, 1) };
    case 6: {
      const error = { name: "TypeError", message: "Cannot", fields: { value: drawValue(dice, 2) } };
      return { type: "ActorFail", from, callId: id, error };
    }
    case 7:
      return { type: dice.pick(["ActorWatch", "ActorTerminated"]), from, ...to };
    default:
      return drawRaftMessage(dice, near);
  }
}

/** Any value that an actor message may carry. */
export function drawWireValue(dice: Dice): WireValue {
  return drawValue(dice, 1);
}

function drawValue(dice: Dice, depth: number): WireValue {
  const draw = dice.below(depth < VALUE_DEPTH_MAX ? 8 : 6);
  if (draw === 0) return undefined;
  if (draw === 1) return dice.chance(0.5);
  if (draw === 2) return dice.pick(EDGE_INTEGERS);
  if (draw === 3) return dice.between(-1e9, 1e9);
  if (draw === 4) return dice.pick(["", "a", "é𐍈", "x".repeat(40), "y".repeat(300)]);
  if (draw === 5) return randomBytes(dice, dice.below(300));
  const length = dice.below(5);
  if (draw === 6) return Array.from({ length }, () => drawValue(dice, depth + 1));
  return Object.fromEntries(
    Array.from({ length }, (_, at) => [`k${at}`, drawValue(dice, depth + 1)]),
  );
}
