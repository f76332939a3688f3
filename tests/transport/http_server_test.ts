import { assertEquals, assertRejects } from "@std/assert";
import { HttpServer } from "../../transport/http/server.ts";

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
