/**
 * One bare core whose peers are the test: messages go in, outboxes come out.
 *
 * @module
 */
import { type ConfigEntry, foundingConfig } from "../../machines/group_config.ts";
import { DEFAULT_BOUNDS, type ReplicationBounds } from "../../machines/bounds.ts";
import { assert } from "@std/assert";
import { DEFAULT_TIMING, type Outbox } from "../../machines/group_state.ts";
import type { Write } from "../../machines/pending_writes.ts";
import { RaftCore } from "../../machines/raft_core.ts";
import { RaftLog } from "../../machines/raft_log.ts";
import type {
  AppendEntries,
  AppendEntriesReply,
  Envelope,
  HardState,
  LogIndex,
  NodeId,
  RaftMessage,
  RequestVote,
  Term,
} from "../../machines/raft_types.ts";
import { packRequests } from "../../machines/request_batch.ts";
import { encodeRun, recordFormat } from "../../storage/log/wal_record.ts";
import { runsOfTerms } from "./core_cluster.ts";

/** What a test gives to start from. */
export interface SoloOptions {
  readonly id?: NodeId;
  readonly voters?: readonly NodeId[];
  readonly learners?: readonly NodeId[];
  /** Terms of the entries that the log begins with. */
  readonly terms?: readonly Term[];
  readonly currentTerm?: Term;
  readonly votedFor?: NodeId;
  readonly random?: () => number;
  /** Where they differ from the usual. */
  readonly bounds?: Partial<ReplicationBounds>;
  readonly isLogLost?: boolean;
  /** The voters of an entry 100 that is remembered beside the log. */
  readonly remembered?: readonly NodeId[];
}

/** What a snapshot says of the members that has none in it. */
export const FOUNDED: ConfigEntry = { clusterVersion: 1, stored: undefined };

/** Long enough for every time-out to have passed. */
const LONG_MS = 10 * DEFAULT_TIMING.electionTimeoutMsMax;

/** What a turn asks for laid out flat, and its messages that wait for the disk. */
export interface Turn extends Outbox, Write {
  readonly waiting: readonly Envelope[];
}

/** A core, a clock, and words to say to it. */
export class SoloCore {
  readonly core: RaftCore;
  nowMs = 0;

  constructor(options: SoloOptions = {}) {
    const { id = 1, voters = [1, 2, 3], learners = [], terms = [], random = () => 0.5 } = options;
    const log = new RaftLog();
    for (const run of runsOfTerms(terms)) log.append(run);
    this.core = new RaftCore({
      id,
      group: 0,
      timing: DEFAULT_TIMING,
      bounds: { ...DEFAULT_BOUNDS, ...options.bounds },
      isLogLost: options.isLogLost === true,
      remembered: options.remembered && {
        index: 100,
        config: foundingConfig({ voters: options.remembered }),
      },
      records: recordFormat,
      random,
      log,
      nowMs: 0,
      config: foundingConfig({ voters, learners }),
      currentTerm: options.currentTerm ?? terms.at(-1) ?? 0,
      votedFor: options.votedFor,
    });
  }

  /** The core's term. */
  get term(): Term {
    return this.core.context.currentTerm;
  }

  /** Terms of the log's entries. */
  get terms(): Term[] {
    const { log } = this.core.state;
    return log.slice(1, log.lastIndex).flatMap(({ term, ends }) => ends.map(() => term));
  }

  /** One turn. */
  turn(act: (core: RaftCore) => void): Turn {
    const { core } = this;
    const before = new Set(core.state.writes.messages);
    core.beginTurn(this.nowMs);
    act(core);
    const outbox = core.endTurn();
    const waiting = core.state.writes.messages.filter((envelope) => !before.has(envelope));
    const { hardState, forgotten, runs = [] } = outbox.write ?? {};
    return { ...outbox, hardState, forgotten, runs, waiting };
  }

  /** One turn in which these messages arrive. */
  receive(...messages: readonly RaftMessage[]): Turn {
    return this.turn((core) => messages.forEach((message) => core.receive(message)));
  }

  /** One turn in which the oldest write is durable, if the outbox of an earlier turn has one. */
  persist({ write }: Outbox): Turn {
    return this.turn((core) => {
      if (write !== undefined) core.durable();
    });
  }

  /** Lets time pass, and the core notice. */
  elapse(durationMs: number): Turn {
    this.nowMs += durationMs;
    return this.turn((core) => core.elapse());
  }

