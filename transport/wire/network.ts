/**
 * The network as a port: connections that carry whole frames. transport/wire/tcp.ts is the real
 * one, tests/sim/memory_network.ts the one on virtual time; one conformance suite holds for both.
 *
 * @module
 */

/** Where to listen or dial. */
export interface HostPort {
  /** A name or an address. */
  readonly hostname: string;
  /** 0 to 65535; 0 lets the operating system choose when listening. */
  readonly port: number;
}

/** `HOST:PORT`, with an IPv6 address in brackets. */
export function formatHostPort({ hostname, port }: HostPort): string {
  return `${hostname.includes(":") ? `[${hostname}]` : hostname}:${port}`;
}

const HOST_PORT = /^(?:\[([0-9a-fA-F:.]+)\]|([^:\s[\]]+)):(\d{1,5})$/;

/** Reads `HOST:PORT`, or `[V6]:PORT`; undefined if it is neither. */
export function parseHostPort(text: string): HostPort | undefined {
  const match = HOST_PORT.exec(text);
  const port = Number(match?.[3]);
  return match === null || port > 65_535 ? undefined : { hostname: match[1] ?? match[2]!, port };
}

/** Why a connection ended without its owner's wish. */
export interface CloseReason {
  /** What kind of end it was. */
  readonly code:
    | "dial-failed"
    | "peer-closed"
    | "connection-lost"
    /** The other side sent what is no frame, or `onFrame` threw. */
    | "protocol-error";
  /** For logs. */
  readonly detail: string;
}

/** What the owner of a connection wants to know. Never called from within a call of the owner. */
export interface ConnectionHandlers {
  /** The dial succeeded; frames can be sent. Not called for accepted connections: they are open. */
  onOpen?(): void;
  /**
   * One frame's body; the handler owns the bytes. A WireError it throws closes the connection with
   * `protocol-error`; any other error does too and then reaches the process: it is a fault of this program.
   */
  onFrame(body: Uint8Array): void;
  /** All that was queued has been taken by the operating system, and the connection is open still. */
  onDrained?(): void;
  /**
   * The connection ended, or could not be made. Called at most once, as the last call, and not
   * after `close` or `end`.
   */
  onClose(reason: CloseReason): void;
}

/** One connection, from the moment it is dialled or accepted. */
export interface Connection {
  /** The other end, for logs. */
  readonly remote: string;
  /** Bytes queued and not yet taken by the operating system. */
  readonly bufferedBytes: number;
  /**
   * Queues a complete frame (its length in front); frames queued in one turn leave in one write.
   * False if the connection is not open or the queue is full (WRITE_QUEUE_BYTES_MAX): the frame is
   * dropped.
   */
  send(frame: Uint8Array): boolean;
  /** Longest body accepted from the other side, from the next frame on; at first HELLO_FRAME_BYTES_MAX. */
  setFrameLimit(bytesMax: number): void;
  /** Cuts the connection now; no handler is called any more. Idempotent. */
  close(): void;
  /** As `close`, after what is queued was written or END_FLUSH_MS_MAX have passed. Nothing is read any more. */
  end(): void;
}

/** An open port. */
export interface Listener {
  /** Where it really listens. */
  readonly address: HostPort;
  /** Accepts no more; connections stay open. Idempotent. */
  close(): void;
}

/** Makes connections. */
export interface Network {
  /**
   * Listens; `accept` gets each connection and answers with its handlers.
   *
   * @throws {Error} If the address cannot be listened on.
   */
  listen(at: HostPort, accept: (connection: Connection) => ConnectionHandlers): Listener;
  /** Dials. There is no time limit: the caller calls `close` when it has waited enough. */
  dial(to: HostPort, handlers: ConnectionHandlers): Connection;
}
