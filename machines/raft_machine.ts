/**
 * Fig. 4 of the Raft paper: the roles of one group's member as one chart.
 *
 * The chart alone decides roles. It names effects and guards; an effect is a rule of election.ts,
 * replication.ts, reads.ts, transfer.ts, snapshots.ts or recovery.ts, run by raft_core.ts in the order
 * in which the chart asks for it. Guards read the context and the event only, and timers and disk are
 * events from outside. So the object below is what runs, what the model tests explore, and what is
 * drawn.
 *
 * Terms are settled before a role sees a message (raft_core.ts): a message that reaches a role
 * carries this node's own term, except PreVote and its granted reply, which speak of a term that
 * nobody has entered.
 *
 * @module
 */
import { and, assign, not, setup, type SnapshotFrom, stateIn } from "xstate";
import { effect } from "./effects.ts";
import type { ConfigEntry, GroupConfig } from "./group_config.ts";
import type { ChangeReport } from "./membership_change.ts";
import { allVoters, isJoint, isQuorum } from "./quorum.ts";
import type { LogBase } from "./raft_log.ts";
import type {
  AppendEntries,
  AppendEntriesReply,
  HardState,
  InstallSnapshot,
  InstallSnapshotReply,
  LogIndex,
  Membership,
  NodeId,
  PreVote,
  PreVoteReply,
  RaftMessage,
  ReadIndex,
  ReadIndexReply,
  RequestVote,
  RequestVoteReply,
  SnapshotRef,
  Term,
  TimeoutNow,
} from "./raft_types.ts";

/** What guards may read: Fig. 2's persistent state, the leader, the votes, the membership. */
export interface RaftContext extends Membership, HardState {
  readonly id: NodeId;
  /** The leader of currentTerm, once heard from. */
  readonly leaderId: NodeId | undefined;
  /** Who granted this node's candidacy (or pre-candidacy); empty in other roles. */
  readonly votesGranted: readonly NodeId[];
  /** Recovering: the other voters that have answered. */
  readonly votersHeard: readonly NodeId[];
  /** Recovering, until they have answered: as of {@linkcode RaftInput}. */
  readonly votersRemembered: readonly NodeId[] | undefined;
  /** Leader: the node that leadership is being transferred to. */
  readonly transferee: NodeId | undefined;
}

/** What a chart starts from. */
export interface RaftInput extends Membership, HardState {
  readonly id: NodeId;
  /** The voters of a newer configuration than what is left of the log and the snapshots says. */
  readonly votersRemembered?: readonly NodeId[];
}

