/**
 * `deno task play NAME`: performs a scenario and prints it, from the cores as they are now.
 *
 * @module
 */
import { complain, EXIT, print } from "../../cli/usage.ts";
import { commands } from "./scenarios/commands.ts";
import { factNames } from "./scenarios/facts.ts";
import { readScenarios, scenarioNames } from "./scenarios/files.ts";
import { performLines } from "./scenarios/perform.ts";
import { parseScenarios, type ScenarioFile, ScriptError } from "./scenarios/script.ts";

function main([name, ...rest]: readonly string[]): void {
  if (name === undefined || name === "--help") return help();
  if (rest.length > 0) fail("takes one name", EXIT.usage);
  try {
    const { head, scenarios } = open(name);
    print(head);
    for (const scenario of scenarios) for (const line of performLines(scenario)) print(`\n${line}`);
  } catch (error) {
    if (!(error instanceof ScriptError)) throw error;
    print("\n");
    fail(error.message, EXIT.failure);
  }
}

/** A scenario of the tests by its name, or any file by its path, which ends in ".txt". */
function open(name: string): ScenarioFile {
  if (scenarioNames().includes(name)) return readScenarios(name);
  if (!name.endsWith(".txt")) {
    const names = scenarioNames().join(", ");
    fail(
      `unknown scenario "${name}"; there are ${names}, or give the path of a .txt file`,
      EXIT.usage,
    );
  }
  try {
    return parseScenarios(name, Deno.readTextFileSync(name));
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) fail(`there is no file ${name}`, EXIT.usage);
    throw error;
  }
}

function help(): void {
  print("Usage: deno task play NAME    or the path of a file of your own, FILE.txt\n\n");
  for (const name of scenarioNames()) {
    for (const { title } of readScenarios(name).scenarios) print(`${name.padEnd(20)} ${title}\n`);
  }
  print("\nCommands of a script:\n\n");
  for (const { usage, meaning } of Object.values(commands)) {
    print(`${usage.padEnd(36)} ${meaning}\n`);
  }
  print(`
NODES are numbers with commas, such as 1,3 or 2-5, or * for all. TYPES are types of messages, such as
RequestVote; without any all are meant. FACTS are ${factNames.join(", ")}.

In a transcript t4 is term 4, 3@t2 is the entry at index 3 of term 2, and [3-5@t2] are the entries at
indexes 3 to 5. A disk line says written while the sync still runs, durable once it has ended, and
lost if a crash came before.
`);
}

function fail(text: string, code: number): never {
  complain(`statecraft play: ${text}`);
  Deno.exit(code);
}

if (import.meta.main) main(Deno.args);
