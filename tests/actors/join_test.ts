/**
 * A node that joins, and the answers of a member that it asks.
 *
 * @module
 */
import { assertEquals } from "@std/assert";
import { joinCluster } from "../../actors/join.ts";

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
