/**
 * A step of the Raft chart as facts that a reader can use: for the log, the transcript, the timeline
 * and the dashboard, which all observe the same steps.
 *
 * @module
 */
import { activePaths } from "./chart.ts";
import type { ChartStep } from "./chart_host.ts";
import type { RaftEvent, raftMachine, RaftSnapshot, Role } from "./raft_machine.ts";
import type { NodeId, Term } from "./raft_types.ts";

/** One step of a group's chart. */
export type RaftStep = ChartStep<typeof raftMachine>;

/** A change of role or leader. */
export interface RoleChange {
  readonly from: Role;
  readonly to: Role;
  /** The type of the event that caused it. */
  readonly cause: RaftEvent["type"];
  readonly term: Term;
  readonly leaderId: NodeId | undefined;
}

/** The chart has gone from some of its states to others, or follows another leader or term. */
export interface Transition {
  /** Paths of the states that were active, parents before children. */
  readonly from: readonly string[];
  /** Paths of those that are now. */
  readonly to: readonly string[];
  /** The type of the event that caused it. */
  readonly cause: RaftEvent["type"];
  readonly role: Role;
  readonly term: Term;
  readonly leader: NodeId | undefined;
}

/** The role in a snapshot's state value. */
export function roleOf(snapshot: RaftSnapshot): Role {
  const { role } = snapshot.value;
  if (typeof role === "string") return role;
  return "leader" in role ? "leader" : "recovering";
}

/** What the step changed of role and leader; undefined if it changed neither. */
export function roleChangeOf({ event, from, to }: RaftStep): RoleChange | undefined {
  if (from === to) return undefined;
  const was = roleOf(from);
  const is = roleOf(to);
  const { currentTerm: term, leaderId } = to.context;
  if (was === is && from.context.leaderId === leaderId) return undefined;
  return { from: was, to: is, cause: event.type, term, leaderId };
}

/** Where the step led; undefined if the chart is where it was. */
export function transitionOf({ event, from, to }: RaftStep): Transition | undefined {
  if (from === to) return undefined;
  const { currentTerm: term, leaderId: leader } = to.context;
  const was = activePaths(from.value);
  const is = activePaths(to.value);
  const isSame = was.length === is.length && was.every((path, at) => path === is[at]) &&
    from.context.leaderId === leader && from.context.currentTerm === term;
  if (isSame) return undefined;
  return { from: was, to: is, cause: event.type, role: roleOf(to), term, leader };
}

/**
 * A change as an event and its fields: the one format of log lines, transcripts and plays.
 *
 * @example
 * ```
 * role from=candidate to=leader cause=RequestVoteReply term=7 leader=2
 * ```
 */
export function describeRoleChange(
  { from, to, cause, term, leaderId }: RoleChange,
): { readonly event: string; readonly fields: { readonly [field: string]: string | number } } {
  const leader = leaderId ?? "none";
  return from === to
    ? { event: "leader", fields: { term, leader } }
    : { event: "role", fields: { from, to, cause, term, leader } };
}
