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

const storage = ["storage", "storage/log", "storage/kv"];
const transport = ["transport/wire", "transport/http"];
/** Of the transport the command line takes what an answer looks like. */
const types = { "transport/http": "types" } as const;

function all(...rooms: readonly string[]): Record<string, "all"> {
  return Object.fromEntries(rooms.map((room) => [room, "all"]));
}

/** What each room may import from the project; "types" means `import type` only. */
const arrows: Readonly<Record<string, Readonly<Record<string, "all" | "types">>>> = {
  machines: { machines: "all" },
  storage: { storage: "all" },
  "storage/log": { "storage/log": "all", storage: "all", machines: "types" },
  "storage/kv": { "storage/kv": "all", storage: "all", machines: "types" },
  "transport/wire": { "transport/wire": "all", storage: "all", machines: "types" },
  "transport/http": {
    "transport/http": "all",
    ...{ "transport/wire": "types", "storage/kv": "types", machines: "types", storage: "all" },
  },
  "actors/runtime": { "actors/runtime": "all", "transport/wire": "types" },
  actors: all("actors", "actors/runtime", "machines", ...storage, ...transport),
  cli: { cli: "all", "mod.ts": "all", actors: "types", "actors/runtime": "types", ...types },
  "mod.ts": all("actors", "actors/runtime", "machines", ...storage, ...transport),
};

/** Files of which a room may take values although the arrow to theirs carries types. */
const openFiles: Readonly<Record<string, readonly string[]>> = {
  // What a request means is read in one way only.
  "transport/http": [
    "storage/kv/limits.ts",
    "storage/kv/operations/integer.ts",
    "storage/kv/operations/interval.ts",
  ],
};

/** Imports of values across an arrow that otherwise carries types, each with its reason. */
const exceptions: Readonly<Record<string, string>> = {
  "transport/http/routes/cluster.ts -> machines/chart.ts":
    "the chart's text is made from the machine's own description, wherever it is served",
  "transport/http/routes/cluster.ts -> machines/explain.ts":
    "an explanation's text is made where its values are, wherever it is served",
  "transport/http/routes/write.ts -> storage/kv/command_bytes.ts":
    "a command that cannot be encoded is told apart by its error's class",
  "cli/http_client.ts -> transport/http/limits.ts":
    "the bounds of the time that a request may ask for",
  "transport/wire/codec.ts -> machines/raft_types.ts": "the bound of a term is checked on the wire",
  "transport/wire/limits.ts -> machines/raft_types.ts": "the highest node id is one for all rooms",
  "storage/log/limits.ts -> machines/raft_types.ts": "the highest node id is one for all rooms",
  "actors/runtime/actor.ts -> transport/wire/limits.ts":
    "an address that the wire cannot carry is refused where it is made",
};

/** Packages that machines/ may import. */
const machinePackages = ["xstate", "xstate/guards"];

/** Names that bring time, chance, IO or waiting into machines/. */
const impure =
  /\b(Date\.now|new Date|performance\.|Math\.random|crypto\.|setTimeout|setInterval|setImmediate|queueMicrotask|fetch\(|Deno\.|console\.|async |await |Promise\b|localeCompare|process\.)/;

/** Violations of the import arrows. */
function checkImports(source: Source): string[] {
  const violations: string[] = [];
  const room = roomOf(source.path);
  const allowed = arrows[room];
  if (allowed === undefined) return violations;
  const statements = source.text.matchAll(
    /^\s*(import|export)(\s+type)?\s([^;]*?)\sfrom\s+"([^"]+)"/gms,
  );
  for (const [, , typeOnly, names, from] of statements) {
    if (!from!.startsWith(".")) {
      if (room === "machines" && !machinePackages.includes(from!)) {
        violations.push(`${source.path}: machines/ imports package ${from}`);
      }
      continue;
    }
    const target = resolve(source.path, from!);
    const arrow = allowed[roomOf(target)];
    if (arrow === undefined) violations.push(`${source.path}: may not import ${target}`);
    else if (arrow === "types" && typeOnly === undefined && !onlyTypes(names!)) {
      const isOpen = openFiles[room]?.includes(target) === true;
      if (!isOpen && exceptions[`${source.path} -> ${target}`] === undefined) {
        violations.push(`${source.path}: may import only types of ${target}`);
      }
    }
  }
  return violations;
}

/** Rooms that are the same whatever the clock, the disk and the network do. */
const pureRooms = ["machines", "storage/kv"];

