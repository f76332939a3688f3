/**
 * A failing window of a history as a picture: text for a terminal, HTML for a browser.
 *
 * @module
 */
import type { Operation } from "./history.ts";

/** Operations shown; a failure is explained by the last ones. */
export const TIMELINE_OPERATIONS_MAX = 40;
const BAR_CHARS = 60;

/** One line for each operation, its bar where it was under way. */
export function timelineText(window: readonly Operation[]): string {
  const { shown, startMs, endMs } = frame(window);
  const lines = shown.map((operation) => {
    const from = position(operation.invokeMs, startMs, endMs);
    const to = position(operation.returnMs ?? endMs, startMs, endMs);
    const bar = " ".repeat(from) + "[" + "=".repeat(Math.max(0, to - from - 1)) +
      (operation.returnMs === undefined ? "…" : "]");
    return `${bar.padEnd(BAR_CHARS + 3)} ${operation.client.padEnd(4)} ${describe(operation)}`;
  });
  return `${shown[0]?.key}, ${startMs.toFixed(1)} to ${endMs.toFixed(1)} ms\n${lines.join("\n")}\n`;
}

/** A page that shows the window as bars; it needs nothing else. */
export function timelineHtml(window: readonly Operation[], title: string): string {
  const { shown, startMs, endMs } = frame(window);
  const width = endMs - startMs || 1;
  const rows = shown.map((operation) => {
    const left = (operation.invokeMs - startMs) / width * 100;
    const right = ((operation.returnMs ?? endMs) - startMs) / width * 100;
    const open = operation.returnMs === undefined ? " open" : "";
    return `<div class="row"><span class="client">${escape(operation.client)}</span>` +
      `<div class="line"><div class="bar ${operation.type}${open}" ` +
      `style="left:${left.toFixed(2)}%;width:${Math.max(0.3, right - left).toFixed(2)}%"></div>` +
      `</div><span class="text">${escape(describe(operation))}</span></div>`;
  });
  return `<!doctype html>
<meta charset="utf-8">
<title>${escape(title)}</title>
<style>
body { font: 13px monospace; margin: 2em; }
.row { display: grid; grid-template-columns: 4em 45% 1fr; gap: 1em; align-items: center; }
.line { position: relative; height: 1.2em; background: #f3f3f3; margin: 1px 0; }
.bar { position: absolute; top: 2px; bottom: 2px; background: #4a7; border-radius: 2px; }
.bar.get { background: #47a; }
.bar.open { opacity: .4; }
.row:last-child .text { color: #b00; font-weight: bold; }
</style>
<h1>${escape(title)}</h1>
<p>No order of these operations explains what the clients were told. The last return is what cannot
be explained. Pale bars: the outcome is unknown.</p>
${rows.join("\n")}
`;
}

function frame(
  window: readonly Operation[],
): { shown: readonly Operation[]; startMs: number; endMs: number } {
  const shown = window.slice(-TIMELINE_OPERATIONS_MAX);
  const startMs = Math.min(...shown.map(({ invokeMs }) => invokeMs));
  const endMs = Math.max(...shown.map(({ invokeMs, returnMs }) => returnMs ?? invokeMs));
  return { shown, startMs, endMs };
}

function position(atMs: number, startMs: number, endMs: number): number {
  return Math.round((Math.min(atMs, endMs) - startMs) / (endMs - startMs || 1) * BAR_CHARS);
}

function describe(operation: Operation): string {
  return `${describeRequest(operation)} -> ${describeResult(operation)}`;
}

/** What a client asked for, without the key. */
export function describeRequest({ type, value, expected }: Operation): string {
  if (type === "get" || type === "delete") return type;
  return `${type} ${value}${type === "cas" ? ` if ${expected}` : ""}`;
}

/** What a client was told; "?" if nothing. */
export function describeResult({ result }: Operation): string {
  if (result === undefined) return "?";
  if ("ok" in result) return `${result.ok ? "ok" : "refused"} @${result.revision}`;
  return `${result.value ?? "(none)"} @${result.revision}`;
}

function escape(text: string): string {
  return text.replace(/[&<>"]/g, (char) => `&#${char.charCodeAt(0)};`);
}
