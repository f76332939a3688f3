/**
 * Every scenario of this folder: its expectations hold, and its transcript is what happens now.
 *
 * @module
 */
import { assert, assertEquals, assertMatch, assertThrows } from "@std/assert";
import { ELAPSE_MS_MAX } from "./commands.ts";
import { readScenarios, scenarioNames } from "./files.ts";
import { perform } from "./perform.ts";
import { difference, parseScenarios, type Scenario, ScriptError } from "./script.ts";

for (const name of scenarioNames()) {
  for (const scenario of readScenarios(name).scenarios) {
    Deno.test(`${scenario.file}: ${scenario.title}`, () => {
      const found = difference(scenario, perform(scenario));
      assert(found === undefined, found);
    });
  }
}

Deno.test("the lines of a transcript have the form of the simulator's", () => {
  const form = /^ *\d+ {2}(info|send|recv|disk|client|show) {2}node \d+ {2}\S/;
  for (const name of scenarioNames()) {
    for (const { text } of readScenarios(name).scenarios) {
      const lines = text.split("\n").filter((line) => line.startsWith(" "));
      assertEquals(lines.filter((line) => !form.test(line)), [], name);
    }
  }
});

/** A scenario with this script, and perhaps a transcript. */
function scenarioOf(...lines: readonly string[]): Scenario {
  return parseScenarios("x.txt", ["# Head.", "scenario x", ...lines, ""].join("\n")).scenarios[0]!;
}

/** What performing a script fails with. */
function failureOf(...lines: readonly string[]): string {
  return assertThrows(() => perform(scenarioOf(...lines)), ScriptError).message;
}

Deno.test("a new scenario needs no code: its transcript is written below its commands", () => {
  const script = ["voters 1", "", "# It needs nobody.", "elect 1", "expect 1 role=leader"];
  const performed = perform(scenarioOf(...script));
  assertEquals(performed.split("\n").filter((line) => !line.startsWith(" ")), [
    "scenario x",
    ...script,
    "",
  ]);
  assertMatch(
    performed,
    /\nelect 1\n +600 {2}info {2}node 1 {2}role from=follower to=candidate /,
  );
  assertMatch(performed, /\n +600 {2}disk {2}node 1 {2}durable t1 vote 1\n/);
  // Performed again, it is what it says.
  const [again] = parseScenarios("x.txt", performed).scenarios;
  assertEquals(difference(again!, perform(again!)), undefined);
});

Deno.test("a transcript that is not what happens fails, with file, line and both texts", () => {
  const lines = perform(scenarioOf("voters 1", "elect 1")).split("\n");
  const at = lines.findIndex((line) => line.includes("durable t1 vote 1"));
  const wrong = lines.with(at, lines[at]!.replace("vote 1", "vote 2"));
  const [scenario] = parseScenarios("x.txt", wrong.join("\n")).scenarios;
  const found = difference(scenario!, perform(scenario!));
  assert(found !== undefined);
  assertEquals(found.split("\n")[0], `x.txt:${at + 1}: the transcript is not what happens now`);
  assert(found.includes(`\n- ${wrong[at]}\n+ ${lines[at]}\n`), found);
  assertMatch(found, /deno task scenarios --write/);
});

Deno.test("a wrong expectation fails with file and line, whatever the transcript says", () => {
  const failure = failureOf("voters 1-3", "elect 1", "expect 1,2 leader=1 term=2");
  assertEquals(failure, "x.txt:5: node 1 has term=1, not term=2");
});

const bad: readonly (readonly [failure: string | RegExp, ...script: readonly string[]])[] = [
  [/^x\.txt:3: there is no command "elekt"; there are voters, /, "elekt 1"],
  [/^x\.txt:3: there is no command "constructor"; /, "constructor"],
  ["x.txt:3: there are no voters", "elect 1"],
  ["x.txt:4: there is no node 4", "voters 1-3", "elect 4"],
  ['x.txt:4: "x" is not a number; write: elect NODE', "voters 1-3", "elect x"],
  ["x.txt:4: a node is missing; write: elect NODE", "voters 1-3", "elect"],
  ['x.txt:4: "2" is one word too many; write: elect NODE', "voters 1-3", "elect 1 2"],
  [/^x\.txt:4: there is no message "Vote"; .*RequestVote, /, "voters 1-3", "lose 1 -> 2 Vote"],
  [/^x\.txt:4: "->" was expected, not "2"; /, "voters 1-3", "lose 1 2"],
  ['x.txt:3: "3-1" names no nodes; write: voters NODES [term T] [log TERMS]', "voters 3-1"],
  ["x.txt:4: node 2 is a member already", "voters 1-3", "voters 2"],
  ["x.txt:5: the cluster has begun already", "voters 1-3", "elect 1", "learners 4"],
  ["x.txt:5: node 1 is down", "voters 1-3", "crash 1", "propose 1 a"],
  ["x.txt:5: node 1 is down, so it has no log", "voters 1-3", "crash 1", "expect 1 log=none"],
  ["x.txt:4: node 1 is not down", "voters 1-3", "restart 1"],
  ["x.txt:4: node 1 does not lead", "voters 1-3", "heartbeat 1"],
  ["x.txt:5: node 1 leads, so it has no election timeout", "voters 1", "elect 1", "timeout 1"],
  ["x.txt:5: node 1 leads, so it has no election timeout", "voters 1", "elect 1", "elect 1"],
  ["x.txt:5: node 1 was not elected", "voters 1-3", "crash 2,3", "elect 1"],
  ["x.txt:4: no such message is under way", "voters 1-3", "deliver 1 -> 2"],
  ["x.txt:4: node 1 has no write to sync", "voters 1-3", "sync 1"],
  [/^x\.txt:4: there is no fact "rolle"; there are up, /, "voters 1-3", "expect 1 rolle=leader"],
  ['x.txt:4: "leader" is not of the form FACT=VALUE', "voters 1-3", "expect 1 leader"],
  ["x.txt:4: there is nothing to expect", "voters 1-3", "expect 1"],
  ['x.txt:6: "a" was proposed before', "voters 1", "elect 1", "propose 1 a", "propose 1 a"],
  [
    `x.txt:4: at most ${ELAPSE_MS_MAX} ms pass at a time`,
    "voters 1",
    `elapse ${ELAPSE_MS_MAX + 1} ms`,
  ],
];