/** Violations of the purity of those rooms. Comments do not count. */
function checkPurity(source: Source): string[] {
  if (!pureRooms.includes(roomOf(source.path))) return [];
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
  if (/\.push\(\.\.\.(?!texts)/.test(text) && !/^(tests|bench)\//.test(source.path)) {
    violations.push(`${source.path}: spreads an array onto the stack; see machines/append_all.ts`);
  }
  if (/\bimport\(/.test(text)) violations.push(`${source.path}: imports while it runs`);
  if (/^import\s+"/m.test(text)) violations.push(`${source.path}: imports for side effects`);
  const leftovers = ["TO" + "DO", "FIX" + "ME", "XX" + "X"];
  for (const word of leftovers) {
    if (new RegExp(`\\b${word}\\b`).test(source.text)) {
      violations.push(`${source.path}: contains ${word}`);
    }
  }
  return violations;
}

/** Files that a comment or a document names and that are not there. */
function checkPaths({ path, text }: Source, isThere: (path: string) => boolean): string[] {
  const comments = path.endsWith(".md")
    ? text
    : [...text.matchAll(/\/\*[\s\S]*?\*\/|(?:^|\s)\/\/.*$/gm)].map(([comment]) => comment).join(
      "\n",
    );
  const named = comments.matchAll(
    /(?<![\w/.:-])((?:(?:machines|storage|transport|actors|cli|tests|bench)\/[\w/]+\.(?:ts|md|txt))|[A-Z]+\.md)\b/g,
  );
  return [...named].map(([, name]) => name!).filter((name) =>
    !isThere(name) && !isThere(resolve(path, `./${name}`))
  )
    .map((name) => `${path}: names ${name}, which is not there`);
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

/** The room of a file: its folder, or the folder in a folder that has rooms. */
function roomOf(path: string): string {
  const [folder, room, ...rest] = path.split("/");
  const hasRooms = ["storage", "transport"].includes(folder!) || room === "runtime";
  return rest.length > 0 && hasRooms ? `${folder}/${room}` : folder!;
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

Deno.test("machines/ and storage/kv/ have no clock, no chance, no IO, nothing to wait for", () => {
  assertEquals(product.flatMap(checkPurity), []);
});

Deno.test("files are named after one concept and leave nothing undone", () => {
  assertEquals(everything.flatMap(checkHabits), []);
});

Deno.test("every path that a comment or a document names is there", () => {
  const documents = [
    "README.md",
    "ARCHITECTURE.md",
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "LEARN.md",
    "bench/NOTES.md",
    "tests/README.md",
  ]
    .map((path) => ({ path, text: Deno.readTextFileSync(new URL(`../${path}`, import.meta.url)) }));
  const isThere = (path: string): boolean => {
    try {
      return Deno.statSync(new URL(`../${path}`, import.meta.url)).isFile;
    } catch {
      return false;
    }
  };
  assertEquals([...everything, ...documents].flatMap((source) => checkPaths(source, isThere)), []);
});

Deno.test("every check finds a planted violation", () => {
  const head = "/** @module Planted. */\n";
  const plant = (path: string, text: string): Source => ({ path, text: head + text });
  const found = (violations: readonly string[]): number => violations.length;
  assertEquals(
    found(checkImports(plant("machines/a.ts", 'import { Wal } from "../storage/log/wal.ts";'))),
    1,
  );
  assertEquals(found(checkImports(plant("machines/a.ts", 'import { z } from "zod";'))), 1);
  assertEquals(
    found(
      checkImports(
        plant("storage/log/a.ts", 'import { RaftCore } from "../../machines/raft_core.ts";'),
      ),
    ),
    1,
  );
  assertEquals(
    found(
      checkImports(
        plant("storage/log/a.ts", 'import type { Term } from "../../machines/raft_types.ts";'),
      ),
    ),
    0,
  );
  assertEquals(
    found(
      checkImports(
        plant("transport/http/a.ts", 'import { KvStore } from "../../storage/kv/kv_store.ts";'),
      ),
    ),
    1,
  );
  const limits = 'import { KEY_BYTES_MAX } from "../../storage/kv/limits.ts";';
  assertEquals(found(checkImports(plant("transport/http/a.ts", limits))), 0);
  assertEquals(found(checkImports(plant("transport/wire/a.ts", limits))), 1);
  for (const line of ["const t = Date.now();", "const x = Math.random();", "await x;"]) {
    assertEquals(found(checkPurity(plant("machines/a.ts", line))), 1, line);
    assertEquals(found(checkPurity(plant("storage/kv/a.ts", line))), 1, line);
    assertEquals(found(checkPurity(plant("machines/a.ts", `// ${line}`))), 0, line);
    assertEquals(found(checkPurity(plant("storage/log/a.ts", line))), 0, line);
  }
  assertEquals(
    found(checkCycles([
      plant("machines/a.ts", 'import { b } from "./b.ts";'),
      plant("machines/b.ts", 'import { a } from "./a.ts";'),
    ])),
    1,
  );
  assertEquals(found(checkHabits(plant("machines/a.ts", "a.push(...b);"))), 1);
  const nothing = (): boolean => false;
  assertEquals(found(checkPaths(plant("a.ts", "// See storage/gone.ts."), nothing)), 1);
  assertEquals(found(checkPaths({ path: "A.md", text: "`cli/gone.ts`" }, nothing)), 1);
  assertEquals(found(checkPaths({ path: "A.md", text: "See GONE.md." }, nothing)), 1);
  assertEquals(
    found(checkHabits(plant("cli/a.ts", `const a = await ${"im" + "port"}("./b.ts");`))),
    1,
  );
  assertEquals(found(checkHabits(plant("cli/a.ts", 'import "./b.ts";'))), 1);
  assertEquals(found(checkHabits(plant("machines/utils.ts", ""))), 1);
  assertEquals(found(checkHabits(plant("machines/a.ts", "export default 1;"))), 1);
  assertEquals(found(checkHabits(plant("machines/a.ts", "enum A {}"))), 1);
  assertEquals(found(checkHabits({ path: "machines/a.ts", text: "" })), 1);
  assertEquals(found(checkHabits(plant("machines/a.ts", `// ${"TO" + "DO"}: later`))), 1);
});
