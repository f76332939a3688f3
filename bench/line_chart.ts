/**
 * Line charts as SVG, one below the other.
 *
 * @module
 */

/** Lines over one horizontal axis. */
export interface Chart {
  readonly title: string;
  /** Of the vertical axis, which begins at 0. */
  readonly unit: string;
  readonly lines: readonly {
    readonly name: string;
    readonly points: readonly (readonly [x: number, y: number])[];
  }[];
}

const WIDTH = 860;
const HEIGHT = 260;
const LEFT = 70;
const RIGHT = 20;
const TOP = 34;
const BOTTOM = 34;
const TICKS = 5;
const POINTS_MAX = 600;
const COLORS = ["#1b6ca8", "#c1440e", "#3a7d44", "#7b3fa0", "#8a6d00"];

/** The charts as one SVG document; `unit` is that of the horizontal axis. */
export function chartsToSvg(unit: string, charts: readonly Chart[]): string {
  const height = HEIGHT * charts.length;
  const body = charts.map((chart, at) => drawn(chart, unit, at * HEIGHT)).join("");
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${height}" ` +
    `width="${WIDTH}" height="${height}" font-family="sans-serif" font-size="12">\n` +
    `<rect width="100%" height="100%" fill="#fff"/>\n${body}</svg>\n`;
}

function drawn({ title, unit, lines }: Chart, xUnit: string, top: number): string {
  const all = lines.flatMap(({ points }) => points);
  const [xMax, yMax] = [0, 1].map((axis) => niceMax(Math.max(1, ...all.map((p) => p[axis]!))));
  const x = (value: number): number => LEFT + value / xMax! * (WIDTH - LEFT - RIGHT);
  const y = (value: number): number =>
    top + HEIGHT - BOTTOM - value / yMax! * (HEIGHT - TOP - BOTTOM);
  const text = (atX: number, atY: number, anchor: string, content: string): string =>
    `<text x="${atX.toFixed(1)}" y="${atY.toFixed(1)}" text-anchor="${anchor}">${content}</text>\n`;
  let svg = text(LEFT, top + 20, "start", `${title}, ${unit}`);
  for (let tick = 0; tick <= TICKS; tick++) {
    const [atX, atY] = [x(xMax! * tick / TICKS), y(yMax! * tick / TICKS)];
    svg += `<path d="M${LEFT} ${atY.toFixed(1)}H${WIDTH - RIGHT}" stroke="#ddd"/>\n`;
    svg += text(LEFT - 6, atY + 4, "end", label(yMax! * tick / TICKS));
    svg += text(atX, top + HEIGHT - 14, "middle", label(xMax! * tick / TICKS));
  }
  svg += text(WIDTH - RIGHT, top + HEIGHT - 2, "end", xUnit);
  lines.forEach(({ name, points }, at) => {
    const step = Math.ceil(points.length / POINTS_MAX);
    const path = points.filter((_, nth) => nth % step === 0)
      .map(([px, py]) => `${x(px).toFixed(1)} ${y(py).toFixed(1)}`).join("L");
    const color = COLORS[at % COLORS.length];
    svg += `<path d="M${path}" fill="none" stroke="${color}" stroke-width="1.2"/>\n`;
    svg += `<g fill="${color}">${text(WIDTH - RIGHT - 80 * at, top + 20, "end", name)}</g>\n`;
  });
  return svg;
}

/** The next round number. */
function niceMax(value: number): number {
  const power = 10 ** Math.floor(Math.log10(value));
  return power * [1, 1.5, 2, 3, 4, 5, 6, 8, 10].find((step) => step * power >= value)!;
}

function label(value: number): string {
  return String(Math.round(value * 10) / 10);
}