for (const [failure, ...script] of bad) {
  Deno.test(`a script that cannot be followed: ${script.join("; ")}`, () => {
    const found = failureOf(...script);
    if (typeof failure === "string") assertEquals(found, failure);
    else assertMatch(found, failure);
  });
}

Deno.test("a file without a scenario, or with commands above the first, is refused", () => {
  const refuse = (text: string): string =>
    assertThrows(() => parseScenarios("x.txt", text), ScriptError).message;
  assertEquals(refuse("# Nothing.\n"), 'x.txt:1: a file needs a line "scenario TITLE"');
  assertEquals(
    refuse("# Head.\nvoters 1\nscenario x\n"),
    "x.txt:2: only comments stand above the first scenario",
  );
  assertEquals(refuse("scenario\nvoters 1\n"), "x.txt:1: a scenario needs a title");
});

/** Runs a script of this folder's. */
async function run(
  script: string,
  ...words: readonly string[]
): Promise<{ code: number; stdout: string; stderr: string }> {
  const path = new URL(script, import.meta.url).pathname;
  const { code, stdout, stderr } = await new Deno.Command(Deno.execPath(), {
    args: ["run", "--quiet", "--allow-read", path, ...words],
  }).output();
  const text = (bytes: Uint8Array): string => new TextDecoder().decode(bytes);
  return { code, stdout: text(stdout), stderr: text(stderr) };
}

Deno.test("deno task scenarios finds nothing to rewrite, and refuses other words", async () => {
  assertEquals(await run("./main.ts"), { code: 0, stdout: "", stderr: "" });
  assertEquals(await run("./main.ts", "--write"), { code: 0, stdout: "", stderr: "" });
  const { code, stderr } = await run("./main.ts", "--wrte");
  assertEquals([code, stderr], [2, "Usage: deno task scenarios [--write]\n"]);
});

Deno.test("deno task play prints a scenario, by its name or by its path", async () => {
  const { pathname } = new URL("./figure8.txt", import.meta.url);
  const expected = { code: 0, stdout: Deno.readTextFileSync(pathname), stderr: "" };
  assertEquals(await run("../play.ts", "figure8"), expected);
  assertEquals(await run("../play.ts", pathname), expected);
});

Deno.test("deno task play without a name prints the names and the commands", async () => {
  const { code, stdout } = await run("../play.ts");
  assertEquals(code, 0);
  for (const name of scenarioNames()) assertMatch(stdout, new RegExp(`^${name} `, "m"));
  assertMatch(stdout, /^hold-sync NODES /m);
});

Deno.test("deno task play prints a scenario that fails up to where it fails", async () => {
  const path = await Deno.makeTempFile({ suffix: ".txt" });
  try {
    await Deno.writeTextFile(path, "scenario x\nvoters 1-3\ncrash 2,3\nelect 1\nheal\n");
    const { code, stdout, stderr } = await run("../play.ts", path);
    assertEquals([code, stderr], [1, `statecraft play: ${path}:4: node 1 was not elected\n`]);
    assertMatch(stdout, /\nelect 1\n.*preCandidate.*\n(.*PreVote.*\n)+.*PreVote[^\n]*\n$/);
  } finally {
    await Deno.remove(path);
  }
});

Deno.test("deno task play refuses what is not there", async () => {
  for (const name of ["figure9", "constructor"]) {
    const { code, stdout, stderr } = await run("../play.ts", name);
    assertEquals([code, stdout], [2, ""]);
    assertMatch(stderr, /^statecraft play: unknown scenario ".*"; there are .*figure7, /);
  }
  const { code, stderr } = await run("../play.ts", "gone.txt");
  assertEquals([code, stderr], [2, "statecraft play: there is no file gone.txt\n"]);
});
