import { assert, assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { completionOf } from "../../cli/completion.ts";
import {
  flagsOf,
  switches,
  valueFlags,
  verbHelp,
  verbHelps,
  wholeHelp,
} from "../../cli/kv_help.ts";
import { EXIT, UsageError } from "../../cli/usage.ts";
import { VERSION } from "../../mod.ts";
import { kvAt, refusedEndpoint } from "./run_kv.ts";

const nobody = kvAt(refusedEndpoint());

Deno.test("each verb has a help of its own, with examples that are its own", async () => {
  for (const [verb, { examples, flags }] of Object.entries(verbHelps)) {
    const help = verbHelp(verb);
    assert(examples.length > 0, verb);
    for (const example of examples) {
      assertStringIncludes(help, `deno task kv ${example}\n`);
      const [shown] = example.split(" ");
      if (!Object.hasOwn(verbHelps, shown!)) continue;
      for (const [, flag] of example.matchAll(/ --([a-z-]{2,})/g)) {
        assert(flagsOf(shown!).includes(flag!), example);
      }
    }
    for (const flag of flags) {
      assert(flag in valueFlags || flag in switches, `${verb} --${flag} is no flag`);
    }
    assertStringIncludes(wholeHelp(), `\n  ${verb}`);
  }
  assert(wholeHelp().split("\n").every((line) => line.length <= 100), "a line is too wide");
  const help = await nobody(["put", "--help"]);
  assertEquals([help.code, help.stdout], [EXIT.ok, verbHelp("put")]);
});

Deno.test("a flag that the verb does not take is refused: it may be a condition", async () => {
  const refused = [
    ["incr", "a", "--if-revision", "3"],
    ["get", "a", "--all"],
    ["cas", "a", "b", "c", "--ttl", "30s"],
    ["txn", "--dry-run"],
  ];
  for (const args of refused) {
    const { code, stderr } = await nobody(args);
    assertEquals(code, EXIT.usage, args.join(" "));
    assertMatch(
      stderr,
      new RegExp(`${args[0]} takes no ${args.find((arg) => arg.startsWith("--"))}`),
    );
  }
});

Deno.test("the version of the client is known without a node, and each endpoint has a row", async () => {
  const { code, stdout } = await nobody(["version"]);
  assertEquals(code, EXIT.ok);
  assertStringIncludes(stdout, `client ${VERSION}\n`);
  assertMatch(stdout, /http:\/\/127\.0\.0\.1:\d+ +.*refused/);
});

Deno.test("completion: a script for each shell knows every verb and its flags", async (t) => {
  for (const shell of ["bash", "zsh", "fish"]) {
    const script = completionOf(shell);
    for (const verb of Object.keys(verbHelps)) assertStringIncludes(script, verb);
    assertStringIncludes(script, shell === "fish" ? "-l if-revision" : "--if-revision");
  }
  try {
    completionOf("powershell");
    assert(false, "there is none");
  } catch (error) {
    assert(error instanceof UsageError, String(error));
  }
  await t.step("bash takes it", async () => {
    const ask = `
      complete_at() { COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _statecraft_kv; echo "\${COMPREPLY[*]}"; }
      complete_at kv mem
      complete_at kv member re
      complete_at kv put key value --if`;
    const { success, stdout } = await new Deno.Command("bash", {
      args: ["--norc", "-c", completionOf("bash") + ask],
    }).output();
    assert(success);
    assertEquals(new TextDecoder().decode(stdout).split("\n").slice(0, 3), [
      "member",
      "remove replace",
      "--if-revision",
    ]);
  });
});
