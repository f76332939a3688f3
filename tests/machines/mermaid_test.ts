/**
 * Charts as Mermaid reads them: its own parser takes the text, and finds in it what the chart has.
 *
 * @module
 */
import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { createMachine } from "xstate";
import { activePaths, chartToMermaid, describeChart } from "../../machines/chart.ts";
import { charts } from "../../machines/chart_document.ts";
import { CoreCluster } from "./core_cluster.ts";

/** What Mermaid's data says of a state or a note. */
interface MermaidNode {
  readonly id: string;
  readonly label: string;
  readonly shape: string;
  readonly isGroup: boolean;
  readonly parentId?: string;
  readonly description?: readonly string[];
  readonly cssClasses: string;
}

/** What Mermaid makes of a diagram's text. */
interface MermaidData {
  readonly nodes: readonly MermaidNode[];
  readonly edges: readonly { readonly start: string; readonly end: string }[];
}

/** What Mermaid's parser says to each text. */
async function readAll(
  texts: readonly string[],
): Promise<(MermaidData | { readonly error: string })[]> {
  const folder = new URL("../mermaid/", import.meta.url);
  const child = new Deno.Command(Deno.execPath(), {
    args: ["run", "--quiet", "--allow-env", "--frozen", new URL("read.ts", folder).pathname],
    cwd: folder,
    env: { NO_COLOR: "1" },
    stdin: "piped",
    stdout: "piped",
    stderr: "piped",
  }).spawn();
  const writer = child.stdin.getWriter();
  await writer.write(new TextEncoder().encode(JSON.stringify(texts)));
  await writer.close();
  const { success, stdout, stderr } = await child.output();
  assert(success, new TextDecoder().decode(stderr));
  return JSON.parse(new TextDecoder().decode(stdout));
}

async function read(...texts: string[]): Promise<MermaidData[]> {
  const answers = await readAll(texts);
  return answers.map((answer, at) => {
    assert(!("error" in answer), `${JSON.stringify(answer)}\n${texts[at]}`);
    return answer;
  });
}

/** States proper, by the name that is shown. */
function statesOf({ nodes }: MermaidData): MermaidNode[] {
  return nodes.filter(({ shape }) => !/note|start|end/i.test(shape));
}

function markedOf(data: MermaidData): string[] {
  return statesOf(data).filter(({ cssClasses }) => cssClasses.includes("active"))
    .map(({ id }) => id).sort();
}

Deno.test("Mermaid takes every chart, with every state in its place and every arrow and action", async () => {
  const all = Object.values(charts).map(describeChart);
  const data = await read(...all.map((chart) => chartToMermaid(chart)));
  for (const [at, { states, transitions }] of all.entries()) {
    const places = statesOf(data[at]!).map(({ id, parentId = "" }) => [id, parentId]);
    const expected = states.filter(({ path }) => path !== "").map(({ path }) => [
      path.replaceAll(".", "_"),
      path.split(".").slice(0, -1).join("_"),
    ]);
    assertEquals(places.sort(), expected.sort());
    const shown = JSON.stringify(data[at]);
    const actions = [...states, ...transitions].flatMap((each) =>
      "actions" in each ? each.actions : [...each.entry, ...each.exit]
    );
    const hidden = actions.filter((action) => !shown.includes(action));
    // What takes every event that no state lists is not drawn.
    assertEquals(hidden.filter((action) => action !== "failUnexpected"), []);
    for (const { from, target } of transitions) {
      if (target === undefined || from === "" || target.startsWith(`${from}.`)) continue;
      const [start, end] = [from, target].map((path) => path.replaceAll(".", "_"));
      assert(data[at]!.edges.some((edge) => edge.start === start && edge.end === end), from);
    }
  }
});

Deno.test("Mermaid marks the live leaves of every role, and no state around them", async () => {
  const cluster = new CoreCluster({ voters: [1, 2, 3] });
  cluster.elect(1);
  const texts = [1, 2].map((id) =>
    chartToMermaid(describeChart(charts.raft), activePaths(cluster.core(id).snapshot.value))
  );
  assertEquals((await read(...texts)).map(markedOf), [
    ["disk_healthy", "members_stable", "role_leader_serving", "snapshot_none", "space_enough"],
    ["disk_healthy", "members_stable", "role_follower", "snapshot_none", "space_enough"],
  ]);
});

Deno.test("Mermaid takes names and labels that would end a line, a block or a label", async () => {
  const labels = ["a:b", 'x"y', "<b>", "a;b", "35#;", "%%", "a-->b", "{", "}", "\u00e9", "a\nb"];
  const words = ["end", "note", "state", "class", "classDef", "style", "direction", "scale"];
  const names = [...words, "a b", "a_b", "a-b", ...labels];
  const events = [...labels, ...words];
  const machine = createMachine({
    id: "hostile",
    initial: "end",
    states: Object.fromEntries(names.map((name, at) => [name, {
      entry: labels,
      initial: "inner",
      states: { inner: { entry: labels }, end: {} },
      on: Object.fromEntries(events.map((event) => [event, {
        target: names[(at + 1) % names.length]!,
        actions: labels,
      }])),
    }])),
  });
  const active = ["end", "end.inner", "a b", "a b.end"];
  const [data] = await read(chartToMermaid(describeChart(machine), active));
  const ids = statesOf(data!).map(({ id }) => id);
  assertEquals([ids.length, new Set(ids).size], [3 * names.length, 3 * names.length]);
  assertEquals(markedOf(data!), ["a_32_b_end", "end_inner"]);
  const arrows = data!.edges.filter(({ start, end }) => ids.includes(start) && ids.includes(end));
  assertEquals(arrows.length, names.length * events.length);
});

Deno.test("Mermaid takes every diagram of the documents", async () => {
  const root = new URL("../../", import.meta.url);
  const documents = ["README.md", "ARCHITECTURE.md"].map((name) =>
    Deno.readTextFileSync(new URL(name, root))
  );
  const texts = documents.flatMap((text) =>
    [...text.matchAll(/```mermaid\n([\s\S]*?)```/g)].map(([, diagram]) => diagram!)
  );
  assert(texts.length >= 1 + Object.keys(charts).length);
  await read(...texts);
});

Deno.test("Mermaid's parser refuses what a browser would not draw", async () => {
  const outer = 'stateDiagram-v2\n  state "a" as a {\n    state "b" as b\n  }\n';
  const [text, arrow] = await readAll([`${outer}  a : entry / act\n`, `${outer}  a --> : x\n`]);
  assertStringIncludes(JSON.stringify(text), "can only have label");
  assertStringIncludes(JSON.stringify(arrow), "error");
});
