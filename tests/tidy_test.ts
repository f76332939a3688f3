/**
 * The house rules that a machine can check: import arrows, purity of machines/, no barrels, no
 * leftovers. Each check is also shown to fail on a planted violation.
 *
 * @module
 */
import { assertEquals } from "@std/assert";

/** A source file as the rules see it. */
interface Source {
  readonly path: string;
  readonly text: string;
}

/** What each folder may import from the project; "types" means `import type` only. */
const arrows: Readonly<Record<string, Readonly<Record<string, "all" | "types">>>> = {
  machines: { machines: "all" },
  storage: { storage: "all", machines: "types" },
  transport: { transport: "all", machines: "types" },
  actors: { actors: "all", machines: "all", storage: "all", transport: "all" },
  cli: { cli: "all", "mod.ts": "all", actors: "types", transport: "types" },
  "mod.ts": { actors: "all", machines: "all", storage: "all", transport: "all" },
};

/** Imports of values across an arrow that otherwise carries types, each with its reason. */
const exceptions: Readonly<Record<string, string>> = {
  "transport/routes/cluster.ts -> machines/chart.ts":
    "the chart's text is made from the machine's own description, wherever it is served",
  "transport/routes/cluster.ts -> machines/explain.ts":
    "an explanation's text is made where its values are, wherever it is served",
  "transport/codec.ts -> machines/raft_types.ts": "the bound of a term is checked on the wire",
};

/** Packages that machines/ may import. */
const machinePackages = ["xstate", "xstate/guards"];

/** Names that bring time, chance, IO or waiting into machines/. */
const impure =
  /\b(Date\.now|new Date|performance\.|Math\.random|crypto\.|setTimeout|setInterval|setImmediate|queueMicrotask|fetch\(|Deno\.|console\.|async |await |Promise\b|localeCompare|process\.)/;

/** Violations of the import arrows. */
function checkImports(source: Source): string[] {
  const violations: string[] = [];
  const folder = folderOf(source.path);
  const allowed = arrows[folder];
  if (allowed === undefined) return violations;
  const statements = source.text.matchAll(
    /^\s*(import|export)(\s+type)?\s([^;]*?)\sfrom\s+"([^"]+)"/gms,
  );
  for (const [, , typeOnly, names, from] of statements) {
    if (!from!.startsWith(".")) {
      if (folder === "machines" && !machinePackages.includes(from!)) {
        violations.push(`${source.path}: machines/ imports package ${from}`);
      }
      continue;
    }
    const target = resolve(source.path, from!);
    const arrow = allowed[folderOf(target)];
    if (arrow === undefined) violations.push(`${source.path}: may not import ${target}`);
    else if (arrow === "types" && typeOnly === undefined && !onlyTypes(names!)) {
      if (exceptions[`${source.path} -> ${target}`] === undefined) {
        violations.push(`${source.path}: may import only types of ${target}`);
      }
    }
  }
  return violations;
}

/** Violations of the purity of machines/. Comments do not count. */
function checkPurity(source: Source): string[] {
  if (folderOf(source.path) !== "machines") return [];
  const violations: string[] = [];
  withoutComments(source.text).split("\n").forEach((line, index) => {
    const found = impure.exec(line);
    if (found !== null) violations.push(`${source.path}:${index + 1}: ${found[1]!.trim()}`);
  });
  return violations;
}

/** Violations of smaller rules. */
function checkHabits(source: Source): string[] {
  const violations: string[] = [];
  const name = source.path.slice(source.path.lastIndexOf("/") + 1);
  if (/^(index|utils?|helpers?|misc|common)\.ts$/.test(name)) {
    violations.push(`${source.path}: is named after nothing`);
  }
  if (!/^[a-z0-9_]+\.ts$/.test(name)) violations.push(`${source.path}: is not in snake_case`);
  if (!name.endsWith("_test.ts") && !/^\/\*\*[\s\S]*?@module/.test(source.text)) {
    violations.push(`${source.path}: has no @module head`);
  }
  const text = withoutComments(source.text);
  if (/^export default/m.test(text)) violations.push(`${source.path}: has a default export`);
  if (/^\s*(export\s+)?(const\s+)?enum\s/m.test(text)) {
    violations.push(`${source.path}: has an enum`);
  }
  if (name !== "mod.ts" && /^export \* from/m.test(text)) {
    violations.push(`${source.path}: is a barrel`);
  }
  const leftovers = ["TO" + "DO", "FIX" + "ME", "XX" + "X"];
  for (const word of leftovers) {
    if (new RegExp(`\\b${word}\\b`).test(source.text)) {
      violations.push(`${source.path}: contains ${word}`);
    }
  }
  return violations;
}

