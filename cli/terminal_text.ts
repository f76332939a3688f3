/**
 * Text of others, made safe for a terminal: a control byte in a key or a value could move the
 * cursor, change colours or type an answer in the user's place.
 *
 * @module
 */

// deno-lint-ignore no-control-regex -- C0, DEL and C1, but for tab and line feed.
const CONTROLS = /[\x00-\x08\x0b-\x1f\x7f-\x9f]/g;

/** Control characters as `\xNN`; tabs and line feeds stay, because they are layout. */
export function escapeText(text: string): string {
  return text.replace(CONTROLS, (char) => escapeCode(char.charCodeAt(0)));
}

/** One cell of a table: tabs and line feeds are escaped too, so that a row stays a row. */
export function escapeCell(text: string): string {
  return escapeText(text).replace(/[\t\n]/g, (char) => escapeCode(char.charCodeAt(0)));
}

/** A value: as text if it is UTF-8, else with every byte beyond ASCII as `\xNN`. */
export function escapeBytes(bytes: Uint8Array): string {
  try {
    return escapeText(new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes));
  } catch {
    const chars = Array.from(
      bytes,
      (byte) => byte >= 0x80 ? escapeCode(byte) : String.fromCharCode(byte),
    );
    return escapeText(chars.join(""));
  }
}

function escapeCode(code: number): string {
  return `\\x${code.toString(16).padStart(2, "0")}`;
}
