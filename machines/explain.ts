/**
 * Why this node is in its role, and what each possible transition waits for, in sentences: what an
 * operator reads at night to find out why there is no leader.
 *
 * Guards are evaluated by XState on the machine that runs; this file only words them.
 *
 * @module
 */
import { evaluateGuard } from "xstate/guards";
import { activePaths, describeChart } from "./chart.ts";
import type { GroupState } from "./group_state.ts";
import { allVoters, halvesOf, isJoint, isQuorum, majority, type Voters } from "./quorum.ts";
import { roleOf } from "./raft_step.ts";
import type { NodeId, Term } from "./raft_types.ts";
import {
  type RaftContext,
  type RaftEvent,
  raftMachine,
  type RaftSnapshot,
  votersNotHeard,
} from "./raft_machine.ts";

/** One transition that the present states offer. */
export interface Possibility {
  /** Path of the state that offers it. */
  readonly from: string;
  /** The event's type. */
  readonly event: string;
  /** Path of the state that it leads to; absent if the present one is not left. */
  readonly target?: string;
  /** Effects, in order. */
  readonly actions: readonly string[];
  /** The guard in words; absent if there is none. */
  readonly guard?: string;
  /** Whether the guard holds now; undefined if that depends on the event. */
  readonly holds?: boolean;
  /** What the guard asks, and how it stands. */
  readonly sentence: string;
}

/** The link to another member, as the process around the core knows it. */
export interface LinkFact {
  /** The other member. */
  readonly peer: NodeId;
  /** Whether messages pass now. */
  readonly isUp: boolean;
  /** For how long it has been up or down, in milliseconds. */
  readonly forMs: number;
  /** What ended the last connection or kept it from coming up; empty if nothing did yet. */
  readonly detail: string;
  /** Why one of the two refuses the other; absent if neither does. */
  readonly refusal?: string;
  /** Whether it is refused because one of the two has another data directory than before. */
  readonly isDirectoryLost: boolean;
}

/** What the process around the core knows, for {@linkcode explain}. */
export interface Surroundings {
  /** One for every other member. */
  readonly links: readonly LinkFact[];
  /** The last leader that this node heard of or was itself; undefined if none since its start. */
  readonly lastLeader:
    | { readonly id: NodeId; readonly term: Term; readonly agoMs: number }
    | undefined;
  /** Since the start of this node, in milliseconds. */
  readonly upForMs: number;
}

/** What stands in the way of this node, or may soon. */
export interface Cause {
  /** What kind of cause it is, for programs. */
  readonly code:
    | "disk-slow"
    | "disk-stalled"
    | "disk-full"
    | "log-lost"
    | "joint"
    | "removed"
    | "space-low"
    | "no-leader"
    | "no-quorum"
    | "link-down"
    | "refused"
    | "directory-lost"
    | "silent-voters";
  /** The members it is about. */
  readonly nodes: readonly NodeId[];
  /** For how long, in milliseconds; absent if that is not known. */
  readonly forMs?: number;
  /** What it is, for people. */
  readonly sentence: string;
}

/** The answer to "why is this node in this role?". */
export interface Explanation {
  /** Paths of the states that are active. */
  readonly states: readonly string[];
  /** One sentence for people. */
  readonly summary: string;
  /** What stands in the way, the gravest cause first; empty if nothing does. */
  readonly causes: readonly Cause[];
  /** What the present states react to. */
  readonly possibilities: readonly Possibility[];
}

interface GuardText {
  /** Whether the guard can be evaluated before an event arrives. */
  readonly needsEvent: boolean;
  readonly sentence: (context: RaftContext) => string;
}

const list = (ids: readonly number[]): string => ids.length === 0 ? "nobody" : ids.join(", ");

/** How many of a quorum there are: of both halves while the voters change. */
function countOf(ids: readonly NodeId[], voters: Voters): string {
  return halvesOf(voters)
    .map((half) => `${half.filter((voter) => ids.includes(voter)).length} of ${half.length}`)
    .join(" and ");
}

/** How many a quorum needs, of both halves while the voters change. */
function neededOf(voters: Voters): string {
  return halvesOf(voters).map(({ length }) => majority(length)).join(" and ");
}

/** The voters; while they change, those to be and those before. */
function votersText({ voters, outgoing }: Voters): string {
  return outgoing.length === 0 ? list(voters) : `${list(voters)}, and until then ${list(outgoing)}`;
}

function notAmongVoters(context: RaftContext): string {
  return `Node ${context.id} is not among the voters (${
    votersText(context)
  }), so it may not campaign`;
}

