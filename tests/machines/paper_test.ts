/**
 * The Raft paper (Fig. 2, Fig. 3, s5) and the dissertation (s3.8, s3.10, s4.2, s6.2, s6.4, s9.6,
 * s10.2), one test for each sentence, named by it.
 *
 * Sentences about lastApplied and the state machine are the machine actor's, and tested there.
 *
 * @module
 */
import { foundingConfig } from "../../machines/group_config.ts";
import { APPEND_BYTES_MAX, UNCOMMITTED_BYTES_MAX } from "../../machines/bounds.ts";
import { assert, assertEquals, assertThrows } from "@std/assert";
import { DEFAULT_TIMING } from "../../machines/group_state.ts";
import { logIsUpToDate } from "../../machines/election.ts";
import { RaftCore } from "../../machines/raft_core.ts";
import { RaftLog } from "../../machines/raft_log.ts";
import type { NodeId, RaftMessage, Term } from "../../machines/raft_types.ts";
import { TERM_JUMP_MAX, TERM_MAX } from "../../machines/raft_types.ts";

import { READS_PENDING_MAX } from "../../machines/read_queue.ts";
import {
  ENTRY_REQUEST_BYTES,
  REQUEST_BYTES_MAX,
  REQUEST_HEADER_BYTES,
  unpackRequests,
} from "../../machines/request_batch.ts";
import { forEachEntry, RECORD_HEADER_BYTES, recordFormat } from "../../storage/log/wal_record.ts";
import { CoreCluster, runsOfTerms } from "./core_cluster.ts";
import { COMMIT_NOTICE_MS } from "../../machines/bounds.ts";
import { matchesOf, messagesTo, only, SoloCore } from "./solo_core.ts";

const { electionTimeoutMsMin, electionTimeoutMsMax, heartbeatMs } = DEFAULT_TIMING;

/** One of each message, of a given term, from node 2. */
function everyMessage(solo: SoloCore, term: Term): RaftMessage[] {
  const rpc = { group: 0, term, from: 2 };
  return [
    solo.append({ term }),
    solo.reply({ term }),
    solo.requestVote({ term }),
    { ...rpc, type: "RequestVoteReply", granted: true },
    { ...rpc, type: "RequestVoteReply", granted: false },
    { ...rpc, type: "PreVote", lastLogIndex: 1_000, lastLogTerm: 1_000 },
    { ...rpc, type: "PreVoteReply", granted: true },
    { ...rpc, type: "PreVoteReply", granted: false },
    { ...rpc, type: "TimeoutNow" },
    { ...rpc, type: "ReadIndex", readId: 1, isLogLost: false },
    { ...rpc, type: "ReadIndexReply", readId: 1, readIndex: 1 },
  ];
}

/** A core in each role, in term 5, its disk up to date. */
const inEachRole: Readonly<Record<string, () => SoloCore>> = {
  follower: () => {
    const solo = new SoloCore({ terms: [1, 5] });
    solo.nowMs = 10_000;
    return solo;
  },
  preCandidate: () => {
    const solo = new SoloCore({ terms: [1, 5] });
    solo.timeout();
    return solo;
  },
  candidate: () => {
    const solo = new SoloCore({ terms: [1, 4] });
    solo.persist(solo.campaign());
    return solo;
  },
  leader: () => {
    const solo = new SoloCore({ terms: [1, 4] });
    solo.persist(solo.lead());
    return solo;
  },
};

for (const [role, make] of Object.entries(inEachRole)) {
  Deno.test(`paper: (the tests' own ${role} is one, in term 5)`, () => {
    const solo = make();
    assertEquals([solo.core.role as string, solo.term], [role, 5]);
  });
}

// Fig. 2, AppendEntries RPC, receiver implementation.

Deno.test("Fig. 2 AppendEntries 1: reply false if term < currentTerm (s5.1)", () => {
  for (const make of Object.values(inEachRole)) {
    const solo = make();
    const { role, context } = solo.core;
    const outbox = solo.receive(solo.append({ term: 4, prevLogIndex: 1, prevLogTerm: 1 }));
    const reply = only("AppendEntriesReply", outbox);
    assertEquals([reply.accepted, reply.term], [false, 5]);
    assertEquals([solo.core.role, solo.core.context], [role, context]);
  }
});

Deno.test("Fig. 2 AppendEntries 2: reply false if log does not contain an entry at prevLogIndex (s5.3)", () => {
  const solo = new SoloCore({ terms: [1, 1, 2] });
  const reply = only(
    "AppendEntriesReply",
    solo.receive(solo.append({ prevLogIndex: 7, prevLogTerm: 2, terms: [2] })),
  );
  assertEquals([reply.accepted, reply.prevLogIndex], [false, 7]);
  assertEquals([reply.conflictIndex, reply.conflictTerm], [4, 0]);
  assertEquals(solo.terms, [1, 1, 2]);
});

Deno.test("Fig. 2 AppendEntries 2: reply false if the entry's term at prevLogIndex is not prevLogTerm (s5.3)", () => {
  const solo = new SoloCore({ terms: [1, 2, 2, 2] });
  const reply = only(
    "AppendEntriesReply",
    solo.receive(solo.append({ prevLogIndex: 4, prevLogTerm: 3, term: 3, terms: [3] })),
  );
  assertEquals([reply.accepted, reply.conflictTerm, reply.conflictIndex], [false, 2, 2]);
  assertEquals(solo.terms, [1, 2, 2, 2]);
});

Deno.test("Fig. 2 AppendEntries 3: if an existing entry conflicts with a new one, delete the existing entry and all that follow it (s5.3)", () => {
  const solo = new SoloCore({ terms: [1, 2, 2, 2] });
  const outbox = solo.receive(
    solo.append({ term: 3, prevLogIndex: 1, prevLogTerm: 1, terms: [3] }),
  );
  assertEquals(solo.terms, [1, 3]);
  assertEquals(outbox.runs.map(({ firstIndex, term }) => [firstIndex, term]), [[2, 3]]);
});

Deno.test("Fig. 2 AppendEntries 4: append any new entries not already in the log", () => {
  const solo = new SoloCore({ terms: [1, 2] });
  const outbox = solo.receive(
    solo.append({ prevLogIndex: 1, prevLogTerm: 1, terms: [2, 2, 2] }),
  );
  assertEquals(solo.terms, [1, 2, 2, 2]);
  assertEquals(outbox.runs.map(({ firstIndex, ends }) => [firstIndex, ends.length]), [[3, 1], [
    4,
    1,
  ]]);
});

Deno.test("Fig. 2 AppendEntries 4: a late, shorter request takes nothing back", () => {
  const solo = new SoloCore({ terms: [1, 2, 2, 2] });
  const reply = only(
    "AppendEntriesReply",
    solo.receive(solo.append({ prevLogIndex: 1, prevLogTerm: 1, terms: [2] })),
  );
  assertEquals(solo.terms, [1, 2, 2, 2]);
  assertEquals([reply.accepted, reply.matchIndex], [true, 2]);
});

for (const [leaderCommit, expected] of [[1, 1], [2, 2], [3, 3], [9, 3]] as const) {
  Deno.test(`Fig. 2 AppendEntries 5: commitIndex = min(leaderCommit ${leaderCommit}, index of last new entry 3)`, () => {
    // Entries 4 and 5 may yet conflict with this leader's, so they must not be committed.
    const solo = new SoloCore({ terms: [1, 2, 2, 2, 2] });
    solo.receive(solo.append({ prevLogIndex: 1, prevLogTerm: 1, terms: [2, 2], leaderCommit }));
    assertEquals(solo.core.state.commitIndex, expected);
  });
}

Deno.test("Fig. 2 AppendEntries 5: a heartbeat commits no further than its prevLogIndex", () => {
  const solo = new SoloCore({ terms: [1, 2, 2] });
  solo.receive(solo.append({ prevLogIndex: 2, prevLogTerm: 2, leaderCommit: 3 }));
  assertEquals(solo.core.state.commitIndex, 2);
});

Deno.test("Fig. 2: commitIndex increases monotonically, whatever a late leaderCommit says", () => {
  const solo = new SoloCore({ terms: [1, 2, 2] });
  solo.receive(solo.append({ prevLogIndex: 3, prevLogTerm: 2, leaderCommit: 3 }));
  solo.receive(solo.append({ prevLogIndex: 3, prevLogTerm: 2, leaderCommit: 1 }));
  assertEquals(solo.core.state.commitIndex, 3);
});

Deno.test("Fig. 3 State Machine Safety: an entry that would replace a committed one stops the node", () => {
  const solo = new SoloCore({ terms: [1, 2, 2] });
  solo.receive(solo.append({ prevLogIndex: 3, prevLogTerm: 2, leaderCommit: 3 }));
  assertThrows(
    () => solo.receive(solo.append({ term: 3, prevLogIndex: 1, prevLogTerm: 1, terms: [3] })),
    Error,
    "would replace a committed one",
  );
});

// Fig. 2, RequestVote RPC, receiver implementation.

Deno.test("Fig. 2 RequestVote 1: reply false if term < currentTerm (s5.1)", () => {
  for (const make of Object.values(inEachRole)) {
    const solo = make();
    const { context } = solo.core;
    const reply = only("RequestVoteReply", solo.receive(solo.requestVote({ term: 4 })));
    assertEquals([reply.granted, reply.term], [false, 5]);
    assertEquals(solo.core.context, context);
  }
});

for (
  const [votedFor, granted] of [[undefined, true], [2, true], [3, false], [1, false]] as const
) {
  Deno.test(`Fig. 2 RequestVote 2: if votedFor is null or candidateId, grant vote: votedFor ${votedFor}, candidate 2`, () => {
    const solo = new SoloCore({
      currentTerm: 5,
      ...(votedFor === undefined ? {} : { votedFor }),
    });
    solo.nowMs = 10_000;
    const reply = only("RequestVoteReply", solo.receive(solo.requestVote({ term: 5 })));
    assertEquals(reply.granted, granted);
    assertEquals(solo.core.context.votedFor, granted ? 2 : votedFor);
  });
}

Deno.test("s5.4.1: the later last term is more up-to-date; of the same term, the longer log", () => {
  // Candidate's last term and index, voter's last term and index, whether the vote is granted.
  const table: readonly (readonly [number, number, number, number, boolean])[] = [
    [2, 1, 1, 1, true],
    [2, 1, 1, 9, true],
    [1, 9, 2, 1, false],
    [2, 3, 2, 2, true],
    [2, 2, 2, 2, true],
    [2, 1, 2, 2, false],
    [0, 0, 0, 0, true],
    [0, 0, 1, 1, false],
  ];
  for (const [lastLogTerm, lastLogIndex, lastTerm, lastIndex, expected] of table) {
    assertEquals(
      logIsUpToDate({ lastLogTerm, lastLogIndex }, { lastTerm, lastIndex }),
      expected,
      `${lastLogTerm},${lastLogIndex} for ${lastTerm},${lastIndex}`,
    );
  }
});

