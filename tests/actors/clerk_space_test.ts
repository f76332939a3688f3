/**
 * Typed parts of the keys, over a real node.
 */
import { assertEquals, assertRejects } from "@std/assert";
import {
  AbortedError,
  ClerkError,
  ConflictError,
  jsonValues,
  PreconditionFailedError,
  startNode,
  type StatecraftNode,
  textValues,
  UPDATE_TRIES_MAX,
} from "../../mod.ts";

async function withNode(run: (node: StatecraftNode) => Promise<void>): Promise<void> {
  const dataDir = await Deno.makeTempDir();
  try {
    const http = { hostname: "127.0.0.1", port: 0 };
    await using node = await startNode({ id: 1, single: true, dataDir, http });
    await run(node);
  } finally {
    await Deno.remove(dataDir, { recursive: true });
  }
}

interface User {
  readonly name: string;
  readonly visits: number;
}

Deno.test("space: values of one type below a prefix; keys are without it", async () => {
  await withNode(async ({ kv }) => {
    const users = kv.space("users/", jsonValues<User>());
    const notes = kv.space("ünotes/", textValues);
    await users.put("ada", { name: "Ada", visits: 1 });
    await users.put("böb", { name: "Bob", visits: 2 });
    await kv.put("users", "no user");
    await notes.put("1", "hällo", { ttlMs: 60_000 });
    const ada = (await users.get("ada"))!;
    assertEquals([ada.key, ada.value, ada.contentType], [
      "ada",
      { name: "Ada", visits: 1 },
      "application/json",
    ]);
    assertEquals(await users.get("nobody"), undefined);
    const all = await Array.fromAsync(users.range());
    assertEquals(all.map(({ key, value }) => [key, value.visits]), [["ada", 1], ["böb", 2]]);
    assertEquals((await Array.fromAsync(users.range({ prefix: "b" }))).length, 1);
    assertEquals((await notes.get("1"))!.value, "hällo");
    await assertRejects(
      () => users.put("ada", { name: "x", visits: 0 }, { ifRevision: 99 }),
      PreconditionFailedError,
    );
    assertEquals([await users.count(), await users.delete("ada"), await users.count()], [
      2,
      true,
      1,
    ]);
    assertEquals([await users.clear(), await users.count(), await notes.count()], [1, 0, 1]);
    assertEquals((await kv.get("users"))!.text(), "no user");
  });
});

Deno.test("space: what others have stored there and is no value says which key", async () => {
  await withNode(async ({ kv }) => {
    const users = kv.space("users/", jsonValues<User>());
    await kv.put("users/x", "{");
    const error = await assertRejects(() => users.get("x"), ClerkError, '"x" cannot be read');
    assertEquals((error as ClerkError).code, "undecodable");
    await kv.put("texts/x", new Uint8Array([0xff]));
    await assertRejects(() => kv.space("texts/", textValues).get("x"), ClerkError);
  });
});

Deno.test("space: updates of many at a time lose nothing", async () => {
  await withNode(async ({ kv }) => {
    const counters = kv.space("counters/", jsonValues<number>());
    const updates = Array.from({ length: 8 }, async () => {
      for (let each = 0; each < 10; each++) await counters.update("n", (count = 0) => count + 1);
    });
    await Promise.all(updates);
    assertEquals((await counters.get("n"))!.value, 80);
    const kept = (await counters.update("n", () => undefined))!;
    assertEquals([kept.value, kept.version], [80, 80]);
    assertEquals(await counters.update("none", () => undefined), undefined);
    const made = (await counters.update("new", () => Promise.resolve(7)))!;
    assertEquals([made.value, made.created, made.version], [7, made.revision, 1]);
  });
});

Deno.test("UPDATE_TRIES_MAX: an update that others always overtake ends, and one that is aborted", async () => {
  await withNode(async ({ kv }) => {
    const counters = kv.space("counters/", jsonValues<number>());
    let tries = 0;
    const overtaken = async (count = 0): Promise<number> => {
      tries++;
      await kv.put("counters/n", String(tries));
      return count;
    };
    await assertRejects(() => counters.update("n", overtaken), ConflictError, "meanwhile");
    assertEquals(tries, UPDATE_TRIES_MAX);
    const abort = new AbortController();
    const aborting = (count = 0): Promise<number> => {
      if (tries++ > UPDATE_TRIES_MAX + 2) abort.abort();
      return overtaken(count);
    };
    await assertRejects(
      () => counters.update("n", aborting, { signal: abort.signal }),
      AbortedError,
    );
  });
});

Deno.test("space: a watch tells of its own keys only, typed", async () => {
  await withNode(async ({ kv }) => {
    const users = kv.space("users/", jsonValues<User>());
    const { revision } = await kv.put("other", "x");
    await users.put("ada", { name: "Ada", visits: 1 });
    await users.put("ada", { name: "Ada", visits: 2 });
    await kv.put("users", "x");
    await users.delete("ada");
    const stop = new AbortController();
    const seen: unknown[] = [];
    const options = { from: revision, withPrevious: true, signal: stop.signal };
    for await (const { type, key, entry, previous } of users.watch(options)) {
      seen.push([type, key, entry?.value.visits, previous?.value.visits]);
      if (seen.length === 3) stop.abort();
    }
    assertEquals(seen, [
      ["put", "ada", 1, undefined],
      ["put", "ada", 2, 1],
      ["delete", "ada", undefined, 2],
    ]);
    const one = new AbortController();
    for await (const { key } of users.watch({ key: "ada", from: revision, signal: one.signal })) {
      assertEquals(key, "ada");
      one.abort();
    }
  });
});

Deno.test("space: an update leaves a key its lease", async () => {
  await withNode(async ({ kv }) => {
    const numbers = kv.space("n/", jsonValues<number>());
    await using lease = await kv.lease(60_000);
    await numbers.put("a", 1, { lease });
    const updated = await numbers.update("a", (value) => value! + 1);
    assertEquals([updated?.lease, (await numbers.get("a"))?.lease], [lease.id, lease.id]);
    await lease.revoke();
    assertEquals(await numbers.update("a", (value) => value), undefined);
  });
});