/** One sentence for every guard of the chart; a test fails when a guard has none. */
export const guardTexts: Readonly<Record<string, GuardText>> = {
  isVoter: {
    needsEvent: false,
    sentence: (context) =>
      allVoters(context).includes(context.id)
        ? `Node ${context.id} is a voter`
        : notAmongVoters(context),
  },
  diskIsUsable: {
    needsEvent: false,
    sentence: () => "This node's disk must not be stalled",
  },
  hasSpace: {
    needsEvent: false,
    sentence: () => "This node's disk must have more space left than writes may be taken with",
  },
  hasRoom: {
    needsEvent: false,
    sentence: () => "This node's disk must have room for a vote",
  },
  mayTakeOver: {
    needsEvent: false,
    sentence: ({ id }) =>
      `Node ${id} may take leadership over if it may campaign and its disk has space left`,
  },
  mayCampaign: {
    needsEvent: false,
    sentence: (context) =>
      allVoters(context).includes(context.id)
        ? `Node ${context.id} is a voter and may campaign unless its disk is stalled or full`
        : notAmongVoters(context),
  },
  knowsLeader: {
    needsEvent: true,
    sentence: ({ leaderId, currentTerm }) =>
      leaderId === undefined
        ? `No leader of term ${currentTerm} has been heard yet`
        : `Entries come from the known leader of term ${currentTerm}, node ${leaderId}`,
  },
  allVotersHeard: {
    needsEvent: false,
    sentence: (context) =>
      `Every other voter must have answered once; not heard: ${list(votersNotHeard(context))}`,
  },
  hasMajority: {
    needsEvent: false,
    sentence: (context) =>
      `${countOf(context.votesGranted, context)} voters said yes (${
        list(context.votesGranted)
      }), ` +
      `${neededOf(context)} are needed; silent or unwilling: ` +
      list(allVoters(context).filter((voter) => !context.votesGranted.includes(voter))),
  },
  mayGrantVote: {
    needsEvent: true,
    sentence: ({ votedFor, currentTerm }) =>
      votedFor === undefined
        ? `This node has not voted in term ${currentTerm}; it votes for a candidate whose log is at least as up-to-date as its own`
        : `This node voted for node ${votedFor} in term ${currentTerm} and votes for nobody else in it`,
  },
  mayGrantPreVote: {
    needsEvent: true,
    sentence: ({ currentTerm }) =>
      `A pre-vote is granted for a term above ${currentTerm}, to a log at least as up-to-date as ` +
      "this node's, and only if no leader was heard for the minimum election timeout",
  },
  preVoteIsGranted: {
    needsEvent: true,
    sentence: ({ currentTerm }) =>
      `Only a yes for term ${currentTerm + 1}, which this pre-candidacy is about, counts`,
  },
  isVoteOfThisTerm: {
    needsEvent: true,
    sentence: ({ currentTerm }) =>
      `This node's own vote counts once its disk holds it in term ${currentTerm}`,
  },
  voteIsGranted: {
    needsEvent: true,
    sentence: ({ currentTerm }) => `Only a yes for term ${currentTerm} counts`,
  },
  membersAreSettled: {
    needsEvent: true,
    sentence: ({ outgoing }) =>
      outgoing.length > 0
        ? "Another change of the members is under way"
        : "The members change one change at a time: what is in force must be committed, and an entry " +
          "of this leader's term too",
  },
  becomesJoint: {
    needsEvent: true,
    sentence: () => "The voters change: until that is committed, two majorities are needed",
  },
  targetIsOtherVoter: {
    needsEvent: true,
    sentence: ({ id, voters }) =>
      `Leadership goes to another voter: ${list(voters.filter((voter) => voter !== id))}`,
  },
};

/** Explains the present moment of a group's chart. */
export function explain(
  snapshot: RaftSnapshot,
  state: Readonly<GroupState>,
  surroundings: Surroundings,
): Explanation {
  const states = activePaths(snapshot.value);
  const { context } = snapshot;
  const listed = describeChart(raftMachine).transitions
    .filter(({ from, event }) => states.includes(from) && event !== "*");
  const possibilities = listed
    .filter(({ from, event }) =>
      // A state that always answers an event hides what the states around it do on that event.
      !listed.some((inner) =>
        inner.event === event && inner.guard === undefined && inner.from.startsWith(`${from}.`)
      )
    )
    .map(({ from, event, guard, target, actions, description }): Possibility => {
      const text = guard === undefined ? undefined : guardTexts[guard];
      const holds = guard === undefined || text === undefined || text.needsEvent
        ? undefined
        : evaluateGuard(guard, context, { type: event } as RaftEvent, snapshot);
      return {
        from,
        event: event === "" ? "(at once)" : event,
        ...(target === undefined ? {} : { target }),
        actions,
        ...(guard === undefined ? {} : { guard }),
        ...(holds === undefined ? {} : { holds }),
        sentence: text?.sentence(context) ?? description ?? "Always",
      };
    });
  return {
    states,
    summary: summarize(states, context, state),
    causes: causesOf(snapshot, state, surroundings),
    possibilities,
  };
}

