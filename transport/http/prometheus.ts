/**
 * Metrics as Prometheus text. Labels never contain keys.
 *
 * @module
 */

/** Labels of one sample, such as `{group: 0}`. */
export type Labels = Readonly<Record<string, string | number>>;

/** One metric family: its help, its kind, and its samples. */
export interface Metric {
  readonly name: string;
  readonly help: string;
  readonly type: "counter" | "gauge";
  readonly samples: readonly { readonly labels?: Labels; readonly value: number }[];
}

/** A histogram with fixed upper bounds, in the metric's unit. */
export class Histogram {
  readonly #bounds: readonly number[];
  readonly #counts: number[];
  #sum = 0;

  /** `bounds` ascend; a last bucket takes what is above them. */
  constructor(bounds: readonly number[]) {
    this.#bounds = bounds;
    this.#counts = new Array(bounds.length + 1).fill(0);
  }

  /** Counts one observation. */
  observe(value: number): void {
    let bucket = 0;
    while (bucket < this.#bounds.length && value > this.#bounds[bucket]!) bucket++;
    this.#counts[bucket] = this.#counts[bucket]! + 1;
    this.#sum += value;
  }

  /** The lines of one family's samples. */
  format(name: string, labels: Labels = {}): string {
    const lines: string[] = [];
    let count = 0;
    this.#counts.forEach((inBucket, bucket) => {
      count += inBucket;
      const le = this.#bounds[bucket] ?? "+Inf";
      lines.push(`${name}_bucket${formatLabels({ ...labels, le })} ${count}`);
    });
    const own = Object.keys(labels).length === 0 ? "" : formatLabels(labels);
    lines.push(`${name}_sum${own} ${this.#sum}`, `${name}_count${own} ${count}`);
    return lines.join("\n") + "\n";
  }
}

/** The lines of a family of histograms, which have different labels. */
export function formatHistograms(
  name: string,
  help: string,
  samples: readonly { readonly labels?: Labels; readonly histogram: Histogram }[],
): string {
  const head = `# HELP ${name} ${help}\n# TYPE ${name} histogram\n`;
  return head + samples.map(({ labels, histogram }) => histogram.format(name, labels)).join("");
}

/** The families' lines. */
export function formatMetrics(metrics: readonly Metric[]): string {
  let text = "";
  for (const { name, help, type, samples } of metrics) {
    text += `# HELP ${name} ${help}\n# TYPE ${name} ${type}\n`;
    for (const { labels, value } of samples) text += `${name}${formatLabels(labels)} ${value}\n`;
  }
  return text;
}

function formatLabels(labels: Labels | undefined): string {
  if (labels === undefined) return "";
  const escape = (value: string | number): string =>
    String(value).replaceAll("\\", "\\\\").replaceAll('"', '\\"').replaceAll("\n", "\\n");
  return `{${Object.entries(labels).map(([name, value]) => `${name}="${escape(value)}"`).join()}}`;
}
