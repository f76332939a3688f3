/**
 * `/v1/cluster/members` over a port: what becomes which change, and what is refused.
 *
 * @module
 */
import { assertEquals, assertMatch } from "@std/assert";
import type { MembershipChange } from "../../machines/membership_change.ts";
import { createGateway } from "../../transport/http/gateway.ts";
import { FakePort } from "./http_fake_port.ts";

const NOTHING: MembershipChange = {
  ...{ add: [], remove: [], promote: [], demote: [], replace: [], update: [] },
};

function gateway(): {
  readonly port: FakePort;
  readonly send: (method: string, path: string, body?: unknown) => Promise<Response>;
} {
  const port = new FakePort();
  const handler = createGateway(port, {
    ...{ version: "1", nowMs: () => port.nowMs },
    onDefect: (error) => {
      throw error;
    },
  });
  return {
    port,
    send: async (method, path, body) =>
      await handler(
        new Request(`http://gateway/v1/cluster/members${path}`, {
          method,
          headers: { host: "gateway" },
          ...(body === undefined
            ? {}
            : { body: typeof body === "string" ? body : JSON.stringify(body) }),
        }),
      ),
  };
}

const four = { id: 4, raft: "host:7004", http: "http://host:8004" };

Deno.test("members: each route asks for its change", async () => {
  const asked: [string, string, unknown, Partial<MembershipChange>][] = [
    ["POST", "", { add: [four], remove: [1] }, {
      add: [{ ...four, staysLearner: false }],
      remove: [1],
    }],
    ["POST", "", { add: [{ id: 4, raft: "[::1]:7004", learner: true }] }, {
      add: [{ id: 4, raft: "[::1]:7004", http: "", staysLearner: true }],
    }],
    ["POST", "", { demote: [2], promote: [] }, { demote: [2] }],
    ["DELETE", "/2", undefined, { remove: [2] }],
    ["PATCH", "/2", { raft: "there:1" }, { update: [{ id: 2, raft: "there:1" }] }],
    ["POST", "/2/replace", undefined, { replace: [{ id: 2 }] }],
    ["POST", "/2/replace", {}, { replace: [{ id: 2 }] }],
    ["POST", "/2/replace", { with: four }, {
      replace: [{ id: 2, by: { ...four, staysLearner: false } }],
    }],
    ["POST", "/2/replace", { with: { id: 2, raft: "there:1" } }, {
      replace: [{ id: 2 }],
      update: [{ id: 2, raft: "there:1" }],
    }],
  ];
  for (const [method, path, body, change] of asked) {
    const { port, send } = gateway();
    const response = await send(method, `${path}?force=true`, body);
    assertEquals(response.status, 200, await response.clone().text());
    assertEquals((await response.json()).applied, true);
    assertEquals(port.changes.map((each) => each.change), [{ ...NOTHING, ...change }]);
    assertEquals(port.changes[0]!.options.force, true);
  }
});

Deno.test("members: a dry run changes nothing, and says what the quorums would be", async () => {
  const { port, send } = gateway();
  const response = await send("POST", "?dryRun=true", { remove: [2] });
  assertEquals(await response.json(), {
    before: { voters: [1, 2, 3], needed: 2, alive: [1, 2] },
    between: [
      { voters: [1, 3], needed: 2, alive: [1] },
      { voters: [1, 2, 3], needed: 2, alive: [1, 2] },
    ],
    after: { voters: [1, 3], needed: 2, alive: [1] },
    behind: [{ id: 3, entries: 7 }],
    applied: false,
    objection: "Too few answer",
  });
  assertEquals(port.config.voters, [1, 2, 3]);
});

Deno.test("members: what would lose the quorum is refused unless it is forced", async () => {
  const { port, send } = gateway();
  const refused = await send("POST", "", { remove: [2] });
  assertEquals([refused.status, (await refused.json()).code], [409, "conflict"]);
  assertEquals((await send("POST", "?force=true", { remove: [2] })).status, 200);
  assertEquals(port.config.voters, [1, 3]);
});

