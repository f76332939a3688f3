/**
 * The last transitions of a group's chart, for those who watch it run, and for those who come afterwards to
 * see what has happened. A viewer that does not keep up misses the oldest and is told where it goes on.
 *
 * @module
 */
import type { ChartTransitionTold, TransitionSource } from "../transport/http/gateway_port.ts";
import type { Transition } from "../machines/raft_step.ts";
import { TIMELINE_LENGTH, TIMELINE_VIEWERS_MAX } from "./limits.ts";

interface Noted extends Transition {
  readonly sequence: number;
  readonly atMs: number;
}

/** The timeline of one group on this node, since its start. */
export class Timeline {
  readonly #noted: Noted[] = [];
  readonly #viewers = new Set<() => void>();
  readonly #life: () => number;
  readonly #nowMs: () => number;
  #isOver = false;
  #last = 0;

  /** `life` differs between two lives of the node; `nowMs`: monotonic milliseconds. */
  constructor({ life, nowMs }: { readonly life: () => number; readonly nowMs: () => number }) {
    this.#life = life;
    this.#nowMs = nowMs;
  }

  /** Adds what the chart has just done. */
  note(transition: Transition): void {
    this.#noted.push({ ...transition, sequence: ++this.#last, atMs: this.#nowMs() });
    if (this.#noted.length > TIMELINE_LENGTH) this.#noted.shift();
    this.#wake();
  }

  /**
   * Those kept after the one with the id `after`, all if it is of another life or node, and what comes then;
   * undefined if there are TIMELINE_VIEWERS_MAX viewers.
   */
  view(after: string | undefined): TransitionSource | undefined {
    if (this.#viewers.size >= TIMELINE_VIEWERS_MAX) return undefined;
    const [life, sequence] = (after ?? "").split("-");
    let seen = life === String(this.#life()) ? Number(sequence) : 0;
    let wake = (): void => {};
    const viewer = (): void => wake();
    this.#viewers.add(viewer);
    return {
      take: (onNews) => {
        const nowMs = this.#nowMs();
        const news = this.#noted.filter(({ sequence }) => sequence > seen);
        wake = news.length === 0 ? onNews : () => {};
        seen = this.#last;
        if (news.length === 0 && this.#isOver) return "ended";
        return news.map(({ atMs, sequence, ...rest }): ChartTransitionTold => ({
          ...rest,
          id: `${this.#life()}-${sequence}`,
          agoMs: Math.round(nowMs - atMs),
        }));
      },
      end: () => void this.#viewers.delete(viewer),
    };
  }

  /** The node stops: viewers are told what there is, and that it ends. */
  end(): void {
    this.#isOver = true;
    this.#wake();
  }

  #wake(): void {
    for (const viewer of [...this.#viewers]) viewer();
  }
}
