/**
 * The network over Deno's TCP: one reader and one writer loop per connection.
 *
 * @module
 */
import { FrameReader } from "./frame_reader.ts";
import {
  ACCEPT_RETRY_MS,
  END_FLUSH_MS_MAX,
  HELLO_FRAME_BYTES_MAX,
  READ_BYTES_MAX,
  WRITE_JOIN_BYTES_MAX,
  WRITE_QUEUE_BYTES_MAX,
} from "./limits.ts";
import {
  type CloseReason,
  type Connection,
  type ConnectionHandlers,
  formatHostPort,
  type HostPort,
  type Listener,
  type Network,
} from "./network.ts";
import { WireError } from "./messages.ts";

/** Deno's TCP as {@linkcode Network}: no delay (Nagle), bounded queues, needs `--allow-net`. */
export const tcpNetwork: Network = createTcpNetwork(() => {});

/** A network on ports of this machine. */
export interface TcpNetwork extends Network {
  /** Resolves once no listener that was closed holds its port any more, which takes the runtime a moment. */
  portsFree(): Promise<void>;
}

/**
 * As {@linkcode tcpNetwork}. `makeRoom` is called when no file descriptor is left for a connection,
 * to close others; the connection itself is accepted or dialled later.
 */
export function createTcpNetwork(makeRoom: () => void): TcpNetwork {
  const closing = new Set<Promise<void>>();
  const tell = (error: unknown): void => {
    if (isOutOfDescriptors(error)) makeRoom();
  };
  return {
    listen: (at, accept) => {
      const { accepting, ...listener } = listenTcp(at, accept, tell);
      return {
        ...listener,
        close: () => {
          listener.close();
          closing.add(accepting);
          accepting.finally(() => closing.delete(accepting));
        },
      };
    },
    dial: (to, handlers) => TcpConnection.dial(to, handlers, tell),
    portsFree: async () => {
      await Promise.all(closing);
    },
  };
}

function isOutOfDescriptors(error: unknown): boolean {
  const { code } = error as { readonly code?: unknown };
  return code === "EMFILE" || code === "ENFILE";
}

function listenTcp(
  at: HostPort,
  accept: (connection: Connection) => ConnectionHandlers,
  onError: (error: unknown) => void,
): Listener & { readonly accepting: Promise<void> } {
  const listener = Deno.listen({ hostname: at.hostname, port: at.port, transport: "tcp" });
  const stop = new AbortController();
  return {
    accepting: acceptAll(listener, stop.signal, { accept, onError }),
    address: { hostname: listener.addr.hostname, port: listener.addr.port },
    close: () => {
      if (stop.signal.aborted) return;
      stop.abort();
      listener.close();
    },
  };
}

async function acceptAll(
  listener: Deno.TcpListener,
  stop: AbortSignal,
  { accept, onError }: {
    readonly accept: (connection: Connection) => ConnectionHandlers;
    readonly onError: (error: unknown) => void;
  },
): Promise<void> {
  while (!stop.aborted) {
    let conn: Deno.TcpConn;
    try {
      conn = await listener.accept();
    } catch (error) {
      // A connection ended in the queue, or no descriptor is left. The listener itself is sound.
      if (!stop.aborted) onError(error);
      if (!stop.aborted) await pause(ACCEPT_RETRY_MS, stop);
      continue;
    }
    TcpConnection.accepted(conn, accept);
  }
}

function pause(delayMs: number, stop: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const done = (): void => {
      clearTimeout(timer);
      stop.removeEventListener("abort", done);
      resolve();
    };
    const timer = setTimeout(done, delayMs);
    stop.addEventListener("abort", done);
  });
}

/** dialling -> open -> (ending ->) closed, and never back. */
type Phase = "dialling" | "open" | "ending" | "closed";

class TcpConnection implements Connection {
  readonly remote: string;
  readonly #reader: FrameReader;
  readonly #dialling = new AbortController();
  #handlers: ConnectionHandlers | undefined;
  #phase: Phase = "dialling";
  #conn: Deno.TcpConn | undefined;
  #queue: Uint8Array[] = [];
  #bufferedBytes = 0;
  #writing = false;
  #endTimer: ReturnType<typeof setTimeout> | undefined;

  private constructor(remote: string) {
    this.remote = remote;
    this.#reader = new FrameReader(HELLO_FRAME_BYTES_MAX, (body) => this.#handlers?.onFrame(body));
  }

  static dial(
    to: HostPort,
    handlers: ConnectionHandlers,
    onError: (error: unknown) => void,
  ): TcpConnection {
    const connection = new TcpConnection(formatHostPort(to));
    connection.#handlers = handlers;
    connection.#dial(to, onError);
    return connection;
  }

