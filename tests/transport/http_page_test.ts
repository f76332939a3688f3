import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { TIMELINE_LENGTH, TIMELINE_VIEWERS_MAX } from "../../actors/limits.ts";
import type { Transition } from "../../machines/raft_step.ts";
import { createGateway } from "../../transport/http/gateway.ts";
import { WATCH_HEARTBEAT_MS } from "../../transport/http/limits.ts";
import { FakePort } from "./http_fake_port.ts";
import { checked } from "./openapi_check.ts";
import { assertProblem, type Send } from "./http_cases.ts";

function gateway(): { readonly port: FakePort; readonly send: Send } {
  const port = new FakePort();
  const handler = createGateway(port, {
    version: "1.2.3",
    nowMs: () => port.nowMs,
    onDefect: (error) => {
      throw error;
    },
  });
  const send = checked(async (path, { headers, ...init } = {}) =>
    await handler(
      new Request(`http://gateway${path}`, {
        ...init,
        headers: { ...headers as Record<string, string>, host: "gateway" },
      }),
    )
  );
  return { port, send };
}

function transition(term: number): Transition {
  const [from, to] = [["role", "role.follower"], ["role", "role.preCandidate"]];
  return { from, to, cause: "ElectionTimeout", role: "preCandidate", term, leader: undefined };
}

/** The next piece of a stream as text. */
async function pieceOf(reader: ReadableStreamDefaultReader<Uint8Array>): Promise<string> {
  return new TextDecoder().decode((await reader.read()).value);
}

Deno.test("the page for people loads nothing from elsewhere, and each of its links is a route", async () => {
  const { send } = gateway();
  const page = await send("/");
  const text = await page.text();
  assertEquals(page.headers.get("content-type"), "text/html; charset=utf-8");
  const policy = page.headers.get("content-security-policy")!;
  assertStringIncludes(policy, "default-src 'none'");
  assert(!policy.includes("unsafe"), policy);
  assert(!/https?:\/\//.test(text), "the page names another host");
  assert(!/<script>|<style>|\son\w+=|style=/.test(text), "the policy forbids what is inline");
  const links = [...text.matchAll(/(?:href|src)="([^"]+)"/g)].map(([, path]) => path!);
  assert(links.length > 5, text);
  for (const path of links) {
    const answer = await send(path);
    assertEquals([path, answer.status], [path, 200]);
    await answer.body?.cancel();
  }
  assertEquals(await (await send("/ui")).text(), text);
  const script = await (await send("/ui/page.js")).text();
  assert(!/innerHTML|insertAdjacent|eval\(/.test(script), "names of members must not be markup");
  for (const [, id] of script.matchAll(/\bat\("(\w+)"\)/g)) {
    assertStringIncludes(text, `id="${id}"`);
  }
});

Deno.test("transitions: those that are kept, and then each as it happens, once", async () => {
  const { port, send } = gateway();
  for (let term = 1; term <= TIMELINE_LENGTH + 5; term++) port.timeline.note(transition(term));
  port.nowMs += 1_500;
  const answer = await send("/v1/raft/events");
  const reader = answer.body!.getReader();
  await pieceOf(reader);
  const kept = (await pieceOf(reader)).trim().split("\n\n");
  assertEquals(kept.length, TIMELINE_LENGTH);
  assertEquals(kept[0]!.split("\n").slice(0, 2), ["id: 7-6", "event: transition"]);
  const { leader: _, ...facts } = transition(6);
  assertEquals(JSON.parse(kept[0]!.split("data: ")[1]!), { ...facts, agoMs: 1_500 });

  const next = pieceOf(reader);
  port.timeline.note(transition(999));
  assertStringIncludes(await next, `id: 7-${TIMELINE_LENGTH + 6}\n`);
  const quiet = pieceOf(reader);
  while (port.expiring.size === 0) await Promise.resolve();
  for (const [expire, delayMs] of [...port.expiring]) {
    assertEquals(delayMs, WATCH_HEARTBEAT_MS);
    expire();
  }
  assertEquals(await quiet, ": heartbeat\n\n");
  const last = pieceOf(reader);
  port.timeline.end();
  assertEquals(await last, "event: ended\ndata: {}\n\n");
  assertEquals((await reader.read()).done, true);
});

Deno.test("transitions: a client that comes back goes on after what it has seen, at another node from the beginning", async () => {
  const { port, send } = gateway();
  for (let term = 1; term <= 3; term++) port.timeline.note(transition(term));
  const firstId = async (seen: string): Promise<string> => {
    const answer = await send("/v1/raft/events", { headers: { "last-event-id": seen } });
    const reader = answer.body!.getReader();
    await pieceOf(reader);
    const text = await pieceOf(reader);
    await reader.cancel();
    return text.split("\n")[0]!;
  };
  assertEquals([await firstId("7-2"), await firstId("8-2")], ["id: 7-3", "id: 7-1"]);
  const wrong = await send("/v1/raft/events", { headers: { "last-event-id": "x" } });
  await assertProblem(wrong, 400, "invalid-request");
});

Deno.test("transitions: so many look at a time, and who leaves makes room", () => {
  const { port } = gateway();
  const views = Array.from({ length: TIMELINE_VIEWERS_MAX }, () => port.timeline.view(undefined)!);
  assertEquals(port.timeline.view(undefined), undefined);
  views[0]!.end();
  assert(port.timeline.view(undefined) !== undefined);
});
