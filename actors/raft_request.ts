/**
 * What a group's Raft actor is asked and answers: the only messages that it takes from other nodes,
 * and the checks that they pass on the way in.
 *
 * @module
 */
import type { Refusal } from "../machines/group_state.ts";
import type { ChangeOutcome } from "../machines/membership.ts";
import {
  ChangeError,
  changeOf,
  type ChangeRefusal,
  type MembershipChange,
} from "../machines/membership_change.ts";
import type { NodeId, Term } from "../machines/raft_types.ts";
import type { StateMachine } from "../machines/state_machine.ts";
import { NODE_ID_MAX } from "../transport/wire/limits.ts";
import { isWireObject, type WireValue } from "../transport/wire/messages.ts";
import type { NotApplied, Unknown } from "./machine_actor.ts";
import type { AnswerContract } from "./runtime/remote.ts";

/** A question to a group's Raft actor, from this node or another. Each is a call. */
export type RaftRequest =
  /** Apply a command. */
  | { readonly type: "Propose"; readonly payload: Uint8Array }
  /** Answer once a read of the asked node's store is linearizable. */
  | { readonly type: "ReadBarrier" }
  /** Hand leadership over. */
  | { readonly type: "Transfer"; readonly to: NodeId }
  /** Change the members, or say what the change would do. */
  | {
    readonly type: "ChangeMembers";
    readonly change: MembershipChange;
    readonly force: boolean;
    readonly dryRun: boolean;
  };

/** A request that surely had no effect. */
export interface Refused {
  readonly status: "refused";
  readonly reason: Refusal | "aborted" | "invalid" | "too-new" | "busy";
  /** The node to ask instead, 0 if none is known. */
  readonly leader: NodeId;
}

/** The answers to RaftRequest, of a group whose machine answers requests with `Result`. */
export type RaftAnswer<Result> =
  | Result
  | NotApplied
  | Unknown
  | Refused
  | { readonly status: "ready" }
  | { readonly status: "transferred"; readonly leader: NodeId; readonly term: Term }
  /** The members have changed, or would; or why they must not. */
  | ({ readonly status: "members" } & ChangeOutcome);

/** The request that another node's value stands for; undefined if it stands for none. */
export function raftRequestOf(value: WireValue): RaftRequest | undefined {
  if (!isWireObject(value)) return undefined;
  switch (value["type"]) {
    case "Propose": {
      const { payload } = value;
      return payload instanceof Uint8Array ? { type: "Propose", payload } : undefined;
    }
    case "ReadBarrier":
      return { type: "ReadBarrier" };
    case "Transfer": {
      const { to } = value;
      return isInteger(to, 1, NODE_ID_MAX) ? { type: "Transfer", to } : undefined;
    }
    case "ChangeMembers": {
      const { change, force, dryRun } = value;
      const read = soundChange(change);
      if (read === undefined || typeof force !== "boolean" || typeof dryRun !== "boolean") {
        return undefined;
      }
      return { type: "ChangeMembers", change: read, force, dryRun };
    }
    default:
      return undefined;
  }
}

function soundChange(value: WireValue): MembershipChange | undefined {
  try {
    return changeOf(value);
  } catch (error) {
    if (error instanceof ChangeError) return undefined;
    throw error;
  }
}

/** Raft's own answers, with the integers that each must have besides its status. */
const OWN_ANSWERS = {
  "not-applied": [],
  "unknown": [],
  "ready": [],
  "transferred": ["leader", "term"],
  "refused": ["leader"],
  "members": [],
} satisfies Record<RaftAnswer<never>["status"], readonly string[]>;

const REASONS: readonly unknown[] = [
  "not-leader",
  "transferring",
  "overloaded",
  "no-space",
  "aborted",
  "invalid",
  "too-new",
  "busy",
] satisfies readonly Refused["reason"][];

/**
 * Whether it is an answer of the machine, and not one of Raft's: a faulty node may answer a write
 * with any answer.
 */
export function isResult<Result>(answer: RaftAnswer<Result>): answer is Result {
  return !isOwn((answer as { readonly status?: unknown }).status);
}

/**
 * Turns values of other nodes into answers, of a group whose machine reads its results with
 * `resultOf`.
 */
export function raftAnswerContract<Result>(
  { resultOf }: Pick<StateMachine<Result>, "resultOf">,
): AnswerContract<RaftAnswer<Result>> {
  return (value) =>
    isWireObject(value) && isOwn(value["status"]) ? ownAnswerOf(value) : resultOf(value);
}

function ownAnswerOf(value: { readonly [key: string]: WireValue }): RaftAnswer<never> | undefined {
  const status = value["status"] as RaftAnswer<never>["status"];
  for (const name of OWN_ANSWERS[status]) {
    if (!isInteger(value[name], 0, Number.MAX_SAFE_INTEGER)) return undefined;
  }
  if (status === "refused" && !REASONS.includes(value["reason"])) return undefined;
  if (status === "members" && !isOutcome(value)) return undefined;
  return value as unknown as RaftAnswer<never>;
}

const CHANGE_REASONS: readonly unknown[] = [
  "not-leader",
  "busy",
  "invalid",
  "quorum",
  "in-use",
  "old-build",
] satisfies readonly ChangeRefusal["reason"][];

function isOutcome(
  { accepted, index, reason, detail, report }: { readonly [key: string]: WireValue },
): boolean {
  if (accepted === true) return isInteger(index, 0, Number.MAX_SAFE_INTEGER) && isReport(report);
  return accepted === false && CHANGE_REASONS.includes(reason) && typeof detail === "string" &&
    (report === undefined || isReport(report));
}

function isReport(value: WireValue): boolean {
  if (!isWireObject(value)) return false;
  const { before, between, after, behind, inUse = [], unmet = [] } = value;
  return [before, after].every(isQuorumReport) &&
    (between === undefined || (Array.isArray(between) && between.every(isQuorumReport))) &&
    isIds(inUse) && isIds(unmet) && Array.isArray(behind) &&
    behind.every((each) =>
      isWireObject(each) && isInteger(each["id"], 1, NODE_ID_MAX) &&
      isInteger(each["entries"], 0, Number.MAX_SAFE_INTEGER)
    );
}

function isQuorumReport(value: WireValue): boolean {
  if (!isWireObject(value)) return false;
  const { voters, needed, alive } = value;
  return isIds(voters) && isIds(alive) && isInteger(needed, 0, NODE_ID_MAX);
}

function isIds(list: WireValue): boolean {
  return Array.isArray(list) && list.every((id) => isInteger(id, 1, NODE_ID_MAX));
}

function isOwn(status: unknown): boolean {
  return typeof status === "string" && Object.hasOwn(OWN_ANSWERS, status);
}

function isInteger(value: unknown, min: number, max: number): value is number {
  return typeof value === "number" && Number.isSafeInteger(value) && value >= min && value <= max;
}
