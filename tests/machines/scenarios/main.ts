/**
 * `deno task scenarios`: performs every scenario and says where its transcript is not what happens
 * now; `--write` rewrites the transcripts.
 *
 * @module
 */
import { complain, EXIT, printLine } from "../../../cli/usage.ts";
import { readScenarios, scenarioNames, scenarioUrl } from "./files.ts";
import { perform } from "./perform.ts";
import { difference, ScriptError } from "./script.ts";

function main(words: readonly string[]): void {
  if (words.some((word) => word !== "--write")) {
    complain("Usage: deno task scenarios [--write]");
    Deno.exit(EXIT.usage);
  }
  const isWriting = words.length > 0;
  let failures = 0;
  for (const name of scenarioNames()) {
    try {
      failures += check(name, isWriting);
    } catch (error) {
      if (!(error instanceof ScriptError)) throw error;
      complain(error.message);
      failures++;
    }
  }
  if (failures > 0) Deno.exit(EXIT.failure);
}

/** Says or rewrites what differs in a file; how many differences are left. */
function check(name: string, isWriting: boolean): number {
  const { head, scenarios } = readScenarios(name);
  const performed = scenarios.map((scenario) => ({ scenario, text: perform(scenario) }));
  const differences = performed.flatMap(({ scenario, text }) => difference(scenario, text) ?? []);
  if (differences.length === 0) return 0;
  if (!isWriting) {
    differences.forEach((each) => complain(each));
    return differences.length;
  }
  const parts = [head, ...performed.map(({ text }) => text)];
  Deno.writeTextFileSync(scenarioUrl(name), parts.join("\n"));
  printLine(`${name}: rewritten`);
  return 0;
}

if (import.meta.main) main(Deno.args);
