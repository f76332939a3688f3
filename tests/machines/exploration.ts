/**
 * The whole Raft chart, walked by xstate/graph up to a highest term: what model_test.ts and
 * step_test.ts assert on.
 *
 * The events are complete: every type, and for each the payloads that a guard or an assign tells
 * apart. Terms are settled as raft_core.ts settles them, so a message carries the state's own term.
 *
 * @module
 */
import { type AnyStateMachine, type AnyStateNode, getMicrosteps, type SnapshotFrom } from "xstate";
import { getAdjacencyMap, getShortestPaths } from "xstate/graph";
import { evaluateGuard } from "xstate/guards";
import { type ChartTransition, describeChart } from "../../machines/chart.ts";
import { foundingConfig } from "../../machines/group_config.ts";
import type { ChangeReport } from "../../machines/membership_change.ts";
import type { SnapshotRef } from "../../machines/raft_types.ts";
import type {
  RaftEvent,
  RaftInput,
  raftMachine,
  RaftSnapshot,
} from "../../machines/raft_machine.ts";

/**
 * The regions beside the roles, and recovery, are independent of each other, and all of them together
 * would be far too many states. So the roles are explored once with each: with the events of that one
 * and without those of the others. Exploration goes on from states up to `termMax`; one more is
 * reached, and not left.
 */
const ASPECTS: readonly { readonly types: RegExp; readonly termMax: number }[] = [
  { types: /^Disk/, termMax: 3 },
  { types: /^Space/, termMax: 2 },
  { types: /^Snapshot/, termMax: 2 },
  {
    types:
      /^(ChangeMembers|MembersChanged|JointCommitted|LearnersReady|LeaderDemoted|MemberRemoved|PeerRenewed)$/,
    termMax: 2,
  },
  { types: /^(LogLost|RecoveryTimeout|VoterHeard|CaughtUp)$/, termMax: 2 },
];
/** Far above what the chart needs; reached only if it has grown a context without bounds. */
const TRAVERSALS_MAX = 200_000;

/** A snapshot of nothing: it changes no log. */
const SNAPSHOT: SnapshotRef = { index: 0, term: 0, timeMs: 0, size: 1, digest: "0".repeat(64) };

/** What a change means for the quorums, which no guard asks. */
const REPORT: ChangeReport = {
  before: { voters: [1, 2, 3], needed: 2, alive: [1, 2, 3] },
  after: { voters: [1, 2, 3], needed: 2, alive: [1, 2, 3] },
  behind: [],
};

/** The members as they were, and joint. */
const MEMBERS: readonly RaftEvent[] = [
  { type: "MembersChanged", voters: [1, 2, 3], outgoing: [], learners: [4] },
  { type: "MembersChanged", voters: [1, 2, 4], outgoing: [1, 2, 3], learners: [] },
];

/** A leader that hands over appends no configuration. */
function handsOver({ role }: RaftSnapshot["value"]): boolean {
  return typeof role !== "string" && "leader" in role && role.leader === "transferring";
}

/** A voter among three, and a learner: between them they take every guard both ways. */
export const INPUTS: Readonly<Record<"voter" | "learner", RaftInput>> = {
  voter: {
    id: 1,
    currentTerm: 1,
    votedFor: undefined,
    voters: [1, 2, 3],
    outgoing: [],
    learners: [4],
  },
  learner: {
    id: 4,
    currentTerm: 1,
    votedFor: undefined,
    voters: [1, 2, 3],
    outgoing: [],
    learners: [4],
  },
};

