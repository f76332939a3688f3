/**
 * `kv member` as a process, over a gateway whose members are a test's.
 *
 * @module
 */
import { assertEquals, assertMatch } from "@std/assert";
import { createGateway } from "../../transport/http/gateway.ts";
import { FakePort } from "../transport/http_fake_port.ts";
import { type Kv, kvAt } from "./run_kv.ts";

/** Longer than the client waits. */
const LATE_MS = 1_500;

/** A gateway on a free port, and a client of it. Voter 3 does not answer. */
async function withKv(run: (kv: Kv, port: FakePort) => Promise<void>): Promise<void> {
  const port = new FakePort();
  const handler = createGateway(port, {
    ...{ version: "1", nowMs: () => port.nowMs },
    onDefect: (error) => {
      throw error;
    },
  });
  const server = Deno.serve({ hostname: "127.0.0.1", port: 0, onListen: () => {} }, handler);
  try {
    await run(kvAt(`http://127.0.0.1:${server.addr.port}`), port);
  } finally {
    await server.shutdown();
  }
}

Deno.test("kv member: a change is previewed, made, and says what comes next", () =>
  withKv(async (kv, port) => {
    const { code, stdout, stderr } = await kv([
      "member",
      "add",
      "4",
      "host:7004",
      "http://host:8004",
    ]);
    assertEquals([code, stdout], [0, "the members have changed; the voters are 1, 2, 3\n"]);
    assertMatch(stderr, /^Now: +voters 1, 2, 3; 2 of 3 must answer, 2 do; silent: 3$/m);
    assertMatch(stderr, /^After: +voters 1, 2, 3/m);
    assertMatch(stderr, /^Behind: +node 3 by 7 entries$/m);
    assertMatch(stderr, /^Next: start it with --id 4 and --join/m);
    assertEquals(port.changes.map(({ options }) => options.dryRun), [true, false]);
    assertEquals(port.config.learners, [4]);
  }));

Deno.test("kv member: a dry run stops after the preview", () =>
  withKv(async (kv, port) => {
    const { code, stdout } = await kv(["member", "remove", "3", "--dry-run", "-o", "json"]);
    assertEquals([code, JSON.parse(stdout).applied], [0, false]);
    assertEquals(port.config.voters, [1, 2, 3]);
  }));

Deno.test("kv member: an objection ends with 4, and --force makes the change", () =>
  withKv(async (kv, port) => {
    const refused = await kv(["member", "remove", "2"]);
    assertEquals(refused.code, 4);
    assertMatch(refused.stderr, /Objection: Too few answer/);
    assertMatch(refused.stderr, /--force makes the change all the same/);
    assertEquals(port.config.voters, [1, 2, 3]);
    assertEquals((await kv(["member", "remove", "2", "--force"])).code, 0);
    assertEquals(port.config.voters, [1, 3]);
  }));

Deno.test("kv member: a change whose answer was lost is not made twice", () =>
  withKv(async (kv, port) => {
    const change = port.changeMembers.bind(port);
    port.changeMembers = (plain, options) =>
      options.dryRun
        ? change(plain, options)
        : change(plain, options).then((made) =>
          new Promise((resolve) => setTimeout(() => resolve(made), LATE_MS))
        );
    const { code, stderr } = await kv(["member", "add", "4", "host:7004", "--timeout", "800ms"]);
    assertEquals(code, 6, stderr);
    assertEquals(port.changes.filter(({ options }) => !options.dryRun).length, 1);
  }));

Deno.test("kv member: a preview that nobody answers has changed nothing for sure", () =>
  withKv(async (kv, port) => {
    const change = port.changeMembers.bind(port);
    port.changeMembers = (plain, options) =>
      new Promise((resolve) => setTimeout(() => resolve(change(plain, options)), LATE_MS));
    const { code, stderr } = await kv(["member", "remove", "3", "--timeout", "500ms"]);
    assertEquals(code, 5, stderr);
    assertMatch(stderr, /nobody has answered in time; nothing was changed/);
  }));

Deno.test("kv member: a disk that the leader never saw is named before it is replaced", () =>
  withKv(async (kv, port) => {
    port.isMet = (id) => id !== 3;
    const { code, stderr } = await kv(["member", "replace", "3", "--dry-run"]);
    assertEquals(code, 0);
    assertMatch(stderr, /^Unmet: +the disk of node 3, .*\(kv transfer\)/m);
  }));

Deno.test("kv member: the list says who votes, who is behind, and who was heard", () =>
  withKv(async (kv, port) => {
    port.members = [
      {
        ...{ id: 1, voter: true, raftAddress: "host:7001", httpAddress: "http://host:8001" },
        ...{ self: true, link: "self" as const, clusterVersionMax: 2 },
      },
      {
        ...{ id: 2, voter: false, raftAddress: "host:7002", httpAddress: "", replaces: 3 },
        ...{ self: false, link: "connected" as const, matchIndex: 0, lastHeardMs: 12 },
      },
    ];
    const { code, stdout } = await kv(["member", "list"]);
    assertEquals(code, 0);
    assertMatch(stdout, /^1 +voter +leader +self +- +- +2 +host:7001 +http:\/\/host:8001$/m);
    assertMatch(stdout, /^2 +replaces 3 +- +connected +0 +12 ms +- +host:7002$/m);
  }));

Deno.test("kv member: wrong words are usage errors, and nothing is asked", () =>
  withKv(async (kv, port) => {
    const wrong: [string[], RegExp][] = [
      [["member", "grow"], /member takes one of list, add/],
      [["member", "add", "4"], /member add takes 2 to 3 words/],
      [["member", "add", "four", "host:1"], /a member's id is a whole number/],
      [["member", "add", "4", "host"], /a Raft address is HOST:PORT, not "host"/],
      [["member", "add", "4", "host:1", "ftp://host"], /an HTTP address is http/],
      [["member", "update", "2", "port=7"], /update takes raft=HOST:PORT/],
      [["member", "update", "2", "raft=a:1", "raft=b:1"], /update takes raft=HOST:PORT/],
      [["member", "replace", "2", "4"], /replace takes ID, or ID NEWID RAFT/],
    ];
    for (const [words, text] of wrong) {
      const { code, stderr } = await kv(words);
      assertEquals(code, 2, stderr);
      assertMatch(stderr, text);
    }
    assertEquals(port.changes, []);
  }));