/** Everything the chart reacts to: messages of the current term, and events of the host. */
export type RaftEvent =
  | AppendEntries
  | AppendEntriesReply
  /** With what only the log knows: is the candidate's log at least as up-to-date as ours (s5.4.1)? */
  | (RequestVote & { readonly logIsUpToDate: boolean })
  | RequestVoteReply
  /** Also whether a leader was heard within the minimum election timeout (thesis s9.6). */
  | (PreVote & { readonly logIsUpToDate: boolean; readonly leaderIsAlive: boolean })
  | PreVoteReply
  | TimeoutNow
  | ReadIndex
  | ReadIndexReply
  | InstallSnapshot
  | InstallSnapshotReply
  /** A message carried this higher term (s5.1). */
  | { readonly type: "HigherTerm"; readonly term: Term }
  /** A message carried a lower term (s5.1). */
  | { readonly type: "StaleTerm"; readonly message: RaftMessage }
  | { readonly type: "ElectionTimeout" }
  | { readonly type: "HeartbeatTimeout" }
  /** No majority answered the leader for a whole election timeout (thesis s6.2). */
  | { readonly type: "QuorumLost" }
  /** This node starts without the log that it had (recovery.ts). */
  | { readonly type: "LogLost" }
  /** Recovering: it is time to ask again. */
  | { readonly type: "RecoveryTimeout" }
  /** Recovering: this voter has answered, and is in no higher term than this node. */
  | { readonly type: "VoterHeard"; readonly from: NodeId }
  /** Recovering: the log holds all that was committed when this node began to catch up. */
  | { readonly type: "CaughtUp" }
  /** This node's own log is durable through (term, index). */
  | { readonly type: "EntriesDurable"; readonly term: Term; readonly index: LogIndex }
  /** This node's vote for itself in `term` is durable: only now it counts. */
  | { readonly type: "VoteDurable"; readonly term: Term }
  /** Clients' requests, one batch. */
  | { readonly type: "Propose"; readonly requests: readonly Uint8Array[] }
  /** The state machine changes by itself at this log time, which has come. */
  | { readonly type: "MachineDue" }
  /** Every member's build knows this cluster version (group_config.ts). */
  | { readonly type: "RaiseClusterVersion"; readonly version: number }
  /**
   * The members are to change: `config` is in force once it is in the log. With what only the log knows:
   * may this leader change them now (membership.ts)?
   */
  | {
    readonly type: "ChangeMembers";
    readonly config: GroupConfig;
    readonly report: ChangeReport;
    readonly isSettled: boolean;
  }
  /** Another configuration is in force: its entry has come into the log, or was dropped. */
  | ({ readonly type: "MembersChanged" } & Membership)
  /** This leader's joint configuration is committed, so both halves have it. */
  | { readonly type: "JointCommitted" }
  /** These learners have caught up with this leader. */
  | { readonly type: "LearnersReady"; readonly ids: readonly NodeId[] }
  /** A configuration is committed in which this leader has no vote any more. */
  | { readonly type: "LeaderDemoted" }
  /** A configuration is committed of which this node is no member. */
  | { readonly type: "MemberRemoved" }
  /** This peer's data directory is another one than before. */
  | { readonly type: "PeerRenewed"; readonly peer: NodeId }
  /** Clients' linearizable reads, one batch. */
  | { readonly type: "Read"; readonly readIds: readonly number[] }
  | { readonly type: "TransferLeadership"; readonly to: NodeId }
  /** The transferee's log equals ours. */
  | { readonly type: "TargetCaughtUp" }
  | { readonly type: "TransferTimeout" }
  /** The log has grown so far that a snapshot is worth its while. */
  | { readonly type: "SnapshotDue" }
  /** The snapshot that was asked for is durable; so is the one before it, up to `before`. */
  | {
    readonly type: "SnapshotTaken";
    readonly snapshot: SnapshotRef;
    readonly before: LogBase | undefined;
  }
  | { readonly type: "SnapshotFailed" }
  /** A leader began to send its snapshot. */
  | { readonly type: "SnapshotOffered" }
  /** The snapshot that a leader sent is durable, and the machine holds its state. */
  | {
    readonly type: "SnapshotReceived";
    readonly snapshot: SnapshotRef;
    readonly config: ConfigEntry;
  }
  | { readonly type: "SnapshotRefused" }
  /** Entries have come that the snapshot would have covered; the rest of it is not needed. */
  | { readonly type: "SnapshotOutdated" }
  /** The newest snapshot is damaged; this is the newest now. */
  | { readonly type: "SnapshotLost"; readonly snapshot: SnapshotRef | undefined }
  /** The disk has less space than writes may be taken with. */
  | { readonly type: "SpaceLow" }
  /** The disk has no room for what is to be written. */
  | { readonly type: "SpaceNone" }
  | { readonly type: "SpaceEnough" }
  | { readonly type: "DiskSlow" }
  | { readonly type: "DiskStalled" }
  | { readonly type: "DiskRecovered" };

