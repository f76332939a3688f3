/**
 * Exit codes, and the error that a wrong command line is.
 *
 * @module
 */

/** Exit codes of every command; API.md. */
export const EXIT = {
  ok: 0,
  failure: 1,
  usage: 2,
  notFound: 3,
  preconditionFailed: 4,
  unavailable: 5,
  outcomeUnknown: 6,
} as const;

/** The command line, its environment or its configuration file cannot be used. */
export class UsageError extends Error {
  override readonly name = "UsageError";
}

/** Writes one line of text to stderr. */
export function complain(text: string): void {
  writeAll(Deno.stderr, new TextEncoder().encode(`${text}\n`));
}

/** Writes text to stdout. */
export function print(text: string): void {
  writeAll(Deno.stdout, new TextEncoder().encode(text));
}

/** Writes one line of text to stdout. */
export function printLine(text: string): void {
  print(`${text}\n`);
}

/** Writes all bytes. */
export function writeAll(to: { writeSync(bytes: Uint8Array): number }, bytes: Uint8Array): void {
  for (let at = 0; at < bytes.length;) at += to.writeSync(bytes.subarray(at));
}
