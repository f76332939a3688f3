/**
 * Runs a chart: takes one event after the other, hands the effects that the chart asks for to its
 * owner in order, and shows every step to one observer. Every chart of the project runs here.
 *
 * @module
 */
import type { AnyStateMachine, EventFrom, SnapshotFrom } from "xstate";
import { type AskedEffect, step } from "./step.ts";

/** The effect by which a chart says that it does not list an event: a defect of this node. */
export const UNEXPECTED = "failUnexpected";

/** One step of a chart. */
export interface ChartStep<Machine extends AnyStateMachine> {
  readonly event: EventFrom<Machine>;
  readonly from: SnapshotFrom<Machine>;
  readonly to: SnapshotFrom<Machine>;
  readonly effects: readonly AskedEffect<SnapshotFrom<Machine>["context"]>[];
}

/** What the owner of a chart does. */
export interface ChartOwner<Machine extends AnyStateMachine> {
  /** Sees each step before its effects are performed; the chart is in its new state by then. */
  readonly onStep?: (step: ChartStep<Machine>) => void;
  /** Performs one effect, with the context at the point where the chart asked for it. */
  readonly perform: (
    effect: string,
    context: SnapshotFrom<Machine>["context"],
    event: EventFrom<Machine>,
  ) => void;
}

/** One chart, from its first state on. */
export class ChartHost<Machine extends AnyStateMachine> {
  readonly #machine: Machine;
  readonly #owner: ChartOwner<Machine>;
  #snapshot: SnapshotFrom<Machine>;

  constructor(machine: Machine, snapshot: SnapshotFrom<Machine>, owner: ChartOwner<Machine>) {
    this.#machine = machine;
    this.#snapshot = snapshot;
    this.#owner = owner;
  }

  /** The chart's present moment. */
  get snapshot(): SnapshotFrom<Machine> {
    return this.#snapshot;
  }

  /**
   * Takes one event.
   *
   * @throws {Error} If the chart does not list the event where it is.
   */
  take(event: EventFrom<Machine>): void {
    const from = this.#snapshot;
    const { snapshot: to, effects } = step(this.#machine, from, event);
    this.#snapshot = to;
    this.#owner.onStep?.({ event, from, to, effects });
    for (const { name, context } of effects) {
      if (name === UNEXPECTED) {
        const { type } = event as { type: string };
        throw new Error(
          `Cannot take event: chart ${this.#machine.id} does not list ${type} in ` +
            JSON.stringify((from as { value: unknown }).value),
        );
      }
      this.#owner.perform(name, context, event);
    }
  }
}
