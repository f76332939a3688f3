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

Deno.test("members are asked until one knows more that is committed; what may be dropped comes last", async () => {
  const member = { raftAddress: "127.0.0.1:1", httpAddress: "" };
  const serve = (configIndex: number, commitIndex: number): Deno.HttpServer<Deno.NetAddr> =>
    Deno.serve(
      { port: 0, hostname: "127.0.0.1", onListen: () => {} },
      () =>
        Response.json({
          clusterId: "c",
          members: [{ ...member, id: 1, voter: true }, { ...member, id: 3, voter: false }],
          ...{ configIndex, commitIndex, clusterVersion: 2 },
        }),
    );
  // The first was cut off as a leader and holds what may be dropped; the second was away as long.
  await using cutOff = serve(9, 6);
  await using away = serve(4, 4);
  await using upToDate = serve(7, 7);
  const [one, two, three] = [cutOff, away, upToDate].map(({ addr }) =>
    `http://127.0.0.1:${addr.port}`
  ) as [string, string, string];
  const others: string[] = [];
  const ask = async (urls: string[], clusterId = "c"): Promise<unknown> => {
    const said = await askForMembers(urls, {
      ...{ clusterId, beyond: 4 },
      onOtherCluster: (url, other) => void others.push(`${url} ${other}`),
    });
    return said && [said.placed.index, said.isCommitted];
  };
  assertEquals(await ask([one, two]), [9, false]);
  assertEquals(await ask([one, two, three]), [7, true]);
  assertEquals(await ask([two]), undefined);
  assertEquals(others, []);
  assertEquals(await ask([three], "other"), undefined);
  assertEquals(others, [`${three} c`]);
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