/** What stands in the way of this node, the gravest cause first. */
export function causesOf(
  snapshot: RaftSnapshot,
  state: Readonly<GroupState>,
  { links, lastLeader, upForMs }: Surroundings,
): Cause[] {
  const { context, value: { disk, space } } = snapshot;
  const { id, leaderId, currentTerm } = context;
  const voters = allVoters(context);
  const causes: Cause[] = [];
  if (disk === "stalled") {
    const sentence = `The disk of node ${id} is stalled, so it neither leads nor campaigns`;
    causes.push({ code: "disk-stalled", nodes: [id], sentence });
  }
  if (space === "none") {
    const sentence = `The disk of node ${id} is full, so nothing that it is told becomes durable`;
    causes.push({ code: "disk-full", nodes: [id], sentence });
  }
  if (roleOf(snapshot) === "recovering") {
    const { role } = snapshot.value;
    const isAsking = typeof role === "object" && "recovering" in role &&
      role.recovering === "asking";
    const missing = isAsking ? votersNotHeard(context) : [];
    const waits = missing.length > 0
      ? `; it waits for an answer of ${list(missing)}`
      : leaderId === undefined
      ? `; ${neededOf(context)} other voters must elect a leader without it`
      : "";
    const sentence =
      `The log of node ${id} was lost or damaged, so it neither votes nor campaigns ` +
      `until it has fetched it from the others${waits}`;
    causes.push({ code: "log-lost", nodes: missing, sentence });
  }
  if (roleOf(snapshot) === "removed") {
    const sentence =
      `Node ${id} was removed from the cluster, so it takes part in nothing any more`;
    return [...causes, { code: "removed", nodes: [id], sentence }];
  }
  if (isJoint(context)) {
    const sentence = `The voters are changing from ${list(context.outgoing)} to ` +
      `${list(context.voters)}: until that is committed, a majority of both is needed`;
    causes.push({ code: "joint", nodes: voters, sentence });
  }
  if (leaderId === undefined) {
    const forMs = lastLeader?.agoMs ?? upForMs;
    const heard = lastLeader === undefined
      ? `none was heard since this node started ${seconds(upForMs)} ago`
      : lastLeader.id === id
      ? `this node led term ${lastLeader.term} until ${seconds(forMs)} ago`
      : `node ${lastLeader.id} was last heard as leader of term ${lastLeader.term}, ` +
        `${seconds(forMs)} ago`;
    const sentence = `No leader is known in term ${currentTerm}: ${heard}`;
    causes.push({ code: "no-leader", nodes: lastLeader ? [lastLeader.id] : [], forMs, sentence });
  }
  const down = links.filter(({ isUp }) => !isUp);
  const unreached = voters.filter((voter) => down.some(({ peer }) => peer === voter));
  const reached = voters.filter((voter) => !unreached.includes(voter));
  if (!isQuorum(reached, context)) {
    const sentence = `This node reaches ${countOf(reached, context)} voters, itself included; ` +
      `${neededOf(context)} are needed; without a link: ${list(unreached)}`;
    causes.push({ code: "no-quorum", nodes: unreached, sentence });
  }
  for (const link of down) causes.push(causeOfLink(link));
  const { electionTimeoutMsMax } = state.timing;
  const silent = [...state.leadership?.progress ?? []].filter(([peer, { lastContactMs }]) =>
    voters.includes(peer) && state.nowMs - lastContactMs >= electionTimeoutMsMax
  );
  if (silent.length > 0) {
    const forMs = Math.min(...silent.map(([, { lastContactMs }]) => state.nowMs - lastContactMs));
    const nodes = silent.map(([peer]) => peer);
    const sentence = `Voters that have not answered this leader for ${seconds(forMs)}: ` +
      list(nodes);
    causes.push({ code: "silent-voters", nodes, forMs, sentence });
  }
  if (disk === "slow") {
    const sentence = `The disk of node ${id} is slow, and every write waits for it`;
    causes.push({ code: "disk-slow", nodes: [id], sentence });
  }
  if (space === "low") {
    const sentence =
      `The disk of node ${id} has little space left, so as leader it takes no writes`;
    causes.push({ code: "space-low", nodes: [id], sentence });
  }
  return causes;
}