/** What the chart asks for and raft_core.ts has a rule for; UNEXPECTED is the host's own. */
const EFFECTS = {
  abandonReceived: effect,
  abortTransfer: effect,
  acceptEntries: effect,
  acceptPart: effect,
  advanceCommit: effect,
  appendCommands: effect,
  appendMembers: effect,
  appendTime: effect,
  appendVersion: effect,
  armElectionTimer: effect,
  askVoters: effect,
  beginCatchUp: effect,
  broadcastHeartbeat: effect,
  callSuccessor: effect,
  catchUpTarget: effect,
  compactLog: effect,
  completeReads: effect,
  disarmElectionTimer: effect,
  dropReads: effect,
  dropReceived: effect,
  endRecovery: effect,
  endTerm: effect,
  failUnexpected: effect,
  followMembers: effect,
  forwardReads: effect,
  installSnapshot: effect,
  leaveJointConfig: effect,
  noteAnswer: effect,
  noteDurable: effect,
  promoteLearners: effect,
  queueForwardedRead: effect,
  queueReads: effect,
  recordInstall: effect,
  recordMatch: effect,
  refuseChange: effect,
  refuseForSpace: effect,
  refuseForwardedRead: effect,
  refusePreVote: effect,
  refuseProposals: effect,
  refuseReads: effect,
  refuseStaleTerm: effect,
  refuseTransfer: effect,
  refuseVote: effect,
  renewPeer: effect,
  replaceSnapshot: effect,
  requestPreVotes: effect,
  requestVotes: effect,
  restartElectionTimer: effect,
  sendPreVote: effect,
  sendTimeoutNow: effect,
  sendVote: effect,
  startTerm: effect,
  takeSnapshot: effect,
};

/** The other voters that have not answered yet since this node lost its log. */
export function votersNotHeard(
  { id, votersHeard, votersRemembered, ...voters }: RaftContext,
): NodeId[] {
  return (votersRemembered ?? allVoters(voters))
    .filter((voter) => voter !== id && !votersHeard.includes(voter));
}

/** Ids stay ascending, so that equal states of the chart look alike. */
function including(ids: readonly NodeId[], id: NodeId): readonly NodeId[] {
  return ids.includes(id) ? ids : [...ids, id].sort((a, b) => a - b);
}

/** Only the leader of its term sends these. */
function isOfLeader(event: RaftEvent): event is AppendEntries | InstallSnapshot {
  return event.type === "AppendEntries" || event.type === "InstallSnapshot";
}

/** The names of the chart's effects. */
export type RaftEffect = keyof typeof EFFECTS;
/** All of them. */
export const RAFT_EFFECTS = Object.keys(EFFECTS) as readonly RaftEffect[];

