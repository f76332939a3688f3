import { assertEquals, assertMatch, assertRejects, assertStringIncludes } from "@std/assert";
import { ClientError, type ClientRequest } from "../../cli/http_client.ts";
import { exportKeys, LOAD_PUTS_MAX, loadKeys } from "../../cli/ndjson.ts";
import { LINE_BYTES_MAX } from "../../actors/lines.ts";
import { EXIT, UsageError } from "../../cli/usage.ts";
import { startNode } from "../../mod.ts";
import { type Kv, kvAt } from "./run_kv.ts";

function linesOf(...lines: readonly string[]): ReadableStream<Uint8Array> {
  return new Blob([lines.map((line) => `${line}\n`).join("")]).stream();
}

/** A server that takes every put but those whose turn it is to fail, counted from 1. */
class Server {
  readonly puts: ClientRequest[] = [];
  underWay = 0;
  mostUnderWay = 0;
  readonly #failing: ReadonlyMap<number, Error>;

  constructor(failing: readonly (readonly [number, Error])[] = []) {
    this.#failing = new Map(failing);
  }

  readonly send = async (request: ClientRequest): Promise<Response> => {
    this.puts.push(request);
    const failure = this.#failing.get(this.puts.length);
    this.mostUnderWay = Math.max(this.mostUnderWay, ++this.underWay);
    await new Promise((resolve) => setTimeout(resolve));
    this.underWay--;
    if (failure !== undefined) throw failure;
    return new Response("{}");
  };
}

/** Steps on a node of one member. */
async function withNode(run: (kv: Kv) => Promise<void>): Promise<void> {
  const dataDir = await Deno.makeTempDir();
  try {
    const http = { hostname: "127.0.0.1", port: 0 };
    await using node = await startNode({ id: 1, single: true, dataDir, http });
    await run(kvAt(node.httpAddress));
  } finally {
    await Deno.remove(dataDir, { recursive: true });
  }
}

Deno.test("what was exported is loaded elsewhere as it was, whatever its bytes and its type", async () => {
  const lines = [
    { key: "a/b c?&=%", value: "text \u{1f600}\n", contentType: "text/plain" },
    { key: "bytes", value: { base64: "/wD+" } },
    { key: "other", value: "not below the prefix" },
    { key: { base64: "/w==" }, value: "" },
    ...Array.from({ length: 1_500 }, (_, at) => ({ key: `page-${at}`, value: `${at}` })),
  ];
  const text = lines.map((line) => `${JSON.stringify(line)}\n`).join("");
  await withNode(async (kv) => {
    const loaded = await kv(["load", "-"], new TextEncoder().encode(text));
    assertEquals([loaded.code, loaded.stderr], [EXIT.ok, ""]);
    assertEquals(JSON.parse(loaded.stdout), { loaded: lines.length });
    const exported = await kv(["export"]);
    assertEquals([exported.code, exported.stderr], [EXIT.ok, ""]);
    const sorted = (text: string): string[] => text.trimEnd().split("\n").sort();
    assertEquals(sorted(exported.stdout), sorted(text));
    const some = await kv(["export", "--prefix", "a/"]);
    assertEquals(JSON.parse(some.stdout), lines[0]);

    const file = await Deno.makeTempFile();
    await Deno.writeTextFile(file, exported.stdout);
    await withNode(async (other) => {
      assertEquals(
        (await other(["load"], new TextEncoder().encode(exported.stdout))).code,
        EXIT.ok,
      );
      // Again, as after a load that was interrupted.
      assertEquals((await other(["load", file])).code, EXIT.ok);
      assertEquals((await other(["export"])).stdout, exported.stdout);
    });
    await Deno.remove(file);
    const missing = await kv(["load", file]);
    assertEquals([missing.code, missing.stdout], [EXIT.usage, ""]);
    const broken = await kv(["load", "-"], new TextEncoder().encode('{"key":"x","value":"y"}\n{'));
    assertEquals([broken.code, broken.stdout], [EXIT.usage, ""]);
    assertStringIncludes(
      broken.stderr,
      "statecraft kv: line 2: it is not JSON in UTF-8; 1 keys were loaded",
    );
    assertEquals((await kv(["get", "x"])).stdout, "y");
  });
});