/** Cycles among the files, each as the path that closes it. */
function checkCycles(sources: readonly Source[]): string[] {
  const edges = new Map<string, string[]>();
  for (const { path, text } of sources) {
    const values = [
      ...text.matchAll(/^\s*(?:import|export)\s+(type\s)?([^;]*?)\sfrom\s+"(\.[^"]+)"/gms),
    ]
      .filter(([, typeOnly, names]) => typeOnly === undefined && !onlyTypes(names!))
      .map(([, , , from]) => resolve(path, from!));
    edges.set(path, values);
  }
  const done = new Set<string>();
  const cycles: string[] = [];
  const visit = (path: string, trail: readonly string[]): void => {
    if (trail.includes(path)) {
      cycles.push([...trail.slice(trail.indexOf(path)), path].join(" -> "));
      return;
    }
    if (done.has(path)) return;
    for (const next of edges.get(path) ?? []) visit(next, [...trail, path]);
    done.add(path);
  };
  for (const { path } of sources) visit(path, []);
  return cycles;
}

function onlyTypes(names: string): boolean {
  const listed = /^\{([\s\S]*)\}$/.exec(names.trim())?.[1];
  if (listed === undefined) return false;
  return listed.split(",").every((part) => part.trim() === "" || part.trim().startsWith("type "));
}

function folderOf(path: string): string {
  return path.includes("/") ? path.slice(0, path.indexOf("/")) : path;
}

function resolve(from: string, relative: string): string {
  return new URL(relative, `file:///${from}`).pathname.slice(1);
}

function withoutComments(text: string): string {
  return text.replace(/\/\*[\s\S]*?\*\//g, (comment) => comment.replace(/[^\n]/g, " "))
    .replace(/(^|\s)\/\/.*$/gm, "$1");
}

function readSources(folders: readonly string[]): Source[] {
  const root = new URL("../", import.meta.url);
  const sources: Source[] = [];
  const walk = (folder: string): void => {
    for (const entry of Deno.readDirSync(new URL(folder, root))) {
      const path = `${folder}${entry.name}`;
      if (entry.isDirectory) walk(`${path}/`);
      else if (path.endsWith(".ts")) {
        sources.push({ path, text: Deno.readTextFileSync(new URL(path, root)) });
      }
    }
  };
  for (const folder of folders) walk(folder);
  sources.push({ path: "mod.ts", text: Deno.readTextFileSync(new URL("mod.ts", root)) });
  return sources.sort((a, b) => a.path < b.path ? -1 : 1);
}

const product = readSources(["machines/", "storage/", "transport/", "actors/", "cli/"]);
const everything = readSources([
  "machines/",
  "storage/",
  "transport/",
  "actors/",
  "cli/",
  "tests/",
  "bench/",
]);

Deno.test("imports follow the arrows", () => {
  assertEquals(product.flatMap(checkImports), []);
});

Deno.test("files do not import each other in circles", () => {
  assertEquals(checkCycles(product), []);
});

Deno.test("machines/ has no clock, no chance, no IO, nothing to wait for", () => {
  assertEquals(product.flatMap(checkPurity), []);
});

Deno.test("files are named after one concept and leave nothing undone", () => {
  assertEquals(everything.flatMap(checkHabits), []);
});

Deno.test("every check finds a planted violation", () => {
  const head = "/** @module Planted. */\n";
  const plant = (path: string, text: string): Source => ({ path, text: head + text });
  const found = (violations: readonly string[]): number => violations.length;
  assertEquals(
    found(checkImports(plant("machines/a.ts", 'import { Wal } from "../storage/wal.ts";'))),
    1,
  );
  assertEquals(found(checkImports(plant("machines/a.ts", 'import { z } from "zod";'))), 1);
  assertEquals(
    found(
      checkImports(plant("storage/a.ts", 'import { RaftCore } from "../machines/raft_core.ts";')),
    ),
    1,
  );
  assertEquals(
    found(
      checkImports(plant("storage/a.ts", 'import type { Term } from "../machines/raft_types.ts";')),
    ),
    0,
  );
  assertEquals(
    found(
      checkImports(plant("transport/a.ts", 'import { KvStore } from "../storage/kv/kv_store.ts";')),
    ),
    1,
  );
  for (const line of ["const t = Date.now();", "const x = Math.random();", "await x;"]) {
    assertEquals(found(checkPurity(plant("machines/a.ts", line))), 1, line);
    assertEquals(found(checkPurity(plant("machines/a.ts", `// ${line}`))), 0, line);
    assertEquals(found(checkPurity(plant("storage/a.ts", line))), 0, line);
  }
  assertEquals(
    found(checkCycles([
      plant("machines/a.ts", 'import { b } from "./b.ts";'),
      plant("machines/b.ts", 'import { a } from "./a.ts";'),
    ])),
    1,
  );
  assertEquals(found(checkHabits(plant("machines/utils.ts", ""))), 1);
  assertEquals(found(checkHabits(plant("machines/a.ts", "export default 1;"))), 1);
  assertEquals(found(checkHabits(plant("machines/a.ts", "enum A {}"))), 1);
  assertEquals(found(checkHabits({ path: "machines/a.ts", text: "" })), 1);
  assertEquals(found(checkHabits(plant("machines/a.ts", `// ${"TO" + "DO"}: later`))), 1);
});
