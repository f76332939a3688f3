/**
 * Lines for a stream that may be slow, full or gone.
 *
 * A member must not depend on the reader of its log: a write that blocks would cost the member its
 * leadership, and a write that throws would end it. So lines are queued up to a bound and written
 * off the event loop; what cannot be written is dropped and counted, and a line says so once
 * writing works again.
 *
 * @module
 */

/** Bytes of lines that wait for a slow reader. More: dropped. */
export const LOG_QUEUE_BYTES_MAX = 1024 * 1024;
/** How long the end of a process waits for its last lines. */
export const LOG_FLUSH_MS_MAX = 500;
/** Bytes of lines that share a write. */
const WRITE_BYTES_MAX = 64 * 1024;

/** Where lines go. */
export interface LineSink {
  write(bytes: Uint8Array): Promise<number>;
}

/** Writes lines in order, without ever blocking or throwing. */
export class LineWriter {
  readonly #sink: LineSink;
  readonly #noticeOf: (dropped: number) => string;
  readonly #encoder = new TextEncoder();
  #queue: Uint8Array[] = [];
  #queuedBytes = 0;
  #writing: Promise<void> | undefined;
  #dropped = 0;
  #unreported = 0;

  /** `noticeOf` makes the line that says how many were dropped. */
  constructor(sink: LineSink, noticeOf: (dropped: number) => string) {
    this.#sink = sink;
    this.#noticeOf = noticeOf;
  }

  /** Lines that were dropped so far. */
  get dropped(): number {
    return this.#dropped;
  }

  /** Queues a line, which ends without a line break, or drops it. */
  write(line: string): void {
    const bytes = this.#encoder.encode(`${line}\n`);
    if (this.#queuedBytes + bytes.length > LOG_QUEUE_BYTES_MAX) return this.#drop(1);
    this.#queue.push(bytes);
    this.#queuedBytes += bytes.length;
    this.#writing ??= this.#drain();
  }

  /** Resolves once all is written, or after LOG_FLUSH_MS_MAX. */
  async flush(): Promise<void> {
    let timer: ReturnType<typeof setTimeout> | undefined;
    const late = new Promise<void>((resolve) => timer = setTimeout(resolve, LOG_FLUSH_MS_MAX));
    await Promise.race([this.#writing, late]);
    clearTimeout(timer);
  }

  async #drain(): Promise<void> {
    while (this.#queue.length > 0) {
      const { bytes, lines } = this.#next();
      const told = this.#unreported;
      const notice = told === 0 ? [] : [this.#encoder.encode(`${this.#noticeOf(told)}\n`)];
      try {
        for (const part of [...notice, bytes]) await this.#writeAll(part);
        this.#unreported -= told;
      } catch {
        this.#drop(lines);
      }
      this.#queuedBytes -= bytes.length;
    }
    this.#writing = undefined;
  }

  async #writeAll(bytes: Uint8Array): Promise<void> {
    for (let at = 0; at < bytes.length;) at += await this.#sink.write(bytes.subarray(at));
  }

  /** The next lines, joined. */
  #next(): { bytes: Uint8Array; lines: number } {
    let lines = 1;
    let length = this.#queue[0]!.length;
    while (lines < this.#queue.length && length + this.#queue[lines]!.length <= WRITE_BYTES_MAX) {
      length += this.#queue[lines++]!.length;
    }
    const bytes = new Uint8Array(length);
    let at = 0;
    for (const line of this.#queue.splice(0, lines)) {
      bytes.set(line, at);
      at += line.length;
    }
    return { bytes, lines };
  }

  #drop(lines: number): void {
    this.#dropped += lines;
    this.#unreported += lines;
  }
}