const raft = setup({
  types: {} as { context: RaftContext; events: RaftEvent; input: RaftInput },
  guards: {
    isVoter: ({ context }) => allVoters(context).includes(context.id),
    diskIsUsable: not(stateIn({ disk: "stalled" })),
    hasSpace: stateIn({ space: "enough" }),
    hasRoom: not(stateIn({ space: "none" })),
    mayCampaign: and(["isVoter", "diskIsUsable", "hasRoom"]),
    mayTakeOver: and(["mayCampaign", "hasSpace"]),
    knowsLeader: ({ context, event }) => isOfLeader(event) && context.leaderId === event.from,
    allVotersHeard: ({ context }) => votersNotHeard(context).length === 0,
    hasMajority: ({ context }) => isQuorum(context.votesGranted, context),
    mayGrantVote: ({ context, event }) =>
      event.type === "RequestVote" && event.logIsUpToDate &&
      (context.votedFor === undefined || context.votedFor === event.from),
    mayGrantPreVote: ({ context, event }) =>
      event.type === "PreVote" && event.logIsUpToDate && !event.leaderIsAlive &&
      event.term > context.currentTerm,
    preVoteIsGranted: ({ context, event }) =>
      event.type === "PreVoteReply" && event.granted && event.term === context.currentTerm + 1,
    isVoteOfThisTerm: ({ context, event }) =>
      event.type === "VoteDurable" && event.term === context.currentTerm,
    voteIsGranted: ({ event }) => event.type === "RequestVoteReply" && event.granted,
    membersAreSettled: ({ event }) => event.type === "ChangeMembers" && event.isSettled,
    becomesJoint: ({ event }) => event.type === "MembersChanged" && isJoint(event),
    targetIsOtherVoter: ({ context, event }) =>
      event.type === "TransferLeadership" && event.to !== context.id &&
      context.voters.includes(event.to),
  },
  actions: {
    adoptTerm: assign(({ event }) =>
      event.type !== "HigherTerm" ? {} : {
        currentTerm: event.term,
        votedFor: undefined,
        leaderId: undefined,
        votesGranted: [],
        transferee: undefined,
      }
    ),
    followLeader: assign(({ event }) =>
      isOfLeader(event) ? { leaderId: event.from, votesGranted: [] } : {}
    ),
    forgetLeader: assign({ leaderId: undefined, votesGranted: [], transferee: undefined }),
    voteForSelf: assign(({ context }) => ({
      currentTerm: context.currentTerm + 1,
      votedFor: context.id,
      leaderId: undefined,
      votesGranted: [],
    })),
    preVoteForSelf: assign(({ context }) => ({ votesGranted: [context.id] })),
    recordOwnVote: assign(({ context }) => ({
      votesGranted: including(context.votesGranted, context.id),
    })),
    recordVote: assign(({ context, event }) =>
      "from" in event ? { votesGranted: including(context.votesGranted, event.from) } : {}
    ),
    voteForCandidate: assign(({ event }) =>
      event.type === "RequestVote" ? { votedFor: event.from } : {}
    ),
    recordHeard: assign(({ context, event }) =>
      event.type === "VoterHeard" ? { votersHeard: including(context.votersHeard, event.from) } : {}
    ),
    dropRemembered: assign({ votersRemembered: undefined }),
    // In this term it may have voted, and lost that: it votes for nobody any more.
    forfeitVote: assign(({ context }) => ({
      votedFor: context.votedFor ?? context.id,
      votersHeard: [],
    })),
    leadTerm: assign(({ context }) => ({ leaderId: context.id, votesGranted: [] })),
    nameTransferee: assign(({ event }) =>
      event.type === "TransferLeadership" ? { transferee: event.to } : {}
    ),
    dropTransferee: assign({ transferee: undefined }),
    adoptMembers: assign(({ event }) => {
      if (event.type !== "MembersChanged") return {};
      const { voters, outgoing, learners } = event;
      return { voters, outgoing, learners };
    }),
    ...EFFECTS,
  },
});

/** What the leader sends is taken; only the first of its term says who leads. */
const fromLeader = {
  AppendEntries: [
    { guard: "knowsLeader", actions: "acceptEntries" },
    { actions: ["followLeader", "acceptEntries"] },
  ],
  InstallSnapshot: [
    { guard: "knowsLeader", actions: "acceptPart" },
    { actions: ["followLeader", "acceptPart"] },
  ],
} as const;

/** Followers (s5.2): respond to RPCs from candidates and leaders; if the election timeout elapses, seek election. */
const follower = raft.createStateConfig({
  entry: "armElectionTimer",
  on: {
    ...fromLeader,
    ElectionTimeout: [
      { guard: "mayCampaign", target: "preCandidate" },
      {
        actions: ["forgetLeader", "restartElectionTimer"],
        description:
          "A learner, or a node whose disk is stalled or full, waits instead of campaigning",
      },
    ],
    TimeoutNow: [
      { guard: "mayTakeOver", target: "candidate" },
      {
        description:
          "A learner, or a node whose disk is stalled or short of space, does not take leadership over",
      },
    ],
    Read: { actions: "forwardReads" },
    ReadIndexReply: { actions: "completeReads" },
    LogLost: "recovering",
  },
});

/**
 * Recovering, after the log was lost: neither votes nor campaigns, and answers no leader before it
 * knows what it may have promised. See recovery.ts for why this is safe.
 */
