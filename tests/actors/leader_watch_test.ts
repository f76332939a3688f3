import { assertEquals } from "@std/assert";
import { LeaderWatch, RETRY_PAUSE_MS } from "../../actors/leader_watch.ts";
import { VirtualPorts } from "./virtual_ports.ts";

const REQUESTS = 5_000;

interface Waiting {
  readonly ports: VirtualPorts;
  readonly watch: LeaderWatch;
  /** Requests that were woken. */
  readonly woken: () => Promise<number>;
  readonly wait: (leaderIsKnown: boolean, deadlineMs: number) => void;
}

function waiting(): Waiting {
  const ports = new VirtualPorts();
  const watch = new LeaderWatch(ports);
  let woken = 0;
  return {
    ports,
    watch,
    woken: async () => {
      await new Promise((resolve) => setTimeout(resolve, 0));
      return woken;
    },
    wait: (leaderIsKnown, deadlineMs) =>
      void watch.wait({ leaderIsKnown, deadlineMs }).then(() => woken++),
  };
}

Deno.test("X15: thousands that wait for a leader share one timer, and all go when there is one", async () => {
  const { ports, watch, woken, wait } = waiting();
  for (let at = 0; at < REQUESTS; at++) wait(false, 5_000);
  assertEquals([watch.waiting, ports.armedTimers], [REQUESTS, 1]);
  ports.advance(1_000);
  assertEquals(await woken(), 0, "without a leader nothing is tried again");
  watch.leaderChanged();
  assertEquals([await woken(), watch.waiting], [REQUESTS, 0]);
});

Deno.test("while a leader is known, all who wait try again together after a pause", async () => {
  const { ports, woken, wait } = waiting();
  for (let at = 0; at < REQUESTS; at++) wait(true, 5_000);
  assertEquals(ports.armedTimers, 2, "one for the pause, one for the deadlines");
  ports.advance(RETRY_PAUSE_MS - 1);
  assertEquals(await woken(), 0);
  ports.advance(1);
  assertEquals(await woken(), REQUESTS);
});

Deno.test("who waits is woken at its own deadline", async () => {
  const { ports, watch, woken, wait } = waiting();
  wait(false, 100);
  wait(false, 200);
  ports.advance(150);
  assertEquals([await woken(), watch.waiting], [1, 1]);
  ports.advance(100);
  assertEquals([await woken(), watch.waiting], [2, 0]);
  wait(false, 0);
  ports.advance(50);
  assertEquals(await woken(), 3, "one that is late already is not kept");
});
