/**
 * Exit codes, and the error that a wrong command line is.
 *
 * @module
 */
import type { DiskErrorCode } from "../mod.ts";

/** Exit codes of the client; the others use the first three. */
export const EXIT = {
  ok: 0,
  failure: 1,
  usage: 2,
  notFound: 3,
  preconditionFailed: 4,
  unavailable: 5,
  outcomeUnknown: 6,
} as const;

/** Exit codes of a node besides those for success, failure and usage. */
export const NODE_EXIT = {
  /** Its log is damaged: starting it again does not help. */
  damagedLog: 3,
  /** Its disk failed: what it acknowledged is safe, and it can be started again. */
  failedDisk: 4,
} as const;

/** The codes of a disk that fails, without those of a path that cannot be used. */
export const diskFaults: readonly DiskErrorCode[] = ["io", "no-space", "too-many-files"];

/** Exit code of a command whose reader has left, as a shell shows a broken pipe: 128 + SIGPIPE. */
const BROKEN_PIPE_EXIT = 141;
/** Pause before a write is tried again that would have to wait for its reader. */
const WRITE_RETRY_MS = 5;

/** The command line, its environment or its configuration file cannot be used. */
export class UsageError extends Error {
  override readonly name = "UsageError";
}

/** @throws {UsageError} If a verb has fewer words than it takes, or more. */
export function checkWords(
  verb: string,
  { length }: readonly string[],
  [min, max]: readonly [number, number],
): void {
  if (length >= min && length <= max) return;
  const one = min === 1 ? "1 word" : `${min} words`;
  const words = min === max ? one : `${min} to ${max} words`;
  throw new UsageError(`${verb} takes ${words}; see --help`);
}

/** Writes one line of text to stderr, if stderr can be written. */
export function complain(text: string): void {
  complainRaw(`${text}\n`);
}

/** Writes text to stderr as it is, if stderr can be written. */
export function complainRaw(text: string): void {
  try {
    writeAll(Deno.stderr, new TextEncoder().encode(text));
  } catch {
    // Nobody reads stderr, so only the exit code is left.
  }
}

/** Writes text to stdout. */
export function print(text: string): void {
  printBytes(new TextEncoder().encode(text));
}

/** Writes bytes to stdout; the process ends if its reader has left. */
export function printBytes(bytes: Uint8Array): void {
  try {
    writeAll(Deno.stdout, bytes);
  } catch (error) {
    if (error instanceof Deno.errors.BrokenPipe) Deno.exit(BROKEN_PIPE_EXIT);
    throw error;
  }
}

/** Writes one line of text to stdout. */
export function printLine(text: string): void {
  print(`${text}\n`);
}

/** Writes all bytes, as fast as the reader takes them. */
function writeAll(to: { writeSync(bytes: Uint8Array): number }, bytes: Uint8Array): void {
  for (let at = 0; at < bytes.length;) {
    try {
      at += to.writeSync(bytes.subarray(at));
    } catch (error) {
      if (!(error instanceof Deno.errors.WouldBlock)) throw error;
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, WRITE_RETRY_MS);
    }
  }
}
