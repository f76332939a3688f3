/**
 * One connection to one peer as a statechart: dialling, greeting, health, back-off.
 *
 * Of two nodes the one with the larger id dials and the other waits, so that there is one
 * connection for each pair. Time, the network and chance are events from outside and effects to
 * be performed by the host (actors/peer_link.ts).
 *
 * @module
 */
import { assign, initialTransition, setup, type SnapshotFrom } from "xstate";
import { UNEXPECTED } from "./chart_host.ts";
import { effect } from "./effects.ts";

/** Shortest pause before dialling again, before jitter. */
export const BACK_OFF_MS_MIN = 50;
/** Longest pause before dialling again, before jitter. */
export const BACK_OFF_MS_MAX = 2_000;
/** Failures in a row that are counted; the pause has reached its longest by then. */
export const FAILURES_MAX = 7;
/** Pause after a refusal. Only an operator can remove its cause, so there is no hurry. */
export const REFUSED_MS = 5_000;
/** How long a dial may take. */
export const DIAL_MS_MAX = 2_000;
/**
 * How long the answer to a hello may take; also how long this node waits for the hello of a peer
 * that dialled.
 */
export const GREETING_MS_MAX = 2_000;
/** Silence after which a healthy connection is suspected and pinged; also the interval of pings. */
export const IDLE_MS_MAX = 500;
/** Silence of a suspected connection after which it is given up as half open. */
export const SUSPECT_MS_MAX = 1_500;

/** What happens to a connection. `TimedOut`: the time limit of the state that is active has passed. */
export type PeerEvent =
  | { readonly type: "Start" }
  | { readonly type: "Stop" }
  | { readonly type: "Opened" }
  | { readonly type: "Closed" }
  | { readonly type: "Welcomed" }
  | { readonly type: "Refused"; readonly reason: string }
  | { readonly type: "Accepted" }
  | { readonly type: "Idle" }
  | { readonly type: "Heard" }
  | { readonly type: "TimedOut" };

/** What guards read; plain values, so that a snapshot can be printed and explored. */
export interface PeerContext {
  /** Whether this side dials. */
  readonly dials: boolean;
  /** Dials that failed or connections that were lost since the last welcome, FAILURES_MAX at most. */
  readonly failures: number;
  /** Why the last hello was refused, by the peer if this side dials, else by this side. */
  readonly refusal: string | undefined;
}

/** What the host has to do, in order, before it takes the next event. */
const EFFECTS = {
  dial: effect,
  closeConnection: effect,
  adoptConnection: effect,
  sendHello: effect,
  sendPing: effect,
  armDialTimer: effect,
  armGreetingTimer: effect,
  armIdleTimer: effect,
  armSuspectTimer: effect,
  armBackOffTimer: effect,
  armRefusedTimer: effect,
  clearTimer: effect,
  announceUp: effect,
  announceLost: effect,
};

/** The names of the chart's effects. */
export type PeerEffect = keyof typeof EFFECTS;

const peer = setup({
  types: {
    context: {} as PeerContext,
    events: {} as PeerEvent,
    input: {} as { readonly dials: boolean },
  },
  actions: {
    ...EFFECTS,
    [UNEXPECTED]: effect,
    countFailure: assign({
      failures: ({ context }) => Math.min(FAILURES_MAX, context.failures + 1),
    }),
    forgetFailures: assign({ failures: 0, refusal: undefined }),
    noteRefusal: assign({
      refusal: ({ context, event }) => event.type === "Refused" ? event.reason : context.refusal,
    }),
  },
  guards: {
    dials: ({ context }) => context.dials,
    waits: ({ context }) => !context.dials,
  },
});

/** Not started. */
const idle = peer.createStateConfig({
  on: {
    Start: [{ guard: "dials", target: "connecting" }, { target: "waiting" }],
  },
});

