/**
 * Request bodies, read no further than their limit.
 *
 * @module
 */
import { GatewayError } from "./problem.ts";

/** Media types that a foreign web page can post without asking; mutating POST routes refuse them. */
const formTypes = ["application/x-www-form-urlencoded", "multipart/form-data", "text/plain"];

/**
 * The body's bytes.
 *
 * @throws {GatewayError} too-large as soon as the body is known to exceed `bytesMax`;
 * invalid-request if the client went away before its end.
 */
export async function readBody(request: Request, bytesMax: number): Promise<Uint8Array> {
  const declared = request.headers.get("content-length");
  if (declared !== null) {
    if (Number(declared) > bytesMax) refuseLarge(bytesMax);
    try {
      return new Uint8Array(await request.arrayBuffer());
    } catch {
      throw endedEarly();
    }
  }
  if (request.body === null) return new Uint8Array(0);
  return await readChunks(request.body, bytesMax);
}

/** A body whose length nobody declared. */
async function readChunks(
  body: ReadableStream<Uint8Array>,
  bytesMax: number,
): Promise<Uint8Array> {
  const chunks: Uint8Array[] = [];
  let length = 0;
  try {
    for await (const chunk of body) {
      length += chunk.length;
      if (length > bytesMax) refuseLarge(bytesMax);
      chunks.push(chunk);
    }
  } catch (error) {
    throw error instanceof GatewayError ? error : endedEarly();
  }
  const bytes = new Uint8Array(length);
  let at = 0;
  for (const chunk of chunks) {
    bytes.set(chunk, at);
    at += chunk.length;
  }
  return bytes;
}

/** A JSON body, not yet validated. */
export async function readJson(request: Request, bytesMax: number): Promise<unknown> {
  const type = mediaTypeOf(request);
  if (type !== "application/json") {
    throw new GatewayError("unsupported-media-type", "Send application/json");
  }
  const bytes = await readBody(request, bytesMax);
  try {
    return JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(bytes));
  } catch {
    throw new GatewayError("invalid-request", "The body is not valid JSON in UTF-8");
  }
}

/** Refuses the content types of forms, which browsers send across origins without a preflight. */
export function refuseFormTypes(request: Request): void {
  const type = mediaTypeOf(request);
  if (type !== undefined && formTypes.includes(type)) {
    throw new GatewayError(
      "unsupported-media-type",
      `${type} is what web forms send; send application/octet-stream`,
    );
  }
}

function mediaTypeOf(request: Request): string | undefined {
  const [type] = request.headers.get("content-type")?.split(";") ?? [];
  return type?.trim().toLowerCase();
}

function endedEarly(): GatewayError {
  return new GatewayError("invalid-request", "The body ended before its end");
}

function refuseLarge(bytesMax: number): never {
  throw new GatewayError("too-large", `The limit is ${bytesMax} bytes`);
}
