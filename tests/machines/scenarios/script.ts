/**
 * Scenario files: scripts whose transcript stands between their lines.
 *
 * A line that begins at the margin is the script: a command, a comment (#) or an empty line. An
 * indented line is transcript: what the commands above it caused. `scenario TITLE` begins a
 * scenario of its own; a file may hold several.
 *
 * @module
 */

/** One line of a script, transcript left out. */
export interface ScriptLine {
  /** Its number in the file, from 1. */
  readonly number: number;
  readonly text: string;
}

/** One scenario of a file. */
export interface Scenario {
  readonly file: string;
  readonly title: string;
  /** The line that begins it, and the lines below. */
  readonly lines: readonly ScriptLine[];
  /** Its part of the file as it stands, transcript included. */
  readonly text: string;
}

/** A scenario file. */
export interface ScenarioFile {
  /** The lines above the first scenario. */
  readonly head: string;
  readonly scenarios: readonly Scenario[];
}

/**
 * A script that cannot be followed, or whose expectation is not met; the message begins with file
 * and line.
 */
export class ScriptError extends Error {
  override readonly name = "ScriptError";

  constructor(file: string, line: number, message: string, options?: ErrorOptions) {
    super(`${file}:${line}: ${message}`, options);
  }
}

const BEGINNING = "scenario";

/**
 * Reads a scenario file.
 *
 * @throws {ScriptError} If a line stands above the first scenario that is no comment, if a scenario
 * has no title, or if there is none.
 */
export function parseScenarios(file: string, text: string): ScenarioFile {
  const lines = text.split("\n").map((line, at): ScriptLine => ({ number: at + 1, text: line }));
  const starts = lines.flatMap((line, at) => isBeginning(line) ? [at] : []);
  const first = starts[0];
  if (first === undefined) {
    throw new ScriptError(file, 1, `a file needs a line "${BEGINNING} TITLE"`);
  }
  const head = lines.slice(0, first);
  const stray = head.find((line) => line.text !== "" && !line.text.startsWith("#"));
  if (stray !== undefined) {
    throw new ScriptError(file, stray.number, `only comments stand above the first ${BEGINNING}`);
  }
  const scenarios = starts.map((start, nth): Scenario => {
    const part = lines.slice(start, starts[nth + 1] ?? lines.length);
    const title = part[0]!.text.slice(BEGINNING.length).trim();
    if (title === "") throw new ScriptError(file, start + 1, `a ${BEGINNING} needs a title`);
    const script = part.filter((line) => !line.text.startsWith(" "));
    return { file, title, lines: script, text: joined(part) };
  });
  return { head: joined(head), scenarios };
}

/**
 * Where a scenario's text is not what its script causes now; undefined if it is. Lines with "-" are
 * the file's, lines with "+" are what happens.
 */
export function difference(scenario: Scenario, performed: string): string | undefined {
  const was = scenario.text.split("\n");
  const is = performed.split("\n");
  if (scenario.text === performed) return undefined;
  let same = 0;
  while (same < was.length && was[same] === is[same]) same++;
  let tail = 0;
  const shorter = Math.min(was.length, is.length) - same;
  while (tail < shorter && was.at(-1 - tail) === is.at(-1 - tail)) tail++;
  const number = scenario.lines[0]!.number + same;
  return [
    `${scenario.file}:${number}: the transcript is not what happens now`,
    ...was.slice(Math.max(0, same - CONTEXT_LINES), same).map((line) => `  ${line}`),
    ...excerpt(was.slice(same, was.length - tail)).map((line) => `- ${line}`),
    ...excerpt(is.slice(same, is.length - tail)).map((line) => `+ ${line}`),
    'If the change is meant, "deno task scenarios --write" rewrites it; read the difference first.',
  ].join("\n");
}

/** Lines shown above a difference. */
const CONTEXT_LINES = 4;
/** Lines shown of either side of a difference; more would hide its beginning. */
const DIFFERENCE_LINES_MAX = 25;

function excerpt(lines: readonly string[]): string[] {
  if (lines.length <= DIFFERENCE_LINES_MAX) return [...lines];
  const left = lines.length - DIFFERENCE_LINES_MAX;
  return [...lines.slice(0, DIFFERENCE_LINES_MAX), `(and ${left} lines more)`];
}

function isBeginning({ text }: ScriptLine): boolean {
  return text === BEGINNING || text.startsWith(`${BEGINNING} `);
}

function joined(lines: readonly ScriptLine[]): string {
  return lines.map(({ text }) => text).join("\n");
}
