/**
 * Many requests in one entry: the requests of a leader's turn become few entries, so that they
 * share one header, one checksum, one index and one slot in the log.
 *
 * A command's payload is a sequence of requests, each a 32-bit little-endian length and its bytes.
 *
 * @module
 */

/** Bytes before each request. */
export const REQUEST_HEADER_BYTES = 4;
/** Bytes of the largest request; a larger one is refused as invalid. */
export const REQUEST_BYTES_MAX = 2 * 1024 * 1024 - REQUEST_HEADER_BYTES;
/**
 * Request bytes gathered in one entry; a larger request has an entry of its own. An entry is
 * applied in one piece and sent again in one piece, so it should stay small beside
 * APPEND_BYTES_MAX.
 */
export const ENTRY_REQUEST_BYTES = 64 * 1024;
/** Requests gathered in one entry. */
const ENTRY_REQUESTS_MAX = 1_024;

/** Payloads for the requests, and how many requests each holds. Takes those that `bytesMax` allows, at least one. */
export function packRequests(
  requests: readonly Uint8Array[],
  bytesMax = Infinity,
): { readonly payloads: Uint8Array[]; readonly counts: number[] } {
  const payloads: Uint8Array[] = [];
  const counts: number[] = [];
  let packed = 0;
  for (let from = 0; from < requests.length && (packed < bytesMax || from === 0);) {
    let bytes = 0;
    let to = from;
    do {
      bytes += REQUEST_HEADER_BYTES + requests[to]!.length;
      to++;
    } while (to < requests.length && fits(requests[to]!, bytes, to - from));
    payloads.push(packOne(requests, from, to, bytes));
    counts.push(to - from);
    packed += bytes;
    from = to;
  }
  return { payloads, counts };
}

/**
 * The requests of a command's payload, as views of it.
 *
 * @throws {RangeError} If the payload is not made of whole requests.
 */
export function unpackRequests(payload: Uint8Array): Uint8Array[] {
  const requests: Uint8Array[] = [];
  for (let at = 0; at < payload.length;) {
    const start = at + REQUEST_HEADER_BYTES;
    const end = start + (start <= payload.length ? readLength(payload, at) : 0);
    if (start > payload.length || end > payload.length) {
      throw new RangeError(`Cannot unpack requests: they end within one, at byte ${at}`);
    }
    requests.push(payload.subarray(start, end));
    at = end;
  }
  return requests;
}

function fits(request: Uint8Array, bytes: number, count: number): boolean {
  return count < ENTRY_REQUESTS_MAX &&
    bytes + REQUEST_HEADER_BYTES + request.length <= ENTRY_REQUEST_BYTES;
}

function packOne(
  requests: readonly Uint8Array[],
  from: number,
  to: number,
  bytes: number,
): Uint8Array {
  const payload = new Uint8Array(bytes);
  let at = 0;
  for (let i = from; i < to; i++) {
    const request = requests[i]!;
    const { length } = request;
    payload[at] = length;
    payload[at + 1] = length >>> 8;
    payload[at + 2] = length >>> 16;
    payload[at + 3] = length >>> 24;
    payload.set(request, at + REQUEST_HEADER_BYTES);
    at += REQUEST_HEADER_BYTES + length;
  }
  return payload;
}

function readLength(bytes: Uint8Array, at: number): number {
  return (bytes[at]! | (bytes[at + 1]! << 8) | (bytes[at + 2]! << 16) | (bytes[at + 3]! << 24)) >>>
    0;
}