Deno.test("s5.4.1: the voter denies its vote if its own log is more up-to-date than the candidate's", () => {
  const solo = new SoloCore({ terms: [1, 2, 2] });
  solo.nowMs = 10_000;
  const request = solo.requestVote({ term: 7, lastLogTerm: 2, lastLogIndex: 2 });
  const outbox = solo.receive(request);
  assertEquals(only("RequestVoteReply", outbox).granted, false);
  // The term is a fact all the same, and the vote is still to be had.
  assertEquals(outbox.hardState, { currentTerm: 7, votedFor: undefined });
});

Deno.test("s5.2: each server will vote for at most one candidate in a given term, on a first-come-first-served basis", () => {
  const solo = new SoloCore({ terms: [1] });
  solo.nowMs = 10_000;
  const first = solo.receive(solo.requestVote({ from: 3, term: 2 }));
  const second = solo.receive(solo.requestVote({ from: 2, term: 2 }));
  const again = solo.receive(solo.requestVote({ from: 3, term: 2 }));
  assertEquals(
    [first, second, again].map((outbox) => only("RequestVoteReply", outbox).granted),
    [true, false, true],
  );
  assertEquals(solo.core.context.votedFor, 3);
});

// Fig. 2, rules for all servers.

for (const role of Object.keys(inEachRole)) {
  Deno.test(`Fig. 2 All Servers: if a message contains term T > currentTerm, set currentTerm = T, convert to follower (${role})`, () => {
    const fresh = inEachRole[role]!();
    fresh.nowMs += 10 * electionTimeoutMsMax;
    for (const [at, message] of everyMessage(fresh, 9).entries()) {
      // Stickiness (thesis s4.2.3) and pre-votes (thesis s9.6) are the exceptions, tested below.
      const isException = message.type === "PreVote" ||
        (message.type === "PreVoteReply" && message.granted) ||
        (message.type === "RequestVote" && role === "leader");
      if (isException) continue;
      const solo = inEachRole[role]!();
      solo.nowMs += 10 * electionTimeoutMsMax;
      const outbox = solo.receive(everyMessage(solo, 9)[at]!);
      const isTimeoutNow = message.type === "TimeoutNow";
      assertEquals(solo.core.role, isTimeoutNow ? "candidate" : "follower", message.type);
      assertEquals(solo.term, isTimeoutNow ? 10 : 9, message.type);
      assertEquals(outbox.hardState?.currentTerm, solo.term, `${message.type} is written`);
    }
  });
}

Deno.test("s5.1: current terms are exchanged whenever servers communicate", () => {
  for (const make of Object.values(inEachRole)) {
    const solo = make();
    for (const message of everyMessage(solo, solo.term)) {
      if (message.type === "AppendEntries" && solo.core.role === "leader") continue;
      const outbox = solo.receive(message);
      for (const envelope of [...outbox.messages, ...outbox.waiting]) {
        const { type, term } = envelope.message;
        assert(term >= 5, `${type} of term ${term}`);
      }
    }
  }
});

Deno.test("s5.1: a message of an earlier term changes nothing, whatever it is", () => {
  for (const [role, make] of Object.entries(inEachRole)) {
    for (const message of everyMessage(make(), 4)) {
      const solo = make();
      const { context } = solo.core;
      const { terms } = solo;
      const matches = matchesOf(solo.core);
      solo.receive(message);
      const text = `${message.type} at a ${role}`;
      assertEquals(solo.core.context, context, text);
      assertEquals(solo.core.role as string, role, text);
      assertEquals(solo.terms, terms, text);
      assertEquals(matchesOf(solo.core), matches, text);
    }
  }
});

Deno.test("s5.5: Raft RPCs are idempotent: a duplicate of any message causes no harm", () => {
  for (const [role, make] of Object.entries(inEachRole)) {
    const count = everyMessage(make(), 5).length;
    for (let at = 0; at < count; at++) {
      const solo = make();
      const message = everyMessage(solo, 5)[at]!;
      if (role === "leader" && message.type === "AppendEntries") continue;
      solo.receive(message);
      const { context } = solo.core;
      const { terms } = solo;
      const matches = matchesOf(solo.core);
      // A second TimeoutNow finds a candidate, which is what the first one wanted.
      solo.receive({ ...message, term: message.term });
      const text = `${message.type} at a ${role}`;
      assertEquals(solo.core.context, context, text);
      assertEquals(solo.terms, terms, text);
      assertEquals(matchesOf(solo.core), matches, text);
    }
  }
});

// Fig. 2, followers.

Deno.test("s5.2: when servers start up, they begin as followers", () => {
  const solo = new SoloCore({ currentTerm: 5, votedFor: 1 });
  assertEquals(solo.core.role, "follower");
  assertEquals(solo.core.context.leaderId, undefined);
  assertEquals(solo.core.state.commitIndex, 0);
});

Deno.test("Fig. 2 Followers: respond to RPCs from candidates and leaders", () => {
  const solo = inEachRole["follower"]!();
  assertEquals(messagesTo(solo.receive(solo.append()), 2).length, 1);
  solo.nowMs += 10 * electionTimeoutMsMax;
  assertEquals(messagesTo(solo.receive(solo.requestVote()), 2).length, 1);
});

Deno.test("Fig. 2 Followers: if election timeout elapses without hearing from a leader or granting a vote, seek election", () => {
  const solo = new SoloCore({ terms: [1] });
  const deadlineMs = solo.core.state.electionDeadlineMs!;
  solo.elapse(deadlineMs - 1);
  assertEquals(solo.core.role, "follower");
  solo.elapse(1);
  assertEquals(solo.core.role, "preCandidate");
});

for (
  const [what, restarts, message] of [
    ["AppendEntries from the current leader", true, (solo: SoloCore) => solo.append()],
    [
      "AppendEntries that are refused for their prevLogIndex",
      true,
      (solo: SoloCore) => solo.append({ prevLogIndex: 99 }),
    ],
    ["a vote that is granted", true, (solo: SoloCore) => solo.requestVote()],
    [
      "a vote that is refused",
      false,
      (solo: SoloCore) => solo.requestVote({ lastLogIndex: 0, lastLogTerm: 0 }),
    ],
    [
      "AppendEntries of a former leader",
      false,
      (solo: SoloCore) => solo.append({ term: solo.term - 1 }),
    ],
    ["a pre-vote", false, (solo: SoloCore) => ({
      type: "PreVote" as const,
      group: 0,
      term: solo.term + 1,
      from: 2,
      lastLogIndex: 1_000,
      lastLogTerm: 1_000,
    })],
  ] as const
) {
  Deno.test(`Fig. 2 Followers: the election timer ${restarts ? "restarts" : "goes on"} on ${what}`, () => {
    const solo = new SoloCore({ terms: [1, 5] });
    solo.nowMs = electionTimeoutMsMin + 1;
    const before = solo.core.state.electionDeadlineMs!;
    solo.receive(message(solo));
    const after = solo.core.state.electionDeadlineMs!;
    assertEquals(after > before, restarts);
  });
}

Deno.test("s5.2: election timeouts are chosen randomly from a fixed interval, anew each time", () => {
  const draws = [0, 0.25, 0.999999, 0.5];
  let drawn = 0;
  const solo = new SoloCore({ terms: [1], random: () => draws[drawn++ % draws.length]! });
  const timeouts: number[] = [];
  for (let nth = 0; nth < 40; nth++) {
    solo.nowMs += 10;
    solo.receive(solo.append());
    timeouts.push(solo.core.state.electionDeadlineMs! - solo.nowMs);
  }
  for (const timeout of timeouts) {
    assert(timeout >= electionTimeoutMsMin && timeout < electionTimeoutMsMax, `${timeout}`);
  }
  assertEquals(new Set(timeouts.map(Math.floor)).size, draws.length);
});

// Fig. 2, candidates.

Deno.test("Fig. 2 Candidates: on conversion, increment currentTerm, vote for self, reset election timer, send RequestVote to all other servers", () => {
  const solo = new SoloCore({ terms: [1, 4, 4] });
  const outbox = solo.campaign();
  assertEquals(solo.core.role, "candidate");
  assertEquals(outbox.hardState, { currentTerm: 5, votedFor: 1 });
  const { electionDeadlineMs } = solo.core.state;
  assertEquals(electionDeadlineMs, solo.nowMs + (electionTimeoutMsMin + electionTimeoutMsMax) / 2);
  const request: RaftMessage = {
    type: "RequestVote",
    group: 0,
    term: 5,
    from: 1,
    lastLogIndex: 3,
    lastLogTerm: 4,
    transfer: false,
  };
  assertEquals(
    outbox.waiting.filter(({ message }) => message.type === "RequestVote"),
    [{ to: 2, message: request }, { to: 3, message: request }],
  );
});

for (const [count, needed] of [[2, 1], [3, 1], [4, 2], [5, 2], [7, 3]] as const) {
  Deno.test(`Fig. 2 Candidates: if votes received from a majority of ${count} servers, become leader`, () => {
    const voters = Array.from({ length: count }, (_, at) => at + 1);
    const solo = new SoloCore({ voters });
    const campaign = solo.campaign();
    solo.persist(campaign);
    for (let votes = 0; votes < needed; votes++) {
      assertEquals(solo.core.role, "candidate", `${votes} votes of others`);
      solo.receive(solo.vote({ from: votes + 2 }));
    }
    assertEquals(solo.core.role, "leader");
  });
}

Deno.test("Fig. 2 Candidates: the only voter becomes leader by its own vote, once that is durable", () => {
  const solo = new SoloCore({ voters: [1] });
  const campaign = solo.timeout();
  assertEquals(solo.core.role, "candidate");
  solo.persist(campaign);
  assertEquals(solo.core.role, "leader");
});

Deno.test("Fig. 2 Candidates: a vote counts once, a refusal and a learner's vote not at all", () => {
  const solo = new SoloCore({ voters: [1, 2, 3, 4, 5], learners: [6] });
  solo.persist(solo.campaign());
  solo.receive(solo.vote({ from: 2 }), solo.vote({ from: 2 }));
  solo.receive(solo.vote({ from: 3, granted: false }));
  solo.receive(solo.vote({ from: 6 }), solo.vote({ from: 77 }));
  assertEquals(solo.core.role, "candidate");
  solo.receive(solo.vote({ from: 4 }));
  assertEquals(solo.core.role, "leader");
});

Deno.test("Fig. 2 Candidates: a candidate's vote for itself does not count before it is durable", () => {
  const solo = new SoloCore();
  const campaign = solo.campaign();
  solo.receive(solo.vote({ from: 2 }));
  assertEquals(solo.core.role, "candidate");
  solo.persist(campaign);
  assertEquals(solo.core.role, "leader");
});

for (const role of ["preCandidate", "candidate"] as const) {
  Deno.test(`Fig. 2 Candidates: if AppendEntries received from new leader, convert to follower (${role})`, () => {
    const solo = inEachRole[role]!();
    const outbox = solo.receive(solo.append({ prevLogIndex: 1, prevLogTerm: 1 }));
    assertEquals(solo.core.role, "follower");
    assertEquals(solo.core.context.leaderId, 2);
    assertEquals(only("AppendEntriesReply", outbox).accepted, true);
  });
}

