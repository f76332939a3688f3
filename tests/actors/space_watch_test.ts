import { assertEquals } from "@std/assert";
import { SPACE_ENOUGH_SHARE } from "../../actors/limits.ts";
import type { Ports } from "../../actors/runtime/ports.ts";
import { SpaceWatch } from "../../actors/space_watch.ts";

Deno.test("SPACE_ENOUGH_SHARE: after too little space, a good deal more than the bound is enough", () => {
  const min = 1_000;
  let free = min;
  const changes: [string, number | undefined][] = [];
  const watch = new SpaceWatch({
    ports: { timers: { set: () => 0, clear: () => {} } } as unknown as Ports,
    freeBytes: () => free,
    minFreeBytes: min,
    isThere: () => true,
    onGone: () => {},
    onChange: (condition, bytes) => void changes.push([condition, bytes]),
  });
  const enough = SPACE_ENOUGH_SHARE * min;
  for (free of [min, min - 1, min, enough - 1, enough, min]) watch.start();
  assertEquals(changes, [["SpaceLow", min - 1], ["SpaceEnough", enough]]);
  free = 0;
  watch.noteFull(true);
  watch.noteFull(false);
  assertEquals(changes.slice(2), [["SpaceNone", 0], ["SpaceLow", 0]]);
});