/** A dial is under way. */
const connecting = peer.createStateConfig({
  entry: ["dial", "armDialTimer"],
  exit: "clearTimer",
  on: {
    Opened: "greeting",
    Closed: "backingOff",
    TimedOut: { target: "backingOff", actions: "closeConnection" },
  },
});

/** The hello is sent, its answer awaited. */
const greeting = peer.createStateConfig({
  entry: ["sendHello", "armGreetingTimer"],
  exit: "clearTimer",
  on: {
    Welcomed: "connected",
    Refused: { target: "refused", actions: ["noteRefusal", "closeConnection"] },
    Closed: "backingOff",
    TimedOut: { target: "backingOff", actions: "closeConnection" },
  },
});

/** Both sides know each other; messages flow. */
const connected = peer.createStateConfig({
  entry: ["forgetFailures", "announceUp"],
  exit: ["clearTimer", "announceLost"],
  initial: "healthy",
  states: {
    healthy: {
      entry: "armIdleTimer",
      on: { Idle: "suspect" },
    },
    suspect: {
      entry: ["sendPing", "armSuspectTimer"],
      on: {
        Heard: "healthy",
        TimedOut: [
          { guard: "dials", target: "#peer.backingOff", actions: "closeConnection" },
          { target: "#peer.waiting", actions: "closeConnection" },
        ],
      },
    },
  },
  on: {
    Accepted: {
      guard: "waits",
      target: "connected",
      reenter: true,
      actions: ["closeConnection", "adoptConnection"],
      description: "The peer has dialled again: the connection held is half open",
    },
    Refused: {
      guard: "waits",
      actions: "noteRefusal",
      description:
        "The peer has dialled again and was refused: the connection held is with another process",
    },
    Closed: [{ guard: "dials", target: "backingOff" }, { target: "waiting" }],
  },
});

/** The last attempt failed; the next one comes after a pause. */
const backingOff = peer.createStateConfig({
  entry: ["countFailure", "armBackOffTimer"],
  exit: "clearTimer",
  on: { TimedOut: "connecting" },
});

/** The peer dials, and this node waits for it. */
const waiting = peer.createStateConfig({
  on: {
    Accepted: { target: "connected", actions: "adoptConnection" },
    Refused: { actions: "noteRefusal" },
  },
});

/** The peer refused this node. Only a change of configuration helps, so this node asks rarely. */
const refused = peer.createStateConfig({
  entry: "armRefusedTimer",
  exit: "clearTimer",
  on: { TimedOut: "connecting" },
});

/** Stopped for good. */
const stopped = peer.createStateConfig({
  on: {
    Stop: { description: "Stopping twice is stopping once" },
  },
});

/** The chart of one peer. An event that a state does not list is an error of the host. */
export const peerMachine = peer.createMachine({
  id: "peer",
  context: ({ input }) => ({ dials: input.dials, failures: 0, refusal: undefined }),
  initial: "idle",
  states: { idle, connecting, greeting, connected, backingOff, waiting, refused, stopped },
  on: {
    Stop: { target: ".stopped", actions: "closeConnection" },
    "*": { actions: UNEXPECTED },
  },
});

/** A state of {@linkcode peerMachine} with its context. */
export type PeerSnapshot = SnapshotFrom<typeof peerMachine>;

/** Where the chart starts. */
export function startPeer(input: { readonly dials: boolean }): PeerSnapshot {
  return initialTransition(peerMachine, input)[0];
}

/**
 * The pause before the next dial, in milliseconds: doubled for each failure in a row up to
 * BACK_OFF_MS_MAX, of which a random half is taken off, so that nodes do not dial in step.
 *
 * @param failures At least 1.
 * @param random From 0, inclusive, to 1, exclusive.
 */
export function backOffMs(failures: number, random: number): number {
  const longestMs = Math.min(BACK_OFF_MS_MAX, BACK_OFF_MS_MIN * 2 ** (failures - 1));
  return longestMs * (1 - random / 2);
}