Deno.test("s5.2: if the term in the RPC is smaller, the candidate rejects it and continues in candidate state", () => {
  const solo = inEachRole["candidate"]!();
  const reply = only("AppendEntriesReply", solo.receive(solo.append({ term: 4 })));
  assertEquals([reply.accepted, reply.term, solo.core.role], [false, 5, "candidate"]);
});

Deno.test("Fig. 2 Candidates: if election timeout elapses, start new election", () => {
  const solo = inEachRole["candidate"]!();
  solo.timeout();
  assertEquals([solo.core.role, solo.term], ["preCandidate", 5]);
  const next = { type: "PreVoteReply", group: 0, term: 6, from: 2, granted: true } as const;
  const outbox = solo.receive(next);
  assertEquals([solo.core.role, solo.term], ["candidate", 6]);
  assertEquals(outbox.hardState, { currentTerm: 6, votedFor: 1 });
});

Deno.test("s5.2: votes of an earlier election do not count in a later one", () => {
  const solo = new SoloCore({ voters: [1, 2, 3, 4, 5] });
  solo.persist(solo.campaign());
  const early = solo.vote({ from: 2 });
  solo.receive(early);
  solo.persist(solo.campaign());
  solo.receive(early, solo.vote({ from: 3 }));
  assertEquals(solo.core.role, "candidate");
  assertEquals(solo.core.context.votesGranted, [1, 3]);
});

// Fig. 2, leaders.

Deno.test("Fig. 2 Leaders: upon election, nextIndex is last log index + 1 and matchIndex 0", () => {
  const solo = new SoloCore({ terms: [1, 4, 4], learners: [7] });
  solo.lead();
  const views = [...solo.core.state.lead.progress].map(([id, { nextIndex, matchIndex }]) => [
    id,
    nextIndex,
    matchIndex,
  ]);
  assertEquals(views, [[2, 4, 0], [3, 4, 0], [7, 4, 0]]);
});

Deno.test("Fig. 2 Leaders: upon election, send AppendEntries to each server at once", () => {
  const solo = new SoloCore({ terms: [1, 4, 4], learners: [7] });
  const outbox = solo.lead();
  const appends = outbox.messages.map(({ to, message }) => {
    assert(message.type === "AppendEntries");
    return [to, message.term, message.prevLogIndex, message.prevLogTerm];
  });
  assertEquals(appends, [[2, 5, 3, 4], [3, 5, 3, 4], [7, 5, 3, 4]]);
});

Deno.test("Fig. 2 Leaders: repeat during idle periods to prevent election timeouts", () => {
  const solo = inEachRole["leader"]!();
  for (let beat = 0; beat < 5; beat++) {
    const outbox = solo.elapse(heartbeatMs);
    assertEquals(outbox.messages.map(({ to }) => to), [2, 3], `beat ${beat}`);
  }
  assertEquals(solo.elapse(heartbeatMs / 2).messages, []);
});

Deno.test("s5.3: a leader keeps track of the highest index committed, and tells it in future AppendEntries: soon, if there is nothing else to send", () => {
  const solo = new SoloCore();
  solo.persist(solo.lead());
  // Both followers have entry 1, of the election; the leader commits it.
  for (const from of [2, 3]) solo.receive(solo.reply({ from, matchIndex: 1, prevLogIndex: 1 }));
  assertEquals(solo.core.state.commitIndex, 1);
  assertEquals(solo.elapse(COMMIT_NOTICE_MS / 2).messages, []);
  const told = solo.elapse(COMMIT_NOTICE_MS / 2).messages.map(({ to, message }) => {
    assert(message.type === "AppendEntries");
    return [to, message.leaderCommit, message.runs.length];
  });
  assertEquals(told, [[2, 1, 0], [3, 1, 0]]);
  assertEquals(solo.elapse(COMMIT_NOTICE_MS).messages, []);

  // What is sent meanwhile says it as well. A follower that lacks the entry has no use for it yet.
  solo.persist(solo.turn((core) => core.propose([new Uint8Array(1)])));
  solo.receive(solo.reply({ from: 2, matchIndex: 2, prevLogIndex: 2 }));
  assertEquals(solo.core.state.commitIndex, 2);
  solo.turn((core) => core.propose([new Uint8Array(1)]));
  assertEquals(solo.elapse(COMMIT_NOTICE_MS).messages, []);
  // It is no heartbeat: those keep their pace.
  const { leadership } = solo.core.state;
  assert(leadership!.heartbeatDeadlineMs <= solo.nowMs + heartbeatMs - 2 * COMMIT_NOTICE_MS);
});

Deno.test("s8: a leader commits a blank no-op entry at the start of its term", () => {
  const solo = new SoloCore({ terms: [1, 4] });
  const outbox = solo.lead();
  assertEquals(solo.terms, [1, 4, 5]);
  assertEquals(outbox.runs.map(({ term, firstIndex }) => [term, firstIndex]), [[5, 3]]);
  solo.receive(solo.reply({ matchIndex: 3 }), solo.reply({ from: 3, matchIndex: 3 }));
  assertEquals(solo.core.state.commitIndex, 3);
});

Deno.test("Fig. 2 Leaders: if command received from client, append entry to local log", () => {
  const solo = inEachRole["leader"]!();
  const requests = [new Uint8Array([1]), new Uint8Array(ENTRY_REQUEST_BYTES)];
  const outbox = solo.turn((core) => {
    const taken = { accepted: true, term: 5, firstIndex: 4, counts: [1, 1] } as const;
    assertEquals(core.propose(requests), taken);
  });
  assertEquals(solo.terms, [1, 4, 5, 5, 5]);
  assertEquals(outbox.runs.length, 1);
});

Deno.test("a leader's turn makes one entry of many requests, in their order", () => {
  const solo = inEachRole["leader"]!();
  const requests = Array.from({ length: 100 }, (_, at) => new Uint8Array([at]));
  const outbox = solo.turn((core) => {
    const taken = { accepted: true, term: 5, firstIndex: 4, counts: [100] } as const;
    assertEquals(core.propose(requests), taken);
  });
  assertEquals(outbox.runs.map(({ ends }) => ends.length), [1]);
  forEachEntry(outbox.runs[0]!, (index, _timeMs, kind, payload) => {
    assertEquals([index, kind, unpackRequests(payload)], [4, "command", requests]);
  });
});

Deno.test("X10: a burst of large requests is taken up to the bound on uncommitted bytes, the rest refused", () => {
  const solo = inEachRole["leader"]!();
  const requests = Array.from({ length: 200 }, () => new Uint8Array(1024 * 1024));
  solo.turn((core) => {
    const outcome = core.propose(requests);
    assert(outcome.accepted);
    assertEquals(outcome.counts.length, UNCOMMITTED_BYTES_MAX / 1024 / 1024);
  });
  solo.turn((core) => {
    const refused = { accepted: false, reason: "overloaded" } as const;
    assertEquals(core.propose(requests), refused);
  });
});

for (const role of ["follower", "preCandidate", "candidate"] as const) {
  Deno.test(`s5.3: only a leader takes commands; a ${role} refuses them and appends nothing`, () => {
    const solo = inEachRole[role]!();
    const { terms } = solo;
    solo.turn((core) => {
      const outcome = core.propose([new Uint8Array([1])]);
      assertEquals(outcome, { accepted: false, reason: "not-leader" });
    });
    assertEquals(solo.terms, terms);
  });
}

Deno.test("Fig. 2 Leaders: if last log index >= nextIndex, send AppendEntries with log entries starting at nextIndex", () => {
  const solo = inEachRole["leader"]!();
  solo.receive(solo.reply({ matchIndex: 3, prevLogIndex: 2 }));
  const outbox = solo.turn((core) => core.propose([new Uint8Array([1])]));
  const append = only(
    "AppendEntries",
    outbox.messages.filter(({ to }) => to === 2),
  );
  assertEquals([append.prevLogIndex, append.prevLogTerm], [3, 5]);
  assertEquals(append.runs.map(({ firstIndex, ends }) => [firstIndex, ends.length]), [[4, 1]]);
});

Deno.test("Fig. 2 Leaders: if successful, update nextIndex and matchIndex for follower", () => {
  const solo = inEachRole["leader"]!();
  solo.receive(solo.reply({ matchIndex: 3, prevLogIndex: 2 }));
  const { nextIndex, matchIndex } = solo.core.state.lead.progress.get(2)!;
  assertEquals([nextIndex, matchIndex], [4, 3]);
});

Deno.test("Fig. 2 Leaders: if AppendEntries fails because of log inconsistency, decrement nextIndex and retry", () => {
  const solo = inEachRole["leader"]!();
  const outbox = solo.receive(
    solo.reply({ accepted: false, prevLogIndex: 2, conflictIndex: 1, conflictTerm: 0 }),
  );
  const append = only("AppendEntries", outbox.messages.filter(({ to }) => to === 2));
  assertEquals(append.prevLogIndex, 0);
  assertEquals(append.runs.map(({ term }) => term), [1, 4, 5]);
});

Deno.test("Fig. 2: matchIndex never moves back, whatever late, old or duplicate replies say", () => {
  const solo = inEachRole["leader"]!();
  solo.receive(solo.reply({ matchIndex: 3, prevLogIndex: 2 }));
  for (
    const late of [
      solo.reply({ matchIndex: 1, prevLogIndex: 1 }),
      solo.reply({ matchIndex: 0 }),
      solo.reply({ accepted: false, prevLogIndex: 2, conflictIndex: 1 }),
      solo.reply({ accepted: false, prevLogIndex: 3, conflictIndex: 1 }),
      solo.reply({ accepted: false, prevLogIndex: 9, conflictIndex: 1 }),
      solo.reply({ term: 4, matchIndex: 1 }),
      solo.reply({ matchIndex: 3, prevLogIndex: 2 }),
    ]
  ) {
    solo.receive(late);
    const { matchIndex, nextIndex } = solo.core.state.lead.progress.get(2)!;
    assertEquals(matchIndex, 3);
    assert(nextIndex > 3);
  }
});

Deno.test("Fig. 2: a match beyond the leader's own log is not believed", () => {
  const solo = inEachRole["leader"]!();
  solo.receive(solo.reply({ matchIndex: 99 }));
  assertEquals(matchesOf(solo.core)[2], 3);
});

Deno.test("Fig. 2 Leaders: a reply of a node that is no member is ignored", () => {
  const solo = inEachRole["leader"]!();
  solo.receive(solo.reply({ from: 9, matchIndex: 3 }));
  assertEquals(matchesOf(solo.core), { 2: 0, 3: 0 });
});

Deno.test("Fig. 2 Leaders: if a majority of matchIndex[i] >= N and log[N].term == currentTerm, set commitIndex = N", () => {
  const solo = new SoloCore({ voters: [1, 2, 3, 4, 5] });
  solo.persist(solo.lead());
  const proposed = solo.turn((core) => {
    for (const byte of [1, 2, 3]) core.propose([new Uint8Array([byte])]);
  });
  solo.persist(proposed);
  assertEquals(solo.core.state.commitIndex, 0);
  solo.receive(solo.reply({ from: 2, matchIndex: 4 }));
  assertEquals(solo.core.state.commitIndex, 0);
  solo.receive(solo.reply({ from: 3, matchIndex: 2 }));
  assertEquals(solo.core.state.commitIndex, 2);
  solo.receive(solo.reply({ from: 4, matchIndex: 3 }));
  assertEquals(solo.core.state.commitIndex, 3);
});