const recovering = raft.createStateConfig({
  initial: "asking",
  on: {
    HigherTerm: { actions: ["adoptTerm", "dropReads"] },
    StaleTerm: { actions: ["noteAnswer", "refuseStaleTerm"] },
    ReadIndexReply: { actions: ["noteAnswer", "completeReads"] },
    VoterHeard: { actions: "recordHeard" },
    RecoveryTimeout: { actions: "askVoters" },
    CaughtUp: [
      { guard: "allVotersHeard", target: "follower", actions: ["forfeitVote", "endRecovery"] },
      { target: ".asking", actions: "endRecovery" },
    ],
    RequestVote: { actions: "refuseVote" },
    PreVote: { actions: "refusePreVote" },
    ElectionTimeout: { actions: ["forgetLeader", "restartElectionTimer"] },
  },
  states: {
    asking: {
      entry: "askVoters",
      always: { guard: "allVotersHeard", target: "catchingUp", actions: "dropRemembered" },
      on: {
        AppendEntries: { description: "It answers no leader before all voters were heard" },
        InstallSnapshot: { description: "It answers no leader before all voters were heard" },
      },
    },
    catchingUp: {
      entry: "beginCatchUp",
      on: {
        AppendEntries: [
          { guard: "knowsLeader", actions: "acceptEntries" },
          { actions: ["followLeader", "askVoters", "acceptEntries"] },
        ],
        InstallSnapshot: [
          { guard: "knowsLeader", actions: "acceptPart" },
          { actions: ["followLeader", "askVoters", "acceptPart"] },
        ],
        Read: { actions: "forwardReads" },
      },
    },
  },
});

/** PreCandidates (thesis s9.6): ask whether an election could be won before disturbing the term. */
const preCandidate = raft.createStateConfig({
  entry: ["forgetLeader", "preVoteForSelf", "dropReads", "requestPreVotes"],
  always: { guard: "hasMajority", target: "candidate" },
  on: {
    PreVoteReply: [
      { guard: "preVoteIsGranted", actions: "recordVote" },
      { description: "A refusal, or the answer to an earlier pre-candidacy" },
    ],
    AppendEntries: { target: "follower", actions: ["followLeader", "acceptEntries"] },
    InstallSnapshot: { target: "follower", actions: ["followLeader", "acceptPart"] },
    ElectionTimeout: { target: "preCandidate", reenter: true },
    TimeoutNow: "candidate",
    DiskStalled: { target: "follower", actions: "forgetLeader" },
    // A snapshot has come: what was asked for is not what would decide now.
    MembersChanged: { target: "follower", actions: "forgetLeader" },
  },
});

/** Candidates (s5.2): vote for self, ask the others, win, lose, or start over. */
const candidate = raft.createStateConfig({
  entry: ["voteForSelf", "dropReads", "requestVotes"],
  always: { guard: "hasMajority", target: "leader" },
  on: {
    VoteDurable: [
      { guard: "isVoteOfThisTerm", actions: "recordOwnVote" },
      { description: "Late: the vote of an earlier election" },
    ],
    RequestVoteReply: [
      { guard: "voteIsGranted", actions: "recordVote" },
      { description: "A refusal" },
    ],
    AppendEntries: { target: "follower", actions: ["followLeader", "acceptEntries"] },
    InstallSnapshot: { target: "follower", actions: ["followLeader", "acceptPart"] },
    ElectionTimeout: "preCandidate",
    DiskStalled: { target: "follower", actions: "forgetLeader" },
    // A snapshot has come: what was asked for is not what would decide now.
    MembersChanged: { target: "follower", actions: "forgetLeader" },
  },
});

