/**
 * One step of a chart as a function: snapshot and event in, snapshot and asked-for effects out.
 *
 * XState's exported `transition()` builds an actor on every call (9-22 us). This uses the method it
 * calls, with one inert actor scope for the whole process (2-3 us), and hands the effects over as
 * plain values instead of running them. A throw in a guard or an assign reaches the caller, so a
 * defect cannot go unnoticed. The method is semi-internal: the version is pinned, and
 * tests/machines/step_test.ts compares it with `transition()` on every edge of every chart.
 *
 * @module
 */
import type { AnyActorScope, AnyStateMachine, EventFrom, SnapshotFrom } from "xstate";

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
  collected = [];
  const next = machine.transition(snapshot, event, inertScope) as SnapshotFrom<Machine>;
  return { snapshot: next, effects: collected as AskedEffect<SnapshotFrom<Machine>["context"]>[] };
}