Deno.test("s5.4.2: Raft never commits log entries from previous terms by counting replicas", () => {
  const solo = new SoloCore({ terms: [1, 4] });
  solo.persist(solo.lead());
  // Entry 2 of term 4 is now on all nodes, the no-op of term 5 on none but this one.
  solo.receive(solo.reply({ from: 2, matchIndex: 2 }), solo.reply({ from: 3, matchIndex: 2 }));
  assertEquals(solo.core.state.commitIndex, 0);
  // "Once an entry from the current term has been committed in this way, then all prior entries are".
  solo.receive(solo.reply({ from: 3, matchIndex: 3 }));
  assertEquals(solo.core.state.commitIndex, 3);
});

Deno.test("s5.3: the leader includes the highest index it knows to be committed in future AppendEntries, so that the others find out", () => {
  const cluster = new CoreCluster({ voters: [1, 2, 3] });
  cluster.elect(1);
  cluster.propose(1, "a");
  cluster.settle();
  cluster.elapse(2 * heartbeatMs);
  for (const id of [1, 2, 3]) assertEquals(cluster.committedTexts(id), ["a"]);
});

Deno.test("s5.3: if followers crash or run slowly, the leader retries indefinitely until all followers store all entries", () => {
  const cluster = new CoreCluster({ voters: [1, 2, 3] });
  cluster.elect(1);
  cluster.crash(3);
  for (const text of ["a", "b", "c"]) cluster.propose(1, text);
  cluster.elapse(3 * electionTimeoutMsMax);
  cluster.restart(3);
  cluster.elapse(2 * electionTimeoutMsMax);
  assertEquals(cluster.leader, 1);
  assertEquals(cluster.committedTexts(3), ["a", "b", "c"]);
});

Deno.test("s5.3: entries that were lost on the way are sent again at the next heartbeat", () => {
  const cluster = new CoreCluster({ voters: [1, 2, 3] });
  cluster.elect(1);
  cluster.isLost = ({ to }) => to === 2;
  cluster.propose(1, "a");
  cluster.propose(1, "b");
  cluster.settle();
  cluster.heal();
  cluster.elapse(2 * heartbeatMs);
  assertEquals(cluster.termsOf(2), cluster.termsOf(1));
});

Deno.test("s5.3, s10.2.1: a minority of slow followers need not impact overall system performance", () => {
  const cluster = new CoreCluster({ voters: [1, 2, 3] });
  cluster.elect(1);
  cluster.node(3).holdSync = true;
  cluster.propose(1, "a");
  cluster.settle();
  assertEquals(cluster.committedTexts(1), ["a"]);
});

// Fast backtracking (s5.3, last paragraphs).

/** The number of refusals until node 1 as leader has found where node 2's log matches its own. */
function refusalsUntilMatch(own: readonly Term[], other: readonly Term[]): number {
  const term = Math.max(...own, ...other) + 1;
  const hardState = { currentTerm: term - 1, votedFor: undefined };
  const cluster = new CoreCluster({
    voters: [1, 2, 3],
    logs: { 1: own, 2: other, 3: own },
    hardStates: { 1: hardState, 2: hardState, 3: hardState },
  });
  // Node 2 may have the longer log: the vote of 3 is enough.
  cluster.nowMs += electionTimeoutMsMax;
  cluster.timeout(1);
  cluster.settle();
  assertEquals(cluster.core(1).role, "leader");
  assertEquals(cluster.termsOf(2), cluster.termsOf(1));
  return cluster.transcript.filter((line) => line.includes("refused at")).length;
}

for (
  const [what, own, other, refusals] of [
    ["equal logs", [1, 1, 2], [1, 1, 2], 0],
    ["a follower that lacks entries", [1, 1, 2, 2, 2], [1, 1], 1],
    ["a follower with an empty log", [1, 2, 3], [], 1],
    ["one conflicting term, however long", [1, 4, 4, 4, 4], [1, 2, 2, 2, 2], 1],
    [
      "a conflicting term that the leader has, too",
      [1, 1, 1, 4, 4, 4],
      [1, 1, 1, 1, 1, 1],
      1,
    ],
    ["two conflicting terms", [1, 5, 5, 5, 5, 5], [1, 2, 2, 3, 3, 3], 2],
    ["three conflicting terms", [1, 6, 6, 6, 6, 6, 6], [1, 2, 2, 3, 3, 4, 4], 3],
    ["nothing in common", [5, 5, 5], [1, 2, 3], 3],
  ] as const
) {
  Deno.test(`s5.3: one AppendEntries RPC is required for each term with conflicting entries, not one per entry: ${what}`, () => {
    assertEquals(refusalsUntilMatch(own, other), refusals);
  });
}

// Fig. 3.

Deno.test("Fig. 3 Election Safety: of two candidates in a term, at most one is elected", () => {
  const cluster = new CoreCluster({ voters: [1, 2, 3, 4, 5] });
  cluster.nowMs += electionTimeoutMsMax;
  cluster.timeout(1);
  cluster.timeout(2);
  cluster.settle();
  const leaders = [1, 2].filter((id) => cluster.core(id).role === "leader");
  assert(leaders.length <= 1);
  assertEquals(cluster.core(1).context.currentTerm, cluster.core(2).context.currentTerm);
});

Deno.test("Fig. 3 Leader Append-Only: a leader never overwrites or deletes entries in its log", () => {
  const cluster = new CoreCluster({
    voters: [1, 2, 3],
    logs: { 1: [1, 1, 4], 2: [1, 1, 2, 2, 2], 3: [1] },
  });
  cluster.elect(1);
  cluster.propose(1, "a");
  cluster.settle();
  assertEquals(cluster.termsOf(1), [1, 1, 4, 5, 5]);
});

Deno.test("Fig. 3 Log Matching: after AppendEntries returns successfully, the follower's log is identical to the leader's", () => {
  const cluster = new CoreCluster({
    voters: [1, 2, 3],
    logs: { 1: [1, 1, 4], 2: [1, 1, 2, 2, 2], 3: [1] },
  });
  cluster.elect(1);
  for (const id of [2, 3]) assertEquals(cluster.termsOf(id), cluster.termsOf(1));
});

Deno.test("Fig. 3 Leader Completeness: who lacks a committed entry cannot win an election", () => {
  const cluster = new CoreCluster({ voters: [1, 2, 3] });
  cluster.elect(1);
  cluster.crash(3);
  cluster.propose(1, "a");
  cluster.settle();
  cluster.crash(1);
  cluster.restart(3);
  cluster.nowMs += 10 * electionTimeoutMsMax;
  cluster.timeout(3);
  cluster.settle();
  assert(cluster.core(3).role !== "leader");
  cluster.elect(2);
  cluster.elapse(2 * heartbeatMs);
  assertEquals(cluster.committedTexts(3), ["a"]);
});

// Persistence (s5, thesis s3.8): on stable storage before responding to RPCs.

Deno.test("Fig. 2: persistent state is updated on stable storage before responding: a vote leaves only after the sync", () => {
  const solo = new SoloCore({ terms: [1] });
  solo.nowMs = 10_000;
  const outbox = solo.receive(solo.requestVote({ term: 7 }));
  assertEquals(outbox.hardState, { currentTerm: 7, votedFor: 2 });
  assertEquals(outbox.messages, []);
  assertEquals(outbox.waiting.map(({ to }) => to), [2]);
});

Deno.test("thesis s3.8: a candidate asks for votes only after its own vote is durable", () => {
  const solo = new SoloCore({ terms: [1] });
  const outbox = solo.campaign();
  assertEquals(outbox.messages, []);
  assertEquals(outbox.waiting.map(({ to, message }) => [to, message.type]), [
    [2, "RequestVote"],
    [3, "RequestVote"],
  ]);
  assertEquals(solo.core.context.votesGranted, []);
  const asked = solo.persist(outbox);
  assertEquals(solo.core.context.votesGranted, [1]);
  assertEquals(asked.messages.map(({ to, message }) => [to, message.type]), [
    [2, "RequestVote"],
    [3, "RequestVote"],
  ]);
});

Deno.test("s5.2: a vote for itself of an earlier election, durable late, elects nobody", () => {
  const solo = new SoloCore({ terms: [1] });
  solo.campaign();
  const term = solo.term;
  solo.timeout();
  solo.receive(
    ...[2, 3].map((
      from,
    ) => ({ ...solo.vote({ from }), type: "PreVoteReply", term: term + 1 } as RaftMessage)),
  );
  assertEquals([solo.core.role, solo.term], ["candidate", term + 1]);
  solo.turn((core) => core.durable());
  assertEquals(solo.core.context.votesGranted, []);
  solo.turn((core) => core.durable());
  assertEquals(solo.core.context.votesGranted, [1]);
});

Deno.test("Fig. 2: a follower says that it has entries only after they are durable", () => {
  const solo = new SoloCore({ terms: [1] });
  const outbox = solo.receive(solo.append({ prevLogIndex: 1, prevLogTerm: 1, terms: [1, 1] }));
  assertEquals(outbox.messages, []);
  assertEquals(only("AppendEntriesReply", outbox.waiting).matchIndex, 3);
});

Deno.test("Fig. 2: entries that are already durable are acknowledged at once", () => {
  const solo = new SoloCore({ terms: [1, 1, 1] });
  const outbox = solo.receive(solo.append({ prevLogIndex: 1, prevLogTerm: 1, terms: [1, 1] }));
  assertEquals(only("AppendEntriesReply", outbox.messages).matchIndex, 3);
  assertEquals(outbox.runs, []);
});

Deno.test("thesis s10.2.1: heartbeats are answered without waiting for the disk, but claim only what is durable", () => {
  const solo = new SoloCore({ terms: [1] });
  solo.receive(solo.append({ prevLogIndex: 1, prevLogTerm: 1, terms: [1, 1] }));
  const outbox = solo.receive(solo.append({ prevLogIndex: 3, prevLogTerm: 1 }));
  const reply = only("AppendEntriesReply", outbox.messages);
  assertEquals([reply.accepted, reply.matchIndex], [true, 1]);
});

Deno.test("Fig. 2: while term and vote are not durable, every answer that relies on them waits", () => {
  const solo = new SoloCore({ terms: [1] });
  solo.nowMs = 10_000;
  const append = solo.append({ term: 2, prevLogIndex: 1, prevLogTerm: 1 });
  const first = solo.receive(append);
  assertEquals([first.messages.length, first.waiting.length], [0, 1]);
  const refused = solo.receive(solo.append({ prevLogIndex: 9, prevLogTerm: 1 }));
  assertEquals([refused.messages.length, refused.waiting.length], [0, 1]);
  solo.persist(first);
  const later = solo.receive(append);
  assertEquals([later.messages.length, later.waiting.length], [1, 0]);
});

