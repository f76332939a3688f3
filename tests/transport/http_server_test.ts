import { assert, assertEquals, assertRejects } from "@std/assert";
import { LISTEN_RETRY_MS, SPARE_DESCRIPTORS } from "../../transport/http/limits.ts";
import { HttpServer, type HttpServerOptions } from "../../transport/http/server.ts";

Deno.test("an answer that is given up is a log line, and nothing goes to stderr past the log", async () => {
  const lines: string[] = [];
  const printed: unknown[][] = [];
  // What the runtime would print with.
  const runtime = console;
  const { error: print } = runtime;
  runtime.error = (...words) => void printed.push(words);
  const server = new HttpServer({
    at: { hostname: "127.0.0.1", port: 0 },
    handler: () => {
      let pieces = 0;
      return new Response(
        new ReadableStream({
          pull: (controller) => {
            if (pieces++ < 2) controller.enqueue(new Uint8Array(8));
            else controller.error(new Error("nobody read it"));
          },
        }, { highWaterMark: 0 }),
      );
    },
    spareFile: new URL(import.meta.url).pathname,
    log: (level, event, fields) => lines.push(`${level} ${event} ${JSON.stringify(fields)}`),
  });
  try {
    const { hostname, port } = server.address;
    const response = await fetch(`http://${hostname}:${port}/`);
    await assertRejects(() => response.bytes(), TypeError);
  } finally {
    await server.shutdown();
    runtime.error = print;
  }
  assertEquals(lines, ['debug http-answer-cut {"cause":"Error: nobody read it"}']);
  assertEquals(printed, []);
});

/** A server on a port of its own, whose descriptors are those of this file. */
function serve(handler: HttpServerOptions["handler"]): HttpServer {
  return new HttpServer({
    at: { hostname: "127.0.0.1", port: 0 },
    handler,
    spareFile: new URL(import.meta.url).pathname,
    log: () => {},
  });
}

/** Open descriptors of this file. */
function spareDescriptors(): number {
  const { pathname } = new URL(import.meta.url);
  // By another program: this one may read /proc only with every permission, which the tests do not have.
  const { stdout } = new Deno.Command("ls", { args: ["-l", `/proc/${Deno.pid}/fd`] }).outputSync();
  const lines = new TextDecoder().decode(stdout).split("\n");
  return lines.filter((line) => line.endsWith(` -> ${pathname}`)).length;
}

Deno.test(
  "SPARE_DESCRIPTORS are held while it serves, and a shutdown while it listens anew holds none",
  {
    ignore: Deno.build.os !== "linux",
  },
  async () => {
    const server = serve(() => new Response("ok"));
    assertEquals(spareDescriptors(), SPARE_DESCRIPTORS);
    server.shed("the test says so");
    assertEquals(spareDescriptors(), 0);
    const { hostname, port } = server.address;
    await server.shutdown();
    assertEquals(spareDescriptors(), 0);
    await assertRejects(() => fetch(`http://${hostname}:${port}/`), TypeError);
  },
);

Deno.test("a shutdown waits for the requests that a listener before took", async () => {
  const request = Promise.withResolvers<void>();
  const answer = Promise.withResolvers<Response>();
  let requests = 0;
  const server = serve(() => {
    request.resolve();
    return requests++ === 0 ? answer.promise : new Response("prompt");
  });
  const { hostname, port } = server.address;
  const ask = (): Promise<string> =>
    fetch(`http://${hostname}:${port}/`).then((response) => response.text());
  const asked = ask();
  await request.promise;
  server.shed("the test says so");
  const isAnswered = (): Promise<boolean> => ask().then(() => true, () => false);
  while (!await isAnswered()) await new Promise((resolve) => setTimeout(resolve, LISTEN_RETRY_MS));
  let isShut = false;
  const shut = server.shutdown().then(() => isShut = true);
  await new Promise((resolve) => setTimeout(resolve, 20));
  assert(!isShut, "a request is under way");
  answer.resolve(new Response("late"));
  await shut;
  assertEquals(await asked, "late");
});
