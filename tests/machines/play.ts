/**
 * `deno task play NAME`: prints a scenario as a play, from the cores as they are now.
 *
 * @module
 */
import { complain, EXIT, print } from "../../cli/usage.ts";
import { scenarios } from "./scenarios/scenarios.ts";

function main([name, ...rest]: readonly string[]): void {
  if (name === undefined || name === "--help") {
    print("Usage: deno task play NAME\n\n");
    for (const [each, plays] of Object.entries(scenarios)) {
      for (const title of Object.keys(plays)) print(`${each.padEnd(18)} ${title}\n`);
    }
    return;
  }
  if (rest.length > 0 || !Object.hasOwn(scenarios, name)) {
    const names = Object.keys(scenarios).join(", ");
    complain(
      rest.length > 0
        ? "statecraft play: takes one name"
        : `statecraft play: unknown scenario "${name}"; there are ${names}`,
    );
    Deno.exit(EXIT.usage);
  }
  for (const [title, run] of Object.entries(scenarios[name]!)) print(`${title}\n${run().play}\n`);
}

if (import.meta.main) main(Deno.args);