/** Leaders (s5.3, s5.4): serving, or handing over (thesis s3.10). */
const leader = raft.createStateConfig({
  entry: ["leadTerm", "startTerm"],
  exit: ["dropReads", "endTerm"],
  initial: "serving",
  states: {
    serving: {
      on: {
        Propose: [
          { guard: "hasSpace", actions: "appendCommands" },
          { actions: "refuseForSpace" },
        ],
        MachineDue: { actions: "appendTime" },
        RaiseClusterVersion: { actions: "appendVersion" },
        ChangeMembers: [
          { guard: "membersAreSettled", actions: "appendMembers" },
          { actions: "refuseChange" },
        ],
        JointCommitted: { actions: "leaveJointConfig" },
        LearnersReady: { actions: "promoteLearners" },
        TransferLeadership: [
          { guard: "targetIsOtherVoter", target: "transferring", actions: "nameTransferee" },
          { actions: "refuseTransfer" },
        ],
      },
    },
    transferring: {
      entry: "catchUpTarget",
      on: {
        TargetCaughtUp: { actions: "sendTimeoutNow" },
        TransferTimeout: { target: "serving", actions: ["abortTransfer", "dropTransferee"] },
      },
    },
  },
  on: {
    AppendEntriesReply: { actions: "recordMatch" },
    InstallSnapshotReply: { actions: "recordInstall" },
    HeartbeatTimeout: { actions: "broadcastHeartbeat" },
    QuorumLost: { target: "follower", actions: "forgetLeader" },
    DiskStalled: { target: "follower", actions: ["callSuccessor", "forgetLeader"] },
    EntriesDurable: { actions: ["noteDurable", "advanceCommit"] },
    Read: { actions: "queueReads" },
    ReadIndex: { actions: "queueForwardedRead" },
    MembersChanged: { actions: "followMembers" },
    PeerRenewed: { actions: "renewPeer" },
    LeaderDemoted: { target: "follower", actions: ["callSuccessor", "forgetLeader"] },
    MemberRemoved: { target: "removed", actions: "callSuccessor" },
  },
});

/**
 * Removed (thesis s4.2.3): a configuration without this node is committed. It disturbs nobody: it has no
 * timer, votes for nobody, and takes nothing more. Whoever hosts it ends.
 */
const removed = raft.createStateConfig({
  entry: ["forgetLeader", "dropReads", "disarmElectionTimer", "endRecovery"],
  on: {
    HigherTerm: { actions: "adoptTerm" },
    AppendEntries: { description: "It is no member any more" },
    InstallSnapshot: { description: "It is no member any more" },
    RequestVote: { actions: "refuseVote" },
    PreVote: { actions: "refusePreVote" },
    MemberRemoved: { description: "It knows" },
  },
});

/**
 * Which role this node plays, and what every role does alike.
 *
 * Some events come late, and have no effect where no role lists them: replies to a role that was
 * left, timers that fired while their role was ending, the end of a transfer after leadership
 * ended.
 */
const role = raft.createStateConfig({
  initial: "follower",
  on: {
    HigherTerm: { target: ".follower", actions: ["adoptTerm", "dropReads"] },
    StaleTerm: { actions: "refuseStaleTerm" },
    RequestVote: [
      { guard: "mayGrantVote", actions: ["voteForCandidate", "sendVote"] },
      { actions: "refuseVote" },
    ],
    PreVote: [
      { guard: "mayGrantPreVote", actions: "sendPreVote" },
      { actions: "refusePreVote" },
    ],
    EntriesDurable: { actions: "noteDurable" },
    VoteDurable: { description: "Late: the election is over" },
    Propose: { actions: "refuseProposals" },
    Read: { actions: "refuseReads" },
    ReadIndex: { actions: "refuseForwardedRead" },
    TransferLeadership: { actions: "refuseTransfer" },
    MachineDue: { description: "Only a leader lets time pass, and not while it hands over" },
    RaiseClusterVersion: {
      description: "Only a leader changes the configuration, and not while it hands over",
    },
    AppendEntriesReply: { description: "Late: this node no longer leads" },
    InstallSnapshotReply: { description: "Late: this node no longer leads" },
    RequestVoteReply: { description: "Late: the election is over" },
    PreVoteReply: { description: "Late: the pre-vote is over" },
    ReadIndexReply: { description: "Late: the read was refused when the leader was lost" },
    TimeoutNow: { description: "Late: this node already campaigns or leads" },
    ElectionTimeout: { description: "Late: this node leads" },
    HeartbeatTimeout: { description: "Late: this node no longer leads" },
    QuorumLost: { description: "Late: this node no longer leads" },
    TargetCaughtUp: { description: "Late: the transfer ended" },
    ChangeMembers: { actions: "refuseChange" },
    JointCommitted: {
      description:
        "Only a leader goes on to the configuration behind it, once it hands over no more",
    },
    LearnersReady: { description: "Only a leader promotes, and not while it hands over" },
    LeaderDemoted: { description: "Late: this node no longer leads" },
    MemberRemoved: ".removed",
    PeerRenewed: { description: "Only a leader knows what its peers hold" },
    LogLost: { description: "Only at a start" },
    RecoveryTimeout: { description: "Late: this node has recovered" },
    VoterHeard: { description: "Late: this node has recovered" },
    CaughtUp: { description: "Late: this node has recovered" },
    TransferTimeout: { description: "Late: the transfer ended" },
  },
  states: { follower, recovering, preCandidate, candidate, leader, removed },
});

