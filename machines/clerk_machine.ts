/**
 * One request of a client as a statechart: which endpoint is asked, when it is tried again, and what is
 * known of its effect. The endpoints, time and chance are events from outside and effects to be performed
 * by the host (actors/clerk_requests.ts).
 *
 * A request that may have had an effect is in doubt until somebody answers it. Where an idempotency key
 * protects it, it is asked again, and the answer is the first one's; where none does, the doubt stays.
 *
 * @module
 */
import { assign, initialTransition, setup, type SnapshotFrom } from "xstate";
import { UNEXPECTED } from "./chart_host.ts";
import { effect } from "./effects.ts";

/** Shortest pause after all endpoints were asked in vain, before jitter. */
export const CLERK_PAUSE_MS_MIN = 50;
/** Longest such pause, before jitter. */
export const CLERK_PAUSE_MS_MAX = 1_000;
/** Rounds over the endpoints that are counted; the pause has reached its longest by then. */
export const CLERK_ROUNDS_MAX = 6;

/** What becomes of an attempt, or of the request. */
export type ClerkEvent =
  /** An endpoint has answered for good: it was done, or it surely was not and will not be. */
  | { readonly type: "Answered" }
  /** The attempt surely had no effect, and another may do better. */
  | { readonly type: "Failed" }
  /** The attempt may have had its effect; nobody said so. */
  | { readonly type: "Lost" }
  | { readonly type: "PauseOver" }
  /** The request's time is up. */
  | { readonly type: "TimeUp" }
  /** The caller does not want it any more. */
  | { readonly type: "Aborted" };

/** What guards read. */
export interface ClerkContext {
  /** How many endpoints there are. */
  readonly endpoints: number;
  /** Whether it can have an effect. */
  readonly isWrite: boolean;
  /** Whether it is safe to ask again after its effect may have happened. */
  readonly mayRepeat: boolean;
  /** Endpoints asked in this round. */
  readonly asked: number;
  /** Rounds that were in vain, CLERK_ROUNDS_MAX at most. */
  readonly rounds: number;
}

const EFFECTS = { askNext: effect, armPause: effect, clearPause: effect, cancelAttempt: effect };

/** The names of the chart's effects. */
export type ClerkEffect = keyof typeof EFFECTS;

const clerk = setup({
  types: {
    context: {} as ClerkContext,
    events: {} as ClerkEvent,
    input: {} as Pick<ClerkContext, "endpoints" | "isWrite" | "mayRepeat">,
  },
  actions: {
    ...EFFECTS,
    [UNEXPECTED]: effect,
    countAttempt: assign({ asked: ({ context }) => context.asked + 1 }),
    beginRound: assign({
      asked: 0,
      rounds: ({ context }) => Math.min(CLERK_ROUNDS_MAX, context.rounds + 1),
    }),
  },
  guards: {
    othersAreLeft: ({ context }) => context.asked < context.endpoints,
    isWrite: ({ context }) => context.isWrite,
    mayNotRepeat: ({ context }) => !context.mayRepeat,
  },
});

/** An endpoint is asked; no attempt before it can have had an effect. */
const asking = clerk.createStateConfig({
  entry: ["countAttempt", "askNext"],
  on: {
    Answered: "answered",
    Failed: [{ guard: "othersAreLeft", target: "asking", reenter: true }, { target: "pausing" }],
    Lost: [
      { guard: "mayNotRepeat", target: "unknown" },
      { guard: "othersAreLeft", target: "askingInDoubt" },
      { target: "pausingInDoubt" },
    ],
    // The attempt that is under way may have its effect all the same.
    TimeUp: [
      { guard: "isWrite", target: "unknown", actions: "cancelAttempt" },
      { target: "unavailable", actions: "cancelAttempt" },
    ],
    Aborted: [
      { guard: "isWrite", target: "unknown", actions: "cancelAttempt" },
      { target: "aborted", actions: "cancelAttempt" },
    ],
  },
});

/** An endpoint is asked, and an attempt before may have had the effect. */
const askingInDoubt = clerk.createStateConfig({
  entry: ["countAttempt", "askNext"],
  on: {
    Answered: "answered",
    Failed: [
      { guard: "othersAreLeft", target: "askingInDoubt", reenter: true },
      { target: "pausingInDoubt" },
    ],
    Lost: [
      { guard: "othersAreLeft", target: "askingInDoubt", reenter: true },
      { target: "pausingInDoubt" },
    ],
    TimeUp: { target: "unknown", actions: "cancelAttempt" },
    Aborted: { target: "unknown", actions: "cancelAttempt" },
  },
});

/** All endpoints were asked in vain. */
const pausing = clerk.createStateConfig({
  entry: ["beginRound", "armPause"],
  exit: "clearPause",
  on: { PauseOver: "asking", TimeUp: "unavailable", Aborted: "aborted" },
});

/** All endpoints were asked in vain, and the effect may have happened. */
const pausingInDoubt = clerk.createStateConfig({
  entry: ["beginRound", "armPause"],
  exit: "clearPause",
  on: { PauseOver: "askingInDoubt", TimeUp: "unknown", Aborted: "unknown" },
});

/** The chart of one request. An event that a state does not list is an error of the host. */
export const clerkMachine = clerk.createMachine({
  id: "clerk",
  context: ({ input }) => ({ ...input, asked: 0, rounds: 0 }),
  initial: "asking",
  states: {
    asking,
    askingInDoubt,
    pausing,
    pausingInDoubt,
    /** Somebody has said what became of it. */
    answered: {},
    /** It surely had no effect, and nobody could do it in time. */
    unavailable: {},
    /** It may have had its effect. */
    unknown: {},
    /** It surely had no effect, and the caller does not want it any more. */
    aborted: {},
  },
  on: { "*": { actions: UNEXPECTED } },
});

/** A state of {@linkcode clerkMachine} with its context. */
export type ClerkSnapshot = SnapshotFrom<typeof clerkMachine>;

/** How a request ended. */
export type ClerkEnd = "answered" | "unavailable" | "unknown" | "aborted";

/** Snapshots are never changed, so all requests of a kind begin with the same one. */
const starts = new Map<string, ClerkSnapshot>();

/** Where the chart starts; its first effect is to ask an endpoint. */
export function startClerk(
  input: Pick<ClerkContext, "endpoints" | "isWrite" | "mayRepeat">,
): ClerkSnapshot {
  const kind = `${input.endpoints} ${input.isWrite} ${input.mayRepeat}`;
  let start = starts.get(kind);
  if (start === undefined) starts.set(kind, start = initialTransition(clerkMachine, input)[0]);
  return start;
}

/** How the request ended; undefined if it goes on. */
export function clerkEnd({ value }: ClerkSnapshot): ClerkEnd | undefined {
  return value === "answered" || value === "unavailable" || value === "unknown" ||
      value === "aborted"
    ? value
    : undefined;
}

/**
 * The pause before the next round, in milliseconds: doubled for each round in vain up to
 * CLERK_PAUSE_MS_MAX, of which a random half is taken off, so that clients do not come in step.
 *
 * @param rounds At least 1.
 * @param random From 0, inclusive, to 1, exclusive.
 */
export function clerkPauseMs(rounds: number, random: number): number {
  const longestMs = Math.min(CLERK_PAUSE_MS_MAX, CLERK_PAUSE_MS_MIN * 2 ** (rounds - 1));
  return longestMs * (1 - random / 2);
}
