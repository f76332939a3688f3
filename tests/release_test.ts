/**
 * What a release needs besides its tests: one version everywhere, a package that holds what it needs and
 * nothing else, and service files that start what there is.
 */
import { assert, assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { VERSION } from "../mod.ts";

const root = new URL("../", import.meta.url);
const read = (path: string): string => Deno.readTextFileSync(new URL(path, root));

const config = JSON.parse(read("deno.json")) as {
  readonly version: string;
  readonly exports: Readonly<Record<string, string>>;
  readonly tasks: Readonly<Record<string, string>>;
  readonly imports: Readonly<Record<string, string>>;
};

Deno.test("the version is one, and the newest that the changelog has", () => {
  assertEquals(config.version, VERSION);
  const newest = /^## (\S+?),/m.exec(read("CHANGELOG.md"))?.[1];
  assertEquals(newest, VERSION);
});

Deno.test("every dependency is pinned, but for the standard library's", () => {
  for (const [name, target] of Object.entries(config.imports)) {
    if (target.startsWith("npm:")) assertMatch(target, /@\d+\.\d+\.\d+(\/|$)/, name);
  }
});

Deno.test("what is exported documents itself with an example", () => {
  for (const [name, path] of Object.entries(config.exports)) {
    const text = read(path.slice(2));
    assertMatch(text, /@module/, name);
    if (name === "./node" || name === "./kv") continue;
    assert(text.includes("@example"), `${path} has no example`);
  }
});

Deno.test("the client needs nothing that a browser does not have", async () => {
  const { stdout } = await new Deno.Command(Deno.execPath(), {
    args: ["info", "--json", "actors/clerk.ts"],
    cwd: root,
    stderr: "null",
  }).output();
  const { modules } = JSON.parse(new TextDecoder().decode(stdout)) as {
    readonly modules: readonly { readonly specifier: string }[];
  };
  assert(modules.length > 20, `${modules.length} modules`);
  assertEquals(
    modules.map(({ specifier }) => specifier).filter((one) => one.startsWith("node:")),
    [],
  );
});

Deno.test("the service and the container start a node with the permissions of its task", () => {
  const permissions = config.tasks["node"]!.match(/--allow-\S+/g)!;
  const unit = read("deploy/statecraft@.service");
  const container = read("deploy/Containerfile");
  for (const permission of permissions) {
    assertStringIncludes(unit, permission);
    assertStringIncludes(container, `"${permission}"`);
  }
  // The signal, and longer than a stop takes.
  assertStringIncludes(unit, "KillSignal=SIGTERM");
  assertMatch(unit, /TimeoutStopSec=1[05]/);
  assertStringIncludes(unit, "RestartPreventExitStatus=2 3");
  const pinned = /version=(\S+)/.exec(read(".ci/run"))![1];
  assertStringIncludes(container, `denoland/deno:${pinned}`);
});

Deno.test("the package has the sources that it needs, and neither tests nor data", async () => {
  const { code, stderr } = await new Deno.Command(Deno.execPath(), {
    args: ["publish", "--dry-run", "--allow-dirty", "--no-check"],
    cwd: root,
    env: { NO_COLOR: "1" },
    stdout: "piped",
    stderr: "piped",
  }).output();
  const said = new TextDecoder().decode(stderr);
  assertEquals(code, 0, said);
  const files = said.match(/file:\/\/\S+/g)!.map((url) => url.slice(root.href.length));
  for (const path of Object.values(config.exports)) assert(files.includes(path.slice(2)), path);
  assert(files.includes("transport/http/page/page.html"), "the page is missing");
  assert(files.includes("README.md") && files.includes("LICENSE"), "README or LICENSE is missing");
  const strangers = files.filter((path) => /^(tests|bench|data|\.ci)\//.test(path));
  assertEquals(strangers, []);
});
