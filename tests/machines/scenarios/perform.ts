/**
 * Performs a scenario and tells it: the script with its transcript as it is now.
 *
 * @module
 */
import { commands } from "./commands.ts";
import { type Scenario, ScriptError } from "./script.ts";
import { Stage } from "./stage.ts";
import { Words } from "./words.ts";

/**
 * Performs a scenario line by line: each line of the script, then the transcript that it causes.
 *
 * @throws {ScriptError} If a command cannot be followed, if an expectation is not met, or if a
 * promise of Raft is broken.
 */
export function* performLines(
  { file, lines: [beginning, ...script] }: Scenario,
): Generator<string, void> {
  const stage = new Stage();
  yield beginning!.text;
  for (const { number, text } of script) {
    yield text;
    if (text === "" || text.startsWith("#")) continue;
    try {
      follow(stage, text);
      stage.check();
      yield* stage.takeLines();
    } catch (cause) {
      yield* stage.takeLines();
      throw new ScriptError(file, number, (cause as Error).message, { cause });
    }
  }
}

/**
 * The scenario's text with the transcript as it is now; throws as {@linkcode performLines} does.
 */
export function perform(scenario: Scenario): string {
  return [...performLines(scenario)].join("\n");
}

function follow(stage: Stage, text: string): void {
  const [name, ...rest] = text.trim().split(/\s+/);
  const command = Object.hasOwn(commands, name!) ? commands[name!] : undefined;
  if (command === undefined) {
    throw new Error(`there is no command "${name}"; there are ${Object.keys(commands).join(", ")}`);
  }
  const words = new Words(rest);
  try {
    command.run(stage, words);
    if (!words.isAtEnd) throw new SyntaxError(`"${words.next("")}" is one word too many`);
  } catch (cause) {
    if (!(cause instanceof SyntaxError)) throw cause;
    throw new SyntaxError(`${cause.message}; write: ${command.usage}`, { cause });
  }
}
