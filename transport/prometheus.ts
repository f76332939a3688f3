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

  /** The family's lines. */
  format(name: string, help: string): string {
    const lines = [`# HELP ${name} ${help}`, `# TYPE ${name} histogram`];
    let count = 0;
    this.#counts.forEach((inBucket, bucket) => {
      count += inBucket;
      lines.push(`${name}_bucket{le="${this.#bounds[bucket] ?? "+Inf"}"} ${count}`);
    });
    lines.push(`${name}_sum ${this.#sum}`, `${name}_count ${count}`);
    return lines.join("\n") + "\n";
  }
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