Deno.test("members: what is malformed is refused with a sentence, and changes nothing", async () => {
  const refused: [string, string, unknown, RegExp][] = [
    ["POST", "", "", /asks for nothing/],
    ["POST", "", {}, /asks for nothing/],
    ["POST", "", { remove: null }, /remove must be a list/],
    ["POST", "", { update: [{ id: 2 }] }, /names no address/],
    ["POST", "", { add: [{ ...four, staysLearner: true }] }, /it is \\"learner\\"/],
    ["POST", "", { replace: [{ id: 2, by: { ...four, learner: "yes" } }] }, /learner is true/],
    ["PATCH", "/2", undefined, /names no address/],
    ["PATCH", "/2", { id: 3, raft: "there:1" }, /the path says which member/],
    ["GET", "?x=1", undefined, /no parameter/],
    ["POST", "", "[]", /JSON object/],
    ["POST", "", "nope", /not valid JSON/],
    ["POST", "", { grow: [4] }, /unknown field \\"grow\\"/],
    ["POST", "", { add: 4 }, /add must be a list/],
    ["POST", "", { add: [{ id: 4 }] }, /add\[0\]\.raft must be text/],
    ["POST", "", { add: [{ ...four, learner: 1 }] }, /learner is true or false/],
    ["POST", "", { add: [{ ...four, http: "http://user@host" }] }, /http:\/\/HOST:PORT/],
    ["POST", "", { add: [{ ...four, raft: "host" }] }, /HOST:PORT/],
    ["POST", "", { add: [{ ...four, raft: "host:0" }] }, /HOST:PORT/],
    ["POST", "", { add: [{ ...four, http: "host:80" }] }, /http:\/\/HOST:PORT/],
    ["POST", "", { add: [{ ...four, http: "http://h/x" }] }, /http:\/\/HOST:PORT/],
    ["POST", "", { add: [{ ...four, zone: "a" }] }, /unknown field/],
    ["POST", "", { remove: ["2"] }, /remove\[0\] must be an id/],
    ["POST", "", { remove: [2 ** 31 + 1] }, /must be an id/],
    ["POST", "", { remove: Array(32).fill(1) }, /at most 31/],
    ["POST", "?force=maybe", { remove: [2] }, /force is true or false/],
    ["POST", "?wait=1", { remove: [2] }, /no parameter/],
    ["DELETE", "/two", undefined, /whole number/],
    ["PATCH", "/2", { port: 1 }, /unknown field/],
    ["POST", "/2/replace", { by: four }, /Unknown field/],
    ["POST", "/2/replace", { with: 4 }, /JSON object/],
  ];
  for (const [method, path, body, text] of refused) {
    const { port, send } = gateway();
    const response = await send(method, path, body);
    const said = await response.text();
    assertEquals([response.status, JSON.parse(said).code], [400, "invalid-request"], said);
    assertMatch(said, text);
    assertEquals(port.config.voters, [1, 2, 3]);
  }
});

Deno.test("members: what makes no sense for these members is a conflict", async () => {
  for (
    const [body, text] of [[{ remove: [9] }, /no member/], [{ promote: [2] }, /already/]] as const
  ) {
    const { send } = gateway();
    const response = await send("POST", "", body);
    assertEquals(response.status, 409);
    assertMatch(await response.text(), text);
  }
});

Deno.test("members: the list says who they are and which entry says so", async () => {
  const { port, send } = gateway();
  port.members = [{
    ...{ id: 2, voter: true, raftAddress: "host:7002", httpAddress: "http://host:8002" },
    ...{ self: false, link: "connected", matchIndex: 7, lastHeardMs: 3, clusterVersionMax: 2 },
  }];
  const response = await send("GET", "");
  assertEquals(await response.json(), {
    ...{ members: port.members, configIndex: 0, leader: 1, term: 1, clusterVersion: 1 },
  });
});
