/**
 * A chart as plain values and as Mermaid text, read off the machine that runs.
 *
 * @module
 */
import type { AnyStateMachine, AnyStateNode } from "xstate";

/** What begins a statement in Mermaid. */
const reservedWords = ["state", "note", "end", "class", "classDef", "style", "direction", "scale"];

/** One state of a chart. */
export interface ChartState {
  /** Dotted path below the chart, such as `role.leader.serving`. */
  readonly path: string;
  /** What XState calls it. */
  readonly type: "atomic" | "compound" | "parallel" | "final" | "history";
  /** Path of the state entered by default. */
  readonly initial?: string;
  /** Effects on entry, in order. */
  readonly entry: readonly string[];
  /** Effects on exit, in order. */
  readonly exit: readonly string[];
}

/** One transition of a chart, in the order in which the chart tries them. */
export interface ChartTransition {
  /** Path of the state that offers it. */
  readonly from: string;
  /** The event's type; empty if the transition is taken as soon as its guard holds. */
  readonly event: string;
  /** The guard in words; absent if there is none. */
  readonly guard?: string;
  /** Path of the target; absent if the state is not left. */
  readonly target?: string;
  /** Effects, in order. */
  readonly actions: readonly string[];
  /** What the chart's source says of it. */
  readonly description?: string;
}

/** All states and transitions of a chart. */
export interface ChartDescription {
  /** The machine's id. */
  readonly id: string;
  /** Parents before their children. */
  readonly states: readonly ChartState[];
  /** In the order in which the chart tries them. */
  readonly transitions: readonly ChartTransition[];
}

/** A chart that runs: a machine as XState's `createMachine` made it. */
export interface Chart {
  /** The machine's id. */
  readonly id: string;
}

/**
 * Lists the states and transitions of a machine, parents before children.
 *
 * @throws {TypeError} If it is not what XState's `createMachine` made.
 */
export function describeChart(chart: Chart): ChartDescription {
  const machine = chart as AnyStateMachine;
  if (machine.root === undefined) throw new TypeError(`Cannot describe ${chart.id}: no machine`);
  const states: ChartState[] = [];
  const transitions: ChartTransition[] = [];
  visit(machine.root, (node) => {
    const path = pathOf(node);
    const initial = node.type === "compound" ? node.initial?.target?.[0] : undefined;
    states.push({
      path,
      type: node.type,
      ...(initial === undefined ? {} : { initial: pathOf(initial) }),
      entry: namesOf(node.entry),
      exit: namesOf(node.exit),
    });
    const always = (node.always ?? []).map((transition) => ({ transition, event: "" }));
    const on = [...node.transitions].flatMap(([event, list]) =>
      list.map((transition) => ({ transition, event }))
    );
    for (const { transition, event } of [...always, ...on]) {
      const target = transition.target?.[0];
      const { guard, description } = transition;
      transitions.push({
        from: path,
        event,
        ...(guard === undefined ? {} : { guard: String(guard) }),
        ...(target === undefined ? {} : { target: pathOf(target) }),
        actions: namesOf(transition.actions),
        ...(description === undefined ? {} : { description }),
      });
    }
  });
  return { id: machine.id, states, transitions };
}

/** The paths of the states that a state value names, parents before children. */
export function activePaths(value: unknown, parent = ""): string[] {
  if (typeof value === "string") return [join(parent, value)];
  return Object.entries(value as Record<string, unknown>).flatMap(([key, child]) => {
    const path = join(parent, key);
    return [path, ...(child === undefined ? [] : activePaths(child, path))];
  });
}

/**
 * A Mermaid 11 state diagram. Of the states in `active` only leaves are marked, since Mermaid draws
 * a class on leaves only. Mermaid refuses a text inside a composite state, so such a text is a
 * note.
 */
