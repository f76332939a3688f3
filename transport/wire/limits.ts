/**
 * Every bound of the transport, with its unit and what happens when it is hit.
 *
 * @module
 */

/**
 * Versions of the protocol; a node that speaks none of them is refused with `wrong-version`. Version 2
 * has packed frames.
 */
export const PROTOCOL_VERSIONS = { min: 1, max: 2 } as const;
/** The first version whose connections carry packed frames. */
export const PACKED_FRAMES_VERSION = 2;
/** First field of every hello; anything else is refused with `wrong-magic`. */
export const PROTOCOL_MAGIC = "STCF";

/** Bytes of the length that precedes every frame's body (unsigned, big-endian). */
export const FRAME_HEADER_BYTES = 4;
/** Longest body of a frame after the hello. Longer: {@linkcode WireError} `frame-too-large`, the connection is closed. */
export const FRAME_BYTES_MAX = 8 * 1024 * 1024;
/** Longest body before the hello was accepted. Longer: as {@linkcode FRAME_BYTES_MAX}. */
export const HELLO_FRAME_BYTES_MAX = 4 * 1024;
/** First allocation for a frame that arrives in pieces; it doubles with the bytes that really arrive. */
export const FRAME_BUFFER_BYTES_MIN = 16 * 1024;

/** Depth of arrays and maps, the message itself included. Deeper: {@linkcode WireError} `too-deep`. */
export const WIRE_NESTING_MAX = 16;
/** Values in one frame, elements, keys and containers alike. More: {@linkcode WireError} `too-many-values`. */
export const WIRE_VALUES_MAX = 256 * 1024;
/** UTF-8 bytes of a string. Longer: {@linkcode WireError} `too-large`. */
export const WIRE_STRING_BYTES_MAX = 1024 * 1024;
/** Elements of an array. More: {@linkcode WireError} `too-large`. */
export const WIRE_ARRAY_LENGTH_MAX = 64 * 1024;
/** Entries of a map. More: {@linkcode WireError} `too-large`. */
export const WIRE_MAP_LENGTH_MAX = 4 * 1024;
/** Highest node id (2^31). Higher: {@linkcode WireError} `bad-field`. */
export { NODE_ID_MAX } from "../../machines/raft_types.ts";
/** Highest group id (2^32-1). Higher: {@linkcode WireError} `bad-field`. */
export const GROUP_ID_MAX = 2 ** 32 - 1;
/** Length of a cluster id, a data directory's id and an actor name, all `^[a-z0-9-]{1,64}$`. Else: {@linkcode WireError} `bad-field`. */
export const WIRE_NAME_LENGTH_MAX = 64;

/** Bytes that may wait to be written on one connection. Full: `send` returns false and the frame is dropped. */
export const WRITE_QUEUE_BYTES_MAX = 32 * 1024 * 1024;
/** Bytes of a client's or to a client that are in a connection's queue before what is sent more waits its turn. */
export const SEND_WINDOW_BYTES = 1024 * 1024;
/** Frames queued in one turn are joined into one write up to this; a larger frame is written as it is. */
export const WRITE_JOIN_BYTES_MAX = 128 * 1024;
/** Bytes asked of the socket in one read. */
export const READ_BYTES_MAX = 64 * 1024;
/** How long `end()` waits for the queued frames to be written; then the connection is cut. */
export const END_FLUSH_MS_MAX = 1_000;
/** Pause before accepting again after the operating system refused (out of descriptors). */
export const ACCEPT_RETRY_MS = 100;