/** Every event with every payload that matters, as a node in this state could receive it. */
export function eventsAt({ context, value }: RaftSnapshot): RaftEvent[] {
  const { currentTerm, id } = context;
  const rpc = { group: 0, term: currentTerm };
  const log = { lastLogIndex: 0, lastLogTerm: 0 };
  const events: RaftEvent[] = [
    { type: "HigherTerm", term: currentTerm + 1 },
    {
      type: "StaleTerm",
      message: { ...rpc, type: "TimeoutNow", from: 2, term: currentTerm - 1 },
    },
    { type: "ElectionTimeout" },
    { type: "HeartbeatTimeout" },
    { type: "QuorumLost" },
    { type: "EntriesDurable", term: 1, index: 1 },
    { type: "LogLost" },
    { type: "RecoveryTimeout" },
    { type: "VoterHeard", from: 2 },
    { type: "VoterHeard", from: 3 },
    { type: "VoterHeard", from: 1 },
    { type: "CaughtUp" },
    { type: "VoteDurable", term: currentTerm },
    { type: "VoteDurable", term: currentTerm - 1 },
    { type: "Propose", requests: [new Uint8Array([1])] },
    { type: "MachineDue" },
    { type: "RaiseClusterVersion", version: 2 },
    { type: "JointCommitted" },
    { type: "LearnersReady", ids: [] },
    { type: "LeaderDemoted" },
    { type: "MemberRemoved" },
    { type: "PeerRenewed", peer: 2 },
    ...MEMBERS.filter(() => !handsOver(value)),
    ...[true, false].map((isSettled): RaftEvent => ({
      type: "ChangeMembers",
      config: { ...foundingConfig(context), outgoing: context.outgoing },
      report: REPORT,
      isSettled,
    })),
    { type: "Read", readIds: [1] },
    { type: "TransferLeadership", to: id },
    { type: "TransferLeadership", to: 2 },
    { type: "TransferLeadership", to: 4 },
    { type: "TransferLeadership", to: 9 },
    { type: "TargetCaughtUp" },
    { type: "TransferTimeout" },
    { type: "SnapshotDue" },
    { type: "SnapshotTaken", snapshot: SNAPSHOT, before: undefined },
    { type: "SnapshotFailed" },
    { type: "SnapshotOffered" },
    {
      type: "SnapshotReceived",
      snapshot: SNAPSHOT,
      config: { clusterVersion: 1, stored: undefined },
    },
    { type: "SnapshotRefused" },
    { type: "SnapshotOutdated" },
    { type: "SnapshotLost", snapshot: undefined },
    { type: "SpaceLow" },
    { type: "SpaceNone" },
    { type: "SpaceEnough" },
    { type: "DiskSlow" },
    { type: "DiskStalled" },
    { type: "DiskRecovered" },
  ];
  for (const from of [2, 3]) {
    events.push(
      {
        ...rpc,
        type: "AppendEntries",
        from,
        prevLogIndex: 0,
        prevLogTerm: 0,
        leaderCommit: 0,
        round: 0,
        runs: [],
      },
      {
        ...rpc,
        type: "AppendEntriesReply",
        from,
        accepted: true,
        matchIndex: 0,
        prevLogIndex: 0,
        conflictTerm: 0,
        conflictIndex: 0,
        round: 0,
      },
      {
        ...rpc,
        type: "InstallSnapshot",
        from,
        snapshot: SNAPSHOT,
        offset: 0,
        bytes: new Uint8Array(1),
      },
      {
        ...rpc,
        type: "InstallSnapshotReply",
        from,
        lastIncludedIndex: 0,
        installed: false,
        offset: 1,
      },
      { ...rpc, type: "TimeoutNow", from },
      { ...rpc, type: "ReadIndex", from, readId: 1, isLogLost: false },
      { ...rpc, type: "ReadIndexReply", from, readId: 1, readIndex: 1 },
    );
    for (const logIsUpToDate of [true, false]) {
      events.push({ ...rpc, ...log, type: "RequestVote", from, transfer: false, logIsUpToDate });
      for (const leaderIsAlive of [true, false]) {
        for (const term of [currentTerm, currentTerm + 1]) {
          const group = 0;
          events.push(
            { ...log, type: "PreVote", group, from, term, logIsUpToDate, leaderIsAlive },
          );
        }
      }
    }
  }
  // 4 is a learner: its yes is recorded and must not count.
  for (const from of [...new Set([id, 2, 3, 4])]) {
    for (const granted of [true, false]) {
      events.push({ ...rpc, type: "RequestVoteReply", from, granted });
      events.push({ ...rpc, type: "PreVoteReply", from, granted });
    }
    events.push({ ...rpc, type: "PreVoteReply", from, granted: true, term: currentTerm + 1 });
  }
  return events;
}

/** One step that the exploration found. */
export interface Edge<Machine extends AnyStateMachine> {
  readonly from: SnapshotFrom<Machine>;
  readonly event: RaftEvent;
  readonly to: SnapshotFrom<Machine>;
}

type Events = (state: RaftSnapshot) => RaftEvent[];

