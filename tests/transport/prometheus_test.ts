import { assert, assertEquals } from "@std/assert";
import fc from "fast-check";
import { formatHistograms, formatMetrics, Histogram } from "../../transport/http/prometheus.ts";

Deno.test("a family has its help, its type and one line for each sample", () => {
  assertEquals(
    formatMetrics([
      { name: "a_total", help: "Some", type: "counter", samples: [{ value: 3 }] },
      {
        name: "b",
        help: "Others",
        type: "gauge",
        samples: [{ labels: { to: 2, dir: "in" }, value: 0.5 }, { labels: {}, value: 1 }],
      },
      { name: "c", help: "None yet", type: "gauge", samples: [] },
    ]),
    [
      "# HELP a_total Some",
      "# TYPE a_total counter",
      "a_total 3",
      "# HELP b Others",
      "# TYPE b gauge",
      'b{to="2",dir="in"} 0.5',
      "b{} 1",
      "# HELP c None yet",
      "# TYPE c gauge",
      "",
    ].join("\n"),
  );
});

Deno.test("label values are escaped, whatever they hold", () => {
  fc.assert(fc.property(fc.string({ unit: "binary" }), (label) => {
    const text = formatMetrics([
      { name: "m", help: "h", type: "gauge", samples: [{ labels: { label }, value: 1 }] },
    ]);
    const line = text.split("\n")[2]!;
    const escaped = /^m\{label="((?:[^"\\\n]|\\[\\"n])*)"\} 1$/s.exec(line)?.[1];
    assert(escaped !== undefined, line);
    const plain = escaped.replace(/\\(.)/g, (_, unit) => unit === "n" ? "\n" : unit);
    assertEquals(plain, label);
  }));
});

Deno.test("a histogram counts each observation in every bucket that it fits", () => {
  const bounds = [0.001, 0.01, 0.1];
  const value = fc.constantFrom<number>(0, 0.0005, 0.001, 0.002, 0.01, 0.05, 0.1, 0.2, 7);
  fc.assert(fc.property(fc.array(value), (values) => {
    const histogram = new Histogram(bounds);
    for (const value of values) histogram.observe(value);
    const text = formatHistograms("h", "Help", [{ histogram }, { labels: { a: 1 }, histogram }]);
    const [lines, labelled] = [text.trimEnd().split("\n"), text.trimEnd().split("\n")];
    lines.splice(lines.length / 2 + 1);
    labelled.splice(0, lines.length);
    const within = (bound: number): number => values.filter((value) => value <= bound).length;
    assertEquals(lines, [
      "# HELP h Help",
      "# TYPE h histogram",
      ...bounds.map((bound) => `h_bucket{le="${bound}"} ${within(bound)}`),
      `h_bucket{le="+Inf"} ${values.length}`,
      `h_sum ${values.reduce((sum, value) => sum + value, 0)}`,
      `h_count ${values.length}`,
    ]);
    assertEquals(
      labelled,
      lines.slice(2).map((line) =>
        line.includes("{") ? line.replace("{", '{a="1",') : line.replace(" ", '{a="1"} ')
      ),
    );
  }));
});
