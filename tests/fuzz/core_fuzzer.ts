/**
 * Sound and unsound messages into one core, in every role.
 *
 * @module
 */
import {
  assert,
  assertEquals,
  assertGreaterOrEqual,
  assertInstanceOf,
  assertLessOrEqual,
} from "@std/assert";
import { DEFAULT_TIMING } from "../../machines/group_state.ts";
import type { Progress } from "../../machines/progress.ts";
import type { RaftCore } from "../../machines/raft_core.ts";
import type { NodeId, RaftMessage } from "../../machines/raft_types.ts";
import { recordFormat } from "../../storage/log/wal_record.ts";
import { createCodec } from "../../transport/wire/codec.ts";
import { FRAME_HEADER_BYTES } from "../../transport/wire/limits.ts";
import { WireError } from "../../transport/wire/messages.ts";
import { SoloCore, type Turn } from "../machines/solo_core.ts";
import type { Dice } from "../sim/random.ts";
import { count, type Fuzzer, type Tally } from "./fuzzer.ts";
import { drawRaftMessage } from "./messages.ts";

const codec = createCodec(recordFormat);
const STEPS_MAX = 60;
const VOTERS = [1, 2, 3];
/** Voters, a learner, and a node that is no member. */
const SENDERS: readonly NodeId[] = [2, 2, 3, 3, 4, 9];
/** Messages that one turn may ask for, besides one for each that came in: appends to each peer. */
const MESSAGES_PER_TURN_MAX = 2 * 128 * SENDERS.length;

/**
 * What the core's invariants forbid and only a node that breaks the protocol can send: there the
 * core fails stop (machines/raft_core.ts), because going on could lose committed entries.
 */
const failStops = [
  /** A second leader of this node's own term. */
  /^Cannot take event: chart raft does not list (AppendEntries|InstallSnapshot) in /,
  /** Another entry where one is committed. */
  /^Cannot accept entries: entry \d+ of term \d+ would replace a committed one/,
];

/** Messages that pass the codec change the core within its invariants, are ignored, or fail stop. */
export const coreFuzzer: Fuzzer = { name: "core", tryOne: tryMessages };

/** What may only grow. */
interface Seen {
  term: number;
  votedFor: NodeId | undefined;
  commitIndex: number;
  matches: Map<NodeId, number>;
  /** Who said that it has lost its log. */
  readonly losses: Set<NodeId>;
}

function tryMessages(dice: Dice, tally: Tally): void {
  const terms = [[], [1], [1, 1, 2], [1, 3, 3, 3]][dice.below(4)]!;
  const solo = new SoloCore({ voters: VOTERS, learners: [4], terms, random: dice.next });
  const { core } = solo;
  const seen: Seen = {
    term: solo.term,
    votedFor: undefined,
    commitIndex: 0,
    matches: new Map(),
    losses: new Set(),
  };
  let unsynced: Turn[] = [];
  const take = (outbox: Turn): void => {
    unsynced.push(outbox);
    check(solo, outbox, seen);
  };
  if (dice.chance(0.4)) take(solo.lead());
  else if (dice.chance(0.5)) take(solo.campaign());
  for (let left = 1 + dice.below(STEPS_MAX); left > 0; left--) {
    const draw = dice.below(20);
    const { role } = core;
    const message = draw < 15 ? drawMessage(dice, core) : undefined;
    if (draw < 15 && message === undefined) continue;
    if (message?.type === "ReadIndex" && message.isLogLost) seen.losses.add(message.from);
    try {
      if (message !== undefined) take(solo.receive(message));
      else if (draw < 17) {
        for (const outbox of unsynced.splice(0)) take(solo.persist(outbox));
        // What those turns wrote is durable with the next sync.
        unsynced = unsynced.slice(-STEPS_MAX);
      } else if (draw === 17) {
        take(solo.elapse(dice.between(0, DEFAULT_TIMING.electionTimeoutMsMax)));
      } else if (draw === 18) take(solo.turn(() => core.propose([new Uint8Array(dice.below(30))])));
      else take(solo.turn(() => dice.chance(0.5) ? core.read([left]) : core.transfer(2)));
    } catch (error) {
      assertInstanceOf(error, Error);
      const reason = error.message;
      if (message === undefined || !failStops.some((known) => known.test(reason))) throw error;
      return count(tally, `fail stop: ${message.type} to a ${role}`);
    }
    count(tally, message === undefined ? "host event" : `${message.type} to a ${role}`);
  }
}