function causeOfLink({ peer, forMs, detail, refusal, isDirectoryLost }: LinkFact): Cause {
  const since = `The link to node ${peer} has been down for ${seconds(forMs)}`;
  if (refusal !== undefined) {
    const code = isDirectoryLost ? "directory-lost" : "refused";
    return { code, nodes: [peer], forMs, sentence: `${since}, refused: ${refusal}` };
  }
  const why = detail === "" ? "" : ` (${detail})`;
  return { code: "link-down", nodes: [peer], forMs, sentence: `${since}${why}` };
}

function seconds(ms: number): string {
  return `${(Math.max(0, ms) / 1_000).toFixed(1)} s`;
}

/** An explanation as text, for a terminal. */
export function explanationToText({ summary, causes, possibilities }: Explanation): string {
  const isIdle = ({ target, actions }: Possibility): boolean =>
    target === undefined && actions.length === 0;
  const sections: [string, string[]][] = [
    ["In the way:", causes.map(({ sentence }) => `- ${sentence}`)],
    ["What may happen next:", possibilities.filter((each) => !isIdle(each)).map(lineOf)],
    ["What changes nothing now:", possibilities.filter(isIdle).map(lineOf)],
  ];
  const told = sections.filter(([, lines]) => lines.length > 0);
  return [summary, ...told.flatMap(([title, lines]) => ["", title, ...lines])].join("\n") + "\n";
}

function lineOf(
  { event, target, actions, guard, holds, sentence }: Possibility,
): string {
  const effect = [
    ...(target === undefined ? [] : [`-> ${target}`]),
    ...(actions.length === 0 ? [] : [`/ ${actions.join(", ")}`]),
  ].join(" ");
  const stands = holds === undefined ? "" : holds ? ": yes" : ": no";
  const condition = guard === undefined ? "" : ` [${guard}${stands}]`;
  return `- ${event}${condition}${effect === "" ? "" : ` ${effect}`}: ${sentence}`;
}

function summarize(
  states: readonly string[],
  context: RaftContext,
  state: Readonly<GroupState>,
): string {
  const { currentTerm, leaderId, votedFor, votesGranted, transferee } = context;
  const inMs = (deadlineMs: number): number => Math.max(0, Math.round(deadlineMs - state.nowMs));
  const disk = states.includes("disk.healthy")
    ? ""
    : states.includes("disk.slow")
    ? "; its disk is slow"
    : "; its disk is stalled, so it neither leads nor campaigns";
  if (states.includes("role.leader")) {
    const heard = [...state.leadership?.progress ?? []].filter(([, progress]) =>
      state.nowMs - progress.lastContactMs < state.timing.electionTimeoutMsMax
    ).map(([id]) => id);
    const handing = transferee === undefined ? "" : `; it is handing over to node ${transferee}`;
    return `Leader of term ${currentTerm}: ${countOf([...heard, context.id], context)} voters ` +
      `answer, ${neededOf(context)} are needed to stay leader${handing}${disk}`;
  }
  if (states.includes("role.recovering")) {
    const step = states.includes("role.recovering.asking")
      ? `it waits for an answer of ${
        list(votersNotHeard(context))
      } before it takes part in anything`
      : leaderId === undefined
      ? "it waits for a leader"
      : `it fetches its log from node ${leaderId}`;
    return `Recovering in term ${currentTerm}, since its log was lost or damaged: ${step}; it ` +
      `neither votes nor campaigns${disk}`;
  }
  if (states.includes("role.preCandidate")) {
    return `PreCandidate: no leader is heard; ${
      countOf(votesGranted, context)
    } voters would elect ` +
      `this node in term ${currentTerm + 1}, ${neededOf(context)} are needed${disk}`;
  }
  if (states.includes("role.candidate")) {
    return `Candidate in term ${currentTerm}: ${countOf(votesGranted, context)} votes, ` +
      `${neededOf(context)} are needed${disk}`;
  }
  if (states.includes("role.removed")) {
    return "Removed: the cluster has agreed on members without this node; it takes part in nothing " +
      "any more";
  }
  const vote = votedFor === undefined ? "" : `; it voted for node ${votedFor} in this term`;
  return leaderId === undefined
    ? `Follower without a leader in term ${currentTerm}; it seeks election in ` +
      `${inMs(state.electionDeadlineMs ?? state.nowMs)} ms unless a leader is heard${vote}${disk}`
    : `Follower of node ${leaderId} in term ${currentTerm}; it seeks election if nothing is heard ` +
      `for ${inMs(state.electionDeadlineMs ?? state.nowMs)} ms more${vote}${disk}`;
}
