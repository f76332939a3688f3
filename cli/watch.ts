/**
 * `deno task kv watch`: changes as they happen, until Ctrl-C.
 *
 * @module
 */
import { Clerk, ClerkError, type WatchEvent, type WatchOptions } from "../mod.ts";
import { ClientError, exitCodeOf, type Reach } from "./http_client.ts";
import { escapeCell } from "./terminal_text.ts";

/** How changes are shown. */
export type WatchOutput = "table" | "json" | "ndjson" | "raw";

/**
 * Shows changes until the signal is aborted.
 *
 * @throws {ClientError} If no member answers, or the changes from there on are not kept any more.
 */
export async function watchKeys(
  options: WatchOptions,
  { reach, output, show, isTerminal }: {
    readonly reach: Reach;
    readonly output: string;
    readonly show: (text: string) => void;
    /** Whether it is shown on a terminal, where a change must stay one line. */
    readonly isTerminal: boolean;
  },
): Promise<void> {
  try {
    for await (const event of new Clerk(reach).watch(options)) {
      show(lineOf(event, output as WatchOutput, isTerminal ? escapeCell : asItIs));
    }
  } catch (error) {
    if (!(error instanceof ClerkError)) throw error;
    throw new ClientError(error.message, exitCodeOf(error));
  }
}

function lineOf(
  event: WatchEvent,
  output: WatchOutput,
  shown: (text: string) => string,
): string {
  const cellOf = (text: ReturnType<typeof textOf>): string =>
    typeof text === "string" ? shown(text) : `base64:${text.base64}`;
  const { type, revision, entry, previous } = event;
  const key = textOf(event.keyBytes);
  if (output === "raw") return entry === undefined ? "" : `${cellOf(textOf(entry.value))}\n`;
  if (output === "table") {
    const value = entry === undefined ? "" : `\t${cellOf(textOf(entry.value))}`;
    return `${type}\t${cellOf(key)}${value}\t(revision ${revision})\n`;
  }
  const plain = {
    ...{ type, key, revision },
    ...(entry === undefined ? {} : { value: textOf(entry.value), version: entry.version }),
    ...(previous === undefined ? {} : { previous: textOf(previous.value) }),
  };
  return JSON.stringify(plain) + "\n";
}

/** Text where it is UTF-8, base64 where not. */
function textOf(bytes: Uint8Array): string | { readonly base64: string } {
  try {
    return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch {
    return { base64: bytes.toBase64() };
  }
}

function asItIs(text: string): string {
  return text;
}
