/**
 * `deno task test:browser [BROWSER]`: a real browser, headless, shows the page of a node that runs, and its
 * own `EventSource` watches keys through the loss of the connection. It needs Chromium.
 *
 * @module
 */
import { assertEquals } from "@std/assert";
import { printLine } from "../../cli/usage.ts";
import { startNode } from "../../mod.ts";

const WAIT_MS_MAX = 20_000;
const PUTS = 200;

/** The part of Chromium's debugging protocol that is used: it evaluates expressions in one page. */
class Page implements AsyncDisposable {
  readonly #child: Deno.ChildProcess;
  readonly #profile: string;
  readonly #socket: WebSocket;
  readonly #waiting = new Map<number, (result: unknown) => void>();
  #next = 1;

  private constructor(child: Deno.ChildProcess, profile: string, socket: WebSocket) {
    this.#child = child;
    this.#profile = profile;
    this.#socket = socket;
    socket.onmessage = ({ data }) => {
      const { id, result } = JSON.parse(data);
      this.#waiting.get(id)?.(result);
    };
  }

  static async open(browser: string, url: string): Promise<Page> {
    const profile = await Deno.makeTempDir();
    const child = new Deno.Command(browser, {
      args: [
        ...["--headless", "--disable-gpu", "--no-first-run", "--remote-debugging-port=0"],
        // The sandbox needs privileges that a container seldom has; the page is this project's own.
        ...["--no-sandbox", "--no-proxy-server", `--user-data-dir=${profile}`, url],
      ],
      stdout: "null",
      stderr: "null",
    }).spawn();
    const port = await until("the browser", async () => {
      const text = await Deno.readTextFile(`${profile}/DevToolsActivePort`);
      return Number(text.split("\n")[0]);
    });
    const address = await until("its page", async () => {
      const pages = await (await fetch(`http://127.0.0.1:${port}/json`)).json();
      return pages.find((page: { url: string }) => page.url === url)?.webSocketDebuggerUrl;
    });
    const socket = new WebSocket(address);
    await new Promise((resolve, reject) => {
      socket.onopen = resolve;
      socket.onerror = reject;
    });
    return new Page(child, profile, socket);
  }

