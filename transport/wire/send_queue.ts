/**
 * Frames that wait their turn: of what a side sends in a burst only a window is in the connection's own queue,
 * and the rest follows as fast as the other side reads. Several connections may share one budget of what
 * waits.
 *
 * @module
 */
import { SEND_WINDOW_BYTES } from "./limits.ts";
import type { Connection } from "./network.ts";

/** Bytes of frames that wait, of one connection or of several. */
export interface SendBudget {
  /** How many there are. */
  bytes: number;
  /** How many there may be. */
  readonly bytesMax: number;
}

/** The frames of one connection; `drained` must be called by its handler of that name. */
export class SendQueue {
  readonly #connection: Connection;
  readonly #budget: SendBudget;
  #held: Uint8Array[] = [];
  #bytes = 0;

  /** Nothing else may send on the connection. */
  constructor(connection: Connection, budget: SendBudget) {
    this.#connection = connection;
    this.#budget = budget;
  }

  /** Bytes of the frames that wait. */
  get bytes(): number {
    return this.#bytes;
  }

  /** Sends the frame, now or later. False if there is no room for it: it is dropped. */
  send(frame: Uint8Array): boolean {
    if (this.#bytes === 0 && this.#connection.bufferedBytes < SEND_WINDOW_BYTES) {
      return this.#connection.send(frame);
    }
    const budget = this.#budget;
    if (budget.bytes + frame.length > budget.bytesMax) return false;
    this.#held.push(frame);
    this.#bytes += frame.length;
    budget.bytes += frame.length;
    return true;
  }

  /** The connection has written all that it had. */
  drained(): void {
    let count = 0;
    while (count < this.#held.length && this.#connection.bufferedBytes < SEND_WINDOW_BYTES) {
      const frame = this.#held[count]!;
      if (!this.#connection.send(frame)) break;
      this.#free(frame.length);
      count++;
    }
    if (count > 0) this.#held = this.#held.slice(count);
  }

  /** Forgets what waits. Idempotent. */
  close(): void {
    this.#held = [];
    this.#free(this.#bytes);
  }

  #free(bytes: number): void {
    this.#bytes -= bytes;
    this.#budget.bytes -= bytes;
  }
}
