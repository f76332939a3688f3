/**
 * One step of a chart as a function: snapshot and event in, snapshot and asked-for effects out.
 *
 * XState's exported `transition()` builds an actor on every call (9-22 us). This uses the method it
 * calls, with one inert actor scope for the whole process (2-3 us), and hands the effects over as
 * plain values instead of running them. A throw in a guard or an assign reaches the caller, so a
 * defect cannot go unnoticed.
 *
 * Most events of a busy member change neither state nor context: they only ask for effects. XState
 * selects the transitions of such an event too, guards included. What is left out is its
 * preparation for leaving and entering states, which such a step does not do (1 us).
 *
 * Where no guard has a say in an event and nothing is assigned, what it asks for and where it leads
 * depend on the snapshot alone, and are remembered with it: the steps of a member that stays what it
 * is cost a look-up (0.1 us), and so does that of a client's request which is answered at once.
 *
 * The methods are semi-internal, so the version is pinned, and tests/machines/step_test.ts compares
 * this with `transition()` on every edge of every chart.
 *
 * @module
 */
import type {
  AnyActorScope,
  AnyMachineSnapshot,
  AnyStateMachine,
  AnyTransitionDefinition,
  EventFrom,
  SnapshotFrom,
} from "xstate";

/** An effect that the chart asks for, with the context at the point where it asked. */
export interface AskedEffect<Context> {
  readonly name: string;
  readonly context: Context;
}

let collected: AskedEffect<unknown>[] = [];

const inertScope = {
  self: {},
  id: "chart",
  sessionId: "chart",
  logger: (): void => {},
  defer: (): void => {},
  emit: (): void => {},
  stopChild: (): void => {},
  system: { _sendInspectionEvent: (): void => {} },
  actionExecutor: (action: { type: string; info: { context: unknown } }): void => {
    collected.push({ name: action.type, context: action.info.context });
  },
} as unknown as AnyActorScope;

/** Takes one event. The effects come in the order in which the chart asks: exit, transition, entry. */
export function step<Machine extends AnyStateMachine>(
  machine: Machine,
  snapshot: SnapshotFrom<Machine>,
  event: EventFrom<Machine>,
): { snapshot: SnapshotFrom<Machine>; effects: AskedEffect<SnapshotFrom<Machine>["context"]>[] } {
  type Effects = AskedEffect<SnapshotFrom<Machine>["context"]>[];
  const asked = askedInPlace(machine, snapshot, event);
  if (asked !== undefined) return { snapshot, effects: asked as Effects };
  return leave(machine, snapshot, event) as { snapshot: SnapshotFrom<Machine>; effects: Effects };
}

interface Left {
  readonly snapshot: AnyMachineSnapshot;
  readonly effects: AskedEffect<unknown>[];
}

/** Takes an event that changes state or context. */
function leave(
  machine: AnyStateMachine,
  snapshot: AnyMachineSnapshot,
  event: EventFrom<AnyStateMachine>,
): Left {
  const known = rememberedLeavesOf(snapshot).get(event.type);
  if (known !== undefined) return known;
  collected = [];
  const next = machine.transition(snapshot, event, inertScope);
  const left = { snapshot: next, effects: collected };
  // Nothing was assigned, so the event had no say but by its type.
  const isPlain = next.context === snapshot.context && isUnguarded(snapshot, event.type) &&
    !hasEventless(snapshot) && !hasEventless(next);
  if (isPlain) rememberedLeavesOf(snapshot).set(event.type, left);
  return left;
}

/** Where unguarded events lead from a snapshot, by their type, if they change no context. */
const rememberedLeaves = new WeakMap<AnyMachineSnapshot, Map<string, Left>>();

function rememberedLeavesOf(snapshot: AnyMachineSnapshot): Map<string, Left> {
  let known = rememberedLeaves.get(snapshot);
  if (known === undefined) rememberedLeaves.set(snapshot, known = new Map());
  return known;
}

/** An eventless transition may depend on the event, so its state takes the long way. */
function hasEventless(snapshot: AnyMachineSnapshot): boolean {
  return snapshot._nodes.some((node) => node.always !== undefined && node.always.length > 0);
}

/** What the event asks for if it does nothing else; undefined if it may change state or context. */
function askedInPlace(
  machine: AnyStateMachine,
  snapshot: AnyMachineSnapshot,
  event: EventFrom<AnyStateMachine>,
): AskedEffect<unknown>[] | undefined {
  const known = rememberedOf(snapshot);
  const asked = known.get(event.type);
  if (asked !== undefined) return asked;
  if (hasEventless(snapshot)) return undefined;
  const { context } = snapshot;
  const effects: AskedEffect<unknown>[] = [];
  for (const transition of machine.getTransitionData(snapshot, event)) {
    const names = effectsInPlace(machine, transition);
    if (names === undefined) return undefined;
    for (const name of names) effects.push({ name, context });
  }
  if (isUnguarded(snapshot, event.type)) known.set(event.type, effects);
  return effects;
}

/** What unguarded events ask for in a snapshot, by their type. */
const remembered = new WeakMap<AnyMachineSnapshot, Map<string, AskedEffect<unknown>[]>>();

function rememberedOf(snapshot: AnyMachineSnapshot): Map<string, AskedEffect<unknown>[]> {
  let known = remembered.get(snapshot);
  if (known === undefined) remembered.set(snapshot, known = new Map());
  return known;
}

/** Whether no active state has a guard on events of this type. */
function isUnguarded(snapshot: AnyMachineSnapshot, type: string): boolean {
  return snapshot._nodes.every(({ transitions }) =>
    [...transitions.get(type) ?? [], ...transitions.get("*") ?? []]
      .every(({ guard }) => guard === undefined)
  );
}

const inPlace = new WeakMap<AnyTransitionDefinition, readonly string[] | undefined>();

/** The names of the transition's effects if it has no target and assigns nothing. */
function effectsInPlace(
  machine: AnyStateMachine,
  transition: AnyTransitionDefinition,
): readonly string[] | undefined {
  if (inPlace.has(transition)) return inPlace.get(transition);
  const names: string[] = [];
  for (const action of transition.actions as readonly (string | { readonly type: string })[]) {
    names.push(typeof action === "string" ? action : action.type);
  }
  const { actions } = machine.implementations;
  const isPlain = transition.target === undefined &&
    // XState's own actions, such as assign, carry how they are resolved.
    names.every((name) => actions[name] !== undefined && !("resolve" in actions[name]));
  const effects = isPlain ? names : undefined;
  inPlace.set(transition, effects);
  return effects;
}