Deno.test("Fig. 2: an earlier hard state that becomes durable does not vouch for a later one of the same turn", () => {
  const solo = new SoloCore({ terms: [1] });
  solo.receive(solo.append({ term: 2, prevLogIndex: 1, prevLogTerm: 1 }));
  const append = solo.append({ from: 3, term: 3, prevLogIndex: 1, prevLogTerm: 1 });
  // One batch: term 3 arrives, then the sync of term 2, then a heartbeat of term 3.
  const outbox = solo.turn((core) => {
    core.receive(append);
    core.durable();
    core.receive(append);
  });
  assertEquals(outbox.hardState, { currentTerm: 3, votedFor: undefined });
  // What waited for term 2 leaves; both answers in term 3 wait.
  assertEquals(outbox.messages.map(({ message }) => message.term), [2]);
  assertEquals(outbox.waiting.length, 2);
  const later = solo.receive(append);
  assertEquals([later.messages.length, later.waiting.length], [0, 1]);
});

Deno.test("thesis s10.2.1: the leader's appends leave before its own disk has them", () => {
  const solo = inEachRole["leader"]!();
  solo.receive(solo.reply({ matchIndex: 3, prevLogIndex: 2 }));
  const outbox = solo.turn((core) => core.propose([new Uint8Array([1])]));
  assertEquals(outbox.messages.map(({ to, message }) => [to, message.type]), [
    [2, "AppendEntries"],
  ]);
  assertEquals(outbox.waiting, []);
  assertEquals(outbox.runs.length, 1);
});

Deno.test("thesis s10.2.1: the leader may commit an entry before its own disk has it, if a majority of followers has", () => {
  const solo = new SoloCore();
  solo.lead();
  solo.receive(solo.reply({ from: 2, matchIndex: 1 }));
  assertEquals(solo.core.state.commitIndex, 0);
  solo.receive(solo.reply({ from: 3, matchIndex: 1 }));
  assertEquals([solo.core.state.commitIndex, solo.core.state.durableIndex], [1, 0]);
});

Deno.test("thesis s10.2.1: the leader's own match is what its disk has", () => {
  const solo = new SoloCore();
  const outbox = solo.lead();
  solo.receive(solo.reply({ from: 2, matchIndex: 1 }));
  assertEquals(solo.core.state.commitIndex, 0);
  solo.persist(outbox);
  assertEquals(solo.core.state.commitIndex, 1);
});

Deno.test("C12: a sync of entries that were replaced meanwhile vouches for nothing", () => {
  const solo = new SoloCore({ terms: [1] });
  solo.receive(solo.append({ term: 2, prevLogIndex: 1, prevLogTerm: 1, terms: [2, 2] }));
  const replaced = solo.receive(
    solo.append({ term: 3, from: 3, prevLogIndex: 1, prevLogTerm: 1, terms: [3, 3] }),
  );
  solo.turn((core) => core.durable());
  assertEquals(solo.core.state.durableIndex, 1);
  solo.persist(replaced);
  assertEquals(solo.core.state.durableIndex, 3);
});

Deno.test("X13: entries that were replaced and come back in their old term are durable with their second write, not their first", () => {
  const solo = new SoloCore({ terms: [1] });
  const old = { prevLogIndex: 1, prevLogTerm: 1 };
  solo.receive(solo.append({ ...old, term: 2, terms: [2, 2] }));
  solo.receive(solo.append({ ...old, term: 3, from: 3, terms: [3] }));
  // The leader of term 4 holds what the leader of term 2 had sent.
  solo.receive(solo.append({ ...old, term: 4, terms: [2, 2] }));
  assertEquals(solo.terms, [1, 2, 2]);
  for (const durableIndex of [1, 1, 3]) {
    solo.turn((core) => core.durable());
    assertEquals(solo.core.state.durableIndex, durableIndex);
  }
});

Deno.test("s5: a host that reports more writes durable than it was given is a defect", () => {
  const solo = new SoloCore({ terms: [1] });
  assertThrows(() => solo.turn((core) => core.durable()), Error, "no write is under way");
});

Deno.test("X20: nothing of an earlier leadership is counted by a leader elected anew", () => {
  const solo = new SoloCore({ voters: [1, 2, 3, 4, 5] });
  solo.persist(solo.lead());
  for (const from of [2, 3]) solo.receive(solo.reply({ from, matchIndex: 1 }));
  assertEquals(solo.core.state.commitIndex, 1);
  solo.receive(solo.append({ term: solo.term + 1, from: 5, prevLogIndex: 1, prevLogTerm: 1 }));
  solo.turn((core) => core.durable());
  solo.persist(solo.lead());
  assertEquals(solo.core.state.log.lastIndex, 2);
  assertEquals(matchesOf(solo.core), { 2: 0, 3: 0, 4: 0, 5: 0 });
  solo.receive(solo.reply({ from: 2, matchIndex: 2 }));
  assertEquals(solo.core.state.commitIndex, 1);
});

Deno.test("C12: entries that were durable and are replaced are durable no more", () => {
  const solo = new SoloCore({ terms: [1, 2, 2, 2] });
  assertEquals(solo.core.state.durableIndex, 4);
  solo.receive(solo.append({ term: 3, prevLogIndex: 2, prevLogTerm: 2, terms: [3] }));
  assertEquals(solo.core.state.durableIndex, 2);
  const reply = only(
    "AppendEntriesReply",
    solo.receive(solo.append({ prevLogIndex: 3, prevLogTerm: 3 })).waiting,
  );
  assertEquals(reply.matchIndex, 2);
});

Deno.test("thesis s3.8: a log of a later term than the hard state is refused at start", () => {
  assertThrows(() => new SoloCore({ terms: [1, 4], currentTerm: 3 }), RangeError, "Cannot start");
});

Deno.test("thesis s3.8: a node that restarts keeps term, vote and log", () => {
  const cluster = new CoreCluster({ voters: [1, 2, 3] });
  cluster.elect(1);
  cluster.propose(1, "a");
  cluster.settle();
  const { currentTerm, votedFor } = cluster.core(2).context;
  const terms = cluster.termsOf(2);
  cluster.crash(2);
  cluster.restart(2);
  const { context } = cluster.core(2);
  assertEquals([context.currentTerm, context.votedFor], [currentTerm, votedFor]);
  assertEquals(cluster.termsOf(2), terms);
});

// A faulty peer.

Deno.test("H5: a term that no sound node can have reached is dropped, counted, and changes nothing", () => {
  for (const make of Object.values(inEachRole)) {
    for (const term of [TERM_MAX + 1, Number.MAX_SAFE_INTEGER]) {
      const solo = make();
      const { context } = solo.core;
      const messages = everyMessage(solo, term);
      const outbox = solo.receive(...messages);
      assertEquals(solo.core.context, context);
      assertEquals(solo.core.termBombs, messages.length);
      assertEquals([outbox.messages, outbox.waiting], [[], []]);
    }
  }
});

Deno.test("H5: nodes that were driven far apart by terms meet again, a step at a time", () => {
  const solo = inEachRole["follower"]!();
  const far = 5 + 3 * TERM_JUMP_MAX;
  for (const steps of [1, 2, 3]) {
    const outbox = solo.receive(solo.append({ term: far, from: 3 }));
    const isThere = steps === 3;
    assertEquals([solo.term, solo.core.termBombs], [5 + steps * TERM_JUMP_MAX, Math.min(steps, 2)]);
    assertEquals(outbox.messages.length + outbox.waiting.length, isThere ? 1 : 0);
  }
  const { term } = solo;
  solo.receive({
    ...{ type: "PreVote", group: 0, from: 3, lastLogIndex: 0, lastLogTerm: 0 },
    term: term + TERM_JUMP_MAX + 1,
  });
  assertEquals(solo.term, term, "nobody has entered that one");
});

Deno.test("H5: a term just below the bounds is believed", () => {
  const solo = inEachRole["follower"]!();
  solo.receive(solo.append({ term: 5 + TERM_JUMP_MAX }));
  assertEquals(solo.term, 5 + TERM_JUMP_MAX);
});

// Learners (thesis s4.2.1) and stalled disks.

Deno.test("thesis s4.2.1: a learner receives the log but counts in no commit", () => {
  const solo = new SoloCore({ voters: [1, 2, 3], learners: [4, 5] });
  solo.persist(solo.lead());
  solo.receive(solo.reply({ from: 4, matchIndex: 1 }), solo.reply({ from: 5, matchIndex: 1 }));
  assertEquals(matchesOf(solo.core), { 2: 0, 3: 0, 4: 1, 5: 1 });
  assertEquals(solo.core.state.commitIndex, 0);
});

Deno.test("thesis s4.2.1: a learner confirms no read and does not keep a leader in office", () => {
  const solo = new SoloCore({ voters: [1, 2, 3], learners: [4] });
  solo.persist(solo.lead());
  solo.receive(solo.reply({ from: 2, matchIndex: 1 }));
  solo.turn((core) => core.read([7]));
  const { lastRound } = solo.core.state;
  const outbox = solo.receive(solo.reply({ from: 4, matchIndex: 1, round: lastRound }));
  assertEquals(outbox.readsReady, []);
  for (let ms = 0; ms < 2 * electionTimeoutMsMax; ms += heartbeatMs) {
    solo.elapse(heartbeatMs);
    if (solo.core.role === "leader") solo.receive(solo.reply({ from: 4, matchIndex: 1 }));
  }
  assert(solo.core.role !== "leader");
});

Deno.test("thesis s4.2.1: a learner neither times out into an election nor obeys TimeoutNow", () => {
  const solo = new SoloCore({ id: 4, learners: [4], terms: [1] });
  const outbox = solo.timeout();
  assertEquals([solo.core.role, outbox.messages, solo.term], ["follower", [], 1]);
  solo.receive({ type: "TimeoutNow", group: 0, term: 1, from: 2 });
  assertEquals([solo.core.role, solo.term], ["follower", 1]);
});

Deno.test("a stalled disk ends leadership", () => {
  const solo = inEachRole["leader"]!();
  solo.turn((core) => core.disk("DiskStalled"));
  assertEquals([solo.core.role, solo.core.context.leaderId], ["follower", undefined]);
});

Deno.test("a slow disk leads on", () => {
  const solo = inEachRole["leader"]!();
  solo.turn((core) => core.disk("DiskSlow"));
  assertEquals(solo.core.role, "leader");
});

for (const role of ["preCandidate", "candidate"] as const) {
  Deno.test(`a stalled disk ends a ${role}'s campaign, and late votes do not make it leader`, () => {
    const solo = inEachRole[role]!();
    solo.turn((core) => core.disk("DiskStalled"));
    assertEquals(solo.core.role, "follower");
    solo.receive(solo.vote({ from: 2 }), solo.vote({ from: 3 }));
    assertEquals(solo.core.role, "follower");
  });
}

