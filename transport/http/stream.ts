/**
 * Large answers: bounded in bytes over all requests, made piece by piece as the client reads, and
 * given up when the client does not read.
 *
 * A listing that is encoded at once would block the event loop. A listing that the client does not
 * read would keep its bytes for as long as the connection stays open.
 *
 * @module
 */
import { joinBytes } from "../../storage/join_bytes.ts";
import type { ClientClock } from "./body.ts";
import { RESPONSE_BYTES_MAX, RESPONSE_CHUNK_BYTES, RESPONSE_STALL_MS_MAX } from "./limits.ts";
import { GatewayError } from "./problem.ts";

/** The large answers of one gateway that are under way. */
export class LargeResponses {
  readonly #clock: ClientClock;
  #bytes = 0;

  constructor(clock: ClientClock) {
    this.#clock = clock;
  }

  /**
   * A body that yields the pieces, about `bytes` in all, each made when the client has read what
   * came before. The iterator is told to return once the client wants no more of it.
   *
   * @throws {GatewayError} overloaded, if RESPONSE_BYTES_MAX would be under way.
   */
  stream(pieces: Iterator<Uint8Array>, bytes: number): ReadableStream<Uint8Array<ArrayBuffer>> {
    if (this.#bytes + bytes > RESPONSE_BYTES_MAX) {
      throw new GatewayError(
        "overloaded",
        `Answers of ${this.#bytes} bytes are under way already; ask for less, or ask again later`,
      );
    }
    this.#bytes += bytes;
    let isOver = false;
    let takeBack = (): void => {};
    const end = (): void => {
      if (isOver) return;
      isOver = true;
      takeBack();
      this.#bytes -= bytes;
      pieces.return?.();
    };
    const watch = (controller: ReadableStreamDefaultController): void => {
      takeBack = this.#clock.expireAfter(RESPONSE_STALL_MS_MAX, () => {
        end();
        controller.error(
          new Error(`the client has not read the answer for ${RESPONSE_STALL_MS_MAX} ms`),
        );
      });
    };
    return new ReadableStream({
      start: watch,
      pull: (controller) => {
        takeBack();
        let piece: Uint8Array<ArrayBuffer> | undefined;
        try {
          const { done, value } = pieces.next();
          if (done !== true) piece = value as Uint8Array<ArrayBuffer>;
        } catch (error) {
          end();
          throw error;
        }
        if (piece !== undefined) {
          controller.enqueue(piece);
          return watch(controller);
        }
        end();
        controller.close();
      },
      cancel: end,
    }, { highWaterMark: 0 });
  }
}

/** Stands for a body that is not sent; the runtime takes it to be of unknown length. */
export function unmeasured(): ReadableStream<Uint8Array> {
  return new ReadableStream({ start: (controller) => controller.close() });
}

/** The pieces, joined up to RESPONSE_CHUNK_BYTES. */
export function* joinPieces(pieces: Iterable<Uint8Array>): Generator<Uint8Array, void> {
  let joined: Uint8Array[] = [];
  let bytes = 0;
  for (const piece of pieces) {
    joined.push(piece);
    bytes += piece.length;
    if (bytes < RESPONSE_CHUNK_BYTES) continue;
    yield joinBytes(joined, bytes);
    joined = [];
    bytes = 0;
  }
  if (joined.length > 0) yield joinBytes(joined, bytes);
}

/** A value in pieces of RESPONSE_CHUNK_BYTES. */
export function* piecesOf(bytes: Uint8Array): Generator<Uint8Array, void> {
  for (let at = 0; at < bytes.length; at += RESPONSE_CHUNK_BYTES) {
    yield bytes.subarray(at, at + RESPONSE_CHUNK_BYTES);
  }
}
