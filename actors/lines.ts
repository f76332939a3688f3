/**
 * The lines of a stream of bytes.
 *
 * @module
 */

/**
 * Bytes of a line, which the largest value fits also if JSON escapes each of its bytes.
 */
export const LINE_BYTES_MAX = 8 * 1024 * 1024;

/**
 * The pieces of a stream, each of which must come in time once it is asked for. A reader that takes its time
 * between two pieces is none of the stream's.
 *
 * @throws {Error} If nothing comes for `patienceMs`; the stream is cancelled then.
 */
export async function* piecesInTime(
  source: ReadableStream<Uint8Array>,
  patienceMs: number,
): AsyncGenerator<Uint8Array, void> {
  const reader = source.getReader();
  try {
    for (;;) {
      let timer: ReturnType<typeof setTimeout> | undefined;
      const late = new Promise<never>((_, reject) => {
        timer = setTimeout(
          () => reject(new Error(`nothing came for ${patienceMs} ms`)),
          patienceMs,
        );
      });
      const { done, value } = await Promise.race([reader.read(), late])
        .finally(() => clearTimeout(timer));
      if (done) return;
      yield value;
    }
  } finally {
    await reader.cancel().catch(() => {});
  }
}

/**
 * The lines, without their ends.
 *
 * @throws {RangeError} If one has more than LINE_BYTES_MAX bytes.
 */
export async function* linesOf(
  source: AsyncIterable<Uint8Array>,
): AsyncGenerator<Uint8Array, void> {
  let parts: Uint8Array[] = [];
  let length = 0;
  const take = (): Uint8Array => {
    const line = new Uint8Array(length);
    let at = 0;
    for (const part of parts) {
      line.set(part, at);
      at += part.length;
    }
    parts = [];
    length = 0;
    return line;
  };
  const add = (part: Uint8Array): void => {
    length += part.length;
    if (length > LINE_BYTES_MAX) {
      throw new RangeError(`it has more than ${LINE_BYTES_MAX} bytes`);
    }
    parts.push(part);
  };
  for await (const chunk of source) {
    let from = 0;
    for (let end; (end = chunk.indexOf(0x0a, from)) >= 0; from = end + 1) {
      add(chunk.subarray(from, end));
      yield take();
    }
    add(chunk.subarray(from));
  }
  if (length > 0) yield take();
}
