import { assertEquals } from "@std/assert";
import {
  LeaderWatch,
  RETRY_PAUSE_MS,
  RETRY_PAUSE_MS_MAX,
  retryPauseMs,
} from "../../actors/leader_watch.ts";
import { DEFAULT_TIMING } from "../../machines/group_state.ts";
import { VirtualPorts } from "./virtual_ports.ts";

const REQUESTS = 5_000;

interface Waiting {
  readonly ports: VirtualPorts;
  readonly watch: LeaderWatch;
  /** Requests that were woken. */
  readonly woken: () => Promise<number>;
  readonly wait: (untilMs: number) => void;
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
    wait: (untilMs) => void watch.wait(untilMs).then(() => woken++),
  };
}

Deno.test("X15: thousands that wait for a leader share one timer, and all go when there is one", async () => {
  const { ports, watch, woken, wait } = waiting();
  for (let at = 0; at < REQUESTS; at++) wait(5_000 + at);
  assertEquals([watch.waiting, ports.armedTimers], [REQUESTS, 1]);
  ports.advance(1_000);
  assertEquals(await woken(), 0, "without a leader nothing is tried again");
  watch.wake();
  assertEquals([await woken(), watch.waiting, ports.armedTimers], [REQUESTS, 0, 0]);
});

Deno.test("X15: a known leader that does not answer is asked a few times until it is given up", () => {
  let asked = 0;
  for (let nowMs = 0; nowMs < DEFAULT_TIMING.electionTimeoutMsMax;) nowMs += retryPauseMs(++asked);
  assertEquals(asked, 5);
  assertEquals([retryPauseMs(1), retryPauseMs(2)], [RETRY_PAUSE_MS, 2 * RETRY_PAUSE_MS]);
  assertEquals(retryPauseMs(10_000), RETRY_PAUSE_MS_MAX);
});

Deno.test("who waits is woken at its own deadline", async () => {
  const { ports, watch, woken, wait } = waiting();
  wait(100);
  wait(200);
  ports.advance(150);
  assertEquals([await woken(), watch.waiting], [1, 1]);
  ports.advance(100);
  assertEquals([await woken(), watch.waiting], [2, 0]);
  wait(0);
  ports.advance(50);
  assertEquals(await woken(), 3, "one that is late already is not kept");
});