/** What the chart is explored with. */
export interface ExploreOptions {
  readonly input: RaftInput;
  readonly events?: Events;
}

/** Every step from every state that can be reached. */
export function exploreEdges(
  machine: typeof raftMachine,
  options: ExploreOptions,
): Edge<typeof raftMachine>[] {
  return ASPECTS.flatMap((_, aspect) => exploreAspect(machine, options, aspect));
}

function exploreAspect(
  machine: typeof raftMachine,
  options: ExploreOptions,
  aspect: number,
): Edge<typeof raftMachine>[] {
  const map = getAdjacencyMap(machine, traversal(options, aspect) as never);
  return Object.values(map).flatMap(({ state, transitions }) =>
    Object.values(transitions).map((step) => ({
      from: state as RaftSnapshot,
      event: (step as { event: RaftEvent }).event,
      to: (step as { state: RaftSnapshot }).state,
    }))
  );
}

/** The shortest way to every state that can be reached, as the events to send. */
export function explorePaths(
  machine: typeof raftMachine,
  options: ExploreOptions,
): { readonly state: RaftSnapshot; readonly events: readonly RaftEvent[] }[] {
  const paths = ASPECTS.flatMap((_, aspect) =>
    getShortestPaths(machine, traversal(options, aspect) as never).map(({ state, steps }) => ({
      state: state as RaftSnapshot,
      events: steps.map(({ event }) => event as RaftEvent).filter(({ type }) =>
        (type as string) !== "xstate.init"
      ),
    }))
  );
  // What the aspects share is walked once.
  return [...new Map(paths.map((path) => [nameOf(path.state), path])).values()];
}

/** A name for a state that two equal states share. */
export function nameOf({ value, context }: RaftSnapshot): string {
  return JSON.stringify([value, context]);
}

/** The transitions of a chart, each with the name that {@linkcode takenBy} gives it. */
export function namedTransitions(
  machine: AnyStateMachine,
): (ChartTransition & { readonly name: string })[] {
  const seen = new Map<string, number>();
  return describeChart(machine).transitions.map((transition) => {
    const { from, event } = transition;
    const nth = seen.get(`${from} ${event}`) ?? 0;
    seen.set(`${from} ${event}`, nth + 1);
    return { ...transition, name: nameOfTransition(from, event, nth) };
  });
}

/** The names of the transitions that one step takes, those taken at once after it included. */
export function takenBy(
  machine: AnyStateMachine,
  { from, event }: { readonly from: RaftSnapshot; readonly event: RaftEvent },
): string[] {
  const names = (machine.getTransitionData(from, event) as unknown as Transition[]).map(
    (transition) => {
      const { source, eventType } = transition;
      const candidates = source.transitions.get(eventType) as unknown as Transition[];
      return nameOfTransition(pathOf(source), eventType, candidates.indexOf(transition));
    },
  );
  const microsteps = getMicrosteps(machine, from, event).map(([snapshot]) =>
    snapshot as RaftSnapshot
  );
  for (const snapshot of microsteps.slice(0, -1)) {
    for (const node of snapshot._nodes as unknown as AnyStateNode[]) {
      const nth = (node.always ?? []).findIndex(({ guard }) =>
        guard === undefined || evaluateGuard(guard as never, snapshot.context, event, snapshot)
      );
      if (nth >= 0) names.push(nameOfTransition(pathOf(node), "", nth));
    }
  }
  return names;
}

interface Transition {
  readonly source: AnyStateNode;
  readonly eventType: string;
}

function traversal(
  { input, events = eventsAt }: ExploreOptions,
  aspect: number,
): Record<string, unknown> {
  const { termMax } = ASPECTS[aspect]!;
  const others = ASPECTS.filter((_, at) => at !== aspect);
  return {
    input,
    events: (state: RaftSnapshot) =>
      events(state).filter(({ type }) => !others.some(({ types }) => types.test(type))),
    limit: TRAVERSALS_MAX,
    stopWhen: ({ context }: RaftSnapshot) => context.currentTerm > termMax,
  };
}

function pathOf(node: AnyStateNode): string {
  return node.path.join(".");
}

function nameOfTransition(from: string, event: string, nth: number): string {
  return `${from} on ${event === "" ? "(at once)" : event} #${nth}`;
}
