/**
 * How far a long command has come, on one line of a terminal; elsewhere nothing is shown.
 *
 * @module
 */
import { complainRaw } from "./usage.ts";

/** Pause between two looks at the line. */
const SHOW_MS = 200;
const BAR_CHARS = 20;
const CLEAR_LINE = "\r\x1b[K";

/** What a line shows. */
export interface ProgressState {
  readonly label: string;
  readonly bytes: number;
  /** All of them, if that is known. */
  readonly of?: number | undefined;
  readonly ms: number;
}

/** Such as `restore [##########          ]  50%  12.3 MB  61.5 MB/s`. */
export function progressText({ label, bytes, of, ms }: ProgressState): string {
  const rate = ms > 0 ? bytes / 1e3 / ms : 0;
  const amount = `${(bytes / 1e6).toFixed(1)} MB  ${rate.toFixed(1)} MB/s`;
  if (of === undefined || of === 0) return `${label}  ${amount}`;
  const share = Math.min(1, bytes / of);
  const bar = "#".repeat(Math.floor(share * BAR_CHARS)).padEnd(BAR_CHARS);
  return `${label} [${bar}] ${String(Math.floor(share * 100)).padStart(3)}%  ${amount}`;
}

/** One command's line. */
export class Progress {
  readonly #label: string;
  readonly #startMs = performance.now();
  #shownMs = 0;

  /** Nothing is shown yet. */
  constructor(label: string) {
    this.#label = label;
  }

  /** So many bytes are done, of so many if that is known. */
  note(bytes: number, of?: number): void {
    const nowMs = performance.now();
    if (!Deno.stderr.isTerminal() || nowMs - this.#shownMs < SHOW_MS) return;
    this.#shownMs = nowMs;
    const state = { label: this.#label, bytes, of, ms: nowMs - this.#startMs };
    complainRaw(CLEAR_LINE + progressText(state));
  }

  /** Takes the line away. */
  end(): void {
    if (this.#shownMs > 0) complainRaw(CLEAR_LINE);
  }
}
