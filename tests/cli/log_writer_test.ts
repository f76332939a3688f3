import { assertEquals, assertMatch } from "@std/assert";

/** Runs `createLog` in a process of its own, whose stderr is the log. */
async function logged(options: string, calls: string): Promise<string> {
  const module = new URL("../../cli/log_writer.ts", import.meta.url).href;
  const code =
    `import { createLog } from "${module}"; const { log } = createLog(${options}); ${calls}`;
  const child = new Deno.Command(Deno.execPath(), {
    args: ["run", "--quiet", `data:application/typescript,${encodeURIComponent(code)}`],
  });
  const { stderr, stdout } = await child.output();
  assertEquals(stdout.length, 0);
  return new TextDecoder().decode(stderr);
}

Deno.test("text lines name the node and the event, and quote what could be misread", async () => {
  const text = await logged(
    '{ level: "info", format: "text", node: 3 }',
    `log("debug", "hidden", {});
     log("info", "role", { from: "follower", to: "leader", term: 7, cause: undefined });
     log("warn", "odd", { reason: 'a "quoted" word', equals: "a=b", lines: "x\\ny", empty: "" });
     log("error", "failed", {});`,
  );
  const lines = text.trimEnd().split("\n");
  const time = /^\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}\.\d{3}Z /;
  for (const line of lines) assertMatch(line, time);
  assertEquals(lines.map((line) => line.replace(time, "")), [
    "info  node 3  role from=follower to=leader term=7",
    'warn  node 3  odd reason="a \\"quoted\\" word" equals="a=b" lines="x\\ny" empty=""',
    "error node 3  failed",
  ]);
});

Deno.test("JSON lines are objects, one a line", async () => {
  const text = await logged(
    '{ level: "debug", format: "json", node: 1 }',
    `log("debug", "seen", { lines: "x\\ny", term: 7, flag: true });
     log("error", "failed", {});`,
  );
  const lines = text.trimEnd().split("\n").map((line) => JSON.parse(line));
  for (const line of lines) assertMatch(line.time, /^\d{4}-/);
  assertEquals(lines.map(({ time: _, ...rest }) => rest), [
    { level: "debug", node: 1, event: "seen", lines: "x\ny", term: 7, flag: true },
    { level: "error", node: 1, event: "failed" },
  ]);
});