Deno.test("a load sends LOAD_PUTS_MAX at once, and those of one key one after the other", async () => {
  const many = Array.from({ length: 5 * LOAD_PUTS_MAX }, (_, at) => `{"key":"${at}","value":"v"}`);
  const server = new Server();
  assertEquals(await loadKeys(linesOf(...many), server), many.length);
  assertEquals(server.mostUnderWay, LOAD_PUTS_MAX);
  const same = new Server();
  await loadKeys(linesOf(...many.map((_, at) => `{"key":"k","value":"${at}"}`)), same);
  assertEquals(same.mostUnderWay, 1);
  const text = (body: ClientRequest["body"]): string =>
    new TextDecoder().decode(body as Uint8Array);
  assertEquals(same.puts.map(({ body }) => text(body)), many.map((_, at) => `${at}`));
});

Deno.test("a load ends at the first line that fails, and says which", async () => {
  const many = Array.from({ length: 500 }, (_, at) => `{"key":"${at}","value":"v"}`);
  const full = new ClientError("The disk has too little space left", EXIT.failure);
  const server = new Server([[41, full], [40, new ClientError("First", EXIT.unavailable)]]);
  const error = await assertRejects(() => loadKeys(linesOf(...many), server), ClientError);
  assertMatch(
    error.message,
    /^line 40: First; \d+ keys were loaded, and the load can be repeated$/,
  );
  assertEquals(error.exitCode, EXIT.unavailable);
  assertEquals(server.underWay, 0);
  assertEquals(server.puts.length < 40 + 2 * LOAD_PUTS_MAX, true);
});

Deno.test("a line that says nothing to put is refused with its number, empty ones are passed over", async () => {
  const good = '{"key":"k","value":"v","revision":7}';
  assertEquals(await loadKeys(linesOf(good, "", " ", good), new Server()), 2);
  for (
    const [line, why] of [
      ["{", "line 3: it is not JSON"],
      ["null", 'line 3: "key" is neither a string'],
      ['{"value":"v"}', 'line 3: "key" is neither a string'],
      ['{"key":"k"}', 'line 3: "value" is neither a string'],
      ['{"key":"k","value":{"base64":"?"}}', 'line 3: "value" is neither a string'],
      ['{"key":"k","value":"v","contentType":7}', 'line 3: "contentType" is no string'],
    ] as const
  ) {
    const server = new Server();
    const error = await assertRejects(() => loadKeys(linesOf(good, "", line), server), UsageError);
    assertStringIncludes(error.message, why);
    assertEquals(server.puts.length, 1);
  }
});

Deno.test("LINE_BYTES_MAX: a line may be as long, and no longer", async () => {
  const frame = '{"key":"k","value":""}';
  const line = (bytes: number): string =>
    frame.replace('""', `"${"x".repeat(bytes - frame.length)}"`);
  assertEquals(await loadKeys(linesOf(line(LINE_BYTES_MAX)), new Server()), 1);
  const load = loadKeys(linesOf(line(100), line(LINE_BYTES_MAX + 1)), new Server());
  const error = await assertRejects(() => load, UsageError);
  assertStringIncludes(error.message, `line 2: it has more than ${LINE_BYTES_MAX} bytes`);
});

Deno.test("an export reads one listing to the line that says that it is whole", async () => {
  const items = [
    '{"key":"a","value":"1","revision":1,"contentType":"text/plain"}\n',
    '{"key":"b","value":{"base64":"/w=="},"revision":2}\n',
  ];
  const exported = async (body: string): Promise<{ asked: string[]; shown: string[] }> => {
    const asked: string[] = [];
    const shown: string[] = [];
    await exportKeys("p/\u00e9", {
      query: { consistency: "stale" },
      open: ({ path, headers }) => {
        asked.push(path, new Headers(headers).get("accept")!);
        return Promise.resolve(new Response(body));
      },
      show: (text) => void shown.push(text),
    });
    return { asked, shown };
  };
  const { asked, shown } = await exported(`${items.join("")}{"end":true,"count":2,"revision":2}\n`);
  const path = "/v1/kv?consistency=stale&prefix=p%2F%C3%A9";
  assertEquals(asked, [path, "application/x-ndjson"]);
  assertEquals(shown, [
    '{"key":"a","value":"1","contentType":"text/plain"}\n',
    '{"key":"b","value":{"base64":"/w=="}}\n',
  ]);
  for (const cut of [items[0]!, items.join(""), `${items[0]}{"key":`, ""]) {
    await assertRejects(() => exported(cut), ClientError, "cut short");
  }
});
