import { parseArgs } from "@std/cli/parse-args";
import { assertEquals, assertThrows } from "@std/assert";
import {
  durationSetting,
  hostPortSetting,
  memberListSetting,
  numberSetting,
  readSettings,
} from "../../cli/settings.ts";
import { UsageError } from "../../cli/usage.ts";

const table = {
  string: ["id", "data", "output", "config", "log-level"],
  boolean: ["single", "help"],
  alias: { output: "o" },
};

function read(
  args: readonly string[],
  environment: Readonly<Record<string, string>> = {},
): ReturnType<typeof readSettings> {
  return readSettings(args, table, (name) => environment[name]);
}

async function withConfig(content: string, run: (path: string) => void): Promise<void> {
  const path = await Deno.makeTempFile();
  try {
    await Deno.writeTextFile(path, content);
    run(path);
  } finally {
    await Deno.remove(path);
  }
}

Deno.test("whichever parseArgs is linked reads declared options alike", () => {
  const options = {
    string: ["id", "output"],
    boolean: ["single"],
    alias: { output: "o" },
  };
  const cases: [string[], Record<string, unknown>][] = [
    [[], { _: [], single: false }],
    [["--id", "7"], { _: [], single: false, id: "7" }],
    [["--id=7"], { _: [], single: false, id: "7" }],
    [["--id", "007"], { _: [], single: false, id: "007" }],
    [["--id=a=b"], { _: [], single: false, id: "a=b" }],
    [["--id", "1", "--id", "2"], { _: [], single: false, id: "2" }],
    [["--single", "word"], { _: ["word"], single: true }],
    [["-o", "json"], { _: [], single: false, output: "json", o: "json" }],
    [["-"], { _: ["-"], single: false }],
    [["a", "--single", "b"], { _: ["a", "b"], single: true }],
    [["--", "--id", "-x"], { _: ["--id", "-x"], single: false }],
  ];
  for (const [args, expected] of cases) {
    assertEquals({ ...parseArgs(args, options) } as unknown, expected, args.join(" "));
  }
});

Deno.test("whichever parseArgs is linked tells of every unknown option", () => {
  for (const args of [["--nope"], ["--nope=1"], ["-x"], ["--no-single"], ["--singles"]]) {
    const told: string[] = [];
    parseArgs(args, {
      boolean: ["single"],
      unknown: (arg, key) => {
        if (key !== undefined) told.push(arg);
        return false;
      },
    });
    assertEquals(told.length, 1, args[0]);
  }
});

Deno.test("a flag wins over the environment, which wins over the file", async () => {
  await withConfig('{"data": "file", "id": 3, "log-level": "warn", "single": true}', (path) => {
    const environment = { STATECRAFT_DATA: "environment", STATECRAFT_LOG_LEVEL: "error" };
    const settings = read(["--config", path, "--data", "flag"], environment);
    assertEquals(settings.text("data"), "flag");
    assertEquals(settings.text("log-level"), "error");
    assertEquals(settings.text("id"), "3");
    assertEquals(settings.isOn("single"), true);
    assertEquals(settings.isOn("help"), false);
    assertEquals(settings.text("output"), undefined);
    const off = read(["--config", path], { STATECRAFT_SINGLE: "false" });
    assertEquals(off.isOn("single"), false);
    assertEquals(read([], { STATECRAFT_CONFIG: path }).text("data"), "file");
  });
});

Deno.test("words stay words, also behind --, and a dash is one", () => {
  assertEquals(read(["put", "key", "-"]).words, ["put", "key", "-"]);
  assertEquals(read(["put", "key", "--", "-5", "--data"]).words, ["put", "key", "-5", "--data"]);
  assertEquals(read(["get", "007"]).words, ["get", "007"]);
  assertEquals(read(["-o", "json", "get"]).text("output"), "json");
  assertEquals(read(["--id", "-"]).text("id"), "-");
});

Deno.test("a flag that is unknown, lacks its value or takes none is refused", () => {
  const refused: [string[], string][] = [
    [["--nope"], "unknown flag --nope"],
    [["--dat", "x"], "unknown flag --dat; is it --data?"],
    [["--dats=x"], "unknown flag --dats; is it --data?"],
    [["--singel"], "unknown flag --singel"],
    [["-z"], "unknown flag -z"],
    [["--no-single"], "unknown flag --no-single"],
    [["--id"], "--id needs a value"],
    [["--id="], "--id needs a value"],
    [["--id", ""], "--id needs a value"],
    [["--id", "--single"], "--id needs a value"],
    [["--data", "-o"], "--data needs a value"],
    [["-o"], "--output needs a value"],
    [["--single=true"], "--single takes no value"],
    [["--single=false"], "--single takes no value"],
  ];
  for (const [args, message] of refused) {
    assertThrows(() => read(args), UsageError, message, args.join(" "));
  }
});

Deno.test("a file that cannot be used says why", async () => {
  assertThrows(() => read(["--config", "/nowhere/at/all"]), UsageError, "cannot read --config");
  const contents: [string, string][] = [
    ["{", "cannot read --config"],
    ["[]", "it is not a JSON object"],
    ["null", "it is not a JSON object"],
    ['{"nope": 1}', 'unknown setting "nope"'],
    ['{"__proto__": "x"}', 'unknown setting "__proto__"'],
    ['{"id": [1]}', '"id" is not text, number or boolean'],
    ['{"id": null}', '"id" is not text, number or boolean'],
  ];
  for (const [content, message] of contents) {
    await withConfig(content, (path) => {
      assertThrows(() => read(["--config", path]), UsageError, message, content);
    });
  }
});

Deno.test("values are read strictly", () => {
  const bounds = { min: 1, max: 10 };
  assertEquals(numberSetting("n", "10", bounds), 10);
  for (const text of ["0", "11", "-1", "1.5", "1e1", "0x1", " 1", "", "Infinity"]) {
    assertThrows(() => numberSetting("n", text, bounds), UsageError, "from 1 to 10", text);
  }
  assertEquals(hostPortSetting("p", "host:0"), { hostname: "host", port: 0 });
  assertEquals(hostPortSetting("p", "[::1]:65535"), { hostname: "::1", port: 65_535 });
  for (const text of ["host", "host:", ":1", "host:65536", "::1:80", "host:1x", "a b:1"]) {
    assertThrows(() => hostPortSetting("p", text), UsageError, "--p takes HOST:PORT", text);
  }
  const list = memberListSetting("m", " 2=b , 1=a", (value) => value);
  assertEquals([...list], [[2, "b"], [1, "a"]]);
  for (const text of ["", "1", "1=", "x=a", "0=a", "1=a,1=b", "1=a,", `${2 ** 31 + 1}=a`]) {
    assertThrows(() => memberListSetting("m", text, (value) => value), UsageError, "--m", text);
  }
  assertEquals(["250ms", "5s", "2m", "1h", "366d"].map((text) => durationSetting("d", text)), [
    250,
    5_000,
    120_000,
    3_600_000,
    366 * 86_400_000,
  ]);
  for (const text of ["5", "s", "-1s", "1.5s", "1w", "1 s"]) {
    assertThrows(() => durationSetting("d", text), UsageError, "--d takes a duration", text);
  }
});