  /** The election timeout elapses, long after any leader was heard. */
  timeout(): Turn {
    return this.elapse(LONG_MS);
  }

  /** Becomes pre-candidate, then candidate by the pre-votes of others; its vote is not yet durable. */
  campaign(): Turn {
    this.timeout();
    assert(this.core.role === "preCandidate", `it is ${this.core.role}`);
    const term = this.term + 1;
    const others = this.core.context.voters.filter((voter) => voter !== this.core.context.id);
    return this.receive(...others.map((from): RaftMessage => ({
      type: "PreVoteReply",
      group: 0,
      term,
      from,
      granted: true,
    })));
  }

  /** Becomes leader by the votes of all; its no-op is not yet durable. */
  lead(): Turn {
    const campaign = this.campaign();
    this.persist(campaign);
    const others = this.core.context.voters.filter((voter) => voter !== this.core.context.id);
    const outbox = this.receive(...others.map((from) => this.vote({ from })));
    assert(this.core.role === "leader", `it is ${this.core.role}`);
    return outbox;
  }

  /** AppendEntries of this core's term from node 2, empty and at the log's beginning unless said. */
  append(
    fields: Partial<AppendEntries> & { readonly terms?: readonly Term[] } = {},
  ): AppendEntries {
    const { terms = [], ...rest } = fields;
    const prevLogIndex = rest.prevLogIndex ?? 0;
    return {
      type: "AppendEntries",
      group: 0,
      term: this.term,
      from: 2,
      prevLogTerm: 0,
      leaderCommit: 0,
      round: 0,
      runs: terms.map((term, at) =>
        encodeRun({
          group: 0,
          term,
          firstIndex: prevLogIndex + 1 + at,
          timeMs: prevLogIndex + at,
          kind: "command",
          payloads: packRequests([
            new TextEncoder().encode(`t${term}i${prevLogIndex + 1 + at}`),
          ]).payloads,
        })
      ),
      ...rest,
      prevLogIndex,
    };
  }

  /** An accepted reply of this core's term from node 2 unless said. */
  reply(fields: Partial<AppendEntriesReply> = {}): AppendEntriesReply {
    return {
      type: "AppendEntriesReply",
      group: 0,
      term: this.term,
      from: 2,
      accepted: true,
      matchIndex: 0,
      prevLogIndex: 0,
      conflictTerm: 0,
      conflictIndex: 0,
      round: 0,
      ...fields,
    };
  }

  /** A granted vote of this core's term from node 2 unless said. */
  vote(fields: { readonly from?: NodeId; readonly granted?: boolean } = {}): RaftMessage {
    return {
      type: "RequestVoteReply",
      group: 0,
      term: this.term,
      from: 2,
      granted: true,
      ...fields,
    };
  }

  /** A request for a vote in the next term from node 2, with a log as up-to-date as can be, unless said. */
  requestVote(fields: Partial<RequestVote> = {}): RequestVote {
    return {
      type: "RequestVote",
      group: 0,
      term: this.term + 1,
      from: 2,
      lastLogIndex: 1_000,
      lastLogTerm: 1_000,
      transfer: false,
      ...fields,
    };
  }
}

/** What of a turn goes to a node, the immediate first. */
export function messagesTo(outbox: Turn, to: NodeId): RaftMessage[] {
  return [...outbox.messages, ...outbox.waiting]
    .filter((envelope) => envelope.to === to).map(({ message }) => message);
}

/** The only message of this type in a list of envelopes or in both lists of a turn. */
export function only<Type extends RaftMessage["type"]>(
  type: Type,
  from: Turn | readonly Envelope[],
): Extract<RaftMessage, { type: Type }> {
  const envelopes = "messages" in from ? [...from.messages, ...from.waiting] : from;
  const found = envelopes.filter(({ message }) => message.type === type);
  assert(found.length === 1, `${found.length} messages of type ${type}`);
  return found[0]!.message as Extract<RaftMessage, { type: Type }>;
}

/** The term and vote of a core. */
export function hardStateOf(core: RaftCore): HardState {
  const { currentTerm, votedFor } = core.context;
  return { currentTerm, votedFor };
}

/** Where each follower's log is known to match, by node. */
export function matchesOf(core: RaftCore): Record<NodeId, LogIndex> {
  return Object.fromEntries(
    [...core.state.leadership?.progress ?? []].map(([id, { matchIndex }]) => [id, matchIndex]),
  );
}
