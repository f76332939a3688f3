import { assertEquals, assertRejects, assertThrows } from "@std/assert";
import { RESPONSE_BYTES_MAX } from "../../transport/http/limits.ts";
import { GatewayError } from "../../transport/http/problem.ts";
import { LargeResponses } from "../../transport/http/stream.ts";

const clock = { expireAfter: () => () => {} };

Deno.test("an answer whose pieces fail gives its bytes back, and so does one that ends", async () => {
  const large = new LargeResponses(clock);
  const failing = function* (): Generator<Uint8Array> {
    yield new Uint8Array(1);
    throw new Error("planted");
  };
  for (let times = 0; times < 3; times++) {
    const stream = large.stream(failing(), RESPONSE_BYTES_MAX);
    assertThrows(() => large.stream([].values(), 1), GatewayError, "are under way already");
    await assertRejects(() => new Response(stream).bytes(), Error, "planted");
    const whole = large.stream([new Uint8Array([7])].values(), RESPONSE_BYTES_MAX);
    assertEquals([...await new Response(whole).bytes()], [7]);
  }
});