Deno.test("a stalled disk prevents campaigning, by time-out or by TimeoutNow, until it recovers", () => {
  const solo = inEachRole["follower"]!();
  solo.turn((core) => core.disk("DiskStalled"));
  assertEquals(solo.timeout().messages, []);
  solo.receive({ type: "TimeoutNow", group: 0, term: 5, from: 2 });
  assertEquals([solo.core.role, solo.term], ["follower", 5]);
  solo.turn((core) => core.disk("DiskRecovered"));
  solo.timeout();
  assertEquals(solo.core.role, "preCandidate");
});

// Thesis s3.10: leadership transfer.

/** A leader of term 5 whose followers 2 and 3 have everything. */
function settledLeader(): SoloCore {
  const solo = inEachRole["leader"]!();
  solo.receive(
    solo.reply({ from: 2, matchIndex: 3, prevLogIndex: 2 }),
    solo.reply({ from: 3, matchIndex: 3, prevLogIndex: 2 }),
  );
  return solo;
}

Deno.test("thesis s3.10 1: the prior leader stops accepting new client requests", () => {
  const solo = settledLeader();
  solo.turn((core) => {
    core.transfer(2);
    assertEquals(core.propose([new Uint8Array([1])]), {
      accepted: false,
      reason: "transferring",
    });
  });
});

Deno.test("thesis s3.10 2: the prior leader fully updates the target's log before it sends TimeoutNow", () => {
  const solo = inEachRole["leader"]!();
  const early = solo.turn((core) => core.transfer(2));
  assertEquals(early.messages.filter(({ message }) => message.type === "TimeoutNow"), []);
  const partly = solo.receive(solo.reply({ matchIndex: 2, prevLogIndex: 2 }));
  assertEquals(partly.messages.filter(({ message }) => message.type === "TimeoutNow"), []);
  const other = solo.receive(solo.reply({ from: 3, matchIndex: 3, prevLogIndex: 2 }));
  assertEquals(other.messages.filter(({ message }) => message.type === "TimeoutNow"), []);
  const caughtUp = solo.receive(solo.reply({ matchIndex: 3, prevLogIndex: 2 }));
  assertEquals(only("TimeoutNow", caughtUp.messages).term, 5);
});

Deno.test("thesis s3.10 3: the prior leader sends a TimeoutNow request to the target at once if it has everything", () => {
  const solo = settledLeader();
  const outbox = solo.turn((core) => core.transfer(3));
  assertEquals(
    outbox.messages.filter(({ message }) => message.type === "TimeoutNow").map(({ to }) => to),
    [3],
  );
});

Deno.test("thesis s3.10: TimeoutNow has the same effect as the target's election timer firing, without a pre-vote", () => {
  const solo = inEachRole["follower"]!();
  const outbox = solo.receive({ type: "TimeoutNow", group: 0, term: 5, from: 2 });
  assertEquals([solo.core.role, solo.term], ["candidate", 6]);
  for (const { message } of outbox.waiting) {
    if (message.type === "RequestVote") assertEquals(message.transfer, true);
  }
});

Deno.test("thesis s3.10: once the target starts an election, the prior leader steps down and may vote for it", () => {
  const solo = settledLeader();
  solo.turn((core) => core.transfer(2));
  const outbox = solo.receive(solo.requestVote({ transfer: true }));
  assertEquals(solo.core.role, "follower");
  assertEquals(only("RequestVoteReply", outbox).granted, true);
});

Deno.test("thesis s3.10: if transfer does not complete after about an election timeout, the prior leader aborts and resumes", () => {
  const solo = settledLeader();
  solo.turn((core) => core.transfer(2));
  for (let ms = 0; ms < electionTimeoutMsMax; ms += heartbeatMs) {
    assertEquals(solo.core.context.transferee, 2);
    solo.elapse(heartbeatMs);
    solo.receive(solo.reply({ from: 3, matchIndex: 3, prevLogIndex: 3 }));
  }
  assertEquals([solo.core.role, solo.core.context.transferee], ["leader", undefined]);
  solo.turn((core) => assert(core.propose([new Uint8Array([1])]).accepted));
});

for (
  const [what, to] of [["itself", 1], ["a learner", 4], ["a node that is unknown", 9]] as const
) {
  Deno.test(`thesis s3.10: a transfer to ${what} is refused`, () => {
    const solo = new SoloCore({ learners: [4] });
    solo.persist(solo.lead());
    const outbox = solo.turn((core) => core.transfer(to));
    assertEquals(outbox.transfer, "refused");
    assertEquals(solo.core.context.transferee, undefined);
    solo.turn((core) => assert(core.propose([new Uint8Array([1])]).accepted));
  });
}

Deno.test("thesis s3.10: a second transfer while one is under way is refused, and the first goes on", () => {
  const solo = settledLeader();
  solo.turn((core) => core.transfer(2));
  const outbox = solo.turn((core) => core.transfer(3));
  assertEquals([outbox.transfer, solo.core.context.transferee], ["refused", 2]);
});

for (const role of ["follower", "preCandidate", "candidate"] as const) {
  Deno.test(`thesis s3.10: a ${role} has nothing to transfer`, () => {
    const solo = inEachRole[role]!();
    assertEquals(solo.turn((core) => core.transfer(2)).transfer, "refused");
  });
}

Deno.test("thesis s3.10: a leader that loses office while it transfers forgets the transfer", () => {
  const solo = settledLeader();
  solo.turn((core) => core.transfer(2));
  solo.receive(solo.reply({ term: 8 }));
  assertEquals([solo.core.role, solo.core.context.transferee], ["follower", undefined]);
  assertEquals(solo.core.state.leadership, undefined);
});

// Thesis s4.2.3: disruptive servers.

Deno.test("thesis s4.2.3: within the minimum election timeout of hearing from a leader, a RequestVote neither updates the term nor gets a vote", () => {
  const solo = inEachRole["follower"]!();
  solo.receive(solo.append());
  solo.nowMs += electionTimeoutMsMin - 1;
  const { context } = solo.core;
  const outbox = solo.receive(solo.requestVote({ from: 3 }));
  assertEquals(solo.core.context, context);
  assertEquals([outbox.messages, outbox.waiting], [[], []]);
});

Deno.test("thesis s4.2.3: ... and gets no vote in the node's own term either", () => {
  const solo = inEachRole["follower"]!();
  solo.receive(solo.append());
  solo.nowMs += electionTimeoutMsMin - 1;
  const outbox = solo.receive(solo.requestVote({ from: 3, term: 5 }));
  assertEquals(solo.core.context.votedFor, undefined);
  assertEquals([outbox.messages, outbox.waiting], [[], []]);
});

Deno.test("thesis s4.2.3: after the minimum election timeout the request is answered", () => {
  const solo = inEachRole["follower"]!();
  solo.receive(solo.append());
  solo.nowMs += electionTimeoutMsMin;
  const outbox = solo.receive(solo.requestVote({ from: 3 }));
  assertEquals(only("RequestVoteReply", outbox).granted, true);
});

Deno.test("thesis s4.2.3: a leader that is in office ignores RequestVote, however late its last reply", () => {
  const solo = inEachRole["leader"]!();
  const { context } = solo.core;
  solo.receive(solo.requestVote());
  assertEquals([solo.core.role, solo.core.context], ["leader", context]);
});

Deno.test("thesis s4.2.3: the leadership transfer has permission to disrupt the leader", () => {
  const solo = inEachRole["follower"]!();
  solo.receive(solo.append());
  const outbox = solo.receive(solo.requestVote({ from: 3, transfer: true }));
  assertEquals(only("RequestVoteReply", outbox).granted, true);
});

for (const [what, term] of [["a later term", 6], ["its own term", 5]] as const) {
  Deno.test(`thesis s6.4.1: a node that restarted does not vote in ${what} until one minimum election timeout has passed`, () => {
    // It may have heard a leader just before, and the leader's lease counts on that.
    const solo = new SoloCore({ terms: [1, 5] });
    solo.nowMs = electionTimeoutMsMin - 1;
    const early = solo.receive(solo.requestVote({ term }));
    assertEquals([early.messages, early.waiting, early.hardState], [[], [], undefined]);
    solo.nowMs = electionTimeoutMsMin;
    const later = solo.receive(solo.requestVote({ term }));
    assertEquals(only("RequestVoteReply", later).granted, true);
  });
}

// Thesis s4.2.2: messages of servers outside the configuration.

Deno.test("thesis s4.2.2: servers process incoming RPCs without consulting their current configurations", () => {
  const solo = inEachRole["follower"]!();
  const accepted = solo.receive(solo.append({ from: 9, prevLogIndex: 2, prevLogTerm: 5 }));
  assertEquals(only("AppendEntriesReply", accepted).accepted, true);
  solo.nowMs += 10 * electionTimeoutMsMax;
  const voted = solo.receive(solo.requestVote({ from: 8 }));
  assertEquals(only("RequestVoteReply", voted).granted, true);
});

// Thesis s6.2.

Deno.test("thesis s6.2: a leader steps down if an election timeout elapses without a successful round of heartbeats to a majority", () => {
  const solo = settledLeader();
  solo.elapse(electionTimeoutMsMax - 1);
  assertEquals(solo.core.role, "leader");
  solo.elapse(1);
  assertEquals([solo.core.role, solo.term], ["follower", 5]);
});

Deno.test("thesis s6.2: replies of a majority keep the leader in office, refusals too", () => {
  const solo = settledLeader();
  for (let ms = 0; ms < 4 * electionTimeoutMsMax; ms += heartbeatMs) {
    solo.elapse(heartbeatMs);
    solo.receive(solo.reply({ from: 3, accepted: false, prevLogIndex: 1, conflictIndex: 1 }));
  }
  assertEquals(solo.core.role, "leader");
});

Deno.test("thesis s6.2: of five voters one that replies does not keep the leader in office", () => {
  const solo = new SoloCore({ voters: [1, 2, 3, 4, 5] });
  solo.persist(solo.lead());
  for (let ms = 0; ms < 2 * electionTimeoutMsMax; ms += heartbeatMs) {
    solo.elapse(heartbeatMs);
    if (solo.core.role === "leader") solo.receive(solo.reply({ from: 3 }));
  }
  assert(solo.core.role !== "leader");
});

Deno.test("thesis s6.2: followers forget the leader on a new term and on a new election", () => {
  const onTerm = inEachRole["follower"]!();
  onTerm.receive(onTerm.append());
  assertEquals(onTerm.core.context.leaderId, 2);
  onTerm.receive(onTerm.reply({ term: 9, from: 3 }));
  assertEquals(onTerm.core.context.leaderId, undefined);

  const onElection = inEachRole["follower"]!();
  onElection.receive(onElection.append());
  onElection.timeout();
  assertEquals(onElection.core.context.leaderId, undefined);

  const onStepDown = settledLeader();
  onStepDown.elapse(electionTimeoutMsMax);
  assertEquals(onStepDown.core.context.leaderId, undefined);
});

// Thesis s6.4: ReadIndex.

