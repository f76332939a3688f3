import { assert, assertEquals, assertMatch } from "@std/assert";
import { LineWriter, LOG_QUEUE_BYTES_MAX } from "../../cli/line_writer.ts";
import { createLog } from "../../cli/log_writer.ts";

/** A stream that does with each write what the test says. */
class Sink {
  text = "";
  behaviour: "writes" | "fails" | "waits" | "takes one byte" = "writes";
  readonly #waiting: (() => void)[] = [];

  async write(bytes: Uint8Array): Promise<number> {
    if (this.behaviour === "waits") {
      await new Promise<void>((resolve) => this.#waiting.push(resolve));
    }
    if (this.behaviour === "fails") throw new Deno.errors.BrokenPipe("Broken pipe");
    const taken = this.behaviour === "takes one byte" ? bytes.subarray(0, 1) : bytes;
    this.text += new TextDecoder().decode(taken);
    return taken.length;
  }

  goOn(): void {
    this.behaviour = "writes";
    for (const resolve of this.#waiting.splice(0)) resolve();
  }
}

function writerTo(sink: Sink): LineWriter {
  return new LineWriter(sink, (count) => `${count} dropped`);
}

Deno.test("lines are written whole and in order, however little a write takes", async () => {
  const sink = new Sink();
  sink.behaviour = "takes one byte";
  const writer = writerTo(sink);
  for (const line of ["one", "two", "three"]) writer.write(line);
  await writer.flush();
  assertEquals([sink.text, writer.dropped], ["one\ntwo\nthree\n", 0]);
});

Deno.test("X4, LOG_QUEUE_BYTES_MAX: what a stream that is full does not take is dropped, and said later", async () => {
  const sink = new Sink();
  sink.behaviour = "waits";
  const writer = writerTo(sink);
  const line = "x".repeat(1023);
  const lines = LOG_QUEUE_BYTES_MAX / 1024;
  for (let at = 0; at < lines + 5; at++) writer.write(line);
  assertEquals(writer.dropped, 5);
  sink.goOn();
  await writer.flush();
  writer.write("after");
  await writer.flush();
  assertEquals(sink.text.split("\n").filter((found) => found === line).length, lines);
  assertMatch(sink.text, /\n5 dropped\n/);
  assert(sink.text.endsWith("after\n"));
  assertEquals(writer.dropped, 5);
});

Deno.test("X4: a stream that fails costs its lines only, and is tried again with the next", async () => {
  const sink = new Sink();
  sink.behaviour = "fails";
  const writer = writerTo(sink);
  for (let at = 0; at < 3; at++) {
    writer.write(`lost ${at}`);
    await writer.flush();
  }
  assertEquals([writer.dropped, sink.text], [3, ""]);
  sink.goOn();
  writer.write("kept");
  await writer.flush();
  assertEquals(sink.text, "3 dropped\nkept\n");
});

Deno.test("X4: a stream that throws at once costs its lines only, and is tried again with the next", async () => {
  let isClosed = true;
  let text = "";
  const sink = {
    write(bytes: Uint8Array): Promise<number> {
      if (isClosed) throw new Deno.errors.BadResource("closed");
      text += new TextDecoder().decode(bytes);
      return Promise.resolve(bytes.length);
    },
  };
  const writer = new LineWriter(sink, (count) => `${count} dropped`);
  writer.write("lost");
  await writer.flush();
  isClosed = false;
  writer.write("kept");
  await writer.flush();
  assertEquals([text, writer.dropped], ["1 dropped\nkept\n", 1]);
});

Deno.test("the notice has the log's form", async () => {
  const sink = new Sink();
  sink.behaviour = "fails";
  const { log, lines } = createLog({ level: "info", format: "json", node: 7, sink });
  log("info", "lost", {});
  await lines.flush();
  sink.goOn();
  log("info", "kept", {});
  await lines.flush();
  const [notice, kept] = sink.text.trimEnd().split("\n").map((text) => JSON.parse(text));
  assertEquals([notice.event, notice.count, notice.node, kept.event], [
    ...["log-lines-dropped", 1, 7, "kept"],
  ]);
});