/**
 * The configuration in force: stable, or joint while the voters change (thesis s4.3). In a joint one
 * every decision needs two majorities.
 */
const members = raft.createStateConfig({
  initial: "stable",
  on: {
    MembersChanged: [
      { guard: "becomesJoint", target: ".joint", actions: "adoptMembers" },
      { target: ".stable", actions: "adoptMembers" },
    ],
  },
  states: { stable: {}, joint: {} },
});

/**
 * The condition of this node's disk. With a stalled disk nothing can become durable, so the node
 * neither leads nor campaigns until the disk recovers. A slow disk is shown, and the node leads on.
 */
const disk = raft.createStateConfig({
  initial: "healthy",
  on: {
    DiskSlow: ".slow",
    DiskStalled: ".stalled",
    DiskRecovered: ".healthy",
  },
  states: { healthy: {}, slow: {}, stalled: {} },
});

/**
 * The space on this node's disk. With little of it a leader takes no writes, so that votes, terms and
 * what is under way still find room; reads go on. With none, the node does not campaign either: its
 * vote could not become durable.
 */
const space = raft.createStateConfig({
  initial: "enough",
  on: {
    SpaceEnough: ".enough",
    SpaceLow: ".low",
    SpaceNone: ".none",
  },
  states: { enough: {}, low: {}, none: {} },
});

/**
 * What this node does for its snapshots: one at a time. It takes its own when its log has grown, and
 * receives the leader's when it needs an entry that no log holds any more. A snapshot that is being
 * taken while the leader's arrives is still finished, and compacts the log.
 */
const snapshot = raft.createStateConfig({
  initial: "none",
  on: {
    SnapshotDue: { description: "One at a time" },
    SnapshotTaken: { actions: "compactLog" },
    SnapshotFailed: {
      description: "The log has grown meanwhile, and will grow: it is tried again",
    },
    SnapshotOffered: ".receiving",
    SnapshotReceived: { target: ".none", actions: "installSnapshot" },
    SnapshotRefused: { target: ".none", actions: "dropReceived" },
    SnapshotOutdated: { target: ".none", actions: "abandonReceived" },
    SnapshotLost: { actions: "replaceSnapshot" },
  },
  states: {
    none: { on: { SnapshotDue: { target: "taking", actions: "takeSnapshot" } } },
    taking: {
      on: {
        SnapshotTaken: { target: "none", actions: "compactLog" },
        SnapshotFailed: "none",
      },
    },
    receiving: {},
  },
});

/** The chart of one group's member. Anything it does not list is a defect and fails the node. */
export const raftMachine = raft.createMachine({
  id: "raft",
  type: "parallel",
  context: ({ input }): RaftContext => ({
    id: input.id,
    currentTerm: input.currentTerm,
    votedFor: input.votedFor,
    leaderId: undefined,
    votesGranted: [],
    votersHeard: [],
    votersRemembered: input.votersRemembered,
    voters: input.voters,
    outgoing: input.outgoing,
    learners: input.learners,
    transferee: undefined,
  }),
  on: { "*": { actions: "failUnexpected" } },
  // The members first: what the roles do about another configuration, they do in it.
  states: { members, role, disk, space, snapshot },
  options: { maxIterations: 100 },
});

/** One moment of the chart. */
export type RaftSnapshot = SnapshotFrom<typeof raftMachine>;

/** The roles, in the paper's words. */
export type Role = "follower" | "recovering" | "preCandidate" | "candidate" | "leader" | "removed";