Deno.test("thesis s6.4 1: if the leader has not yet committed an entry of its term, it waits until it has", () => {
  const solo = new SoloCore({ terms: [1, 4] });
  solo.persist(solo.lead());
  const asked = solo.turn((core) => core.read([7]));
  assertEquals([asked.readsReady, solo.core.state.lead.reads.running], [[], undefined]);
  const committed = solo.receive(solo.reply({ matchIndex: 3, prevLogIndex: 2 }));
  // The round begins now; the reply that committed the entry was sent before it.
  assertEquals(committed.readsReady, []);
  assertEquals(solo.core.state.lead.reads.running?.readIndex, 3);
});

Deno.test("thesis s6.4 2 to 5: the leader saves its commit index, a majority answers a round begun after that, the read may be served", () => {
  const solo = settledLeader();
  const asked = solo.turn((core) => core.read([7, 8]));
  const round = only("AppendEntries", asked.messages.filter(({ to }) => to === 2)).round;
  assertEquals(asked.readsReady, []);
  const confirmed = solo.receive(solo.reply({ matchIndex: 3, prevLogIndex: 3, round }));
  assertEquals(confirmed.readsReady, [{ readIndex: 3, readIds: [7, 8] }]);
});

Deno.test("thesis s6.4: a single voter confirms itself at once", () => {
  const solo = new SoloCore({ voters: [1] });
  // Its own pre-vote is a yes, its own vote after the sync another.
  solo.persist(solo.persist(solo.timeout()));
  assertEquals(solo.core.role, "leader");
  const asked = solo.turn((core) => core.read([7]));
  assertEquals(asked.readsReady, [{ readIndex: 1, readIds: [7] }]);
});

Deno.test("thesis s6.4: the leader can use one round of heartbeats for any number of reads that it has accumulated", () => {
  const solo = settledLeader();
  solo.turn((core) => core.read([1]));
  solo.turn((core) => core.read([2]));
  const asked = solo.turn((core) => core.read([3]));
  assertEquals(asked.messages, []);
  const { round } = solo.core.state.lead.reads.running!;
  const first = solo.receive(solo.reply({ matchIndex: 3, prevLogIndex: 3, round }));
  assertEquals(first.readsReady, [{ readIndex: 3, readIds: [1] }]);
  const second = solo.receive(
    solo.reply({ matchIndex: 3, prevLogIndex: 3, round: round + 1 }),
  );
  assertEquals(second.readsReady, [{ readIndex: 3, readIds: [2, 3] }]);
});

Deno.test("SAFETY 14: a read never joins a round that was sent before it arrived", () => {
  const solo = settledLeader();
  solo.turn((core) => core.read([1]));
  const { round } = solo.core.state.lead.reads.running!;
  solo.turn((core) => core.read([2]));
  const confirmed = solo.receive(solo.reply({ matchIndex: 3, prevLogIndex: 3, round }));
  assertEquals(confirmed.readsReady.flatMap(({ readIds }) => readIds), [1]);
});

Deno.test("SAFETY 14: answers to messages sent before the round, however late, do not confirm it", () => {
  const solo = settledLeader();
  solo.turn((core) => core.read([1]));
  const { round } = solo.core.state.lead.reads.running!;
  const early = solo.receive(
    solo.reply({ from: 2, matchIndex: 3, prevLogIndex: 3, round: round - 1 }),
    solo.reply({ from: 3, matchIndex: 3, prevLogIndex: 3, round: round - 1 }),
  );
  assertEquals(early.readsReady, []);
});

Deno.test("SAFETY 14: a late answer to an earlier round does not confirm a later one", () => {
  const solo = settledLeader();
  solo.turn((core) => core.read([1]));
  const answers = [2, 3].map((from) =>
    solo.reply({ from, matchIndex: 3, prevLogIndex: 3, round: solo.core.state.lastRound })
  );
  assertEquals(solo.receive(answers[0]!).readsReady.length, 1);
  solo.turn((core) => core.read([2]));
  assertEquals(solo.receive(...answers).readsReady, []);
});

Deno.test("thesis s6.4: answers of an earlier term do not confirm a round", () => {
  const solo = settledLeader();
  solo.turn((core) => core.read([1]));
  const { round } = solo.core.state.lead.reads.running!;
  const early = solo.receive(solo.reply({ term: 4, matchIndex: 3, round }));
  assertEquals(early.readsReady, []);
});

Deno.test("thesis s6.4: one follower of five that answers twice does not confirm a round", () => {
  const solo = new SoloCore({ voters: [1, 2, 3, 4, 5] });
  solo.persist(solo.lead());
  solo.receive(...[2, 3].map((from) => solo.reply({ from, matchIndex: 1 })));
  solo.turn((core) => core.read([1]));
  const { round } = solo.core.state.lead.reads.running!;
  const twice = solo.receive(solo.reply({ round }), solo.reply({ round }));
  assertEquals(twice.readsReady, []);
  assertEquals(solo.receive(solo.reply({ from: 5, round })).readsReady.length, 1);
});

Deno.test("thesis s6.4: a round whose messages were lost is confirmed by the next heartbeat's answers", () => {
  const solo = settledLeader();
  solo.turn((core) => core.read([1]));
  const beat = solo.elapse(heartbeatMs);
  const { round } = only("AppendEntries", beat.messages.filter(({ to }) => to === 2));
  const confirmed = solo.receive(solo.reply({ matchIndex: 3, prevLogIndex: 3, round }));
  assertEquals(confirmed.readsReady.length, 1);
});

Deno.test("thesis s6.4: followers can help: a follower asks the leader for a read index", () => {
  const cluster = new CoreCluster({ voters: [1, 2, 3] });
  cluster.elect(1);
  cluster.propose(1, "a");
  cluster.settle();
  cluster.turn(2, (core) => core.read([5, 6]));
  cluster.settle();
  const { commitIndex } = cluster.core(1).state;
  assertEquals(cluster.node(2).readsReady, [{ readIndex: commitIndex, readIds: [5, 6] }]);
  // The round that confirmed the index has carried the leader's commit index with it.
  assertEquals(cluster.core(2).state.commitIndex, commitIndex);
});

Deno.test("thesis s6.4: a follower that knows no leader refuses reads at once", () => {
  for (const role of ["follower", "preCandidate", "candidate"] as const) {
    const solo = inEachRole[role]!();
    assertEquals(solo.turn((core) => core.read([5])).readsRefused, [5]);
  }
});

Deno.test("thesis s6.4: a node that does not lead refuses a follower's request", () => {
  for (const role of ["follower", "preCandidate", "candidate"] as const) {
    const solo = inEachRole[role]!();
    const outbox = solo.receive(
      { type: "ReadIndex", group: 0, term: 5, from: 3, readId: 4, isLogLost: false },
    );
    const reply = only("ReadIndexReply", outbox);
    assertEquals([reply.readId, reply.readIndex], [4, 0]);
  }
});

/** A follower of node 2 that has asked for a read index for read 50, and the id of that attempt. */
function askingFollower(): { solo: SoloCore; readId: number } {
  const solo = inEachRole["follower"]!();
  solo.receive(solo.append());
  const { readId } = only("ReadIndex", solo.turn((core) => core.read([50])));
  return { solo, readId };
}

Deno.test("SAFETY 14: an answer to an earlier attempt confirms nothing", () => {
  const { solo, readId } = askingFollower();
  const answer = (id: number, readIndex: number): RaftMessage => ({
    type: "ReadIndexReply",
    group: 0,
    term: 5,
    from: 2,
    readId: id,
    readIndex,
  });
  const overdue = solo.elapse(electionTimeoutMsMax);
  assertEquals(overdue.readsRefused, [50]);
  solo.receive(solo.append());
  const again = only("ReadIndex", solo.turn((core) => core.read([51])));
  assert(again.readId !== readId);
  assertEquals(solo.receive(answer(readId, 1)).readsReady, []);
  assertEquals(solo.receive(answer(again.readId, 2)).readsReady, [
    { readIndex: 2, readIds: [51] },
  ]);
  assertEquals(solo.receive(answer(again.readId, 2)).readsReady, [], "nor twice");
});

Deno.test("SAFETY 14: an answer to an attempt of an earlier life of the process confirms nothing", () => {
  const cluster = new CoreCluster({ voters: [1, 2, 3] });
  cluster.elect(1);
  cluster.propose(1, "a");
  cluster.settle();
  cluster.turn(2, (core) => core.read([1]));
  // The leader confirms an index; its answer is late.
  while (cluster.inFlight[0]!.message.type !== "ReadIndexReply") {
    cluster.deliver(cluster.inFlight.shift()!);
  }
  const late = cluster.inFlight.shift()!;
  cluster.settle();
  cluster.crash(2);
  cluster.propose(1, "b");
  cluster.settle();
  assertEquals(cluster.committedTexts(1), ["a", "b"]);
  cluster.restart(2);
  cluster.elapse(heartbeatMs);
  cluster.turn(2, (core) => core.read([2]));
  cluster.node(2).readsReady.length = 0;
  cluster.deliver(late);
  assertEquals(cluster.node(2).readsReady, []);
  cluster.settle();
  assertEquals(cluster.node(2).readsReady, [
    { readIndex: cluster.core(1).state.commitIndex, readIds: [2] },
  ]);
});

Deno.test("thesis s6.4: reads that the leader could not confirm are refused, not served at index 0", () => {
  const { solo, readId } = askingFollower();
  const outbox = solo.receive(
    { type: "ReadIndexReply", group: 0, term: 5, from: 2, readId, readIndex: 0 },
  );
  assertEquals([outbox.readsReady, outbox.readsRefused], [[], [50]]);
});

Deno.test("thesis s6.4: an answer counts only if it is from the leader that is followed", () => {
  const { solo, readId } = askingFollower();
  const outbox = solo.receive(
    { type: "ReadIndexReply", group: 0, term: 5, from: 3, readId, readIndex: 2 },
  );
  assertEquals([outbox.readsReady, outbox.readsRefused], [[], []]);
});

Deno.test("thesis s6.4: reads are refused, not left to hang, when the leader is lost", () => {
  const higherTerm = askingFollower().solo;
  assertEquals(higherTerm.receive(higherTerm.append({ term: 6, from: 3 })).readsRefused, [50]);

  const timedOut = askingFollower().solo;
  assertEquals(timedOut.timeout().readsRefused, [50]);

  const leader = settledLeader();
  leader.turn((core) => core.read([1]));
  leader.turn((core) => core.read([2]));
  assertEquals(leader.receive(leader.reply({ term: 9 })).readsRefused, [1, 2]);

  const lonely = settledLeader();
  lonely.turn((core) => core.read([1]));
  assertEquals(lonely.elapse(electionTimeoutMsMax).readsRefused, [1]);
});

Deno.test("thesis s6.4: a leader cut off from its majority confirms no read", () => {
  const cluster = new CoreCluster({ voters: [1, 2, 3] });
  cluster.elect(1);
  cluster.propose(1, "a");
  cluster.settle();
  cluster.partition([1], [2, 3]);
  cluster.elect(2);
  cluster.propose(2, "b");
  cluster.settle();
  cluster.turn(1, (core) => core.read([9]));
  cluster.elapse(2 * electionTimeoutMsMax);
  assertEquals(cluster.node(1).readsReady, []);
  assertEquals(cluster.node(1).readsRefused, [9]);
});

