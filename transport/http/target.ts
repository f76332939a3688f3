/**
 * Where a request goes and comes from. The runtime builds a request's URL from the Host header and
 * the request line (RFC 9112 s3.3), so an unchecked Host such as `a/v1/kv/k?x=` chooses the path.
 *
 * @module
 */
import { GatewayError } from "./problem.ts";

const SCHEME = "http://";
const KEYS = "/v1/kv/";
/** A name or an address, and perhaps a port: RFC 3986 s3.2 without user information. */
const validHost = /^(?:[A-Za-z0-9._-]{1,255}|\[[0-9A-Fa-f:.]{2,45}\])(?::\d{1,5})?$/;
/** What a request target must not hold: programs disagree about where such a path ends. */
const misleading = /[#\\]/;

/**
 * Refuses a request whose Host header is missing or malformed, or is not the host of its URL.
 * Afterwards all that follows the host in the URL is the target of the request line.
 *
 * @throws {GatewayError} invalid-request
 */
export function checkTarget(request: Request): void {
  const host = request.headers.get("host");
  // HTTP/2 without TLS is not served: its requests have an authority in place of Host.
  if (host === null) refuse("Send HTTP/1.1 with a Host header");
  if (!validHost.test(host)) refuse("The Host header is a name or an address, and perhaps a port");
  const { url } = request;
  if (!url.startsWith(host, SCHEME.length) || !url.startsWith(SCHEME)) {
    refuse("The request's target names another host than its Host header");
  }
  if (url[SCHEME.length + host.length] !== "/") refuse("The request's target begins with a slash");
  if (misleading.test(url)) refuse('Encode "#" as %23 and "\\" as %5C');
}

/**
 * Refuses what a web page of another origin makes a browser send here. The Origin header, which the
 * browser sets, tells. Reads pass, since the browser shows such a page nothing of the answer.
 *
 * @throws {GatewayError} cross-origin
 */
export function checkOrigin({ method, headers }: Request): void {
  if (method === "GET" || method === "HEAD") return;
  const origin = headers.get("origin");
  if (origin === null || origin.replace(/^https?:\/\//, "") === headers.get("host")) return;
  throw new GatewayError("cross-origin", `A page of ${origin} may not write here`);
}

/** Whether the path names a key. */
export function hasKeyInPath({ url }: Request): boolean {
  return url.startsWith(KEYS, url.indexOf("/", SCHEME.length));
}

/** The request's target: its path and query, as they were sent. */
export function targetOf(request: Request): string {
  return request.url.slice(request.url.indexOf("/", SCHEME.length));
}

function refuse(detail: string): never {
  throw new GatewayError("invalid-request", detail);
}