  static accepted(
    conn: Deno.TcpConn,
    accept: (connection: Connection) => ConnectionHandlers,
  ): void {
    const connection = new TcpConnection(formatHostPort(conn.remoteAddr));
    connection.#open(conn);
    connection.#handlers = accept(connection);
    connection.#read();
  }

  get bufferedBytes(): number {
    return this.#bufferedBytes;
  }

  send(frame: Uint8Array): boolean {
    if (this.#phase !== "open") return false;
    if (this.#bufferedBytes + frame.length > WRITE_QUEUE_BYTES_MAX) return false;
    this.#queue.push(frame);
    this.#bufferedBytes += frame.length;
    if (!this.#writing) {
      this.#writing = true;
      // This runs at the end of the turn, so that one write carries all that the turn sends.
      queueMicrotask(() => this.#write());
    }
    return true;
  }

  setFrameLimit(bytesMax: number): void {
    this.#reader.setLimit(bytesMax);
  }

  close(): void {
    if (this.#phase === "closed") return;
    this.#phase = "closed";
    this.#handlers = undefined;
    this.#reader.stop();
    this.#dialling.abort();
    this.#queue = [];
    this.#bufferedBytes = 0;
    clearTimeout(this.#endTimer);
    closeQuietly(this.#conn);
  }

  end(): void {
    if (this.#phase !== "open") return this.close();
    if (!this.#writing) return this.close();
    this.#phase = "ending";
    this.#handlers = undefined;
    this.#reader.stop();
    this.#endTimer = setTimeout(() => this.close(), END_FLUSH_MS_MAX);
  }

  async #dial(to: HostPort, onError: (error: unknown) => void): Promise<void> {
    let conn: Deno.TcpConn;
    try {
      conn = await Deno.connect({
        hostname: to.hostname,
        port: to.port,
        transport: "tcp",
        signal: this.#dialling.signal,
      });
    } catch (error) {
      onError(error);
      return this.#lose({ code: "dial-failed", detail: describe(error) });
    }
    if (this.#phase !== "dialling") return closeQuietly(conn);
    this.#open(conn);
    this.#handlers?.onOpen?.();
    await this.#read();
  }

  #open(conn: Deno.TcpConn): void {
    this.#conn = conn;
    this.#phase = "open";
    try {
      // Small frames wait up to 40 ms for each other's acknowledgement otherwise.
      conn.setNoDelay(true);
    } catch {
      // The other side has reset the connection already; the first read says so.
    }
  }

  async #read(): Promise<void> {
    const conn = this.#conn!;
    const chunk = new Uint8Array(READ_BYTES_MAX);
    // Reads also while ending: bytes left unread would turn the close into a reset, which overtakes
    // the last frame sent.
    while (this.#phase !== "closed") {
      let length: number | null;
      try {
        length = await conn.read(chunk);
      } catch (error) {
        return this.#lose({ code: "connection-lost", detail: describe(error) });
      }
      if (length === null) return this.#lose({ code: "peer-closed", detail: "end of stream" });
      try {
        this.#reader.push(chunk.subarray(0, length));
      } catch (error) {
        this.#lose({ code: "protocol-error", detail: describe(error) });
        if (!(error instanceof WireError)) throw error;
      }
    }
  }

  /** The only writer. What is queued while a write is under way goes into the next write. */
  async #write(): Promise<void> {
    const conn = this.#conn!;
    try {
      while (this.#queue.length > 0) {
        const bytes = this.#takeJoined();
        for (let written = 0; written < bytes.length;) {
          written += await conn.write(written === 0 ? bytes : bytes.subarray(written));
        }
        this.#bufferedBytes = Math.max(0, this.#bufferedBytes - bytes.length);
      }
      this.#writing = false;
      if (this.#phase === "ending") this.close();
      else this.#handlers?.onDrained?.();
    } catch (error) {
      this.#lose({ code: "connection-lost", detail: describe(error) });
    }
  }

  #takeJoined(): Uint8Array {
    const queue = this.#queue;
    let frames = 1;
    let bytes = queue[0]!.length;
    while (frames < queue.length && bytes + queue[frames]!.length <= WRITE_JOIN_BYTES_MAX) {
      bytes += queue[frames++]!.length;
    }
    this.#queue = frames === queue.length ? [] : queue.slice(frames);
    if (frames === 1) return queue[0]!;
    const joined = new Uint8Array(bytes);
    let at = 0;
    for (let i = 0; i < frames; i++) {
      joined.set(queue[i]!, at);
      at += queue[i]!.length;
    }
    return joined;
  }

  #lose(reason: CloseReason): void {
    const handlers = this.#handlers;
    this.close();
    handlers?.onClose(reason);
  }
}

function closeQuietly(conn: Deno.TcpConn | undefined): void {
  try {
    conn?.close();
  } catch {
    // Closed by the other side's reset already.
  }
}

function describe(error: unknown): string {
  return error instanceof Error ? `${error.name}: ${error.message}` : String(error);
}