// Thesis s9.6: PreVote.

Deno.test("thesis s9.6: in the Pre-Vote algorithm, a candidate only increments its term if it first learns from a majority that they would be willing to vote for it", () => {
  const solo = new SoloCore({ voters: [1, 2, 3, 4, 5], terms: [1, 5] });
  const asked = solo.timeout();
  assertEquals([solo.core.role, solo.term, asked.hardState], ["preCandidate", 5, undefined]);
  assertEquals(asked.messages.map(({ to, message }) => [to, message.type, message.term]), [
    [2, "PreVote", 6],
    [3, "PreVote", 6],
    [4, "PreVote", 6],
    [5, "PreVote", 6],
  ]);
  const yes = { type: "PreVoteReply", group: 0, term: 6, granted: true } as const;
  solo.receive({ ...yes, from: 2 });
  assertEquals([solo.core.role, solo.term], ["preCandidate", 5]);
  solo.receive({ ...yes, from: 3 });
  assertEquals([solo.core.role, solo.term], ["candidate", 6]);
});

const preVote = { type: "PreVote", group: 0, term: 6, from: 3 } as const;

for (
  const [what, lastLogTerm, heardMsAgo, term, granted] of [
    ["its log is up-to-date and no leader was heard for a timeout", 5, 300, 6, true],
    ["a leader was heard since", 5, 299, 6, false],
    ["its log is behind", 1, 300, 6, false],
    ["its term is not above the voter's", 5, 300, 5, false],
    ["its term is far above the voter's", 5, 300, 99, true],
  ] as const
) {
  Deno.test(`thesis s9.6: a pre-vote is ${granted ? "granted" : "refused"} if ${what}`, () => {
    const solo = inEachRole["follower"]!();
    solo.receive(solo.append());
    solo.nowMs += heardMsAgo;
    const { context } = solo.core;
    const outbox = solo.receive({ ...preVote, term, lastLogTerm, lastLogIndex: 2 });
    const reply = only("PreVoteReply", outbox.messages);
    assertEquals([reply.granted, reply.term], [granted, granted ? term : 5]);
    // Nothing is promised and nothing changes.
    assertEquals([solo.core.context, outbox.hardState], [context, undefined]);
  });
}

Deno.test("thesis s9.6: a leader in office grants no pre-vote", () => {
  const solo = settledLeader();
  solo.nowMs += 10 * electionTimeoutMsMax;
  const outbox = solo.receive({ ...preVote, lastLogTerm: 1_000, lastLogIndex: 1_000 });
  assertEquals(only("PreVoteReply", outbox.messages).granted, false);
});

Deno.test("thesis s9.6: several pre-candidates may be granted the same pre-vote", () => {
  const solo = inEachRole["follower"]!();
  const replies = [2, 3].map((from) =>
    only(
      "PreVoteReply",
      solo.receive({ ...preVote, from, lastLogTerm: 5, lastLogIndex: 2 }),
    ).granted
  );
  assertEquals(replies, [true, true]);
});

Deno.test("thesis s9.6: a refused pre-candidate that is behind learns the term", () => {
  const solo = inEachRole["preCandidate"]!();
  solo.receive({ type: "PreVoteReply", group: 0, term: 9, from: 2, granted: false });
  assertEquals([solo.core.role, solo.term], ["follower", 9]);
});

Deno.test("thesis s9.6: pre-votes of an earlier pre-candidacy's term do not count", () => {
  const solo = new SoloCore({ terms: [1, 5] });
  solo.timeout();
  const early = { type: "PreVoteReply", group: 0, term: 6, from: 2, granted: true } as const;
  solo.receive({ type: "PreVoteReply", group: 0, term: 8, from: 3, granted: false });
  solo.timeout();
  assertEquals([solo.core.role, solo.term], ["preCandidate", 8]);
  solo.receive(early);
  assertEquals([solo.core.role, solo.term], ["preCandidate", 8]);
});

Deno.test("thesis s9.6: a server isolated for long does not raise its term, nor disturb the cluster when it returns", () => {
  const cluster = new CoreCluster({ voters: [1, 2, 3] });
  cluster.elect(1);
  const { currentTerm } = cluster.core(1).context;
  cluster.partition([1, 2], [3]);
  cluster.elapse(20 * electionTimeoutMsMax);
  assertEquals(cluster.core(3).context.currentTerm, currentTerm);
  cluster.heal();
  cluster.elapse(2 * electionTimeoutMsMax);
  assertEquals([cluster.leader, cluster.core(1).context.currentTerm], [1, currentTerm]);
  assertEquals(cluster.core(3).context.leaderId, 1);
});

// Thesis s10.2.2 and the bounds.

Deno.test("thesis s10.2.2: entries go in batches of at most APPEND_BYTES_MAX, pipelined", () => {
  const solo = inEachRole["leader"]!();
  solo.receive(solo.reply({ matchIndex: 3, prevLogIndex: 2 }));
  const payload = new Uint8Array(Math.floor(APPEND_BYTES_MAX / 4));
  const outbox = solo.turn((core) => core.propose(Array.from({ length: 8 }, () => payload)));
  const appends = outbox.messages.filter(({ to }) => to === 2).map(({ message }) => {
    assert(message.type === "AppendEntries");
    return message;
  });
  assertEquals(appends.map(({ prevLogIndex }) => prevLogIndex), [3, 6, 9]);
  for (const { runs } of appends) {
    const bytes = runs.reduce((sum, run) => sum + run.bytes.length, 0);
    assert(bytes <= APPEND_BYTES_MAX, `${bytes} bytes`);
  }
});

Deno.test("UNCOMMITTED_BYTES_MAX: a leader that holds more uncommitted bytes takes no more commands, until some commit", () => {
  const solo = new SoloCore();
  solo.persist(solo.lead());
  const payloads = [new Uint8Array(REQUEST_BYTES_MAX)];
  const fitting = Math.ceil(
    UNCOMMITTED_BYTES_MAX / (REQUEST_HEADER_BYTES + REQUEST_BYTES_MAX + RECORD_HEADER_BYTES),
  );
  for (let accepted = 0; accepted < fitting; accepted++) {
    solo.turn((core) => assert(core.propose(payloads).accepted, `after ${accepted}`));
  }
  solo.turn((core) => {
    assertEquals(core.propose(payloads), { accepted: false, reason: "overloaded" });
  });
  const { lastIndex } = solo.core.state.log;
  solo.receive(...[2, 3].map((from) => solo.reply({ from, matchIndex: lastIndex })));
  solo.turn((core) => assert(core.propose(payloads).accepted));
});

Deno.test("READS_PENDING_MAX: further reads are refused, at a leader and for a follower", () => {
  const solo = settledLeader();
  // The first read begins a round; the others wait.
  solo.turn((core) => core.read([0]));
  const readIds = Array.from({ length: READS_PENDING_MAX }, (_, at) => at + 1);
  // Lengths, since a difference of so many would take minutes to print.
  assertEquals(solo.turn((core) => core.read(readIds)).readsRefused.length, 0);
  assertEquals(solo.turn((core) => core.read([-1])).readsRefused, [-1]);
  const request = { type: "ReadIndex", group: 0, term: 5, from: 3, isLogLost: false } as const;
  solo.turn((core) => {
    for (let readId = 1; readId <= READS_PENDING_MAX; readId++) {
      core.receive({ ...request, readId });
    }
  });
  const refused = solo.receive({ ...request, readId: READS_PENDING_MAX + 1 });
  assertEquals(only("ReadIndexReply", refused).readIndex, 0);
});

// Log time (ARCHITECTURE 9).

/** A core of its own whose log is given, leading at a time of its host. */
function leadAt(nowMs: number, log: RaftLog): { readonly logTimeMs: number; run: () => void } {
  const core = new RaftCore({
    id: 1,
    group: 0,
    timing: DEFAULT_TIMING,
    records: recordFormat,
    random: () => 0,
    log,
    nowMs,
    config: foundingConfig({ voters: [1] }),
    currentTerm: log.lastTerm,
    votedFor: undefined,
  });
  core.beginTurn(nowMs + electionTimeoutMsMin);
  core.elapse();
  core.receive({
    type: "RequestVoteReply",
    group: 0,
    from: 1,
    term: core.context.currentTerm,
    granted: true,
  });
  core.endTurn();
  assertEquals(core.role, "leader");
  return {
    get logTimeMs(): number {
      return core.state.lastLogTimeMs;
    },
    run: () => {
      core.beginTurn(nowMs + electionTimeoutMsMin + 1_000);
      core.propose([new Uint8Array([1])]);
      core.endTurn();
    },
  };
}

Deno.test("log time: goes on from the last entry's under every leader, whatever its host's clock shows", () => {
  const log = new RaftLog();
  for (const run of runsOfTerms([1, 1, 1])) log.append(run);
  let before = 2;
  for (const hostMs of [1_000_000, 5, 123_456.75, 0]) {
    const leader = leadAt(hostMs, log);
    leader.run();
    const times = log.slice(1, log.lastIndex).map((run) => recordFormat.lastTimeMs(run));
    assertEquals(times, [...times].sort((a, b) => a - b), "log time never falls");
    const added = recordFormat.lastTimeMs(log.slice(log.lastIndex, log.lastIndex)[0]!) - before;
    // A second passed in this term, and the time that the node waited before it counts as well. What
    // passed while no process ran is unknown and does not count.
    const waitedMs = DEFAULT_TIMING.electionTimeoutMsMax;
    assert(added >= 999 && added <= 1_000 + waitedMs, `${added} ms`);
    before += added;
  }
});

Deno.test("time never runs backwards for a core, whatever the host says", () => {
  const solo = new SoloCore();
  solo.nowMs = 1_000;
  solo.turn(() => {});
  solo.nowMs = 10;
  solo.turn(() => {});
  assertEquals(solo.core.state.nowMs, 1_000);
});

Deno.test("s5: nodes of every role tell when they must be woken", () => {
  const due: Record<string, (solo: SoloCore) => number> = {
    follower: ({ core }) => core.state.electionDeadlineMs!,
    preCandidate: ({ core }) => core.state.electionDeadlineMs!,
    candidate: ({ core }) => core.state.electionDeadlineMs!,
    leader: ({ core }) => core.state.lead.heartbeatDeadlineMs,
  };
  for (const [role, make] of Object.entries(inEachRole)) {
    const solo = make();
    assertEquals(solo.core.nextDeadlineMs, due[role]!(solo), role);
    assert(solo.core.nextDeadlineMs < Infinity);
  }
});

/** The leader of a follower: it follows only a leader that it has heard itself. */
Deno.test("s5.2: the leader of a term is whoever sends AppendEntries in it", () => {
  const leaders: (NodeId | undefined)[] = [];
  const solo = inEachRole["follower"]!();
  solo.receive(solo.requestVote({ term: 6, from: 3 }));
  leaders.push(solo.core.context.leaderId);
  solo.receive(solo.append({ term: 6, from: 3 }));
  leaders.push(solo.core.context.leaderId);
  assertEquals(leaders, [undefined, 3]);
});
