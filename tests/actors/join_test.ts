/**
 * A node that joins, and the answers of a member that it asks.
 *
 * @module
 */
import { assertEquals } from "@std/assert";
import { askForMembers, joinCluster } from "../../actors/join.ts";

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