/** A message as it comes from the wire; undefined if the codec refuses it. */
function drawMessage(dice: Dice, core: RaftCore): RaftMessage | undefined {
  const { currentTerm } = core.context;
  const { log, commitIndex, lastRound, forwarded } = core.state;
  const { lastIndex, lastTerm } = log;
  const drawn = drawRaftMessage(dice, {
    from: SENDERS,
    terms: [
      ...[currentTerm, currentTerm, currentTerm, currentTerm + 1, Math.max(0, currentTerm - 1)],
      ...[lastTerm, log.termAt(commitIndex) ?? 0],
    ],
    indexes: [
      ...[0, 1, lastIndex, lastIndex, lastIndex + 1, Math.max(0, lastIndex - 1), commitIndex],
      ...[lastRound, forwarded.lastReadId],
    ],
  });
  // A second leader of this term fails the node at once, so it is drawn rarely.
  const isOfLeader = drawn.type === "AppendEntries" || drawn.type === "InstallSnapshot";
  if (isOfLeader && core.role === "leader" && dice.chance(0.95)) {
    return undefined;
  }
  try {
    return codec.decode(codec.encode(drawn).subarray(FRAME_HEADER_BYTES)) as RaftMessage;
  } catch (error) {
    assertInstanceOf(error, WireError);
    return undefined;
  }
}

function check({ core, nowMs }: SoloCore, outbox: Turn, seen: Seen): void {
  const { currentTerm, votedFor } = core.context;
  const { log, commitIndex, durableIndex, leadership, forwarded } = core.state;
  const progress = leadership?.progress ?? new Map<NodeId, Progress>();
  assertGreaterOrEqual(currentTerm, seen.term, "the term fell");
  if (currentTerm === seen.term && seen.votedFor !== undefined) {
    assertEquals(votedFor, seen.votedFor, "the vote of a term changed");
  }
  assertGreaterOrEqual(commitIndex, seen.commitIndex, "the commit index fell");
  assertLessOrEqual(commitIndex, log.lastIndex);
  assertLessOrEqual(durableIndex, log.lastIndex);
  assertLessOrEqual(log.lastTerm, currentTerm);
  assert(core.nextDeadlineMs < Infinity, "no timer is armed");
  assert(core.nextDeadlineMs >= nowMs || core.role === "leader");
  for (const { node } of outbox.cutShort) seen.losses.add(node);
  for (const [peer, { matchIndex, nextIndex, mode }] of progress) {
    assertLessOrEqual(matchIndex, log.lastIndex, `matchIndex of ${peer}`);
    assertLessOrEqual(nextIndex, log.lastIndex + 1, `nextIndex of ${peer}`);
    assert(nextIndex > matchIndex, `nextIndex of ${peer} is ${nextIndex}, match ${matchIndex}`);
    assert(mode !== "snapshot", `${peer} is sent nothing any more`);
    // It falls if the follower says, or its answers prove, that it has lost its log, and for nothing else.
    if (currentTerm === seen.term && !seen.losses.has(peer)) {
      assertGreaterOrEqual(matchIndex, seen.matches.get(peer) ?? 0, `matchIndex of ${peer} fell`);
    }
  }
  assertLessOrEqual(forwarded.batches.size, STEPS_MAX);
  const messages = [...outbox.messages, ...outbox.waiting];
  assertLessOrEqual(messages.length, MESSAGES_PER_TURN_MAX);
  for (const { message } of messages) {
    const body = codec.encode(message).subarray(FRAME_HEADER_BYTES);
    assertEquals(codec.decode(body).type, message.type);
  }
  seen.matches = new Map([...progress].map(([peer, { matchIndex }]) => [peer, matchIndex]));
  Object.assign(seen, { term: currentTerm, votedFor, commitIndex });
}