export function chartToMermaid(chart: ChartDescription, active: readonly string[] = []): string {
  const lines = ["stateDiagram-v2"];
  const childrenOf = (parent: string): ChartState[] =>
    chart.states.filter((state) => state.path !== "" && parentOf(state.path) === parent);
  const isLeaf = (path: string): boolean => childrenOf(path).length === 0;
  const draw = (parent: string, indent: string): void => {
    const children = childrenOf(parent);
    for (const child of children) {
      const name = nameOf(child.path);
      const head = `${indent}state "${escape(keyOf(child.path))}" as ${name}`;
      const texts = reactionsOf(chart, child);
      if (isLeaf(child.path)) {
        lines.push(head, ...texts.map((text) => `${indent}${name} : ${text}`));
        continue;
      }
      lines.push(`${head} {`);
      if (child.initial !== undefined) lines.push(`${indent}  [*] --> ${nameOf(child.initial)}`);
      draw(child.path, `${indent}  `);
      lines.push(`${indent}}`);
      if (texts.length === 0) continue;
      lines.push(`${indent}note right of ${name}`);
      lines.push(...texts.map((text) => `${indent}  ${text}`), `${indent}end note`);
    }
    for (const { from, target, label } of arrowsOf(chart, parent, children)) {
      lines.push(`${indent}${nameOf(from)} --> ${nameOf(target)} : ${label}`);
    }
  };
  const root = chart.states[0];
  if (root?.initial !== undefined) lines.push(`  [*] --> ${nameOf(root.initial)}`);
  draw("", "  ");
  const marked = active.filter(isLeaf);
  if (marked.length > 0) {
    lines.push("  classDef active fill:#2f6f4f,color:#fff");
    lines.push(`  class ${marked.map(nameOf).join(",")} active`);
  }
  return lines.join("\n") + "\n";
}

interface Arrow {
  readonly from: string;
  readonly target: string;
  readonly label: string;
}

/**
 * The arrows that are drawn inside `parent`: arrows between its children, and arrows from a state
 * in one child to a state in another. Mermaid puts a state into the block that first names it, so
 * they cannot be drawn elsewhere. An arrow of the parent itself is drawn from each of its children.
 */
function arrowsOf(
  chart: ChartDescription,
  parent: string,
  children: readonly ChartState[],
): Arrow[] {
  const arrows: Arrow[] = [];
  for (const transition of chart.transitions) {
    const { from, target } = transition;
    if (target === undefined) continue;
    const label = labelOf(transition);
    if (isWithin(target, from)) {
      if (from !== parent) continue;
      for (const child of children) arrows.push({ from: child.path, target, label });
    } else if (scopeOf(from, target) === parent) arrows.push({ from, target, label });
  }
  return arrows;
}

/** The innermost state that both ends of an arrow are inside of. */
function scopeOf(from: string, target: string): string {
  let scope = parentOf(from);
  while (!isWithin(target, scope)) scope = parentOf(scope);
  return scope;
}

function isWithin(path: string, ancestor: string): boolean {
  return ancestor === "" || path.startsWith(`${ancestor}.`);
}

/** What a state does on entry and exit, and the events it answers without being left. */
function reactionsOf(chart: ChartDescription, state: ChartState): string[] {
  const texts: string[] = [];
  if (state.entry.length > 0) texts.push(`entry / ${escape(state.entry.join(", "))}`);
  if (state.exit.length > 0) texts.push(`exit / ${escape(state.exit.join(", "))}`);
  for (const transition of chart.transitions) {
    const { from, target, actions } = transition;
    if (from !== state.path || target !== undefined || actions.length === 0) continue;
    texts.push(labelOf(transition));
  }
  return texts;
}

function labelOf({ event, guard, actions }: ChartTransition): string {
  const condition = guard === undefined ? "" : `[${escape(guard)}]`;
  const effects = actions.length === 0 ? "" : `/ ${escape(actions.join(", "))}`;
  return [escape(event), condition, effects].filter((part) => part !== "").join(" ");
}

function visit(node: AnyStateNode, see: (node: AnyStateNode) => void): void {
  see(node);
  for (const child of Object.values(node.states) as AnyStateNode[]) visit(child, see);
}

function namesOf(actions: readonly unknown[]): string[] {
  return actions.map((action) =>
    typeof action === "string" ? action : String((action as { type: unknown }).type)
  );
}

function pathOf(node: AnyStateNode): string {
  return node.path.join(".");
}

function join(parent: string, key: string): string {
  return parent === "" ? key : `${parent}.${key}`;
}

function parentOf(path: string): string {
  return path.includes(".") ? path.slice(0, path.lastIndexOf(".")) : "";
}

function keyOf(path: string): string {
  return path.slice(path.lastIndexOf(".") + 1);
}

/** A name that Mermaid takes for nothing else: words such as `end` and `note` are never whole names. */
function nameOf(path: string): string {
  const name = path.replace(/[^A-Za-z0-9.]/g, (unit) => `_${unit.codePointAt(0)}_`)
    .replaceAll(".", "_");
  return reservedWords.includes(name) ? `${name}_` : name;
}

/** Text as Mermaid shows it: what could end a label or begin something else becomes `#code;`. */
function escape(text: string): string {
  return text.replace(/[^A-Za-z0-9 ,._*()/+-]/gu, (unit) => `#${unit.codePointAt(0)};`);
}