  /** What an expression is in the page, awaited there. */
  async evaluate<Value>(expression: string): Promise<Value> {
    const id = this.#next++;
    const answered = new Promise<unknown>((resolve) => this.#waiting.set(id, resolve));
    const params = { expression, awaitPromise: true, returnByValue: true };
    this.#socket.send(JSON.stringify({ id, method: "Runtime.evaluate", params }));
    const { result, exceptionDetails } = await answered as Record<string, { value?: Value }>;
    if (exceptionDetails !== undefined) throw new Error(JSON.stringify(exceptionDetails));
    return result!.value as Value;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#socket.close();
    this.#child.kill("SIGKILL");
    await this.#child.status;
    await Deno.remove(this.#profile, { recursive: true }).catch(() => {});
  }
}

/** Asks again until there is an answer that counts. */
async function until<Value>(what: string, ask: () => Promise<Value | undefined>): Promise<Value> {
  const endMs = performance.now() + WAIT_MS_MAX;
  let last: unknown;
  while (performance.now() < endMs) {
    try {
      const found = await ask();
      if (found !== undefined && found !== false) return found;
    } catch (error) {
      last = error;
    }
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  throw new Error(`Cannot see ${what} within ${WAIT_MS_MAX} ms`, { cause: last });
}

/** Runs it; the result says what was seen. */
export async function runBrowser(browser: string): Promise<Record<string, unknown>> {
  const dataDir = await Deno.makeTempDir();
  const port = freePort();
  const options = { id: 1, single: true, dataDir, http: { hostname: "127.0.0.1", port } };
  let node = await startNode(options);
  try {
    await using page = await Page.open(browser, `${node.httpAddress}/`);
    const text = (id: string): Promise<string> =>
      page.evaluate(`document.getElementById(${JSON.stringify(id)}).innerText`);
    await until(
      "the leader on the page",
      async () => /^Leader of term/.test(await text("summary")),
    );
    const leaves = `[...document.querySelectorAll(".state.active.leaf")]`;
    const active = await until("the chart", async () => {
      const names = await page.evaluate<string>(`${leaves}.map((box) => box.innerText).join()`);
      return names.includes("serving") ? names : undefined;
    });
    const timeline = await until("the election", async () => {
      const lines = await text("timeline");
      return /candidate/i.test(lines) ? lines : undefined;
    });
    const put = async (value: number): Promise<void> => {
      const url = `${node.httpAddress}/v1/kv/browser`;
      await (await fetch(url, { method: "PUT", body: String(value) })).body?.cancel();
    };
    await page.evaluate(`
      window.seen = [];
      window.source = new EventSource("/v1/watch?key=browser");
      source.addEventListener("put", ({ data }) => seen.push(JSON.parse(data).value));
      new Promise((resolve) => source.onopen = resolve)`);
    for (let value = 0; value < PUTS / 2; value++) await put(value);
    // The browser comes back by itself, with the id of the last event that it has seen.
    await node.stop();
    node = await startNode(options);
    await until("the node", async () => (await fetch(`${node.httpAddress}/readyz`)).ok);
    for (let value = PUTS / 2; value < PUTS; value++) await put(value);
    await until("all events", () => page.evaluate(`seen.length >= ${PUTS}`));
    const seen = await page.evaluate<string[]>("seen");
    assertEquals(seen, Array.from({ length: PUTS }, (_, value) => String(value)));
    const again = await until("the page after the restart", async () => {
      const lines = (await text("timeline")).split("\n");
      return lines.length > timeline.split("\n").length ? lines.length : undefined;
    });
    return { active, timeline: again, events: seen.length, clerk: await useClerk(page) };
  } finally {
    await node.stop();
    await Deno.remove(dataDir, { recursive: true });
  }
}

/** The Clerk, bundled for browsers, in the page; what it did. */
async function useClerk(page: Page): Promise<unknown> {
  const directory = await Deno.makeTempDir();
  try {
    const entry = `${directory}/entry.ts`;
    const clerk = new URL("../../actors/clerk.ts", import.meta.url).href;
    await Deno.writeTextFile(
      entry,
      `import { Clerk } from "${clerk}"; globalThis.Clerk = Clerk;\n`,
    );
    const { success, stderr } = await new Deno.Command(Deno.execPath(), {
      args: [
        ...["bundle", "--quiet", "--platform", "browser", "--format", "iife", "--no-check"],
        ...["--config", new URL("../../deno.json", import.meta.url).pathname],
        ...["-o", `${directory}/clerk.js`, entry],
      ],
    }).output();
    if (!success) throw new Error(new TextDecoder().decode(stderr));
    await page.evaluate(`${await Deno.readTextFile(`${directory}/clerk.js`)}; undefined`);
    const did = await page.evaluate<string>(`(async () => {
      await using kv = new Clerk({ endpoints: [location.origin] });
      await kv.put("ü", "from a browser");
      const entry = await kv.get("ü");
      const { value } = await kv.increment("browsers", 2);
      const keys = [];
      for await (const { key } of kv.range({ prefix: "ü" })) keys.push(key);
      await using lock = await kv.lock("browser");
      return [entry.text(), String(value), keys.join(), lock.fencingToken > 0].join();
    })()`);
    assertEquals(did, "from a browser,2,ü,true");
    return did;
  } finally {
    await Deno.remove(directory, { recursive: true });
  }
}

function freePort(): number {
  const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const { port } = listener.addr;
  listener.close();
  return port;
}

if (import.meta.main) {
  const report = await runBrowser(Deno.args[0] ?? "chromium");
  printLine(JSON.stringify(report));
}
