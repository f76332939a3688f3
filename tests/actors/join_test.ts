/**
 * A node that joins, and the answers of a member that it asks.
 *
 * @module
 */
import { assertEquals, assertRejects } from "@std/assert";
import { askForMembers, joinCluster, JoinError } from "../../actors/join.ts";

Deno.test("a node has joined once that is committed, not before", async () => {
  const member = { raftAddress: "127.0.0.1:1", httpAddress: "" };
  let commitIndex = 6;
  let asked = 0;
  await using server = Deno.serve({ port: 0, hostname: "127.0.0.1", onListen: () => {} }, () => {
    asked++;
    const answer = Response.json({
      clusterId: "c",
      members: [{ ...member, id: 1, voter: true }, { ...member, id: 2, voter: false }],
      ...{ configIndex: 7, commitIndex, clusterVersion: 2 },
    });
    commitIndex++;
    return answer;
  });
  const joined = await joinCluster({
    ...{ id: 2, raft: "127.0.0.1:2", http: "", staysLearner: false, log: () => {} },
    urls: [`http://127.0.0.1:${server.addr.port}`],
  });
  assertEquals([asked, joined.members.index], [2, 7]);
});

Deno.test("a node is told that it was removed only by what is committed", async () => {
  const member = { raftAddress: "127.0.0.1:1", httpAddress: "" };
  let commitIndex = 6;
  await using server = Deno.serve(
    { port: 0, hostname: "127.0.0.1", onListen: () => {} },
    () =>
      Response.json({
        clusterId: "c",
        members: [{ ...member, id: 1, voter: true }, { ...member, id: 3, voter: false }],
        ...{ configIndex: 7, commitIndex, clusterVersion: 2 },
      }),
  );
  const urls = [`http://127.0.0.1:${server.addr.port}`];
  const indexFor = async (self: number): Promise<number | undefined> =>
    (await askForMembers(urls, { clusterId: "c", self }))?.index;
  // A leader that was cut off may have taken the learner out, and will never have that committed.
  assertEquals(await indexFor(2), undefined);
  // Links to those whom it names do no harm.
  assertEquals(await indexFor(3), 7);
  commitIndex = 7;
  assertEquals(await indexFor(2), 7);
  assertEquals(await askForMembers(urls, { clusterId: "other", self: 2 }), undefined);
});

Deno.test("a node that has asked to be added goes on, though a member that is behind asks once more", async () => {
  const member = { raftAddress: "127.0.0.1:1", httpAddress: "" };
  const seen: string[] = [];
  let commitIndex = 6;
  /** The first has the entry after it was asked, and not yet its commitment; the second lacks it. */
  const serve = (name: string): Deno.HttpServer<Deno.NetAddr> =>
    Deno.serve({ port: 0, hostname: "127.0.0.1", onListen: () => {} }, ({ method }) => {
      seen.push(`${method} ${name}`);
      if (method === "POST" && name === "second") {
        commitIndex = 7;
        return Response.json({ detail: "Node 2 is a member already" }, { status: 409 });
      }
      const isNamed = name === "first" && seen.includes("POST first");
      return Response.json({
        clusterId: "c",
        members: [
          { ...member, id: 1, voter: true },
          ...(isNamed ? [{ ...member, id: 2, voter: false }] : []),
        ],
        ...{ configIndex: isNamed ? 7 : 5, commitIndex, clusterVersion: 2 },
      });
    });
  await using first = serve("first");
  await using second = serve("second");
  const joined = await joinCluster({
    ...{ id: 2, raft: "127.0.0.1:2", http: "", staysLearner: false, log: () => {} },
    urls: [first, second].map(({ addr }) => `http://127.0.0.1:${addr.port}`),
  });
  assertEquals(joined.members.index, 7);
  assertEquals(seen, [
    ...["GET first", "POST first", "GET first", "GET second", "POST second", "GET first"],
  ]);
});

Deno.test("a node gives up when nobody has taken it in time, and says whom it asked, and why", async () => {
  await using server = Deno.serve(
    { port: 0, hostname: "127.0.0.1", onListen: () => {} },
    () => Response.json({ detail: "No leader is known", retryable: true }, { status: 503 }),
  );
  const url = `http://127.0.0.1:${server.addr.port}`;
  const error = await assertRejects(() =>
    joinCluster({
      ...{ id: 2, raft: "127.0.0.1:2", http: "", staysLearner: false, log: () => {} },
      ...{ urls: [url], timeoutMs: 1 },
    }), JoinError);
  assertEquals(error.message, `Cannot join through ${url}: ${url}: No leader is known`);
});
