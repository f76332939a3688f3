/**
 * The scenario files of this folder.
 *
 * @module
 */
import { parseScenarios, type ScenarioFile } from "./script.ts";

const folder = new URL("./", import.meta.url);
const ENDING = ".txt";

/** The names of all scenario files, without ".txt", in order. */
export function scenarioNames(): string[] {
  return [...Deno.readDirSync(folder)]
    .filter(({ name }) => name.endsWith(ENDING))
    .map(({ name }) => name.slice(0, -ENDING.length))
    .sort();
}

/** Where the file of a name is. */
export function scenarioUrl(name: string): URL {
  return new URL(`${name}${ENDING}`, folder);
}

/** Reads one of them. */
export function readScenarios(name: string): ScenarioFile {
  return parseScenarios(`${name}${ENDING}`, Deno.readTextFileSync(scenarioUrl(name)));
}
