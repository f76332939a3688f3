import { assertEquals } from "@std/assert";
import { CommitTimes } from "../../actors/commit_times.ts";

Deno.test("what was proposed counts once all of it is committed, each turn's by itself", () => {
  const seen: number[] = [];
  const times = new CommitTimes((durationMs) => seen.push(durationMs));
  times.commit(9, 0);
  times.propose(12, 100);
  times.propose(13, 105);
  times.propose(20, 110);
  times.commit(11, 120);
  assertEquals(seen, []);
  times.commit(19, 130);
  assertEquals(seen, [30, 25]);
  times.commit(20, 140);
  times.commit(20, 150);
  assertEquals(seen, [30, 25, 30]);
});

Deno.test("what another leader commits at the same indexes does not count", () => {
  const seen: number[] = [];
  const times = new CommitTimes((durationMs) => seen.push(durationMs));
  times.propose(5, 100);
  times.forget();
  times.commit(7, 200);
  times.propose(8, 300);
  times.commit(8, 301);
  assertEquals(seen, [1]);
});
