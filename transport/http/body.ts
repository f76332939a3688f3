/**
 * Request bodies, read no further than their limit.
 *
 * @module
 */
import { joinBytes } from "../../storage/join_bytes.ts";
import type { GatewayPort } from "./gateway_port.ts";
import { BODY_MS_MAX, WHOLE_BODY_BYTES_MAX } from "./limits.ts";
import { GatewayError } from "./problem.ts";

/** Measures the time that a client takes to send or to read. */
export type ClientClock = Pick<GatewayPort, "expireAfter">;

/**
 * The body's bytes.
 *
 * @throws {GatewayError} too-large as soon as the body is known to exceed `bytesMax`;
 * invalid-request if the client went away before its end; request-timeout after BODY_MS_MAX.
 */
export function readBody(
  request: Request,
  bytesMax: number,
  clock: ClientClock,
): Promise<Uint8Array> {
  const declared = request.headers.get("content-length");
  if (declared !== null) {
    if (Number(declared) > bytesMax) refuseLarge(bytesMax);
    if (Number(declared) <= WHOLE_BODY_BYTES_MAX) return inTime(readWhole(request), clock);
  }
  if (request.body === null) return Promise.resolve(new Uint8Array(0));
  const reader = request.body.getReader();
  return inTime(readChunks(reader, bytesMax), clock, reader);
}

/**
 * A body that does not end in time is given up: it would keep its place among the requests in
 * flight.
 */
function inTime(
  body: Promise<Uint8Array>,
  clock: ClientClock,
  reader?: ReadableStreamDefaultReader,
): Promise<Uint8Array> {
  return new Promise((resolve, reject) => {
    const arrived = clock.expireAfter(BODY_MS_MAX, () => {
      reject(new GatewayError("request-timeout", `The body took more than ${BODY_MS_MAX} ms`));
      // The rest is not read, and what has come is dropped.
      reader?.cancel().catch(() => {});
    });
    body.then((bytes) => {
      arrived();
      resolve(bytes);
    }, (error) => {
      arrived();
      reject(error);
    });
  });
}

/**
 * Reads a small body whose length was declared in one step; to read it in chunks costs several
 * times that.
 */
async function readWhole(request: Request): Promise<Uint8Array> {
  try {
    return new Uint8Array(await request.arrayBuffer());
  } catch {
    throw endedEarly();
  }
}

async function readChunks(
  reader: ReadableStreamDefaultReader<Uint8Array>,
  bytesMax: number,
): Promise<Uint8Array> {
  const chunks: Uint8Array[] = [];
  let length = 0;
  try {
    for (let part = await reader.read(); !part.done; part = await reader.read()) {
      length += part.value.length;
      if (length > bytesMax) refuseLarge(bytesMax);
      chunks.push(part.value);
    }
  } catch (error) {
    reader.cancel().catch(() => {});
    throw error instanceof GatewayError ? error : endedEarly();
  }
  return joinBytes(chunks, length);
}

/** JSON, and what `curl -d` and `fetch` with a text send unless they are told otherwise. */
const jsonTypes = [
  ...["application/json", "application/x-www-form-urlencoded", "text/plain"],
  "application/octet-stream",
];

/** A JSON body, not yet validated; `ifEmpty` if there is none, else that is refused. */
export async function readJson(
  request: Request,
  bytesMax: number,
  clock: ClientClock,
  ifEmpty?: unknown,
): Promise<unknown> {
  const type = mediaTypeOf(request);
  if (type !== undefined && !jsonTypes.includes(type)) {
    throw new GatewayError("unsupported-media-type", `Send application/json, not ${type}`);
  }
  const bytes = await readBody(request, bytesMax, clock);
  if (bytes.length === 0 && ifEmpty !== undefined) return ifEmpty;
  try {
    return JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(bytes));
  } catch {
    throw new GatewayError("invalid-request", "The body is not valid JSON in UTF-8");
  }
}

/**
 * Refuses an encoded value: it would be stored as it came and served without its Content-Encoding.
 *
 * @throws {GatewayError} unsupported-media-type if the body is encoded.
 */
export function refuseEncoded(request: Request): void {
  const encoding = request.headers.get("content-encoding");
  if (encoding === null || encoding.trim().toLowerCase() === "identity") return;
  throw new GatewayError(
    "unsupported-media-type",
    `This version does not keep a Content-Encoding such as ${encoding}; send the bytes without it`,
  );
}

function mediaTypeOf(request: Request): string | undefined {
  const [type] = request.headers.get("content-type")?.split(";") ?? [];
  return type?.trim().toLowerCase();
}

function endedEarly(): GatewayError {
  return new GatewayError(
    "invalid-request",
    "The request body is incomplete: the connection was closed while it was sent",
  );
}

function refuseLarge(bytesMax: number): never {
  throw new GatewayError("too-large", `The limit is ${bytesMax} bytes`);
}
